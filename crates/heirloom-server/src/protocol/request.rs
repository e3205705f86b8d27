//! Requests: `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`, or the line `GET k\r\n`.
//!
//! ```text
//! *2\r\n $3\r\n GET\r\n $1\r\n k\r\n        spans: 8..11, 17..18
//!               ^-^            ^
//! ```
//!
//! The parser looks at every byte once: where the bytes end in the middle of a request it remembers how far it came. It believes no
//! length before the bytes are there, so what a client announces takes no memory.

use super::number::parse_i64;

/// The most arguments of a request.
pub const MAX_ARGUMENTS: usize = 1 << 20;

/// The longest inline request, and the longest line with a length.
pub const MAX_LINE: usize = 64 << 10;

/// The longest request.
pub const MAX_REQUEST: usize = 1 << 30;

/// What a request may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the longest argument.
    pub argument_bytes: usize,
    /// The most arguments.
    pub nr_arguments: usize,
    /// Whether the client has yet to give the password: errors say so.
    pub is_stranger: bool,
}

impl Limits {
    /// What a client may send that has not given the password.
    pub const STRANGER: Self = Self { argument_bytes: 16 << 10, nr_arguments: 10, is_stranger: true };
}

/// Bytes that are no request; the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The number of arguments is no number, or too large.
    #[error("Protocol error: invalid multibulk length")]
    Arguments,
    /// As above, before the password.
    #[error("Protocol error: unauthenticated multibulk length")]
    StrangerArguments,
    /// The length of an argument is no number, or too large.
    #[error("Protocol error: invalid bulk length")]
    Length,
    /// As above, before the password.
    #[error("Protocol error: unauthenticated bulk length")]
    StrangerLength,
    /// An argument does not start with a length.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0).escape_default())]
    NoLength(u8),
    /// An inline request does not end.
    #[error("Protocol error: too big inline request")]
    Inline,
    /// A length does not end.
    #[error("Protocol error: too big count string")]
    Count,
    /// A quote is open at the end of an inline request.
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    /// The request is longer than any may be.
    #[error("Protocol error: too big request")]
    Request,
}

/// Reads requests.
#[derive(Debug, Default)]
pub struct Parser {
    spans: Vec<(u32, u32)>,
    /// How far the request has been read.
    at: usize,
    /// Arguments that are still to come; 0 before the request's first line.
    left: usize,
    /// Bytes of the argument that has begun.
    argument: Option<usize>,
    /// An inline request's arguments without quotes; empty for others.
    inline: Vec<u8>,
    is_inline: bool,
}

/// The arguments of a request, the command's name first.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    spans: &'a [(u32, u32)],
}

impl<'a> Arguments<'a> {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none, not even a name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// One of them; empty where there is none.
    #[inline]
    pub fn get(&self, index: usize) -> &'a [u8] {
        match self.spans.get(index) {
            Some(&(start, end)) => &self.bytes[start as usize..end as usize],
            None => &[],
        }
    }

    /// Those from `first` on.
    pub fn from(&self, first: usize) -> impl Iterator<Item = &'a [u8]> + Clone {
        let bytes = self.bytes;
        self.spans.iter().skip(first).map(move |&(start, end)| &bytes[start as usize..end as usize])
    }
}

