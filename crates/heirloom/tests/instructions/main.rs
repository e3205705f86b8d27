//! A kill at every instruction of a change to a collection: whatever is left, the next start finds the change made or not made.
//!
//! ```text
//! instructions                        some of the instructions of each case, drawn anew each time, as a test
//! instructions --seed 7               the same ones again
//! instructions --all                  every instruction behind which the heap's bytes differ from those before it
//! instructions --case map-insert      cases whose names begin so
//! ```
//!
//! A child opens a heap and stops before the change; the parent lets it take one instruction at a time (`steps`) and looks at the heap's
//! file between them. Where a byte has changed, the file as it is then is what a kill there would leave: it is copied, and taken over
//! by a process of its own as after any death (`image`), which looks at the collection in every way there is, goes on with it, and
//! looks at the whole heap. What the collections promise stands in `docs/crash-safety.md`; `case` has each change.
#![allow(unsafe_code, reason = "steps through another process, and forks")]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod case;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod image;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod life;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod run;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod steps;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod subject;

fn main() -> std::process::ExitCode {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    return run::main();
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    {
        println!("skipped: single steps are taken on x86-64 Linux alone");
        std::process::ExitCode::SUCCESS
    }
}
