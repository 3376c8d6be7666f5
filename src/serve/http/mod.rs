//! The part of HTTP that a read-only page needs: GET and HEAD, one request for each connection, no bodies.
//!
//! `head` reads requests, `host` and `password` say who may ask, `reply` writes answers, `socket` accepts clients, and
//! `door` has the threads.

pub(crate) mod door;
pub(crate) mod head;
pub(crate) mod host;
pub(crate) mod password;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod socket;

#[cfg(test)]
mod tests;
