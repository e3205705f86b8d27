//! A stand-in for the service manager, which keeps descriptors, holds a listening socket and hears what services say, as systemd does.
//!
//! ```text
//! LISTEN_FDS, LISTEN_FDNAMES, NOTIFY_SOCKET, FDSTORE ----> heirloom serve
//!                     <---- FDSTORE=1 FDNAME=.. fd, READY=1, STATUS=.., MAINPID=..
//! ```

use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::support::{PATIENCE, Server};

pub(crate) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    /// What services have stored, by name.
    pub(crate) kept: Vec<(String, OwnedFd)>,
    /// A socket that it holds for services.
    pub(crate) listener: Option<TcpListener>,
}

impl Manager {
    pub(crate) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("heirloom-manager-{}-{test}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Self { socket, path, kept: Vec::new(), listener: None }
    }

    /// Starts the server with all that is kept for it, and returns it with what it has said up to `READY=1`, that included.
    pub(crate) fn start(&mut self, arguments: &[&str]) -> (Server, Vec<String>) {
        let server = Server::of(self.command(arguments));
        let heard = self.hear_until(&["READY=1"]);
        (server, heard)
    }

    /// What starts the server as a service.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut names: Vec<&str> = Vec::new();
        let mut opens = String::new();
        for (nth, (name, heap)) in self.kept.iter().enumerate() {
            let copy = rustix::io::fcntl_dupfd_cloexec(heap, 100).expect("a copy");
            opens.push_str(&format!(" {}<>/proc/{}/fd/{}", 3 + nth, std::process::id(), copy.as_raw_fd()));
            names.push(name);
            // The shell opens it by its path, when its turn comes.
            std::mem::forget(copy);
        }
        if self.listener.is_some() {
            // A socket has no path: it comes as the standard input.
            opens.push_str(&format!(" {}<&0", 3 + names.len()));
            names.push("heirloom-serve.socket");
        }
        // The manager knows the process id before the program runs; a shell does too.
        let script = format!("exec{opens} </dev/null; LISTEN_PID=$$ SYSTEMD_EXEC_PID=$$ exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_heirloom")]);
        command.args(["serve", "--port", "0", "--threads", "2"]);
        command.args(arguments).env("NOTIFY_SOCKET", &self.path).env("FDSTORE", "8");
        if !names.is_empty() {
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        command.stdin(match &self.listener {
            Some(listener) => Stdio::from(OwnedFd::from(listener.try_clone().expect("a copy"))),
            None => Stdio::null(),
        });
        command
    }

    /// Hears until all of this has been said, in whatever order, and returns all that was.
    pub(crate) fn hear_until(&mut self, words: &[&str]) -> Vec<String> {
        let mut heard: Vec<String> = Vec::new();
        while !words.iter().all(|word| heard.iter().any(|line| line.starts_with(word))) {
            heard.extend(self.hear());
        }
        heard
    }

    /// Takes one message.
    fn hear(&mut self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [std::io::IoSliceMut::new(&mut bytes)];
        let received =
            rustix::net::recvmsg(&self.socket, &mut buffer, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
                .expect("somebody says something in time");
        let fds: Vec<OwnedFd> = ancillary
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
                _ => Vec::new(),
            })
            .collect();
        let text = std::str::from_utf8(&bytes[..received.bytes]).expect("text");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let name = lines.iter().find_map(|line| line.strip_prefix("FDNAME=")).map(str::to_owned);
        if lines.iter().any(|line| line == "FDSTORE=1") {
            let name = name.clone().expect("stored under a name");
            self.kept.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
        }
        if lines.iter().any(|line| line == "FDSTOREREMOVE=1") {
            let name = name.expect("removed by its name");
            self.kept.retain(|(kept, _)| *kept != name);
        }
        lines
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
