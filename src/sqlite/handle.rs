//! One SQLite connection: prepares statements, binds values, reads rows.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection};

use super::{error, value};
use crate::clock::Clock;
use crate::db::Row;
use crate::error::StoreError;
use crate::value::{Value, refuse_nul};

#[cfg(test)]
thread_local! {
    /// How many statements this thread ran, for tests of what a question costs.
    pub(super) static ASKED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    /// Their texts, while a test wants them.
    pub(super) static TEXTS: std::cell::RefCell<Option<Vec<String>>> = const { std::cell::RefCell::new(None) };
}

/// A connection, inside a transaction or not.
pub(super) struct Handle<'c> {
    pub(super) conn: &'c Connection,
    pub(super) clock: &'c dyn Clock,
}

impl<'c> Handle<'c> {
    pub(super) fn new(conn: &'c Connection, clock: &'c dyn Clock) -> Self {
        Self { conn, clock }
    }

    pub(super) fn prepare(&self, sql: &str) -> Result<CachedStatement<'c>, StoreError> {
        #[cfg(test)]
        {
            ASKED.with(|asked| asked.set(asked.get() + 1));
            TEXTS.with_borrow_mut(|texts| texts.iter_mut().for_each(|texts| texts.push(sql.to_owned())));
        }
        self.conn.prepare_cached(sql).map_err(|error| error::store("preparing a statement", error))
    }
}

/// Binds by the names `$1`, `$2` …, which may occur in any order and more than once.
pub(super) fn bind(statement: &mut CachedStatement<'_>, params: &[Value]) -> Result<(), StoreError> {
    refuse_nul("binding values", params)?;
    let mut bind = || {
        for at in 1..=statement.parameter_count() {
            let number = statement.parameter_name(at).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
            if let Some(param) = number.and_then(|number| params.get(number.checked_sub(1)?)) {
                statement.raw_bind_parameter(at, value::bound(param))?;
            }
        }
        Ok(())
    };
    bind().map_err(|error| error::store("binding values", error))
}

/// Binds one row after another. A value that is the same as in the row before stays bound.
pub(super) fn bind_changes<'v>(
    statement: &mut CachedStatement<'_>,
    row: &[ValueRef<'v>],
    before: &mut Vec<ValueRef<'v>>,
) -> rusqlite::Result<()> {
    for (at, value) in row.iter().enumerate().filter(|(at, value)| before.get(*at) != Some(*value)) {
        statement.raw_bind_parameter(at + 1, ToSqlOutput::Borrowed(*value))?;
    }
    before.clear();
    before.extend_from_slice(row);
    Ok(())
}

/// All columns of the current row of a query.
pub(super) fn row(found: &rusqlite::Row<'_>) -> Result<Row, StoreError> {
    let count = found.as_ref().column_count();
    (0..count)
        .map(|at| value::found(found.get_ref(at).map_err(|error| error::store("reading a row", error))?))
        .collect()
}
