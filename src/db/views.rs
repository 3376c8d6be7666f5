//! What pages show: single instances, failures in groups, what people did. Each answer and its cost are bounded.

use std::time::SystemTime;

use serde::Deserialize;
use uuid::Uuid;

use super::{Conn, Row, builds, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::failure::{By, FailureClass, FailureStatus};
use crate::inspect::{
    Activity, ActivityKind, FailureGroup, FailureGroups, InstanceCheckpoint, InstanceHead, InstanceLag, Lineage,
    LineageTable,
};
use crate::query::EventFilter;
use crate::state::{PART, ProjectionKey};
use crate::value::Value;

/// A text with this character after it sorts after every text that begins with the first one.
const END: char = char::MAX;

fn number(limit: usize) -> Value {
    i64::try_from(limit).unwrap_or(i64::MAX).into()
}

/// Compares the heads of the aggregate types of a build with its checkpoints.
pub(super) fn most_behind(
    conn: &mut dyn Conn,
    build: &ProjectionKey,
    limit: usize,
) -> Result<Vec<InstanceLag>, StoreError> {
    let Some(known) = builds::builds(conn)?.into_iter().find(|known| known.key == *build) else {
        return Ok(Vec::new());
    };
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT instance_id, position, head, moved_at FROM (SELECT h.instance_id, max(h.head) AS head, \
         max(coalesce(s.position, 0)) AS position, max(s.moved_at) AS moved_at FROM {} h LEFT JOIN {} s \
         ON s.instance_id = h.instance_id AND s.projection = $1 AND s.version = $2 WHERE {} GROUP BY h.instance_id) p \
         WHERE head > position ORDER BY head - position DESC, instance_id LIMIT $4",
        dialect.table("heads"),
        dialect.table("projection_states"),
        dialect.any_type("h.aggregate_type", 3, &known.aggregate_types)
    );
    let params =
        [build.name.as_ref().into(), build.version.into(), Value::TextArray(known.aggregate_types), number(limit)];
    let lag = |found: &Row| {
        let (position, head) = (row::int(found, 1)?, row::int(found, 2)?);
        let instance = row::text(found, 0)?.to_owned();
        Ok(InstanceLag { instance, position, head, lag: head.saturating_sub(position), moved_at: row::time(found, 3)? })
    };
    conn.query(&sql, &params)?.iter().map(lag).collect()
}

pub(super) fn instance_heads(
    conn: &mut dyn Conn,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<InstanceHead>, StoreError> {
    let mut params: Vec<Value> = vec![prefix.into(), format!("{prefix}{END}").into(), number(limit)];
    let mut sql = format!(
        "SELECT instance_id, head, head_at, closed_at IS NOT NULL FROM {} \
         WHERE instance_id >= $1 AND instance_id <= $2",
        conn.dialect().table("instances")
    );
    if let Some(after) = after {
        params.push(after.into());
        sql += " AND instance_id > $4";
    }
    sql += " ORDER BY instance_id LIMIT $3";
    let head = |found: &Row| {
        Ok(InstanceHead {
            instance: row::text(found, 0)?.to_owned(),
            head: row::int(found, 1)?,
            head_at: row::time(found, 2)?,
            closed: row::truth(found, 3)?,
        })
    };
    conn.query(&sql, &params)?.iter().map(head).collect()
}

pub(super) fn checkpoints(conn: &mut dyn Conn, instance: &str) -> Result<Vec<InstanceCheckpoint>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!("SELECT aggregate_type, head FROM {} WHERE instance_id = $1", dialect.table("heads"));
    let heads = conn.query(&sql, &[instance.into()])?;
    let heads: Vec<(String, i64)> = heads
        .iter()
        .map(|found| Ok((row::text(found, 0)?.to_owned(), row::int(found, 1)?)))
        .collect::<Result<_, StoreError>>()?;
    let sql = format!(
        "SELECT projection, version, position, held, moved_at, owner FROM {} \
         WHERE instance_id = $1",
        dialect.table("projection_states")
    );
    let states = conn.query(&sql, &[instance.into()])?;
    let mut found = Vec::new();
    for build in builds::builds(conn)?.into_iter().filter(|build| build.key.mark() != Some(PART)) {
        let is_of = |state: &&Row| {
            row::text(state, 0).is_ok_and(|name| name == &*build.key.name)
                && row::int(state, 1).is_ok_and(|version| version == i64::from(build.key.version))
        };
        let state = states.iter().find(is_of);
        let is_every = EventFilter::lists_every(&build.aggregate_types);
        let of_types = heads.iter().filter(|(kind, _)| is_every || build.aggregate_types.contains(kind));
        found.push(InstanceCheckpoint {
            projection: build.key.projection().to_owned(),
            version: build.key.version,
            build: build.key.mark().map(str::to_owned),
            position: state.map_or(Ok(0), |state| row::int(state, 2))?,
            head: of_types.map(|(_, head)| *head).max(),
            held: state.map_or(Ok(false), |state| row::truth(state, 3))?,
            moved_at: state.map_or(Ok(None), |state| row::time(state, 4))?,
            owner: state.map_or(Ok(None), |state| row::uuid(state, 5))?,
        });
    }
    Ok(found)
}

