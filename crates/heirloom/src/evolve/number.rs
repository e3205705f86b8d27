//! Numbers of one kind as numbers of another: widened without a question, narrowed where the value fits.
#![expect(unsafe_code, reason = "reads and writes numbers at addresses")]

/// A kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    kind: Kind,
    bytes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed,
    Float,
    Bool,
    Char,
}

impl Number {
    /// Reads the name of a type of the language, an atomic as what it holds.
    pub(super) fn named(name: &str) -> Option<Self> {
        let of = |kind, bytes| Some(Self { kind, bytes });
        match name.strip_prefix("Atomic").unwrap_or(name) {
            "u8" | "U8" => of(Kind::Unsigned, 1),
            "u16" | "U16" => of(Kind::Unsigned, 2),
            "u32" | "U32" => of(Kind::Unsigned, 4),
            "u64" | "U64" | "usize" | "Usize" => of(Kind::Unsigned, 8),
            "u128" => of(Kind::Unsigned, 16),
            "i8" | "I8" => of(Kind::Signed, 1),
            "i16" | "I16" => of(Kind::Signed, 2),
            "i32" | "I32" => of(Kind::Signed, 4),
            "i64" | "I64" | "isize" | "Isize" => of(Kind::Signed, 8),
            "i128" => of(Kind::Signed, 16),
            "f32" => of(Kind::Float, 4),
            "f64" => of(Kind::Float, 8),
            "bool" | "Bool" => of(Kind::Bool, 1),
            "char" => of(Kind::Char, 4),
            _ => None,
        }
    }

    pub(super) fn bytes(self) -> usize {
        self.bytes.into()
    }

    /// True if every value of this is one of `wider`.
    pub(super) fn widens_to(self, wider: Self) -> bool {
        use Kind::*;
        match (self.kind, wider.kind) {
            (Signed, Signed) | (Float, Float) => self.bytes <= wider.bytes,
            (Unsigned | Bool, Unsigned) => self.bytes <= wider.bytes,
            (Unsigned | Bool, Signed) => self.bytes < wider.bytes,
            (Unsigned | Signed, Float) => self.bytes < wider.bytes && self.bytes <= 4,
            (Char, Unsigned) => wider.bytes >= 4,
            (Bool, Bool) | (Char, Char) => true,
            _ => false,
        }
    }

    /// True if some value of this is one of `narrower`.
    pub(super) fn may_narrow_to(self, narrower: Self) -> bool {
        narrower.widens_to(self)
    }
}

/// Writes the number at `from` as one of another kind; false, and nothing written, where the value does not fit.
///
/// # Safety
///
/// - A `kind` lies at `from`.
/// - There is room for a `wanted` at `to`.
pub(super) unsafe fn convert(from: *const u8, kind: Number, to: *mut u8, wanted: Number) -> bool {
    let mut bytes = [0; 16];
    // SAFETY: as many bytes as the kind has, by the caller's promise.
    unsafe { from.copy_to_nonoverlapping(bytes.as_mut_ptr(), kind.bytes()) };
    let Some(out) = convert_bytes(bytes, kind, wanted) else { return false };
    // SAFETY: there is room, by the caller's promise.
    unsafe { to.copy_from_nonoverlapping(out.as_ptr(), wanted.bytes()) };
    true
}

fn convert_bytes(bytes: [u8; 16], from: Number, to: Number) -> Option<[u8; 16]> {
    let first4 = |bytes: [u8; 16]| [bytes[0], bytes[1], bytes[2], bytes[3]];
    let first8 = |bytes: [u8; 16]| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[..8]);
        eight
    };
    if from == to {
        return Some(bytes);
    }
    let mut out = [0; 16];
    if to.kind == Kind::Float {
        let value = match (from.kind, from.bytes) {
            (Kind::Float, 4) => f64::from(f32::from_le_bytes(first4(bytes))),
            (Kind::Float, _) => f64::from_le_bytes(first8(bytes)),
            (Kind::Signed, _) => integer(bytes, from) as f64,
            _ => integer(bytes, from) as u128 as f64,
        };
        if to.bytes == 4 {
            let narrow = value as f32;
            if f64::from(narrow) != value && !value.is_nan() {
                return None;
            }
            out[..4].copy_from_slice(&narrow.to_le_bytes());
        } else {
            out[..8].copy_from_slice(&value.to_le_bytes());
        }
        return Some(out);
    }
    let value = match (from.kind, from.bytes) {
        (Kind::Float, bytes_of) => {
            let value = if bytes_of == 4 {
                f64::from(f32::from_le_bytes(first4(bytes)))
            } else {
                f64::from_le_bytes(first8(bytes))
            };
            let whole = value as i128;
            if whole as f64 != value {
                return None;
            }
            whole
        }
        _ => integer(bytes, from),
    };
    let is_huge = from.kind == Kind::Unsigned && value < 0;
    let bits = u32::from(to.bytes) * 8;
    let fits = match to.kind {
        Kind::Unsigned => is_huge && bits == 128 || value >= 0 && (bits == 128 || value >> bits == 0),
        Kind::Signed => !is_huge && (bits == 128 || value >> (bits - 1) == value >> 127),
        Kind::Bool => value == 0 || value == 1,
        Kind::Char => u32::try_from(value).is_ok_and(|value| char::from_u32(value).is_some()),
        Kind::Float => false,
    };
    fits.then(|| value.to_le_bytes())
}

