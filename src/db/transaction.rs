//! The transaction that changes states together with the read tables.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::Conn;
use super::execute::{altered_table, execute, of_table};
use super::place::placed;
use super::setup::catalog;
use super::{checkpoint, failure, fold, lease, model, setup, state};
use crate::error::{StoreError, StoreErrorKind};
use crate::failure::{Action, Aggregates, Attempt, By, FailedEvent, FailureQuery};
use crate::projection::Projection;
use crate::query::{EventBatch, ReadRequest};
use crate::sealed::Sealed;
use crate::sql::{self, Dialect};
use crate::state::{Checkpoint, Log, ProjectionKey, State};
use crate::statement::Statement;
use crate::store::ProjectionTransaction;

/// A transaction of a backend that works on read models.
pub(crate) struct Transaction<'c> {
    conn: &'c mut dyn Conn,
    /// How many statements met no row.
    missed: u64,
}

impl<'c> Transaction<'c> {
    pub(crate) fn new(conn: &'c mut dyn Conn) -> Self {
        Self { conn, missed: 0 }
    }
}

impl Sealed for Transaction<'_> {}

impl ProjectionTransaction for Transaction<'_> {
    fn lock(&mut self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        state::lock(self.conn, projection, instances)
    }

    fn with_rows(&mut self, projection: &Projection, instances: &[Arc<str>]) -> Result<Vec<Arc<str>>, StoreError> {
        let projection = placed(self.conn, projection)?;
        let found = model::with_rows(self.conn, &projection, instances);
        found.map_err(|error| of_table(self.conn, error, &projection))
    }

    fn event_batches(&mut self, source: Uuid, request: &ReadRequest) -> Result<Option<Vec<EventBatch>>, StoreError> {
        // PostgreSQL reads heads, archive and events in one snapshot, which a transaction that holds locks can no
        // longer begin. Another connection finds everything committed. SQLite in memory has no other connection.
        let reads_here = self.conn.dialect() == Dialect::Sqlite && setup::store_id(self.conn)? == source;
        if reads_here { self.conn.event_batches(request).map(|read| Some(read.slices)) } else { Ok(None) }
    }

    fn extend(
        &mut self,
        projection: &ProjectionKey,
        instances: &[Arc<str>],
        owner: Uuid,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        lease::extend(self.conn, projection, instances, owner, lease).map(|()| true)
    }

    /// A transaction on SQLite already holds the only lock.
    fn limit_waits(&mut self, share: u32) -> Result<(), StoreError> {
        match self.conn.dialect() {
            Dialect::Postgres => {
                let set = "SELECT set_config('lock_timeout', '10ms', true), \
                           set_config('statement_timeout', greatest(setting::int8 / $1, 100)::text, true) \
                           FROM pg_settings WHERE name = 'statement_timeout'";
                self.conn.query(set, &[i64::from(share.max(1)).into()]).map(|_| ())
            }
            Dialect::Sqlite => Ok(()),
        }
    }

    fn apply(&mut self, projection: &Projection, batches: &[(Arc<str>, Vec<&Statement>)]) -> Result<(), StoreError> {
        let projection = placed(self.conn, projection)?;
        self.missed += fold::apply(self.conn, &projection, batches)?;
        Ok(())
    }

    fn missed(&self) -> u64 {
        self.missed
    }

    fn apply_one(&mut self, projection: &Projection, instance: &str, statement: &Statement) -> Result<(), StoreError> {
        if *statement == Statement::Noop {
            return Ok(());
        }
        let projection = placed(self.conn, projection)?;
        let run = |conn: &mut dyn Conn| execute(conn, &projection, instance, statement);
        let mut outcome = step(self.conn, run)?;
        if let Err(error) = &outcome
            && may_be_of_tables(error)
        {
            // What is looked at, and why the statement was refused, have to be of one moment: else somebody may have put a
            // table back in between, and the event would be blamed.
            let held = step(self.conn, |conn| hold(conn, &projection))?;
            held.map_err(|error| of_table(self.conn, error, &projection))?;
            if let Some(found) = altered(self.conn, &projection, statement, error)? {
                return Err(altered_table(&projection, &found, error));
            }
            if self.conn.dialect() == Dialect::Postgres {
                outcome = step(self.conn, run)?;
            }
        }
        self.missed += outcome?;
        Ok(())
    }

    fn save(&mut self, projection: &ProjectionKey, checkpoints: &[Checkpoint], log: Log) -> Result<(), StoreError> {
        checkpoint::save(self.conn, projection, checkpoints, log)
    }

    fn record(&mut self, projection: &ProjectionKey, attempts: &[Attempt]) -> Result<(), StoreError> {
        failure::record(self.conn, projection, attempts)
    }

    fn clear(&mut self, projection: &ProjectionKey, instance: &str, up_to: i64) -> Result<(), StoreError> {
        failure::clear(self.conn, projection, instance, up_to)
    }

    fn forget(&mut self, projection: &ProjectionKey, instance: &str, positions: &[i64]) -> Result<(), StoreError> {
        failure::forget(self.conn, projection, instance, positions)
    }

    fn failed_events(
        &mut self,
        projection: &ProjectionKey,
        query: &FailureQuery,
    ) -> Result<Vec<FailedEvent>, StoreError> {
        failure::list(self.conn, projection, query)
    }

    fn parked(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        ids: &[Arc<str>],
    ) -> Result<Aggregates, StoreError> {
        failure::parked(self.conn, projection, instance, ids)
    }

    fn promote(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        aggregates: &Aggregates,
    ) -> Result<(), StoreError> {
        failure::promote(self.conn, projection, instance, aggregates)
    }

    fn mark(&mut self, projection: &ProjectionKey, instance: &str, event: Option<i64>) -> Result<(), StoreError> {
        failure::mark(self.conn, projection, instance, event)
    }

    fn relax(&mut self, projection: &ProjectionKey, instance: &str) -> Result<(), StoreError> {
        failure::relax(self.conn, projection, instance)
    }

    fn note(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        position: i64,
        action: Action,
        by: &By,
    ) -> Result<(), StoreError> {
        failure::note(self.conn, projection, instance, &[position], (action, by))
    }

    fn note_all(
        &mut self,
        projection: &ProjectionKey,
        instance: &str,
        positions: &[i64],
        action: Action,
        by: &By,
    ) -> Result<(), StoreError> {
        failure::note(self.conn, projection, instance, positions, (action, by))
    }
}

