//! Sources with a mistake on purpose. The check must find each mistake and name it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use super::super::{Answer, Call, Faults, FaultyStore, MemorySource};
use super::event_source;
use crate::error::StoreError;
use crate::event::Event;
use crate::query::{Cursor, EventBatch, EventFilter, Head, HeadsRequest, ReadRequest, Span};
use crate::store::EventSource;

/// A source whose answers this function changes, as a mistake in its code would.
struct Mistake<F>(F);

impl<F: Fn(&Call, Answer<'_>) + Send + Sync + 'static> Faults for Mistake<F> {
    fn after(&self, call: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
        self.0(call, answer);
        Ok(())
    }
}

fn faults_of(mistake: impl Fn(&MemorySource, &Call, Answer<'_>) + Send + Sync + 'static) -> String {
    let below = MemorySource::default();
    let (appended, below_it) = (below.clone(), below.clone());
    let source = FaultyStore::new(
        below,
        Arc::new(Mistake(move |call: &Call, answer: Answer<'_>| {
            mistake(&below_it, call, answer);
        })),
    );
    let append = move |event: &Event| drop(appended.append(event.clone()));
    event_source(&source, &append).faults().join("\n")
}

fn each(batches: &mut [EventBatch], change: impl Fn(&mut EventBatch)) {
    batches.iter_mut().for_each(change);
}

/// The faults of a source with a mistake in its event batches.
fn reading(change: impl Fn(&mut EventBatch) + Send + Sync + 'static) -> String {
    faults_of(move |_, _, answer| {
        if let Answer::Batches(batches) = answer {
            each(batches, &change);
        }
    })
}

/// The faults of a source with a mistake in its heads.
fn heading(change: impl Fn(&mut Vec<Head>) + Send + Sync + 'static) -> String {
    faults_of(move |_, _, answer| {
        if let Answer::Heads(heads) = answer {
            change(heads);
        }
    })
}

// Contract: A0
#[test]
fn a_source_that_is_right_has_no_faults() {
    assert_eq!(faults_of(|_, _, _| ()), "");
    let source = MemorySource::default();
    let append = |event: &Event| drop(source.append(event.clone()));
    event_source(&source, &append).kinds([("order", "placed"), ("order", "paid")]).assert();
}

// Contract: A0, L1, L3
#[test]
fn mistakes_in_what_is_read_are_found() {
    let found = |said: &str, expected: &str| assert!(said.contains(expected), "{expected:?} is not said: {said}");
    found(&reading(|batch| batch.events.reverse()), "events do not ascend");
    found(&reading(|batch| drop(batch.events.pop())), "is missing");
    found(&reading(|batch| batch.events.truncate(0)), "is missing");
    found(&reading(|batch| batch.more = false), "is missing");
    found(&reading(|batch| batch.more = true), "nothing is given and there is more");
    found(&reading(|batch| batch.head -= 1), "head is");
    found(&reading(|batch| batch.head_id = None), "head_id");
    found(&reading(|batch| batch.head_id = Some(Uuid::now_v7())), "changes its id");
    found(&reading(|batch| batch.at = None), "names the event at the cursor");
    found(&reading(|batch| batch.at = batch.head_id), "two events have one id");
    found(&reading(|batch| batch.relevant = batch.head), "relevant is");
    found(&reading(|batch| batch.after = 0), "one batch for each cursor");
    found(
        &reading(|batch| {
            for event in &mut batch.events {
                *event = event.clone().with_id(Uuid::now_v7());
            }
        }),
        "changes its id",
    );
    found(
        &reading(|batch| {
            for event in &mut batch.events {
                *event = event.clone().with_payload("{}");
            }
        }),
        "not the one that was stored",
    );
    let said = faults_of(|_, _, answer| {
        if let Answer::Batches(batches) = answer {
            batches.retain(|batch| batch.head > 0);
        }
    });
    found(&said, "one batch for each cursor");
    let said = faults_of(|_, _, answer| {
        if let Answer::Batches(batches) = answer {
            batches.reverse();
        }
    });
    found(&said, "one batch for each cursor");
}

// Contract: A0
#[test]
fn mistakes_in_heads_are_found() {
    let found = |said: &str, expected: &str| assert!(said.contains(expected), "{expected:?} is not said: {said}");
    found(&heading(|heads| heads.reverse()), "of two instances and one without events");
    found(&heading(|heads| drop(heads.pop())), "limited to one");
    found(&heading(|heads| heads.iter_mut().for_each(|head| head.relevant = head.head)), "the relevant heads");
    found(&heading(|heads| heads.iter_mut().for_each(|head| head.head += 1)), "of two instances");
    found(&heading(|heads| heads.truncate(1)), "of two instances");
}

/// A source that ignores one part of each request.
#[derive(Debug)]
struct Deaf {
    below: MemorySource,
    to: &'static str,
}

impl EventSource for Deaf {
    fn store_id(&self) -> Result<Uuid, StoreError> {
        if self.to == "identity" { Ok(Uuid::now_v7()) } else { self.below.store_id() }
    }
    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        let mut request = request.clone();
        match self.to {
            "instances" => request.instances = Vec::new(),
            "after" => request.after = None,
            "limit of heads" => request.limit = usize::MAX,
            "types" => request.aggregate_types = Vec::new(),
            _ => {}
        }
        self.below.heads(&request)
    }
    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        let mut request = request.clone();
        match self.to {
            "limit" => request.limit = usize::MAX,
            "bytes" => request.max_bytes = usize::MAX,
            "filter" => request.wanted.aggregate_types = vec!["thing".into(), "other".into()],
            _ => {}
        }
        self.below.read(&request)
    }
    fn removed(&self, _: &str) -> Result<i64, StoreError> {
        Ok(i64::from(self.to == "removed"))
    }
    fn flaws(&self, spans: &[Span]) -> Result<Vec<crate::query::Flaw>, StoreError> {
        let flaw = |span: &Span| crate::query::Flaw {
            instance: Arc::clone(&span.instance),
            found: "a hole".into(),
            behind: false,
        };
        Ok(if self.to == "flaws" { spans.iter().map(flaw).collect() } else { Vec::new() })
    }
    fn generation(&self) -> u64 {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        if self.to == "generation" { COUNT.fetch_add(1, Ordering::SeqCst) as u64 } else { 0 }
    }
    fn forget(&self) {}
}

