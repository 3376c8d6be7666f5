//! The name of a column, and what `copy` writes into one.

use std::borrow::Cow;

use crate::value::Value;

/// The name of a column. Most names are literals of the program, which allocate nothing in a statement.
pub type Name = Cow<'static, str>;

/// What `copy` writes into a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub(crate) from: Origin,
    pub(crate) added: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    Column(String),
    Value(Value),
}

impl Source {
    /// If the row exists already, adds to its value instead of replacing it.
    #[must_use]
    pub fn added(mut self) -> Self {
        self.added = true;
        self
    }
}

/// The value of a column of the copied row.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let copied = copy(["id"], ["id", "name"], [source_value("u2"), source_column("name")], [eq("id", "u1")])?;
/// # let _ = copied;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn source_column(name: impl Into<String>) -> Source {
    Source { from: Origin::Column(name.into()), added: false }
}

/// A given value.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let copied = copy(["id"], ["id", "name"], [source_value("u2"), source_column("name")], [eq("id", "u1")])?;
/// # let _ = copied;
/// # Ok::<(), readside::error::ReduceError>(())
/// ```
pub fn source_value(value: impl Into<Value>) -> Source {
    Source { from: Origin::Value(value.into()), added: false }
}
