//! Counts all builds in all instances: how far they are behind, what is leased, and which events are held. One
//! statement covers a hundred thousand pairs of a build and an instance. A caller that looks once gets an
//! [overview](super::overview) instead, where few instances have anything to tell.
//!
//! Builds that want the same aggregate types have the same heads, so heads are summed up once for each set of types.
//! Each state is read once. A build whose instances all have states needs no look for instances without one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::SystemTime;

use uuid::Uuid;

use super::clause::Sql;
use super::member::Of;
use super::standstill;
use super::{Conn, Row, row, setup};
use crate::builds::Build;
use crate::error::{StoreError, StoreErrorKind};
use crate::inspect::{Asked, Counts, Depth, Leased, Part, Survey};
use crate::query::EventFilter;
use crate::sql::Dialect;
use crate::value::Value;

/// How many pairs of a build and an instance one statement covers, if an instance does not have more builds. This
/// bounds its memory and its time.
const PAIRS: usize = 100_000;

/// For how many lagging pairs of a part the oldest event is read, in all.
const AGED: usize = 2_000;

/// For how many pairs of one build in one part the oldest event is read at least.
const LEAST: usize = 10;

/// Planners take the lists for short ones, and would look up each state on its own.
const GO_OVER_ALL: &str = "SET LOCAL jit = off; SET LOCAL enable_nestloop = off; SET LOCAL work_mem = '32MB'";

/// The builds, grouped by the types that they want.
pub(super) struct Sets<'b> {
    pub(super) builds: &'b [Build],
    types: Vec<&'b [String]>,
    /// The set of each build.
    pub(super) of: Vec<usize>,
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

    /// The rest of a condition on the types, if a set lists every type.
    fn or_every(&self) -> &'static str {
        if self.types.iter().any(|types| EventFilter::lists_every(types)) { " OR c.kind = ''" } else { "" }
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

/// Counts the parts that are due. A judgement reads when builds moved last only if that matters: if something lags, or
/// if a process has noted something.
pub(super) fn count(
    conn: &mut dyn Conn,
    builds: &[Build],
    (system, at, is_noted): (bool, SystemTime, bool),
    survey: &mut Survey,
) -> Result<(), StoreError> {
    let known = |build: &Build| (build.key.clone(), build.aggregate_types.clone(), build.resets);
    let asked = Asked { system, builds: builds.iter().map(known).collect() };
    let due = survey.due(&asked);
    if builds.is_empty() {
        survey.put(due, vec![Part { last: None, at, counts: Vec::new() }]);
        return Ok(());
    }
    let own = setup::store_id(conn)?;
    if conn.dialect() == Dialect::Postgres {
        conn.batch(GO_OVER_ALL)?;
    }
    let census = Census { sets: Sets::of(builds), system, at, own };
    if let Some(depth) = survey.once() {
        let moves = depth == Depth::Figures || is_noted;
        if let Some(parts) = census.overview(conn, moves)? {
            survey.put(due, parts);
            return Ok(());
        }
    }
    // What is due is divided anew: where instances came, a part becomes two, and where they went, two become one.
    let (mut low, end) = (survey.bounds(due.start).0, survey.bounds(due.end.saturating_sub(1)).1);
    let mut parts = Vec::new();
    loop {
        let high = match (census.end(conn, low.as_deref())?, &end) {
            (Some(high), Some(end)) => Some(high.min(end.clone())),
            (high, end) => high.or_else(|| end.clone()),
        };
        parts.push(census.part(conn, low.as_deref(), high.as_deref())?);
        if high == end {
            break;
        }
        low = high;
    }
    survey.put(due, parts);
    Ok(())
}

/// What is counted, and when.
pub(super) struct Census<'b> {
    pub(super) sets: Sets<'b>,
    pub(super) system: bool,
    pub(super) at: SystemTime,
    pub(super) own: Uuid,
}

/// Some instances.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// Those above the first name, up to the other one.
    Between(Option<&'a str>, Option<&'a str>),
    Only(&'a [String]),
}

impl Which<'_> {
    pub(super) const ALL: Self = Self::Between(None, None);
}

