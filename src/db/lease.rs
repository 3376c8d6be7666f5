//! Leases and members: what lets several processes share the work.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::clause::Sql;
use super::{Conn, Row, row, standstill, state};
use crate::error::{StoreError, StoreErrorKind};
use crate::lease::{Lease, Member, Renewal};
use crate::sql::Dialect;
use crate::state::ProjectionKey;
use crate::value::Value;

/// The mark after a holder leaves: without the holder's own mark, but with the mark of a dead holder, which the next
/// one has to count.
const OTHERS_MARK: &str = "CASE WHEN marked_epoch = epoch THEN NULL ELSE marked END";

fn skip_locked(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
        Dialect::Sqlite => "",
    }
}

/// Takes leases that are free, expired, or already the owner's. It waits for no lock.
pub(crate) fn acquire(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: &[Arc<str>],
    owner: Uuid,
    lease: Duration,
) -> Result<Vec<Lease>, StoreError> {
    let mut leases = take(conn, projection, instances, owner, lease)?;
    let taken: HashSet<&Arc<str>> = leases.iter().map(|lease| &lease.instance).collect();
    let left: Vec<Arc<str>> = instances.iter().filter(|instance| !taken.contains(instance)).cloned().collect();
    if !left.is_empty() && state::make(conn, projection, &left)? > 0 {
        leases.extend(take(conn, projection, &left, owner, lease)?);
    }
    Ok(leases)
}

fn take(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: &[Arc<str>],
    owner: Uuid,
    lease: Duration,
) -> Result<Vec<Lease>, StoreError> {
    let dialect = conn.dialect();
    let table = dialect.table("projection_states");
    let members = dialect.table("members");
    let mut sql = Sql::new(conn)?;
    let (me, name, version) = (sql.bind(owner), sql.bind(Arc::clone(&projection.name)), sql.bind(projection.version));
    let (now, until, over) = (sql.now(), sql.after(lease), sql.over("leased_until", lease));
    let which = sql.one_of(dialect, "instance_id", instances);
    let text = format!(
        "UPDATE {table} AS s SET owner = {me}, leased_until = {until}, \
         leased_at = CASE WHEN owner = {me} AND leased_until > {now} AND leased_at <= {now} THEN leased_at ELSE {now} END, \
         epoch = epoch + CASE WHEN owner = {me} AND leased_until > {now} THEN 0 ELSE 1 END, \
         marked = CASE WHEN owner = {me} THEN {OTHERS_MARK} ELSE marked END, \
         careful = careful OR (owner IS NOT NULL AND owner <> {me} AND NOT EXISTS \
         (SELECT 1 FROM {members} m WHERE m.process = s.owner AND m.alive_until > {now})) \
         WHERE projection = {name} AND version = {version} AND instance_id IN (SELECT instance_id FROM {table} \
         WHERE projection = {name} AND version = {version} AND {which} \
         AND (owner IS NULL OR owner = {me} OR {over}) ORDER BY instance_id{}) \
         RETURNING instance_id, epoch, careful",
        skip_locked(dialect),
    );
    conn.query(&text, &sql.params)?.iter().map(|found| lease_of(found, 0)).collect()
}

/// Reads instance, epoch and carefulness.
fn lease_of(found: &Row, at: usize) -> Result<Lease, StoreError> {
    let (instance, epoch) = (row::shared(found, at)?, row::int(found, at + 1)?);
    Ok(Lease { instance, epoch, careful: row::truth(found, at + 2)? })
}

/// Extends all leases of a process that have not expired. If a wrong clock let one begin in the future, it begins
/// now: otherwise it would never count as old. Rows that a transaction has locked are left out.
pub(crate) fn renew(conn: &mut dyn Conn, owner: Uuid, lease: Duration) -> Result<Vec<Renewal>, StoreError> {
    let dialect = conn.dialect();
    let table = dialect.table("projection_states");
    let mut sql = Sql::new(conn)?;
    let (me, now, until) = (sql.bind(owner), sql.now(), sql.after(lease));
    let key = "instance_id, projection, version";
    let text = format!(
        "UPDATE {table} SET leased_until = {until}, \
         leased_at = CASE WHEN leased_at <= {now} THEN leased_at ELSE {now} END WHERE owner = {me} AND ({key}) IN (SELECT {key} FROM {table} \
         WHERE owner = {me} AND leased_until > {now} ORDER BY {key}{}) RETURNING projection, version, instance_id, epoch, careful",
        skip_locked(dialect)
    );
    conn.query(&text, &sql.params)?
        .iter()
        .map(|found| {
            let version = u32::try_from(row::int(found, 1)?).unwrap_or(0);
            let projection = ProjectionKey { name: row::shared(found, 0)?, version };
            Ok(Renewal { projection, lease: lease_of(found, 2)? })
        })
        .collect()
}

