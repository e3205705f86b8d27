//! What the figures come to: a table for each number of objects, the blackouts beside each other, and a sentence on what grows.

use super::Row;
use crate::output::Output;

pub(super) fn print(rows: &[Row], output: &Output) {
    let mut counts: Vec<u64> = rows.iter().map(|row| row.objects).collect();
    counts.dedup();
    for &count in &counts {
        let of_it: Vec<&Row> = rows.iter().filter(|row| row.objects == count).collect();
        let bytes = of_it.first().map_or(0, |row| row.bytes);
        let title = format!("{count} objects, {}", size(bytes));
        let header = [
            "system",
            "freeze",
            "blackout",
            "spread",
            "x floor",
            "first read",
            "of it start",
            "of it open",
            "read all",
            "ns an object",
            "peak memory",
        ];
        let floor = of_it.iter().find(|row| row.system == "floor").map(|row| row.blackout_us);
        let cells: Vec<Vec<String>> = of_it.iter().map(|row| cells(row, floor)).collect();
        output.table(&title, &header, &cells);
    }
    if counts.len() > 1 {
        print_growth(rows, &counts, output);
    }
}

fn cells(row: &Row, floor_us: Option<f64>) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        row.system.to_owned(),
        or_none(row.freeze_us.map(time)),
        time(row.blackout_us),
        format!("±{:.0} %", 50.0 * row.spread),
        or_none(floor_us.map(|floor_us| format!("{:.2}", row.blackout_us / floor_us))),
        time(row.first_read_us),
        time(row.start_us),
        time(row.open_us),
        or_none(row.read_all_us.map(time)),
        or_none(row.read_all_us.map(|us| format!("{:.0}", us * 1000.0 / row.objects as f64))),
        or_none(row.peak_bytes.map(size)),
    ]
}

fn print_growth(rows: &[Row], counts: &[u64], output: &Output) {
    let mut systems: Vec<&str> = Vec::new();
    for row in rows {
        if !systems.contains(&row.system) {
            systems.push(row.system);
        }
    }
    let blackout = |system: &str, count| {
        rows.iter().find(|row| row.system == system && row.objects == count).map(|row| row.blackout_us)
    };
    let mut table = Vec::new();
    let (mut steady, mut growing) = (Vec::new(), Vec::new());
    for system in systems {
        let of_it: Vec<f64> = counts.iter().filter_map(|&count| blackout(system, count)).collect();
        let (least, most) =
            of_it.iter().fold((f64::MAX, 0f64), |(least, most), &us| (least.min(us), most.max(us)));
        let mut line = vec![system.to_owned()];
        line.extend(counts.iter().map(|&count| blackout(system, count).map_or("-".to_owned(), time)));
        line.push(format!("{:.1}", most / least));
        table.push(line);
        let words = format!("{system} {:.1}x", most / least);
        if most <= 2.0 * least { steady.push(words) } else { growing.push(words) }
    }
    let texts: Vec<String> = counts.iter().map(u64::to_string).collect();
    let header: Vec<&str> =
        std::iter::once("system").chain(texts.iter().map(String::as_str)).chain(["most / least"]).collect();
    output.table("Blackout by number of objects", &header, &table);
    let (first, last) = (counts.first().unwrap_or(&0), counts.last().unwrap_or(&0));
    let list = |systems: &[String]| if systems.is_empty() { "none".to_owned() } else { systems.join(", ") };
    output.sentence(&format!(
        "From {first} to {last} objects the blackout stays within 2x of: {}; it grows with: {}. Reading everything grows with all.",
        list(&steady),
        list(&growing)
    ));
}

/// Microseconds in three digits and a unit.
fn time(us: f64) -> String {
    match us {
        us if us <= 0.0 => "0".to_owned(),
        us if us < 10.0 => format!("{us:.1} us"),
        us if us < 1e4 => format!("{us:.0} us"),
        us if us < 1e6 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_given_the_unit_that_suits_them() {
        let times: Vec<String> = [0.0, 2.25, 431.0, 12_345.0, 6.7e6].map(time).to_vec();
        assert_eq!(times, ["0", "2.2 us", "431 us", "12.3 ms", "6.70 s"]);
        assert_eq!((size(3 << 20), size(5 << 30)), ("3.0 MiB".to_owned(), "5.00 GiB".to_owned()));
    }
}
