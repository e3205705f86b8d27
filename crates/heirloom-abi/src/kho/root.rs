//! The root FDT of Kexec Handover: one page that says where everything else is.
//!
//! ```text
//! / {
//!     compatible = "kho-v4";
//!     preserved-memory-map = u64;     address of the radix tree's root
//!     heirloom-slab {                 one node for each subsystem
//!         preserved-data = u64;       address of its record
//!         blob-size = u64;            bytes of that record
//!     };
//! };
//! ```
//!
//! The numbers are in the machine's byte order, little-endian on every machine that has Kexec Handover, while the
//! FDT around them is big-endian.
//!
//! Source of the format: "Core Kexec Handover ABI" in the
//! [Kexec Handover ABI](https://docs.kernel.org/core-api/kho/abi.html), Linux 7.2. Properties and nodes that it does not
//! name are ignored, as Linux ignores them; `compatible` changes when one of them must not be.

use super::fdt::{Fdt, FdtError, FdtWriter, ShortText, Token};
use super::radix::PAGE_BYTES;
use crate::le::get_u64;

/// The `compatible` string, without its terminating zero.
pub const COMPATIBLE: &str = "kho-v4";

const COMPATIBLE_PROPERTY: &str = "compatible";
const MAP_PROPERTY: &str = "preserved-memory-map";
const DATA_PROPERTY: &str = "preserved-data";
const SIZE_PROPERTY: &str = "blob-size";
const PROPERTIES: [&str; 4] = [COMPATIBLE_PROPERTY, MAP_PROPERTY, DATA_PROPERTY, SIZE_PROPERTY];

/// What one subsystem hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnode<'a> {
    /// Name of the subsystem.
    pub name: &'a str,
    /// Address of its record.
    pub data: u64,
    /// Bytes of its record.
    pub size_bytes: u64,
}

/// A root FDT that was read and found sound. The addresses in it are still foreign.
#[derive(Clone, Copy, Debug)]
pub struct RootFdt<'a> {
    fdt: Fdt<'a>,
    map: u64,
}

impl<'a> RootFdt<'a> {
    /// Validates the root FDT that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// The first [`FdtError`] found; [`FdtError::OtherKho`] names another version of the format.
    pub fn read(bytes: &'a [u8]) -> Result<Self, FdtError> {
        let fdt = Fdt::read(bytes)?;
        if fdt.size() as u64 > PAGE_BYTES {
            return Err(FdtError::TooLarge { size: fdt.size() });
        }
        let (mut compatible, mut map, mut depth) = (None, None, 0);
        for token in fdt.tokens() {
            match token {
                Token::BeginNode { .. } => depth += 1,
                Token::EndNode => depth -= 1,
                Token::Property { name: COMPATIBLE_PROPERTY, value } if depth == 1 => {
                    once(&mut compatible, COMPATIBLE_PROPERTY, value)?;
                }
                Token::Property { name: MAP_PROPERTY, value } if depth == 1 => {
                    once(&mut map, MAP_PROPERTY, value)?;
                }
                Token::Property { .. } => {}
            }
        }
        // The version comes first: another one may well lack what this one demands.
        understood(compatible.ok_or(FdtError::Missing { property: COMPATIBLE_PROPERTY })?)?;
        let map = number(map, MAP_PROPERTY)?;
        let root = Self { fdt, map };
        for (index, node) in root.raw_subnodes().enumerate() {
            let Subnode { name, .. } = node?;
            if root.subnodes().take(index).any(|earlier| earlier.name == name) {
                return Err(FdtError::Twice { name: ShortText::new(name.as_bytes()) });
            }
        }
        Ok(root)
    }

    /// Returns the address of the preserved-memory map's root.
    #[must_use]
    pub const fn map(&self) -> u64 {
        self.map
    }

