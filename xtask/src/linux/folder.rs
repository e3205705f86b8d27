//! A Debian 13 in a folder: compilers that Linux 7.2 is content with, whatever this machine has.
//!
//! `debootstrap` makes it once. Commands run in it with `chroot`, in a mount namespace of their own, so that `/proc` and the folders that
//! are lent to it disappear with the command, however that ends.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Error, about, cache};

const SUITE: &str = "trixie";
const MIRROR: &str = "http://deb.debian.org/debian";

/// The source is in the backports; its compilers in the suite itself.
const SOURCE: &str = "linux-source-7.2";

/// What Linux with Rust is built with (rustc 1.85, bindgen 0.71, clang 19), and cargo for the crates that go into the module.
const PACKAGES: &str = "make gcc libc6-dev flex bison bc libelf-dev libssl-dev zlib1g-dev kmod cpio xz-utils lz4 python3 perl \
                        rustc rust-src cargo bindgen clang lld llvm libclang-dev";

/// Said when something is needed that only root can do.
const ROOT: &str = "needs root: a folder with Debian's compilers is made with debootstrap and chroot";

/// What is missing to make or use the folder.
pub(super) fn missing() -> Option<Error> {
    if !fs::metadata("/proc/self").is_ok_and(|itself| itself.uid() == 0) {
        return Some(Error::Missing(ROOT.to_owned()));
    }
    let is_made = Folder::path().is_ok_and(|root| is_ready(&root));
    let needed: &[(&str, &str)] =
        &[("debootstrap", "debootstrap"), ("unshare", "util-linux"), ("flock", "util-linux")];
    for (program, package) in needed.iter().skip(usize::from(is_made)) {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            let word = format!("{program} is missing; `apt-get install {package}` (Debian, Ubuntu) gets it");
            return Some(Error::Missing(word));
        }
    }
    None
}

/// The folder, made.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// A folder of this machine, as the commands in the folder see it.
pub(crate) struct Lent<'a> {
    pub(crate) outside: &'a Path,
    pub(crate) inside: &'a str,
    pub(crate) is_read_only: bool,
}

impl Folder {
    fn path() -> Result<PathBuf, Error> {
        Ok(cache()?.join("linux").join(SUITE))
    }

    /// Makes the folder, unless it is there: about 1.5 GB, and a few minutes.
    pub(crate) fn ensure() -> Result<Self, Error> {
        if let Some(missing) = missing() {
            return Err(missing);
        }
        let folder = Self { root: Self::path()? };
        if is_ready(&folder.root) {
            return Ok(folder);
        }
        let parent = folder.root.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(about(parent.display().to_string()))?;
        let root = folder.root.display();
        if !folder.root.join("usr/bin/apt-get").exists() {
            let mut command = locked(parent, "debootstrap");
            command.args(["--variant=minbase", SUITE]).arg(&folder.root).arg(MIRROR);
            say_and_run(command, &format!("downloading Debian 13 into {root}"), &folder.log("debian"))?;
        }
        let list = folder.root.join("etc/apt/sources.list.d/backports.list");
        fs::write(&list, format!("deb {MIRROR} {SUITE}-backports main\n"))
            .map_err(about("the folder's sources.list"))?;
        let script = format!(
            "export DEBIAN_FRONTEND=noninteractive && apt-get update \
             && apt-get install -y --no-install-recommends {PACKAGES} \
             && apt-get install -y --no-install-recommends {SOURCE}/{SUITE}-backports && apt-get clean \
             && mkdir -p /build && cd /build && tar xf /usr/src/{SOURCE}.tar.xz && touch /build/.ready"
        );
        folder.run(&script, &[], "installing the compilers and the source of Linux 7.2 there", "packages")?;
        Ok(folder)
    }

    /// Where something of the folder lies, seen from outside.
    pub(crate) fn outside(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// The source of Linux, seen from inside.
    pub(crate) fn source(&self) -> String {
        format!("/build/{SOURCE}")
    }

    /// Version of the source's package.
    pub(crate) fn source_version(&self) -> Result<String, Error> {
        let status = self.root.join("var/lib/dpkg/status");
        let text = fs::read_to_string(&status).map_err(about("the folder's list of packages"))?;
        let package = text.split("\n\n").find(|package| package.starts_with(&format!("Package: {SOURCE}\n")));
        let version =
            package.and_then(|package| package.lines().find_map(|line| line.strip_prefix("Version: ")));
        version
            .map(str::to_owned)
            .ok_or_else(|| Error::Missing(format!("{SOURCE} is not installed in {}", self.root.display())))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.root.with_file_name(format!("{name}.log"))
    }

    /// Runs a shell script in the folder. `what` is said; its output goes to the log called `name`.
    pub(crate) fn run(&self, script: &str, lent: &[Lent<'_>], what: &str, name: &str) -> Result<(), Error> {
        let root = self.root.display().to_string();
        // In the namespace of the command alone: nothing is left mounted.
        let mut mounts = format!(
            "set -e; mount --make-rprivate /; mount -t proc proc {root}/proc; mount --bind /dev {root}/dev; \
             cp /etc/resolv.conf {root}/etc/resolv.conf; "
        );
        for lent in lent {
            let (outside, inside) = (lent.outside.display(), lent.inside);
            mounts += &format!("mkdir -p {root}{inside}; mount --bind {outside} {root}{inside}; ");
            if lent.is_read_only {
                mounts += &format!("mount -o remount,bind,ro {root}{inside}; ");
            }
        }
        let parent = self.root.parent().unwrap_or(Path::new("/"));
        let mut command = locked(parent, "unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            &format!("{mounts} exec chroot {root} sh -ec \"$1\""),
            "sh",
            script,
        ]);
        for inherited in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
            "RUSTC",
            "CARGO",
            "RUSTUP_TOOLCHAIN",
            "RUSTUP_HOME",
            "RUSTDOC",
            "MAKEFLAGS",
        ] {
            command.env_remove(inherited);
        }
        command.env("CARGO_HOME", "/cargo").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        say_and_run(command, what, &self.log(name))
    }
}

fn is_ready(root: &Path) -> bool {
    root.join("build/.ready").exists()
}

/// A command that waits for another xtask that is at work in the folder.
fn locked(parent: &Path, program: &str) -> Command {
    let mut command = Command::new("flock");
    command.arg(parent.join("lock")).arg(program);
    command
}

/// Says what is done, shows the last line of what the command says, keeps all of it in a log, and its end for an error.
fn say_and_run(mut command: Command, what: &str, log: &Path) -> Result<(), Error> {
    eprintln!("    {what}");
    let style = ProgressStyle::with_template("    {elapsed} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let progress = ProgressBar::new_spinner().with_style(style);
    progress.enable_steady_tick(Duration::from_secs(1));
    let mut kept = fs::File::create(log).map_err(about(log.display().to_string()))?;
    let errors = kept.try_clone().map_err(about(log.display().to_string()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(about(program.clone()))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            progress.set_message(line.trim().to_owned());
            writeln!(kept, "{line}").map_err(about(log.display().to_string()))?;
        }
    }
    let status = child.wait().map_err(about(program))?;
    progress.finish_and_clear();
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last_words = lines[lines.len().saturating_sub(25)..].join("\n");
    Err(Error::Failed {
        what: what.to_owned(),
        how: status.to_string(),
        log: log.display().to_string(),
        last_words,
    })
}