/// Extends the leases that are still the owner's.
pub(super) fn extend(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: &[Arc<str>],
    owner: Uuid,
    lease: Duration,
) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let mut sql = Sql::new(conn)?;
    let (me, name, version) = (sql.bind(owner), sql.bind(Arc::clone(&projection.name)), sql.bind(projection.version));
    let (until, which) = (sql.after(lease), sql.one_of(dialect, "instance_id", instances));
    let text = format!(
        "UPDATE {} SET leased_until = {until} WHERE owner = {me} AND projection = {name} AND version = {version} AND {which}",
        dialect.table("projection_states")
    );
    conn.execute(&text, &sql.params).map(|_| ())
}

/// Frees the leases that are still the owner's.
pub(crate) fn release(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    instances: &[Arc<str>],
    owner: Uuid,
) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let table = dialect.table("projection_states");
    let mut sql = Sql { params: Vec::new(), now: None };
    let (me, name, version) = (sql.bind(owner), sql.bind(Arc::clone(&projection.name)), sql.bind(projection.version));
    let which = sql.one_of(dialect, "instance_id", instances);
    let text = format!(
        "UPDATE {table} SET owner = NULL, leased_until = NULL, marked = {OTHERS_MARK} WHERE projection = {name} AND version = {version} \
         AND owner = {me} AND instance_id IN (SELECT instance_id FROM {table} WHERE projection = {name} \
         AND version = {version} AND owner = {me} AND {which} ORDER BY instance_id{})",
        skip_locked(dialect)
    );
    conn.execute(&text, &sql.params).map(|_| ())
}

/// Takes or keeps the lead of a projection's first run, if no other process has it.
pub(crate) fn lead(
    conn: &mut dyn Conn,
    projection: &ProjectionKey,
    owner: Uuid,
    lease: Duration,
) -> Result<bool, StoreError> {
    let table = conn.dialect().table("projections");
    let mut sql = Sql::new(conn)?;
    let (me, name, version) = (sql.bind(owner), sql.bind(Arc::clone(&projection.name)), sql.bind(projection.version));
    let (until, over) = (sql.after(lease), sql.over("leased_until", lease));
    let text = format!(
        "UPDATE {table} SET owner = {me}, leased_until = {until} WHERE name = {name} AND version = {version} \
         AND (owner IS NULL OR owner = {me} OR {over})"
    );
    Ok(conn.execute(&text, &sql.params)? > 0)
}

