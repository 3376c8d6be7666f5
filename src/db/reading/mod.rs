//! Reads that a service writes: custom SQL, rows as values of the service's types, one tenant by default.

mod decode;
mod text;

use std::any::type_name;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::{Backend, DbStore, Row};
use crate::error::{QueryError, StoreErrorKind};
use crate::sql::Dialect;
use crate::statement::Dialects;
use crate::value::Value;
use text::Text;

/// How long the database may take, unless the caller sets another time.
const WITHIN: Duration = Duration::from_secs(30);

/// A query that is ready to be run: its values in order, that of the tenant last.
#[derive(Debug)]
pub struct OwnQuery<'q> {
    pub(crate) sql: String,
    pub(crate) params: Vec<Value>,
    /// How long the database may take: for the whole read, or for each part of a read in parts.
    pub(crate) within: Duration,
    /// True if many rows are wanted, of which only a part is in memory.
    pub(crate) in_parts: bool,
    /// What is being done, for errors.
    pub(crate) doing: &'q str,
}

/// What an error says of a lent transaction that is over before its time.
pub(crate) const ENDED: &str = "the transaction had ended before the work returned, by a COMMIT or ROLLBACK of its own \
     or by an error that it ignored, so it is stored only as far as it was committed: leave the end to the store, and use \
     savepoints in between";

/// What an error says of a lent read that is over before its time.
pub(crate) const READ_ENDED: &str = "the read-only transaction had ended before the work returned, by a COMMIT or ROLLBACK \
     of its own, so what came after saw other data and could write: leave the end to the store";

/// Gets the names of the columns and a row. Returns false to end the read.
pub(crate) type EachRow<'e> = &'e mut dyn FnMut(&[String], Row) -> bool;

/// Reads with another time limit; see [`DbStore::reader`].
#[derive(Debug)]
#[must_use = "it reads nothing until it is asked"]
pub struct Reader<'s, B: Backend> {
    pub(crate) store: &'s DbStore<B>,
    pub(crate) within: Duration,
}

impl<B: Backend> DbStore<B> {
    /// The rows that a service's own query finds for one tenant, each as a `T`: a struct or a map by the names of the
    /// columns, a tuple in their order, or the value of a single column.
    ///
    /// `$instance` stands for the tenant and has to occur. A text without it is refused, because it would read the rows
    /// of all tenants. `$1`, `$2` … are the values. The text is a constant of the program: everything it looks for is
    /// bound. It runs in a transaction that can only read, and ends after 30 seconds ([`reader`](Self::reader) sets
    /// another time).
    ///
    /// Types are the same on both databases. Times decode to `SystemTime`, or to texts in RFC 3339 and types that parse
    /// these. UUIDs decode to `Uuid` or texts, JSON and lists to any type of that form, bytes to `Vec<u8>`, truth
    /// values to `bool`. SQLite does not know the type of an expression; there the requested type decides.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::prelude::*;
    /// use readside::{EventStore, HandlerConfig, NewEvent, ProjectionHandler, SqliteStore};
    /// use serde::Deserialize;
    /// use std::{sync::Arc, time::SystemTime};
    ///
    /// #[derive(Deserialize)]
    /// struct User { id: String, added_at: SystemTime }
    ///
    /// let users = Projection::new("users", 1)
    ///     .table(Table::new("users").column(text("id")).column(timestamp("added_at")).primary_key(["id"]))
    ///     .on_raw("user", "user.added", |e| create([set("id", e.aggregate_id()), set("added_at", e.created_at())]));
    /// let store = Arc::new(SqliteStore::in_memory()?);
    /// let handler = ProjectionHandler::new(store.clone(), store.clone(), users, HandlerConfig::default())?;
    /// handler.setup()?;
    /// let pushed = store.push(&[NewEvent::raw("acme", "user", "u1", "user.added")])?;
    /// handler.trigger(&["acme"])?;
    ///
    /// let sql = "SELECT id, added_at FROM users WHERE instance_id = $instance AND id = $1";
    /// let found: Vec<User> = store.query_as("acme", sql, &["u1".into()])?;
    /// assert_eq!((found[0].id.as_str(), found[0].added_at), ("u1", pushed[0].created_at()));
    /// assert!(store.query_as::<User>("globex", sql, &["u1".into()])?.is_empty());
    ///
    /// let count = "SELECT count(*) FROM users WHERE instance_id = $instance";
    /// assert_eq!(store.query_as::<u64>("acme", count, &[])?, [1]);
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`QueryError`]. A text that does not only read, or that lacks a placeholder it should have, is not run.
    pub fn query_as<T: DeserializeOwned>(
        &self,
        instance: &str,
        sql: impl Into<Dialects>,
        values: &[Value],
    ) -> Result<Vec<T>, QueryError> {
        self.reader().query_as(instance, sql, values)
    }

    /// As [`query_as`](Self::query_as), for the rows of all tenants, or for tables without tenants: the text must not
    /// contain `$instance`.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn query_all_as<T: DeserializeOwned>(
        &self,
        sql: impl Into<Dialects>,
        values: &[Value],
    ) -> Result<Vec<T>, QueryError> {
        self.reader().query_all_as(sql, values)
    }

    /// As [`query_as`](Self::query_as), for any number of rows: `each` gets one after the other, and memory stays
    /// bounded. An error of `each` ends the read.
    ///
    /// The read holds a connection until its end, on one snapshot. So be quick, and do not call this store again inside
    /// `each` if it is in memory. The time of a [`Reader`] limits each part that the database returns, and not the
    /// whole read.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::SqliteStore;
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// let sql = "SELECT aggregate_id FROM readside_events WHERE instance_id = $instance ORDER BY position";
    /// store.stream_as("acme", sql, &[], |id: String| {
    ///     println!("{id}");
    ///     Ok::<(), readside::Error>(())
    /// })?;
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// That of `each`, or [`QueryError`].
    pub fn stream_as<T: DeserializeOwned, E: From<QueryError>>(
        &self,
        instance: &str,
        sql: impl Into<Dialects>,
        values: &[Value],
        each: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.reader().stream_as(instance, sql, values, each)
    }

    /// As [`stream_as`](Self::stream_as), for the rows of all tenants.
    ///
    /// # Errors
    /// That of `each`, or [`QueryError`].
    pub fn stream_all_as<T: DeserializeOwned, E: From<QueryError>>(
        &self,
        sql: impl Into<Dialects>,
        values: &[Value],
        each: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.reader().stream_all_as(sql, values, each)
    }

    /// Reads with another time limit.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use std::time::Duration;
    /// use readside::SqliteStore;
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// let quick = store.reader().within(Duration::from_millis(500));
    /// let one: Vec<i64> = quick.query_all_as("SELECT 1", &[])?;
    /// assert_eq!(one, [1]);
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn reader(&self) -> Reader<'_, B> {
        Reader { store: self, within: WITHIN }
    }
}

