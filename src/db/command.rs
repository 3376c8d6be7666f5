//! Commands to engines: rows that one engine at a time takes, keeps and answers.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::clause::Sql;
use super::member::is_alive;
use super::{Conn, Row, row};
use crate::command::{AdminCommand, CommandRecord, CommandState, NewCommand};
use crate::error::{StoreError, StoreErrorKind};
use crate::lease::Member;
use crate::value::{Value, to_micros};

pub(super) const COLUMNS: &str = "command_id, projection, version, instruction, state, who, why, asked_at, owner, taken_at, \
     progress, answered_at, answer";

/// Whether an engine keeps a command, or one is alive that may take it.
pub(super) fn is_tended(conn: &mut dyn Conn, id: Uuid) -> Result<bool, StoreError> {
    let table = conn.dialect().table("commands");
    let mut sql = Sql::new(conn)?;
    let (id, now) = (sql.bind(id), sql.now());
    let text = format!(
        "SELECT projection, version, answered_at IS NOT NULL OR (state = 'taken' AND kept_until > {now}) FROM {table} \
         WHERE command_id = {id}"
    );
    let rows = conn.query(&text, &sql.params)?;
    let Some(found) = rows.first() else { return Ok(false) };
    if row::truth(found, 2)? {
        return Ok(true);
    }
    let name = row::text(found, 0)?;
    let version = if row::is_null(found, 1) { None } else { u32::try_from(row::int(found, 1)?).ok() };
    Ok(members(conn)?.iter().any(|member| member.can_do(name, version)))
}

/// Ends a command that no engine keeps.
pub(super) fn withdraw(conn: &mut dyn Conn, id: Uuid, answer: &serde_json::Value) -> Result<bool, StoreError> {
    let table = conn.dialect().table("commands");
    let mut sql = Sql::new(conn)?;
    let (id, now, answer) = (sql.bind(id), sql.now(), sql.bind(text(answer)));
    let text = format!(
        "UPDATE {table} SET state = 'failed', answer = {answer}, answered_at = {now}, exclusive = NULL, \
         kept_until = NULL WHERE command_id = {id} AND (state = 'asked' OR (state = 'taken' AND kept_until <= {now}))"
    );
    Ok(conn.execute(&text, &sql.params)? > 0)
}

/// Writes a command down, with its answer if it has been carried out. Returns false if another command conflicts with
/// it.
pub(super) fn record(
    conn: &mut dyn Conn,
    id: Uuid,
    command: &NewCommand,
    answer: Option<&serde_json::Value>,
) -> Result<bool, StoreError> {
    let sql = format!(
        "INSERT INTO {} (command_id, kind, projection, version, instruction, who, why, asked_at, exclusive, state, \
         answered_at, answer) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (exclusive) DO NOTHING",
        conn.dialect().table("commands")
    );
    let exclusive = command.command.is_exclusive().then(|| command.projection.clone());
    let state = if answer.is_some() { CommandState::Done } else { CommandState::Asked };
    let now = to_micros(conn.now()?);
    let params = [
        id.into(),
        command.command.kind().into(),
        command.projection.as_str().into(),
        command.version.into(),
        serde_json::to_string(&command.command).map_err(corrupt)?.into(),
        plain(&command.by.who),
        plain(&command.by.why),
        Value::Timestamp(now),
        exclusive.into(),
        state.as_str().into(),
        answer.map(|_| now).into(),
        answer.map(text).into(),
    ];
    Ok(conn.execute(&sql, &params)? > 0)
}

/// No database accepts NUL in a text.
fn text(answer: &serde_json::Value) -> String {
    answer.to_string().replace("\\u0000", "\\ufffd")
}

fn plain(text: &str) -> Value {
    Value::Text(text.replace('\0', "\u{fffd}"))
}

fn corrupt(error: serde_json::Error) -> StoreError {
    StoreError::new("reading commands", StoreErrorKind::Corrupt, error)
}

fn json(found: &Row, at: usize) -> Result<Option<serde_json::Value>, StoreError> {
    if row::is_null(found, at) {
        return Ok(None);
    }
    serde_json::from_str(row::text(found, at)?).map(Some).map_err(corrupt)
}

pub(super) fn asked(found: &Row) -> Result<CommandRecord, StoreError> {
    let unknown = |word: &str| corrupt(serde::de::Error::custom(format!("state {word:?} is not known")));
    let version = if row::is_null(found, 2) { None } else { u32::try_from(row::int(found, 2)?).ok() };
    let state = row::text(found, 4)?;
    Ok(CommandRecord {
        id: row::uuid(found, 0)?.unwrap_or_default(),
        projection: row::text(found, 1)?.to_owned(),
        version,
        command: serde_json::from_str::<AdminCommand>(row::text(found, 3)?).map_err(corrupt)?,
        state: CommandState::parse(state).ok_or_else(|| unknown(state))?,
        who: row::text(found, 5)?.to_owned(),
        why: row::text(found, 6)?.to_owned(),
        asked_at: row::time(found, 7)?.unwrap_or(std::time::SystemTime::UNIX_EPOCH),
        taken_by: row::uuid(found, 8)?,
        taken_at: row::time(found, 9)?,
        progress: json(found, 10)?,
        answered_at: row::time(found, 11)?,
        answer: json(found, 12)?,
    })
}

