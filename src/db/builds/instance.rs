//! Single instances of a build: exchanges them for those of another build, or empties them.

use std::fmt::Write;
use std::sync::Arc;

use super::{enter, losses, of, take_time};
use crate::builds::{LaggingInstance, Phase};
use crate::db::objects::{Reference, Relation};
use crate::db::place::placed;
use crate::db::transaction::Transaction;
use crate::db::{Conn, failure, model};
use crate::error::{StoreError, StoreErrorKind, SwitchError};
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::state::{ProjectionKey, State};
use crate::store::CatchUp;
use crate::store::ProjectionTransaction;
use crate::table::{INSTANCE_COLUMN, Table};
use crate::value::Value;

fn lock(conn: &mut dyn Conn, key: &ProjectionKey, instance: &Arc<str>) -> Result<State, StoreError> {
    let states = Transaction::new(conn).lock(key, std::slice::from_ref(instance))?;
    Ok(states.into_iter().next().unwrap_or_default())
}

/// Moves the rows, state and failures of one instance from a build beside the live one to the live build.
pub(in crate::db) fn exchange(
    conn: &mut dyn Conn,
    build: &Projection,
    live: &Projection,
    instance: &Arc<str>,
    catch_up: CatchUp<'_>,
) -> Result<(), SwitchError> {
    take_time(conn)?;
    let (build, live) = (&placed(conn, build)?, &placed(conn, live)?);
    let (from, to) = (build.key(), live.key());
    let standing = lock(conn, &to, instance)?.position;
    let mut reached = lock(conn, &from, instance)?.position;
    check_open(conn, instance)?;
    if reached < standing {
        let behind = LaggingInstance { instance: Arc::clone(instance), from: reached, to: standing };
        catch_up(&mut Transaction::new(conn), &[behind])?;
        reached = lock(conn, &from, instance)?.position;
    }
    if reached < standing {
        return Err(SwitchError::NotCaughtUp {
            projection: live.name().to_owned(),
            build: super::stored::label(&from),
            behind: 1,
            instance: instance.to_string(),
            from: reached,
            to: standing,
        });
    }
    let referring = of_tables(conn, live)?;
    if referring.is_empty() {
        model::forget(conn, live, instance)?;
        copy_rows(conn, build, live, instance)?;
    } else {
        merge_rows(conn, build, live, instance).map_err(|error| {
            let (projection, instance) = (live.name().to_owned(), instance.to_string());
            let (referring, is_refused) =
                (in_words(&referring), |error: &StoreError| error.kind() == StoreErrorKind::Constraint);
            match error {
                Unmerged::Goes(error) if is_refused(&error) => {
                    SwitchError::Referred { projection, instance, referring, source: Box::new(error) }
                }
                Unmerged::Changes(error) if is_refused(&error) => {
                    SwitchError::NotInPlace { projection, instance, referring, source: Box::new(error) }
                }
                Unmerged::Goes(error) | Unmerged::Changes(error) => error.into(),
            }
        })?;
    }
    copy_state(conn, &from, &to, instance)?;
    Ok(())
}

/// A removed instance must not come back from a build. A removal that begins later waits for this transaction's lock of
/// the state; one that began earlier is found here.
fn check_open(conn: &mut dyn Conn, instance: &Arc<str>) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let sql = format!("SELECT 1 FROM {} WHERE instance_id = $1 AND closed_at IS NOT NULL", dialect.table("instances"));
    if conn.query(&sql, &[instance.as_ref().into()])?.is_empty() {
        return Ok(());
    }
    let why = format!("instance {instance:?} was removed meanwhile");
    Err(StoreError::new("exchanging an instance", StoreErrorKind::Unsupported, why))
}

fn copy_rows(
    conn: &mut dyn Conn,
    build: &Projection,
    live: &Projection,
    instance: &Arc<str>,
) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    for table in build.tables() {
        let own = table.written().map(|column| sql::quote(&column.name));
        let columns: Vec<String> = std::iter::once(sql::quote(INSTANCE_COLUMN)).chain(own).collect();
        let columns = columns.join(", ");
        let sql = format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM {} WHERE {} = $1",
            sql::physical_name(dialect, live, table),
            sql::physical_name(dialect, build, table),
            sql::quote(INSTANCE_COLUMN)
        );
        conn.execute(&sql, &[instance.as_ref().into()])?;
    }
    Ok(())
}

/// Which rows the database refused to change.
enum Unmerged {
    /// Rows that have to go.
    Goes(StoreError),
    /// Rows that are added or changed.
    Changes(StoreError),
}

