//! Collections under test: each made from items, read in every way it has, and used further.

use std::fmt::Debug;

use heirloom::sync::Mutex;
use heirloom::{
    BTreeMap, BTreeSet, ByteString, HashMap, HashSet, Heritable, Interner, String, Vec, VecDeque,
};

/// A value of several words that owns a block: a torn one, and one that is owned twice, shows.
#[derive(Heritable, Debug, Clone, PartialEq)]
#[repr(C)]
pub(crate) struct Record {
    pub(crate) key: u64,
    text: String,
    version: u64,
}

impl Record {
    pub(crate) fn new(key: u64, version: u64) -> Self {
        Self { key, text: String::from(Self::text(key, version).as_str()), version }
    }

    fn text(key: u64, version: u64) -> std::string::String {
        format!("the text of {key} in version {version}, in a block of its own")
    }

    fn item(&self) -> Result<Item, std::string::String> {
        // Before it is read: of a torn one not even the length is to be believed.
        let is_whole = self.text.len() < 80 && *self.text == *Self::text(self.key, self.version);
        if is_whole { Ok((self.key, self.version)) } else { Err(format!("a torn record of {}", self.key)) }
    }
}

/// What a test says of an element: which one, in which version.
pub(crate) type Item = (u64, u64);
pub(crate) type Items = std::vec::Vec<Item>;
pub(crate) type Look = Result<Items, std::string::String>;

/// A collection under test.
pub(crate) trait Subject: Heritable + Default + Send + 'static {
    fn root() -> &'static heirloom::root::Root<Mutex<Self>>;

    /// Items that are used on, behind a kill.
    fn more() -> Items {
        (640..660).map(|key| (key, 1)).collect()
    }

    /// Whether items stay in the order in which they came.
    const IS_SEQUENCE: bool = false;

    fn add(&mut self, items: &[Item]);

    fn fill(&mut self, items: &[Item]) {
        self.add(items);
    }

    /// Reads all of it in every way that there is, and compares what they say. In the order of the collection, if it has one, else by key.
    fn read(&self) -> Look;
}

/// Values of maps.
pub(crate) trait Value: Heritable + Send {
    fn new(key: u64, version: u64) -> Self;
    fn version(&self, key: u64) -> Result<u64, std::string::String>;
}

impl Value for Record {
    fn new(key: u64, version: u64) -> Self {
        Self::new(key, version)
    }

    fn version(&self, key: u64) -> Result<u64, std::string::String> {
        let (found, version) = self.item()?;
        if found == key { Ok(version) } else { Err(format!("{key} leads to {found}")) }
    }
}

impl Value for u64 {
    fn new(_key: u64, version: u64) -> Self {
        version
    }

    fn version(&self, _key: u64) -> Result<u64, std::string::String> {
        Ok(*self)
    }
}

/// Two words that belong together.
impl Value for [u64; 2] {
    fn new(key: u64, version: u64) -> Self {
        [version, version ^ key]
    }

    fn version(&self, key: u64) -> Result<u64, std::string::String> {
        if self[0] ^ self[1] == key { Ok(self[0]) } else { Err(format!("a torn pair of {key}")) }
    }
}

fn ensure(is_so: bool, what: impl FnOnce() -> std::string::String) -> Result<(), std::string::String> {
    if is_so { Ok(()) } else { Err(what()) }
}

/// The two must agree.
fn same<T: PartialEq + Debug>(one: &T, other: &T, what: &str) -> Result<(), std::string::String> {
    ensure(one == other, || format!("{what}: {one:?} and {other:?}"))
}

/// Keys that may be there, and some that never are.
const KEYS: u64 = 700;

/// Keys of hash maps.
pub(crate) trait Key: Heritable + Eq + std::hash::Hash + Send {
    fn of(nr: u64) -> Self;
    fn nr(&self) -> u64;
}

impl Key for u64 {
    fn of(nr: u64) -> Self {
        nr
    }

    fn nr(&self) -> u64 {
        *self
    }
}

