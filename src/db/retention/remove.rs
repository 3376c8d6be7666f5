//! Removes everything of an instance except its counter.
//!
//! The first step closes the instance to pushes and sets every projection's state to its head, under the locks of both.
//! So a process that still holds its events finds them done, and what is removed afterwards does not come back. Events
//! go from the last to the first, so that the remaining ones are always a beginning of the log.

use std::time::Duration;

use super::operation::{self, OperationRequest};
use super::{Tally, count, counted, counter, lock, now, number, plain, step, unknown};
use crate::db::objects::Relation;
use crate::db::{Backend, Conn, command, row, setup};
use crate::error::{RetentionError, StoreError, StoreErrorKind};
use crate::failure::By;
use crate::retention::{OperationKind, Removed, TableRows};
use crate::sql::{self, Dialect};
use crate::table::INSTANCE_COLUMN;
use crate::value::Value;
use uuid::Uuid;

const DOING: &str = "removing an instance";

/// The engine's tables with rows of instances, in the order in which they are emptied: while there are events, the
/// removal has not ended. The heads go in the first step. The states go in the last one, because until then they keep
/// old events from being applied. Counter and operations stay.
const OWN: [&str; 7] =
    ["held_events", "interventions", "pauses", "standstills", "unique_constraints", "events", "events_archive"];

/// The tables whose rows go from the last position to the first.
const BY_POSITION: [&str; 2] = ["events", "events_archive"];

/// A table to be emptied of an instance.
struct TableToEmpty {
    table: String,
    /// The statement gets the instance and the number of rows.
    delete: String,
}

pub(super) fn remove<B: Backend>(
    backend: &B,
    instance: &str,
    by: &By,
    progress: &mut dyn FnMut(&TableRows),
) -> Result<Removed, RetentionError> {
    let asked = asked(OperationKind::Remove, instance);
    let (InstanceData { head, states }, id, answers) = step(backend, DOING, |conn| {
        check_referred(conn, instance)?;
        let (found, id) = close(conn, instance, &asked, by)?;
        let about = command::about(conn, instance, false)?;
        command::forget(conn, &about)?;
        Ok((found, id, about.rows()))
    })?;
    let mut tally = Tally::new(progress);
    tally.add(&backend.dialect().table("commands"), answers);
    for part in backend.read(DOING, parts)? {
        empty(backend, instance, &part, &mut tally)?;
    }
    let fences = backend.dialect().table("projection_states");
    empty(backend, instance, &part(backend.dialect(), fences.clone()), &mut Tally::new(&mut |_| ()))?;
    tally.add(&fences, states);
    let commands = backend.dialect().table("commands");
    let late = step(backend, DOING, |conn| {
        let late = command::forget_rows(conn, Duration::ZERO)?;
        operation::end(conn, id, &asked, &tally.with(&commands, late))?;
        Ok(late)
    })?;
    tally.add(&commands, late);
    let remains = backend.scrub()?;
    Ok(Removed { dry_run: false, instance: instance.into(), head, tables: tally.tables, remains })
}

/// Empties the table of the instance, step by step.
fn empty<B: Backend>(
    backend: &B,
    instance: &str,
    part: &TableToEmpty,
    tally: &mut Tally<'_>,
) -> Result<(), RetentionError> {
    loop {
        let rows = step(backend, DOING, |conn| {
            lock(conn, instance)?;
            Ok(conn.execute(&part.delete, &[instance.into(), super::STEP.into()])?)
        })
        .or_else(|error| match error {
            RetentionError::Store(error) if error.kind() == StoreErrorKind::Constraint => {
                let referring = backend.read(DOING, |conn| referred(conn, instance, true))?;
                if referring.is_empty() {
                    return Err(error.into());
                }
                let (instance, source) = (instance.to_owned(), Some(Box::new(error)));
                Err(RetentionError::Referred { instance, referring, begun: true, source })
            }
            other => Err(other),
        })?;
        if rows == 0 {
            return Ok(());
        }
        tally.add(&part.table, rows);
    }
}

