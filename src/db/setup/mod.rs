//! Set-up: the engine's own tables by numbered migrations, projections' tables by their definitions.
//!
//! Everything runs in transactions under one lock, so that many processes may start together.

pub(super) mod catalog;
mod projection;
mod script;
mod tables;
mod trial;

pub(super) use projection::{is_ours, make, own, relations};
pub(crate) use projection::{read_rows, setup, verify};
pub(crate) use script::script;
pub(crate) use tables::read_tables;

use uuid::Uuid;

use super::{Backend, Conn, row};
use crate::error::{SetupError, StoreError, StoreErrorKind, chain};
use crate::inspect::SchemaVersion;
use crate::sql::Dialect;
use crate::value::Value;

/// The number of the lock that set-ups take. Any number works that nothing else uses.
const SETUP_LOCK: i64 = 0x0072_6561_6473_6964;

/// How often a migration that conflicted with others is tried again.
const TRIES: u32 = 5;

/// Brings the engine's own tables to the newest schema.
fn migrate<B: Backend>(backend: &B) -> Result<(), SetupError> {
    let migrations = backend.migrations();
    if backend.read("reading the schema version", |conn| current(conn))? == known(migrations) {
        return Ok(());
    }
    let mut tries = 0;
    loop {
        match run_migrations(backend, migrations) {
            // A migration takes many locks, and others may take theirs in another order.
            Err(SetupError::Store(error)) if error.is_transient() && tries < TRIES => {
                tries += 1;
                log::debug!("{}; trying again", chain(&error));
            }
            outcome => return outcome,
        }
    }
}

fn run_migrations<B: Backend>(backend: &B, migrations: &[&str]) -> Result<(), SetupError> {
    backend.write("setting up the engine's tables", |conn| {
        lock(conn)?;
        if conn.dialect() == Dialect::Postgres {
            // An index over many events takes longer than other statements may.
            conn.batch("SET LOCAL statement_timeout = '1h'")?;
        }
        let found = current(conn)?;
        check_version(found, migrations)?;
        let done = usize::try_from(found).unwrap_or(0);
        for (version, sql) in (1_i64..).zip(migrations).skip(done) {
            conn.batch(&backend.at_home((*sql).to_owned()))?;
            let table = conn.dialect().table("schema_migrations");
            conn.execute(&format!("INSERT INTO {table} (version) VALUES ($1)"), &[version.into()])?;
        }
        if found > 0 {
            return Ok(());
        }
        let sql =
            format!("INSERT INTO {} (store_id) VALUES ($1) ON CONFLICT DO NOTHING", conn.dialect().table("store"));
        conn.execute(&sql, &[Uuid::now_v7().into()])?;
        Ok(())
    })
}

/// The schema version of the database, and the newest one that this code knows.
pub(crate) fn schema(conn: &mut dyn Conn, migrations: &[&str]) -> Result<SchemaVersion, StoreError> {
    Ok(SchemaVersion { found: current(conn)?, known: known(migrations) })
}

fn known(migrations: &[&str]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

fn check_version(found: i64, migrations: &[&str]) -> Result<(), SetupError> {
    let known = known(migrations);
    if found > known { Err(SetupError::NewerSchema { found, known }) } else { Ok(()) }
}

/// Takes the lock of set-ups until the end of the transaction. SQLite's write transaction is such a lock.
pub(super) fn lock(conn: &mut dyn Conn) -> Result<(), StoreError> {
    match conn.dialect() {
        Dialect::Postgres => conn
            .query("SELECT pg_advisory_xact_lock($1)::text", &[SETUP_LOCK.into()])
            .map(|_| ())
            .map_err(|error| error.doing("waiting for another process that sets up the same database")),
        Dialect::Sqlite => Ok(()),
    }
}

/// The schema version of the database, 0 before the first set-up.
fn current(conn: &mut dyn Conn) -> Result<i64, StoreError> {
    let dialect = conn.dialect();
    let home = conn.home().map(str::to_owned);
    if catalog::relation(conn, home.as_deref(), catalog::engine_table(dialect, "schema_migrations"))?.is_none() {
        return Ok(0);
    }
    let rows = conn.query(&format!("SELECT max(version) FROM {}", dialect.table("schema_migrations")), &[])?;
    rows.first().map_or(Ok(0), |found| row::int_or_zero(found, 0))
}

/// The id that the first set-up gave the store.
pub(crate) fn store_id(conn: &mut dyn Conn) -> Result<Uuid, StoreError> {
    let rows = conn.query(&format!("SELECT store_id FROM {}", conn.dialect().table("store")), &[])?;
    let id = rows.first().map(|found| row::uuid(found, 0)).transpose()?.flatten();
    id.ok_or_else(|| StoreError::new("reading the id of the event store", StoreErrorKind::Schema, "it has no id"))
}

fn texts(rows: &[super::Row], at: usize) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|found| row::text(found, at).map(str::to_owned)).collect()
}

fn ints(version: u32) -> Value {
    version.into()
}
