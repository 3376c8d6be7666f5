//! Stored events, and new events to be stored.
//!
//! A service makes a [`NewEvent`] from a payload and pushes it ([`EventStore::push`](crate::EventStore::push)). The
//! push returns each stored event as an [`Event`], with its position in the instance and its version in the aggregate.

mod aggregate;
mod new_event;
mod texts;

pub use aggregate::Aggregate;
pub use new_event::{Expected, NewEvent, Unique};
pub(crate) use texts::{Texts, Which};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::error::PayloadError;

/// The Rust type of an event's payload, which names the aggregate type and the event type in one place, so that
/// push and reducer cannot disagree.
///
/// # Examples
/// ```
/// use readside::Payload;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Added { name: String }
/// impl Payload for Added {
///     const AGGREGATE: &str = "user";
///     const TYPE: &str = "user.added";
/// }
/// ```
pub trait Payload: Serialize + DeserializeOwned {
    /// The type of the aggregate these events belong to.
    const AGGREGATE: &'static str;
    /// The type of the event.
    const TYPE: &'static str;
    /// The revision of the payload's form, from 1. Upcasts bring older revisions up to it.
    const REVISION: u32 = 1;
}

/// The text that replaces an erased payload and erased metadata. Pushed metadata are always an object.
pub(crate) const ERASED: &str = "null";

/// A stored event.
///
/// Cloning is cheap: the texts are shared.
#[derive(Clone)]
pub struct Event {
    pub(crate) id: Uuid,
    /// The event before it in its instance, as the push that stored it saw it. `None` for events that were read.
    pub(crate) previous: Option<Uuid>,
    pub(crate) instance: Arc<str>,
    pub(crate) position: i64,
    pub(crate) aggregate_type: Arc<str>,
    pub(crate) version: i64,
    pub(crate) revision: u32,
    pub(crate) created_at: SystemTime,
    pub(crate) texts: Texts,
}

/// Two events are equal when their stored contents are. How they got here does not matter.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, previous: _, instance, position, aggregate_type, version, revision, created_at, texts } = self;
        *id == other.id
            && *position == other.position
            && *version == other.version
            && *revision == other.revision
            && *created_at == other.created_at
            && *instance == other.instance
            && *aggregate_type == other.aggregate_type
            && *texts == other.texts
    }
}

impl Event {
    /// An event for a custom source, or for a test: first of its instance and aggregate, with the
    /// payload `{}`. The other setters fill in the rest.
    #[must_use]
    pub fn new(instance: &str, aggregate_type: &str, aggregate_id: &str, event_type: &str) -> Self {
        Self {
            id: Uuid::nil(),
            previous: None,
            instance: instance.into(),
            position: 1,
            aggregate_type: aggregate_type.into(),
            version: 1,
            revision: 1,
            created_at: SystemTime::UNIX_EPOCH,
            texts: Texts::of([aggregate_id, event_type, "", "", "{}", "{}"]),
        }
    }

    /// An event with this payload, and the types that the payload's type names.
    ///
    /// # Errors
    /// The error of the serializer.
    pub fn of<P: Payload>(instance: &str, aggregate_id: &str, payload: &P) -> Result<Self, serde_json::Error> {
        let event = Self::new(instance, P::AGGREGATE, aggregate_id, P::TYPE);
        Ok(event.with_revision(P::REVISION).with(Which::Payload, &serde_json::to_string(payload)?))
    }

    /// Sets the unique id.
    #[must_use]
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    /// Sets the position in the instance.
    #[must_use]
    pub fn with_position(mut self, position: i64) -> Self {
        self.position = position;
        self
    }

    /// Sets the version in the aggregate.
    #[must_use]
    pub fn with_version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// Sets the revision of the payload's form.
    #[must_use]
    pub fn with_revision(mut self, revision: u32) -> Self {
        self.revision = revision;
        self
    }

    /// Sets the time at which it was stored.
    #[must_use]
    pub fn with_created_at(mut self, at: SystemTime) -> Self {
        self.created_at = at;
        self
    }

    /// Sets who caused it.
    #[must_use]
    pub fn with_creator(self, creator: &str) -> Self {
        self.with(Which::Creator, creator)
    }

    /// Sets whom it belongs to.
    #[must_use]
    pub fn with_owner(self, owner: &str) -> Self {
        self.with(Which::Owner, owner)
    }

    /// Sets the text of the payload, a JSON document.
    #[must_use]
    pub fn with_payload(self, json: impl Into<Arc<str>>) -> Self {
        self.with(Which::Payload, &json.into())
    }

    /// Sets the text of the metadata, a JSON object of texts.
    #[must_use]
    pub fn with_metadata(self, json: impl Into<Arc<str>>) -> Self {
        self.with(Which::Metadata, &json.into())
    }

    fn with(mut self, which: Which, text: &str) -> Self {
        self.texts = self.texts.with([(which, text)]);
        self
    }

    /// The event with its payload and metadata erased: both become the JSON value `null`.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        self.texts = self.texts.with([(Which::Payload, ERASED), (Which::Metadata, ERASED)]);
        self
    }

    /// True when payload and metadata were erased.
    #[must_use]
    pub fn is_redacted(&self) -> bool {
        self.metadata_json() == ERASED
    }

    /// The unique id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The tenant; `""` is the system instance.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The position among the events of the instance, from 1, without gaps.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Type of the aggregate.
    #[must_use]
    pub fn aggregate_type(&self) -> &str {
        &self.aggregate_type
    }

    /// Id of the aggregate, unique within instance and type.
    #[must_use]
    pub fn aggregate_id(&self) -> &str {
        self.texts.get(Which::AggregateId)
    }

    /// The place among the events of the aggregate, from 1, without gaps.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Type of the event.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.texts.get(Which::EventType)
    }

    /// Revision of the payload's form.
    #[must_use]
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// When the event was stored, by the database's clock, in microseconds. It never decreases with the position.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        self.created_at
    }

    /// Who caused it.
    #[must_use]
    pub fn creator(&self) -> &str {
        self.texts.get(Which::Creator)
    }

    /// Whom it belongs to.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.texts.get(Which::Owner)
    }

    /// The payload as the JSON text that was pushed.
    #[must_use]
    pub fn payload_json(&self) -> &str {
        self.texts.get(Which::Payload)
    }

    /// The metadata as a JSON text.
    #[must_use]
    pub fn metadata_json(&self) -> &str {
        self.texts.get(Which::Metadata)
    }

    /// The payload, decoded into a type of the caller.
    ///
    /// # Errors
    /// [`PayloadError::Decode`] when the text does not fit the type.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        serde_json::from_str(self.payload_json()).map_err(|source| PayloadError::Decode {
            event_type: self.event_type().to_owned(),
            revision: self.revision,
            instance: self.instance.to_string(),
            position: self.position,
            wanted: std::any::type_name::<T>(),
            source,
        })
    }

    /// One header of the metadata, for instance a correlation id.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<String> {
        serde_json::from_str::<BTreeMap<String, String>>(self.metadata_json()).ok()?.remove(name)
    }
}

/// Leaves out payload and metadata, because they may hold what must not appear in a log file.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("instance", &self.instance)
            .field("position", &self.position)
            .field("aggregate_type", &self.aggregate_type)
            .field("aggregate_id", &self.aggregate_id())
            .field("version", &self.version)
            .field("event_type", &self.event_type())
            .finish_non_exhaustive()
    }
}
