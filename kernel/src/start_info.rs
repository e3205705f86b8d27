//! What a generation is told at its start: `hvm_start_info`, the structure of the PVH boot convention.
//!
//! ```text
//! hvm_start_info (56 bytes, version 1)                    memory map: entries of 24 bytes
//!  0  magic          u32  0x336ec578                       0  address  u64
//!  4  version        u32                                   8  size     u64
//!  8  flags          u32                                  16  type     u32   1 is RAM
//! 12  nr_modules     u32                                  20  reserved u32
//! 16  modules        u64  -----> entries of 32 bytes
//! 24  command_line   u64  ---+    0  address       u64    the first module without a command line: the ELF file of
//! 32  rsdp           u64     |    8  size          u64    the successor, as QEMU passes the file of `-initrd`
//! 40  memory_map     u64     |   16  command_line  u64    `kho`: the handover record
//! 48  nr_entries     u32     |   24  reserved      u64
//! 52  reserved       u32     +-> bytes up to a NUL
//! ```
//!
//! QEMU's firmware writes it for the first generation, and each generation for its successor ([`StartInfo::write`]).

use arrayvec::{ArrayString, ArrayVec};

use crate::range::PhysRange;
use crate::record;

/// The first word of the structure.
pub const MAGIC: u32 = 0x336e_c578;

/// The most entries of a memory map that are read.
pub const MAX_ENTRIES: usize = 64;

/// The most bytes of a command line that are read.
pub const MAX_COMMAND_LINE_BYTES: usize = 256;

/// The type of a memory map's entry that is RAM.
pub const RAM: u32 = 1;

const HEAD_BYTES: usize = 56;
const ENTRY_BYTES: usize = 24;
const MODULE_BYTES: usize = 32;
const MAX_MODULES: u32 = 16;

/// One entry of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The addresses.
    pub range: PhysRange,
    /// What is there: [`RAM`], or something to keep away from.
    pub ty: u32,
}

/// What a generation is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartInfo {
    /// The memory map of the firmware, the same for every generation.
    pub memory_map: ArrayVec<Entry, MAX_ENTRIES>,
    /// The options of the run, the same for every generation.
    pub command_line: ArrayString<MAX_COMMAND_LINE_BYTES>,
    /// The ELF file of the successor.
    pub successor: Option<PhysRange>,
    /// The handover record; there is none at the first start.
    pub record: Option<PhysRange>,
}

/// Why memory does not hold a start info.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartInfoError {
    /// Something lies where no memory is.
    #[error("start info names {len} bytes at {at:#x}, where no memory is")]
    Unreadable {
        /// The address.
        at: u64,
        /// The bytes.
        len: usize,
    },
    /// The magic is another.
    #[error("start info with magic {0:#x}, not {MAGIC:#x}")]
    Magic(u32),
    /// Version 0 has no memory map.
    #[error("start info of version {0}, which has no memory map")]
    Version(u32),
    /// There are no entries in the memory map, or too many.
    #[error("memory map of {0} entries")]
    NrEntries(u32),
    /// There are too many modules.
    #[error("{0} boot modules")]
    NrModules(u32),
    /// A range reaches beyond the address space, or a module is empty.
    #[error("start info names {size_bytes} bytes at {start:#x}")]
    Range {
        /// Where it starts.
        start: u64,
        /// Its bytes.
        size_bytes: u64,
    },
    /// The command line has no end, or is no UTF-8.
    #[error("command line is too long or not text")]
    CommandLine,
}

/// Why a start info cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The memory for it is too small.
    #[error("start info of {needed} bytes, there is room for {room}")]
    Full {
        /// The bytes it has.
        needed: usize,
        /// The bytes there are.
        room: usize,
    },
}

/// Fills the buffer from physical memory; says whether there is memory.
pub trait ReadPhysical: Fn(u64, &mut [u8]) -> bool {}

impl<F: Fn(u64, &mut [u8]) -> bool> ReadPhysical for F {}

impl StartInfo {
    /// Reads the structure at a physical address.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it. What it names is looked at only as far as it is part of the structure.
    pub fn read(at: u64, memory: impl ReadPhysical) -> Result<Self, StartInfoError> {
        let head: [u8; HEAD_BYTES] = bytes_at(&memory, at)?;
        if u32_at(&head, 0) != MAGIC {
            return Err(StartInfoError::Magic(u32_at(&head, 0)));
        }
        if u32_at(&head, 4) == 0 {
            return Err(StartInfoError::Version(0));
        }
        let mut info = Self {
            memory_map: read_memory_map(u64_at(&head, 40), u32_at(&head, 48), &memory)?,
            command_line: read_text(u64_at(&head, 24), &memory)?,
            successor: None,
            record: None,
        };
        let nr_modules = u32_at(&head, 12);
        if nr_modules > MAX_MODULES {
            return Err(StartInfoError::NrModules(nr_modules));
        }
        for index in 0..u64::from(nr_modules) {
            let module: [u8; MODULE_BYTES] =
                bytes_at(&memory, u64_at(&head, 16).wrapping_add(index * MODULE_BYTES as u64))?;
            let range = range_of(u64_at(&module, 0), u64_at(&module, 8))?;
            let name: ArrayString<16> = match read_text(u64_at(&module, 16), &memory) {
                // The name of somebody else's module may be as long as it likes.
                Err(StartInfoError::CommandLine) => continue,
                name => name?,
            };
            match name.as_str() {
                "" if info.successor.is_none() => info.successor = Some(range),
                record::MODULE_NAME => info.record = Some(range),
                _ => {}
            }
        }
        Ok(info)
    }

