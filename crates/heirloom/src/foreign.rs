//! A heap that is not this process's: read-only, for inspection and verification; and set aside when nobody owns it.
//!
//! Everything is copied out with `pread` before it is judged, so a heap that changes meanwhile, or a file that is
//! cut short, gives an error and never a fault.

mod candidate;
mod pieces;
pub mod trace;

pub use pieces::{Piece, PieceKind};

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use heirloom_abi::heap::{Header, HeaderError, Phase};
use heirloom_abi::pool::{Memory, PoolError, PoolReader, SLAB_KIND_LARGE, SLAB_KIND_SLAB, Tally};

use crate::backing::{BackingError, place};
use crate::channel::{Point, point};
use crate::heap::roots::{self, RootError};
use trace::{Leaks, Start, TraceError};

/// Where a heap is: a file, or in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A heap file.
    File(PathBuf),
    /// The heap of a process, by its pid.
    Process(u32),
}

/// Why a heap cannot be looked at or set aside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// The file or the process's mapping cannot be opened.
    #[error("{target}: {error}")]
    Open {
        /// What was asked for.
        target: Target,
        /// Why not.
        error: io::Error,
    },
    /// The process has no heap.
    #[error("process {0} has no heap mapped")]
    NoHeap(u32),
    /// The header is not one that this program reads.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// The pool's record is not one.
    #[error("pool: {0}")]
    Pool(#[from] PoolError),
    /// The roots are not readable.
    #[error("roots: {0}")]
    Roots(#[from] RootError),
    /// The program that was asked about.
    #[error(transparent)]
    Candidate(#[from] crate::note::CandidateError),
    /// The heap cannot be traced.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A program owns it.
    #[error(transparent)]
    Backing(#[from] BackingError),
    /// A heap in a process is not to be set aside.
    #[error("a heap in a process cannot be set aside: end process {0}")]
    InProcess(u32),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Process(pid) => write!(f, "pid:{pid}"),
        }
    }
}

impl std::str::FromStr for Target {
    type Err = std::string::String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("pid:") {
            None => Ok(Self::File(text.into())),
            Some(pid) => pid.parse().map(Self::Process).map_err(|_| format!("`{pid}` is no process id")),
        }
    }
}

/// One cache of a heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRow {
    /// Its name.
    pub name: std::string::String,
    /// Bytes of a slot.
    pub slot_size: u64,
    /// Slots in all its slabs.
    pub slots: u64,
    /// Slots in use (those in magazines of a running program count as used).
    pub used: u64,
    /// Slabs.
    pub slabs: u64,
    /// Blocks with at least one of its slabs.
    pub blocks: u64,
    /// Bytes of its slabs that no object uses.
    pub waste_bytes: u64,
}

/// One root of a heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRow {
    /// Its name.
    pub name: std::string::String,
    /// Its type, readable.
    pub type_text: std::string::String,
    /// Its size in bytes.
    pub size: u64,
    /// Where it lies, as an offset into the heap.
    pub offset: u64,
}

/// What a heap says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub name: std::string::String,
    /// Its generation.
    pub generation: u32,
    /// `running`, `frozen` or `set aside`.
    pub phase: &'static str,
    /// The owner's process id.
    pub owner_pid: u32,
    /// True where that very process lives.
    pub owner_lives: bool,
    /// Address at which every generation maps it.
    pub base: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes that it may grow to.
    pub size_limit: u64,
    /// Caches with slabs, by slot size.
    pub caches: Vec<CacheRow>,
    /// Large objects: how many and their bytes.
    pub large: (u64, u64),
    /// Roots.
    pub roots: Vec<RootRow>,
    /// Sums.
    pub totals: Tally,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Everything that is broken, in words.
    pub broken: Vec<std::string::String>,
    /// Sums, stale and stranded bytes among them.
    pub totals: Tally,
    /// True where the heap ran while it was read: stale bytes may be of objects freed or allocated meanwhile.
    pub running: bool,
}