/// The value of an integer; one of `u128` above the range of `i128` comes out negative.
fn integer(mut bytes: [u8; 16], number: Number) -> i128 {
    let nr = number.bytes();
    let is_negative = number.kind == Kind::Signed && bytes[nr - 1] & 0x80 != 0;
    bytes[nr..].fill(if is_negative { 0xff } else { 0 });
    i128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Number {
        Number::named(name).unwrap()
    }

    fn through<const A: usize, const B: usize>(value: [u8; A], from: &str, to: &str) -> Option<[u8; B]> {
        let mut out = [0; B];
        // SAFETY: the arrays are as long as the kinds named.
        unsafe { convert(value.as_ptr(), of(from), out.as_mut_ptr(), of(to)) }.then_some(out)
    }

    #[test]
    fn what_widens_keeps_its_value() {
        assert_eq!(through(7_u32.to_le_bytes(), "u32", "u64"), Some(7_u64.to_le_bytes()));
        assert_eq!(through((-7_i8).to_le_bytes(), "i8", "i64"), Some((-7_i64).to_le_bytes()));
        assert_eq!(through(200_u8.to_le_bytes(), "u8", "i16"), Some(200_i16.to_le_bytes()));
        assert_eq!(through(1.5_f32.to_le_bytes(), "f32", "f64"), Some(1.5_f64.to_le_bytes()));
        assert_eq!(through((-3_i32).to_le_bytes(), "i32", "f64"), Some((-3_f64).to_le_bytes()));
        assert_eq!(
            through(u64::MAX.to_le_bytes(), "AtomicU64", "u128"),
            Some(u128::from(u64::MAX).to_le_bytes())
        );
        for (from, to) in
            [("u32", "u64"), ("u8", "i16"), ("bool", "u8"), ("char", "u32"), ("u32", "AtomicU64")]
        {
            assert!(of(from).widens_to(of(to)), "{from} {to}");
        }
        for (from, to) in
            [("u64", "u32"), ("i8", "u64"), ("u64", "i64"), ("u64", "f64"), ("f64", "f32"), ("u8", "bool")]
        {
            assert!(!of(from).widens_to(of(to)), "{from} {to}");
        }
    }

    #[test]
    fn what_narrows_fits_or_is_refused() {
        assert_eq!(through(7_u64.to_le_bytes(), "u64", "u32"), Some(7_u32.to_le_bytes()));
        assert_eq!(through::<8, 4>((1_u64 << 32).to_le_bytes(), "u64", "u32"), None);
        assert_eq!(through((-128_i64).to_le_bytes(), "i64", "i8"), Some((-128_i8).to_le_bytes()));
        assert_eq!(through::<8, 1>((-129_i64).to_le_bytes(), "i64", "i8"), None);
        assert_eq!(through::<8, 1>(128_i64.to_le_bytes(), "i64", "i8"), None);
        assert_eq!(through::<8, 8>((-1_i64).to_le_bytes(), "i64", "u64"), None);
        assert_eq!(through::<16, 16>(u128::MAX.to_le_bytes(), "u128", "i128"), None);
        assert_eq!(through::<8, 4>(0.1_f64.to_le_bytes(), "f64", "f32"), None);
        assert_eq!(through(3.0_f64.to_le_bytes(), "f64", "i32"), Some(3_i32.to_le_bytes()));
        assert_eq!(through::<8, 4>(3.5_f64.to_le_bytes(), "f64", "i32"), None);
        assert_eq!(through::<4, 4>(0xd800_u32.to_le_bytes(), "u32", "char"), None);
        assert_eq!(through::<1, 1>([2], "u8", "bool"), None);
    }
}
