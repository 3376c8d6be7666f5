//! Reading events: every batch is what was stored, in order and whole.

use std::sync::Arc;

use uuid::Uuid;

use super::run::{EVENTS, PAGES, Run, wanting};
use crate::error::StoreError;
use crate::event::Event;
use crate::query::{Cursor, EventBatch, EventFilter, ReadRequest};

fn index(position: i64) -> Option<usize> {
    usize::try_from(position).ok()?.checked_sub(1)
}

/// Payloads are the same if their JSON means the same.
fn same_json(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}

impl Run<'_, '_> {
    pub(super) fn reads(&mut self) -> Result<(), StoreError> {
        let all = self.all();
        let of_one = |kind: &(String, String)| wanting(std::slice::from_ref(kind));
        let mut filters: Vec<EventFilter> = self.check.kinds.iter().map(of_one).collect();
        filters.extend([all.clone(), wanting(&[("of no event".to_owned(), "of no event".to_owned())])]);
        let every = EventFilter::EVERY.to_owned();
        filters.push(wanting(&[(every.clone(), every.clone())]));
        filters.extend(self.check.kinds.first().map(|(aggregate, _)| wanting(&[(aggregate.clone(), every)])));
        for wanted in &filters {
            for after in [0, 1, EVENTS - 1, EVENTS, EVENTS + 5] {
                for (limit, max_bytes) in [(100, usize::MAX), (1, usize::MAX), (2, usize::MAX), (100, 0), (100, 40)] {
                    self.read(&[("a", after), ("nobody", 0), ("b", 0), ("c", 1)], wanted, limit, max_bytes)?;
                }
                self.read(&[("a", after)], wanted, 9, usize::MAX)?;
            }
        }
        self.source().forget();
        self.read(&[("b", 0)], &all, 100, usize::MAX).map(|_| ())
    }