/// Commands that no engine carries out now.
#[derive(Default)]
pub(super) struct Free {
    /// The commands that this code can read, the oldest first.
    pub(super) found: Vec<FreeCommand>,
    /// The commands that it cannot read: a newer version may have written them.
    pub(super) strange: Vec<(Uuid, StoreError)>,
}

/// A command that waits for an engine.
pub(super) struct FreeCommand {
    pub(super) asked: CommandRecord,
    /// Since when it waits.
    pub(super) since: SystemTime,
    /// The version that the engine runs which looks for commands.
    pub(super) own: u32,
}

/// Finds the commands that an engine can take.
pub(super) fn free(conn: &mut dyn Conn, projections: &[(String, u32)], lease: Duration) -> Result<Free, StoreError> {
    let dialect = conn.dialect();
    let mut sql = Sql::new(conn)?;
    let names = Value::TextArray(projections.iter().map(|(name, _)| name.clone()).collect());
    sql.params.push(names);
    let which = dialect.any("projection", sql.params.len());
    let over = sql.over("kept_until", lease);
    let text = format!(
        "SELECT {COLUMNS}, kept_until FROM {} WHERE (state = 'asked' OR (state = 'taken' AND {over})) \
         AND {which} ORDER BY command_id LIMIT 1000",
        dialect.table("commands")
    );
    let rows = conn.query(&text, &sql.params)?;
    let mut free = Free::default();
    for found in &rows {
        let (name, version) = (row::text(found, 1)?, found.get(2));
        let fits = |(own, number): &(String, u32)| {
            own == name && version.is_none_or(|v| v.is_null() || *v == Value::from(*number))
        };
        let Some((_, own)) = projections.iter().find(|one| fits(one)) else { continue };
        match asked(found) {
            Ok(asked) => {
                // An engine that died has kept it until then.
                let since = row::time(found, 13)?.map_or(asked.asked_at, |until| until.max(asked.asked_at));
                free.found.push(FreeCommand { asked, since, own: *own });
            }
            Err(error) => free.strange.push((row::uuid(found, 0)?.unwrap_or_default(), error)),
        }
    }
    Ok(free)
}

/// Takes a command, unless another process was faster.
pub(super) fn take(
    conn: &mut dyn Conn,
    id: Uuid,
    owner: Uuid,
    lease: Duration,
) -> Result<Option<CommandRecord>, StoreError> {
    let table = conn.dialect().table("commands");
    let mut sql = Sql::new(conn)?;
    let (id, me, now, until) = (sql.bind(id), sql.bind(owner), sql.now(), sql.after(lease));
    let over = sql.over("kept_until", lease);
    let text = format!(
        "UPDATE {table} SET state = 'taken', owner = {me}, taken_at = {now}, kept_until = {until} \
         WHERE command_id = {id} AND (state = 'asked' OR (state = 'taken' AND {over})) RETURNING {COLUMNS}"
    );
    conn.query(&text, &sql.params)?.first().map(asked).transpose()
}

/// Keeps those of these commands that the owner has taken and not lost.
pub(super) fn keep(conn: &mut dyn Conn, owner: Uuid, ids: &[Uuid], lease: Duration) -> Result<Vec<Uuid>, StoreError> {
    let table = conn.dialect().table("commands");
    let mut sql = Sql::new(conn)?;
    let (me, until) = (sql.bind(owner), sql.after(lease));
    let ids: Vec<String> = ids.iter().map(|id| sql.bind(*id)).collect();
    let text = format!(
        "UPDATE {table} SET kept_until = {until} WHERE owner = {me} AND state = 'taken' AND command_id IN ({}) \
         RETURNING command_id",
        ids.join(", ")
    );
    let rows = conn.query(&text, &sql.params)?;
    Ok(rows.iter().map(|found| row::uuid(found, 0)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

pub(super) fn report(
    conn: &mut dyn Conn,
    id: Uuid,
    owner: Uuid,
    progress: &serde_json::Value,
) -> Result<bool, StoreError> {
    let sql = format!(
        "UPDATE {} SET progress = $3 WHERE command_id = $1 AND owner = $2 AND state = 'taken'",
        conn.dialect().table("commands")
    );
    Ok(conn.execute(&sql, &[id.into(), owner.into(), progress.to_string().into()])? > 0)
}

pub(super) fn answer(
    conn: &mut dyn Conn,
    id: Uuid,
    owner: Uuid,
    state: CommandState,
    answer: &serde_json::Value,
) -> Result<bool, StoreError> {
    let sql = format!(
        "UPDATE {} SET state = $3, answer = $4, answered_at = $5, exclusive = NULL, kept_until = NULL \
         WHERE command_id = $1 AND owner = $2 AND state = 'taken'",
        conn.dialect().table("commands")
    );
    let now = Value::Timestamp(to_micros(conn.now()?));
    let params = [id.into(), owner.into(), state.as_str().into(), text(answer).into(), now];
    Ok(conn.execute(&sql, &params)? > 0)
}

pub(super) fn give_back(conn: &mut dyn Conn, owner: Uuid) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE {} SET state = 'asked', owner = NULL, kept_until = NULL WHERE owner = $1 AND state = 'taken'",
        conn.dialect().table("commands")
    );
    conn.execute(&sql, &[owner.into()]).map(|_| ())
}

pub(super) fn one(conn: &mut dyn Conn, id: Uuid) -> Result<Option<CommandRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE command_id = $1", conn.dialect().table("commands"));
    conn.query(&sql, &[id.into()])?.first().map(asked).transpose()
}

