//! Whether logs are whole: positions have no holes, and no event is above the head of its type.
//!
//! One count shows both. It counts the events of each aggregate type up to its head, along the index of types, and
//! reads only entries of that index. If nothing is missing, there are as many events as positions.

use std::sync::Arc;

use super::{Conn, Row, row};
use crate::error::StoreError;
use crate::query::{Flaw, Span};
use crate::sql::Dialect;
use crate::value::Value;

/// How many spans one statement looks at.
const AT_ONCE: usize = 1_000;

/// How many instances without a counter are reported.
const UNCOUNTED: i64 = 100;

/// Whatever statistics say, the planner takes one instance after the other, and reads only entries of the index.
const BY_THE_INDEX: &str = "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; \
     SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off; SET LOCAL jit = off";

/// How these parts of logs differ from what counters and heads say, at most one flaw for each part. Removed events are
/// not missed.
pub(super) fn flaws(conn: &mut dyn Conn, spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
    let mut flaws = Vec::new();
    if conn.dialect() == Dialect::Postgres {
        conn.batch(BY_THE_INDEX)?;
    }
    for spans in spans.chunks(AT_ONCE) {
        for (span, low) in suspects(conn, spans)? {
            let hole = hole(conn, &span, low)?;
            let behind = hole.is_none();
            if let Some(found) = hole.map_or_else(|| beyond(conn, &span, low), |found| Ok(Some(found)))? {
                flaws.push(Flaw { instance: span.instance, found, behind });
            }
        }
    }
    Ok(flaws)
}

/// The spans whose counts do not fit, each with the position from which to look at it.
fn suspects(conn: &mut dyn Conn, spans: &[Span]) -> Result<Vec<(Span, i64)>, StoreError> {
    let dialect = conn.dialect();
    // It counts per type, so that no plan reads all events for each type.
    let count = |table: &str| {
        format!(
            "(SELECT coalesce(sum((SELECT count(*) FROM {} e WHERE e.instance_id = h.instance_id \
             AND e.aggregate_type = h.aggregate_type AND e.position > c.low AND e.position <= c.upto \
             AND e.position <= h.head)), 0) FROM {} h WHERE h.instance_id = c.instance_id)",
            dialect.table(table),
            dialect.table("heads")
        )
    };
    let low = "CASE WHEN a.after > i.removed THEN a.after ELSE i.removed END";
    let upto = "CASE WHEN a.upto < i.head THEN a.upto ELSE i.head END";
    let asked = match dialect {
        Dialect::Postgres => {
            "(SELECT u.instance_id, u.after::int8 AS after, u.upto::int8 AS upto \
             FROM unnest($1::text[], $2::text[], $3::text[]) AS u(instance_id, after, upto))"
        }
        Dialect::Sqlite => "(SELECT $1 AS instance_id, $2 AS after, $3 AS upto)",
    };
    let sql = format!(
        "SELECT c.instance_id, c.after, c.upto, c.low FROM (SELECT a.instance_id, a.after, {upto} AS upto, {low} AS low \
         FROM {asked} a JOIN {} i ON i.instance_id = a.instance_id) c \
         WHERE c.upto > c.low AND c.upto - c.low <> {} + {}",
        dialect.table("instances"),
        count("events"),
        count("events_archive")
    );
    let mut rows = Vec::new();
    match dialect {
        Dialect::Postgres => {
            let texts = |of: &dyn Fn(&Span) -> String| Value::TextArray(spans.iter().map(of).collect());
            let instances = texts(&|span| span.instance.to_string());
            let params = [instances, texts(&|span| span.after.to_string()), texts(&|span| span.to.to_string())];
            rows.extend(conn.query(&sql, &params)?);
        }
        Dialect::Sqlite => {
            for span in spans {
                let params = [Arc::clone(&span.instance).into(), span.after.into(), span.to.into()];
                rows.extend(conn.query(&sql, &params)?);
            }
        }
    }
    rows.iter()
        .map(|found| {
            let span = Span { instance: row::shared(found, 0)?, after: row::int(found, 1)?, to: row::int(found, 2)? };
            Ok((span, row::int(found, 3)?))
        })
        .collect()
}

/// The first missing positions.
fn hole(conn: &mut dyn Conn, span: &Span, low: i64) -> Result<Option<String>, StoreError> {
    let sql = format!(
        "SELECT s.before, s.position FROM (SELECT e.position, lag(e.position, 1, $2) OVER (ORDER BY e.position) AS before \
         FROM (SELECT position FROM {} WHERE instance_id = $1 AND position > $2 AND position <= $3 \
         UNION ALL SELECT $3 + 1) e) s WHERE s.position > s.before + 1 ORDER BY s.position LIMIT 1",
        conn.dialect().table("all_events")
    );
    let found = conn.query(&sql, &[Arc::clone(&span.instance).into(), low.into(), span.to.into()])?;
    let Some(found) = found.first() else { return Ok(None) };
    let (from, to) = (row::int(found, 0)? + 1, row::int(found, 1)? - 1);
    let one = from == to;
    Ok(Some(if one { format!("event {from} is missing") } else { format!("events {from} to {to} are missing") }))
}

