//! The Redis protocol, as a server speaks it: requests in, replies out.
//!
//! ```text
//! bytes of a client --request--> arguments (spans of those bytes) --command--> reply --> bytes to the client, RESP2 or RESP3
//! ```
//!
//! A request is an array of bulk strings or an inline line, and nothing else, so `request` reads only these, in place and with the
//! state to go on where the bytes ended. A general decoder of frames allocates for each command and begins anew with each packet:
//! `docs/server.md` has both measured. Replies and requests are checked against such a decoder in the tests.

pub(crate) mod number;
pub(crate) mod reply;
pub mod request;
