//! Memory: memfds, huge pages, tmpfs, limits.

use super::machine::Machine;
use super::{Finding, Level};
use crate::quantity::Bytes;

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![memfd(machine), huge_pages(machine), huge_tlb(machine)];
    findings.extend(shared_memory(machine));
    findings.push(open_files(machine));
    findings.push(locked_memory(machine));
    findings.push(userfaultfd());
    findings
}

fn memfd(machine: &Machine) -> Finding {
    let topic = "memfd";
    match machine.read("/proc/sys/vm/memfd_noexec").as_deref() {
        Some("2") => Finding::new(
            topic,
            Level::Danger,
            "vm.memfd_noexec=2: memfds that could be executed are refused",
            "a program that asks for a heap without a file gets none, and does not start",
        )
        .advise("set vm.memfd_noexec to 1, or give heaps a file (Options::file)"),
        Some(value) => Finding::new(
            topic,
            Level::Ok,
            format!("available, with seals (vm.memfd_noexec={value})"),
            "heaps need no file; their seals go through live update",
        ),
        // Before 6.3 there is no such switch, and no way to refuse.
        None => Finding::new(topic, Level::Ok, "available, with seals", "heaps need no file"),
    }
}

fn huge_pages(machine: &Machine) -> Finding {
    let topic = "huge pages";
    let Some(policy) = machine.read("/sys/kernel/mm/transparent_hugepage/shmem_enabled") else {
        return Finding::new(topic, Level::Absent, "none for shared memory", "heaps are of 4 KiB pages");
    };
    let chosen =
        policy.split('[').nth(1).and_then(|rest| rest.split(']').next()).unwrap_or(&policy).to_owned();
    let found = format!("shmem_enabled is {chosen}");
    match chosen.as_str() {
        "never" | "deny" => Finding::new(
            topic,
            Level::Absent,
            found,
            "heaps are of 4 KiB pages though they ask for huge ones: an exec takes 63 to 85 ms longer for each GiB",
        )
        .advise("echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        _ => Finding::new(topic, Level::Ok, found, "heaps get huge pages, as they ask for them"),
    }
}

fn huge_tlb(machine: &Machine) -> Finding {
    let total = machine.read("/proc/meminfo").and_then(|text| field(&text, "HugePages_Total:"));
    let total = total.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Finding::new(
        "hugetlb",
        Level::Ok,
        format!("{total} pages set aside"),
        "a heap can live in a file on hugetlbfs, which outlives programs; live update does not take it",
    )
}

fn shared_memory(machine: &Machine) -> Option<Finding> {
    let topic = "/dev/shm";
    if !machine.exists("/dev/shm") {
        return Some(
            Finding::new(topic, Level::Absent, "not there", "a heap in a file has no file system in memory")
                .advise("mount -t tmpfs tmpfs /dev/shm"),
        );
    }
    // What a copy of a file system says of its size is not of that machine.
    if !machine.is_this_one {
        return None;
    }
    let stat = rustix::fs::statvfs("/dev/shm").ok()?;
    let (size, free) = (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize);
    let found = format!("{} free of {}", Bytes(free), Bytes(size));
    Some(if size < 256 << 20 {
        Finding::new(
            topic,
            Level::Absent,
            found,
            "too small for heaps in files; where it is full, allocations fail",
        )
        .advise(
            "mount -o remount,size=50% /dev/shm, or leave Options::file out: a memfd is not bounded by it",
        )
    } else {
        Finding::new(
            topic,
            Level::Ok,
            found,
            "bounds heaps in files there, not memfds; where it is full, allocations fail",
        )
    })
}

fn open_files(machine: &Machine) -> Finding {
    let topic = "RLIMIT_NOFILE";
    let Some(soft) = limit(machine, "Max open files") else {
        return Finding::new(
            topic,
            Level::Unknown,
            "/proc/self/limits cannot be read",
            "nothing can be said",
        );
    };
    let found = format!("{soft} descriptors");
    if soft.parse::<u64>().is_ok_and(|soft| soft < 256) {
        return Finding::new(
            topic,
            Level::Danger,
            found,
            "a hand-over takes a handful, and one for each that is passed on",
        )
        .advise("raise it: ulimit -n 1024, or LimitNOFILE= in a unit");
    }
    Finding::new(topic, Level::Ok, found, "a hand-over takes a handful, and one for each that is passed on")
}

fn locked_memory(machine: &Machine) -> Finding {
    let topic = "RLIMIT_MEMLOCK";
    let found = limit(machine, "Max locked memory").unwrap_or_else(|| "not known".to_owned());
    Finding::new(
        topic,
        Level::Ok,
        found,
        "does not matter: heaps are not locked, and live update pins them as root",
    )
}

fn userfaultfd() -> Finding {
    Finding::new(
        "userfaultfd",
        Level::Ok,
        "not needed",
        "heaps are mapped as they are, no fault is handled by programs",
    )
}

fn limit(machine: &Machine, name: &str) -> Option<String> {
    field(&machine.read("/proc/self/limits")?, name)
}

/// The first word behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next().map(str::to_owned)
}
