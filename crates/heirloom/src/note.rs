//! The question before the jump: can that binary inherit this heap?
//!
//! ```text
//! /usr/bin/next --read, never run--> .note.heirloom --> Candidate { format, roots }
//!                                                           |
//! roots record of the heap: name, byte form --- check ------+--> Ok, or the path of the first type that differs
//! ```
//!
//! The file is foreign: whatever it holds, the answer is a [`Candidate`] or a [`CandidateError`]. The bytes of both
//! sides are described in `heirloom_abi::note` and `heirloom_abi::types`.

#![expect(
    unsafe_code,
    reason = "the format note must stand in its own section, which is an unsafe attribute"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use heirloom_abi::heap::FORMAT_VERSION;
use heirloom_abi::note::{FORMAT_NOTE_BYTES, Format, Note, NoteBytes, NoteError, Notes, SECTION};
use heirloom_abi::types::TypesError;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, ReadCache, elf};

use crate::evolve::{self, NoWay, Way};

/// The version of the format of blocks (`heirloom-slab-v2`).
const BLOCK_VERSION: u32 = 2;

/// The bytes of a page in every heap.
const PAGE_BYTES: u32 = 4096;

/// More than any binary has in notes: 1,000 roots of the longest description.
const MAX_NOTES_BYTES: u64 = 64 << 20;

#[cfg(target_arch = "x86_64")]
const MACHINE: elf::Machine = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: elf::Machine = elf::EM_AARCH64;
#[cfg(target_arch = "riscv64")]
const MACHINE: elf::Machine = elf::EM_RISCV;

const _: () = assert!(cfg!(target_endian = "little"), "the records of a heap are read in place");

// SAFETY: the section holds notes, and these bytes are a whole note, aligned and padded as notes are.
#[used]
#[unsafe(link_section = ".note.heirloom")]
pub(crate) static FORMAT_NOTE: NoteBytes<FORMAT_NOTE_BYTES> = heirloom_abi::note::format_note(&Format {
    abi: FORMAT_VERSION..=FORMAT_VERSION,
    page_bytes: PAGE_BYTES,
    block: BLOCK_VERSION..=BLOCK_VERSION,
});

/// Returns the note that says which formats this binary understands.
///
/// Whoever opens a heap calls it: the linker takes only what something refers to out of a library, and a call whose
/// value is not used would be dropped before the linker sees it.
#[inline(never)]
pub(crate) fn format_note() -> &'static [u8] {
    black_box(FORMAT_NOTE.as_bytes())
}

/// The format of a heap: what a candidate has to understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapFormat {
    /// The version of the heap's format.
    pub abi: u32,
    /// The bytes of a page.
    pub page_bytes: u32,
    /// The version of the format of blocks.
    pub block: u32,
}

impl HeapFormat {
    /// The format of the heaps that this binary makes.
    pub const CURRENT: Self = Self { abi: FORMAT_VERSION, page_bytes: PAGE_BYTES, block: BLOCK_VERSION };
}

/// What the notes of a binary say.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The formats that it understands.
    format: Format,
    /// The byte form of the type of each root that it declares, by name.
    roots: BTreeMap<String, Vec<u8>>,
    /// What the type of each root says of its ancestors.
    rules: BTreeMap<String, Vec<u8>>,
}

