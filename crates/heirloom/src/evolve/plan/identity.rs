//! The identity of a type: a number by which two places of descriptions are known to speak of the same type.
//!
//! ```text
//! Arc<Node> in one root      Node { children: Vec<Arc<recursive Node>> }
//! Arc<Node> within Node      recursive Node                                   the same number
//! ```
//!
//! What several pointers share is made once, by whichever is come by first, so all of them must want the same type. A description
//! leads back into itself, and where it does depends on where one starts: what is compared is therefore the type as an endless tree,
//! by numbers that take in one more level of it in each round.

use std::hash::{DefaultHasher, Hash, Hasher};

use heirloom_abi::types::{Fields, Shape, TypeView};

/// Levels that are looked at: twice as many as a description can have.
const ROUNDS: usize = 2 * heirloom_abi::types::MAX_DEPTH;

/// Works out the identity of a type that stands within others, the outermost first, and how many types were looked at for it.
pub(super) fn identity(of: &TypeView<'_>, around: &[TypeView<'_>]) -> (u64, usize) {
    let mut graph = Graph { nodes: Vec::new(), outer: vec![None; around.len()], around };
    let root = graph.node(of, around.len(), &mut Vec::new());
    let mut numbers: Vec<u64> = graph.nodes.iter().map(|node| node.label).collect();
    for _ in 0..ROUNDS {
        let next = |node: &Node| {
            let below: Vec<u64> = node.children.iter().map(|&child| numbers[child]).collect();
            hash(&(node.label, below))
        };
        numbers = graph.nodes.iter().map(next).collect();
    }
    (numbers[root], numbers.len())
}

struct Node {
    label: u64,
    children: Vec<usize>,
}

struct Graph<'g, 'a> {
    nodes: Vec<Node>,
    around: &'g [TypeView<'a>],
    /// The nodes of those around, once something has led there.
    outer: Vec<Option<usize>>,
}

