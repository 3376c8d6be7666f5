//! Subscriptions inside a process: events of known commits go into bounded queues, which never hold up a pusher.
//!
//! A queue that is full remembers only which instances have news, and at last only that there are some: the receiver
//! then reads the store. Nothing is lost by that, because the store, not the queue, holds the events.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::event::Event;
use crate::query::Wanted;

/// The longest that one call waits, also when it was asked to wait for ever.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Which events a subscription is for: those of the aggregate types, and those of the event types; all when neither
/// is named.
///
/// # Examples
/// ```
/// use readside::Topics;
/// let topics = Topics::all().aggregate_type("user").event_type("order.paid");
/// # let _ = topics;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Topics {
    aggregate_types: Vec<String>,
    event_types: Vec<String>,
}

impl Topics {
    /// Every event, until a type is named.
    pub fn all() -> Self {
        Self::default()
    }

    /// Events of aggregates of this type.
    pub fn aggregate_type(mut self, name: &str) -> Self {
        self.aggregate_types.push(name.to_owned());
        self
    }

    /// Events of this type.
    pub fn event_type(mut self, name: &str) -> Self {
        self.event_types.push(name.to_owned());
        self
    }

    /// True when the event is of one of these types.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let named = |names: &[String], name: &str| names.iter().any(|candidate| candidate == name);
        (self.aggregate_types.is_empty() && self.event_types.is_empty())
            || named(&self.aggregate_types, event.aggregate_type())
            || named(&self.event_types, event.event_type())
    }
}

/// The aggregate types that a projection wants: all that can move its relevant head.
impl From<&Wanted> for Topics {
    fn from(wanted: &Wanted) -> Self {
        Self { aggregate_types: wanted.aggregate_types.clone(), event_types: Vec::new() }
    }
}

/// What a subscription had to hand over.
///
/// Work on `events` first: they lie before what the marks stand for.
#[derive(Debug, Default)]
#[must_use = "what was received is not queued any more"]
pub struct Received {
    /// Events in the order of publishing, which is that of positions within an instance.
    pub events: Vec<Event>,
    /// Instances that have more events than were queued: read them from the store.
    pub dirty: Vec<Arc<str>>,
    /// More instances than could be remembered have more events: look at all of them.
    pub all: bool,
}

impl Received {
    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.dirty.is_empty() && !self.all
    }
}

/// How much one queue holds before it folds events into marks.
#[derive(Debug, Clone, Copy)]
struct Limits {
    events: usize,
    /// Bytes of payload and metadata.
    bytes: usize,
    dirty: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 1024, bytes: 16 << 20, dirty: 1024 }
    }
}

#[derive(Debug, Default)]
struct Queued {
    events: VecDeque<Event>,
    bytes: usize,
    dirty: BTreeSet<Arc<str>>,
    all: bool,
    closed: bool,
}

impl Queued {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.dirty.is_empty() && !self.all
    }

    /// Queues the event, or folds it into a mark. An instance that is marked stays so until the receiver takes the
    /// mark: an event queued behind it would be seen before those that the mark stands for.
    fn add(&mut self, event: &Event, limits: Limits) {
        let size = event.payload_json().len() + event.metadata_json().len();
        let full = self.events.len() >= limits.events || self.bytes.saturating_add(size) > limits.bytes;
        if self.all || self.dirty.contains(&event.instance) {
            return;
        }
        if full {
            return self.mark(&event.instance, limits);
        }
        self.bytes += size;
        self.events.push_back(event.clone());
    }

    fn mark(&mut self, instance: &Arc<str>, limits: Limits) {
        if self.all || self.dirty.contains(instance) {
            return;
        }
        if self.dirty.len() < limits.dirty {
            self.dirty.insert(Arc::clone(instance));
        } else {
            self.all = true;
            self.dirty.clear();
        }
    }

    fn take(&mut self) -> Received {
        self.bytes = 0;
        Received {
            events: std::mem::take(&mut self.events).into(),
            dirty: std::mem::take(&mut self.dirty).into_iter().collect(),
            all: std::mem::take(&mut self.all),
        }
    }
}

