//! What a candidate would do with each root, said before the jump.

use std::fmt;
use std::time::Duration;

/// Nanoseconds that a value takes on its way, by which times are estimated: `heirloom-chain` measured 850 to 2,500 for sessions with
/// one or two texts, on a machine with two cores that had much else to do.
const NS_PER_VALUE: u64 = 1000;

/// What a candidate would do with a heap.
#[derive(Clone, Debug)]
pub struct CandidateReport {
    /// Each root of the heap.
    pub roots: Vec<RootReport>,
}

/// What a candidate would do with a root.
#[derive(Clone, Debug)]
pub struct RootReport {
    /// The root.
    pub name: String,
    /// What becomes of it.
    pub way: RootWay,
}

/// What becomes of a root.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RootWay {
    /// It is taken as it is.
    Taken,
    /// The bytes stay, and are described anew: a name has changed, or a variant was added.
    Described,
    /// The candidate makes new objects from the old ones.
    Migrates {
        /// Values that there are.
        values: u64,
        /// Conversions by the candidate's own code, one after the other; empty where names and numbers lead there.
        chain: Vec<String>,
    },
    /// This program makes objects of the older type, that the candidate has, before it lets go.
    RollsBack {
        /// Values that there are.
        values: u64,
        /// Conversions by this program's own code.
        chain: Vec<String>,
    },
    /// It cannot be taken.
    Refused {
        /// Why, with the field.
        reason: String,
    },
}

impl CandidateReport {
    /// True if the candidate can take every root.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.roots.iter().all(|root| !matches!(root.way, RootWay::Refused { .. }))
    }

    /// Values that are made anew.
    #[must_use]
    pub fn values(&self) -> u64 {
        self.roots.iter().map(|root| root.way.values()).sum()
    }

    /// How long that may take: an estimate, from a rate that was measured elsewhere.
    #[must_use]
    pub fn estimated(&self) -> Duration {
        Duration::from_nanos(self.values().saturating_mul(NS_PER_VALUE))
    }

    /// True if the successor makes objects anew.
    pub(crate) fn migrates(&self) -> bool {
        self.roots.iter().any(|root| matches!(root.way, RootWay::Migrates { .. } | RootWay::Described))
    }

    /// True if this program makes objects of older types.
    pub(crate) fn rolls_back(&self) -> bool {
        self.roots.iter().any(|root| matches!(root.way, RootWay::RollsBack { .. }))
    }
}

impl RootWay {
    /// Values that are made anew.
    #[must_use]
    pub fn values(&self) -> u64 {
        match self {
            Self::Migrates { values, .. } | Self::RollsBack { values, .. } => *values,
            Self::Taken | Self::Described | Self::Refused { .. } => 0,
        }
    }

    /// How long that may take: an estimate.
    #[must_use]
    pub fn estimated(&self) -> Duration {
        Duration::from_nanos(self.values().saturating_mul(NS_PER_VALUE))
    }

    /// One word for a table or for JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Described => "described anew",
            Self::Migrates { .. } => "migrates",
            Self::RollsBack { .. } => "rolls back",
            Self::Refused { .. } => "refused",
        }
    }
}

impl fmt::Display for RootWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("taken as it is"),
            Self::Described => f.write_str("taken as it is, and described anew: the layout is the same"),
            Self::Migrates { values, chain } => {
                write!(f, "migrates: {values} values, about {:?}", self.estimated())?;
                show_chain(f, chain)
            }
            Self::RollsBack { values, chain } => {
                write!(f, "is rolled back before the jump: {values} values, about {:?}", self.estimated())?;
                show_chain(f, chain)
            }
            Self::Refused { reason } => write!(f, "refused: {reason}"),
        }
    }
}

fn show_chain(f: &mut fmt::Formatter<'_>, chain: &[String]) -> fmt::Result {
    match chain.len() {
        0 => f.write_str(", field by field"),
        1 => write!(f, ", through the program's own conversion to {}", chain[0]),
        nr => write!(f, ", through {nr} of the program's own conversions: {}", chain.join(", ")),
    }
}

impl fmt::Display for CandidateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.roots.iter().try_for_each(|root| writeln!(f, "{}: {}", root.name, root.way))
    }
}
