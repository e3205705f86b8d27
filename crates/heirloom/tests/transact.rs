//! Transactions: all or nothing, at an error, a panic, and a `kill -9` between any two stores.
//!
//! The child is this test again, told by the environment. Its heap is a file on tmpfs. After each kill the next generation finds every
//! transaction whole or not there, and nothing that a transaction had made is lost.
#![expect(unsafe_code, reason = "kills processes, and opens a heap more than once in one")]

mod common;

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Scratch, turn};
use heirloom::foreign::{Image, Target};
use heirloom::sync::Mutex;
use heirloom::{Box, HashMap, Heap, Heritable, Options, String, TransactError, Vec};

const CHILD: &str = "HEIRLOOM_TEST_TRANSACT_CHILD";
const STEP: &str = "HEIRLOOM_TEST_TRANSACT_STEP";

#[derive(Heritable)]
#[repr(C)]
struct Account {
    balance: u64,
    /// Says the balance in words of this length.
    owner: String,
    notes: Vec<Box<u64>>,
}

#[derive(Heritable)]
#[repr(C)]
struct Bank {
    accounts: [Account; 4],
    order: [u32; 4],
    nr_transactions: u64,
    /// The last transactions by their numbers, and how many there were in all by 0.
    ledger: HashMap<u64, String>,
    /// The numbers of some of them: pushed one by one, popped by threes.
    stack: Vec<Box<u64>>,
}

/// Transactions that the ledger has.
const KEPT: u64 = 6;

fn entry(nr: u64) -> String {
    format!("transaction number {nr:08}, or so many in all").as_str().into()
}

/// What is on the stack after so many transactions.
fn stack(nr: u64) -> std::vec::Vec<u64> {
    let mut stack = vec![];
    for nr in 1..=nr {
        stack.push(nr);
        if nr % 4 == 0 {
            stack.truncate(stack.len() - 3);
        }
        // What is left of each four is one: it goes after a while.
        stack.truncate(20);
    }
    stack
}

fn owner(balance: u64) -> String {
    format!("somebody whose account has exactly {balance:08}").as_str().into()
}

impl Default for Bank {
    fn default() -> Self {
        let account = |_| Account { balance: 1000, owner: owner(1000), notes: notes(1000) };
        let mut ledger = HashMap::new();
        ledger.insert(0, entry(0));
        let accounts = std::array::from_fn(account);
        Self { accounts, order: [0, 1, 2, 3], nr_transactions: 0, ledger, stack: Vec::new() }
    }
}

fn notes(balance: u64) -> Vec<Box<u64>> {
    (0..balance % 5).map(|n| Box::new(balance + n)).collect()
}

heirloom::root! { static BANK: Mutex<Bank> = "bank"; }

fn options(path: &Path) -> Options {
    Options::new().file(path).size_limit(64 << 20).block_size(64 << 10)
}

/// Moves money between two accounts, with all that says so.
fn transfer(heap: &Heap, bank: &mut Bank, from: usize, to: usize, amount: u64) -> Result<(), TransactError> {
    let Bank { accounts, order, nr_transactions, ledger, stack } = bank;
    let [from, to] = accounts.get_disjoint_mut([from, to]).unwrap();
    let (one, other) = order.split_at_mut(2);
    heap.transact(|tx| {
        let amount = amount.min(from.balance);
        let (less, more) = (from.balance - amount, to.balance + amount);
        *tx.change(&mut from.balance)? = less;
        tx.set(&mut from.owner, owner(less))?;
        tx.set(&mut from.notes, notes(less))?;
        *tx.change(&mut to.balance)? = more;
        tx.set(&mut to.owner, owner(more))?;
        tx.set(&mut to.notes, notes(more))?;
        tx.swap(&mut one[0], &mut other[1])?;
        let nr = tx.change(nr_transactions)?;
        *nr += 1;
        let mut ledger = tx.map(ledger, 1)?;
        assert!(ledger.insert(0, entry(*nr))?);
        // Before the insertion, which may then take its bucket.
        let oldest = nr.checked_sub(KEPT).filter(|&oldest| oldest > 0);
        assert_eq!(ledger.remove(&oldest.unwrap_or(u64::MAX))?, oldest.is_some());
        assert!(!ledger.insert(*nr, entry(*nr))?);
        assert_eq!(ledger.get(nr), Some(&entry(*nr)));
        let mut stack = tx.vec(stack, 1)?;
        stack.push(Box::new(*nr))?;
        for _ in 0..if nr.is_multiple_of(4) { 3 } else { 0 } {
            assert!(stack.pop()?);
        }
        while stack.len() > 20 {
            assert!(stack.pop()?);
        }
        Ok(())
    })
}

