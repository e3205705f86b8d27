//! Every way in which a hand-over can go, with a real process on the other side.
//!
//! A test plays the predecessor. Its successor is this test program again, which runs [`role`] alone; the variable
//! [`ROLE`] tells what it does wrong.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use heirloom_abi::heap::{Phase, State};

use super::*;
use crate::backing::tests::{BLOCK, RESERVED, fill};
use crate::backing::{Backing, BackingError};
use crate::command::Command;
use crate::sys::Ended;

const ROLE: &str = "TEST_HEIRLOOM_ROLE";
const ROLE_ARGS: [&str; 4] = ["--exact", "channel::tests::role", "--nocapture", "--test-threads=1"];

/// What the successor leaves in the heap once it owns it.
const SERVED: u8 = 42;

pub(super) struct Fake {
    backing: Backing,
    /// Its threads do not leave it.
    is_busy: bool,
    /// What a program needs beyond the usual, for its conversions.
    pub(super) patience: Duration,
    nr_thawed: AtomicU32,
    nr_reclaimed: AtomicU32,
}

impl Fake {
    pub(super) fn new() -> Self {
        let backing = fill(Backing::create_memfd("fake", RESERVED).unwrap());
        let (nr_thawed, nr_reclaimed) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { backing, is_busy: false, patience: Duration::ZERO, nr_thawed, nr_reclaimed }
    }

    fn state(&self) -> State {
        self.backing.read_header().unwrap().state
    }

    fn set_phase(&self, phase: Phase) {
        let frozen_ns = sys::clock_monotonic_ns();
        self.backing.write_state(&State { phase, frozen_ns, ..self.state() }).unwrap();
    }

    pub(super) fn assert_goes_on(&self, nr_thawed: u32, nr_reclaimed: u32) {
        let state = self.state();
        assert_eq!((state.generation, state.phase, state.owner_pid), (1, Phase::Running, sys::pid()));
        assert_eq!(self.nr_thawed.load(Ordering::SeqCst), nr_thawed, "thawed");
        assert_eq!(self.nr_reclaimed.load(Ordering::SeqCst), nr_reclaimed, "reclaimed");
        assert_eq!(self.backing.mark(), 0);
    }
}

impl Incumbent for Fake {
    fn check_program(&self, _program: &Path) -> Result<Duration, HandOverError> {
        Ok(self.patience)
    }

    fn freeze(&self) -> Result<(), HandOverError> {
        if self.is_busy {
            return Err(HandOverError::UnderWay);
        }
        self.set_phase(Phase::Frozen);
        Ok(())
    }

    fn thaw(&self) {
        self.nr_thawed.fetch_add(1, Ordering::SeqCst);
        self.set_phase(Phase::Running);
    }

    fn backing(&self) -> &Backing {
        &self.backing
    }

    fn reclaim(&self) -> Result<(), HandOverError> {
        self.nr_reclaimed.fetch_add(1, Ordering::SeqCst);
        let mine = State { generation: 1, phase: Phase::Running, owner_pid: sys::pid(), ..self.state() };
        self.backing.write_state(&mine).unwrap();
        Ok(())
    }
}

fn successor(role: &str) -> Command {
    Command::current_exe().unwrap().args(ROLE_ARGS).env(ROLE, role)
}

fn quick() -> ChannelOptions {
    let (ready, ack) = (Duration::from_secs(20), Duration::from_secs(20));
    ChannelOptions { ready, ack, ..ChannelOptions::default() }
}

fn hand_over(
    incumbent: &dyn Incumbent,
    command: &Command,
    channel: Channel,
    options: &ChannelOptions,
) -> Result<Handed, HandOverError> {
    match channel {
        Channel::Exec => exec::Exec(command).hand_over(incumbent, options),
        _ => spawn::Spawn(command).hand_over(incumbent, options),
    }
}

fn attempt(fake: &Fake, role: &str) -> Result<Handed, HandOverError> {
    hand_over(fake, &successor(role), Channel::Spawn, &quick())
}

/// The other side. Without a role this is a test that does nothing.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // The last word may be a number.
    let numbered = role.rsplit_once(' ').and_then(|(role, number)| Some((role, number.parse::<u64>().ok()?)));
    let (role, number) = numbered.unwrap_or((&role, 0));
    match role {
        "end before ready" => sys::exit_now(7),
        "sleep" => sleep_on(),
        "be a predecessor by spawn" => {
            let fake = Fake::new();
            print!("predecessor {} ", sys::pid());
            attempt(&fake, "serve").unwrap().exit();
        }
        "be a predecessor by exec" => be_exec_predecessor(number),
        "be a predecessor that ends slowly" => end_slowly(),
        _ => be_successor(role, number),
    }
}

