//! What every design is put through: sizes and counts of a real kernel's objects, who is preserved, for how long, and what churns between.
//!
//! ```text
//!  one generation     population: the kernel's ordinary objects and what is newly preserved, in random order
//!                     churn: as many frees and allocations as there are objects; preserved ones end and begin among them
//! ```
//!
//! The number of preserved objects is the same at every handover: who ends is replaced. Half of them live for two generations in the mean, four in
//! ten for twenty, one in ten for ever, as what belongs to a guest that runs on does.

use crate::LabError;
use crate::random::Random;
use crate::slabinfo::{CacheLine, parse};

/// Kinds of objects that a workload has at most: the caches with most objects. The rest comes to less than a thousandth.
const MAX_KINDS: usize = 48;

/// A generation that does not come.
pub(crate) const NEVER: u32 = u32::MAX;

/// A kind of objects: a cache, and how many there are.
#[derive(Clone, Debug)]
pub struct Kind {
    /// The cache as the real kernel has it.
    pub cache: CacheLine,
    /// Objects of this kind, preserved and not.
    pub count: u32,
}

/// Kinds, and what share of them is preserved.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The kinds, most objects first.
    pub kinds: Vec<Kind>,
    /// Objects in all.
    pub nr_objects: u32,
    /// Which of them are preserved, in percent.
    pub share: u32,
    /// One entry for each object: its kind. Drawn from for whatever is allocated.
    deck: Vec<u16>,
}

/// How long a preserved object lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Two generations in the mean.
    Short,
    /// Twenty in the mean.
    Long,
    /// To the end of the run.
    ForEver,
}

impl Workload {
    /// Scales a table of caches down (or up) to about `nr_objects`, of which `share` percent are preserved.
    ///
    /// # Errors
    ///
    /// [`LabError::Slabinfo`], [`LabError::Settings`].
    pub fn new(slabinfo: &str, nr_objects: u32, share: u32) -> Result<Self, LabError> {
        if nr_objects == 0 || share == 0 || share > 100 {
            return Err(LabError::Settings("there must be objects, and 1 to 100 percent of them preserved"));
        }
        let mut caches = parse(slabinfo)?;
        caches.truncate(MAX_KINDS);
        let total: u64 = caches.iter().map(|cache| cache.active).sum();
        let scale = |active: u64| {
            let count =
                (u128::from(active) * u128::from(nr_objects) + u128::from(total / 2)) / u128::from(total);
            (count as u32).max(1)
        };
        let kinds: Vec<Kind> =
            caches.into_iter().map(|cache| Kind { count: scale(cache.active), cache }).collect();
        let deck: Vec<u16> = kinds
            .iter()
            .zip(0..)
            .flat_map(|(kind, index)| std::iter::repeat_n(index, kind.count as usize))
            .collect();
        Ok(Self { nr_objects: deck.len() as u32, kinds, share, deck })
    }

    /// Objects that are preserved: the same number at every handover.
    pub fn nr_preserved(&self) -> u32 {
        (u64::from(self.nr_objects) * u64::from(self.share) / 100).max(1) as u32
    }

    /// Objects that are not.
    pub fn nr_ordinary(&self) -> u32 {
        self.nr_objects.saturating_sub(self.nr_preserved())
    }

    /// Bytes of them, about.
    pub fn preserved_bytes(&self) -> u64 {
        let bytes: u64 = self.kinds.iter().map(|kind| u64::from(kind.count) * kind.cache.slot_bytes).sum();
        bytes * u64::from(self.share) / 100
    }

    /// Bytes of an object of this kind.
    pub fn bytes(&self, kind: u16) -> u64 {
        self.kinds[usize::from(kind)].cache.slot_bytes
    }

    /// Draws a kind, by how many there are.
    pub(crate) fn draw(&self, random: &mut Random) -> u16 {
        self.deck[random.below(self.deck.len())]
    }

    /// The kind of the `index`-th of so many objects: their mix is that of the table, whatever their number.
    pub(crate) fn spread(&self, index: u32, of: u32) -> u16 {
        self.deck[(u64::from(index) * self.deck.len() as u64 / u64::from(of.max(1))) as usize]
    }

    /// How long the `index`-th preserved object, and whoever follows it, lives.
    pub(crate) fn span(index: u32) -> Span {
        match index % 10 {
            0..5 => Span::Short,
            5..9 => Span::Long,
            _ => Span::ForEver,
        }
    }

    /// The generation in which an object that is born in `now` ends: it sees one handover at least.
    pub(crate) fn end_of(span: Span, now: u32, random: &mut Random) -> u32 {
        let mean = match span {
            Span::Short => 2,
            Span::Long => 20,
            Span::ForEver => return NEVER,
        };
        let mut end = now + 1;
        while !random.once_in(mean) {
            end += 1;
        }
        end
    }

    /// Bytes of memory that a machine needs for this under the most wasteful design.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let page = heirloom_mm::PAGE_BYTES;
        let each = |kind: &Kind| {
            let preserved = (u64::from(kind.count) * u64::from(self.share)).div_ceil(100);
            u64::from(kind.count) * kind.cache.slot_bytes * 3 + (preserved + 12) * (page << kind.cache.order)
        };
        let bytes: u64 = self.kinds.iter().map(each).sum();
        ((48 << 20) + bytes).next_multiple_of(4 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slabinfo::{BUILD_MACHINE, KVM_HOST};

    #[test]
    fn the_mix_of_a_workload_is_that_of_its_table() {
        for table in [BUILD_MACHINE, KVM_HOST] {
            let workload = Workload::new(table, 10_000, 20).expect("a real table");
            assert!((10_000..10_100).contains(&workload.nr_objects), "each kind has one object at least");
            assert_eq!(workload.nr_preserved() + workload.nr_ordinary(), workload.nr_objects);
            let (first, all) = (&workload.kinds[0], parse(table).expect("a real table"));
            let total: u64 = all.iter().map(|cache| cache.active).sum();
            let expected = all[0].active as f64 / total as f64 * 10_000.0;
            assert!((f64::from(first.count) - expected).abs() < 20.0, "{} {expected}", first.count);
        }
    }

    #[test]
    fn lifetimes_are_what_they_say_in_the_mean() {
        let mut random = Random::new(1);
        for (span, mean) in [(Span::Short, 2.0), (Span::Long, 20.0)] {
            let total: u32 = (0..20_000).map(|_| Workload::end_of(span, 0, &mut random)).sum();
            let found = f64::from(total) / 20_000.0;
            assert!((found - mean).abs() < mean / 20.0, "{span:?}: {found}");
        }
        assert_eq!(Workload::end_of(Span::ForEver, 7, &mut random), NEVER);
    }
}