/// Fails if rows that others refer to, and that their foreign keys keep, are in the way. Otherwise this would show only
/// half-way through.
fn check_referred(conn: &mut dyn Conn, instance: &str) -> Result<(), RetentionError> {
    let referring = referred(conn, instance, false)?;
    if referring.is_empty() {
        return Ok(());
    }
    Err(RetentionError::Referred { instance: instance.to_owned(), referring, begun: false, source: None })
}

/// The foreign keys by which other rows keep rows of the instance. If this role may not read the other rows, a key
/// counts only if it is known that some row refers.
fn referred(conn: &mut dyn Conn, instance: &str, is_known: bool) -> Result<Vec<String>, StoreError> {
    let tables = setup::read_tables(conn)?;
    let relations: Vec<Relation> = tables.into_iter().map(|quoted| Relation { raw: plain(&quoted), quoted }).collect();
    let mut referring = Vec::new();
    for key in conn.catalogue().referring(conn, &relations)?.into_iter().filter(|key| key.refuses) {
        let Some(to) = relations.get(key.to) else { continue };
        if !key.readable {
            referring.extend(is_known.then_some(key.what));
            continue;
        }
        let sql = format!(
            "SELECT count(*) FROM {} r WHERE EXISTS (SELECT 1 FROM {} t WHERE t.{} = $1 AND {})",
            key.from,
            to.quoted,
            sql::quote(INSTANCE_COLUMN),
            key.refers_to("t")
        );
        match number(conn, &sql, &[instance.into()])? {
            0 => {}
            1 => referring.push(format!("1 row by {}", key.what)),
            rows => referring.push(format!("{rows} rows by {}", key.what)),
        }
    }
    Ok(referring)
}

fn asked(kind: OperationKind, instance: &str) -> OperationRequest<'_> {
    OperationRequest { kind, instance: Some(instance), subject: "{}".to_owned() }
}

/// What exists of an instance.
struct InstanceData {
    /// The position up to which it is removed. No checkpoint is above it, whichever store the checkpoint belongs to.
    head: i64,
    /// How many states it has.
    states: u64,
}

fn find(conn: &mut dyn Conn, instance: &str) -> Result<InstanceData, RetentionError> {
    if instance.is_empty() {
        return Err(RetentionError::SystemInstance);
    }
    let counter = counter(conn, instance, "")?;
    let sql = format!(
        "SELECT max(position), count(*) FROM {} WHERE instance_id = $1",
        conn.dialect().table("projection_states")
    );
    let states = conn.query(&sql, &[instance.into()])?;
    let number = |at| states.first().map_or(Ok(0), |found| row::int_or_zero(found, at));
    let (position, states) = (number(0)?, count(number(1)?));
    match counter {
        None if states == 0 => Err(unknown(instance)),
        None => Ok(InstanceData { head: position, states }),
        Some(counter) => Ok(InstanceData { head: counter.head.max(counter.removed).max(position), states }),
    }
}

fn close(
    conn: &mut dyn Conn,
    instance: &str,
    asked: &OperationRequest<'_>,
    by: &By,
) -> Result<(InstanceData, Uuid), RetentionError> {
    lock(conn, instance)?;
    let found = find(conn, instance)?;
    let head = found.head;
    let dialect = conn.dialect();
    let now = Value::Timestamp(now(conn)?);
    let sql = format!(
        "INSERT INTO {} AS t (instance_id, head, removed, closed_at) VALUES ($1, $2, $2, $3) \
         ON CONFLICT (instance_id) DO UPDATE SET head = excluded.head, head_event = NULL, removed = excluded.removed, \
         archived = 0, closed_at = coalesce(t.closed_at, excluded.closed_at)",
        dialect.table("instances")
    );
    conn.execute(&sql, &[instance.into(), head.into(), now])?;
    conn.execute(&format!("DELETE FROM {} WHERE instance_id = $1", dialect.table("heads")), &[instance.into()])?;
    fence(conn, instance, head)?;
    Ok((found, operation::begin(conn, asked, by)?))
}

