//! One statement at a time on the read tables.

use std::error::Error as _;

use super::Conn;
use crate::error::{StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::sql;
use crate::statement::Statement;

/// What SQL of the service's own does not find is its fault, until the tables of the projection are seen to be missing.
/// The projection is placed.
pub(super) fn execute(
    conn: &mut dyn Conn,
    projection: &Projection,
    instance: &str,
    statement: &Statement,
) -> Result<(), StoreError> {
    if let Statement::Multi(parts) = statement {
        return parts.iter().try_for_each(|part| execute(conn, projection, instance, part));
    }
    let rendered = sql::render(conn.dialect(), projection, instance, statement)
        .map_err(|error| StoreError::new("rendering a statement", StoreErrorKind::Usage, error))?;
    for sql in rendered {
        conn.execute(&sql.text, &sql.params).map_err(|error| {
            let is_own = error.kind() == StoreErrorKind::Schema && statement.has_exec();
            of_table(if is_own { error.of_kind(StoreErrorKind::Usage) } else { error }, projection)
        })?;
    }
    Ok(())
}

/// An error of a statement on a read table.
pub(super) fn of_table(error: StoreError, projection: &Projection) -> StoreError {
    let error = error.doing(format!("writing a read table of projection {:?}", projection.name()));
    match error.kind() {
        StoreErrorKind::Schema => error.with_remedy(PUT_BACK),
        _ => error,
    }
}

/// What helps where a read table is gone, or a column of one. A set-up does not: it would have to make it empty.
const PUT_BACK: &str = "; rename it back or restore it, together with the checkpoints of its time, and the engine goes on \
     by itself; or raise the version, so that it is rebuilt";

/// An error of a statement on a read table that somebody altered.
pub(super) fn altered_table(projection: &Projection, found: &str, error: &StoreError) -> StoreError {
    let doing = format!("writing a read table of projection {:?}", projection.name());
    let said = error.source().map(ToString::to_string).unwrap_or_default();
    let altered = StoreError::new(doing, StoreErrorKind::Schema, format!("{found} ({said})"));
    let altered = altered.with_remedy(UNDO);
    match error.code() {
        Some(code) => altered.with_code(code),
        None => altered,
    }
}

/// What helps where a read table was altered.
const UNDO: &str = "; undo that change, and the engine goes on by itself; or have the tables made anew by \
     `readside rebuild`";
