//! Sets: SADD, SMEMBERS and their kin. A member is an item without a value.

use super::hashes::remove_all;
use super::{Context, Failure, Keyed, Outcome, integer};
use crate::protocol::request::Arguments;
use crate::store::hash::hash;
use crate::store::item::{Item, Kind};
use crate::store::scan::Random;
use crate::store::table::Table;

fn members_of<'a>(keyed: &'a Keyed<'_>) -> Result<Option<&'a Table>, Failure> {
    Ok(keyed.of_kind(Kind::Set)?.and_then(|item| item.table(Kind::Set)))
}

fn members_mut(item: &mut Item) -> &mut Table {
    item.table_mut(Kind::Set).expect("the kind was looked at")
}

pub(crate) fn add(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let key = arguments.get(1);
    let mut keyed = context.open(key);
    let added = keyed.change_or_make(Kind::Set, key, |item| {
        let table = members_mut(item);
        let mut added = 0;
        for member in arguments.from(2) {
            let hash = hash(member);
            if table.find(hash, member).is_none() {
                table.insert(hash, Item::try_text(member, &[], None)?)?;
                added += 1;
            }
        }
        Ok::<_, Failure>(added)
    })??;
    context.reply.integer(added);
    Ok(())
}

pub(crate) fn remove(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let mut keyed = context.open(arguments.get(1));
    keyed.of_kind(Kind::Set)?;
    let gone = keyed.change_inside(|item| remove_all(members_mut(item), arguments.from(2)));
    context.reply.integer(gone.unwrap_or(0));
    Ok(())
}

pub(crate) fn contains(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let member = arguments.get(2);
    let keyed = context.open_to_read(arguments.get(1));
    let is_in = members_of(&keyed)?.is_some_and(|table| table.find(hash(member), member).is_some());
    context.reply.integer(is_in.into());
    Ok(())
}

pub(crate) fn contains_many(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    let table = members_of(&keyed)?;
    context.reply.array(arguments.len() - 2);
    for member in arguments.from(2) {
        let is_in = table.is_some_and(|table| table.find(hash(member), member).is_some());
        context.reply.integer(is_in.into());
    }
    Ok(())
}

pub(crate) fn members(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    let table = members_of(&keyed)?;
    context.reply.set(table.map_or(0, Table::len));
    table.into_iter().flat_map(Table::iter).for_each(|item| context.reply.bulk(item.key()));
    Ok(())
}

pub(crate) fn count(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    context.reply.count(members_of(&keyed)?.map_or(0, Table::len));
    Ok(())
}

pub(crate) fn pop(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let count = match arguments.len() {
        2 => None,
        3 => {
            let count = integer(arguments.get(2)).map_err(|_| Failure::NotPositive)?;
            Some(usize::try_from(count).map_err(|_| Failure::NotPositive)?)
        }
        _ => return Err(Failure::Syntax),
    };
    let mut random = Random::new(context.server.next_random());
    let mut keyed = context.open(arguments.get(1));
    let len = members_of(&keyed)?.map_or(0, Table::len);
    let nr = count.unwrap_or(1).min(len);
    match count {
        Some(_) => context.reply.set(nr),
        None if nr == 0 => context.reply.null(),
        None => {}
    }
    if nr == 0 {
        return Ok(());
    }
    let reply = &mut context.reply;
    keyed.change_inside(|item| {
        let table = members_mut(item);
        for _ in 0..nr {
            let Some(place) = table.pick(&mut random) else { break };
            reply.bulk(table.remove(place).key());
        }
    });
    Ok(())
}
