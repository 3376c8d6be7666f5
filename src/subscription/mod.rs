//! Subscriptions inside a process: committed events go into bounded queues, which never hold up a pusher.
//!
//! A full queue only remembers which instances have news, and finally only that there are some. The receiver then reads
//! the store. Nothing is lost, because the store, not the queue, holds the events.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::clock;
use crate::sync::{Condvar, Mutex, MutexGuard};

use crate::event::Event;
use crate::query::EventFilter;

mod untold;
pub(crate) use untold::{Concerned, Untold};

/// The longest time that one call waits, even if it was asked to wait without end.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Which events a subscription gets: those of the named aggregate types, and those of the named event types. It gets
/// all events when nothing is named.
///
/// # Examples
/// ```
/// use readside::subscription::Topics;
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

    /// Adds events of aggregates of this type.
    pub fn aggregate_type(mut self, name: &str) -> Self {
        self.aggregate_types.push(name.to_owned());
        self
    }

    /// Adds events of this type.
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

/// The aggregate types that a projection wants: all types that can move its relevant head.
impl From<&EventFilter> for Topics {
    fn from(wanted: &EventFilter) -> Self {
        if EventFilter::lists_every(&wanted.aggregate_types) {
            return Self::all();
        }
        Self { aggregate_types: wanted.aggregate_types.clone(), event_types: Vec::new() }
    }
}

/// What a subscription hands over.
///
/// Work on `events` first: they come before the events that the marks stand for.
#[derive(Debug, Default)]
#[must_use = "what was received is not queued any more"]
pub struct Received {
    /// Events in the order of publishing. Within an instance that is the order of positions.
    pub events: Vec<Event>,
    /// Instances that have more events than were queued: read them from the store.
    pub dirty: Vec<Arc<str>>,
    /// True when more instances have unqueued events than the queue can remember: look at all instances.
    pub all: bool,
}

impl Received {
    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.dirty.is_empty() && !self.all
    }
}

/// How much one queue holds before it replaces events by marks.
#[derive(Debug, Clone, Copy)]
struct Limits {
    events: usize,
    /// The bytes of payload and metadata.
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

    /// Queues the event, or marks its instance. A marked instance stays marked until the receiver takes the mark: the
    /// receiver would see an event that is queued after the mark before those that the mark stands for.
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
/// Dropping it ends the subscription. To end a wait from another thread, share it in an `Arc` and call
/// [`close`](Self::close).
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use std::time::Duration;
/// use readside::{EventStore, NewEvent, SqliteStore};
/// use readside::subscription::Topics;
/// let store = SqliteStore::in_memory()?;
/// store.setup()?;
/// let subscription = store.subscribe(Topics::all().aggregate_type("user"));
/// store.push(&[NewEvent::raw("main", "user", "u1", "user.added")])?;
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
    /// Waits until there is something to receive, the time is over, or the subscription is closed. Takes all that is
    /// queued; the result is empty when nothing came. Once closed it returns at once, see
    /// [`is_closed`](Self::is_closed).
    pub fn recv_timeout(&self, timeout: Duration) -> Received {
        self.queue.wait(clock::deadline(timeout.min(LONGEST_WAIT))).take()
    }

    /// Takes all that is queued without waiting.
    pub fn drain(&self) -> Received {
        self.queue.queued.lock().take()
    }

    /// Ends the subscription and wakes a waiting receiver. What is already queued can still be received.
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
    /// What other processes have to be told, if this process is the only one that can tell them.
    untold: Option<Arc<Untold>>,
}

impl Bus {
    pub(crate) fn telling(untold: Option<Arc<Untold>>) -> Self {
        Self { untold, ..Self::default() }
    }

    pub(crate) fn subscribe(&self, topics: Topics) -> Subscription {
        self.subscribe_with(topics, Limits::default())
    }

    fn subscribe_with(&self, topics: Topics, limits: Limits) -> Subscription {
        let queue = Arc::new(Queue { topics, limits, queued: Mutex::default(), news: Condvar::new() });
        self.queues.lock().push(Arc::downgrade(&queue));
        Subscription { queue }
    }

    /// Hands on events whose commit is known to have succeeded. The caller must publish the events of one instance in
    /// the order of their positions.
    pub(crate) fn publish(&self, events: &[Event]) {
        for queue in self.live() {
            let mut wanted = events.iter().filter(|event| queue.topics.matches(event)).peekable();
            if wanted.peek().is_some() {
                queue.change(|queued| wanted.for_each(|event| queued.add(event, queue.limits)));
            }
        }
        self.tell(events.iter().map(|event| (&event.instance, &event.aggregate_type)));
    }

    /// Makes other processes hear of events.
    pub(crate) fn tell<'e>(&self, concerned: impl Iterator<Item = (&'e Arc<str>, &'e Arc<str>)>) {
        if let Some(untold) = &self.untold {
            untold.add(concerned);
        }
    }

    /// Tells every subscriber that these instances may have news.
    pub(crate) fn mark_dirty(&self, instances: &[Arc<str>]) {
        for queue in self.live() {
            queue.change(|queued| {
                for instance in instances {
                    queued.mark(instance, queue.limits);
                }
            });
        }
    }

    /// The queues that still have a receiver. Forgets the others.
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

/// A token to fire after the commit of a transaction in which events were pushed.
///
/// After a roll-back, drop it without firing it. Dropping it after a commit loses nothing either: the ticker finds the
/// events, only later.
#[must_use = "fire it after the commit, or the events are only found by the next tick"]
pub struct DirtyToken {
    bus: Arc<Bus>,
    instances: Vec<Arc<str>>,
    concerned: BTreeSet<Concerned>,
}

impl DirtyToken {
    pub(crate) fn new(bus: Arc<Bus>, concerned: BTreeSet<Concerned>) -> Self {
        let mut instances: Vec<Arc<str>> = concerned.iter().map(|(instance, _)| Arc::clone(instance)).collect();
        instances.dedup();
        Self { bus, instances, concerned }
    }

    /// The instances that events were pushed to.
    #[must_use]
    pub fn instances(&self) -> &[Arc<str>] {
        &self.instances
    }

    /// Says that the transaction was committed. Subscribers then look at the instances, and other processes hear of
    /// them.
    pub fn fire(self) {
        self.bus.mark_dirty(&self.instances);
        self.bus.tell(self.concerned.iter().map(|(instance, kind)| (instance, kind)));
    }
}

impl fmt::Debug for DirtyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyToken").field("instances", &self.instances).finish_non_exhaustive()
    }
}

/// The result of a push inside the caller's transaction.
#[derive(Debug)]
#[must_use = "commit the transaction, then fire the token"]
pub struct PushedIn {
    /// The events, in the order in which they were given. They are stored once the caller commits.
    pub events: Vec<Event>,
    /// The token to fire after the commit.
    pub token: DirtyToken,
}

#[cfg(all(test, shuttle))]
mod shuttled;
#[cfg(test)]
mod tests;
