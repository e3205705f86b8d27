//! Numbers as clients write them.

/// Reads a whole number as Redis does: no sign `+`, no leading zero, no space.
#[inline]
pub(crate) fn parse_i64(text: &[u8]) -> Option<i64> {
    let (digits, is_negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    match digits {
        [b'0'] if !is_negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // 19 digits fit into 64 bits without a sign.
    let mut number = 0_u64;
    for &digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        number = number * 10 + u64::from(value);
    }
    if is_negative { 0_i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() }
}

/// Digits behind the point in what INCRBYFLOAT stores.
const SCALE_DIGITS: usize = 17;
const SCALE: i128 = 10_i128.pow(SCALE_DIGITS as u32);

/// A decimal number, as INCRBYFLOAT adds them up: with 20 digits before the point and 17 behind it, rounded as Redis' long doubles are,
/// which have 64 bits in all; or a float, where that is not enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decimal {
    Exact(i128),
    Float(f64),
}

impl Decimal {
    /// Reads a number; `None` where it is none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        if let Some(exact) = Self::parse_exact(text) {
            return Some(Self::Exact(rounded(exact)));
        }
        let is_written_so = |byte: u8| byte.is_ascii_digit() || b"+-.eEinfINFty".contains(&byte);
        if !text.bytes().all(is_written_so) {
            return None;
        }
        let number: f64 = text.parse().ok()?;
        Some(Self::of(number))
    }

    fn of(number: f64) -> Self {
        let rounded = if number.abs() < 1e20 { Self::parse_exact(&format!("{number:.17}")) } else { None };
        rounded.map_or(Self::Float(number), Self::Exact)
    }

    fn parse_exact(text: &str) -> Option<i128> {
        let (digits, is_negative) = match text.strip_prefix('-') {
            Some(digits) => (digits, true),
            None => (text.strip_prefix('+').unwrap_or(text), false),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0
            || whole.len() > 20
            || fraction.len() > SCALE_DIGITS
            || !all_digits(whole)
            || !all_digits(fraction)
        {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let padded = format!("{fraction:0<SCALE_DIGITS$}");
        let number = whole * SCALE + padded.parse::<i128>().ok()?;
        Some(if is_negative { -number } else { number })
    }

    /// Adds; `None` where the sum is no finite number.
    pub(crate) fn checked_add(self, other: Self) -> Option<Self> {
        if let (Self::Exact(a), Self::Exact(b)) = (self, other) {
            return Some(Self::Exact(rounded(a + b)));
        }
        let sum = self.to_float() + other.to_float();
        sum.is_finite().then(|| Self::of(sum))
    }

    fn to_float(self) -> f64 {
        match self {
            Self::Exact(number) => number as f64 / SCALE as f64,
            Self::Float(number) => number,
        }
    }
}

/// Rounds to the 64 bits of a long double, which below 64 are finer than the last digit.
fn rounded(number: i128) -> i128 {
    let whole = number.unsigned_abs() / SCALE as u128;
    let bits = u128::BITS - whole.leading_zeros();
    match bits {
        0..=6 => number,
        7..=64 => {
            let fraction_bits = 64 - bits;
            let units = divide_to_nearest(number << fraction_bits, SCALE);
            divide_to_nearest(units * SCALE, 1 << fraction_bits)
        }
        _ => {
            let unit = SCALE << (bits - 64);
            divide_to_nearest(number, unit) * unit
        }
    }
}

/// Divides, to the nearest whole number, and to the even one of two that are as near.
fn divide_to_nearest(number: i128, by: i128) -> i128 {
    let (quotient, rest) = (number.div_euclid(by), number.rem_euclid(by));
    let is_up = 2 * rest > by || 2 * rest == by && quotient % 2 != 0;
    quotient + i128::from(is_up)
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Float(number) => write!(f, "{number}"),
            Self::Exact(number) => {
                let sign = if number < 0 { "-" } else { "" };
                let (whole, fraction) =
                    (number.unsigned_abs() / SCALE as u128, number.unsigned_abs() % SCALE as u128);
                if fraction == 0 {
                    return write!(f, "{sign}{whole}");
                }
                let digits = format!("{fraction:017}");
                write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_one_spelling() {
        for (text, number) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(parse_i64(text.as_bytes()), Some(number));
        }
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        for text in
            ["", "-", "+1", "01", "-0", " 1", "1 ", "1a", "9223372036854775808", "99999999999999999999"]
        {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn decimals_add_up_as_on_paper() {
        let sum = |a: &str, b: &str| {
            let (a, b) = (Decimal::parse(a.as_bytes()).unwrap(), Decimal::parse(b.as_bytes()).unwrap());
            a.checked_add(b).map(|sum| sum.to_string())
        };
        assert_eq!(sum("0.1", "0.2").as_deref(), Some("0.3"));
        assert_eq!(sum("10.50", "-10.5").as_deref(), Some("0"));
        assert_eq!(sum("5.0e3", "200").as_deref(), Some("5200"));
        assert_eq!(sum("-0.25", "0").as_deref(), Some("-0.25"));
        assert_eq!(sum("9223372036854775808", "0.25").as_deref(), Some("9223372036854775808"));
        assert_eq!(sum("9223372036854775807", "-0.5").as_deref(), Some("9223372036854775806.5"));
        assert_eq!(sum("1e308", "1e308"), None);
        assert_eq!(sum("inf", "1"), None);
        for text in ["", "abc", " 1", "1 ", "0x10", "1,5", "nan"] {
            assert_eq!(Decimal::parse(text.as_bytes()), None, "{text}");
        }
    }
}
