//! The smoke run: each target, some tens of thousands of inputs, the same ones every time.
//!
//! `HEIRLOOM_FUZZ_SEED` and `HEIRLOOM_FUZZ_RUNS` choose others. A failure prints the input.

use std::env;
use std::panic;

use heirloom_fuzz::{TARGETS, Target};

const DEFAULT_SEED: u64 = 0x48_45_49_52;
const DEFAULT_RUNS: u64 = 30_000;

/// Numbers that parsers stumble over.
const INTERESTING: [u64; 14] = [
    0,
    1,
    2,
    4,
    9,
    0x7f,
    0xff,
    0x1000,
    0xffff,
    0x7fff_ffff,
    0xffff_fff8,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len());
    match random.below(9) {
        _ if input.is_empty() => input.extend(&seeds[random.below(seeds.len())]),
        0 | 1 => input[at] ^= 1 << random.below(8),
        2 => input[at] = random.next() as u8,
        3 => input.truncate(at),
        // A number of some width, in either byte order.
        4 | 5 => {
            let number = INTERESTING[random.below(INTERESTING.len())].wrapping_add(random.below(3) as u64);
            let width = 1 << random.below(4);
            let mut bytes = number.to_le_bytes()[..width].to_vec();
            if random.below(2) == 0 {
                bytes.reverse();
            }
            let at = at - at % width;
            for (to, from) in input[at..].iter_mut().zip(bytes) {
                *to = from;
            }
        }
        // A piece of itself elsewhere: over what is there, or in between.
        6 | 7 => {
            let size = random.below(64).min(input.len() - at);
            let piece = input[at..at + size].to_vec();
            let to = random.below(input.len());
            let over = if random.below(2) == 0 { 0 } else { size.min(input.len() - to) };
            input.splice(to..to + over, piece);
        }
        // The tail of another seed.
        _ => {
            let other = &seeds[random.below(seeds.len())];
            input.truncate(at);
            input.extend(&other[random.below(other.len())..]);
        }
    }
    input.truncate(1 << 16);
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn smoke(target: &Target) {
    let (seed, runs) =
        (setting("HEIRLOOM_FUZZ_SEED", DEFAULT_SEED), setting("HEIRLOOM_FUZZ_RUNS", DEFAULT_RUNS));
    println!("{}: HEIRLOOM_FUZZ_SEED={seed} HEIRLOOM_FUZZ_RUNS={runs}", target.name);
    let mut random = Random(seed);
    let seeds = (target.seeds)();
    for input in seeds.iter().cloned().chain([Vec::new()]) {
        (target.run)(&input);
    }
    for run in 0..runs.div_ceil(target.cost) {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            mutate(&mut input, &seeds, &mut random);
        }
        if panic::catch_unwind(|| (target.run)(&input)).is_err() {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("target {}, seed {seed}, run {run}, input {hex}", target.name);
        }
    }
}

#[test]
fn every_target_survives_mutated_inputs() {
    for target in TARGETS {
        smoke(target);
    }
}
