//! What a generation has to say: one line of JSON; and the last one, a line for people.

use core::fmt;

/// One generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Which, from 1.
    pub generation: u64,
    /// Objects that it hands over.
    pub objects: u64,
    /// Inherited objects that the restored pool does not hold.
    pub lost: u64,
    /// Inherited objects, folios and pages whose content is another.
    pub corrupt: u64,
    /// Bytes of preserved memory that are free and not zero, once frozen.
    pub stale_bytes: u64,
    /// Bytes of preserved memory that hold no object and cannot be allocated, and pages that were handed over and nobody claimed.
    pub stranded_bytes: u64,
    /// Pages that are handed over.
    pub preserved_pages: u64,
    /// Pages of the map, the tree and the list of scratch areas.
    pub metadata_pages: u64,
    /// Those of them in scratch or in the guard pool.
    pub metadata_in_scratch: u64,
    /// Objects that the guard pool served.
    pub guard_samples: u64,
    /// Slips that it reported.
    pub guard_reports: u64,
    /// From power to a restored machine, in microseconds.
    pub boot_us: u64,
    /// The freeze, in microseconds.
    pub freeze_us: u64,
    /// Sums over all generations so far.
    pub totals: Totals,
}

/// Sums over all generations so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Objects that were inherited.
    pub inherited: u64,
    /// As in [`Report`].
    pub lost: u64,
    /// As in [`Report`].
    pub corrupt: u64,
    /// As in [`Report`].
    pub stale_bytes: u64,
    /// As in [`Report`].
    pub stranded_bytes: u64,
    /// As in [`Report`].
    pub metadata_in_scratch: u64,
    /// As in [`Report`].
    pub guard_reports: u64,
}

impl Report {
    /// Writes the line of JSON, without its end.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_json(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let fields = [
            ("generation", self.generation),
            ("objects", self.objects),
            ("lost", self.lost),
            ("corrupt", self.corrupt),
            ("stale_bytes", self.stale_bytes),
            ("stranded_bytes", self.stranded_bytes),
            ("preserved_pages", self.preserved_pages),
            ("metadata_pages", self.metadata_pages),
            ("metadata_in_scratch", self.metadata_in_scratch),
            ("guard_samples", self.guard_samples),
            ("guard_reports", self.guard_reports),
            ("boot_us", self.boot_us),
            ("freeze_us", self.freeze_us),
        ];
        for (at, (name, value)) in fields.into_iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            write!(out, "{before}\"{name}\":{value}")?;
        }
        out.write_char('}')
    }

    /// The line of JSON, to print.
    pub fn json(&self) -> Json<'_> {
        Json(self)
    }

    /// The line for people that a run ends with.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }
}

/// A report as JSON.
pub struct Json<'a>(&'a Report);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_json(f)
    }
}

/// A report's last line.
pub struct Summary<'a>(&'a Report);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { generation, totals, .. } = self.0;
        write!(
            f,
            "heirloom-kernel: {generation} generations, {} inherited, {} lost, {} stale, {} stranded",
            totals.inherited, totals.lost, totals.stale_bytes, totals.stranded_bytes
        )?;
        if totals.corrupt != 0 || totals.metadata_in_scratch != 0 {
            let Totals { corrupt, metadata_in_scratch, .. } = totals;
            write!(f, ", {corrupt} corrupt, {metadata_in_scratch} pages of metadata in scratch")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_line_has_the_fields_in_their_order() {
        let report = Report { generation: 3, objects: 7, boot_us: 12, freeze_us: 34, ..Report::default() };
        assert_eq!(
            report.json().to_string(),
            "{\"generation\":3,\"objects\":7,\"lost\":0,\"corrupt\":0,\"stale_bytes\":0,\"stranded_bytes\":0,\
             \"preserved_pages\":0,\"metadata_pages\":0,\"metadata_in_scratch\":0,\"guard_samples\":0,\
             \"guard_reports\":0,\"boot_us\":12,\"freeze_us\":34}"
        );
    }

    #[test]
    fn the_last_line_is_that_of_the_run() {
        let totals = Totals { inherited: 40, ..Totals::default() };
        let report = Report { generation: 3, totals, ..Report::default() };
        assert_eq!(
            report.summary().to_string(),
            "heirloom-kernel: 3 generations, 40 inherited, 0 lost, 0 stale, 0 stranded"
        );
    }
}
