//! One pass over the log for all projections that are at the same place: a page that one of them has read is kept for the
//! others, and is read for those too that come right behind.
//!
//! A page says nothing about what comes behind it, also when it held the end of the log as it was then: whoever uses one
//! reads on from its last event. So a page cannot hide what was pushed after it was read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::error::StoreError;
use crate::event::Event;
use crate::query::{Cursor, Head, HeadsRequest, ReadRequest, Slice, Wanted};
use crate::store::EventSource;
use crate::sync::{Condvar, Mutex};

/// Bytes that kept pages hold, at most, beside the last one.
const MOST_BYTES: usize = 16 << 20;

/// What an event takes beside its payload and metadata, about.
const OF_AN_EVENT: usize = 300;

/// How long a projection waits for another one that reads the same page.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long a page is kept at most, however much room there is: what is erased in the store must not come back from here.
const LONGEST_KEPT: Duration = Duration::from_secs(5);

/// Events of a page at the end of a log that are too few to be kept.
const SHORT: usize = 50;

/// Instances of which it is known who reads where, at most; what is forgotten costs a read.
const MOST_INSTANCES: usize = 10_000;

/// All events of some types above a position and up to the last one.
#[derive(Debug)]
struct Page {
    after: i64,
    at: Option<Uuid>,
    head: i64,
    head_id: Option<Uuid>,
    relevant: i64,
    wanted: Arc<Wanted>,
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

    /// True for its beginning and for each of its events but the last: what stands there is known.
    fn begins_at(&self, position: i64) -> bool {
        position == self.after || (position < self.last() && self.event(position).is_some())
    }

    /// The event at its beginning, or at one of its events.
    fn at(&self, position: i64) -> Option<Uuid> {
        if position == self.after { self.at } else { self.event(position).map(|event| event.id) }
    }

    fn event(&self, position: i64) -> Option<&Event> {
        let at = self.events.binary_search_by_key(&position, |event| event.position).ok()?;
        self.events.get(at)
    }
}

#[derive(Debug, Default)]
struct Kept {
    pages: HashMap<Arc<str>, Vec<Arc<Page>>>,
    /// The pages in the order in which they were read.
    order: VecDeque<(Arc<str>, i64)>,
    bytes: usize,
    readers: HashMap<u64, Arc<Wanted>>,
    next_reader: u64,
    /// Where each projection has read last, by instance.
    places: HashMap<Arc<str>, HashMap<u64, i64>>,
    /// What is being read.
    reading: HashMap<(Arc<str>, i64), Arc<Wanted>>,
}

/// The pages that the projections of an engine share.
#[derive(Debug)]
pub(super) struct Pages {
    source: Arc<dyn EventSource>,
    kept: Mutex<Kept>,
    read: Condvar,
}

/// The source as one projection sees it.
#[derive(Debug)]
struct Reader {
    pages: Arc<Pages>,
    id: u64,
    wanted: Arc<Wanted>,
}

impl Pages {
    pub(super) fn new(source: Arc<dyn EventSource>) -> Arc<Self> {
        Arc::new(Self { source, kept: Mutex::default(), read: Condvar::new() })
    }

    /// A source for one more projection.
    pub(super) fn reader(self: &Arc<Self>, wanted: Wanted) -> Arc<dyn EventSource> {
        let wanted = Arc::new(wanted);
        let mut kept = self.kept.lock();
        let id = kept.next_reader;
        kept.next_reader += 1;
        kept.readers.insert(id, Arc::clone(&wanted));
        drop(kept);
        Arc::new(Reader { pages: Arc::clone(self), id, wanted })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut kept = self.pages.kept.lock();
        kept.readers.remove(&self.id);
        for places in kept.places.values_mut() {
            places.remove(&self.id);
        }
    }
}

impl EventSource for Reader {
    fn store_id(&self) -> Result<Uuid, StoreError> {
        self.pages.source.store_id()
    }

    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        self.pages.source.heads(request)
    }

    fn read(&self, request: &ReadRequest) -> Result<Vec<Slice>, StoreError> {
        if *self.wanted != request.wanted || self.pages.kept.lock().readers.len() < 2 {
            return self.pages.source.read(request);
        }
        let mut slices: HashMap<Arc<str>, Slice> = HashMap::new();
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
}

/// Places that are being read; not any more when dropped.
struct Reading<'p> {
    pages: &'p Pages,
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