impl Verdict {
    /// True where nothing is broken and nothing stale.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty() && (self.running || self.totals.stale_bytes == 0)
    }
}

/// A heap, opened to be looked at.
pub struct Image {
    file: FileMemory,
    header: Header,
    /// Path that can be opened again, for `set_aside`.
    target: Target,
}

impl Image {
    /// Opens a heap read-only and checks its header.
    ///
    /// # Errors
    ///
    /// [`ForeignError`].
    pub fn open(target: &Target) -> Result<Self, ForeignError> {
        let fail = |error| ForeignError::Open { target: target.clone(), error };
        let path = match target {
            Target::File(path) => path.clone(),
            Target::Process(pid) => heap_of_process(*pid).map_err(fail)?.ok_or(ForeignError::NoHeap(*pid))?,
        };
        // Asked first: opening a fifo would wait for somebody to write into it.
        if !fs::metadata(&path).map_err(fail)?.is_file() {
            return Err(BackingError::NotRegular.into());
        }
        let file = File::open(&path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        let memory = FileMemory { file, len, chunk: RefCell::default() };
        let mut page = [0; heirloom_abi::heap::HEADER_BYTES];
        let there = usize::try_from(len).unwrap_or(usize::MAX).min(page.len());
        memory.file.read_exact_at(&mut page[..there], 0).map_err(fail)?;
        let header = Header::read(&page[..there], len, &crate::backing::host())?;
        Ok(Self { file: memory, header, target: target.clone() })
    }

    /// Sums the heap up: caches, roots, totals.
    ///
    /// # Errors
    ///
    /// [`ForeignError`].
    pub fn summary(&self) -> Result<Summary, ForeignError> {
        let reader = self.reader()?;
        let (identity, state) = (&self.header.identity, &self.header.state);
        let (caches, large) = rows(&reader)?;
        Ok(Summary {
            name: identity.name.to_string(),
            generation: state.generation,
            phase: match state.phase {
                Phase::Running => "running",
                Phase::Frozen => "frozen",
                Phase::SetAside => "set aside",
            },
            owner_pid: state.owner_pid,
            owner_lives: self.owner_lives(),
            base: identity.base,
            block_bytes: 1 << identity.block_shift,
            file_bytes: self.file.len,
            size_limit: identity.reserved_bytes,
            caches,
            large,
            roots: self.roots()?,
            totals: reader.check(false, |_| {}),
        })
    }

    /// Runs every check and scans every free byte.
    ///
    /// # Errors
    ///
    /// [`ForeignError`] where not even the pool's record is readable.
    pub fn verify(&self) -> Result<Verdict, ForeignError> {
        let reader = self.reader()?;
        let mut broken = Vec::new();
        let totals = reader.check(true, |error| broken.push(error.to_string()));
        if let Err(error) = self.roots() {
            broken.push(error.to_string());
        }
        if let Err(error) = self.check_tree() {
            broken.push(error);
        }
        Ok(Verdict { broken, totals, running: !reader.is_frozen() })
    }

    /// Finds what is allocated and reachable from no root. A heap that its owner uses meanwhile is traced twice, and what was missed
    /// both times is reported with a doubt: a thread may hold it that has not stored it yet.
    ///
    /// # Errors
    ///
    /// [`ForeignError`] where records are broken.
    pub fn leaks(&self) -> Result<Leaks, ForeignError> {
        let reader = self.reader()?;
        let record = self.roots_record()?;
        let roots = heirloom_abi::roots::Roots::read(&record).map_err(RootError::from)?;
        let starts: Vec<Start<'_>> = roots
            .iter()
            .map(|root| Start { name: root.name, form: root.ty, offset: root.object_offset })
            .collect();
        let kept = (0..reader.nr_cpus()).map(|cpu| reader.diary(cpu)).collect::<Result<Vec<_>, _>>()?;
        let (base, exact) = (self.header.identity.base, Exact(&self.file));
        let one = || trace::trace(&exact, &reader, base, self.file.len, &starts, &kept);
        let mut traced = one()?;
        let is_used = !reader.is_frozen() && self.owner_lives();
        if is_used && traced.unreached().next().is_some() {
            std::thread::sleep(BETWEEN_TRACES);
            traced.and(&one()?);
        }
        let mut leaks = traced.leaks(&reader);
        if is_used {
            leaks.doubts.push(
                "the heap is in use: a thread may hold what no root reaches yet, and what changed under way may look broken"
                    .to_owned(),
            );
        }
        Ok(leaks)
    }

    /// Sets a heap file aside that no program owns: it is renamed, and the next start makes a new one. Returns its new path.
    ///
    /// # Errors
    ///
    /// [`ForeignError::Backing`] where a program owns it, [`ForeignError::InProcess`].
    pub fn set_aside(self) -> Result<PathBuf, ForeignError> {
        match &self.target {
            Target::Process(pid) => Err(ForeignError::InProcess(*pid)),
            Target::File(path) => set_aside(path),
        }
    }

    fn reader(&self) -> Result<PoolReader<'_, FileMemory>, ForeignError> {
        Ok(PoolReader::open(&self.file, self.header.identity.control.offset)?)
    }

