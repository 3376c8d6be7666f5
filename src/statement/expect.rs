//! Statements that are to meet a certain number of rows.

use super::data::{Reduced, Statement};
use crate::error::StatementError;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Reduced {}
}

/// Says of a statement how many rows it has to meet.
pub trait ExpectRows: sealed::Sealed {
    /// The statement, which fails its event unless it changes exactly so many rows.
    ///
    /// It is for an update, a delete or a copy: those change what is there, and do nothing where that is not what the
    /// reducer takes for granted. Without it a missed row is no failure; `health()` counts them
    /// (`ProjectionHealth::missed`). The class of the failure is `statement`, which waiting does not mend.
    ///
    /// Such a statement is written by itself, because only then the database tells how many rows it met: what it costs is
    /// a round trip for each, and the writing of everything before it.
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
    /// The statement's own; [`StatementError::NoExpectation`] for another kind of statement.
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
