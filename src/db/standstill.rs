//! Why projections stand still: what processes recorded, and what states, pauses, phases and members show.

use std::collections::HashMap;
use std::time::SystemTime;

use uuid::Uuid;

use super::{Bulk, BulkKind, Conn, Row, builds, member, owned, pause, row, setup};
use crate::builds::{Build, Phase};
use crate::error::StoreError;
use crate::inspect::{Leased, MemberStatus, Mismatch, Paused};
use crate::sql::Dialect;
use crate::standing::{STILL, Standing};
use crate::standstill::{Note, Standstill, StandstillKind as Kind, StandstillSubject, more};
use crate::state::ProjectionKey;
use crate::value::{ColumnType as T, Value, to_micros};

/// How many notes are read at most. A process leaves some hundred notes for a projection.
const NOTES: i64 = 10_000;

/// The most checkpoints that one look compares with the log, of all builds together. This bounds its time.
const COMPARED: usize = 10_000;

/// How many pauses of single instances are named.
const PAUSES: usize = 10;

fn keys() -> Vec<(&'static str, T)> {
    vec![
        ("projection", T::Text),
        ("version", T::Integer),
        ("process", T::Uuid),
        ("subject", T::Text),
        ("instance_id", T::Text),
    ]
}

fn key(process: Uuid, projection: &ProjectionKey, subject: &StandstillSubject) -> Row {
    let (subject, instance) = subject.stored();
    vec![projection.name.as_ref().into(), projection.version.into(), process.into(), subject.into(), instance.into()]
}

/// Records what a process says, and removes what it no longer says.
pub(super) fn note(
    conn: &mut dyn Conn,
    process: Uuid,
    notes: &[Note],
    gone: &[(ProjectionKey, StandstillSubject)],
) -> Result<(), StoreError> {
    let (table, now) = (conn.dialect().table("standstills"), to_micros(conn.now()?));
    let delete = Bulk {
        table: table.clone(),
        kind: BulkKind::Delete,
        keys: keys(),
        columns: Vec::new(),
        how: Vec::new(),
        only_if: None,
        rows: owned(gone.iter().map(|(projection, subject)| key(process, projection, subject)).collect()),
    };
    conn.bulk(&delete)?;
    let row = |note: &Note| {
        let mut row = key(process, &note.projection, &note.subject);
        let since = now.checked_sub(note.age).unwrap_or(now);
        row.extend([note.kind.as_str().into(), note.reason.as_str().into(), Value::Timestamp(to_micros(since))]);
        row
    };
    let write = Bulk {
        table,
        kind: BulkKind::Upsert,
        keys: keys(),
        columns: vec![("kind", T::Text), ("reason", T::Text), ("since", T::Timestamp)],
        how: Vec::new(),
        only_if: None,
        rows: owned(notes.iter().map(row).collect()),
    };
    conn.bulk(&write).map(|_| ())
}

/// Removes everything that a process said.
pub(super) fn leave(conn: &mut dyn Conn, process: Uuid) -> Result<(), StoreError> {
    let sql = format!("DELETE FROM {} WHERE process = $1", conn.dialect().table("standstills"));
    conn.execute(&sql, &[process.into()]).map(|_| ())
}

/// Removes what processes said that are no longer on the list.
pub(super) fn forget_dead(conn: &mut dyn Conn) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "DELETE FROM {} WHERE process NOT IN (SELECT process FROM {})",
        dialect.table("standstills"),
        dialect.table("members")
    );
    conn.execute(&sql, &[]).map(|_| ())
}

/// Facts that are read once for all builds.
pub(super) struct SharedFacts<'k> {
    pub(super) at: SystemTime,
    /// Since when all states were counted.
    pub(super) counted: SystemTime,
    pub(super) members: &'k [MemberStatus],
    pub(super) pauses: &'k [(String, Paused)],
    pub(super) astray: &'k Astray,
}

/// How many checkpoints of a build name events that the log does not have, and the first such instance.
pub(super) type Astray = HashMap<ProjectionKey, (i64, String)>;

/// How these builds are doing; only what concerns `instance`, if it is given.
pub(super) fn read(
    conn: &mut dyn Conn,
    projections: &[ProjectionKey],
    instance: Option<&str>,
) -> Result<Vec<Standing>, StoreError> {
    let mut builds = builds::builds(conn)?;
    builds.retain(|build| projections.contains(&build.key));
    let at = to_micros(conn.now()?);
    let members = member::members(conn, &[], at)?;
    let mut pauses = pause::on_record(conn)?;
    if let Some(instance) = instance {
        pauses.retain(|(_, paused)| paused.instance.as_deref().is_none_or(|one| one == instance));
    }
    let astray = astray(conn, &builds, instance)?;
    let known = SharedFacts { at, counted: at, members: &members, pauses: &pauses, astray: &astray };
    standings(conn, &builds, instance, &known)
}