fn be_successor(role: &str, number: u64) -> ! {
    let incoming = incoming().unwrap().expect("a ticket");
    assert!(super::incoming().unwrap().is_none(), "a second asker gets nothing");
    let socket = || sys::duplicate(incoming.peer_for_tests()).unwrap();
    match role {
        "refuse" => {
            incoming.refuse("sessions: Session.hits: u64 -> u32");
            sys::exit_now(0)
        }
        "close the connection" => {
            drop(incoming);
            sleep_on();
        }
        "send something foreign" => {
            sys::send(socket().as_fd(), &vec![0x55; number as usize]).unwrap();
            sleep_on();
        }
        "flood" => {
            let socket = socket();
            let id = incoming.heap_id();
            while message::Message::Ready.send(socket.as_fd(), id).is_ok() {}
            sleep_on();
        }
        _ => {}
    }
    if role == "outlive a slow end" {
        outlive(&incoming);
    }
    let (backing, header) = match Backing::adopt_fd(incoming.take_fd().unwrap()) {
        Ok(adopted) => adopted,
        Err(error) => {
            incoming.refuse(&error.to_string());
            sys::exit_now(9)
        }
    };
    assert_eq!(header.identity.id, incoming.heap_id());
    if role == "find the address taken once" && std::env::var_os("HEIRLOOM_HANDOVER_AGAIN").is_none() {
        // The predecessor mapped it there, so only something of this process can be in the way.
        let base = backing.base();
        drop(backing);
        let blocker = sys::memfd_create("blocker").unwrap();
        sys::map_shared_at(blocker.as_fd(), base.addr().get() as u64, 4096).unwrap();
        let refused = Backing::adopt_fd(incoming.take_fd().unwrap()).err().unwrap();
        assert!(matches!(refused, BackingError::AddressTaken { .. }));
        panic!("{}", reexec_self_for_address(Some(&incoming), None));
    }
    incoming.wait_for_freeze(Duration::from_secs(20)).unwrap();
    match role {
        "end when frozen" => sys::exit_now(8),
        "sleep when frozen" => sleep_on(),
        _ => {}
    }
    let frozen = backing.read_header().unwrap().state;
    assert_eq!(frozen.phase, Phase::Frozen);
    let claimed = State {
        generation: frozen.generation + 1,
        phase: Phase::Running,
        owner_pid: sys::pid(),
        previous_channel: incoming.channel().number(),
        helper_pid: incoming.helper(),
        ..frozen
    };
    backing.write_state(&claimed).unwrap();
    match role {
        "end when claimed" => std::process::abort(),
        "sleep when claimed" => sleep_on(),
        "refuse when claimed" => {
            incoming.refuse("thought better of it");
            sleep_on();
        }
        "acknowledge late" => std::thread::sleep(Duration::from_micros(number)),
        _ => {}
    }
    let (channel, helper) = (incoming.channel(), incoming.helper());
    let (lost_ns, switched) = (sys::clock_monotonic_ns() - frozen.frozen_ns, incoming.predecessor());
    if incoming.acknowledge().is_err() {
        sleep_on();
    }
    backing.set_mark(SERVED);
    let gone = wait_until(|| helper == 0 || sys::start_ticks(helper).is_none());
    let me = sys::pid();
    println!(
        "successor {me} of {switched} by {channel:?}: {} us, helper {helper} gone {gone}",
        lost_ns / 1000
    );
    let _ = std::io::stdout().flush();
    sys::exit_now(0)
}

