//! What a generation tells the supervisor: one JSON object a line, over the standard output that it inherits.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::args::ChannelArg;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    /// A long step is under way.
    Progress { generation: u32, step: String, done: u64, of: u64 },
    /// Something the reader should know, though all is well.
    Note { generation: u32, text: String },
    /// The three queries of this generation.
    Answers { generation: u32, answers: Vec<Answer> },
    /// What verification found wrong.
    Fault { generation: u32, text: String },
    /// The figures of this generation: its last word before it churns and hands over.
    Report(Report),
    /// The generation cannot go on; it ends with this exit status.
    Failed { generation: u32, text: String, exit_status: u8 },
}

/// A query and its answer, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) query: String,
    pub(crate) answer: String,
}

/// The figures of one generation; with `--json`, one object of the output. Taken when all that was inherited has been
/// verified and before anything is changed. Generation 1 inherits nothing: its times of a hand-over are 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) generation: u32,
    pub(crate) pid: u32,
    pub(crate) channel: ChannelArg,
    pub(crate) objects: u64,
    pub(crate) live_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) pool_bytes: u64,
    pub(crate) metadata_bytes: u64,
    pub(crate) stranded_bytes: u64,
    pub(crate) stale_bytes: u64,
    pub(crate) freeze_us: u64,
    pub(crate) blackout_us: u64,
    pub(crate) restore_us: u64,
    pub(crate) verify_us: u64,
    pub(crate) verified: bool,
}

/// Sends a line. A generation that nobody listens to any more ends here, so that a chain never outlives its supervisor.
pub(crate) fn tell(message: &Message) {
    let mut line = serde_json::to_vec(message).expect("a message has string keys and no failing serializer");
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(&line).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_promised_keys_in_the_promised_order() {
        let report = Report {
            generation: 2,
            pid: 7,
            channel: ChannelArg::Spawn,
            objects: 1,
            live_bytes: 2,
            blocks: 3,
            pool_bytes: 4,
            metadata_bytes: 5,
            stranded_bytes: 6,
            stale_bytes: 0,
            freeze_us: 8,
            blackout_us: 9,
            restore_us: 10,
            verify_us: 11,
            verified: true,
        };
        assert_eq!(
            serde_json::to_string(&report).expect("serializable"),
            "{\"generation\":2,\"pid\":7,\"channel\":\"spawn\",\"objects\":1,\"live_bytes\":2,\"blocks\":3,\
             \"pool_bytes\":4,\"metadata_bytes\":5,\"stranded_bytes\":6,\"stale_bytes\":0,\"freeze_us\":8,\
             \"blackout_us\":9,\"restore_us\":10,\"verify_us\":11,\"verified\":true}"
        );
    }
}
