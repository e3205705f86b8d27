//! memcached with `-e`: its items lie in a file on tmpfs, and a restart maps the file and rebuilds the hash table.
//!
//! SIGUSR1 makes it stop in order. If it is started again within the second of its stop by the wall clock it drops everything
//! (`time_delta <= 0`), so that is waited for and not counted.
#![expect(unsafe_code, reason = "sends a signal")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command};

use super::client::Connection;
use super::{Kind, System, fill, size_bytes};

/// Memory for an object of 135 bytes: header, key, the classes' rounding, and what is lost at the ends of its pages.
const BYTES_PER_OBJECT: u64 = 280;

pub(super) struct Memcached;

impl Kind for Memcached {
    fn system(&self) -> System {
        System::Memcached
    }

    fn command(&self, dir: &Path, count: u64) -> Command {
        let mut command = Command::new("memcached");
        let limit_mib = 64 + count * BYTES_PER_OBJECT / (1 << 20);
        // A socket in the file system turns the network off. As root it wants to be told whom to become.
        command.arg("-s").arg(dir.join("socket")).args(["-a", "0700", "-u", "root", "-m"]);
        command.arg(limit_mib.to_string()).arg("-e").arg(dir.join("items"));
        command
    }

    fn store(&self, socket: &Path, count: u64) -> Result<u64, String> {
        let mut connection = Connection::open(socket)?;
        let mut object = [0; 256];
        for number in 0..count {
            let object = &mut object[..size_bytes(number)];
            fill(number, object);
            let len = object.len();
            write!(connection.request, "set {number:08x} 0 0 {len} noreply\r\n").expect("to memory");
            connection.request.extend_from_slice(object);
            connection.request.extend_from_slice(b"\r\n");
            connection.send_if_long()?;
        }
        connection.request.extend_from_slice(b"stats\r\n");
        connection.send()?;
        let mut stored = 0;
        loop {
            match connection.line()? {
                "END" => return Ok(stored),
                line => match line.strip_prefix("STAT curr_items ") {
                    Some(items) => stored = items.parse().map_err(|_| format!("`{line}`"))?,
                    None if line.starts_with("STAT") => {}
                    None => return Err(line.to_owned()),
                },
            }
        }
    }

    fn fetch(
        &self,
        connection: &mut Connection,
        numbers: &mut dyn Iterator<Item = u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), String> {
        connection.request.extend_from_slice(b"get");
        let mut asked = 0;
        for number in numbers {
            write!(connection.request, " {number:08x}").expect("to memory");
            asked += 1;
        }
        connection.request.extend_from_slice(b"\r\n");
        connection.send()?;
        loop {
            let line = connection.line()?;
            if line == "END" {
                return if asked == 0 { Ok(()) } else { Err(format!("{asked} objects are not there")) };
            }
            let mut words = line.split(' ');
            let header = (|| {
                let ("VALUE", key, _flags, len) =
                    (words.next()?, words.next()?, words.next()?, words.next()?)
                else {
                    return None;
                };
                Some((u64::from_str_radix(key, 16).ok()?, len.parse().ok()?))
            })();
            let (number, len) = header.ok_or_else(|| format!("`{line}`"))?;
            each(number, connection.value(len)?);
            asked -= 1;
        }
    }

    fn stop(&self, server: &Child, _socket: &Path) -> Result<(), String> {
        // SAFETY: a signal to a child that has not been waited for, so that the number is its own.
        match unsafe { libc::kill(server.id().cast_signed(), libc::SIGUSR1) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().to_string()),
        }
    }

    fn needs_another_second(&self) -> bool {
        true
    }
}
