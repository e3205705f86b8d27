//! Pictures as SVG, written by hand: plots of lines, and maps of memory.

mod page_map;
mod plot;

pub use page_map::page_map;
pub use plot::{Panel, Scale, Series, panels};

/// Text as it may stand in SVG.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The head of a picture of this size, on white ground.
fn head(width: u32, height: u32) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    )
}

/// A line of text; `more` are further attributes.
fn text(x: f64, y: f64, more: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {more}>{}</text>\n", escape(text))
}

#[cfg(test)]
mod tests;
