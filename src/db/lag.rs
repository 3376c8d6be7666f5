//! Where projections are behind: compares heads with states, and tells when nothing can have begun to lag.
//!
//! Most instances are up to date, and one aggregate over all states shows that. Only the pairs of the other instances
//! are compared one by one, with everything that may keep a pair from being worked on.

use std::fmt::Write;
use std::sync::Arc;

use super::clause::Sql;
use super::{Conn, Row, checkpoint, made, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::lease::{Lag, LagRequest, Lagging, in_turns};
use crate::query::EventFilter;
use crate::sql::Dialect;
use crate::value::Value;

/// How many instances one query names at most.
const NAMED: usize = 1000;

/// Without these settings the planner sorts a million states, or compiles for longer than it reads.
const GO_OVER_ALL: &str = "SET LOCAL jit = off; SET LOCAL enable_sort = off; SET LOCAL work_mem = '32MB'";

/// A text that changes with each push, with each transaction that moves a checkpoint back, and when builds, their
/// tables or pauses change.
///
/// Heads only grow and their rows stay, so every push changes their sum. The sum is taken in two halves, which cannot
/// overflow. A restored log may reach the same sum again, but not with the same newest event. The database itself
/// changes `setbacks`, in the transaction that sets a state back.
pub(crate) fn change_token(conn: &mut dyn Conn) -> Result<String, StoreError> {
    let dialect = conn.dialect();
    let newest = match dialect {
        Dialect::Postgres => "CAST(head_event AS text)",
        Dialect::Sqlite => "hex(head_event)",
    };
    let sql = format!(
        "SELECT 'heads' AS what, coalesce(max({newest}), '') AS name, CAST(coalesce(sum(head >> 32), 0) AS bigint) AS n, \
         CAST(coalesce(sum(head & 4294967295), 0) AS bigint) AS m FROM {} \
         UNION ALL SELECT 'build', name || ' ' || phase || ' ' || resets || CASE WHEN live THEN ' live' ELSE '' END \
         || CASE WHEN succeeded_at IS NULL THEN '' ELSE ' succeeded' END || CASE WHEN trouble IS NULL THEN '' ELSE ' halted' END, \
         version, setbacks FROM {} \
         UNION ALL SELECT 'tables', p.name, p.version, {} FROM {} p \
         UNION ALL SELECT projection, instance_id, CASE WHEN whole THEN 1 ELSE 0 END, 0 FROM {} ORDER BY 1, 2, 3, 4",
        dialect.table("instances"),
        dialect.table("projections"),
        made::numbers(dialect),
        dialect.table("projections"),
        dialect.table("pauses")
    );
    let mut change_token = String::new();
    for found in conn.query(&sql, &[])? {
        let (what, name) = (row::text(&found, 0)?, row::text(&found, 1)?);
        let _ = write!(change_token, "{what:?} {name:?} {} {};", row::int(&found, 2)?, row::int(&found, 3)?);
    }
    Ok(change_token)
}

/// Instances in which any of these projections is behind, even if something keeps it from being worked on.
pub(crate) fn lagging_instances(conn: &mut dyn Conn, request: &LagRequest) -> Result<Vec<Arc<str>>, StoreError> {
    prepare(conn)?;
    find_lagging(conn, request)
}

fn prepare(conn: &mut dyn Conn) -> Result<(), StoreError> {
    match conn.dialect() {
        Dialect::Postgres => conn.batch(GO_OVER_ALL),
        Dialect::Sqlite => Ok(()),
    }
}

fn find_lagging(conn: &mut dyn Conn, request: &LagRequest) -> Result<Vec<Arc<str>>, StoreError> {
    match perhaps_lagging(conn, request)? {
        Some(none) if none.is_empty() => Ok(Vec::new()),
        Some(some) => really_lagging(conn, &LagRequest { instances: some, ..request.clone() }),
        None => really_lagging(conn, request),
    }
}

/// The only instances that may be behind, if they are few; `None` if they are many, or if the request names instances.
///
/// If all projections have a state, and the lowest checkpoint is not below any head that the request asks for, nothing
/// is behind. SQLite compares the pairs as fast as it would find this.
fn perhaps_lagging(conn: &mut dyn Conn, request: &LagRequest) -> Result<Option<Vec<Arc<str>>>, StoreError> {
    let dialect = conn.dialect();
    if dialect == Dialect::Sqlite || !request.instances.is_empty() {
        return Ok(None);
    }
    let mut sql = Sql::new(conn)?;
    let keys = || request.projections.iter().map(|(key, _)| key);
    let names = sql.bind(Value::TextArray(keys().map(|key| key.name.to_string()).collect()));
    let versions = sql.bind(Value::TextArray(keys().map(|key| key.version.to_string()).collect()));
    let kinds: Vec<String> = request.projections.iter().flat_map(|(_, kinds)| kinds.iter().cloned()).collect();
    let is_every = EventFilter::lists_every(&kinds);
    let kinds = sql.bind(Value::TextArray(kinds));
    let is_wanted = if is_every {
        format!("{kinds}::text[] IS NOT NULL")
    } else {
        format!("h.aggregate_type = ANY({kinds}::text[])")
    };
    let (all, most) = (sql.bind(count(request.projections.len())), sql.bind(count(NAMED + 1)));
    let text = format!(
        "WITH lowest AS MATERIALIZED (SELECT s.instance_id, count(*) AS states, min(s.position) AS position \
         FROM {states} s JOIN unnest({names}::text[], {versions}::int8[]) AS w(projection, version) \
         ON w.projection = s.projection AND w.version = s.version GROUP BY 1), \
         highest AS MATERIALIZED (SELECT h.instance_id, max(h.head) AS head FROM {heads} h \
         WHERE {is_wanted}{system} GROUP BY 1) \
         SELECT h.instance_id FROM highest h LEFT JOIN lowest l ON l.instance_id = h.instance_id \
         WHERE l.states IS NULL OR l.states < {all} OR l.position < h.head LIMIT {most}",
        states = dialect.table("projection_states"),
        heads = dialect.table("heads"),
        system = system(request),
    );
    let found = conn.query(&text, &sql.params)?;
    if found.len() > NAMED {
        return Ok(None);
    }
    found.iter().map(|found| row::shared(found, 0)).collect::<Result<_, _>>().map(Some)
}

fn really_lagging(conn: &mut dyn Conn, request: &LagRequest) -> Result<Vec<Arc<str>>, StoreError> {
    let mut sql = Sql::new(conn)?;
    let (with, lagging) = compared(conn.dialect(), request, &mut sql)?;
    let text = format!("{with} SELECT DISTINCT h.instance_id {lagging} LIMIT {}", sql.bind(count(request.limit)));
    conn.query(&text, &sql.params)?.iter().map(|found| row::shared(found, 0)).collect()
}

/// The pairs that lag and that the request asks for.
pub(crate) fn lagging(conn: &mut dyn Conn, request: &LagRequest) -> Result<Vec<Lag>, StoreError> {
    prepare(conn)?;
    let behind = if request.instances.is_empty() { find_lagging(conn, request)? } else { request.instances.clone() };
    // There may be more pairs, and all found ones may have to wait.
    if request.instances.is_empty() && behind.len() >= request.limit {
        return pairs(conn, request);
    }
    let mut lags = Vec::new();
    for some in behind.chunks(NAMED) {
        lags.extend(pairs(conn, &LagRequest { instances: some.to_vec(), ..request.clone() })?);
        in_turns(&mut lags, request.limit);
    }
    Ok(lags)
}

/// If there are too many pairs, projections take turns, and chance decides which pairs of a projection come first. So
/// pairs that cannot move do not hide others for long.
fn pairs(conn: &mut dyn Conn, request: &LagRequest) -> Result<Vec<Lag>, StoreError> {
    let dialect = conn.dialect();
    let mut sql = Sql::new(conn)?;
    let (with, lagging) = compared(dialect, request, &mut sql)?;
    let counts = match request.lagging {
        Lagging::Free => free(dialect, request, &mut sql),
        Lagging::Open => format!(" AND {}", not_held(dialect, "e.state = 'stopped'")),
        Lagging::All => String::new(),
    };
    let text = format!(
        "{with} SELECT number, instance_id, head, position FROM (SELECT k.number, h.instance_id, max(h.head) AS head, \
         max(coalesce(s.position, 0)) AS position, row_number() OVER (PARTITION BY k.number ORDER BY random()) AS turn \
         {lagging}{counts} GROUP BY 1, 2) AS found ORDER BY turn LIMIT {}",
        sql.bind(count(request.limit))
    );
    conn.query(&text, &sql.params)?.iter().map(pair).collect()
}

fn pair(found: &Row) -> Result<Lag, StoreError> {
    Ok(Lag {
        projection: usize::try_from(row::int(found, 0)?).unwrap_or(usize::MAX),
        instance: row::shared(found, 1)?,
        relevant: row::int(found, 2)?,
        checkpoint: row::int(found, 3)?,
    })
}

/// The pairs whose checkpoints are not part of the log. The counters alone show a checkpoint above the end of the log.
/// To see that the log has another event at a checkpoint, a `thorough` look reads each event.
pub(crate) fn diverged(conn: &mut dyn Conn, request: &LagRequest, thorough: bool) -> Result<Vec<Lag>, StoreError> {
    prepare(conn)?;
    let dialect = conn.dialect();
    let mut sql = Sql::new(conn)?;
    let keys = projections(dialect, request, &mut sql)?;
    let [states, instances, store] = ["projection_states", "instances", "store"].map(|name| dialect.table(name));
    let is_other = if thorough {
        let [hot, archived] = ["events", "events_archive"]
            .map(|table| checkpoint::event_at(dialect, table, "s.instance_id", "s.position"));
        format!(
            " OR s.store <> (SELECT own.store_id FROM {store} own) \
             OR (s.position > i.removed AND coalesce({hot}, {archived}) IS DISTINCT FROM s.event)"
        )
    } else {
        String::new()
    };
    let some = if request.instances.is_empty() {
        String::new()
    } else {
        format!(" AND {}", sql.one_of(dialect, "s.instance_id", &request.instances))
    };
    let system = if request.system { "" } else { " AND s.instance_id <> ''" };
    let text = format!(
        "WITH k AS ({keys}) SELECT k.number, s.instance_id, coalesce(i.head, 0), s.position FROM {states} s \
         JOIN k ON k.projection = s.projection AND k.version = s.version \
         LEFT JOIN {instances} i ON i.instance_id = s.instance_id \
         WHERE s.position > 0 AND (s.position > coalesce(i.head, 0){is_other}){system}{some} LIMIT {}",
        sql.bind(count(request.limit))
    );
    conn.query(&text, &sql.params)?.iter().map(pair).collect()
}

/// A condition: no other process has the lease, and the pair is neither waiting nor paused.
fn free(dialect: Dialect, request: &LagRequest, sql: &mut Sql) -> String {
    let (me, now, far) = (sql.bind(request.owner), sql.now(), sql.after(request.longest_wait));
    let over = sql.over("s.leased_until", request.lease);
    format!(
        " AND (s.owner IS NULL OR s.owner = {me} OR {over}) \
         AND {not_held} \
         AND NOT EXISTS (SELECT 1 FROM {pauses} p WHERE p.projection = k.projection \
         AND (p.whole OR p.instance_id = h.instance_id))",
        not_held = not_held(
            dialect,
            &format!("e.state = 'stopped' OR (e.state = 'failing' AND e.due_at > {now} AND e.due_at <= {far})")
        ),
        pauses = dialect.table("pauses")
    )
}

/// A condition: no event after the checkpoint holds the instance back in this way.
fn not_held(dialect: Dialect, how: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM {held} e WHERE e.instance_id = h.instance_id AND e.projection = k.projection \
         AND e.version = k.version AND e.position > coalesce(s.position, 0) AND ({how}))",
        held = dialect.table("held_events")
    )
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn system(request: &LagRequest) -> &'static str {
    if request.system { "" } else { " AND h.instance_id <> ''" }
}

