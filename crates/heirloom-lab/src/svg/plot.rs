//! Plots of lines, several side by side with one legend.

use std::fmt::Write as _;

use super::{escape, head, text};

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 300.0;
/// Around the lines of a panel.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// In proportion.
    Linear,
    /// By their logarithm; zero lies on the axis, a power of ten below all others.
    Log,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Its colour.
    pub color: &'static str,
    /// Its dashes, as SVG has them; empty for none.
    pub dashes: &'static str,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// One plot.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its headline.
    pub title: String,
    /// What goes to the right.
    pub x_label: String,
    /// What goes up, with its unit.
    pub y_label: String,
    /// Of the vertical axis.
    pub y_scale: Scale,
    /// Of the horizontal axis.
    pub x_scale: Scale,
    /// The lines.
    pub series: Vec<Series>,
}

/// Draws panels, two in a row, below one headline and one legend: that of the first panel.
pub fn panels(title: &str, note: &str, panels: &[Panel]) -> String {
    let columns = panels.len().clamp(1, 2);
    let rows = panels.len().div_ceil(columns);
    let names: Vec<&Series> = panels.first().map(|panel| panel.series.iter().collect()).unwrap_or_default();
    let legend_rows = names.len().div_ceil(3);
    let top = 64.0 + 18.0 * legend_rows as f64;
    let (width, height) = (WIDTH * columns as f64, top + HEIGHT * rows as f64);
    let mut svg = head(width as u32, height as u32);
    svg += &text(16.0, 26.0, "font-size=\"17\" font-weight=\"bold\"", title);
    svg += &text(16.0, 45.0, "fill=\"#444444\"", note);
    for (index, series) in names.iter().enumerate() {
        let (x, y) = (16.0 + (index % 3) as f64 * (width - 16.0) / 3.0, 66.0 + (index / 3) as f64 * 18.0);
        let (color, dashes) = (series.color, series.dashes);
        let _ = writeln!(
            svg,
            "<path d=\"M{x} {y}h28\" stroke=\"{color}\" stroke-width=\"2.5\" stroke-dasharray=\"{dashes}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            x + 34.0,
            y + 4.0,
            escape(&series.name)
        );
    }
    for (index, panel) in panels.iter().enumerate() {
        let (x, y) = ((index % columns) as f64 * WIDTH, top + (index / columns) as f64 * HEIGHT);
        svg += &draw(panel, x, y);
    }
    svg + "</svg>\n"
}

fn draw(panel: &Panel, x: f64, y: f64) -> String {
    let points = || panel.series.iter().flat_map(|series| series.points.iter().copied());
    let (left, right) = (x + LEFT, x + WIDTH - RIGHT);
    let (top, bottom) = (y + TOP, y + HEIGHT - BOTTOM);
    let across = Axis::new(panel.x_scale, points().map(|point| point.0), left, right);
    let up = Axis::new(panel.y_scale, points().map(|point| point.1), bottom, top);
    let mut svg = text(left, y + 20.0, "font-weight=\"bold\"", &panel.title);
    for tick in up.ticks() {
        let at = up.place(tick);
        let _ = writeln!(svg, "<path d=\"M{left:.1} {at:.1}H{right:.1}\" stroke=\"#e2e2e2\"/>");
        svg += &text(left - 6.0, at + 4.0, "text-anchor=\"end\" fill=\"#444444\"", &up.label(tick));
    }
    for tick in across.ticks() {
        let at = across.place(tick);
        let _ = writeln!(svg, "<path d=\"M{at:.1} {bottom:.1}v5\" stroke=\"#444444\"/>");
        svg += &text(at, bottom + 18.0, "text-anchor=\"middle\" fill=\"#444444\"", &across.label(tick));
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"#444444\"/>"
    );
    for series in &panel.series {
        let mut path = String::new();
        for &(x, y) in &series.points {
            let step = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", across.place(x), up.place(y));
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{}\" stroke-linejoin=\"round\"/>",
            series.color, series.dashes
        );
        // A few points are seen as such.
        if series.points.len() < 12 {
            for &(x, y) in &series.points {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{}\"/>",
                    across.place(x),
                    up.place(y),
                    series.color
                );
            }
        }
    }
    svg += &text((left + right) / 2.0, bottom + 36.0, "text-anchor=\"middle\"", &panel.x_label);
    let middle = (top + bottom) / 2.0;
    let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 {:.1} {middle:.1})\"", x + 16.0);
    svg + &text(x + 16.0, middle, &turned, &panel.y_label)
}

/// One axis.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    /// The low end stands for zero.
    has_zero: bool,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let high = finite.iter().copied().fold(0.0, f64::max);
        match scale {
            Scale::Linear => {
                let step = step_of(high);
                Self { scale, low: 0.0, high: (high / step).ceil().max(1.0) * step, from, to, has_zero: true }
            }
            Scale::Log => {
                let low = finite.iter().copied().filter(|&value| value > 0.0).fold(f64::INFINITY, f64::min);
                let (low, high) = if low.is_finite() { (low, high) } else { (1.0, 10.0) };
                let has_zero = finite.iter().any(|&value| value <= 0.0);
                let low = 10_f64.powf(low.log10().floor() - if has_zero { 1.0 } else { 0.0 });
                let high = 10_f64.powf(high.log10().ceil()).max(low * 10.0);
                Self { scale, low, high, from, to, has_zero }
            }
        }
    }

    fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => value / self.high,
            Scale::Log if value <= self.low => 0.0,
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = step_of(self.high);
                (0..=(self.high / step).round() as u32).map(|nr| f64::from(nr) * step).collect()
            }
            Scale::Log => {
                let nr = (self.high / self.low).log10().round() as i32;
                let every = (nr / 6).max(0) as usize + 1;
                (0..=nr).step_by(every).map(|nr| self.low * 10_f64.powi(nr)).collect()
            }
        }
    }

    fn label(&self, value: f64) -> String {
        match value {
            0.0 => "0".to_owned(),
            value if self.scale == Scale::Log && self.has_zero && value <= self.low => "0".to_owned(),
            value if value >= 1e6 => format!("{} M", value / 1e6),
            value if value >= 1e4 => format!("{} k", value / 1e3),
            value => format!("{value}"),
        }
    }
}

/// A round step of which four to ten come to `high`.
fn step_of(high: f64) -> f64 {
    if high <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(high.log10().floor());
    let step = [0.2, 0.5, 1.0].into_iter().find(|part| high / (part * power) <= 8.0);
    step.unwrap_or(2.0) * power
}
