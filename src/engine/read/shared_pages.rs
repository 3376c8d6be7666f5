//! One pass over the log for all projections at the same place: when one of them reads a page, the others reuse it. The
//! read also covers the event types of the projections that follow closely.
//!
//! A page says nothing about the events after it, even if it reached the end of the log when it was read. Its user
//! reads on from the last event of the page. So a page cannot hide events that were pushed after it was read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::error::StoreError;
use crate::event::Event;
use crate::query::{Cursor, EventBatch, EventFilter, Flaw, Head, HeadsRequest, ReadRequest, Span};
use crate::store::EventSource;
use crate::sync::{Condvar, Mutex};

/// The most bytes that kept pages hold. The last page does not count.
const MOST_BYTES: usize = 48 << 20;

/// About how many bytes an event takes in addition to its payload and metadata.
const OF_AN_EVENT: usize = 300;

/// How long a projection waits for another one that reads the same page.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The longest time that a page is kept, even when there is room: an event that was erased in the store must not come
/// back from memory.
const LONGEST_KEPT: Duration = Duration::from_secs(5);

/// A page at the end of a log with fewer events than this is not kept.
const SHORT: usize = 50;

/// The most instances for which the readers' places are remembered. Each forgotten one costs a read.
const MOST_INSTANCES: usize = 10_000;

/// All events of some types above a position and up to the last one.
#[derive(Debug)]
struct Page {
    after: i64,
    at: Option<Uuid>,
    head: i64,
    head_id: Option<Uuid>,
    relevant: i64,
    wanted: Arc<EventFilter>,
    events: Vec<Event>,
    bytes: usize,
    read_at: Instant,
}

impl Page {
    fn is_old(&self) -> bool {
        self.read_at.elapsed() > LONGEST_KEPT
    }

    fn last(&self) -> i64 {
        self.events.last().map_or(self.after, |event| event.position)
    }

    /// True for the position where the page begins, and for each of its events but the last: the page knows the event
    /// at that position.
    fn begins_at(&self, position: i64) -> bool {
        position == self.after || (position < self.last() && self.event(position).is_some())
    }

    /// The id of the event at this position, which is where the page begins or one of its events.
    fn at(&self, position: i64) -> Option<Uuid> {
        if position == self.after { self.at } else { self.event(position).map(|event| event.id) }
    }

    fn event(&self, position: i64) -> Option<&Event> {
        let at = self.events.binary_search_by_key(&position, |event| event.position).ok()?;
        self.events.get(at)
    }
}

#[derive(Debug, Default)]
struct KeptPages {
    pages: HashMap<Arc<str>, Vec<Arc<Page>>>,
    /// The pages in the order in which they were read.
    order: VecDeque<(Arc<str>, i64)>,
    bytes: usize,
    readers: HashMap<u64, Arc<EventFilter>>,
    next_reader: u64,
    /// The position from which each projection read last, by instance.
    places: HashMap<Arc<str>, HashMap<u64, i64>>,
    /// How often all pages were dropped.
    forgotten: u64,
    /// The places that are being read.
    reading: HashMap<(Arc<str>, i64), Arc<EventFilter>>,
}

/// The pages that the projections of an engine share.
#[derive(Debug)]
pub(crate) struct SharedPages {
    source: Arc<dyn EventSource>,
    kept: Mutex<KeptPages>,
    read: Condvar,
}

/// The source as one projection sees it.
#[derive(Debug)]
struct SharedReader {
    pages: Arc<SharedPages>,
    id: u64,
    wanted: Arc<EventFilter>,
}

impl SharedPages {
    pub(crate) fn new(source: Arc<dyn EventSource>) -> Arc<Self> {
        Arc::new(Self { source, kept: Mutex::default(), read: Condvar::new() })
    }

    /// A source for one more projection.
    pub(crate) fn reader(self: &Arc<Self>, wanted: EventFilter) -> Arc<dyn EventSource> {
        let wanted = Arc::new(wanted);
        let mut kept = self.kept.lock();
        let id = kept.next_reader;
        kept.next_reader += 1;
        kept.readers.insert(id, Arc::clone(&wanted));
        drop(kept);
        Arc::new(SharedReader { pages: Arc::clone(self), id, wanted })
    }
}

impl Drop for SharedReader {
    fn drop(&mut self) {
        let mut kept = self.pages.kept.lock();
        kept.readers.remove(&self.id);
        for places in kept.places.values_mut() {
            places.remove(&self.id);
        }
    }
}

