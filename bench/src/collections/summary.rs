//! What the figures come to: a table for each collection, each contestant's ratio to the bar, and where it is worst.

use super::contestant::BAR;
use super::kinds::{self, Collection};
use crate::output::Output;
use crate::statistics::{Figure, geometric_mean};

/// All figures of one operation.
pub(super) struct Line {
    pub(super) collection: Collection,
    pub(super) op: &'static str,
    pub(super) n: usize,
    pub(super) figures: Vec<(&'static str, Figure)>,
}

impl Line {
    fn ns(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|&&(other, _)| other == name).map(|(_, figure)| figure.median)
    }

    /// How many times the bar's time a contestant takes.
    fn ratio(&self, name: &str) -> Option<f64> {
        Some(self.ns(name)? / self.ns(BAR)?)
    }
}

pub(super) fn print(lines: &[Line], output: &Output) {
    let Some(first) = lines.first() else { return };
    let names: Vec<&str> = first.figures.iter().map(|&(name, _)| name).collect();
    let header: Vec<&str> = ["operation, n"].into_iter().chain(names.iter().copied()).collect();
    for collection in kinds::ALL {
        let of_it: Vec<&Line> = lines.iter().filter(|line| line.collection == collection).collect();
        if of_it.is_empty() {
            continue;
        }
        let title = format!("{collection}: ns an operation (ratio to `{BAR}`, the bar)");
        output.table(&title, &header, &of_it.iter().map(|line| row(line, &names)).collect::<Vec<_>>());
    }
    let header = ["contestant", "geometric mean", "worst", "where", "rows", "above 1.1"];
    let rows: Vec<Vec<String>> = names.iter().filter_map(|name| ratio_row(lines, name)).collect();
    output.table(&format!("Ratio to `{BAR}` (less is better)"), &header, &rows);
}

fn row(line: &Line, names: &[&str]) -> Vec<String> {
    let cell = |name: &&str| match (line.ns(name), line.ratio(name)) {
        (Some(ns), Some(ratio)) if *name != BAR => format!("{ns:.2} ({ratio:.2})"),
        (Some(ns), _) => format!("{ns:.2}"),
        (None, _) => "-".to_owned(),
    };
    std::iter::once(format!("{}, {}", line.op, line.n)).chain(names.iter().map(cell)).collect()
}

/// `None` for the bar itself, and where the bar is missing.
fn ratio_row(lines: &[Line], name: &str) -> Option<Vec<String>> {
    if name == BAR {
        return None;
    }
    let ratios: Vec<(f64, &Line)> = lines.iter().filter_map(|line| Some((line.ratio(name)?, line))).collect();
    let (worst, line) = ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let mean = geometric_mean(ratios.iter().map(|&(ratio, _)| ratio))?;
    Some(vec![
        name.to_owned(),
        format!("{mean:.2}"),
        format!("{worst:.2}"),
        format!("{} {}, {}", line.collection, line.op, line.n),
        ratios.len().to_string(),
        ratios.iter().filter(|&&(ratio, _)| ratio > 1.1).count().to_string(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: usize, heirloom: f64, bar: f64) -> Line {
        let figure = |median| Figure { median, spread: 0.0 };
        let figures = vec![("heirloom", figure(heirloom)), (BAR, figure(bar))];
        Line { collection: Collection::Vec, op: "push", n, figures }
    }

    #[test]
    fn the_worst_row_is_named() {
        let lines = [line(10, 1.0, 2.0), line(100, 8.0, 4.0)];
        let row = ratio_row(&lines, "heirloom").unwrap();
        assert_eq!(row, ["heirloom", "1.00", "2.00", "vec push, 100", "2", "1"]);
        assert_eq!(ratio_row(&lines, BAR), None);
    }
}
