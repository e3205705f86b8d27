//! All commands by name, and the way from a request to its handler.

use std::sync::OnceLock;

use super::{
    Context, Failure, Outcome, clients, connection, counters, deadline, hashes, info, keys, lists, scans,
    sets, settings, shown, strings,
};
use crate::protocol::request::Arguments;

/// A handler.
type Handler = fn(&mut Context<'_, '_>, &Arguments<'_>) -> Outcome;

/// What a command is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It changes keys and may need memory.
    Fill,
    /// It changes keys and frees memory at most.
    Write,
    /// It reads keys.
    Read,
    /// It has to do with the server, not with keys.
    Plain,
    /// As above, and does not need the password.
    Open,
}

/// One command.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// Arguments with the name; if negative, at least so many.
    pub(crate) arity: i64,
    pub(crate) access: Access,
    /// The first argument that is a key, the last (counted from the end if negative) and the step.
    pub(crate) keys: (i64, i64, i64),
    pub(crate) group: &'static str,
    handler: Handler,
}

use Access::{Fill, Open, Plain, Read, Write};

const ONE: (i64, i64, i64) = (1, 1, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);
const PAIRS: (i64, i64, i64) = (1, -1, 2);
const NONE: (i64, i64, i64) = (0, 0, 0);

const fn entry(
    name: &'static str,
    arity: i64,
    access: Access,
    keys: (i64, i64, i64),
    group: &'static str,
    handler: Handler,
) -> Command {
    Command { name, arity, access, keys, group, handler }
}

