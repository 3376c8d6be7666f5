//! Counts everything in a few statements, however many instances and builds there are, as long as few instances have
//! anything to tell.
//!
//! One statement finds the instances in which a build lags, is above its head or has been leased for long. Only those
//! are counted pair by pair. In all others each build has handled its head, so the heads alone tell the rest.

use std::collections::HashMap;

use super::census::{Census, Which, store, unsigned};
use super::clause::Sql;
use super::member::{Leases, Of};
use super::standstill;
use super::{Conn, Row, row};
use crate::error::StoreError;
use crate::inspect::{Counts, Part};
use crate::sql::Dialect;

/// The most instances that are counted pair by pair. Where more have something to tell, parts of all are counted.
const NAMED: usize = 1_000;

/// Without this the planner sorts all states.
const WITHOUT_SORT: &str = "SET LOCAL enable_sort = off";
const WITH_SORT: &str = "SET LOCAL enable_sort = on";

impl Census<'_> {
    /// All counts; `None` if too many instances have something to tell. When the builds moved last, and which event
    /// store feeds them, is read only if `moves` asks for it, or if something lags.
    pub(super) fn overview(&self, conn: &mut dyn Conn, moves: bool) -> Result<Option<Vec<Part>>, StoreError> {
        let is_postgres = conn.dialect() == Dialect::Postgres;
        if is_postgres {
            conn.batch(WITHOUT_SORT)?;
        }
        let named = self.remarkable(conn)?;
        if named.len() > NAMED {
            if is_postgres {
                conn.batch(WITH_SORT)?;
            }
            return Ok(None);
        }
        let mut rest = vec![Counts::default(); self.sets.builds.len()];
        self.held(conn, Which::ALL, &mut rest)?;
        self.leases(conn, &mut rest)?;
        self.heads_of_all(conn, &mut rest)?;
        let mut parts = Vec::new();
        if !named.is_empty() {
            if is_postgres {
                conn.batch(WITH_SORT)?;
            }
            let mut counts = self.pairs_of(conn, Which::Only(&named))?;
            for (rest, its) in rest.iter_mut().zip(&mut counts) {
                // The leases of all were counted, and the heads of all.
                its.leases.clear();
                rest.instances = rest.instances.saturating_sub(its.instances);
                rest.handled = rest.handled.saturating_sub(its.handled.saturating_add(its.events));
            }
            parts.push(Part { last: None, at: self.at, counts });
        }
        let lags = parts.iter().any(|part| part.counts.iter().any(|counts| counts.lagging > 0));
        if moves || lags {
            self.moves(conn, &mut rest)?;
        }
        for counts in &mut rest {
            counts.begun = counts.instances;
        }
        parts.push(Part { last: None, at: self.at, counts: rest });
        Ok(Some(parts))
    }

    /// The instances that have something to tell; one more than [`NAMED`] if there are too many.
    fn remarkable(&self, conn: &mut dyn Conn) -> Result<Vec<String>, StoreError> {
        let (dialect, mut sql) = (conn.dialect(), Sql { params: Vec::new(), now: None });
        let [own, at, before, _] = standstill::Of::params(self.own, self.at);
        let (own, at, before) = (sql.bind(own), sql.bind(at), sql.bind(before));
        let heads = self.heads(dialect, &mut sql, &self.sets, Which::ALL)?;
        let (states, instances) = (dialect.table("projection_states"), dialect.table("instances"));
        let most = sql.bind(i64::try_from(NAMED + 1).unwrap_or(i64::MAX));
        let highest = format!("max(CASE WHEN s.store = {own} THEN s.position END)");
        let leased = format!(
            "count(CASE WHEN s.owner IS NOT NULL AND s.leased_until > {at} AND s.leased_at < {before} THEN 1 END)"
        );
        // PostgreSQL goes over the states once. SQLite finds each state by its key, and would go over the builds for each
        // state.
        let text = match dialect {
            Dialect::Postgres => format!(
                "WITH {heads}, b AS MATERIALIZED (SELECT kinds, count(*) AS n FROM k GROUP BY kinds), \
                 g AS MATERIALIZED (SELECT s.instance_id, k.kinds, count(*) AS n, min(s.position) AS lowest, \
                 {highest} AS highest, {leased} AS leased FROM {states} s \
                 JOIN k ON k.projection = s.projection AND k.version = s.version GROUP BY s.instance_id, k.kinds) \
                 SELECT hs.instance_id FROM hs JOIN b ON b.kinds = hs.kinds \
                 LEFT JOIN g ON g.instance_id = hs.instance_id AND g.kinds = hs.kinds \
                 WHERE coalesce(g.n, 0) < b.n OR g.lowest < hs.head \
                 UNION SELECT g.instance_id FROM g LEFT JOIN {instances} i ON i.instance_id = g.instance_id \
                 WHERE g.leased > 0 OR g.highest > coalesce(i.head, 0) LIMIT {most}"
            ),
            Dialect::Sqlite => format!(
                "WITH {heads} SELECT hs.instance_id FROM hs CROSS JOIN k ON k.kinds = hs.kinds \
                 LEFT JOIN {states} s ON s.instance_id = hs.instance_id AND s.projection = k.projection \
                 AND s.version = k.version WHERE s.instance_id IS NULL OR s.position < hs.head \
                 UNION SELECT instance_id FROM (SELECT s.instance_id FROM {states} s GROUP BY s.instance_id \
                 HAVING {leased} > 0 OR {highest} > \
                 coalesce((SELECT i.head FROM {instances} i WHERE i.instance_id = s.instance_id), 0)) LIMIT {most}"
            ),
        };
        conn.query(&text, &sql.params)?.iter().map(|found| row::text(found, 0).map(str::to_owned)).collect()
    }

    /// The heads of all instances, as if each build had handled them.
    fn heads_of_all(&self, conn: &mut dyn Conn, counts: &mut [Counts]) -> Result<(), StoreError> {
        let (dialect, mut sql) = (conn.dialect(), Sql { params: Vec::new(), now: None });
        let heads = self.heads(dialect, &mut sql, &self.sets, Which::ALL)?;
        let text = format!("WITH {heads} SELECT kinds, count(*), CAST(sum(head) AS bigint) FROM hs GROUP BY kinds");
        let mut sums = HashMap::new();
        for found in conn.query(&text, &sql.params)? {
            let set = usize::try_from(row::int(&found, 0)?).unwrap_or(usize::MAX);
            sums.insert(set, (unsigned(&found, 1)?, row::int(&found, 2)?));
        }
        for (counts, set) in counts.iter_mut().zip(&self.sets.of) {
            (counts.instances, counts.handled) = sums.get(set).copied().unwrap_or_default();
        }
        Ok(())
    }

    /// Which process has how many leases.
    fn leases(&self, conn: &mut dyn Conn, counts: &mut [Counts]) -> Result<(), StoreError> {
        let numbers = self.numbers();
        for (Of(name, version), (owner, leases)) in leases(conn)? {
            if let Some(counts) = numbers.get(&(name.as_str(), version)).and_then(|of| counts.get_mut(*of)) {
                counts.leases.push((owner, leases));
            }
        }
        Ok(())
    }

    /// When the builds moved last, and which event store feeds them.
    fn moves(&self, conn: &mut dyn Conn, counts: &mut [Counts]) -> Result<(), StoreError> {
        let dialect = conn.dialect();
        let [own, _, _, believed] = standstill::Of::params(self.own, self.at);
        let other = match dialect {
            Dialect::Postgres => "CAST(store AS text)",
            Dialect::Sqlite => "hex(store)",
        };
        let text = format!(
            "SELECT projection, version, max(CASE WHEN moved_at <= $2 THEN moved_at END), \
             count(CASE WHEN store = $1 THEN 1 END), min(CASE WHEN store <> $1 THEN {other} END) \
             FROM {} GROUP BY projection, version",
            dialect.table("projection_states")
        );
        let numbers = self.numbers();
        for found in conn.query(&text, &[own, believed])? {
            let Of(name, version) = Of::read(&found)?;
            if let Some(counts) = numbers.get(&(name.as_str(), version)).and_then(|of| counts.get_mut(*of)) {
                counts.moved_at = row::time(&found, 2)?;
                counts.fed_here = row::int(&found, 3)? > 0;
                counts.fed_from = store(&found, 4)?;
            }
        }
        Ok(())
    }
}

/// How many leases each process has of each build. An index finds them.
pub(super) fn leases(conn: &mut dyn Conn) -> Result<Vec<(Of, Leases)>, StoreError> {
    let text = format!(
        "SELECT projection, version, owner, count(*) FROM {} WHERE owner IS NOT NULL GROUP BY projection, version, owner",
        conn.dialect().table("projection_states")
    );
    let read = |found: &Row| Ok((Of::read(found)?, (row::uuid(found, 2)?.unwrap_or_default(), unsigned(found, 3)?)));
    conn.query(&text, &[])?.iter().map(read).collect()
}
