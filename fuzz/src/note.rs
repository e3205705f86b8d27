//! The notes of a binary.

use heirloom_abi::note::{
    FORMAT_NOTE_BYTES, Format, MAX_ROOT_NAME_BYTES, Note, NoteBytes, Notes, format_note, root_note,
    root_note_len,
};

static FORMAT: NoteBytes<FORMAT_NOTE_BYTES> =
    format_note(&Format { abi: 1..=2, page_bytes: 4096, block: 1..=1 });
static ROOT: NoteBytes<{ root_note_len("sessions", 5) }> = root_note("sessions", b"type!");

/// Reads `data` as a section. It ends, at the first error at the latest, and what it gives lies in `data`.
pub fn run(data: &[u8]) {
    let mut nr = 0;
    let mut has_ended = false;
    for note in Notes::new(data) {
        assert!(!has_ended, "nothing follows an error");
        nr += 1;
        match note {
            Ok(Note::Format(format)) => assert!(!format.abi.is_empty() && !format.block.is_empty()),
            Ok(Note::Root { name, ty } | Note::Rules { name, form: ty }) => {
                assert!(
                    (1..=MAX_ROOT_NAME_BYTES).contains(&name.len()) && name.len() + ty.len() < data.len()
                );
                assert!(!name.contains(char::is_control));
            }
            Err(_) => has_ended = true,
        }
    }
    assert!(nr <= data.len() / 12 + 1);
}

/// Both notes, in one section.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![[&FORMAT.as_bytes()[..], ROOT.as_bytes()].concat(), ROOT.as_bytes().to_vec()]
}
