//! Both channels of Heirloom: one heap, and one generation after the other, each by the channel whose turn it is.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use super::contestant::{Contestant, System};
use super::generation::Generation;
use super::sample::Sample;

/// A heap and the generation that has it.
pub(super) struct Chain {
    living: Generation,
}

impl Chain {
    /// Starts the first generation and waits until it has made its objects.
    pub(super) fn start(program: &Path, count: u64, scrub: &str, huge_pages: bool) -> Result<Self, String> {
        let pages = if huge_pages { "huge" } else { "ordinary" };
        let mut living = Generation::start(program, &["heap", &count.to_string(), scrub, pages])?;
        living.sample()?;
        Ok(Self { living })
    }

    /// Hands over; the answer is the successor's.
    fn hand_over(&mut self, channel: &str) -> Result<Sample, String> {
        self.living.order(channel)?;
        self.living.sample()
    }
}

/// A chain's hand-overs by one of its channels.
pub(super) struct ByChannel {
    pub(super) system: System,
    pub(super) chain: Rc<RefCell<Chain>>,
}

impl Contestant for ByChannel {
    fn system(&self) -> System {
        self.system
    }

    fn sample(&mut self) -> Result<Sample, String> {
        let channel = if self.system == System::Exec { "exec" } else { "spawn" };
        self.chain.borrow_mut().hand_over(channel)
    }
}
