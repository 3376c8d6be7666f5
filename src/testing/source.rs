//! Events in memory, as a source for projections.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use uuid::Uuid;

use crate::error::StoreError;
use crate::event::Event;
use crate::query::{Cursor, EventBatch, EventFilter, Flaw, Head, HeadsRequest, ReadRequest, Span};
use crate::store::EventSource;

/// Holds events in memory. It also shows what a custom source must do: each method answers from one state of the
/// events (here under a lock), so a head is never below an event of the same answer.
///
/// Cloning is cheap; clones share the events.
///
/// # Examples
/// ```
/// use readside::Event;
/// use readside::query::HeadsRequest;
/// use readside::store::EventSource;
/// use readside::testing::MemorySource;
/// let source = MemorySource::default();
/// source.append(Event::new("main", "user", "u1", "user.added"));
/// source.append(Event::new("main", "user", "u2", "user.added"));
/// let heads = source.heads(&HeadsRequest { limit: 10, ..HeadsRequest::default() })?;
/// assert_eq!(heads[0].head, 2);
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MemorySource {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: Uuid,
    /// Position `p` of an instance is at index `p - 1`.
    instances: RwLock<BTreeMap<Arc<str>, Vec<Event>>>,
}

impl Default for MemorySource {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { id: Uuid::now_v7(), instances: RwLock::default() }) }
    }
}

impl MemorySource {
    /// Stores the event as the next one of its instance and of its aggregate. Returns it with its position and its
    /// version, and with an id if it had none.
    #[expect(clippy::must_use_candidate, reason = "stored is stored, whether looked at or not")]
    pub fn append(&self, event: Event) -> Event {
        let mut instances = self.inner.instances.write();
        let events = instances.entry(Arc::clone(&event.instance)).or_default();
        let same = |other: &&Event| {
            other.aggregate_type == event.aggregate_type && other.aggregate_id() == event.aggregate_id()
        };
        let version = events.iter().rev().find(same).map_or(1, |last| last.version + 1);
        let position = events.last().map_or(1, |last| last.position + 1);
        let id = if event.id.is_nil() { Uuid::now_v7() } else { event.id };
        let event = event.with_id(id).with_position(position).with_version(version);
        events.push(event.clone());
        event
    }

    /// The instances, sorted by their bytes.
    #[must_use]
    pub fn instances(&self) -> Vec<Arc<str>> {
        self.inner.instances.read().keys().cloned().collect()
    }
}

impl EventSource for MemorySource {
    fn store_id(&self) -> Result<Uuid, StoreError> {
        Ok(self.inner.id)
    }

    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        let instances = self.inner.instances.read();
        let asked = |instance: &Arc<str>| {
            (request.instances.is_empty() || request.instances.contains(instance))
                && request.after.as_ref().is_none_or(|after| instance > after)
        };
        let found = instances.iter().filter(|(instance, _)| asked(instance)).take(request.limit);
        Ok(found
            .map(|(instance, events)| Head {
                instance: Arc::clone(instance),
                head: position(events.last()),
                relevant: match request.aggregate_types.as_slice() {
                    [] => position(events.last()),
                    types => relevant(events, types),
                },
            })
            .collect())
    }

    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        let instances = self.inner.instances.read();
        let slice = |cursor: &Cursor| {
            let events = instances.get(&cursor.instance).map_or(&[][..], Vec::as_slice);
            slice(cursor, events, request)
        };
        Ok(request.cursors.iter().map(slice).collect())
    }

    fn removed(&self, _instance: &str) -> Result<i64, StoreError> {
        Ok(0)
    }

    fn flaws(&self, _spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
        Ok(Vec::new())
    }

    fn generation(&self) -> u64 {
        0
    }

    fn forget(&self) {}
}

