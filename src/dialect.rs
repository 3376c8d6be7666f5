//! The SQL dialects of the databases, and texts that the program holds for each of them.

/// The SQL dialect of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    Sqlite,
}

impl Dialect {
    /// The name of the database, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        }
    }
}

/// Custom SQL, with a text for each database that the service uses. A service on one database needs one text.
///
/// `{items}` stands for the projection's table `items`, by its name or its suffix, and `{items.total}` for a column of
/// it. `$1` is the instance; `$2` and the following are the values. See [`exec`](crate::statement::exec).
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// const RAISE: Dialects = Dialects::both("UPDATE {items} SET n = n + 1 WHERE instance_id = $1 AND id = $2");
/// const STAMP: Dialects = Dialects::each(
///     "UPDATE {items} SET at = now() WHERE instance_id = $1",
///     "UPDATE {items} SET at = CURRENT_TIMESTAMP WHERE instance_id = $1",
/// );
/// # let _ = (RAISE, STAMP);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects {
    postgres: Option<&'static str>,
    sqlite: Option<&'static str>,
}

impl Dialects {
    /// One text, which every database understands.
    #[must_use]
    pub const fn both(text: &'static str) -> Self {
        Self { postgres: Some(text), sqlite: Some(text) }
    }

    /// A text for each database.
    #[must_use]
    pub const fn each(postgres: &'static str, sqlite: &'static str) -> Self {
        Self { postgres: Some(postgres), sqlite: Some(sqlite) }
    }

    /// For a service on PostgreSQL alone. Tests with rows in memory run on SQLite and cannot run it.
    #[must_use]
    pub const fn postgres(text: &'static str) -> Self {
        Self { postgres: Some(text), sqlite: None }
    }

    /// For a service on SQLite alone.
    #[must_use]
    pub const fn sqlite(text: &'static str) -> Self {
        Self { postgres: None, sqlite: Some(text) }
    }

    /// The text for this database, if there is one.
    pub(crate) const fn text(self, dialect: Dialect) -> Option<&'static str> {
        match dialect {
            Dialect::Postgres => self.postgres,
            Dialect::Sqlite => self.sqlite,
        }
    }
}

/// One text for every database.
impl From<&'static str> for Dialects {
    fn from(text: &'static str) -> Self {
        Self::both(text)
    }
}
