//! Collections, locks and options: the same container around another type.

use heirloom_abi::types::{TypeView, first_change};

use super::planner::{Planner, Step};
use super::{Node, Refusal, Stride};
use crate::evolve::collection::{self, Buckets, Collection};

impl Planner {
    pub(super) fn collection(
        &mut self,
        old: &TypeView<'_>,
        new: &TypeView<'_>,
        (old_version, from): (u32, heirloom_abi::types::Children<'_>),
        (new_version, to): (u32, heirloom_abi::types::Children<'_>),
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
        let part = |name: &str| format!("{of}.{name}: ");
        Ok(match (from, to) {
            (Collection::Text, Collection::Text) => self.push(Node::Text, true, false),
            (Collection::Sequence(old), Collection::Sequence(new)) => {
                let elem = self.within(part("value"), |planner| planner.step(&old, &new))?;
                let stride = |of: &TypeView<'_>| Stride { bytes: of.size as usize, align: of.align as usize };
                let node = Node::Sequence { from: stride(&old), to: stride(&new), elem: elem.node };
                self.push(node, elem.stays, false)
            }
            (Collection::Owned(old), Collection::Owned(new)) => {
                let value = self.within(part("value"), |planner| planner.step(&old, &new))?;
                let (size, align) = (new.size as usize, new.align as usize);
                self.push(Node::Owned { size, align, value: value.node }, value.stays, false)
            }
            (Collection::Map(old_key, old_value), Collection::Map(new_key, new_value)) => {
                let chain = self.chain.len();
                let key = self.within(part("key"), |planner| planner.step(&old_key, &new_key))?;
                if self.chain.len() != chain {
                    return self.refuse(format!(
                        "{of}.key: the program's own conversion might make two keys one; write the map anew in a `from` of the \
                         type around it"
                    ));
                }
                let value = self.within(part("value"), |planner| planner.step(&old_value, &new_value))?;
                let (from, to) = (Buckets::new(&old_key, &old_value), Buckets::new(&new_key, &new_value));
                let node = Node::Map { from, to, key: key.node, value: value.node, keys_stay: key.stays };
                self.push(node, key.stays && value.stays, false)
            }
            (Collection::Lock(from, old), Collection::Lock(to, new)) => {
                let value = self.within(part("value"), |planner| planner.step(&old, &new))?;
                let head = if of == "Mutex" { 4 } else { 12 };
                let node = Node::Lock { head, from: from as usize, to: to as usize, value: value.node };
                self.push(node, value.stays && from == to, value.is_plain)
            }
            (Collection::Niche(old), Collection::Niche(new)) => {
                let value = self.within(part("value"), |planner| planner.step(&old, &new))?;
                let size = new.size as usize;
                if value.stays && value.is_plain {
                    return Ok(self.push(Node::Copy(size), true, true));
                }
                // Where `None` is all zeroes, and not zeroes in one part of it.
                if !matches!(old.name, "Box" | "NonZero") {
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
}