    /// Reads once, and checks everything that can be checked about the answer.
    fn read(
        &mut self,
        cursors: &[(&str, i64)],
        wanted: &EventFilter,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Vec<EventBatch>, StoreError> {
        let cursors: Vec<Cursor> =
            cursors.iter().map(|(instance, after)| Cursor { instance: self.name(instance), after: *after }).collect();
        let request = ReadRequest { cursors, wanted: wanted.clone(), limit, max_bytes };
        let batches = self.source().read(&request)?;
        let places: Vec<_> = batches.iter().map(|batch| (&batch.instance, batch.after)).collect();
        let asked: Vec<_> = request.cursors.iter().map(|cursor| (&cursor.instance, cursor.after)).collect();
        self.insist(places == asked, || "read: there is not one batch for each cursor, in their order".to_owned());
        for batch in &batches {
            self.batch(batch, &request);
        }
        Ok(batches)
    }

    fn batch(&mut self, batch: &EventBatch, request: &ReadRequest) {
        let (instance, after, wanted) = (&batch.instance, batch.after, &request.wanted);
        let (head, relevant) = (self.head(instance), self.relevant(instance, &wanted.aggregate_types));
        self.insist(batch.head == head, || format!("read: head is {} instead of {head}", batch.head));
        self.insist(batch.relevant == relevant, || {
            format!("read: relevant is {}, the last wanted aggregate type is at {relevant}", batch.relevant)
        });
        self.insist(batch.head_id.is_some() == (head > 0), || {
            "read: head_id names the event at the head, and none without events".to_owned()
        });
        self.insist(batch.at.is_some() == (1..=head).contains(&after), || {
            format!("read: `at` names the event at the cursor, if there is one; with {after} of {head} it does not")
        });
        for (position, id) in [(after, batch.at), (head, batch.head_id)] {
            self.meet(instance, position, id);
        }
        let positions: Vec<i64> = batch.events.iter().map(|event| event.position).collect();
        self.insist(positions.is_sorted_by(|one, other| one < other), || "read: events do not ascend".to_owned());
        self.insist(positions.iter().all(|position| *position > after && *position <= batch.head), || {
            "read: an event does not lie above its cursor and up to the head".to_owned()
        });
        for event in &batch.events {
            self.event(instance, event, wanted);
        }
        self.scan(batch, request, &positions);
    }

    /// Checks that an event has the same id in every read, and that no two events share an id.
    fn meet(&mut self, instance: &Arc<str>, position: i64, id: Option<Uuid>) {
        let Some(id) = id else { return };
        let known = *self.ids.entry((Arc::clone(instance), position)).or_insert(id);
        self.insist(known == id, || "read: an event changes its id".to_owned());
        let others = self.ids.iter().filter(|(_, other)| **other == id).count();
        self.insist(others <= 1, || "read: two events have one id".to_owned());
    }

    fn event(&mut self, instance: &Arc<str>, event: &Event, wanted: &EventFilter) {
        self.meet(instance, event.position, Some(event.id));
        self.insist(event.instance() == &**instance, || "read: an event is of another instance".to_owned());
        let is_listed = EventFilter::lists(&wanted.aggregate_types, event.aggregate_type());
        self.insist(is_listed, || "read: an event is of an aggregate type that is not wanted".to_owned());
        let stored = index(event.position).and_then(|at| self.stored.get(instance)?.get(at));
        let is_stored = stored.is_some_and(|stored| {
            (stored.aggregate_type.as_str(), stored.event_type.as_str()) == (event.aggregate_type(), event.event_type())
                && stored.aggregate_id == event.aggregate_id()
                && same_json(&stored.payload, event.payload_json())
        });
        self.insist(is_stored, || {
            "read: an event is not the one that was stored at its position: types, aggregate id, payload".to_owned()
        });
    }

    /// Checks that a batch says how far it was scanned, and that no wanted event up to there is missing. A limit may
    /// end a batch, but not before its first event.
    fn scan(&mut self, batch: &EventBatch, request: &ReadRequest, positions: &[i64]) {
        let events = self.stored.get(&batch.instance).map_or(&[][..], Vec::as_slice);
        let expected: Vec<i64> = (1..)
            .zip(events)
            .filter(|(position, event)| *position > batch.after && event.is_wanted(&request.wanted))
            .map(|(position, _)| position)
            .collect();
        let (scanned, _) = batch.scanned();
        let missing = expected.iter().filter(|position| **position <= scanned && !positions.contains(position)).count();
        self.insist(missing == 0, || {
            format!("read: a wanted event below the end of the scan is missing (`more` is {})", batch.more)
        });
        self.insist(batch.events.len() <= request.limit, || "read: more events than the limit".to_owned());
        let bytes: usize = batch.events.iter().map(|event| event.payload_json().len()).sum();
        self.insist(bytes <= request.max_bytes || batch.events.len() == 1, || {
            "read: more bytes of payload than the limit, and more than one event".to_owned()
        });
        self.insist(!batch.events.is_empty() || !batch.more, || {
            "read: nothing is given and there is more, so that nobody ever gets on".to_owned()
        });
    }

    /// Checks that reading a log page by page gives each wanted event once.
    pub(super) fn pages(&mut self) -> Result<(), StoreError> {
        for (limit, max_bytes) in [(2, usize::MAX), (100, 30)] {
            let (mut after, mut seen) = (0, Vec::new());
            let all = self.all();
            for _ in 0..PAGES {
                let batches = self.read(&[("a", after)], &all, limit, max_bytes)?;
                let Some(batch) = batches.first() else { break };
                seen.extend(batch.events.iter().map(Event::position));
                let (scanned, _) = batch.scanned();
                if scanned >= batch.head || scanned <= after {
                    break;
                }
                after = scanned;
            }
            self.insist(seen == (1..=EVENTS).collect::<Vec<_>>(), || {
                format!("read: page by page a log of {EVENTS} events gives {seen:?}")
            });
        }
        Ok(())
    }
}
