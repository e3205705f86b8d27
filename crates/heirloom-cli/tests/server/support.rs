//! Servers to test, and connections to them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running `heirloom serve`, or the generation that has followed it.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// The process that serves now.
    pub(crate) pid: u32,
    first: Child,
}

impl Server {
    /// Starts one on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heirloom"));
        command.args(["serve", "--port", "0", "--threads", "2"]).args(arguments).stdin(Stdio::null());
        Self::of(command)
    }

    /// Starts the one that a command starts.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut first = command.stderr(Stdio::piped()).spawn().expect("the server starts");
        let mut lines = BufReader::new(first.stderr.take().expect("a pipe")).lines();
        let mut heard = Vec::new();
        let port = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the server did not start: {heard:?}") };
            match line.split_once("serves on 127.0.0.1:") {
                Some((_, rest)) => {
                    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    break digits.parse().expect("a port");
                }
                None => heard.push(line),
            }
        };
        // What it says later is for whoever looks at a failure.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("{line}")));
        Self { port, pid: first.id(), first }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.port)
    }

    pub(crate) fn client(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).expect("an address");
        client.get_connection().expect("the server answers")
    }

    /// Has it hand over; the status and the JSON that `heirloom upgrade` ended with.
    pub(crate) fn upgrade(&mut self, arguments: &[&str]) -> (i32, serde_json::Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_heirloom"))
            .args(["upgrade", "--json", "--pid", &self.pid.to_string()])
            .args(arguments)
            .output()
            .expect("the command runs");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        if let Some(pid) = answer["pid"].as_u64() {
            self.pid = pid as u32;
        }
        (output.status.code().expect("a status"), answer)
    }

    /// Stops it in order.
    pub(crate) fn stop(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid.cast_signed()).expect("a pid");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.wait_for_end();
    }

    pub(crate) fn kill(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid.cast_signed()).expect("a pid");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        self.wait_for_end();
    }

    fn wait_for_end(&self) {
        let since = Instant::now();
        // One that has ended and is somebody's to wait for has closed all its files, if none of its threads is still on the way.
        let proc = format!("/proc/{}", self.pid);
        let has_ended = || match std::fs::read_to_string(format!("{proc}/stat")) {
            Ok(stat) => {
                let threads = std::fs::read_dir(format!("{proc}/task")).map_or(0, Iterator::count);
                stat.contains(") Z ") && threads <= 1
            }
            Err(_) => true,
        };
        while !has_ended() {
            assert!(since.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.pid.cast_signed()).expect("a pid");
        if self.pid == self.first.id() {
            let _ = self.first.kill();
        } else {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.first.wait();
    }
}

/// A connection on which every byte is ours.
pub(crate) struct Connection(pub(crate) BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time limit");
        stream.set_nodelay(true).expect("an option");
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("the server reads");
    }

    /// One reply as it came, if it is a line or a bulk string; an empty one at the end of the connection.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        // A connection that is reset has ended too.
        let _ = self.0.read_until(b'\n', &mut reply);
        if let [b'$', digits @ .., b'\r', b'\n'] = &reply[..]
            && let Ok(len) = std::str::from_utf8(digits).expect("digits").parse::<usize>()
        {
            let mut rest = vec![0; len + 2];
            self.0.read_exact(&mut rest).expect("the whole reply");
            reply.extend(rest);
        }
        reply
    }

    /// Sends a request and returns its reply.
    pub(crate) fn ask(&mut self, words: &[&str]) -> String {
        self.send(&request(words));
        String::from_utf8_lossy(&self.reply()).into_owned()
    }
}

/// A request as clients send it.
pub(crate) fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

/// Finds a program; where it is missing, says how to get it.
pub(crate) fn find(program: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file());
    if found.is_none() {
        println!("skipped: {program} is not installed; try `apt-get install {package}`");
    }
    found
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}
