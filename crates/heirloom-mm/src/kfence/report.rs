//! What the guard pool has to say: which slip, where, of which object, and who allocated and freed it.

use core::fmt;
use core::panic::Location;

/// A slip that the guard pool found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened.
    pub kind: ReportKind,
    /// Virtual address of the access, of the first damaged byte, or of the pointer that was freed.
    pub address: usize,
    /// True for a write, false for a read; true where it is no access at all.
    pub is_write: bool,
    /// The object concerned; `None` where there never was one.
    pub object: Option<ReportedObject>,
}

/// Kinds of slips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// An access behind an object's end.
    Overflow,
    /// An access before an object's start.
    Underflow,
    /// An access to an object that was freed.
    UseAfterFree,
    /// An access to a page that holds no object yet.
    Wild,
    /// The bytes around an object were changed; found when it was freed.
    Corruption,
    /// A free of an object that was freed.
    DoubleFree,
    /// A free of an address that is no object's start.
    InvalidFree,
}

/// The object of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedObject {
    /// Its virtual address.
    pub start: usize,
    /// Its bytes.
    pub size: u32,
    /// Who allocated it.
    pub allocated: Site,
    /// Who freed it, if it is free.
    pub freed: Option<Site>,
}

/// Who called, from where, when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Place in the source.
    pub location: &'static Location<'static>,
    /// The platform's token of who is running.
    pub caller: u64,
    /// The platform's clock.
    pub time_ns: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, access) = match (self.kind, self.is_write) {
            (ReportKind::Overflow, true) => ("overflow", "write"),
            (ReportKind::Overflow, false) => ("overflow", "read"),
            (ReportKind::Underflow, true) => ("underflow", "write"),
            (ReportKind::Underflow, false) => ("underflow", "read"),
            (ReportKind::UseAfterFree, true) => ("use after free", "write"),
            (ReportKind::UseAfterFree, false) => ("use after free", "read"),
            (ReportKind::Wild, true) => ("wild access", "write"),
            (ReportKind::Wild, false) => ("wild access", "read"),
            (ReportKind::Corruption, _) => ("memory corruption", "byte"),
            (ReportKind::DoubleFree, _) => ("double free", "free"),
            (ReportKind::InvalidFree, _) => ("invalid free", "free"),
        };
        write!(f, "guard pool: {kind}: {access} at {:#x}", self.address)?;
        let Some(object) = self.object else { return f.write_str(", where no object is") };
        let end = object.start + object.size as usize;
        match self.address {
            at if at >= end => write!(f, ", {} bytes behind", at - end)?,
            at if at < object.start => write!(f, ", {} bytes before", object.start - at)?,
            at => write!(f, ", byte {} of", at - object.start)?,
        }
        write!(f, " the object of {} bytes at {:#x}; ", object.size, object.start)?;
        write!(f, "allocated {}", object.allocated)?;
        match object.freed {
            Some(freed) => write!(f, "; freed {freed}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, us) = (self.time_ns / 1_000_000_000, self.time_ns / 1000 % 1_000_000);
        write!(f, "at {} by {} at {s}.{us:06}s", self.location, self.caller)
    }
}