pub(super) fn failure_groups(
    conn: &mut dyn Conn,
    build: Option<&ProjectionKey>,
    most: usize,
) -> Result<FailureGroups, StoreError> {
    let mut params = vec![number(most.saturating_add(1))];
    let of_build = build.map_or("", |build| {
        params.extend([build.name.as_ref().into(), build.version.into()]);
        " WHERE projection = $2 AND version = $3"
    });
    // The limit counts records, before they are grouped.
    let sql = format!(
        "SELECT projection, version, event_type, class, state, count(*), count(DISTINCT instance_id), min(first_at), \
         max(last_at), min(error) FROM (SELECT projection, version, event_type, class, state, instance_id, first_at, last_at, \
         error FROM {}{of_build} LIMIT $1) h GROUP BY projection, version, event_type, class, state ORDER BY 6 DESC, 1, 2, 3, 4, 5",
        conn.dialect().table("held_events")
    );
    let mut groups: Vec<FailureGroup> = conn.query(&sql, &params)?.iter().map(group).collect::<Result<_, _>>()?;
    let count = |groups: &[FailureGroup]| groups.iter().map(|group| group.events).sum::<u64>();
    let complete = count(&groups) <= most as u64;
    groups.retain(|group| !matches!(group.state, FailureStatus::Behind | FailureStatus::Discarded));
    Ok(FailureGroups { counted: count(&groups), groups, complete })
}

fn group(found: &Row) -> Result<FailureGroup, StoreError> {
    let unknown = |word: &str| {
        let why = format!("{word:?} is not known; a newer version of this library may have written it");
        StoreError::new("grouping failed events", StoreErrorKind::Corrupt, why)
    };
    let version = u32::try_from(row::int(found, 1)?).unwrap_or(u32::MAX);
    let key = ProjectionKey { name: row::shared(found, 0)?, version };
    let (class, state) = (row::text(found, 3)?, row::text(found, 4)?);
    Ok(FailureGroup {
        projection: key.projection().to_owned(),
        version,
        build: key.mark().map(str::to_owned),
        event_type: row::text(found, 2)?.to_owned(),
        class: FailureClass::parse(class).ok_or_else(|| unknown(class))?,
        state: FailureStatus::parse(state).ok_or_else(|| unknown(state))?,
        events: row::int(found, 5)?.unsigned_abs(),
        instances: row::int(found, 6)?.unsigned_abs(),
        first_at: row::time(found, 7)?.unwrap_or(SystemTime::UNIX_EPOCH),
        last_at: row::time(found, 8)?.unwrap_or(SystemTime::UNIX_EPOCH),
        example: row::text(found, 9)?.to_owned(),
    })
}