/// The heads with the states below them, from FROM on, and the beginning of the query. SQLite keeps this order, in
/// which the states of an instance follow each other; otherwise it would read the list for each of them.
fn compared(dialect: Dialect, request: &LagRequest, sql: &mut Sql) -> Result<(String, String), StoreError> {
    let (not, join) = match dialect {
        Dialect::Postgres => ("NOT ", "JOIN"),
        Dialect::Sqlite => ("", "CROSS JOIN"),
    };
    let with = format!("WITH k AS {not}MATERIALIZED ({})", kinds(dialect, request, sql)?);
    let some = if request.instances.is_empty() {
        String::new()
    } else {
        format!(" AND {}", sql.one_of(dialect, "h.instance_id", &request.instances))
    };
    // Most projections name their types, and are found without this look-up.
    let is_every = request.projections.iter().any(|(_, kinds)| EventFilter::lists_every(kinds));
    let or_every = if is_every { " OR k.kind = ''" } else { "" };
    let compared = format!(
        "FROM {heads} h {join} k ON (k.kind = h.aggregate_type{or_every}) LEFT JOIN {states} s \
         ON s.instance_id = h.instance_id AND s.projection = k.projection AND s.version = k.version \
         WHERE h.head > coalesce(s.position, 0){system}{some}",
        heads = dialect.table("heads"),
        states = dialect.table("projection_states"),
        system = system(request),
    );
    Ok((with, compared))
}

