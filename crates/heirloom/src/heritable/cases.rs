//! Where the fields of an enum's variants lie, by the language's rules for `repr(u8)` and `repr(C, u8)`.
//!
//! ```text
//! repr(u8)      | tag | fields, each at its alignment ..      |     every variant for itself
//! repr(C, u8)   | tag | padding | fields ..                   |     all variants start where the largest alignment lets them
//! ```

/// Sizes and alignments of the fields of each variant.
#[derive(Clone, Copy)]
pub struct CaseLayout<'a> {
    /// Where fields are counted from.
    base: usize,
    /// Where the first of them may lie, from there.
    start: usize,
    tag_align: usize,
    cases: &'a [&'a [(usize, usize)]],
}

impl<'a> CaseLayout<'a> {
    /// Takes the tag's size and alignment, and those of each variant's fields.
    #[must_use]
    pub const fn new(is_c: bool, tag: usize, tag_align: usize, cases: &'a [&'a [(usize, usize)]]) -> Self {
        let layout = Self { base: 0, start: tag, tag_align, cases };
        if is_c { Self { base: up(tag, layout.payload_align()), start: 0, ..layout } } else { layout }
    }

    /// Where a field of a variant lies.
    #[must_use]
    pub const fn offset(&self, case: usize, field: usize) -> usize {
        self.base + self.walk(case, field).0
    }

    /// The alignment of the whole.
    #[must_use]
    pub const fn align(&self) -> usize {
        max(self.tag_align, self.payload_align())
    }

    /// The size of the whole.
    #[must_use]
    pub const fn size(&self) -> usize {
        let (mut end, mut case) = (self.start, 0);
        while case < self.cases.len() {
            end = max(end, self.walk(case, self.cases[case].len()).1);
            case += 1;
        }
        up(self.base + up(end, self.payload_align()), self.align())
    }

    /// Where a field starts, and where the one before it ends.
    const fn walk(&self, case: usize, field: usize) -> (usize, usize) {
        let (fields, mut end, mut i) = (self.cases[case], self.start, 0);
        while i < field {
            end = up(end, fields[i].1) + fields[i].0;
            i += 1;
        }
        let starts = if field < fields.len() { up(end, fields[field].1) } else { end };
        (starts, end)
    }

    const fn payload_align(&self) -> usize {
        let (mut align, mut case) = (1, 0);
        while case < self.cases.len() {
            let mut i = 0;
            while i < self.cases[case].len() {
                align = max(align, self.cases[case][i].1);
                i += 1;
            }
            case += 1;
        }
        align
    }
}

const fn up(at: usize, align: usize) -> usize {
    at.next_multiple_of(align)
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}