/// For each of the given projections, whether its first run has succeeded.
pub(crate) fn succeeded(conn: &mut dyn Conn, projections: &[ProjectionKey]) -> Result<Vec<bool>, StoreError> {
    let sql =
        format!("SELECT name, version FROM {} WHERE succeeded_at IS NOT NULL", conn.dialect().table("projections"));
    let rows = conn.query(&sql, &[])?;
    let done = |projection: &ProjectionKey| -> Result<bool, StoreError> {
        for found in &rows {
            if row::text(found, 0)? == &*projection.name && row::int(found, 1)? == i64::from(projection.version) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    projections.iter().map(done).collect()
}

/// Records that the first run succeeded, and gives its lead up.
pub(crate) fn succeed(conn: &mut dyn Conn, projection: &ProjectionKey, owner: Uuid) -> Result<bool, StoreError> {
    let table = conn.dialect().table("projections");
    let mut sql = Sql::new(conn)?;
    let (me, name, version) = (sql.bind(owner), sql.bind(Arc::clone(&projection.name)), sql.bind(projection.version));
    let now = sql.now();
    let text = format!(
        "UPDATE {table} SET succeeded_at = {now}, owner = NULL, leased_until = NULL WHERE name = {name} \
         AND version = {version} AND owner = {me} AND succeeded_at IS NULL"
    );
    Ok(conn.execute(&text, &sql.params)? > 0)
}

/// Records missed updates, and why the process is deaf, in the row of the process, if the process is on the list and the
/// row says something else. The row says nothing after others forgot the process and it announced itself again.
pub(crate) fn tell(
    conn: &mut dyn Conn,
    process: Uuid,
    missed: &[(ProjectionKey, u64)],
    deaf: Option<&str>,
) -> Result<(), StoreError> {
    let missed: Vec<(&str, u32, u64)> = missed.iter().map(|(key, count)| (&*key.name, key.version, *count)).collect();
    let failed = |error| StoreError::new("writing what met no row", StoreErrorKind::Data, error);
    let missed = serde_json::to_string(&missed).map_err(failed)?;
    let text = format!(
        "UPDATE {} SET missed = $1, deaf = $3 WHERE process = $2 \
         AND (missed IS DISTINCT FROM $1 OR deaf IS DISTINCT FROM $3)",
        conn.dialect().table("members")
    );
    conn.execute(&text, &[missed.into(), process.into(), deaf.map_or(Value::Null, Value::from)]).map(|_| ())
}

/// Announces a process, forgets processes that are long gone, and lists the living ones.
pub(crate) fn heartbeat(
    conn: &mut dyn Conn,
    member: &Member,
    time_to_live: Duration,
) -> Result<Vec<Member>, StoreError> {
    let table = conn.dialect().table("members");
    let failed = |error| StoreError::new("reading members", StoreErrorKind::Corrupt, error);
    let projections = serde_json::to_string(&member.projections).map_err(failed)?;
    let mut sql = Sql::new(conn)?;
    let (me, name) = (sql.bind(member.process), sql.bind(member.name.as_str()));
    let (projections, until, now) = (sql.bind(projections), sql.after(time_to_live), sql.now());
    let text = format!(
        "INSERT INTO {table} (process, name, projections, alive_until, since, announced_at) \
         VALUES ({me}, {name}, {projections}, {until}, {now}, {now}) \
         ON CONFLICT (process) DO UPDATE SET alive_until = excluded.alive_until, announced_at = excluded.announced_at"
    );
    conn.execute(&text, &sql.params)?;
    let mut sql = Sql::new(conn)?;
    let over = sql.over("alive_until", time_to_live);
    let found =
        conn.query(&format!("SELECT process, name, projections, {over} FROM {table} ORDER BY process"), &sql.params)?;
    let (mut members, mut dead) = (Vec::new(), false);
    for found in &found {
        if row::truth(found, 3)? {
            dead = true;
            continue;
        }
        members.push(Member {
            process: row::uuid(found, 0)?.unwrap_or_default(),
            name: row::text(found, 1)?.to_owned(),
            projections: serde_json::from_str(row::text(found, 2)?).map_err(failed)?,
        });
    }
    if dead {
        conn.execute(&format!("DELETE FROM {table} WHERE {over}"), &sql.params)?;
        standstill::forget_dead(conn)?;
    }
    Ok(members)
}

/// Takes a process off the list, and frees its leases.
pub(crate) fn leave(conn: &mut dyn Conn, process: Uuid) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let states = dialect.table("projection_states");
    let key = "instance_id, projection, version";
    conn.execute(
        &format!(
            "UPDATE {states} SET owner = NULL, leased_until = NULL, marked = {OTHERS_MARK} WHERE owner = $1 AND ({key}) IN \
             (SELECT {key} FROM {states} WHERE owner = $1 ORDER BY {key}{})",
            skip_locked(dialect)
        ),
        &[process.into()],
    )?;
    let projections = dialect.table("projections");
    conn.execute(
        &format!("UPDATE {projections} SET owner = NULL, leased_until = NULL WHERE owner = $1"),
        &[process.into()],
    )?;
    standstill::leave(conn, process)?;
    conn.execute(&format!("DELETE FROM {} WHERE process = $1", dialect.table("members")), &[process.into()]).map(|_| ())
}
