//! What a run is made of: the kernel, the module and its sample, the first program, in one archive.

use std::fs;
use std::path::{Path, PathBuf};

use crate::linux::{self, Error, Initramfs, Lent, about, cache};
use crate::step::{Cargo, Outcome, root, target_dir};

/// The files of a run.
#[derive(Debug)]
pub(super) struct Files {
    /// The kernel.
    pub(super) bzimage: PathBuf,
    /// The archive that it starts with.
    pub(super) initrd: PathBuf,
    /// Where all that is made for the runs lies.
    pub(super) folder: PathBuf,
}

/// Builds everything, as far as it changed.
pub(super) fn build() -> Result<Files, Error> {
    let kernel = linux::kernel()?;
    // Cargo in the folder works offline, on the sources that cargo outside has fetched.
    cargo(Cargo::new(&["fetch", "--quiet", "--locked"]))?;
    let registry = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let registry =
        registry.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let registry =
        registry.ok_or_else(|| Error::Missing("cargo's home is not known".to_owned()))?.join("registry");
    let lent = [
        Lent { outside: &root(), inside: "/src", is_read_only: true },
        Lent { outside: &registry, inside: "/cargo/registry", is_read_only: false },
    ];
    let out = "/build/module";
    begin_anew_for_another(&root(), &kernel.folder.outside(out))?;
    let script = format!(
        "mkdir -p {out} && make -C {} LLVM=1 M=/src/linux/module MO={out} HEIRLOOM=/src modules",
        kernel.build_dir
    );
    kernel.folder.run(
        &script,
        &lent,
        &format!("building the module for Linux {}", kernel.release),
        "module",
    )?;

    let init = target_dir("init");
    let target = "x86_64-unknown-linux-gnu";
    let build =
        ["build", "--release", "--quiet", "--manifest-path", "linux/init/Cargo.toml", "--target", target];
    cargo(
        Cargo::new(&build)
            .without("CARGO_ENCODED_RUSTFLAGS")
            // Statically: the machine has no libraries.
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env("CARGO_TARGET_DIR", &init),
    )?;

    let mut archive = Initramfs::new();
    archive.file("init", &init.join(target).join("release/heirloom-init"))?;
    archive.file("bzImage", &kernel.bzimage)?;
    for module in ["heirloom.ko", "heirloom_sample.ko"] {
        archive.file(module, &kernel.folder.outside(out).join(module))?;
    }
    let folder = cache()?.join("linux").join("module");
    fs::create_dir_all(&folder).map_err(about(folder.display().to_string()))?;
    let initrd = folder.join("initrd");
    fs::write(&initrd, archive.finish()).map_err(about(initrd.display().to_string()))?;
    Ok(Files { bzimage: kernel.bzimage, initrd, folder })
}

/// Inside, every checkout of the repository is `/src`, and cargo and make go by times alone: what was built of another checkout, later than
/// this one's files were written, would be taken for this one's.
fn begin_anew_for_another(checkout: &Path, out: &Path) -> Result<(), Error> {
    let note = out.join("checkout");
    let checkout = checkout.as_os_str().as_encoded_bytes();
    if fs::read(&note).is_ok_and(|built| built == checkout) {
        return Ok(());
    }
    if out.exists() {
        fs::remove_dir_all(out).map_err(about(out.display().to_string()))?;
    }
    fs::create_dir_all(out).map_err(about(out.display().to_string()))?;
    fs::write(&note, checkout).map_err(about(note.display().to_string()))
}

fn cargo(cargo: Cargo) -> Result<(), Error> {
    match cargo.run() {
        Outcome::Passed => Ok(()),
        Outcome::Skipped(reason) | Outcome::Failed(reason) => Err(Error::Missing(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_of_another_checkout_is_not_taken_for_this_ones() {
        let out = std::env::temp_dir().join(format!("heirloom-xtask-checkout-{}", std::process::id()));
        let built = out.join("crates.o");
        begin_anew_for_another(Path::new("/one"), &out).unwrap();
        fs::write(&built, "of one").unwrap();
        begin_anew_for_another(Path::new("/one"), &out).unwrap();
        assert!(built.exists());
        begin_anew_for_another(Path::new("/other"), &out).unwrap();
        assert!(!built.exists());
        fs::remove_dir_all(&out).unwrap();
    }
}
