//! The generations as a table for people.

use comfy_table::{CellAlignment, Table, presets};

use super::transcript::Generation;

/// Draws the table.
pub(super) fn of(generations: &[Generation]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "generation",
        "objects",
        "lost",
        "corrupt",
        "stale B",
        "stranded B",
        "preserved pages",
        "metadata pages",
        "in scratch",
        "guard samples",
        "reports",
        "boot ms",
        "freeze ms",
    ]);
    for g in generations {
        let counts = [
            g.generation,
            g.objects,
            g.lost,
            g.corrupt,
            g.stale_bytes,
            g.stranded_bytes,
            g.preserved_pages,
            g.metadata_pages,
            g.metadata_in_scratch,
            g.guard_samples,
            g.guard_reports,
        ];
        let times = [g.boot_us, g.freeze_us].map(|us| format!("{:.1}", us as f64 / 1000.0));
        table.add_row(counts.iter().map(u64::to_string).chain(times));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
