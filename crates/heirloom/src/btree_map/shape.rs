//! The shape of a node: how many pairs it holds, and where in its block they lie.
//!
//! ```text
//!       0 .. 8         8 .. 10      10 .. 12  12 .. 14  14 .. 16  keys                values                edges
//! leaf  | parent      | index      | len     | 0       | 0       | K, capacity times | V, capacity times |
//! inner | in parent   | in parent  |         | height  | 0       | K, capacity times | V, capacity times | address, capacity + 1 times |
//! ```
//!
//! Keys start at the first multiple of their alignment from 16 on, values and edges likewise behind what comes before them. The capacity is the
//! largest with which a leaf fits into 512 bytes, or, if that is below [`LEAST`], into the next size of the series 640, 768, 896, 1024,
//! 1280, .. (four steps a doubling, as the slab allocator has them) in which [`LEAST`] pairs fit; never more than [`MOST`]. So a block is used
//! whole, whatever the sizes of keys and values. This is part of the format, and depends on nothing but the four numbers.

/// Pairs that a node has room for at least.
pub(crate) const LEAST: usize = 5;
/// Pairs that a node has room for at most.
pub(crate) const MOST: usize = 64;

/// Bytes of the head of a node.
pub(crate) const HEAD_BYTES: usize = 16;

/// The size of a leaf that is aimed at.
const FIRST_BYTES: usize = 512;
/// From here on a leaf is as large as it must be.
const LAST_BYTES: usize = 1 << 20;

/// Where things lie in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Pairs that a node has room for.
    pub(crate) capacity: usize,
    /// Offset of the first key.
    pub(crate) keys: usize,
    /// Offset of the first value.
    pub(crate) values: usize,
    /// Offset of the first edge.
    pub(crate) edges: usize,
    /// Size of a leaf.
    pub(crate) leaf_bytes: usize,
    /// Size of an inner node.
    pub(crate) inner_bytes: usize,
    /// Alignment of both.
    pub(crate) align: usize,
}

impl Shape {
    /// Works the shape out for keys and values of these sizes and alignments.
    ///
    /// Sizes that no memory could hold give offsets that no memory has: they saturate.
    pub(crate) const fn of(key: (usize, usize), value: (usize, usize)) -> Self {
        let mut target = FIRST_BYTES;
        let mut step = FIRST_BYTES / 4;
        while target < LAST_BYTES {
            let mut capacity = MOST;
            while capacity >= LEAST {
                let shape = Self::with_capacity(capacity, key, value);
                if shape.leaf_bytes <= target {
                    return shape;
                }
                capacity -= 1;
            }
            target += step;
            if target == 8 * step {
                step *= 2;
            }
        }
        Self::with_capacity(LEAST, key, value)
    }

    const fn with_capacity(capacity: usize, key: (usize, usize), value: (usize, usize)) -> Self {
        let keys = align_up(HEAD_BYTES, key.1);
        let values = align_up(keys.saturating_add(key.0.saturating_mul(capacity)), value.1);
        let leaf_bytes = values.saturating_add(value.0.saturating_mul(capacity));
        let edges = align_up(leaf_bytes, 8);
        let inner_bytes = edges.saturating_add(8 * (capacity + 1));
        let align = if key.1 > value.1 { key.1 } else { value.1 };
        Self {
            capacity,
            keys,
            values,
            edges,
            leaf_bytes,
            inner_bytes,
            align: if align > 8 { align } else { 8 },
        }
    }
}

const fn align_up(offset: usize, align: usize) -> usize {
    offset.saturating_add(align - 1) / align * align
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_fill_their_blocks() {
        let capacity = |key, value| Shape::of((key, 8), (value, 8)).capacity;
        assert_eq!((capacity(8, 8), capacity(8, 0), capacity(24, 8), capacity(24, 24)), (31, 62, 15, 10));
        // 5 pairs of 128 bytes need 656, so the leaf has 768, and no sixth fits.
        assert_eq!((capacity(64, 64), capacity(120, 200), capacity(4096, 8)), (5, 5, 5));
        assert_eq!(Shape::of((1, 1), (0, 1)).capacity, MOST);
        let shape = Shape::of((8, 8), (8, 8));
        assert_eq!((shape.keys, shape.values, shape.edges), (16, 264, 512));
        assert_eq!((shape.leaf_bytes, shape.inner_bytes), (512, 768));
    }

    #[test]
    fn parts_of_a_node_do_not_overlap() {
        for key in [(0, 1), (1, 1), (3, 1), (24, 8), (128, 128), (5000, 4)] {
            for value in [(0, 1), (1, 1), (2, 2), (40, 8), (64, 64), (100_000, 8)] {
                let shape = Shape::of(key, value);
                assert!((LEAST..=MOST).contains(&shape.capacity));
                assert!(shape.keys >= HEAD_BYTES && shape.keys.is_multiple_of(key.1));
                assert!(shape.values >= shape.keys + key.0 * shape.capacity);
                assert!(shape.values.is_multiple_of(value.1));
                assert!(shape.edges >= shape.values + value.0 * shape.capacity);
                assert_eq!(shape.inner_bytes, shape.edges + 8 * (shape.capacity + 1));
            }
        }
        assert_eq!(Shape::of((usize::MAX / 2, 1), (8, 8)).capacity, LEAST);
    }
}
