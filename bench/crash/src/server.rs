//! Servers: this program is their client, and kills them.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{PATIENCE, System, record};

/// Records under way at a time.
const BATCH: u64 = 64;

pub(crate) fn all() -> Vec<Box<dyn System>> {
    let kinds = [Kind::RedisAlways, Kind::RedisEverySecond, Kind::Memcached];
    kinds.map(|kind| Box::new(Server { kind }) as Box<dyn System>).into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    RedisAlways,
    RedisEverySecond,
    Memcached,
}

struct Server {
    kind: Kind,
}

/// A server that is killed with whoever forgets it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Connection = BufReader<UnixStream>;

impl Server {
    fn start(&self, dir: &Path) -> Result<Running, String> {
        let mut command = match self.kind {
            Kind::Memcached => {
                let mut command = Command::new("memcached");
                command
                    .arg("-s")
                    .arg(dir.join("socket"))
                    .args(["-a", "0700", "-u", "root", "-m", "512", "-e"]);
                command.arg(dir.join("items"));
                command
            }
            _ => {
                let sync = if self.kind == Kind::RedisAlways { "always" } else { "everysec" };
                let mut command = Command::new("redis-server");
                command.args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", sync]);
                command.arg("--unixsocket").arg(dir.join("socket")).arg("--dir").arg(dir);
                command
            }
        };
        // What the killed one has left.
        let _ = std::fs::remove_file(dir.join("socket"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let package = if self.kind == Kind::Memcached { "memcached" } else { "redis-server" };
        command.spawn().map(Running).map_err(|error| format!("{error}: try `apt-get install {package}`"))
    }

    fn connect(dir: &Path) -> Result<Connection, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(dir.join("socket")) {
                Ok(stream) => return Ok(BufReader::new(stream)),
                Err(error) if Instant::now() > deadline => return Err(error.to_string()),
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    fn put(&self, request: &mut Vec<u8>, key: u64) {
        let value = record(key);
        let head = match self.kind {
            Kind::Memcached => format!("set {key:016x} 0 0 {}\r\n", value.len()),
            _ => format!("*3\r\n$3\r\nSET\r\n$16\r\n{key:016x}\r\n${}\r\n", value.len()),
        };
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
    }

    /// Whether a record is there and whole; an error while the server is not up yet.
    fn has(&self, connection: &mut Connection, key: u64) -> Result<bool, String> {
        let fail = |error: std::io::Error| error.to_string();
        let request = match self.kind {
            Kind::Memcached => format!("get {key:016x}\r\n"),
            _ => format!("*2\r\n$3\r\nGET\r\n$16\r\n{key:016x}\r\n"),
        };
        connection.get_mut().write_all(request.as_bytes()).map_err(fail)?;
        let mut line = String::new();
        connection.read_line(&mut line).map_err(fail)?;
        match line.trim_end() {
            "" => return Err("it has closed the connection".to_owned()),
            "END" | "$-1" => return Ok(false),
            line if line.starts_with('-') || line.contains("ERROR") => return Err(line.to_owned()),
            _ => {}
        }
        let expected = record(key);
        let mut value = vec![0; expected.len() + 2];
        connection.read_exact(&mut value).map_err(fail)?;
        if self.kind == Kind::Memcached {
            line.clear();
            connection.read_line(&mut line).map_err(fail)?;
        }
        Ok(value[..expected.len()] == expected)
    }
}

impl System for Server {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::RedisAlways => "redis, append-only file, fsync always",
            Kind::RedisEverySecond => "redis, append-only file, fsync every second",
            Kind::Memcached => "memcached -e",
        }
    }

    fn load_and_die(
        &mut self,
        dir: &Path,
        from: u64,
        enough: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64, String> {
        let server = self.start(dir)?;
        let mut connection = Self::connect(dir)?;
        let deadline = Instant::now() + PATIENCE;
        // It may be loading still.
        while self.has(&mut connection, 0).is_err() {
            std::thread::sleep(Duration::from_millis(1));
            if Instant::now() > deadline {
                return Err("it does not come up".to_owned());
            }
        }
        let mut has = from;
        while !enough(has) {
            let mut request = Vec::new();
            (has..has + BATCH).for_each(|key| self.put(&mut request, key));
            connection.get_mut().write_all(&request).map_err(|error| error.to_string())?;
            for _ in 0..BATCH {
                let mut line = String::new();
                connection.read_line(&mut line).map_err(|error| error.to_string())?;
                if !matches!(line.trim_end(), "STORED" | "+OK") {
                    return Err(format!("`{}`", line.trim_end()));
                }
                has += 1;
                if enough(has) {
                    break;
                }
            }
        }
        drop(server);
        Ok(has)
    }

    fn start_and_check(&mut self, dir: &Path, expected: u64) -> Result<(Duration, u64), String> {
        let began = Instant::now();
        let mut server = self.start(dir)?;
        let mut connection = Self::connect(dir)?;
        let middle = expected / 2;
        let found = loop {
            match self.has(&mut connection, middle) {
                Ok(found) => break found,
                Err(reason) if began.elapsed() > PATIENCE => return Err(reason),
                Err(_) => {
                    if let Ok(Some(status)) = server.0.try_wait() {
                        return Err(format!("it ended with {status}"));
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        };
        let took = began.elapsed();
        if !found {
            return Ok((took, expected));
        }
        let mut lost = 0;
        for key in 0..expected {
            lost += u64::from(!self.has(&mut connection, key)?);
        }
        Ok((took, lost))
    }
}
