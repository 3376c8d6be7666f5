//! Removes a projection that no service keeps any more: all its builds, with their tables, states and failures.

use super::stored::{self, Stored};
use super::{discard, take_time};
use crate::db::objects::Relation;
use crate::db::setup::catalog;
use crate::db::{Conn, member, row, setup};
use crate::error::RetentionError;
use crate::retention::TableRows;
use crate::state::SHADOW;
use crate::value::{Value, to_micros};

/// The engine's tables with rows of a projection, other than those of its builds.
const OWN: [&str; 2] = ["interventions", "pauses"];

/// The engine's tables with rows of its builds.
const OF_BUILDS: [&str; 3] = ["projection_states", "held_events", "standstills"];

/// Counts what would be removed, and fails if it must stay. A caller that removes it must hold the lock of set-ups.
pub(in crate::db) fn look(conn: &mut dyn Conn, projection: &str) -> Result<Vec<TableRows>, RetentionError> {
    let builds = builds(conn, projection)?;
    let now = to_micros(conn.now()?);
    let members = member::members(conn, &[], now)?.into_iter();
    let runs = members.filter(|member| member.alive && member.projections.iter().any(|(name, _)| name == projection));
    let engines: Vec<String> = runs.map(|member| member.name).collect();
    if !engines.is_empty() {
        return Err(RetentionError::ProjectionRuns { projection: projection.to_owned(), engines });
    }
    let (mut relations, views) = (Vec::new(), views(conn, &builds)?);
    for build in &builds {
        relations.extend(build.relations(conn)?);
    }
    let (tables, dialect) = (relations.clone(), conn.dialect());
    relations.extend(views.iter().cloned());
    let dependents = conn.catalogue().dependents(conn, &relations, &views)?;
    if !dependents.is_empty() {
        let dependents = dependents.into_iter().map(|one| one.what).collect();
        return Err(RetentionError::Dependents { projection: projection.to_owned(), dependents });
    }
    let mut counted = Vec::new();
    for table in tables {
        let rows = count(conn, &format!("SELECT count(*) FROM {}", table.quoted), &[])?;
        counted.push(TableRows { table: table.raw, rows });
    }
    for table in OF_BUILDS.into_iter().chain(OWN) {
        let table = dialect.table(table);
        let rows = count(conn, &format!("SELECT count(*) FROM {table} WHERE {OF_PROJECTION}"), &named(projection))?;
        if rows > 0 {
            counted.push(TableRows { table, rows });
        }
    }
    Ok(counted)
}

/// Removes the projection, and returns what was removed.
pub(in crate::db) fn retire(conn: &mut dyn Conn, projection: &str) -> Result<Vec<TableRows>, RetentionError> {
    setup::lock(conn)?;
    take_time(conn)?;
    let counted = look(conn, projection)?;
    let builds = builds(conn, projection)?;
    for view in views(conn, &builds)? {
        conn.batch(&format!("DROP VIEW {}", view.quoted))?;
    }
    for build in &builds {
        discard(conn, build)?;
    }
    let dialect = conn.dialect();
    for table in OWN {
        let sql = format!("DELETE FROM {} WHERE {OF_PROJECTION}", dialect.table(table));
        conn.execute(&sql, &named(projection))?;
    }
    let sql = format!("DELETE FROM {} WHERE projection = $1", dialect.table("projection_tables"));
    conn.execute(&sql, &[projection.into()])?;
    Ok(counted)
}

fn builds(conn: &mut dyn Conn, projection: &str) -> Result<Vec<Stored>, RetentionError> {
    let builds = stored::list(conn, Some(projection))?;
    if builds.is_empty() {
        return Err(RetentionError::UnknownProjection { projection: projection.to_owned() });
    }
    Ok(builds)
}

/// The existing views that readers use.
fn views(conn: &mut dyn Conn, builds: &[Stored]) -> Result<Vec<Relation>, RetentionError> {
    let mut views: Vec<Relation> = Vec::new();
    for build in builds {
        for view in build.views(conn.dialect()) {
            let owner =
                format!("SELECT projection FROM {} WHERE table_name = $1", conn.dialect().table("projection_tables"));
            let owners = conn.query(&owner, &[build.owned(&view.raw).into()])?;
            let is_ours =
                owners.first().map(|found| row::text(found, 0)).transpose()? == Some(build.build.key.projection());
            let kind = catalog::relation(conn, build.schema.as_deref(), &view.raw)?;
            if is_ours && kind.as_deref() == Some("view") && !views.contains(&view) {
                views.push(view);
            }
        }
    }
    Ok(views)
}

/// A condition: the row belongs to a build of the projection, whatever its mark.
const OF_PROJECTION: &str = "(projection = $1 OR substr(projection, 1, length(CAST($2 AS text))) = $2)";

fn named(projection: &str) -> [Value; 2] {
    [projection.into(), format!("{projection}{SHADOW}").into()]
}

fn count(conn: &mut dyn Conn, sql: &str, params: &[Value]) -> Result<u64, RetentionError> {
    let rows = conn.query(sql, params)?;
    let rows = rows.first().map_or(Ok(0), |found| row::int(found, 0))?;
    Ok(u64::try_from(rows).unwrap_or(0))
}
