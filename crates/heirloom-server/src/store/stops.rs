//! Kills at the fences of the store: a process runs a script of changes over a heap file and kills itself on the way; the next one takes
//! the heap over, compares all that is there with what a plain map says, and goes on to the next place.
//!
//! ```text
//! life n:  take over, compare with the model after k or k + 1 steps -> clear -> the script, each step told -> kill -9 at fence f(n)
//! ```
//!
//! A fence stands wherever the order of two stores counts, so between two of them lies one store that does.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use heirloom::{Heap, Inside, Options};

use super::hash::hash;
use super::item::{Item, Kind};
use super::list::End;
use super::rename::{Name, rename};
use super::scan::Random;
use super::{Locked, Repair, Store};

/// `FENCE:STEPS` and the file of a life: where it is to end, and how many steps the one before has told of.
const ORDER: &str = "HEIRLOOM_TEST_STOP";
const FILE: &str = "HEIRLOOM_TEST_STOP_FILE";

/// Fences until the end.
static LEFT: AtomicI64 = AtomicI64::new(i64::MAX);

/// A fence is passed.
#[inline]
pub(super) fn reached() {
    if LEFT.load(Relaxed) != i64::MAX && LEFT.fetch_sub(1, Relaxed) == 0 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(Vec<u8>, Option<u64>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    List(Vec<Vec<u8>>),
}

type Model = BTreeMap<Vec<u8>, Value>;

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Vec<u8>, Option<u64>),
    Append(Vec<u8>),
    Expire(Vec<u8>, u64),
    Delete(Vec<u8>),
    SetField(Vec<u8>, Vec<u8>, Vec<u8>),
    DeleteField(Vec<u8>, Vec<u8>),
    Push(Vec<u8>, End, Vec<Vec<u8>>),
    Pop(Vec<u8>, End),
    Rename(Vec<u8>, Vec<u8>),
    Clear,
}

/// Growth over the border of a segment, all kinds of change, shrinking; the same for a hash and a list; names; the end of all.
fn script() -> Vec<Step> {
    let mut random = Random::new(19);
    let name = |what: &str, nr: usize| format!("{what} {nr}").into_bytes();
    let value = |random: &mut Random| vec![b'a' + random.below(26) as u8; random.below(80)];
    let end = |random: &mut Random| if random.below(2) == 0 { End::Front } else { End::Back };
    let mut steps = vec![Step::Append(name("key", 0))];
    for nr in 0..560 {
        let deadline = (random.below(4) == 0).then_some(1 << 50);
        steps.push(Step::Set(name("key", nr), value(&mut random), deadline));
    }
    for nr in 0..300 {
        steps.push(Step::SetField(name("hash", nr % 2), name("field", nr / 2), value(&mut random)));
        let key = name("key", random.below(600));
        steps.push(match random.below(5) {
            0 => Step::Append(key),
            1 => Step::Expire(key, (1 << 50) + nr as u64),
            2 => Step::Delete(key),
            _ => Step::Set(key, value(&mut random), None),
        });
        let values = (0..=random.below(3)).map(|_| value(&mut random)).collect();
        steps.push(Step::Push(name("list", nr % 3), end(&mut random), values));
        if nr % 3 == 0 {
            steps.push(Step::Pop(name("list", random.below(3)), end(&mut random)));
        }
        if nr % 10 == 0 {
            steps.push(Step::Rename(name("hash", nr / 10 % 2), name("other", nr % 7)));
            steps.push(Step::Rename(name("other", nr % 7), name("hash", nr / 10 % 2)));
            steps.push(Step::Rename(name("key", nr), name("key", random.below(600))));
            steps.push(Step::Rename(name("list", 0), name("list", 1)));
        }
    }
    // A hash of its own that crosses the border of a segment, and goes.
    steps.extend((0..280).map(|nr| Step::SetField(name("large", 0), name("field", nr), Vec::new())));
    steps.extend((0..280).map(|nr| Step::DeleteField(name("large", 0), name("field", nr))));
    for nr in 0..150 {
        steps.push(Step::DeleteField(name("hash", nr % 2), name("field", nr / 2)));
        steps.push(Step::Pop(name("list", nr % 3), end(&mut random)));
        steps.push(Step::Pop(name("list", nr % 3), end(&mut random)));
    }
    steps.extend((0..520).map(|nr| Step::Delete(name("key", nr))));
    steps.push(Step::Clear);
    steps.push(Step::Set(name("key", 1), value(&mut random), None));
    steps
}

