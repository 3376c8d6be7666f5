//! Reads connection strings of PostgreSQL as libpq does, and recognizes texts that only look like one.
//!
//! A connection string may hold a password, also when it has a slip. So nothing here repeats a part of its input: a
//! [`Fault`] holds only words and names that this code knows.

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
pub(crate) use look::{Look, look};
#[cfg(feature = "cli")]
pub(crate) use look::{follows_secret_word, holds_secret_pair};
#[cfg(feature = "postgres")]
pub(crate) use parse::Parts;
#[cfg(any(feature = "sqlite", feature = "cli"))]
pub(crate) use uri::shown;
