//! The writer: a constant tree into a constant array of bytes.
//!
//! One walk serves all functions: it counts when it has no room to write in, so that the length cannot disagree with the
//! bytes, and collects the hooks that it has numbered. It runs in the compiler; what it refuses is a compile error of the binary that declares the type.

use super::rules::{HAS_DEFAULT, ROLLBACK, SECRET};
use super::{
    CaseDesc, FORM_MAGIC, FieldDesc, Hook, Lineage, MAX_BYTES, MAX_DEPTH, MAX_NAME_BYTES, RULES_MAGIC,
    RULES_VERSION, TypeDesc, TypeKind, TypeRules, VariantDesc, Within, tag,
};

/// Counts the bytes of the byte form of `ty`.
///
/// # Panics
///
/// Panics, in a constant at compile time, for the same types as [`flatten`].
#[must_use]
pub const fn flat_len(ty: &TypeDesc) -> usize {
    let mut out = Out::counting();
    out.form(ty);
    out.at
}

/// Writes the byte form of `ty`; `N` is its [`flat_len`].
///
/// # Panics
///
/// Panics, in a constant at compile time, if `N` is not [`flat_len`], or the type is deeper than [`MAX_DEPTH`],
/// longer than [`MAX_BYTES`], has an empty name or one longer than [`MAX_NAME_BYTES`], or a recursive part that
/// no struct or enum of that name encloses.
#[must_use]
pub const fn flatten<const N: usize>(ty: &TypeDesc) -> [u8; N] {
    let mut bytes = [0; N];
    let mut out = Out { bytes: &mut bytes, counts: false, ..Out::counting() };
    out.form(ty);
    assert!(out.at == N, "flatten::<N>: N is not flat_len of the type");
    bytes
}

/// As [`flatten`], for a type that is known only when the program runs.
///
/// # Panics
///
/// As [`flatten`].
pub fn flatten_into(ty: &TypeDesc, bytes: &mut [u8]) {
    let len = bytes.len();
    let mut out = Out { bytes, counts: false, ..Out::counting() };
    out.form(ty);
    assert!(out.at == len, "flatten_into: the length is not flat_len of the type");
}

/// Counts the bytes of the form of `ty` with its rules.
///
/// # Panics
///
/// As [`rules_form`].
#[must_use]
pub const fn rules_len(ty: &TypeDesc) -> usize {
    let mut out = Out::counting();
    out.form_with_rules(ty);
    out.at
}

/// Writes the form of `ty` with its rules; `N` is its [`rules_len`].
///
/// # Panics
///
/// As [`flatten`].
#[must_use]
pub const fn rules_form<const N: usize>(ty: &TypeDesc) -> [u8; N] {
    let mut bytes = [0; N];
    let mut out = Out { bytes: &mut bytes, counts: false, ..Out::counting() };
    out.form_with_rules(ty);
    assert!(out.at == N, "rules_form::<N>: N is not rules_len of the type");
    bytes
}

/// Counts the hooks that the form of `ty` with its rules refers to.
#[must_use]
pub const fn nr_hooks(ty: &TypeDesc) -> usize {
    let mut out = Out::counting();
    out.form_with_rules(ty);
    out.nr_hooks
}

/// Collects the hooks that the form of `ty` with its rules refers to; `N` is their number, [`nr_hooks`].
///
/// # Panics
///
/// Panics if `N` is another number.
#[must_use]
pub const fn hooks<const N: usize>(ty: &TypeDesc) -> [Option<Hook>; N] {
    let mut hooks = [None; N];
    let mut out = Out { hooks: &mut hooks, ..Out::counting() };
    out.form_with_rules(ty);
    assert!(out.nr_hooks == N, "hooks::<N>: N is not nr_hooks of the type");
    hooks
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
    /// The lowest version that knows all that was written.
    version: u16,
    with_rules: bool,
    hooks: &'a mut [Option<Hook>],
    nr_hooks: usize,
}

