//! The same objects through rkyv: what an upgrade costs that encodes all it has, and decodes it in the next version.

use std::collections::HashMap;
use std::time::Instant;

use heirloom::Heap;
use rkyv::{Archive, Deserialize, Serialize, rancor};
use serde_json::{Value, json};

use crate::content;
use crate::schema::Session;
use crate::{EVENTS, SESSIONS};

/// A session as the first version has it, of std's types.
#[derive(Archive, Serialize, Deserialize)]
struct Plain {
    id: u64,
    hits: u64,
    level: u8,
    name: String,
    note: String,
}

/// Encodes and decodes as many sessions as the heap holds, with the same contents, and adds the times to the line.
pub(crate) fn measure(heap: &Heap, line: &mut Value) {
    let inside = heap.enter();
    let _ = EVENTS.get(&inside);
    let sessions = SESSIONS.get(&inside).lock();
    let plain: HashMap<u64, Plain> = sessions.values().map(|session| (session.id, plain(session))).collect();
    let began = Instant::now();
    let Ok(bytes) = rkyv::to_bytes::<rancor::Error>(&plain) else { return };
    let encoded = began.elapsed();
    drop(plain);
    let began = Instant::now();
    let Ok(back) = rkyv::from_bytes::<HashMap<u64, Plain>, rancor::Error>(&bytes) else { return };
    let decoded = began.elapsed();
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    line["rkyv_encode_ms"] = json!(ms(encoded));
    line["rkyv_decode_ms"] = json!(ms(decoded));
    line["rkyv_objects"] = json!(back.len());
}

fn plain(session: &Session) -> Plain {
    let (name, note, hits) = content::texts(session);
    Plain { id: session.id, hits, level: session.level as u8, name, note }
}
