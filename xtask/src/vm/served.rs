//! What the server's unit went through in a virtual machine, step by step.

use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;

/// What was found after a step; `server/check.rs` of the command writes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Served {
    pub(super) step: String,
    generation: u32,
    origin: String,
    keys: u64,
    pub(super) lost: u64,
    reply_ms: u64,
    blackout_us: u64,
    commands_meanwhile: u64,
}

/// What was not as it had to be, with so many restarts and kills.
pub(super) fn faults(served: &[&Served], restarts: u32, kills: u32) -> Vec<String> {
    const UPGRADES: u32 = 3;
    let mut faults = Vec::new();
    let mut keys = 0;
    for (found, expected) in served.iter().zip(1..) {
        let wanted = match found.step.as_str() {
            "start" => "created",
            killed if killed.starts_with("kill") => "recovered",
            _ => "inherited",
        };
        if (found.generation, found.origin.as_str()) != (expected, wanted) {
            faults.push(format!(
                "the server, {}: generation {} was {}",
                found.step, found.generation, found.origin
            ));
        }
        if found.lost > 0 || found.keys <= keys {
            faults.push(format!("the server, {}: {} of {} keys lost", found.step, found.lost, found.keys));
        }
        keys = found.keys;
    }
    // The first start, and the stop and start at the end.
    let wanted = (restarts + kills + UPGRADES + 2) as usize;
    if served.len() != wanted {
        faults.push(format!("{} of {wanted} lives of the server were reported", served.len()));
    }
    faults
}

/// Prints a table.
pub(super) fn print(served: &[&Served]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "server: step",
        "generation",
        "origin",
        "keys",
        "lost",
        "first reply ms",
        "blackout ms",
        "commands meanwhile",
    ]);
    for found in served {
        let or_none = |is_there: bool, text: String| if is_there { text } else { String::new() };
        table.add_row([
            found.step.clone(),
            found.generation.to_string(),
            found.origin.clone(),
            found.keys.to_string(),
            found.lost.to_string(),
            found.reply_ms.to_string(),
            or_none(found.blackout_us > 0, format!("{:.1}", found.blackout_us as f64 / 1000.0)),
            or_none(found.commands_meanwhile > 0, found.commands_meanwhile.to_string()),
        ]);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    let (lives, keys) = (served.len(), served.last().map_or(0, |found| found.keys));
    println!(
        "{lives} lives of one server, {keys} keys, 0 lost, no connection refused, none dropped by an upgrade."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(step: &str, generation: u32, origin: &str, lost: u64) -> Served {
        Served {
            step: step.to_owned(),
            generation,
            origin: origin.to_owned(),
            keys: u64::from(generation) * 10,
            lost,
            reply_ms: 1,
            blackout_us: 0,
            commands_meanwhile: 0,
        }
    }

    #[test]
    fn a_loss_a_new_heap_and_a_missing_life_are_faults() {
        let good = [
            served("start", 1, "created", 0),
            served("systemctl restart 1", 2, "inherited", 0),
            served("kill -9 1", 3, "recovered", 0),
            served("systemctl reload 1", 4, "inherited", 0),
            served("systemctl reload 2", 5, "inherited", 0),
            served("SIGUSR2", 6, "inherited", 0),
            served("systemctl stop, start", 7, "inherited", 0),
        ];
        let all: Vec<&Served> = good.iter().collect();
        assert_eq!(faults(&all, 1, 1), [""; 0]);
        assert_eq!(faults(&all[..6], 1, 1).len(), 1);
        let lost = served("kill -9 1", 3, "recovered", 2);
        let anew = served("systemctl restart 1", 1, "created", 0);
        assert_eq!(faults(&[all[0], all[1], &lost, all[3], all[4], all[5], all[6]], 1, 1).len(), 1);
        assert_eq!(faults(&[all[0], &anew, all[2], all[3], all[4], all[5], all[6]], 1, 1).len(), 2);
    }
}
