//! The way through the program's own code, where a type declares ancestors (`from`) or descendants (`back_to`) that it is made from or
//! written as.

use heirloom_abi::types::{History, Relatives, Shape, TypeView, first_change};

use super::planner::{Planner, Step};
use super::{Between, Direction, Node, Refusal};

impl<'a> Planner<'a> {
    /// The way through the program's own code, where it declares one that leads there.
    pub(super) fn by_code(
        &mut self,
        old: &TypeView<'a>,
        new: &TypeView<'a>,
        history: &History<'a>,
    ) -> Result<Option<Step>, Refusal> {
        let (relatives, known) = match self.direction {
            Direction::Forward => (history.from, old),
            Direction::Back => (history.back_to, new),
        };
        if relatives.clone().next().is_none() {
            return Ok(None);
        }
        // One of its ancestors as it was; else one that it can be brought to, field by field; else the type itself, by fields.
        let exact = relatives.into_iter().find(|relative| leads_to(self.direction, &relative.ty, known, 0));
        let by_fields = || {
            relatives.into_iter().find(|relative| {
                let (from, to) = self.ends(&relative.ty, old, new);
                self.aside().step(from, to).is_ok()
            })
        };
        let direct = || self.direct(old, new);
        let Some(relative) = exact.or_else(|| if direct() { None } else { by_fields() }) else {
            return Ok(None);
        };
        let other = &relative.ty;
        let found = self.attempt(|planner| {
            let (from, to) = planner.ends(other, old, new);
            let is_exact = first_change(from, to).is_none();
            if planner.direction == Direction::Back {
                planner.chain.push(other.name.to_owned());
            }
            let between = match is_exact {
                true => None,
                false => {
                    let node = planner.step(from, to)?.node;
                    Some(Between { node, size: other.size as usize, align: other.align as usize })
                }
            };
            if planner.direction == Direction::Forward {
                planner.chain.push(new.name.to_owned());
            }
            let (before, after) = match planner.direction {
                Direction::Forward => (between, None),
                Direction::Back => (None, between),
            };
            Ok(planner.push(Node::Custom { hook: relative.hook, before, after }, false, false))
        })?;
        Ok(Some(found))
    }

    /// The part of the way that the program's code does not do.
    pub(super) fn ends<'v>(
        &self,
        other: &'v TypeView<'a>,
        old: &'v TypeView<'a>,
        new: &'v TypeView<'a>,
    ) -> (&'v TypeView<'a>, &'v TypeView<'a>) {
        match self.direction {
            Direction::Forward => (old, other),
            Direction::Back => (other, new),
        }
    }

    pub(super) fn direct(&self, old: &TypeView<'a>, new: &TypeView<'a>) -> bool {
        let mut alone = self.aside();
        let history = History { from: NO_RELATIVES, back_to: NO_RELATIVES, ..self.history(old, new) };
        match (old.shape, new.shape) {
            (Shape::Struct(a), Shape::Struct(b)) => alone
                .named(old, new)
                .and_then(|()| {
                    alone.enclosed(old, new, |planner| planner.structure(old, new, a, b, &history))
                })
                .is_ok(),
            _ => alone
                .named(old, new)
                .and_then(|()| alone.enclosed(old, new, |planner| planner.enumeration(old, new, &history)))
                .is_ok(),
        }
    }
}

const NO_RELATIVES: Relatives<'static> = History::NONE.from;

/// True if `known` is the relative, or one that the program's code leads to from there.
fn leads_to(direction: Direction, relative: &TypeView<'_>, known: &TypeView<'_>, depth: usize) -> bool {
    if depth > heirloom_abi::types::MAX_DEPTH {
        return false;
    }
    if first_change(relative, known).is_none() {
        return true;
    }
    let history = relative.history();
    let mut further = if direction == Direction::Forward { history.from } else { history.back_to };
    further.any(|next| leads_to(direction, &next.ty, known, depth + 1))
}
