//! Sizes and times, as people write and read them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes: parsed from `64`, `16K`, `4M` or `2GiB`, shown as `12.3 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a size; write one like 64, 16K, 4M or 2GiB"))?;
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            other => {
                return Err(format!("`{other}` is not a unit of size; use K, M, G or T (powers of 1024)"));
            }
        };
        let bytes =
            number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is more than 2^64 bytes"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in UNITS {
            if self.0 >> shift > 0 {
                return f.pad(&format!("{:.1} {unit}", self.0 as f64 / (1_u64 << shift) as f64));
            }
        }
        f.pad(&format!("{} B", self.0))
    }
}

/// A time in microseconds, shown as `812 us`, `12.3 ms` or `1.24 s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Micros(pub(crate) u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..10_000 => f.pad(&format!("{} us", self.0)),
            10_000..1_000_000 => f.pad(&format!("{:.1} ms", self.0 as f64 / 1e3)),
            _ => f.pad(&format!("{:.2} s", self.0 as f64 / 1e6)),
        }
    }
}

/// A count with its thousands parted: `1,234,567`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub(crate) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut parted = String::with_capacity(digits.len() * 4 / 3 + 1);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                parted.push(',');
            }
            parted.push(digit);
        }
        f.pad(&parted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_unit() {
        for (text, bytes) in [("64", 64), ("16K", 16 << 10), ("4 MiB", 4 << 20), ("2g", 2 << 30)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "K", "-1", "1.5M", "7 parsecs", "99999999999T"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_shown_for_people() {
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(3 << 19).to_string(), "1.5 MiB");
        assert_eq!(Micros(812).to_string(), "812 us");
        assert_eq!(Micros(1_240_000).to_string(), "1.24 s");
        assert_eq!(Count(7).to_string(), "7");
        assert_eq!(Count(1_234_567).to_string(), "1,234,567");
    }
}