    /// Finds the subsystem with this name.
    #[must_use]
    pub fn subnode(&self, name: &str) -> Option<Subnode<'a>> {
        self.subnodes().find(|node| node.name == name)
    }

    /// Iterates over the subsystems, in the order in which they stand there.
    pub fn subnodes(&self) -> impl Iterator<Item = Subnode<'a>> + use<'a> {
        // `read` has seen each of them to be sound.
        self.raw_subnodes().map_while(Result::ok)
    }

    /// Writes a root FDT into `page` and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// [`FdtError::Full`] if it does not fit the page (or one of 4 KiB), [`FdtError::Name`] or [`FdtError::Twice`] if a name cannot be a
    /// subsystem's. The page holds no tree then.
    pub fn write(page: &mut [u8], map: u64, subnodes: &[Subnode<'_>]) -> Result<usize, FdtError> {
        let room = page.len().min(PAGE_BYTES as usize);
        let mut writer = FdtWriter::new(page.get_mut(..room).unwrap_or_default(), &PROPERTIES)?;
        for (index, node) in subnodes.iter().enumerate() {
            if subnodes.iter().take(index).any(|earlier| earlier.name == node.name) {
                return Err(FdtError::Twice { name: ShortText::new(node.name.as_bytes()) });
            }
        }
        writer.begin_node("")?;
        writer.property(COMPATIBLE_PROPERTY, b"kho-v4\0")?;
        writer.property(MAP_PROPERTY, &map.to_le_bytes())?;
        for node in subnodes {
            writer.begin_node(node.name)?;
            writer.property(DATA_PROPERTY, &node.data.to_le_bytes())?;
            writer.property(SIZE_PROPERTY, &node.size_bytes.to_le_bytes())?;
            writer.end_node()?;
        }
        writer.end_node()?;
        writer.finish()
    }

    fn raw_subnodes(&self) -> impl Iterator<Item = Result<Subnode<'a>, FdtError>> + use<'a> {
        let mut tokens = self.fdt.tokens();
        // Into the root.
        let mut depth = tokens.next().map_or(0, |_| 1);
        core::iter::from_fn(move || {
            let (mut node, mut data, mut size) = ("", None, None);
            loop {
                match tokens.next()? {
                    Token::BeginNode { name } => {
                        depth += 1;
                        if depth == 2 {
                            node = name;
                        }
                    }
                    Token::Property { name: DATA_PROPERTY, value } if depth == 2 => {
                        if let Err(error) = once(&mut data, DATA_PROPERTY, value) {
                            return Some(Err(error));
                        }
                    }
                    Token::Property { name: SIZE_PROPERTY, value } if depth == 2 => {
                        if let Err(error) = once(&mut size, SIZE_PROPERTY, value) {
                            return Some(Err(error));
                        }
                    }
                    Token::Property { .. } => {}
                    Token::EndNode => {
                        depth -= 1;
                        if depth == 1 {
                            return Some(subnode(node, data, size));
                        }
                    }
                }
            }
        })
    }
}

fn subnode<'a>(name: &'a str, data: Option<&[u8]>, size: Option<&[u8]>) -> Result<Subnode<'a>, FdtError> {
    let (data, size_bytes) = (number(data, DATA_PROPERTY)?, number(size, SIZE_PROPERTY)?);
    Ok(Subnode { name, data, size_bytes })
}

/// Stores a property's value unless there is one already.
fn once<'a>(slot: &mut Option<&'a [u8]>, name: &str, value: &'a [u8]) -> Result<(), FdtError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(FdtError::Twice { name: ShortText::new(name.as_bytes()) }),
    }
}

fn number(value: Option<&[u8]>, property: &'static str) -> Result<u64, FdtError> {
    let value = value.ok_or(FdtError::Missing { property })?;
    match get_u64(value, 0) {
        Some(number) if value.len() == size_of::<u64>() => Ok(number),
        _ => Err(FdtError::Value { property, size: value.len() }),
    }
}

