//! What the kernels and their first programs say, taken down line by line.
//!
//! ```text
//! @generation 2                                                 a kernel begins
//! [  3.9] heirloom: generation 2: 2008 objects in 31 blocks inherited
//! @took verify: 128 ms                                          from init
//! [  4.0] heirloom_sample: verified 2000 lost 0 corrupt 0       from the sample: words and numbers
//! @stats blocks 37        @check stale_bytes 0                  from debugfs, through init
//! @refused WHAT: WHY      @fault WHAT                           what had to be refused
//! @done  or  @failed WHY                                        the end
//! ```

use std::collections::BTreeMap;

use serde::Serialize;

/// What one kernel said.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Kernel {
    /// Which kernel of the chain.
    pub(super) generation: u64,
    /// Objects and blocks that the module says it inherited.
    pub(super) inherited: Option<(u64, u64)>,
    /// Results of `verify`: records, lost, corrupt.
    pub(super) verified: Vec<[u64; 3]>,
    /// Objects found torn under stress.
    pub(super) torn: u64,
    /// The debugfs files `stats` and `check`, the last time they were shown.
    pub(super) numbers: BTreeMap<String, u64>,
    /// KFENCE's own counts.
    pub(super) kfence: BTreeMap<String, u64>,
    /// Where the root of the predecessor's map of preserved memory lay, and whether that is in scratch.
    pub(super) map_root: Option<(String, bool)>,
    /// How long commands took, in ms.
    pub(super) took: BTreeMap<String, u64>,
    /// What was refused, as it had to be.
    pub(super) refused: Vec<String>,
    /// What was not.
    pub(super) faults: Vec<String>,
    /// Why the module has no pool.
    pub(super) no_pool: Option<String>,
    /// Lines of the trials `records` and `time`.
    pub(super) trials: Vec<BTreeMap<String, String>>,
    /// What else was said for the xtask.
    pub(super) notes: Vec<String>,
    /// Warnings of Linux.
    pub(super) warnings: Vec<String>,
}

/// Everything that was heard.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    pub(super) kernels: Vec<Kernel>,
    /// All lines.
    pub(super) lines: Vec<String>,
    /// The run ended well, by its own word.
    pub(super) is_done: bool,
    /// It did not, and why.
    pub(super) failed: Option<String>,
    /// Between one kernel's last word and the next one's first.
    is_booting: bool,
    /// Warnings while no program ran yet.
    boot_warnings: Vec<String>,
}

/// What a kernel prints when something is wrong with it. KFENCE's reports begin with its name and an error.
const WARNINGS: [&str; 14] = [
    "WARNING:",
    "BUG:",
    "INFO: possible",
    "INFO: task",
    "INFO: rcu",
    "Oops",
    "general protection",
    "Kernel panic",
    "possible recursive locking",
    "possible circular locking",
    "suspicious RCU usage",
    "Bad page state",
    "invalid opcode",
    "disabling KHO",
];

impl Transcript {
    /// Takes down a line; true where a kernel began.
    pub(super) fn hear(&mut self, line: &str) -> bool {
        self.lines.push(line.to_owned());
        let text = without_time(line);
        if let Some(word) = text.strip_prefix('@') {
            return self.hear_init(word);
        }
        let is_warning = WARNINGS.iter().any(|warning| text.contains(warning));
        let Some(kernel) = self.kernels.last_mut().filter(|_| !self.is_booting) else {
            if is_warning {
                self.boot_warnings.push(text.to_owned());
            }
            return false;
        };
        if is_warning {
            kernel.warnings.push(text.to_owned());
        }
        if let Some(word) = text.strip_prefix("heirloom: ") {
            kernel.hear_module(word);
        } else if let Some(word) = text.strip_prefix("heirloom_sample: ") {
            kernel.hear_sample(word);
        }
        false
    }

