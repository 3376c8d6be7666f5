//! Removes what a measurement left behind: every trace of its instances, its projection and tables.

use super::{Backend, Conn, row};
use crate::error::StoreError;
use crate::projection::Projection;
use crate::sql;
use crate::value::Value;

/// The prefix of the names of instances that may be erased without a trace. No service uses it.
pub(crate) const PREFIX: &str = "readside-bench-";

/// Tables with rows of instances.
const TABLES: [&str; 6] = ["events", "heads", "unique_constraints", "held_events", "projection_states", "instances"];

/// Erases the instances with this prefix, one per transaction, then the projection.
pub(super) fn erase<B: Backend>(backend: &B, tag: &str, projection: &Projection) -> Result<(), StoreError> {
    let doing = "removing what a measurement made";
    let instances = backend.read(doing, |conn| instances(conn, &format!("{PREFIX}{tag}")))?;
    for instance in instances {
        backend.write(doing, |conn| erase_instance(conn, &instance))?;
    }
    backend.write(doing, |conn| erase_projection(conn, projection))
}

fn instances(conn: &mut dyn Conn, prefix: &str) -> Result<Vec<String>, StoreError> {
    // The greatest character ends the range of names with the prefix.
    let sql = format!(
        "SELECT instance_id FROM {} WHERE instance_id >= $1 AND instance_id < $2",
        conn.dialect().table("instances")
    );
    let rows = conn.query(&sql, &[prefix.into(), Value::Text(format!("{prefix}\u{10ffff}"))])?;
    rows.iter().map(|found| row::text(found, 0).map(str::to_owned)).collect()
}

fn erase_instance(conn: &mut dyn Conn, instance: &str) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    TABLES.iter().try_for_each(|table| {
        let sql = format!("DELETE FROM {} WHERE instance_id = $1", dialect.table(table));
        conn.execute(&sql, &[instance.into()]).map(|_| ())
    })
}

fn erase_projection(conn: &mut dyn Conn, projection: &Projection) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let projection = &projection.placed(conn.place(&projection.key())?);
    for table in projection.tables() {
        let view = sql::in_schema(dialect, projection.place(), &sql::view_raw(dialect, projection, table));
        conn.batch(&format!("DROP VIEW IF EXISTS {view}"))?;
        conn.batch(&format!("DROP TABLE IF EXISTS {}", sql::physical_name(dialect, projection, table)))?;
    }
    for (table, column) in [("projection_tables", "projection"), ("projections", "name")] {
        let sql = format!("DELETE FROM {} WHERE {column} = $1", dialect.table(table));
        conn.execute(&sql, &[projection.name().into()])?;
    }
    Ok(())
}