fn check(bank: &Bank) -> Result<(), std::string::String> {
    let sum: u64 = bank.accounts.iter().map(|account| account.balance).sum();
    let mut order = bank.order;
    order.sort_unstable();
    if sum != 4000 || order != [0, 1, 2, 3] {
        return Err(format!("the balances sum up to {sum}, the order is {:?}", bank.order));
    }
    let swapped = if bank.nr_transactions.is_multiple_of(2) { [0, 1, 2, 3] } else { [3, 1, 2, 0] };
    if bank.order != swapped {
        return Err(format!("the order is {:?} after {} transactions", bank.order, bank.nr_transactions));
    }
    let nr = bank.nr_transactions;
    let kept = nr.saturating_sub(KEPT) + 1..=nr;
    let has = |nr: &u64, of: u64| bank.ledger.get(nr).is_some_and(|text| *text == entry(of));
    if !has(&0, nr) || bank.ledger.len() as u64 != 1 + nr.min(KEPT) || !kept.clone().all(|nr| has(&nr, nr)) {
        return Err(format!("the ledger has {:?} after {nr} transactions", bank.ledger));
    }
    if !bank.stack.iter().map(|nr| **nr).eq(stack(nr)) {
        return Err(format!("the stack is {:?} after {nr} transactions", bank.stack));
    }
    for account in &bank.accounts {
        let notes_are =
            account.notes.iter().map(|note| **note).eq(notes(account.balance).iter().map(|note| **note));
        if account.owner != owner(account.balance).as_str() || !notes_are {
            return Err(format!("an account of {} is half changed: {:?}", account.balance, account.owner));
        }
    }
    Ok(())
}

#[test]
fn an_error_and_a_panic_change_nothing() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let path = Scratch::new("transact");
    let heap = Heap::inherit_or_create("bank", options(&path.0)).unwrap();
    {
        let inside = heap.enter();
        let mut bank = BANK.get(&inside).lock();
        transfer(&heap, &mut bank, 0, 1, 300).unwrap();
        assert_eq!((bank.accounts[0].balance, bank.accounts[1].balance), (700, 1300));
        check(&bank).unwrap();
        let live = |heap: &Heap| heap.stats().faults;
        assert_eq!(live(&heap), 0);
        for panics in [false, true] {
            let Bank { accounts, nr_transactions, ledger, stack, .. } = &mut *bank;
            let [one, two, ..] = accounts;
            let run = AssertUnwindSafe(|| {
                heap.transact(|tx| {
                    *tx.change(nr_transactions)? += 1;
                    tx.set(&mut one.owner, "nobody at all, for the time being, and longer".into())?;
                    tx.swap(&mut one.balance, &mut two.balance)?;
                    tx.set(&mut two.notes, Vec::new())?;
                    let mut ledger = tx.map(ledger, 2)?;
                    assert!(ledger.remove(&0)? && ledger.remove(&1)? && !ledger.remove(&1)?);
                    assert!(!ledger.insert(1, "the same bucket, and another text altogether".into())?);
                    assert!(!ledger.insert(77, "a key that was not there before, with a text".into())?);
                    assert!(ledger.insert(77, "and replaced, by one that is as long as that".into())?);
                    assert!(ledger.remove(&77)? && ledger.len() == 1);
                    let mut stack = tx.vec(stack, 2)?;
                    assert!(stack.pop()? && !stack.pop()?);
                    stack.push(Box::new(5))?;
                    stack.push(Box::new(6))?;
                    assert!(stack.pop()? && stack.len() == 1);
                    // One at a time.
                    assert_eq!(heap.transact(|_| Ok(())), Err(TransactError::Nested));
                    assert!(!panics, "as asked");
                    // A place that is not in the heap could not be undone after a kill.
                    tx.set(std::boxed::Box::leak(std::boxed::Box::new(7u64)), 8)
                })
            });
            match catch_unwind(run) {
                Ok(refused) => assert_eq!(refused, Err(TransactError::Outside)),
                Err(_) => assert!(panics),
            }
            check(&bank).unwrap();
            assert_eq!((bank.accounts[0].balance, bank.nr_transactions), (700, 1));
        }
        // More than one page of diary.
        let mut large: Vec<[u64; 1000]> = (0..20).map(|n| [n; 1000]).collect();
        let refused: Result<(), TransactError> = heap.transact(|tx| {
            for row in &mut large {
                tx.change(row)?.fill(7);
            }
            Err(TransactError::TooLarge(0))
        });
        assert_eq!(refused, Err(TransactError::TooLarge(0)));
        assert!((0..).zip(&large).all(|(n, row)| row.iter().all(|&value| value == n)));
    }
    assert_eq!(heap.check(), Ok(()));
    drop(heap);
    let leaks = Image::open(&Target::File(path.0.clone())).unwrap().leaks().unwrap();
    assert_eq!((leaks.objects, leaks.is_certain()), (0, true), "{leaks:?}");
}

