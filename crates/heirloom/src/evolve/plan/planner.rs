//! The search: two types side by side, down to what both are made of.
//!
//! ```text
//! old, new --step--> by the program's code | fields | variants | a container | an array | a number | what is being looked at already
//!                            |
//!                            '--> a node, pushed behind those of its parts; or a refusal, with the way there
//! ```

use std::cell::Cell;
use std::rc::Rc;

use heirloom_abi::types::{ARRAY, History, Shape, TUPLE, TypeView, first_change};

use super::identity::identity;
use super::{Direction, Node, NodeId, Refusal};
use crate::evolve::number::Number;

/// More than any type that a person has declared takes. A description that leads in circles must come to an end.
pub(super) const MOST_STEPS: u32 = 100_000;

pub(super) struct Planner<'a> {
    pub(super) direction: Direction,
    /// What all attempts together may still take.
    steps_left: Rc<Cell<u32>>,
    pub(super) nodes: Vec<Node>,
    path: Vec<String>,
    /// Whether the bytes of each step may stay, but for what it leads back to.
    stays: Vec<bool>,
    /// Structs and enums that are being looked at, and the step that will be theirs.
    around: Vec<(TypeView<'a>, TypeView<'a>, NodeId)>,
    pub(super) chain: Vec<String>,
}

/// A step that was found.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) node: NodeId,
    /// The bytes may stay as they are.
    pub(super) stays: bool,
    /// The value has no pointers.
    pub(super) is_plain: bool,
}

impl<'a> Planner<'a> {
    pub(super) fn new(direction: Direction, steps_left: Rc<Cell<u32>>) -> Self {
        let (nodes, path, stays, around, chain) = Default::default();
        Self { direction, steps_left, nodes, path, stays, around, chain }
    }

    /// The steps, and of each whether its bytes may stay, with all that it leads to.
    pub(super) fn finish(mut self) -> (Vec<Node>, Vec<bool>, Vec<String>) {
        loop {
            let moves = |id: &NodeId| {
                self.stays[*id] && self.nodes[*id].children().iter().any(|&child| !self.stays[child])
            };
            let found: Vec<_> = (0..self.nodes.len()).filter(moves).collect();
            if found.is_empty() {
                return (self.nodes, self.stays, self.chain);
            }
            found.into_iter().for_each(|id| self.stays[id] = false);
        }
    }

    /// Another, to find out whether something can be done at all.
    pub(super) fn aside(&self) -> Self {
        Self { around: self.around.clone(), ..Self::new(self.direction, self.steps_left.clone()) }
    }

    pub(super) fn push(&mut self, node: Node, stays: bool, is_plain: bool) -> Step {
        self.nodes.push(node);
        self.stays.push(stays);
        Step { node: self.nodes.len() - 1, stays, is_plain }
    }

    pub(super) fn path(&self) -> String {
        self.path.concat()
    }

