//! States of projections.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Bulk, BulkKind, Conn, Row};
use super::{failure, owned, row};
use crate::error::StoreError;
use crate::state::{Mark, ProjectionKey, State};
use crate::value::{ColumnType as T, Value};

fn name(projection: &ProjectionKey) -> Value {
    Arc::clone(&projection.name).into()
}

fn version(projection: &ProjectionKey) -> Value {
    projection.version.into()
}

fn state_keys() -> Vec<(&'static str, T)> {
    vec![("instance_id", T::Text), ("projection", T::Text), ("version", T::Integer)]
}

/// Makes the missing state rows, and returns how many. The transaction holds the locks of the rows that it made.
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

/// A state at position 0 gets the position up to which its instance was removed. So a process that still holds events
/// from before the removal finds them handled. A statement that began after the rows were locked has to read that.
fn pass_removed(conn: &mut dyn Conn, states: &mut [State]) -> Result<(), StoreError> {
    let at_zero = |state: &&mut State| state.position == 0;
    let mut new: HashMap<Arc<str>, &mut State> =
        states.iter_mut().filter(at_zero).map(|state| (Arc::clone(&state.instance), state)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT instance_id, removed FROM {} WHERE removed > 0 AND {}",
        dialect.table("instances"),
        dialect.any("instance_id", 1)
    );
    let ids = Value::TextArray(new.keys().map(ToString::to_string).collect());
    for found in conn.query(&sql, &[ids])? {
        if let Some(state) = new.get_mut(row::text(&found, 0)?) {
            state.position = row::int(&found, 1)?;
        }
    }
    Ok(())
}

/// Sorts rows by the bytes of their instance, so that no two transactions lock them in different orders.
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

/// The existing states after an instance, in byte order.
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

/// The lock covers the state rows only. A later statement reads what holds them up, because its snapshot is not older
/// than the lock, for which this may have waited.
fn read(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: &[Arc<str>],
    lock: Lock,
) -> Result<Vec<State>, StoreError> {
    let dialect = conn.dialect();
    let (among, ids) = dialect.any_of("instance_id", 3, instances);
    let sql = format!(
        "SELECT instance_id, position, event, store, owner, epoch, held, careful, marked, marked_epoch, anew FROM {} \
         WHERE projection = $1 AND version = $2 AND {among} ORDER BY instance_id{}",
        dialect.table("projection_states"),
        if lock == Lock::Take { dialect.for_update() } else { "" }
    );
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
        anew: row::int(found, 10)?,
    })
}

/// The states of these instances, in this order, locked until the end of the transaction. Makes the rows that do not
/// exist.
pub(super) fn lock(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: &[Arc<str>],
) -> Result<Vec<State>, StoreError> {
    let mut states = read(conn, projection, instances, Lock::Take)?;
    if states.len() < instances.len() {
        let known: HashSet<&str> = states.iter().map(|state| &*state.instance).collect();
        let is_missing = |instance: &&Arc<str>| !known.contains(instance.as_ref());
        let missing: Vec<Arc<str>> = instances.iter().filter(is_missing).cloned().collect();
        let made = make(conn, projection, &missing)?;
        let new = |instance| State { instance, ..State::default() };
        states.extend(if made == missing.len() as u64 {
            missing.into_iter().map(new).collect()
        } else {
            read(conn, projection, &missing, Lock::Take)?
        });
    }
    pass_removed(conn, &mut states)?;
    Ok(in_order(instances, states))
}
