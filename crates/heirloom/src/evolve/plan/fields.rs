//! Fields, matched by name: what moves, what is added, what is left behind.

use heirloom_abi::types::{FieldView, Fields, History, Shape, TypeView};

use super::planner::{Planner, shown};
use super::{Direction, Fill, Move, Node, Refusal, With};
use crate::evolve::collection::{self, Collection};

impl Planner {
    pub(super) fn structure(
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

    pub(super) fn fields(
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

    pub(super) fn fill(
        &self,
        of: &str,
        target: &FieldView<'_>,
        history: &History<'_>,
    ) -> Result<With, Refusal> {
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
}

pub(super) struct FoundFields {
    pub(super) moves: Vec<Move>,
    pub(super) fills: Vec<Fill>,
    pub(super) stays: bool,
    pub(super) is_plain: bool,
}

impl FoundFields {
    pub(super) fn none() -> Self {
        Self { moves: Vec::new(), fills: Vec::new(), stays: true, is_plain: true }
    }
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
