//! What a transaction costs, beside the same change without one.
//!
//! ```sh
//! cargo run --release -p heirloom --example transact            # a table; --json for one object a row
//! ```
//!
//! Each row is the median of some rounds that take turns, so that whatever else the machine does falls on both.

use std::hint::black_box;
use std::time::Instant;

use heirloom::sync::Mutex;
use heirloom::{HashMap, Heap, Heritable, Options, String, TransactError, Vec};

const ROUNDS: usize = 15;
const OPERATIONS: u32 = 200_000;

#[derive(Heritable)]
#[repr(C)]
struct Places {
    numbers: [u64; 16],
    row: [u64; 128],
    text: [String; 2],
    inline: String,
    table: HashMap<u64, u64>,
    stack: Vec<u64>,
}

impl Default for Places {
    fn default() -> Self {
        let (text, inline, stack) = Default::default();
        let table = (0..1000).map(|key| (key, key)).collect();
        Self { numbers: [0; 16], row: [0; 128], text, inline, table, stack }
    }
}

heirloom::root! { static PLACES: Mutex<Places> = "places"; }

type Work = fn(&Heap, &mut Places, u64) -> Result<(), TransactError>;

/// Name, without, with a transaction.
const ROWS: [(&str, Work, Work); 8] = [
    ("nothing", |_, _, _| Ok(()), |heap, _, _| heap.transact(|_| Ok(()))),
    (
        "one number",
        |_, places, n| {
            places.numbers[0] = n;
            Ok(())
        },
        |heap, places, n| heap.transact(|tx| tx.set(&mut places.numbers[0], n)),
    ),
    (
        "two numbers, as a transfer",
        |_, places, n| {
            places.numbers[0] -= n;
            places.numbers[1] += n;
            Ok(())
        },
        |heap, places, n| {
            let [from, to, ..] = &mut places.numbers;
            heap.transact(|tx| {
                let (from, to) = (tx.change(from)?, tx.change(to)?);
                *from -= n;
                *to += n;
                Ok(())
            })
        },
    ),
    (
        "a row of 1 KiB",
        |_, places, n| {
            places.row.fill(n);
            Ok(())
        },
        |heap, places, n| {
            heap.transact(|tx| {
                tx.change(&mut places.row)?.fill(n);
                Ok(())
            })
        },
    ),
    (
        "a text within the string",
        |_, places, _| {
            places.inline = String::from("twelve bytes");
            Ok(())
        },
        |heap, places, _| heap.transact(|tx| tx.set(&mut places.inline, String::from("twelve bytes"))),
    ),
    (
        "two texts of 60 bytes",
        |_, places, _| {
            for text in &mut places.text {
                *text = String::from(TEXT);
            }
            Ok(())
        },
        |heap, places, _| {
            let [one, two] = &mut places.text;
            heap.transact(|tx| {
                tx.set(one, String::from(TEXT))?;
                tx.set(two, String::from(TEXT))
            })
        },
    ),
    (
        "a key in, a key out of a map",
        |_, places, n| {
            places.table.remove(&(n % 1000));
            places.table.insert(n % 1000, n);
            Ok(())
        },
        |heap, places, n| {
            heap.transact(|tx| {
                let mut table = tx.map(&mut places.table, 1)?;
                table.remove(&(n % 1000))?;
                table.insert(n % 1000, n)?;
                Ok(())
            })
        },
    ),
    (
        "a push and a pop",
        |_, places, n| {
            places.stack.push(n);
            places.stack.pop();
            Ok(())
        },
        |heap, places, n| {
            heap.transact(|tx| {
                let mut stack = tx.vec(&mut places.stack, 1)?;
                stack.push(n)?;
                stack.pop()?;
                Ok(())
            })
        },
    ),
];

const TEXT: &str = "a text of sixty bytes, which is more than a string can hold.";

fn main() -> Result<(), std::boxed::Box<dyn std::error::Error>> {
    let json = std::env::args().any(|argument| argument == "--json");
    let heap = Heap::inherit_or_create("transact", Options::new().size_limit(64 << 20))?;
    let inside = heap.enter();
    let mut places = PLACES.get(&inside).lock();
    if !json {
        println!("{:<28} {:>10} {:>12} {:>8} {:>8}", "change", "plain ns", "transact ns", "more ns", "ratio");
    }
    for (name, plain, transact) in ROWS {
        let mut samples = [const { std::vec::Vec::new() }; 2];
        for _ in 0..ROUNDS {
            for (work, samples) in [plain, transact].into_iter().zip(&mut samples) {
                let start = Instant::now();
                for n in 0..OPERATIONS {
                    // Numbers go round, so that subtracting them never ends below zero.
                    places.numbers[0] = u64::MAX;
                    places.numbers[1] = 0;
                    work(&heap, black_box(&mut places), black_box(u64::from(n)))?;
                }
                samples.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(OPERATIONS));
            }
        }
        let [plain, transact] = samples.map(|mut samples| {
            samples.sort_by(f64::total_cmp);
            samples[samples.len() / 2]
        });
        let (more, ratio) = (transact - plain, transact / plain);
        if json {
            println!(
                r#"{{"change":"{name}","plain_ns":{plain:.2},"transact_ns":{transact:.2},"more_ns":{more:.2},"ratio":{ratio:.2}}}"#
            );
        } else {
            println!("{name:<28} {plain:>10.2} {transact:>12.2} {more:>8.2} {ratio:>8.2}");
        }
    }
    Ok(())
}
