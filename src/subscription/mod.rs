//! Subscriptions inside a process: events of known commits go into bounded queues, which never hold up a pusher.
//!
//! A queue that is full remembers only which instances have news, and at last only that there are some: the receiver
//! then reads the store. Nothing is lost by that, because the store, not the queue, holds the events.

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

/// The longest that one call waits, even if it was asked to wait without end.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Which events a subscription is for: those of the aggregate types, and those of the event types; all when neither
/// is named.
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
impl From<&EventFilter> for Topics {
    fn from(wanted: &EventFilter) -> Self {
        if EventFilter::lists_every(&wanted.aggregate_types) {
            return Self::all();
        }
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
    /// Waits until there is something to receive, the time is over or the subscription is closed, and takes all that
    /// is queued; empty when nothing came. Once closed it returns at once, see [`is_closed`](Self::is_closed).
    pub fn recv_timeout(&self, timeout: Duration) -> Received {
        self.queue.wait(clock::deadline(timeout.min(LONGEST_WAIT))).take()
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
    /// For other processes, where nothing but this process tells them.
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

    /// Hands on events whose commit is known to have succeeded. The caller sees to it that events of one instance
    /// are published in the order of their positions.
    pub(crate) fn publish(&self, events: &[Event]) {
        for queue in self.live() {
            let mut wanted = events.iter().filter(|event| queue.topics.matches(event)).peekable();
            if wanted.peek().is_some() {
                queue.change(|queued| wanted.for_each(|event| queued.add(event, queue.limits)));
            }
        }
        self.tell(events.iter().map(|event| (&event.instance, &event.aggregate_type)));
    }

    /// Has other processes told of events.
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
    concerned: BTreeSet<Concerned>,
}

impl DirtyToken {
    pub(crate) fn new(bus: Arc<Bus>, concerned: BTreeSet<Concerned>) -> Self {
        let mut instances: Vec<Arc<str>> = concerned.iter().map(|(instance, _)| Arc::clone(instance)).collect();
        instances.dedup();
        Self { bus, instances, concerned }
    }

    /// The instances that were pushed to.
    #[must_use]
    pub fn instances(&self) -> &[Arc<str>] {
        &self.instances
    }

    /// Says that the transaction was committed: subscribers look at the instances, and other processes hear of it.
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

/// What a push inside the caller's own transaction brought.
#[derive(Debug)]
#[must_use = "commit the transaction, then fire the token"]
pub struct PushedIn {
    /// The events, in the order in which they were given; stored once the caller commits.
    pub events: Vec<Event>,
    /// To be fired after the commit.
    pub token: DirtyToken,
}

#[cfg(all(test, shuttle))]
mod shuttled;
#[cfg(test)]
mod tests;