impl Reader {
    /// Takes what is kept, and waits for what another projection reads. The cursors left over are this one's to read.
    fn take(&self, request: &ReadRequest, slices: &mut HashMap<Arc<str>, Slice>) -> Vec<Cursor> {
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
            // What another one still reads after so long is read once more.
            for cursor in &missing {
                let place = (Arc::clone(&cursor.instance), cursor.after);
                kept.reading.insert(place, Arc::clone(&self.wanted));
            }
            kept.note(self.id, &request.cursors);
            return missing;
        }
    }

    /// Reads for this projection and those right behind it, keeps what these can use, and returns what this one wanted.
    fn read_for_all(&self, request: &ReadRequest, missing: &[Cursor]) -> Result<Vec<Slice>, StoreError> {
        let wanted = Arc::new(self.pages.kept.lock().wanted(self.id, &self.wanted, missing, request.limit));
        let own = *wanted == *self.wanted;
        let read = |cursors: Vec<Cursor>, wanted: &Wanted| {
            self.pages.source.read(&ReadRequest { cursors, wanted: wanted.clone(), ..request.clone() })
        };
        let mut slices = read(missing.to_vec(), &wanted)?;
        let mut kept = self.pages.kept.lock();
        for slice in &slices {
            kept.keep(self.id, slice, &wanted, request.limit);
        }
        drop(kept);
        if own {
            return Ok(slices);
        }
        for slice in &mut slices {
            slice.events.retain(|event| wants(&self.wanted, event));
        }
        // A full page without an event of one's own tells nothing.
        let nothing = |slice: &Slice| slice.more && slice.events.is_empty();
        let again: Vec<Cursor> =
            missing.iter().zip(&slices).filter(|(_, slice)| nothing(slice)).map(|(c, _)| c.clone()).collect();
        if !again.is_empty() {
            slices.retain(|slice| !nothing(slice));
            slices.extend(read(again, &self.wanted)?);
        }
        Ok(slices)
    }
}

impl Kept {
    fn note(&mut self, reader: u64, cursors: &[Cursor]) {
        if self.places.len() > MOST_INSTANCES {
            self.places.clear();
        }
        for cursor in cursors {
            self.places.entry(Arc::clone(&cursor.instance)).or_default().insert(reader, cursor.after);
        }
    }

    /// Whether a reader that was last seen there may soon want a page that begins at `after`. Of one that was not seen
    /// nothing is known.
    fn follows(&self, reader: u64, instance: &Arc<str>, after: i64, limit: usize) -> Option<bool> {
        let place = *self.places.get(instance)?.get(&reader)?;
        let far = i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(2);
        Some(place <= after && place >= after.saturating_sub(far))
    }

    /// What this reader wants, and what those want that come right behind it.
    fn wanted(&self, reader: u64, own: &Arc<Wanted>, cursors: &[Cursor], limit: usize) -> Wanted {
        let mut wanted = Wanted::clone(own);
        for (other, theirs) in self.readers.iter().filter(|(other, _)| **other != reader) {
            let comes = |cursor: &Cursor| self.follows(*other, &cursor.instance, cursor.after, limit) == Some(true);
            if !covers(&wanted, theirs) && cursors.iter().any(comes) {
                add(&mut wanted.aggregate_types, &theirs.aggregate_types);
                add(&mut wanted.event_types, &theirs.event_types);
            }
        }
        wanted
    }

