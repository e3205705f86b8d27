//! The kernel of all runs: Linux 7.2 with Rust, as small as the runs allow.
//!
//! Its options are `linux/kernel.config`, merged over `allnoconfig`. The build lies in the folder; a stamp beside the image says what it was made
//! of. Where that differs, Linux's own build finds out what to do again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use super::{Error, Folder, about};
use crate::step::root;

/// Fragments, in this order.
const FRAGMENTS: [&str; 2] = ["linux/kernel.config", "linux/vm/kernel.config"];

/// Where the kernel is built, seen from inside the folder.
const OUT: &str = "/build/o";

/// Changes with the commands below, so that what they made before is not taken for theirs.
const RECIPE: u32 = 1;

/// A kernel that was built.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The image, for QEMU and for kexec.
    pub(crate) bzimage: PathBuf,
    /// The build that modules are made against, seen from inside the folder.
    pub(crate) build_dir: String,
    /// The folder.
    pub(crate) folder: Folder,
    /// `uname -r` of it.
    pub(crate) release: String,
}

/// Builds the kernel, unless it is there: 15 to 60 minutes on two cores.
///
/// # Errors
///
/// [`Error::Missing`] where this machine cannot; otherwise what failed.
pub(crate) fn kernel() -> Result<Built, Error> {
    let folder = Folder::ensure()?;
    let mut fragment = String::new();
    for name in FRAGMENTS {
        // The second belongs to another command, and need not be there.
        fragment += &fs::read_to_string(root().join(name)).unwrap_or_default();
    }
    let version = folder.source_version()?;
    let mut hasher = DefaultHasher::new();
    (RECIPE, &version, &fragment).hash(&mut hasher);
    let stamp = format!("{:016x}", hasher.finish());

    let stamp_file = folder.outside(OUT).join(".heirloom-stamp");
    let image = folder.outside(OUT).join("arch/x86/boot/bzImage");
    let release_file = folder.outside(OUT).join("include/config/kernel.release");
    let is_built = image.exists() && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp);
    if !is_built {
        fs::create_dir_all(folder.outside(OUT)).map_err(about("the folder of the kernel's build"))?;
        fs::write(folder.outside("/build/fragment"), &fragment).map_err(about("the kernel's options"))?;
        let source = folder.source();
        let make = format!("make -C {source} LLVM=1 O={OUT}");
        let nr_jobs = std::thread::available_parallelism().map_or(2, |nr| nr.get() + 1);
        // An option that Linux did not take is said by name: it would be missed only much later, in a run.
        let script = format!(
            "{make} rustavailable && {make} KCONFIG_ALLCONFIG=/build/fragment allnoconfig \
             && grep -E '^CONFIG_[A-Z0-9_]*=[^n]' /build/fragment | sort -u | while read line; do \
                  grep -qxF \"$line\" {OUT}/.config || {{ echo \"Linux did not take $line\" >&2; exit 1; }}; done \
             && {make} -j{nr_jobs} bzImage modules"
        );
        let what = format!("building Linux {version} with Rust; the first time that takes 15 to 60 minutes");
        folder.run(&script, &[], &what, "kernel")?;
        fs::write(&stamp_file, &stamp).map_err(about("the stamp of the kernel's build"))?;
    }
    let release = fs::read_to_string(release_file).map_err(about("the kernel's release"))?.trim().to_owned();
    Ok(Built { bzimage: image, build_dir: OUT.to_owned(), folder, release })
}