    fn owner_lives(&self) -> bool {
        let state = &self.header.state;
        crate::sys::start_ticks(state.owner_pid) == Some(state.owner_start_ticks)
    }

    fn roots(&self) -> Result<Vec<RootRow>, ForeignError> {
        Ok(roots::rows(&self.roots_record()?)?)
    }

    fn roots_record(&self) -> Result<Vec<u8>, ForeignError> {
        let region = self.header.identity.roots;
        let mut bytes = vec![0; roots::record_bytes(region).map_err(RootError::from)?];
        let outside = PoolError::Outside { what: "roots record", offset: region.offset };
        self.file.read(region.offset, &mut bytes).ok_or(outside)?;
        Ok(bytes)
    }

    fn check_tree(&self) -> Result<(), std::string::String> {
        let mut bytes = [0; heirloom_abi::heap::HEADER_BYTES];
        self.file
            .read(self.header.identity.fdt.offset, &mut bytes)
            .ok_or("handover tree: outside the file")?;
        let tree = crate::heap::tree::check(&bytes, &self.header.identity);
        tree.map(drop).map_err(|error| format!("handover tree: {error}"))
    }
}

/// Sets a heap file aside even where its header is damaged: what counts is that no program holds its lock.
///
/// # Errors
///
/// [`ForeignError::Backing`] where a program owns it.
pub fn set_aside(path: &Path) -> Result<PathBuf, ForeignError> {
    let fail = |error| ForeignError::Open { target: Target::File(path.to_owned()), error };
    // It keeps the lock until the file has its new name.
    let file: OwnedFd = OpenOptions::new().read(true).write(true).open(path).map_err(fail)?.into();
    if !place::lock(path, &file)? {
        return Err(fail(io::Error::new(io::ErrorKind::NotFound, "somebody else has just renamed it")));
    }
    point(Point::AsideLocked);
    place::rename_aside(path).map_err(fail)
}

/// The path under which a process's heap can be opened: one of its descriptors, or of its mappings.
fn heap_of_process(pid: u32) -> io::Result<Option<PathBuf>> {
    let base = PathBuf::from(format!("/proc/{pid}"));
    for entry in fs::read_dir(base.join("fd"))? {
        let path = entry?.path();
        // Descriptors that end while we look are not the heap's.
        let Ok(link) = fs::read_link(&path) else { continue };
        let is_heap = link.to_string_lossy().starts_with("/memfd:heirloom");
        if is_heap || looks_like_heap(&path) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// True where a regular file starts with the magic of a heap.
fn looks_like_heap(path: &Path) -> bool {
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let mut magic = [0; 8];
    is_file
        && File::open(path).and_then(|file| file.read_exact_at(&mut magic, 0)).is_ok()
        && magic == heirloom_abi::heap::MAGIC
}

/// Memory by `pread`, a chunk at a time for the many small reads of a walk over records.
struct FileMemory {
    file: File,
    len: u64,
    chunk: RefCell<(u64, Vec<u8>)>,
}

/// The same, without reading more than was asked for: for a walk that goes all over the place.
struct Exact<'a>(&'a FileMemory);

impl Memory for Exact<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(buffer.len() as u64)?;
        if end > self.0.len {
            return None;
        }
        self.0.file.read_exact_at(buffer, offset).ok()
    }

    fn count_nonzero(&self, offset: u64, len: u64) -> Option<u64> {
        self.0.count_nonzero(offset, len)
    }
}