    pub(super) fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal { path: self.path(), reason: reason.into() })
    }

    pub(super) fn within<T>(
        &mut self,
        step: String,
        look: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.path.push(step);
        let found = look(self);
        self.path.pop();
        found
    }

    /// Undoes what an attempt has added, if it comes to nothing.
    pub(super) fn attempt<T>(
        &mut self,
        look: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let (nodes, chain) = (self.nodes.len(), self.chain.len());
        let found = look(self);
        if found.is_err() {
            self.nodes.truncate(nodes);
            self.stays.truncate(nodes);
            self.chain.truncate(chain);
        }
        found
    }

    pub(super) fn step(&mut self, old: &TypeView<'a>, new: &TypeView<'a>) -> Result<Step, Refusal> {
        self.spend(1)?;
        let history = self.history(old, new);
        let is_same = first_change(old, new).is_none();
        if !is_same && let Some(step) = self.by_code(old, new, &history)? {
            return Ok(step);
        }
        let both = (old.shape, new.shape);
        match both {
            (Shape::Struct(a), Shape::Struct(b)) => {
                self.named(old, new)?;
                self.enclosed(old, new, |planner| planner.structure(old, new, a, b, &history))
            }
            (Shape::Enum { .. } | Shape::DataEnum { .. }, Shape::Enum { .. } | Shape::DataEnum { .. }) => {
                self.named(old, new)?;
                self.enclosed(old, new, |planner| planner.enumeration(old, new, &history))
            }
            (Shape::Array { len: a, elem: mut from }, Shape::Array { len: b, elem: mut to }) => {
                if a != b {
                    return self.refuse(format!("an array of {a} cannot become one of {b}"));
                }
                let (Some(from), Some(to)) = (from.next(), to.next()) else {
                    return self.refuse("no element");
                };
                let elem = self.within("element: ".to_owned(), |planner| planner.step(&from, &to))?;
                if elem.is_plain && elem.stays {
                    return Ok(self.push(Node::Copy(new.size as usize), true, true));
                }
                let (from, to) = (from.size as usize, to.size as usize);
                let node = Node::Array { len: a as usize, from, to, elem: elem.node };
                Ok(self.push(node, elem.stays, elem.is_plain))
            }
            (
                Shape::Collection { format_version: a, args: from },
                Shape::Collection { format_version: b, args: to },
            ) => self.collection(old, new, (a, from), (b, to)),
            (Shape::Recursive, Shape::Recursive) => {
                let same =
                    |(a, b, _): &&(TypeView<'_>, TypeView<'_>, _)| a.name == old.name && b.name == new.name;
                match self.around.iter().rev().find(same) {
                    // Whether it stays is decided where it stands.
                    Some(&(_, _, node)) => Ok(Step { node, stays: true, is_plain: false }),
                    None => {
                        self.refuse(format!("`{}` leads back to another type than `{}`", new.name, old.name))
                    }
                }
            }
            (Shape::Primitive, Shape::Primitive) => self.primitive(old, new),
            _ => self.other_type(old, new),
        }
    }

    pub(super) fn history(&self, old: &TypeView<'a>, new: &TypeView<'a>) -> History<'a> {
        match self.direction {
            Direction::Forward => new.history(),
            Direction::Back => old.history(),
        }
    }

    pub(super) fn other_type<T>(&self, old: &TypeView<'a>, new: &TypeView<'a>) -> Result<T, Refusal> {
        let help = match self.direction {
            Direction::Forward => {
                "declare what it is made from: #[heritable(from = ..)] on the type around it"
            }
            Direction::Back => "declare how it is written: #[heritable(back_to = ..)] on the type around it",
        };
        self.refuse(format!("{old} -> {new}; {help}"))
    }

    pub(super) fn named(&self, old: &TypeView<'a>, new: &TypeView<'a>) -> Result<(), Refusal> {
        if old.name == new.name {
            return Ok(());
        }
        let help = "if it is the same type under another name, keep the old one: #[heritable(name = ..)]";
        self.refuse(format!("{} -> {}; {help}", shown(old.name), shown(new.name)))
    }

    pub(super) fn enclosed(
        &mut self,
        old: &TypeView<'a>,
        new: &TypeView<'a>,
        look: impl FnOnce(&mut Self) -> Result<(Node, bool, bool), Refusal>,
    ) -> Result<Step, Refusal> {
        let open = self.push(Node::Open, false, false);
        self.around.push((*old, *new, open.node));
        let found = look(self);
        self.around.pop();
        let (node, stays, is_plain) = found?;
        self.nodes[open.node] = node;
        self.stays[open.node] = stays;
        Ok(Step { node: open.node, stays, is_plain })
    }

    /// What a type is that is come by here.
    pub(super) fn identity(&self, of: &TypeView<'a>) -> Result<u64, Refusal> {
        let around: Vec<_> = self.around.iter().map(|around| around.1).collect();
        let (identity, nr_types) = identity(of, &around);
        self.spend(nr_types)?;
        Ok(identity)
    }

    /// A description that leads in circles must come to an end.
    fn spend(&self, steps: usize) -> Result<(), Refusal> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        match self.steps_left.get().checked_sub(steps) {
            Some(left) => self.steps_left.set(left),
            None => return self.refuse("the ways that the types offer are too many to look at"),
        }
        Ok(())
    }

    pub(super) fn primitive(&mut self, old: &TypeView<'a>, new: &TypeView<'a>) -> Result<Step, Refusal> {
        if old.name == new.name && old.size == new.size {
            return Ok(self.push(Node::Copy(new.size as usize), true, true));
        }
        let (Some(from), Some(to)) = (Number::named(old.name), Number::named(new.name)) else {
            return self.other_type(old, new);
        };
        let may = match self.direction {
            Direction::Forward => from.widens_to(to),
            Direction::Back => from.widens_to(to) || from.may_narrow_to(to),
        };
        if !may {
            return self.other_type(old, new);
        }
        if from == to && old.align == new.align {
            return Ok(self.push(Node::Copy(new.size as usize), true, true));
        }
        let path = self.path();
        Ok(self.push(Node::Number { from, to, path }, false, true))
    }
}

pub(super) fn shown(name: &str) -> &str {
    match name {
        TUPLE => "tuple",
        ARRAY => "array",
        name => name,
    }
}
