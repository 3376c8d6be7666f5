//! Reads for people and services: filters, instance ids, heads.

use std::sync::Arc;

use super::row::{self, EVENT_COLUMNS};
use super::{Conn, Row};
use crate::error::StoreError;
use crate::event::Event;
use crate::query::{Head, HeadsRequest, Query, SubQuery};
use crate::sql::Dialect;
use crate::value::Value;

/// How many events a read looks at for their sizes before it reads them.
const MOST_SIZES: usize = 10_000;

/// Conditions while they are built, with their parameters.
struct Where {
    dialect: Dialect,
    params: Vec<Value>,
}

impl Where {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, params: Vec::new() }
    }

    /// Binds a value and returns its number.
    fn bind(&mut self, value: Value) -> usize {
        self.params.push(value);
        self.params.len()
    }

    fn one_of(&mut self, parts: &mut Vec<String>, column: &str, values: &[String], wanted: bool) {
        if values.is_empty() {
            return;
        }
        let at = self.bind(Value::TextArray(values.to_vec()));
        let any = self.dialect.any(column, at);
        parts.push(if wanted { any } else { format!("NOT ({any})") });
    }

    fn compare(&mut self, parts: &mut Vec<String>, left: &str, value: Option<Value>) {
        if let Some(value) = value {
            let at = self.bind(value);
            parts.push(format!("{left} ${at}"));
        }
    }

    fn sub(&mut self, sub: &SubQuery) -> String {
        let mut parts = Vec::new();
        self.one_of(&mut parts, "instance_id", &sub.instances, true);
        self.one_of(&mut parts, "instance_id", &sub.not_instances, false);
        self.one_of(&mut parts, "aggregate_type", &sub.aggregate_types, true);
        self.one_of(&mut parts, "aggregate_type", &sub.not_aggregate_types, false);
        self.one_of(&mut parts, "aggregate_id", &sub.aggregate_ids, true);
        self.one_of(&mut parts, "event_type", &sub.event_types, true);
        self.one_of(&mut parts, "event_type", &sub.not_event_types, false);
        self.one_of(&mut parts, "owner", &sub.owners, true);
        self.one_of(&mut parts, "creator", &sub.creators, true);
        self.compare(&mut parts, "position >", sub.after.map(Value::from));
        self.compare(&mut parts, "position <", sub.before.map(Value::from));
        self.compare(&mut parts, "created_at >", sub.created_after.map(Value::from));
        self.compare(&mut parts, "created_at <", sub.created_before.map(Value::from));
        if parts.is_empty() { "TRUE".to_owned() } else { parts.join(" AND ") }
    }

    fn query(&mut self, query: &Query) -> String {
        if query.any.is_empty() {
            return "TRUE".to_owned();
        }
        let subs: Vec<String> = query.any.iter().map(|sub| format!("({})", self.sub(sub))).collect();
        format!("({})", subs.join(" OR "))
    }

    fn limit(&mut self, limit: usize) -> String {
        if limit == 0 {
            return String::new();
        }
        let at = self.bind(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        format!(" LIMIT ${at}")
    }
}

/// The events that a query finds.
pub(crate) fn filter(conn: &mut dyn Conn, query: &Query) -> Result<Vec<Event>, StoreError> {
    let limit = if query.max_bytes == 0 { query.limit } else { fitting(conn, query)? };
    if limit == 0 && query.max_bytes > 0 {
        return Ok(Vec::new());
    }
    row::events(&select(conn, EVENT_COLUMNS, query, limit)?)
}

/// How many of the events that a query finds fit into one page. It learns their sizes without reading them.
fn fitting(conn: &mut dyn Conn, query: &Query) -> Result<usize, StoreError> {
    // Above this number a page is cut too, so that the list of sizes is bounded as well.
    let limit = if query.limit == 0 { MOST_SIZES } else { query.limit.min(MOST_SIZES) };
    let (mut bytes, mut count) = (0_usize, 0);
    // The columns include those to sort by. Otherwise SQLite would sort all remaining events for each page.
    let columns = "octet_length(payload) + octet_length(metadata), instance_id, position";
    for found in select(conn, columns, query, limit)? {
        bytes = bytes.saturating_add(usize::try_from(row::int(&found, 0)?).unwrap_or(0));
        if bytes > query.max_bytes && count > 0 {
            break;
        }
        count += 1;
    }
    Ok(count)
}

/// These columns of the first events that a query finds.
fn select(conn: &mut dyn Conn, columns: &str, query: &Query, limit: usize) -> Result<Vec<Row>, StoreError> {
    let dialect = conn.dialect();
    let mut sql = Where::new(dialect);
    let mut text = format!("SELECT {columns} FROM {} WHERE {}", dialect.table("all_events"), sql.query(query));
    let (order, than) = if query.descending { ("DESC", "<") } else { ("ASC", ">") };
    if let Some((instance, position)) = &query.resume {
        let (i, p) = (sql.bind(instance.as_str().into()), sql.bind((*position).into()));
        text += format!(" AND (instance_id, position) {than} (${i}, ${p})").as_str();
    }
    text += format!(" ORDER BY instance_id {order}, position {order}").as_str();
    text.push_str(&sql.limit(limit));
    conn.query(&text, &sql.params)
}

/// The instances of the events that a query finds. It reads each table on its own, along its index if the query allows
/// that.
pub(crate) fn instance_ids(conn: &mut dyn Conn, query: &Query) -> Result<Vec<Arc<str>>, StoreError> {
    let dialect = conn.dialect();
    let mut sql = Where::new(dialect);
    let order = if query.descending { "DESC" } else { "ASC" };
    let condition = sql.query(query);
    let found = |table| format!("SELECT DISTINCT instance_id FROM {} WHERE {condition}", dialect.table(table));
    let mut text = format!("{} UNION {} ORDER BY instance_id {order}", found("events"), found("events_archive"));
    text.push_str(&sql.limit(query.limit));
    conn.query(&text, &sql.params)?.iter().map(|found| row::shared(found, 0)).collect()
}

/// A page of heads.
pub(crate) fn heads(conn: &mut dyn Conn, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
    let dialect = conn.dialect();
    let mut sql = Where::new(dialect);
    let relevant = if request.aggregate_types.is_empty() {
        "i.head".to_owned()
    } else {
        let at = sql.bind(Value::TextArray(request.aggregate_types.clone()));
        format!(
            "(SELECT max(h.head) FROM {} h WHERE h.instance_id = i.instance_id AND {})",
            dialect.table("heads"),
            dialect.any_type("h.aggregate_type", at, &request.aggregate_types)
        )
    };
    let mut parts = vec!["i.head > i.removed".to_owned()];
    let instances: Vec<String> = request.instances.iter().map(ToString::to_string).collect();
    sql.one_of(&mut parts, "i.instance_id", &instances, true);
    sql.compare(&mut parts, "i.instance_id >", request.after.as_deref().map(Value::from));
    let mut text = format!(
        "SELECT i.instance_id, i.head, {relevant} FROM {} i WHERE {} ORDER BY i.instance_id",
        dialect.table("instances"),
        parts.join(" AND ")
    );
    text.push_str(&sql.limit(request.limit));
    conn.query(&text, &sql.params)?
        .iter()
        .map(|found| {
            Ok(Head {
                instance: row::shared(found, 0)?,
                head: row::int(found, 1)?,
                relevant: row::int_or_zero(found, 2)?,
            })
        })
        .collect()
}
