//! Many frames at once, anywhere: their words are fetched side by side.
//!
//! ```text
//! one by one     leaf . . word . . . . . . . store   leaf . . word . . . . . . . store
//! in a batch     leaf leaf leaf ..  word word word ..  . . . . . . .  store store store ..
//! ```
//!
//! A mark anywhere in a terabyte waits for memory (its word lies in one of 8,192 leaves). A processor runs ahead into the next
//! marks, but not far. In a batch nothing stands between the loads, so as many are under way as it can have.

use super::check::MapError;
use super::map::{MarkError, RadixMap};
use super::range::Mark;
use super::{Frame, PagesMut, index, shift};

/// Frames of a batch: many times the loads that a processor has under way (a dozen), so that it seldom waits for a batch to end.
/// Of 16, 32 and 64, 64 was best: 33, 24 and 23 ns a mark. Their places are 1.5 KiB of stack.
const BATCH: usize = 64;

impl RadixMap {
    /// Marks all frames, or none: as [`RadixMap::mark`] of each, and quicker where they are far apart.
    ///
    /// # Errors
    ///
    /// As [`RadixMap::mark`]; [`MarkError::AlreadyMarked`] for a frame that comes twice, too. No frame is marked then.
    pub fn mark_all<P: PagesMut>(&mut self, pages: &mut P, frames: &[Frame]) -> Result<(), MarkError> {
        self.change_all(pages, frames, Mark::Set)
    }

    /// Takes the marks of all frames back, or of none: as [`RadixMap::unmark`] of each, and quicker where they are far apart.
    ///
    /// # Errors
    ///
    /// As [`RadixMap::unmark`]; [`MarkError::NotMarked`] for a frame that comes twice, too. Every mark stays then.
    pub fn unmark_all<P: PagesMut>(&mut self, pages: &mut P, frames: &[Frame]) -> Result<(), MarkError> {
        self.change_all(pages, frames, Mark::Clear)
    }

    fn change_all<P: PagesMut>(
        &mut self,
        pages: &mut P,
        frames: &[Frame],
        mark: Mark,
    ) -> Result<(), MarkError> {
        let mut nr_changed = 0;
        for batch in frames.chunks(BATCH) {
            if let Err(error) = self.change_batch(pages, batch, mark, &mut nr_changed) {
                for &frame in frames.iter().take(nr_changed) {
                    // Each was changed just now, by the same way.
                    let _ = match mark {
                        Mark::Set => self.unmark(pages, frame),
                        Mark::Clear => self.mark(pages, frame),
                    };
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Changes the frames of a batch, and adds each to `nr_changed`.
    #[inline]
    fn change_batch<P: PagesMut>(
        &mut self,
        pages: &mut P,
        batch: &[Frame],
        mark: Mark,
        nr_changed: &mut usize,
    ) -> Result<(), MarkError> {
        let refused = |frame| match mark {
            Mark::Set => MarkError::AlreadyMarked { frame },
            Mark::Clear => MarkError::NotMarked { frame },
        };
        let outside = |node| MapError::NodeOutside { node, level: 0 };
        let flip = match mark {
            Mark::Set => 0,
            Mark::Clear => u64::MAX,
        };

        let mut places = [(0, 0, 0); BATCH];
        let (mut prefix, mut leaf) = (u64::MAX, 0);
        for (place, frame) in places.iter_mut().zip(batch) {
            let key = frame.key();
            if key >> shift(1) != prefix {
                leaf = match (self.path.below_upper(pages, key), mark) {
                    (Some(leaf), _) => leaf,
                    (None, Mark::Set) => self.path.seek_or_grow(pages, key)?,
                    (None, Mark::Clear) => self.path.seek(pages, key)?.ok_or(refused(*frame))?,
                };
                prefix = key >> shift(1);
            }
            *place = (leaf, index(key, 0), 1 << (key % u64::from(u64::BITS)));
        }
        let places = places.get(..batch.len()).unwrap_or_default();
        // Nothing here waits for a load but the sum of them.
        let mut odd = 0;
        for &(leaf, index, bit) in places {
            odd |= (pages.load(leaf, index).ok_or(outside(leaf))? ^ flip) & bit;
        }
        if odd != 0 {
            let is_odd = |&(leaf, index, bit): &(u64, usize, u64)| {
                pages.load(leaf, index).is_some_and(|word| (word ^ flip) & bit != 0)
            };
            let first = places.iter().position(is_odd).and_then(|first| batch.get(first));
            return first.map_or(Ok(()), |&frame| Err(refused(frame)));
        }
        // The same words again, near now. A frame that comes twice in the batch is seen only here.
        for (&(leaf, index, bit), &frame) in places.iter().zip(batch) {
            let changed = |word: u64| if (word ^ flip) & bit == 0 { Some(word ^ bit) } else { None };
            let word = pages.update(leaf, index, changed).ok_or(outside(leaf))?;
            if (word ^ flip) & bit != 0 {
                return Err(refused(frame));
            }
            *nr_changed += 1;
        }
        Ok(())
    }
}
