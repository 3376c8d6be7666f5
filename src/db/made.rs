//! Whether the tables of a build are still those that were made for it.
//!
//! Rows and checkpoints belong together. A restore of read tables alone, or of the engine's tables alone, separates
//! them and leaves no trace in the data. But such a restore drops tables and makes them again, under other numbers
//! (`pg_restore --clean`). So set-up records the numbers of a build's tables and of the engine's own tables, with the
//! database and the cluster. If all numbers differ, everything was restored together, or moved to another server. If
//! only some differ, the rows are not those that the checkpoints stand for.
//!
//! The record also bears the command of its build. A process of an earlier release that switches within a version
//! exchanges the commands and the names of the tables, but not the records. A record under another command is of the
//! other build. Nothing is found by it, and the next set-up replaces it.
//!
//! Renaming and moving between schemas keep the numbers. So do truncating, rewriting, and restoring rows alone, which
//! nothing here detects. SQLite keeps a database in one file, and nobody restores a part of a file alone.

use super::{Conn, Row, row};
use crate::builds::torn_tables;
use crate::error::StoreError;
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::state::ProjectionKey;
use crate::value::Value;

/// The database, so that numbers of another database are not mistaken for its own. A server may refuse to tell it; then
/// nothing is found.
const HERE: &str = "(SELECT readside.database_id())";

/// The tables of a build that are there now, in the order in which they are on record, with the numbers on record.
const NOW: &str = "unnest(p.made_tables, p.made_oids) AS m(name, oid) \
     JOIN pg_namespace n ON n.nspname = p.made_schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = m.name";

/// What became of the tables of the build in row `p` of the engine's `projections`, in words; NULL if they fit.
pub(crate) fn torn(dialect: Dialect) -> String {
    if dialect == Dialect::Sqlite {
        return "NULL".to_owned();
    }
    format!(
        "CASE WHEN (p.made_in = {HERE}) IS NOT TRUE OR p.made_for IS DISTINCT FROM p.command THEN NULL \
         WHEN p.made_beside = p.tableoid::int8 THEN (SELECT 'table ' || min(quote_ident(n.nspname) || '.' || \
           quote_ident(c.relname)) || ' was dropped and made again, and its checkpoints stayed' FROM {NOW} \
           WHERE c.oid::int8 <> m.oid HAVING count(*) > 0) \
         ELSE (SELECT 'the engine''s tables were dropped and made again, but not table ' || min(quote_ident(n.nspname) || '.' || \
           quote_ident(c.relname)) FROM {NOW} WHERE c.oid::int8 = m.oid HAVING count(*) > 0) END"
    )
}

/// The numbers of row `p`. They differ between two looks if tables were dropped and made again in between.
pub(super) fn numbers(dialect: Dialect) -> String {
    if dialect == Dialect::Sqlite {
        return "0".to_owned();
    }
    format!("p.tableoid::int8 + (SELECT coalesce(sum(c.oid::int8), 0)::int8 FROM {NOW})")
}

/// The statement that records what these tables of a build are now. It works in SQL only; a schema of NULL means the
/// session's schema.
pub(super) fn noting(schema: &str, tables: &str, name: &str, version: &str) -> String {
    let schema = format!("coalesce({schema}, current_schema()::text)");
    format!(
        "UPDATE readside.projections p SET made_in = {HERE}, made_for = p.command, made_beside = p.tableoid::int8, \
         made_schema = {schema}, made_tables = {tables}, \
         made_oids = (SELECT coalesce(array_agg(c.oid::int8 ORDER BY m.at), '{{}}') \
         FROM unnest({tables}) WITH ORDINALITY AS m(name, at) JOIN pg_namespace n ON n.nspname = {schema} \
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = m.name) WHERE p.name = {name} AND p.version = {version}"
    )
}

/// Records what the tables of this build are now. The schema of the projection must be known.
pub(super) fn record(conn: &mut dyn Conn, projection: &Projection) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    if dialect == Dialect::Sqlite {
        return Ok(());
    }
    let tables = projection.tables().iter().map(|table| sql::physical_raw(dialect, projection, table)).collect();
    let (place, key) = (projection.place().map(str::to_owned), projection.key());
    let params = [key.name.as_ref().into(), key.version.into(), place.into(), Value::TextArray(tables)];
    conn.execute(&noting("$3::text", "$4::text[]", "$1", "$2"), &params).map(|_| ())
}

/// As [`record`], if nothing is on record, or all of it is of another place or build.
pub(super) fn record_new(conn: &mut dyn Conn, projection: &Projection) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    if dialect == Dialect::Sqlite {
        return Ok(());
    }
    let sql = format!(
        "SELECT 1 FROM readside.projections p WHERE p.name = $1 AND p.version = $2 AND ({}) IS NULL \
         AND ((p.made_in = {HERE}) IS NOT TRUE OR p.made_for IS DISTINCT FROM p.command \
           OR p.made_beside <> p.tableoid::int8 OR p.made_schema <> coalesce($3::text, current_schema()::text))",
        torn(dialect)
    );
    let (place, key) = (projection.place().map(str::to_owned), projection.key());
    let rows = conn.query(&sql, &[key.name.as_ref().into(), key.version.into(), place.into()])?;
    if rows.is_empty() { Ok(()) } else { record(conn, projection) }
}

/// What a statement that gives a build the command `$3` sets besides: a record that was the build's stays so.
pub(super) const UNDER_NEW_COMMAND: &str = "made_for = CASE WHEN made_for = command \
     OR (made_for IS NULL AND command IS NULL) THEN $3 ELSE made_for END";

/// Exchanges the records of two builds of one version that have exchanged the names of their tables.
pub(super) fn exchange(conn: &mut dyn Conn, one: &ProjectionKey, other: &ProjectionKey) -> Result<(), StoreError> {
    if conn.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let sql = "UPDATE readside.projections p SET made_in = o.made_in, made_for = o.made_for, made_beside = o.made_beside, \
         made_oids = o.made_oids \
         FROM readside.projections o WHERE p.version = $3 AND o.version = $3 \
         AND (p.name = $1 AND o.name = $2 OR p.name = $2 AND o.name = $1)";
    conn.execute(sql, &[one.name.as_ref().into(), other.name.as_ref().into(), one.version.into()]).map(|_| ())
}

/// Checks that the tables of a build are those that were made for it.
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "a part of an SQLite file cannot be restored alone"))]
pub(crate) fn whole(found: &Row, at: usize, doing: &str) -> Result<(), StoreError> {
    if row::is_null(found, at) { Ok(()) } else { Err(torn_tables(doing, row::text(found, at)?)) }
}

/// The builds whose tables are not those that were made for them, in words.
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "a part of an SQLite file cannot be restored alone"))]
pub(crate) fn torn_builds(conn: &mut dyn Conn) -> Result<Vec<String>, StoreError> {
    let torn = torn(conn.dialect());
    let sql = format!(
        "SELECT t.name, t.version, t.found FROM (SELECT p.name, p.version, {torn} AS found FROM readside.projections p) t \
         WHERE t.found IS NOT NULL ORDER BY 1, 2"
    );
    let said = |found: &Row| {
        let (name, version, found) = (row::text(found, 0)?, row::int(found, 1)?, row::text(found, 2)?);
        Ok(format!("projection {name:?}, version {version}: {found}"))
    };
    conn.query(&sql, &[])?.iter().map(said).collect()
}
