//! Statements that have to change a certain number of rows.

use super::data::{Reduced, Statement};
use crate::error::StatementError;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Reduced {}
}

/// Sets how many rows a statement has to change.
pub trait ExpectRows: sealed::Sealed {
    /// The statement, which fails its event unless it changes exactly this number of rows.
    ///
    /// Use it for an update, a delete or a copy. These change existing rows, and do nothing if the rows are not as the
    /// reducer assumes. Without it a missed row is no failure; `health()` counts missed rows
    /// (`ProjectionHealth::missed`). The class of the failure is `statement`; waiting does not help it.
    ///
    /// The engine runs such a statement alone, because only then does the database tell how many rows it changed. That
    /// costs a round trip for each one, and everything before it has to be written first.
    ///
    /// # Examples
    /// ```
    /// use readside::prelude::*;
    /// let paid = update([increment("paid", 5)], [eq("id", "o1")]).expect_rows(1)?;
    /// assert!(create([set("id", "o1")]).expect_rows(1).is_err(), "it makes one row in any case");
    /// # let _ = paid;
    /// # Ok::<(), readside::error::ReduceError>(())
    /// ```
    ///
    /// # Errors
    /// The errors of the statement, and [`StatementError::NoExpectation`] for another kind of statement.
    fn expect_rows(self, rows: u64) -> Reduced;
}

impl ExpectRows for Reduced {
    fn expect_rows(self, rows: u64) -> Reduced {
        let statement = match self? {
            statement @ (Statement::Update { .. } | Statement::Delete { .. } | Statement::Copy { .. }) => statement,
            Statement::Expect { statement, .. } => *statement,
            other => return Err(StatementError::NoExpectation { statement: other.kind() }.into()),
        };
        Ok(Statement::Expect { rows, statement: Box::new(statement) })
    }
}

impl Statement {
    /// The name of its builder.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Create { .. } => "create",
            Self::Upsert { .. } => "upsert",
            Self::Update { .. } => "update",
            Self::Delete { .. } => "delete",
            Self::Copy { .. } => "copy",
            Self::Multi(_) => "multi",
            Self::Exec { .. } => "exec",
            Self::Expect { statement, .. } => statement.kind(),
        }
    }
}