/// As [`read`], with builds, members and pauses that were read already.
fn standings(
    conn: &mut dyn Conn,
    builds: &[Build],
    instance: Option<&str>,
    known: &SharedFacts<'_>,
) -> Result<Vec<Standing>, StoreError> {
    let states = states(conn, builds, instance, known)?;
    let (notes, none) = (notes(conn, instance, known.at)?, States::default());
    let of = |build: &Build| standing(build, states.get(&build.key).unwrap_or(&none), &notes, known);
    Ok(builds.iter().map(of).collect())
}

/// How a build is doing, by what was read.
pub(super) fn standing(build: &Build, states: &States, notes: &[Noted], known: &SharedFacts<'_>) -> Standing {
    let name = build.key.projection();
    let runs = |member: &&MemberStatus| {
        member.projections.iter().any(|(of, version)| of == name && *version == build.key.version)
    };
    let living = || known.members.iter().filter(runs).filter(|member| member.alive);
    let members = living().count() as u64;
    let last = known.members.iter().filter(runs).max_by_key(|member| member.alive_until).filter(|_| members == 0);
    // The build is halted for good, or tried again at growing intervals. The engine that succeeds clears the trouble.
    let waits = build.phase == Phase::Halted || (build.trouble.is_some() && !build.is_refused());
    let lives = |process| known.members.iter().any(|member| member.alive && member.process == process);
    let mut standstills: Vec<Standstill> = notes
        .iter()
        .filter(|noted| noted.of == build.key && (members == 0 || noted.note.process.is_some_and(lives)))
        .filter(|noted| noted.note.kind != Kind::Halted || waits)
        // If another process moves the build on, the trouble is only that of the process that noted it.
        .filter(|noted| !noted.whole || states.moved_at <= noted.note.since)
        .map(|noted| noted.note.clone())
        .collect();
    if waits && standstills.iter().all(|note| note.kind != Kind::Halted) {
        let trouble = build.trouble.as_deref().unwrap_or("nobody wrote down why");
        standstills.push(Standstill::new(Kind::Halted, trouble));
    }
    if let Some(refused) = build.trouble.as_deref().filter(|_| build.is_refused()) {
        standstills.push(Standstill::new(Kind::Refused, refused));
    }
    if let Some((count, instance)) = &states.ahead
        && standstills.iter().all(|note| note.kind != Kind::Diverged)
    {
        standstills.push(Standstill::ahead(*count).of(instance.clone()));
    }
    if let Some((count, instance)) = known.astray.get(&build.key)
        && standstills.iter().all(|note| note.kind != Kind::Diverged)
    {
        standstills.push(Standstill::astray(*count).of(instance.clone()));
    }
    if let Some(held) = &states.leased {
        standstills.push(leased(held, known));
    }
    let pauses: Vec<&Paused> = known.pauses.iter().filter(|(of, _)| of == name).map(|(_, paused)| paused).collect();
    let some = pauses.iter().filter(|paused| paused.instance.is_some());
    let paused_instances = some.clone().count() as u64;
    let whole = pauses.iter().filter(|paused| paused.instance.is_none());
    standstills.extend(whole.chain(some.take(PAUSES)).map(|paused| of_pause(paused)));
    Standing {
        projection: build.key.clone(),
        at: known.counted,
        moved_at: states.moved_at,
        phase: build.phase,
        succeeded: build.succeeded,
        members,
        running_since: living().filter_map(|member| member.since).min(),
        last_member: last.map(|member| (member.name.clone(), member.alive_until)),
        paused_instances,
        standstills,
    }
}

fn of_pause(paused: &Paused) -> Standstill {
    let reason =
        paused.by.as_ref().map_or("by nobody on record".to_owned(), |by| format!("by {:?}: {:?}", by.who, by.why));
    let found = Standstill::new(Kind::Paused, crate::standstill::bounded(&reason)).since(paused.since);
    match &paused.instance {
        Some(instance) => found.of(instance.clone()),
        None => found,
    }
}

/// What the states of a build show.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) moved_at: Option<SystemTime>,
    /// How many checkpoints are above their heads, and the first such instance.
    pub(super) ahead: Option<(i64, String)>,
    pub(super) leased: Option<Leased>,
}

/// Conditions on a state `s` and the instance `i` that it belongs to. The parameters are, in this order: the store of
/// this database, the present time, a minute before, and the latest time that counts.
pub(super) struct Of {
    /// The checkpoint is above its head. A head in another database says nothing about it.
    pub(super) ahead: String,
    /// The instance has been leased for long, and does not move.
    pub(super) leased: String,
}

