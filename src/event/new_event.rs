//! Events to be pushed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use uuid::Uuid;

use super::{ERASED, Payload};
use crate::error::{InvalidEvent, PushError};
use crate::value::{Value, check_json, check_text};

/// The most bytes of a text that names a kind or a tenant: instance, aggregate type, event type, type of a unique
/// constraint.
pub(crate) const MAX_NAME: usize = 500;

/// The most bytes of a text that identifies a thing: aggregate id, push key, unique value. An index row of the engine's
/// tables holds two names and one of these texts, and PostgreSQL's index rows have room for about 2,700 bytes.
pub(crate) const MAX_ID: usize = 1500;

/// What an event expects of its aggregate before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Expected {
    /// Any version, including none.
    #[default]
    Any,
    /// The aggregate has no event yet.
    New,
    /// The aggregate has exactly this version.
    Version(i64),
}

impl Expected {
    /// True when an aggregate at version `found` (0 for none) meets the expectation.
    #[must_use]
    pub fn holds(self, found: i64) -> bool {
        match self {
            Self::Any => true,
            Self::New => found == 0,
            Self::Version(version) => found == version,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::New => f.write_str("no version"),
            Self::Version(version) => write!(f, "version {version}"),
        }
    }
}

/// A change to the unique values of an instance, made together with the event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unique {
    /// Takes a value. When the value is taken already, the push fails with the message.
    Add {
        /// The kind of value, for instance `user.email`.
        constraint: String,
        /// The value.
        value: String,
        /// The message of [`PushError::UniqueViolation`].
        message: String,
    },
    /// Gives a value back. A value that is not taken is no error.
    Remove {
        /// The kind of value.
        constraint: String,
        /// The value.
        value: String,
    },
    /// Gives back all values of the instance, of every kind.
    RemoveAll,
}

/// An event to be stored.
///
/// Instance, aggregate type, event type and the types of unique constraints have at most 500 bytes. The aggregate id, a
/// push key and a unique value have at most 1,500. Push refuses longer ones on every database. Stored events with
/// longer ones stay readable, and their projections go on.
///
/// # Examples
/// ```
/// use readside::{Expected, NewEvent};
/// let new = NewEvent::raw("tenant-1", "user", "u1", "user.added")
///     .payload(&serde_json::json!({"name": "Ada"}))
///     .creator("admin")
///     .expect(Expected::New)
///     .add_unique("user.email", "ada@example.com", "this address is taken");
/// assert_eq!(new.aggregate_id(), "u1");
/// ```
#[derive(Debug)]
#[must_use = "a new event does nothing until it is pushed"]
pub struct NewEvent {
    pub(crate) instance: Arc<str>,
    pub(crate) aggregate_type: Arc<str>,
    pub(crate) aggregate_id: Arc<str>,
    pub(crate) event_type: Arc<str>,
    pub(crate) revision: u32,
    pub(crate) creator: Arc<str>,
    pub(crate) owner: Arc<str>,
    pub(crate) payload: Result<Arc<str>, serde_json::Error>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) expected: Expected,
    pub(crate) unique: Vec<Unique>,
    pub(crate) push_key: Option<String>,
    /// The payload and the metadata are erased.
    pub(crate) erased: bool,
    /// The id that the event has elsewhere. For imports only.
    pub(crate) id: Option<Uuid>,
    /// The time that the event has elsewhere. For imports only.
    pub(crate) created_at: Option<SystemTime>,
}

impl NewEvent {
    /// An event with this payload, and with the types that the payload's Rust type names. If the payload cannot be
    /// serialized, push reports that.
    ///
    /// # Examples
    /// ```
    /// use readside::{NewEvent, Payload};
    /// use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize)]
    /// struct Added { name: String }
    /// impl Payload for Added { const AGGREGATE: &str = "user"; const TYPE: &str = "user.added"; }
    /// let new = NewEvent::new("tenant-1", "u1", &Added { name: "Ada".into() });
    /// assert_eq!((new.instance(), new.aggregate_type(), new.aggregate_id()), ("tenant-1", "user", "u1"));
    /// ```
    pub fn new<P: Payload>(instance: &str, aggregate_id: &str, payload: &P) -> Self {
        Self::raw(instance, P::AGGREGATE, aggregate_id, P::TYPE).payload(payload).revision(P::REVISION)
    }