impl Parser {
    /// Reads the request at the front of `bytes`, which are those of the last call and more, unless that one found a request.
    /// Returns its length if it is complete; [`Parser::arguments`] then tells what it says.
    ///
    /// # Errors
    ///
    /// [`RequestError`]: no byte that follows can be understood.
    #[inline]
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        if self.left == 0 {
            self.spans.clear();
            self.is_inline = false;
            match bytes.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.parse_inline(bytes),
            }
            let Some((line, next)) = self.line(bytes, 1)? else { return Ok(None) };
            let nr = parse_i64(line).ok_or(RequestError::Arguments)?;
            if nr > 0 && nr as u64 > limits.nr_arguments as u64 {
                let stranger = limits.is_stranger && nr as u64 <= MAX_ARGUMENTS as u64;
                return Err(if stranger { RequestError::StrangerArguments } else { RequestError::Arguments });
            }
            if nr <= 0 {
                self.at = 0;
                return Ok(Some(next));
            }
            (self.left, self.at) = (nr as usize, next);
        }
        while self.left > 0 {
            let len = match self.argument {
                Some(len) => len,
                None => match self.parse_length(bytes, limits)? {
                    Some(len) => len,
                    None => return Ok(None),
                },
            };
            let end = self.at + len;
            // The line end behind it is not looked at, as in Redis.
            if bytes.len() < end + 2 {
                return if end + 2 > MAX_REQUEST { Err(RequestError::Request) } else { Ok(None) };
            }
            self.spans.push((self.at as u32, end as u32));
            self.at = end + 2;
            self.argument = None;
            self.left -= 1;
        }
        Ok(Some(std::mem::take(&mut self.at)))
    }

    /// What the request says that [`Parser::parse`] found at the front of `bytes`.
    #[inline]
    pub fn arguments<'a>(&'a self, bytes: &'a [u8]) -> Arguments<'a> {
        Arguments { bytes: if self.is_inline { &self.inline } else { bytes }, spans: &self.spans }
    }

    /// Bytes that the request needs in all, as far as is known: a hint for the size of the next read.
    pub fn wanted(&self) -> usize {
        self.argument.map_or(0, |len| self.at + len + 2)
    }

    /// Whether a request has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.left > 0
    }

    /// Gives back what an unusually long request has needed.
    pub fn shrink(&mut self) {
        if self.spans.capacity() > 1024 && self.left == 0 {
            self.spans = Vec::new();
            self.inline = Vec::new();
        }
    }

    /// Bytes of the parser's own memory.
    pub fn memory(&self) -> usize {
        self.spans.capacity() * size_of::<(u32, u32)>() + self.inline.capacity()
    }

    #[inline]
    fn parse_length(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        match bytes.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(RequestError::NoLength(other)),
        }
        let Some((line, next)) = self.line(bytes, self.at + 1)? else { return Ok(None) };
        let len = parse_i64(line).ok_or(RequestError::Length)?;
        let len = usize::try_from(len).map_err(|_| RequestError::Length)?;
        if len > limits.argument_bytes {
            return Err(if limits.is_stranger { RequestError::StrangerLength } else { RequestError::Length });
        }
        self.at = next;
        self.argument = Some(len);
        Ok(Some(len))
    }

    /// The line that starts at `from`, without its end, and where the next one starts.
    #[inline]
    fn line<'a>(&self, bytes: &'a [u8], from: usize) -> Result<Option<(&'a [u8], usize)>, RequestError> {
        let rest = &bytes[from..];
        match rest.iter().take(MAX_LINE).position(|&byte| byte == b'\r') {
            Some(at) if at + 1 < rest.len() => Ok(Some((&rest[..at], from + at + 2))),
            None if rest.len() >= MAX_LINE => Err(RequestError::Count),
            _ => Ok(None),
        }
    }

    #[cold]
    fn parse_inline(&mut self, bytes: &[u8]) -> Result<Option<usize>, RequestError> {
        let Some(end) = bytes.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
            return if bytes.len() >= MAX_LINE { Err(RequestError::Inline) } else { Ok(None) };
        };
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        self.is_inline = true;
        self.inline.clear();
        split_line(line, &mut self.inline, &mut self.spans).ok_or(RequestError::Quotes)?;
        Ok(Some(end + 1))
    }
}

/// Splits a line at spaces, with quotes as a shell has them; `None` where they do not match.
fn split_line(line: &[u8], words: &mut Vec<u8>, spans: &mut Vec<(u32, u32)>) -> Option<()> {
    let mut rest = line.iter().copied().peekable();
    loop {
        while rest.next_if(u8::is_ascii_whitespace).is_some() {}
        if rest.peek().is_none() {
            return Some(());
        }
        let start = words.len() as u32;
        while let Some(byte) = rest.next_if(|byte| !byte.is_ascii_whitespace()) {
            match byte {
                b'"' | b'\'' => {
                    quoted(byte, &mut rest, words)?;
                    // A word ends with its quote.
                    if rest.peek().is_some_and(|next| !next.is_ascii_whitespace()) {
                        return None;
                    }
                }
                _ => words.push(byte),
            }
        }
        spans.push((start, words.len() as u32));
    }
}

