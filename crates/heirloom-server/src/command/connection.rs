//! The connection itself: PING, HELLO, AUTH, SELECT and their kin.

use super::{Context, Failure, Outcome, integer, is_word};
use crate::protocol::request::Arguments;
use crate::store::shard::NR_DATABASES;

/// The version whose commands these are.
pub(crate) const REDIS_VERSION: &str = "7.0.15";

pub(crate) fn ping(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    match arguments.len() {
        1 => context.reply.simple("PONG"),
        2 => context.reply.bulk(arguments.get(1)),
        _ => return Err(Failure::Arity("ping".to_owned())),
    }
    Ok(())
}

pub(crate) fn echo(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    context.reply.bulk(arguments.get(1));
    Ok(())
}

pub(crate) fn select(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let index = usize::try_from(integer(arguments.get(1))?).unwrap_or(usize::MAX);
    if index >= NR_DATABASES {
        return Err(Failure::Text("ERR DB index is out of range"));
    }
    context.session.database = index;
    context.session.card.change_names(|names| names.database = index);
    context.reply.ok();
    Ok(())
}

pub(crate) fn hello(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let mut version = None;
    if arguments.len() > 1 {
        let number = integer(arguments.get(1))
            .map_err(|_| Failure::Text("ERR Protocol version is not an integer or out of range"))?;
        if !(2..=3).contains(&number) {
            return Err(Failure::Text("NOPROTO unsupported protocol version"));
        }
        version = Some(number);
    }
    let (mut at, mut name) = (2, None);
    while at < arguments.len() {
        let (word, left) = (arguments.get(at), arguments.len() - at - 1);
        if is_word(word, "AUTH") && left >= 2 {
            log_in(context, arguments.get(at + 1), arguments.get(at + 2))?;
            at += 3;
        } else if is_word(word, "SETNAME") && left >= 1 {
            name = Some(client_name(arguments.get(at + 1))?);
            at += 2;
        } else {
            return Err(Failure::Other(format!("ERR Syntax error in HELLO option '{}'", super::shown(word))));
        }
    }
    if context.session.is_stranger {
        return Err(Failure::Text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(version) = version {
        context.session.is_resp3 = version == 3;
        context.reply.is_resp3 = version == 3;
    }
    let is_resp3 = context.session.is_resp3;
    context.session.card.change_names(|names| {
        names.is_resp3 = is_resp3;
        if let Some(name) = name {
            names.name = name;
        }
    });
    let (id, reply) = (context.session.card.id, &mut context.reply);
    reply.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    for (key, value) in [("proto", if is_resp3 { 3 } else { 2 }), ("id", id as i64)] {
        reply.bulk(key.as_bytes());
        reply.integer(value);
    }
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

/// Takes a name that CLIENT LIST can show.
pub(crate) fn client_name(name: &[u8]) -> Result<Vec<u8>, Failure> {
    if name.iter().any(|byte| !(b'!'..=b'~').contains(byte)) {
        return Err(Failure::Text("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    Ok(name.to_vec())
}

pub(crate) fn authenticate(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    match arguments.len() {
        2 if context.server.settings.password().is_none() => {
            return Err(Failure::Text(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        2 => log_in(context, b"default", arguments.get(1))?,
        3 => log_in(context, arguments.get(1), arguments.get(2))?,
        _ => return Err(Failure::Syntax),
    }
    context.reply.ok();
    Ok(())
}

fn log_in(context: &mut Context<'_, '_>, user: &[u8], password: &[u8]) -> Outcome {
    let is_right = match context.server.settings.password() {
        // Without a password the one user there is may give any.
        None => true,
        Some(expected) => is_same(expected.as_bytes(), password),
    };
    if user != b"default" || !is_right {
        return Err(Failure::Text("WRONGPASS invalid username-password pair or user is disabled."));
    }
    context.session.is_stranger = false;
    Ok(())
}

/// Compares in a time that tells nothing but the length of what was given.
fn is_same(expected: &[u8], given: &[u8]) -> bool {
    let differences = given.iter().enumerate().fold(0, |all, (index, byte)| {
        all | (byte ^ expected.get(index % expected.len().max(1)).unwrap_or(&0))
    });
    std::hint::black_box(differences) == 0 && expected.len() == given.len()
}

pub(crate) fn quit(context: &mut Context<'_, '_>, _: &Arguments<'_>) -> Outcome {
    context.session.is_closing = true;
    context.reply.ok();
    Ok(())
}

pub(crate) fn reset(context: &mut Context<'_, '_>, _: &Arguments<'_>) -> Outcome {
    context.session.database = 0;
    context.session.is_resp3 = false;
    context.session.is_stranger = context.server.settings.password().is_some();
    context.reply.is_resp3 = false;
    context.session.card.change_names(|names| {
        names.name.clear();
        names.database = 0;
        names.is_resp3 = false;
    });
    context.reply.simple("RESET");
    Ok(())
}