/// All commands.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Command] = &[
    entry("get", 2, Read, ONE, "string", strings::get),
    entry("set", -3, Fill, ONE, "string", strings::set),
    entry("setnx", 3, Fill, ONE, "string", strings::set_if_new),
    entry("setex", 4, Fill, ONE, "string", strings::set_seconds),
    entry("psetex", 4, Fill, ONE, "string", strings::set_milliseconds),
    entry("getset", 3, Fill, ONE, "string", strings::get_and_set),
    entry("getdel", 2, Write, ONE, "string", strings::get_and_delete),
    entry("getex", -2, Write, ONE, "string", strings::get_and_expire),
    entry("getrange", 4, Read, ONE, "string", strings::get_range),
    entry("substr", 4, Read, ONE, "string", strings::get_range),
    entry("mget", -2, Read, ALL, "string", strings::get_many),
    entry("mset", -3, Fill, PAIRS, "string", strings::set_many),
    entry("msetnx", -3, Fill, PAIRS, "string", strings::set_many_if_new),
    entry("append", 3, Fill, ONE, "string", strings::append),
    entry("strlen", 2, Read, ONE, "string", strings::length),
    entry("incr", 2, Fill, ONE, "string", counters::increment),
    entry("decr", 2, Fill, ONE, "string", counters::decrement),
    entry("incrby", 3, Fill, ONE, "string", counters::increment_by),
    entry("decrby", 3, Fill, ONE, "string", counters::decrement_by),
    entry("incrbyfloat", 3, Fill, ONE, "string", counters::increment_by_float),
    entry("del", -2, Write, ALL, "generic", keys::delete),
    entry("unlink", -2, Write, ALL, "generic", keys::delete),
    entry("exists", -2, Read, ALL, "generic", keys::exists),
    entry("touch", -2, Read, ALL, "generic", keys::exists),
    entry("type", 2, Read, ONE, "generic", keys::kind),
    entry("keys", 2, Read, NONE, "generic", scans::keys),
    entry("scan", -2, Read, NONE, "generic", scans::scan),
    entry("rename", 3, Fill, (1, 2, 1), "generic", keys::rename),
    entry("renamenx", 3, Fill, (1, 2, 1), "generic", keys::rename_if_new),
    entry("randomkey", 1, Read, NONE, "generic", keys::random),
    entry("expire", -3, Write, ONE, "generic", deadline::expire),
    entry("pexpire", -3, Write, ONE, "generic", deadline::expire_milliseconds),
    entry("expireat", -3, Write, ONE, "generic", deadline::expire_at),
    entry("pexpireat", -3, Write, ONE, "generic", deadline::expire_at_milliseconds),
    entry("ttl", 2, Read, ONE, "generic", deadline::left),
    entry("pttl", 2, Read, ONE, "generic", deadline::left_milliseconds),
    entry("expiretime", 2, Read, ONE, "generic", deadline::time),
    entry("pexpiretime", 2, Read, ONE, "generic", deadline::time_milliseconds),
    entry("persist", 2, Write, ONE, "generic", deadline::persist),
    entry("hset", -4, Fill, ONE, "hash", hashes::set),
    entry("hmset", -4, Fill, ONE, "hash", hashes::set_many),
    entry("hsetnx", 4, Fill, ONE, "hash", hashes::set_if_new),
    entry("hget", 3, Read, ONE, "hash", hashes::get),
    entry("hmget", -3, Read, ONE, "hash", hashes::get_many),
    entry("hgetall", 2, Read, ONE, "hash", hashes::get_all),
    entry("hkeys", 2, Read, ONE, "hash", hashes::fields),
    entry("hvals", 2, Read, ONE, "hash", hashes::values),
    entry("hdel", -3, Write, ONE, "hash", hashes::delete),
    entry("hlen", 2, Read, ONE, "hash", hashes::count),
    entry("hexists", 3, Read, ONE, "hash", hashes::exists),
    entry("hstrlen", 3, Read, ONE, "hash", hashes::length),
    entry("hincrby", 4, Fill, ONE, "hash", hashes::increment_by),
    entry("hincrbyfloat", 4, Fill, ONE, "hash", hashes::increment_by_float),
    entry("hscan", -3, Read, ONE, "hash", scans::scan_hash),
    entry("lpush", -3, Fill, ONE, "list", lists::push_front),
    entry("rpush", -3, Fill, ONE, "list", lists::push_back),
    entry("lpushx", -3, Fill, ONE, "list", lists::push_front_if_there),
    entry("rpushx", -3, Fill, ONE, "list", lists::push_back_if_there),
    entry("lpop", -2, Write, ONE, "list", lists::pop_front),
    entry("rpop", -2, Write, ONE, "list", lists::pop_back),
    entry("llen", 2, Read, ONE, "list", lists::count),
    entry("lrange", 4, Read, ONE, "list", lists::range),
    entry("lindex", 3, Read, ONE, "list", lists::element),
    entry("sadd", -3, Fill, ONE, "set", sets::add),
    entry("srem", -3, Write, ONE, "set", sets::remove),
    entry("sismember", 3, Read, ONE, "set", sets::contains),
    entry("smismember", -3, Read, ONE, "set", sets::contains_many),
    entry("smembers", 2, Read, ONE, "set", sets::members),
    entry("scard", 2, Read, ONE, "set", sets::count),
    entry("spop", -2, Write, ONE, "set", sets::pop),
    entry("sscan", -3, Read, ONE, "set", scans::scan_set),
    entry("ping", -1, Plain, NONE, "connection", connection::ping),
    entry("echo", 2, Plain, NONE, "connection", connection::echo),
    entry("hello", -1, Open, NONE, "connection", connection::hello),
    entry("auth", -2, Open, NONE, "connection", connection::authenticate),
    entry("quit", -1, Open, NONE, "connection", connection::quit),
    entry("reset", 1, Open, NONE, "connection", connection::reset),
    entry("select", 2, Plain, NONE, "connection", connection::select),
    entry("client", -2, Plain, NONE, "connection", clients::client),
    entry("command", -1, Plain, NONE, "server", settings::command),
    entry("config", -2, Plain, NONE, "server", settings::config),
    entry("info", -1, Plain, NONE, "server", info::info),
    entry("dbsize", 1, Read, NONE, "server", keys::size),
    entry("flushall", -1, Write, NONE, "server", keys::flush_all),
    entry("flushdb", -1, Write, NONE, "server", keys::flush),
    entry("time", 1, Plain, NONE, "server", settings::time),
    entry("shutdown", -1, Plain, NONE, "server", settings::shutdown),
];

