//! Questions to an event source: filters for people and services, cursors for projections.

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use crate::event::Event;
use crate::value::{within, within_above};

/// A filter over events: sub-queries joined by OR, an order and a limit.
///
/// Events come in the order of instance (by bytes), then position.
///
/// # Examples
/// ```
/// use readside::query::{Query, SubQuery};
/// let query = Query::new()
///     .or(SubQuery::new().instance("tenant-1").aggregate_type("user").after(10))
///     .limit(100);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use]
pub struct Query {
    pub(crate) any: Vec<SubQuery>,
    pub(crate) descending: bool,
    pub(crate) limit: usize,
    pub(crate) max_bytes: usize,
    pub(crate) resume: Option<(String, i64)>,
}

impl Query {
    /// Every event of every instance, ascending, without limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sub-query; an event is found when at least one of them matches.
    pub fn or(mut self, sub: SubQuery) -> Self {
        self.any.push(sub);
        self
    }

    /// Last events first. Default: first events first.
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// Goes on after this event in the query's order. So a long read can be cut into pages.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::query::Query;
    /// use readside::{EventStore, NewEvent, SqliteStore};
    /// let store = SqliteStore::in_memory()?;
    /// store.setup()?;
    /// let added = |id: &str| NewEvent::raw("tenant-1", "user", id, "user.added");
    /// store.push(&[added("u1"), added("u2"), added("u3")])?;
    /// let page = store.filter(&Query::new().limit(2))?;
    /// let last = &page[1];
    /// let rest = store.filter(&Query::new().limit(2).resume(last.instance(), last.position()))?;
    /// assert_eq!((page.len(), rest.len()), (2, 1));
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn resume(mut self, instance: &str, position: i64) -> Self {
        self.resume = Some((instance.to_owned(), position));
        self
    }

    /// At most this many events; 0 means no limit. Default: 0.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// At most this many bytes of payload and metadata, but at least one event; 0 means no limit. Default: 0.
    ///
    /// There may be more events after the returned ones, however few these are. Only an empty page means that there are
    /// no more.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// Conditions joined by AND; the values of one condition are joined by OR. Unset conditions match everything.
///
/// # Examples
/// ```
/// use readside::query::{Query, SubQuery};
/// // What u1 or u2 did, without logins; and everything about orders.
/// let users = SubQuery::new().aggregate_id("u1").aggregate_id("u2").exclude_event_type("user.logged_in");
/// let query = Query::new().or(users).or(SubQuery::new().aggregate_type("order"));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use]
pub struct SubQuery {
    pub(crate) instances: Vec<String>,
    pub(crate) not_instances: Vec<String>,
    pub(crate) aggregate_types: Vec<String>,
    pub(crate) not_aggregate_types: Vec<String>,
    pub(crate) aggregate_ids: Vec<String>,
    pub(crate) event_types: Vec<String>,
    pub(crate) not_event_types: Vec<String>,
    pub(crate) owners: Vec<String>,
    pub(crate) creators: Vec<String>,
    pub(crate) after: Option<i64>,
    pub(crate) before: Option<i64>,
    pub(crate) created_after: Option<SystemTime>,
    pub(crate) created_before: Option<SystemTime>,
}

macro_rules! one_of {
    ($($(#[$doc:meta])* $name:ident -> $field:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, value: &str) -> Self {
            self.$field.push(value.to_owned());
            self
        })*
    };
}

impl SubQuery {
    /// Matches every event.
    pub fn new() -> Self {
        Self::default()
    }

    one_of! {
        /// Events of this instance. Repeated calls join instances by OR.
        instance -> instances;
        /// No events of this instance.
        exclude_instance -> not_instances;
        /// Events of aggregates of this type.
        aggregate_type -> aggregate_types;
        /// No events of aggregates of this type.
        exclude_aggregate_type -> not_aggregate_types;
        /// Events of the aggregate with this id.
        aggregate_id -> aggregate_ids;
        /// Events of this type.
        event_type -> event_types;
        /// No events of this type.
        exclude_event_type -> not_event_types;
        /// Events that belong to this owner.
        owner -> owners;
        /// Events that this creator caused.
        creator -> creators;
    }

    /// Positions above this one.
    pub fn after(mut self, position: i64) -> Self {
        self.after = Some(position);
        self
    }

    /// Positions below this one.
    pub fn before(mut self, position: i64) -> Self {
        self.before = Some(position);
        self
    }