/// Changes rows that stay in place, so what refers to them does not notice. Deletes rows that go, which a foreign key
/// may refuse. If rows take over unique values from each other, this first deletes the rows that no other row refers
/// to, to make room.
fn merge_rows(conn: &mut dyn Conn, build: &Projection, live: &Projection, instance: &Arc<str>) -> Result<(), Unmerged> {
    let mut go = || {
        conn.batch(losses::BEGIN)?;
        match delete_gone(conn, build, live, instance) {
            // Another row of the projection may still refer to a row that goes, and refer to a different one
            // afterwards.
            Err(error) if error.kind() == StoreErrorKind::Constraint => conn.batch(losses::UNDO)?,
            other => return other.and_then(|()| conn.batch(losses::KEEP)),
        }
        delete_free(conn, live, instance)?;
        delete_gone(conn, build, live, instance)
    };
    go().map_err(Unmerged::Goes)?;
    let mut change = || {
        conn.batch(losses::BEGIN)?;
        match upsert_all(conn, build, live, instance) {
            Err(error) if error.kind() == StoreErrorKind::Constraint => conn.batch(losses::UNDO)?,
            other => return other.and_then(|()| conn.batch(losses::KEEP)),
        }
        delete_free(conn, live, instance)?;
        upsert_all(conn, build, live, instance)
    };
    change().map_err(Unmerged::Changes)
}

/// Deletes the rows of the live build that the other build lacks.
fn delete_gone(
    conn: &mut dyn Conn,
    build: &Projection,
    live: &Projection,
    instance: &Arc<str>,
) -> Result<(), StoreError> {
    let (dialect, of) = (conn.dialect(), sql::quote(INSTANCE_COLUMN));
    if dialect == Dialect::Postgres {
        conn.batch("SET CONSTRAINTS ALL IMMEDIATE")?;
    }
    for table in build.tables().iter().rev() {
        let same: Vec<String> = key(table).iter().map(|name| format!("n.{name} = o.{name}")).collect();
        let sql = format!(
            "DELETE FROM {} AS o WHERE o.{of} = $1 AND NOT EXISTS (SELECT 1 FROM {} n WHERE {})",
            sql::physical_name(dialect, live, table),
            sql::physical_name(dialect, build, table),
            same.join(" AND ")
        );
        conn.execute(&sql, &[instance.as_ref().into()])?;
    }
    Ok(())
}

/// Deletes the rows of the live build that no row of any table refers to.
fn delete_free(conn: &mut dyn Conn, live: &Projection, instance: &Arc<str>) -> Result<(), StoreError> {
    let of = sql::quote(INSTANCE_COLUMN);
    for table in live.tables().iter().rev() {
        let relation = relation(conn.dialect(), live, table);
        let referring = conn.catalogue().referring(conn, std::slice::from_ref(&relation))?;
        if referring.iter().any(|key| !key.readable) {
            continue;
        }
        let mut sql = format!("DELETE FROM {} AS o WHERE o.{of} = $1", relation.quoted);
        for key in &referring {
            let _ = write!(sql, " AND NOT EXISTS (SELECT 1 FROM {} r WHERE {})", key.from, key.refers_to("o"));
        }
        conn.execute(&sql, &[instance.as_ref().into()])?;
    }
    Ok(())
}

/// Adds the rows of the build to the live one, or changes the rows there that have their keys.
fn upsert_all(
    conn: &mut dyn Conn,
    build: &Projection,
    live: &Projection,
    instance: &Arc<str>,
) -> Result<(), StoreError> {
    let (dialect, of) = (conn.dialect(), sql::quote(INSTANCE_COLUMN));
    for table in build.tables() {
        let key = key(table);
        let own: Vec<String> = table.written().map(|column| sql::quote(&column.name)).collect();
        let all = std::iter::once(of.clone()).chain(own.iter().cloned()).collect::<Vec<_>>().join(", ");
        let others = own.iter().filter(|name| !key.contains(name));
        let set: Vec<String> = others.map(|name| format!("{name} = excluded.{name}")).collect();
        let act = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
        let sql = format!(
            "INSERT INTO {} ({all}) SELECT {all} FROM {} WHERE {of} = $1 ON CONFLICT ({}) DO {act}",
            sql::physical_name(dialect, live, table),
            sql::physical_name(dialect, build, table),
            key.join(", ")
        );
        conn.execute(&sql, &[instance.as_ref().into()])?;
    }
    Ok(())
}

