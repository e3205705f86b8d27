//! Keys, whatever their values are: DEL, EXISTS, RENAME and their kin.

use super::strings::Locks;
use super::{Context, Failure, Outcome, is_word};
use crate::protocol::request::Arguments;
use crate::store::hash::hash;
use crate::store::item::Kind;
use crate::store::rename::{self, Name};
use crate::store::scan::Random;

pub(crate) fn delete(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    if arguments.len() == 2 {
        let is_gone = context.open(arguments.get(1)).remove();
        context.reply.integer(is_gone.into());
        return Ok(());
    }
    let mut locks = Locks::of(context, arguments.from(1));
    let mut gone = 0;
    for key in arguments.from(1) {
        let mut keyed = locks.take(context, key);
        gone += i64::from(keyed.remove());
        locks.give_back(context, keyed);
    }
    context.reply.integer(gone);
    Ok(())
}

pub(crate) fn exists(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let mut locks = Locks::of(context, arguments.from(1));
    let mut found = 0;
    for key in arguments.from(1) {
        let mut keyed = locks.take(context, key);
        keyed.note_use();
        found += i64::from(keyed.place.is_some());
        locks.give_back(context, keyed);
    }
    context.reply.integer(found);
    Ok(())
}

pub(crate) fn kind(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open(arguments.get(1));
    context.reply.simple(keyed.item().map_or("none", |item| kind_name(item.kind())));
    Ok(())
}

pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "string",
        Kind::Hash => "hash",
        Kind::List => "list",
        Kind::Set => "set",
    }
}

pub(crate) fn rename(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let _is_renamed = rename_key(context, arguments, false)?;
    context.reply.ok();
    Ok(())
}

pub(crate) fn rename_if_new(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let is_renamed = rename_key(context, arguments, true)?;
    context.reply.integer(is_renamed.into());
    Ok(())
}

/// Renames a key. False where the new name was to be new and is not.
fn rename_key(context: &Context<'_, '_>, arguments: &Arguments<'_>, only_new: bool) -> Result<bool, Failure> {
    let (from, to) = (arguments.get(1), arguments.get(2));
    let mut locks = Locks::of(context, arguments.from(1));
    let source = locks.take(context, from);
    let is_there = source.place.is_some();
    locks.give_back(context, source);
    if !is_there {
        return Err(Failure::NoSuchKey);
    }
    let target = locks.take(context, to);
    let is_taken = target.place.is_some();
    locks.give_back(context, target);
    if only_new && is_taken {
        return Ok(false);
    }
    if from == to {
        return Ok(true);
    }
    let named = |key| Name { key, hash: hash(key) };
    let (source, target) = locks.pair(context, from, to);
    rename::rename(source, target, context.database(), (named(from), named(to)), context.now)?;
    Ok(true)
}

pub(crate) fn random(context: &mut Context<'_, '_>, _: &Arguments<'_>) -> Outcome {
    let store = context.store();
    let mut random = Random::new(context.server.next_random());
    let database = context.database();
    // The last key may expire while it is looked for; an expired one is removed and another picked.
    for _ in 0..100 {
        let (nr_keys, _) = store.count(context.inside, database);
        if nr_keys == 0 {
            break;
        }
        let mut nth = random.below(nr_keys as usize);
        for index in 0..store.nr_shards() {
            let mut shard = store.lock(context.inside, index);
            let len = shard.table(database).len();
            if nth >= len {
                nth -= len;
                continue;
            }
            let Some(place) = shard.table(database).pick(&mut random) else { break };
            let key = shard.item(database, place).key().to_vec();
            if shard.find(database, hash(&key), &key, context.now).is_some() {
                context.reply.bulk(&key);
                return Ok(());
            }
            break;
        }
    }
    context.reply.null();
    Ok(())
}

pub(crate) fn size(context: &mut Context<'_, '_>, _: &Arguments<'_>) -> Outcome {
    let (keys, _) = context.store().count(context.inside, context.database());
    context.reply.integer(keys as i64);
    Ok(())
}

pub(crate) fn flush_all(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    flush_databases(context, arguments, None)
}

pub(crate) fn flush(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let database = context.database();
    flush_databases(context, arguments, Some(database))
}

fn flush_databases(
    context: &mut Context<'_, '_>,
    arguments: &Arguments<'_>,
    database: Option<usize>,
) -> Outcome {
    // At once in either case: a table goes as fast as its items can be given back.
    let is_known = |word| is_word(word, "ASYNC") || is_word(word, "SYNC");
    if arguments.len() > 2 || arguments.len() == 2 && !is_known(arguments.get(1)) {
        return Err(Failure::Syntax);
    }
    context.store().clear(context.inside, database);
    context.reply.ok();
    Ok(())
}
