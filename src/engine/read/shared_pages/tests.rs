//! Several projections over one log: what they read once, and what is never taken from a page.

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
    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let slice = |cursor: &Cursor| {
            let above = (cursor.after + 1..=100).map(event).filter(|event| wants(&request.wanted, event));
            let mut events: Vec<Event> = above.take(request.limit + 1).collect();
            let more = events.len() > request.limit;
            events.truncate(request.limit);
            let at = (cursor.after > 0).then(|| id(cursor.after));
            let (instance, after) = (Arc::clone(&cursor.instance), cursor.after);
            EventBatch { instance, after, at, head: 100, head_id: Some(id(100)), relevant: 100, events, more }
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

fn wanted(kinds: &[&str]) -> EventFilter {
    EventFilter { aggregate_types: vec!["t".into()], event_types: kinds.iter().map(ToString::to_string).collect() }
}

fn read(reader: &Arc<dyn EventSource>, kinds: &[&str], after: i64, limit: usize) -> EventBatch {
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

// Contract: L3
#[test]
fn projections_at_the_same_place_read_a_page_once() {
    let log = Arc::new(Log::default());
    let pages = SharedPages::new(log.clone());
    let readers: Vec<_> = (0..5).map(|_| pages.reader(wanted(&["a", "b"]))).collect();
    let all: Vec<i64> = (1..=100).collect();
    for reader in &readers {
        assert_eq!(read_all(reader, &["a", "b"], 10), all);
    }
    // Nine full pages are shared, and each reads the last one itself.
    assert_eq!(log.reads.load(Ordering::Relaxed), 9 + 5);
}

// Contract: L3: events that were pushed after a page was read are found, even when the page held the end of the log.
#[test]
fn the_end_of_a_log_is_shared_and_what_is_behind_it_read_anew() {
    let log = Arc::new(Log::default());
    let pages = SharedPages::new(log.clone());
    let readers: Vec<_> = (0..3).map(|_| pages.reader(wanted(&["a", "b"]))).collect();
    let all: Vec<i64> = (1..=100).collect();
    for reader in &readers {
        assert_eq!(read_all(reader, &["a", "b"], 100), all);
    }
    assert_eq!(log.reads.load(Ordering::Relaxed), 1 + 2, "each of the others looks behind it");
    assert!(read(&readers[1], &["a", "b"], 40, 100).more, "whatever the page held");
}

// Contract: L3: a page holds only the types that it was read for, and a page without events for a projection tells it
// nothing.
#[test]
fn projections_of_different_types_get_each_theirs_whatever_was_read_for_others() {
    let log = Arc::new(Log::default());
    let pages = SharedPages::new(log.clone());
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

// Contract: L9
#[test]
fn what_is_kept_is_bounded() {
    let pages = SharedPages::new(Arc::new(Log::default()));
    let _readers = [pages.reader(wanted(&["a"])), pages.reader(wanted(&["a"]))];
    let mut kept = pages.kept.lock();
    let large = event(2).with_payload(format!("\"{}\"", "x".repeat(1 << 20)));
    for after in 0..100 {
        let events = vec![large.clone().with_position(after + 1)];
        let slice = EventBatch {
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
    assert!(kept.bytes <= MOST_BYTES && kept.pages["i"].len() == (MOST_BYTES >> 20) - 1, "{}", kept.pages["i"].len());
}

// Contract: K2: an event that was erased in the meantime does not come back from memory.
#[test]
fn an_old_page_is_read_anew() {
    let log = Arc::new(Log::default());
    let pages = SharedPages::new(log.clone());
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

// Contract: L8: when a read fails or panics, nobody waits for it.
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
        fn read(&self, _: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
            panic!("broken")
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
    let pages = SharedPages::new(Arc::new(Broken));
    let readers = [pages.reader(wanted(&["a"])), pages.reader(wanted(&["a"]))];
    for reader in &readers {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(reader, &["a"], 0, 1)));
        assert!(caught.is_err());
    }
    assert!(pages.kept.lock().reading.is_empty());
}