impl Of {
    pub(super) fn with([own, at, before, believed]: [&str; 4]) -> Self {
        Self {
            ahead: format!("s.store = {own} AND s.position > coalesce(i.head, 0)"),
            leased: format!(
                "s.owner IS NOT NULL AND s.leased_until > {at} AND s.leased_at < {before} \
                 AND (s.moved_at IS NULL OR s.moved_at < {before} OR s.moved_at > {believed}) \
                 AND (i.head IS NULL OR s.position < i.head)"
            ),
        }
    }

    /// The parameters.
    pub(super) fn params(own: Uuid, at: SystemTime) -> [Value; 4] {
        let before = at.checked_sub(STILL).unwrap_or(at);
        [own.into(), at.into(), to_micros(before).into(), believed(at).into()]
    }
}

/// Reads all states once.
fn states(
    conn: &mut dyn Conn,
    builds: &[Build],
    instance: Option<&str>,
    known: &SharedFacts<'_>,
) -> Result<HashMap<ProjectionKey, States>, StoreError> {
    let dialect = conn.dialect();
    let names: Vec<String> = builds.iter().map(|build| build.key.name.to_string()).collect();
    let mut params = Of::params(setup::store_id(conn)?, known.at).to_vec();
    params.push(Value::TextArray(names));
    let Of { ahead, leased } = Of::with(["$1", "$2", "$3", "$4"]);
    let only = if let Some(instance) = instance {
        params.push(instance.into());
        " AND s.instance_id = $6"
    } else {
        ""
    };
    let sql = format!(
        "SELECT s.projection, s.version, max(CASE WHEN s.moved_at <= $4 THEN s.moved_at END), count(CASE WHEN {ahead} THEN 1 END), \
         min(CASE WHEN {ahead} THEN s.instance_id END), count(CASE WHEN {leased} THEN 1 END), \
         min(CASE WHEN {leased} THEN s.instance_id END) \
         FROM {} s LEFT JOIN {} i ON i.instance_id = s.instance_id \
         WHERE {}{only} GROUP BY s.projection, s.version",
        dialect.table("projection_states"),
        dialect.table("instances"),
        dialect.any("s.projection", 5)
    );
    let some = |found: &Row, at| -> Result<Option<(i64, String)>, StoreError> {
        let count = row::int(found, at)?;
        if count == 0 { Ok(None) } else { Ok(Some((count, row::text(found, at + 1)?.to_owned()))) }
    };
    let mut states = HashMap::new();
    for found in conn.query(&sql, &params)? {
        let (key, moved_at) = (projection(&found)?, row::time(&found, 2)?);
        let leased = some(&found, 5)?.map(|of| holder(conn, &key, of)).transpose()?;
        states.insert(key, States { moved_at, ahead: some(&found, 3)?, leased });
    }
    Ok(states)
}

fn projection(found: &Row) -> Result<ProjectionKey, StoreError> {
    let version = u32::try_from(row::int(found, 1)?).unwrap_or(0);
    Ok(ProjectionKey { name: row::shared(found, 0)?, version })
}

/// Who holds the first of these instances.
fn holder(conn: &mut dyn Conn, key: &ProjectionKey, (count, instance): (i64, String)) -> Result<Leased, StoreError> {
    let sql = format!(
        "SELECT owner, leased_at FROM {} WHERE projection = $1 AND version = $2 AND instance_id = $3",
        conn.dialect().table("projection_states")
    );
    let rows = conn.query(&sql, &[key.name.as_ref().into(), key.version.into(), instance.as_str().into()])?;
    let (owner, since) = match rows.first() {
        Some(found) => (row::uuid(found, 0)?, row::time(found, 1)?),
        None => (None, None),
    };
    Ok(Leased { count, instance, owner, since })
}

fn leased(held: &Leased, known: &SharedFacts<'_>) -> Standstill {
    let Leased { count, instance, owner, since } = held;
    let name = known.members.iter().find(|member| Some(member.process) == *owner).map(|member| member.name.as_str());
    // People know a process by its name.
    let process = match (name, owner) {
        (Some(name), _) => format!("process {name:?}"),
        (None, Some(owner)) => format!("process {owner}, which is not on the list,"),
        (None, None) => "a process".to_owned(),
    };
    let reason = format!("{process} has it and does not move it{}", more(*count));
    Standstill::new(Kind::Leased, reason).of(instance.clone()).since(*since)
}

/// What a process recorded.
pub(super) struct Noted {
    of: ProjectionKey,
    /// True if it concerns the whole projection.
    whole: bool,
    note: Standstill,
}

