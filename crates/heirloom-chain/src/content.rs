//! What the program keeps, made from a number, and checked against it: every field of every object.

use heirloom::String;

use crate::schema::{Doc, Event, Level, Session, VERSION};

/// Makes session number `id`, as the first version does.
pub(crate) fn session(id: u64) -> Session {
    let level = level(id);
    #[cfg(not(any(feature = "v2", feature = "v3", feature = "v4", feature = "v5")))]
    return Session { id, hits: hits(id), level, name: text(&name(id)), note: text(&note(id)) };
    #[cfg(feature = "v2")]
    return Session { id, hits: hits(id), level, seen: SEEN, name: text(&name(id)), note: text(&note(id)) };
    #[cfg(feature = "v3")]
    return Session { id, visits: hits(id), level, seen: SEEN, name: text(&name(id)) };
    #[cfg(feature = "v4")]
    return Session { id, visits: hits(id).into(), level, seen: SEEN, name: text(&name(id)) };
    #[cfg(feature = "v5")]
    {
        let (visits, first, last) = (hits(id).into(), text(&first(id)), text(&last(id)));
        Session { id, visits, level, seen: SEEN, first, last }
    }
}

/// Makes event number `nr`.
pub(crate) fn event(nr: u64) -> Event {
    match nr % 2 {
        0 => Event::Login { at: nr * 3 },
        _ => Event::Logout { at: nr * 3, why: text(&why(nr)) },
    }
}

/// Makes document number `id`.
pub(crate) fn doc(id: u32) -> Doc {
    #[cfg(any(feature = "v4", feature = "v5"))]
    let id = u64::from(id);
    Doc { id, text: text(&format!("document {id}, whose text is long enough for a block")) }
}

/// Says whether a document is what it was.
pub(crate) fn is_doc(id: u32, found: &Doc) -> bool {
    let same = doc(id);
    same.id == found.id && same.text == found.text
}

/// Says what is wrong with a session. `oldest` is the lowest version that the heap has been at since it was filled, and lost what that
/// one does not have; `rolled_back` tells that a newer one has.
pub(crate) fn check_session(
    id: u64,
    session: &Session,
    has_been_at_3: bool,
) -> Result<(), std::string::String> {
    let same = |what: &str, found: &str, wanted: &str| match found == wanted {
        true => Ok(()),
        false => Err(format!("v{VERSION} session {id}: {what} is {found:?}, not {wanted:?}")),
    };
    same("id", &session.id.to_string(), &id.to_string())?;
    same("level", &format!("{:?}", session.level), &format!("{:?}", level(id)))?;
    let _ = has_been_at_3;
    #[cfg(not(any(feature = "v3", feature = "v4", feature = "v5")))]
    {
        same("hits", &session.hits.to_string(), &hits(id).to_string())?;
        // What version 3 has dropped does not come back: it is the emptiest value there is.
        same("note", &session.note, &if has_been_at_3 { std::string::String::new() } else { note(id) })?;
    }
    #[cfg(any(feature = "v3", feature = "v4", feature = "v5"))]
    same("visits", &session.visits.to_string(), &hits(id).to_string())?;
    #[cfg(any(feature = "v2", feature = "v3", feature = "v4", feature = "v5"))]
    same("seen", &session.seen.to_string(), &SEEN.to_string())?;
    #[cfg(not(feature = "v5"))]
    same("name", &session.name, &name(id))?;
    #[cfg(feature = "v5")]
    {
        same("first", &session.first, &first(id))?;
        same("last", &session.last, &last(id))?;
    }
    Ok(())
}

/// Says what is wrong with an event.
pub(crate) fn check_event(nr: u64, event: &Event) -> Result<(), std::string::String> {
    let is_right = match event {
        Event::Login { at } => nr.is_multiple_of(2) && *at == nr * 3,
        Event::Logout { at, why: found } => nr % 2 == 1 && *at == nr * 3 && **found == *why(nr),
        #[cfg(any(feature = "v2", feature = "v3", feature = "v4", feature = "v5"))]
        Event::Renamed(_) => false,
    };
    if is_right { Ok(()) } else { Err(format!("v{VERSION} event {nr} is not what it was")) }
}

/// What `seen` is where a session had none.
#[cfg(any(feature = "v2", feature = "v3", feature = "v4", feature = "v5"))]
const SEEN: u64 = 77;

fn text(of: &str) -> String {
    of.into()
}

fn hits(id: u64) -> u32 {
    (id as u32).wrapping_mul(0x9e37_79b1)
}

fn level(id: u64) -> Level {
    if id.is_multiple_of(3) { Level::Member } else { Level::Guest }
}

fn first(id: u64) -> std::string::String {
    format!("first-{id}")
}

/// Some are too long to lie in the string itself.
fn last(id: u64) -> std::string::String {
    format!("{}-{id}", if id.is_multiple_of(2) { "of-a-family-with-a-rather-long-name" } else { "last" })
}

#[cfg(not(feature = "v5"))]
fn name(id: u64) -> std::string::String {
    format!("{} {}", first(id), last(id))
}

#[cfg(not(any(feature = "v3", feature = "v4", feature = "v5")))]
fn note(id: u64) -> std::string::String {
    format!("a note on session {id}, which is long enough for a block")
}

fn why(nr: u64) -> std::string::String {
    format!("reason {nr}, which is long enough for a block of its own")
}

/// Name, note and count of a session, whatever its version.
#[cfg(feature = "rkyv")]
pub(crate) fn texts(session: &Session) -> (std::string::String, std::string::String, u64) {
    #[cfg(not(any(feature = "v3", feature = "v4", feature = "v5")))]
    return (session.name.to_string(), session.note.to_string(), session.hits.into());
    #[cfg(any(feature = "v3", feature = "v4"))]
    return (session.name.to_string(), std::string::String::new(), u64::from(session.visits));
    #[cfg(feature = "v5")]
    (format!("{} {}", &*session.first, &*session.last), std::string::String::new(), session.visits)
}