/// The ids of all three tables grow with time, so each table is read from its end.
pub(super) fn activity(conn: &mut dyn Conn, before: Option<Uuid>, limit: usize) -> Result<Vec<Activity>, StoreError> {
    let tables = [
        (
            ActivityKind::Command,
            "commands",
            "command_id",
            "kind, projection, NULL, NULL, who, why, asked_at, state, instruction",
        ),
        (
            ActivityKind::Intervention,
            "interventions",
            "intervention_id",
            "action, projection, instance_id, position, who, why, at, 'done', ''",
        ),
        (
            ActivityKind::Operation,
            "operations",
            "operation_id",
            "kind, NULL, instance_id, NULL, who, why, began_at, CASE WHEN ended_at IS NULL THEN 'taken' ELSE 'done' END, ''",
        ),
    ];
    let mut all = Vec::new();
    for (kind, table, id, columns) in tables {
        let mut params = vec![number(limit)];
        let earlier = before.map_or(String::new(), |before| {
            params.push(before.into());
            format!("WHERE {id} < $2 ")
        });
        let table = conn.dialect().table(table);
        let sql = format!("SELECT {id}, {columns} FROM {table} {earlier}ORDER BY {id} DESC LIMIT $1");
        for found in conn.query(&sql, &params)? {
            all.push(act(kind, &found)?);
        }
    }
    all.sort_by_key(|act| std::cmp::Reverse(act.id));
    all.truncate(limit);
    Ok(all)
}

fn act(kind: ActivityKind, found: &Row) -> Result<Activity, StoreError> {
    let text =
        |at: usize| if row::is_null(found, at) { Ok(None) } else { row::text(found, at).map(|t| Some(t.to_owned())) };
    // The instruction of a command names what it concerns. A newer version may spell an instruction in another way.
    let instruction: serde_json::Value = serde_json::from_str(row::text(found, 9)?).unwrap_or_default();
    let named = |name: &str| instruction.get(name);
    Ok(Activity {
        id: row::uuid(found, 0)?.unwrap_or_default(),
        kind,
        what: row::text(found, 1)?.to_owned(),
        projection: text(2)?,
        instance: text(3)?.or_else(|| named("instance")?.as_str().map(str::to_owned)),
        position: if row::is_null(found, 4) {
            named("position").and_then(serde_json::Value::as_i64)
        } else {
            Some(row::int(found, 4)?)
        },
        by: By::new(row::text(found, 5)?, row::text(found, 6)?),
        at: row::time(found, 7)?.unwrap_or(SystemTime::UNIX_EPOCH),
        state: row::text(found, 8)?.to_owned(),
    })
}

/// The parts of a stored definition that are shown.
#[derive(Deserialize)]
struct Declared {
    events: Vec<(String, Vec<String>)>,
    tables: Vec<DeclaredTable>,
}

#[derive(Deserialize)]
struct DeclaredTable {
    name: String,
    columns: Vec<DeclaredColumn>,
}

#[derive(Deserialize)]
struct DeclaredColumn {
    name: String,
    kind: String,
}

pub(super) fn lineage(conn: &mut dyn Conn) -> Result<Vec<Lineage>, StoreError> {
    let sql = format!(
        "SELECT name, version, definition, live FROM {} ORDER BY name, version",
        conn.dialect().table("projections")
    );
    let mut found = Vec::new();
    for read in conn.query(&sql, &[])? {
        let version = u32::try_from(row::int(&read, 1)?).unwrap_or(u32::MAX);
        let key = ProjectionKey { name: row::shared(&read, 0)?, version };
        if key.mark().is_some() {
            continue;
        }
        let corrupt = |error| StoreError::new("reading the definition of a projection", StoreErrorKind::Corrupt, error);
        let Declared { events, tables } = serde_json::from_str(row::text(&read, 2)?).map_err(corrupt)?;
        let column = |column: DeclaredColumn| (column.name, column.kind.to_lowercase());
        let table = |table: DeclaredTable| LineageTable {
            name: table.name,
            columns: table.columns.into_iter().map(column).collect(),
        };
        let tables = tables.into_iter().map(table).collect();
        let (projection, live) = (key.name.to_string(), row::truth(&read, 3)?);
        found.push(Lineage { projection, version, live, events, tables });
    }
    Ok(found)
}
