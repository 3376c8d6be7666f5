//! Reads the events above a projection's cursors: first the head of each instance, then the events up to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use postgres::types::{FromSql, ToSql, Type};
use postgres::{Column, GenericClient, Row};
use uuid::Uuid;

use super::error;
use super::session::Session;
use crate::db::row::Fields;
use crate::db::{Conn, EventBatches, row};
use crate::error::StoreError;
use crate::event::{Event, Which};
use crate::query::{EventBatch, EventFilter, ReadRequest};
use crate::sql::Dialect;

/// The columns of a row before those of its event. There is one: the number of its slice.
const BEFORE_EVENT: usize = 1;

/// Marks a payload or metadata that is too large for the first read. Its size in bytes follows. No JSON text begins
/// with this character.
const SIZE_ONLY: char = '@';

/// Heads, events and the archive are read as of one moment.
const ONE_SNAPSHOT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// Makes the planner find everything along an index. With stale statistics it expects few events. It would then fetch
/// and sort all remaining events for each page, and read the rows of every instance when many are asked for.
const ALONG_THE_INDEX: &str = "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SET LOCAL jit = off; \
     SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// The largest number of rows in one read, unless a single slice may have more.
const MOST_ROWS: usize = 5_000;

const EVENTS: &str = "readside.events";

/// The table of events up to the position that the instance's row names.
const ARCHIVE: &str = "readside.events_archive";

/// A parameter with its type.
type TypedParam<'p> = (&'p (dyn ToSql + Sync), Type);

pub(super) fn read<C: GenericClient>(
    session: &mut Session<'_, C>,
    request: &ReadRequest,
) -> Result<EventBatches, StoreError> {
    session.batch(&format!("{ONE_SNAPSHOT}; {ALONG_THE_INDEX}"))?;
    let InstancePlaces { mut slices, archived, store } = places(session, request)?;
    let lags = |(_, slice): &(usize, &EventBatch)| slice.relevant > slice.after;
    let lagging: Vec<usize> = slices.iter().enumerate().filter(lags).map(|(at, _)| at).collect();
    if lagging.is_empty() {
        return Ok(EventBatches { slices, store });
    }
    let is_old = |at: &usize| slices.get(*at).zip(archived.get(*at)).is_some_and(|(slice, to)| slice.after < *to);
    let old: Vec<usize> = lagging.iter().copied().filter(is_old).collect();
    let large = large(request, &slices);
    let mut pages: Vec<Page> = slices.iter().map(|_| Page::default()).collect();
    for (table, wanting) in [(ARCHIVE, old), (EVENTS, lagging)] {
        for part in parts(request, &slices, &wanting) {
            events(session, (request, large), table, &slices, &part, &mut pages)?;
        }
    }
    let mut large = Vec::new();
    for ((at, slice), page) in slices.iter_mut().enumerate().zip(pages) {
        large.extend(page.large.iter().map(|position| (at, *position)));
        (slice.events, slice.more) = (page.events, page.more);
    }
    fill(session, &mut slices, &large)?;
    Ok(EventBatches { slices, store })
}

/// The heads and archived positions of instances.
struct InstancePlaces {
    /// A slice without events for each cursor, in their order.
    slices: Vec<EventBatch>,
    /// The position up to which the events of each instance are archived.
    archived: Vec<i64>,
    store: Option<Uuid>,
}

