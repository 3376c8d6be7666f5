//! States and failures of projections, and the transaction that moves them together with the read tables.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::row;
use super::{Bulk, BulkKind, Conn, Row};
use crate::error::{StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::state::{Attempt, Blocked, Checkpoint, FailureClass, HeldEvent, HeldState, ProjectionKey, State};
use crate::statement::Statement;
use crate::store::ProjectionTransaction;
use crate::value::{ColumnType as T, Value, to_micros};

/// A transaction of a backend, seen as one on read models.
pub(crate) struct Transaction<'c> {
    pub(crate) conn: &'c mut dyn Conn,
}

impl ProjectionTransaction for Transaction<'_> {
    fn lock(&mut self, projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        let mut states = read(self.conn, projection, instances, true)?;
        let missing: Vec<Row> = instances
            .iter()
            .filter(|instance| !states.iter().any(|state| state.instance == **instance))
            .map(|instance| vec![Arc::clone(instance).into(), name(projection), version(projection), 0_i64.into()])
            .collect();
        if !missing.is_empty() {
            self.conn.bulk(&Bulk {
                table: self.conn.dialect().table("projection_states"),
                kind: BulkKind::InsertMissing,
                keys: state_keys(),
                columns: vec![("position", T::Integer)],
                rows: sorted(missing),
            })?;
            states = read(self.conn, projection, instances, true)?;
        }
        Ok(in_order(instances, states))
    }

    /// SQLite's one lock is had already by whoever is inside a transaction.
    fn be_brief(&mut self) -> Result<(), StoreError> {
        match self.conn.dialect() {
            Dialect::Postgres => self.conn.batch("SET LOCAL lock_timeout = '10ms'"),
            Dialect::Sqlite => Ok(()),
        }
    }

    fn apply(&mut self, projection: &Projection, statements: &[(Arc<str>, &Statement)]) -> Result<(), StoreError> {
        statements.iter().try_for_each(|(instance, statement)| execute(self.conn, projection, instance, statement))
    }

    fn apply_one(&mut self, projection: &Projection, instance: &str, statement: &Statement) -> Result<(), StoreError> {
        if *statement == Statement::Noop {
            return Ok(());
        }
        self.conn.execute("SAVEPOINT step", &[])?;
        let outcome = execute(self.conn, projection, instance, statement);
        if outcome.is_err() {
            self.conn.execute("ROLLBACK TO SAVEPOINT step", &[])?;
        }
        self.conn.execute("RELEASE SAVEPOINT step", &[])?;
        outcome
    }

    fn save(&mut self, projection: &ProjectionKey, checkpoints: &[Checkpoint]) -> Result<(), StoreError> {
        if checkpoints.is_empty() {
            return Ok(());
        }
        let row = |checkpoint: &Checkpoint| {
            vec![
                Arc::clone(&checkpoint.instance).into(),
                name(projection),
                version(projection),
                checkpoint.position.into(),
                checkpoint.event.into(),
                checkpoint.store.into(),
            ]
        };
        let write = Bulk {
            table: self.conn.dialect().table("projection_states"),
            kind: BulkKind::Update,
            keys: state_keys(),
            columns: vec![("position", T::Integer), ("event", T::Uuid), ("store", T::Uuid)],
            rows: sorted(checkpoints.iter().map(row).collect()),
        };
        let touched = self.conn.bulk(&write)?;
        if touched == checkpoints.len() as u64 {
            return Ok(());
        }
        let found = format!("{touched} of {} state rows were there", checkpoints.len());
        Err(StoreError::new("moving checkpoints", StoreErrorKind::Conflict, found))
    }

    fn record(&mut self, projection: &ProjectionKey, attempt: &Attempt) -> Result<(), StoreError> {
        let now = to_micros(self.conn.now()?);
        let sql = format!(
            "INSERT INTO {} AS h (instance_id, projection, version, position, aggregate_type, aggregate_id, event_type, \
             state, attempts, class, error, first_at, last_at, due_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13) \
             ON CONFLICT (instance_id, projection, version, position) DO UPDATE SET state = excluded.state, \
             attempts = excluded.attempts, class = excluded.class, error = excluded.error, \
             last_at = excluded.last_at, due_at = excluded.due_at",
            self.conn.dialect().table("held_events")
        );
        let params = [
            Arc::clone(&attempt.instance).into(),
            name(projection),
            version(projection),
            attempt.position.into(),
            Arc::clone(&attempt.aggregate_type).into(),
            Arc::clone(&attempt.aggregate_id).into(),
            Arc::clone(&attempt.event_type).into(),
            attempt.state.as_str().into(),
            attempt.attempts.into(),
            attempt.class.as_str().into(),
            Value::Text(attempt.error.replace('\0', "\u{fffd}")),
            Value::Timestamp(now),
            Value::Timestamp(to_micros(now + attempt.retry_in)),
        ];
        self.conn.execute(&sql, &params).map(|_| ())
    }

    fn clear(&mut self, projection: &ProjectionKey, instance: &str, up_to: i64) -> Result<(), StoreError> {
        let sql = format!(
            "DELETE FROM {} WHERE instance_id = $1 AND projection = $2 AND version = $3 AND position <= $4 \
             AND state IN ('failing', 'stopped')",
            self.conn.dialect().table("held_events")
        );
        self.conn.execute(&sql, &[instance.into(), name(projection), version(projection), up_to.into()]).map(|_| ())
    }
}

