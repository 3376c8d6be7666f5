//! Live changes: which rows a commit changed, told to those who watch.
//!
//! `touched` finds the keys in the statements, `hub` knows who watches what and how far each was told, `changes` is what
//! watchers hold. Where nobody watches, a transaction costs one look at a flag.

pub(crate) mod changes;
pub(crate) mod hub;
pub(crate) mod touched;