    /// An event with explicitly named types and the payload `{}`.
    pub fn raw(instance: &str, aggregate_type: &str, aggregate_id: &str, event_type: &str) -> Self {
        Self {
            instance: instance.into(),
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.into(),
            event_type: event_type.into(),
            revision: 1,
            creator: "".into(),
            owner: "".into(),
            payload: Ok("{}".into()),
            metadata: BTreeMap::new(),
            expected: Expected::Any,
            unique: Vec::new(),
            push_key: None,
            erased: false,
            id: None,
            created_at: None,
        }
    }

    /// Sets the payload. Default: `{}`.
    pub fn payload<T: Serialize + ?Sized>(mut self, payload: &T) -> Self {
        self.payload = serde_json::to_string(payload).map(Into::into);
        self
    }

    /// Sets the payload to a JSON text, which is stored unchanged.
    pub fn payload_json(mut self, json: impl Into<Arc<str>>) -> Self {
        self.payload = Ok(json.into());
        self
    }

    /// Sets the revision of the payload's form, from 1. Default: 1.
    pub fn revision(mut self, revision: u32) -> Self {
        self.revision = revision;
        self
    }

    /// Sets who causes the event. Default: empty.
    pub fn creator(mut self, creator: &str) -> Self {
        self.creator = creator.into();
        self
    }

    /// Sets whom the event belongs to. Default: empty.
    pub fn owner(mut self, owner: &str) -> Self {
        self.owner = owner.into();
        self
    }

    /// Adds a header, for instance a correlation id.
    pub fn metadata(mut self, name: &str, value: &str) -> Self {
        self.metadata.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Stores the event with its payload and metadata erased, whatever they are here
    /// ([`Event::is_redacted`](super::Event::is_redacted)). Use it to copy a log in which events were erased.
    pub fn redacted(mut self) -> Self {
        self.erased = true;
        self
    }

    /// Keeps the id that the event has elsewhere. Only an import accepts it
    /// ([`DbStore::push_imported`](crate::DbStore::push_imported)); a push refuses it. Default: the store makes an id.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Keeps the time at which the event was stored elsewhere, within the years 1 to 9999, truncated to microseconds.
    /// Only an import accepts it ([`DbStore::push_imported`](crate::DbStore::push_imported)); a push refuses it.
    /// Default: the time of the store's clock.
    pub fn created_at(mut self, at: SystemTime) -> Self {
        self.created_at = Some(at);
        self
    }

    /// Sets the version that the aggregate must have before this event. Earlier events of the same push
    /// count. Default: [`Expected::Any`].
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::error::PushError;
    /// use readside::{EventStore, Expected, NewEvent, SqliteStore};
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// let added = || NewEvent::raw("tenant-1", "user", "u1", "user.added").expect(Expected::New);
    /// store.push(&[added()])?;
    /// assert!(matches!(store.push(&[added()]), Err(PushError::Conflict { .. })));
    /// let renamed = NewEvent::raw("tenant-1", "user", "u1", "user.renamed").expect(Expected::Version(1));
    /// assert_eq!(store.push(&[renamed])?[0].version(), 2);
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn expect(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }

    /// Adds a change to the unique values of the instance.
    pub fn unique(mut self, change: Unique) -> Self {
        self.unique.push(change);
        self
    }

    /// Takes a unique value, or fails the push with the message. The value stays taken until an event gives it back
    /// ([`remove_unique`](Self::remove_unique)).
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::error::PushError;
    /// use readside::{EventStore, NewEvent, SqliteStore};
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// let added = |id: &str| {
    ///     NewEvent::raw("tenant-1", "user", id, "user.added").add_unique("user.name", "ada", "this name is taken")
    /// };
    /// store.push(&[added("u1")])?;
    /// assert!(matches!(store.push(&[added("u2")]), Err(PushError::UniqueViolation { .. })));
    /// store.push(&[NewEvent::raw("tenant-1", "user", "u1", "user.removed").remove_unique("user.name", "ada")])?;
    /// store.push(&[added("u2")])?;
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn add_unique(self, constraint: &str, value: &str, message: &str) -> Self {
        self.unique(Unique::Add {
            constraint: constraint.to_owned(),
            value: value.to_owned(),
            message: message.to_owned(),
        })
    }

    /// Gives a unique value back.
    pub fn remove_unique(self, constraint: &str, value: &str) -> Self {
        self.unique(Unique::Remove { constraint: constraint.to_owned(), value: value.to_owned() })
    }

    /// Marks the push, so that it can be repeated: the same events under the same key return the events that were
    /// stored the first time. Every event of the push needs a key.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::{EventStore, NewEvent, SqliteStore};
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// let paid = || NewEvent::raw("tenant-1", "order", "o1", "order.paid").push_key("request-17");
    /// let first = store.push(&[paid()])?;
    /// let again = store.push(&[paid()])?;
    /// assert_eq!(first[0].id(), again[0].id());
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn push_key(mut self, key: &str) -> Self {
        self.push_key = Some(key.to_owned());
        self
    }

    /// The tenant.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Type of the aggregate.
    #[must_use]
    pub fn aggregate_type(&self) -> &str {
        &self.aggregate_type
    }

    /// Id of the aggregate.
    #[must_use]
    pub fn aggregate_id(&self) -> &str {
        &self.aggregate_id
    }

    /// The headers as a JSON object.
    pub(crate) fn metadata_json(&self) -> Cow<'static, str> {
        if self.erased {
            return ERASED.into();
        }
        if self.metadata.is_empty() {
            return "{}".into();
        }
        serde_json::Value::from_iter(self.metadata.clone()).to_string().into()
    }

