//! The writer: a constant tree into a constant array of bytes.
//!
//! One walk serves both functions: it counts when it has no room to write in, so that the length cannot disagree
//! with the bytes. It runs in the compiler; what it refuses is a compile error of the binary that declares the type.

use super::{
    FORM_MAGIC, FORM_VERSION, FieldDesc, MAX_BYTES, MAX_DEPTH, MAX_NAME_BYTES, TypeDesc, TypeKind,
    VariantDesc, Within, tag,
};

/// Counts the bytes of the byte form of `ty`.
///
/// # Panics
///
/// Panics, in a constant at compile time, for the same types as [`flatten`].
#[must_use]
pub const fn flat_len(ty: &TypeDesc) -> usize {
    let mut out = Out { bytes: &mut [], at: 0, counts: true };
    out.form(ty);
    out.at
}

/// Writes the byte form of `ty`; `N` is its [`flat_len`].
///
/// # Panics
///
/// Panics, in a constant at compile time, if `N` is not [`flat_len`], or the type is deeper than [`MAX_DEPTH`],
/// longer than [`MAX_BYTES`], has an empty name or one longer than [`MAX_NAME_BYTES`], or a recursive part that
/// no struct of that name encloses.
#[must_use]
pub const fn flatten<const N: usize>(ty: &TypeDesc) -> [u8; N] {
    let mut bytes = [0; N];
    let mut out = Out { bytes: &mut bytes, at: 0, counts: false };
    out.form(ty);
    assert!(out.at == N, "flatten::<N>: N is not flat_len of the type");
    bytes
}

/// Computes the fingerprint of a byte form: XXH64 with seed 0.
#[must_use]
pub const fn fingerprint(form: &[u8]) -> u64 {
    xxhash_rust::const_xxh64::xxh64(form, 0)
}

/// Where the walk writes, or only counts.
struct Out<'a> {
    bytes: &'a mut [u8],
    at: usize,
    counts: bool,
}

impl Out<'_> {
    const fn form(&mut self, ty: &TypeDesc) {
        self.put(&FORM_MAGIC);
        self.put(&FORM_VERSION.to_le_bytes());
        self.node(ty, 1, None);
        assert!(self.at <= MAX_BYTES, "the description of a type is longer than 64 KiB");
    }

    const fn node(&mut self, ty: &TypeDesc, depth: usize, within: Option<&Within<'_>>) {
        assert!(depth <= MAX_DEPTH, "types are nested too deeply to be described");
        assert!(ty.align.is_power_of_two(), "an alignment is not a power of two");
        let kind = match ty.kind {
            TypeKind::Primitive => tag::PRIMITIVE,
            TypeKind::Struct { .. } => tag::STRUCT,
            TypeKind::FieldlessEnum { .. } => tag::ENUM,
            TypeKind::Array { .. } => tag::ARRAY,
            TypeKind::Collection { .. } => tag::COLLECTION,
            TypeKind::Recursive => tag::RECURSIVE,
        };
        self.put(&[kind, ty.align.trailing_zeros() as u8]);
        self.put(&ty.size.to_le_bytes());
        self.name(ty.name);
        match ty.kind {
            TypeKind::Primitive => {}
            TypeKind::Struct { fields } => {
                let own = Within { name: ty.name, size: ty.size, align: ty.align, outer: within };
                self.fields(fields, depth, &own);
            }
            TypeKind::FieldlessEnum { repr, variants } => {
                self.name(repr);
                self.variants(variants);
            }
            TypeKind::Array { elem, len } => {
                self.put(&len.to_le_bytes());
                self.node(elem, depth + 1, within);
            }
            TypeKind::Collection { format_version, args } => {
                assert!(args.len() <= u8::MAX as usize, "a collection has more than 255 type arguments");
                self.put(&format_version.to_le_bytes());
                self.put(&[args.len() as u8]);
                let mut i = 0;
                while i < args.len() {
                    self.node(args[i], depth + 1, within);
                    i += 1;
                }
            }
            TypeKind::Recursive => assert!(
                Within::encloses(within, ty.name, ty.size, ty.align),
                "a field marked #[heritable(recursive)] names a type that does not enclose it, so that type would \
                 go undescribed: make the named type the root, or mark the field on the other side of the circle"
            ),
        }
    }

    const fn fields(&mut self, fields: &[FieldDesc], depth: usize, within: &Within<'_>) {
        assert!(fields.len() <= u16::MAX as usize, "a struct has more than 65535 fields");
        self.put(&(fields.len() as u16).to_le_bytes());
        let mut i = 0;
        while i < fields.len() {
            self.name(fields[i].name);
            self.put(&fields[i].offset.to_le_bytes());
            self.node(fields[i].ty, depth + 1, Some(within));
            i += 1;
        }
    }

    const fn variants(&mut self, variants: &[VariantDesc]) {
        assert!(variants.len() <= u16::MAX as usize, "an enum has more than 65535 variants");
        self.put(&(variants.len() as u16).to_le_bytes());
        let mut i = 0;
        while i < variants.len() {
            self.name(variants[i].name);
            self.put(&variants[i].discriminant.to_le_bytes());
            i += 1;
        }
    }

    const fn name(&mut self, name: &str) {
        assert!(!name.is_empty(), "a type, field or variant has an empty name");
        assert!(name.len() <= MAX_NAME_BYTES, "a name is longer than 255 bytes");
        let mut i = 0;
        while i < name.len() {
            let byte = name.as_bytes()[i];
            assert!(byte >= 0x20 && byte != 0x7f, "a name has a control character");
            i += 1;
        }
        self.put(&[name.len() as u8]);
        self.put(name.as_bytes());
    }

    const fn put(&mut self, from: &[u8]) {
        if !self.counts {
            let mut i = 0;
            while i < from.len() {
                self.bytes[self.at + i] = from[i];
                i += 1;
            }
        }
        self.at += from.len();
    }
}
