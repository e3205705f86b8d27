//! The server as a thing: CONFIG, COMMAND, TIME, SHUTDOWN.

use std::sync::atomic::Ordering::Relaxed;

use super::clients::unknown;
use super::glob::matches;
use super::registry::{self, Access, COMMANDS, Command};
use super::{Context, Failure, Outcome, is_word, shown};
use crate::config::Policy;
use crate::protocol::request::Arguments;
use crate::server::Server;
use crate::store::shard::NR_DATABASES;

pub(crate) fn config(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let nr = arguments.len();
    match arguments.get(1).to_ascii_lowercase().as_slice() {
        b"get" if nr >= 3 => {
            let all = all_settings(context.server);
            let is_wanted = |name: &str| {
                let mut patterns = arguments.from(2);
                patterns.any(|pattern| matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
            };
            let found: Vec<_> = all.iter().filter(|(name, _)| is_wanted(name)).collect();
            context.reply.map(found.len());
            for (name, value) in found {
                context.reply.bulk(name.as_bytes());
                context.reply.bulk(value.as_bytes());
            }
        }
        b"set" if nr >= 4 && nr.is_multiple_of(2) => {
            for index in (2..nr).step_by(2) {
                change(context.server, arguments.get(index), arguments.get(index + 1))?;
            }
            context.reply.ok();
        }
        b"resetstat" if nr == 2 => {
            let counters = &context.server.counters;
            for counter in [&counters.connections, &counters.rejected, &counters.commands, &counters.errors] {
                counter.store(0, Relaxed);
            }
            context.reply.ok();
        }
        b"rewrite" if nr == 2 => {
            return Err(Failure::Text("ERR The server is running without a config file"));
        }
        _ => return Err(unknown("config", arguments.get(1))),
    }
    Ok(())
}

fn all_settings(server: &Server) -> Vec<(&'static str, String)> {
    let (settings, config) = (&server.settings, &server.config);
    let bind: Vec<_> = config.bind.iter().map(ToString::to_string).collect();
    vec![
        ("appendonly", "no".to_owned()),
        ("bind", bind.join(" ")),
        ("databases", NR_DATABASES.to_string()),
        ("maxclients", settings.max_clients.load(Relaxed).to_string()),
        ("maxmemory", settings.max_memory.load(Relaxed).to_string()),
        ("maxmemory-clients", config.client_memory.to_string()),
        ("maxmemory-policy", settings.policy().name().to_owned()),
        ("port", server.port.load(Relaxed).to_string()),
        ("proto-max-bulk-len", config.max_argument.to_string()),
        ("requirepass", settings.password().unwrap_or_default()),
        ("save", String::new()),
        ("tcp-keepalive", config.keepalive_s.to_string()),
        ("timeout", settings.timeout_s.load(Relaxed).to_string()),
    ]
}

fn change(server: &Server, name: &[u8], value: &[u8]) -> Outcome {
    let settings = &server.settings;
    let text = String::from_utf8_lossy(value);
    let wrong = |why: &str| {
        Failure::Other(format!(
            "ERR CONFIG SET failed (possibly related to argument '{}') - {why}",
            shown(name)
        ))
    };
    let number = || text.parse::<u64>().map_err(|_| wrong("argument couldn't be parsed into an integer"));
    match name.to_ascii_lowercase().as_slice() {
        b"maxmemory" => {
            let bytes = bytes_of(&text).ok_or_else(|| wrong("argument must be a memory value"))?;
            settings.max_memory.store(bytes, Relaxed);
        }
        b"maxmemory-policy" => {
            let policy =
                Policy::by_name(&text).ok_or_else(|| wrong("argument(s) must be one of the policies"))?;
            settings.set_policy(policy);
        }
        b"maxclients" => settings.max_clients.store(number()?.max(1) as usize, Relaxed),
        b"timeout" => settings.timeout_s.store(number()?, Relaxed),
        b"requirepass" => settings.set_password((!text.is_empty()).then(|| text.into_owned())),
        _ if all_settings(server).iter().any(|(known, _)| is_word(name, known)) => {
            return Err(wrong("can't set immutable config"));
        }
        _ => {
            return Err(Failure::Other(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                shown(name)
            )));
        }
    }
    Ok(())
}