pub(super) fn list(
    conn: &mut dyn Conn,
    projection: Option<&str>,
    limit: usize,
) -> Result<Vec<CommandRecord>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {} WHERE CAST($1 AS text) IS NULL OR projection = $1 ORDER BY command_id DESC LIMIT $2",
        conn.dialect().table("commands")
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    conn.query(&sql, &[projection.map(str::to_owned).into(), limit.into()])?.iter().map(asked).collect()
}

/// Records of finished commands that may hold data of an instance.
pub(super) struct About {
    /// The number of answers that may show rows of any instance.
    answers: u64,
    /// Commands about the instance.
    ids: Vec<Uuid>,
}

impl About {
    /// How many rows these are.
    pub(super) fn rows(&self) -> u64 {
        self.answers + self.ids.len() as u64
    }
}

/// Finds these records. With `questions_only`, it finds only questions among the commands about the instance.
pub(super) fn about(conn: &mut dyn Conn, instance: &str, questions_only: bool) -> Result<About, StoreError> {
    let table = conn.dialect().table("commands");
    let sql = format!(
        "SELECT command_id, kind, instruction, answer <> $1 AND {SHOWS} FROM {table} WHERE answered_at IS NOT NULL \
         AND answer IS NOT NULL"
    );
    let mut about = About { answers: 0, ids: Vec::new() };
    for found in conn.query(&sql, &[GONE.into()])? {
        about.answers += u64::from(row::truth(&found, 3)?);
        let named = json(&found, 2)?.and_then(|json| json.get("instance")?.as_str().map(|name| name == instance));
        if named == Some(true) && (!questions_only || row::text(&found, 1)? == "explain") {
            about.ids.extend(row::uuid(&found, 0)?);
        }
    }
    Ok(about)
}

/// Removes these records.
pub(super) fn forget(conn: &mut dyn Conn, about: &About) -> Result<(), StoreError> {
    let table = conn.dialect().table("commands");
    let sql = format!(
        "UPDATE {table} SET answer = $1, progress = NULL WHERE answered_at IS NOT NULL AND answer <> $1 AND {SHOWS}"
    );
    conn.execute(&sql, &[GONE.into()])?;
    for id in &about.ids {
        conn.execute(&format!("DELETE FROM {table} WHERE command_id = $1"), &[(*id).into()])?;
    }
    Ok(())
}

/// A condition: the answer may show data of an instance that its command does not name.
const SHOWS: &str = "kind NOT IN ('pause', 'resume')";

/// The text in place of a removed answer.
const GONE: &str = r#"{"removed":"answers that hold rows are kept for a while only"}"#;

/// Removes old answers that show rows of read models: a person's data must not stay here. The record keeps that there
/// was one. Returns how many these were.
pub(super) fn forget_rows(conn: &mut dyn Conn, age: Duration) -> Result<u64, StoreError> {
    let table = conn.dialect().table("commands");
    let before = to_micros(conn.now()? - age);
    let sql = format!(
        "UPDATE {table} SET answer = $2, progress = NULL WHERE answered_at <= $1 AND answer <> $2 \
         AND kind IN ('rebuild', 'verify', 'explain') AND state = 'done'"
    );
    conn.execute(&sql, &[Value::Timestamp(before), GONE.into()])
}

/// Processes whose heartbeat has not expired.
pub(super) fn members(conn: &mut dyn Conn) -> Result<Vec<Member>, StoreError> {
    let table = conn.dialect().table("members");
    let now = conn.now()?;
    let text = format!("SELECT process, name, projections, alive_until, announced_at FROM {table} ORDER BY process");
    let found = conn.query(&text, &[])?;
    let mut members = Vec::with_capacity(found.len());
    for found in &found {
        if is_alive(found, 3, 4, now)? {
            members.push(Member {
                process: row::uuid(found, 0)?.unwrap_or_default(),
                name: row::text(found, 1)?.to_owned(),
                projections: serde_json::from_str(row::text(found, 2)?).map_err(corrupt)?,
            });
        }
    }
    Ok(members)
}
