//! The shape of a value: where its pointers are, for those who walk what it owns without knowing its type.
//!
//! ```text
//! description --Shapes::of--> nodes --release--> blocks given back          (in this program's heap)
//!                                   --count--->  how many values there are  (in any heap, whose bytes are not believed)
//! ```

use heirloom_abi::types::{Fields, Shape as View, TypeView};

use super::collection::{self, Buckets, Collection};
use super::plan::tag_bytes;

/// What a type is made of, as far as a walk must know.
#[derive(Debug)]
pub(crate) struct Shapes {
    pub(super) nodes: Vec<Shape>,
    pub(super) root: usize,
    /// A collection that cannot be walked, if there is one.
    pub(super) unknown: Option<String>,
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
    Text,
    Sequence {
        stride: usize,
        align: usize,
        elem: usize,
    },
    Owned {
        size: usize,
        align: usize,
        value: usize,
    },
    Map {
        buckets: Buckets,
        key: usize,
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
    Text,
    /// Elements of this stride and alignment.
    Sequence(usize, usize),
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
        let mut maker = Maker { nodes: vec![Shape::Plain], around: Vec::new(), unknown: None, secrets };
        let mut root = maker.node(ty);
        // A type that reaches itself leads to itself, which is no secret: were it walked for that, every freeze would visit all of it.
        if secrets && !maker.nodes.iter().any(|node| matches!(node, Shape::Secret { .. })) {
            root = PLAIN;
        }
        Self { nodes: maker.nodes, root, unknown: maker.unknown }
    }
}

/// The node of everything that owns nothing.
pub(super) const PLAIN: usize = 0;

struct Maker {
    nodes: Vec<Shape>,
    around: Vec<(String, usize)>,
    unknown: Option<String>,
    /// What leads to no secret is left out.
    secrets: bool,
}

impl Maker {
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
                    self.unknown.get_or_insert_with(|| ty.name.to_owned());
                    return PLAIN;
                };
                self.collection(parts)
            }
        }
    }

    fn collection(&mut self, parts: Collection<'_>) -> usize {
        match parts {
            Collection::Text if self.secrets => PLAIN,
            Collection::Text => self.push(Shape::Text),
            Collection::Sequence(of) => {
                let elem = self.node(&of);
                if self.secrets && elem == PLAIN {
                    return PLAIN;
                }
                self.push(Shape::Sequence { stride: of.size as usize, align: of.align as usize, elem })
            }
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
            Shape::Text => Block::Text,
            Shape::Sequence { stride, align, elem: PLAIN } => Block::Sequence(*stride, *align),
            _ => {
                let why = "a secret is a text, a vector of plain values, or a plain value";
                self.unknown.get_or_insert_with(|| format!("{} ({why})", ty.name));
                return PLAIN;
            }
        };
        self.push(Shape::Secret { size, hook, block })
    }
}
