//! The check of a source, as its author sets it up.

use std::fmt;

use super::run::{Append, Change, ChangeOne, Subject, faults};
use crate::store::EventSource;
use crate::testing::fail;

/// Begins the check of a source. `append` stores an event as the next one of its instance. The event brings its
/// instance, both types, the id of its aggregate, and a payload in JSON. The check makes up instances that no other
/// test uses, and writes about 100 events.
pub fn event_source<'s>(source: &'s dyn EventSource, append: Append<'s>) -> SourceCheck<'s> {
    let kinds = [("thing", "made"), ("thing", "changed"), ("other", "made")];
    let kinds = kinds.map(|(aggregate, event)| (aggregate.to_owned(), event.to_owned())).to_vec();
    SourceCheck { subject: Subject { source, append, kinds, remove: None, lose: None } }
}

/// The check of a source.
#[derive(Clone)]
#[must_use = "a check runs when it is asked for its outcome"]
pub struct SourceCheck<'s> {
    subject: Subject<'s>,
}

impl fmt::Debug for SourceCheck<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceCheck")
            .field("source", &self.subject.source)
            .field("kinds", &self.subject.kinds)
            .finish_non_exhaustive()
    }
}

impl<'s> SourceCheck<'s> {
    /// The pairs of an aggregate type and an event type that the source can hold, at least two. Default: three pairs
    /// with two aggregate types.
    pub fn kinds<'k>(mut self, kinds: impl IntoIterator<Item = (&'k str, &'k str)>) -> Self {
        self.subject.kinds =
            kinds.into_iter().map(|(aggregate, event)| (aggregate.to_owned(), event.to_owned())).collect();
        self
    }

    /// How to remove all events of an instance for good, so that new ones may follow. Default: the source cannot
    /// remove events.
    pub fn removing(mut self, remove: Change<'s>) -> Self {
        self.subject.remove = Some(remove);
        self
    }

    /// How to lose an event by accident, as when a person deletes it. [`EventSource::flaws`] must find that. Default:
    /// the source cannot lose events.
    pub fn losing(mut self, lose: ChangeOne<'s>) -> Self {
        self.subject.lose = Some(lose);
        self
    }

    /// Runs the check.
    ///
    /// # Panics
    /// When the source does not keep what the engine relies on. The message says what.
    #[track_caller]
    pub fn assert(&self) {
        let faults = self.faults();
        if !faults.is_empty() {
            fail(&format!("the source does not keep what the engine relies on:\n- {}", faults.join("\n- ")));
        }
    }

    /// Runs the check and returns what is wrong with the source. The list is empty if nothing is wrong.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        faults(&self.subject)
    }
}
