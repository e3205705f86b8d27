//! Walks: KEYS, SCAN, HSCAN, SSCAN.
//!
//! A cursor of SCAN is the cursor of a table times the number of shards, plus the shard, which the heap keeps for good: it goes on
//! in the next generation as in this one.

use super::glob::matches;
use super::keys::kind_name;
use super::{Context, Failure, Outcome, integer, is_word};
use crate::protocol::request::Arguments;
use crate::store::item::{Item, Kind};
use crate::store::shard::Shard;

/// Items visited if a client does not say how many.
const DEFAULT_COUNT: usize = 10;

/// What SCAN and its kin are told.
struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    kind: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    fn parse(arguments: &Arguments<'a>, first: usize, may_have_kind: bool) -> Result<Self, Failure> {
        let mut options = Self { pattern: None, count: DEFAULT_COUNT, kind: None };
        for index in (first..arguments.len()).step_by(2) {
            let (word, value) = (arguments.get(index), arguments.get(index + 1));
            if index + 1 == arguments.len() {
                return Err(Failure::Syntax);
            } else if is_word(word, "MATCH") {
                options.pattern = Some(value);
            } else if is_word(word, "COUNT") {
                let count = integer(value)?;
                options.count =
                    usize::try_from(count).ok().filter(|&count| count > 0).ok_or(Failure::Syntax)?;
            } else if is_word(word, "TYPE") && may_have_kind {
                options.kind = Some(value);
            } else {
                return Err(Failure::Syntax);
            }
        }
        Ok(options)
    }

    fn wants(&self, item: &Item) -> bool {
        self.pattern.is_none_or(|pattern| matches(pattern, item.key()))
            && self.kind.is_none_or(|kind| is_word(kind, kind_name(item.kind())))
    }
}

fn cursor(text: &[u8]) -> Result<u64, Failure> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or(Failure::Text("ERR invalid cursor"))
}

pub(crate) fn keys(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let (pattern, now, database) = (arguments.get(1), context.now, context.database());
    let mut found = Vec::new();
    for index in 0..context.store().nr_shards() {
        let shard = context.store().lock(context.inside, index);
        let wanted = shard
            .table(database)
            .iter()
            .filter(|item| !has_expired(item, now) && matches(pattern, item.key()));
        found.extend(wanted.map(|item| item.key().to_vec()));
    }
    context.reply.array(found.len());
    found.iter().for_each(|key| context.reply.bulk(key));
    Ok(())
}

fn has_expired(item: &Item, now: u64) -> bool {
    item.deadline().is_some_and(|deadline| deadline <= now)
}

pub(crate) fn scan(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let cursor = cursor(arguments.get(1))?;
    let options = ScanOptions::parse(arguments, 2, true)?;
    let nr_shards = context.store().nr_shards() as u64;
    let (now, database) = (context.now, context.database());
    let (mut index, mut at) = (cursor % nr_shards, cursor / nr_shards);
    let (mut found, mut visited, mut steps) = (Vec::new(), 0, 0);
    let next = loop {
        let shard = context.store().lock(context.inside, index as usize);
        let shard: &Shard = &shard;
        at = shard.table(database).scan(at, |item| {
            visited += 1;
            if !has_expired(item, now) && options.wants(item) {
                found.push(item.key().to_vec());
            }
        });
        if at == 0 {
            index += 1;
            if index == nr_shards {
                break 0;
            }
        }
        steps += 1;
        // A table that is nearly empty is not walked to its end in one call.
        if visited >= options.count || steps >= options.count.saturating_mul(10) {
            break at * nr_shards + index;
        }
    };
    context.reply.array(2);
    context.reply.bulk(next.to_string().as_bytes());
    context.reply.array(found.len());
    found.iter().for_each(|key| context.reply.bulk(key));
    Ok(())
}

pub(crate) fn scan_hash(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    scan_inside(context, arguments, Kind::Hash)
}

pub(crate) fn scan_set(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    scan_inside(context, arguments, Kind::Set)
}

fn scan_inside(context: &mut Context<'_, '_>, arguments: &Arguments<'_>, kind: Kind) -> Outcome {
    let mut at = cursor(arguments.get(2))?;
    let keyed = context.open_to_read(arguments.get(1));
    let Some(table) = keyed.of_kind(kind)?.and_then(|item| item.table(kind)) else {
        context.reply.array(2);
        context.reply.bulk(b"0");
        context.reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(arguments, 3, false)?;
    let (mut found, mut visited) = (Vec::new(), 0);
    loop {
        let visit = |item: &Item| {
            visited += 1;
            if options.pattern.is_none_or(|pattern| matches(pattern, item.key())) {
                found.push(item.key().to_vec());
                if kind == Kind::Hash {
                    found.push(item.value().to_vec());
                }
            }
        };
        at = table.scan(at, visit);
        if at == 0 || visited >= options.count {
            break;
        }
    }
    context.reply.array(2);
    context.reply.bulk(at.to_string().as_bytes());
    context.reply.array(found.len());
    found.iter().for_each(|text| context.reply.bulk(text));
    Ok(())
}