/// Refuses every `compatible` but our own, by name where it has one.
fn understood(compatible: &[u8]) -> Result<(), FdtError> {
    if compatible.strip_suffix(b"\0") == Some(COMPATIBLE.as_bytes()) {
        return Ok(());
    }
    let version = compatible.strip_suffix(b"\0").and_then(|text| text.strip_prefix(b"kho-v"));
    let version = version.and_then(|digits| core::str::from_utf8(digits).ok()?.parse().ok());
    Err(match version {
        Some(version) if version != 4 => FdtError::OtherKho { version },
        _ => FdtError::NotKho { found: ShortText::new(compatible) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [Subnode<'static>; 2] = [
        Subnode { name: "heirloom-slab", data: 0x1_2345_6789_a000, size_bytes: 4096 },
        Subnode { name: "heirloom-roots", data: 0x3000, size_bytes: 77 },
    ];

    fn page() -> ([u8; 4096], usize) {
        let mut page = [0xff; 4096];
        let size = RootFdt::write(&mut page, 0x2000, &NODES).unwrap();
        (page, size)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (page, size) = page();
        let root = RootFdt::read(&page[..size]).unwrap();
        assert_eq!(root.map(), 0x2000);
        assert!(root.subnodes().eq(NODES));
        assert_eq!(root.subnode("heirloom-roots"), Some(NODES[1]));
        assert_eq!(root.subnode("memfd"), None);
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        let at = |page: &[u8]| page.windows(6).position(|text| text == b"kho-v4").unwrap();
        for version in [1, 2, 3, 5] {
            let (mut page, _) = page();
            let at = at(&page);
            page[at + 5] = b'0' + version;
            let version = u32::from(version);
            assert_eq!(RootFdt::read(&page).unwrap_err(), FdtError::OtherKho { version });
        }
        let (mut page, _) = page();
        let at = at(&page);
        page[at] = b'x';
        let found = ShortText::new(b"xho-v4");
        assert_eq!(RootFdt::read(&page).unwrap_err(), FdtError::NotKho { found });
    }

    #[test]
    fn a_page_that_is_too_small_holds_no_tree() {
        let (_, size) = page();
        for room in 0..size {
            let mut page = [0xff; 4096];
            let written = RootFdt::write(&mut page[..room], 0x2000, &NODES);
            assert!(matches!(written, Err(FdtError::Full { .. })), "{room} bytes: {written:?}");
            assert!(RootFdt::read(&page).is_err());
        }
        let mut page = [0xff; 4096];
        assert_eq!(RootFdt::write(&mut page[..size], 0x2000, &NODES), Ok(size));
    }

    #[test]
    fn a_tree_cut_anywhere_is_refused() {
        let (page, size) = page();
        for cut in 0..size {
            assert!(RootFdt::read(&page[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_name_twice_is_refused() {
        let mut page = [0; 4096];
        let twice = RootFdt::write(&mut page, 0, &[NODES[0], NODES[0]]);
        assert_eq!(twice, Err(FdtError::Twice { name: ShortText::new(b"heirloom-slab") }));
        assert!(RootFdt::read(&page).is_err());
    }

    #[test]
    fn a_subsystem_without_a_size_is_refused() {
        let mut page = [0; 512];
        let mut writer = FdtWriter::new(&mut page, &PROPERTIES).unwrap();
        writer.begin_node("").unwrap();
        writer.property(COMPATIBLE_PROPERTY, b"kho-v4\0").unwrap();
        writer.property(MAP_PROPERTY, &[0; 8]).unwrap();
        writer.begin_node("memfd").unwrap();
        writer.property(DATA_PROPERTY, &[0; 8]).unwrap();
        writer.end_node().unwrap();
        writer.end_node().unwrap();
        writer.finish().unwrap();
        assert_eq!(RootFdt::read(&page).unwrap_err(), FdtError::Missing { property: SIZE_PROPERTY });
    }
}