/// A key that shares its hash with all others of its crowd, which is in the upper half: their table is full of tombstones soon.
#[derive(Heritable, Clone, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Crowded(pub(crate) u64);

impl std::hash::Hash for Crowded {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 >> 32);
    }
}

impl Key for Crowded {
    fn of(nr: u64) -> Self {
        Self(nr)
    }

    fn nr(&self) -> u64 {
        self.0
    }
}

macro_rules! hash_maps {
    ($($key:ty, $value:ty: $name:literal;)*) => {$(
        impl Subject for HashMap<$key, $value> {
            fn root() -> &'static heirloom::root::Root<Mutex<Self>> {
                heirloom::root! { static ROOT: Mutex<HashMap<$key, $value>> = $name; }
                &ROOT
            }

            fn add(&mut self, items: &[Item]) {
                items.iter().for_each(|&(key, version)| { self.insert(Key::of(key), Value::new(key, version)); });
            }

            fn read(&self) -> Look {
                let mut items = Items::new();
                for key in 0..KEYS {
                    if let Some(value) = self.get::<$key>(&Key::of(key)) {
                        items.push((key, value.version(key)?));
                    }
                }
                let walked = self.iter().map(|(key, value)| Ok((key.nr(), value.version(key.nr())?)));
                let mut walked = walked.collect::<Look>()?;
                walked.sort_unstable();
                same(&items, &walked, "looked up and walked")?;
                same(&self.len(), &items.len(), "counted and found")?;
                Ok(items)
            }
        }
    )*};
}

hash_maps! {
    u64, Record: "hash map";
    u64, u64: "hash map of words";
    u64, [u64; 2]: "hash map of pairs";
    Crowded, Record: "hash map of tombstones";
}

macro_rules! tree_maps {
    ($($value:ty: $tree:literal;)*) => {$(
        impl Subject for BTreeMap<u64, $value> {
            fn root() -> &'static heirloom::root::Root<Mutex<Self>> {
                heirloom::root! { static ROOT: Mutex<BTreeMap<u64, $value>> = $tree; }
                &ROOT
            }

            fn add(&mut self, items: &[Item]) {
                items.iter().for_each(|&(key, version)| { self.insert(key, Value::new(key, version)); });
            }

            fn read(&self) -> Look {
                let mut items = Items::new();
                for key in 0..KEYS {
                    if let Some(value) = self.get(&key) {
                        items.push((key, value.version(key)?));
                    }
                }
                let walked = self.iter().map(|(&key, value)| Ok((key, value.version(key)?))).collect::<Look>()?;
                same(&items, &walked, "looked up and walked")?;
                let back = self.iter().rev().map(|(&key, value)| Ok((key, value.version(key)?))).collect::<Look>()?;
                same(&items, &back.into_iter().rev().collect(), "looked up and walked backwards")?;
                same(&self.len(), &items.len(), "counted and found")?;
                Ok(items)
            }
        }
    )*};
}

tree_maps! {
    Record: "tree map";
    u64: "tree map of words";
}

macro_rules! text_sets {
    ($($set:ty: $name:literal;)*) => {$(
        impl Subject for $set {
            fn root() -> &'static heirloom::root::Root<Mutex<Self>> {
                heirloom::root! { static ROOT: Mutex<$set> = $name; }
                &ROOT
            }

            fn more() -> Items {
                (640..660).map(|key| (key, 0)).collect()
            }

            fn add(&mut self, items: &[Item]) {
                items.iter().for_each(|&(key, _)| {
                    self.insert(text(key));
                });
            }

            fn read(&self) -> Look {
                let items: Items = (0..KEYS).filter(|&key| self.contains(&*text(key))).map(|key| (key, 0)).collect();
                let mut walked: std::vec::Vec<&str> = self.iter().map(|text| &**text).collect();
                walked.sort_unstable();
                let mut wanted: std::vec::Vec<String> = items.iter().map(|&(key, _)| text(key)).collect();
                wanted.sort_unstable();
                ensure(
                    walked.iter().eq(wanted.iter().map(|text| &**text).collect::<std::vec::Vec<_>>().iter()),
                    || format!("looked up and walked: {} and {}", wanted.len(), walked.len()),
                )?;
                same(&self.len(), &items.len(), "counted and found")?;
                Ok(items)
            }
        }
    )*};
}

