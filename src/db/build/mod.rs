//! Builds beside the live one: making, comparing, exchanging and removing them.
//!
//! `stored` is what is on record, `switch` exchanges builds, `views` moves what readers see, `compare` finds how two
//! differ, `instance` exchanges or empties single instances.

mod compare;
mod instance;
pub(super) mod stored;
mod switch;
mod views;

pub(super) use compare::compare;
pub(super) use instance::{empty, exchange};
pub(super) use switch::go_live;

use std::sync::Arc;

use uuid::Uuid;

use super::setup::{self, catalog};
use super::{Conn, Row, place};
use crate::build::{Build, Phase};
use crate::error::{SetupError, StoreError};
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::state::ProjectionKey;
use crate::value::{Value, to_micros};
use stored::Stored;

/// Long work inside one transaction gets more time than a statement has otherwise, and waits less for locks, since others
/// wait behind it.
fn take_time(conn: &mut dyn Conn) -> Result<(), StoreError> {
    match conn.dialect() {
        Dialect::Postgres => conn.batch("SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '1s'"),
        Dialect::Sqlite => Ok(()),
    }
}

fn of(key: &ProjectionKey) -> [Value; 2] {
    [key.name.as_ref().into(), key.version.into()]
}

/// All builds.
pub(super) fn builds(conn: &mut dyn Conn) -> Result<Vec<Build>, StoreError> {
    Ok(stored::list(conn, None)?.into_iter().map(|stored| stored.build).collect())
}

/// Registers a build as under construction, and makes its tables unless it was so before.
pub(super) fn begin(conn: &mut dyn Conn, build: &Projection, command: Uuid) -> Result<(), SetupError> {
    setup::lock(conn)?;
    let key = build.key();
    let known = stored::list(conn, Some(build.name()))?;
    let build = &place::settle(conn, build, &known)?;
    match known.iter().find(|stored| stored.build.key == key) {
        Some(stored) if stored.build.phase == Phase::Live => Ok(()),
        Some(stored) if stored.build.phase != Phase::Kept || !build.is_beside() => go_on(conn, stored, command),
        old => {
            if let Some(old) = old {
                discard(conn, old)?;
            }
            make(conn, build, command)
        }
    }
}

/// A build that was halted, or kept current by its code, is under construction again.
fn go_on(conn: &mut dyn Conn, stored: &Stored, command: Uuid) -> Result<(), SetupError> {
    let again = matches!(stored.build.phase, Phase::Halted | Phase::Kept);
    let phase = if again { Phase::Building } else { stored.build.phase };
    let sql = format!(
        "UPDATE {} SET command = $3, phase = $4, trouble = NULL WHERE name = $1 AND version = $2",
        conn.dialect().table("projections")
    );
    let [name, version] = of(&stored.build.key);
    conn.execute(&sql, &[name, version, command.into(), phase.as_str().into()])?;
    Ok(())
}

/// Has a build that was kept be filled again.
pub(super) fn revive(conn: &mut dyn Conn, key: &ProjectionKey, command: Uuid) -> Result<(), SetupError> {
    setup::lock(conn)?;
    let known = stored::list(conn, Some(key.projection()))?;
    match known.iter().find(|stored| stored.build.key == *key && !stored.live) {
        Some(stored) => go_on(conn, stored, command),
        None => {
            Err(SetupError::Missing { what: format!("{} of projection {:?}", stored::label(key), key.projection()) })
        }
    }
}