/// The latest time that counts. A wrong clock wrote any later one, for instance that of a server before its failover,
/// and it means nothing.
fn believed(at: SystemTime) -> SystemTime {
    to_micros(at.checked_add(STILL).unwrap_or(at))
}

/// The notes that are still true. A note about an instance counts only if it was made after the instance's checkpoint
/// moved.
pub(super) fn notes(conn: &mut dyn Conn, instance: Option<&str>, at: SystemTime) -> Result<Vec<Noted>, StoreError> {
    let dialect = conn.dialect();
    let mut params: Vec<Value> = vec![NOTES.into(), believed(at).into()];
    let only = if let Some(instance) = instance {
        params.push(instance.into());
        " AND (n.subject NOT IN ('instance', 'more', 'command') OR (n.subject = 'instance' AND n.instance_id = $3))"
    } else {
        ""
    };
    let sql = format!(
        "SELECT n.projection, n.version, n.subject, n.instance_id, n.kind, n.reason, n.since, n.process FROM {} n \
         LEFT JOIN {} s ON n.subject = 'instance' AND s.instance_id = n.instance_id AND s.projection = n.projection \
         AND s.version = n.version WHERE coalesce(s.moved_at <= n.since OR s.moved_at > $2, 1 = 1){only} \
         ORDER BY n.since, n.instance_id LIMIT $1",
        dialect.table("standstills"),
        dialect.table("projection_states")
    );
    conn.query(&sql, &params)?
        .iter()
        .map(|found| {
            let mut note = Standstill::new(Kind::parse(row::text(found, 4)?), row::text(found, 5)?);
            let subject = row::text(found, 2)?;
            if subject == "instance" {
                note = note.of(row::text(found, 3)?);
            }
            note.since = row::time(found, 6)?;
            note.process = row::uuid(found, 7)?;
            Ok(Noted { of: projection(found)?, whole: matches!(subject, "look" | "work"), note })
        })
        .collect()
}

/// Checkpoints that name another event than the log has, among the first $2 that belong to the store $1. Checkpoints
/// above the head do not count, nor do those of removed events.
fn compared(dialect: Dialect, only: &str) -> String {
    format!(
        "(SELECT s.projection, s.version, s.instance_id, s.position, s.event FROM {} s JOIN {} i \
         ON i.instance_id = s.instance_id WHERE s.store = $1 AND s.position > i.removed AND s.position <= i.head{only} \
         LIMIT $2) c LEFT JOIN {} e ON e.instance_id = c.instance_id AND e.position = c.position \
         WHERE e.event_id IS NULL OR e.event_id <> c.event",
        dialect.table("projection_states"),
        dialect.table("instances"),
        dialect.table("all_events")
    )
}

/// Compares checkpoints of these builds with the log; only those of `instance`, if it is given. A head that stands there
/// without its event hides from everything else that the event is gone.
pub(super) fn astray(conn: &mut dyn Conn, builds: &[Build], instance: Option<&str>) -> Result<Astray, StoreError> {
    let dialect = conn.dialect();
    let names: Vec<String> = builds.iter().map(|build| build.key.name.to_string()).collect();
    let limit = i64::try_from(COMPARED).unwrap_or(i64::MAX);
    let mut params: Vec<Value> = vec![setup::store_id(conn)?.into(), limit.into(), Value::TextArray(names)];
    let mut only = format!(" AND {}", dialect.any("s.projection", 3));
    if let Some(instance) = instance {
        params.push(instance.into());
        only.push_str(" AND s.instance_id = $4");
    }
    let sql = format!(
        "SELECT c.projection, c.version, count(*), min(c.instance_id) FROM {} GROUP BY c.projection, c.version",
        compared(dialect, &only)
    );
    let of_build = |found: &Row| Ok((projection(found)?, (row::int(found, 2)?, row::text(found, 3)?.to_owned())));
    conn.query(&sql, &params)?.iter().map(of_build).collect()
}

/// The checkpoints among the first `limit` of this store that name another event than the log has.
pub(super) fn mismatches(conn: &mut dyn Conn, limit: usize) -> Result<Vec<Mismatch>, StoreError> {
    let dialect = conn.dialect();
    let own = setup::store_id(conn)?;
    let sql = format!(
        "SELECT c.projection, c.version, c.instance_id, c.position FROM {} ORDER BY 1, 2, 3",
        compared(dialect, "")
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    conn.query(&sql, &[own.into(), limit.into()])?
        .iter()
        .map(|found| {
            let key = projection(found)?;
            Ok(Mismatch {
                projection: key.projection().to_owned(),
                version: key.version,
                build: key.mark().map(str::to_owned),
                instance: row::text(found, 2)?.to_owned(),
                position: row::int(found, 3)?,
            })
        })
        .collect()
}
