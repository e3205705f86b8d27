//! Hashes: HSET, HGET and their kin.

use super::{Context, Failure, Keyed, Outcome, integer, name_of};
use crate::protocol::number::{Decimal, parse_i64};
use crate::protocol::request::Arguments;
use crate::store::hash::hash;
use crate::store::item::{Item, Kind};
use crate::store::table::Table;

/// Sets a field. Returns whether it is new.
fn put(table: &mut Table, field: &[u8], value: &[u8]) -> Result<bool, Failure> {
    let hash = hash(field);
    let item = Item::try_text(field, &[value], None)?;
    Ok(match table.find(hash, field) {
        Some(place) => {
            drop(table.replace(place, item));
            false
        }
        None => {
            table.insert(hash, item)?;
            true
        }
    })
}

fn fields_mut(item: &mut Item) -> &mut Table {
    item.table_mut(Kind::Hash).expect("the kind was looked at")
}

/// The fields of a key that is a hash; `None` where there is no key.
fn fields_of<'a>(keyed: &'a Keyed<'_>) -> Result<Option<&'a Table>, Failure> {
    Ok(keyed.of_kind(Kind::Hash)?.and_then(|item| item.table(Kind::Hash)))
}

fn set_pairs(context: &Context<'_, '_>, arguments: &Arguments<'_>) -> Result<i64, Failure> {
    if !arguments.len().is_multiple_of(2) {
        return Err(Failure::Arity(name_of(arguments)));
    }
    let key = arguments.get(1);
    let mut keyed = context.open(key);
    keyed.change_or_make(Kind::Hash, key, |item| {
        let table = fields_mut(item);
        let mut added = 0;
        for index in (2..arguments.len()).step_by(2) {
            added += i64::from(put(table, arguments.get(index), arguments.get(index + 1))?);
        }
        Ok(added)
    })?
}

pub(crate) fn set(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let added = set_pairs(context, arguments)?;
    context.reply.integer(added);
    Ok(())
}

pub(crate) fn set_many(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let _added = set_pairs(context, arguments)?;
    context.reply.ok();
    Ok(())
}

pub(crate) fn set_if_new(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let (key, field) = (arguments.get(1), arguments.get(2));
    let mut keyed = context.open(key);
    let is_there = fields_of(&keyed)?.is_some_and(|table| table.find(hash(field), field).is_some());
    if !is_there {
        keyed.change_or_make(Kind::Hash, key, |item| put(fields_mut(item), field, arguments.get(3)))??;
    }
    context.reply.integer((!is_there).into());
    Ok(())
}

pub(crate) fn get(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let field = arguments.get(2);
    let keyed = context.open_to_read(arguments.get(1));
    let found = fields_of(&keyed)?.and_then(|table| table.get(hash(field), field));
    context.reply.bulk_or_null(found.map(Item::value));
    Ok(())
}

pub(crate) fn get_many(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    let table = fields_of(&keyed)?;
    context.reply.array(arguments.len() - 2);
    for field in arguments.from(2) {
        let found = table.and_then(|table| table.get(hash(field), field));
        context.reply.bulk_or_null(found.map(Item::value));
    }
    Ok(())
}

pub(crate) fn get_all(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    let table = fields_of(&keyed)?;
    context.reply.map(table.map_or(0, Table::len));
    for item in table.into_iter().flat_map(Table::iter) {
        context.reply.bulk(item.key());
        context.reply.bulk(item.value());
    }
    Ok(())
}

pub(crate) fn fields(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    list(context, arguments, Item::key)
}

pub(crate) fn values(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    list(context, arguments, Item::value)
}

fn list(context: &mut Context<'_, '_>, arguments: &Arguments<'_>, part: fn(&Item) -> &[u8]) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    let table = fields_of(&keyed)?;
    context.reply.array(table.map_or(0, Table::len));
    table.into_iter().flat_map(Table::iter).for_each(|item| context.reply.bulk(part(item)));
    Ok(())
}

pub(crate) fn delete(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let mut keyed = context.open(arguments.get(1));
    keyed.of_kind(Kind::Hash)?;
    let gone = keyed.change_inside(|item| remove_all(fields_mut(item), arguments.from(2)));
    context.reply.integer(gone.unwrap_or(0));
    Ok(())
}

/// Removes fields or members. Returns how many were there.
pub(super) fn remove_all<'k>(table: &mut Table, keys: impl Iterator<Item = &'k [u8]>) -> i64 {
    let mut gone = 0;
    for key in keys {
        if let Some(place) = table.find(hash(key), key) {
            drop(table.remove(place));
            gone += 1;
        }
    }
    gone
}

pub(crate) fn count(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    context.reply.count(fields_of(&keyed)?.map_or(0, Table::len));
    Ok(())
}

pub(crate) fn exists(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let field = arguments.get(2);
    let keyed = context.open_to_read(arguments.get(1));
    let is_there = fields_of(&keyed)?.is_some_and(|table| table.find(hash(field), field).is_some());
    context.reply.integer(is_there.into());
    Ok(())
}

pub(crate) fn length(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let field = arguments.get(2);
    let keyed = context.open_to_read(arguments.get(1));
    let found = fields_of(&keyed)?.and_then(|table| table.get(hash(field), field));
    context.reply.count(found.map_or(0, |item| item.value().len()));
    Ok(())
}

pub(crate) fn increment_by(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let (key, field) = (arguments.get(1), arguments.get(2));
    let by = integer(arguments.get(3))?;
    let mut keyed = context.open(key);
    let old = match fields_of(&keyed)?.and_then(|table| table.get(hash(field), field)) {
        Some(item) => parse_i64(item.value()).ok_or(Failure::Text("ERR hash value is not an integer"))?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(Failure::Overflow)?;
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(new).as_bytes();
    keyed.change_or_make(Kind::Hash, key, |item| put(fields_mut(item), field, text))??;
    context.reply.integer(new);
    Ok(())
}

pub(crate) fn increment_by_float(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let (key, field) = (arguments.get(1), arguments.get(2));
    let by = Decimal::parse(arguments.get(3)).ok_or(Failure::NotFloat)?;
    let mut keyed = context.open(key);
    let old = match fields_of(&keyed)?.and_then(|table| table.get(hash(field), field)) {
        Some(item) => Decimal::parse(item.value()).ok_or(Failure::Text("ERR hash value is not a float"))?,
        None => Decimal::Exact(0),
    };
    let text = old.checked_add(by).ok_or(Failure::NotFinite)?.to_string();
    keyed.change_or_make(Kind::Hash, key, |item| put(fields_mut(item), field, text.as_bytes()))??;
    context.reply.bulk(text.as_bytes());
    Ok(())
}
