//! Connection strings of PostgreSQL, as its own programs read them, and what only looks like one.
//!
//! A connection string may hold a password, and so may one with a slip. So nothing here ever tells a part of what it was
//! given: a [`Fault`] is made of words and names that are known beforehand.

#[cfg(feature = "postgres")]
mod environment;
mod fault;
mod keyword;
mod look;
#[cfg(feature = "postgres")]
mod parse;
#[cfg(feature = "postgres")]
pub(crate) mod passfile;
#[cfg(feature = "postgres")]
mod service;
#[cfg(any(feature = "sqlite", feature = "cli"))]
mod uri;

#[cfg(feature = "postgres")]
pub(crate) use environment::{nothing, of_process};
pub(crate) use fault::Fault;
#[cfg(feature = "cli")]
pub(crate) use look::follows_secret_word;
pub(crate) use look::{Look, look};
#[cfg(feature = "postgres")]
pub(crate) use parse::Parts;
#[cfg(any(feature = "sqlite", feature = "cli"))]
pub(crate) use uri::shown;
