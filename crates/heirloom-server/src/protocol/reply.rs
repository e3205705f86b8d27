//! Replies, in RESP2 or RESP3 as the client asked for in HELLO.

/// Writes replies behind one another.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) is_resp3: bool,
}

impl Reply<'_> {
    pub(crate) fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    pub(crate) fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error: a word in capitals and what it is about. Line ends in it become spaces.
    pub(crate) fn error(&mut self, text: &str) {
        let start = self.out.len();
        self.line(b'-', text.as_bytes());
        let end = self.out.len() - 2;
        for byte in &mut self.out[start..end] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    #[inline]
    pub(crate) fn integer(&mut self, number: i64) {
        self.line(b':', itoa::Buffer::new().format(number).as_bytes());
    }

    pub(crate) fn count(&mut self, number: usize) {
        self.integer(number as i64);
    }

    #[inline]
    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    pub(crate) fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Text that a client shows as it is.
    pub(crate) fn verbatim(&mut self, text: &str) {
        if self.is_resp3 {
            self.head(b'=', text.len() + 4);
            self.out.extend_from_slice(b"txt:");
            self.out.extend_from_slice(text.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }

    #[inline]
    pub(crate) fn null(&mut self) {
        self.out.extend_from_slice(if self.is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub(crate) fn null_array(&mut self) {
        self.out.extend_from_slice(if self.is_resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    pub(crate) fn array(&mut self, len: usize) {
        self.head(b'*', len);
    }

    /// A map of so many pairs, whose keys and values follow.
    pub(crate) fn map(&mut self, pairs: usize) {
        if self.is_resp3 { self.head(b'%', pairs) } else { self.head(b'*', 2 * pairs) }
    }

    pub(crate) fn set(&mut self, len: usize) {
        self.head(if self.is_resp3 { b'~' } else { b'*' }, len);
    }

    #[inline]
    fn head(&mut self, kind: u8, number: usize) {
        self.line(kind, itoa::Buffer::new().format(number).as_bytes());
    }

    #[inline]
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis_protocol::resp2::{decode::decode as decode2, types::OwnedFrame as Frame2};
    use redis_protocol::resp3::{decode::complete::decode as decode3, types::OwnedFrame as Frame3};

    fn written(is_resp3: bool, write: impl FnOnce(&mut Reply<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Reply { out: &mut out, is_resp3 });
        out
    }

    #[test]
    fn a_decoder_of_others_reads_the_replies() {
        let write = |reply: &mut Reply<'_>| {
            reply.array(6);
            reply.ok();
            reply.integer(-7);
            reply.bulk(b"a\r\nb");
            reply.null();
            reply.map(1);
            reply.bulk(b"k");
            reply.set(1);
            reply.count(5);
            reply.error("ERR a\r\nb");
        };
        let bytes = written(false, write);
        let (frame, len) = decode2(&bytes).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        let bulk = |text: &[u8]| Frame2::BulkString(text.to_vec());
        assert_eq!(
            frame,
            Frame2::Array(vec![
                Frame2::SimpleString(b"OK".to_vec()),
                Frame2::Integer(-7),
                bulk(b"a\r\nb"),
                Frame2::Null,
                Frame2::Array(vec![bulk(b"k"), Frame2::Array(vec![Frame2::Integer(5)])]),
                Frame2::Error("ERR a  b".into()),
            ])
        );
        let bytes = written(true, write);
        let (frame, len) = decode3(&bytes).unwrap().unwrap();
        assert_eq!(len, bytes.len());
        let Frame3::Array { data, .. } = frame else { panic!("{frame:?}") };
        assert!(matches!(data[3], Frame3::Null));
        assert!(matches!(&data[4], Frame3::Map { data, .. } if data.len() == 1));
        let bytes = written(true, |reply| reply.verbatim("hello"));
        let (frame, _) = decode3(&bytes).unwrap().unwrap();
        assert!(matches!(frame, Frame3::VerbatimString { data, .. } if data == b"hello"));
    }
}
