//! Text values: GET, SET and their kin.

use super::deadline::{Base, Unit, deadline_from};
use super::{Context, Failure, Keyed, Outcome, integer, is_word, name_of};
use crate::protocol::request::Arguments;
use crate::store::hash::hash;
use crate::store::item::{Item, MAX_TEXT_BYTES};
use crate::store::shard::Shard;
use crate::store::{Locked, MAX_SHARDS};

pub(crate) fn get(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    context.reply.bulk_or_null(keyed.text()?);
    Ok(())
}

/// What SET is told besides key and value.
#[derive(Default)]
struct SetOptions<'a> {
    /// A time as it was written: it is looked at when all else is in order.
    time: Option<(&'a [u8], Unit, Base)>,
    keep: bool,
    only_new: bool,
    only_old: bool,
    get: bool,
}

impl<'a> SetOptions<'a> {
    fn parse(arguments: &Arguments<'a>) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut at = 3;
        while at < arguments.len() {
            let word = arguments.get(at);
            if is_word(word, "NX") && !options.only_old {
                options.only_new = true;
            } else if is_word(word, "XX") && !options.only_new {
                options.only_old = true;
            } else if is_word(word, "GET") {
                options.get = true;
            } else if is_word(word, "KEEPTTL") && options.time.is_none() {
                options.keep = true;
            } else if let Some((unit, base)) = Base::by_word(word)
                && !options.keep
                && options.time.is_none()
                && at + 1 < arguments.len()
            {
                at += 1;
                options.time = Some((arguments.get(at), unit, base));
            } else {
                return Err(Failure::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

pub(crate) fn set(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let (key, value) = (arguments.get(1), arguments.get(2));
    if arguments.len() == 3 {
        let item = Item::try_text(key, &[value], None)?;
        context.open(key).put(item)?;
        context.reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(arguments)?;
    let deadline = match options.time {
        Some((text, unit, base)) => Some(deadline_from(text, unit, base, context.now, "set")?),
        None => None,
    };
    let mut keyed = context.open(key);
    let start = context.reply.out.len();
    if options.get {
        let old = keyed.text()?;
        context.reply.bulk_or_null(old);
    }
    let is_there = keyed.place.is_some();
    if options.only_new && is_there || options.only_old && !is_there {
        if !options.get {
            context.reply.null();
        }
        return Ok(());
    }
    let kept = keyed.item().and_then(Item::deadline).filter(|_| options.keep);
    let item = Item::try_text(key, &[value], deadline.or(kept))?;
    if let Err(failure) = keyed.put(item) {
        context.reply.out.truncate(start);
        return Err(failure);
    }
    if !options.get {
        context.reply.ok();
    }
    Ok(())
}

pub(crate) fn set_if_new(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let key = arguments.get(1);
    let mut keyed = context.open(key);
    let is_new = keyed.place.is_none();
    if is_new {
        keyed.put(Item::try_text(key, &[arguments.get(2)], None)?)?;
    }
    context.reply.integer(is_new.into());
    Ok(())
}

pub(crate) fn set_seconds(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    set_for(context, arguments, Unit::Seconds)
}

pub(crate) fn set_milliseconds(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    set_for(context, arguments, Unit::Milliseconds)
}

fn set_for(context: &mut Context<'_, '_>, arguments: &Arguments<'_>, unit: Unit) -> Outcome {
    let key = arguments.get(1);
    let name = name_of(arguments);
    let deadline = deadline_from(arguments.get(2), unit, Base::Now, context.now, &name)?;
    let item = Item::try_text(key, &[arguments.get(3)], Some(deadline))?;
    context.open(key).put(item)?;
    context.reply.ok();
    Ok(())
}

pub(crate) fn get_and_set(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let key = arguments.get(1);
    let mut keyed = context.open_to_read(key);
    let start = context.reply.out.len();
    context.reply.bulk_or_null(keyed.text()?);
    let put = Item::try_text(key, &[arguments.get(2)], None)
        .map_err(Failure::from)
        .and_then(|item| keyed.put(item));
    if put.is_err() {
        context.reply.out.truncate(start);
    }
    put
}

pub(crate) fn get_and_delete(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let mut keyed = context.open_to_read(arguments.get(1));
    context.reply.bulk_or_null(keyed.text()?);
    keyed.remove();
    Ok(())
}

pub(crate) fn get_and_expire(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let time = match arguments.len() {
        2 => None,
        3 if is_word(arguments.get(2), "PERSIST") => None,
        4 => Some(Base::by_word(arguments.get(2)).ok_or(Failure::Syntax)?),
        _ => return Err(Failure::Syntax),
    };
    let mut keyed = context.open_to_read(arguments.get(1));
    context.reply.bulk_or_null(keyed.text()?);
    if keyed.place.is_none() {
        return Ok(());
    }
    let deadline = match time {
        Some((unit, base)) => Some(deadline_from(arguments.get(3), unit, base, context.now, "getex")?),
        None if arguments.len() == 3 => None,
        None => return Ok(()),
    };
    keyed.change(|item| item.set_deadline(deadline)).transpose()?;
    Ok(())
}

pub(crate) fn get_range(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let (start, end) = (integer(arguments.get(2))?, integer(arguments.get(3))?);
    let keyed = context.open_to_read(arguments.get(1));
    let text = keyed.text()?.unwrap_or_default();
    let len = text.len() as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
    let is_reversed = start < 0 && end < 0 && start > end;
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    let range = if is_reversed || start > end { 0..0 } else { start as usize..end as usize + 1 };
    context.reply.bulk(&text[range]);
    Ok(())
}

pub(crate) fn get_many(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let mut locks = Locks::of(context, arguments.from(1));
    context.reply.array(arguments.len() - 1);
    for key in arguments.from(1) {
        let mut keyed = locks.take(context, key);
        keyed.note_use();
        let text = keyed.item().and_then(Item::text);
        context.reply.bulk_or_null(text);
        locks.give_back(context, keyed);
    }
    Ok(())
}

pub(crate) fn set_many(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    set_pairs(context, arguments, false)?;
    context.reply.ok();
    Ok(())
}

pub(crate) fn set_many_if_new(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let is_set = set_pairs(context, arguments, true)?;
    context.reply.integer(is_set.into());
    Ok(())
}

/// Sets pairs of keys and values, all at once. False where they were to be new and one of them is not.
fn set_pairs(
    context: &mut Context<'_, '_>,
    arguments: &Arguments<'_>,
    only_new: bool,
) -> Result<bool, Failure> {
    if arguments.len().is_multiple_of(2) {
        return Err(Failure::Arity(name_of(arguments)));
    }
    // What may fail comes before what others can see.
    let mut items = Vec::with_capacity(arguments.len() / 2);
    for index in (1..arguments.len()).step_by(2) {
        items.push(Item::try_text(arguments.get(index), &[arguments.get(index + 1)], None)?);
    }
    let mut locks = Locks::of(context, arguments.from(1).step_by(2));
    if only_new {
        for key in arguments.from(1).step_by(2) {
            let keyed = locks.take(context, key);
            let is_there = keyed.place.is_some();
            locks.give_back(context, keyed);
            if is_there {
                return Ok(false);
            }
        }
    }
    for item in items {
        let mut keyed = locks.take(context, item.key());
        let put = keyed.put(item);
        locks.give_back(context, keyed);
        put?;
    }
    Ok(true)
}

/// The shards of several keys, locked in the order of their numbers.
pub(super) struct Locks<'a>([Option<Locked<'a>>; MAX_SHARDS]);

impl<'a> Locks<'a> {
    pub(super) fn of<'k>(context: &Context<'a, '_>, keys: impl Iterator<Item = &'k [u8]>) -> Self {
        let store = context.store();
        let wanted = keys.fold(0_u64, |wanted, key| wanted | 1 << store.index_of(hash(key)));
        Self(std::array::from_fn(|index| {
            (wanted >> index & 1 != 0).then(|| store.lock(context.inside, index))
        }))
    }

    /// Looks a key up that was among those whose shards were locked.
    pub(super) fn take(&mut self, context: &Context<'a, '_>, key: &[u8]) -> Keyed<'a> {
        let hash = hash(key);
        let shard = self.0[context.store().index_of(hash)].take().expect("the key's shard was locked");
        context.look_up(shard, hash, key)
    }

    /// The shards of two keys; the second is `None` where it is the first.
    pub(super) fn pair(
        &mut self,
        context: &Context<'a, '_>,
        first: &[u8],
        second: &[u8],
    ) -> (&mut Shard, Option<&mut Shard>) {
        let (first, second) = (context.store().index_of(hash(first)), context.store().index_of(hash(second)));
        if first == second {
            return (self.0[first].as_deref_mut().expect("the key's shard was locked"), None);
        }
        let (low, high) = self.0.split_at_mut(first.max(second));
        let low = low[first.min(second)].as_deref_mut().expect("the key's shard was locked");
        let high = high[0].as_deref_mut().expect("the key's shard was locked");
        if first < second { (low, Some(high)) } else { (high, Some(low)) }
    }

    pub(super) fn give_back(&mut self, context: &Context<'a, '_>, keyed: Keyed<'a>) {
        self.0[context.store().index_of(keyed.hash)] = Some(keyed.shard);
    }
}

pub(crate) fn append(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let (key, more) = (arguments.get(1), arguments.get(2));
    let mut keyed = context.open(key);
    let len = match keyed.text()? {
        None => {
            keyed.put(Item::try_text(key, &[more], None)?)?;
            more.len()
        }
        Some(text) => {
            let len = text.len() + more.len();
            if len > MAX_TEXT_BYTES {
                return Err(Failure::TooLong);
            }
            keyed.change(|item| item.try_append(more)).transpose()?;
            len
        }
    };
    context.reply.count(len);
    Ok(())
}

pub(crate) fn length(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    context.reply.count(keyed.text()?.map_or(0, <[u8]>::len));
    Ok(())
}