fn imagine(model: &mut Model, step: &Step) {
    match step.clone() {
        Step::Set(key, value, deadline) => drop(model.insert(key, Value::Text(value, deadline))),
        Step::Append(key) => {
            if let Some(Value::Text(value, _)) = model.get_mut(&key) {
                value.extend_from_slice(b"more and more");
            }
        }
        Step::Expire(key, at) => {
            if let Some(Value::Text(_, deadline)) = model.get_mut(&key) {
                *deadline = Some(at);
            }
        }
        Step::Delete(key) => drop(model.remove(&key)),
        Step::SetField(key, field, value) => {
            match model.entry(key).or_insert_with(|| Value::Hash(BTreeMap::new())) {
                Value::Hash(fields) => drop(fields.insert(field, value)),
                other => *other = Value::Hash([(field, value)].into()),
            }
        }
        Step::DeleteField(key, field) => {
            if let Some(Value::Hash(fields)) = model.get_mut(&key) {
                fields.remove(&field);
                if fields.is_empty() {
                    model.remove(&key);
                }
            }
        }
        Step::Push(key, end, values) => {
            if let Value::List(list) = model.entry(key).or_insert(Value::List(Vec::new())) {
                for value in values {
                    list.insert(if end == End::Front { 0 } else { list.len() }, value);
                }
            }
        }
        Step::Pop(key, end) => {
            if let Some(Value::List(list)) = model.get_mut(&key) {
                list.remove(if end == End::Front { 0 } else { list.len() - 1 });
                if list.is_empty() {
                    model.remove(&key);
                }
            }
        }
        Step::Rename(from, to) => {
            if from != to
                && let Some(value) = model.remove(&from)
            {
                model.insert(to, value);
            }
        }
        Step::Clear => model.clear(),
    }
}

struct Life<'a> {
    store: &'a Store,
    inside: &'a Inside<'a>,
}

