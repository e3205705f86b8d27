//! A chain of hosted generations.

use std::vec::Vec;

use super::Hardware;
use crate::boot_info::Options;
use crate::run::{Outcome, Plan, Report, RunError, generation};

/// Runs a plan over a hosted machine, generation after generation: their reports.
///
/// # Errors
///
/// The [`RunError`] of the generation that could not go on.
pub fn run_chain(hardware: &Hardware, options: Options, plan: &Plan) -> Result<Vec<Report>, RunError> {
    let mut reports = Vec::new();
    loop {
        let power = hardware.power();
        match generation(hardware, &power.info(options), plan)? {
            Outcome::Jumped(report) => reports.push(report),
            Outcome::Last(report) => {
                reports.push(report);
                return Ok(reports);
            }
        }
    }
}
