//! A connection to a server: lines and counted bytes, which is all that both protocols are made of.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::PATIENCE;

/// How much is read and written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// A connection over a socket in the file system.
pub(in super::super) struct Connection {
    stream: BufReader<UnixStream>,
    pub(super) request: Vec<u8>,
    line: Vec<u8>,
    value: Vec<u8>,
}

impl Connection {
    pub(super) fn open(socket: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let stream = BufReader::with_capacity(BUFFER_BYTES, stream);
        Ok(Self { stream, request: Vec::with_capacity(BUFFER_BYTES), line: Vec::new(), value: Vec::new() })
    }

    /// Sends what was put into `request`.
    pub(super) fn send(&mut self) -> Result<(), String> {
        let sent = self.stream.get_mut().write_all(&self.request);
        self.request.clear();
        sent.map_err(|error| error.to_string())
    }

    /// Sends it if it has become long.
    pub(super) fn send_if_long(&mut self) -> Result<(), String> {
        if self.request.len() > BUFFER_BYTES - 4096 { self.send() } else { Ok(()) }
    }

    /// The next line without its end.
    pub(super) fn line(&mut self) -> Result<&str, String> {
        self.line.clear();
        let read = self.stream.read_until(b'\n', &mut self.line).map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("the server closed the connection".to_owned());
        }
        std::str::from_utf8(self.line.trim_ascii_end()).map_err(|error| error.to_string())
    }

    /// The next `len` bytes, behind which a line ends.
    pub(super) fn value(&mut self, len: usize) -> Result<&[u8], String> {
        if len > 1 << 20 {
            return Err(format!("a value of {len} bytes"));
        }
        self.value.resize(len + 2, 0);
        self.stream.read_exact(&mut self.value).map_err(|error| error.to_string())?;
        Ok(&self.value[..len])
    }
}
