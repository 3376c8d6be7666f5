//! One run of the check. It stores events, and reads them from the source in every way that the engine does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use uuid::Uuid;

use super::follower::{Follower, Running};
use crate::error::{StoreError, chain};
use crate::event::Event;
use crate::query::{Cursor, EventFilter, Head, HeadsRequest, ReadRequest, Span};
use crate::store::EventSource;

/// Events that one check stores in its longest instance.
pub(super) const EVENTS: i64 = 9;
/// Events that each writer stores while another thread reads.
const WRITTEN: i64 = 20;
/// The most pages that a log of this check can have. A source that gives more never ends.
pub(super) const PAGES: usize = 10_000;

/// Stores an event as the next one of its instance. The event is visible when this returns.
pub(super) type Append<'s> = &'s (dyn Fn(&Event) + Sync);
/// Does something to an instance.
pub(super) type Change<'s> = &'s dyn Fn(&str);
/// Does something to one event.
pub(super) type ChangeOne<'s> = &'s dyn Fn(&str, i64);

/// The source that is checked, and what the check may do to its events.
#[derive(Clone)]
pub(super) struct Subject<'s> {
    pub(super) source: &'s dyn EventSource,
    pub(super) append: Append<'s>,
    pub(super) kinds: Vec<(String, String)>,
    pub(super) remove: Option<Change<'s>>,
    pub(super) lose: Option<ChangeOne<'s>>,
}

/// What is wrong with the source.
pub(super) fn faults(subject: &Subject<'_>) -> Vec<String> {
    let mut run = Run::new(subject);
    if subject.kinds.len() < 2 {
        run.fault("the check needs two kinds of events at least");
        return run.faults;
    }
    run.fill();
    run.attempt(Run::identity);
    run.attempt(Run::heads);
    run.attempt(Run::reads);
    run.attempt(Run::pages);
    run.attempt(Run::removal);
    run.attempt(Run::loss);
    run.attempt(Run::side_by_side);
    run.faults
}

/// An event as the check stored it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) event_type: String,
    pub(super) payload: String,
}

impl Stored {
    pub(super) fn is_wanted(&self, wanted: &EventFilter) -> bool {
        EventFilter::lists(&wanted.aggregate_types, &self.aggregate_type)
            && EventFilter::lists(&wanted.event_types, &self.event_type)
    }
}

pub(super) struct Run<'c, 's> {
    pub(super) check: &'c Subject<'s>,
    /// The prefix of all instance names of this run.
    tag: String,
    /// The stored events by instance: position `p` is at index `p - 1`.
    pub(super) stored: BTreeMap<Arc<str>, Vec<Stored>>,
    /// The id with which each event was first seen.
    pub(super) ids: BTreeMap<(Arc<str>, i64), Uuid>,
    faults: Vec<String>,
}

