//! One life of a collection, each part of it timed by itself.
//!
//! ```text
//! keys     | make 1,024 of them |== insert them ==| make the next |== insert them ==| ..      == the clock runs
//! ```
//!
//! Keys come hot from outside, as they do from a request that was just read, so what is timed is the collection's own memory.
//! They are scattered, and asked for in another order than they were inserted in. Small collections live many lives in a sample.

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::kinds::{Boxed, Collection, Family, List, Map, Queue, Text};

/// Elements of all lives of a sample together, at least.
const LEAST_OPS: usize = 500_000;
/// Keys that are made at once.
const BATCH: usize = 1024;
/// Bytes of a text: a session's key, say.
const TEXT_BYTES: usize = 20;
/// Bytes of a long one: a line.
const LONG_BYTES: usize = 100;
/// What a growing string gets at once.
const PIECE: &str = "0123456789abcdef";

/// Lives through a collection of `n` elements: nanoseconds of each of its operations.
pub(super) fn sample<F: Family>(collection: Collection, n: usize) -> Vec<f64> {
    let lives = LEAST_OPS.div_ceil(n);
    let mut clock = Clock::default();
    for life in 0..lives {
        clock.nth = 0;
        match collection {
            Collection::MapU64 => map::<F::MapU64, Numbers>(n, life, &mut clock),
            Collection::MapString => map::<F::MapString, Texts<TEXT_BYTES>>(n, life, &mut clock),
            Collection::TreeU64 => map::<F::TreeU64, Numbers>(n, life, &mut clock),
            Collection::TreeString => map::<F::TreeString, Texts<TEXT_BYTES>>(n, life, &mut clock),
            Collection::Vec => list::<F::Vec>(n, &mut clock),
            Collection::Queue => queue::<F::Queue>(n, &mut clock),
            Collection::String => text::<F::String, TEXT_BYTES>(n, &mut clock),
            Collection::StringLong => text::<F::String, LONG_BYTES>(n, &mut clock),
            Collection::Box => boxed::<F::Box>(n, &mut clock),
            Collection::Arc => boxed::<F::Arc>(n, &mut clock),
        }
    }
    let ops = (lives * n) as f64;
    clock.parts.iter().map(|part| part.as_nanos() as f64 / ops).collect()
}

/// The order is that of `Collection::ops`.
fn map<M: Map, K: Keys<Probe = M::Probe>>(n: usize, life: usize, clock: &mut Clock) {
    let names = Names::new(n, life);
    let (mut keys, mut others) = (K::default(), K::default());

    let mut grown = M::default();
    for range in batches(n) {
        keys.make(range.clone().map(|i| names.rising(i)));
        clock.time(|| (0..).zip(range).for_each(|(at, i)| grown.insert(keys.at(at), i as u64)));
    }
    clock.next();

    let mut made = clock.time(|| M::with_capacity(n));
    for range in batches(n) {
        keys.make(range.clone().map(|i| names.rising(i)));
        clock.time(|| (0..).zip(range).for_each(|(at, i)| made.insert(keys.at(at), i as u64)));
    }
    clock.next();

    let (mut sum, mut found) = (0, 0);
    for range in batches(n) {
        keys.make(range.clone().map(|i| names.scattered(i)));
        clock.time(|| (0..range.len()).for_each(|at| sum += grown.get(keys.at(at)).unwrap_or(0)));
    }
    clock.next();
    assert_eq!(sum, (0..n as u64).sum::<u64>(), "every key is there");

    for range in batches(n) {
        keys.make(range.clone().map(|i| names.absent(i)));
        clock.time(|| (0..range.len()).for_each(|at| found += usize::from(grown.get(keys.at(at)).is_some())));
    }
    clock.next();
    assert_eq!(found, 0, "a key that is not there was found");

    assert_eq!(clock.time(|| black_box(&grown).sum()), sum, "a walk comes by every value once");
    clock.next();

    // A steady number of keys, each of them another in the end, as in a cache.
    for range in batches(n) {
        keys.make(range.clone().map(|i| names.scattered(i)));
        others.make(range.clone().map(|i| names.absent(i)));
        clock.time(|| {
            for (at, i) in (0..).zip(range) {
                found += usize::from(made.remove(keys.at(at)).is_some());
                made.insert(others.at(at), i as u64);
            }
        });
    }
    clock.next();

    for range in batches(n) {
        keys.make(range.clone().map(|i| names.absent(names.scatter(i))));
        clock.time(|| {
            (0..range.len()).for_each(|at| found += usize::from(made.remove(keys.at(at)).is_some()))
        });
    }
    clock.next();
    assert_eq!(found, 2 * n, "every key was taken out once");

    clock.time(|| drop(black_box(grown)));
    clock.next();
}

