//! The ELF file of a kernel, and how it comes to lie in memory.
//!
//! ```text
//! file                                    memory, from any multiple of 2 MiB
//! | head | text | rodata | data |   --->  | text | rodata | data | zeros |
//!                                           ^ entry: what the note says, less the lowest address of the file
//! ```
//!
//! The same note that tells QEMU where a PVH kernel is entered (`Xen`, type 18) tells a predecessor. Kernels find out at their
//! start where they lie, so only distances count here, never the addresses in the file.
//!
//! Notes of ours (`formats`) tell whether the kernel reads what it would be left; one that does not is refused, as after the jump
//! it would be too late.
//!
//! A file is foreign input: whatever is wrong with it is found here, before a byte of memory is written.

use arrayvec::ArrayVec;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::note::{Note, NoteAny};
use elf::segment::ProgramHeader;
use heirloom_abi::note;

use crate::formats::{HANDED_OVER, NAME_BYTES, TYPE_READS};

/// The type of the note with the entry.
const NOTE_PHYS32_ENTRY: u32 = 18;

/// The most segments that are loaded.
const MAX_SEGMENTS: usize = 8;

/// The most memory that an image takes, in bytes: what its early page tables map.
pub const MAX_BYTES: u64 = 16 << 20;

/// A kernel, ready to be put into memory.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    segments: ArrayVec<Segment<'a>, MAX_SEGMENTS>,
    size_bytes: u64,
    entry: u64,
}

#[derive(Clone, Copy, Debug)]
struct Segment<'a> {
    /// From the start of the image.
    offset: usize,
    bytes: &'a [u8],
}

/// Why a file is not a kernel that can be put into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not an ELF file, or one cut short.
    #[error("successor is no whole ELF file")]
    Elf,
    /// An ELF file of something else.
    #[error("successor is an ELF file of type {ty} for machine {machine}, not a kernel for x86-64")]
    Kind {
        /// The type in its header.
        ty: u16,
        /// The machine in its header.
        machine: u16,
    },
    /// There is nothing to load, or more segments than are read.
    #[error("successor has {0} segments to load")]
    NrSegments(usize),
    /// A segment has more bytes in the file than in memory, or reaches beyond the address space.
    #[error("segment of the successor at {at:#x} is malformed")]
    Segment {
        /// Its physical address in the file.
        at: u64,
    },
    /// All in all too large.
    #[error("successor takes {0} bytes of memory, at most {MAX_BYTES} are allowed")]
    Size(u64),
    /// The successor does not say that it reads this format: what it is left would be lost.
    #[error("successor does not read {}, in which it would be left its memory", name_of(.0))]
    Format([u8; NAME_BYTES]),
    /// No note says where to enter, or it says so somewhere outside.
    #[error("successor has no note with its entry")]
    Entry,
}

impl<'a> Image<'a> {
    /// Reads an ELF file.
    ///
    /// # Errors
    ///
    /// Says why it is not a kernel that could be loaded, or not one that could take over.
    pub fn read(file: &'a [u8]) -> Result<Self, ImageError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| ImageError::Elf)?;
        let (ty, machine) = (elf.ehdr.e_type, elf.ehdr.e_machine);
        if ty != ET_EXEC || machine != EM_X86_64 || elf.ehdr.class != elf::file::Class::ELF64 {
            return Err(ImageError::Kind { ty, machine });
        }
        let headers = elf.segments().ok_or(ImageError::NrSegments(0))?;
        let loaded = || headers.iter().filter(|header| header.p_type == PT_LOAD);
        let nr_loaded = loaded().count();
        if nr_loaded == 0 || nr_loaded > MAX_SEGMENTS {
            return Err(ImageError::NrSegments(nr_loaded));
        }

        let lowest = loaded().map(|header| header.p_paddr).min().unwrap_or_default();
        let (mut segments, mut size_bytes) = (ArrayVec::new(), 0);
        for header in loaded() {
            let at = header.p_paddr;
            let bytes = elf.segment_data(&header).map_err(|_| ImageError::Elf)?;
            let offset = at - lowest;
            let end = offset.checked_add(header.p_memsz).ok_or(ImageError::Segment { at })?;
            if bytes.len() as u64 > header.p_memsz {
                return Err(ImageError::Segment { at });
            }
            size_bytes = size_bytes.max(end);
            if size_bytes > MAX_BYTES {
                return Err(ImageError::Size(size_bytes));
            }
            segments.push(Segment { offset: offset as usize, bytes });
        }
        let entry = find_note(&elf, entry_of).ok_or(ImageError::Entry)?;
        let entry = entry.checked_sub(lowest).filter(|entry| *entry < size_bytes).ok_or(ImageError::Entry)?;
        for format in HANDED_OVER {
            find_note(&elf, |note| is_reader_of(note, format).then_some(()))
                .ok_or(ImageError::Format(format))?;
        }
        Ok(Self { segments, size_bytes, entry })
    }

    /// Returns how much memory the image takes, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns how far from its start the image is entered, in bytes.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Puts the image into memory: its segments, and zeros everywhere else.
    ///
    /// # Panics
    ///
    /// If `into` is not of [`Image::size_bytes`] bytes.
    pub fn load(&self, into: &mut [u8]) {
        assert_eq!(into.len() as u64, self.size_bytes);
        into.fill(0);
        for segment in &self.segments {
            into[segment.offset..segment.offset + segment.bytes.len()].copy_from_slice(segment.bytes);
        }
    }
}