/// Runs until it is killed, be it by itself between two stores.
#[test]
fn child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let heap = Heap::inherit_or_create("bank", options(Path::new(&path))).unwrap();
    let inside = heap.enter();
    let mut bank = BANK.get(&inside).lock();
    // A diary, and the magazines.
    transfer(&heap, &mut bank, 0, 1, 7).unwrap();
    println!("\nready");
    if let Some(step) = std::env::var(STEP).ok().and_then(|step| step.parse::<u64>().ok()) {
        let mut left = step;
        heirloom_slab::set_hook(move || {
            left -= 1;
            if left == 0 {
                // SAFETY: ends this process.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
        });
        transfer(&heap, &mut bank, 1, 2, 13).unwrap();
        println!("done");
        return;
    }
    for n in 0.. {
        let (from, to) = (n % 4, (n / 4 + n + 1) % 4);
        if from != to {
            transfer(&heap, &mut bank, from, to, n as u64 % 90).unwrap();
        }
    }
}

/// Starts a child, and kills it after a while unless it does that itself. False where it came to its end.
fn run_child(path: &Path, step: Option<u64>, after: Duration) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(step) = step {
        command.env(STEP, step.to_string());
    }
    let mut child = command.spawn().unwrap();
    let is_ready =
        BufReader::new(child.stdout.as_mut().unwrap()).lines().any(|line| line.unwrap() == "ready");
    assert!(is_ready, "the child ended before it was ready");
    if step.is_none() {
        std::thread::sleep(after);
        child.kill().unwrap();
    }
    !child.wait().unwrap().success()
}

/// What a kill left: how many objects leaked since the last time, or what is wrong.
fn look(path: &Path) -> Result<u64, std::string::String> {
    // As the next start would find it, without undoing anything.
    let heap = Heap::inherit_or_create("bank", options(path)).map_err(|error| error.to_string())?;
    {
        let inside = heap.enter();
        check(&BANK.get(&inside).lock())?;
    }
    heap.check().map_err(|error| error.to_string())?;
    drop(heap);
    let image = Image::open(&Target::File(path.to_owned())).map_err(|error| error.to_string())?;
    let leaks = image.leaks().map_err(|error| error.to_string())?;
    if !leaks.is_certain() {
        return Err(format!("doubts: {:?}", leaks.doubts));
    }
    // Gives them back, and proves that it was right to.
    // SAFETY: this process holds nothing of the heap while it is closed.
    let reclaiming = unsafe { options(path).reclaim_leaks(true).holds_nothing() };
    let heap = Heap::inherit_or_create("bank", reclaiming).map_err(|error| error.to_string())?;
    let inside = heap.enter();
    check(&BANK.get(&inside).lock())?;
    Ok(leaks.objects)
}

#[test]
fn a_kill_at_any_store_leaves_the_old_or_the_new() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let path = Scratch::new("transact-steps");
    let (mut worst, mut leaked) = (0, 0);
    let mut step = 1;
    while run_child(&path.0, Some(step), Duration::ZERO) {
        let lost = look(&path.0).unwrap_or_else(|error| panic!("killed at step {step}: {error}"));
        worst = worst.max(lost);
        leaked += lost;
        // The steps of the allocator are many; each of ours is one of them.
        step += 1 + step / 64;
    }
    println!("{step} steps; {leaked} objects were in a thread's hands, at most {worst} at once");
    assert!(step > 50, "the hook was not called");
    // Values that were made and not set yet, or replaced and not dropped yet: those of one transaction.
    assert!(worst <= 24, "{worst} objects leaked at once");
}

#[test]
fn random_kills_leave_every_transaction_whole() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let _turn = turn();
    let path = Scratch::new("transact-kills");
    let kills = std::env::var("HEIRLOOM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(40);
    let mut random = u64::from(std::process::id()) << 20 | 0x1234_5678_9abc;
    println!("seed {random}");
    let mut leaked = 0;
    for kill in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        run_child(&path.0, None, Duration::from_micros(300 + random % 5000));
        leaked += look(&path.0).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
    }
    println!("{kills} kills: every transaction whole; {leaked} objects were in the thread's hands");
}
