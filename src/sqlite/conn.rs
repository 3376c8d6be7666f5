//! SQL on one SQLite connection.

use std::sync::Arc;
use std::time::SystemTime;

use super::handle::{Handle, bind, row};
use super::objects::Objects;
use super::{error, event_batches, push, value};
use crate::db::objects::Catalogue;
use crate::db::{Append, Bulk, BulkKind, BulkRow, Conn, Counters, EventBatches, Row, on_conflict};
use crate::error::StoreError;
use crate::query::ReadRequest;
use crate::sql::{Dialect, quote};
use crate::value::{ColumnType, Value};

impl Conn for Handle<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn catalogue(&self) -> &'static dyn Catalogue {
        &Objects
    }

    fn home(&self) -> Option<&str> {
        None
    }

    fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.prepare(sql)?;
        bind(&mut statement, params)?;
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(next) = rows.next().map_err(|error| error::store("running a query", error))? {
            found.push(row(next)?);
        }
        Ok(found)
    }

    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, StoreError> {
        let mut statement = self.prepare(sql)?;
        bind(&mut statement, params)?;
        let touched = statement.raw_execute().map_err(|error| error::store("running a statement", error))?;
        Ok(touched as u64)
    }

    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.conn.execute_batch(sql).map_err(|error| error::store("running statements", error))
    }

    /// Writes row by row with one prepared statement, which is fastest in SQLite.
    fn bulk(&mut self, write: &Bulk) -> Result<u64, StoreError> {
        let mut statement = self.prepare(&bulk_sql(write))?;
        let (mut touched, mut before) = (0, None::<&BulkRow<'_>>);
        for row in &write.rows {
            // A value that is the same as in the row before stays bound.
            let is_bound = |at, param| before.is_some_and(|before| before.get(at) == Some(param));
            for (at, param) in row.iter().enumerate().filter(|(at, param)| !is_bound(*at, param)) {
                let bound = statement.raw_bind_parameter(at + 1, value::bound(param));
                bound.map_err(|error| error::store("binding values", error))?;
            }
            before = Some(row);
            touched += statement.raw_execute().map_err(|error| error::store("writing rows", error))?;
        }
        Ok(touched as u64)
    }

    fn event_batches(&mut self, request: &ReadRequest) -> Result<EventBatches, StoreError> {
        event_batches::read(self, request)
    }

    fn counters(&mut self, instances: &[Arc<str>]) -> Result<Counters, StoreError> {
        let now = self.now()?;
        push::counters(self, instances, now)
    }

    fn index_ids(&mut self) -> Result<(), StoreError> {
        push::index_ids(self).map_err(|error| error::store("making the index of event ids", error))
    }

    fn append(&mut self, append: &Append<'_>) -> Result<(), StoreError> {
        push::append(self, append).map_err(|error| error::store("storing events", error))
    }

    fn typed(&self, value: Value, kind: ColumnType) -> Value {
        value::typed(value, kind)
    }

    fn now(&mut self) -> Result<SystemTime, StoreError> {
        Ok(self.clock.now())
    }
}

/// The statement for one row, with `?1`, `?2` … in the order of its values.
fn bulk_sql(write: &Bulk<'_>) -> String {
    let keys: Vec<String> = write.keys.iter().map(|(name, _)| quote(name)).collect();
    let others = write.columns.iter().map(|(name, _)| quote(name));
    let named = || (1..).zip(&keys).map(|(number, key)| format!("{key} = ?{number}")).collect::<Vec<_>>().join(" AND ");
    match write.kind {
        BulkKind::Delete | BulkKind::Absent => return format!("DELETE FROM {} WHERE {}", write.table, named()),
        BulkKind::Update => {
            let set = write.assigned("", |at, _| format!("?{}", keys.len() + at + 1)).join(", ");
            return format!("UPDATE {} SET {set} WHERE {}{}", write.table, named(), write.demand());
        }
        BulkKind::Upsert | BulkKind::Insert | BulkKind::InsertMissing => {}
    }
    let columns: Vec<String> = keys.iter().cloned().chain(others).collect();
    let params: Vec<String> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
    let mut sql = format!("INSERT INTO {} AS t ({}) VALUES ({})", write.table, columns.join(", "), params.join(", "));
    if write.kind != BulkKind::Insert {
        sql += format!(" ON CONFLICT ({}) DO ", keys.join(", ")).as_str();
        sql += &on_conflict(write);
    }
    sql
}