fn list<L: List>(n: usize, clock: &mut Clock) {
    let value = |i: usize| i as u64 * 3;
    let mut grown = L::default();
    clock.time(|| (0..n).for_each(|i| grown.push(black_box(value(i)))));
    clock.next();

    let mut made = clock.time(|| L::with_capacity(n));
    clock.time(|| (0..n).for_each(|i| made.push(black_box(value(i)))));
    drop(made);
    clock.next();

    let mut extended = L::default();
    clock.time(|| extended.extend_with((0..black_box(n)).map(value)));
    assert_eq!(extended.get(n - 1), value(n - 1));
    drop(extended);
    clock.next();

    let pieces: Vec<u64> = (0..64).collect();
    let mut extended = L::default();
    clock.time(|| (0..n).step_by(64).for_each(|i| extended.extend_from_slice(&pieces[..64.min(n - i)])));
    drop(extended);
    clock.next();

    let sum = clock.time(|| black_box(&grown).sum());
    clock.next();

    let names = Names::new(n, 0);
    let mut scattered = 0;
    for range in batches(n) {
        let places: Vec<usize> = range.map(|i| names.scatter(i)).collect();
        clock.time(|| places.iter().for_each(|&place| scattered += grown.get(place)));
    }
    clock.next();
    assert_eq!(sum, scattered, "each value is read once, in any order");

    let copy = clock.time(|| black_box(&grown).clone());
    clock.next();

    let mut popped = 0;
    clock.time(|| {
        while let Some(value) = grown.pop() {
            popped += black_box(value);
        }
    });
    clock.next();
    assert_eq!(sum, popped, "each value is taken once");

    clock.time(|| drop(black_box(copy)));
    clock.next();
}

fn queue<Q: Queue>(n: usize, clock: &mut Clock) {
    let mut queue = Q::default();
    // Half of them at each end, so that the ring goes around the end of its memory.
    clock.time(|| {
        for i in 0..n as u64 {
            if i % 2 == 0 { queue.push_back(black_box(i)) } else { queue.push_front(black_box(i)) }
        }
    });
    clock.next();

    let sum = clock.time(|| black_box(&queue).sum());
    assert_eq!(sum, (0..n as u64).sum::<u64>());
    clock.next();

    let names = Names::new(n, 0);
    let mut scattered = 0;
    for range in batches(n) {
        let places: Vec<usize> = range.map(|i| names.scatter(i)).collect();
        clock.time(|| places.iter().for_each(|&place| scattered += queue.get(place)));
    }
    clock.next();
    assert_eq!(sum, scattered, "each value is read once, in any order");

    // As a queue is used: one out, one in.
    clock.time(|| {
        for _ in 0..n {
            let value = queue.pop_front().unwrap_or(0);
            queue.push_back(black_box(value));
        }
    });
    clock.next();

    let mut popped = 0;
    clock.time(|| {
        while let Some(value) = queue.pop_front() {
            popped += black_box(value);
        }
    });
    clock.next();
    assert_eq!(sum, popped, "each value is taken once");
}

fn text<T: Text, const BYTES: usize>(n: usize, clock: &mut Clock) {
    let (names, mut keys) = (Names::new(n, 0), Texts::<BYTES>::default());
    let (mut all, mut copies): (Vec<T>, Vec<T>) = (room(n, T::default), room(n, T::default));
    for range in batches(n) {
        keys.make(range.clone().map(|i| names.rising(i)));
        clock.time(|| (0..range.len()).for_each(|at| all.push(T::new(keys.at(at)))));
    }
    clock.next();

    let mut grown = T::default();
    clock.time(|| (0..n).for_each(|_| grown.push(black_box('x'))));
    assert_eq!(grown.as_str().len(), n);
    drop(grown);
    clock.next();

    // Of as many bytes again, piece by piece: an operation is a byte, as above.
    let mut grown = T::default();
    clock.time(|| (0..n).step_by(PIECE.len()).for_each(|_| grown.push_str(black_box(PIECE))));
    drop(grown);
    clock.next();

    clock.time(|| copies.extend(all.iter().cloned()));
    clock.next();

    let mut bytes = 0;
    clock.time(|| all.iter().for_each(|text| bytes += usize::from(text.as_str().as_bytes()[BYTES - 1] != 0)));
    assert_eq!(bytes, n);
    clock.next();

    drop(copies);
    clock.time(|| all.clear());
    clock.next();
}

