//! Being the first process of a machine: what has to be mounted, and how it ends.

use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

/// True for the first process of a machine.
pub(crate) fn is_first_process() -> bool {
    std::process::id() == 1
}

/// Mounts what a heap needs to know of its machine.
pub(crate) fn mount_all() -> io::Result<()> {
    let mounts =
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("debugfs", "/sys/kernel/debug")];
    for (kind, place) in mounts {
        // A kernel without debugfs has no such directory, and can do without.
        if !Path::new(place).exists() && std::fs::create_dir(place).is_err() {
            continue;
        }
        match mount(kind, place, kind, MountFlags::empty(), None) {
            // The kernel has mounted it itself.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(_) if kind == "debugfs" => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Turns the machine off. Where it stays on, ending is all that is left.
pub(crate) fn power_off() -> io::Error {
    rustix::fs::sync();
    match reboot(RebootCommand::PowerOff) {
        Ok(()) => io::Error::other("the machine is still on"),
        Err(error) => error.into(),
    }
}
