//! The kernel: does it hand memory over to the next one, and is that safe?

use super::machine::{Machine, Version, is_on, option, parameter};
use super::{Finding, Level};

/// The first that hands memfds over (`/dev/liveupdate` with memfds).
const LIVE_UPDATE: Version = Version(6, 19);

/// The first whose map of preserved memory starts in a page that KFENCE cannot have served.
const ROOT_IS_SAFE: Version = Version(7, 3);

/// The first with `MAP_FIXED_NOREPLACE`; before it a heap's place may be refused where it is free.
const OLDEST: Version = Version(4, 17);

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let config = machine.kernel_config();
    let config = config.as_ref().map(|(text, place)| (text.as_str(), place.as_str()));
    let command_line = machine.read("/proc/cmdline");
    let mut findings = vec![version(machine)];
    findings.push(configuration(config));
    findings.extend(switches(command_line.as_deref()));
    findings.push(device(machine));
    findings.push(kexec(machine));
    findings.push(kfence(machine, config.map(|(text, _)| text), command_line.as_deref()));
    findings
}

fn version(machine: &Machine) -> Finding {
    let topic = "kernel";
    let (Some(release), Some(version)) = (machine.release(), machine.version()) else {
        return Finding::new(topic, Level::Unknown, "the release is not known", "nothing can be said of it")
            .advise("mount /proc");
    };
    let found = format!("Linux {release}");
    if version < OLDEST {
        return Finding::new(
            topic,
            Level::Absent,
            found,
            "a heap needs Linux 4.17, to be mapped where it has to be",
        );
    }
    let means = if version < LIVE_UPDATE {
        "heaps outlive programs, by every channel but live update, which came with 6.19"
    } else {
        "new enough for every channel"
    };
    Finding::new(topic, Level::Ok, found, means)
}

fn configuration(config: Option<(&str, &str)>) -> Finding {
    let topic = "kernel config";
    let Some((config, place)) = config else {
        return Finding::new(
            topic,
            Level::Unknown,
            "neither /proc/config.gz nor a config file of this release",
            "whether the kernel can hand memory over shows in /dev/liveupdate alone",
        );
    };
    let wanted = [
        "CONFIG_KEXEC_FILE",
        "CONFIG_RELOCATABLE",
        "CONFIG_KEXEC_HANDOVER",
        "CONFIG_LIVEUPDATE",
        "CONFIG_LIVEUPDATE_MEMFD",
    ];
    let missing: Vec<&str> =
        wanted.into_iter().filter(|name| !matches!(option(config, name), Some("y" | "m"))).collect();
    if missing.is_empty() {
        let found = format!("handover and live update are built in ({place})");
        return Finding::new(topic, Level::Ok, found, "a heap can outlive this kernel");
    }
    let found = format!("without {} ({place})", missing.join(", "));
    Finding::new(topic, Level::Absent, found, "no heap outlives this kernel; every other channel works")
        .advise(
            "for live update, build the kernel with these options (linux/vm/kernel.config has all of them)",
        )
}

fn switches(command_line: Option<&str>) -> Vec<Finding> {
    let Some(line) = command_line else {
        return vec![Finding::new(
            "kho=",
            Level::Unknown,
            "/proc/cmdline cannot be read",
            "nothing can be said",
        )];
    };
    let switch = |topic, name| {
        let value = parameter(line, name);
        let found =
            value.map_or(format!("no {topic} on the command line"), |value| format!("{topic}{value}"));
        if value.is_some_and(is_on) {
            Finding::new(topic, Level::Ok, found, "switched on")
        } else {
            Finding::new(
                topic,
                Level::Absent,
                found,
                "the kernel does not hand memory over unless it is told to",
            )
            .advise(format!(
                "for live update, add {topic}on to the command line of this kernel and of the next"
            ))
        }
    };
    vec![switch("kho=", "kho"), switch("liveupdate=", "liveupdate")]
}

