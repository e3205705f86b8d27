//! Lists: LPUSH, LRANGE and their kin.

use super::{Context, Failure, Keyed, Outcome, integer};
use crate::protocol::request::Arguments;
use crate::store::item::{Item, Kind};
use crate::store::list::{End, List};

fn list_of<'a>(keyed: &'a Keyed<'_>) -> Result<Option<&'a List>, Failure> {
    Ok(keyed.of_kind(Kind::List)?.and_then(Item::list))
}

fn list_mut(item: &mut Item) -> &mut List {
    item.list_mut().expect("the kind was looked at")
}

pub(crate) fn push_front(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    push(context, arguments, End::Front, false)
}

pub(crate) fn push_back(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    push(context, arguments, End::Back, false)
}

pub(crate) fn push_front_if_there(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    push(context, arguments, End::Front, true)
}

pub(crate) fn push_back_if_there(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    push(context, arguments, End::Back, true)
}

fn push(context: &mut Context<'_, '_>, arguments: &Arguments<'_>, end: End, only_there: bool) -> Outcome {
    let key = arguments.get(1);
    let mut keyed = context.open(key);
    if list_of(&keyed)?.is_none() && only_there {
        context.reply.integer(0);
        return Ok(());
    }
    let len = keyed.change_or_make(Kind::List, key, |item| {
        let list = list_mut(item);
        list.try_push(end, arguments.from(2)).map(|()| list.len())
    })??;
    context.reply.count(len);
    Ok(())
}

pub(crate) fn pop_front(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    pop(context, arguments, End::Front)
}

pub(crate) fn pop_back(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    pop(context, arguments, End::Back)
}

fn pop(context: &mut Context<'_, '_>, arguments: &Arguments<'_>, end: End) -> Outcome {
    if arguments.len() > 3 {
        return Err(Failure::Arity(super::name_of(arguments)));
    }
    let count = match arguments.len() {
        2 => None,
        _ => {
            let count = integer(arguments.get(2)).map_err(|_| Failure::NotPositive)?;
            Some(usize::try_from(count).map_err(|_| Failure::NotPositive)?)
        }
    };
    let mut keyed = context.open(arguments.get(1));
    let Some(len) = list_of(&keyed)?.map(List::len) else {
        if count.is_some() {
            context.reply.null_array()
        } else {
            context.reply.null()
        }
        return Ok(());
    };
    let nr = count.unwrap_or(1).min(len);
    if count.is_some() {
        context.reply.array(nr);
    }
    if nr == 0 {
        return Ok(());
    }
    let reply = &mut context.reply;
    keyed.change_inside(|item| {
        let list = list_mut(item);
        for item in (0..nr).map_while(|_| list.pop(end)) {
            reply.bulk(item.value());
        }
    });
    Ok(())
}

pub(crate) fn count(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    context.reply.count(list_of(&keyed)?.map_or(0, List::len));
    Ok(())
}

pub(crate) fn range(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let (start, end) = (integer(arguments.get(2))?, integer(arguments.get(3))?);
    let keyed = context.open_to_read(arguments.get(1));
    let list = list_of(&keyed)?;
    let len = list.map_or(0, List::len) as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, end) = (from_end(start).max(0), from_end(end).min(len - 1));
    let range = if start > end { 0..0 } else { start as usize..end as usize + 1 };
    context.reply.array(range.len());
    for value in range.filter_map(|index| list.and_then(|list| list.get(index))) {
        context.reply.bulk(value);
    }
    Ok(())
}

pub(crate) fn element(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let keyed = context.open_to_read(arguments.get(1));
    let Some(list) = list_of(&keyed)? else {
        context.reply.null();
        return Ok(());
    };
    let index = integer(arguments.get(2))?;
    let index = if index < 0 { index.saturating_add(list.len() as i64) } else { index };
    let found = usize::try_from(index).ok().and_then(|index| list.get(index));
    context.reply.bulk_or_null(found);
    Ok(())
}
