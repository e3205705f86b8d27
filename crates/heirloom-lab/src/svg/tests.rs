use super::*;
use crate::picture::{Cell, PageMap, kernel_classes};

#[test]
fn a_map_shows_each_run_and_folds_what_is_free() {
    let mut cells = vec![Cell::default(); 256 * 40];
    cells[0].class = 4;
    cells[1] = Cell { class: 5, fill: 255 };
    cells[256 * 39].class = 1;
    let map = PageMap {
        title: "a & b".to_owned(),
        classes: kernel_classes(),
        cell_bytes: 4096,
        cells,
        ..PageMap::default()
    };
    let svg = page_map(&map);
    assert!(svg.contains("a &amp; b") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("~ 38.0 MiB: free"), "38 rows of a MiB are one line");
    assert!(svg.contains("M84 134h4v4h-4z"), "the first cell");
    assert_eq!(svg.matches("<svg").count(), 1);
}

#[test]
fn zero_lies_on_the_axis_of_a_logarithmic_plot() {
    let series = |points: &[(f64, f64)]| Series {
        name: "one".to_owned(),
        color: "#000000",
        dashes: "",
        points: points.to_vec(),
    };
    let panel = |points: &[(f64, f64)]| Panel {
        title: String::new(),
        x_label: "x".to_owned(),
        y_label: "y".to_owned(),
        y_scale: Scale::Log,
        x_scale: Scale::Linear,
        series: vec![series(points)],
    };
    let svg = panels("t", "n", &[panel(&[(0.0, 0.0), (1.0, 10.0), (2.0, 1000.0)])]);
    assert!(svg.contains(">0</text>") && svg.contains(">10</text>") && svg.contains(">1000</text>"));
    // Panel below one row of legend: its lines go from 82 + 34 down to 82 + 300 - 46.
    assert!(svg.contains("M78.0 336.0L"), "{svg}");
    assert!(svg.contains(" 116.0\" fill=\"none\""), "the largest is at the top");
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    let empty = panels("t", "n", &[panel(&[])]);
    assert!(!empty.contains("NaN"));
}
