//! What the main thread is asked to do, by signals, over the control socket and by clients.
//!
//! ```text
//! SIGUSR2, heirloom upgrade ---> Upgrade --.
//! SIGTERM, SIGINT, SHUTDOWN ---> Stop -----+--> hear()
//! ```
//!
//! # Invariants
//!
//! - *awake*: from the return of [`Ears::open`] on no signal of these ends the process, and no request finds nobody.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::server::Server;
use crate::upgrade::control;

/// What the main thread is asked to do.
pub(crate) enum Event {
    /// To hand over, to this request's program or to what is installed.
    Upgrade(Option<control::Request>),
    /// To end.
    Stop,
}

/// Hears what is asked.
pub(crate) struct Ears {
    control: UnixListener,
    runtime: Runtime,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
}

impl Ears {
    /// Begins to hear signals and requests, these at the socket of a predecessor if that was this very process.
    ///
    /// One of its own would not do then: the old one's name may be taken a little longer, by what holds the old program's memory.
    pub(crate) fn open(inherited: Option<OwnedFd>) -> io::Result<Self> {
        let control = match inherited {
            Some(socket) => UnixListener::from(socket),
            None => control::listen()?,
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (sender, events) = mpsc::channel(4);
        runtime.block_on(async {
            listen_for_signals(&sender)?;
            listen_for_requests(&sender, control.try_clone()?)
        })?;
        Ok(Self { control, runtime, sender, events })
    }

    /// The socket for requests.
    pub(crate) fn control(&self) -> &UnixListener {
        &self.control
    }

    /// Hears a server's clients too.
    pub(crate) fn watch(&self, server: &Arc<Server>) {
        let (server, sender) = (server.clone(), self.sender.clone());
        self.runtime.spawn(async move {
            server.stopped().await;
            drop(server);
            let _is_heard = sender.send(Event::Stop).await;
        });
    }

    /// Waits until something is asked.
    pub(crate) fn hear(&mut self) -> Event {
        // A sender lives here too.
        self.runtime.block_on(self.events.recv()).unwrap_or(Event::Stop)
    }
}

fn listen_for_signals(sender: &mpsc::Sender<Event>) -> io::Result<()> {
    let signals = [
        (SignalKind::user_defined2(), true),
        (SignalKind::terminate(), false),
        (SignalKind::interrupt(), false),
    ];
    for (kind, is_upgrade) in signals {
        let (mut signal, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                let event = if is_upgrade { Event::Upgrade(None) } else { Event::Stop };
                if sender.send(event).await.is_err() {
                    break;
                }
            }
        });
    }
    Ok(())
}

fn listen_for_requests(sender: &mpsc::Sender<Event>, listener: UnixListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let sender = sender.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Some(request) = control::read(stream).await
                && sender.send(Event::Upgrade(Some(request))).await.is_err()
            {
                break;
            }
        }
    });
    Ok(())
}
