//! How far all builds are behind in all instances. One query covers a thousand instances, however many builds there
//! are.
//!
//! Builds that want the same aggregate types have the same heads, so heads are summed up once for each set of types.
//! The database looks one by one only at the pairs of a build and an instance that lag.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use super::clause::Sql;
use super::{Conn, Row, row};
use crate::builds::Build;
use crate::error::{StoreError, StoreErrorKind};
use crate::query::EventFilter;
use crate::sql::Dialect;
use crate::value::Value;

/// How many instances one query covers. This bounds its memory and its time.
const SLICE: i64 = 1_000;

/// For how many lagging pairs the oldest event is read, in all.
const AGED: usize = 10_000;

/// For how many pairs of one build in one slice the oldest event is read at least.
const LEAST: usize = 10;

/// Planners take the lists for short ones, and would look up each state on its own.
const GO_OVER_ALL: &str = "SET LOCAL jit = off; SET LOCAL enable_nestloop = off; SET LOCAL work_mem = '32MB'";

/// How far a build is behind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lag {
    /// Instances with events that concern it.
    pub(super) instances: u64,
    pub(super) lagging: u64,
    /// How many positions these are behind.
    pub(super) events: i64,
    /// How many positions are handled.
    pub(super) handled: i64,
    /// When the oldest unhandled event was stored.
    pub(super) oldest: Option<SystemTime>,
}

/// The builds, grouped by the types that they want.
struct Sets<'b> {
    builds: &'b [Build],
    types: Vec<&'b [String]>,
    /// The set of each build.
    of: Vec<usize>,
}

impl<'b> Sets<'b> {
    fn of(builds: &'b [Build]) -> Self {
        let (mut sets, mut of, mut known) = (Vec::new(), Vec::with_capacity(builds.len()), BTreeMap::new());
        for build in builds {
            let types = build.aggregate_types.as_slice();
            of.push(*known.entry(types).or_insert_with(|| {
                sets.push(types);
                sets.len() - 1
            }));
        }
        Self { builds, types: sets, of }
    }

    /// Number, name, version and set of each build.
    fn builds(&self) -> impl Iterator<Item = (usize, &'b str, u32, usize)> {
        let all = self.builds.iter().zip(&self.of).enumerate();
        all.map(|(number, (build, set))| (number, &*build.key.name, build.key.version, *set))
    }

    /// Each type of each set. A set that lists every type gives one entry, so that no head counts twice.
    fn kinds(&self) -> impl Iterator<Item = (usize, &'b str)> {
        self.types.iter().enumerate().flat_map(|(set, types)| {
            let is_every = EventFilter::lists_every(types);
            let every = is_every.then_some((set, EventFilter::EVERY)).into_iter();
            every.chain(types.iter().filter(move |_| !is_every).map(move |kind| (set, kind.as_str())))
        })
    }

    fn has_every(&self) -> bool {
        self.types.iter().any(|types| EventFilter::lists_every(types))
    }

    /// Both lists as the beginning of a query: `k` with `number`, `projection`, `version` and `kinds`, `c` with `kinds`
    /// and `kind`.
    fn with(&self, dialect: Dialect, sql: &mut Sql) -> Result<String, StoreError> {
        if dialect == Dialect::Sqlite {
            let failed = |error| StoreError::new("summing up lag", StoreErrorKind::Usage, error);
            let builds = sql.bind(Value::json(&self.builds().collect::<Vec<_>>()).map_err(failed)?);
            let kinds = sql.bind(Value::json(&self.kinds().collect::<Vec<_>>()).map_err(failed)?);
            return Ok(format!(
                "k AS MATERIALIZED (SELECT value ->> 0 AS number, value ->> 1 AS projection, value ->> 2 AS version, \
                 value ->> 3 AS kinds FROM json_each({builds})), \
                 c AS MATERIALIZED (SELECT value ->> 0 AS kinds, value ->> 1 AS kind FROM json_each({kinds}))"
            ));
        }
        let mut array = |texts: Vec<String>| sql.bind(Value::TextArray(texts));
        let numbers = array(self.builds().map(|build| build.0.to_string()).collect());
        let names = array(self.builds().map(|build| build.1.to_owned()).collect());
        let versions = array(self.builds().map(|build| build.2.to_string()).collect());
        let wanted = array(self.builds().map(|build| build.3.to_string()).collect());
        let sets = array(self.kinds().map(|kind| kind.0.to_string()).collect());
        let kinds = array(self.kinds().map(|kind| kind.1.to_owned()).collect());
        Ok(format!(
            "k AS MATERIALIZED (SELECT number, projection COLLATE \"C\" AS projection, version, kinds \
             FROM unnest({numbers}::int8[], {names}::text[], {versions}::int8[], {wanted}::int8[]) \
             AS u(number, projection, version, kinds)), \
             c AS MATERIALIZED (SELECT kinds, kind COLLATE \"C\" AS kind \
             FROM unnest({sets}::int8[], {kinds}::text[]) AS u(kinds, kind))"
        ))
    }
}

/// The lag of each of these builds. Counts the system instance only if `system` is true.
pub(super) fn lags(conn: &mut dyn Conn, builds: &[Build], system: bool) -> Result<Vec<Lag>, StoreError> {
    let mut lags = vec![Lag::default(); builds.len()];
    if builds.is_empty() {
        return Ok(lags);
    }
    if conn.dialect() == Dialect::Postgres {
        conn.batch(GO_OVER_ALL)?;
    }
    let (sets, ends) = (Sets::of(builds), ends(conn)?);
    let slices = ends.len() + 1;
    let aged = (AGED / builds.len() / slices).max(LEAST);
    let mut low: Option<&str> = None;
    for high in ends.iter().map(|end| Some(end.as_str())).chain([None]) {
        slice(conn, &sets, (low, high), (system, aged), &mut lags)?;
        low = high;
    }
    Ok(lags)
}