impl<'a> Life<'a> {
    fn lock(&self, hash: u64) -> Locked<'a> {
        self.store.lock(self.inside, self.store.index_of(hash))
    }

    /// As the commands do it.
    fn act(&self, step: &Step) {
        match step {
            Step::Set(key, value, deadline) => {
                let item = Item::try_text(key, &[value], *deadline).expect("room");
                let mut shard = self.lock(hash(key));
                let place = shard.find(0, hash(key), key, 0);
                drop(shard.put(0, place, hash(key), item).expect("room"));
            }
            Step::Append(key) => self.change(key, |item| {
                if item.text().is_some() {
                    item.try_append(b"more and more").expect("room");
                }
            }),
            Step::Expire(key, at) => self.change(key, |item| {
                if item.text().is_some() {
                    item.set_deadline(Some(*at)).expect("room");
                }
            }),
            Step::Delete(key) => {
                let mut shard = self.lock(hash(key));
                if let Some(place) = shard.find(0, hash(key), key, 0) {
                    drop(shard.remove(0, place));
                }
            }
            Step::SetField(key, field, value) => self.change_inside(Kind::Hash, key, true, |item| {
                let item_of_field = Item::try_text(field, &[value], None).expect("room");
                let table = item.table_mut(Kind::Hash).expect("a hash");
                match table.find(hash(field), field) {
                    Some(place) => drop(table.replace(place, item_of_field)),
                    None => table.insert(hash(field), item_of_field).expect("room"),
                }
            }),
            Step::DeleteField(key, field) => self.change_inside(Kind::Hash, key, false, |item| {
                let table = item.table_mut(Kind::Hash).expect("a hash");
                if let Some(place) = table.find(hash(field), field) {
                    drop(table.remove(place));
                }
            }),
            Step::Push(key, end, values) => self.change_inside(Kind::List, key, true, |item| {
                let list = item.list_mut().expect("a list");
                list.try_push(*end, values.iter().map(Vec::as_slice)).expect("room");
            }),
            Step::Pop(key, end) => self.change_inside(Kind::List, key, false, |item| {
                drop(item.list_mut().expect("a list").pop(*end));
            }),
            Step::Rename(from, to) => self.rename(from, to),
            Step::Clear => self.store.clear(self.inside, Some(0)),
        }
    }

    fn change(&self, key: &[u8], change: impl FnOnce(&mut Item)) {
        let mut shard = self.lock(hash(key));
        if let Some(place) = shard.find(0, hash(key), key, 0) {
            shard.change(0, place, change);
        }
    }

    fn change_inside(&self, kind: Kind, key: &[u8], makes: bool, change: impl FnOnce(&mut Item)) {
        let mut shard = self.lock(hash(key));
        let mut place = shard.find(0, hash(key), key, 0);
        if place.is_none() && makes {
            let item = Item::try_collection(kind, key, None).expect("room");
            drop(shard.put(0, None, hash(key), item).expect("room"));
            place = shard.find(0, hash(key), key, 0);
        }
        if let Some(place) = place {
            shard.change_inside(0, place, hash(key), change);
        }
    }

    fn rename(&self, from: &[u8], to: &[u8]) {
        if from == to {
            return;
        }
        let named = |key| Name { key, hash: hash(key) };
        let (source, target) = (self.store.index_of(hash(from)), self.store.index_of(hash(to)));
        // In the order of their numbers.
        let mut locks = [source.min(target), source.max(target)].map(Some);
        if source == target {
            locks[1] = None;
        }
        let [low, high] = locks.map(|index| index.map(|index| self.store.lock(self.inside, index)));
        let (mut low, mut high) = (low.expect("it is locked"), high);
        let outcome = match &mut high {
            Some(high) if source < target => rename(&mut low, Some(high), 0, (named(from), named(to)), 0),
            Some(high) => rename(high, Some(&mut low), 0, (named(from), named(to)), 0),
            None => rename(&mut low, None, 0, (named(from), named(to)), 0),
        };
        outcome.expect("room");
    }

    /// All that is there; panics where anything is not as it has to be.
    fn look(&self) -> Model {
        let mut found = Model::new();
        for index in 0..self.store.nr_shards() {
            let shard = self.store.lock(self.inside, index);
            let table = shard.table(0);
            table.check();
            assert_eq!(
                shard.bytes(),
                (0..super::NR_DATABASES).map(|nr| shard.table(nr).bytes()).sum::<u64>()
            );
            for item in table.iter() {
                assert_eq!(self.store.index_of(hash(item.key())), index);
                let text = |item: &Item| (item.key().to_vec(), item.value().to_vec());
                let value = match item.kind() {
                    Kind::Text => Value::Text(item.value().to_vec(), item.deadline()),
                    kind @ (Kind::Hash | Kind::Set) => {
                        let fields = item.table(kind).expect("a table");
                        fields.check();
                        Value::Hash(fields.iter().map(text).collect())
                    }
                    Kind::List => {
                        let list = item.list().expect("a list");
                        list.check();
                        Value::List(
                            (0..list.len()).map(|at| list.get(at).expect("it is there").to_vec()).collect(),
                        )
                    }
                };
                found.insert(item.key().to_vec(), value);
            }
        }
        found
    }
}

