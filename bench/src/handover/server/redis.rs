//! Redis: SAVE writes all objects to a file on tmpfs, and a restart makes them anew from it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command};

use super::client::Connection;
use super::{Kind, System, fill, size_bytes};

pub(super) struct Redis;

impl Kind for Redis {
    fn system(&self) -> System {
        System::Redis
    }

    fn command(&self, dir: &Path, _count: u64) -> Command {
        let mut command = Command::new("redis-server");
        // Port 0 turns the network off. No snapshot but the one that is asked for, compression and checksum as they come.
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--unixsocket").arg(dir.join("socket")).arg("--dir").arg(dir);
        command
    }

    fn store(&self, socket: &Path, count: u64) -> Result<u64, String> {
        let mut connection = Connection::open(socket)?;
        connection.request.extend_from_slice(b"CLIENT REPLY OFF\r\n");
        let mut object = [0; 256];
        for number in 0..count {
            let object = &mut object[..size_bytes(number)];
            fill(number, object);
            let len = object.len();
            write!(connection.request, "*3\r\n$3\r\nSET\r\n$8\r\n{number:08x}\r\n${len}\r\n")
                .expect("to memory");
            connection.request.extend_from_slice(object);
            connection.request.extend_from_slice(b"\r\n");
            connection.send_if_long()?;
        }
        connection.request.extend_from_slice(b"CLIENT REPLY ON\r\nDBSIZE\r\n");
        connection.send()?;
        let on = connection.line()?;
        if on != "+OK" {
            return Err(on.to_owned());
        }
        let size = connection.line()?;
        size.strip_prefix(':').and_then(|size| size.parse().ok()).ok_or_else(|| format!("`{size}`"))
    }

    fn fetch(
        &self,
        connection: &mut Connection,
        numbers: &mut dyn Iterator<Item = u64>,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), String> {
        let asked: Vec<u64> = numbers.collect();
        write!(connection.request, "*{}\r\n$4\r\nMGET\r\n", asked.len() + 1).expect("to memory");
        for number in &asked {
            write!(connection.request, "$8\r\n{number:08x}\r\n").expect("to memory");
        }
        connection.send()?;
        let head = connection.line()?;
        if head != format!("*{}", asked.len()) {
            return Err(head.to_owned());
        }
        for number in asked {
            let line = connection.line()?;
            let len = line.strip_prefix('$').and_then(|len| len.parse().ok());
            let len = len.ok_or_else(|| format!("object {number} is not there: `{line}`"))?;
            each(number, connection.value(len)?);
        }
        Ok(())
    }

    fn stop(&self, _server: &Child, socket: &Path) -> Result<(), String> {
        let mut connection = Connection::open(socket)?;
        connection.request.extend_from_slice(b"SAVE\r\n");
        connection.send()?;
        let saved = connection.line()?;
        if saved != "+OK" {
            return Err(saved.to_owned());
        }
        connection.request.extend_from_slice(b"SHUTDOWN NOSAVE\r\n");
        connection.send()
    }

    fn needs_another_second(&self) -> bool {
        false
    }
}