/// Starts a successor whose parent goes at once, and ends as a process does that has much memory: its children have another parent,
/// and it is still there. Its first thread is the one that is gone; another waits for the successor to look.
#[expect(unsafe_code, reason = "forks, and ends one thread alone")]
fn end_slowly() -> ! {
    // SAFETY: the other threads of this process only wait, and hold no lock that the child takes. This thread is the child's first.
    if unsafe { libc::fork() } != 0 {
        sys::exit_now(0);
    }
    let fake = Fake::new();
    let program = std::env::current_exe().unwrap();
    let between = Command::new("/bin/sh").args(["-c", "\"$0\" \"$@\" & exit 0"]).arg(program).args(ROLE_ARGS);
    let error =
        hand_over(&fake, &between.env(ROLE, "outlive a slow end"), Channel::Spawn, &quick()).unwrap_err();
    assert!(matches!(error, HandOverError::Died { .. }), "{error:?}");
    // It looks into the heap who its owner is, and leaves a mark when it has looked whether that has ended.
    std::thread::spawn(move || {
        assert!(wait_until(|| fake.backing.mark() != 0));
        std::thread::sleep(Duration::from_millis(20));
        sys::exit_now(0)
    });
    // SAFETY: nothing of this thread is used by the other one.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended")
}

fn outlive(incoming: &Incoming) -> ! {
    let (backing, header) = Backing::adopt_fd(incoming.take_fd().unwrap()).unwrap();
    let (pid, ticks) = (header.state.owner_pid, header.state.owner_start_ticks);
    incoming.set_owner(pid, ticks);
    let freeze = incoming.wait_for_freeze(Duration::from_secs(20)).unwrap();
    assert!(wait_until(|| sys::is_ending(pid, ticks)) && !sys::has_ended(pid, ticks));
    backing.set_mark(SERVED);
    println!("successor {} of {freeze:?}: {}", sys::pid(), incoming.wait_for_end_of_owner());
    let _ = std::io::stdout().flush();
    sys::exit_now(0)
}

fn be_exec_predecessor(options: u64) -> ! {
    let (gib, hold_memory) = (options >> 1, options & 1 == 1);
    let fake = Fake::new();
    if gib > 0 {
        fake.backing.grow_to(2 * BLOCK + (gib << 30)).unwrap();
        for offset in (2 * BLOCK..fake.backing.len()).step_by(4096) {
            fake.backing.touch_for_tests(offset);
        }
    }
    print!("predecessor {} ", sys::pid());
    std::io::stdout().flush().unwrap();
    let options = ChannelOptions { hold_memory, ..quick() };
    panic!("{}", hand_over(&fake, &successor("serve"), Channel::Exec, &options).unwrap_err())
}

fn sleep_on() -> ! {
    std::thread::sleep(Duration::from_secs(60));
    sys::exit_now(1)
}

fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

fn run_role(role: &str) -> (u32, Output) {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let child = command.args(ROLE_ARGS).env(ROLE, role).stdout(Stdio::piped()).spawn().unwrap();
    (child.id(), child.wait_with_output().unwrap())
}

/// The number that follows `word`.
fn number_after(word: &str, output: &Output) -> u32 {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split(&format!("{word} ")).nth(1).and_then(|rest| rest.split([' ', ':', '\n']).next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no `{word}` in {text:?}"))
}

#[test]
fn a_successor_beside_takes_the_heap() {
    let fake = Fake::new();
    let handed = attempt(&fake, "serve").unwrap();
    assert!(wait_until(|| fake.backing.mark() == SERVED));
    let state = fake.state();
    assert_eq!((state.generation, state.owner_pid, state.previous_channel), (2, handed.pid, 1));
}

#[test]
fn a_predecessor_that_has_handed_over_exits_with_status_0() {
    let (pid, output) = run_role("be a predecessor by spawn");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(number_after("predecessor", &output), pid);
    assert_eq!(number_after("of", &output), pid);
    assert_ne!(number_after("successor", &output), pid);
}

/// A process gets another parent before its own has ended altogether. It used not to be waited for, and the heap was lost.
#[test]
fn an_orphan_waits_for_the_end_of_its_predecessor() {
    let (_, output) = run_role("be a predecessor that ends slowly");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("of OwnerGone: true"), "{text}");
}

/// What was made ready before the freeze, the holder above all, goes again, and nothing is taken back that was not given.
#[test]
fn a_heap_that_cannot_be_frozen_stays_where_it_is() {
    for channel in [Channel::Spawn, Channel::Exec] {
        let busy = Fake { is_busy: true, ..Fake::new() };
        let error = hand_over(&busy, &successor("serve"), channel, &quick()).unwrap_err();
        assert!(matches!(error, HandOverError::UnderWay), "{channel:?}: {error}");
        busy.assert_goes_on(0, 0);
    }
}

