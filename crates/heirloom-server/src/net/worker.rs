//! Threads that serve clients. Each has a reactor of its own, so that a client's commands need no other thread.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

/// All threads.
pub(crate) struct Workers {
    list: Vec<Worker>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    end: Arc<Notify>,
}

/// One thread.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) handle: Handle,
    /// Clients it serves.
    pub(crate) nr_clients: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts so many threads.
    pub(crate) fn start(nr_threads: usize) -> io::Result<Self> {
        let end = Arc::new(Notify::new());
        let (mut list, mut threads) = (Vec::new(), Vec::new());
        for index in 0..nr_threads.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            list.push(Worker { handle: runtime.handle().clone(), nr_clients: Arc::default() });
            let end = end.clone();
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || runtime.block_on(end.notified()))?);
        }
        Ok(Self { list, threads: Mutex::new(threads), end })
    }

    /// Ends all threads, and all that runs in them.
    pub(crate) fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that has not begun to wait would miss a call to all; a permit stays for it.
            while !thread.is_finished() {
                self.end.notify_one();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            // A thread that panicked has said so.
            let _is_joined = thread.join();
        }
    }

    /// The thread that serves the fewest clients.
    pub(crate) fn least(&self) -> &Worker {
        self.list.iter().min_by_key(|worker| worker.nr_clients.load(Relaxed)).unwrap_or(&self.list[0])
    }

    /// The first thread, which also accepts clients and looks after expired keys.
    pub(crate) fn first(&self) -> &Worker {
        &self.list[0]
    }
}
