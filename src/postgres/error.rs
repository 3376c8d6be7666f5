//! The server's error codes as kinds of error. Details and hints stay out: they quote rows.

use std::error::Error as _;

use postgres::Error;
use postgres::error::DbError;

use crate::error::{StoreError, StoreErrorKind as Kind};

pub(super) fn store(doing: &str, error: &Error) -> StoreError {
    match error.as_db_error() {
        Some(db) => {
            let code = db.code().code();
            StoreError::new(doing, kind(code), said(db)).with_code(code)
        }
        None => StoreError::new(doing, other_kind(error), words(error)),
    }
}

/// The server's code for what a role may not do.
const DENIED: &str = "42501";

/// As [`store`], where a role runs statements: the server names what it may not touch, this who it is and what helps.
pub(super) fn of_role(doing: &str, role: Option<&str>, error: &Error) -> StoreError {
    let said = |db: &DbError| {
        let message = db.message();
        role.map_or_else(|| message.to_owned(), |role| format!("role {role:?}: {message}"))
    };
    match error.as_db_error().filter(|db| db.code().code() == DENIED) {
        Some(db) => StoreError::new(doing, Kind::Denied, said(db)).with_code(DENIED).with_remedy(
            "; `readside doctor`, run as this role, prints the GRANT statements that running needs; set-up and \
                 rebuilds need the owner of the tables",
        ),
        None => store(doing, error),
    }
}

/// The chain of an error that did not come from the server, such as a refused connection.
pub(super) fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// What the server said, without the values that errors of data quote.
fn said(error: &DbError) -> String {
    let message = error.message();
    if error.code().code().starts_with("22") {
        return message.split_once('"').map_or(message, |(before, _)| before.trim_end_matches([':', ' '])).to_owned();
    }
    message.to_owned()
}

fn other_kind(error: &Error) -> Kind {
    let source = error.source();
    let is_io = source.is_some_and(|source| source.downcast_ref::<std::io::Error>().is_some());
    if is_io || error.is_closed() {
        return Kind::Connection;
    }
    let text = error.to_string();
    if text.contains("connect")
        || text.contains("authentication")
        || text.contains("TLS")
        || text.contains("communicating")
    {
        return if text.contains("authentication") { Kind::Denied } else { Kind::Connection };
    }
    if text.contains("serializing") || text.contains("deserializing") { Kind::Data } else { Kind::Usage }
}

fn kind(code: &str) -> Kind {
    match code {
        "40001" | "40P01" => return Kind::Conflict,
        "55P03" | "57014" => return Kind::Timeout,
        "42P01" | "42703" | "3F000" | "42P07" => return Kind::Schema,
        "42501" | "3D000" => return Kind::Denied,
        "25006" => return Kind::ReadOnly,
        "53100" => return Kind::Full,
        "53300" | "25P03" | "25P04" => return Kind::Connection,
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        "08" | "57" => Kind::Connection,
        "22" | "54" => Kind::Data,
        "23" => Kind::Constraint,
        "28" => Kind::Denied,
        "42" | "25" | "26" | "34" => Kind::Usage,
        "XX" => Kind::Corrupt,
        _ => Kind::Other,
    }
}