/// Each projection by its number, as a query.
fn projections(dialect: Dialect, request: &LagRequest, sql: &mut Sql) -> Result<String, StoreError> {
    let bare = request.projections.iter().map(|(key, _)| (key.clone(), vec![String::new()])).collect();
    kinds(dialect, &LagRequest { projections: bare, ..request.clone() }, sql)
}

/// Each projection with each aggregate type that it wants, as a query. PostgreSQL's planner knows how long arrays are.
fn kinds(dialect: Dialect, request: &LagRequest, sql: &mut Sql) -> Result<String, StoreError> {
    let wanted = (0_i64..).zip(&request.projections);
    let rows: Vec<(i64, &str, u32, &str)> = wanted
        .flat_map(|(number, (key, kinds))| {
            kinds.iter().map(move |kind| (number, &*key.name, key.version, kind.as_str()))
        })
        .collect();
    if dialect == Dialect::Sqlite {
        let json = Value::json(&rows).map_err(|e| StoreError::new("looking for lag", StoreErrorKind::Usage, e))?;
        return Ok(format!(
            "SELECT value ->> 0 AS number, value ->> 1 AS projection, value ->> 2 AS version, value ->> 3 AS kind \
             FROM json_each({})",
            sql.bind(json)
        ));
    }
    let mut array = |texts: Vec<String>| sql.bind(Value::TextArray(texts));
    let (numbers, names) = (
        array(rows.iter().map(|row| row.0.to_string()).collect()),
        array(rows.iter().map(|row| row.1.to_owned()).collect()),
    );
    let (versions, kinds) = (
        array(rows.iter().map(|row| row.2.to_string()).collect()),
        array(rows.iter().map(|row| row.3.to_owned()).collect()),
    );
    Ok(format!(
        "SELECT number, projection COLLATE \"C\" AS projection, version, kind COLLATE \"C\" AS kind \
         FROM unnest({numbers}::int8[], {names}::text[], {versions}::int8[], {kinds}::text[]) \
         AS u(number, projection, version, kind)"
    ))
}