/// The last instance of each slice but the last one.
fn ends(conn: &mut dyn Conn) -> Result<Vec<String>, StoreError> {
    let sql = format!(
        "SELECT instance_id FROM (SELECT instance_id, row_number() OVER (ORDER BY instance_id) AS n FROM {}) i \
         WHERE n % {SLICE} = 0 ORDER BY instance_id",
        conn.dialect().table("instances")
    );
    conn.query(&sql, &[])?.iter().map(|found| row::text(found, 0).map(str::to_owned)).collect()
}

/// Adds the lag of the instances above `low`, up to `high`.
fn slice(
    conn: &mut dyn Conn,
    sets: &Sets<'_>,
    (low, high): (Option<&str>, Option<&str>),
    (system, aged): (bool, usize),
    lags: &mut [Lag],
) -> Result<(), StoreError> {
    let dialect = conn.dialect();
    let mut sql = Sql { params: Vec::new(), now: None };
    let with = sets.with(dialect, &mut sql)?;
    // SQLite keeps this order, in which the states of an instance follow each other.
    let join = if dialect == Dialect::Sqlite { "CROSS JOIN" } else { "JOIN" };
    let or_every = if sets.has_every() { " OR c.kind = ''" } else { "" };
    let mut within = if system { String::new() } else { " AND h.instance_id <> ''".to_owned() };
    let mut state_within = String::new();
    for (bound, is) in [(low, ">"), (high, "<=")] {
        if let Some(bound) = bound {
            let bound = sql.bind(bound);
            let _ = write!(within, " AND h.instance_id {is} {bound}");
            let _ = write!(state_within, " AND s.instance_id {is} {bound}");
        }
    }
    // Archived events come before all others, and times never decrease with the position.
    let first = |table: &str| {
        format!(
            "(SELECT e.created_at FROM {} e WHERE e.instance_id = h.instance_id AND e.aggregate_type = h.aggregate_type \
             AND e.position > a.position ORDER BY e.position LIMIT 1)",
            dialect.table(table)
        )
    };
    let time = if dialect == Dialect::Postgres { "CAST(NULL AS timestamptz)" } else { "NULL" };
    let text = format!(
        "WITH {with}, \
         hs AS MATERIALIZED (SELECT h.instance_id, c.kinds, max(h.head) AS head FROM {heads} h \
         {join} c ON (c.kind = h.aggregate_type{or_every}) WHERE 1 = 1{within} GROUP BY h.instance_id, c.kinds), \
         l AS MATERIALIZED (SELECT k.number, k.kinds, hs.instance_id, hs.head, coalesce(s.position, 0) AS position, \
         s.moved_at FROM hs {join} k ON k.kinds = hs.kinds LEFT JOIN {states} s ON s.instance_id = hs.instance_id \
         AND s.projection = k.projection AND s.version = k.version{state_within} \
         WHERE hs.head > coalesce(s.position, 0)) \
         SELECT 0 AS what, kinds AS number, count(*) AS n, CAST(sum(head) AS bigint) AS m, {time} AS oldest \
         FROM hs GROUP BY kinds \
         UNION ALL SELECT 1, number, count(*), CAST(sum(head - position) AS bigint), {time} FROM l GROUP BY number \
         UNION ALL SELECT 2, a.number, 0, 0, min(coalesce({archived}, {hot})) FROM \
         (SELECT l.*, row_number() OVER (PARTITION BY number ORDER BY moved_at IS NOT NULL, moved_at, instance_id) AS turn \
         FROM l) a {join} c ON c.kinds = a.kinds {join} {heads} h ON h.instance_id = a.instance_id \
         AND (h.aggregate_type = c.kind{or_every}) AND h.head > a.position{within} WHERE a.turn <= {aged} GROUP BY a.number",
        heads = dialect.table("heads"),
        states = dialect.table("projection_states"),
        archived = first("events_archive"),
        hot = first("events"),
    );
    for found in conn.query(&text, &sql.params)? {
        add(&found, sets, lags)?;
    }
    Ok(())
}

fn add(found: &Row, sets: &Sets<'_>, lags: &mut [Lag]) -> Result<(), StoreError> {
    let number = usize::try_from(row::int(found, 1)?).unwrap_or(usize::MAX);
    let (count, sum) = (u64::try_from(row::int(found, 2)?).unwrap_or(0), row::int(found, 3)?);
    match row::int(found, 0)? {
        0 => {
            for (lag, _) in lags.iter_mut().zip(&sets.of).filter(|(_, set)| **set == number) {
                lag.instances += count;
                lag.handled = lag.handled.saturating_add(sum);
            }
        }
        what => {
            let Some(lag) = lags.get_mut(number) else { return Ok(()) };
            if what == 1 {
                lag.lagging += count;
                lag.events = lag.events.saturating_add(sum);
                // Until here all heads count as handled.
                lag.handled = lag.handled.saturating_sub(sum);
            } else {
                let oldest = row::time(found, 4)?;
                lag.oldest = [lag.oldest, oldest].into_iter().flatten().min();
            }
        }
    }
    Ok(())
}
