//! The service manager: does it keep descriptors, and this process's?

use super::machine::Machine;
use super::{Finding, Level};

/// The first systemd that keeps descriptors.
const KEEPS: u32 = 219;
/// The first that tells a service how many it keeps, in `FDSTORE`, and can keep them while the service is stopped.
const TELLS: u32 = 254;
/// The first whose store outlives the kernel.
const OUTLIVES_KERNEL: u32 = 261;

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let runs = machine.exists("/run/systemd/system");
    let version = systemd_version(machine);
    vec![systemd(version, runs), this_process(machine, runs)]
}

/// systemd names its private library by its version.
fn systemd_version(machine: &Machine) -> Option<u32> {
    let folders = ["/usr/lib/systemd", "/lib/systemd"].map(str::to_owned).into_iter();
    let multiarch = machine.list("/usr/lib").unwrap_or_default().into_iter();
    let multiarch =
        multiarch.filter(|name| name.contains("-linux-")).map(|name| format!("/usr/lib/{name}/systemd"));
    let libraries = folders.chain(multiarch).flat_map(|folder| machine.list(&folder).unwrap_or_default());
    libraries
        .filter_map(|name| {
            let rest = name.strip_prefix("libsystemd-shared-")?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
        .max()
}

fn systemd(version: Option<u32>, runs: bool) -> Finding {
    let topic = "systemd";
    let Some(version) = version else {
        return Finding::new(
            topic,
            Level::Absent,
            "not installed",
            "channel fdstore needs it, or one that speaks as it does",
        );
    };
    let found = format!("{version}{}", if runs { "" } else { ", not running" });
    if !runs {
        return Finding::new(topic, Level::Absent, found, "nobody keeps descriptors here");
    }
    let means = match version {
        ..KEEPS => "it keeps no descriptors: channel fdstore does not work",
        KEEPS..TELLS => {
            "it keeps a heap across restarts and crashes of a service, not while the service is stopped"
        }
        TELLS..OUTLIVES_KERNEL => {
            "it keeps a heap across restarts, crashes and (FileDescriptorStorePreserve=yes) stops, not across kernels"
        }
        _ => "it keeps a heap across restarts, crashes, stops and, with live update, `systemctl kexec`",
    };
    let level = if version < KEEPS { Level::Absent } else { Level::Ok };
    Finding::new(topic, level, found, means)
}

fn this_process(machine: &Machine, runs: bool) -> Finding {
    let topic = "fdstore";
    match (machine.env("NOTIFY_SOCKET"), machine.env("FDSTORE")) {
        (Some(_), Some("0")) => Finding::new(
            topic,
            Level::Absent,
            "this process is a service whose store is closed (FDSTORE=0)",
            "its heap is lost with it, unless it is in a file",
        )
        .advise("set FileDescriptorStoreMax=8 and FileDescriptorStorePreserve=yes in its unit (linux/systemd has one)"),
        (Some(_), Some(most)) => Finding::new(
            topic,
            Level::Ok,
            format!("this process is a service and may store {most} descriptors"),
            "its heap is kept across restarts and crashes",
        ),
        (Some(_), None) => Finding::new(
            topic,
            Level::Ok,
            "this process has a manager, which does not say whether it keeps descriptors",
            "its heap is sent there, and kept if FileDescriptorStoreMax= allows it",
        ),
        (None, _) => {
            let found = "this process is no service of a manager that keeps descriptors";
            let means = "services are asked from inside: run `heirloom doctor` as ExecStartPre= to see what one gets";
            Finding::new(topic, if runs { Level::Ok } else { Level::Absent }, found, means)
        }
    }
}
