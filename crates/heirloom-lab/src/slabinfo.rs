//! `/proc/slabinfo`: which caches a kernel has, how large their objects are, how many there are, and how SLUB cut its pages.
//!
//! ```text
//! # name   <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables ... : slabdata ...
//! dentry          195132     195132       192           21              1 : tunables  0  0  0 : slabdata ...
//! ```
//!
//! Only what the lab needs is read: the first six columns. `objsize` is the size of a slot; how many bytes of it an object asked for the
//! table does not tell, so an object is taken to be as large as its slot.

/// The machine whose table is the default workload: a small virtual machine that builds and tests Rust.
pub const BUILD_MACHINE: &str = include_str!("../data/build-machine.slabinfo");

/// A host of virtual machines, 32 GiB, as its administrator posted it to linux-mm in 2010.
pub const KVM_HOST: &str = include_str!("../data/kvm-host.slabinfo");

/// Pages that a slab can have: 2^10 is the largest block of a page allocator.
const MAX_SLAB_PAGES: u64 = 1 << 10;

/// One cache that has objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheLine {
    /// Its name.
    pub name: String,
    /// Objects that were allocated.
    pub active: u64,
    /// Bytes of a slot.
    pub slot_bytes: u64,
    /// Slots of a slab.
    pub slots: u32,
    /// Binary logarithm of a slab's pages.
    pub order: u32,
}

/// A table is not one of `/proc/slabinfo`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlabinfoError {
    /// The first line that is no comment does not say which version it is.
    #[error("no `slabinfo - version: 2.x` line; read /proc/slabinfo as root")]
    NoVersion,
    /// A line is not one.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No cache has an object.
    #[error("no cache has an object")]
    Empty,
}

/// Reads a table: the caches with objects, most objects first.
///
/// # Errors
///
/// [`SlabinfoError`].
pub fn parse(text: &str) -> Result<Vec<CacheLine>, SlabinfoError> {
    let mut lines = text
        .lines()
        .zip(1..)
        .filter(|(text, _)| !text.trim_start().starts_with('#') && !text.trim().is_empty());
    let version = lines.next().map_or("", |(text, _)| text.trim());
    if !version.starts_with("slabinfo - version: 2.") {
        return Err(SlabinfoError::NoVersion);
    }
    let mut caches = Vec::new();
    for (text, line) in lines {
        caches.extend(parse_line(text).map_err(|what| SlabinfoError::Line { line, what })?);
    }
    caches.sort_by_key(|cache| std::cmp::Reverse(cache.active));
    if caches.is_empty() { Err(SlabinfoError::Empty) } else { Ok(caches) }
}

fn parse_line(text: &str) -> Result<Option<CacheLine>, &'static str> {
    let mut columns = text.split_whitespace();
    let name = columns.next().ok_or("it is empty")?.to_owned();
    let mut number = |what| columns.next().and_then(|column| column.parse::<u64>().ok()).ok_or(what);
    let active = number("no number of active objects")?;
    number("no number of objects")?;
    let slot_bytes = number("no object size")?;
    let slots = number("no objects per slab")?;
    let pages = number("no pages per slab")?;
    if !pages.is_power_of_two() || pages > MAX_SLAB_PAGES {
        return Err("the pages of a slab are no power of two up to 1024");
    }
    let whole = (slot_bytes > 0 && slots > 0).then(|| slot_bytes.checked_mul(slots)).flatten();
    if whole.is_none_or(|bytes| bytes > pages * heirloom_mm::PAGE_BYTES) || slots > 1 << 15 {
        return Err("the objects of a slab do not fit into its pages");
    }
    if slot_bytes % 8 != 0 {
        return Err("the object size is no multiple of 8, as SLUB's are");
    }
    let (slots, order) = (slots as u32, pages.ilog2());
    Ok((active > 0).then_some(CacheLine { name, active, slot_bytes, slots, order }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_of_real_machines_are_read() {
        let build = parse(BUILD_MACHINE).expect("a real table");
        let dentry = build.iter().find(|cache| cache.name == "dentry").expect("every kernel has dentries");
        assert_eq!((dentry.slot_bytes, dentry.slots, dentry.order), (192, 21, 0));
        assert!(build.len() > 100);

        let host = parse(KVM_HOST).expect("a real table");
        assert_eq!(host[0].name, "kmalloc-64");
        let vcpu = host.iter().find(|cache| cache.name == "kvm_vcpu").expect("it runs guests");
        assert_eq!((vcpu.active, vcpu.slot_bytes, vcpu.slots, vcpu.order), (38, 10256, 3, 3));
        assert!(host.is_sorted_by_key(|cache| std::cmp::Reverse(cache.active)));
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_line() {
        let table = |line: &str| parse(&format!("slabinfo - version: 2.1\n# name\n{line}\n"));
        assert_eq!(parse(""), Err(SlabinfoError::NoVersion));
        assert_eq!(parse("MemTotal: 1 kB\n"), Err(SlabinfoError::NoVersion));
        assert_eq!(table("dentry 0 0 192 21 1"), Err(SlabinfoError::Empty));
        for line in [
            "dentry",
            "dentry 1 1 192 21",
            "dentry 1 1 192 21 3",
            "dentry 1 1 192 22 1",
            "dentry 1 1 0 21 1",
            "dentry 1 1 191 21 1",
            "dentry 1 1 192 18446744073709551615 1",
            "dentry 1 1 192 1 2048",
        ] {
            assert!(matches!(table(line), Err(SlabinfoError::Line { line: 3, .. })), "{line}");
        }
    }
}