fn places<C: GenericClient>(session: &mut Session<'_, C>, request: &ReadRequest) -> Result<InstancePlaces, StoreError> {
    let none = |cursor: &crate::query::Cursor| EventBatch {
        instance: Arc::clone(&cursor.instance),
        after: cursor.after,
        head: 0,
        head_id: None,
        relevant: 0,
        at: None,
        events: Vec::new(),
        more: false,
    };
    let mut slices: Vec<EventBatch> = request.cursors.iter().map(none).collect();
    let instances: Vec<&str> = slices.iter().map(|slice| slice.instance.as_ref()).collect();
    let after: Vec<i64> = slices.iter().map(|slice| slice.after).collect();
    let params: [TypedParam<'_>; 3] = [
        (&instances, Type::TEXT_ARRAY),
        (&after, Type::INT8_ARRAY),
        (&request.wanted.aggregate_types, Type::TEXT_ARRAY),
    ];
    let is_wanted = Dialect::Postgres.any_type("h.aggregate_type", 3, &request.wanted.aggregate_types);
    let sql = format!(
        "SELECT c.number, i.head, i.head_event, coalesce((SELECT max(h.head) FROM readside.heads h \
         WHERE h.instance_id = c.instance_id AND {is_wanted}), 0), \
         CASE WHEN c.after <= i.removed THEN NULL WHEN c.after <= i.archived \
           THEN (SELECT a.event_id FROM readside.events_archive a WHERE a.instance_id = c.instance_id AND a.position = c.after) \
           ELSE (SELECT a.event_id FROM readside.events a WHERE a.instance_id = c.instance_id AND a.position = c.after) END, \
         i.archived, (SELECT own.store_id FROM readside.store own) \
         FROM unnest($1, $2) WITH ORDINALITY AS c(instance_id, after, number) \
         JOIN readside.instances i ON i.instance_id = c.instance_id"
    );
    let (mut archived, mut store) = (vec![0; slices.len()], None);
    for found in session.rows(&sql, &params, "reading heads")? {
        let at = number(&found)?;
        store = get(&found, 6)?;
        if let Some(to) = archived.get_mut(at) {
            *to = get(&found, 5)?;
        }
        if let Some(slice) = slices.get_mut(at) {
            slice.head = get(&found, 1)?;
            slice.head_id = get(&found, 2)?;
            slice.relevant = get(&found, 3)?;
            slice.at = get(&found, 4)?;
        }
    }
    Ok(InstancePlaces { slices, archived, store })
}

/// The largest number of events that this slice can have.
fn expected(request: &ReadRequest, slice: &EventBatch) -> usize {
    usize::try_from(slice.relevant.saturating_sub(slice.after)).unwrap_or(0).min(request.limit)
}

/// A text longer than this is not read at first, only its size. The shorter texts together take at most twice the
/// byte limit, metadata included.
fn large(request: &ReadRequest, slices: &[EventBatch]) -> i64 {
    let events: usize = slices.iter().map(|slice| expected(request, slice)).sum();
    let bytes = request.max_bytes.saturating_mul(slices.len());
    i64::try_from(bytes.saturating_mul(2) / events.max(1)).unwrap_or(i64::MAX)
}

/// Groups slices whose events are read at once. The driver's rows need more memory than the events, so each group has
/// a bounded number of rows.
fn parts(request: &ReadRequest, slices: &[EventBatch], wanting: &[usize]) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut rows = MOST_ROWS;
    for at in wanting {
        let more = slices.get(*at).map_or(0, |slice| expected(request, slice));
        match parts.last_mut() {
            Some(part) if rows + more <= MOST_ROWS => part.push(*at),
            _ => {
                parts.push(vec![*at]);
                rows = 0;
            }
        }
        rows += more;
    }
    parts
}

/// Reads the events of these slices from one table, and puts them on their pages. Of large texts it reads only the
/// sizes.
fn events<C: GenericClient>(
    session: &mut Session<'_, C>,
    (request, large): (&ReadRequest, i64),
    table: &str,
    slices: &[EventBatch],
    wanting: &[usize],
    pages: &mut [Page],
) -> Result<(), StoreError> {
    let open = |at: &usize| pages.get(*at).is_some_and(|page| !page.more);
    let wanting: Vec<usize> = wanting.iter().copied().filter(open).collect();
    if wanting.is_empty() {
        return Ok(());
    }
    let of = || wanting.iter().filter_map(|at| slices.get(*at));
    let instances: Vec<Arc<str>> = of().map(|slice| Arc::clone(&slice.instance)).collect();
    let names: Vec<&str> = instances.iter().map(AsRef::as_ref).collect();
    let after: Vec<i64> = of().map(|slice| slice.after).collect();
    let relevant: Vec<i64> = of().map(|slice| slice.relevant).collect();
    let wanted = &request.wanted;
    let limit = i64::try_from(request.limit).unwrap_or(i64::MAX).saturating_add(1);
    let params: [TypedParam<'_>; 7] = [
        (&names, Type::TEXT_ARRAY),
        (&after, Type::INT8_ARRAY),
        (&relevant, Type::INT8_ARRAY),
        (&wanted.aggregate_types, Type::TEXT_ARRAY),
        (&wanted.event_types, Type::TEXT_ARRAY),
        (&limit, Type::INT8),
        (&large, Type::INT8),
    ];
    let mut buffer = String::new();
    for found in session.rows(&sql(table, wanted), &params, "reading events")? {
        let at = number(&found)?;
        if let (Some(page), Some(instance)) = (wanting.get(at).and_then(|at| pages.get_mut(*at)), instances.get(at)) {
            page.add(&found, instance, request, &mut buffer)?;
        }
    }
    Ok(())
}

