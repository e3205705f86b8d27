//! Text values that are numbers: INCR and its kin.

use super::{Context, Failure, Outcome, integer};
use crate::protocol::number::{Decimal, parse_i64};
use crate::protocol::request::Arguments;
use crate::store::item::Item;

pub(crate) fn increment(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    add(context, arguments, 1)
}

pub(crate) fn decrement(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    add(context, arguments, -1)
}

pub(crate) fn increment_by(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    add(context, arguments, integer(arguments.get(2))?)
}

pub(crate) fn decrement_by(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let by = integer(arguments.get(2))?;
    add(context, arguments, by.checked_neg().ok_or(Failure::Text("ERR decrement would overflow"))?)
}

fn add(context: &mut Context<'_, '_>, arguments: &Arguments<'_>, by: i64) -> Outcome {
    let key = arguments.get(1);
    let mut keyed = context.open(key);
    let old = match keyed.text()? {
        Some(text) => parse_i64(text).ok_or(Failure::NotInteger)?,
        None => 0,
    };
    let new = old.checked_add(by).ok_or(Failure::Overflow)?;
    let deadline = keyed.item().and_then(Item::deadline);
    keyed.put(Item::try_text(key, &[itoa::Buffer::new().format(new).as_bytes()], deadline)?)?;
    context.reply.integer(new);
    Ok(())
}

pub(crate) fn increment_by_float(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let key = arguments.get(1);
    let mut keyed = context.open(key);
    let old = match keyed.text()? {
        Some(text) => Decimal::parse(text).ok_or(Failure::NotFloat)?,
        None => Decimal::Exact(0),
    };
    let by = Decimal::parse(arguments.get(2)).ok_or(Failure::NotFloat)?;
    let new = old.checked_add(by).ok_or(Failure::NotFinite)?.to_string();
    let deadline = keyed.item().and_then(Item::deadline);
    keyed.put(Item::try_text(key, &[new.as_bytes()], deadline)?)?;
    context.reply.bulk(new.as_bytes());
    Ok(())
}