    /// Checks everything that can be checked without the database. `index` is the event's place in the push.
    pub(crate) fn check(&self, index: usize) -> Result<(), PushError> {
        let fail = |field: &'static str| move |source| PushError::Invalid { index, field, source };
        let text = |field, text: &str| check_text(text).map_err(InvalidEvent::Text).map_err(fail(field));
        for (field, required, limit) in [
            ("aggregate type", &self.aggregate_type, MAX_NAME),
            ("aggregate id", &self.aggregate_id, MAX_ID),
            ("event type", &self.event_type, MAX_NAME),
        ] {
            if required.is_empty() {
                return Err(fail(field)(InvalidEvent::Empty));
            }
            check_key(required, limit).map_err(fail(field))?;
        }
        check_key(&self.instance, MAX_NAME).map_err(fail("instance"))?;
        text("creator", &self.creator)?;
        text("owner", &self.owner)?;
        if i32::try_from(self.revision).is_err() || self.revision == 0 {
            return Err(fail("revision")(InvalidEvent::NotPositive(self.revision.into())));
        }
        for (name, value) in &self.metadata {
            text("metadata", name)?;
            text("metadata", value)?;
        }
        if self.id.is_some_and(|id| id.is_nil()) {
            return Err(fail("id")(InvalidEvent::Empty));
        }
        if let Some(at) = self.created_at {
            Value::Timestamp(at).check().map_err(InvalidEvent::Text).map_err(fail("created_at"))?;
        }
        self.check_keys(index)?;
        if self.erased {
            return Ok(());
        }
        match &self.payload {
            Ok(json) => check_json(json).map_err(InvalidEvent::Text).map_err(fail("payload")),
            // A serializer returns its error by value, so this makes a new error with the same text.
            Err(error) => Err(fail("payload")(InvalidEvent::Serialize(serde::ser::Error::custom(error)))),
        }
    }

    fn check_keys(&self, index: usize) -> Result<(), PushError> {
        let fail = |field: &'static str| move |source| PushError::Invalid { index, field, source };
        match self.push_key.as_deref() {
            Some("") => return Err(fail("push key")(InvalidEvent::Empty)),
            Some(key) => check_key(key, MAX_ID).map_err(fail("push key"))?,
            None => {}
        }
        for change in &self.unique {
            let (Unique::Add { constraint, value, .. } | Unique::Remove { constraint, value }) = change else {
                continue;
            };
            if constraint.is_empty() {
                return Err(fail("unique constraint")(InvalidEvent::Empty));
            }
            // A longer value may have been taken before there were limits. It can still be given back.
            let is_new = matches!(change, Unique::Add { .. });
            let parts = [("unique constraint", constraint, MAX_NAME), ("unique value", value, MAX_ID)];
            for (field, part, limit) in parts {
                check_key(part, if is_new { limit } else { usize::MAX }).map_err(fail(field))?;
            }
        }
        Ok(())
    }
}

/// Refuses a text that would not fit an index.
fn check_key(text: &str, limit: usize) -> Result<(), InvalidEvent> {
    if text.len() > limit {
        return Err(InvalidEvent::TooLong { length: text.len(), limit });
    }
    Ok(check_text(text)?)
}
