//! The schema of the read tables of a projection whose code names no schema.
//!
//! Without a record, the search path of each session would decide, and could split one read model over several schemas
//! under one checkpoint. The first set-up records its schema, and every later statement names it. This has no effect on
//! a database without schemas.

use std::sync::Arc;

use super::builds::stored::{self, Stored};
use super::{Conn, row};
use crate::error::{SetupError, StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::value::Value;

const NO_PLACE: &str = "; run setup() first; where a person abandoned or dropped the build, ask for the rebuild again";

/// The projection in the form in which statements have to name its tables. Fails if these are not the tables of its
/// checkpoints.
pub(super) fn placed(conn: &mut dyn Conn, projection: &Projection) -> Result<Projection, StoreError> {
    if conn.dialect() == Dialect::Sqlite {
        return Ok(projection.clone());
    }
    let place = conn.place(&projection.key())?;
    if projection.place().is_some() {
        return Ok(projection.clone());
    }
    if place.is_none() && !projection.tables().is_empty() {
        let why = "no schema is on record for them: they were never set up, or the build was removed meanwhile";
        let doing = format!("looking for the tables of projection {:?}", projection.name());
        return Err(StoreError::new(doing, StoreErrorKind::Schema, why).with_remedy(NO_PLACE));
    }
    Ok(projection.placed(place))
}

/// The projection with the schema in which its tables are, or will be made. Fails if this session cannot use the
/// schema, or if it is not clear which one it is. `known` are the builds of this projection.
pub(super) fn settle(conn: &mut dyn Conn, projection: &Projection, known: &[Stored]) -> Result<Projection, SetupError> {
    if projection.schema_name().is_some() || conn.dialect() == Dialect::Sqlite {
        return Ok(projection.clone());
    }
    let here = here(conn)?;
    let name = || projection.name().to_owned();
    let place = match recorded(projection, known) {
        Some(place) => place,
        None => match (search(conn, known)?.as_slice(), &here) {
            ([one], _) => one.as_str().into(),
            ([], Some(here)) => here.as_str().into(),
            ([], None) => return Err(SetupError::NoSchema { projection: name() }),
            (many, _) => return Err(SetupError::SchemasDisagree { projection: name(), schemas: many.to_vec() }),
        },
    };
    if here.as_deref() != Some(&*place) {
        if let Some(why) = unusable(conn, &place)? {
            return Err(SetupError::SchemaOutOfReach { projection: name(), recorded: place.to_string(), why, here });
        }
        let elsewhere = here.as_deref().unwrap_or("none");
        log::info!(
            "projection {:?}: its tables stay in schema {place:?}, where they were first made, although the search_path of \
             this session leads to {elsewhere:?}",
            projection.name()
        );
    }
    Ok(projection.placed(Some(place)))
}

/// The schema on record: in its own row, or else in the row of the live build, or else in any other row.
fn recorded(projection: &Projection, known: &[Stored]) -> Option<Arc<str>> {
    let key = projection.key();
    let place = |stored: &Stored| stored.place.as_deref().map(Arc::from);
    let own = known.iter().find(|stored| stored.build.key == key).and_then(place);
    own.or_else(|| known.iter().find(|stored| stored.live).and_then(place)).or_else(|| known.iter().find_map(place))
}

/// The schemas that hold all tables of the live build, or of any build if nothing is live.
fn search(conn: &mut dyn Conn, known: &[Stored]) -> Result<Vec<String>, StoreError> {
    let unnamed = || known.iter().filter(|stored| !stored.names_schema);
    match unnamed().find(|stored| stored.live).or_else(|| unnamed().next()) {
        Some(stored) => locate(conn, stored),
        None => Ok(Vec::new()),
    }
}

/// The schemas that hold all tables of a build. A copy made by hand has no primary key, and so does not count.
fn locate(conn: &mut dyn Conn, stored: &Stored) -> Result<Vec<String>, StoreError> {
    let tables: Vec<String> = stored.tables.iter().map(|table| stored.raw(Dialect::Postgres, table)).collect();
    let count = i64::try_from(tables.len()).unwrap_or(i64::MAX);
    let rows = conn.query(
        "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relname::text = ANY($1::text[]) AND NOT starts_with(n.nspname::text, 'pg_') \
         AND EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) \
         GROUP BY n.nspname HAVING count(*) = $2 ORDER BY n.nspname",
        &[Value::TextArray(tables), count.into()],
    )?;
    rows.iter().map(|found| row::text(found, 0).map(str::to_owned)).collect()
}

/// Fails if a table of the build is in another schema than the one on record.
pub(super) fn check_moved(conn: &mut dyn Conn, projection: &Projection, table: &str) -> Result<(), SetupError> {
    let Some(place) = projection.told_place().cloned() else { return Ok(()) };
    let rows = conn.query(
        "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relname = $1::text AND NOT starts_with(n.nspname::text, 'pg_') \
         AND EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) ORDER BY n.nspname",
        &[table.into()],
    )?;
    let found = rows.iter().map(|found| row::text(found, 0)).collect::<Result<Vec<_>, _>>()?;
    match found.iter().find(|schema| **schema != &*place) {
        Some(other) if !found.contains(&&*place) => Err(SetupError::TableMoved {
            projection: projection.name().to_owned(),
            table: table.to_owned(),
            recorded: place.to_string(),
            found: (*other).to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The schema to which unqualified names refer in this session.
fn here(conn: &mut dyn Conn) -> Result<Option<String>, StoreError> {
    let rows = conn.query("SELECT current_schema()::text", &[])?;
    let found = rows.first().filter(|found| !row::is_null(found, 0));
    found.map(|found| row::text(found, 0).map(str::to_owned)).transpose()
}

/// Why this session cannot use a schema, if it cannot.
fn unusable(conn: &mut dyn Conn, schema: &str) -> Result<Option<&'static str>, StoreError> {
    let rows = conn
        .query("SELECT has_schema_privilege(to_regnamespace(quote_ident($1::text))::oid, 'USAGE')", &[schema.into()])?;
    match rows.first() {
        Some(found) if row::is_null(found, 0) => Ok(Some("which does not exist any more")),
        Some(found) if row::truth(found, 0)? => Ok(None),
        _ => Ok(Some("which this role may not use")),
    }
}

/// Records where the tables are that an earlier version of this library made for builds. If they are in several
/// schemas, or in none, the set-up of their projection has to decide.
pub(super) fn record_all(conn: &mut dyn Conn) -> Result<(), StoreError> {
    if conn.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let mut known = stored::list(conn, None)?;
    known.retain(|stored| !stored.names_schema && stored.place.is_none() && !stored.tables.is_empty());
    // A view is in the schema of the table that it shows.
    known.sort_by_key(|stored| !stored.live);
    for stored in &known {
        if let [place] = locate(conn, stored)?.as_slice() {
            record(conn, stored, place)?;
        }
    }
    Ok(())
}

/// True if there may be work for [`record_all`].
pub(super) fn is_missing(conn: &mut dyn Conn) -> Result<bool, StoreError> {
    if conn.dialect() == Dialect::Sqlite {
        return Ok(false);
    }
    let sql = "SELECT 1 FROM readside.projections WHERE place IS NULL AND definition::json->>'schema' IS NULL LIMIT 1";
    Ok(!conn.query(sql, &[])?.is_empty())
}

/// Records where a build is whose row does not say it, and its relations by their full names.
pub(super) fn record(conn: &mut dyn Conn, stored: &Stored, place: &str) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let key = &stored.build.key;
    let sql = format!("UPDATE {} SET place = $3 WHERE name = $1 AND version = $2", dialect.table("projections"));
    conn.execute(&sql, &[key.name.as_ref().into(), key.version.into(), place.into()])?;
    let owned = dialect.table("projection_tables");
    let rename = format!(
        "UPDATE {owned} SET table_name = $3 WHERE table_name = $1 AND projection = $2 \
         AND NOT EXISTS (SELECT 1 FROM {owned} WHERE table_name = $3)"
    );
    for table in &stored.tables {
        for raw in [stored.raw(dialect, table), sql::view_of(dialect, None, table)] {
            let full = format!("{place}.{raw}");
            conn.execute(&rename, &[raw.into(), key.projection().into(), full.into()])?;
        }
    }
    Ok(())
}
