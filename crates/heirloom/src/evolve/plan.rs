//! The plan: how a value of one layout becomes one of another, found from two descriptions and the rules in one of them.
//!
//! ```text
//! description in the heap ----+
//!                             +--> Plan: nodes, each a step from an offset here to an offset there  --> `convert`
//! form with rules ------------+      or a Refusal, with the way to what cannot be done
//! ```
//!
//! It runs before anything is touched, in the program that hands over as in the one that takes, and in the command line: all
//! three come to the same answer. Forward the rules are those of the newer type and say what its ancestors lacked. Backward they
//! are those of the newer type too, which writes for its ancestor.
//!
//! Fields and variants are matched by name. So a field that moved is no change, a number that can hold all that the other held is
//! widened, and all else must be declared: nothing is lost by a slip.

use std::cell::Cell;
use std::rc::Rc;

use heirloom_abi::types::{
    ARRAY, Cases, FieldView, Fields, History, Relatives, Shape, TUPLE, TypeView, Variants, first_change,
};

use super::collection::{self, Buckets, Collection};
use super::number::Number;

/// Which of the two descriptions carries the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The one that is to be.
    Forward,
    /// The one that is.
    Back,
}

/// The index of a step.
pub(super) type NodeId = usize;

/// How a value of one type becomes one of another.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
    /// True where the bytes may stay as they are: both layouts are one.
    pub(crate) is_same_layout: bool,
    /// The types that are made by code of the program, in the order of the way.
    pub(crate) chain: Vec<String>,
}

/// Why a value cannot become one of the other type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{reason}")]
pub struct Refusal {
    /// The way to it.
    pub path: String,
    /// What cannot be done, and what would help.
    pub reason: String,
}

/// One step, from an address to an address.
#[derive(Debug)]
pub(super) enum Node {
    /// To be filled in: a type that is being looked at.
    Open,
    /// So many bytes as they are.
    Copy(usize),
    Number {
        from: Number,
        to: Number,
        path: String,
    },
    Fields(Vec<Move>, Vec<Fill>),
    Cases {
        from_tag: usize,
        to_tag: usize,
        cases: Vec<Case>,
        path: String,
    },
    Array {
        len: usize,
        from: usize,
        to: usize,
        elem: NodeId,
    },
    Text,
    Sequence {
        from: Stride,
        to: Stride,
        elem: NodeId,
    },
    Owned {
        size: usize,
        align: usize,
        value: NodeId,
    },
    Map {
        from: Buckets,
        to: Buckets,
        key: NodeId,
        value: NodeId,
        keys_stay: bool,
    },
    /// A head as it is, and a value behind it.
    Lock {
        head: usize,
        from: usize,
        to: usize,
        value: NodeId,
    },
    /// All zeroes, or a value.
    Niche {
        size: usize,
        value: NodeId,
    },
    Custom {
        hook: u16,
        before: Option<Between>,
        after: Option<Between>,
    },
}

/// A value that is made on the way and dropped again.
#[derive(Debug)]
pub(super) struct Between {
    pub(super) node: NodeId,
    pub(super) size: usize,
    pub(super) align: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    pub(super) bytes: usize,
    pub(super) align: usize,
}

#[derive(Debug)]
pub(super) struct Move {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) node: NodeId,
}

/// A field without a predecessor.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) to: usize,
    pub(super) with: With,
}

#[derive(Debug)]
pub(super) enum With {
    /// What the program's code writes.
    Hook(u16),
    /// The emptiest value of its layout: these bytes, the rest zero.
    Bytes(Vec<(usize, Vec<u8>)>),
}

#[derive(Debug)]
pub(super) struct Case {
    pub(super) from_value: i128,
    /// `None` where the other side has no such variant.
    pub(super) to_value: Option<i128>,
    pub(super) name: String,
    pub(super) moves: Vec<Move>,
    pub(super) fills: Vec<Fill>,
}

impl Plan {
    /// Finds the way from `old` to `new`.
    pub(crate) fn find(
        old: &TypeView<'_>,
        new: &TypeView<'_>,
        direction: Direction,
    ) -> Result<Self, Refusal> {
        let mut planner = Planner::new(direction, Rc::new(Cell::new(MOST_STEPS)));
        let step = planner.step(old, new)?;
        let Planner { nodes, chain, .. } = planner;
        Ok(Self { nodes, root: step.node, is_same_layout: step.stays, chain })
    }
}

/// More than any type that a person has declared takes. A description that leads in circles must come to an end.
const MOST_STEPS: u32 = 100_000;

struct Planner {
    direction: Direction,
    /// What all attempts together may still take.
    steps_left: Rc<Cell<u32>>,
    nodes: Vec<Node>,
    path: Vec<String>,
    /// Structs and enums that are being looked at: both names, and the step that will be theirs.
    around: Vec<(String, String, NodeId)>,
    chain: Vec<String>,
}