/// Waits for transactions that have locked a state of the instance. A transaction that locks it later finds all events
/// done. States that are made after these are removed read as the counter says (`db/state.rs`).
fn fence(conn: &mut dyn Conn, instance: &str, head: i64) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let states = dialect.table("projection_states");
    let sql = format!(
        "INSERT INTO {states} (instance_id, projection, version) SELECT $1, p.name, p.version FROM {} p WHERE TRUE \
         ORDER BY p.name, p.version ON CONFLICT (instance_id, projection, version) DO NOTHING",
        dialect.table("projections")
    );
    conn.execute(&sql, &[instance.into()])?;
    let sql = format!(
        "UPDATE {states} SET position = $2, event = NULL, store = NULL, owner = NULL, leased_until = NULL, \
         epoch = epoch + 1, held = $3, careful = $3, marked = NULL, marked_epoch = NULL WHERE instance_id = $1"
    );
    conn.execute(&sql, &[instance.into(), head.into(), false.into()]).map(|_| ())
}

fn parts(conn: &mut dyn Conn) -> Result<Vec<TableToEmpty>, RetentionError> {
    let dialect = conn.dialect();
    let mut parts: Vec<TableToEmpty> =
        setup::read_tables(conn)?.into_iter().map(|table| part(dialect, table)).collect();
    for name in OWN {
        let table = dialect.table(name);
        if BY_POSITION.contains(&name) {
            let delete = format!(
                "DELETE FROM {table} WHERE instance_id = $1 \
                 AND position > (SELECT max(position) FROM {table} WHERE instance_id = $1) - $2"
            );
            parts.push(TableToEmpty { table, delete });
        } else {
            parts.push(part(dialect, table));
        }
    }
    Ok(parts)
}

/// Names rows by their place, which every table knows. If a column has the name that SQLite uses for that, still only
/// rows of the instance go.
fn part(dialect: Dialect, table: String) -> TableToEmpty {
    let instance = sql::quote(INSTANCE_COLUMN);
    let some = |place: &str| format!("(SELECT {place} FROM {table} WHERE {instance} = $1 LIMIT $2)");
    let which = match dialect {
        Dialect::Postgres => format!("ctid = ANY(ARRAY{})", some("ctid")),
        Dialect::Sqlite => format!("_rowid_ IN {}", some("_rowid_")),
    };
    let delete = format!("DELETE FROM {table} WHERE {instance} = $1 AND {which}");
    TableToEmpty { table, delete }
}

pub(super) fn dry_run(conn: &mut dyn Conn, instance: &str) -> Result<Removed, RetentionError> {
    let InstanceData { head, states } = find(conn, instance)?;
    check_referred(conn, instance)?;
    let mut tables = Vec::new();
    let answers = command::about(conn, instance, false)?.rows();
    tables.extend(counted(&conn.dialect().table("commands"), answers));
    for TableToEmpty { table, .. } in parts(conn)? {
        let sql = format!("SELECT count(*) FROM {table} WHERE {} = $1", sql::quote(INSTANCE_COLUMN));
        let rows = number(conn, &sql, &[instance.into()])?;
        tables.extend(counted(&table, count(rows)));
    }
    tables.extend(counted(&conn.dialect().table("projection_states"), states));
    Ok(Removed { dry_run: true, instance: instance.into(), head, tables, remains: None })
}

pub(super) fn reopen<B: Backend>(backend: &B, instance: &str, by: &By) -> Result<(), RetentionError> {
    let (asked, removal) = (asked(OperationKind::Reopen, instance), asked(OperationKind::Remove, instance));
    step(backend, "opening a removed instance", |conn| {
        let counter = lock(conn, instance)?.ok_or_else(|| unknown(instance))?;
        if counter.closed_at.is_none() {
            return Err(RetentionError::NotRemoved { instance: instance.to_owned() });
        }
        let dialect = conn.dialect();
        let left = format!("SELECT 1 FROM {} WHERE instance_id = $1 LIMIT 1", dialect.table("all_events"));
        if !conn.query(&left, &[instance.into()])?.is_empty() {
            return Err(RetentionError::Unfinished { instance: instance.to_owned() });
        }
        let open = format!("UPDATE {} SET closed_at = NULL WHERE instance_id = $1", dialect.table("instances"));
        conn.execute(&open, &[instance.into()])?;
        // Nothing remains to remove, so no record may ask anybody to repeat the removal.
        operation::end_earlier(conn, &removal)?;
        let id = operation::begin(conn, &asked, by)?;
        Ok(operation::end(conn, id, &asked, &[])?)
    })
}

