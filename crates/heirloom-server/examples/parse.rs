//! How fast requests are read, beside a general decoder of the protocol: `cargo run --release -p heirloom-server --example parse`.
//!
//! A batch of requests as a client pipelines them lies in one buffer. Each reader goes through it and adds up the lengths of all
//! arguments.

use std::hint::black_box;
use std::time::Instant;

use heirloom_server::protocol::request::{Limits, MAX_ARGUMENTS, Parser};
use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

const BATCH: usize = 16;
const ROUNDS: usize = 20_000;

fn batch(words: &[&str]) -> Vec<u8> {
    let mut one = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| one.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    one.repeat(BATCH).into_bytes()
}

fn ours(bytes: &[u8]) -> usize {
    let limits = Limits { argument_bytes: 1 << 20, nr_arguments: MAX_ARGUMENTS, is_stranger: false };
    let (mut parser, mut at, mut sum) = (Parser::default(), 0, 0);
    while at < bytes.len() {
        let len = parser.parse(&bytes[at..], &limits).expect("requests").expect("whole ones");
        sum += parser.arguments(&bytes[at..]).from(0).map(<[u8]>::len).sum::<usize>();
        at += len;
    }
    sum
}

fn theirs(bytes: &[u8]) -> usize {
    let (mut at, mut sum) = (0, 0);
    while at < bytes.len() {
        let (frame, len) = decode_range(&bytes[at..]).expect("frames").expect("whole ones");
        let RangeFrame::Array(parts) = frame else { panic!("an array") };
        for part in &parts {
            let RangeFrame::BulkString((start, end)) = part else { panic!("a bulk string") };
            sum += end - start;
        }
        at += len;
    }
    sum
}

fn ns_a_request(read: fn(&[u8]) -> usize, bytes: &[u8]) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let began = Instant::now();
        for _ in 0..ROUNDS {
            black_box(read(black_box(bytes)));
        }
        best = best.min(began.elapsed().as_nanos() as f64 / (ROUNDS * BATCH) as f64);
    }
    best
}

fn main() {
    let value = "v".repeat(64);
    let cases = [
        ("GET key", batch(&["GET", "key:000000012345"])),
        ("SET key value", batch(&["SET", "key:000000012345", &value])),
    ];
    println!("{:<14} {:>12} {:>22}", "ns a request", "this parser", "redis-protocol, range");
    for (name, bytes) in &cases {
        assert_eq!(ours(bytes), theirs(bytes));
        println!("{name:<14} {:>12.1} {:>22.1}", ns_a_request(ours, bytes), ns_a_request(theirs, bytes));
    }
}
