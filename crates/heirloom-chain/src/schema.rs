//! The types of the program, in five versions.
//!
//! ```text
//! v1  Session { id, hits: u32, name, level, note }        Event { Login { at }, Logout { at, why } }
//! v2  + seen                                               + Renamed(to)
//! v3  - note, hits is called visits
//! v4  visits: u64, name comes first, level may be Admin
//! v5  name is split in two, by code of the program
//! ```
//!
//! Documents are shared by two roots, and change in version 4: `Doc { id: u32, text }`, then `{ text, id: u64 }`.

use heirloom::arc::{self, Arc};
use heirloom::{Heritable, String, VecDeque};

#[cfg(not(any(feature = "v2", feature = "v3", feature = "v4", feature = "v5")))]
mod version {
    use super::*;

    pub(crate) const VERSION: u32 = 1;

    #[derive(Heritable)]
    #[repr(C)]
    pub(crate) struct Doc {
        pub(crate) id: u32,
        pub(crate) text: String,
    }

    #[cfg(not(feature = "shuffled"))]
    #[derive(Heritable)]
    #[repr(C)]
    pub(crate) struct Session {
        pub(crate) id: u64,
        pub(crate) hits: u32,
        pub(crate) level: Level,
        pub(crate) name: String,
        pub(crate) note: String,
    }

    /// The same fields, elsewhere.
    #[cfg(feature = "shuffled")]
    #[derive(Heritable)]
    #[repr(C)]
    pub(crate) struct Session {
        pub(crate) note: String,
        pub(crate) level: Level,
        pub(crate) name: String,
        pub(crate) id: u64,
        pub(crate) hits: u32,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Heritable)]
    #[repr(u8)]
    pub(crate) enum Level {
        Guest = 1,
        Member = 2,
    }

    #[derive(Heritable)]
    #[repr(C, u8)]
    pub(crate) enum Event {
        Login { at: u64 },
        Logout { at: u64, why: String },
    }
}

#[cfg(feature = "v2")]
mod version {
    use super::*;

    pub(crate) const VERSION: u32 = 2;

    #[derive(Heritable)]
    #[repr(C)]
    pub(crate) struct Doc {
        pub(crate) id: u32,
        pub(crate) text: String,
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(rollback)]
    pub(crate) struct Session {
        pub(crate) id: u64,
        pub(crate) hits: u32,
        pub(crate) level: Level,
        #[heritable(default = 77)]
        pub(crate) seen: u64,
        pub(crate) name: String,
        pub(crate) note: String,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Heritable)]
    #[repr(u8)]
    pub(crate) enum Level {
        Guest = 1,
        Member = 2,
    }

    #[derive(Heritable)]
    #[repr(C, u8)]
    #[heritable(rollback)]
    pub(crate) enum Event {
        Login {
            at: u64,
        },
        Logout {
            at: u64,
            why: String,
        },
        #[expect(dead_code, reason = "nobody is renamed: it is there to be added")]
        Renamed(String),
    }
}

#[cfg(feature = "v3")]
mod version {
    use super::*;

    pub(crate) const VERSION: u32 = 3;

    #[derive(Heritable)]
    #[repr(C)]
    pub(crate) struct Doc {
        pub(crate) id: u32,
        pub(crate) text: String,
    }

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(rollback, removed = "note")]
    pub(crate) struct Session {
        pub(crate) id: u64,
        #[heritable(was = "hits")]
        pub(crate) visits: u32,
        pub(crate) level: Level,
        #[heritable(default = 77)]
        pub(crate) seen: u64,
        pub(crate) name: String,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Heritable)]
    #[repr(u8)]
    pub(crate) enum Level {
        Guest = 1,
        Member = 2,
    }

    #[derive(Heritable)]
    #[repr(C, u8)]
    #[heritable(rollback)]
    pub(crate) enum Event {
        Login {
            at: u64,
        },
        Logout {
            at: u64,
            why: String,
        },
        #[expect(dead_code, reason = "nobody is renamed: it is there to be added")]
        Renamed(String),
    }
}

#[cfg(any(feature = "v4", feature = "v5"))]
mod four {
    use super::*;

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(rollback)]
    pub(crate) struct Doc {
        pub(crate) text: String,
        pub(crate) id: u64,
    }

    /// The session of version 4: that of the program in version 4, an ancestor in version 5.
    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Session", rollback, removed = "note")]
    pub(crate) struct SessionV4 {
        pub(crate) name: String,
        #[heritable(was = "hits")]
        pub(crate) visits: u64,
        pub(crate) id: u64,
        #[heritable(default = 77)]
        pub(crate) seen: u64,
        pub(crate) level: Level,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Heritable)]
    #[repr(u8)]
    #[heritable(rollback)]
    pub(crate) enum Level {
        Guest = 1,
        Member = 2,
        Admin = 3,
    }

    #[derive(Heritable)]
    #[repr(C, u8)]
    #[heritable(rollback)]
    pub(crate) enum Event {
        Login {
            at: u64,
        },
        Logout {
            at: u64,
            why: String,
        },
        #[expect(dead_code, reason = "nobody is renamed: it is there to be added")]
        Renamed(String),
    }
}

#[cfg(feature = "v4")]
mod version {
    pub(crate) use super::four::{Doc, Event, Level, SessionV4 as Session};

    pub(crate) const VERSION: u32 = 4;
}

#[cfg(feature = "v5")]
mod version {
    use super::four::SessionV4;
    pub(crate) use super::four::{Doc, Event, Level};
    use super::*;

    pub(crate) const VERSION: u32 = 5;

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(from = SessionV4, back_to = SessionV4)]
    pub(crate) struct Session {
        pub(crate) id: u64,
        pub(crate) visits: u64,
        pub(crate) seen: u64,
        pub(crate) first: String,
        pub(crate) last: String,
        pub(crate) level: Level,
    }

    impl From<&SessionV4> for Session {
        fn from(old: &SessionV4) -> Self {
            let (first, last) = old.name.split_once(' ').unwrap_or((&old.name, ""));
            Self {
                id: old.id,
                visits: old.visits,
                seen: old.seen,
                first: first.into(),
                last: last.into(),
                level: old.level,
            }
        }
    }

    impl From<&Session> for SessionV4 {
        fn from(new: &Session) -> Self {
            let mut name = new.first.clone();
            name.push_str(" ");
            name.push_str(&new.last);
            Self { name, visits: new.visits, id: new.id, seen: new.seen, level: new.level }
        }
    }
}

/// Documents that lie in the other root too.
#[derive(Default, Heritable)]
#[repr(C)]
pub(crate) struct Recent {
    pub(crate) docs: VecDeque<Arc<Doc>>,
    pub(crate) oldest: arc::Weak<Doc>,
}

pub(crate) use version::{Doc, Event, Level, Session, VERSION};
