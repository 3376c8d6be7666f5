//! The events above a projection's cursors, by one statement and so from one snapshot.

use std::sync::Arc;
use std::time::SystemTime;

use postgres::types::{FromSql, ToSql, Type};
use postgres::{Column, GenericClient, Row};
use uuid::Uuid;

use super::conn::Session;
use super::error;
use crate::db::row::Fields;
use crate::db::{Conn, EVENT_COLUMNS, row};
use crate::error::StoreError;
use crate::query::{ReadRequest, Slice};

/// Columns of a row before those of its event.
const BEFORE_EVENT: usize = 6;

/// With stale statistics the planner expects few events, and would fetch and sort all that are left for each page.
const ALONG_THE_INDEX: &str = "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SET LOCAL jit = off";

pub(super) fn read<C: GenericClient>(
    session: &mut Session<'_, C>,
    request: &ReadRequest,
) -> Result<Vec<Slice>, StoreError> {
    let instances: Vec<&str> = request.cursors.iter().map(|cursor| cursor.instance.as_ref()).collect();
    let after: Vec<i64> = request.cursors.iter().map(|cursor| cursor.after).collect();
    let limit = i64::try_from(request.limit).unwrap_or(i64::MAX - 1) + 1;
    let max_bytes = i64::try_from(request.max_bytes).unwrap_or(i64::MAX);
    let wanted = &request.wanted;
    let params: [(&(dyn ToSql + Sync), Type); 6] = [
        (&instances, Type::TEXT_ARRAY),
        (&after, Type::INT8_ARRAY),
        (&wanted.aggregate_types, Type::TEXT_ARRAY),
        (&wanted.event_types, Type::TEXT_ARRAY),
        (&limit, Type::INT8),
        (&max_bytes, Type::INT8),
    ];
    session.batch(ALONG_THE_INDEX)?;
    let mut rows = session.rows(&sql(wanted.aggregate_types.len() == 1), &params, "reading events")?;
    sort(&mut rows)?;
    let mut slices: Vec<Slice> = Vec::with_capacity(request.cursors.len());
    let mut current = 0;
    for found in &rows {
        let number = get::<i64>(found, 0)?;
        if number != current {
            current = number;
            slices.push(slice(found, request)?);
        }
        if let Some(slice) = slices.last_mut() {
            add_event(slice, found, request.limit)?;
        }
    }
    Ok(slices)
}

/// By cursor and position, as they mostly come.
fn sort(rows: &mut [Row]) -> Result<(), StoreError> {
    let keys = rows.iter().map(key).collect::<Result<Vec<_>, StoreError>>()?;
    if !keys.is_sorted() {
        rows.sort_by_cached_key(|row| key(row).unwrap_or_default());
    }
    Ok(())
}

fn key(row: &Row) -> Result<(i64, Option<i64>), StoreError> {
    Ok((get(row, 0)?, get(row, BEFORE_EVENT + 1)?))
}

fn get<'r, T: FromSql<'r>>(found: &'r Row, at: usize) -> Result<T, StoreError> {
    found.try_get(at).map_err(|error| error::store("reading a value", &error))
}

/// A row as the driver has it.
struct Found<'r>(&'r Row);

impl Fields for Found<'_> {
    fn text(&self, at: usize) -> Result<&str, StoreError> {
        get(self.0, at)
    }
    fn int(&self, at: usize) -> Result<i64, StoreError> {
        match self.0.columns().get(at).map(Column::type_) {
            Some(&Type::INT4) => get::<i32>(self.0, at).map(i64::from),
            _ => get(self.0, at),
        }
    }
    fn uuid(&self, at: usize) -> Result<Option<Uuid>, StoreError> {
        get(self.0, at)
    }
    fn time(&self, at: usize) -> Result<Option<SystemTime>, StoreError> {
        get(self.0, at)
    }
}

fn slice(found: &Row, request: &ReadRequest) -> Result<Slice, StoreError> {
    let at = usize::try_from(get::<i64>(found, 0)?).unwrap_or(0).saturating_sub(1);
    let cursor = request.cursors.get(at);
    Ok(Slice {
        instance: cursor.map_or_else(|| "".into(), |cursor| Arc::clone(&cursor.instance)),
        after: cursor.map_or(0, |cursor| cursor.after),
        head: get::<Option<i64>>(found, 1)?.unwrap_or(0),
        head_id: get(found, 2)?,
        relevant: get::<Option<i64>>(found, 3)?.unwrap_or(0),
        at: get(found, 4)?,
        events: Vec::new(),
        more: false,
    })
}

/// An event behind the limit, or too many bytes, comes without its payload and only says that there is more.
fn add_event(slice: &mut Slice, found: &Row, limit: usize) -> Result<(), StoreError> {
    if slice.more || get::<Option<&str>>(found, BEFORE_EVENT)?.is_none() {
        return Ok(());
    }
    if slice.events.len() >= limit || !get::<bool>(found, 5)? {
        slice.more = true;
        return Ok(());
    }
    let event = row::event(&Found(found), BEFORE_EVENT, slice.events.last())?;
    slice.events.push(event);
    Ok(())
}

/// With one aggregate type its index gives the order. With several the primary key does (the expression keeps the other
/// index out, which would have to sort everything for each page): each event is looked at once in all.
fn sql(one_type: bool) -> String {
    let by_type = if one_type { "e.aggregate_type = ($3)[1]" } else { "(e.aggregate_type || '') = ANY($3)" };
    let event = EVENT_COLUMNS.split(", ").map(|name| match name {
        "payload" | "metadata" => format!("CASE WHEN s.fits THEN s.{name} END"),
        name => format!("s.{name}"),
    });
    format!(
        "SELECT c.number, i.head, i.head_event, r.relevant, a.event_id, s.fits, {} \
         FROM unnest($1, $2) WITH ORDINALITY AS c(instance_id, after, number) \
         LEFT JOIN readside.instances i ON i.instance_id = c.instance_id \
         LEFT JOIN readside.events a ON a.instance_id = c.instance_id AND a.position = c.after \
         LEFT JOIN LATERAL (SELECT max(h.head) AS relevant FROM readside.heads h \
           WHERE h.instance_id = c.instance_id AND h.aggregate_type = ANY($3)) r ON TRUE \
         LEFT JOIN LATERAL (SELECT n.*, row_number() OVER w = 1 \
             OR sum(octet_length(n.payload) + octet_length(n.metadata)) OVER w <= $6 AS fits \
           FROM (SELECT {EVENT_COLUMNS} FROM readside.events e WHERE r.relevant > c.after \
             AND e.instance_id = c.instance_id AND e.position > c.after AND e.position <= r.relevant \
             AND {by_type} AND e.event_type = ANY($4) ORDER BY e.position LIMIT $5) n \
           WINDOW w AS (ORDER BY n.position ROWS UNBOUNDED PRECEDING)) s ON TRUE",
        event.collect::<Vec<_>>().join(", ")
    )
}
