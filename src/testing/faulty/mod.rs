//! A store that passes each call on to another store, and lets a test act at each call.

mod stores;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::error::StoreError;
use crate::event::Event;
use crate::query::{EventBatch, Head};
use crate::state::ProjectionKey;
use crate::store::Notifications;

/// A call of a store, as [`Faults`] see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Trait and method, for instance `"EventSource::read"`. The commit of a transaction is a separate call,
    /// `"ProjectionStore::commit"`.
    pub name: &'static str,
    /// The projection that the call is about, if it is about one.
    pub projection: Option<ProjectionKey>,
    /// The instances that the call names. `None` if the call is about all instances.
    pub instances: Vec<Arc<str>>,
    /// Which part of a batch is applied, from 0. See [`FaultyStore::in_parts`].
    pub part: usize,
    /// In how many parts the batch is applied. It is 1 for calls that have no parts.
    pub parts: usize,
    /// How long a listener waits. [`Faults::before`] may shorten it.
    pub wait: Option<Duration>,
}

impl Call {
    fn new(name: &'static str) -> Self {
        Self { name, parts: 1, ..Self::default() }
    }

    fn of(mut self, projection: &ProjectionKey) -> Self {
        self.projection = Some(projection.clone());
        self
    }

    fn at<'i>(mut self, instances: impl IntoIterator<Item = &'i Arc<str>>) -> Self {
        self.instances = instances.into_iter().cloned().collect();
        self
    }

    fn in_one(mut self, instance: &str) -> Self {
        self.instances = vec![instance.into()];
        self
    }

    /// True when the call names this instance.
    #[must_use]
    pub fn names(&self, instance: &str) -> bool {
        self.instances.iter().any(|named| **named == *instance)
    }
}

/// What the store below answered. A test may change what a reference points to, and the caller then gets that.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer<'a> {
    /// It failed.
    Failed,
    /// It succeeded. The answer goes to the caller unchanged.
    Done,
    /// `EventSource::store_id`.
    StoreId(&'a mut Uuid),
    /// `EventSource::heads`.
    Heads(&'a mut Vec<Head>),
    /// `EventSource::read`.
    Batches(&'a mut Vec<EventBatch>),
    /// `EventStore::filter`.
    Events(&'a mut Vec<Event>),
    /// `NotificationListener::listen`.
    Notifications(&'a mut Notifications),
}

/// What a test does at the calls of a [`FaultyStore`]. Both methods may count, wait at a gate, end the process or panic.
pub trait Faults: Send + Sync + 'static {
    /// Runs before each call. If it returns an error, the call fails with it and never reaches the store.
    ///
    /// # Errors
    /// The error with which the call is to fail.
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        let _ = call;
        Ok(())
    }

    /// Runs after each call that reached the store. An error replaces the answer: the call took effect, but its caller
    /// does not know. After [`Answer::Failed`] the store's own error stays.
    ///
    /// # Errors
    /// The error with which the call is to fail.
    fn after(&self, call: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
        let _ = (call, answer);
        Ok(())
    }
}

struct Before<F>(F);

impl<F: Fn(&Call) -> Result<(), StoreError> + Send + Sync + 'static> Faults for Before<F> {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        self.0(call)
    }
}

/// A store that does what the store below does, and calls [`Faults`] before and after each call. So a test can make any
/// call fail (before or after it took effect), wait, or answer something else.
///
/// It has each store trait that the store below has. Calls that cannot fail go straight to the store below, except
/// `EventStore::subscribe`: if a test makes it fail, the subscription receives nothing.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use readside::SqliteStore;
/// use readside::error::{StoreError, StoreErrorKind};
/// use readside::query::HeadsRequest;
/// use readside::store::EventSource;
/// use readside::testing::{Answer, Call, Faults, FaultyStore};
///
/// // Each second look at heads fails.
/// let looks = AtomicUsize::new(0);
/// let store = FaultyStore::failing(SqliteStore::in_memory()?, move |call| match call.name {
///     "EventSource::heads" if looks.fetch_add(1, Ordering::Relaxed) % 2 == 1 => {
///         Err(StoreError::new("reading heads", StoreErrorKind::Connection, "cut off by a test"))
///     }
///     _ => Ok(()),
/// });
/// store.inner().setup()?;
/// let request = HeadsRequest { limit: 10, ..HeadsRequest::default() };
/// assert!(store.heads(&request).is_ok());
/// assert!(store.heads(&request).is_err());
///
/// // Commits reach the store, but the answer gets lost.
/// struct CutOff;
/// impl Faults for CutOff {
///     fn after(&self, call: &Call, _: Answer<'_>) -> Result<(), StoreError> {
///         match call.name {
///             "ProjectionStore::commit" => {
///                 Err(StoreError::new("committing", StoreErrorKind::CommitUnknown, "cut off by a test"))
///             }
///             _ => Ok(()),
///         }
///     }
/// }
/// let store = FaultyStore::new(store.inner().clone(), Arc::new(CutOff));
/// # let _ = store;
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Clone)]
pub struct FaultyStore<S> {
    inner: S,
    told: Told,
}

impl<S> FaultyStore<S> {
    /// Wraps this store, so that these faults run around its calls.
    pub fn new(inner: S, faults: Arc<dyn Faults>) -> Self {
        Self { inner, told: Told { faults, parts: 1 } }
    }

    /// A store whose calls fail if this function returns an error for them. They then do not reach the store below.
    pub fn failing<F: Fn(&Call) -> Result<(), StoreError> + Send + Sync + 'static>(inner: S, before: F) -> Self {
        Self::new(inner, Arc::new(Before(before)))
    }

    /// Applies each batch of statements in at most this many parts, in order, so that a fault can strike between two
    /// parts. With `usize::MAX` each statement is a part. Default: 1.
    #[must_use]
    pub fn in_parts(mut self, parts: usize) -> Self {
        self.told.parts = parts.max(1);
        self
    }

    /// The store below.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// The faults, and the number of parts for each batch.
#[derive(Clone)]
struct Told {
    faults: Arc<dyn Faults>,
    parts: usize,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

impl Told {
    /// Makes a call with the faults around it.
    fn around<T, E: From<StoreError>>(&self, call: Call, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.changing(call, |_| work(), |_| Answer::Done)
    }

    /// Makes a call whose answer the faults may change.
    fn changing<T, E: From<StoreError>>(
        &self,
        mut call: Call,
        work: impl FnOnce(&Call) -> Result<T, E>,
        answer: impl FnOnce(&mut T) -> Answer<'_>,
    ) -> Result<T, E> {
        self.faults.before(&mut call)?;
        let mut outcome = work(&call);
        match &mut outcome {
            Ok(found) => self.faults.after(&call, answer(found))?,
            // The caller gets the store's own error.
            Err(_) => drop(self.faults.after(&call, Answer::Failed)),
        }
        outcome
    }
}

/// Makes methods of a store trait that pass the call on with the faults around it. Each line says what its call is
/// about.
macro_rules! hand_on {
    ($of:literal, $self:ident => $inner:expr;
     $(fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty $(, $($about:ident($($value:expr),*)).+)?;)*) => {
        $(fn $name(&$self, $($arg: $type),*) -> $out {
            let call = $crate::testing::faulty::Call::new(concat!($of, "::", stringify!($name)));
            $(let call = call$(.$about($($value),*))+;)?
            $self.told.around(call, || $inner.$name($($arg),*))
        })*
    };
}
use hand_on;

#[cfg(feature = "sqlite")]
#[cfg(test)]
mod tests;