/// An aggregate type that has an event above its head, which no read would find.
fn beyond(conn: &mut dyn Conn, span: &Span, low: i64) -> Result<Option<String>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT e.aggregate_type, max(e.position), coalesce(max(h.head), 0) FROM {} e LEFT JOIN {} h \
         ON h.instance_id = e.instance_id AND h.aggregate_type = e.aggregate_type \
         WHERE e.instance_id = $1 AND e.position > $2 AND e.position <= $3 AND e.position > coalesce(h.head, 0) \
         GROUP BY e.aggregate_type ORDER BY e.aggregate_type LIMIT 1",
        dialect.table("all_events"),
        dialect.table("heads")
    );
    let found = conn.query(&sql, &[Arc::clone(&span.instance).into(), low.into(), span.to.into()])?;
    let Some(found) = found.first() else { return Ok(None) };
    let (kind, last, head) = (row::text(found, 0)?, row::int(found, 1)?, row::int(found, 2)?);
    Ok(Some(format!("aggregate type {kind:?} has event {last}, and its head says {head}")))
}

/// The flaws of whole logs: those of the first instances that together have this many events.
pub(super) fn first_flaws(conn: &mut dyn Conn, events: usize) -> Result<Vec<Flaw>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT s.instance_id, s.head FROM (SELECT instance_id, head, sum(head - removed) OVER (ORDER BY instance_id) AS n \
         FROM {}) s WHERE s.n <= $1 ORDER BY s.instance_id",
        dialect.table("instances")
    );
    let most = i64::try_from(events).unwrap_or(i64::MAX);
    let spans = conn
        .query(&sql, &[most.into()])?
        .iter()
        .map(|found| Ok(Span { instance: row::shared(found, 0)?, after: 0, to: row::int(found, 1)? }))
        .collect::<Result<Vec<_>, StoreError>>()?;
    let mut found = flaws(conn, &spans)?;
    found.extend(hidden(conn, &spans)?);
    found.extend(uncounted(conn)?);
    Ok(found)
}

/// Events that lie above the heads of their instances.
fn hidden(conn: &mut dyn Conn, spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT i.instance_id, i.head, (SELECT max(e.position) FROM {} e WHERE e.instance_id = i.instance_id) FROM {} i \
         WHERE i.closed_at IS NULL AND {} AND EXISTS \
         (SELECT 1 FROM {0} e WHERE e.instance_id = i.instance_id AND e.position > i.head)",
        dialect.table("events"),
        dialect.table("instances"),
        dialect.any("i.instance_id", 1)
    );
    let mut flaws = Vec::new();
    for spans in spans.chunks(AT_ONCE) {
        let names = Value::TextArray(spans.iter().map(|span| span.instance.to_string()).collect());
        for found in conn.query(&sql, &[names])? {
            let found_at = (row::int(&found, 1)?, row::int(&found, 2)?);
            let text = format!("event {} lies above the head, which says {}", found_at.1, found_at.0);
            flaws.push(Flaw { instance: row::shared(&found, 0)?, found: text, behind: true });
        }
    }
    Ok(flaws)
}

/// Instances that have heads but lack the counter that gives positions; a bounded number.
fn uncounted(conn: &mut dyn Conn) -> Result<Vec<Flaw>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT h.instance_id, max(h.head) FROM {} h WHERE NOT EXISTS \
         (SELECT 1 FROM {} i WHERE i.instance_id = h.instance_id) GROUP BY h.instance_id ORDER BY h.instance_id LIMIT $1",
        dialect.table("heads"),
        dialect.table("instances")
    );
    let flaw = |found: &Row| {
        let text = format!("it has a head at {} and no counter", row::int(found, 1)?);
        Ok(Flaw { instance: row::shared(found, 0)?, found: text, behind: true })
    };
    conn.query(&sql, &[UNCOUNTED.into()])?.iter().map(flaw).collect()
}

/// The first of these instances whose counter is below its log, in words.
pub(super) fn behind(conn: &mut dyn Conn, instances: &[Arc<str>]) -> Result<Option<String>, StoreError> {
    let dialect = conn.dialect();
    let sql = format!(
        "SELECT (SELECT max(e.position) FROM {} e WHERE e.instance_id = $1), \
         coalesce((SELECT i.head FROM {} i WHERE i.instance_id = $1), 0)",
        dialect.table("all_events"),
        dialect.table("instances")
    );
    for instance in instances {
        let rows = conn.query(&sql, &[Arc::clone(instance).into()])?;
        let Some(found) = rows.first() else { continue };
        let (last, head) = (row::int_or_zero(found, 0)?, row::int(found, 1)?);
        if last > head {
            return Ok(Some(format!("instance {instance:?} has event {last}, and its counter says {head}")));
        }
    }
    Ok(None)
}