/// The columns of a table's primary key, the instance first.
fn key(table: &Table) -> Vec<String> {
    std::iter::once(INSTANCE_COLUMN).chain(table.primary_key.iter().map(String::as_str)).map(sql::quote).collect()
}

/// The service's own foreign keys that refer to the tables of a build.
pub(in crate::db) fn referring(conn: &mut dyn Conn, projection: &Projection) -> Result<Vec<String>, StoreError> {
    let projection = placed(conn, projection)?;
    Ok(of_tables(conn, &projection)?.into_iter().map(|key| key.what).collect())
}

fn in_words(referring: &[Reference]) -> String {
    referring.iter().map(|key| key.what.as_str()).collect::<Vec<_>>().join(", ")
}

/// As [`referring`], for a projection whose schema is known.
fn of_tables(conn: &mut dyn Conn, projection: &Projection) -> Result<Vec<Reference>, StoreError> {
    let dialect = conn.dialect();
    let tables: Vec<Relation> = projection.tables().iter().map(|table| relation(dialect, projection, table)).collect();
    conn.catalogue().referring(conn, &tables)
}

fn relation(dialect: Dialect, projection: &Projection, table: &Table) -> Relation {
    Relation {
        raw: sql::physical_raw(dialect, projection, table),
        quoted: sql::physical_name(dialect, projection, table),
    }
}

fn copy_state(
    conn: &mut dyn Conn,
    from: &ProjectionKey,
    to: &ProjectionKey,
    instance: &Arc<str>,
) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let (states, held) = (dialect.table("projection_states"), dialect.table("held_events"));
    let one = "instance_id = $1 AND projection = $2 AND version = $3";
    let params = |key: &ProjectionKey, more: Option<Value>| -> Vec<Value> {
        let [name, version] = of(key);
        [instance.as_ref().into(), name, version].into_iter().chain(more).collect()
    };
    conn.execute(&format!("DELETE FROM {held} WHERE {one}"), &params(to, None))?;
    let there = Some(Value::from(to.name.as_ref()));
    conn.execute(&format!("UPDATE {held} SET projection = $4 WHERE {one}"), &params(from, there))?;
    let source = format!("(SELECT {{}} FROM {states} WHERE instance_id = $1 AND projection = $4 AND version = $3)");
    let set: Vec<String> = ["position", "event", "store", "held"]
        .into_iter()
        .map(|column| format!("{column} = {}", source.replace("{}", column)))
        .collect();
    // A new epoch: a worker on the old rows finds that it has lost its lease.
    let sql = format!(
        "UPDATE {states} SET {}, epoch = epoch + 1, anew = anew + 1, owner = NULL, leased_until = NULL, marked = NULL WHERE {one}",
        set.join(", ")
    );
    conn.execute(&sql, &params(to, Some(from.name.as_ref().into())))?;
    conn.execute(&format!("DELETE FROM {states} WHERE {one}"), &params(from, None))?;
    // Its rows stay without a state until the build is removed, so no engine can continue it.
    enter(conn, from, &[Phase::Building], Phase::Kept, None).map(|_| ())
}

/// Removes rows, failures and checkpoints of these instances. The states stay, and are locked until the transaction
/// ends.
pub(in crate::db) fn empty(
    conn: &mut dyn Conn,
    projection: &Projection,
    instances: &[Arc<str>],
) -> Result<u64, StoreError> {
    take_time(conn)?;
    let projection = &placed(conn, projection)?;
    let key = projection.key();
    Transaction::new(conn).lock(&key, instances)?;
    let dialect = conn.dialect();
    let mut rows = 0;
    for instance in instances {
        rows += model::forget(conn, projection, instance)?;
        let [name, version] = of(&key);
        let params = [instance.as_ref().into(), name, version];
        let one = "instance_id = $1 AND projection = $2 AND version = $3";
        let sql = format!("DELETE FROM {} WHERE {one} AND state <> 'discarded'", dialect.table("held_events"));
        conn.execute(&sql, &params)?;
        let sql = format!(
            "UPDATE {} SET position = 0, event = NULL, store = NULL, held = ($4 = 1), careful = ($4 = 1), marked = NULL, \
             epoch = epoch + 1, anew = anew + 1, owner = NULL, leased_until = NULL WHERE {one}",
            dialect.table("projection_states")
        );
        let params: Vec<Value> = params.into_iter().chain([Value::from(0_i64)]).collect();
        conn.execute(&sql, &params)?;
        failure::refresh(conn, &key, vec![instance.to_string()])?;
    }
    Ok(rows)
}
