//! Events that people discarded, for a build that begins.

use std::sync::Arc;

use super::failure::refresh;
use super::{Conn, row, state};
use crate::error::StoreError;
use crate::state::ProjectionKey;

/// Makes a build pass over the events that were discarded in another build, unless it has already passed them; only
/// those of one instance, if one is given.
pub(super) fn carry(
    conn: &mut dyn Conn,
    from: &ProjectionKey,
    to: &ProjectionKey,
    instance: Option<&str>,
) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let (held, states) = (dialect.table("held_events"), dialect.table("projection_states"));
    let columns =
        "position, aggregate_type, aggregate_id, event_type, state, attempts, class, error, first_at, last_at, due_at";
    let of = "h.projection = $1 AND h.version = $2 AND h.state = 'discarded' AND (CAST($3 AS text) IS NULL OR h.instance_id = $3)";
    let source = [Arc::clone(&from.name).into(), from.version.into(), instance.map(str::to_owned).into()];
    let found = conn.query(&format!("SELECT DISTINCT h.instance_id FROM {held} h WHERE {of}"), &source)?;
    let instances: Vec<Arc<str>> = found.iter().map(|found| row::shared(found, 0)).collect::<Result<_, _>>()?;
    if instances.is_empty() {
        return Ok(());
    }
    // An engine that fills the build meanwhile waits for this lock, and then sees what to pass over.
    state::lock(conn, to, &instances)?;
    let sql = format!(
        "INSERT INTO {held} (instance_id, projection, version, {columns}) SELECT h.instance_id, CAST($4 AS text), CAST($5 AS bigint), \
         {columns} FROM {held} h WHERE {of} AND h.position > \
         (SELECT s.position FROM {states} s WHERE s.instance_id = h.instance_id AND s.projection = $4 AND s.version = $5) \
         ON CONFLICT (instance_id, projection, version, position) DO NOTHING"
    );
    let mut both = source.to_vec();
    both.extend([Arc::clone(&to.name).into(), to.version.into()]);
    conn.execute(&sql, &both)?;
    refresh(conn, to, instances.iter().map(ToString::to_string).collect())
}

/// Makes a build try discarded events that it has not passed yet; only those of one instance, if one is given. Returns
/// how many.
pub(super) fn forget(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instance: Option<&str>,
) -> Result<u64, StoreError> {
    let sql = format!(
        "DELETE FROM {} WHERE projection = $1 AND version = $2 AND state = 'discarded' \
         AND (CAST($3 AS text) IS NULL OR instance_id = $3)",
        conn.dialect().table("held_events")
    );
    let params = [Arc::clone(&projection.name).into(), projection.version.into(), instance.map(str::to_owned).into()];
    conn.execute(&sql, &params)
}