impl Out<'_> {
    const fn counting() -> Self {
        Out {
            bytes: &mut [],
            at: 0,
            counts: true,
            version: 1,
            with_rules: false,
            hooks: &mut [],
            nr_hooks: 0,
        }
    }

    const fn form(&mut self, ty: &TypeDesc) {
        self.put(&FORM_MAGIC);
        self.put(&[0, 0]);
        self.node(ty, 1, None);
        if !self.counts {
            // Known only now.
            self.bytes[2] = self.version as u8;
        }
        assert!(self.at <= MAX_BYTES, "the description of a type is longer than 64 KiB");
    }

    const fn form_with_rules(&mut self, ty: &TypeDesc) {
        self.with_rules = true;
        self.put(&RULES_MAGIC);
        self.put(&RULES_VERSION.to_le_bytes());
        self.node(ty, 1, None);
        assert!(self.at <= MAX_BYTES, "the description of a type with its history is longer than 64 KiB");
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
            TypeKind::DataEnum { .. } => tag::DATA_ENUM,
        };
        self.put(&[kind, ty.align.trailing_zeros() as u8]);
        self.put(&ty.size.to_le_bytes());
        self.name(ty.name);
        match ty.kind {
            TypeKind::Primitive => {}
            TypeKind::Struct { fields } => {
                let own = Within { name: ty.name, size: ty.size, align: ty.align, outer: within };
                self.fields(fields, depth, &own);
                self.lineage(ty.rules, depth, within);
            }
            TypeKind::FieldlessEnum { repr, variants } => {
                self.name(repr);
                self.variants(variants);
                self.lineage(ty.rules, depth, within);
            }
            TypeKind::DataEnum { repr, cases } => {
                self.version = 2;
                let own = Within { name: ty.name, size: ty.size, align: ty.align, outer: within };
                self.name(repr);
                self.cases(cases, depth, &own);
                self.lineage(ty.rules, depth, within);
            }
            TypeKind::Array { elem, len } => {
                self.put(&len.to_le_bytes());
                self.node(elem, depth + 1, within);
            }
            TypeKind::Collection { format_version, args } => {
                assert!(args.len() <= u8::MAX as usize, "a collection has more than 255 type arguments");
                self.put(&format_version.to_le_bytes());
                self.put(&[args.len() as u8]);
                let own = Within::collection(within);
                let mut i = 0;
                while i < args.len() {
                    self.node(args[i], depth + 1, Some(&own));
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
            if self.with_rules {
                self.field_rules(&fields[i]);
            }
            self.node(fields[i].ty, depth + 1, Some(within));
            i += 1;
        }
    }

    const fn variants(&mut self, variants: &[VariantDesc]) {
        assert!(variants.len() <= u16::MAX as usize, "an enum has more than 65535 variants");
        self.put(&(variants.len() as u16).to_le_bytes());
        let mut i = 0;
        while i < variants.len() {
            self.variant(&variants[i]);
            i += 1;
        }
    }

    const fn cases(&mut self, cases: &[CaseDesc], depth: usize, within: &Within<'_>) {
        assert!(cases.len() <= u16::MAX as usize, "an enum has more than 65535 variants");
        self.put(&(cases.len() as u16).to_le_bytes());
        let mut i = 0;
        while i < cases.len() {
            self.variant(&cases[i].variant);
            self.fields(cases[i].fields, depth, within);
            i += 1;
        }
    }

    const fn variant(&mut self, variant: &VariantDesc) {
        self.name(variant.name);
        self.put(&variant.discriminant.to_le_bytes());
        if self.with_rules {
            self.names(variant.was);
        }
    }

    const fn field_rules(&mut self, field: &FieldDesc) {
        let flags = if field.rules.default.is_some() { HAS_DEFAULT } else { 0 };
        self.put(&[flags | if field.rules.secret { SECRET } else { 0 }]);
        if let Some((write, drop)) = field.rules.default {
            self.hook(Hook::Default(write, drop));
        }
        self.names(field.rules.was);
    }

    const fn lineage(&mut self, rules: &TypeRules, depth: usize, within: Option<&Within<'_>>) {
        if self.with_rules {
            self.put(&[if rules.rollback { ROLLBACK } else { 0 }]);
            self.names(rules.removed);
            self.relatives(rules.from, depth, within);
            self.relatives(rules.back_to, depth, within);
        }
    }

    const fn relatives(&mut self, relatives: &[Lineage], depth: usize, within: Option<&Within<'_>>) {
        assert!(relatives.len() <= u8::MAX as usize, "a type has more than 255 ancestors");
        self.put(&[relatives.len() as u8]);
        let mut i = 0;
        while i < relatives.len() {
            let Lineage { ty, convert, drop_made, drop_other } = relatives[i];
            self.hook(Hook::Convert { convert, drop_made, drop_other });
            self.node(ty, depth + 1, within);
            i += 1;
        }
    }

    const fn hook(&mut self, hook: Hook) {
        assert!(self.nr_hooks < u16::MAX as usize, "a type has more than 65535 defaults and conversions");
        self.put(&(self.nr_hooks as u16).to_le_bytes());
        if !self.hooks.is_empty() {
            self.hooks[self.nr_hooks] = Some(hook);
        }
        self.nr_hooks += 1;
    }

    const fn names(&mut self, names: &[&str]) {
        assert!(names.len() <= u8::MAX as usize, "there are more than 255 former names");
        self.put(&[names.len() as u8]);
        let mut i = 0;
        while i < names.len() {
            self.name(names[i]);
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
