//! Requests of a client of `heirloom serve`.

use heirloom_server::protocol::request::{Limits, MAX_ARGUMENTS, Parser};

const LIMITS: Limits = Limits { argument_bytes: 1 << 20, nr_arguments: MAX_ARGUMENTS, is_stranger: false };

/// All requests at the front of `data`, fed in pieces of `step` bytes, and whether an error ended them.
fn read(data: &[u8], step: usize) -> (Vec<Vec<Vec<u8>>>, bool) {
    let (mut parser, mut start, mut found) = (Parser::default(), 0, Vec::new());
    for end in (step..data.len()).step_by(step).chain([data.len()]) {
        while start < end {
            let bytes = &data[start..end];
            match parser.parse(bytes, &LIMITS) {
                Ok(Some(len)) => {
                    assert!((1..=bytes.len()).contains(&len), "it goes on, within what there is");
                    found.push(parser.arguments(bytes).from(0).map(<[u8]>::to_vec).collect());
                    start += len;
                }
                Ok(None) => break,
                Err(_) => return (found, true),
            }
            assert!(parser.memory() <= 64 * data.len() + 4096, "what is announced takes no memory");
        }
    }
    (found, false)
}

/// Reads `data` whole and in pieces: what is found is the same.
pub fn run(data: &[u8]) {
    let whole = read(data, data.len().max(1));
    for step in [1, 7] {
        let pieces = read(data, step);
        assert_eq!(whole, pieces, "in pieces of {step}");
    }
}

/// Requests of both forms.
pub fn seeds() -> Vec<Vec<u8>> {
    let requests: [&[u8]; 5] = [
        b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n",
        b"PING\r\nSET a \"b c\\x41\" 'd'\r\n",
        b"*1\r\n$4\r\nPING\r\n*0\r\n*-1\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
        b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$10\r\n0123456789\r\n",
        b"*2\r\n$1000\r\n",
    ];
    requests.map(<[u8]>::to_vec).to_vec()
}