#[derive(Debug)]
struct Queue {
    topics: Topics,
    limits: Limits,
    queued: Mutex<Queued>,
    news: Condvar,
}

impl Queue {
    /// Runs `change` unless closed, and wakes the receiver when there is something to receive.
    fn change(&self, change: impl FnOnce(&mut Queued)) {
        let mut queued = self.queued.lock();
        if queued.closed {
            return;
        }
        change(&mut queued);
        let news = !queued.is_empty();
        drop(queued);
        if news {
            self.news.notify_one();
        }
    }

    fn wait(&self, deadline: Instant) -> MutexGuard<'_, Queued> {
        let mut queued = self.queued.lock();
        while queued.is_empty() && !queued.closed {
            if self.news.wait_until(&mut queued, deadline).timed_out() {
                break;
            }
        }
        queued
    }
}

/// A queue of events that are pushed through a store of this process.
///
/// Dropping it ends the subscription. To end a wait from another thread share it in an `Arc` and call
/// [`close`](Self::close).
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use std::time::Duration;
/// use readside::{Command, EventStore, SqliteStore, Topics};
/// let store = SqliteStore::in_memory()?;
/// store.setup()?;
/// let subscription = store.subscribe(Topics::all().aggregate_type("user"));
/// store.push(&[Command::raw("main", "user", "u1", "user.added")])?;
/// let received = subscription.recv_timeout(Duration::from_secs(1));
/// assert_eq!(received.events.len(), 1);
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[must_use = "a subscription ends when it is dropped"]
pub struct Subscription {
    queue: Arc<Queue>,
}

impl Subscription {
    /// Waits until there is something to receive, the time is over or the subscription is closed, and takes all that
    /// is queued; empty when nothing came. Once closed it returns at once, see [`is_closed`](Self::is_closed).
    pub fn recv_timeout(&self, timeout: Duration) -> Received {
        self.queue.wait(Instant::now() + timeout.min(LONGEST_WAIT)).take()
    }

    /// Takes all that is queued without waiting.
    pub fn drain(&self) -> Received {
        self.queue.queued.lock().take()
    }

    /// Ends the subscription and wakes who waits; what is queued already can still be received.
    pub fn close(&self) {
        self.queue.queued.lock().closed = true;
        self.queue.news.notify_all();
    }

    /// True after [`close`](Self::close): nothing new will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue.queued.lock().closed
    }

    /// Ends the subscription, as dropping it does.
    pub fn unsubscribe(self) {
        drop(self);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = self.queue.queued.lock();
        f.debug_struct("Subscription")
            .field("topics", &self.queue.topics)
            .field("events", &queued.events.len())
            .field("dirty", &queued.dirty.len())
            .field("all", &queued.all)
            .field("closed", &queued.closed)
            .finish()
    }
}

/// The subscribers of a store in this process.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    queues: Mutex<Vec<Weak<Queue>>>,
}

impl Bus {
    pub(crate) fn subscribe(&self, topics: Topics) -> Subscription {
        self.subscribe_with(topics, Limits::default())
    }

    fn subscribe_with(&self, topics: Topics, limits: Limits) -> Subscription {
        let queue = Arc::new(Queue { topics, limits, queued: Mutex::default(), news: Condvar::new() });
        self.queues.lock().push(Arc::downgrade(&queue));
        Subscription { queue }
    }

    /// Hands on events whose commit is known to have succeeded. The caller sees to it that events of one instance
    /// are published in the order of their positions.
    pub(crate) fn publish(&self, events: &[Event]) {
        for queue in self.live() {
            let mut wanted = events.iter().filter(|event| queue.topics.matches(event)).peekable();
            if wanted.peek().is_some() {
                queue.change(|queued| wanted.for_each(|event| queued.add(event, queue.limits)));
            }
        }
    }

    /// Tells every subscriber that these instances may have news.
    pub(crate) fn mark_dirty(&self, instances: &[Arc<str>]) {
        for queue in self.live() {
            queue.change(|queued| instances.iter().for_each(|instance| queued.mark(instance, queue.limits)));
        }
    }

