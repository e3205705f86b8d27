//! As much of a client as the checks in virtual machines need: keys are set, and read back.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// So many requests are sent before their replies are read.
const BATCH: u64 = 500;

/// A connection that waits for a reply as long as a machine may take that is emulated.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects, as soon as somebody listens there.
    pub(crate) fn connect(port: u16, patience: Duration) -> io::Result<Self> {
        let until = Instant::now() + patience;
        loop {
            match Self::connect_at_once(port, patience) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                outcome => return outcome,
            }
        }
    }

    /// Connects, or is refused.
    pub(crate) fn connect_at_once(port: u16, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sets numbered keys to values that follow from them; returns how many were acknowledged before the connection ended.
    pub(crate) fn set(&mut self, keys: std::ops::Range<u64>) -> u64 {
        let mut acknowledged = 0;
        let mut next = keys.start;
        while next < keys.end {
            let end = keys.end.min(next + BATCH);
            let requests: String =
                (next..end).map(|key| format!("SET {} {}\r\n", name(key), value(key))).collect();
            if self.0.get_mut().write_all(requests.as_bytes()).is_err() {
                break;
            }
            for _ in next..end {
                match self.reply() {
                    Ok(reply) if reply == b"+OK" => acknowledged += 1,
                    _ => return acknowledged,
                }
            }
            next = end;
        }
        acknowledged
    }

    /// Reads numbered keys; returns how many do not have the values that follow from them.
    pub(crate) fn count_lost(&mut self, keys: std::ops::Range<u64>) -> io::Result<u64> {
        let mut lost = 0;
        let mut next = keys.start;
        while next < keys.end {
            let end = keys.end.min(next + BATCH);
            let requests: String = (next..end).map(|key| format!("GET {}\r\n", name(key))).collect();
            self.0.get_mut().write_all(requests.as_bytes())?;
            for key in next..end {
                lost += u64::from(self.reply()? != value(key).as_bytes());
            }
            next = end;
        }
        Ok(lost)
    }

    /// A line of INFO.
    pub(crate) fn info(&mut self, name: &str) -> io::Result<String> {
        self.0.get_mut().write_all(b"INFO\r\n")?;
        let info = String::from_utf8_lossy(&self.reply()?).into_owned();
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::to_owned).ok_or_else(|| io::Error::other(format!("INFO has no {name}")))
    }

    /// A line, or what a bulk string holds.
    fn reply(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        let Some(line) = line.strip_suffix(b"\r\n") else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let len = line
            .strip_prefix(b"$")
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        let Some(len) = len else { return Ok(line.to_vec()) };
        let mut bulk = vec![0; len + 2];
        self.0.read_exact(&mut bulk)?;
        bulk.truncate(len);
        Ok(bulk)
    }
}

fn name(key: u64) -> String {
    format!("key:{key}")
}

fn value(key: u64) -> String {
    format!("{:016x}", key.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