/// Reads `100mb` and the like.
fn bytes_of(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

pub(crate) fn command(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let nr = arguments.len();
    match arguments.get(1).to_ascii_lowercase().as_slice() {
        b"" if nr == 1 => {
            context.reply.array(COMMANDS.len());
            COMMANDS.iter().for_each(|command| describe(context, command));
        }
        b"count" if nr == 2 => context.reply.count(COMMANDS.len()),
        b"list" if nr == 2 => {
            context.reply.array(COMMANDS.len());
            COMMANDS.iter().for_each(|command| context.reply.bulk(command.name.as_bytes()));
        }
        b"info" => {
            let asked: Vec<_> = match nr {
                2 => COMMANDS.iter().map(Some).collect(),
                _ => arguments.from(2).map(registry::find).collect(),
            };
            context.reply.array(asked.len());
            for command in asked {
                match command {
                    Some(command) => describe(context, command),
                    None => context.reply.null_array(),
                }
            }
        }
        b"docs" => {
            let asked: Vec<_> = match nr {
                2 => COMMANDS.iter().collect(),
                _ => arguments.from(2).filter_map(registry::find).collect(),
            };
            context.reply.map(asked.len());
            for command in asked {
                context.reply.bulk(command.name.as_bytes());
                context.reply.map(2);
                for text in ["summary", &summary(command), "group", command.group] {
                    context.reply.bulk(text.as_bytes());
                }
            }
        }
        b"getkeys" if nr >= 3 => keys_of(context, arguments)?,
        _ => return Err(unknown("command", arguments.get(1))),
    }
    Ok(())
}

fn summary(command: &Command) -> String {
    let what = match command.access {
        Access::Fill => "changes keys and may need memory",
        Access::Write => "changes keys",
        Access::Read => "reads keys",
        Access::Plain | Access::Open => "has to do with the server or the connection",
    };
    format!("{} {what}", command.name.to_uppercase())
}

fn describe(context: &mut Context<'_, '_>, command: &Command) {
    let reply = &mut context.reply;
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(command.arity);
    let flags: &[&str] = match command.access {
        Access::Fill => &["write", "denyoom"],
        Access::Write => &["write"],
        Access::Read => &["readonly"],
        Access::Plain => &["loading", "stale"],
        Access::Open => &["noscript", "loading", "stale", "no_auth"],
    };
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    let (first, last, step) = command.keys;
    [first, last, step].into_iter().for_each(|number| reply.integer(number));
    // Categories, tips, key specifications and subcommands, of which nothing is said.
    reply.set(0);
    (0..3).for_each(|_| reply.array(0));
}

fn keys_of(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let command = registry::find(arguments.get(2)).ok_or(Failure::Text("ERR Invalid command specified"))?;
    let (first, last, step) = command.keys;
    if first == 0 {
        return Err(Failure::Text("ERR The command has no key arguments"));
    }
    let nr = arguments.len() as i64 - 2;
    if if command.arity < 0 { nr < -command.arity } else { nr != command.arity } {
        return Err(Failure::Text("ERR Invalid number of arguments specified for command"));
    }
    let last = if last < 0 { nr + last } else { last };
    let keys: Vec<_> = (first..=last).step_by(step as usize).collect();
    context.reply.array(keys.len());
    keys.iter().for_each(|&index| context.reply.bulk(arguments.get(index as usize + 2)));
    Ok(())
}

pub(crate) fn time(context: &mut Context<'_, '_>, _: &Arguments<'_>) -> Outcome {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    context.reply.array(2);
    context.reply.bulk(since.as_secs().to_string().as_bytes());
    context.reply.bulk(since.subsec_micros().to_string().as_bytes());
    Ok(())
}

pub(crate) fn shutdown(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let is_known = |word: &[u8]| ["SAVE", "NOSAVE", "NOW", "FORCE"].iter().any(|known| is_word(word, known));
    if !arguments.from(1).all(is_known) {
        return Err(Failure::Syntax);
    }
    // No reply: the client sees the connection end.
    context.session.is_closing = true;
    context.server.stop();
    Ok(())
}
