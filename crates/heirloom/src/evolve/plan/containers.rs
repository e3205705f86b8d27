//! Collections, locks and options: the same container around another type.

use heirloom_abi::types::{Children, TypeView, first_change};

use super::keeps::keeps;
use super::planner::{Planner, Step};
use super::{Node, NodeId, Pairs, Refusal, Stride};
use crate::btree_map::shape::Shape as TreeShape;
use crate::evolve::collection::{self, Buckets, Collection, Counted, Row, TextForm};

/// Bytes of the head of a map and of its table.
const MAP_BYTES: usize = 56;
const TABLE_BYTES: usize = 32;

impl<'a> Planner<'a> {
    pub(super) fn collection(
        &mut self,
        old: &TypeView<'a>,
        new: &TypeView<'a>,
        (old_version, from): (u32, Children<'a>),
        (new_version, to): (u32, Children<'a>),
    ) -> Result<Step, Refusal> {
        if old.name != new.name {
            return self.other_type(old, new);
        }
        let of = new.name;
        let parts = (collection::parts(of, old_version, from), collection::parts(of, new_version, to));
        let (Some(from), Some(to)) = parts else {
            return self.refuse(format!(
                "a `{of}` (versions {old_version}, {new_version}) can only be taken as it is, and something in this root \
                 has changed"
            ));
        };
        let mut part = |part: &str, old: &TypeView<'a>, new: &TypeView<'a>| {
            self.within(format!("{of}.{part}: "), |planner| planner.step(old, new))
        };
        Ok(match (from, to) {
            (Collection::Text(from), Collection::Text(to)) => {
                self.push(Node::Text { from, to }, from == to, false)
            }
            (Collection::Sequence(row, old), Collection::Sequence(_, new)) => {
                let elem = part("value", &old, &new)?;
                let node = Node::Sequence { row, from: stride(&old), to: stride(&new), elem: elem.node };
                self.push(node, elem.stays, false)
            }
            (Collection::Owned(old), Collection::Owned(new)) => {
                let value = part("value", &old, &new)?;
                let node = Node::Owned { from: stride(&old), to: stride(&new), value: value.node };
                self.push(node, value.stays, false)
            }
            (Collection::Shared(owns, old), Collection::Shared(_, new)) => {
                let value = part("value", &old, &new)?;
                let (from, to) = (Counted::new(&old), Counted::new(&new));
                let (identity, path) = (self.identity(&new)?, self.path());
                // Whether it is kept is known when all around it is.
                let is_kept = false;
                let node = Node::Shared { owns, from, to, value: value.node, identity, is_kept, path };
                self.push(node, value.stays, false)
            }
            (Collection::Map(old_key, old_value), Collection::Map(new_key, new_value)) => {
                let key = part("key", &old_key, &new_key)?;
                let value = part("value", &old_value, &new_value)?;
                if !key.stays {
                    self.stay_distinct(of, key.node)?;
                }
                let (from, to) = (Buckets::new(&old_key, &old_value), Buckets::new(&new_key, &new_value));
                let (keys_stay, head) = (key.stays, MAP_BYTES);
                let node = Node::Map { head, from, to, key: key.node, value: value.node, keys_stay };
                self.push(node, key.stays && value.stays, false)
            }
            (Collection::Tree(old_key, old_value), Collection::Tree(new_key, new_value)) => {
                let key = part("key", &old_key, &new_key)?;
                let value = part("value", &old_value, &new_value)?;
                if !key.stays {
                    self.stay_in_order(of, key.node)?;
                }
                let (from, to) = (pairs(&old_key, &old_value), pairs(&new_key, &new_value));
                let node = Node::Tree { from, to, key: key.node, value: value.node };
                self.push(node, key.stays && value.stays, false)
            }
            (Collection::Texts, Collection::Texts) => self.texts(new.size as usize),
            (Collection::Lock(from, old), Collection::Lock(to, new)) => {
                let value = part("value", &old, &new)?;
                let head = if of == "Mutex" { 4 } else { 12 };
                let node = Node::Lock { head, from: from as usize, to: to as usize, value: value.node };
                self.push(node, value.stays && from == to, value.is_plain)
            }
            (Collection::Late(from, old), Collection::Late(to, new)) => {
                let value = part("value", &old, &new)?;
                let node = Node::Late { from: from as usize, to: to as usize, value: value.node };
                self.push(node, value.stays && from == to, value.is_plain)
            }
            (Collection::Niche(old), Collection::Niche(new)) => {
                let value = part("value", &old, &new)?;
                let size = new.size as usize;
                if value.stays && value.is_plain {
                    return Ok(self.push(Node::Copy(size), true, true));
                }
                // Where `None` is all zeroes, and not zeroes in one part of it: an address.
                if !matches!(old.name, "Box" | "Rc" | "Arc" | "RcWeak" | "ArcWeak") {
                    return self.refuse(format!("an `Option` of `{}` can only be taken as it is", old.name));
                }
                self.push(Node::Niche { size: old.size as usize, value: value.node }, value.stays, false)
            }
            (Collection::Plain, Collection::Plain)
                if old.size == new.size && first_change(old, new).is_none() =>
            {
                self.push(Node::Copy(new.size as usize), true, true)
            }
            (Collection::Plain, Collection::Plain) if new.size == 0 => self.push(Node::Copy(0), true, true),
            _ => return self.other_type(old, new),
        })
    }

    /// An interner: a vector of texts, and a table of their handles, which stay.
    fn texts(&mut self, size: usize) -> Step {
        let form = TextForm::Row(Row::Slice);
        let text = self.push(Node::Text { from: form, to: form }, true, false).node;
        let stride = Stride { bytes: 16, align: 8 };
        let strings = Node::Sequence { row: Row::Vec, from: stride, to: stride, elem: text };
        let strings = self.push(strings, true, false).node;
        let handle = self.push(Node::Copy(4), true, true).node;
        let nothing = self.push(Node::Copy(0), true, true).node;
        let (from, to) = (Buckets::HANDLES, Buckets::HANDLES);
        let table = Node::Map { head: TABLE_BYTES, from, to, key: handle, value: nothing, keys_stay: true };
        let table = self.push(table, true, false).node;
        let seed = self.push(Node::Copy(size.saturating_sub(24 + TABLE_BYTES)), true, true).node;
        self.push(Node::in_a_row(&[(0, strings), (24, table), (24 + TABLE_BYTES, seed)]), true, false)
    }

    fn stay_distinct(&self, of: &str, key: NodeId) -> Result<(), Refusal> {
        if keeps(&self.nodes, key).distinct {
            return Ok(());
        }
        self.refuse(format!(
            "{of}.key: two keys might become one, by the program's own conversion or as a field of theirs is lost; write the map anew \
             in a `from` of the type around it"
        ))
    }

    fn stay_in_order(&self, of: &str, key: NodeId) -> Result<(), Refusal> {
        if keeps(&self.nodes, key).order {
            return Ok(());
        }
        self.refuse(format!(
            "{of}.key: keys might become one, or their order another, by the program's own conversion or as fields or variants of \
             theirs changed places; write the map anew in a `from` of the type around it"
        ))
    }
}

fn stride(of: &TypeView<'_>) -> Stride {
    Stride { bytes: of.size as usize, align: of.align as usize }
}

fn pairs(key: &TypeView<'_>, value: &TypeView<'_>) -> Pairs {
    let numbers = |of: &TypeView<'_>| (of.size as usize, of.align as usize);
    let shape = TreeShape::of(numbers(key), numbers(value));
    Pairs { shape, key: key.size as usize, value: value.size as usize }
}
