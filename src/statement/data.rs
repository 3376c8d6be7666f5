//! The statement itself.

use super::assignment::Assignment;
use super::column::{Name, Source};
use super::condition::Condition;
use crate::error::ReduceError;
use crate::value::Value;

/// What a reducer returns.
pub type Reduced = Result<Statement, ReduceError>;

/// A change to the tables of a projection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Statement {
    /// Does nothing.
    Noop,
    /// Inserts a row.
    Create {
        /// The table. `None` means the primary one.
        table: Option<Name>,
        /// Values of the row.
        values: Vec<Assignment>,
    },
    /// Inserts a row, or changes the one that has the same conflict columns.
    Upsert {
        /// The table. `None` means the primary one.
        table: Option<Name>,
        /// The columns that say which rows are the same.
        conflict: Vec<Name>,
        /// The values of the row, including those of the conflict columns.
        values: Vec<Assignment>,
    },
    /// Changes rows.
    Update {
        /// The table. `None` means the primary one.
        table: Option<Name>,
        /// The changes.
        values: Vec<Assignment>,
        /// Which rows.
        conditions: Vec<Condition>,
    },
    /// Deletes rows.
    Delete {
        /// The table. `None` means the primary one.
        table: Option<Name>,
        /// Which rows.
        conditions: Vec<Condition>,
    },
    /// Copies rows within a table to other keys.
    Copy {
        /// The table. `None` means the primary one.
        table: Option<Name>,
        /// The columns that say which rows are the same.
        conflict: Vec<Name>,
        /// Columns to write.
        to: Vec<Name>,
        /// What to write into them.
        from: Vec<Source>,
        /// Which rows to copy.
        conditions: Vec<Condition>,
    },
    /// One of the other statements, which fails unless it changes this number of rows.
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
        /// The values of `$2` and the following placeholders; `$1` is the instance.
        values: Vec<Value>,
    },
}