    /// The queues that still have a receiver; the others are forgotten.
    fn live(&self) -> Vec<Arc<Queue>> {
        let mut live = Vec::new();
        self.queues.lock().retain(|queue| {
            let queue = queue.upgrade();
            live.extend(queue.clone());
            queue.is_some()
        });
        live
    }
}

/// To be fired after the commit of a transaction that events were pushed in.
///
/// Dropping it unfired is right after a roll-back, and loses nothing after a commit: the ticker finds the events,
/// only later.
#[must_use = "fire it after the commit, or the events are only found by the next tick"]
pub struct DirtyToken {
    bus: Arc<Bus>,
    instances: Vec<Arc<str>>,
}

impl DirtyToken {
    #[cfg_attr(not(any(feature = "sqlite", feature = "postgres", test)), expect(dead_code, reason = "for backends"))]
    pub(crate) fn new(bus: Arc<Bus>, instances: Vec<Arc<str>>) -> Self {
        Self { bus, instances }
    }

    /// The instances that were pushed to.
    #[must_use]
    pub fn instances(&self) -> &[Arc<str>] {
        &self.instances
    }

    /// Says that the transaction was committed: subscribers look at the instances.
    pub fn fire(self) {
        self.bus.mark_dirty(&self.instances);
    }
}

impl fmt::Debug for DirtyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyToken").field("instances", &self.instances).finish_non_exhaustive()
    }
}

/// What a push inside the caller's own transaction brought.
#[derive(Debug)]
#[must_use = "commit the transaction, then fire the token"]
pub struct PushedIn {
    /// The events, in the order of the commands; stored once the caller commits.
    pub events: Vec<Event>,
    /// To be fired after the commit.
    pub token: DirtyToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(instance: &str, aggregate: &str, position: i64) -> Event {
        Event::new(instance, aggregate, "1", &format!("{aggregate}.done")).with_position(position)
    }

    fn positions(received: &Received) -> Vec<(String, i64)> {
        received.events.iter().map(|event| (event.instance().to_owned(), event.position())).collect()
    }

    fn small(events: usize, dirty: usize) -> Limits {
        Limits { events, dirty, ..Limits::default() }
    }

    // SPEC A6
    #[test]
    fn events_come_in_order_and_once() {
        let bus = Bus::default();
        let subscription = bus.subscribe(Topics::all());
        bus.publish(&[event("a", "user", 1), event("b", "user", 1)]);
        bus.publish(&[event("a", "user", 2)]);
        let received = subscription.recv_timeout(Duration::MAX);
        assert_eq!(positions(&received), [("a".into(), 1), ("b".into(), 1), ("a".into(), 2)]);
        assert!(received.dirty.is_empty() && !received.all);
        assert!(subscription.recv_timeout(Duration::ZERO).is_empty());
    }

    // SPEC A6
    #[test]
    fn topics_join_aggregate_and_event_types_by_or() {
        let bus = Bus::default();
        let subscription = bus.subscribe(Topics::all().aggregate_type("user").event_type("order.done"));
        bus.publish(&[event("a", "user", 1), event("a", "order", 2), event("a", "bill", 3)]);
        assert_eq!(positions(&subscription.drain()), [("a".into(), 1), ("a".into(), 2)]);
        bus.publish(&[event("a", "bill", 4)]);
        assert!(subscription.drain().is_empty());
    }

    // SPEC A6, L9
    #[test]
    fn overflow_marks_the_instance_and_keeps_it_marked_until_taken() {
        let bus = Bus::default();
        let subscription = bus.subscribe_with(Topics::all(), small(2, 8));
        bus.publish(&[event("a", "user", 1), event("a", "user", 2), event("a", "user", 3), event("b", "user", 1)]);
        let received = subscription.drain();
        assert_eq!(positions(&received), [("a".into(), 1), ("a".into(), 2)]);
        assert_eq!(received.dirty, ["a".into(), "b".into()]);
        bus.mark_dirty(&["a".into()]);
        bus.publish(&[event("a", "user", 4), event("b", "user", 2)]);
        let received = subscription.drain();
        assert_eq!(positions(&received), [("b".into(), 2)], "an event behind a mark would overtake it");
        assert_eq!(received.dirty, ["a".into()]);
        bus.publish(&[event("a", "user", 5)]);
        assert_eq!(positions(&subscription.drain()), [("a".into(), 5)]);
    }

