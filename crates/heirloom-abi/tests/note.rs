//! The ELF note: the golden file of version 1, and bytes that nobody wrote.

use heirloom_abi::note::{Format, Note, Notes, format_note, root_note, root_note_len};
use proptest::collection::vec;
use proptest::prelude::*;

const FORMAT: Format = Format { abi: 1..=2, page_bytes: 4096, block: 1..=1 };

fn section() -> Vec<u8> {
    const ROOT: [u8; root_note_len("sessions", 9)] = *root_note("sessions", b"type form").as_bytes();
    const OTHER: [u8; root_note_len("a", 0)] = *root_note("a", b"").as_bytes();
    [&format_note(&FORMAT).as_bytes()[..], &ROOT, &OTHER].concat()
}

#[test]
fn version_1_is_as_it_was_released() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/note/v1.bin");
    if std::env::var_os("HEIRLOOM_BLESS").is_some() {
        std::fs::write(path, section()).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert_eq!(golden, section(), "the writer of version 1 has changed");
    let notes: Vec<_> = Notes::new(&golden).map(Result::unwrap).collect();
    let roots = [("sessions", &b"type form"[..]), ("a", b"")].map(|(name, ty)| Note::Root { name, ty });
    assert_eq!(notes[0], Note::Format(FORMAT));
    assert_eq!(notes[1..], roots);
}

proptest! {
    #[test]
    fn changed_bytes_never_panic_and_always_end(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        len in 0..200_usize,
    ) {
        let mut section = section();
        for (at, byte) in changes {
            let at = at.index(section.len());
            section[at] = byte;
        }
        section.truncate(len);
        prop_assert!(Notes::new(&section).count() <= section.len() / 12 + 1);
    }
}