/// The events of one instance, while they are read.
#[derive(Default)]
struct Page {
    events: Vec<Event>,
    /// Positions of events whose texts are not read yet.
    large: Vec<i64>,
    bytes: usize,
    more: bool,
}

impl Page {
    fn add(
        &mut self,
        found: &Row,
        instance: &Arc<str>,
        request: &ReadRequest,
        buffer: &mut String,
    ) -> Result<(), StoreError> {
        if self.more {
            return Ok(());
        }
        if self.events.len() >= request.limit {
            self.more = true;
            return Ok(());
        }
        let found =
            EventRow { row: found, aggregate_type: request.wanted.aggregate_types.first().map_or("", AsRef::as_ref) };
        let event = row::event_in(&found, BEFORE_EVENT, instance, self.events.last(), buffer)?;
        let texts = [event.payload_json(), event.metadata_json()];
        let sizes = texts.map(size_only);
        let large = sizes.iter().any(Option::is_some);
        let size = texts.iter().zip(sizes).map(|(text, size)| size.unwrap_or(text.len()));
        self.bytes = size.fold(self.bytes, usize::saturating_add);
        if self.bytes > request.max_bytes && !self.events.is_empty() {
            self.more = true;
            return Ok(());
        }
        if large {
            self.large.push(event.position);
        }
        self.events.push(event);
        Ok(())
    }
}

/// Reads the texts of large events.
fn fill<C: GenericClient>(
    session: &mut Session<'_, C>,
    slices: &mut [EventBatch],
    large: &[(usize, i64)],
) -> Result<(), StoreError> {
    if large.is_empty() {
        return Ok(());
    }
    let instances: Vec<&str> =
        large.iter().map(|(at, _)| slices.get(*at).map_or("", |slice| slice.instance.as_ref())).collect();
    let positions: Vec<i64> = large.iter().map(|(_, position)| *position).collect();
    let params: [TypedParam<'_>; 2] = [(&instances, Type::TEXT_ARRAY), (&positions, Type::INT8_ARRAY)];
    let sql = "SELECT c.number, e.payload, e.metadata FROM unnest($1, $2) WITH ORDINALITY AS c(instance_id, position, number) \
         JOIN readside.all_events e ON e.instance_id = c.instance_id AND e.position = c.position";
    let mut texts: HashMap<(usize, i64), (String, String)> = HashMap::new();
    for found in session.rows(sql, &params, "reading large events")? {
        if let Some(place) = large.get(number(&found)?) {
            texts.insert(*place, (get(&found, 1)?, get(&found, 2)?));
        }
    }
    for (at, position) in large {
        let events = slices.get_mut(*at).map(|slice| slice.events.as_mut_slice()).unwrap_or_default();
        let event =
            events.binary_search_by_key(position, |event| event.position).ok().and_then(|at| events.get_mut(at));
        if let (Some(event), Some((payload, metadata))) = (event, texts.remove(&(*at, *position))) {
            event.texts = event.texts.with([(Which::Payload, &payload), (Which::Metadata, &metadata)]);
        }
    }
    Ok(())
}

/// The index that the row's ordinal number means.
fn number(found: &Row) -> Result<usize, StoreError> {
    Ok(usize::try_from(get::<i64>(found, 0)?).unwrap_or(0).wrapping_sub(1))
}

fn get<'r, T: FromSql<'r>>(found: &'r Row, at: usize) -> Result<T, StoreError> {
    found.try_get(at).map_err(|error| error::store("reading a value", &error))
}

/// The size of a text that was not read.
fn size_only(text: &str) -> Option<usize> {
    text.strip_prefix(SIZE_ONLY)?.parse().ok()
}

/// The row of an event, as the driver gives it.
struct EventRow<'r> {
    row: &'r Row,
    /// The aggregate type, for a query that wants only one type and does not select it.
    aggregate_type: &'r str,
}