/// Executes a request and writes its reply.
#[inline]
pub(crate) fn execute(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) {
    let start = context.reply.out.len();
    if let Err(failure) = try_execute(context, arguments) {
        context.reply.out.truncate(start);
        context.server.counters.note_error();
        context.reply.error(&failure.to_string());
    }
}

#[inline]
fn try_execute(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let Some(command) = find(arguments.get(0)) else {
        return Err(if context.session.is_stranger { no_auth() } else { unknown(arguments) });
    };
    if context.session.is_stranger && command.access != Open {
        return Err(no_auth());
    }
    let nr = arguments.len() as i64;
    if if command.arity < 0 { nr < -command.arity } else { nr != command.arity } {
        return Err(Failure::Arity(command.name.to_owned()));
    }
    if command.access == Fill {
        return fill(context, arguments, command);
    }
    (command.handler)(context, arguments)
}

/// Executes a command that may need memory: what is over the limit gives way first, and where the heap is full, more does.
#[inline]
fn fill(context: &mut Context<'_, '_>, arguments: &Arguments<'_>, command: &Command) -> Outcome {
    if !context.server.make_room(context.inside, context.clock()) {
        return Err(Failure::Memory);
    }
    let start = context.reply.out.len();
    for _ in 0..EVICTIONS_A_COMMAND {
        match (command.handler)(context, arguments) {
            Err(Failure::Memory) => {}
            outcome => return outcome,
        }
        context.reply.out.truncate(start);
        if !context.server.evict(context.inside, context.clock()) {
            break;
        }
    }
    Err(Failure::Memory)
}

/// How many items give way to a command for which the heap has no room, one after the other.
const EVICTIONS_A_COMMAND: usize = 64;

fn no_auth() -> Failure {
    Failure::Text("NOAUTH Authentication required.")
}

#[cold]
fn unknown(arguments: &Arguments<'_>) -> Failure {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", shown(arguments.get(0)));
    for argument in arguments.from(1) {
        if text.len() >= 128 {
            break;
        }
        text.push_str(&format!("'{}' ", shown(argument)));
    }
    Failure::Other(text)
}

/// Finds a command by its name, in whatever case.
#[inline]
pub(crate) fn find(name: &[u8]) -> Option<&'static Command> {
    let word = word_of(name)?;
    let index = INDEX.get_or_init(Index::new);
    let mut at = Index::place(word);
    loop {
        let (found, number) = index.0[at];
        if found == word {
            return Some(&COMMANDS[usize::from(number)]);
        }
        if found == 0 {
            return None;
        }
        at = (at + 1) % PLACES;
    }
}

static INDEX: OnceLock<Index> = OnceLock::new();

const PLACES: usize = 512;

/// Names as numbers, at a place that a multiplication tells.
struct Index([(u128, u8); PLACES]);

impl Index {
    fn new() -> Self {
        let mut places = [(0, 0); PLACES];
        for (command, number) in COMMANDS.iter().zip(0..) {
            let word = word_of(command.name.as_bytes()).expect("names are short");
            let mut at = Self::place(word);
            while places[at].0 != 0 {
                at = (at + 1) % PLACES;
            }
            places[at] = (word, number);
        }
        Self(places)
    }

    #[inline]
    fn place(word: u128) -> usize {
        let folded = (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (word >> 64) as u64;
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize
    }
}

/// A name of at most 16 bytes as a number, in lower case.
#[inline]
fn word_of(name: &[u8]) -> Option<u128> {
    if name.is_empty() || name.len() > 16 {
        return None;
    }
    Some(name.iter().fold(0, |word, byte| word << 8 | u128::from(byte.to_ascii_lowercase())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name() {
        for command in COMMANDS {
            assert_eq!(find(command.name.as_bytes()).unwrap().name, command.name);
            assert_eq!(find(command.name.to_uppercase().as_bytes()).unwrap().name, command.name);
        }
        for name in ["", "getx", "ge", "incrbyfloatincrbyfloat"] {
            assert!(find(name.as_bytes()).is_none());
        }
    }
}
