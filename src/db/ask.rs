//! Asking for a command: on record, or at once.

use uuid::Uuid;

use super::command::{COLUMNS, asked, is_tended, record, withdraw};
use super::{Conn, pause, row};
use crate::command::{CommandRecord, NewCommand};
use crate::error::{OperateError, StoreError, StoreErrorKind};

/// Puts a command on record, unless another one conflicts with it. Carries out commands that take effect at once.
pub(super) fn ask(conn: &mut dyn Conn, command: &NewCommand) -> Result<Uuid, OperateError> {
    if let Some((instance, on)) = command.command.pausing() {
        return Ok(pause::carry_out(conn, command, instance, on)?);
    }
    let (id, kind) = (Uuid::now_v7(), command.command.kind());
    if record(conn, id, command, None)? {
        return Ok(id);
    }
    let table = conn.dialect().table("commands");
    let sql = format!("SELECT {COLUMNS} FROM {table} WHERE exclusive = $1");
    let rows = conn.query(&sql, &[command.projection.as_str().into()])?;
    // A command that this code cannot read still has an id.
    if let Some(found) = rows.first()
        && let Some(left) = row::uuid(found, 0)?
        && !is_tended(conn, left)?
        && withdraw(conn, left, &superseded(command))?
        && record(conn, id, command, None)?
    {
        return Ok(id);
    }
    let running = rows.first().map(asked).transpose()?;
    let busy = |running: CommandRecord| OperateError::Busy {
        projection: command.projection.clone(),
        kind,
        running: running.command.kind(),
        id: running.id,
        who: running.who,
        state: running.state,
    };
    let gone =
        || StoreError::new("asking for a command", StoreErrorKind::Conflict, "one that was in its way has ended");
    Err(running.map_or_else(|| gone().into(), busy))
}

/// The answer of a command that no engine was working on when another one replaced it.
fn superseded(by: &NewCommand) -> serde_json::Value {
    let (kind, who) = (by.command.kind(), &by.by.who);
    serde_json::json!({ "error": format!("no engine was at it when {who:?} asked for {kind}, which takes its place") })
}
