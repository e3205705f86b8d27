//! Where figures go: a table for people, or JSON lines for programs. Progress goes to standard error.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// The form that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a figure, where figures go out one by one.
    pub(crate) fn json(&self, row: &impl Serialize) {
        if self.json {
            println!("{}", serde_json::to_string(row).expect("a row of plain fields"));
        }
    }

    /// Prints a table, where tables go out. The first column is text, the others are figures.
    pub(crate) fn table(&self, title: &str, header: &[&str], rows: &[Vec<String>]) {
        if self.json {
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(header.iter().copied());
        for row in rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("\n**{title}**\n\n{table}");
    }

    /// Prints what the figures come to, where tables go out.
    pub(crate) fn sentence(&self, text: &str) {
        if !self.json {
            println!("\n{text}");
        }
    }

    /// A bar for `nr_steps` steps of work, on standard error.
    pub(crate) fn progress(&self, nr_steps: u64) -> ProgressBar {
        let bar = ProgressBar::new(nr_steps);
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed} (left {eta}) {msg}");
        bar.set_style(style.expect("a fixed template"));
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }
}
