//! The program that is killed, and the next start that looks.

use std::collections::HashMap as StdMap;
use std::io::Write;
use std::path::PathBuf;

use heirloom::sync::Mutex;
use heirloom::{HashMap, Heap, Heritable, Options, String, Vec};

pub(crate) const ROLE: &str = "HEIRLOOM_ACKNOWLEDGED_ROLE";
pub(crate) const DIR: &str = "HEIRLOOM_ACKNOWLEDGED_DIR";
pub(crate) const STORE: &str = "HEIRLOOM_ACKNOWLEDGED_STORE";

/// Which changes the load makes: another sequence each time.
pub(crate) const SEED: &str = "HEIRLOOM_ACKNOWLEDGED_SEED";

/// Set, the next start prints its report.
const SHOW: &str = "HEIRLOOM_ACKNOWLEDGED_SHOW";

pub(crate) const THREADS: u64 = 3;
pub(crate) const KEYS: u64 = 3000;
pub(crate) const ACK_BYTES: usize = 16;

/// A key has this version now; 0: it was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) key: u64,
    pub(crate) version: u64,
}

impl Ack {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        Self { key: word(0), version: word(8) }
    }
}

/// A change that may have been made, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: u64,
    pub(crate) to: Option<u64>,
}

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

pub(crate) fn thread_of(key: u64) -> u64 {
    key % THREADS
}

/// What a thread does after its change number `nr`: always the same, so that the parent knows it too.
fn change(seed: u64, thread: u64, nr: u64) -> Change {
    let mut random =
        Random((seed << 40) ^ ((thread + 1) * 0x9e37_79b9) ^ nr.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1);
    random.next();
    let key = random.next() % (KEYS / THREADS) * THREADS + thread;
    // Phases of growing and shrinking, so that tables grow and are cleaned up.
    let removes = if (nr / 2000).is_multiple_of(2) { 20 } else { 75 };
    let to = if random.next() % 100 < removes { None } else { Some(seed << 32 | (nr + 1)) };
    Change { key, to }
}

/// The change that each thread had under way behind its last acknowledgement.
pub(crate) fn under_way(seed: u64, acks: &[Ack]) -> StdMap<u64, Change> {
    let mut last = StdMap::new();
    for thread in 0..THREADS {
        let nr = acks.iter().filter(|ack| thread_of(ack.key) == thread).count() as u64;
        last.insert(thread, change(seed, thread, nr));
    }
    last
}

/// The version of a record that was being overwritten, and is neither the old one nor the new one.
pub(crate) const TORN: u64 = u64::MAX;

/// The next start's report.
pub(crate) struct Reported {
    pub(crate) found: StdMap<u64, u64>,
    /// A bit for each thread whose map was being changed.
    pub(crate) doubtful: u32,
    pub(crate) threads_inside: u32,
    /// Microseconds.
    pub(crate) recovery: u64,
}

impl Reported {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(24)?;
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        let found = rest.chunks_exact(ACK_BYTES).map(Ack::read).map(|ack| (ack.key, ack.version)).collect();
        Some(Self { found, doubtful: word(0) as u32, threads_inside: word(8) as u32, recovery: word(16) })
    }
}

#[derive(Heritable)]
#[repr(C)]
struct Record {
    version: u64,
    text: String,
    words: Vec<u64>,
}

impl Record {
    fn new(version: u64) -> Self {
        let mut words = Vec::new();
        words.extend((0..version % 40).map(|nr| nr ^ version));
        Self { version, text: String::from(format!("version {version}").as_str()), words }
    }

    fn is_whole(&self) -> bool {
        let version = self.version;
        // Asked first: of a torn one not even the lengths are to be believed.
        self.text.len() < 40
            && self.words.len() < 40
            && self.text.as_str() == format!("version {version}")
            && self.words.iter().copied().eq((0..version % 40).map(|nr| nr ^ version))
    }
}

type Map = Mutex<HashMap<u64, Record>>;

heirloom::root! {
    static FIRST: Map = "first";
    static SECOND: Map = "second";
    static THIRD: Map = "third";
}

