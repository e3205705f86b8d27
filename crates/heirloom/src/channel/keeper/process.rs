//! The keeper's own life: this program's file, started again, caught before `main`.
//!
//! A forked child would hold a copy of all that the program has in memory, and whatever its threads had locked; a program of its
//! own would have to be installed. The file that runs is there for certain, and `.init_array` runs before anything of the program.
//! The keeper then forks once, so that it is nobody's child who might wait for it, and drops all that it inherited.
#![expect(unsafe_code, reason = "runs before `main`, takes over descriptors by number, and forks")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use super::super::Open;
use super::super::message::{Buffer, HeapId, Message, Received};
use super::Keeper;
use crate::sys::{self, Child, Ended, Image, Place};

/// What a keeper finds in its environment: `<socket>:<heap>:<heap id>:<name>`.
const VARIABLE: &str = "HEIRLOOM_KEEPER";

/// How long whoever connects may take to say what it wants, while others wait.
const TIME_TO_ASK: Duration = Duration::from_millis(500);

/// Runs before `main` in every program that can start a keeper. Miri has no process for one, and knows no `getauxval`.
#[cfg_attr(not(miri), used)]
#[cfg_attr(not(miri), unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = before_main;

/// How long a keeper may take to start.
const TIME_TO_START: Duration = Duration::from_secs(20);

/// Starts a keeper, and returns when it listens.
pub(super) fn start(open: &Open<'_>) -> io::Result<()> {
    if sys::is_privileged() {
        let text = "no keeper is made of a program that has another user's rights, or capabilities, from its file: give it its \
            capabilities as ambient ones, or keep the heap in a file";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let name = open.name;
    // The linker takes the object in which the static lies only if something asks for it.
    std::hint::black_box(&BEFORE_MAIN);
    let socket = sys::listen(Place::Abstract(&Keeper::address(name)), 16)?;
    // A lock of its own, which it never takes: the copy of a descriptor would hold the owner's for ever.
    let heap = sys::reopen(open.heap)?;
    let id: String = open.id.iter().map(|byte| format!("{byte:02x}")).collect();
    let variable = format!("{VARIABLE}={}:{}:{id}:{name}", socket.as_raw_fd(), heap.as_raw_fd());
    let text = |text: String| CString::new(text).map_err(io::Error::from);
    let args = vec![text(format!("heirloom-keeper {name}"))?];
    let mut env = vec![text(variable)?];
    // Where its libraries are, and no more.
    for (name, value) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"LD_")) {
        env.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    let image = Image::new(text("/proc/self/exe".into())?, args, env, None);
    let child = Child::spawn(&image, &[socket.as_fd(), heap.as_fd()])?;
    match child.reap_until(Instant::now() + TIME_TO_START) {
        None => {
            child.kill();
            child.reap();
            Err(io::Error::new(io::ErrorKind::TimedOut, "the heap's keeper did not start, and was ended"))
        }
        // Somebody may wait for every child of this process; then the keeper tells by itself.
        Some(Ended::Status(0) | Ended::Unknown) => Ok(()),
        Some(ended) => Err(io::Error::other(format!("the heap's keeper ended with {ended} as it started"))),
    }
}

extern "C" fn before_main() {
    let Some(order) = std::env::var_os(VARIABLE) else { return };
    // Nobody is to make a keeper of a program that runs with another user's rights; nor is that program to run, which whoever
    // has set the variable did not mean.
    if sys::is_privileged() {
        sys::exit_now(2);
    }
    let kept = order.to_str().and_then(Kept::from_order);
    let Some(mut kept) = kept else { sys::exit_now(2) };
    // Before the program hears that there is a keeper: what then happens to its process group is not the keeper's any more.
    let _ = rustix::process::setsid();
    // SAFETY: this process has one thread, and what it does in the child is not bound to the parent.
    match unsafe { libc::fork() } {
        0 => {}
        child => sys::exit_now(i32::from(child < 0)),
    }
    kept.settle();
    kept.serve();
    sys::exit_now(0)
}

/// What the keeper has.
struct Kept {
    socket: OwnedFd,
    heap: OwnedFd,
    id: HeapId,
    name: String,
}

impl Kept {
    fn from_order(order: &str) -> Option<Self> {
        let mut words = order.splitn(4, ':');
        let (socket, heap) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let id = super::super::ticket::parse_id(words.next()?)?;
        let name = words.next()?.to_owned();
        if socket == heap || [socket, heap].iter().any(|&number: &RawFd| number <= 2) {
            return None;
        }
        // SAFETY: the numbers are those that the program left open for its keeper, and nothing in this process has
        // opened any yet.
        unsafe {
            Some(Self { socket: sys::inherit_fd(socket).ok()?, heap: sys::inherit_fd(heap).ok()?, id, name })
        }
    }

    /// Lets go of everything else that the program had: descriptors, its terminal, its directory.
    fn settle(&self) {
        let _ = rustix::process::chdir("/");
        // SAFETY: closes numbers that nothing in this process uses; the two that it has are left out.
        unsafe { sys::close_all_but(self.socket.as_fd(), self.heap.as_fd()) };
        sys::be_silent();
    }

    fn serve(&mut self) {
        loop {
            let _ = sys::wait_readable(&[self.socket.as_fd()], None);
            let Ok(Some(connection)) = sys::accept(self.socket.as_fd()) else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let trusted = [sys::own_uid(), 0];
            if !sys::peer(connection.as_fd()).is_ok_and(|peer| trusted.contains(&peer.uid)) {
                continue;
            }
            let deadline = Some(Instant::now() + TIME_TO_ASK);
            let _ = sys::wait_readable(&[connection.as_fd()], deadline);
            let Ok((Received::Message(message), said, _)) =
                Message::receive_with(connection.as_fd(), None, &mut Buffer::new())
            else {
                continue;
            };
            let answer = |message: Message| drop(message.send(connection.as_fd(), self.id));
            match message {
                Message::Ask(name) if name == self.name => {
                    let _ = Message::Offer.send_with(connection.as_fd(), self.id, &[self.heap.as_fd()]);
                }
                Message::LetGo if said == self.id => {
                    sys::stop_receiving(self.socket.as_fd());
                    answer(Message::Acknowledge);
                    return;
                }
                Message::SetAside if said == self.id => {
                    let aside = format!("{}.aside-{}", self.name, sys::pid());
                    match sys::listen(Place::Abstract(&Keeper::address(&aside)), 16) {
                        Ok(socket) => {
                            answer(Message::Ask(aside.clone()));
                            (self.socket, self.name) = (socket, aside);
                        }
                        Err(error) => answer(Message::Refuse(error.to_string())),
                    }
                }
                _ => answer(Message::Refuse("it has another heap".to_owned())),
            }
        }
    }
}