#[test]
fn a_successor_in_place_keeps_the_process_id() {
    for hold_memory in [0, 1] {
        let (pid, output) = run_role(&format!("be a predecessor by exec {hold_memory}"));
        assert!(output.status.success(), "{output:?}");
        assert_eq!(number_after("predecessor", &output), pid);
        assert_eq!(number_after("successor", &output), pid);
        assert_eq!(number_after("helper", &output) != 0, hold_memory == 1);
        assert!(String::from_utf8_lossy(&output.stdout).contains("gone true"), "{output:?}");
    }
}

#[test]
fn a_successor_that_ends_is_reported_with_its_status() {
    let fake = Fake::new();
    let error = attempt(&fake, "end before ready").unwrap_err();
    assert!(matches!(error, HandOverError::Died { step: Step::Ready, ended: Ended::Status(7) }), "{error:?}");
    fake.assert_goes_on(0, 0);
    let error = attempt(&fake, "end when frozen").unwrap_err();
    assert!(
        matches!(error, HandOverError::Died { step: Step::Acknowledge, ended: Ended::Status(8) }),
        "{error:?}"
    );
    fake.assert_goes_on(1, 0);
    let error = attempt(&fake, "end when claimed").unwrap_err();
    assert!(matches!(error, HandOverError::Died { ended: Ended::Signal(6), .. }), "{error:?}");
    fake.assert_goes_on(1, 1);
}

#[test]
fn a_successor_that_says_nothing_is_ended() {
    let options =
        ChannelOptions { ready: Duration::from_millis(200), ack: Duration::from_millis(200), ..quick() };
    let fake = Fake::new();
    let error = hand_over(&fake, &successor("sleep"), Channel::Spawn, &options).unwrap_err();
    assert!(matches!(error, HandOverError::TimedOut { step: Step::Ready, .. }), "{error:?}");
    fake.assert_goes_on(0, 0);
    let options = ChannelOptions { ready: Duration::from_secs(20), ..options };
    let error = hand_over(&fake, &successor("sleep when frozen"), Channel::Spawn, &options).unwrap_err();
    assert!(matches!(error, HandOverError::TimedOut { step: Step::Acknowledge, .. }), "{error:?}");
    fake.assert_goes_on(1, 0);
    let error = hand_over(&fake, &successor("sleep when claimed"), Channel::Spawn, &options).unwrap_err();
    assert!(matches!(error, HandOverError::TimedOut { step: Step::Acknowledge, .. }), "{error:?}");
    fake.assert_goes_on(1, 1);
}

#[test]
fn a_refusal_comes_with_its_reason() {
    let fake = Fake::new();
    let error = attempt(&fake, "refuse").unwrap_err();
    let expected = "the successor refused the heap: sessions: Session.hits: u64 -> u32";
    assert_eq!(error.to_string(), expected);
    fake.assert_goes_on(0, 0);
    let error = attempt(&fake, "refuse when claimed").unwrap_err();
    assert!(matches!(error, HandOverError::Refused { .. }), "{error:?}");
    fake.assert_goes_on(0, 1);
}

#[test]
fn a_successor_that_breaks_the_protocol_is_ended() {
    let fake = Fake::new();
    for role in ["send something foreign 3", "send something foreign 32", "send something foreign 5000"] {
        let error = attempt(&fake, role).unwrap_err();
        assert!(matches!(error, HandOverError::Protocol { step: Step::Ready, .. }), "{role}: {error:?}");
        fake.assert_goes_on(0, 0);
    }
    let error = attempt(&fake, "close the connection").unwrap_err();
    assert!(matches!(error, HandOverError::Protocol { step: Step::Ready, .. }), "{error:?}");
    fake.assert_goes_on(0, 0);
    let error = attempt(&fake, "flood").unwrap_err();
    assert!(matches!(error, HandOverError::Protocol { step: Step::Acknowledge, .. }), "{error:?}");
    fake.assert_goes_on(1, 0);
}

