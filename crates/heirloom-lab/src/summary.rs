//! A chain of handovers in one line.

use crate::kernel::GuardHits;
use crate::run::Row;

/// What a design came to at one share, over all handovers.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The design's name.
    pub design: &'static str,
    /// Objects that are preserved, in percent of all.
    pub share: u32,
    /// Bytes of the preserved objects: the mean.
    pub live_bytes: f64,
    /// Of the handovers in which nothing was lost, the first and the last.
    pub first: Row,
    /// See `first`.
    pub last: Row,
    /// Objects that were lost, in all handovers.
    pub lost: u64,
    /// Handovers in which any was.
    pub nr_losses: u64,
    /// Objects that were spoiled.
    pub corrupt: u64,
    /// Handovers.
    pub nr_handovers: u64,
    /// What the guard pool served.
    pub guard_hits: GuardHits,
    /// The median over all handovers: [`Row::preserve_ns`].
    pub preserve_ns: f64,
    /// The same of [`Row::freeze_us`].
    pub freeze_us: f64,
    /// The same of [`Row::restore_us`].
    pub restore_us: f64,
    /// The same of [`Row::alloc_ns`].
    pub alloc_ns: f64,
}

impl Summary {
    /// Sums rows of one design and share up; `None` where there are none.
    pub fn of(rows: &[Row]) -> Option<Self> {
        let is_whole = |row: &&Row| row.lost == 0;
        let first = rows.iter().find(is_whole).or(rows.first())?;
        let last = rows.iter().rev().find(is_whole).or(rows.last())?;
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        Some(Self {
            design: first.design,
            share: first.share,
            live_bytes: sum(|row| row.live_bytes) as f64 / rows.len() as f64,
            first: first.clone(),
            last: last.clone(),
            lost: sum(|row| row.lost),
            nr_losses: rows.iter().filter(|row| row.lost > 0).count() as u64,
            corrupt: sum(|row| row.corrupt),
            nr_handovers: rows.len() as u64,
            guard_hits: GuardHits {
                data: sum(|row| row.guard_hits.data),
                metadata: sum(|row| row.guard_hits.metadata),
            },
            preserve_ns: median(rows, |row| row.preserve_ns),
            freeze_us: median(rows, |row| row.freeze_us),
            restore_us: median(rows, |row| row.restore_us),
            alloc_ns: median(rows, |row| row.alloc_ns),
        })
    }

    /// Bytes of memory that a preserved byte costs, pages and records together, at the last handover.
    pub fn cost(&self) -> f64 {
        let Row { preserved_bytes, metadata_bytes, live_bytes, .. } = self.last;
        (preserved_bytes + metadata_bytes) as f64 / live_bytes.max(1) as f64
    }
}

/// The median of a measured number; handovers in which nothing was measured are left out.
fn median(rows: &[Row], of: fn(&Row) -> f64) -> f64 {
    let mut values: Vec<f64> = rows.iter().map(of).filter(|&value| value > 0.0).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