/// A condition: the column is one of these instances. It begins with AND.
fn within(dialect: Dialect, sql: &mut Sql, column: &str, which: Which<'_>) -> String {
    let (low, high) = match which {
        Which::Between(low, high) => (low, high),
        Which::Only(names) => {
            sql.params.push(Value::TextArray(names.to_vec()));
            return format!(" AND {}", dialect.any(column, sql.params.len()));
        }
    };
    let mut text = String::new();
    for (bound, is) in [(low, ">"), (high, "<=")] {
        if let Some(bound) = bound {
            let _ = write!(text, " AND {column} {is} {}", sql.bind(bound));
        }
    }
    text
}

impl Census<'_> {
    /// The last instance of a part that begins after this one; `None` if the part has no end. If the events are in
    /// another database, only states tell which instances there are.
    fn end(&self, conn: &mut dyn Conn, low: Option<&str>) -> Result<Option<String>, StoreError> {
        let (dialect, mut sql) = (conn.dialect(), Sql { params: Vec::new(), now: None });
        let within = within(dialect, &mut sql, "instance_id", Which::Between(low, None));
        let bind = |sql: &mut Sql, n: usize| sql.bind(i64::try_from(n).unwrap_or(i64::MAX));
        let each = bind(&mut sql, (PAIRS / self.sets.builds.len().max(1)).max(1) - 1);
        let pairs = bind(&mut sql, PAIRS - 1);
        let nth = |table: &str, n: &str| {
            let table = dialect.table(table);
            format!("(SELECT instance_id FROM {table} WHERE 1 = 1{within} ORDER BY instance_id LIMIT 1 OFFSET {n})")
        };
        let text = format!(
            "SELECT coalesce({}, {}), {}",
            nth("instances", &each),
            nth("projection_states", &pairs),
            nth("held_events", &pairs)
        );
        let rows = conn.query(&text, &sql.params)?;
        let Some(found) = rows.first() else { return Ok(None) };
        let ends = (0..2).filter(|at| !row::is_null(found, *at)).map(|at| row::text(found, at).map(str::to_owned));
        Ok(ends.collect::<Result<Vec<_>, _>>()?.into_iter().min())
    }

    fn part(&self, conn: &mut dyn Conn, low: Option<&str>, high: Option<&str>) -> Result<Part, StoreError> {
        let which = Which::Between(low, high);
        let mut counts = self.pairs_of(conn, which)?;
        self.held(conn, which, &mut counts)?;
        Ok(Part { last: high.map(str::to_owned), at: self.at, counts })
    }

    /// What heads and states tell.
    pub(super) fn pairs_of(&self, conn: &mut dyn Conn, which: Which<'_>) -> Result<Vec<Counts>, StoreError> {
        let mut counts = vec![Counts::default(); self.sets.builds.len()];
        self.pairs(conn, which, &mut counts)?;
        if counts.iter().any(|counts| counts.begun < counts.instances) {
            self.not_begun(conn, which, &mut counts)?;
        }
        self.states(conn, which, &mut counts)?;
        Ok(counts)
    }

    /// The lists of builds and types, and the heads of each instance as `hs`.
    pub(super) fn heads(
        &self,
        dialect: Dialect,
        sql: &mut Sql,
        sets: &Sets<'_>,
        which: Which<'_>,
    ) -> Result<String, StoreError> {
        let with = sets.with(dialect, sql)?;
        // SQLite keeps this order.
        let join = if dialect == Dialect::Sqlite { "CROSS JOIN" } else { "JOIN" };
        let system = if self.system { "" } else { " AND h.instance_id <> ''" };
        Ok(format!(
            "{with}, hs AS MATERIALIZED (SELECT h.instance_id, c.kinds, max(h.head) AS head FROM {} h \
             {join} c ON (c.kind = h.aggregate_type{}) WHERE 1 = 1{system}{} GROUP BY h.instance_id, c.kinds)",
            dialect.table("heads"),
            sets.or_every(),
            within(dialect, sql, "h.instance_id", which),
        ))
    }

    /// Number and time of the oldest unhandled event, of the pairs of `l` that have not moved for longest.
    fn oldest(&self, dialect: Dialect, sql: &mut Sql, which: Which<'_>) -> String {
        // Archived events come before all others, and times never decrease with the position.
        let first = |table: &str| {
            format!(
                "(SELECT e.created_at FROM {} e WHERE e.instance_id = h.instance_id AND e.aggregate_type = h.aggregate_type \
                 AND e.position > a.position ORDER BY e.position LIMIT 1)",
                dialect.table(table)
            )
        };
        let join = if dialect == Dialect::Sqlite { "CROSS JOIN" } else { "JOIN" };
        format!(
            "SELECT {OLDEST} AS what, a.number AS number, min(coalesce({archived}, {hot})) AS oldest FROM \
             (SELECT l.*, row_number() OVER (PARTITION BY number ORDER BY moved_at IS NOT NULL, moved_at, instance_id) AS turn \
             FROM l) a {join} c ON c.kinds = a.kinds {join} {heads} h ON h.instance_id = a.instance_id \
             AND (h.aggregate_type = c.kind{or_every}) AND h.head > a.position{within} WHERE a.turn <= {aged} GROUP BY a.number",
            archived = first("events_archive"),
            hot = first("events"),
            heads = dialect.table("heads"),
            or_every = self.sets.or_every(),
            within = within(dialect, sql, "h.instance_id", which),
            aged = (AGED / self.sets.builds.len().max(1)).max(LEAST),
        )
    }

    /// Counts heads and states.
    fn pairs(&self, conn: &mut dyn Conn, which: Which<'_>, counts: &mut [Counts]) -> Result<(), StoreError> {
        let dialect = conn.dialect();
        let mut sql = Sql { params: standstill::Of::params(self.own, self.at).to_vec(), now: None };
        let standstill::Of { ahead, leased } = standstill::Of::with(["$1", "$2", "$3", "$4"]);
        let heads = self.heads(dialect, &mut sql, &self.sets, which)?;
        let (of_state, of_instance) =
            (within(dialect, &mut sql, "s.instance_id", which), within(dialect, &mut sql, "i.instance_id", which));
        let (time, none) = match dialect {
            Dialect::Postgres => ("CAST(NULL AS timestamptz)", "CAST(NULL AS uuid)"),
            Dialect::Sqlite => ("NULL", "NULL"),
        };
        let oldest = self.oldest(dialect, &mut sql, which);
        let (states, instances) = (dialect.table("projection_states"), dialect.table("instances"));
        // PostgreSQL reads all states of the part once; outer joins keep its planner from taking the lists for longer than
        // the states. SQLite would go over the lists for each state. It finds each state by its key instead, and
        // `states` tells it the rest.
        let pairs = match dialect {
            Dialect::Postgres => format!(
                "SELECT k.number, k.kinds, s.instance_id, s.position, hs.head, s.moved_at, s.owner, s.leased_at, \
                 CASE WHEN s.moved_at <= $4 THEN s.moved_at END AS moved, CASE WHEN s.store = $1 THEN 1 END AS here, \
                 CASE WHEN s.store <> $1 THEN CAST(s.store AS text) END AS elsewhere, \
                 CASE WHEN {ahead} THEN s.instance_id END AS ahead, CASE WHEN {leased} THEN s.instance_id END AS leased \
                 FROM {states} s LEFT JOIN k ON k.projection = s.projection AND k.version = s.version \
                 LEFT JOIN hs ON hs.instance_id = s.instance_id AND hs.kinds = k.kinds \
                 LEFT JOIN {instances} i ON i.instance_id = s.instance_id{of_instance} WHERE 1 = 1{of_state}"
            ),
            Dialect::Sqlite => format!(
                "SELECT k.number, k.kinds, s.instance_id, s.position, hs.head, s.moved_at, NULL AS owner, NULL AS leased_at, \
                 NULL AS moved, NULL AS here, NULL AS elsewhere, NULL AS ahead, NULL AS leased \
                 FROM hs CROSS JOIN k ON k.kinds = hs.kinds CROSS JOIN {states} s ON s.instance_id = hs.instance_id \
                 AND s.projection = k.projection AND s.version = k.version"
            ),
        };
        let text = format!(
            "WITH {heads}, p AS MATERIALIZED ({pairs}), \
             l AS (SELECT number, kinds, instance_id, position, moved_at FROM p WHERE position < head) \
             SELECT {HEADS} AS what, kinds AS number, NULL AS oldest, count(*) AS n, CAST(sum(head) AS bigint) AS m, 0 AS handled, \
             {time} AS moved, 0 AS n_ahead, NULL AS ahead, 0 AS n_leased, NULL AS leased, {time} AS since, {none} AS owner, \
             0 AS states, 0 AS here, NULL AS elsewhere FROM hs GROUP BY kinds \
             UNION ALL SELECT {STATES}, number, NULL, count(head), CAST(count(CASE WHEN position >= head THEN 1 END) AS bigint), \
             CAST(sum(CASE WHEN position < head THEN position ELSE head END) AS bigint), max(moved), count(ahead), min(ahead), \
             count(leased), min(leased), min(CASE WHEN leased IS NOT NULL THEN leased_at END), owner, count(*), count(here), \
             min(elsewhere) FROM p WHERE number IS NOT NULL GROUP BY number, owner \
             UNION ALL SELECT what, number, oldest, 0, 0, 0, {time}, 0, NULL, 0, NULL, {time}, {none}, 0, 0, NULL \
             FROM ({oldest}) o"
        );
        let text = if dialect == Dialect::Postgres {
            text.replace("NULL AS oldest", "CAST(NULL AS timestamptz) AS oldest")
        } else {
            text
        };
        let mut heads = HashMap::new();
        for found in conn.query(&text, &sql.params)? {
            let number = usize::try_from(row::int(&found, 1)?).unwrap_or(usize::MAX);
            match row::int(&found, 0)? {
                HEADS => _ = heads.insert(number, (unsigned(&found, 3)?, row::int(&found, 4)?)),
                what => {
                    let Some(counts) = counts.get_mut(number) else { continue };
                    if what == STATES { add(&found, counts)? } else { counts.oldest = row::time(&found, 2)? }
                }
            }
        }
        for (counts, set) in counts.iter_mut().zip(&self.sets.of) {
            let (instances, sum) = heads.get(set).copied().unwrap_or_default();
            // Until here, `lagging` counts the instances that do not lag. An instance without a state lags from its
            // beginning.
            counts.instances = instances;
            counts.lagging = instances.saturating_sub(counts.lagging);
            counts.events = sum.saturating_sub(counts.handled);
        }
        Ok(())
    }

    /// What states tell without their heads, where [`pairs`](Self::pairs) does not read that.
    fn states(&self, conn: &mut dyn Conn, which: Which<'_>, counts: &mut [Counts]) -> Result<(), StoreError> {
        let dialect = conn.dialect();
        if dialect == Dialect::Postgres {
            return Ok(());
        }
        let mut sql = Sql { params: standstill::Of::params(self.own, self.at).to_vec(), now: None };
        let standstill::Of { ahead, leased } = standstill::Of::with(["$1", "$2", "$3", "$4"]);
        let text = format!(
            "SELECT s.projection, s.version, NULL, 0, 0, 0, max(CASE WHEN s.moved_at <= $4 THEN s.moved_at END), \
             count(CASE WHEN {ahead} THEN 1 END), min(CASE WHEN {ahead} THEN s.instance_id END), \
             count(CASE WHEN {leased} THEN 1 END), min(CASE WHEN {leased} THEN s.instance_id END), \
             min(CASE WHEN {leased} THEN s.leased_at END), s.owner, count(*), count(CASE WHEN s.store = $1 THEN 1 END), \
             min(CASE WHEN s.store <> $1 THEN hex(s.store) END) FROM {states} s \
             LEFT JOIN {instances} i ON i.instance_id = s.instance_id WHERE 1 = 1{within} \
             GROUP BY s.projection, s.version, s.owner",
            states = dialect.table("projection_states"),
            instances = dialect.table("instances"),
            within = within(dialect, &mut sql, "s.instance_id", which),
        );
        let numbers = self.numbers();
        for found in conn.query(&text, &sql.params)? {
            let Of(name, version) = Of::read(&found)?;
            let counts = numbers.get(&(name.as_str(), version)).and_then(|number| counts.get_mut(*number));
            counts.map_or(Ok(()), |counts| add(&found, counts))?;
        }
        Ok(())
    }

    /// The number of each build.
    pub(super) fn numbers(&self) -> HashMap<(&str, u32), usize> {
        self.sets.builds().map(|(number, name, version, _)| ((name, version), number)).collect()
    }

    /// The oldest events of instances in which builds have no state.
    fn not_begun(&self, conn: &mut dyn Conn, which: Which<'_>, counts: &mut [Counts]) -> Result<(), StoreError> {
        let (dialect, mut sql) = (conn.dialect(), Sql { params: Vec::new(), now: None });
        let heads = self.heads(dialect, &mut sql, &self.sets, which)?;
        let lacks = counts.iter().enumerate().filter(|(_, counts)| counts.begun < counts.instances);
        sql.params.push(Value::TextArray(lacks.map(|(number, _)| number.to_string()).collect()));
        let is_one = dialect.any("CAST(k.number AS text)", sql.params.len());
        let join = if dialect == Dialect::Sqlite { "CROSS JOIN" } else { "JOIN" };
        let of_state = within(dialect, &mut sql, "s.instance_id", which);
        let oldest = self.oldest(dialect, &mut sql, which);
        let text = format!(
            "WITH {heads}, \
             l AS MATERIALIZED (SELECT k.number, k.kinds, hs.instance_id, 0 AS position, s.moved_at FROM hs {join} k \
             ON k.kinds = hs.kinds LEFT JOIN {states} s ON s.instance_id = hs.instance_id AND s.projection = k.projection \
             AND s.version = k.version{of_state} WHERE s.instance_id IS NULL AND {is_one}) {oldest}",
            states = dialect.table("projection_states"),
        );
        for found in conn.query(&text, &sql.params)? {
            let number = usize::try_from(row::int(&found, 1)?).unwrap_or(usize::MAX);
            if let Some(counts) = counts.get_mut(number) {
                counts.oldest = [counts.oldest, row::time(&found, 2)?].into_iter().flatten().min();
            }
        }
        Ok(())
    }

    pub(super) fn held(&self, conn: &mut dyn Conn, which: Which<'_>, counts: &mut [Counts]) -> Result<(), StoreError> {
        let (dialect, mut sql) = (conn.dialect(), Sql { params: Vec::new(), now: None });
        let text = format!(
            "SELECT projection, version, state, count(*) FROM {} WHERE 1 = 1{} GROUP BY projection, version, state",
            dialect.table("held_events"),
            within(dialect, &mut sql, "instance_id", which)
        );
        let numbers = self.numbers();
        for found in conn.query(&text, &sql.params)? {
            let Of(name, version) = Of::read(&found)?;
            let counts = numbers.get(&(name.as_str(), version)).and_then(|number| counts.get_mut(*number));
            if let Some(counts) = counts {
                counts.held.push((row::text(&found, 2)?.to_owned(), unsigned(&found, 3)?));
            }
        }
        Ok(())
    }
}

