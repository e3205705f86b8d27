//! Variants, matched by name, and the fields of each.

use heirloom_abi::types::{Cases, Fields, History, Shape, TypeView, Variants};

use super::fields::FoundFields;
use super::keeps::Keeps;
use super::planner::Planner;
use super::{Case, Direction, Node, Refusal};
use crate::evolve::number::Number;

impl<'a> Planner<'a> {
    pub(super) fn enumeration(
        &mut self,
        old: &TypeView<'a>,
        new: &TypeView<'a>,
        history: &History<'a>,
    ) -> Result<(Node, bool, bool), Refusal> {
        let (from, to) = (variants(old), variants(new));
        let (Some((from_tag, from)), Some((to_tag, to))) = (from, to) else {
            return self.refuse("the tag of an enum is no integer");
        };
        let forward = self.direction == Direction::Forward;
        let mut keeps = Keeps::ALL;
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
                (None, None) => FoundFields::none(),
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
            keeps = keeps.and(found.keeps);
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
        let keeps = keeps.and(Keeps::of_cases(&cases));
        Ok((Node::Cases { from_tag, to_tag, cases, keeps, path }, stays, is_plain))
    }
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

pub(in crate::evolve) fn tag_bytes(repr: &str) -> Option<usize> {
    Number::named(repr).map(Number::bytes)
}