fn boxed<B: Boxed>(n: usize, clock: &mut Clock) {
    let mut all: Vec<Option<B>> = room(n, || None);
    clock.time(|| (0..n).for_each(|i| all.push(Some(B::new([i as u64; 8])))));
    clock.next();

    let sum = clock.time(|| all.iter().flatten().map(Boxed::first).sum::<u64>());
    assert_eq!(sum, (0..n as u64).sum::<u64>());
    clock.next();

    clock.time(|| all.clear());
    clock.next();
}

fn batches(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(BATCH).map(move |from| from..n.min(from + BATCH))
}

/// Adds up what each part of a life takes.
#[derive(Default)]
struct Clock {
    parts: Vec<Duration>,
    nth: usize,
}

impl Clock {
    /// Counts `work` for the current part.
    #[inline(always)]
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = black_box(apart(work));
        let elapsed = start.elapsed();
        if self.nth == self.parts.len() {
            self.parts.push(Duration::ZERO);
        }
        self.parts[self.nth] += elapsed;
        result
    }

    fn next(&mut self) {
        self.nth += 1;
    }
}

/// Does `work` in a function of its own, so that a change to one part of a life does not move the registers and the loops of another.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// An empty vector with room for `n` values in pages that are there: what holds the objects is not what is measured.
fn room<T>(n: usize, nothing: impl FnMut() -> T) -> Vec<T> {
    let mut room = Vec::new();
    room.resize_with(n, nothing);
    room.clear();
    room
}

/// Which numbers keys are made from, and in which order.
struct Names {
    n: usize,
    step: usize,
    from: u64,
}

impl Names {
    fn new(n: usize, life: usize) -> Self {
        // A step that has no divisor in common with `n` comes by every number once; the golden ratio keeps them apart.
        let mut step = (n as f64 * 0.618_034) as usize | 1;
        while gcd(step, n) != 1 {
            step += 2;
        }
        Self { n, step, from: (life as u64) << 40 }
    }

    /// The `i`th key in the order of insertion.
    fn rising(&self, i: usize) -> u64 {
        mix(self.from + i as u64)
    }

    /// The same keys in another order.
    fn scattered(&self, i: usize) -> u64 {
        self.rising(self.scatter(i))
    }

    /// As many other keys.
    fn absent(&self, i: usize) -> u64 {
        mix(self.from + (self.n + i) as u64)
    }

    /// Every number below `n` once.
    fn scatter(&self, i: usize) -> usize {
        ((i + 1) as u128 * self.step as u128 % self.n as u128) as usize
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A permutation of the 64-bit numbers (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// A batch of keys.
trait Keys: Default {
    type Probe: ?Sized;

    /// Replaces the batch.
    fn make(&mut self, numbers: impl Iterator<Item = u64>);
    fn at(&self, nth: usize) -> &Self::Probe;
}

#[derive(Default)]
struct Numbers(Vec<u64>);

impl Keys for Numbers {
    type Probe = u64;

    fn make(&mut self, numbers: impl Iterator<Item = u64>) {
        self.0.clear();
        self.0.extend(numbers);
    }

    #[inline(always)]
    fn at(&self, nth: usize) -> &u64 {
        &self.0[nth]
    }
}

/// Texts of so many bytes each, side by side.
#[derive(Default)]
struct Texts<const BYTES: usize>(String);

impl<const BYTES: usize> Keys for Texts<BYTES> {
    type Probe = str;

    fn make(&mut self, numbers: impl Iterator<Item = u64>) {
        self.0.clear();
        for number in numbers {
            self.0.push_str("key:");
            for nth in (0..BYTES - 4).rev() {
                let digit = (number >> (4 * (nth % 16)) & 15) as u32;
                self.0.push(char::from_digit(digit, 16).expect("below 16"));
            }
        }
    }

    #[inline(always)]
    fn at(&self, nth: usize) -> &str {
        &self.0[nth * BYTES..][..BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{self, Std};
    use super::*;

    #[test]
    fn a_scattered_order_comes_by_every_number_once() {
        for n in [1, 2, 3, 10, 1000, 4096, 9973] {
            let names = Names::new(n, 3);
            let mut seen: Vec<usize> = (0..n).map(|i| names.scatter(i)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n), "{n}");
        }
    }

    #[test]
    fn a_life_has_a_figure_for_each_operation() {
        for collection in kinds::ALL {
            assert_eq!(sample::<Std>(collection, 700).len(), collection.ops().len(), "{collection}");
        }
    }

    #[test]
    fn a_text_key_has_its_length_and_its_number() {
        let mut keys = Texts::<TEXT_BYTES>::default();
        keys.make([0x1234, u64::MAX].into_iter());
        assert_eq!(keys.at(0), "key:0000000000001234");
        assert_eq!(keys.at(1), "key:ffffffffffffffff");
    }
}