text_sets! {
    HashSet<String>: "hash set";
    BTreeSet<String>: "tree set";
}

pub(crate) fn text(key: u64) -> String {
    String::from(format!("a text that does not fit in line, of {key:05}").as_str())
}

impl Subject for Vec<Record> {
    fn root() -> &'static heirloom::root::Root<Mutex<Self>> {
        heirloom::root! { static ROOT: Mutex<Vec<Record>> = "vector"; }
        &ROOT
    }

    const IS_SEQUENCE: bool = true;

    fn add(&mut self, items: &[Item]) {
        items.iter().for_each(|&(key, version)| self.push(Record::new(key, version)));
    }

    fn read(&self) -> Look {
        ensure(self.len() <= self.capacity(), || "longer than its room".to_owned())?;
        self.iter().map(Record::item).collect()
    }
}

impl Subject for VecDeque<Record> {
    fn root() -> &'static heirloom::root::Root<Mutex<Self>> {
        heirloom::root! { static ROOT: Mutex<VecDeque<Record>> = "deque"; }
        &ROOT
    }

    const IS_SEQUENCE: bool = true;

    fn add(&mut self, items: &[Item]) {
        items.iter().for_each(|&(key, version)| self.push_back(Record::new(key, version)));
    }

    /// Half of it around the end of the block.
    fn fill(&mut self, items: &[Item]) {
        let (front, back) = items.split_at(items.len() / 2);
        back.iter().for_each(|&(key, version)| self.push_back(Record::new(key, version)));
        front.iter().rev().for_each(|&(key, version)| self.push_front(Record::new(key, version)));
    }

    fn read(&self) -> Look {
        ensure(self.len() <= self.capacity(), || "longer than its room".to_owned())?;
        let items = self.iter().map(Record::item).collect::<Look>()?;
        let asked = (0..self.len()).map(|nr| self[nr].item()).collect::<Look>()?;
        same(&items, &asked, "walked and asked for")?;
        Ok(items)
    }
}

/// Items are bytes: one is repeated as often as its key says.
impl Subject for ByteString {
    fn root() -> &'static heirloom::root::Root<Mutex<Self>> {
        heirloom::root! { static ROOT: Mutex<ByteString> = "bytes"; }
        &ROOT
    }

    const IS_SEQUENCE: bool = true;

    fn more() -> Items {
        vec![(5, 200), (40, 201)]
    }

    fn add(&mut self, items: &[Item]) {
        items.iter().for_each(|&(times, byte)| (0..times).for_each(|_| self.push(byte as u8)));
    }

    fn read(&self) -> Look {
        ensure(self.len() <= self.capacity(), || "longer than its room".to_owned())?;
        let runs = self.chunk_by(|one, other| one == other);
        Ok(runs.map(|run| (run.len() as u64, run[0].into())).collect())
    }
}

impl Subject for Interner {
    fn root() -> &'static heirloom::root::Root<Mutex<Self>> {
        heirloom::root! { static ROOT: Mutex<Interner> = "interner"; }
        &ROOT
    }

    fn more() -> Items {
        (640..660).map(|key| (key, 0)).collect()
    }

    fn add(&mut self, items: &[Item]) {
        items.iter().for_each(|&(key, _)| {
            self.intern(&text(key));
        });
    }

    fn read(&self) -> Look {
        let mut items = Items::new();
        for key in 0..KEYS {
            if let Some(symbol) = self.get(&text(key)) {
                same(&self.resolve(symbol), &Some(&*text(key)), "a handle and its text")?;
                items.push((key, 0));
            }
        }
        same(&self.len(), &items.len(), "counted and found")?;
        Ok(items)
    }
}