/// Runs the work in a savepoint: all of it takes effect, or nothing. The outer error is that of the transaction.
fn step<T>(
    conn: &mut dyn Conn,
    work: impl FnOnce(&mut dyn Conn) -> Result<T, StoreError>,
) -> Result<Result<T, StoreError>, StoreError> {
    conn.execute("SAVEPOINT step", &[])?;
    let outcome = work(conn);
    if outcome.is_err() {
        conn.execute("ROLLBACK TO SAVEPOINT step", &[])?;
    }
    conn.execute("RELEASE SAVEPOINT step", &[])?;
    Ok(outcome)
}

/// Keeps the tables as they are until the transaction ends, as a write to them does. A refused statement gives up its
/// locks. There is nothing to do on SQLite, where the transaction holds the lock, and for a projection without tables.
fn hold(conn: &mut dyn Conn, projection: &Projection) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    if dialect == Dialect::Sqlite || projection.tables().is_empty() {
        return Ok(());
    }
    let tables: Vec<String> =
        projection.tables().iter().map(|table| sql::physical_name(dialect, projection, table)).collect();
    conn.batch(&format!("LOCK TABLE {} IN ROW EXCLUSIVE MODE", tables.join(", ")))
}

/// True if the error may come from a table that somebody altered.
fn may_be_of_tables(error: &StoreError) -> bool {
    use StoreErrorKind::{Constraint, Data, Usage};
    matches!(error.kind(), Usage | Data | Constraint)
}

/// How the tables of the projection, whose schema is known, differ from what they should be, if that may be why a
/// statement was refused. Then the statement is not at fault. Any difference may matter to a statement that names
/// columns itself.
fn altered(
    conn: &mut dyn Conn,
    projection: &Projection,
    statement: &Statement,
    error: &StoreError,
) -> Result<Option<String>, StoreError> {
    let look = match error.kind() {
        StoreErrorKind::Usage if statement.has_exec() => catalog::difference,
        StoreErrorKind::Usage | StoreErrorKind::Data => catalog::obstacle,
        StoreErrorKind::Constraint => catalog::demanded,
        _ => return Ok(None),
    };
    for table in projection.tables() {
        if let Some(found) = look(conn, projection, table)? {
            let name = sql::physical_raw(conn.dialect(), projection, table);
            return Ok(Some(format!("table {name:?} is not as its projection defines it: {found}")));
        }
    }
    Ok(None)
}
