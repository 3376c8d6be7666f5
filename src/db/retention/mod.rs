//! Retention: erases payloads, removes instances and projections, archives old events.
//!
//! Each operation runs in bounded steps. A step is one transaction, which first locks the counter of its instance, so
//! pushes and other steps wait for it. A repeated operation finds in the data what remains to do.

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

/// How many rows of a table one transaction touches at most. Rows that foreign keys delete with them do not count.
const STEP: i64 = 1000;

/// How often a step that conflicted with others is tried again at once.
const TRIES: u32 = 5;

impl<B: Backend> DbStore<B> {
    /// Erases payload and metadata of events: both are the JSON value `null` from then on, which
    /// [`Event::is_redacted`](crate::Event::is_redacted) tells. Position, version, types, time and push key stay, and
    /// nothing pushed later is touched. Error texts that projections recorded for these events are erased too.
    ///
    /// Answers to commands are erased, because they may show rows of anybody. Questions about rows of the instance are
    /// erased with them.
    ///
    /// Reducers do not see an erased event, see [`Projection::on_redacted`](crate::Projection::on_redacted). Rows of
    /// read models that were written before stay as they are: rebuild the instance in the projections that the report
    /// names.
    ///
    /// Engines may hold such events in memory for some more seconds, in queues and pages. Rebuild after that.
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
    /// [`RetentionError::UnknownEvent`], [`RetentionError::UnknownAggregate`], or an error of the database. What was
    /// erased before the error stays erased, and a repetition continues.
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

    /// Removes everything that this database holds of an instance: events, unique values, states, failures and what
    /// people did about them, pauses, commands about it and the answers to all others, and the rows of every build of
    /// every projection. Its counter stays, so that positions never start again.
    ///
    /// From the first step on, pushes to the instance are refused with
    /// [`InstanceRemoved`](crate::error::PushError::InstanceRemoved). They are refused after the removal, too, until
    /// [`reopen_instance`](Self::reopen_instance). Projections treat everything up to its head as handled.
    ///
    /// If events and read models are in two databases, remove the instance from that of the events first, then from the
    /// other.
    ///
    /// `progress` hears of each step once it is committed.
    ///
    /// # Errors
    /// [`RetentionError::UnknownInstance`]; [`RetentionError::SystemInstance`]; [`RetentionError::Referred`] if rows of
    /// the service's own tables refer to rows that have to go and their foreign key refuses that (one that cascades
    /// deletes them too); or an error of the database. What was removed before the error stays removed, and a
    /// repetition continues.
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
    /// [`RetentionError::UnknownProjection`]; [`RetentionError::ProjectionRuns`] while a living engine runs it;
    /// [`RetentionError::Dependents`] if objects of the service depend on it; or an error of the database. Nothing has
    /// changed then.
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

    /// Lets services push to a removed instance again. Its positions continue where they ended; removed data stays
    /// removed.
    ///
    /// # Errors
    /// [`RetentionError::NotRemoved`]; [`RetentionError::Unfinished`] if its removal was cut off.
    pub fn reopen_instance(&self, instance: &str, by: &By) -> Result<(), RetentionError> {
        remove::reopen(self.backend(), instance, by)
    }

    /// Moves the oldest events from the table that pushes write to into a second table of the same form. All reads
    /// still find them, in order. Only reads that reach these old events become slower.
    ///
    /// `progress` hears of each step once it is committed.
    ///
    /// # Errors
    /// [`RetentionError::UnknownInstance`], or an error of the database. What was archived before the error stays
    /// archived, and a repetition continues.
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

    /// Which of these operations people asked for, the latest first, at most `limit`.
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

/// Runs one transaction; runs it again if the database rolled it back in favour of others.
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

/// Counts of rows by table, in the order in which tables were first touched.
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
        self.tables = self.with(table, rows);
        (self.progress)(&TableRows { table: plain(table), rows });
    }

    /// What was counted, and these rows.
    fn with(&self, table: &str, rows: u64) -> Vec<TableRows> {
        let (table, mut tables) = (plain(table), self.tables.clone());
        match tables.iter_mut().find(|touched| touched.table == table) {
            Some(touched) => touched.rows += rows,
            None if rows > 0 => tables.push(TableRows { table, rows }),
            None => {}
        }
        tables
    }
}

/// The name of a table as people write it, with its schema before it.
fn plain(table: &str) -> String {
    table.trim_matches('"').replace("\".\"", ".")
}

fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}

/// The count of a dry run, if it is not 0.
fn counted(table: &str, rows: u64) -> Option<TableRows> {
    (rows > 0).then(|| TableRows { table: plain(table), rows })
}