fn quoted(quote: u8, rest: &mut impl Iterator<Item = u8>, words: &mut Vec<u8>) -> Option<()> {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    loop {
        let byte = rest.next()?;
        if byte == quote {
            return Some(());
        }
        if byte != b'\\' {
            words.push(byte);
            continue;
        }
        let escaped = rest.next()?;
        match (quote, escaped) {
            (b'\'', b'\'') => words.push(b'\''),
            (b'\'', other) => words.extend([b'\\', other]),
            (_, b'x') => {
                let (high, low) = (rest.next()?, rest.next()?);
                match (hex(high), hex(low)) {
                    (Some(high), Some(low)) => words.push(high << 4 | low),
                    _ => words.extend([b'x', high, low]),
                }
            }
            (_, b'n') => words.push(b'\n'),
            (_, b'r') => words.push(b'\r'),
            (_, b't') => words.push(b'\t'),
            (_, b'a') => words.push(7),
            (_, b'b') => words.push(8),
            (_, other) => words.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { argument_bytes: 1 << 20, nr_arguments: MAX_ARGUMENTS, is_stranger: false };

    /// Feeds `bytes` in pieces of `step` and returns all requests.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<Vec<Vec<u8>>>, RequestError> {
        let (mut parser, mut start, mut found) = (Parser::default(), 0, Vec::new());
        let ends = (step..bytes.len()).step_by(step).chain([bytes.len()]);
        for end in ends {
            while let Some(len) = parser.parse(&bytes[start..end], &LIMITS)? {
                let arguments = parser.arguments(&bytes[start..end]);
                found.push(arguments.from(0).map(<[u8]>::to_vec).collect());
                start += len;
                if start == end {
                    break;
                }
            }
        }
        Ok(found)
    }

    #[test]
    fn requests_are_the_same_in_whatever_pieces_they_come() {
        let bytes =
            b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*0\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n";
        let whole = read(bytes, bytes.len()).unwrap();
        let expected: [&[&[u8]]; 4] = [&[b"GET", b"k"], &[b"PING"], &[], &[b"SET", b"", b"a\r\nb"]];
        assert_eq!(whole, expected);
        for step in 1..bytes.len() {
            assert_eq!(read(bytes, step).unwrap(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn what_redis_protocol_encodes_is_read() {
        use redis_protocol::resp2::{encode::encode, types::OwnedFrame};
        let words: [&[u8]; 3] = [b"SET", b"key\r\n", &[0, 255, 13, 10]];
        let frame = OwnedFrame::Array(words.map(|word| OwnedFrame::BulkString(word.to_vec())).to_vec());
        let mut bytes = vec![0; 256];
        let len = encode(&mut bytes, &frame, false).unwrap();
        assert_eq!(read(&bytes[..len], 3).unwrap(), [words]);
    }

    #[test]
    fn inline_requests_have_quotes_as_a_shell() {
        let words = |line: &[u8]| read(&[line, b"\r\n"].concat(), 5).map(|mut found| found.remove(0));
        assert_eq!(
            words(b" SET  a \"b c\\n\\x41\\\"\" 'd\\'e' ").unwrap(),
            [b"SET".as_slice(), b"a", b"b c\nA\"", b"d'e"]
        );
        assert_eq!(words(b"").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(words(b"SET \"a"), Err(RequestError::Quotes));
        assert_eq!(words(b"SET \"a\"b"), Err(RequestError::Quotes));
    }

    #[test]
    fn what_is_no_request_is_refused_at_once() {
        let cases: [(&[u8], RequestError); 8] = [
            (b"*x\r\n", RequestError::Arguments),
            (b"*1048577\r\n", RequestError::Arguments),
            (b"*99999999999999999999\r\n", RequestError::Arguments),
            (b"*1\r\n:1\r\n", RequestError::NoLength(b':')),
            (b"*1\r\n$-1\r\n", RequestError::Length),
            (b"*1\r\n$1048577\r\n", RequestError::Length),
            (b"*1\r\n$0x1\r\n", RequestError::Length),
            (b"*1\r\n$01\r\n", RequestError::Length),
        ];
        for (bytes, error) in cases {
            assert_eq!(read(bytes, bytes.len()), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(read(&vec![b'a'; MAX_LINE], 1000), Err(RequestError::Inline));
        let endless = [&b"*"[..], &vec![b'1'; MAX_LINE]].concat();
        assert_eq!(read(&endless, 1000), Err(RequestError::Count));
        let mut parser = Parser::default();
        let strangers = |parser: &mut Parser, bytes: &[u8]| parser.parse(bytes, &Limits::STRANGER);
        assert_eq!(strangers(&mut parser, b"*11\r\n"), Err(RequestError::StrangerArguments));
        assert_eq!(strangers(&mut parser, b"*1\r\n$16385\r\n"), Err(RequestError::StrangerLength));
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut parser = Parser::default();
        assert_eq!(parser.parse(b"*1000000\r\n$1048576\r\nabc", &LIMITS), Ok(None));
        assert!(parser.memory() < 1024 && parser.is_inside());
    }
}
