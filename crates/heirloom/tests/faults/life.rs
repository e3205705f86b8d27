//! One generation of the program that is killed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heirloom::sync::Mutex;
use heirloom::{Channel, Command, HashMap, Heap, Heritable, Options, Origin, String, Vec};

/// `old`, `next`, or `start`.
pub(crate) const ROLE: &str = "HEIRLOOM_FAULTS_ROLE";
/// `Spawn`, `Exec`, `Socket`, `Crash`.
pub(crate) const WAY: &str = "HEIRLOOM_FAULTS_WAY";
/// `None`, `File`, `Keeper`.
pub(crate) const STORE: &str = "HEIRLOOM_FAULTS_STORE";
/// The directory of this run: `log`, `heap`, `socket`, `stop`.
pub(crate) const DIR: &str = "HEIRLOOM_FAULTS_DIR";

pub(crate) const NR: u64 = 400;
const LUGGAGE: [&str; 3] = ["one", "two", "three"];

#[derive(Heritable)]
#[repr(C)]
struct Item {
    nr: u64,
    text: String,
    numbers: Vec<u64>,
}

impl Item {
    fn new(nr: u64) -> Self {
        let mut numbers = Vec::new();
        numbers.extend(nr..nr + nr % 7);
        Self { nr, text: String::from(format!("item {nr}").as_str()), numbers }
    }

    fn is_whole(&self, nr: u64) -> bool {
        self.nr == nr
            && self.text.as_str() == format!("item {nr}")
            && self.numbers.iter().copied().eq(nr..nr + nr % 7)
    }
}

heirloom::root! {
    static ITEMS: Mutex<HashMap<u64, Item>> = "items";
    static IS_FULL: Mutex<u64> = "is full";
}

fn variable(name: &str) -> std::string::String {
    std::env::var(name).unwrap_or_default()
}

fn dir() -> PathBuf {
    variable(DIR).into()
}

/// One write, so that lines of two processes stay apart.
fn log(line: &str) {
    let file = fs::OpenOptions::new().append(true).create(true).open(dir().join("log"));
    let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
}

fn me() -> u32 {
    std::process::id()
}

pub(crate) fn live() -> ! {
    let way = variable(WAY);
    let mut options = Options::new().size_limit(64 << 20).block_size(256 << 10);
    match &*variable(STORE) {
        "File" => options = options.file(dir().join("heap")),
        "Keeper" => options = options.keeper(true),
        _ => {}
    }
    if way == "Socket" {
        options = options.ask(dir().join("socket"));
    }
    let name = dir().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let heap = match Heap::inherit_or_create(&name, options) {
        Ok(heap) => heap,
        Err(error) => {
            log(&format!("refused {} {error}", me()));
            std::process::exit(1);
        }
    };
    if let Err(fault) = look(&heap) {
        log(&format!("broken {} {fault}", me()));
        std::process::exit(1);
    }
    let came = heap.channel().map_or_else(|| "new".to_owned(), |channel| format!("{channel:?}"));
    log(&format!("own {} {} {came}", me(), heap.generation()));
    if variable(ROLE) == "old" && heap.generation() == 1 {
        let fault = leave(&heap, &way);
        match look(&heap) {
            Ok(()) => log(&format!("kept {} {fault}", me())),
            Err(broken) => log(&format!("broken {} {broken} after {fault}", me())),
        }
    }
    while !dir().join("stop").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(heap);
    log(&format!("closed {}", me()));
    std::process::exit(0)
}

/// Hands over, or dies; comes back with the reason if neither.
fn leave(heap: &Heap, way: &str) -> std::string::String {
    let null = fs::File::open("/dev/null").unwrap();
    let pack = |luggage: &mut heirloom::Luggage| LUGGAGE.iter().try_for_each(|name| luggage.add(name, &null));
    let next = || Command::current_exe().unwrap().env(ROLE, "next");
    let outcome = match way {
        "Spawn" => heap.hand_over_to(next()).at_rest(pack).go(),
        "Exec" => heap.hand_over_to(next()).channel(Channel::Exec).at_rest(pack).go(),
        "Socket" => {
            let listener = heirloom::Listener::bind(dir().join("socket")).unwrap();
            log("listening 0");
            heap.hand_over_at(&listener).ask_timeout(Duration::from_secs(2)).at_rest(pack).go()
        }
        _ => {
            // In the middle of work, with a lock held.
            let inside = heap.enter();
            let mut items = ITEMS.get(&inside).lock();
            items.remove(&0);
            items.insert(0, Item::new(0));
            let _ = std::process::Command::new("kill").args(["-9", &me().to_string()]).status();
            std::thread::sleep(Duration::from_secs(10));
            unreachable!("killed")
        }
    };
    match outcome {
        Ok(never) => match never {},
        Err(error) => error.to_string(),
    }
}

/// Fills the heap the first time; afterwards looks at each object, replaces a few, and checks all records.
fn look(heap: &Heap) -> Result<(), std::string::String> {
    let wrong = |what: std::string::String| Err(what);
    if heap.origin() == Origin::Inherited && heap.channel() != Some(Channel::File) {
        // What the predecessor packed is here once, or was taken by an earlier look.
        let nr = LUGGAGE.iter().filter(|name| heap.take_descriptor(name).is_some()).count();
        let is_living = matches!(heap.channel(), Some(Channel::Spawn | Channel::Exec | Channel::Socket));
        if is_living && nr != LUGGAGE.len() {
            return wrong(format!("{nr} descriptors came along"));
        }
    }
    {
        let inside = heap.enter();
        let mut items = ITEMS.get(&inside).lock();
        let mut is_full = IS_FULL.get(&inside).lock();
        if heap.generation() == 1 && *is_full == 0 {
            for nr in 0..NR {
                items.insert(nr, Item::new(nr));
            }
            *is_full = 1;
        } else if *is_full == 0 {
            // The founder was killed before it came to its work.
            return if items.is_empty() { Ok(()) } else { wrong("half full".to_owned()) };
        }
        if items.len() as u64 != NR {
            return wrong(format!("{} items of {NR}", items.len()));
        }
        for nr in 0..NR {
            if !items.get(&nr).is_some_and(|item| item.is_whole(nr)) {
                return wrong(format!("item {nr} is not whole"));
            }
        }
        for nr in (u64::from(heap.generation()) % 5..NR).step_by(5) {
            items.remove(&nr);
            items.insert(nr, Item::new(nr));
        }
    }
    heap.check().map_err(|broken| broken.to_string())
}

/// A process of this program.
pub(crate) fn command(role: &str, way: &str, store: &str, dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role).env(WAY, way).env(STORE, store).env(DIR, dir);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    command
}
