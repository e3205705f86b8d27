//! Packages of a Debian release, unpacked into a folder: enough for a machine, and no root needed.
//!
//! `apt` resolves, downloads and checks signatures, with a state of its own, so that nothing of this machine is touched; `dpkg-deb` unpacks.
//! No script of a package is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;
use crate::linux;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A Debian release, as apt sees it.
pub(super) struct Release {
    folder: PathBuf,
}

/// What is missing to get packages here, if anything.
pub(super) fn missing() -> Option<linux::Error> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            let word = format!("{program} is missing: the machine's systemd comes from Debian's packages");
            return Some(linux::Error::Missing(word));
        }
    }
    let word = format!("{KEYRING} is missing; `apt-get install debian-archive-keyring` gets it");
    (!Path::new(KEYRING).exists()).then_some(linux::Error::Missing(word))
}

impl Release {
    /// Makes apt know a release by its name, such as `forky`; its lists are fetched anew.
    pub(super) fn open(name: &str) -> Result<Self, Error> {
        let folder = linux::cache()?.join(format!("packages-{name}"));
        for part in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(folder.join(part)).map_err(linux::about(folder.display().to_string()))?;
        }
        let source = format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {name} main\n");
        for (file, text) in [("sources.list", source.as_str()), ("status", "")] {
            fs::write(folder.join(file), text).map_err(linux::about(file))?;
        }
        let release = Self { folder };
        eprintln!("fetching the list of packages of Debian {name}");
        release.run(release.apt("apt-get").arg("update"), "fetching the list of packages")?;
        Ok(release)
    }

    /// Downloads these packages with all that they depend on, and returns the files of all.
    pub(super) fn fetch(&self, packages: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let wanted = |with: &str| {
            let mut apt = self.apt("apt-get");
            apt.args(["--no-install-recommends", "-y", with, "install"]).args(packages);
            apt
        };
        let said = self.run(&mut wanted("--print-uris"), "asking for the packages")?;
        // 'http://..' NAME BYTES HASH; what is there already is not named, so all are asked for by a name of their own.
        let named = said.lines().filter(|line| line.starts_with('\'')).count();
        if named > 0 {
            eprintln!("downloading {named} packages: {}", packages.join(", "));
        }
        self.run(&mut wanted("--download-only"), "downloading packages")?;
        self.archives()
    }

    /// Downloads one package whose name matches, without what it depends on.
    pub(super) fn fetch_alone(&self, pattern: &str) -> Result<PathBuf, Error> {
        let said = self
            .run(self.apt("apt-cache").args(["search", "--names-only", pattern]), "looking for a package")?;
        let Some(name) = said.lines().filter_map(|line| line.split_ascii_whitespace().next()).max() else {
            return Err(linux::Error::Missing(format!("this Debian has no package like {pattern}")).into());
        };
        let folder = self.folder.join("alone");
        fs::create_dir_all(&folder).map_err(linux::about(folder.display().to_string()))?;
        let found = |folder: &Path| find_archive(folder, name);
        if found(&folder).is_none() {
            eprintln!("downloading {name}");
            self.run(
                self.apt("apt-get").args(["download", name]).current_dir(&folder),
                "downloading a package",
            )?;
        }
        found(&folder).ok_or_else(|| linux::Error::Missing(format!("{name} was not downloaded")).into())
    }

    /// Unpacks packages into a folder that is made anew.
    pub(super) fn unpack(&self, packages: &[PathBuf], into: &Path) -> Result<(), Error> {
        if into.exists() {
            fs::remove_dir_all(into).map_err(linux::about(into.display().to_string()))?;
        }
        fs::create_dir_all(into).map_err(linux::about(into.display().to_string()))?;
        for package in packages {
            let mut unpack = Command::new("dpkg-deb");
            self.run(unpack.arg("-x").arg(package).arg(into), "unpacking a package")?;
        }
        Ok(())
    }

    fn archives(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.folder.join("archives");
        let entries = fs::read_dir(&folder).map_err(linux::about(folder.display().to_string()))?;
        let paths = entries.flatten().map(|entry| entry.path());
        let mut archives: Vec<PathBuf> = paths.filter(|path| is_archive(path)).collect();
        archives.sort();
        Ok(archives)
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let at = |name: &str| self.folder.join(name).display().to_string();
        for (option, value) in [
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", "-".to_owned()),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache", at("")),
            ("Dir::Cache::archives", at("archives")),
            ("APT::Architecture", "amd64".to_owned()),
            ("APT::Architectures", "amd64".to_owned()),
            ("APT::Sandbox::User", String::new()),
            ("Debug::NoLocking", "1".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
        ] {
            apt.arg("-o").arg(format!("{option}={value}"));
        }
        apt
    }

    fn run(&self, command: &mut Command, what: &str) -> Result<String, Error> {
        let output = command.stdin(Stdio::null()).output().map_err(linux::about(what))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let log = self.folder.join("failed.log");
        let _ = fs::write(&log, [output.stdout.as_slice(), output.stderr.as_slice()].concat());
        let last_words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let (how, log) = (output.status.to_string(), log.display().to_string());
        Err(linux::Error::Failed { what: what.to_owned(), how, log, last_words }.into())
    }
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "deb")
}

fn find_archive(folder: &Path, package: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| is_archive(path));
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split_once('_').is_some_and(|(name, _)| name == package)
    };
    paths.filter(is_it).max()
}
