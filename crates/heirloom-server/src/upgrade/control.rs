//! Asking a running server for an upgrade, and hearing what came of it.
//!
//! ```text
//! heirloom upgrade --pid 7              server 7 --spawn--> server 8
//!   connect to @heirloom-serve-7 ------>  |                   |
//!   "upgrade" 0 path 0 ---------------->  | -- connection --> |
//!   <------------------------- refused .. |                   |
//!   <-------------------------------------------------- ok .. |
//! ```
//!
//! The connection travels with the others, so the answer comes from the one who knows: a refusal from the server that goes on, a success
//! from the one that has taken over. The socket has a name outside the file system, where nothing is left behind; the peer's user is looked
//! at instead of permissions.

use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest request.
const MAX_REQUEST: u64 = 8 << 10;

/// How long a peer may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(1);

/// An upgrade that was asked for.
pub(crate) struct Request {
    /// The program; `None` for what is installed where the server was started from.
    pub(crate) program: Option<PathBuf>,
    /// Where the answer goes.
    pub(crate) answer: UnixStream,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The successor serves; what it says of itself.
    Upgraded(String),
    /// The server goes on as before, for this reason.
    Refused(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No server listens there, or it may not be reached.
    #[error("no heirloom serve with pid {pid} can be reached: {error}")]
    Unreachable {
        /// The process that was asked.
        pid: u32,
        /// Why not.
        error: io::Error,
    },
    /// The connection broke.
    #[error("the server was asked, and its answer was lost: {0}")]
    Lost(#[from] io::Error),
    /// It ended without a word.
    #[error("the server ended without an answer: look at its log")]
    Silent,
}

/// Asks the server of this process id to hand over to `program`, or to what is installed where it was started from.
///
/// # Errors
///
/// [`AskError`].
pub fn ask(pid: u32, program: Option<&Path>, patience: Duration) -> Result<Answer, AskError> {
    let unreachable = |error| AskError::Unreachable { pid, error };
    let mut stream = address(pid).and_then(|at| UnixStream::connect_addr(&at)).map_err(unreachable)?;
    stream.set_read_timeout(Some(patience))?;
    let mut request = b"upgrade\0".to_vec();
    if let Some(program) = program {
        // The server's directory need not be ours.
        request.extend_from_slice(std::path::absolute(program)?.as_os_str().as_bytes());
    }
    request.push(0);
    stream.write_all(&request)?;
    let mut answer = String::new();
    stream.take(MAX_REQUEST).read_to_string(&mut answer)?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", text)) => Ok(Answer::Upgraded(text.to_owned())),
        Some(("refused", text)) => Ok(Answer::Refused(text.to_owned())),
        _ => Err(AskError::Silent),
    }
}

/// Writes an answer. Who asked may be gone by now.
pub(crate) fn answer(mut to: &UnixStream, answer: &Answer) {
    let text = match answer {
        Answer::Upgraded(text) => format!("ok {text}\n"),
        Answer::Refused(reason) => format!("refused {}\n", reason.replace('\n', " ")),
    };
    let _is_sent = to.set_nonblocking(false).and_then(|()| {
        to.set_write_timeout(Some(PATIENCE))?;
        to.write_all(text.as_bytes())
    });
}

/// Listens for requests to this process.
pub(crate) fn listen() -> io::Result<UnixListener> {
    let listener = UnixListener::bind_addr(&address(std::process::id())?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Reads a request. `None` where the peer may not ask, or says something else.
pub(crate) async fn read(stream: tokio::net::UnixStream) -> Option<Request> {
    let peer = stream.peer_cred().ok()?.uid();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        return None;
    }
    let mut bytes = Vec::new();
    let is_whole = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == 0).count() == 2;
    let reading = async {
        while !is_whole(&bytes) && bytes.len() < MAX_REQUEST as usize {
            stream.readable().await.ok()?;
            let mut piece = [0; 1024];
            match stream.try_read(&mut piece) {
                Ok(0) => return None,
                Ok(len) => bytes.extend_from_slice(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
        Some(())
    };
    tokio::time::timeout(PATIENCE, reading).await.ok()??;
    let rest = bytes.strip_prefix(b"upgrade\0")?.strip_suffix(b"\0")?;
    let program = (!rest.is_empty()).then(|| std::ffi::OsString::from_vec(rest.to_vec()).into());
    Some(Request { program, answer: stream.into_std().ok()? })
}

fn address(pid: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("heirloom-serve-{pid}"))
}