/// Finds what is looked for in the notes of all segments.
fn find_note<'a, T>(elf: &ElfBytes<'a, LittleEndian>, look: impl Fn(&NoteAny<'a>) -> Option<T>) -> Option<T> {
    let of_segment = |header: ProgramHeader| {
        let mut notes = elf.segment_data_as_notes(&header).ok()?;
        notes.find_map(|note| match note {
            Note::Unknown(note) => look(&note),
            _ => None,
        })
    };
    elf.segments()?.iter().filter(|header| header.p_type == PT_NOTE).find_map(of_segment)
}

fn entry_of(note: &NoteAny<'_>) -> Option<u64> {
    let is_entry = note.name == b"Xen\0" && note.n_type == u64::from(NOTE_PHYS32_ENTRY);
    is_entry.then(|| note.desc.try_into().ok().map(u64::from_le_bytes))?
}

fn is_reader_of(note: &NoteAny<'_>, format: [u8; NAME_BYTES]) -> bool {
    note.name == note::NAME && note.n_type == u64::from(TYPE_READS) && note.desc == format
}

fn name_of(format: &[u8; NAME_BYTES]) -> &str {
    core::str::from_utf8(format).unwrap_or("another format").trim_end_matches('\0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::NOTES;

    /// A kernel of two segments: 8 bytes at 2 MiB, 4 bytes and 12 zeros 4 KiB above; entered at the third byte.
    fn file() -> [u8; 336] {
        let mut file = [0; 336];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01\x01");
        put(16, &[2, 0, 62, 0, 1, 0, 0, 0]);
        put(32, &64_u64.to_le_bytes());
        put(52, &[64, 0, 56, 0, 3, 0, 64, 0, 0, 0, 0, 0]);
        // type, offset, physical address, bytes in the file, bytes in memory, alignment
        let headers: [(u32, u64, u64, u64, u64, u64); 3] = [
            (PT_LOAD, 232, 0x20_0000, 8, 8, 4096),
            (PT_LOAD, 240, 0x20_1000, 4, 16, 4096),
            (PT_NOTE, 248, 0x20_0000, 88, 88, 4),
        ];
        for (at, (ty, offset, address, in_file, in_memory, align)) in (64..).step_by(56).zip(headers) {
            put(at, &ty.to_le_bytes());
            for (index, value) in [(8, offset), (24, address), (32, in_file), (40, in_memory), (48, align)] {
                put(at + index, &value.to_le_bytes());
            }
        }
        put(232, b"the text");
        put(240, b"data");
        put(248, &[4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0]);
        put(260, b"Xen\0");
        put(264, &0x20_0002_u64.to_le_bytes());
        put(272, NOTES.0.as_flattened());
        file
    }

    #[test]
    fn segments_come_to_lie_where_the_file_says_and_the_rest_is_zero() {
        let file = file();
        let image = Image::read(&file).expect("a kernel");
        assert_eq!((image.size_bytes(), image.entry()), (0x1010, 2));
        let mut memory = [0xaa; 0x1010];
        image.load(&mut memory);
        assert_eq!(&memory[..8], b"the text");
        assert_eq!(&memory[0x1000..0x1004], b"data");
        assert!(memory[8..0x1000].iter().chain(&memory[0x1004..]).all(|byte| *byte == 0));
    }

    #[test]
    fn what_cannot_be_loaded_is_refused() {
        let broken = |at: usize, bytes: &[u8]| {
            let mut file = file();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            Image::read(&file).map(|_| ()).expect_err("broken")
        };
        assert_eq!(broken(0, b"MZ"), ImageError::Elf);
        assert_eq!(broken(16, &[3]), ImageError::Kind { ty: 3, machine: 62 });
        assert_eq!(broken(64, &[0]), ImageError::Entry);
        assert_eq!(broken(56, &[0]), ImageError::NrSegments(0));
        assert_eq!(broken(64 + 40, &[7]), ImageError::Segment { at: 0x20_0000 });
        assert_eq!(broken(64 + 40, &[0xff; 8]), ImageError::Size(u64::MAX));
        assert_eq!(broken(120 + 40, &[0xff; 8]), ImageError::Segment { at: 0x20_1000 });
        assert_eq!(broken(64 + 8, &[0xff; 8]), ImageError::Elf);
        assert_eq!(broken(248 + 8, &[17]), ImageError::Entry);
        assert_eq!(broken(264, &[0, 0, 0x40]), ImageError::Entry);
        assert_eq!(broken(272 + 24, b"kho-v5"), ImageError::Format(*b"kho-v4\0\0"));
        assert_eq!(broken(272 + 56, b"HLBLOCK0"), ImageError::Format(*b"HLBLOCK1"));
        assert_eq!(broken(272 + 8, &[1]), ImageError::Format(*b"kho-v4\0\0"));
    }

    #[test]
    fn no_single_byte_makes_the_reader_panic() {
        let good = file();
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good;
                bad[at] = value;
                if let Ok(image) = Image::read(&bad) {
                    assert!(image.size_bytes() <= MAX_BYTES && image.entry() < image.size_bytes());
                }
            }
        }
        for len in 0..336 {
            assert!(Image::read(&good[..len]).is_err(), "{len} bytes");
        }
    }
}