// Contract: A0
#[test]
fn a_source_that_does_not_look_at_what_is_asked_is_found() {
    for (to, said) in [
        ("identity", "store_id: it was"),
        ("generation", "generation: it went"),
        ("removed", "removed: it is 1"),
        ("flaws", "flaws: a log that is whole"),
        ("instances", "heads: of two instances and one without events"),
        ("after", "heads: after the first"),
        ("limit of heads", "heads: limited to one"),
        ("types", "heads: the relevant heads"),
        ("limit", "more events than the limit"),
        ("bytes", "more bytes of payload"),
        ("filter", "of an aggregate type that is not wanted"),
    ] {
        let below = MemorySource::default();
        let append = |event: &Event| drop(below.append(event.clone()));
        let faults = event_source(&Deaf { below: below.clone(), to }, &append).faults().join("\n");
        assert!(faults.contains(said), "{to}: {faults}");
    }
    let below = MemorySource::default();
    let append = |event: &Event| drop(below.append(event.clone()));
    assert_eq!(event_source(&Deaf { below: below.clone(), to: "nothing" }, &append).faults(), [""; 0]);
}

/// Stores two more events of an instance, as another process could at any time.
fn chance(below: &MemorySource, instance: &str) {
    for number in 0..2 {
        below.append(Event::new(instance, "thing", &format!("chance-{number}"), "made"));
    }
}

/// The first batch of the instance that the check writes while it reads. It is returned only once.
fn first_of_many<'b>(done: &AtomicBool, batches: &'b mut [EventBatch]) -> Option<&'b mut EventBatch> {
    let first = batches.iter_mut().find(|batch| batch.instance.ends_with("-x") && batch.head > 0)?;
    (!done.swap(true, Ordering::SeqCst)).then_some(first)
}

