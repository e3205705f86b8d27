//! The preserved-memory map: mark, look up, walk, unmark, a frame at a time and in ranges.
//!
//! ```text
//!             heirloom      RadixMap: every address checked, a frame marked twice refused
//!             sketch        the same tree with pointers and no check at all: what the checks cost
//!             sketch+lock   the sketch with an uncontended lock around each operation, which Linux takes
//! (a column)  linux         figures of Linux's own functions, reported from such a machine, not measured here
//! ```
//!
//! All work on the same frames, in memory of the same kind, in turn within a round. A cell is a pattern and a number of frames; a
//! round of it takes each contestant's tree from empty to full and back, once a frame at a time, once in batches, once in ranges.

mod contestant;
mod heirloom;
mod memory;
mod pattern;
mod reported;
mod sketch;

use serde::Serialize;

use crate::output::Output;
use crate::statistics::Figure;
use contestant::{Contestant, Op};
use pattern::{Frames, Pattern};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many frames are marked [default: 1048576,16777216; of order 9 524288, which is all there are in 1 TiB]
    #[arg(long, value_delimiter = ',')]
    pages: Vec<u64>,
    /// Patterns: sequential, random, runs, sequential-o9 [default: all]
    #[arg(long, value_delimiter = ',')]
    pattern: Vec<Pattern>,
    /// Rounds: each contestant gives one sample of each operation a round
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Ask for huge pages under the trees, as a kernel's direct map has
    #[arg(long)]
    huge_pages: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    bench: &'static str,
    op: Op,
    pattern: Pattern,
    pages: u64,
    contestant: &'a str,
    ns_per_page: f64,
    spread: f64,
    metadata_bytes: u64,
}

/// Runs the cells that were asked for and prints a table of each.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), String> {
    let patterns = if args.pattern.is_empty() { pattern::ALL.to_vec() } else { args.pattern.clone() };
    let cells: Vec<(Pattern, u64)> = patterns
        .iter()
        .flat_map(|&pattern| pattern.sizes(&args.pages).into_iter().map(move |pages| (pattern, pages)))
        .collect();
    let bar = output.progress(cells.len() as u64);
    for (pattern, nr_frames) in cells {
        bar.set_message(format!("{pattern}, {nr_frames} frames"));
        let frames = Frames::new(pattern, nr_frames)?;
        let mut contestants = contestant::all(&frames, args.huge_pages);
        let measured = measure(&mut contestants, &frames, args.rounds.max(1));
        print(&measured, &contestants, &frames, output);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

struct Measured {
    /// An operation's figure of each contestant that has it; nanoseconds a frame.
    figures: Vec<(Op, Vec<Option<Figure>>)>,
    /// Bytes of each contestant's nodes when all frames are marked.
    metadata_bytes: Vec<u64>,
}

fn measure(contestants: &mut [Box<dyn Contestant>], frames: &Frames, nr_rounds: usize) -> Measured {
    let nr = contestants.len();
    let mut samples = vec![vec![Vec::new(); nr]; contestant::ROUND.len()];
    let mut metadata_bytes = vec![0; nr];
    for round in 0..nr_rounds {
        for turn in 0..nr {
            let which = (round + turn) % nr;
            let contestant = &mut contestants[which];
            for (&op, samples) in contestant::ROUND.iter().zip(&mut samples) {
                if op.begins_anew() {
                    contestant.reset();
                }
                if let Some(time) = contestant::timed(contestant.as_mut(), op, frames) {
                    samples[which].push(time.as_nanos() as f64 / frames.len() as f64);
                }
                if op == Op::Mark {
                    metadata_bytes[which] = contestant.metadata_bytes();
                }
            }
        }
    }
    let figures = |samples: &Vec<Vec<f64>>| samples.iter().map(|samples| Figure::of(samples)).collect();
    let figures = contestant::ROUND.iter().copied().zip(samples.iter().map(figures)).collect();
    Measured { figures, metadata_bytes }
}

fn print(measured: &Measured, contestants: &[Box<dyn Contestant>], frames: &Frames, output: &Output) {
    let (pattern, pages) = (frames.pattern(), frames.len());
    let names: Vec<&str> = contestants.iter().map(|contestant| contestant.name()).collect();
    let linux = format!("{} (reported)", reported::NAME);
    let mut rows = Vec::new();
    for (op, figures) in &measured.figures {
        let op = *op;
        for ((&contestant, figure), &metadata_bytes) in
            names.iter().zip(figures).zip(&measured.metadata_bytes)
        {
            let Some(Figure { median: ns_per_page, spread }) = *figure else { continue };
            output.json(&Row {
                bench: "map",
                op,
                pattern,
                pages,
                contestant,
                ns_per_page,
                spread,
                metadata_bytes,
            });
        }
        let cell = |figure: &Option<Figure>| match figure {
            Some(Figure { median, spread }) => format!("{median:.3} (±{:.0} %)", 50.0 * spread),
            None => "-".to_owned(),
        };
        let reported = reported::ns_per_page(op, pattern, pages);
        rows.push(
            std::iter::once(op.to_string())
                .chain(figures.iter().map(cell))
                .chain(std::iter::once(reported.map_or("-".to_owned(), |ns| format!("{ns:.1}"))))
                .collect(),
        );
    }
    let bytes = measured.metadata_bytes.iter();
    let bytes = bytes.map(|&bytes| format!("{bytes} ({:.3} a page)", bytes as f64 / pages as f64));
    rows.push(
        std::iter::once("metadata, bytes".to_owned())
            .chain(bytes)
            .chain(std::iter::once(
                reported::metadata_per_page(pattern, pages)
                    .map_or("-".to_owned(), |bytes| format!("{bytes} a page")),
            ))
            .collect(),
    );
    let header: Vec<&str> =
        std::iter::once("operation").chain(names).chain(std::iter::once(linux.as_str())).collect();
    let title = format!("{pattern}, {pages} frames of order {}: ns a frame (spread)", frames.order().get());
    output.table(&title, &header, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_contestant_does_every_pattern_and_comes_to_the_same_tree() {
        for pattern in pattern::ALL {
            let frames = Frames::new(pattern, 4096).unwrap();
            let mut contestants = contestant::all(&frames, false);
            let measured = measure(&mut contestants, &frames, 1);
            for (op, figures) in &measured.figures {
                assert!(figures[0].is_some(), "heirloom has no {op}");
            }
            let bytes = measured.metadata_bytes;
            assert!(bytes[0] > 0 && bytes.iter().all(|&other| other == bytes[0]), "{pattern}: {bytes:?}");
        }
    }
}
