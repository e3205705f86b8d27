//! CLIENT: who is connected.

use super::connection::client_name;
use super::{Context, Failure, Outcome, integer, is_word, shown};
use crate::protocol::request::Arguments;
use crate::session::Card;

pub(crate) fn client(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let (word, nr) = (arguments.get(1), arguments.len());
    let card = context.session.card.clone();
    match word.to_ascii_lowercase().as_slice() {
        b"id" if nr == 2 => context.reply.integer(card.id as i64),
        b"info" if nr == 2 => context.reply.verbatim(&format!("{}\n", card.line(context.now))),
        b"list" => list(context, arguments)?,
        b"getname" if nr == 2 => {
            let name = card.names().name;
            context.reply.bulk_or_null((!name.is_empty()).then_some(&name));
        }
        b"setname" if nr == 3 => {
            let name = client_name(arguments.get(2))?;
            card.change_names(|names| names.name = name);
            context.reply.ok();
        }
        b"setinfo" if nr == 4 => {
            let value = client_name(arguments.get(3))?;
            let is_name = is_word(arguments.get(2), "LIB-NAME");
            if !is_name && !is_word(arguments.get(2), "LIB-VER") {
                return Err(Failure::Other(format!("ERR Unrecognized option '{}'", shown(arguments.get(2)))));
            }
            card.change_names(|names| {
                *if is_name { &mut names.library } else { &mut names.library_version } = value;
            });
            context.reply.ok();
        }
        b"kill" if nr >= 3 => kill(context, arguments)?,
        b"no-evict" | b"no-touch" if nr == 3 => {
            if !is_word(arguments.get(2), "ON") && !is_word(arguments.get(2), "OFF") {
                return Err(Failure::Syntax);
            }
            context.reply.ok();
        }
        b"help" if nr == 2 => help(context),
        _ => return Err(unknown("client", word)),
    }
    Ok(())
}

/// The error for a word that a command with several does not know.
pub(super) fn unknown(command: &str, word: &[u8]) -> Failure {
    let (word, name) = (shown(word), command.to_uppercase());
    Failure::Other(format!(
        "ERR unknown subcommand or wrong number of arguments for '{word}'. Try {name} HELP."
    ))
}

fn list(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let is_wanted: Box<dyn Fn(&Card) -> bool> = match arguments.len() {
        2 => Box::new(|_| true),
        4 if is_word(arguments.get(2), "TYPE") => {
            let is_normal = is_word(arguments.get(3), "NORMAL");
            Box::new(move |_| is_normal)
        }
        nr if nr >= 4 && is_word(arguments.get(2), "ID") => {
            let ids = arguments.from(3).map(integer).collect::<Result<Vec<_>, _>>();
            let ids = ids.map_err(|_| Failure::Text("ERR Invalid client ID"))?;
            Box::new(move |card| ids.contains(&(card.id as i64)))
        }
        _ => return Err(Failure::Syntax),
    };
    let mut cards: Vec<_> = context.server.clients().values().map(|client| client.card.clone()).collect();
    cards.sort_by_key(|card| card.id);
    let lines = cards.iter().filter(|card| is_wanted(card));
    let text: String = lines.map(|card| format!("{}\n", card.line(context.now))).collect();
    context.reply.verbatim(&text);
    Ok(())
}

fn kill(context: &mut Context<'_, '_>, arguments: &Arguments<'_>) -> Outcome {
    let own = context.session.card.id;
    let (mut id, mut address, mut spare_self) = (None, None, true);
    let is_old_form = arguments.len() == 3;
    if is_old_form {
        address = Some(arguments.get(2));
        spare_self = false;
    } else if !arguments.len().is_multiple_of(2) {
        return Err(Failure::Syntax);
    }
    for index in (2..arguments.len()).step_by(2).filter(|_| !is_old_form) {
        let (word, value) = (arguments.get(index), arguments.get(index + 1));
        if is_word(word, "ID") {
            let wrong = Failure::Text("ERR client-id should be greater than 0");
            id = Some(integer(value).ok().filter(|&id| id > 0).ok_or(wrong)?);
        } else if is_word(word, "ADDR") {
            address = Some(value);
        } else if is_word(word, "SKIPME") {
            spare_self = is_word(value, "YES");
        } else {
            return Err(Failure::Syntax);
        }
    }
    let is_meant = |card: &Card| {
        id.is_none_or(|id| card.id as i64 == id)
            && address
                .is_none_or(|address| card.peer.is_some_and(|peer| peer.to_string().as_bytes() == address))
            && !(spare_self && card.id == own)
    };
    let meant: Vec<_> =
        context.server.clients().values().filter(|client| is_meant(&client.card)).cloned().collect();
    for client in &meant {
        if client.card.id == own {
            context.session.is_closing = true;
        } else {
            client.kill();
        }
    }
    match (is_old_form, meant.len()) {
        (true, 0) => return Err(Failure::Text("ERR No such client")),
        (true, _) => context.reply.ok(),
        (false, nr) => context.reply.count(nr),
    }
    Ok(())
}

fn help(context: &mut Context<'_, '_>) {
    let lines = [
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME | SETNAME name | ID | INFO | LIST [TYPE normal | ID id ...]",
        "KILL addr | KILL ID id | KILL ADDR addr [SKIPME yes|no]",
        "SETINFO LIB-NAME|LIB-VER value | NO-EVICT ON|OFF | NO-TOUCH ON|OFF",
    ];
    context.reply.array(lines.len());
    lines.iter().for_each(|line| context.reply.simple(line));
}