fn whole(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

impl<'c, 's> Run<'c, 's> {
    fn new(check: &'c Subject<'s>) -> Self {
        let tag = format!("conformance-{}", Uuid::now_v7().simple());
        Self { check, tag, stored: BTreeMap::new(), ids: BTreeMap::new(), faults: Vec::new() }
    }

    pub(super) fn source(&self) -> &'s dyn EventSource {
        self.check.source
    }

    pub(super) fn name(&self, instance: &str) -> Arc<str> {
        format!("{}-{instance}", self.tag).into()
    }

    fn attempt(&mut self, check: fn(&mut Self) -> Result<(), StoreError>) {
        if let Err(error) = check(self) {
            self.fault(format!("a call failed: {}", chain(&error)));
        }
    }

    /// Records a fault, once.
    fn fault(&mut self, fault: impl Into<String>) {
        let fault = fault.into();
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    pub(super) fn insist(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.fault(fault());
        }
    }

    fn append(&mut self, instance: &Arc<str>, number: usize) {
        let stored = append(self.check.append, &self.check.kinds, instance, number);
        self.stored.entry(Arc::clone(instance)).or_default().extend(stored);
    }

    /// A filter that wants all kinds.
    pub(super) fn all(&self) -> EventFilter {
        wanting(&self.check.kinds)
    }

    pub(super) fn head(&self, instance: &str) -> i64 {
        self.stored.get(instance).map_or(0, |events| whole(events.len()))
    }

    pub(super) fn relevant(&self, instance: &str, aggregate_types: &[String]) -> i64 {
        let events = self.stored.get(instance).map_or(&[][..], Vec::as_slice);
        let last = events.iter().rposition(|event| EventFilter::lists(aggregate_types, &event.aggregate_type));
        last.map_or(0, |at| whole(at) + 1)
    }

    /// Fills instances of three lengths. One more instance gets no events.
    fn fill(&mut self) {
        for (instance, events) in [("b", 4), ("a", EVENTS), ("c", 1)] {
            let instance = self.name(instance);
            for number in 0..events {
                self.append(&instance, usize::try_from(number).unwrap_or_default());
            }
        }
    }

    fn identity(&mut self) -> Result<(), StoreError> {
        let (id, generation) = (self.source().store_id()?, self.source().generation());
        self.source().forget();
        let again = self.source().store_id()?;
        self.insist(id == again, || format!("store_id: it was {id}, then {again}; it names one history"));
        let later = self.source().generation();
        self.insist(generation == later, || {
            format!("generation: it went from {generation} to {later} although no other server answers")
        });
        for instance in ["a", "nobody"] {
            let removed = self.source().removed(&self.name(instance))?;
            self.insist(removed == 0, || format!("removed: it is {removed} where nothing was removed, not 0"));
        }
        let spans: Vec<Span> = ["a", "b", "c", "nobody"]
            .map(|instance| Span { instance: self.name(instance), after: 0, to: i64::MAX })
            .to_vec();
        for flaw in self.source().flaws(&spans)? {
            self.fault(format!("flaws: a log that is whole has one: {}", flaw.found));
        }
        Ok(())
    }

    fn heads(&mut self) -> Result<(), StoreError> {
        let names = ["b", "nobody", "a"].map(|instance| self.name(instance)).to_vec();
        let request = HeadsRequest { instances: names.clone(), limit: 10, ..HeadsRequest::default() };
        let found = self.source().heads(&request)?;
        let expected: Vec<Head> = ["a", "b"]
            .map(|instance| {
                let (instance, head) = (self.name(instance), self.head(&self.name(instance)));
                Head { instance, head, relevant: head }
            })
            .to_vec();
        self.insist(found == expected, || {
            format!(
                "heads: of two instances and one without events it gives {} instead of {}",
                show(&found),
                show(&expected)
            )
        });
        let after = HeadsRequest { after: Some(self.name("a")), ..request.clone() };
        let found = self.source().heads(&after)?;
        self.insist(found.iter().eq(expected.iter().skip(1)), || {
            format!("heads: after the first it gives {}", show(&found))
        });
        let found = self.source().heads(&HeadsRequest { limit: 1, ..request.clone() })?;
        self.insist(found.iter().eq(expected.iter().take(1)), || {
            format!("heads: limited to one it gives {}", show(&found))
        });
        let mut types: Vec<Vec<String>> = self.check.kinds.iter().map(|(of, _)| vec![of.clone()]).collect();
        types.push(vec!["of no event".to_owned()]);
        for aggregate_types in types {
            let expected: Vec<i64> =
                ["a", "b"].map(|instance| self.relevant(&self.name(instance), &aggregate_types)).to_vec();
            let found =
                self.source().heads(&HeadsRequest { aggregate_types: aggregate_types.clone(), ..request.clone() })?;
            let found: Vec<i64> = found.iter().map(|head| head.relevant).collect();
            self.insist(found == expected, || {
                format!("heads: the relevant heads of {aggregate_types:?} are {expected:?}, not {found:?}")
            });
        }
        self.pages_of_heads()
    }

    fn pages_of_heads(&mut self) -> Result<(), StoreError> {
        let (mut after, mut own) = (None, BTreeSet::new());
        for _ in 0..PAGES {
            let request = HeadsRequest { after: after.clone(), limit: 2, ..HeadsRequest::default() };
            let page = self.source().heads(&request)?;
            self.insist(page.len() <= 2, || "heads: a page is longer than its limit".to_owned());
            let mut last = after.clone();
            for head in &page {
                self.insist(last.as_ref().is_none_or(|last| *last < head.instance), || {
                    "heads: instances do not ascend by their bytes, so that pages miss some".to_owned()
                });
                last = Some(Arc::clone(&head.instance));
            }
            own.extend(
                page.iter().map(|head| Arc::clone(&head.instance)).filter(|name| self.stored.contains_key(name)),
            );
            let (Some(last), true) = (page.last(), after != last) else { break };
            after = Some(Arc::clone(&last.instance));
        }
        let missed = self.stored.len() - own.len();
        self.insist(missed == 0, || format!("heads: {missed} instances are on no page"));
        Ok(())
    }

    fn removal(&mut self) -> Result<(), StoreError> {
        let Some(remove) = self.check.remove else { return Ok(()) };
        let instance = self.name("removed");
        for number in 0..3 {
            self.append(&instance, number);
        }
        remove(&instance);
        let removed = self.source().removed(&instance)?;
        self.insist(removed == 3, || format!("removed: it is {removed} after three events were removed"));
        let request = |after| {
            let cursors = vec![Cursor { instance: Arc::clone(&instance), after }];
            ReadRequest { cursors, wanted: self.all(), limit: 10, max_bytes: usize::MAX }
        };
        let (from_start, from_end) = (request(0), request(3));
        let events = self.source().read(&from_start)?;
        self.insist(events.iter().all(|batch| batch.events.is_empty()), || "read: removed events are there".to_owned());
        append(self.check.append, &self.check.kinds, &instance, 3);
        for request in [from_start, from_end] {
            let batches = self.source().read(&request)?;
            let positions: Vec<i64> = batches.iter().flat_map(|batch| &batch.events).map(Event::position).collect();
            self.insist(positions == [4], || {
                format!("read: after a removal the log goes on with {positions:?}, not 4")
            });
        }
        let removed = self.source().removed(&instance)?;
        self.insist(removed == 3, || format!("removed: it is {removed} once the log goes on, not 3"));
        for flaw in self.source().flaws(&[Span { instance, after: 0, to: i64::MAX }])? {
            self.fault(format!("flaws: what was removed for good is missed: {}", flaw.found));
        }
        Ok(())
    }

    fn loss(&mut self) -> Result<(), StoreError> {
        let Some(lose) = self.check.lose else { return Ok(()) };
        let instance = self.name("lost");
        for number in 0..3 {
            self.append(&instance, number);
        }
        lose(&instance, 2);
        for (after, to, is_found) in [(0, i64::MAX, true), (1, 2, true), (2, 3, false)] {
            let flaws = self.source().flaws(&[Span { instance: Arc::clone(&instance), after, to }])?;
            let found = flaws.iter().any(|flaw| flaw.instance == instance);
            self.insist(found == is_found, || {
                format!("flaws: event 2 is lost; between {after} and {to} that is found: {found}")
            });
        }
        Ok(())
    }

    /// Runs two writers and a reader. The reader must never see a position without all positions below it.
    fn side_by_side(&mut self) -> Result<(), StoreError> {
        let (store, kinds) = (self.check.append, self.check.kinds.as_slice());
        let names = ["x", "y"].map(|instance| self.name(instance));
        let writing = AtomicUsize::new(2);
        let seen = std::thread::scope(|scope| {
            for writer in 0..2 {
                let (names, writing) = (&names, &writing);
                let write = move || {
                    let _running = Running(writing);
                    for number in 0..WRITTEN {
                        let number = usize::try_from(number).unwrap_or_default();
                        if let Some(instance) = names.get((number + writer) % 2) {
                            append(store, kinds, instance, number);
                        }
                    }
                };
                if let Err(error) =
                    std::thread::Builder::new().name(format!("conformance-{writer}")).spawn_scoped(scope, write)
                {
                    writing.fetch_sub(1, Ordering::SeqCst);
                    return Err(StoreError::new("starting a thread", crate::error::StoreErrorKind::Other, error));
                }
            }
            let (mut follower, mut after_all) = (Follower::default(), 0);
            while after_all < PAGES && !(after_all > 0 && follower.is_empty) {
                // This check comes before the read: the read must see everything that was written before the writers
                // ended.
                after_all += usize::from(writing.load(Ordering::SeqCst) == 0);
                follower.follow(self.source(), &names, &self.all())?;
            }
            Ok(follower)
        })?;
        for fault in &seen.faults {
            self.fault(fault.clone());
        }
        let count: i64 = seen.at.values().sum();
        self.insist(count == 2 * WRITTEN, || {
            format!("read: of {} events that two threads stored, the reader saw positions for {count}", 2 * WRITTEN)
        });
        Ok(())
    }
}

pub(super) fn wanting(kinds: &[(String, String)]) -> EventFilter {
    let (mut aggregate_types, mut event_types) = (Vec::new(), Vec::new());
    for (aggregate, event) in kinds {
        for (names, name) in [(&mut aggregate_types, aggregate), (&mut event_types, event)] {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    EventFilter { aggregate_types, event_types }
}

/// Stores an event. Its number decides its kind.
fn append(store: Append<'_>, kinds: &[(String, String)], instance: &Arc<str>, number: usize) -> Option<Stored> {
    let (aggregate_type, event_type) = kinds.get(number % kinds.len().max(1))?.clone();
    let (aggregate_id, payload) = (format!("id-{}", number % 2), format!("{{\"number\":{number}}}"));
    let event = Event::new(instance, &aggregate_type, &aggregate_id, &event_type).with_payload(payload.as_str());
    store(&event);
    Some(Stored { aggregate_type, aggregate_id, event_type, payload })
}

fn show(heads: &[Head]) -> String {
    let mut text = String::from("[");
    for head in heads {
        let name = head.instance.rsplit('-').next().unwrap_or_default();
        // Writing into a `String` cannot fail.
        let _ = write!(text, " {name}: {} ({})", head.head, head.relevant);
    }
    text + " ]"
}
