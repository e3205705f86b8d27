//! Plots: lines of one figure over another, both on logarithmic scales, as SVG.
//!
//! ```text
//! heirloom-bench --json handover | heirloom-bench plot --x objects --y blackout_us --series system > blackout.svg
//! ```
//!
//! It reads the JSON lines of any benchmark from standard input, so that a plot can be made of figures that were measured
//! elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _};

use serde_json::Value;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The field along the bottom
    #[arg(long, default_value = "objects")]
    x: String,
    /// The field up the side
    #[arg(long, default_value = "blackout_us")]
    y: String,
    /// The field that says which line a row belongs to
    #[arg(long, default_value = "system")]
    series: String,
    /// What stands above
    #[arg(long, default_value = "")]
    title: String,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Told apart also by those who see few colours (Okabe and Ito's palette).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a00"];

/// Lines by name, each a list of points in the order of `x`.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;

/// Reads rows from standard input and prints the plot.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let mut lines = Lines::new();
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let Ok(row) = serde_json::from_str::<Value>(&line) else { continue };
        let (Some(x), Some(y)) = (row[&args.x].as_f64(), row[&args.y].as_f64()) else { continue };
        let Some(name) = row[&args.series].as_str() else { continue };
        // A logarithm has no place for nothing.
        if x > 0.0 && y > 0.0 {
            lines.entry(name.to_owned()).or_default().push((x, y));
        }
    }
    for points in lines.values_mut() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    match draw(&lines, args) {
        Some(svg) => {
            print!("{svg}");
            Ok(())
        }
        None => Err(format!("no row has the fields `{}`, `{}` and `{}`", args.x, args.y, args.series)),
    }
}

/// One direction: decades, and where they lie.
struct Scale {
    from: i32,
    to: i32,
    start: f64,
    length: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, start: f64, length: f64) -> Option<Self> {
        let (mut least, mut most) = (f64::INFINITY, 0.0f64);
        for value in values {
            (least, most) = (least.min(value), most.max(value));
        }
        if most == 0.0 {
            return None;
        }
        let from = least.log10().floor() as i32;
        Some(Self { from, to: (most.log10().ceil() as i32).max(from + 1), start, length })
    }

    fn at(&self, value: f64) -> f64 {
        self.start + self.length * (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from)
    }
}

fn draw(lines: &Lines, args: &Args) -> Option<String> {
    let points = || lines.values().flatten();
    let x = Scale::of(points().map(|point| point.0), LEFT, WIDTH - LEFT - RIGHT)?;
    let y = Scale::of(points().map(|point| point.1), HEIGHT - BOTTOM, TOP + BOTTOM - HEIGHT)?;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>\n",
        escape(&args.title)
    );
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for decade in x.from..=x.to {
        let at = x.at(10f64.powi(decade));
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            power(decade)
        );
    }
    for decade in y.from..=y.to {
        let at = y.at(10f64.powi(decade));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            power(decade)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text x=\"16\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {:.1})\">{}</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 12.0,
        escape(&args.x),
        (TOP + bottom) / 2.0,
        (TOP + bottom) / 2.0,
        escape(&args.y)
    );
    for (nth, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[nth % COLOURS.len()];
        let path: Vec<String> =
            points.iter().map(|&(px, py)| format!("{:.1},{:.1}", x.at(px), y.at(py))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for &(px, py) in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x.at(px),
                y.at(py)
            );
        }
        let at = TOP + 18.0 * nth as f64 + 6.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{0:.1}\" y1=\"{at:.1}\" x2=\"{1:.1}\" y2=\"{at:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{2:.1}\" y=\"{3:.1}\">{4}</text>",
            right + 12.0,
            right + 34.0,
            right + 40.0,
            at + 4.0,
            escape(name)
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn power(decade: i32) -> String {
    match decade {
        0..=3 => 10u32.pow(decade as u32).to_string(),
        _ => format!("10<tspan dy=\"-5\" font-size=\"9\">{decade}</tspan>"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        let word = str::to_owned;
        Args { x: word("objects"), y: word("blackout_us"), series: word("system"), title: word("a < b") }
    }

    #[test]
    fn a_decade_is_as_long_as_any_other() {
        let scale = Scale::of([10.0, 1e5].into_iter(), 0.0, 400.0).unwrap();
        assert_eq!((scale.at(10.0), scale.at(100.0), scale.at(1e5)), (0.0, 100.0, 400.0));
    }

    #[test]
    fn each_system_gets_its_line_and_nothing_none() {
        let lines = Lines::from([("spawn".to_owned(), vec![(1e4, 300.0), (1e6, 310.0)])]);
        let svg = draw(&lines, &args()).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert!(svg.contains(">spawn</text>") && svg.contains("a &lt; b"));
        assert!(draw(&Lines::new(), &args()).is_none());
    }
}