    /// Writes the structure, and all that it names but the modules themselves, for memory that starts at the physical
    /// address `at`. The structure itself comes first.
    ///
    /// # Errors
    ///
    /// Says how much memory it takes if that is more than there is.
    pub fn write(&self, into: &mut [u8], at: u64) -> Result<(), WriteError> {
        let nr_modules = usize::from(self.successor.is_some()) + usize::from(self.record.is_some());
        let (modules, name) = (HEAD_BYTES, record::MODULE_NAME.as_bytes());
        let map = modules + nr_modules * MODULE_BYTES;
        let record_name = map + self.memory_map.len() * ENTRY_BYTES;
        let command_line = record_name + name.len() + 1;
        let needed = command_line + self.command_line.len() + 1;
        let room = into.len();
        let into = into.get_mut(..needed).ok_or(WriteError::Full { needed, room })?;

        into.fill(0);
        let mut put = |offset: usize, bytes: &[u8]| into[offset..offset + bytes.len()].copy_from_slice(bytes);
        let address = |offset: usize| (at + offset as u64).to_le_bytes();
        put(0, &MAGIC.to_le_bytes());
        put(4, &1_u32.to_le_bytes());
        put(12, &(nr_modules as u32).to_le_bytes());
        put(16, &address(modules));
        put(24, &address(command_line));
        put(40, &address(map));
        put(48, &(self.memory_map.len() as u32).to_le_bytes());

        let ranges = [(self.successor, false), (self.record, true)];
        for (slot, (range, is_record)) in
            ranges.iter().filter_map(|&(range, is)| Some((range?, is))).enumerate()
        {
            let module = modules + slot * MODULE_BYTES;
            put(module, &range.start.to_le_bytes());
            put(module + 8, &range.size_bytes().to_le_bytes());
            if is_record {
                put(module + 16, &address(record_name));
            }
        }
        for (index, entry) in self.memory_map.iter().enumerate() {
            put(map + index * ENTRY_BYTES, &entry.range.start.to_le_bytes());
            put(map + index * ENTRY_BYTES + 8, &entry.range.size_bytes().to_le_bytes());
            put(map + index * ENTRY_BYTES + 16, &entry.ty.to_le_bytes());
        }
        put(record_name, name);
        put(command_line, self.command_line.as_bytes());
        Ok(())
    }

    /// Iterates over the ranges of RAM, as far as they lie below `limit`.
    pub fn ram(&self, limit: u64) -> impl Iterator<Item = PhysRange> {
        let ram = self.memory_map.iter().filter(|entry| entry.ty == RAM).map(|entry| entry.range);
        ram.map(move |range| PhysRange { end: range.end.min(limit), ..range })
            .filter(|range| range.start < range.end)
    }

    /// Returns the value of a `name=value` word of the command line.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut words = self.command_line.split_ascii_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

fn read_memory_map(
    at: u64,
    nr_entries: u32,
    memory: &impl ReadPhysical,
) -> Result<ArrayVec<Entry, MAX_ENTRIES>, StartInfoError> {
    if nr_entries == 0 || nr_entries as usize > MAX_ENTRIES {
        return Err(StartInfoError::NrEntries(nr_entries));
    }
    let mut map = ArrayVec::new();
    for index in 0..u64::from(nr_entries) {
        let entry: [u8; ENTRY_BYTES] = bytes_at(memory, at.wrapping_add(index * ENTRY_BYTES as u64))?;
        let (start, size_bytes) = (u64_at(&entry, 0), u64_at(&entry, 8));
        if size_bytes > 0 {
            map.push(Entry { range: range_of(start, size_bytes)?, ty: u32_at(&entry, 16) });
        }
    }
    Ok(map)
}

/// Reads up to a NUL; nothing lies at address 0.
fn read_text<const N: usize>(at: u64, memory: &impl ReadPhysical) -> Result<ArrayString<N>, StartInfoError> {
    let mut bytes = ArrayVec::<u8, N>::new();
    if at == 0 {
        return Ok(ArrayString::new());
    }
    loop {
        match bytes_at(memory, at.wrapping_add(bytes.len() as u64))? {
            [0] => break,
            [byte] => bytes.try_push(byte).map_err(|_| StartInfoError::CommandLine)?,
        }
    }
    let text = core::str::from_utf8(&bytes).map_err(|_| StartInfoError::CommandLine)?;
    ArrayString::from(text).map_err(|_| StartInfoError::CommandLine)
}

fn bytes_at<const N: usize>(memory: &impl ReadPhysical, at: u64) -> Result<[u8; N], StartInfoError> {
    let mut bytes = [0; N];
    if memory(at, &mut bytes) { Ok(bytes) } else { Err(StartInfoError::Unreadable { at, len: N }) }
}

fn range_of(start: u64, size_bytes: u64) -> Result<PhysRange, StartInfoError> {
    let range = PhysRange::new(start, size_bytes).filter(|range| range.size_bytes() > 0);
    range.ok_or(StartInfoError::Range { start, size_bytes })
}

/// Callers read inside what they have.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(core::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the memory of these tests starts.
    const AT: u64 = 0x8000;

