//! Lines on standard output.

use std::fmt::Display;
use std::io::Write as _;

/// Prints a line. Where nobody reads it any more (`| head`) the program ends, instead of panicking as `println` does.
pub(crate) fn print_line(line: impl Display) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(i32::from(crate::EXIT_BROKEN));
    }
}