impl Fields for EventRow<'_> {
    fn text(&self, at: usize) -> Result<&str, StoreError> {
        Ok(get::<Option<&str>>(self.row, at)?.unwrap_or(self.aggregate_type))
    }
    fn int(&self, at: usize) -> Result<i64, StoreError> {
        match self.row.columns().get(at).map(Column::type_) {
            Some(&Type::INT4) => get::<i32>(self.row, at).map(i64::from),
            _ => get(self.row, at),
        }
    }
    fn uuid(&self, at: usize) -> Result<Option<Uuid>, StoreError> {
        get(self.row, at)
    }
    fn time(&self, at: usize) -> Result<Option<SystemTime>, StoreError> {
        get(self.row, at)
    }
}

/// With one aggregate type, the index of the type gives the order. With several, the primary key does. The expression
/// keeps the planner from the index of the type, which would have to sort everything for each page. So each event is
/// read only once in all.
fn sql(table: &str, wanted: &EventFilter) -> String {
    let every = EventFilter::lists_every(&wanted.aggregate_types);
    let one_type = !every && wanted.aggregate_types.len() == 1;
    let by_type = match (every, one_type) {
        (true, _) => "$4 IS NOT NULL",
        (false, true) => "e.aggregate_type = ($4)[1]",
        (false, false) => "(e.aggregate_type || '') = ANY($4)",
    };
    let of_event = Dialect::Postgres.any_type("e.event_type", 5, &wanted.event_types);
    let event = row::columns_of_instance().split(", ").map(|name| match name {
        "payload" | "metadata" => format!(
            "CASE WHEN octet_length(e.{name}) <= $7 THEN e.{name} ELSE '{SIZE_ONLY}' || octet_length(e.{name}) END"
        ),
        "aggregate_type" if one_type => "NULL::text".to_owned(),
        name => format!("e.{name}"),
    });
    format!(
        "SELECT c.number, n.* \
         FROM unnest($1, $2, $3) WITH ORDINALITY AS c(instance_id, after, relevant, number) \
         CROSS JOIN LATERAL (SELECT {} FROM {table} e \
           WHERE e.instance_id = c.instance_id AND e.position > c.after AND e.position <= c.relevant \
             AND {by_type} AND {of_event} ORDER BY e.position LIMIT $6) n",
        event.collect::<Vec<_>>().join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Cursor, EventFilter};

    // Contract: L9: and events of usual size are read at once, however many instances share a page.
    #[test]
    fn what_counts_as_large_follows_from_the_events_that_are_there() {
        let slice = |relevant| EventBatch {
            instance: "a".into(),
            after: 10,
            at: None,
            head: relevant,
            head_id: None,
            relevant,
            events: Vec::new(),
            more: false,
        };
        let cursors = vec![Cursor { instance: "a".into(), after: 10 }; 100];
        let wanted = EventFilter { aggregate_types: Vec::new(), event_types: Vec::new() };
        let request = ReadRequest { cursors, wanted, limit: 1_000, max_bytes: 10_000 };
        let of = |relevant| large(&request, &vec![slice(relevant); 100]);
        assert_eq!((of(9), of(12), of(20)), (2_000_000, 10_000, 2_000));
        assert_eq!((of(1_010), of(1_000_000)), (20, 20), "no more than the limit are read");
    }
}
