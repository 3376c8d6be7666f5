//! Live changes: tells watchers which rows a commit changed.
//!
//! `touched` finds the keys in the statements, `watched` holds who watches what and how far each was told, `hub` tells
//! them, and `changes` is what watchers hold. While nobody watches, a transaction costs one look at a flag.

pub(crate) mod changes;
pub(crate) mod hub;
pub(crate) mod touched;
pub(crate) mod watched;
