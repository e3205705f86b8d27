//! What is done besides serving clients: expired keys are removed, silent clients let go, room kept for the next upgrade.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::server::{Server, now_ms};
use crate::upgrade::reserve;

/// How often.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long at a time for expired keys: clients of this thread wait meanwhile.
const SLICE: Duration = Duration::from_millis(2);

/// Buckets looked through before the clock is looked at.
const BUCKETS: usize = 256;

/// A sweep in which one of so many buckets had an expired key is followed by another.
const WORTHWHILE: u64 = 16;

/// Does the chores for as long as the process lives.
pub(crate) async fn do_all(server: Arc<Server>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        ticks.tick().await;
        let _gate = server.gate();
        if server.is_resting() {
            continue;
        }
        remove_expired(&server);
        if tick % 10 == 0 {
            let_silent_go(&server);
            reserve::hold(&server.heap);
        }
    }
}

fn remove_expired(server: &Server) {
    let (began, now) = (Instant::now(), now_ms());
    let inside = server.heap.enter();
    let nr_shards = server.store.nr_shards();
    let mut busy: Vec<usize> = (0..nr_shards).collect();
    // Each shard once, then those again that had many, while there is time.
    while !busy.is_empty() {
        busy.retain(|&index| {
            began.elapsed() < SLICE
                && server.store.lock(&inside, index).sweep(now, BUCKETS) > BUCKETS as u64 / WORTHWHILE
        });
    }
}

fn let_silent_go(server: &Server) {
    let timeout_ms = server.settings.timeout_s.load(Relaxed).saturating_mul(1000);
    if timeout_ms == 0 {
        return;
    }
    let oldest = now_ms().saturating_sub(timeout_ms);
    for client in server.clients().values() {
        if client.card.active_ms.load(Relaxed) < oldest {
            client.kill();
        }
    }
}
