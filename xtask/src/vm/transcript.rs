//! What a machine says on its console: JSON objects of ours between lines of everybody else's, each with its time.

use std::time::Instant;

use serde::de::DeserializeOwned;

/// The lines of a console.
#[derive(Debug)]
pub(super) struct Transcript<Line> {
    /// What was understood, and when it was heard.
    pub(super) lines: Vec<(Instant, Line)>,
    everything: Vec<String>,
}

impl<Line: DeserializeOwned> Transcript<Line> {
    pub(super) fn new() -> Self {
        Self { lines: Vec::new(), everything: Vec::new() }
    }

    /// Hears a line, and returns it if it is one of ours. The kernel may have begun the line with words of its own.
    pub(super) fn hear(&mut self, line: &str) -> Option<&Line> {
        let now = Instant::now();
        self.everything.push(line.to_owned());
        let found = serde_json::from_str(&line[line.find("{\"")?..]).ok()?;
        self.lines.push((now, found));
        self.lines.last().map(|(_, line)| line)
    }

    /// The end of all that was heard, for people.
    pub(super) fn last_words(&self) -> String {
        const MOST_LINES: usize = 25;
        self.everything[self.everything.len().saturating_sub(MOST_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_behind_the_kernels_words_and_others_are_kept() {
        let mut transcript = Transcript::<std::collections::BTreeMap<String, u32>>::new();
        assert!(transcript.hear("[    0.1] Linux {not ours}").is_none());
        assert!(transcript.hear("[    0.2] {\"a\": \"text\"}").is_none());
        assert_eq!(transcript.hear("[    0.3] {\"a\": 7}").map(|line| line["a"]), Some(7));
        assert_eq!(transcript.lines.len(), 1);
        assert_eq!(transcript.last_words().lines().count(), 3);
    }
}
