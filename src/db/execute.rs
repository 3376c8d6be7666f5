//! Runs statements on the read tables one by one.

use std::error::Error as _;
use std::sync::Arc;

use super::Conn;
use crate::error::{StoreError, StoreErrorKind};
use crate::projection::Projection;
use crate::sql::{self, Dialect};
use crate::state::ProjectionKey;
use crate::statement::Statement;

/// Returns how many statements met no row. If the service's own SQL names something that does not exist, the SQL is at
/// fault, unless tables of the projection turn out to be missing. The schema of the projection must be known.
pub(super) fn execute(
    conn: &mut dyn Conn,
    projection: &Projection,
    instance: &str,
    statement: &Statement,
) -> Result<u64, StoreError> {
    if let Statement::Multi(parts) = statement {
        return parts.iter().try_fold(0, |missed, part| Ok(missed + execute(conn, projection, instance, part)?));
    }
    let counts = matches!(statement, Statement::Update { .. } | Statement::Delete { .. });
    let mut missed = 0;
    let rendered = sql::render(conn.dialect(), projection, instance, statement)
        .map_err(|error| StoreError::new("rendering a statement", StoreErrorKind::Usage, error))?;
    for sql in rendered {
        let done = conn.execute(&sql.text, &sql.params);
        let rows = done.map_err(|error| {
            let is_own = error.kind() == StoreErrorKind::Schema && statement.has_exec();
            of_table(conn, if is_own { error.of_kind(StoreErrorKind::Usage) } else { error }, projection)
        })?;
        if let Some(expected) = sql.expected.filter(|expected| *expected != rows) {
            let found = format!("the {} met {}, not {expected}", statement.kind(), of_rows(rows));
            let doing = format!("writing a read table of projection {:?}", projection.name());
            return Err(StoreError::new(doing, StoreErrorKind::Usage, found));
        }
        missed += u64::from(counts && rows == 0);
    }
    Ok(missed)
}

fn of_rows(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

/// An error of a statement on a read table.
pub(super) fn of_table(conn: &mut dyn Conn, error: StoreError, projection: &Projection) -> StoreError {
    let error = error.doing(format!("writing a read table of projection {:?}", projection.name()));
    if error.kind() != StoreErrorKind::Schema {
        return error;
    }
    let remedy = match conn.dialect() {
        // A recorded schema proves that a set-up made the tables. A schema that the code names proves nothing.
        Dialect::Postgres if projection.schema_name().is_some() => SET_UP_OR_PUT_BACK,
        Dialect::Postgres => PUT_BACK,
        Dialect::Sqlite if is_on_record(conn, &projection.key()) => PUT_BACK,
        Dialect::Sqlite => return error,
    };
    error.with_remedy(remedy)
}

/// True if the projection was set up. Without the engine's own tables, nothing was.
fn is_on_record(conn: &mut dyn Conn, key: &ProjectionKey) -> bool {
    let sql = format!("SELECT 1 FROM {} WHERE name = $1 AND version = $2", conn.dialect().table("projections"));
    conn.query(&sql, &[Arc::clone(&key.name).into(), key.version.into()]).is_ok_and(|rows| !rows.is_empty())
}

/// The remedy for a missing read table or column. A set-up is no remedy: it could only make an empty table.
const PUT_BACK: &str = "; rename it back or restore it, together with the checkpoints of its time, and the engine goes on \
     by itself; or raise the version, so that it is rebuilt";

/// The remedy if the table may never have been set up.
const SET_UP_OR_PUT_BACK: &str = "; run setup() if it was never set up; else rename back or restore what is missing, together \
     with the checkpoints of its time, or raise the version, so that it is rebuilt";

/// The error of a statement on a read table that a person altered.
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

/// The remedy for an altered read table.
const UNDO: &str = "; undo that change, and the engine goes on by itself; or have the tables made again by \
     `readside rebuild`";