/// A process of the test. Without an order this is a test that does nothing.
#[test]
fn life() {
    let (Ok(order), Ok(path)) = (std::env::var(ORDER), std::env::var(FILE)) else { return };
    let (fence, told) = order.split_once(':').expect("two numbers");
    let (fence, told): (i64, usize) = (fence.parse().expect("a number"), told.parse().expect("a number"));
    let steps = script();
    let options = Options::new().file(path).size_limit(64 << 20);
    let heap = Heap::inherit_or_create("server-stops", super::keep_shards(options)).expect("a heap");
    let inside = heap.enter();
    let (store, repair) = Store::open(&inside, 2);
    let life = Life { store: &store, inside: &inside };
    assert_eq!(repair, Repair { shards: repair.shards, keys_lost: 0 });
    let found = life.look();
    let mut model = Model::new();
    steps.iter().take(told).for_each(|step| imagine(&mut model, step));
    if found != model {
        let before = model.clone();
        let next = steps.get(told).unwrap_or(&Step::Clear);
        imagine(&mut model, next);
        // To clear is to remove one after the other.
        let is_part =
            matches!(next, Step::Clear) && found.iter().all(|(key, value)| before.get(key) == Some(value));
        if found != model && !is_part {
            for key in before.keys().chain(found.keys()) {
                if before.get(key) != found.get(key) {
                    println!("{}: {:?}, then {:?}", key.escape_ascii(), before.get(key), found.get(key));
                }
            }
            panic!("neither before step {told} nor behind it: {next:?}");
        }
    }
    life.act(&Step::Clear);
    LEFT.store(fence, Relaxed);
    for (nth, step) in steps.iter().enumerate() {
        life.act(step);
        let _ = writeln!(std::io::stdout(), "[step {}]", nth + 1);
    }
    let passed = fence - LEFT.swap(i64::MAX, Relaxed);
    println!("[whole {passed}]");
}

/// Runs a life, and returns the steps it told of and, if it came to its end, the fences on the way.
fn run(path: &str, fence: i64, told: usize) -> (usize, Option<i64>) {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "store::stops::life", "--nocapture", "--test-threads=1"])
        .envs([(ORDER, format!("{fence}:{told}").as_str()), (FILE, path)])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    use std::os::unix::process::ExitStatusExt as _;
    let text = String::from_utf8_lossy(&child.stdout);
    let last = |word: &str| {
        let found = text.rsplit('[').find_map(|rest| rest.strip_prefix(word));
        found.and_then(|rest| rest.split_once(']')).and_then(|(number, _)| number.parse::<i64>().ok())
    };
    let is_as_wanted = child.status.success() || child.status.signal() == Some(9);
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(is_as_wanted, "fence {fence}, behind step {told}: {}\n{text}\n{said}", child.status);
    (last("step ").unwrap_or(0) as usize, last("whole "))
}

fn kill_at(choose: impl Fn(i64, &mut Random) -> Vec<i64>) {
    let file = format!("/dev/shm/heirloom-server-stops-{}", std::process::id());
    let (steps, nr_fences) = run(&file, i64::MAX - 1, 0);
    let nr_fences = nr_fences.expect("it came to its end");
    let seed = 7;
    println!("{steps} steps, {nr_fences} fences, seed {seed}");
    let mut told = steps;
    let mut nr_kills = 0;
    for fence in choose(nr_fences, &mut Random::new(seed)) {
        let (steps, whole) = run(&file, fence, told);
        nr_kills += u32::from(whole.is_none());
        told = steps;
    }
    run(&file, i64::MAX - 1, told);
    println!("{nr_kills} kills, nothing lost");
    let _ = std::fs::remove_file(&file);
    assert!(nr_kills > 50);
}

#[test]
fn a_kill_at_a_fence_loses_nothing() {
    kill_at(|nr, random| (0..150).map(|_| random.below(nr as usize) as i64).collect());
}

#[test]
#[ignore = "takes minutes: every fence"]
fn a_kill_at_any_fence_loses_nothing() {
    kill_at(|nr, _| (0..nr).collect());
}
