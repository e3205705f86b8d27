//! The shape of a value: where its pointers are, for those who walk what it owns without knowing its type.
//!
//! ```text
//! description --Shapes::of--> nodes --release--> blocks given back          (in this program's heap)
//!                                   --count--->  how many values there are  (in any heap, whose bytes are not believed)
//! ```

use heirloom_abi::types::{Fields, Shape as View, TypeView};

use super::collection::{self, Buckets, Collection, Counted, Row, TextForm};
use super::plan::{Pairs, tag_bytes};
use crate::btree_map::shape::Shape as TreeShape;

/// What a type is made of, as far as a walk must know.
#[derive(Debug)]
pub(crate) struct Shapes {
    pub(super) nodes: Vec<Shape>,
    pub(super) root: usize,
    /// What cannot be a secret, or cannot hold one, if there is such a thing.
    pub(super) refused: Option<String>,
}

/// One type, by what it owns.
#[derive(Debug)]
pub(super) enum Shape {
    /// Nothing.
    Plain,
    /// What these parts own.
    Parts(Vec<(usize, usize)>),
    /// What the parts of one variant own: tag bytes; value and parts of each.
    Cases(usize, Vec<(i128, Vec<(usize, usize)>)>),
    Array {
        len: usize,
        stride: usize,
        elem: usize,
    },
    Text(TextForm),
    Sequence {
        row: Row,
        stride: usize,
        align: usize,
        elem: usize,
    },
    Owned {
        size: usize,
        align: usize,
        value: usize,
    },
    /// One that several own, or that this does not own.
    Shared {
        owns: bool,
        counted: Counted,
        value: usize,
    },
    Map {
        buckets: Buckets,
        key: usize,
        value: usize,
    },
    Tree {
        pairs: Pairs,
        key: usize,
        value: usize,
    },
    /// A value, at this offset, if the word at the start says that it was made.
    Late {
        at: usize,
        value: usize,
    },
    /// All zeroes, or a value.
    Niche {
        size: usize,
        value: usize,
    },
    /// A secret of so many bytes, and the hook that writes its default.
    Secret {
        size: usize,
        hook: u16,
        block: Block,
    },
}

/// What a secret has outside its field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Block {
    None,
    Text(TextForm),
    /// Elements of this stride and alignment.
    Sequence(Row, usize, usize),
}

impl Shapes {
    pub(crate) fn of(ty: &TypeView<'_>) -> Self {
        Self::make(ty, false)
    }

    /// The shape of a type, by its form with rules, with nothing in it but the ways to its secrets.
    pub(super) fn of_secrets(ty: &TypeView<'_>) -> Self {
        Self::make(ty, true)
    }

    fn make(ty: &TypeView<'_>, secrets: bool) -> Self {
        let (around, refused) = Default::default();
        let mut maker = Maker { nodes: vec![Shape::Plain], around, refused, secrets };
        let root = maker.node(ty);
        // A type that reaches itself leads to itself, which is no secret: were it walked for that, every freeze would visit all of it.
        let Maker { nodes, refused, .. } = maker;
        let mut made = Self { nodes, root, refused };
        if secrets && !made.has_secret() {
            made.root = PLAIN;
        }
        made
    }

    pub(super) fn has_secret(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node, Shape::Secret { .. }))
    }
}

/// The node of everything that owns nothing.
pub(super) const PLAIN: usize = 0;

struct Maker {
    nodes: Vec<Shape>,
    around: Vec<(String, usize)>,
    refused: Option<String>,
    /// What leads to no secret is left out.
    secrets: bool,
}

/// What can be one.
const SECRETS: &str = "a secret is a text, a vector of plain values, or a plain value";

impl Maker {
    fn refuse(&mut self, what: String) {
        self.refused.get_or_insert(what);
    }

    fn push(&mut self, shape: Shape) -> usize {
        self.nodes.push(shape);
        self.nodes.len() - 1
    }

    fn node(&mut self, ty: &TypeView<'_>) -> usize {
        match ty.shape {
            View::Primitive | View::Enum { .. } => PLAIN,
            View::Struct(fields) => self.enclosed(ty.name, |maker| match maker.parts(fields) {
                parts if parts.is_empty() => Shape::Plain,
                parts => Shape::Parts(parts),
            }),
            View::DataEnum { repr, cases } => self.enclosed(ty.name, |maker| {
                let cases: Vec<_> =
                    cases.map(|case| (case.variant.discriminant, maker.parts(case.fields))).collect();
                match tag_bytes(repr) {
                    Some(tag) if cases.iter().any(|case| !case.1.is_empty()) => Shape::Cases(tag, cases),
                    _ => Shape::Plain,
                }
            }),
            View::Array { len, mut elem } => {
                let Some(elem) = elem.next() else { return PLAIN };
                match self.node(&elem) {
                    PLAIN => PLAIN,
                    node => {
                        self.push(Shape::Array { len: len as usize, stride: elem.size as usize, elem: node })
                    }
                }
            }
            View::Recursive => {
                self.around.iter().rev().find(|around| around.0 == ty.name).map_or(PLAIN, |around| around.1)
            }
            View::Collection { format_version, args } => {
                let Some(parts) = collection::parts(ty.name, format_version, args) else {
                    if self.secrets && args.into_iter().any(|ty| Shapes::of_secrets(&ty).has_secret()) {
                        self.refuse(format!("{} ({SECRETS}, and not in this)", ty.name));
                    }
                    return PLAIN;
                };
                self.collection(parts)
            }
        }
    }