    fn info() -> StartInfo {
        let range = |start, end| PhysRange { start, end };
        let entries = [(0, 0x9_fc00, 1), (0x10_0000, 0x1ffe_0000, 1), (0x1ffe_0000, 0x2000_0000, 2)];
        StartInfo {
            memory_map: entries
                .map(|(start, end, ty)| Entry { range: range(start, end), ty })
                .into_iter()
                .collect(),
            command_line: ArrayString::from("generations=20 seed=7").expect("fits"),
            successor: Some(range(0x40_0000, 0x44_0000)),
            record: Some(range(0x50_0000, 0x50_0030)),
        }
    }

    fn written(info: &StartInfo) -> [u8; 512] {
        let mut bytes = [0xaa; 512];
        info.write(&mut bytes, AT).expect("fits");
        bytes
    }

    fn read(bytes: &[u8]) -> Result<StartInfo, StartInfoError> {
        StartInfo::read(AT, |at, into: &mut [u8]| {
            let Some(offset) = at.checked_sub(AT).and_then(|offset| usize::try_from(offset).ok()) else {
                return false;
            };
            let end = offset.checked_add(into.len());
            let Some(from) = end.and_then(|end| bytes.get(offset..end)) else { return false };
            into.copy_from_slice(from);
            true
        })
    }

    #[test]
    fn what_is_written_reads_back() {
        for (successor, record) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut info = info();
            info.successor = info.successor.filter(|_| successor);
            info.record = info.record.filter(|_| record);
            assert_eq!(read(&written(&info)), Ok(info));
        }
        assert_eq!(info().option("generations"), Some("20"));
        assert_eq!(info().ram(u64::MAX).map(PhysRange::size_bytes).sum::<u64>(), 0x9_fc00 + 0x1fee_0000);
        assert_eq!(info().ram(0x20_0000).map(PhysRange::size_bytes).sum::<u64>(), 0x9_fc00 + 0x10_0000);
        assert_eq!(info().ram(0x1000).count(), 1);
        assert_eq!(info().option("generation"), None);
    }

    #[test]
    fn too_little_room_is_said_with_the_bytes_it_takes() {
        let needed = 56 + 2 * 32 + 3 * 24 + 4 + 22;
        assert_eq!(info().write(&mut [0; 100], AT), Err(WriteError::Full { needed, room: 100 }));
        assert_eq!(info().write(&mut [0; 218], AT), Ok(()));
    }

    #[test]
    fn no_single_byte_makes_the_reader_panic_or_loop() {
        let good = written(&info());
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good;
                bad[at] = value;
                let _ = read(&bad);
            }
        }
        for len in 0..218 {
            assert!(read(&good[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn what_is_not_a_start_info_is_refused() {
        let good = written(&info());
        let broken = |at: usize, value: &[u8]| {
            let mut bad = good;
            bad[at..at + value.len()].copy_from_slice(value);
            read(&bad)
        };
        assert_eq!(broken(0, &[0x79]), Err(StartInfoError::Magic(0x336e_c579)));
        assert_eq!(broken(4, &[0]), Err(StartInfoError::Version(0)));
        assert_eq!(broken(12, &[17]), Err(StartInfoError::NrModules(17)));
        assert_eq!(broken(48, &[0]), Err(StartInfoError::NrEntries(0)));
        assert_eq!(broken(48, &[65]), Err(StartInfoError::NrEntries(65)));
        assert!(matches!(broken(40, &[0xff; 8]), Err(StartInfoError::Unreadable { .. })));
        assert!(matches!(broken(56 + 8, &[0; 8]), Err(StartInfoError::Range { .. })));
    }
}
