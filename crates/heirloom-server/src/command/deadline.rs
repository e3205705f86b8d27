//! When keys expire: EXPIRE, TTL and their kin.
//!
//! A deadline is a time of the wall clock, in milliseconds of the Unix epoch, so it goes on across hand-overs, stops and reboots.

use super::{Context, Failure, Outcome, integer, is_word, name_of, shown};
use crate::protocol::request::Arguments;
use crate::store::item::Item;

/// What a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
}

/// What a time is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Now,
    Epoch,
}

impl Base {
    /// What EX, PX, EXAT and PXAT say.
    pub(crate) fn by_word(word: &[u8]) -> Option<(Unit, Self)> {
        let words = [
            ("EX", Unit::Seconds, Self::Now),
            ("PX", Unit::Milliseconds, Self::Now),
            ("EXAT", Unit::Seconds, Self::Epoch),
            ("PXAT", Unit::Milliseconds, Self::Epoch),
        ];
        words.into_iter().find(|(name, ..)| is_word(word, name)).map(|(_, unit, base)| (unit, base))
    }
}

/// Reads a time that must lie after 0, for the command of this name.
pub(crate) fn deadline_from(
    text: &[u8],
    unit: Unit,
    base: Base,
    now: u64,
    name: &str,
) -> Result<u64, Failure> {
    let time = integer(text)?;
    let deadline = if time > 0 { absolute(time, unit, base, now) } else { None };
    deadline.map(i64::unsigned_abs).ok_or_else(|| Failure::ExpireTime(name.to_owned()))
}

/// A time in milliseconds of the epoch; `None` where it is too far away.
fn absolute(time: i64, unit: Unit, base: Base, now: u64) -> Option<i64> {
    let time = if unit == Unit::Seconds { time.checked_mul(1000)? } else { time };
    if base == Base::Now { time.checked_add(now as i64) } else { Some(time) }
}

pub(crate) fn expire(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    set(context, arguments, Unit::Seconds, Base::Now)
}

pub(crate) fn expire_milliseconds(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    set(context, arguments, Unit::Milliseconds, Base::Now)
}

pub(crate) fn expire_at(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    set(context, arguments, Unit::Seconds, Base::Epoch)
}

pub(crate) fn expire_at_milliseconds(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    set(context, arguments, Unit::Milliseconds, Base::Epoch)
}

/// When EXPIRE sets a deadline.
#[derive(Default)]
struct Conditions {
    none: bool,
    some: bool,
    later: bool,
    earlier: bool,
}

impl Conditions {
    fn parse(arguments: &Arguments<'_>) -> Result<Self, Failure> {
        let mut conditions = Self::default();
        for word in arguments.from(3) {
            let condition = match () {
                () if is_word(word, "NX") => &mut conditions.none,
                () if is_word(word, "XX") => &mut conditions.some,
                () if is_word(word, "GT") => &mut conditions.later,
                () if is_word(word, "LT") => &mut conditions.earlier,
                () => return Err(Failure::Other(format!("ERR Unsupported option {}", shown(word)))),
            };
            *condition = true;
        }
        let Self { none, some, later, earlier } = conditions;
        if none && (some || later || earlier) {
            return Err(Failure::Text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if later && earlier {
            return Err(Failure::Text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    fn allow(&self, old: Option<u64>, new: i64) -> bool {
        // No deadline is later than any.
        let old_or_never = old.map_or(i64::MAX, |old| old as i64);
        !(self.none && old.is_some()
            || self.some && old.is_none()
            || self.later && (old.is_none() || new <= old_or_never)
            || self.earlier && new >= old_or_never)
    }
}

fn set(context: &mut Context<'_, '_>, arguments: &Arguments<'_>, unit: Unit, base: Base) -> Outcome {
    let conditions = Conditions::parse(arguments)?;
    let time = integer(arguments.get(2))?;
    let deadline =
        absolute(time, unit, base, context.now).ok_or_else(|| Failure::ExpireTime(name_of(arguments)))?;
    let mut keyed = context.open(arguments.get(1));
    let old = keyed.item().map(Item::deadline);
    let is_set = old.is_some_and(|old| conditions.allow(old, deadline));
    if is_set && deadline <= context.now as i64 {
        keyed.remove();
    } else if is_set {
        keyed.change(|item| item.set_deadline(Some(deadline as u64))).transpose()?;
    }
    context.reply.integer(is_set.into());
    Ok(())
}

pub(crate) fn left(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let now = context.now;
    tell(context, arguments, |deadline| (deadline.saturating_sub(now) + 500) / 1000)
}

pub(crate) fn left_milliseconds(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let now = context.now;
    tell(context, arguments, |deadline| deadline.saturating_sub(now))
}

pub(crate) fn time(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    tell(context, arguments, |deadline| (deadline + 500) / 1000)
}

pub(crate) fn time_milliseconds(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    tell(context, arguments, |deadline| deadline)
}

fn tell(context: &mut Context<'_, '_>, arguments: &Arguments<'_>, of: impl Fn(u64) -> u64) -> Outcome {
    let keyed = context.open(arguments.get(1));
    let answer = match keyed.item().map(Item::deadline) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline)) => of(deadline) as i64,
    };
    context.reply.integer(answer);
    Ok(())
}

pub(crate) fn persist(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let mut keyed = context.open(arguments.get(1));
    let had_one = keyed.item().and_then(Item::deadline).is_some();
    if had_one {
        keyed.change(|item| item.set_deadline(None)).transpose()?;
    }
    context.reply.integer(had_one.into());
    Ok(())
}