    /// Stored later than this. A time outside of the range of event times counts as the end of that range.
    pub fn created_after(mut self, at: SystemTime) -> Self {
        self.created_after = Some(within(at));
        self
    }

    /// Stored earlier than this. Times outside of the range count as for [`created_after`](Self::created_after).
    pub fn created_before(mut self, at: SystemTime) -> Self {
        self.created_before = Some(within_above(at));
        self
    }
}

/// Which events a projection wants. An event is wanted when both its types are listed. A source may return more events
/// of the listed aggregate types, never fewer. An empty text lists every type ([`on_any`](crate::Projection::on_any));
/// no event has the empty text as a type. Use [`lists`](Self::lists) to look a type up.
///
/// # Examples
/// ```
/// use readside::query::EventFilter;
/// let all_of_users = EventFilter { aggregate_types: vec!["user".into()], event_types: vec![EventFilter::EVERY.into()] };
/// assert!(EventFilter::lists(&all_of_users.event_types, "user.added"));
/// assert!(!EventFilter::lists(&all_of_users.aggregate_types, "order"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Aggregate types. They determine the relevant head.
    pub aggregate_types: Vec<String>,
    /// Event types.
    pub event_types: Vec<String>,
}

impl EventFilter {
    /// In a list of types, this means every type.
    pub const EVERY: &str = "";

    /// True when the list names the type, or every type.
    #[must_use]
    pub fn lists<T: AsRef<str>>(types: &[T], name: &str) -> bool {
        types.iter().any(|listed| listed.as_ref() == name || listed.as_ref() == Self::EVERY)
    }

    /// True when the list names every type.
    #[must_use]
    pub fn lists_every<T: AsRef<str>>(types: &[T]) -> bool {
        types.iter().any(|listed| listed.as_ref() == Self::EVERY)
    }
}

/// How far a projection is in one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The tenant.
    pub instance: Arc<str>,
    /// Events above this position are wanted.
    pub after: i64,
}

/// Part of the log of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The tenant.
    pub instance: Arc<str>,
    /// Above this position.
    pub after: i64,
    /// Up to this one, or to the head if that is lower.
    pub to: i64,
}

/// A fault of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The tenant.
    pub instance: Arc<str>,
    /// What is missing, in words.
    pub found: String,
    /// True when no event is missing, but a counter or a head says less than the log holds.
    pub behind: bool,
}

/// What a projection asks of a source in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRequest {
    /// One entry per instance, each instance once.
    pub cursors: Vec<Cursor>,
    /// Which events are wanted.
    pub wanted: EventFilter,
    /// At most this many events per instance, 1 or more.
    pub limit: usize,
    /// At most this many bytes of payload per instance, but always at least one event.
    pub max_bytes: usize,
}

/// What a source knows of one instance above a cursor.
///
/// `head` and `relevant` are read before the events, or in one snapshot with them. So an event that becomes visible
/// later is above `head`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventBatch {
    /// The tenant.
    pub instance: Arc<str>,
    /// The cursor's position.
    pub after: i64,
    /// The id of the event at the cursor's position. `None` at position 0, or when there is no such event.
    pub at: Option<Uuid>,
    /// The highest visible position of the instance, 0 when it has no events.
    pub head: i64,
    /// Id of the event at the head.
    pub head_id: Option<Uuid>,
    /// The highest position among the wanted aggregate types.
    pub relevant: i64,
    /// The wanted events above the cursor and not above the head, ascending.
    pub events: Vec<Event>,
    /// True when a limit ended the read, so there may be more wanted events up to the head.
    pub more: bool,
}

impl EventBatch {
    /// The position up to which every wanted event is in `events`, with the id of the event there.
    #[must_use]
    pub fn scanned(&self) -> (i64, Option<Uuid>) {
        match self.events.last() {
            Some(last) if self.more => (last.position, Some(last.id)),
            _ => (self.head, self.head_id),
        }
    }
}

/// Which heads to return, in pages by instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeadsRequest {
    /// Only these instances; empty means all.
    pub instances: Vec<Arc<str>>,
    /// Aggregate types of the relevant head; empty means all types.
    pub aggregate_types: Vec<String>,
    /// Only instances that sort after this one, by bytes. It is the last one of the previous page.
    pub after: Option<Arc<str>>,
    /// At most this many, 1 or more.
    pub limit: usize,
}

/// The head of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The tenant.
    pub instance: Arc<str>,
    /// The highest visible position.
    pub head: i64,
    /// The highest position among the aggregate types asked for.
    pub relevant: i64,
}