// Contract: L1: a mistake that shows only while others write.
#[test]
fn heads_that_are_read_after_events_are_found() {
    let done = AtomicBool::new(false);
    let said = faults_of(move |below, _, answer| {
        let Answer::Batches(batches) = answer else { return };
        let Some(batch) = first_of_many(&done, batches) else { return };
        chance(below, &batch.instance);
        let request = HeadsRequest { instances: vec![batch.instance.clone()], limit: 1, ..HeadsRequest::default() };
        (batch.head, batch.more) = (below.heads(&request).unwrap()[0].head, false);
    });
    assert!(said.contains("a head is given above events that are not"), "{said}");
}

// Contract: L1
#[test]
fn a_hole_that_closes_later_is_found() {
    let done = AtomicBool::new(false);
    let said = faults_of(move |below, _, answer| {
        let Answer::Batches(batches) = answer else { return };
        let Some(batch) = first_of_many(&done, batches) else { return };
        chance(below, &batch.instance);
        let wanted =
            EventFilter { aggregate_types: vec!["thing".into(), "other".into()], event_types: vec!["made".into()] };
        let cursors = vec![Cursor { instance: Arc::clone(&batch.instance), after: batch.after }];
        let request = ReadRequest { cursors, wanted, limit: 100, max_bytes: usize::MAX };
        *batch = below.read(&request).unwrap().remove(0);
        // The event is not visible yet, but those above it are.
        batch.events.remove(0);
    });
    assert!(said.contains("a position is seen before all below it"), "{said}");
}

/// A source that loses events. `knows` says whether it reports them as gone.
#[derive(Debug)]
struct Losing {
    below: MemorySource,
    gone: Mutex<Vec<(Arc<str>, i64)>>,
    knows: bool,
}

impl Losing {
    fn is_gone(&self, instance: &Arc<str>, position: i64) -> bool {
        self.gone.lock().contains(&(Arc::clone(instance), position))
    }
}

impl EventSource for Losing {
    fn store_id(&self) -> Result<Uuid, StoreError> {
        self.below.store_id()
    }
    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        self.below.heads(request)
    }
    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        let mut batches = self.below.read(request)?;
        each(&mut batches, |batch| {
            let instance = Arc::clone(&batch.instance);
            batch.events.retain(|event| !self.is_gone(&instance, event.position));
        });
        Ok(batches)
    }
    fn removed(&self, instance: &str) -> Result<i64, StoreError> {
        let of_it = |(gone, position): &(Arc<str>, i64)| (**gone == *instance).then_some(*position);
        let removed = self.gone.lock().iter().filter_map(of_it).max().unwrap_or(0);
        Ok(if self.knows && instance.ends_with("removed") { removed } else { 0 })
    }
    fn flaws(&self, spans: &[Span]) -> Result<Vec<crate::query::Flaw>, StoreError> {
        let flawed = |span: &&Span| {
            let is_lost = |position: i64| span.instance.ends_with("lost") && self.is_gone(&span.instance, position);
            self.knows && (span.after + 1..=span.to.min(3)).any(is_lost)
        };
        let flaw = |span: &Span| crate::query::Flaw {
            instance: Arc::clone(&span.instance),
            found: "a hole".into(),
            behind: false,
        };
        Ok(spans.iter().filter(flawed).map(flaw).collect())
    }
    fn generation(&self) -> u64 {
        0
    }
    fn forget(&self) {}
}

// Contract: A0, L10
#[test]
fn a_source_that_forgets_what_is_gone_is_found() {
    for knows in [true, false] {
        let source = Losing { below: MemorySource::default(), gone: Mutex::default(), knows };
        let append = |event: &Event| drop(source.below.append(event.clone()));
        let lose = |instance: &str, position: i64| source.gone.lock().push((instance.into(), position));
        let remove = |instance: &str| (1..=3).for_each(|position| lose(instance, position));
        let faults = event_source(&source, &append).removing(&remove).losing(&lose).faults().join("\n");
        if knows {
            assert_eq!(faults, "");
        } else {
            assert!(faults.contains("removed: it is 0 after three"), "{faults}");
            assert!(faults.contains("flaws: event 2 is lost"), "{faults}");
        }
    }
}