/// Why a binary cannot inherit a heap.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CandidateError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The path leads to something else than a regular file.
    #[error("{path} is not a regular file")]
    NotFile {
        /// Which file.
        path: String,
    },
    /// Nobody may execute the file.
    #[error("{path} has mode {mode:03o}: nobody may execute it; try `chmod +x`")]
    NotExecutable {
        /// Which file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// The file is something else than a program.
    #[error("it is not an ELF file; name the binary itself, as a script cannot say what it can inherit")]
    NotElf,
    /// The program is for another machine.
    #[error(
        "it is a {bits}-bit {order}-endian program for ELF machine {machine}, this machine is 64-bit little-endian {}",
        MACHINE.0
    )]
    Foreign {
        /// The word size, or 0.
        bits: u8,
        /// `little`, `big`, or `unknown`.
        order: &'static str,
        /// The machine by its number in ELF, 0 if the header is of another shape.
        machine: u16,
    },
    /// The ELF file is an object, a core, or a library without an entry.
    #[error("it is an ELF file of type {e_type} with entry {entry:#x}, not a program that can be started")]
    NotProgram {
        /// The type by its number in ELF.
        e_type: u16,
        /// Where it starts.
        entry: u64,
    },
    /// The ELF file contradicts itself.
    #[error("it is a damaged ELF file: {0}")]
    Elf(#[from] object::read::Error),
    /// The notes are larger than is believed.
    #[error("it has {found} bytes of notes, more than {MAX_NOTES_BYTES}")]
    NotesSize {
        /// How many it has.
        found: u64,
    },
    /// A note is damaged.
    #[error("it has a damaged note in {SECTION}: {0}")]
    Note(#[from] NoteError),
    /// The program does not link heirloom, or was stripped of its notes.
    #[error(
        "it has no {SECTION} that says which formats it reads: it does not use heirloom, or its notes were stripped"
    )]
    NoNote,
    /// Two notes contradict each other.
    #[error(
        "it declares root {name:?} twice with different types; names of roots must be unique in a program"
    )]
    Twice {
        /// The name of the root.
        name: String,
    },
    /// Two notes say which formats are understood.
    #[error("it links two versions of heirloom, which disagree on the formats they read")]
    Formats,
    /// The program understands other versions of the heap's format.
    #[error("it reads heap format {from} to {to}, this heap has {heap}")]
    Abi {
        /// The first that it understands.
        from: u32,
        /// The last that it understands.
        to: u32,
        /// What the heap has.
        heap: u32,
    },
    /// The program understands other versions of the format of blocks.
    #[error("it reads block format {from} to {to}, this heap has {heap}")]
    Block {
        /// The first that it understands.
        from: u32,
        /// The last that it understands.
        to: u32,
        /// What the heap has.
        heap: u32,
    },
    /// The program works with pages of another size.
    #[error("it works with pages of {candidate} bytes, this heap has {heap}")]
    Page {
        /// What it works with.
        candidate: u32,
        /// What the heap has.
        heap: u32,
    },
    /// The program does not declare a root that the heap holds.
    #[error(
        "it does not declare root {name:?}, whose data would be stranded; declare it, or remove it from the heap"
    )]
    UnknownRoot {
        /// The name of the root.
        name: String,
    },
    /// The program gives a root another type.
    #[error("root {name:?} has another type: {difference} (heap -> program)")]
    Type {
        /// The name of the root.
        name: String,
        /// The text of the first difference.
        difference: String,
    },
    /// The description of a root's type is damaged, in the heap or in the program.
    #[error("root {name:?} has a damaged type: {error}")]
    Damaged {
        /// The name of the root.
        name: String,
        /// How it is damaged.
        error: TypesError,
    },
}

/// Reads what the notes of this very program say: what it can open, though nobody has asked before.
///
/// The notes are part of what the system has loaded, so they are read where they lie: a successor asks for them while nobody
/// answers, and opening, reading and searching a file takes a tenth of that time. The file is asked where they are not loaded.
pub fn read_own() -> Result<Candidate, CandidateError> {
    match collect_notes(own::find_notes()) {
        // The link leads to the file that runs, even where another one has taken its name.
        Err(CandidateError::NoNote) => read_candidate(Path::new("/proc/self/exe")),
        read => read,
    }
}

/// Reads what the notes of the program at `path` say, without running it.
pub fn read_candidate(path: &Path) -> Result<Candidate, CandidateError> {
    let named = || path.display().to_string();
    let failed = |error| CandidateError::Read { path: named(), error };
    // Asked before the file is opened, as opening a FIFO would wait for somebody to write into it.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(CandidateError::NotFile { path: named() });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o111 == 0 {
        return Err(CandidateError::NotExecutable { path: named(), mode });
    }
    let file = File::open(path).map_err(failed)?;
    let cache = ReadCache::new(file);
    read_program(&cache)
}

fn read_program<'data>(data: impl object::ReadRef<'data>) -> Result<Candidate, CandidateError> {
    let head = data.read_bytes_at(0, 20).map_err(|()| CandidateError::NotElf)?;
    if head[..4] != elf::ELFMAG {
        return Err(CandidateError::NotElf);
    }
    let machine = u16::from_le_bytes([head[18], head[19]]);
    if head[4] != elf::ELFCLASS64.0 || head[5] != elf::ELFDATA2LSB.0 || machine != MACHINE.0 {
        let bits = if head[4] == elf::ELFCLASS64.0 { 64 } else { 32 };
        let order = if head[5] == elf::ELFDATA2LSB.0 { "little" } else { "big" };
        let machine = if order == "little" { machine } else { machine.swap_bytes() };
        return Err(CandidateError::Foreign { bits, order, machine });
    }
    let header = elf::FileHeader64::<LittleEndian>::parse(data)?;
    let (e_type, entry) = (header.e_type(LittleEndian), header.e_entry(LittleEndian));
    // A shared library is ET_DYN as well, but starts nowhere.
    if !matches!(e_type, elf::ET_EXEC | elf::ET_DYN) || entry == 0 {
        return Err(CandidateError::NotProgram { e_type: e_type.0, entry });
    }
    collect_notes(find_notes(header, data)?)
}

