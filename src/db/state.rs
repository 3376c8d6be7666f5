//! States of projections, and the transaction that moves them together with the read tables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::place::placed;
use super::setup::catalog;
use super::{Bulk, BulkKind, Conn, Row};
use super::{checkpoint, failure, fold, lease, model, owned, row, setup};
use crate::error::{StoreError, StoreErrorKind};
use crate::failure::{Action, Aggregates, Attempt, By, FailedEvent, FailureQuery};
use crate::projection::Projection;
use crate::query::{EventBatch, ReadRequest};
use crate::sql::{self, Dialect};
use crate::state::{Checkpoint, Log, Mark, ProjectionKey, State};
use crate::statement::Statement;
use crate::store::ProjectionTransaction;
use crate::value::{ColumnType as T, Value};

/// A transaction of a backend, seen as one on read models.
pub(crate) struct Transaction<'c> {
    pub(crate) conn: &'c mut dyn Conn,
}

impl ProjectionTransaction for Transaction<'_> {
    fn lock(&mut self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        let mut states = read(self.conn, projection, instances, Lock::Take)?;
        if states.len() < instances.len() {
            let known: HashSet<&str> = states.iter().map(|state| &*state.instance).collect();
            let is_missing = |instance: &&Arc<str>| !known.contains(instance.as_ref());
            let missing: Vec<Arc<str>> = instances.iter().filter(is_missing).cloned().collect();
            let made = make(self.conn, projection, &missing)?;
            let all = made == missing.len() as u64;
            states.extend(if all {
                new_states(self.conn, missing)?
            } else {
                read(self.conn, projection, &missing, Lock::Take)?
            });
        }
        Ok(in_order(instances, states))
    }

    fn with_rows(&mut self, projection: &Projection, instances: &[Arc<str>]) -> Result<Vec<Arc<str>>, StoreError> {
        let projection = placed(self.conn, projection)?;
        let found = model::with_rows(self.conn, &projection, instances);
        found.map_err(|error| of_table(self.conn, error, &projection))
    }

    fn slices(&mut self, source: Uuid, request: &ReadRequest) -> Result<Option<Vec<EventBatch>>, StoreError> {
        // PostgreSQL reads heads, archive and events in one snapshot, which a transaction that holds locks cannot begin any
        // more; another connection finds everything committed. SQLite in memory has no other connection.
        let reads_here = self.conn.dialect() == Dialect::Sqlite && setup::store_id(self.conn)? == source;
        if reads_here { self.conn.slices(request).map(|read| Some(read.slices)) } else { Ok(None) }
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

    /// SQLite's one lock is had already by whoever is inside a transaction.
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
        fold::apply(self.conn, &projection, batches)
    }

    fn apply_one(&mut self, projection: &Projection, instance: &str, statement: &Statement) -> Result<(), StoreError> {
        if *statement == Statement::Noop {
            return Ok(());
        }
        let projection = placed(self.conn, projection)?;
        self.conn.execute("SAVEPOINT step", &[])?;
        let outcome = execute(self.conn, &projection, instance, statement);
        if outcome.is_err() {
            self.conn.execute("ROLLBACK TO SAVEPOINT step", &[])?;
        }
        self.conn.execute("RELEASE SAVEPOINT step", &[])?;
        match outcome {
            Err(error) if error.kind() == StoreErrorKind::Usage && statement.has_exec() => {
                Err(if lacks_tables(self.conn, &projection)? {
                    of_table(self.conn, error.of_kind(StoreErrorKind::Schema), &projection)
                } else {
                    error
                })
            }
            other => other,
        }
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

/// What SQL of the service's own does not find is its fault, until the tables of the projection are seen to be missing.
/// The projection is placed.
pub(super) fn execute(
    conn: &mut dyn Conn,
    projection: &Projection,
    instance: &str,
    statement: &Statement,
) -> Result<(), StoreError> {
    if let Statement::Multi(parts) = statement {
        return parts.iter().try_for_each(|part| execute(conn, projection, instance, part));
    }
    let rendered = sql::render(conn.dialect(), projection, instance, statement)
        .map_err(|error| StoreError::new("rendering a statement", StoreErrorKind::Usage, error))?;
    for sql in rendered {
        let done = conn.execute(&sql.text, &sql.params);
        done.map_err(|error| {
            let is_own = error.kind() == StoreErrorKind::Schema && statement.has_exec();
            of_table(conn, if is_own { error.of_kind(StoreErrorKind::Usage) } else { error }, projection)
        })?;
    }
    Ok(())
}

/// An error of a statement on a read table.
pub(super) fn of_table(conn: &mut dyn Conn, error: StoreError, projection: &Projection) -> StoreError {
    let error = error.doing(format!("writing a read table of projection {:?}", projection.name()));
    if error.kind() != StoreErrorKind::Schema {
        return error;
    }
    let remedy = match conn.dialect() {
        // Where a schema is on record, a set-up made the tables; one that the code names tells nothing.
        Dialect::Postgres if projection.schema_name().is_some() => SET_UP_OR_PUT_BACK,
        Dialect::Postgres => PUT_BACK,
        Dialect::Sqlite if is_on_record(conn, &projection.key()) => PUT_BACK,
        Dialect::Sqlite => return error,
    };
    error.with_remedy(remedy)
}

/// True when the projection was set up. Without the engine's own tables nothing was.
fn is_on_record(conn: &mut dyn Conn, key: &ProjectionKey) -> bool {
    let sql = format!("SELECT 1 FROM {} WHERE name = $1 AND version = $2", conn.dialect().table("projections"));
    conn.query(&sql, &[name(key), version(key)]).is_ok_and(|rows| !rows.is_empty())
}

/// What helps where a read table is gone, or a column of one. A set-up does not: it would have to make it empty.
const PUT_BACK: &str = "; rename it back or restore it, together with the checkpoints of its time, and the engine goes on \
     by itself; or raise the version, so that it is rebuilt";

/// The same where it may never have been set up.
const SET_UP_OR_PUT_BACK: &str = "; run setup() if it was never set up; else rename back or restore what is missing, together \
     with the checkpoints of its time, or raise the version, so that it is rebuilt";

/// True when a table of the projection, which is placed, is not what it should be.
fn lacks_tables(conn: &mut dyn Conn, projection: &Projection) -> Result<bool, StoreError> {
    for table in projection.tables() {
        if catalog::difference(conn, projection, table)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn name(projection: &ProjectionKey) -> Value {
    Arc::clone(&projection.name).into()
}

fn version(projection: &ProjectionKey) -> Value {
    projection.version.into()
}

fn state_keys() -> Vec<(&'static str, T)> {
    vec![("instance_id", T::Text), ("projection", T::Text), ("version", T::Integer)]
}

/// Makes state rows, unless somebody else has; how many. What a transaction has made is locked by it.
pub(super) fn make(conn: &mut dyn Conn, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<u64, StoreError> {
    let row =
        |instance: &Arc<str>| vec![Arc::clone(instance).into(), name(projection), version(projection), 0_i64.into()];
    conn.bulk(&Bulk {
        table: conn.dialect().table("projection_states"),
        kind: BulkKind::InsertMissing,
        keys: state_keys(),
        columns: vec![("position", T::Integer)],
        how: Vec::new(),
        only_if: None,
        rows: owned(sorted(instances.iter().map(row).collect())),
    })
}

/// The states of rows that this transaction has just made: nothing but how far their instances were removed, which a
/// statement tells that began after the rows were made. See [`position`].
fn new_states(conn: &mut dyn Conn, instances: Vec<Arc<str>>) -> Result<Vec<State>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT instance_id, removed FROM {} WHERE removed > 0 AND {}",
        dialect.table("instances"),
        dialect.any("instance_id", 1)
    );
    let ids = Value::TextArray(instances.iter().map(ToString::to_string).collect());
    let mut removed = HashMap::new();
    for found in conn.query(&sql, &[ids])? {
        removed.insert(row::shared(&found, 0)?, row::int(&found, 1)?);
    }
    let new = |instance| State { position: removed.get(&instance).copied().unwrap_or(0), instance, ..State::default() };
    Ok(instances.into_iter().map(new).collect())
}

/// Rows in order of their instance's bytes, so that no two transactions lock them crosswise.
fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| match (a.first(), b.first()) {
        (Some(Value::Text(a)), Some(Value::Text(b))) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    });
    rows
}