/// A step that was found.
#[derive(Clone, Copy)]
struct Step {
    node: NodeId,
    /// The bytes may stay as they are.
    stays: bool,
    /// The value has no pointers.
    is_plain: bool,
}

impl Planner {
    fn new(direction: Direction, steps_left: Rc<Cell<u32>>) -> Self {
        let (nodes, path, around, chain) = Default::default();
        Self { direction, steps_left, nodes, path, around, chain }
    }

    /// Another, to find out whether something can be done at all.
    fn aside(&self) -> Self {
        Self { around: self.around.clone(), ..Self::new(self.direction, self.steps_left.clone()) }
    }

    fn push(&mut self, node: Node, stays: bool, is_plain: bool) -> Step {
        self.nodes.push(node);
        Step { node: self.nodes.len() - 1, stays, is_plain }
    }

    fn path(&self) -> String {
        self.path.concat()
    }

    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal { path: self.path(), reason: reason.into() })
    }

    fn within<T>(
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
    fn attempt<T>(&mut self, look: impl FnOnce(&mut Self) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let (nodes, chain) = (self.nodes.len(), self.chain.len());
        let found = look(self);
        if found.is_err() {
            self.nodes.truncate(nodes);
            self.chain.truncate(chain);
        }
        found
    }

    fn step(&mut self, old: &TypeView<'_>, new: &TypeView<'_>) -> Result<Step, Refusal> {
        match self.steps_left.get().checked_sub(1) {
            Some(left) => self.steps_left.set(left),
            None => return self.refuse("the ways that the types offer are too many to look at"),
        }
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
                let same = |around: &&(String, String, NodeId)| around.0 == old.name && around.1 == new.name;
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

    fn history<'a>(&self, old: &TypeView<'a>, new: &TypeView<'a>) -> History<'a> {
        match self.direction {
            Direction::Forward => new.history(),
            Direction::Back => old.history(),
        }
    }

    fn other_type<T>(&self, old: &TypeView<'_>, new: &TypeView<'_>) -> Result<T, Refusal> {
        let help = match self.direction {
            Direction::Forward => {
                "declare what it is made from: #[heritable(from = ..)] on the type around it"
            }
            Direction::Back => "declare how it is written: #[heritable(back_to = ..)] on the type around it",
        };
        self.refuse(format!("{old} -> {new}; {help}"))
    }

    fn named(&self, old: &TypeView<'_>, new: &TypeView<'_>) -> Result<(), Refusal> {
        if old.name == new.name {
            return Ok(());
        }
        let help = "if it is the same type under another name, keep the old one: #[heritable(name = ..)]";
        self.refuse(format!("{} -> {}; {help}", shown(old.name), shown(new.name)))
    }

    fn enclosed(
        &mut self,
        old: &TypeView<'_>,
        new: &TypeView<'_>,
        look: impl FnOnce(&mut Self) -> Result<(Node, bool, bool), Refusal>,
    ) -> Result<Step, Refusal> {
        let open = self.push(Node::Open, false, false);
        self.around.push((old.name.to_owned(), new.name.to_owned(), open.node));
        let found = look(self);
        self.around.pop();
        let (node, stays, is_plain) = found?;
        self.nodes[open.node] = node;
        Ok(Step { node: open.node, stays, is_plain })
    }

    /// The way through the program's own code, where it declares one that leads there.
    fn by_code(
        &mut self,
        old: &TypeView<'_>,
        new: &TypeView<'_>,
        history: &History<'_>,
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
    fn ends<'a, 'v>(
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

    fn direct(&self, old: &TypeView<'_>, new: &TypeView<'_>) -> bool {
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

    fn structure(
        &mut self,
        old: &TypeView<'_>,
        new: &TypeView<'_>,
        from: Fields<'_>,
        to: Fields<'_>,
        history: &History<'_>,
    ) -> Result<(Node, bool, bool), Refusal> {
        let found = self.fields(new.name, from, to, history)?;
        let stays = found.stays && old.size == new.size && old.align == new.align;
        if stays && found.is_plain {
            return Ok((Node::Copy(new.size as usize), true, true));
        }
        Ok((Node::Fields(found.moves, found.fills), stays, found.is_plain))
    }

    fn fields(
        &mut self,
        of: &str,
        from: Fields<'_>,
        to: Fields<'_>,
        history: &History<'_>,
    ) -> Result<FoundFields, Refusal> {
        let forward = self.direction == Direction::Forward;
        let is_source = |source: &FieldView<'_>, target: &FieldView<'_>| {
            let mut was = if forward { target.rules.was } else { source.rules.was };
            let former = if forward { source.name } else { target.name };
            source.name == target.name || was.any(|name| name == former)
        };
        let mut found = FoundFields { moves: Vec::new(), fills: Vec::new(), stays: true, is_plain: true };
        for target in to {
            // A field of the same name before one that was called so.
            let source = from
                .into_iter()
                .find(|source| source.name == target.name)
                .or_else(|| from.into_iter().find(|source| is_source(source, &target)));
            let Some(source) = source else {
                found.stays = false;
                let with = self.fill(of, &target, history)?;
                found.fills.push(Fill { to: target.offset as usize, with });
                continue;
            };
            let step = self.within(format!("{}.{}: ", shown(of), target.name), |planner| {
                planner.step(&source.ty, &target.ty)
            })?;
            found.stays &= step.stays && source.offset == target.offset;
            found.is_plain &= step.is_plain;
            found.moves.push(Move {
                from: source.offset as usize,
                to: target.offset as usize,
                node: step.node,
            });
        }
        for source in from {
            let is_taken = to.into_iter().any(|target| is_source(&source, &target));
            if is_taken {
                continue;
            }
            found.stays = false;
            let name = source.name;
            if forward && !history.removed.into_iter().any(|removed| removed == name) {
                return self.refuse(format!(
                    "{}: field `{name}` is missing; if it was removed on purpose say so: #[heritable(removed = \"{name}\")], \
                     if it was renamed #[heritable(was = \"{name}\")]",
                    shown(of)
                ));
            }
            if !forward && !history.rollback {
                return self.refuse(format!(
                    "{}: field `{name}` would be lost; allow it by #[heritable(rollback)] on the type, or write the older \
                     type by #[heritable(back_to = ..)]",
                    shown(of)
                ));
            }
        }
        Ok(found)
    }

    fn fill(&self, of: &str, target: &FieldView<'_>, history: &History<'_>) -> Result<With, Refusal> {
        let name = target.name;
        if self.direction == Direction::Forward {
            return match target.rules.default {
                Some(hook) => Ok(With::Hook(hook)),
                None => self.refuse(format!(
                    "{}: field `{name}` was added; say what it is where there was none: #[heritable(default)] or \
                     #[heritable(default = ..)], if it was renamed #[heritable(was = ..)]",
                    shown(of)
                )),
            };
        }
        let mut bytes = Vec::new();
        if history.rollback && write_empty(&target.ty, 0, &mut bytes) {
            return Ok(With::Bytes(bytes));
        }
        self.refuse(format!(
            "{}: field `{name}` of the older type cannot be filled; write the older type by #[heritable(back_to = ..)]",
            shown(of)
        ))
    }

    fn enumeration(
        &mut self,
        old: &TypeView<'_>,
        new: &TypeView<'_>,
        history: &History<'_>,
    ) -> Result<(Node, bool, bool), Refusal> {
        let (from, to) = (variants(old), variants(new));
        let (Some((from_tag, from)), Some((to_tag, to))) = (from, to) else {
            return self.refuse("the tag of an enum is no integer");
        };
        let forward = self.direction == Direction::Forward;
        let (mut cases, mut stays, mut is_plain) =
            (Vec::new(), old.size == new.size && old.align == new.align, true);
        stays &= from_tag == to_tag;
        for source in &from {
            let is_target = |target: &&Variant<'_>| {
                let mut was = if forward { target.was } else { source.was };
                let former = if forward { source.name } else { target.name };
                was.any(|name| name == former)
            };
            let target =
                to.iter().find(|target| target.name == source.name).or_else(|| to.iter().find(is_target));
            let Some(target) = target else {
                // It may be that no value is of this variant: then nothing is lost.
                let allowed = match forward {
                    true => history.removed.into_iter().any(|removed| removed == source.name),
                    false => history.rollback,
                };
                if !allowed {
                    let name = source.name;
                    return self.refuse(match forward {
                        true => format!(
                            "{}: variant `{name}` is missing; if no value can be of it any more say so: \
                             #[heritable(removed = \"{name}\")], if it was renamed #[heritable(was = \"{name}\")]",
                            old.name
                        ),
                        false => format!(
                            "{}: the older type has no variant `{name}`; if values of it may stop a way back say so: \
                             #[heritable(rollback)]",
                            old.name
                        ),
                    });
                }
                stays = false;
                let name = source.name.to_owned();
                cases.push(Case {
                    from_value: source.value,
                    to_value: None,
                    name,
                    moves: Vec::new(),
                    fills: Vec::new(),
                });
                continue;
            };
            let found = match (source.fields, target.fields) {
                (None, None) => {
                    FoundFields { moves: Vec::new(), fills: Vec::new(), stays: true, is_plain: true }
                }
                (Some(from), Some(to)) => self.fields(target.name, from, to, history)?,
                (Some(from), None) if from.count() == 0 => FoundFields::none(),
                (None, Some(to)) if to.count() == 0 => FoundFields::none(),
                (None, Some(to)) => {
                    let none = Fields::none();
                    self.fields(target.name, none, to, history)?
                }
                (Some(from), None) => self.fields(target.name, from, Fields::none(), history)?,
            };
            stays &= found.stays && source.value == target.value;
            is_plain &= found.is_plain;
            cases.push(Case {
                from_value: source.value,
                to_value: Some(target.value),
                name: source.name.to_owned(),
                moves: found.moves,
                fills: found.fills,
            });
        }
        let path = format!("{}{}", self.path(), new.name);
        if stays && is_plain {
            return Ok((Node::Copy(new.size as usize), true, true));
        }
        Ok((Node::Cases { from_tag, to_tag, cases, path }, stays, is_plain))
    }

    fn primitive(&mut self, old: &TypeView<'_>, new: &TypeView<'_>) -> Result<Step, Refusal> {
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

    fn collection(
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

struct FoundFields {
    moves: Vec<Move>,
    fills: Vec<Fill>,
    stays: bool,
    is_plain: bool,
}

impl FoundFields {
    fn none() -> Self {
        Self { moves: Vec::new(), fills: Vec::new(), stays: true, is_plain: true }
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

/// A variant of either kind of enum.
struct Variant<'a> {
    name: &'a str,
    value: i128,
    was: heirloom_abi::types::Names<'a>,
    fields: Option<Fields<'a>>,
}

/// The bytes of the tag, and the variants.
fn variants<'a>(ty: &TypeView<'a>) -> Option<(usize, Vec<Variant<'a>>)> {
    match ty.shape {
        Shape::Enum { repr, variants } => Some((tag_bytes(repr)?, fieldless(variants))),
        Shape::DataEnum { repr, cases } => Some((tag_bytes(repr)?, with_fields(cases))),
        _ => None,
    }
}

fn fieldless(variants: Variants<'_>) -> Vec<Variant<'_>> {
    variants
        .map(|variant| Variant {
            name: variant.name,
            value: variant.discriminant,
            was: variant.was,
            fields: None,
        })
        .collect()
}

fn with_fields(cases: Cases<'_>) -> Vec<Variant<'_>> {
    cases
        .map(|case| {
            let heirloom_abi::types::VariantView { name, discriminant: value, was } = case.variant;
            Variant { name, value, was, fields: Some(case.fields) }
        })
        .collect()
}

pub(super) fn tag_bytes(repr: &str) -> Option<usize> {
    Number::named(repr).map(Number::bytes)
}

/// Notes the bytes other than zero of the emptiest value of a type; false where it has none.
fn write_empty(ty: &TypeView<'_>, at: usize, bytes: &mut Vec<(usize, Vec<u8>)>) -> bool {
    match ty.shape {
        Shape::Primitive => true,
        Shape::Struct(mut fields) => {
            fields.all(|field| write_empty(&field.ty, at + field.offset as usize, bytes))
        }
        Shape::Array { len, mut elem } => elem.next().is_some_and(|elem| {
            // Long arrays of anything but zeroes are not worth a list of their bytes.
            let before = bytes.len();
            let may = len <= 64 || (write_empty(&elem, at, bytes) && bytes.len() == before);
            may && (0..len.min(64)).all(|nr| write_empty(&elem, at + (nr * elem.size) as usize, bytes))
        }),
        Shape::Enum { mut variants, .. } => variants.any(|variant| variant.discriminant == 0),
        Shape::DataEnum { mut cases, .. } => {
            cases.any(|case| case.variant.discriminant == 0 && case.fields.count() == 0)
        }
        Shape::Collection { format_version, args } => {
            match collection::parts(ty.name, format_version, args) {
                Some(Collection::Text) => true,
                Some(Collection::Sequence(of)) => {
                    // No block: the start is no address, but aligned like one.
                    bytes.push((at, of.align.to_le_bytes().to_vec()));
                    true
                }
                Some(Collection::Map(..)) => {
                    // Never probed.
                    bytes.push((at + 48, u32::MAX.to_le_bytes().to_vec()));
                    true
                }
                Some(Collection::Lock(offset, value)) => write_empty(&value, at + offset as usize, bytes),
                Some(Collection::Niche(_)) => true,
                Some(Collection::Plain) => ty.name == "PhantomData",
                Some(Collection::Owned(_)) | None => false,
            }
        }
        Shape::Recursive => false,
    }
}

fn shown(name: &str) -> &str {
    match name {
        TUPLE => "tuple",
        ARRAY => "array",
        name => name,
    }
}
