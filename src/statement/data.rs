//! The statement itself.

use super::column::{Assignment, Condition, Name, Source};
use crate::error::ReduceError;
use crate::value::Value;

/// What a reducer returns.
pub type Reduced = Result<Statement, ReduceError>;

/// A change to the tables of a projection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Statement {
    /// Nothing.
    Noop,
    /// Inserts a row.
    Create {
        /// The table; none means the primary one.
        table: Option<Name>,
        /// Values of the row.
        values: Vec<Assignment>,
    },
    /// Inserts a row, or changes the one that has the same conflict columns.
    Upsert {
        /// The table; none means the primary one.
        table: Option<Name>,
        /// Columns that tell which rows are the same.
        conflict: Vec<Name>,
        /// Values of the row, with those of the conflict columns.
        values: Vec<Assignment>,
    },
    /// Changes rows.
    Update {
        /// The table; none means the primary one.
        table: Option<Name>,
        /// The changes.
        values: Vec<Assignment>,
        /// Which rows.
        conditions: Vec<Condition>,
    },
    /// Deletes rows.
    Delete {
        /// The table; none means the primary one.
        table: Option<Name>,
        /// Which rows.
        conditions: Vec<Condition>,
    },
    /// Copies rows within a table under other keys.
    Copy {
        /// The table; none means the primary one.
        table: Option<Name>,
        /// Columns that tell which rows are the same.
        conflict: Vec<Name>,
        /// Columns to write.
        to: Vec<Name>,
        /// What to write into them.
        from: Vec<Source>,
        /// Which rows to copy.
        conditions: Vec<Condition>,
    },
    /// One of the others, which fails unless it changes so many rows.
    Expect {
        /// The number of rows.
        rows: u64,
        /// An update, a delete or a copy.
        statement: Box<Statement>,
    },
    /// Several statements, all or nothing.
    Multi(Vec<Statement>),
    /// Custom SQL.
    Exec {
        /// The name under which the projection declares it.
        sql: Name,
        /// Values of `$2` and on; `$1` is the instance.
        values: Vec<Value>,
    },
}
