//! `heirloom check`: what a program would do with a heap, root by root, before anybody lets go of it.

use std::process::ExitCode;

use heirloom::foreign::{ForeignError, Image};
use heirloom::{CandidateReport, RootWay};
use serde_json::{Value, json};

use super::table;
use crate::EXIT_BROKEN;
use crate::args::CheckArgs;
use crate::output::print_line;
use crate::quantity::Count;

pub(super) fn run(args: &CheckArgs, image: &Image) -> Result<ExitCode, ForeignError> {
    let report = image.check_candidate(&args.binary)?;
    if args.json {
        print_json(args, &report);
    } else {
        print(args, &report);
    }
    Ok(if report.is_accepted() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BROKEN) })
}

fn print_json(args: &CheckArgs, report: &CandidateReport) {
    let root = |root: &heirloom::RootReport| {
        let mut object = json!({ "name": root.name, "what": root.way.word() });
        match &root.way {
            RootWay::Migrates { values, chain } | RootWay::RollsBack { values, chain } => {
                object["values"] = json!(values);
                object["estimated_ms"] = json!(root.way.estimated().as_millis());
                object["conversions"] = json!(chain);
            }
            RootWay::Refused { reason } => object["reason"] = json!(reason),
            _ => {}
        }
        object
    };
    let roots: Vec<Value> = report.roots.iter().map(root).collect();
    print_line(json!({
        "binary": args.binary,
        "target": args.heap.to_string(),
        "ok": report.is_accepted(),
        "values": report.values(),
        "estimated_ms": report.estimated().as_millis(),
        "roots": roots,
    }));
}

fn print(args: &CheckArgs, report: &CandidateReport) {
    let rows = report.roots.iter().map(|root| {
        let (values, about, how) = match &root.way {
            RootWay::Migrates { values, chain } | RootWay::RollsBack { values, chain } => {
                let how = match chain.len() {
                    0 => "field by field".to_owned(),
                    nr => format!("by {nr} of the program's own conversions: {}", chain.join(", ")),
                };
                (Count(*values).to_string(), format!("{} ms", root.way.estimated().as_millis()), how)
            }
            RootWay::Described => (String::new(), String::new(), "the layout is the same".to_owned()),
            _ => Default::default(),
        };
        [root.name.clone(), root.way.word().to_owned(), values, about, how]
    });
    print_line(table(["root", "what happens", ">values", ">about", "how"], rows));
    for root in &report.roots {
        if let RootWay::Refused { reason } = &root.way {
            print_line(format_args!("{}: {reason}", root.name));
        }
    }
    let binary = args.binary.display();
    if report.is_accepted() {
        print_line(format_args!(
            "{binary} can take over. Times are estimates, and so are values while the heap is in use."
        ));
    } else {
        print_line(format_args!("{binary} cannot take over."));
    }
}
