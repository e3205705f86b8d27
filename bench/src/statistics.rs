//! Medians, spreads and geometric means.

/// The middle of several rounds, and how far apart they were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    /// The median, in the unit of the samples.
    pub(crate) median: f64,
    /// The distance of the quartiles, as a share of the median.
    pub(crate) spread: f64,
}

impl Figure {
    /// Sums samples up; `None` where there are none.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5)?;
        let spread = (quantile(&sorted, 0.75)? - quantile(&sorted, 0.25)?) / median.max(f64::MIN_POSITIVE);
        Some(Self { median, spread })
    }
}

/// The value below which `share` of the sorted samples lie, between two of them where it falls there.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = share * (sorted.len().checked_sub(1)?) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * at.fract())
}

/// The geometric mean of ratios; `None` of none.
pub(crate) fn geometric_mean(ratios: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut nr) = (0.0, 0u32);
    for ratio in ratios {
        sum += ratio.ln();
        nr += 1;
    }
    (nr > 0).then(|| (sum / f64::from(nr)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_and_the_distance_of_the_quartiles() {
        let figure = Figure::of(&[4.0, 1.0, 2.0, 100.0, 3.0]).unwrap();
        assert_eq!(figure, Figure { median: 3.0, spread: 2.0 / 3.0 });
        assert_eq!(Figure::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Figure::of(&[]), None);
    }

    #[test]
    fn half_and_double_cancel_out() {
        assert!((geometric_mean([0.5, 2.0]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean([]), None);
    }
}
