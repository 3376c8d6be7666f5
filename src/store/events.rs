//! Where events come from, and where they are pushed.

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
/// A source owes the laws of order: positions of an instance are dense from 1 (or from behind those that were
/// [`removed`](Self::removed)) in the order of commits; who sees position `p` sees every position below. An event never
/// changes its position or its id.
///
/// # Errors
/// Every method returns [`StoreError`] with a kind that tells whether trying again can help.
///
/// # A custom source
/// A service may implement this trait for a log that it has already, as [`MemorySource`](crate::testing::MemorySource)
/// does for events in memory. No method has a default, so none is forgotten.
/// [`testing::conformance`](crate::testing::conformance) checks such a source against all that the engine relies on.
pub trait EventSource: fmt::Debug + Send + Sync {
    /// The id of this store and its history; another store, or an emptied one, has another id.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn store_id(&self) -> Result<Uuid, StoreError>;

    /// Heads of instances, ascending by the bytes of the instance, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError>;

    /// One slice for each cursor, in the order of the cursors. See [`EventBatch`] for what it owes.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError>;

    /// The position up to which the events of an instance were removed for good. Its log begins after it. 0 when none
    /// were, as for a source that never removes events.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn removed(&self, instance: &str) -> Result<i64, StoreError>;

    /// Says what is missing in these parts of logs, one flaw for each at most: positions without an event, or an event
    /// of a type above the head of that. What was removed for good is not missed. A rebuild asks this, and so does
    /// `verify`. A source that cannot lose events returns none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn flaws(&self, spans: &[Span]) -> Result<Vec<Flaw>, StoreError>;

    /// A number that changes when what was read before may not be true any more, for instance because a connection was lost:
    /// another server may answer from now on. Always 0 for a source of which that cannot happen.
    fn generation(&self) -> u64;

    /// Drops all that was kept of the log, because an event that was read is not there any more. Does nothing in a source
    /// that keeps nothing.
    fn forget(&self);
}

/// A source that is shared is the same source.
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
    /// Stores all of these events, or none of them, in one transaction, and returns them in this
    /// order.
    ///
    /// # Errors
    /// See [`PushError`].
    fn push(&self, events: &[NewEvent]) -> Result<Vec<Event>, PushError>;

    /// The events that a query finds, in order of instance and position.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn filter(&self, query: &Query) -> Result<Vec<Event>, StoreError>;

    /// The instances of the events that a query finds, each once, by bytes. Order and limit of the query apply to
    /// instances.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instance_ids(&self, query: &Query) -> Result<Vec<Arc<str>>, StoreError>;

    /// In which database the events are, as it is now. No other database has the same location at the same time, a copy
    /// of this one neither: it has the same [`store_id`](EventSource::store_id).
    ///
    /// # Errors
    /// When the store cannot be read.
    fn location(&self) -> Result<String, StoreError>;

    /// Hands events that are pushed through this store from now on to the subscription. Dropping the subscription
    /// ends it.
    fn subscribe(&self, topics: Topics) -> Subscription;
}