const CHUNK: u64 = 64 << 10;

/// What a thread of a running program has in its hands is mostly stored after this long.
const BETWEEN_TRACES: std::time::Duration = std::time::Duration::from_millis(50);

impl Memory for FileMemory {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(buffer.len() as u64)?;
        if end > self.len {
            return None;
        }
        if buffer.is_empty() || offset / CHUNK != (end - 1) / CHUNK {
            return self.file.read_exact_at(buffer, offset).ok();
        }
        let start = offset / CHUNK * CHUNK;
        let mut chunk = self.chunk.borrow_mut();
        if chunk.0 != start || chunk.1.is_empty() {
            let len = CHUNK.min(self.len - start) as usize;
            chunk.1.resize(len, 0);
            chunk.0 = start;
            if self.file.read_exact_at(&mut chunk.1, start).is_err() {
                chunk.1.clear();
                return None;
            }
        }
        let at = (offset - start) as usize;
        buffer.copy_from_slice(chunk.1.get(at..at + buffer.len())?);
        Some(())
    }

    fn count_nonzero(&self, offset: u64, len: u64) -> Option<u64> {
        let mut buffer = [0; 16 << 10];
        let mut count = 0;
        let mut at = offset;
        let end = offset.checked_add(len)?;
        while at < end {
            let nr = (end - at).min(buffer.len() as u64) as usize;
            self.file.read_exact_at(&mut buffer[..nr], at).ok()?;
            if buffer[..nr].iter().any(|&byte| byte != 0) {
                count += buffer[..nr].iter().filter(|&&byte| byte != 0).count() as u64;
            }
            at += nr as u64;
        }
        Some(count)
    }
}

type Rows = (Vec<CacheRow>, (u64, u64));

/// Sums by cache. Slabs that are broken are left out here; `verify` names them.
fn rows(reader: &PoolReader<'_, FileMemory>) -> Result<Rows, PoolError> {
    let mut caches = Vec::new();
    for index in 0..reader.nr_caches() {
        let cache = reader.cache(index)?;
        caches.push(CacheRow {
            name: cache.name().to_owned(),
            slot_size: cache.slot_bytes.into(),
            slots: 0,
            used: 0,
            slabs: 0,
            blocks: 0,
            waste_bytes: 0,
        });
    }
    let geometry = reader.geometry();
    let mut large = (0, 0);
    for index in 0..reader.nr_blocks() {
        let Some(block) = reader.block(index)? else { continue };
        let mut seen = [false; 128];
        let mut unit = geometry.header_units();
        while unit < geometry.units() {
            let Ok(Some(slab)) = reader.slab(&block, unit) else {
                unit += 1;
                continue;
            };
            unit += slab.units.max(1);
            if slab.kind == SLAB_KIND_LARGE {
                large = (large.0 + 1, large.1 + slab.object_bytes);
            } else if slab.kind == SLAB_KIND_SLAB
                && let Some(row) = caches.get_mut(slab.cache as usize)
            {
                let used = u64::from(slab.nr_slots - slab.free_bits);
                row.slots += u64::from(slab.nr_slots);
                row.used += used;
                row.slabs += 1;
                row.waste_bytes += (u64::from(slab.units) << geometry.unit_shift) - used * row.slot_size;
                let seen = &mut seen[slab.cache as usize % 128];
                row.blocks += u64::from(!std::mem::replace(seen, true));
            }
        }
    }
    caches.retain(|row| row.slabs > 0);
    Ok((caches, large))
}