    // SPEC L9
    #[test]
    fn too_many_dirty_instances_become_all() {
        let bus = Bus::default();
        let subscription = bus.subscribe_with(Topics::all(), small(0, 2));
        bus.publish(&[event("a", "user", 1), event("b", "user", 1)]);
        bus.publish(&[event("c", "user", 1), event("d", "user", 1)]);
        let received = subscription.drain();
        assert!(received.events.is_empty() && received.dirty.is_empty() && received.all);
        assert!(subscription.drain().is_empty());
    }

    // SPEC L9
    #[test]
    fn bytes_are_bounded_too() {
        let bus = Bus::default();
        let limits = Limits { bytes: 100, ..Limits::default() };
        let subscription = bus.subscribe_with(Topics::all(), limits);
        let large = event("b", "user", 1).with_payload(format!("{:?}", "x".repeat(200)));
        bus.publish(&[event("a", "user", 1), large, event("a", "user", 2)]);
        let received = subscription.drain();
        assert_eq!(positions(&received), [("a".into(), 1), ("a".into(), 2)]);
        assert_eq!(received.dirty, ["b".into()]);
    }

    /// Whatever the sizes, each event is either handed over or stood for by a mark that comes with or after those
    /// before it.
    // SPEC A6
    #[test]
    fn nothing_is_lost_in_any_size_of_queue() {
        for (capacity, dirty, step) in (0..4).flat_map(|c| (0..3).flat_map(move |d| (1..7).map(move |s| (c, d, s)))) {
            let bus = Bus::default();
            let subscription = bus.subscribe_with(Topics::all(), small(capacity, dirty));
            let mut seen = [0i64; 3];
            for published in 1..=24i64 {
                for instance in ["0", "1", "2"] {
                    bus.publish(&[event(instance, "user", published)]);
                }
                if published % step != 0 {
                    continue;
                }
                let received = subscription.drain();
                for event in &received.events {
                    let at: usize = event.instance().parse().unwrap();
                    assert_eq!(event.position(), seen[at] + 1, "an event overtook a mark");
                    seen[at] = event.position();
                }
                for (at, seen) in seen.iter_mut().enumerate() {
                    if received.all || received.dirty.iter().any(|instance| **instance == *at.to_string()) {
                        *seen = published;
                    }
                    assert_eq!(*seen, published, "capacity {capacity}, dirty {dirty}, step {step}");
                }
            }
        }
    }

    // SPEC A6
    #[test]
    fn a_dropped_subscription_is_forgotten() {
        let bus = Bus::default();
        let (first, second) = (bus.subscribe(Topics::all()), bus.subscribe(Topics::all()));
        first.unsubscribe();
        bus.publish(&[event("a", "user", 1)]);
        assert_eq!(bus.queues.lock().len(), 1);
        assert_eq!(second.drain().events.len(), 1);
    }

    // SPEC J3
    #[test]
    fn close_wakes_a_waiting_receiver() {
        let bus = Bus::default();
        let subscription = bus.subscribe(Topics::all());
        bus.publish(&[event("a", "user", 1)]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let first = subscription.recv_timeout(Duration::MAX);
                (first.events.len(), subscription.recv_timeout(Duration::MAX).is_empty())
            });
            subscription.close();
            assert_eq!(waiting.join().unwrap(), (1, true));
        });
        bus.publish(&[event("a", "user", 2)]);
        assert!(subscription.is_closed() && subscription.drain().is_empty());
    }

    // SPEC A4
    #[test]
    fn a_token_marks_only_when_it_is_fired() {
        let bus = Arc::new(Bus::default());
        let subscription = bus.subscribe(Topics::all().aggregate_type("user"));
        drop(DirtyToken::new(Arc::clone(&bus), vec!["a".into()]));
        assert!(subscription.drain().is_empty());
        DirtyToken::new(Arc::clone(&bus), vec!["a".into()]).fire();
        assert_eq!(subscription.drain().dirty, ["a".into()]);
    }
}
