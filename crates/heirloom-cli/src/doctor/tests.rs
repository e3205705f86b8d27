//! Machines that do not exist.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A root directory with the files of a machine, gone with the test.
struct Root(PathBuf);

impl Root {
    fn new(files: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root =
            Self(std::env::temp_dir().join(format!("heirloom-doctor-{}-{number}", std::process::id())));
        for (path, text) in files {
            root.write(path, text.as_bytes());
        }
        root
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn examine(&self, env: &[(&str, &str)]) -> Vec<Finding> {
        examine(&Machine::fake(&self.0, env))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LIMITS: (&str, &str) = (
    "proc/self/limits",
    "Limit                     Soft Limit           Hard Limit           Units\n\
     Max open files            1024                 524288               files\n\
     Max locked memory         8388608              8388608              bytes\n",
);

const HANDOVER: &str = "CONFIG_KEXEC_FILE=y\nCONFIG_RELOCATABLE=y\nCONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n\
                        CONFIG_LIVEUPDATE_MEMFD=y\nCONFIG_KFENCE=y\nCONFIG_KFENCE_SAMPLE_INTERVAL=100\n";

/// Linux 7.2 with handover, started with the line given.
fn linux_7_2(command_line: &str) -> Root {
    Root::new(&[
        LIMITS,
        ("proc/sys/kernel/osrelease", "7.2.13-test\n"),
        ("proc/cmdline", command_line),
        ("boot/config-7.2.13-test", HANDOVER),
        ("dev/liveupdate", ""),
        ("sys/kernel/debug/x", ""),
    ])
}

fn level(findings: &[Finding], topic: &str) -> Level {
    let found: Vec<_> = findings.iter().filter(|finding| finding.topic == topic).collect();
    assert_eq!(found.len(), 1, "{topic}: {found:?}");
    found[0].level
}

#[test]
fn a_kernel_that_hands_over_and_was_started_cold_is_no_danger() {
    let findings = linux_7_2("ro kho=on liveupdate=on").examine(&[]);
    for topic in ["kernel", "kernel config", "kho=", "liveupdate=", "/dev/liveupdate", "KFENCE"] {
        assert_eq!(level(&findings, topic), Level::Ok, "{topic}");
    }
    assert_eq!(verdict(&findings), Level::Absent, "{findings:#?}");
}

#[test]
fn kfence_on_a_kernel_that_was_started_by_kho_is_the_danger_to_name() {
    let root = linux_7_2("kho=on liveupdate=on");
    root.write("sys/kernel/debug/kho/in/fdt", b"");
    let findings = root.examine(&[]);
    assert_eq!((level(&findings, "KFENCE"), verdict(&findings)), (Level::Danger, Level::Danger));
    let kfence = findings.iter().find(|finding| finding.topic == "KFENCE").unwrap();
    assert!(kfence.means.contains("lost, without a word"), "{}", kfence.means);

    // Switched off at run time, by the command line, or mended: no danger.
    root.write("sys/module/kfence/parameters/sample_interval", b"0\n");
    assert_eq!(level(&root.examine(&[]), "KFENCE"), Level::Ok);
    root.write("sys/module/kfence/parameters/sample_interval", b"100\n");
    assert_eq!(level(&root.examine(&[]), "KFENCE"), Level::Danger);
    root.write("proc/sys/kernel/osrelease", b"7.3.0\n");
    assert_eq!(level(&root.examine(&[]), "KFENCE"), Level::Ok);
    let off = linux_7_2("kho=on kfence.sample_interval=0 -- kfence.sample_interval=5");
    off.write("sys/kernel/debug/kho/in/fdt", b"");
    assert_eq!(level(&off.examine(&[]), "KFENCE"), Level::Ok);
}

#[test]
fn without_debugfs_the_danger_cannot_be_told() {
    let root = linux_7_2("kho=on liveupdate=on");
    fs::remove_dir_all(root.0.join("sys/kernel/debug")).unwrap();
    let findings = root.examine(&[]);
    assert_eq!((level(&findings, "KFENCE"), verdict(&findings)), (Level::Unknown, Level::Unknown));
}

#[test]
fn what_a_kernel_lacks_is_named() {
    let root = Root::new(&[
        LIMITS,
        ("proc/sys/kernel/osrelease", "6.1.0-9-amd64"),
        ("proc/cmdline", "kho=off"),
        ("usr/lib/modules/6.1.0-9-amd64/config", "CONFIG_KEXEC_FILE=y\n# CONFIG_KEXEC_HANDOVER is not set\n"),
        (
            "sys/kernel/mm/transparent_hugepage/shmem_enabled",
            "always within_size advise [never] deny force\n",
        ),
        ("proc/sys/kernel/kexec_load_disabled", "1\n"),
    ]);
    let findings = root.examine(&[]);
    for topic in ["kernel config", "kho=", "liveupdate=", "/dev/liveupdate", "kexec", "huge pages", "systemd"]
    {
        assert_eq!(level(&findings, topic), Level::Absent, "{topic}");
    }
    let config = findings.iter().find(|finding| finding.topic == "kernel config").unwrap();
    assert!(
        config.found.starts_with("without CONFIG_RELOCATABLE, CONFIG_KEXEC_HANDOVER"),
        "{}",
        config.found
    );
    assert_eq!(level(&findings, "KFENCE"), Level::Ok);
}

#[test]
fn a_packed_configuration_is_read() {
    let root = linux_7_2("");
    fs::remove_dir_all(root.0.join("boot")).unwrap();
    assert_eq!(level(&root.examine(&[]), "kernel config"), Level::Unknown);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(HANDOVER.as_bytes()).unwrap();
    root.write("proc/config.gz", &packed.finish().unwrap());
    assert_eq!(level(&root.examine(&[]), "kernel config"), Level::Ok);
    root.write("proc/config.gz", b"not packed");
    assert_eq!(level(&root.examine(&[]), "kernel config"), Level::Unknown);
}

#[test]
fn systemd_is_known_by_its_library_and_a_service_by_its_environment() {
    let root = linux_7_2("");
    root.write("usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-262.so", b"");
    assert_eq!(level(&root.examine(&[]), "systemd"), Level::Absent, "installed, not running");
    fs::create_dir_all(root.0.join("run/systemd/system")).unwrap();
    let findings = root.examine(&[("NOTIFY_SOCKET", "/run/systemd/notify"), ("FDSTORE", "8")]);
    assert_eq!(level(&findings, "systemd"), Level::Ok);
    let fdstore = findings.iter().find(|finding| finding.topic == "fdstore").unwrap();
    assert!(fdstore.found.contains("may store 8"), "{}", fdstore.found);
    let closed = root.examine(&[("NOTIFY_SOCKET", "/run/systemd/notify"), ("FDSTORE", "0")]);
    assert_eq!(level(&closed, "fdstore"), Level::Absent);
}

#[test]
fn refused_memfds_and_few_descriptors_are_dangers() {
    let root = linux_7_2("");
    root.write("proc/sys/vm/memfd_noexec", b"2\n");
    assert_eq!(level(&root.examine(&[]), "memfd"), Level::Danger);
    root.write("proc/self/limits", b"Max open files            64      64      files\n");
    assert_eq!(level(&root.examine(&[]), "RLIMIT_NOFILE"), Level::Danger);
}

#[test]
fn an_empty_machine_is_unknown_and_nothing_panics() {
    let root = Root::new(&[("usr/x", "")]);
    let findings = root.examine(&[]);
    assert_eq!(verdict(&findings), Level::Unknown);
    assert!(findings.iter().all(|finding| !finding.found.is_empty() && !finding.means.is_empty()));
}
