//! A dump of the preserved blocks as a heap file, for `heirloom inspect` and `heirloom verify`.
//!
//! Init writes the pool's bytes to a disk, one piece after the other, and says which piece lies where. An offset in the pool is a
//! physical address, so the heap file is those bytes at their physical addresses, with holes between them, and three pages in front
//! that a kernel has no need of: header, tree, map. Page 0 of a PC, and the two behind it, are the firmware's, so nothing is in the way.
//!
//! ```text
//! 0        4 KiB   8 KiB          names   control            block   block
//! | header | tree | map (empty) | . . . . | . . . . . . . .  | . . . |  . . .
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use heirloom_abi::heap::{Flags, HEADER_BYTES, Header, Host, Identity, Name, Phase, Region, State};
use heirloom_abi::kho::root::{RootFdt, Subnode};

use super::build::Files;
use super::in_folder;
use super::transcript::Transcript;
use crate::linux::{Error, about};
use crate::step::{Cargo, Outcome, root, target_dir};

/// Room for a pool.
const DISK_BYTES: u64 = 256 << 20;

const PAGE: u64 = 4096;

/// A piece of the pool.
struct Piece {
    kind: String,
    phys: u64,
    bytes: u64,
    /// Where it lies on the disk.
    at: u64,
}

/// An empty disk, with no blocks behind it yet.
pub(super) fn make_disk(files: &Files) -> Result<PathBuf, Error> {
    let path = in_folder(files, "disk");
    let made = File::create(&path).and_then(|file| file.set_len(DISK_BYTES));
    made.map_err(about(path.display().to_string())).map(|()| path)
}

/// Makes the heap file and has the command line tool look at it: what that says.
pub(super) fn inspect(disk: &Path, transcript: &Transcript, files: &Files) -> Result<String, String> {
    let pieces = pieces(transcript)?;
    let heap = in_folder(files, "dump.heap");
    let generation = transcript.kernels.last().map_or(0, |kernel| kernel.generation);
    write(&heap, disk, &pieces, generation as u32).map_err(|error| format!("the heap file: {error}"))?;
    let build = Cargo::new(&["build", "--quiet", "-p", "heirloom-cli"]).run();
    if let Outcome::Failed(reason) | Outcome::Skipped(reason) = build {
        return Err(reason);
    }
    let tool = target_dir("debug").join("heirloom");
    let mut said = String::new();
    for word in ["inspect", "verify"] {
        let output = Command::new(&tool).current_dir(root()).arg(word).arg(&heap).output();
        let output = output.map_err(|error| format!("{}: {error}", tool.display()))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`heirloom {word}` refuses the dump: {}\n{errors}", output.status));
        }
        said += &format!("$ heirloom {word} dump.heap\n{}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(said)
}

fn pieces(transcript: &Transcript) -> Result<Vec<Piece>, String> {
    let notes = transcript.kernels.iter().flat_map(|kernel| &kernel.notes);
    let mut pieces = Vec::new();
    for note in notes.filter_map(|note| note.strip_prefix("dump ")) {
        let words: Vec<&str> = note.split(' ').collect();
        let [kind, phys, bytes, at] = words[..] else { return Err(format!("unreadable: dump {note}")) };
        let phys = u64::from_str_radix(phys.trim_start_matches("0x"), 16);
        let (Ok(phys), Ok(bytes), Ok(at)) = (phys, bytes.parse(), at.parse()) else {
            return Err(format!("unreadable: dump {note}"));
        };
        pieces.push(Piece { kind: kind.to_owned(), phys, bytes, at });
    }
    Ok(pieces)
}

fn write(heap: &Path, disk: &Path, pieces: &[Piece], generation: u32) -> io::Result<()> {
    let region = |kind: &str| {
        let piece = pieces.iter().find(|piece| piece.kind == kind);
        let missing = || io::Error::other(format!("the dump has no {kind}"));
        piece.map(|piece| Region { offset: piece.phys, bytes: piece.bytes }).ok_or_else(missing)
    };
    let (roots, control) = (region("names")?, region("control")?);
    let block_bytes = pieces.iter().find(|piece| piece.kind == "block").map_or(1 << 18, |piece| piece.bytes);
    let end = pieces.iter().map(|piece| piece.phys + piece.bytes).max().unwrap_or(0);
    let first_block = (control.offset + control.bytes).next_multiple_of(block_bytes);
    let file_bytes = end.max(first_block).next_multiple_of(block_bytes);
    // A pool that was frozen by a kernel has no process as its owner, and no base address.
    let text = |text: &str| Name::new(text).ok_or_else(|| io::Error::other("a name is too long"));
    let identity = Identity {
        id: [0; 16],
        name: text("linux")?,
        creator: text("cargo xtask module")?,
        base: Identity::BASE_RANGE.start,
        reserved_bytes: file_bytes,
        block_shift: block_bytes.trailing_zeros(),
        fdt: Region { offset: PAGE, bytes: PAGE },
        map: Region { offset: 2 * PAGE, bytes: PAGE },
        roots,
        control,
        first_block,
    };
    let state = State {
        generation,
        phase: Phase::Frozen,
        owner_pid: 1,
        owner_start_ticks: 0,
        flags: Flags::NONE,
        previous_channel: 0,
        helper_pid: 0,
        file_bytes,
        last_operation_ns: 0,
        frozen_ns: 0,
        freeze_us: 0,
    };
    let (mut header, mut tree) = ([0; HEADER_BYTES], [0; HEADER_BYTES]);
    let host = Host::current(PAGE as u32);
    Header { identity, state }.write(&mut header, &host).map_err(io::Error::other)?;
    let node = |name, region: Region| Subnode { name, data: region.offset, size_bytes: region.bytes };
    let nodes = [node("heirloom-slab", control), node("heirloom-roots", roots)];
    RootFdt::write(&mut tree, identity.map.offset, &nodes)
        .map_err(|error| io::Error::other(error.to_string()))?;

    let (from, to) = (File::open(disk)?, File::create(heap)?);
    to.set_len(file_bytes)?;
    to.write_all_at(&header, 0)?;
    to.write_all_at(&tree, PAGE)?;
    for piece in pieces {
        let mut bytes = vec![0; usize::try_from(piece.bytes).map_err(io::Error::other)?];
        from.read_exact_at(&mut bytes, piece.at)?;
        to.write_all_at(&bytes, piece.phys)?;
    }
    fs::metadata(heap).map(drop)
}
