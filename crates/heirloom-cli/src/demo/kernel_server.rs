//! A server beside the demo of kernels: started in each kernel, its keys compared, preserved before the next.
//!
//! ```text
//! kernel n    heirloom serve --heap luo <-- SET .. | GET all           SIGTERM: "preserved", and held until the kernel is replaced
//! kernel n+1  heirloom serve --heap luo: inherited                     GET all, SET more, ..
//! ```

use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::server::client::Client;

const PORT: u16 = 6379;

/// How long anything may take; the machine is emulated.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the server says when its heap is in the kernel's hands.
const PRESERVED: &str = "is preserved for the next kernel";

/// What a kernel's server had.
#[derive(Debug, Serialize)]
pub(super) struct Served {
    generation: u32,
    origin: String,
    keys: u64,
    pub(super) lost: u64,
}

/// A running server. Dropped, it is ended.
pub(super) struct KernelServer {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl KernelServer {
    /// Starts a server, reads the keys that the kernels before have left, `keys` of each, and sets those of this one.
    pub(super) fn start(keys: u64, generation: u32) -> Result<(Self, Served), String> {
        let say = |error: io::Error| format!("the server: {error}");
        raise_loopback().map_err(|error| format!("the loopback interface: {error}"))?;
        let mut child = Command::new("/proc/self/exe")
            .args(["serve", "--heap", "luo", "--heap-limit", "128M", "--threads", "1"])
            .stderr(Stdio::piped())
            .spawn()
            .map_err(say)?;
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut server = Self { child, stderr };
        // What it says before it serves is why it does not.
        let said = server.wait_for("serves on")?;
        eprintln!("{said}");
        let mut client = Client::connect(PORT, PATIENCE).map_err(say)?;
        let before = keys * u64::from(generation - 1);
        let mut lost = client.count_lost(0..before).map_err(say)?;
        let origin = client.info("origin").map_err(say)?;
        lost += keys - client.set(before..before + keys);
        Ok((server, Served { generation, origin, keys: before + keys, lost }))
    }

    /// Has it preserve its heap. The process must live until the kernel is replaced.
    pub(super) fn preserve(mut self) -> Result<Self, String> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|error| format!("the server: {error}"))?;
        let said = self.wait_for(PRESERVED)?;
        eprintln!("{said}");
        Ok(self)
    }

    fn wait_for(&mut self, word: &str) -> Result<String, String> {
        let mut heard = String::new();
        loop {
            let mut line = String::new();
            match self.stderr.read_line(&mut line) {
                Ok(len) if len > 0 => {}
                _ => return Err(format!("the server ended: {heard}")),
            }
            if line.contains(word) {
                return Ok(line.trim_end().to_owned());
            }
            heard.push_str(&line);
        }
    }
}

impl Drop for KernelServer {
    fn drop(&mut self) {
        let _is_ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Switches the loopback interface on, which the first process of a machine finds switched off: a message RTM_NEWLINK.
fn raise_loopback() -> io::Result<()> {
    const NEWLINK: u16 = 16;
    const REQUEST_ACK: u16 = 5;
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    const BYTES: u32 = 32;
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    // The head: length, type, flags, number, port. Then the interface: family, type, index, flags, those that change.
    let mut message = Vec::with_capacity(BYTES as usize);
    message.extend(BYTES.to_le_bytes());
    message.extend(NEWLINK.to_le_bytes());
    message.extend(REQUEST_ACK.to_le_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_le_bytes());
    message.extend(UP.to_le_bytes());
    message.extend(UP.to_le_bytes());
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 64];
    let (len, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    match answer.get(16..20).filter(|_| len >= 20) {
        Some(&[a, b, c, d]) => match i32::from_le_bytes([a, b, c, d]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        },
        _ => Err(io::Error::other("no answer of the kernel's")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_understands_the_message() {
        // It is up here already; without the right to say so, the kernel says that.
        match raise_loopback() {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }
}