impl EventSource for SharedReader {
    fn store_id(&self) -> Result<Uuid, StoreError> {
        self.pages.source.store_id()
    }

    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        self.pages.source.heads(request)
    }

    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        if *self.wanted != request.wanted || self.pages.kept.lock().readers.len() < 2 {
            return self.pages.source.read(request);
        }
        let mut slices: HashMap<Arc<str>, EventBatch> = HashMap::new();
        let missing = self.take(request, &mut slices);
        if !missing.is_empty() {
            let read = Reading { pages: &self.pages, missing };
            for slice in self.read_for_all(request, &read.missing)? {
                slices.insert(Arc::clone(&slice.instance), slice);
            }
        }
        let cursors = request.cursors.iter();
        Ok(cursors.filter_map(|cursor| slices.remove(&cursor.instance)).collect())
    }

    fn removed(&self, instance: &str) -> Result<i64, StoreError> {
        self.pages.source.removed(instance)
    }

    fn flaws(&self, spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
        self.pages.source.flaws(spans)
    }

    fn generation(&self) -> u64 {
        self.pages.source.generation()
    }

    fn forget(&self) {
        self.pages.source.forget();
        self.pages.kept.lock().forget();
    }
}

/// Places that are being read. Dropping it ends that.
struct Reading<'p> {
    pages: &'p SharedPages,
    missing: Vec<Cursor>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut kept = self.pages.kept.lock();
        for cursor in &self.missing {
            kept.reading.remove(&(Arc::clone(&cursor.instance), cursor.after));
        }
        drop(kept);
        self.pages.read.notify_all();
    }
}

impl SharedReader {
    /// Takes what is kept, and waits for pages that another projection reads. Returns the cursors that this projection
    /// has to read for itself.
    fn take(&self, request: &ReadRequest, slices: &mut HashMap<Arc<str>, EventBatch>) -> Vec<Cursor> {
        let deadline = Instant::now() + LONGEST_WAIT;
        let mut kept = self.pages.kept.lock();
        kept.drop_old();
        loop {
            let mut missing = Vec::new();
            for cursor in &request.cursors {
                if slices.contains_key(&cursor.instance) {
                    continue;
                }
                match kept.slice(cursor, request) {
                    Some(slice) => {
                        slices.insert(Arc::clone(&cursor.instance), slice);
                    }
                    None => missing.push(cursor.clone()),
                }
            }
            let being_read = |cursor: &Cursor| {
                let wanted = kept.reading.get(&(Arc::clone(&cursor.instance), cursor.after));
                wanted.is_some_and(|wanted| covers(wanted, &self.wanted))
            };
            if missing.iter().any(being_read) && !self.pages.read.wait_until(&mut kept, deadline).timed_out() {
                continue;
            }
            // If another projection still reads a page after this time, this one reads it too.
            for cursor in &missing {
                let place = (Arc::clone(&cursor.instance), cursor.after);
                kept.reading.insert(place, Arc::clone(&self.wanted));
            }
            kept.note(self.id, &request.cursors);
            return missing;
        }
    }

    /// Reads for this projection and those close behind it, keeps the pages that they can use, and returns what this
    /// projection wanted.
    fn read_for_all(&self, request: &ReadRequest, missing: &[Cursor]) -> Result<Vec<EventBatch>, StoreError> {
        let kept = self.pages.kept.lock();
        let wanted = Arc::new(kept.wanted(self.id, &self.wanted, missing, request.limit));
        let forgotten = kept.forgotten;
        drop(kept);
        let own = *wanted == *self.wanted;
        let read = |cursors: Vec<Cursor>, wanted: &EventFilter| {
            self.pages.source.read(&ReadRequest { cursors, wanted: wanted.clone(), ..request.clone() })
        };
        let mut slices = read(missing.to_vec(), &wanted)?;
        let mut kept = self.pages.kept.lock();
        // Pages read before the drop may come from a log that no longer exists.
        let is_current = kept.forgotten == forgotten;
        for slice in slices.iter().filter(|_| is_current) {
            kept.keep(self.id, slice, &wanted, request.limit);
        }
        drop(kept);
        if own {
            return Ok(slices);
        }
        for slice in &mut slices {
            slice.events.retain(|event| wants(&self.wanted, event));
        }
        // A full page without an event for this projection tells it nothing.
        let nothing = |slice: &EventBatch| slice.more && slice.events.is_empty();
        let again: Vec<Cursor> =
            missing.iter().zip(&slices).filter(|(_, slice)| nothing(slice)).map(|(c, _)| c.clone()).collect();
        if !again.is_empty() {
            slices.retain(|slice| !nothing(slice));
            slices.extend(read(again, &self.wanted)?);
        }
        Ok(slices)
    }
}

impl KeptPages {
    fn note(&mut self, reader: u64, cursors: &[Cursor]) {
        if self.places.len() > MOST_INSTANCES {
            self.places.clear();
        }
        for cursor in cursors {
            self.places.entry(Arc::clone(&cursor.instance)).or_default().insert(reader, cursor.after);
        }
    }

    /// Whether a reader may soon want a page that begins at `after`, judged by where it read last. `None` when that is
    /// not known.
    fn follows(&self, reader: u64, instance: &Arc<str>, after: i64, limit: usize) -> Option<bool> {
        let place = *self.places.get(instance)?.get(&reader)?;
        let far = i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(2);
        Some(place <= after && place >= after.saturating_sub(far))
    }

