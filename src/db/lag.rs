//! Where projections are behind: heads against states, in two steps, and what tells that nothing can have begun to lag.
//!
//! The first step finds the instances in which anything lags by going over all states once; the second one looks at the
//! pairs of those few, with all that may keep a pair from being worked on.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::lease::Sql;
use super::{Conn, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::lease::{Lag, LagRequest};
use crate::sql::Dialect;
use crate::value::Value;

/// Without it the planner sorts a million states, or spends longer on compiling than on reading them.
const GO_OVER_ALL: &str = "SET LOCAL jit = off; SET LOCAL enable_sort = off; SET LOCAL work_mem = '32MB'";

/// A text that is another one after each push and after each transaction that moved a checkpoint back.
///
/// Heads only grow and their rows stay, so every push changes their sum; it is taken in two halves, which cannot overflow.
/// `setbacks` are changed by the database itself, in the transaction that sets a state back.
pub(crate) fn signs(conn: &mut dyn Conn) -> Result<String, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT '' AS name, 0 AS version, CAST(coalesce(sum(head >> 32), 0) AS bigint), \
         CAST(coalesce(sum(head & 4294967295), 0) AS bigint) FROM {} \
         UNION ALL SELECT name, version, setbacks, 0 FROM {} ORDER BY 1, 2",
        dialect.table("instances"),
        dialect.table("projections")
    );
    let mut signs = String::new();
    for found in conn.query(&sql, &[])? {
        let (version, first, second) = (row::int(&found, 1)?, row::int(&found, 2)?, row::int(&found, 3)?);
        let _ = write!(signs, "{:?} {version} {first} {second};", row::text(&found, 0)?);
    }
    Ok(signs)
}

/// Instances in which any of these projections is behind, whatever keeps it from being worked on.
pub(crate) fn behind(conn: &mut dyn Conn, request: &LagRequest) -> Result<Vec<Arc<str>>, StoreError> {
    let dialect = conn.dialect();
    let mut sql = Sql::new(conn)?;
    let asked = asked(dialect, request, &mut sql)?;
    let states = dialect.table("projection_states");
    let limit = limit(request, &mut sql);
    let text = match dialect {
        // The states of an instance with the same types are counted: one that is missing is behind.
        Dialect::Postgres => {
            conn.batch(GO_OVER_ALL)?;
            let some = among(dialect, request, "s.instance_id", &mut sql);
            format!(
                "{asked}, done AS MATERIALIZED (SELECT s.instance_id, w.types, count(*) AS n, min(s.position) AS position \
                 FROM {states} s JOIN wanted w ON w.projection = s.projection AND w.version = s.version \
                 WHERE TRUE{some} GROUP BY 1, 2), \
                 sized AS (SELECT types, count(*) AS n FROM wanted GROUP BY 1) \
                 SELECT DISTINCT r.instance_id FROM relevant r JOIN sized z ON z.types = r.types \
                 LEFT JOIN done d ON d.types = r.types AND d.instance_id = r.instance_id \
                 WHERE d.n IS NULL OR d.n < z.n OR d.position < r.head LIMIT {limit}"
            )
        }
        Dialect::Sqlite => format!(
            "{asked} SELECT DISTINCT r.instance_id FROM relevant r CROSS JOIN wanted w ON w.types = r.types \
             LEFT JOIN {states} s ON s.instance_id = r.instance_id AND s.projection = w.projection \
             AND s.version = w.version WHERE r.head > coalesce(s.position, 0) LIMIT {limit}"
        ),
    };
    conn.query(&text, &sql.params)?.iter().map(|found| row::shared(found, 0)).collect()
}

/// The pairs that lag and that nobody else works on.
pub(crate) fn lagging(conn: &mut dyn Conn, request: &LagRequest) -> Result<Vec<Lag>, StoreError> {
    if !request.instances.is_empty() {
        return pairs(conn, request);
    }
    let behind = behind(conn, request)?;
    match behind.len() {
        0 => Ok(Vec::new()),
        // There may be more, and those found may all have to wait.
        found if found >= request.limit => pairs(conn, request),
        _ => pairs(conn, &LagRequest { instances: behind, ..request.clone() }),
    }
}

fn pairs(conn: &mut dyn Conn, request: &LagRequest) -> Result<Vec<Lag>, StoreError> {
    let dialect = conn.dialect();
    let mut sql = Sql::new(conn)?;
    let asked = asked(dialect, request, &mut sql)?;
    let free = if request.all { String::new() } else { free(dialect, request, &mut sql) };
    let limit = limit(request, &mut sql);
    let join = if dialect == Dialect::Sqlite { "CROSS JOIN" } else { "JOIN" };
    let text = format!(
        "{asked} SELECT w.number, r.instance_id, r.head, coalesce(s.position, 0) \
         FROM relevant r {join} wanted w ON w.types = r.types \
         LEFT JOIN {states} s ON s.instance_id = r.instance_id AND s.projection = w.projection AND s.version = w.version \
         WHERE r.head > coalesce(s.position, 0){free} LIMIT {limit}",
        states = dialect.table("projection_states"),
    );
    conn.query(&text, &sql.params)?
        .iter()
        .map(|found| {
            Ok(Lag {
                projection: usize::try_from(row::int(found, 0)?).unwrap_or(usize::MAX),
                instance: row::shared(found, 1)?,
                relevant: row::int(found, 2)?,
                checkpoint: row::int(found, 3)?,
            })
        })
        .collect()
}

