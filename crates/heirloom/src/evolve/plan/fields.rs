//! Fields, matched by name: what moves, what is added, what is left behind.

use heirloom_abi::types::{FieldView, Fields, History, Shape, TypeView};

use super::keeps::{Keeps, is_filled_before_a_move};
use super::planner::{Planner, shown};
use super::{Direction, Fill, Move, Node, Refusal, With};
use crate::evolve::collection::{self, Collection, TextForm};

impl<'a> Planner<'a> {
    pub(super) fn structure(
        &mut self,
        old: &TypeView<'a>,
        new: &TypeView<'a>,
        from: Fields<'a>,
        to: Fields<'a>,
        history: &History<'a>,
    ) -> Result<(Node, bool, bool), Refusal> {
        let found = self.fields(new.name, from, to, history)?;
        let stays = found.stays && old.size == new.size && old.align == new.align;
        if stays && found.is_plain {
            return Ok((Node::Copy(new.size as usize), true, true));
        }
        let node = Node::Fields(found.moves, found.fills, found.keeps);
        Ok((node, stays, found.is_plain))
    }

    pub(super) fn fields(
        &mut self,
        of: &str,
        from: Fields<'a>,
        to: Fields<'a>,
        history: &History<'a>,
    ) -> Result<FoundFields, Refusal> {
        let forward = self.direction == Direction::Forward;
        let is_source = |source: &FieldView<'a>, target: &FieldView<'a>| {
            let mut was = if forward { target.rules.was } else { source.rules.was };
            let former = if forward { source.name } else { target.name };
            source.name == target.name || was.any(|name| name == former)
        };
        let mut found = FoundFields::none();
        let (mut sources, mut is_all_moved) = (Vec::new(), true);
        for (nth, target) in to.into_iter().enumerate() {
            // A field of the same name before one that was called so.
            let source = from
                .into_iter()
                .enumerate()
                .find(|(_, source)| source.name == target.name)
                .or_else(|| from.into_iter().enumerate().find(|(_, source)| is_source(source, &target)));
            let Some((place, source)) = source else {
                found.stays = false;
                let with = self.fill(of, &target, history)?;
                found.fills.push(Fill { nth, to: target.offset as usize, with });
                continue;
            };
            let step = self.within(format!("{}.{}: ", shown(of), target.name), |planner| {
                planner.step(&source.ty, &target.ty)
            })?;
            found.stays &= step.stays && source.offset == target.offset;
            found.is_plain &= step.is_plain;
            sources.push(place);
            found.moves.push(Move {
                nth,
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
            (found.stays, is_all_moved) = (false, false);
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
        let filled = is_filled_before_a_move(&found.moves, &found.fills);
        found.keeps = Keeps::of_fields(is_all_moved, &sources, filled);
        Ok(found)
    }

    pub(super) fn fill(
        &self,
        of: &str,
        target: &FieldView<'a>,
        history: &History<'a>,
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
    pub(super) keeps: Keeps,
}

impl FoundFields {
    pub(super) fn none() -> Self {
        let (moves, fills) = Default::default();
        Self { moves, fills, stays: true, is_plain: true, keeps: Keeps::ALL }
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
                // All zeroes, or no block: the start is no address, but aligned like one.
                Some(Collection::Text(TextForm::Short) | Collection::Tree(..) | Collection::Niche(_)) => true,
                Some(Collection::Text(TextForm::Row(_))) => {
                    bytes.push((at, 1_u64.to_le_bytes().to_vec()));
                    true
                }
                Some(Collection::Sequence(_, of)) => {
                    bytes.push((at, of.align.to_le_bytes().to_vec()));
                    true
                }
                Some(Collection::Map(..)) => {
                    // Never probed.
                    bytes.push((at + 48, u32::MAX.to_le_bytes().to_vec()));
                    true
                }
                Some(Collection::Lock(offset, value)) => write_empty(&value, at + offset as usize, bytes),
                // Nothing was made yet: the word is zero, and so is the value.
                Some(Collection::Late(..)) => true,
                Some(Collection::Shared(false, of)) => {
                    bytes.push((at, of.align.max(8).to_le_bytes().to_vec()));
                    true
                }
                Some(Collection::Plain) => matches!(ty.name, "PhantomData" | "Once"),
                Some(Collection::Owned(_) | Collection::Shared(true, _) | Collection::Texts) | None => false,
            }
        }
        Shape::Recursive => false,
    }
}