    /// The filter of this reader, joined with those of the readers that follow closely.
    fn wanted(&self, reader: u64, own: &Arc<EventFilter>, cursors: &[Cursor], limit: usize) -> EventFilter {
        let mut wanted = EventFilter::clone(own);
        for (other, theirs) in self.readers.iter().filter(|(other, _)| **other != reader) {
            let comes = |cursor: &Cursor| self.follows(*other, &cursor.instance, cursor.after, limit) == Some(true);
            if !covers(&wanted, theirs) && cursors.iter().any(comes) {
                add(&mut wanted.aggregate_types, &theirs.aggregate_types);
                add(&mut wanted.event_types, &theirs.event_types);
            }
        }
        wanted
    }

    /// Keeps a page that another reader may use, unless the page is so short that reading it again costs no more.
    fn keep(&mut self, reader: u64, slice: &EventBatch, wanted: &Arc<EventFilter>, limit: usize) {
        let useful = |(other, theirs): (&u64, &Arc<EventFilter>)| {
            *other != reader
                && covers(wanted, theirs)
                && self.follows(*other, &slice.instance, slice.after, limit) != Some(false)
        };
        let short = slice.events.is_empty() || (!slice.more && slice.events.len() < SHORT);
        if short || !self.readers.iter().any(useful) {
            return;
        }
        let bytes = slice.events.iter().map(|event| event.texts.size() + OF_AN_EVENT).sum();
        let page = Page {
            after: slice.after,
            at: slice.at,
            head: slice.head,
            head_id: slice.head_id,
            relevant: slice.relevant,
            wanted: Arc::clone(wanted),
            events: slice.events.clone(),
            bytes,
            read_at: Instant::now(),
        };
        self.bytes += bytes;
        self.order.push_back((Arc::clone(&slice.instance), slice.after));
        self.pages.entry(Arc::clone(&slice.instance)).or_default().push(Arc::new(page));
        while self.bytes > MOST_BYTES && self.order.len() > 1 {
            self.drop_oldest();
        }
    }

    /// Drops all pages.
    fn forget(&mut self) {
        self.pages.clear();
        self.order.clear();
        self.bytes = 0;
        self.forgotten += 1;
    }

    fn drop_old(&mut self) {
        let is_old = |kept: &Self| {
            let (instance, after) = kept.order.front()?;
            kept.pages.get(instance)?.iter().find(|page| page.after == *after).map(|page| page.is_old())
        };
        while is_old(self) == Some(true) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((instance, after)) = self.order.pop_front() else { return };
        let Some(pages) = self.pages.get_mut(&instance) else { return };
        if let Some(at) = pages.iter().position(|page| page.after == after) {
            self.bytes -= pages.remove(at).bytes;
        }
        if pages.is_empty() {
            self.pages.remove(&instance);
        }
    }

    /// The events that kept pages hold above the cursor, from one page to the next. `None` when they hold nothing.
    fn slice(&self, cursor: &Cursor, request: &ReadRequest) -> Option<EventBatch> {
        let pages = self.pages.get(&cursor.instance)?;
        let usable = |page: &&Arc<Page>| covers(&page.wanted, &request.wanted);
        let first = pages.iter().filter(usable).find(|page| page.begins_at(cursor.after))?;
        let mut slice = EventBatch {
            instance: Arc::clone(&cursor.instance),
            after: cursor.after,
            at: first.at(cursor.after),
            head: first.head,
            head_id: first.head_id,
            relevant: first.relevant,
            events: Vec::new(),
            more: true,
        };
        let (mut next, mut bytes) = (Some(first), 0_usize);
        while let Some(page) = next {
            for event in page.events.iter().filter(|event| event.position > cursor.after) {
                if !wants(&request.wanted, event) {
                    continue;
                }
                bytes = bytes.saturating_add(event.texts.size());
                let full = slice.events.len() >= request.limit || bytes > request.max_bytes;
                if full && !slice.events.is_empty() {
                    return Some(slice);
                }
                slice.events.push(event.clone());
            }
            next = pages.iter().filter(usable).find(|other| other.after == page.last());
        }
        (!slice.events.is_empty()).then_some(slice)
    }
}

fn wants(wanted: &EventFilter, event: &Event) -> bool {
    EventFilter::lists(&wanted.event_types, event.event_type())
        && EventFilter::lists(&wanted.aggregate_types, &event.aggregate_type)
}

/// True when a read with the first filter also finds everything that the second one asks for.
fn covers(wanted: &EventFilter, theirs: &EventFilter) -> bool {
    theirs.aggregate_types.iter().all(|name| EventFilter::lists(&wanted.aggregate_types, name))
        && theirs.event_types.iter().all(|name| EventFilter::lists(&wanted.event_types, name))
}

fn add(names: &mut Vec<String>, more: &[String]) {
    for name in more {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
}

#[cfg(test)]
mod tests;
