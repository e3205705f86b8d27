//! `heirloom map`: a heap, page by page, as a picture.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use heirloom::foreign::{ForeignError, Image, Piece, PieceKind, Summary};
use heirloom_lab::picture::{Cell, PageClass, PageMap};
use heirloom_lab::svg::page_map;

use crate::args::MapArgs;
use crate::output::print_line;
use crate::quantity::{Bytes, Count};
use crate::{EXIT_BROKEN, EXIT_USAGE};

const PAGE_BYTES: u64 = 4096;

/// Cells of a picture at most: of a larger heap, a cell is more than one page.
const MAX_CELLS: u64 = 1 << 16;

/// No memory behind it: never used, given back, or all zeros of old.
const HOLE: u8 = 0;
const RECORDS: u8 = 1;
const CONTROL: u8 = 2;
const BLOCK_HEADER: u8 = 3;
const SLAB: u8 = 4;
const LARGE: u8 = 5;
const FREE: u8 = 6;
const BROKEN: u8 = 7;

pub(super) fn run(args: &MapArgs, image: &Image) -> Result<ExitCode, ForeignError> {
    let summary = image.summary()?;
    let pieces = image.pieces()?;
    let map = draw(args, image, &summary, &pieces)?;
    let svg = page_map(&map);
    let nr_broken = map.count(BROKEN);
    if args.output == Path::new("-") {
        if std::io::stdout().write_all(svg.as_bytes()).is_err() {
            return Ok(ExitCode::from(EXIT_BROKEN));
        }
    } else if let Err(error) = fs::write(&args.output, svg) {
        eprintln!("heirloom: {}: {error}", args.output.display());
        return Ok(ExitCode::from(EXIT_USAGE));
    } else {
        print_line(format_args!("{}: {}", args.output.display(), map.note));
    }
    if nr_broken > 0 {
        eprintln!("heirloom: {}: {nr_broken} slabs are broken; `heirloom verify` says more", args.target);
        return Ok(ExitCode::from(EXIT_BROKEN));
    }
    Ok(ExitCode::SUCCESS)
}

fn draw(args: &MapArgs, image: &Image, summary: &Summary, pieces: &[Piece]) -> Result<PageMap, ForeignError> {
    let nr_pages = image.file_bytes().div_ceil(PAGE_BYTES);
    let cell_bytes = PAGE_BYTES * nr_pages.div_ceil(MAX_CELLS).next_power_of_two();
    let mut cells = vec![(HOLE, 0); image.file_bytes().div_ceil(cell_bytes) as usize];
    let mut backed = vec![false; cells.len()];
    for range in image.backed_ranges()? {
        let (first, last) = (range.start / cell_bytes, range.end.div_ceil(cell_bytes));
        backed.iter_mut().take(last as usize).skip(first as usize).for_each(|is| *is = true);
    }
    for piece in pieces {
        let class = class_of(piece.kind);
        let end = piece.offset.saturating_add(piece.bytes);
        for at in piece.offset / cell_bytes..end.div_ceil(cell_bytes) {
            let Some(cell) = cells.get_mut(at as usize) else { break };
            let part = end.min((at + 1) * cell_bytes) - piece.offset.max(at * cell_bytes);
            // A slab's objects lie all over it.
            let used =
                (u128::from(part) * u128::from(piece.used_bytes) / u128::from(piece.bytes.max(1))) as u64;
            // Where pieces share a cell, what says most about it stands for it.
            cell.0 = if cell.0 == HOLE || cell.0 == FREE { class } else { cell.0.max(class).min(BROKEN) };
            if class == FREE && cell.1 > 0 {
                cell.0 = SLAB;
            }
            cell.1 += used;
        }
    }
    let cell = |((class, used), is_backed): ((u8, u64), bool)| {
        let class = if is_backed { class } else { HOLE };
        Cell { class, fill: (used.min(cell_bytes) * 255 / cell_bytes) as u8 }
    };
    let cells = cells.into_iter().zip(backed).map(cell).collect();
    let totals = &summary.totals;
    let note = format!(
        "{}, generation {}: {} objects, {} live in {} of the pool; one square is {}",
        summary.phase,
        summary.generation,
        Count(totals.live_objects),
        Bytes(totals.live_bytes),
        Bytes(totals.pool_bytes),
        Bytes(cell_bytes)
    );
    let title = format!("{}: heap `{}`", args.target, summary.name);
    Ok(PageMap { title, note, classes: classes(), start: 0, cell_bytes, cells })
}

fn class_of(kind: PieceKind) -> u8 {
    match kind {
        PieceKind::Records => RECORDS,
        PieceKind::Control => CONTROL,
        PieceKind::BlockHeader => BLOCK_HEADER,
        PieceKind::Slab => SLAB,
        PieceKind::Large => LARGE,
        PieceKind::Free => FREE,
        _ => BROKEN,
    }
}

fn classes() -> Vec<PageClass> {
    let class = |name: &str, color, is_shaded| PageClass { name: name.to_owned(), color, is_shaded };
    vec![
        class("no memory behind it", "#f4f4f2", false),
        class("header, tree, map, roots", "#1f4e9c", false),
        class("tables and magazines of the pool", "#7a9bd1", false),
        class("records of a block", "#b26bd1", false),
        class("slab: the darker the fuller", "#2a9d55", true),
        class("large object", "#e0a100", true),
        class("free in a block, zeroed", "#cfe3d5", false),
        class("broken", "#d0342c", false),
    ]
}