/// The acknowledgement and the end of the predecessor's patience fall together: one of the two owns the heap.
#[test]
fn a_late_acknowledgement_counts_or_does_not() {
    let ack = Duration::from_millis(20);
    for delay_us in (18_000..22_000).step_by(200) {
        let fake = Fake::new();
        let role = successor(&format!("acknowledge late {delay_us}"));
        match hand_over(&fake, &role, Channel::Spawn, &ChannelOptions { ack, ..quick() }) {
            Ok(_) => {
                assert!(wait_until(|| fake.backing.mark() == SERVED));
                assert_eq!(fake.state().generation, 2);
            }
            Err(HandOverError::TimedOut { .. }) => {
                let was_frozen = fake.nr_thawed.load(Ordering::SeqCst);
                fake.assert_goes_on(was_frozen, 1 - was_frozen);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Sent after the predecessor has lost patience, but before it shuts the connection: it counts.
#[test]
fn an_acknowledgement_in_the_queue_counts() {
    let fake = Fake::new();
    let pauses = [Duration::from_millis(500), Duration::ZERO];
    let options = ChannelOptions { ack: Duration::from_millis(100), pauses, ..quick() };
    let role = successor("acknowledge late 300000");
    let handed = hand_over(&fake, &role, Channel::Spawn, &options).unwrap();
    assert!(wait_until(|| fake.backing.mark() == SERVED));
    assert_eq!(fake.state().owner_pid, handed.pid);
}

/// Sent after the connection is shut: the successor is told that it does not count, and touches nothing.
#[test]
fn an_acknowledgement_to_a_shut_connection_does_not_count() {
    let fake = Fake::new();
    let pauses = [Duration::ZERO, Duration::from_millis(500)];
    let options = ChannelOptions { ack: Duration::from_millis(100), pauses, ..quick() };
    let role = successor("acknowledge late 300000");
    let error = hand_over(&fake, &role, Channel::Spawn, &options).unwrap_err();
    assert!(matches!(error, HandOverError::TimedOut { step: Step::Acknowledge, .. }), "{error:?}");
    fake.assert_goes_on(0, 1);
}

#[test]
fn a_successor_that_finds_the_address_taken_starts_again() {
    let fake = Fake::new();
    let handed = attempt(&fake, "find the address taken once").unwrap();
    assert!(wait_until(|| fake.backing.mark() == SERVED));
    assert_eq!(fake.state().owner_pid, handed.pid);
}

#[test]
fn a_program_that_cannot_start_changes_nothing() {
    let fake = Fake::new();
    for channel in [Channel::Spawn, Channel::Exec] {
        let missing = hand_over(&fake, &Command::new("/nonexistent/next"), channel, &quick());
        assert!(matches!(missing, Err(HandOverError::Command(_))), "{missing:?}");
        fake.assert_goes_on(0, 0);
    }
    let path = format!("/tmp/heirloom-test-{}-no-format", sys::pid());
    std::fs::write(&path, "\0not a program").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let here = std::env::current_dir().unwrap();
    for (channel, nr_thawed) in [(Channel::Spawn, 0), (Channel::Exec, 1)] {
        let command = Command::new(&path).current_dir("/dev");
        let failed = hand_over(&fake, &command, channel, &quick());
        assert!(matches!(failed, Err(HandOverError::Start { .. })), "{failed:?}");
        fake.assert_goes_on(nr_thawed, 0);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(std::env::current_dir().unwrap(), here);
    // And then it can still be handed over.
    let _handed = attempt(&fake, "serve").unwrap();
}

#[test]
fn a_ticket_for_somebody_else_is_nobodys_heap() {
    for channel in [Channel::Spawn, Channel::Exec] {
        let ticket = ticket::Ticket {
            channel,
            from: 1,
            heap_fd: 900,
            peer_fd: 901,
            helper: 0,
            heap: [0; 16],
            luggage_fd: -1,
        };
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let variable = ticket.variable().into_string().unwrap();
        let (name, value) = variable.split_once('=').unwrap();
        command.args(["--exact", "channel::tests::stale_ticket_role", "--nocapture"]).env(name, value);
        let status = command.env(ROLE, "stale").status().unwrap();
        assert!(status.success());
    }
}

#[test]
fn stale_ticket_role() {
    if std::env::var_os(ROLE).is_some() {
        assert!(incoming().unwrap().is_none());
    }
}

/// A table of the switch's cost; run it alone, with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure_exec() {
    for (what, options) in [("without holder", 2), ("with holder", 3)] {
        for _ in 0..5 {
            let (_, output) = run_role(&format!("be a predecessor by exec {options}"));
            println!("exec, 1 GiB resident, {what}: {} us", number_after("Exec:", &output));
        }
    }
    for _ in 0..5 {
        let (_, output) = run_role("be a predecessor by spawn");
        println!("spawn, frozen to claimed: {} us", number_after("Spawn:", &output));
    }
}