/// What a row tells: heads by set of types, states by build and holder, or the oldest event of a build.
const HEADS: i64 = 0;
const STATES: i64 = 1;
const OLDEST: i64 = 2;

pub(super) fn unsigned(found: &Row, at: usize) -> Result<u64, StoreError> {
    Ok(u64::try_from(row::int(found, at)?).unwrap_or(0))
}

/// An event store by its id as a text.
pub(super) fn store(found: &Row, at: usize) -> Result<Option<Uuid>, StoreError> {
    if row::is_null(found, at) {
        return Ok(None);
    }
    Uuid::try_parse(row::text(found, at)?).map(Some).map_err(|error| {
        StoreError::new("reading which event store feeds a projection", StoreErrorKind::Corrupt, error)
    })
}

/// Adds the states that one process holds, or nobody.
fn add(found: &Row, counts: &mut Counts) -> Result<(), StoreError> {
    let text = |at| if row::is_null(found, at) { Ok(None) } else { row::text(found, at).map(|t| Some(t.to_owned())) };
    let (owner, states) = (row::uuid(found, 12)?, unsigned(found, 13)?);
    let (ahead, leased) = (row::int(found, 7)?, row::int(found, 9)?);
    let fed_from = store(found, 15)?;
    counts.add(&Counts {
        begun: unsigned(found, 3)?,
        lagging: unsigned(found, 4)?,
        handled: row::int_or_zero(found, 5)?,
        moved_at: row::time(found, 6)?,
        ahead: text(8)?.map(|first| (ahead, first)),
        leased: match text(10)? {
            Some(instance) => Some(Leased { count: leased, instance, owner, since: row::time(found, 11)? }),
            None => None,
        },
        fed_here: row::int(found, 14)? > 0,
        fed_from,
        leases: owner.map(|owner| (owner, states)).into_iter().collect(),
        ..Counts::default()
    });
    Ok(())
}
