//! Single instances of a build: exchanged for those of another one, or emptied.

use std::sync::Arc;

use super::{enter, of, take_time};
use crate::builds::{LaggingInstance, Phase};
use crate::db::objects::Relation;
use crate::db::place::placed;
use crate::db::transaction::Transaction;
use crate::db::{Conn, failure, model};
use crate::error::{StoreError, StoreErrorKind, SwitchError, chain};
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

/// Gives the live build the rows, state and failures that a build beside it has of one instance.
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
        let refused = |error: StoreError| match error.kind() {
            StoreErrorKind::Constraint => SwitchError::Referred {
                projection: live.name().to_owned(),
                instance: instance.to_string(),
                referring: referring.join(", "),
                error: chain(&error),
            },
            _ => error.into(),
        };
        merge_rows(conn, build, live, instance).map_err(refused)?;
    }
    copy_state(conn, &from, &to, instance)?;
    Ok(())
}

/// What is removed must not come back from a build. A removal that begins later waits for this transaction's lock of the
/// state, or this one finds it.
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
        let own = table.columns.iter().map(|column| sql::quote(&column.name));
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

/// Rows that stay are changed in place: what refers to them is none the wiser. Those that go are deleted, which is where a
/// foreign key refuses.
fn merge_rows(
    conn: &mut dyn Conn,
    build: &Projection,
    live: &Projection,
    instance: &Arc<str>,
) -> Result<(), StoreError> {
    let (dialect, of) = (conn.dialect(), sql::quote(INSTANCE_COLUMN));
    if dialect == Dialect::Postgres {
        conn.batch("SET CONSTRAINTS ALL IMMEDIATE")?;
    }
    let names = |table: &Table| (sql::physical_name(dialect, live, table), sql::physical_name(dialect, build, table));
    let key = |table: &Table| -> Vec<String> {
        std::iter::once(of.clone()).chain(table.primary_key.iter().map(|name| sql::quote(name))).collect()
    };
    for table in build.tables().iter().rev() {
        let (old, new) = names(table);
        let same: Vec<String> = key(table).iter().map(|name| format!("n.{name} = o.{name}")).collect();
        let sql = format!(
            "DELETE FROM {old} AS o WHERE o.{of} = $1 AND NOT EXISTS (SELECT 1 FROM {new} n WHERE {})",
            same.join(" AND ")
        );
        conn.execute(&sql, &[instance.as_ref().into()])?;
    }
    for table in build.tables() {
        let ((old, new), key) = (names(table), key(table));
        let own: Vec<String> = table.columns.iter().map(|column| sql::quote(&column.name)).collect();
        let all = std::iter::once(of.clone()).chain(own.iter().cloned()).collect::<Vec<_>>().join(", ");
        let others = own.iter().filter(|name| !key.contains(name));
        let set: Vec<String> = others.map(|name| format!("{name} = excluded.{name}")).collect();
        let act = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
        let sql = format!(
            "INSERT INTO {old} ({all}) SELECT {all} FROM {new} WHERE {of} = $1 ON CONFLICT ({}) DO {act}",
            key.join(", ")
        );
        conn.execute(&sql, &[instance.as_ref().into()])?;
    }
    Ok(())
}

/// Foreign keys of the service's own that refer to the tables of a build.
pub(in crate::db) fn referring(conn: &mut dyn Conn, projection: &Projection) -> Result<Vec<String>, StoreError> {
    let projection = placed(conn, projection)?;
    of_tables(conn, &projection)
}

/// The same of a projection that is placed.
fn of_tables(conn: &mut dyn Conn, projection: &Projection) -> Result<Vec<String>, StoreError> {
    let dialect = conn.dialect();
    let relation = |table: &Table| Relation {
        raw: sql::physical_raw(dialect, projection, table),
        quoted: sql::physical_name(dialect, projection, table),
    };
    let tables: Vec<Relation> = projection.tables().iter().map(relation).collect();
    conn.catalogue().referring(conn, &tables)
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
    // A new epoch: whoever works on the old rows finds its lease gone.
    let sql = format!(
        "UPDATE {states} SET {}, epoch = epoch + 1, owner = NULL, leased_until = NULL, marked = NULL WHERE {one}",
        set.join(", ")
    );
    conn.execute(&sql, &params(to, Some(from.name.as_ref().into())))?;
    conn.execute(&format!("DELETE FROM {states} WHERE {one}"), &params(from, None))?;
    // Its rows stay without a state until it is removed: nobody may go on with them.
    enter(conn, from, &[Phase::Building], Phase::Kept, None).map(|_| ())
}

/// Removes rows, failures and checkpoint of these instances; the states stay, locked until then.
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
             epoch = epoch + 1, owner = NULL, leased_until = NULL WHERE {one}",
            dialect.table("projection_states")
        );
        let params: Vec<Value> = params.into_iter().chain([Value::from(0_i64)]).collect();
        conn.execute(&sql, &params)?;
        failure::refresh(conn, &key, instance)?;
    }
    Ok(rows)
}
