//! What becomes of the data: payloads erased, instances and projections removed, old events archived.
//!
//! Each operation runs in bounded steps. A step is one transaction, which first locks the counter of its instance, so
//! it takes turns with pushes and with other steps. An operation that is repeated finds in the data what remains to do.

mod archive;
#[cfg(feature = "cli")]
mod import;
mod operation;
mod redact;
mod remove;

use std::time::SystemTime;

use super::builds::retire;
use super::{Backend, Conn, DbStore, row};
use crate::error::{RetentionError, StoreError, StoreErrorKind};
use crate::failure::By;
use crate::retention::{
    Archival, Archived, Operation, OperationKind, Redacted, Redaction, Removed, RemovedProjection, TableRows,
};
use crate::value::to_micros;

#[cfg(feature = "cli")]
pub(super) use import::{Imported, begin_import, end_import, extent};
pub(super) use operation::{half_removed, unfinished};
pub(super) use remove::removed;

/// Rows that one transaction touches of a table, at most, not counting what foreign keys take along.
const STEP: i64 = 1000;

/// How often a step that met others is tried again at once.
const TRIES: u32 = 5;

impl<B: Backend> DbStore<B> {
    /// Erases payload and metadata of events: both are the JSON value `null` from then on, which
    /// [`Event::is_redacted`](crate::Event::is_redacted) tells. Position, version, types, time and push key stay, and
    /// nothing pushed later is touched. Error texts that projections recorded for these events are erased too.
    ///
    /// Answers to commands, which may show rows of anybody, are erased, and with them questions about rows of the instance.
    ///
    /// Reducers do not see an erased event, see [`Projection::on_redacted`](crate::Projection::on_redacted). Read rows that
    /// were written before stay as they are: rebuild the instance in the projections that the report names.
    ///
    /// Engines may have such events in memory for some seconds yet, in queues and pages; rebuild after that.
    ///
    /// `progress` hears of each step once it is committed. Who did it and why is kept, see
    /// [`operations`](Self::operations).
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::{EventStore, NewEvent, SqliteStore};
    /// use readside::failure::By;
    /// use readside::query::Query;
    /// use readside::retention::Redaction;
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// store.push(&[NewEvent::raw("main", "user", "u1", "user.added").payload(&"Ada")])?;
    /// store.redact(&Redaction::of_aggregate("main", "user", "u1"), &By::new("me", "her request"), |_| {})?;
    /// assert!(store.filter(&Query::new())?[0].is_redacted());
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`RetentionError::UnknownEvent`], [`RetentionError::UnknownAggregate`], or the database's; what was erased by then stays so, and
    /// a repetition goes on.
    pub fn redact(
        &self,
        redaction: &Redaction,
        by: &By,
        mut progress: impl FnMut(&TableRows),
    ) -> Result<Redacted, RetentionError> {
        redact::redact(self.backend(), redaction, by, &mut progress)
    }

    /// What [`redact`](Self::redact) would do.
    ///
    /// # Errors
    /// As [`redact`](Self::redact).
    pub fn redact_dry_run(&self, redaction: &Redaction) -> Result<Redacted, RetentionError> {
        self.backend().read("counting what would be erased", |conn| redact::dry_run(conn, redaction))
    }

    /// Removes all that this database holds of an instance: events, unique values, states, failures and what people did
    /// about them, pauses, commands about it and the answers to all others, and the rows of every build of every
    /// projection. Its counter stays, so that positions never start again.
    ///
    /// From the first step on, pushes to the instance are refused with
    /// [`InstanceRemoved`](crate::error::PushError::InstanceRemoved), also after the removal, until
    /// [`reopen_instance`](Self::reopen_instance); and projections hold everything up to its head for done.
    ///
    /// Where events and read models live in two databases, remove it in that of the events first, then in the other.
    ///
    /// `progress` hears of each step once it is committed.
    ///
    /// # Errors
    /// [`RetentionError::UnknownInstance`], [`RetentionError::SystemInstance`]; [`RetentionError::Referred`] where rows of the
    /// service's own tables hold on to rows that have to go (a foreign key that cascades takes them along); or the
    /// database's. What was removed by then stays so, and a repetition goes on.
    pub fn remove_instance(
        &self,
        instance: &str,
        by: &By,
        mut progress: impl FnMut(&TableRows),
    ) -> Result<Removed, RetentionError> {
        remove::remove(self.backend(), instance, by, &mut progress)
    }

    /// What [`remove_instance`](Self::remove_instance) would do.
    ///
    /// # Errors
    /// As [`remove_instance`](Self::remove_instance).
    pub fn remove_instance_dry_run(&self, instance: &str) -> Result<Removed, RetentionError> {
        self.backend().read("counting what would be removed", |conn| remove::dry_run(conn, instance))
    }

    /// Removes a projection that no service keeps any more: the views that readers use, the tables, states and failures of
    /// all its builds, and its pauses, in one transaction. If a service declares it again, the engine
    /// fills it again from the log.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::SqliteStore;
    /// use readside::failure::By;
    /// use readside::store::ProjectionStore;
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let store = SqliteStore::in_memory()?;
    /// ProjectionStore::setup(&store, &[&logins])?;
    /// let removed = store.remove_projection("logins", &By::new("me", "nobody reads it"))?;
    /// assert_eq!(removed.tables[0].table, "logins_1");
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`RetentionError::UnknownProjection`]; [`RetentionError::ProjectionRuns`] while an engine that lives runs it;
    /// [`RetentionError::Dependents`] where something of the service's own stands on it; or the database's. Nothing has changed
    /// then.
    pub fn remove_projection(&self, projection: &str, by: &By) -> Result<RemovedProjection, RetentionError> {
        let subject = operation::subject(&serde_json::json!({ "projection": projection }))?;
        let asked = operation::OperationRequest { kind: OperationKind::RemoveProjection, instance: None, subject };
        let tables = step(self.backend(), "removing a projection", |conn| {
            let id = operation::begin(conn, &asked, by)?;
            let tables = retire::retire(conn, projection)?;
            operation::end(conn, id, &asked, &tables)?;
            Ok(tables)
        })?;
        Ok(RemovedProjection { dry_run: false, projection: projection.to_owned(), tables })
    }

    /// What [`remove_projection`](Self::remove_projection) would do.
    ///
    /// # Errors
    /// As [`remove_projection`](Self::remove_projection).
    pub fn remove_projection_dry_run(&self, projection: &str) -> Result<RemovedProjection, RetentionError> {
        let tables = self.backend().read("counting what would be removed", |conn| retire::look(conn, projection))?;
        Ok(RemovedProjection { dry_run: true, projection: projection.to_owned(), tables })
    }

    /// Lets a removed instance be pushed to again. Its positions go on where they ended; what was removed stays so.
    ///
    /// # Errors
    /// [`RetentionError::NotRemoved`]; [`RetentionError::Unfinished`] when its removal was cut off.
    pub fn reopen_instance(&self, instance: &str, by: &By) -> Result<(), RetentionError> {
        remove::reopen(self.backend(), instance, by)
    }

    /// Moves the oldest events from the table that pushes write to into a second table of the same form. All reads
    /// still find them, in order. Only reads that reach these old events become slower.
    ///
    /// `progress` hears of each step once it is committed.
    ///
    /// # Errors
    /// [`RetentionError::UnknownInstance`], or the database's; what was archived by then stays so, and a repetition goes on.
    pub fn archive(
        &self,
        archival: &Archival,
        by: &By,
        mut progress: impl FnMut(&TableRows),
    ) -> Result<Archived, RetentionError> {
        archive::archive(self.backend(), archival, by, &mut progress)
    }

    /// What [`archive`](Self::archive) would do.
    ///
    /// # Errors
    /// As [`archive`](Self::archive).
    pub fn archive_dry_run(&self, archival: &Archival) -> Result<Archived, RetentionError> {
        self.backend().read("counting what would be archived", |conn| archive::dry_run(conn, archival))
    }

    /// What people did to the data by these means, the latest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn operations(&self, limit: usize) -> Result<Vec<Operation>, StoreError> {
        self.backend().read("reading operations", |conn| operation::list(conn, limit))
    }
}