fn device(machine: &Machine) -> Finding {
    let (topic, path) = ("/dev/liveupdate", heirloom::live_update::DEVICE);
    if !machine.exists(path) {
        return Finding::new(topic, Level::Absent, "not there", "channel luo does not work here");
    }
    let may_write = !machine.is_this_one
        || rustix::fs::access(path, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_ok();
    if may_write {
        Finding::new(
            topic,
            Level::Ok,
            "there",
            "channel luo works: Heap::preserve, and the kernel after inherits",
        )
    } else {
        Finding::new(
            topic,
            Level::Absent,
            "there, and not for this user",
            "channel luo works for others only",
        )
        .advise("run as root, or let systemd (261 or newer) preserve what is in its descriptor store")
    }
}

fn kexec(machine: &Machine) -> Finding {
    let topic = "kexec";
    if machine.read("/proc/sys/kernel/kexec_load_disabled").as_deref() == Some("1") {
        return Finding::new(
            topic,
            Level::Absent,
            "kernel.kexec_load_disabled=1",
            "no next kernel can be loaded",
        )
        .advise("it cannot be switched back without a reboot; look for who sets it (sysctl.d)");
    }
    let lockdown = machine.read("/sys/kernel/security/lockdown");
    if let Some(mode) = lockdown.as_deref().filter(|text| !text.contains("[none]") && text.contains('[')) {
        let found = format!("lockdown: {mode}");
        return Finding::new(topic, Level::Ok, found, "the next kernel has to be signed")
            .advise("load a signed kernel with kexec -s");
    }
    Finding::new(
        topic,
        Level::Ok,
        "not disabled",
        "a next kernel can be loaded, by kexec_file_load (kexec -s)",
    )
}

/// Whether the running kernel was itself started with memory of a kernel before.
fn was_started_by_kho(machine: &Machine) -> Option<bool> {
    if machine.exists("/sys/kernel/debug/kho/in/fdt") {
        return Some(true);
    }
    // A debugfs that can be listed and has no such file says no; one that cannot says nothing.
    let can_tell = machine.list("/sys/kernel/debug").is_ok_and(|names| !names.is_empty());
    can_tell.then_some(false)
}

fn sample_interval(machine: &Machine, config: Option<&str>, command_line: Option<&str>) -> Option<u64> {
    let live = machine.read("/sys/module/kfence/parameters/sample_interval");
    if let Some(interval) = live.and_then(|text| text.parse().ok()) {
        return Some(interval);
    }
    let config = config?;
    if option(config, "CONFIG_KFENCE") != Some("y") {
        return Some(0);
    }
    let told = command_line.and_then(|line| parameter(line, "kfence.sample_interval"));
    told.or(option(config, "CONFIG_KFENCE_SAMPLE_INTERVAL")).and_then(|text| text.parse().ok())
}

/// The one way in which a handover is known to lose everything without a word.
fn kfence(machine: &Machine, config: Option<&str>, command_line: Option<&str>) -> Finding {
    const OFF: &str =
        "start every kernel of the chain with kfence.sample_interval=0, or use Linux 7.3 or newer";
    let topic = "KFENCE";
    let Some(version) = machine.version() else {
        return Finding::new(
            topic,
            Level::Unknown,
            "the kernel's version is not known",
            "nothing can be said",
        );
    };
    let Some(interval) = sample_interval(machine, config, command_line) else {
        return Finding::new(
            topic,
            Level::Unknown,
            "neither its parameters nor the kernel's configuration can be read",
            "whether it can take the map of preserved memory cannot be told",
        );
    };
    if interval == 0 {
        return Finding::new(topic, Level::Ok, "off", "it takes no allocation of the handover's");
    }
    let found = format!("samples an allocation every {interval} ms");
    if version >= ROOT_IS_SAFE {
        return Finding::new(
            topic,
            Level::Ok,
            found,
            "since Linux 7.3 it cannot serve the map of preserved memory",
        );
    }
    let hands_over = command_line.and_then(|line| parameter(line, "kho")).is_some_and(is_on);
    if !hands_over {
        return Finding::new(
            topic,
            Level::Ok,
            found,
            "this kernel hands nothing over, so nothing can be lost by it",
        );
    }
    let loss = "before Linux 7.3 it may serve the root of the map of preserved memory; on a kernel that was itself \
                started by KHO its pool lies in scratch memory, which the next kernel overwrites before it reads the \
                map: everything that is preserved is then lost, without a word, at the second kexec of a chain";
    match was_started_by_kho(machine) {
        Some(true) => Finding::new(
            topic,
            Level::Danger,
            format!("{found}, and this kernel was started by KHO"),
            format!("the next kexec may lose every heap: {loss}"),
        )
        .advise(format!("do not live-update from this kernel: reboot it cold; {OFF}")),
        Some(false) => Finding::new(
            topic,
            Level::Ok,
            format!("{found}; this kernel was started cold"),
            format!("the next kexec is safe, the one after it is not: {loss}"),
        )
        .advise(OFF),
        None => Finding::new(
            topic,
            Level::Unknown,
            format!("{found}; whether this kernel was started by KHO cannot be told without debugfs"),
            format!("if it was: {loss}"),
        )
        .advise(format!("mount debugfs and run this as root; or {OFF}")),
    }
}