impl<'a> Graph<'_, 'a> {
    /// Adds a type that stands within so many of those around, and then within `inner`.
    fn node(&mut self, ty: &TypeView<'a>, depth: usize, inner: &mut Vec<(&'a str, usize)>) -> usize {
        if matches!(ty.shape, Shape::Recursive) {
            return self.back_to(ty, depth, inner);
        }
        let index = self.nodes.len();
        self.nodes.push(Node { label: hash(&(ty.name, ty.size, ty.align)), children: Vec::new() });
        self.fill(index, ty, depth, inner);
        index
    }

    fn back_to(&mut self, ty: &TypeView<'a>, depth: usize, inner: &[(&'a str, usize)]) -> usize {
        if let Some(&(_, node)) = inner.iter().rev().find(|(name, _)| *name == ty.name) {
            return node;
        }
        match (0..depth).rev().find(|&at| self.around[at].name == ty.name) {
            Some(at) => match self.outer[at] {
                Some(node) => node,
                None => {
                    let outer = self.around[at];
                    let index = self.nodes.len();
                    let label = hash(&(outer.name, outer.size, outer.align));
                    self.nodes.push(Node { label, children: Vec::new() });
                    self.outer[at] = Some(index);
                    self.fill(index, &outer, at, &mut Vec::new());
                    index
                }
            },
            // A description that was read has none that leads nowhere.
            None => {
                self.nodes.push(Node { label: hash(&(ty.name, "nowhere")), children: Vec::new() });
                self.nodes.len() - 1
            }
        }
    }

    fn fill(&mut self, index: usize, ty: &TypeView<'a>, depth: usize, inner: &mut Vec<(&'a str, usize)>) {
        let mut label = DefaultHasher::new();
        (self.nodes[index].label, std::mem::discriminant(&ty.shape)).hash(&mut label);
        let mut children = Vec::new();
        inner.push((ty.name, index));
        match ty.shape {
            Shape::Primitive | Shape::Recursive => {}
            Shape::Struct(fields) => self.fields(fields, depth, inner, &mut label, &mut children),
            Shape::Enum { repr, variants } => {
                repr.hash(&mut label);
                variants.for_each(|variant| (variant.name, variant.discriminant).hash(&mut label));
            }
            Shape::DataEnum { repr, cases } => {
                repr.hash(&mut label);
                for case in cases {
                    (case.variant.name, case.variant.discriminant).hash(&mut label);
                    self.fields(case.fields, depth, inner, &mut label, &mut children);
                }
            }
            Shape::Array { len, elem: below } => {
                len.hash(&mut label);
                // An array is no type that anything leads back to.
                inner.pop();
                children.extend(below.map(|ty| self.node(&ty, depth, inner)));
                inner.push((ty.name, index));
            }
            Shape::Collection { format_version, args } => {
                format_version.hash(&mut label);
                inner.pop();
                children.extend(args.map(|ty| self.node(&ty, depth, inner)));
                inner.push((ty.name, index));
            }
        }
        inner.pop();
        self.nodes[index] = Node { label: label.finish(), children };
    }

    fn fields(
        &mut self,
        fields: Fields<'a>,
        depth: usize,
        inner: &mut Vec<(&'a str, usize)>,
        label: &mut DefaultHasher,
        children: &mut Vec<usize>,
    ) {
        for field in fields {
            (field.name, field.offset).hash(label);
            children.push(self.node(&field.ty, depth, inner));
        }
        // Where one variant ends and the next begins.
        u64::MAX.hash(label);
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use heirloom_abi::types::{FieldDesc, TypeDesc, TypeKind, flat_len, flatten};

    use super::*;
    use crate::{Heritable, Vec as HeapVec, arc::Arc};

    #[derive(Heritable)]
    #[repr(C)]
    #[heritable(name = "Down")]
    struct Down {
        number: u64,
        #[heritable(recursive)]
        children: HeapVec<Arc<Down>>,
    }

    fn child<'a>(ty: &TypeView<'a>) -> TypeView<'a> {
        match ty.shape {
            Shape::Collection { mut args, .. } => args.next().unwrap(),
            Shape::Struct(fields) => fields.last().unwrap().ty,
            _ => panic!("{ty:?}"),
        }
    }

    #[test]
    fn a_type_within_itself_is_the_same_type() {
        static FORM: [u8; flat_len(<Arc<Down>>::TYPE)] = flatten(<Arc<Down>>::TYPE);
        let shared = TypeView::parse(&FORM).unwrap();
        let outer = child(&shared);
        let vec = child(&outer);
        let inner = child(&child(&vec));
        assert!(matches!(inner.shape, Shape::Recursive));
        assert_eq!(identity(&outer, &[]).0, identity(&inner, &[outer]).0);
        assert_ne!(identity(&outer, &[]).0, identity(&vec, &[outer]).0);
    }

    #[test]
    fn another_offset_is_another_type() {
        const BYTE: &TypeDesc = &TypeDesc::primitive("u8", 1, 1);
        const fn pair(at: u64) -> [FieldDesc; 1] {
            [FieldDesc { name: "x", offset: at, ty: BYTE, rules: heirloom_abi::types::FieldRules::NONE }]
        }
        const A: &TypeDesc =
            &TypeDesc { kind: TypeKind::Struct { fields: &pair(0) }, ..TypeDesc::primitive("P", 2, 1) };
        const B: &TypeDesc =
            &TypeDesc { kind: TypeKind::Struct { fields: &pair(1) }, ..TypeDesc::primitive("P", 2, 1) };
        static FORMS: ([u8; flat_len(A)], [u8; flat_len(B)]) = (flatten(A), flatten(B));
        let (a, b) = (TypeView::parse(&FORMS.0).unwrap(), TypeView::parse(&FORMS.1).unwrap());
        assert_ne!(identity(&a, &[]).0, identity(&b, &[]).0);
    }
}
