//! `heirloom upgrade`: asks a running server to hand over to its next program.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use heirloom_server::Answer;
use serde_json::json;

use crate::output::print_line;

#[derive(Args, Clone, Debug)]
pub(crate) struct UpgradeArgs {
    /// The running server
    #[arg(long)]
    pid: u32,

    /// The next program [default: what is installed where the server was started from]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// How long to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Exit status 0: the next program serves; 1: refused, the server goes on; 2: nobody could be asked, or the answer is not known.
pub(crate) fn run(args: &UpgradeArgs) -> ExitCode {
    let asked = heirloom_server::ask(args.pid, args.binary.as_deref(), Duration::from_secs(args.wait.max(1)));
    let (is_upgraded, text, status) = match asked {
        Ok(Answer::Upgraded(text)) => (true, text, 0),
        Ok(Answer::Refused(reason)) => (false, reason, crate::EXIT_BROKEN),
        Err(error) => (false, error.to_string(), crate::EXIT_USAGE),
    };
    if args.json {
        let mut object = json!({ "upgraded": is_upgraded, "asked_pid": args.pid });
        if is_upgraded {
            for (key, value) in text.split(' ').filter_map(|pair| pair.split_once('=')) {
                object[key] = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
            }
        } else {
            object["reason"] = json!(text);
        }
        print_line(object);
    } else if is_upgraded {
        print_line(format!("upgraded: {text}"));
    } else if status == crate::EXIT_BROKEN {
        eprintln!("heirloom upgrade: refused, the server goes on as before: {text}");
    } else {
        eprintln!("heirloom upgrade: {text}");
    }
    ExitCode::from(status)
}
