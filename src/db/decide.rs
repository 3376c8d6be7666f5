//! Decisions: read an aggregate, decide, and store the result, unless another push was faster.

use std::error::Error as StdError;

use super::{Backend, DbStore};
use crate::error::{DecideError, PushError};
use crate::event::{Aggregate, Event, Expected, NewEvent};
use crate::plain::plain;
use crate::query::{Query, SubQuery};
use crate::store::EventStore;

/// How often one decision is tried at most.
const TRIES: u32 = 10;

/// How many events one page holds.
const PAGE: usize = 500;

impl<B: Backend> DbStore<B> {
    /// Decides about one aggregate. It reads the aggregate's events, folds them into an `A`, lets `decide` say which
    /// events follow, and pushes these at the version that was read. If another push was faster, it reads the new
    /// events and decides again, ten times at most. Returns the stored events; none if `decide` returns none.
    ///
    /// `decide` may run several times and must not have side effects. Its events have to be of that aggregate. This
    /// method sets what the first event expects; unique values, push keys and everything else work as in any push. If a
    /// decision is repeated after it was stored, it sees its own events.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::{Aggregate, Event, NewEvent, Payload, SqliteStore};
    /// use readside::error::{DecideError, PayloadError};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Reserved { seats: u32 }
    /// impl Payload for Reserved {
    ///     const AGGREGATE: &str = "show";
    ///     const TYPE: &str = "show.reserved";
    /// }
    ///
    /// #[derive(Default)]
    /// struct Show { taken: u32 }
    /// impl Aggregate for Show {
    ///     const TYPE: &str = "show";
    ///     fn apply(&mut self, event: &Event) -> Result<(), PayloadError> {
    ///         if event.event_type() == Reserved::TYPE {
    ///             self.taken += event.payload::<Reserved>()?.seats;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// #[error("only {0} seats are left")]
    /// struct SoldOut(u32);
    ///
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// let reserve = |seats: u32| {
    ///     store.decide("acme", "hamlet", |show: &Show| match 100 - show.taken {
    ///         left if seats > left => Err(SoldOut(left)),
    ///         _ => Ok(vec![NewEvent::new("acme", "hamlet", &Reserved { seats })]),
    ///     })
    /// };
    /// assert_eq!(reserve(70).unwrap()[0].version(), 1);
    /// assert!(matches!(reserve(40), Err(DecideError::Refused(SoldOut(30)))));
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`DecideError::Refused`] with the error of `decide`; see there for the others.
    pub fn decide<A: Aggregate, E: StdError + 'static>(
        &self,
        instance: &str,
        aggregate_id: &str,
        mut decide: impl FnMut(&A) -> Result<Vec<NewEvent>, E>,
    ) -> Result<Vec<Event>, DecideError<E>> {
        let mut read = Read { instance, aggregate_id, state: A::default(), position: 0, version: 0 };
        let mut tries = 0;
        loop {
            read.read_on(self)?;
            let mut events = decide(&read.state).map_err(DecideError::Refused)?;
            read.check(&events)?;
            let Some(first) = events.first_mut() else { return Ok(Vec::new()) };
            let at = if read.version == 0 { Expected::New } else { Expected::Version(read.version) };
            first.expected = at;
            tries += 1;
            match self.push(&events) {
                Ok(stored) => return Ok(stored),
                // If a later event has another expectation, a new read does not help.
                Err(conflict @ PushError::Conflict { expected, .. }) if expected == at => {
                    if tries == TRIES {
                        return Err(DecideError::Contended { tries, source: Box::new(conflict) });
                    }
                }
                Err(error) => return Err(DecideError::Push(Box::new(error))),
            }
        }
    }
}

/// An aggregate, up to the event that was read last.
struct Read<'a, A> {
    instance: &'a str,
    aggregate_id: &'a str,
    state: A,
    position: i64,
    version: i64,
}

impl<A: Aggregate> Read<'_, A> {
    /// Reads and folds the new events.
    fn read_on<B: Backend, E: StdError + 'static>(&mut self, store: &DbStore<B>) -> Result<(), DecideError<E>> {
        let own = SubQuery::new().instance(self.instance).aggregate_type(A::TYPE).aggregate_id(self.aggregate_id);
        for event in store.stream(Query::new().or(own.after(self.position)), PAGE) {
            let event = event.map_err(DecideError::Read)?;
            self.state.apply(&event).map_err(|source| DecideError::Fold {
                aggregate: named(self.instance, A::TYPE, self.aggregate_id),
                position: event.position(),
                source: Box::new(source),
            })?;
            (self.position, self.version) = (event.position(), event.version());
        }
        Ok(())
    }

    /// Checks that all events are of this aggregate.
    fn check<E: StdError + 'static>(&self, events: &[NewEvent]) -> Result<(), DecideError<E>> {
        let is_foreign = |event: &NewEvent| {
            event.instance() != self.instance
                || event.aggregate_type() != A::TYPE
                || event.aggregate_id() != self.aggregate_id
        };
        match events.iter().enumerate().find(|(_, event)| is_foreign(event)) {
            None => Ok(()),
            Some((index, event)) => Err(DecideError::Foreign {
                index,
                found: named(event.instance(), event.aggregate_type(), event.aggregate_id()),
                wanted: named(self.instance, A::TYPE, self.aggregate_id),
            }),
        }
    }
}

/// An aggregate in words, without characters that would break a line.
fn named(instance: &str, aggregate_type: &str, aggregate_id: &str) -> String {
    format!("{} {aggregate_id:?} of instance {instance:?}", plain(aggregate_type))
}
