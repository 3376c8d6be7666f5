//! Where events come from, and where they are pushed to.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::{PushError, StoreError};
use crate::event::{Event, NewEvent};
use crate::query::{EventBatch, Flaw, Head, HeadsRequest, Query, ReadRequest, Span};
use crate::sealed::Sealed;
use crate::subscription::{Subscription, Topics};

/// Where a projection reads events.
///
/// A source must keep the laws of order: the positions of an instance follow the order of commits, without gaps, from 1
/// (or from the first position after those that were [`removed`](Self::removed)). A reader that sees position `p` sees
/// every position below. An event never changes its position or its id.
///
/// # Errors
/// Every method returns [`StoreError`] with a kind that tells whether trying again can help.
///
/// # A custom source
/// A service may implement this trait for a log that it already has, as [`MemorySource`](crate::testing::MemorySource)
/// does for events in memory. No method has a default, so that an implementation cannot forget one.
/// [`testing::conformance`](crate::testing::conformance) checks such a source against everything that the engine relies
/// on.
pub trait EventSource: fmt::Debug + Send + Sync {
    /// The id of this store and its history. Another store has another id, and so has this one after it was emptied.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn store_id(&self) -> Result<Uuid, StoreError>;

    /// Heads of instances, in ascending order of the instances' bytes, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError>;

    /// One batch for each cursor, in the order of the cursors. See [`EventBatch`] for what a batch has to hold.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError>;

    /// The position up to which the events of an instance were removed for good. The log begins after it. 0 when none
    /// were removed, as in a source that never removes events.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn removed(&self, instance: &str) -> Result<i64, StoreError>;

    /// Reports what is missing in these parts of logs, with at most one flaw for each part: a position without an
    /// event, or an event above the head of its type. Events that were removed for good are not missing. A rebuild and
    /// `verify` call this. A source that cannot lose events returns no flaws.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn flaws(&self, spans: &[Span]) -> Result<Vec<Flaw>, StoreError>;

    /// A number that changes when what was read before may no longer be true, for instance because a connection was
    /// lost and another server may answer from now on. It is always 0 for a source to which that cannot happen.
    fn generation(&self) -> u64;

    /// Drops all that the source remembers of the log, because an event that was read is gone. A source that remembers
    /// nothing does nothing.
    fn forget(&self);
}

/// A shared source is the same source.
impl<S: EventSource + ?Sized> EventSource for Arc<S> {
    fn store_id(&self) -> Result<Uuid, StoreError> {
        (**self).store_id()
    }

    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        (**self).heads(request)
    }

    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        (**self).read(request)
    }

    fn removed(&self, instance: &str) -> Result<i64, StoreError> {
        (**self).removed(instance)
    }

    fn flaws(&self, spans: &[Span]) -> Result<Vec<Flaw>, StoreError> {
        (**self).flaws(spans)
    }

    fn generation(&self) -> u64 {
        (**self).generation()
    }

    fn forget(&self) {
        (**self).forget();
    }
}

/// A source that events can be pushed to.
///
/// It is sealed: only this library implements it.
pub trait EventStore: Sealed + EventSource {
    /// Stores all of these events, or none of them, in one transaction. Returns them in this order.
    ///
    /// # Errors
    /// See [`PushError`].
    fn push(&self, events: &[NewEvent]) -> Result<Vec<Event>, PushError>;

    /// The events that a query finds, in order of instance and position.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn filter(&self, query: &Query) -> Result<Vec<Event>, StoreError>;

    /// The instances of the events that a query finds, each once, in order of their bytes. Order and limit of the query
    /// apply to instances.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instance_ids(&self, query: &Query) -> Result<Vec<Arc<str>>, StoreError>;

    /// Identifies the database that holds the events now. No other database has the same location at the same time, not
    /// even a copy of this one, although a copy has the same [`store_id`](EventSource::store_id).
    ///
    /// # Errors
    /// When the store cannot be read.
    fn location(&self) -> Result<String, StoreError>;

    /// Subscribes to events that are pushed through this store from now on. Dropping the subscription ends it.
    fn subscribe(&self, topics: Topics) -> Subscription;
}