/// That nobody else has the lease, and nothing has to wait or is paused.
fn free(dialect: Dialect, request: &LagRequest, sql: &mut Sql) -> String {
    let (me, now, far) = (sql.bind(request.owner), sql.now(), sql.after(request.longest_wait));
    let over = sql.over("s.leased_until", request.lease);
    format!(
        " AND (s.owner IS NULL OR s.owner = {me} OR {over}) \
         AND NOT EXISTS (SELECT 1 FROM {held} e WHERE e.instance_id = r.instance_id AND e.projection = w.projection \
         AND e.version = w.version AND e.position > coalesce(s.position, 0) \
         AND (e.state = 'stopped' OR (e.state = 'failing' AND e.due_at > {now} AND e.due_at <= {far}))) \
         AND NOT EXISTS (SELECT 1 FROM {pauses} p WHERE p.projection = w.projection \
         AND (p.whole OR p.instance_id = r.instance_id))",
        held = dialect.table("held_events"),
        pauses = dialect.table("pauses")
    )
}

fn limit(request: &LagRequest, sql: &mut Sql) -> String {
    sql.bind(i64::try_from(request.limit).unwrap_or(i64::MAX))
}

/// The condition that an instance is one of those asked for.
fn among(dialect: Dialect, request: &LagRequest, column: &str, sql: &mut Sql) -> String {
    if request.instances.is_empty() {
        return String::new();
    }
    format!(" AND {}", sql.one_of(dialect, column, &request.instances))
}

/// `wanted`: the projections, each with the number of its set of aggregate types; `relevant`: the highest head of each
/// such set in each instance.
fn asked(dialect: Dialect, request: &LagRequest, sql: &mut Sql) -> Result<String, StoreError> {
    let mut sets: BTreeMap<Vec<&str>, i64> = BTreeMap::new();
    let mut wanted: Vec<(i64, &str, i64, i64)> = Vec::new();
    for (number, (key, types)) in (0_i64..).zip(&request.projections) {
        let mut types: Vec<&str> = types.iter().map(String::as_str).collect();
        types.sort_unstable();
        types.dedup();
        let next = i64::try_from(sets.len()).unwrap_or(i64::MAX);
        let set = *sets.entry(types).or_insert(next);
        wanted.push((number, &*key.name, i64::from(key.version), set));
    }
    let members = sets.iter().flat_map(|(types, set)| types.iter().map(|kind| (*set, *kind)));
    let (wanted, typed) = rows(dialect, &wanted, &members.collect::<Vec<_>>(), sql)?;
    let system = if request.system { "" } else { " AND h.instance_id <> ''" };
    let some = among(dialect, request, "h.instance_id", sql);
    // A plan made for a table of unknown size is no good on PostgreSQL; SQLite would read the list for each instance.
    let not = if dialect == Dialect::Postgres { "NOT " } else { "" };
    Ok(format!(
        "WITH wanted AS {not}MATERIALIZED ({wanted}), relevant AS MATERIALIZED (\
         SELECT k.types, h.instance_id, max(h.head) AS head FROM ({typed}) k \
         JOIN {heads} h ON h.aggregate_type = k.kind WHERE TRUE{system}{some} GROUP BY 1, 2)",
        heads = dialect.table("heads")
    ))
}

/// Both tables as queries. PostgreSQL's planner knows how long arrays are.
fn rows(
    dialect: Dialect,
    wanted: &[(i64, &str, i64, i64)],
    members: &[(i64, &str)],
    sql: &mut Sql,
) -> Result<(String, String), StoreError> {
    if dialect == Dialect::Sqlite {
        let json =
            |rows: Result<Value, _>| rows.map_err(|e| StoreError::new("looking for lag", StoreErrorKind::Usage, e));
        let (wanted, members) = (sql.bind(json(Value::json(wanted))?), sql.bind(json(Value::json(members))?));
        return Ok((
            format!(
                "SELECT value ->> 0 AS number, value ->> 1 AS projection, value ->> 2 AS version, value ->> 3 AS types \
                 FROM json_each({wanted})"
            ),
            format!("SELECT value ->> 0 AS types, value ->> 1 AS kind FROM json_each({members})"),
        ));
    }
    let mut array = |texts: Vec<String>| sql.bind(Value::TextArray(texts));
    let number = array(wanted.iter().map(|row| row.0.to_string()).collect());
    let projection = array(wanted.iter().map(|row| row.1.to_owned()).collect());
    let version = array(wanted.iter().map(|row| row.2.to_string()).collect());
    let types = array(wanted.iter().map(|row| row.3.to_string()).collect());
    let set = array(members.iter().map(|row| row.0.to_string()).collect());
    let kind = array(members.iter().map(|row| row.1.to_owned()).collect());
    Ok((
        format!(
            "SELECT number, projection COLLATE \"C\" AS projection, version, types FROM unnest({number}::int8[], \
             {projection}::text[], {version}::int8[], {types}::int8[]) AS u(number, projection, version, types)"
        ),
        format!(
            "SELECT types, kind COLLATE \"C\" AS kind FROM unnest({set}::int8[], {kind}::text[]) AS u(types, kind)"
        ),
    ))
}
