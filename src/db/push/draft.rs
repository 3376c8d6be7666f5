//! Checked events that have no positions yet.

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use crate::error::{InvalidEvent, PushError};
use crate::event::{ERASED, Event, Expected, NewEvent, Texts, Unique};
use crate::value::to_micros;

/// The events of one push. It shares their texts, so that another thread can do the work.
#[derive(Debug)]
pub(crate) struct Push {
    pub(super) drafts: Vec<Draft>,
    instances: Vec<Arc<str>>,
    bytes: usize,
    /// Set if the push continues a copy of an instance.
    pub(super) continues: Option<Continued>,
}

/// What a part of a copy continues. Its push keys are stored without a search for earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Continued {
    /// The event at the head of the instance. No other push may have moved the head.
    pub(crate) head: Option<Uuid>,
}

/// A new event as it will be stored.
#[derive(Debug)]
pub(super) struct Draft {
    /// Without id, position, version and time.
    pub(super) event: Event,
    pub(super) expected: Expected,
    pub(super) unique: Vec<Unique>,
    pub(super) push_key: Option<Arc<str>>,
    /// The id that it has elsewhere, which an import keeps.
    pub(super) id: Option<Uuid>,
    pub(super) created_at: Option<SystemTime>,
}

impl Push {
    /// Checks everything that needs no database. Refuses events that bring an id or a time from elsewhere.
    pub(crate) fn of(events: &[NewEvent]) -> Result<Self, PushError> {
        for (index, new) in events.iter().enumerate() {
            let kept = [("id", new.id.is_some()), ("created_at", new.created_at.is_some())];
            if let Some((field, _)) = kept.into_iter().find(|(_, is_kept)| *is_kept) {
                return Err(PushError::Invalid { index, field, source: InvalidEvent::OfImport });
            }
        }
        Self::imported(events)
    }

    /// The events of one instance that follow the part copied before. Keeps ids, times and versions of the events.
    #[cfg(feature = "cli")]
    pub(crate) fn copied(events: &[NewEvent], continued: Continued) -> Result<Self, PushError> {
        Ok(Self { continues: Some(continued), ..Self::checked(events)? })
    }

    /// As [`of`](Self::of), and keeps the ids and times that the events bring.
    pub(crate) fn imported(events: &[NewEvent]) -> Result<Self, PushError> {
        let push = Self::checked(events)?;
        let drafts = &push.drafts;
        let keyed = drafts.iter().filter(|draft| draft.push_key.is_some()).count();
        if keyed != 0 && keyed != drafts.len() {
            return Err(PushError::Transaction {
                reason: "some events bear a push key and some do not; give all of them one, so that the push can be repeated",
            });
        }
        Ok(push)
    }

    fn checked(events: &[NewEvent]) -> Result<Self, PushError> {
        let drafts = events.iter().enumerate().map(|(index, new)| Draft::of(index, new));
        let drafts = drafts.collect::<Result<Vec<Draft>, PushError>>()?;
        let bytes = drafts.iter().map(|draft| draft.event.texts.size()).sum();
        Ok(Self { drafts, instances: instances(events), bytes, continues: None })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// How many events it would store.
    pub(crate) fn len(&self) -> usize {
        self.drafts.len()
    }

    /// Bytes of payload and metadata.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Each instance once, in byte order.
    pub(crate) fn instances(&self) -> &[Arc<str>] {
        &self.instances
    }
}

/// The instances of events, each once, in byte order.
pub(crate) fn instances(events: &[NewEvent]) -> Vec<Arc<str>> {
    let mut instances: Vec<Arc<str>> = events.iter().map(|new| Arc::clone(&new.instance)).collect();
    instances.sort_unstable();
    instances.dedup();
    instances
}

impl Draft {
    fn of(index: usize, new: &NewEvent) -> Result<Self, PushError> {
        new.check(index)?;
        // An event without a payload fails the check.
        let payload = new.payload.as_deref().ok().filter(|_| !new.erased).unwrap_or(ERASED);
        let metadata = new.metadata_json();
        let event = Event {
            id: Uuid::nil(),
            previous: None,
            instance: Arc::clone(&new.instance),
            position: 0,
            aggregate_type: Arc::clone(&new.aggregate_type),
            version: 0,
            revision: new.revision,
            created_at: SystemTime::UNIX_EPOCH,
            texts: Texts::of([&new.aggregate_id, &new.event_type, &new.creator, &new.owner, payload, &metadata]),
        };
        let push_key = new.push_key.as_deref().map(Arc::from);
        let (id, created_at) = (new.id, new.created_at.map(to_micros));
        Ok(Self { event, expected: new.expected, unique: new.unique.clone(), push_key, id, created_at })
    }

    /// True if a stored event is what this new event would have become. An erased event keeps only its types.
    pub(super) fn is_stored_as(&self, stored: &Event) -> bool {
        if self.id.is_some_and(|id| id != stored.id) || self.created_at.is_some_and(|at| at != stored.created_at) {
            return false;
        }
        let unplaced = Event {
            id: self.event.id,
            position: self.event.position,
            version: self.event.version,
            created_at: self.event.created_at,
            ..stored.clone()
        };
        if stored.is_redacted() {
            let unplaced = unplaced.with_creator(self.event.creator()).with_owner(self.event.owner());
            return unplaced == self.event.clone().redacted();
        }
        unplaced == self.event
    }

    pub(super) fn aggregate(&self) -> Aggregate {
        let event = &self.event;
        (Arc::clone(&event.instance), Arc::clone(&event.aggregate_type), event.aggregate_id().into())
    }
}

/// Instance, type and id of an aggregate.
pub(super) type Aggregate = (Arc<str>, Arc<str>, Arc<str>);