    /// Keeps a page that another reader may use, unless it is so short that reading it anew costs no more.
    fn keep(&mut self, reader: u64, slice: &Slice, wanted: &Arc<Wanted>, limit: usize) {
        let useful = |(other, theirs): (&u64, &Arc<Wanted>)| {
            *other != reader
                && covers(wanted, theirs)
                && self.follows(*other, &slice.instance, slice.after, limit) != Some(false)
        };
        let short = slice.events.is_empty() || (!slice.more && slice.events.len() < SHORT);
        if short || !self.readers.iter().any(useful) {
            return;
        }
        let bytes = slice.events.iter().map(|event| event.payload.len() + event.metadata.len() + OF_AN_EVENT).sum();
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

    /// What the kept pages hold above the cursor, from one page to the next; none where they hold nothing.
    fn slice(&self, cursor: &Cursor, request: &ReadRequest) -> Option<Slice> {
        let pages = self.pages.get(&cursor.instance)?;
        let usable = |page: &&Arc<Page>| covers(&page.wanted, &request.wanted);
        let first = pages.iter().filter(usable).find(|page| page.begins_at(cursor.after))?;
        let mut slice = Slice {
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
                bytes = bytes.saturating_add(event.payload.len() + event.metadata.len());
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

fn wants(wanted: &Wanted, event: &Event) -> bool {
    wanted.event_types.iter().any(|name| **name == *event.event_type)
        && wanted.aggregate_types.iter().any(|name| **name == *event.aggregate_type)
}

/// True when whoever reads the first reads the second too.
fn covers(wanted: &Wanted, theirs: &Wanted) -> bool {
    theirs.aggregate_types.iter().all(|name| wanted.aggregate_types.contains(name))
        && theirs.event_types.iter().all(|name| wanted.event_types.contains(name))
}

fn add(names: &mut Vec<String>, more: &[String]) {
    for name in more {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A log of 100 events of one instance: those at even positions are `a`, the others `b`.
    #[derive(Debug, Default)]
    struct Log {
        reads: AtomicUsize,
    }

    fn id(position: i64) -> Uuid {
        Uuid::from_u128(u128::try_from(position).unwrap())
    }

    fn event(position: i64) -> Event {
        let kind = if position % 2 == 0 { "a" } else { "b" };
        Event::new("i", "t", "1", kind).with_position(position).with_id(id(position))
    }

    impl EventSource for Log {
        fn store_id(&self) -> Result<Uuid, StoreError> {
            Ok(Uuid::nil())
        }
        fn heads(&self, _: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
            Ok(Vec::new())
        }
        fn read(&self, request: &ReadRequest) -> Result<Vec<Slice>, StoreError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let slice = |cursor: &Cursor| {
                let above = (cursor.after + 1..=100).map(event).filter(|event| wants(&request.wanted, event));
                let mut events: Vec<Event> = above.take(request.limit + 1).collect();
                let more = events.len() > request.limit;
                events.truncate(request.limit);
                let at = (cursor.after > 0).then(|| id(cursor.after));
                let (instance, after) = (Arc::clone(&cursor.instance), cursor.after);
                Slice { instance, after, at, head: 100, head_id: Some(id(100)), relevant: 100, events, more }
            };
            Ok(request.cursors.iter().map(slice).collect())
        }
    }

    fn wanted(kinds: &[&str]) -> Wanted {
        Wanted { aggregate_types: vec!["t".into()], event_types: kinds.iter().map(ToString::to_string).collect() }
    }

    fn read(reader: &Arc<dyn EventSource>, kinds: &[&str], after: i64, limit: usize) -> Slice {
        let cursors = vec![Cursor { instance: "i".into(), after }];
        let request = ReadRequest { cursors, wanted: wanted(kinds), limit, max_bytes: usize::MAX };
        reader.read(&request).unwrap().remove(0)
    }

    /// Reads to the end as a projection would, and returns the positions.
    fn read_all(reader: &Arc<dyn EventSource>, kinds: &[&str], limit: usize) -> Vec<i64> {
        let (mut after, mut positions) = (0, Vec::new());
        loop {
            let slice = read(reader, kinds, after, limit);
            assert_eq!(slice.at, (after > 0).then(|| id(after)));
            positions.extend(slice.events.iter().map(Event::position));
            after = slice.scanned().0;
            if !slice.more {
                return positions;
            }
        }
    }

    // SPEC L3
    #[test]
    fn projections_at_the_same_place_read_a_page_once() {
        let log = Arc::new(Log::default());
        let pages = Pages::new(log.clone());
        let readers: Vec<_> = (0..5).map(|_| pages.reader(wanted(&["a", "b"]))).collect();
        let all: Vec<i64> = (1..=100).collect();
        for reader in &readers {
            assert_eq!(read_all(reader, &["a", "b"], 10), all);
        }
        // Nine full pages are shared, and each reads the last one itself.
        assert_eq!(log.reads.load(Ordering::Relaxed), 9 + 5);
    }

    // SPEC L3: what was pushed after a page was read is found, also when the page held the end of the log.
    #[test]
    fn the_end_of_a_log_is_shared_and_what_is_behind_it_read_anew() {
        let log = Arc::new(Log::default());
        let pages = Pages::new(log.clone());
        let readers: Vec<_> = (0..3).map(|_| pages.reader(wanted(&["a", "b"]))).collect();
        let all: Vec<i64> = (1..=100).collect();
        for reader in &readers {
            assert_eq!(read_all(reader, &["a", "b"], 100), all);
        }
        assert_eq!(log.reads.load(Ordering::Relaxed), 1 + 2, "each of the others looks behind it");
        assert!(read(&readers[1], &["a", "b"], 40, 100).more, "whatever the page held");
    }

    // SPEC L3: what a page was not read for it does not hold, and a page without one's own events says nothing.
    #[test]
    fn projections_of_different_types_get_each_theirs_whatever_was_read_for_others() {
        let log = Arc::new(Log::default());
        let pages = Pages::new(log.clone());
        let kinds: [&[&str]; 4] = [&["a"], &["b"], &["a", "b"], &["c", "a"]];
        let readers: Vec<_> = kinds.iter().map(|kinds| pages.reader(wanted(kinds))).collect();
        let mut at = [0_i64; 4];
        let mut found: [Vec<i64>; 4] = Default::default();
        let mut turns = 0;
        while at.iter().any(|after| *after < 100) {
            for (n, reader) in readers.iter().enumerate() {
                if at[n] >= 100 {
                    continue;
                }
                let slice = read(reader, kinds[n], at[n], 4 + n);
                assert!(!slice.more || !slice.events.is_empty());
                found[n].extend(slice.events.iter().map(Event::position));
                at[n] = slice.scanned().0;
                turns += 1;
            }
        }
        let wanted = |n: usize| (1..=100).filter(|p| wants(&wanted(kinds[n]), &event(*p))).collect::<Vec<i64>>();
        for (n, found) in found.iter().enumerate() {
            assert_eq!(*found, wanted(n), "{:?}", kinds[n]);
        }
        let reads = log.reads.load(Ordering::Relaxed);
        assert!(reads < turns, "{reads} reads for {turns} pages");
    }

    // SPEC L9
    #[test]
    fn what_is_kept_is_bounded() {
        let pages = Pages::new(Arc::new(Log::default()));
        let _readers = [pages.reader(wanted(&["a"])), pages.reader(wanted(&["a"]))];
        let mut kept = pages.kept.lock();
        let large = event(2).with_payload(format!("\"{}\"", "x".repeat(1 << 20)));
        for after in 0..40 {
            let events = vec![large.clone().with_position(after + 1)];
            let slice = Slice {
                instance: "i".into(),
                after,
                at: None,
                head: 100,
                head_id: None,
                relevant: 100,
                events,
                more: true,
            };
            kept.keep(0, &slice, &Arc::new(wanted(&["a"])), 1);
        }
        assert!(kept.bytes <= MOST_BYTES && kept.pages["i"].len() == 15, "{}", kept.pages["i"].len());
    }

    // SPEC K2: what was erased meanwhile is not read from memory.
    #[test]
    fn an_old_page_is_read_anew() {
        let log = Arc::new(Log::default());
        let pages = Pages::new(log.clone());
        let readers = [pages.reader(wanted(&["a"])), pages.reader(wanted(&["a"]))];
        let reads = || log.reads.load(Ordering::Relaxed);
        read(&readers[0], &["a"], 0, 10);
        read(&readers[1], &["a"], 0, 10);
        assert_eq!(reads(), 1);
        for page in pages.kept.lock().pages.values_mut().flatten() {
            let page = Arc::get_mut(page).unwrap();
            page.read_at = page.read_at.checked_sub(LONGEST_KEPT).unwrap();
        }
        read(&readers[1], &["a"], 0, 10);
        assert_eq!(reads(), 2);
        let kept = pages.kept.lock();
        assert_eq!((kept.pages["i"].len(), kept.order.len()), (1, 1));
    }

    // SPEC L8: a read that fails, or panics, leaves nobody waiting.
    #[test]
    fn who_reads_and_fails_leaves_the_page_to_others() {
        #[derive(Debug)]
        struct Broken;
        impl EventSource for Broken {
            fn store_id(&self) -> Result<Uuid, StoreError> {
                Ok(Uuid::nil())
            }
            fn heads(&self, _: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
                Ok(Vec::new())
            }
            fn read(&self, _: &ReadRequest) -> Result<Vec<Slice>, StoreError> {
                panic!("broken")
            }
        }
        let pages = Pages::new(Arc::new(Broken));
        let readers = [pages.reader(wanted(&["a"])), pages.reader(wanted(&["a"]))];
        for reader in &readers {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(reader, &["a"], 0, 1)));
            assert!(caught.is_err());
        }
        assert!(pages.kept.lock().reading.is_empty());
    }
}