impl<B: Backend> Reader<'_, B> {
    /// How long the database may take, including the wait for a connection; in a stream, for each part of it. Default:
    /// 30 s. `Duration::MAX` means no limit.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// See [`DbStore::query_as`].
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn query_as<T: DeserializeOwned>(
        &self,
        instance: &str,
        sql: impl Into<Dialects>,
        values: &[Value],
    ) -> Result<Vec<T>, QueryError> {
        self.collect(Some(instance), sql.into(), values)
    }

    /// See [`DbStore::query_all_as`].
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn query_all_as<T: DeserializeOwned>(
        &self,
        sql: impl Into<Dialects>,
        values: &[Value],
    ) -> Result<Vec<T>, QueryError> {
        self.collect(None, sql.into(), values)
    }

    /// See [`DbStore::stream_as`].
    ///
    /// # Errors
    /// That of `each`, or [`QueryError`].
    pub fn stream_as<T: DeserializeOwned, E: From<QueryError>>(
        &self,
        instance: &str,
        sql: impl Into<Dialects>,
        values: &[Value],
        each: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each(Some(instance), sql.into(), values, true, each)
    }

    /// See [`DbStore::stream_all_as`].
    ///
    /// # Errors
    /// That of `each`, or [`QueryError`].
    pub fn stream_all_as<T: DeserializeOwned, E: From<QueryError>>(
        &self,
        sql: impl Into<Dialects>,
        values: &[Value],
        each: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each(None, sql.into(), values, true, each)
    }

    fn collect<T: DeserializeOwned>(
        &self,
        instance: Option<&str>,
        sql: Dialects,
        values: &[Value],
    ) -> Result<Vec<T>, QueryError> {
        let mut found = Vec::new();
        self.each(instance, sql, values, false, |row| {
            found.push(row);
            Ok::<(), QueryError>(())
        })?;
        Ok(found)
    }

    fn each<T: DeserializeOwned, E: From<QueryError>>(
        &self,
        instance: Option<&str>,
        sql: Dialects,
        values: &[Value],
        in_parts: bool,
        mut each: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let backend = self.store.backend();
        let (sql, params) = checked(backend.dialect(), instance, sql, values)?;
        let doing = "reading rows by a query of the service's own";
        let query = OwnQuery { sql, params, within: self.within, in_parts, doing };
        let (since, mut number, mut ended) = (Instant::now(), 0, Ok(()));
        let outcome = backend.read_own(&query, &mut |names, row| {
            let decoded = decode::decode::<T>(names, row).map_err(|fault| {
                let (column, wanted) = (fault.column, type_name::<T>());
                E::from(QueryError::Decode { row: number, column, wanted, source: fault.why })
            });
            number += 1;
            ended = decoded.and_then(&mut each);
            ended.is_ok()
        });
        ended?;
        outcome.map_err(|error| match error.kind() {
            // The wait for a connection may have a shorter limit of another kind.
            StoreErrorKind::Timeout if since.elapsed() >= self.within => {
                QueryError::TooLong { within: self.within, source: error }
            }
            _ => QueryError::Store(error),
        })?;
        Ok(())
    }
}

/// The text for this database, with the values of its placeholders.
fn checked(
    dialect: Dialect,
    instance: Option<&str>,
    sql: Dialects,
    values: &[Value],
) -> Result<(String, Vec<Value>), QueryError> {
    let text = sql.text(dialect).ok_or(QueryError::NoText { dialect: dialect.name() })?;
    let text = Text::read(dialect, text).map_err(|what| QueryError::Text { what })?;
    match instance {
        Some(_) if !text.names_instance() => return Err(QueryError::NoInstance),
        None if text.names_instance() => return Err(QueryError::UnexpectedInstance),
        _ => {}
    }
    if let Some(gap) = text.gap() {
        return Err(QueryError::Text { what: format!("has ${}, but no ${gap}", text.highest()) });
    }
    if text.highest() != values.len() {
        return Err(QueryError::Values { placeholders: text.highest(), values: values.len() });
    }
    let params = values.iter().cloned().chain(instance.map(Value::from)).collect();
    Ok((text.numbered(), params))
}
