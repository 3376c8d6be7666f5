//! Pauses: the state that engines follow, and the commands that set it.
//!
//! A pause needs no living engine. So the store carries such a command out itself, in the transaction that records it.

use uuid::Uuid;

use super::{Conn, command, row};
use crate::command::NewCommand;
use crate::error::StoreError;
use crate::failure::By;
use crate::inspect::Paused;
use crate::lease::Pause;

/// Pauses or resumes a projection, or one instance of it, and records the command as done.
pub(super) fn carry_out(
    conn: &mut dyn Conn,
    command: &NewCommand,
    instance: Option<&str>,
    on: bool,
) -> Result<Uuid, StoreError> {
    let (id, table) = (Uuid::now_v7(), conn.dialect().table("pauses"));
    let mut params =
        vec![command.projection.as_str().into(), instance.unwrap_or_default().into(), instance.is_none().into()];
    let sql = if on {
        params.push(id.into());
        format!(
            "INSERT INTO {table} (projection, instance_id, whole, command) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
        )
    } else {
        format!("DELETE FROM {table} WHERE projection = $1 AND instance_id = $2 AND whole = $3")
    };
    let changed = conn.execute(&sql, &params)? > 0;
    let of = instance.map_or("the whole projection".to_owned(), |instance| format!("instance {instance:?}"));
    let words = match (on, changed) {
        (true, true) => "is paused",
        (true, false) => "was paused already",
        (false, true) => "goes on",
        (false, false) => "was not paused",
    };
    let answer = serde_json::json!({ "done": format!("{of} {words}"), "changed": changed });
    command::record(conn, id, command, Some(&answer))?;
    Ok(id)
}

/// What is paused: the projection, and the instance unless the whole projection is paused.
pub(super) fn pauses(conn: &mut dyn Conn) -> Result<Vec<Pause>, StoreError> {
    let sql = format!("SELECT projection, instance_id, whole FROM {}", conn.dialect().table("pauses"));
    conn.query(&sql, &[])?
        .iter()
        .map(|found| {
            let instance = if row::truth(found, 2)? { None } else { Some(row::shared(found, 1)?) };
            Ok((row::text(found, 0)?.to_owned(), instance))
        })
        .collect()
}

/// The pauses with who, when and why, each with its projection: whole projections first, then by instance.
pub(super) fn on_record(conn: &mut dyn Conn) -> Result<Vec<(String, Paused)>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT p.projection, p.instance_id, p.whole, c.asked_at, c.who, c.why FROM {} p \
         LEFT JOIN {} c ON c.command_id = p.command ORDER BY p.projection, p.whole DESC, p.instance_id",
        dialect.table("pauses"),
        dialect.table("commands")
    );
    conn.query(&sql, &[])?
        .iter()
        .map(|found| {
            let instance = if row::truth(found, 2)? { None } else { Some(row::text(found, 1)?.to_owned()) };
            let by =
                if row::is_null(found, 4) { None } else { Some(By::new(row::text(found, 4)?, row::text(found, 5)?)) };
            Ok((row::text(found, 0)?.to_owned(), Paused { instance, since: row::time(found, 3)?, by }))
        })
        .collect()
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::command::AdminCommand;
    use crate::db::Backend;
    use crate::sqlite::SqliteStore;
    use crate::store::CommandStore;
    use crate::store::LeaseStore;

    #[test]
    fn what_cannot_be_recorded_does_not_happen() {
        let store = SqliteStore::in_memory().unwrap();
        store.setup().unwrap();
        let sql = "CREATE TRIGGER no BEFORE INSERT ON readside_commands BEGIN SELECT RAISE(ABORT, 'no'); END";
        let refuse: Result<(), StoreError> = store.backend().write("testing", |conn| conn.batch(sql));
        refuse.unwrap();
        let command = AdminCommand::Pause { instance: None };
        let by = By::new("ada", "a test");
        let command = NewCommand { projection: "users".to_owned(), version: None, command, by };
        store.ask(&command).unwrap_err();
        assert_eq!(store.pauses().unwrap(), []);
    }
}