/// The position up to which the events of an instance were removed; 0 if none were.
pub(in crate::db) fn removed(conn: &mut dyn Conn, instance: &str) -> Result<i64, StoreError> {
    Ok(counter(conn, instance, "")?.map_or(0, |counter| counter.removed))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::{HandlerConfig, ProjectionHandler};
    use crate::event::NewEvent;
    use crate::projection::Projection;
    use crate::sqlite::SqliteStore;
    use crate::statement::{create, set};
    use crate::store::BuildStore;
    use crate::store::{EventStore, ProjectionStore};
    use crate::table::{Table, text};

    // Contract: K3: a build of the instance that is exchanged for the live one during a removal brings nothing back.
    #[test]
    fn an_exchange_beside_a_removal_brings_nothing_back() {
        let store = SqliteStore::in_memory().unwrap();
        let live = Projection::new("users", 1)
            .table(Table::new("users").column(text("id")).primary_key(["id"]))
            .on_raw("user", "user.added", |e| create([set("id", e.aggregate_id())]));
        let build = live.shadow("i");
        ProjectionStore::setup(&store, &[&live]).unwrap();
        store.begin(&build, Uuid::from_u128(1)).unwrap();
        let users = (0..1500).map(|n| NewEvent::raw("a", "user", &format!("u{n}"), "user.added"));
        store.push(&users.collect::<Vec<_>>()).unwrap();
        for projection in [&live, &build] {
            let shared = Arc::new(store.clone());
            let config = HandlerConfig::default();
            let handler = ProjectionHandler::new(shared.clone(), shared, projection.clone(), config).unwrap();
            handler.trigger(&["a"]).unwrap();
            assert_eq!(store.read_rows(projection, "users").unwrap().len(), 1500);
        }
        let [of_live, of_build] = [&live, &build].map(|p| sql::physical_name(Dialect::Sqlite, p, &p.tables()[0]));
        let (mut steps, by) = (Vec::new(), By::new("eve", "why not"));
        // When the live table is already empty, and that of the build is not.
        let exchange = |step: &TableRows| {
            steps.push(sql::quote(&step.table));
            if steps == [&*of_live, &*of_live, &*of_build] {
                store.exchange(&build, &Arc::from("a"), &mut |_, _| Ok(())).unwrap_err();
            }
        };
        store.remove_instance("a", &by, exchange).unwrap();
        assert_eq!(steps[..4], [&*of_live, &*of_live, &*of_build, &*of_build]);
        for projection in [&live, &build] {
            assert_eq!(store.read_rows(projection, "users").unwrap().len(), 0);
        }
    }

    // Contract: K3: a new table has to say what a removal does about it.
    #[test]
    fn every_table_with_rows_of_instances_is_known() {
        let store = SqliteStore::in_memory().unwrap();
        store.setup().unwrap();
        let sql = "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name LIKE '%instance%' \
                   WHERE m.type = 'table' ORDER BY m.name";
        let read = |conn: &mut dyn Conn| conn.query(sql, &[]);
        let found = store.backend().read("listing tables", read).unwrap();
        let found: Vec<&str> = found.iter().map(|found| row::text(found, 0).unwrap()).collect();
        let mut known: Vec<String> = OWN.iter().map(|name| Dialect::Sqlite.table(name)).collect();
        let others = ["heads", "instances", "operations", "projection_states"];
        known.extend(others.map(|name| Dialect::Sqlite.table(name)));
        known.sort();
        assert_eq!(found, known);
    }
}