fn in_order(instances: &[Arc<str>], states: Vec<State>) -> Vec<State> {
    let mut found: HashMap<Arc<str>, State> =
        states.into_iter().map(|state| (Arc::clone(&state.instance), state)).collect();
    instances
        .iter()
        .map(|instance| {
            let none = || State { instance: Arc::clone(instance), ..State::default() };
            found.remove(instance).unwrap_or_else(none)
        })
        .collect()
}

/// The states of these instances, in their order.
pub(crate) fn states(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: &[Arc<str>],
) -> Result<Vec<State>, StoreError> {
    Ok(in_order(instances, read(conn, projection, instances, Lock::None)?))
}

/// The states that exist behind an instance, by bytes.
pub(crate) fn states_after(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<State>, StoreError> {
    let sql = format!(
        "SELECT instance_id FROM {} WHERE projection = $1 AND version = $2 AND (CAST($3 AS text) IS NULL OR instance_id > $3) \
         ORDER BY instance_id LIMIT $4",
        conn.dialect().table("projection_states"),
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params = [name(projection), version(projection), after.map(str::to_owned).into(), limit.into()];
    let found = conn.query(&sql, &params)?;
    let instances: Vec<Arc<str>> = found.iter().map(|found| row::shared(found, 0)).collect::<Result<_, _>>()?;
    if instances.is_empty() { Ok(Vec::new()) } else { states(conn, projection, &instances) }
}

/// How state rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    None,
    Take,
}

/// Under the lock, a state at 0 reads as far as its instance was removed: whoever still holds events from before the removal
/// finds them done.
fn position(dialect: Dialect, lock: Lock) -> String {
    if lock == Lock::None {
        return "position".to_owned();
    }
    format!(
        "CASE WHEN position > 0 THEN position \
         ELSE coalesce((SELECT i.removed FROM {} i WHERE i.instance_id = s.instance_id), 0) END",
        dialect.table("instances")
    )
}

/// The rows alone are read with the lock. What holds them up is read by a later statement, whose snapshot is not older than
/// the lock it may have waited for.
fn read(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: &[Arc<str>],
    lock: Lock,
) -> Result<Vec<State>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT instance_id, {}, event, store, owner, epoch, held, careful, marked, marked_epoch FROM {} s \
         WHERE projection = $1 AND version = $2 AND {} ORDER BY instance_id{}",
        position(dialect, lock),
        dialect.table("projection_states"),
        dialect.any("instance_id", 3),
        if lock == Lock::Take { dialect.for_update() } else { "" }
    );
    let ids = Value::TextArray(instances.iter().map(ToString::to_string).collect());
    let rows = conn.query(&sql, &[name(projection), version(projection), ids])?;
    let mut states = rows.iter().map(state).collect::<Result<Vec<_>, _>>()?;
    let held = states.iter().filter(|state| state.held).map(|state| state.instance.to_string()).collect();
    for (instance, blocked) in failure::blocked(conn, projection, held)? {
        if let Some(state) = states.iter_mut().find(|state| state.instance == instance) {
            state.blocked = Some(blocked);
        }
    }
    Ok(states)
}

fn state(found: &Row) -> Result<State, StoreError> {
    let mark = match (row::is_null(found, 8), row::is_null(found, 9)) {
        (false, false) => Some(Mark { position: row::int(found, 8)?, epoch: row::int(found, 9)? }),
        _ => None,
    };
    Ok(State {
        instance: row::shared(found, 0)?,
        position: row::int(found, 1)?,
        event: row::uuid(found, 2)?,
        store: row::uuid(found, 3)?,
        blocked: None,
        owner: row::uuid(found, 4)?,
        epoch: row::int(found, 5)?,
        held: row::truth(found, 6)?,
        careful: row::truth(found, 7)?,
        mark,
    })
}