/// The row of an instance, locked until the end of the transaction.
struct InstanceRow {
    head: i64,
    archived: i64,
    removed: i64,
    closed_at: Option<SystemTime>,
}

fn lock(conn: &mut dyn Conn, instance: &str) -> Result<Option<InstanceRow>, StoreError> {
    let lock = conn.dialect().for_update();
    counter(conn, instance, lock)
}

fn counter(conn: &mut dyn Conn, instance: &str, lock: &str) -> Result<Option<InstanceRow>, StoreError> {
    let table = conn.dialect().table("instances");
    let sql = format!("SELECT head, archived, removed, closed_at FROM {table} WHERE instance_id = $1{lock}");
    let rows = conn.query(&sql, &[instance.into()])?;
    let read = |found| {
        Ok(InstanceRow {
            head: row::int(found, 0)?,
            archived: row::int(found, 1)?,
            removed: row::int(found, 2)?,
            closed_at: row::time(found, 3)?,
        })
    };
    rows.first().map(read).transpose()
}

fn unknown(instance: &str) -> RetentionError {
    RetentionError::UnknownInstance { instance: instance.to_owned() }
}

fn now(conn: &mut dyn Conn) -> Result<SystemTime, StoreError> {
    conn.now().map(to_micros)
}

/// One transaction; again when the database rolled it back for the sake of others.
fn step<B: Backend, T>(
    backend: &B,
    doing: &str,
    mut work: impl FnMut(&mut dyn Conn) -> Result<T, RetentionError>,
) -> Result<T, RetentionError> {
    let mut tries = 0;
    loop {
        match backend.write(doing, &mut work) {
            Err(RetentionError::Store(error)) if error.kind() == StoreErrorKind::Conflict && tries < TRIES => {
                tries += 1;
            }
            other => return other,
        }
    }
}

/// The first number of a query's only row, 0 for NULL.
fn number(conn: &mut dyn Conn, sql: &str, params: &[crate::value::Value]) -> Result<i64, StoreError> {
    conn.query(sql, params)?.first().map_or(Ok(0), |found| row::int_or_zero(found, 0))
}

/// Rows by table, in the order in which they were touched first.
struct Tally<'p> {
    tables: Vec<TableRows>,
    progress: &'p mut dyn FnMut(&TableRows),
}

impl<'p> Tally<'p> {
    fn new(progress: &'p mut dyn FnMut(&TableRows)) -> Self {
        Self { tables: Vec::new(), progress }
    }

    /// Counts what a committed step did.
    fn add(&mut self, table: &str, rows: u64) {
        if rows == 0 {
            return;
        }
        let table = plain(table);
        match self.tables.iter_mut().find(|touched| touched.table == table) {
            Some(touched) => touched.rows += rows,
            None => self.tables.push(TableRows { table: table.clone(), rows }),
        }
        (self.progress)(&TableRows { table, rows });
    }
}

/// A table's name as people write it, its schema in front.
fn plain(table: &str) -> String {
    table.trim_matches('"').replace("\".\"", ".")
}

fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}

/// Counts without doing.
fn counted(table: &str, rows: u64) -> Option<TableRows> {
    (rows > 0).then(|| TableRows { table: plain(table), rows })
}
