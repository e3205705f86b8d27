//! INFO: what the server says of itself.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use super::connection::REDIS_VERSION;
use super::{Context, Outcome, is_word};
use crate::protocol::request::Arguments;
use crate::store::shard::NR_DATABASES;

/// A section and what writes it.
type Section = (&'static str, fn(&Context<'_, '_>, &mut String));

const SECTIONS: [Section; 8] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("Keyspace", keyspace),
    ("Heirloom", heirloom),
];

pub(crate) fn info(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let wants_all = |word: &[u8]| ["all", "everything", "default"].iter().any(|all| is_word(word, all));
    let mut text = String::new();
    for (name, write) in SECTIONS {
        let is_asked =
            arguments.len() == 1 || arguments.from(1).any(|word| is_word(word, name) || wants_all(word));
        if is_asked {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            line(&mut text, format_args!("# {name}"));
            write(context, &mut text);
        }
    }
    context.reply.verbatim(&text);
    Ok(())
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // A string takes all that is written.
    let _always_fits = write!(text, "{line}\r\n");
}

macro_rules! lines {
    ($text:ident: $($name:literal = $value:expr),* $(,)?) => {
        $(line($text, format_args!("{}:{}", $name, $value));)*
    };
}

fn server(context: &Context<'_, '_>, text: &mut String) {
    let uptime_s = context.now.saturating_sub(context.server.started_ms) / 1000;
    lines!(text:
        "redis_version" = REDIS_VERSION,
        "redis_mode" = "standalone",
        "heirloom_version" = env!("CARGO_PKG_VERSION"),
        "os" = std::env::consts::OS,
        "arch_bits" = usize::BITS,
        "process_id" = std::process::id(),
        "tcp_port" = context.server.port.load(Relaxed),
        "server_time_usec" = context.now * 1000,
        "uptime_in_seconds" = uptime_s,
        "uptime_in_days" = uptime_s / 86400,
        "shards" = context.store().nr_shards(),
    );
}

fn clients(context: &Context<'_, '_>, text: &mut String) {
    lines!(text:
        "connected_clients" = context.server.clients().len(),
        "maxclients" = context.server.settings.max_clients.load(Relaxed),
        "client_buffers_bytes" = context.server.counters.buffered.load(Relaxed),
        "blocked_clients" = 0,
    );
}

fn memory(context: &Context<'_, '_>, text: &mut String) {
    let (server, stats) = (context.server, context.server.heap.stats());
    lines!(text:
        "used_memory" = server.store.used_bytes(),
        "used_memory_rss" = stats.held_bytes,
        "maxmemory" = server.settings.max_memory.load(Relaxed),
        "maxmemory_policy" = server.settings.policy(),
        "mem_clients_normal" = server.counters.buffered.load(Relaxed),
        "mem_allocator" = "heirloom",
    );
}

fn persistence(_: &Context<'_, '_>, text: &mut String) {
    lines!(text: "loading" = 0, "rdb_bgsave_in_progress" = 0, "aof_enabled" = 0);
}

fn stats(context: &Context<'_, '_>, text: &mut String) {
    let (counters, store) = (&context.server.counters, context.store().counters(context.inside));
    lines!(text:
        "total_connections_received" = counters.connections.load(Relaxed),
        "total_commands_processed" = counters.commands.load(Relaxed),
        "rejected_connections" = counters.rejected.load(Relaxed),
        "evicted_clients" = counters.evicted_clients.load(Relaxed),
        "total_error_replies" = counters.errors.load(Relaxed),
        "expired_keys" = store.expired,
        "evicted_keys" = store.evicted,
        "keyspace_hits" = store.hits,
        "keyspace_misses" = store.misses,
    );
}

fn replication(_: &Context<'_, '_>, text: &mut String) {
    lines!(text: "role" = "master", "connected_slaves" = 0);
}

fn keyspace(context: &Context<'_, '_>, text: &mut String) {
    for database in 0..NR_DATABASES {
        let (keys, expires) = context.store().count(context.inside, database);
        if keys > 0 {
            line(text, format_args!("db{database}:keys={keys},expires={expires},avg_ttl=0"));
        }
    }
}

fn heirloom(context: &Context<'_, '_>, text: &mut String) {
    let (server, stats) = (context.server, context.server.heap.stats());
    let origin = match server.heap.origin() {
        heirloom::Origin::Created => "created",
        heirloom::Origin::Inherited => "inherited",
        heirloom::Origin::Recovered { .. } => "recovered",
    };
    lines!(text:
        "generation" = stats.generation,
        "origin" = origin,
        "backing" = server.config.heap,
        "kept_by_service_manager" = u8::from(heirloom::service_manager::stored_as().is_some()),
        "block_bytes" = BLOCK_BYTES,
        // Of memory: the file is longer than what it holds.
        "blocks" = stats.held_bytes.saturating_sub(stats.metadata_bytes).div_ceil(BLOCK_BYTES),
        "heap_file_bytes" = stats.file_bytes,
        "heap_held_bytes" = stats.held_bytes,
        "heap_limit_bytes" = stats.size_limit,
        "heap_metadata_bytes" = stats.metadata_bytes,
        "huge_pages" = u8::from(stats.huge_pages),
        "last_freeze_us" = stats.freeze_us,
        "last_restore_us" = stats.restore_us,
        "last_blackout_us" = server.arrival.blackout_us,
        "clients_taken_over" = server.arrival.clients,
        "shards_repaired" = server.arrival.repair.shards,
        "leaks_reclaimed" = server.heap.reclaimed().map_or(0, |reclaimed| reclaimed.objects),
        "keys_lost_by_kills" = context.store().counters(context.inside).lost,
    );
}

/// The unit in which the heap takes memory; the library's default.
const BLOCK_BYTES: u64 = 2 << 20;