/// Finds the section by its name, or, in a program without sections, the segments that it may stand in.
fn find_notes<'data>(
    header: &elf::FileHeader64<LittleEndian>,
    data: impl object::ReadRef<'data>,
) -> Result<Vec<&'data [u8]>, CandidateError> {
    let believe = |found| match found {
        0..=MAX_NOTES_BYTES => Ok(()),
        found => Err(CandidateError::NotesSize { found }),
    };
    let sections = header.sections(LittleEndian, data)?;
    if let Some((_, section)) = sections.section_by_name(LittleEndian, SECTION.as_bytes()) {
        believe(section.sh_size(LittleEndian))?;
        return Ok(vec![section.data(LittleEndian, data)?]);
    }
    let mut found = Vec::new();
    for segment in header.program_headers(LittleEndian, data)? {
        // Notes that are aligned to 8 bytes are padded otherwise, and never ours.
        if segment.p_type(LittleEndian) == elf::PT_NOTE && segment.p_align(LittleEndian) <= 4 {
            believe(segment.p_filesz(LittleEndian))?;
            found.push(segment.data(LittleEndian, data).map_err(|()| CandidateError::NoNote)?);
        }
    }
    Ok(found)
}

fn collect_notes(parts: Vec<&[u8]>) -> Result<Candidate, CandidateError> {
    let mut format = None;
    let (mut roots, mut rules) = (BTreeMap::new(), BTreeMap::new());
    for note in parts.into_iter().flat_map(Notes::new) {
        match note? {
            Note::Format(found) => {
                if format.replace(found.clone()).is_some_and(|before| before != found) {
                    return Err(CandidateError::Formats);
                }
            }
            Note::Root { name, ty } => {
                // The padding of a note is not part of `ty`: `descsz` leaves it out.
                if roots.insert(name.to_owned(), ty.to_owned()).is_some_and(|before| before != ty) {
                    return Err(CandidateError::Twice { name: name.to_owned() });
                }
            }
            // Where two say otherwise, the types differ as well, or a default does, which is code.
            Note::Rules { name, form } => drop(rules.insert(name.to_owned(), form.to_owned())),
        }
    }
    Ok(Candidate { format: format.ok_or(CandidateError::NoNote)?, roots, rules })
}

impl Candidate {
    /// Returns the formats that the program understands.
    #[must_use]
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Iterates over the roots that the program declares: name, and byte form of the type.
    pub fn roots(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.roots.iter().map(|(name, ty)| (name.as_str(), ty.as_slice()))
    }

    /// Compares what the program understands with what a heap is and holds: that each root is of its type, or of one that it can
    /// migrate.
    ///
    /// A root that the program declares and the heap does not have is created on its first use. The opposite is
    /// refused: nobody could reach that data again, nor free it.
    pub fn check<'heap>(
        &self,
        roots_in_heap: impl IntoIterator<Item = (&'heap str, &'heap [u8])>,
        heap: HeapFormat,
    ) -> Result<(), CandidateError> {
        self.check_format(heap)?;
        roots_in_heap.into_iter().try_for_each(|(name, ty)| self.find_way(name, ty).map(drop))
    }

    /// Asks whether the program understands the formats of a heap.
    pub(crate) fn check_format(&self, heap: HeapFormat) -> Result<(), CandidateError> {
        let Format { abi, page_bytes, block } = &self.format;
        if !abi.contains(&heap.abi) {
            return Err(CandidateError::Abi { from: *abi.start(), to: *abi.end(), heap: heap.abi });
        }
        if !block.contains(&heap.block) {
            return Err(CandidateError::Block { from: *block.start(), to: *block.end(), heap: heap.block });
        }
        if *page_bytes != heap.page_bytes {
            return Err(CandidateError::Page { candidate: *page_bytes, heap: heap.page_bytes });
        }
        Ok(())
    }

    /// Returns the byte form of a root's type.
    pub(crate) fn root(&self, name: &str) -> Result<&[u8], CandidateError> {
        let unknown = || CandidateError::UnknownRoot { name: name.to_owned() };
        Ok(self.roots.get(name).ok_or_else(unknown)?)
    }

    /// Returns what a root's type says of its ancestors.
    pub(crate) fn rules(&self, name: &str) -> Option<&[u8]> {
        self.rules.get(name).map(Vec::as_slice)
    }

    /// Finds how the program comes to its own type of a root from the one in a heap.
    pub(crate) fn find_way(&self, name: &str, in_heap: &[u8]) -> Result<Way, CandidateError> {
        let own = || name.to_owned();
        match evolve::find_way(in_heap, self.root(name)?, self.rules(name)) {
            Ok(way) => Ok(way),
            Err(NoWay::Refused(difference)) => Err(CandidateError::Type { name: own(), difference }),
            Err(NoWay::Damaged(error)) => Err(CandidateError::Damaged { name: own(), error }),
        }
    }
}

mod own;
#[cfg(test)]
mod tests;