fn slice(cursor: &Cursor, events: &[Event], request: &ReadRequest) -> EventBatch {
    let above = usize::try_from(cursor.after).unwrap_or(0).min(events.len());
    let at = events.iter().find(|event| event.position == cursor.after);
    let mut wanted = events.iter().skip(above).filter(|event| wants(&request.wanted, event)).peekable();
    let (mut found, mut bytes) = (Vec::new(), 0usize);
    while let Some(event) = wanted.next_if(|event| {
        let fits = found.len() < request.limit && bytes.saturating_add(event.payload_json().len()) <= request.max_bytes;
        found.is_empty() || fits
    }) {
        bytes = bytes.saturating_add(event.payload_json().len());
        found.push(event.clone());
    }
    EventBatch {
        instance: Arc::clone(&cursor.instance),
        after: cursor.after,
        at: at.map(Event::id),
        head: position(events.last()),
        head_id: events.last().map(Event::id),
        relevant: relevant(events, &request.wanted.aggregate_types),
        more: wanted.peek().is_some(),
        events: found,
    }
}

fn wants(wanted: &EventFilter, event: &Event) -> bool {
    EventFilter::lists(&wanted.aggregate_types, event.aggregate_type())
        && EventFilter::lists(&wanted.event_types, event.event_type())
}

fn position(event: Option<&Event>) -> i64 {
    event.map_or(0, Event::position)
}

fn relevant(events: &[Event], types: &[String]) -> i64 {
    position(events.iter().rfind(|event| EventFilter::lists(types, event.aggregate_type())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> MemorySource {
        let source = MemorySource::default();
        for (instance, aggregate) in
            [("b", "user"), ("a", "user"), ("a", "user"), ("a", "order"), ("a", "user"), ("a", "bill")]
        {
            source.append(Event::new(instance, aggregate, "1", "done").with_payload("12345"));
        }
        source
    }

    fn read(after: i64, limit: usize, max_bytes: usize) -> (Vec<i64>, EventBatch) {
        let wanted = EventFilter { aggregate_types: vec!["user".into()], event_types: vec!["done".into()] };
        let cursors = vec![Cursor { instance: "a".into(), after }];
        let slice = source().read(&ReadRequest { cursors, wanted, limit, max_bytes }).unwrap().remove(0);
        (slice.events.iter().map(Event::position).collect(), slice)
    }

    // Contract: A0, L3
    #[test]
    fn a_slice_says_how_far_it_scanned() {
        let (positions, slice) = read(0, 100, 1000);
        assert_eq!(positions, [1, 2, 4]);
        assert_eq!((slice.head, slice.relevant, slice.more), (5, 4, false));
        assert_eq!(slice.scanned(), (5, slice.head_id));
        let (positions, slice) = read(1, 1, 1000);
        assert_eq!((positions.as_slice(), slice.more, slice.at.is_some()), (&[2][..], true, true));
        assert_eq!(slice.scanned().0, 2);
        assert_eq!(read(0, 3, 1000).1.scanned().0, 5, "a limit that was just reached ended nothing");
        assert_eq!(read(0, 100, 10).0, [1, 2]);
        assert_eq!(read(0, 100, 0).0, [1], "at least one event");
        assert_eq!((read(9, 100, 1000).0.len(), read(9, 100, 1000).1.at), (0, None));
    }

    // Contract: A0
    #[test]
    fn heads_come_in_pages() {
        let request = HeadsRequest { limit: 1, aggregate_types: vec!["order".into()], ..HeadsRequest::default() };
        let first = source().heads(&request).unwrap();
        assert_eq!(first, [Head { instance: "a".into(), head: 5, relevant: 3 }]);
        let second = source().heads(&HeadsRequest { after: Some("a".into()), ..request }).unwrap();
        assert_eq!(second, [Head { instance: "b".into(), head: 1, relevant: 0 }]);
    }

    #[test]
    fn versions_count_by_aggregate() {
        let source = source();
        assert_eq!(source.append(Event::new("a", "user", "1", "done")).version(), 4);
        assert_eq!(source.append(Event::new("a", "user", "2", "done")).version(), 1);
    }
}
