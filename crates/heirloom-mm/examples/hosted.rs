//! The run on a hosted machine: `cargo run -p heirloom-mm --example hosted --features hosted -- [GENERATIONS] [OBJECTS]`.

use heirloom_mm::hosted::{Hardware, run_chain, small_map};
use heirloom_mm::run::Plan;
use heirloom_mm::{GuardOptions, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u32>());
    let generations = numbers.next().transpose()?.unwrap_or(20).into();
    let objects = numbers.next().transpose()?.unwrap_or(2000);
    let hardware = Hardware::new(small_map())?;
    let guard = GuardOptions { every: 64, ..GuardOptions::default() };
    let plan = Plan { generations, objects, ..Plan::default() };
    let reports = run_chain(&hardware, Options { guard, ..Options::default() }, &plan)?;
    for report in &reports {
        println!("{}", report.json());
    }
    if let Some(last) = reports.last() {
        println!("{}", last.summary());
    }
    Ok(())
}