    fn hear_init(&mut self, word: &str) -> bool {
        let (first, rest) = word.split_once(' ').unwrap_or((word, ""));
        if first == "generation" {
            let generation = rest.parse().unwrap_or(0);
            let warnings = std::mem::take(&mut self.boot_warnings);
            self.kernels.push(Kernel { generation, warnings, ..Kernel::default() });
            self.is_booting = false;
            return true;
        }
        match first {
            // The jump itself is still this kernel's, as far as it says anything; whose a warning is, is told by where it comes.
            "kexec" => self.is_booting = true,
            "done" => self.is_done = true,
            "failed" => self.failed = Some(rest.to_owned()),
            _ => {}
        }
        let Some(kernel) = self.kernels.last_mut().filter(|_| !self.is_booting) else { return false };
        match first {
            "took" => {
                if let Some((what, ms)) = rest.rsplit_once(": ") {
                    let ms = ms.trim_end_matches(" ms").parse().unwrap_or(0);
                    kernel.took.insert(what.split(' ').next().unwrap_or(what).to_owned(), ms);
                }
            }
            "stats" | "check" => kernel.note_number(&format!("{first} "), rest),
            "kfence" => {
                if let Some((name, number)) = rest.rsplit_once(": ") {
                    kernel.kfence.insert(name.to_owned(), number.parse().unwrap_or(0));
                }
            }
            "map_root" => {
                let place = rest.split_once(" in_scratch ");
                kernel.map_root = place.map(|(at, is_in_scratch)| (at.to_owned(), is_in_scratch == "1"));
            }
            "refused" => kernel.refused.push(rest.to_owned()),
            "fault" => kernel.faults.push(rest.to_owned()),
            _ => kernel.notes.push(word.to_owned()),
        }
        false
    }

    /// The end of what was heard, for a person.
    pub(super) fn last_words(&self) -> String {
        self.lines[self.lines.len().saturating_sub(30)..].join("\n")
    }

    /// Warnings that came after the last kernel that reached its program.
    pub(super) fn boot_warnings(&self) -> &[String] {
        &self.boot_warnings
    }
}

impl Kernel {
    fn note_number(&mut self, prefix: &str, text: &str) {
        if let Some((name, number)) = text.split_once(' ')
            && let Ok(number) = number.parse()
        {
            self.numbers.insert(format!("{prefix}{name}"), number);
        } else {
            self.notes.push(format!("{prefix}{text}"));
        }
    }

    /// A number of `stats` or `check`.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).copied()
    }

    fn hear_module(&mut self, text: &str) {
        if let Some(why) = text.strip_prefix("no pool: ") {
            self.no_pool = Some(why.to_owned());
        } else if text.starts_with("generation ") {
            let numbers: Vec<u64> = text.split([' ', ':']).filter_map(|word| word.parse().ok()).collect();
            if let [_, objects, blocks] = numbers[..] {
                self.inherited = Some((objects, blocks));
            }
        }
    }

    fn hear_sample(&mut self, text: &str) {
        let mut words = text.split(' ');
        let kind = words.next().unwrap_or("");
        let numbers: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
        match (kind, &numbers[..]) {
            ("verified", [nr, lost, corrupt]) => self.verified.push([*nr, *lost, *corrupt]),
            ("stressed", [_, torn, _]) => self.torn += torn,
            ("records" | "time", _) => {
                let mut trial = BTreeMap::from([("trial".to_owned(), kind.to_owned())]);
                trial.extend(words.next().map(|who| ("who".to_owned(), who.to_owned())));
                while let (Some(name), Some(value)) = (words.next(), words.next()) {
                    trial.insert(name.to_owned(), value.to_owned());
                }
                self.trials.push(trial);
            }
            _ => self.notes.push(text.to_owned()),
        }
    }
}

/// A line of the kernel's log without its time.
fn without_time(line: &str) -> &str {
    let rest = line.strip_prefix('[').and_then(|line| line.split_once("] "));
    rest.map_or(line, |(_, text)| text)
}
