//! Types that change between two generations: their objects become objects of the new type, and back.
//!
//! ```text
//! description in the heap + rules of the program --plan-->  nothing to do | the same layout | a conversion | a refusal
//!                                                                |              |               |
//!                                                              taken      described anew     `convert`, then one store for all;
//!                                                                                            `release` of the old objects
//! ```
//!
//! - `plan`: from two descriptions to a way. `number`, `collection`: what it knows of numbers and collections.
//! - `convert`: a way carried out. `shape`: what a type owns. `release`, `count`: walks over that.
//! - `report`: what a candidate would do with each root. `snapshot`: what was allocated when the heap was frozen.
//! - `secret`: values that do not cross a hand-over.
//!
//! `docs/types.md` is the guide for users; `heap::migrate` says when what happens.
//!
//! # Invariants
//!
//! - *said before*: what can be done with a root is known before the jump, to both sides, by the same code.
//! - *whole*: old objects are only read until the successor has acknowledged.
//! - *one store*: all roots that change together are of the old types and objects or of the new ones, at every instant.
//! - *shared*: what several pointers lead to is one value before and afterwards, in one root or in several.

pub(crate) mod collection;
pub(crate) mod convert;
pub(crate) mod count;
mod number;
pub(crate) mod plan;
pub(crate) mod release;
mod report;
pub(crate) mod secret;
pub(crate) mod shape;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use heirloom_abi::types::{Shape, TypeView, TypesError, first_difference};

pub use convert::ConvertError;
pub use plan::Refusal;
pub use report::{CandidateReport, RootReport, RootWay};

use plan::{Direction, Plan};

/// When objects of older types become objects of the new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Migrate {
    /// Before the heap is opened, and before a predecessor lets go: if it fails, nothing has happened.
    #[default]
    AtOpen,
    /// Each root when it is first used: the program answers at once, and the first use of a root takes longer. Roots whose shared values
    /// (`Rc`, `Arc`) change are migrated at the opening nevertheless, all together.
    AtFirstUse,
}

/// How far the migration of a root is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The root.
    pub root: &'a str,
    /// Values that have been made.
    pub done: u64,
    /// Values that there were when it began.
    pub total: u64,
}

/// What is called while a root migrates.
#[derive(Clone)]
pub(crate) struct Listener(pub(crate) Arc<dyn Fn(Progress<'_>) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// How a program comes to its own type of a root.
#[derive(Debug)]
pub(crate) enum Way {
    /// It is that type.
    Taken,
    /// By this plan.
    Planned(Plan),
}

/// Why it does not.
#[derive(Debug)]
pub(crate) enum NoWay {
    /// The types differ by more than can be done.
    Refused(String),
    /// A description is damaged.
    Damaged(TypesError),
}

impl From<TypesError> for NoWay {
    fn from(error: TypesError) -> Self {
        Self::Damaged(error)
    }
}

/// Finds the way from the type in a heap to a program's own, by the program's rules, if it has any.
pub(crate) fn find_way(in_heap: &[u8], own: &[u8], rules: Option<&[u8]>) -> Result<Way, NoWay> {
    let Some(difference) = first_difference(in_heap, own)? else { return Ok(Way::Taken) };
    let Some(rules) = rules else { return Err(NoWay::Refused(difference.to_string())) };
    let (old, new) = (TypeView::parse(in_heap)?, TypeView::parse_rules(rules)?);
    find(&old, &new, Direction::Forward)
}

/// Finds the way from a program's own type to an older one, which it writes by its own rules.
pub(crate) fn find_way_back(rules: &[u8], wanted: &[u8]) -> Result<Way, NoWay> {
    let (old, new) = (TypeView::parse_rules(rules)?, TypeView::parse(wanted)?);
    find(&old, &new, Direction::Back)
}

/// True if the rules say anything of ways back.
pub(crate) fn speaks_of_back(rules: &[u8]) -> bool {
    fn node(ty: &TypeView<'_>) -> bool {
        let history = ty.history();
        let own = history.rollback || history.back_to.into_iter().next().is_some();
        own || match ty.shape {
            Shape::Struct(mut fields) => fields.any(|field| node(&field.ty)),
            Shape::DataEnum { mut cases, .. } => {
                cases.any(|mut case| case.fields.any(|field| node(&field.ty)))
            }
            Shape::Array { elem: mut below, .. } | Shape::Collection { args: mut below, .. } => {
                below.any(|ty| node(&ty))
            }
            Shape::Primitive | Shape::Enum { .. } | Shape::Recursive => false,
        }
    }
    TypeView::parse_rules(rules).is_ok_and(|ty| node(&ty))
}

fn find(old: &TypeView<'_>, new: &TypeView<'_>, direction: Direction) -> Result<Way, NoWay> {
    match Plan::find(old, new, direction) {
        Ok(plan) => Ok(Way::Planned(plan)),
        Err(refusal) => Err(NoWay::Refused(refusal.to_string())),
    }
}