fn execute(
    conn: &mut dyn Conn,
    projection: &Projection,
    instance: &str,
    statement: &Statement,
) -> Result<(), StoreError> {
    let rendered = sql::render(conn.dialect(), projection, instance, statement)
        .map_err(|error| StoreError::new("rendering a statement", StoreErrorKind::Usage, error))?;
    for sql in rendered {
        conn.execute(&sql.text, &sql.params)
            .map_err(|error| error.doing(format!("writing a read table of projection {:?}", projection.name())))?;
    }
    Ok(())
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

/// Rows in order of their instance's bytes, so that no two transactions lock them crosswise.
fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| match (a.first(), b.first()) {
        (Some(Value::Text(a)), Some(Value::Text(b))) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    });
    rows
}

fn in_order(instances: &[Arc<str>], states: Vec<State>) -> Vec<State> {
    let mut found: std::collections::HashMap<Arc<str>, State> =
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
    Ok(in_order(instances, read(conn, projection, instances, false)?))
}

fn read(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: &[Arc<str>],
    lock: bool,
) -> Result<Vec<State>, StoreError> {
    let dialect = conn.dialect();
    let lock = match dialect.for_update() {
        "" => String::new(),
        _ if !lock => String::new(),
        words => format!("{words} OF s"),
    };
    let sql = format!(
        "SELECT s.instance_id, s.position, s.event, s.store, h.position, h.attempts, h.state, h.due_at, h.class, h.error, s.owner, s.epoch \
         FROM {} s LEFT JOIN {} h ON h.instance_id = s.instance_id AND h.projection = s.projection \
         AND h.version = s.version AND h.state IN ('failing', 'stopped') \
         WHERE s.projection = $1 AND s.version = $2 AND {} ORDER BY s.instance_id{lock}",
        dialect.table("projection_states"),
        dialect.table("held_events"),
        dialect.any("s.instance_id", 3)
    );
    let ids = Value::TextArray(instances.iter().map(ToString::to_string).collect());
    let rows = conn.query(&sql, &[name(projection), version(projection), ids])?;
    let blocked = rows.iter().any(|found| !row::is_null(found, 4));
    let now = if blocked { conn.now()? } else { SystemTime::UNIX_EPOCH };
    rows.iter().map(|found| state(found, now)).collect()
}

fn state(found: &Row, now: SystemTime) -> Result<State, StoreError> {
    Ok(State {
        instance: row::shared(found, 0)?,
        position: row::int(found, 1)?,
        event: row::uuid(found, 2)?,
        store: row::uuid(found, 3)?,
        blocked: if row::is_null(found, 4) { None } else { Some(blocked(found, now)?) },
        owner: row::uuid(found, 10)?,
        epoch: row::int(found, 11)?,
    })
}

fn blocked(found: &Row, now: SystemTime) -> Result<Blocked, StoreError> {
    let due = row::time(found, 7)?.unwrap_or(now);
    Ok(Blocked {
        position: row::int(found, 4)?,
        attempts: count(row::int(found, 5)?),
        stopped: row::text(found, 6)? == HeldState::Stopped.as_str(),
        retry_in: due.duration_since(now).unwrap_or(Duration::ZERO),
        class: FailureClass::parse(row::text(found, 8)?).unwrap_or(FailureClass::Data),
        error: row::text(found, 9)?.to_owned(),
    })
}

fn count(n: i64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Recorded failures of a projection.
pub(crate) fn held_events(conn: &mut dyn Conn, projection: &ProjectionKey) -> Result<Vec<HeldEvent>, StoreError> {
    let sql = format!(
        "SELECT instance_id, position, aggregate_type, aggregate_id, event_type, attempts, state, class, error, \
         first_at, last_at, due_at FROM {} WHERE projection = $1 AND version = $2 ORDER BY instance_id, position",
        conn.dialect().table("held_events")
    );
    let now = conn.now()?;
    conn.query(&sql, &[name(projection), version(projection)])?.iter().map(|found| held(found, now)).collect()
}

fn held(found: &Row, now: SystemTime) -> Result<HeldEvent, StoreError> {
    let epoch = SystemTime::UNIX_EPOCH;
    let due = row::time(found, 11)?.unwrap_or(now);
    Ok(HeldEvent {
        attempt: Attempt {
            instance: row::shared(found, 0)?,
            position: row::int(found, 1)?,
            aggregate_type: row::shared(found, 2)?,
            aggregate_id: row::shared(found, 3)?,
            event_type: row::shared(found, 4)?,
            attempts: count(row::int(found, 5)?),
            state: HeldState::parse(row::text(found, 6)?).unwrap_or(HeldState::Stopped),
            class: FailureClass::parse(row::text(found, 7)?).unwrap_or(FailureClass::Data),
            error: row::text(found, 8)?.to_owned(),
            retry_in: due.duration_since(now).unwrap_or(Duration::ZERO),
        },
        first_at: row::time(found, 9)?.unwrap_or(epoch),
        last_at: row::time(found, 10)?.unwrap_or(epoch),
    })
}
