//! `heirloom serve`: a cache with the Redis protocol.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use heirloom_server::{Backing, Config, Notice, Policy};
use sd_notify::NotifyState;

use crate::args::ChannelArg;
use crate::quantity::{Bytes, Micros};

#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// Listen on these addresses; the default is this machine alone. Sockets that systemd has opened (socket activation) take the place
    /// of addresses and port
    #[arg(long, value_name = "ADDRESS", num_args = 1.., default_value = "127.0.0.1")]
    bind: Vec<IpAddr>,

    /// The port; 0 takes a free one
    #[arg(long, short, default_value_t = 6379)]
    port: u16,

    /// Ask clients for this password; see --requirepass-file
    #[arg(long, value_name = "PASSWORD", conflicts_with = "requirepass_file")]
    requirepass: Option<String>,

    /// Ask clients for the password in this file, which other users of the machine do not see as they do an argument
    #[arg(long, value_name = "FILE")]
    requirepass_file: Option<PathBuf>,

    /// The most that keys and values may take, such as 512M; then the policy decides. 0 is no limit
    #[arg(long, value_name = "BYTES", default_value = "0")]
    maxmemory: Bytes,

    /// What gives way: noeviction, allkeys-lru, volatile-lru, allkeys-random, volatile-random, volatile-ttl
    #[arg(long, value_name = "POLICY", default_value_t = Policy::AllKeysLru)]
    maxmemory_policy: Policy,

    /// The most clients at a time
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    maxclients: usize,

    /// The longest argument of a command
    #[arg(long, value_name = "BYTES", default_value = "512M")]
    max_argument: Bytes,

    /// The most memory for what clients have sent in part and not fetched; who makes it more is let go
    #[arg(long, value_name = "BYTES", default_value = "1G")]
    client_memory: Bytes,

    /// Let clients go that are silent for so many seconds; 0 is never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timeout: u64,

    /// Ask the system after so many seconds whether a silent client is still there; 0 is never
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    tcp_keepalive: u64,

    /// Where the heap lies: memory, which lives as long as server after server runs; file:PATH, best on tmpfs, or fdstore, kept by
    /// systemd (docs/systemd.md), which outlive a stop and a crash; luo, which goes to the next kernel (docs/luo.md)
    #[arg(long, value_name = "PLACE", default_value_t = Backing::Memory)]
    heap: Backing,

    /// The most the heap may take in all, records and free memory included [default: the machine's memory]
    #[arg(long, value_name = "BYTES")]
    heap_limit: Option<Bytes>,

    /// Start empty where the heap file cannot be taken over; the old one is renamed
    #[arg(long)]
    cold_start: bool,

    /// At a start from a stored heap, look for blocks that kills have left without an owner and give them back; takes time with the number
    /// of keys. `heirloom verify --leaks` tells how many there are
    #[arg(long)]
    reclaim_leaks: bool,

    /// Write checksums into the heap file at the end, and compare them at the start
    #[arg(long)]
    seal: bool,

    /// How an upgrade starts the next program
    #[arg(long, value_enum, default_value_t = ChannelArg::Spawn)]
    channel: ChannelArg,

    /// Threads that serve clients [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Shards of a new heap, at most 64 [default: four a thread]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    shards: Option<u8>,

    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,
}

impl ServeArgs {
    fn config(&self) -> std::io::Result<Config> {
        let password = match &self.requirepass_file {
            Some(path) => Some(std::fs::read_to_string(path)?.trim_end_matches(['\r', '\n']).to_owned()),
            None => self.requirepass.clone(),
        };
        Ok(Config {
            bind: self.bind.clone(),
            port: self.port,
            threads: self.threads.unwrap_or(0),
            shards: self.shards.map_or(0, usize::from),
            max_memory: self.maxmemory.0,
            policy: self.maxmemory_policy,
            password: password.filter(|password| !password.is_empty()),
            max_clients: self.maxclients.max(1),
            max_argument: self.max_argument.0.clamp(1, 512 << 20) as usize,
            client_memory: self.client_memory.0,
            timeout_s: self.timeout,
            keepalive_s: self.tcp_keepalive,
            heap: self.heap.clone(),
            heap_limit: self.heap_limit.map_or(0, |limit| limit.0),
            cold_start: self.cold_start,
            reclaim_leaks: self.reclaim_leaks,
            channel: match self.channel {
                ChannelArg::Spawn => heirloom::Channel::Spawn,
                ChannelArg::Exec => heirloom::Channel::Exec,
            },
            seal: self.seal,
        })
    }
}

pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("heirloom serve: the password file: {error}");
            return ExitCode::from(crate::EXIT_USAGE);
        }
    };
    let quiet = args.quiet;
    match heirloom_server::serve(config, &|notice| tell(&notice, quiet)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heirloom serve: {error}");
            // What a manager that cannot be told would have to know, its log has.
            let _is_told = sd_notify::notify(&[NotifyState::Status(&error.to_string())]);
            ExitCode::from(crate::EXIT_USAGE)
        }
    }
}

/// Says it to people and to the service manager, where there is one.
fn tell(notice: &Notice, quiet: bool) {
    let text = match notice {
        Notice::Ready { addresses, generation, clients, blackout_us, keys_lost, .. } => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let mut text = format!("generation {generation} serves on {}", addresses.join(", "));
            if *blackout_us > 0 {
                let ms = *blackout_us as f64 / 1000.0;
                text.push_str(&format!(", {clients} clients taken over after a pause of {ms:.1} ms"));
            }
            if *keys_lost > 0 {
                text.push_str(&format!(
                    "; the last owner was killed, and {keys_lost} keys it was changing are lost"
                ));
            }
            text
        }
        Notice::SetAside { path, reason } => {
            format!(
                "the heap cannot be taken over ({reason}): it is at {} now, and this one is new",
                path.display()
            )
        }
        Notice::NotUpgraded(reason) => format!("not upgraded, going on: {reason}"),
        Notice::Stopping => "stopping".to_owned(),
        Notice::NotPreserved(reason) => format!("the heap is not left to a next kernel: {reason}"),
        Notice::Preserved { figures } => format!(
            "the heap is preserved for the next kernel as long as this process lives: {} frozen in {}, preserved in {}",
            Bytes(figures.file_bytes),
            Micros(figures.freeze_us),
            Micros(figures.preserve_us)
        ),
        Notice::Stopped => "stopped".to_owned(),
        _ => return,
    };
    let is_routine = matches!(notice, Notice::Ready { .. } | Notice::Stopping | Notice::Stopped);
    if !(quiet && is_routine) {
        eprintln!("heirloom serve [{}]: {text}", std::process::id());
    }
    // A line of its own would be a word of its own to the manager.
    let line = text.replace('\n', " ");
    let status = NotifyState::Status(&line);
    let told = match notice {
        Notice::Ready { .. } => sd_notify::notify(&[NotifyState::Ready, status]),
        Notice::Stopping => sd_notify::notify(&[NotifyState::Stopping, status]),
        _ => sd_notify::notify(&[status]),
    };
    if let Err(error) = told {
        eprintln!("heirloom serve [{}]: the service manager was not told: {error}", std::process::id());
    }
}
