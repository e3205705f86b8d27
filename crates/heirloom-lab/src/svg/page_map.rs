//! A map of memory: rows of small squares, one a page.
//!
//! ```text
//!  1.0 MiB  ##..####......##########..
//!  2.0 MiB  ...........###............
//!           ~ 12 MiB free ~                rows of nothing are folded
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{escape, head, text};
use crate::picture::{Cell, PageMap};

/// Cells in a row.
const COLUMNS: usize = 256;
/// Pixels of a cell's side.
const SIDE: usize = 4;
/// Left of the rows: addresses.
const LEFT: usize = 84;
/// Right of them.
const RIGHT: usize = 16;
/// Shades of a class.
const SHADES: u8 = 4;
/// Rows of class 0 that are folded from this number on.
const FOLD: usize = 6;
/// Rows that a fold takes.
const FOLDED: usize = 4;

/// Draws the map.
pub fn page_map(map: &PageMap) -> String {
    let rows: Vec<&[Cell]> = map.cells.chunks(COLUMNS).collect();
    let mut body = String::new();
    // One path for each colour.
    let mut paths: BTreeMap<(u8, u8), String> = BTreeMap::new();
    let legend_rows = map.classes.len().div_ceil(2);
    let top = 62 + 18 * legend_rows;
    let (mut y, mut at) = (top, 0);
    while at < rows.len() {
        let empty = rows[at..].iter().take_while(|row| row.iter().all(|cell| cell.class == 0)).count();
        let row_bytes = map.cell_bytes * COLUMNS as u64;
        if empty >= FOLD {
            let label = format!("~ {}: {} ~", bytes(empty as u64 * row_bytes), class_name(map, 0));
            let middle = (LEFT + COLUMNS * SIDE / 2) as f64;
            let style = "text-anchor=\"middle\" fill=\"#888888\" font-style=\"italic\"";
            body += &text(middle, (y + FOLDED * SIDE) as f64 - 3.0, style, &label);
            y += FOLDED * SIDE;
            at += empty;
            continue;
        }
        if at % 16 == 0 || y == top {
            let address = bytes(map.start + at as u64 * row_bytes);
            let style = "text-anchor=\"end\" fill=\"#666666\" font-size=\"10\"";
            body += &text(LEFT as f64 - 6.0, (y + SIDE) as f64 + 3.0, style, &address);
        }
        draw_row(map, rows[at], y, &mut paths);
        y += SIDE;
        at += 1;
    }
    let mut svg = head((LEFT + COLUMNS * SIDE + RIGHT) as u32, (y + 16) as u32);
    svg += &text(16.0, 26.0, "font-size=\"17\" font-weight=\"bold\"", &map.title);
    svg += &text(16.0, 46.0, "fill=\"#444444\"", &map.note);
    svg += &legend(map);
    for ((class, shade), path) in &paths {
        let color = map.classes.get(usize::from(*class)).map_or("#000000", |class| class.color);
        let opacity = 0.25 + 0.75 * f64::from(*shade) / f64::from(SHADES - 1);
        let _ = writeln!(svg, "<path fill=\"{color}\" fill-opacity=\"{opacity:.2}\" d=\"{path}\"/>");
    }
    svg + &body + "</svg>\n"
}

/// Adds the runs of equal cells of one row to the paths.
fn draw_row(map: &PageMap, row: &[Cell], y: usize, paths: &mut BTreeMap<(u8, u8), String>) {
    let color = |cell: &Cell| {
        let is_shaded = map.classes.get(usize::from(cell.class)).is_some_and(|class| class.is_shaded);
        let shade =
            if is_shaded { (u16::from(cell.fill) * u16::from(SHADES) / 256) as u8 } else { SHADES - 1 };
        (cell.class, shade)
    };
    let mut x = 0;
    for run in row.chunk_by(|one, other| color(one) == color(other)) {
        let path = paths.entry(color(&run[0])).or_default();
        let (left, width) = (LEFT + x * SIDE, run.len() * SIDE);
        let _ = write!(path, "M{left} {y}h{width}v{SIDE}h-{width}z");
        x += run.len();
    }
}

fn legend(map: &PageMap) -> String {
    let mut svg = String::new();
    for (index, class) in map.classes.iter().enumerate() {
        let (x, y) = (16 + index % 2 * 540, 60 + index / 2 * 18);
        let nr = map.count(index as u8);
        let label = format!("{}: {}", class.name, bytes(nr as u64 * map.cell_bytes));
        let color = class.color;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{color}\" stroke=\"#999999\" stroke-width=\"0.5\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            x + 18,
            y + 10,
            escape(&label)
        );
    }
    svg
}

fn class_name(map: &PageMap, class: usize) -> &str {
    map.classes.get(class).map_or("", |class| &class.name)
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
