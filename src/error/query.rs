//! Reads that a service writes.

use std::time::Duration;

use super::StoreError;
use crate::clock::spoken;
use crate::plain::plain;

/// A custom read that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The text does not say which tenant's rows it wants.
    #[error(
        "the query was not run: its text has no $instance, so it would read the rows of every tenant; add `instance_id = \
         $instance` to its conditions, or ask query_all_as if that is what is wanted"
    )]
    NoInstance,
    /// The text asks for a tenant, but none is given.
    #[error("the query was not run: its text has $instance, and query_all_as names no tenant; ask query_as")]
    UnexpectedInstance,
    /// The text does more than read, or cannot be parsed.
    #[error("the query was not run: its text {}", plain(what))]
    Text {
        /// What is wrong with it.
        what: String,
    },
    /// There is no text for this database.
    #[error("the query was not run: it has no text for {dialect}; give one, see Dialects")]
    NoText {
        /// The database.
        dialect: &'static str,
    },
    /// The values do not match the placeholders of the text.
    #[error("the query was not run: its text has placeholders up to ${placeholders}, and {values} values are given")]
    Values {
        /// The highest placeholder number.
        placeholders: usize,
        /// How many values are given.
        values: usize,
    },
    /// A row differs from what was asked for.
    #[error("row {row} of the query does not fit {wanted}{}", column.as_ref().map(|name| format!(" (column {name:?})")).unwrap_or_default())]
    Decode {
        /// Which row, from 0.
        row: usize,
        /// The column that is at fault, if there is one.
        column: Option<String>,
        /// Name of the Rust type.
        wanted: &'static str,
        /// Why, without the value.
        source: RowFault,
    },
    /// The query took too long.
    #[error("the query was ended after {}; narrow it, or give it more time by `Reader::within`", spoken(*within))]
    TooLong {
        /// The time that it was allowed.
        within: Duration,
        /// What the database says.
        source: StoreError,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a row does not fit a type. It never quotes a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", plain(.0))]
pub struct RowFault(pub(crate) String);
