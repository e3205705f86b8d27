//! The changes: what is there before, what is done, what is there afterwards, and what is promised in between.

use std::collections::BTreeSet as StdSet;
use std::fmt;

mod rows;
mod tables;
mod trees;

use heirloom::sync::Mutex;
use heirloom::{Inside, Vec};

use super::subject::{Item, Items, Record, Subject};

heirloom::root! {
    /// What fills a heap up.
    static BALLAST: Mutex<Vec<Vec<u8>>> = "ballast";
}

/// What a kill leaves.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Promise {
    /// What was there before, or what is there afterwards.
    Atomic,
    /// Each element by itself: there or not, once, and whole.
    EachElement,
}

/// Tells that the change begins, and that it is made.
pub(crate) type Mark<'a> = &'a dyn Fn();

type Act = Box<dyn Fn(&Inside<'_>, Mark<'_>)>;
type LookAt = Box<dyn Fn(&Inside<'_>, bool) -> Result<(), std::string::String>>;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) promise: Promise,
    /// Too long for the test: only with `--all`, or by name.
    pub(crate) is_long: bool,
    pub(crate) make: Box<dyn Fn(&Inside<'_>)>,
    pub(crate) change: Act,
    /// Looks at what is there; the flag says that the change was acknowledged.
    pub(crate) look: LookAt,
}

/// Builds a case. `make` adds what filling alone does not bring about, and leaves the items as they are.
fn case<S: Subject>(
    name: &'static str,
    promise: Promise,
    items: &[Item],
    make: fn(&mut S),
    change: impl Fn(&mut S, Mark<'_>) + 'static,
    then: impl Fn(&mut Items),
) -> Case {
    let before = items.to_vec();
    let mut after = before.clone();
    then(&mut after);
    let to_fill = before.clone();
    let look = move |inside: &Inside<'_>, is_over: bool| {
        let lock = S::root().get(inside);
        lock.clear_poison();
        BALLAST.get(inside).clear_poison();
        BALLAST.get(inside).lock().clear();
        let mut subject = lock.lock();
        let found = subject.read()?;
        let is_kept = match promise {
            _ if is_over => found == after,
            Promise::Atomic => found == before || found == after,
            Promise::EachElement => is_between(&found, &before, &after),
        };
        if !is_kept {
            return Err(format!("it holds {found:?}, before {before:?}, afterwards {after:?}"));
        }
        go_on(&mut *subject, found)
    };
    Case {
        name,
        promise,
        is_long: name.ends_with("large"),
        make: Box::new(move |inside| {
            let mut subject = S::root().get(inside).lock();
            subject.fill(&to_fill);
            make(&mut subject);
            assert_eq!(subject.read().unwrap(), to_fill, "what is made is not what was asked for");
        }),
        change: Box::new(move |inside, mark| change(&mut S::root().get(inside).lock(), mark)),
        look: Box::new(look),
    }
}

/// A change that needs nothing made before it.
fn just<S: 'static>(change: fn(&mut S)) -> impl Fn(&mut S, Mark<'_>) + 'static {
    move |subject, mark| {
        mark();
        change(subject);
        mark();
    }
}

/// Whether nothing is there that never was, nothing twice, and all that stays.
fn is_between(found: &Items, before: &Items, after: &Items) -> bool {
    let set = |items: &Items| items.iter().copied().collect::<StdSet<Item>>();
    let (is, was, will) = (set(found), set(before), set(after));
    is.len() == found.len() && is.is_subset(&(&was | &will)) && (&was & &will).is_subset(&is)
}

/// Uses what a kill left: what it holds stays as it is while the heap is in use, and it takes more.
fn go_on<S: Subject>(subject: &mut S, found: Items) -> Result<(), std::string::String> {
    // Blocks that are free now are used: were one of them still in use, what is in it would change.
    let others: std::vec::Vec<Record> = (0..60).map(|nr| Record::new(nr, 99)).collect();
    if subject.read()? != found {
        return Err("what it holds changes while other things are made".to_owned());
    }
    let more = S::more();
    subject.add(&more);
    let mut wanted = found;
    wanted.extend(more);
    if !S::IS_SEQUENCE {
        wanted.sort_unstable();
    }
    let now = subject.read()?;
    if now != wanted {
        return Err(format!("with more in it, it holds {now:?}"));
    }
    drop(others);
    // Drops everything: what is owned twice is given back twice.
    *subject = S::default();
    Ok(())
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Atomic => "all or nothing",
            Self::EachElement => "each element by itself",
        })
    }
}

fn upto(nr: u64) -> Items {
    (0..nr).map(|key| (key, 1)).collect()
}

/// Even keys, so that there is room between them.
fn even(nr: u64) -> Items {
    (0..nr).map(|key| (2 * key, 1)).collect()
}

fn plain(nr: u64) -> Items {
    (0..nr).map(|key| (key, 0)).collect()
}

fn add(item: Item) -> impl Fn(&mut Items) {
    move |items| {
        items.push(item);
        items.sort_unstable();
    }
}

fn without(key: u64) -> impl Fn(&mut Items) {
    move |items| items.retain(|item| item.0 != key)
}

fn nothing<S>(_: &mut S) {}

pub(crate) fn all() -> std::vec::Vec<Case> {
    let mut cases = tables::hash_maps();
    cases.extend(tables::hash_tables());
    cases.extend(rows::vectors());
    cases.extend(rows::deques());
    cases.extend(rows::strings());
    cases.extend(trees::trees());
    cases
}
