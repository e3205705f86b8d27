//! What is shown while the generations live.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::message::{Answer, Message};
use crate::output::print_line;

/// The terminal while the demo runs: a bar on standard error if that is a terminal, answers on standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    bar: ProgressBar,
    is_json: bool,
    is_quiet: bool,
}

impl Screen {
    /// Builds a screen for `generations` steps.
    pub(crate) fn new(generations: u32, is_json: bool, is_quiet: bool) -> Self {
        // indicatif draws nothing where standard error is no terminal.
        let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(u64::from(generations)), target);
        let style = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} generations  {wide_msg}");
        bar.set_style(style.expect("the template is valid"));
        Self { bar, is_json, is_quiet }
    }

    /// Shows what a generation said.
    pub(crate) fn show(&mut self, message: &Message) {
        match message {
            Message::Progress { generation, step, done, of } => {
                let percent = if *of == 0 { 100 } else { done.saturating_mul(100) / of };
                self.bar.set_message(format!("generation {generation}: {step} {percent} %"));
            }
            Message::Answers { generation, answers } if !self.is_json && !self.is_quiet => {
                self.print(&answers_line(*generation, answers));
            }
            Message::Note { generation, text } if !self.is_quiet => {
                self.bar.suspend(|| eprintln!("generation {generation}: {text}"));
            }
            Message::Report(report) => {
                if self.is_json {
                    self.print(&serde_json::to_string(report).expect("a report has string keys"));
                }
                self.bar.set_position(u64::from(report.generation));
                let state = if report.verified { "verified" } else { "NOT verified" };
                self.bar
                    .set_message(format!("generation {} {state}, churns and hands over", report.generation));
            }
            // What went wrong is said once, with the verdict.
            Message::Fault { .. }
            | Message::Failed { .. }
            | Message::Answers { .. }
            | Message::Note { .. } => {}
        }
    }

    /// Says what is being done between the generations and the verdict.
    pub(crate) fn say(&self, text: &'static str) {
        self.bar.set_message(text);
    }

    /// Prints a line on standard output, above the bar.
    fn print(&self, line: &str) {
        self.bar.suspend(|| print_line(line));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn answers_line(generation: u32, answers: &[Answer]) -> String {
    let answers: Vec<_> =
        answers.iter().map(|answer| format!("{}: {}", answer.query, answer.answer)).collect();
    format!("generation {generation}  {}", answers.join("; "))
}