/// Instances with a state in one of these builds.
pub(super) fn instances_of(
    conn: &mut dyn Conn,
    builds: &[ProjectionKey],
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Arc<str>>, StoreError> {
    let mut params: Vec<Value> = vec![after.map(str::to_owned).into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
    let mut which = Vec::new();
    for key in builds {
        params.extend(of(key));
        which.push(format!("(projection = ${} AND version = ${})", params.len() - 1, params.len()));
    }
    let sql = format!(
        "SELECT DISTINCT instance_id FROM {} WHERE ({}) AND (CAST($1 AS text) IS NULL OR instance_id > $1) \
         ORDER BY instance_id LIMIT $2",
        conn.dialect().table("projection_states"),
        which.join(" OR ")
    );
    conn.query(&sql, &params)?.iter().map(|found| super::row::shared(found, 0)).collect()
}

/// Nothing may be left under the key from work that was under way when an earlier build was removed.
fn make(conn: &mut dyn Conn, build: &Projection, command: Uuid) -> Result<(), SetupError> {
    let (dialect, key) = (conn.dialect(), build.key());
    forget(conn, &key)?;
    for table in build.tables() {
        let raw = sql::physical_raw(dialect, build, table);
        if setup::is_ours(conn, build, &raw, "table")? {
            conn.batch(&format!("DROP TABLE {}", sql::physical_name(dialect, build, table)))?;
        }
    }
    let tag = command.simple().to_string();
    let tag = tag.get(tag.len().saturating_sub(8)..).unwrap_or_default();
    for sql in sql::create_tables(dialect, build, Some(tag)) {
        conn.batch(&sql)?;
    }
    for table in build.tables() {
        setup::own(conn, build, &sql::physical_raw(dialect, build, table))?;
    }
    // All engines take part in filling it: that it has succeeded says that nobody has to lead.
    let sql = format!(
        "INSERT INTO {} (name, version, definition, live, succeeded_at, phase, command, place) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        dialect.table("projections")
    );
    let now = Value::Timestamp(to_micros(conn.now()?));
    let [name, version] = of(&key);
    let phase = Phase::Building.as_str().into();
    let definition = build.definition().into();
    let place = build.told_place().map(ToString::to_string).into();
    conn.execute(&sql, &[name, version, definition, false.into(), now, phase, command.into(), place])?;
    Ok(())
}

/// Moves a build into another phase.
pub(super) fn enter(
    conn: &mut dyn Conn,
    build: &ProjectionKey,
    from: &[Phase],
    to: Phase,
    trouble: Option<&str>,
) -> Result<bool, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "UPDATE {} SET phase = $3, trouble = $4 WHERE name = $1 AND version = $2 AND {}",
        dialect.table("projections"),
        dialect.any("phase", 5)
    );
    let [name, version] = of(build);
    let from = Value::TextArray(from.iter().map(|phase| phase.as_str().to_owned()).collect());
    let trouble = trouble.map(|text| text.replace('\0', "\u{fffd}"));
    Ok(conn.execute(&sql, &[name, version, to.as_str().into(), trouble.into(), from])? > 0)
}

/// Removes a build that readers do not see.
pub(super) fn remove(conn: &mut dyn Conn, key: &ProjectionKey) -> Result<bool, SetupError> {
    setup::lock(conn)?;
    take_time(conn)?;
    let known = stored::list(conn, Some(key.projection()))?;
    match known.iter().find(|stored| stored.build.key == *key && !stored.live) {
        None => Ok(false),
        Some(stored) => discard(conn, stored).map(|()| true),
    }
}

fn discard(conn: &mut dyn Conn, stored: &Stored) -> Result<(), SetupError> {
    let dialect = conn.dialect();
    for table in &stored.tables {
        let raw = stored.raw(dialect, table);
        let found = catalog::relation(conn, stored.schema.as_deref(), &raw)?;
        if found.as_deref() == Some("table") {
            conn.batch(&format!("DROP TABLE {}{}", stored.quoted(dialect, table), cascade(dialect)))?;
        }
        let sql =
            format!("DELETE FROM {} WHERE table_name = $1 AND projection = $2", dialect.table("projection_tables"));
        conn.execute(&sql, &[stored.owned(&raw).into(), stored.build.key.projection().into()])?;
    }
    forget(conn, &stored.build.key)?;
    let sql = format!("DELETE FROM {} WHERE name = $1 AND version = $2", dialect.table("projections"));
    conn.execute(&sql, &of(&stored.build.key))?;
    Ok(())
}

/// Its tables refer to each other.
fn cascade(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => " CASCADE",
        Dialect::Sqlite => "",
    }
}

/// Removes states and failures of a build.
fn forget(conn: &mut dyn Conn, key: &ProjectionKey) -> Result<(), StoreError> {
    for table in ["projection_states", "held_events", "standstills"] {
        let sql = format!("DELETE FROM {} WHERE projection = $1 AND version = $2", conn.dialect().table(table));
        conn.execute(&sql, &of(key))?;
    }
    Ok(())
}

/// The first run has to succeed again, and is announced again.
pub(super) fn revoke(conn: &mut dyn Conn, key: &ProjectionKey) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE {} SET succeeded_at = NULL, resets = resets + 1 WHERE name = $1 AND version = $2",
        conn.dialect().table("projections")
    );
    conn.execute(&sql, &of(key)).map(|_| ())
}

/// Values of one column of texts.
fn texts(rows: &[Row]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|found| super::row::text(found, 0).map(str::to_owned)).collect()
}
