//! A hand-over by a serialized file on tmpfs, as a program does it that has no heap to hand over.
//!
//! ```text
//! old   objects of std, answering | serialize to the file | "written" -> go
//! new   started before, waits ....................................... | read or map the file | answer | read all
//! ```
//!
//! It gets every advantage that Heirloom's `spawn` has: the successor is up before the predecessor stops. `bincode` reads the file
//! and makes every object anew, and has then what the predecessor had. `rkyv` maps the file and uses the objects where they lie,
//! read only and unchecked; `rkyv-checked` asks first whether the bytes can be trusted, as Heirloom does of its tables.
#![expect(unsafe_code, reason = "maps the archive, and uses it unchecked where that is what is measured")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rkyv::rancor;
use rkyv::ser::writer::IoWriter;
use rkyv::vec::ArchivedVec;
use rustix::mm::{MapFlags, ProtFlags};

use super::objects::{fill, is_whole, mix, size_bytes, sum};
use super::sample::{Sample, now_ns, private_bytes, us_between};
use super::{hear, say};

/// How much is written and read at a time.
const BUFFER_BYTES: usize = 1 << 20;

type Objects = Vec<Vec<u8>>;
type Archived = ArchivedVec<ArchivedVec<u8>>;

/// The predecessor: makes the objects, and on the order starts the successor, answers, and writes the file.
pub(super) fn be_old(system: &str, count: &str, path: &str) -> Result<(), String> {
    let nr: u64 = count.parse().map_err(|_| format!("no number of objects: `{count}`"))?;
    let objects: Objects = (0..nr).map(made).collect();
    say("ready")?;
    if hear()?.is_empty() {
        return Ok(());
    }
    let mut successor = start_new(system, count, path).map_err(|error| error.to_string())?;
    let mut whole = true;
    for random in 0..100 {
        let number = mix(random) % nr;
        whole &= is_whole(number, &objects[number as usize]);
    }
    let last_ns = now_ns();
    write(system, &objects, path)?;
    let written_ns = now_ns();
    if !whole {
        return Err("an object is not whole".to_owned());
    }
    let bytes = private_bytes("self");
    writeln!(successor, "{last_ns} {written_ns} {bytes}").map_err(|error| error.to_string())?;
    // As Heirloom's predecessor: what it held goes with it, and nobody waits for that.
    std::process::exit(0)
}

fn made(number: u64) -> Vec<u8> {
    let mut object = vec![0; size_bytes(number)];
    fill(number, &mut object);
    object
}

/// Starts the successor and waits until it is up.
fn start_new(system: &str, count: &str, path: &str) -> std::io::Result<UnixStream> {
    let (mut here, there) = UnixStream::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["snapshot-new", system, count, path]).stdin(Stdio::from(OwnedFd::from(there)));
    command.spawn()?;
    here.read_exact(&mut [0])?;
    Ok(here)
}

fn write(system: &str, objects: &Objects, path: &str) -> Result<(), String> {
    let file = File::create(path).map_err(|error| error.to_string())?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    if system == "bincode" {
        bincode::encode_into_std_write(objects, &mut out, bincode::config::standard())
            .map_err(|error| error.to_string())?;
    } else {
        rkyv::api::high::to_bytes_in::<_, rancor::Error>(objects, IoWriter::new(&mut out))
            .map_err(|error| error.to_string())?;
    }
    out.flush().map_err(|error| error.to_string())
}

/// The successor.
pub(super) fn be_new(system: &str, count: &str, path: &str, main_ns: u64) -> Result<(), String> {
    let nr: u64 = count.parse().map_err(|_| format!("no number of objects: `{count}`"))?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let mut predecessor = UnixStream::from(stdin);
    predecessor.write_all(b"r").map_err(|error| error.to_string())?;
    let mut line = String::new();
    BufReader::new(predecessor).read_line(&mut line).map_err(|error| error.to_string())?;
    let words: Vec<u64> = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[last_ns, written_ns, old_bytes] = words.as_slice() else {
        return Err(format!("the predecessor ended before it had written the file: `{}`", line.trim()));
    };
    let file = File::open(path).map_err(|error| error.to_string())?;
    let file_bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let moments = match system {
        "bincode" => {
            let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
            let objects: Objects = bincode::decode_from_std_read(&mut input, bincode::config::standard())
                .map_err(|error| error.to_string())?;
            drop(input);
            Moments::of(nr, objects.len(), |index| &objects[index])?
        }
        "rkyv" | "rkyv-checked" => {
            let bytes = map(&file, file_bytes)?;
            let objects = if system == "rkyv" {
                // SAFETY: the predecessor wrote the file with this type and nobody has changed it since.
                unsafe { rkyv::access_unchecked::<Archived>(bytes) }
            } else {
                rkyv::access::<Archived, rancor::Error>(bytes).map_err(|error| error.to_string())?
            };
            Moments::of(nr, objects.len(), |index| &objects[index])?
        }
        other => return Err(format!("no system `{other}`")),
    };
    let sample = Sample {
        freeze_us: us_between(last_ns, written_ns),
        blackout_us: us_between(last_ns, moments.first_ns),
        first_read_us: us_between(written_ns, moments.first_ns),
        read_all_us: us_between(moments.first_ns, moments.all_ns),
        start_us: us_between(written_ns, main_ns),
        open_us: us_between(written_ns, moments.opened_ns),
        peak_bytes: file_bytes + old_bytes.max(moments.private_bytes),
        pid: std::process::id(),
    };
    say(&serde_json::to_string(&sample).map_err(|error| error.to_string())?)
}

/// When what was reached.
struct Moments {
    opened_ns: u64,
    first_ns: u64,
    all_ns: u64,
    /// What the successor holds for itself then.
    private_bytes: u64,
}

impl Moments {
    /// Reads an object at random, then all of them.
    fn of<'a>(nr: u64, len: usize, object: impl Fn(usize) -> &'a [u8]) -> Result<Self, String> {
        let opened_ns = now_ns();
        let number = mix(opened_ns) % nr;
        let whole = is_whole(number, object(number as usize));
        let first_ns = now_ns();
        let all = (0..len).fold(0u64, |all, index| all.wrapping_add(sum(object(index))));
        let all_ns = now_ns();
        let private_bytes = private_bytes("self");
        // Compared behind the last stamp: the expected sum takes as long to make as the objects.
        let expected = (0..nr).fold(0u64, |all, number| all.wrapping_add(sum(&made(number))));
        match whole && len as u64 == nr && all == expected {
            true => Ok(Self { opened_ns, first_ns, all_ns, private_bytes }),
            false => Err("the snapshot does not hold what the predecessor had".to_owned()),
        }
    }
}

fn map(file: &File, bytes: u64) -> Result<&'static [u8], String> {
    let len = usize::try_from(bytes).map_err(|error| error.to_string())?;
    let (read, shared) = (ProtFlags::READ, MapFlags::SHARED);
    // SAFETY: the kernel picks an address where nothing of ours lies.
    let memory = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, read, shared, file, 0) };
    let memory = memory.map_err(|error| error.to_string())?;
    // SAFETY: mapped to its end until this process ends; the file has one writer, who is done.
    Ok(unsafe { std::slice::from_raw_parts(memory.cast(), len) })
}
