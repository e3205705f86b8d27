use heirloom_abi::note::{format_note as build_format, root_note, root_note_len};
use heirloom_abi::types::{FieldDesc, FieldRules, TypeDesc, TypeKind, TypeRules, flat_len, flatten};
use proptest::prelude::*;

use super::*;
use crate::heritable::Heritable;

const OLD: &TypeDesc = &counter(u64::TYPE);
const NEW: &TypeDesc = &counter(i64::TYPE);
static OLD_FORM: [u8; flat_len(OLD)] = flatten(OLD);
static NEW_FORM: [u8; flat_len(NEW)] = flatten(NEW);
const HITS_BYTES: usize = root_note_len("hits", OLD_FORM.len());

const fn counter(ty: &'static TypeDesc) -> TypeDesc {
    const fn fields(ty: &'static TypeDesc) -> &'static [FieldDesc] {
        match ty.name.as_bytes()[0] {
            b'u' => &[FieldDesc { name: "hits", offset: 0, ty: u64::TYPE, rules: FieldRules::NONE }],
            _ => &[FieldDesc { name: "hits", offset: 0, ty: i64::TYPE, rules: FieldRules::NONE }],
        }
    }
    TypeDesc {
        name: "Counter",
        size: 8,
        align: 8,
        rules: TypeRules::NONE,
        kind: TypeKind::Struct { fields: fields(ty) },
    }
}

fn notes() -> Vec<u8> {
    let root = root_note::<HITS_BYTES>("hits", &OLD_FORM);
    [&FORMAT_NOTE.as_bytes()[..], root.as_bytes()].concat()
}

/// ```text
/// 0     ELF header: x86_64 or whatever this machine is, ET_DYN, entry 0x1000
/// 64    one program header: PT_NOTE at 120
/// 120   notes
/// ```
fn program() -> Vec<u8> {
    let notes = notes();
    let mut bytes = vec![0; 120];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, value: u64, len: usize| {
        bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    };
    put(16, 3, 2);
    put(18, u64::from(MACHINE.0), 2);
    put(20, 1, 4);
    put(24, 0x1000, 8);
    put(32, 64, 8);
    put(52, 64, 2);
    put(54, 56, 2);
    put(56, 1, 2);
    put(64, 4, 4);
    put(72, 120, 8);
    put(96, notes.len() as u64, 8);
    put(112, 4, 8);
    bytes.extend(notes);
    bytes
}

fn text<T>(result: Result<T, CandidateError>) -> String {
    result.err().map_or_else(|| "ok".to_owned(), |error| error.to_string())
}

#[test]
fn a_program_without_sections_is_read_by_its_segments() {
    let candidate = read_program(&program()[..]).unwrap();
    assert_eq!(candidate.roots().collect::<Vec<_>>(), [("hits", &OLD_FORM[..])]);
    candidate.check([("hits", &OLD_FORM[..])], HeapFormat::CURRENT).unwrap();
    candidate.check([], HeapFormat::CURRENT).unwrap();
}

#[test]
fn a_changed_type_and_an_undeclared_root_are_named() {
    let candidate = read_program(&program()[..]).unwrap();
    let check = |name, ty| text(candidate.check([(name, ty)], HeapFormat::CURRENT));
    assert_eq!(
        check("hits", &NEW_FORM[..]),
        "root \"hits\" has another type: Counter.hits: i64 at 0 -> u64 at 0 (heap -> program)"
    );
    assert_eq!(
        check("misses", &OLD_FORM[..]),
        "it does not declare root \"misses\", whose data would be stranded; declare it, or remove it from the heap"
    );
    assert!(check("hits", &OLD_FORM[1..]).starts_with("root \"hits\" has a damaged type: "));
}

#[test]
fn other_formats_are_refused_with_their_numbers() {
    let candidate = read_program(&program()[..]).unwrap();
    let check = |heap| text(candidate.check([], heap));
    let current = HeapFormat::CURRENT;
    assert_eq!(check(HeapFormat { abi: 9, ..current }), "it reads heap format 1 to 1, this heap has 9");
    assert_eq!(check(HeapFormat { block: 1, ..current }), "it reads block format 2 to 2, this heap has 1");
    let page = check(HeapFormat { page_bytes: 16384, ..current });
    assert_eq!(page, "it works with pages of 4096 bytes, this heap has 16384");
}

#[test]
fn what_is_no_program_of_this_machine_is_refused() {
    let with = |at: usize, byte: u8| {
        let mut bytes = program();
        bytes[at] = byte;
        text(read_program(&bytes[..]))
    };
    assert!(text(read_program(&b"#!/bin/sh\nexec next"[..])).starts_with("it is not an ELF file"));
    assert!(text(read_program(&b"\x7fELF"[..])).starts_with("it is not an ELF file"));
    assert!(with(4, 1).starts_with("it is a 32-bit little-endian program"));
    assert!(with(5, 2).starts_with("it is a 64-bit big-endian program"));
    assert!(with(18, 0x28).contains("for ELF machine 40, this machine is"));
    assert!(with(16, 1).starts_with("it is an ELF file of type 1 "));
    assert!(with(25, 0).ends_with("not a program that can be started"), "a library starts nowhere");
    assert!(with(64, 1).starts_with("it has no .note.heirloom"));
    assert!(with(120, 200).starts_with("it has a damaged note"), "the length of the first name");
}

#[test]
fn notes_that_contradict_each_other_are_refused() {
    let other = build_format(&Format { abi: 7..=7, page_bytes: PAGE_BYTES, block: 1..=1 });
    let root = root_note::<HITS_BYTES>("hits", &NEW_FORM);
    let collect = |more: &[u8]| text(collect_notes(vec![&notes(), more]));
    assert_eq!(collect(&notes()), "ok", "two libraries may share one heirloom");
    assert!(collect(other.as_bytes()).starts_with("it links two versions of heirloom"));
    assert!(collect(root.as_bytes()).starts_with("it declares root \"hits\" twice"));
    assert!(text(collect_notes(vec![])).starts_with("it has no .note.heirloom"));
}

#[test]
fn what_cannot_be_started_is_refused_before_it_is_read() {
    let at = |path: &str| text(read_candidate(Path::new(path)));
    assert!(at("/proc/self/no-such-file").starts_with("cannot read /proc/self/no-such-file: "));
    assert_eq!(at("/proc/self"), "/proc/self is not a regular file");
    assert_eq!(at("/dev/null"), "/dev/null is not a regular file");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert!(at(source).ends_with("nobody may execute it; try `chmod +x`"));
}

proptest! {
    #[test]
    fn a_changed_program_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        len in 0..400_usize,
    ) {
        let mut bytes = program();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(len);
        if let Ok(candidate) = read_program(&bytes[..]) {
            let _ = text(candidate.check([("hits", &OLD_FORM[..])], HeapFormat::CURRENT));
        }
    }
}