    fn collection(&mut self, parts: Collection<'_>) -> usize {
        match parts {
            Collection::Text(_) | Collection::Texts if self.secrets => PLAIN,
            Collection::Text(form) => self.push(Shape::Text(form)),
            Collection::Texts => {
                let text = self.push(Shape::Text(TextForm::Row(Row::Slice)));
                let texts = Shape::Sequence { row: Row::Vec, stride: 16, align: 8, elem: text };
                let texts = self.push(texts);
                let table = self.push(Shape::Map { buckets: Buckets::HANDLES, key: PLAIN, value: PLAIN });
                self.push(Shape::Parts(vec![(0, texts), (24, table)]))
            }
            Collection::Sequence(row, of) => {
                let elem = self.node(&of);
                if self.secrets && elem == PLAIN {
                    return PLAIN;
                }
                self.push(Shape::Sequence { row, stride: of.size as usize, align: of.align as usize, elem })
            }
            Collection::Shared(owns, of) => {
                let (counted, value) = (Counted::new(&of), self.node(&of));
                if self.secrets && (value == PLAIN || !owns) {
                    return PLAIN;
                }
                self.push(Shape::Shared { owns, counted, value })
            }
            Collection::Tree(key, value) => {
                let numbers = |of: &TypeView<'_>| (of.size as usize, of.align as usize);
                let shape = TreeShape::of(numbers(&key), numbers(&value));
                let pairs = Pairs { shape, key: key.size as usize, value: value.size as usize };
                let (key, value) = (self.node(&key), self.node(&value));
                if self.secrets && key == PLAIN && value == PLAIN {
                    return PLAIN;
                }
                self.push(Shape::Tree { pairs, key, value })
            }
            Collection::Late(at, ty) => match self.node(&ty) {
                PLAIN => PLAIN,
                value => self.push(Shape::Late { at: at as usize, value }),
            },
            Collection::Owned(ty) => {
                let value = self.node(&ty);
                if self.secrets && value == PLAIN {
                    return PLAIN;
                }
                self.push(Shape::Owned { size: ty.size as usize, align: ty.align as usize, value })
            }
            Collection::Map(key, value) => {
                let buckets = Buckets::new(&key, &value);
                let (key, value) = (self.node(&key), self.node(&value));
                if self.secrets && key == PLAIN && value == PLAIN {
                    return PLAIN;
                }
                self.push(Shape::Map { buckets, key, value })
            }
            Collection::Lock(offset, ty) => match self.node(&ty) {
                PLAIN => PLAIN,
                value => self.push(Shape::Parts(vec![(offset as usize, value)])),
            },
            Collection::Niche(ty) => match self.node(&ty) {
                PLAIN => PLAIN,
                value => self.push(Shape::Niche { size: ty.size as usize, value }),
            },
            Collection::Plain => PLAIN,
        }
    }

    /// A type that may lead back to itself has its node before what is inside is known.
    fn enclosed(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Shape) -> usize {
        let node = self.push(Shape::Plain);
        let nr = self.nodes.len();
        self.around.push((name.to_owned(), node));
        let shape = make(self);
        self.around.pop();
        if matches!(shape, Shape::Plain) {
            // Nothing inside has led back here, as that takes a pointer.
            if self.nodes.len() == nr {
                self.nodes.pop();
            }
            return PLAIN;
        }
        self.nodes[node] = shape;
        node
    }

    fn parts(&mut self, fields: Fields<'_>) -> Vec<(usize, usize)> {
        let mut parts = Vec::new();
        for field in fields {
            let node = match (field.rules.secret && self.secrets, field.rules.default) {
                (true, Some(hook)) => self.secret(&field.ty, hook),
                _ => self.node(&field.ty),
            };
            if node != PLAIN {
                parts.push((field.offset as usize, node));
            }
        }
        parts
    }

    fn secret(&mut self, ty: &TypeView<'_>, hook: u16) -> usize {
        let shapes = Shapes::of(ty);
        let size = ty.size as usize;
        let block = match &shapes.nodes[shapes.root] {
            Shape::Plain => Block::None,
            Shape::Text(form) => Block::Text(*form),
            Shape::Sequence { row, stride, align, elem: PLAIN } => Block::Sequence(*row, *stride, *align),
            _ => {
                self.refuse(format!("{} ({SECRETS})", ty.name));
                return PLAIN;
            }
        };
        self.push(Shape::Secret { size, hook, block })
    }
}