fn open() -> Heap {
    let options = Options::new().size_limit(64 << 20).block_size(64 << 10);
    let dir = PathBuf::from(std::env::var(DIR).unwrap());
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    let is_file = std::env::var(STORE).unwrap() == "file";
    let options = if is_file { options.file(dir.join("heap")) } else { options.keeper(true) };
    Heap::inherit_or_create(&name, options).unwrap()
}

/// Works until it is killed.
pub(crate) fn load() -> ! {
    let heap = open();
    (0..THREADS).for_each(|thread| drop(map_of(&heap.enter(), thread).lock()));
    let dir = PathBuf::from(std::env::var(DIR).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let heap = &heap;
            scope.spawn(move || work(heap, thread));
        }
        std::fs::write(dir.join("ready"), "").unwrap();
    });
    unreachable!("killed")
}

fn map_of<'inside>(inside: &'inside heirloom::Inside<'_>, thread: u64) -> &'inside Map {
    match thread {
        0 => FIRST.get(inside),
        1 => SECOND.get(inside),
        _ => THIRD.get(inside),
    }
}

fn work(heap: &Heap, thread: u64) {
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    for nr in 0.. {
        let Change { key, to } = change(seed, thread, nr);
        {
            let inside = heap.enter();
            let mut map = map_of(&inside, thread).lock();
            match to {
                Some(version) => drop(map.insert(key, Record::new(version))),
                None => drop(map.remove(&key)),
            }
        }
        let mut ack = [0; ACK_BYTES];
        ack[..8].copy_from_slice(&key.to_le_bytes());
        ack[8..].copy_from_slice(&to.unwrap_or(0).to_le_bytes());
        // One write, without the buffer and the lock of standard output.
        rustix::io::write(std::io::stdout(), &ack).unwrap();
    }
}

/// Closes the heap in order.
pub(crate) fn close() -> ! {
    drop(open());
    std::process::exit(0)
}

/// Recovers, looks at everything, and tells what there is.
pub(crate) fn check() -> ! {
    let heap = open();
    let (mut doubtful, mut threads_inside) = (0, 0);
    if let Some(recovery) = heap.recovery() {
        for root in recovery.doubtful() {
            doubtful |= 1 << ["first", "second", "third"].iter().position(|name| *name == root.name).unwrap();
        }
        threads_inside = u64::from(recovery.threads_inside);
        assert_eq!(recovery.roots.len(), 3, "{recovery}");
        assert!(u64::from(recovery.threads) <= THREADS + 1, "{recovery}");
    }
    let recovery = heap.stats().restore_us;
    if std::env::var(SHOW).is_ok() {
        eprintln!("{}", heap.recovery().map_or_else(std::string::String::new, ToString::to_string));
    }
    let mut told = std::vec::Vec::new();
    for word in [doubtful, threads_inside, recovery] {
        told.extend_from_slice(&word.to_le_bytes());
    }
    {
        let inside = heap.enter();
        for thread in 0..THREADS {
            let root = map_of(&inside, thread);
            // Locked when its holder died, or not: the map is whole either way.
            root.clear_poison();
            let map = root.lock();
            for key in (thread..KEYS).step_by(THREADS as usize) {
                let Some(record) = map.get(&key) else { continue };
                let version = if record.is_whole() { record.version } else { TORN };
                told.extend_from_slice(&key.to_le_bytes());
                told.extend_from_slice(&version.to_le_bytes());
            }
            assert!(map.iter().all(|(key, _)| thread_of(*key) == thread), "a key of another map");
            assert_eq!(map.iter().count(), map.len(), "the map counts otherwise");
        }
    }
    let scan = heap.scan().unwrap();
    assert_eq!(scan.stale_bytes, 0, "{scan:?}");
    std::io::stdout().write_all(&told).unwrap();
    std::io::stdout().flush().unwrap();
    if std::env::var(STORE).unwrap() == "file" {
        drop(heap);
        std::process::exit(0);
    }
    // Not in order: with that its keeper would go.
    std::mem::forget(heap);
    std::process::exit(0)
}
