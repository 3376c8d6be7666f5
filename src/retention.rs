//! The life of data after it was stored: erasing, removing and archiving it, and the reports of that.
//!
//! The stores do this work: see [`DbStore`](crate::DbStore).

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;
use uuid::Uuid;

use crate::failure::By;

/// Selects the events whose payload and metadata to erase.
///
/// # Examples
/// ```
/// use readside::retention::Redaction;
/// let ada = Redaction::of_aggregate("tenant-1", "user", "u1")
///     .creator_and_owner()
///     .unique("user.email", "ada@example.com");
/// # let _ = ada;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is erased until a store is told"]
pub struct Redaction {
    pub(crate) instance: String,
    pub(crate) subject: Subject,
    pub(crate) creator_and_owner: bool,
    pub(crate) unique: Vec<(String, String)>,
}

/// What an operation concerns within its instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// The event at this position.
    Event(i64),
    /// All events of an aggregate.
    Aggregate {
        /// Its type.
        aggregate_type: String,
        /// Its id.
        aggregate_id: String,
    },
}

impl Redaction {
    fn new(instance: &str, subject: Subject) -> Self {
        Self { instance: instance.into(), subject, creator_and_owner: false, unique: Vec::new() }
    }

    /// Erases one event.
    pub fn of_event(instance: &str, position: i64) -> Self {
        Self::new(instance, Subject::Event(position))
    }

    /// Erases all events that the aggregate has by now.
    pub fn of_aggregate(instance: &str, aggregate_type: &str, aggregate_id: &str) -> Self {
        let subject = Subject::Aggregate { aggregate_type: aggregate_type.into(), aggregate_id: aggregate_id.into() };
        Self::new(instance, subject)
    }

    /// Also empties creator and owner of the events. Default: they stay.
    pub fn creator_and_owner(mut self) -> Self {
        self.creator_and_owner = true;
        self
    }

    /// Gives back a unique value of the instance. The store does not know whose values they are.
    pub fn unique(mut self, constraint: &str, value: &str) -> Self {
        self.unique.push((constraint.to_owned(), value.to_owned()));
        self
    }
}

/// Selects the events to move out of the table that pushes and projections work on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is archived until a store is told"]
pub struct Archival {
    pub(crate) before: SystemTime,
    pub(crate) instance: Option<String>,
}

impl Archival {
    /// Events stored before this time, in all instances.
    pub fn before(time: SystemTime) -> Self {
        Self { before: time, instance: None }
    }

    /// Only those of this instance.
    pub fn instance(mut self, instance: &str) -> Self {
        self.instance = Some(instance.into());
        self
    }
}

/// Rows of a table that were changed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct TableRows {
    /// The table as SQL names it.
    pub table: String,
    /// How many of its rows.
    pub rows: u64,
}

/// A projection version whose read rows may hold erased data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AffectedProjection {
    /// Its name.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// True when readers see this one.
    pub live: bool,
    /// Its checkpoint in the instance.
    pub position: i64,
}

/// What an erasure did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Redacted {
    /// True when nothing was changed.
    pub dry_run: bool,
    /// The tenant.
    pub instance: String,
    /// Rows by table. Events that were erased earlier do not count.
    pub tables: Vec<TableRows>,
    /// Projections of this database that handle these events. Rebuild this instance of them to remove what they took
    /// from the erased events.
    pub rebuild: Vec<AffectedProjection>,
    /// Where the database's files may still hold erased data, and what to do about that.
    pub remains: Option<String>,
}

/// What a removal did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Removed {
    /// True when nothing was changed.
    pub dry_run: bool,
    /// The tenant.
    pub instance: String,
    /// Its last position. If the tenant is opened again, its next event gets the position after it.
    pub head: i64,
    /// Rows by table.
    pub tables: Vec<TableRows>,
    /// Where the database's files may still hold removed data, and what to do about that.
    pub remains: Option<String>,
}

/// What the removal of a projection did, or would do.
///
/// # Examples
/// See [`DbStore::remove_projection`](crate::DbStore::remove_projection).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RemovedProjection {
    /// True when nothing was changed.
    pub dry_run: bool,
    /// Its name.
    pub projection: String,
    /// Rows by table, including tables that were empty.
    pub tables: Vec<TableRows>,
}

/// What was archived, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Archived {
    /// True when nothing was changed.
    pub dry_run: bool,
    /// Instances that had such events.
    pub instances: u64,
    /// The number of events.
    pub events: u64,
}

/// The kind of operation on the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OperationKind {
    /// Payloads were erased.
    Redact,
    /// An instance was removed.
    Remove,
    /// A removed instance was opened again.
    Reopen,
    /// Old events were archived.
    Archive,
    /// An instance was imported.
    Import,
    /// A projection that no engine runs any longer was removed.
    RemoveProjection,
}

impl OperationKind {
    /// The word under which the kind is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redact => "redact",
            Self::Remove => "remove",
            Self::Reopen => "reopen",
            Self::Archive => "archive",
            Self::Import => "import",
            Self::RemoveProjection => "remove-projection",
        }
    }

    /// The kind of a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Redact, Self::Remove, Self::Reopen, Self::Archive, Self::Import, Self::RemoveProjection];
        all.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record of what a person did to the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Operation {
    /// Its id.
    pub id: Uuid,
    /// What was done.
    pub kind: OperationKind,
    /// The tenant. `None` for all.
    pub instance: Option<String>,
    /// The details, as a JSON document without payloads and unique values.
    pub subject: String,
    /// By whom, and why.
    pub by: By,
    /// When it began, by the database's clock.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub began_at: SystemTime,
    /// When it ended. `None` while it runs, and also when it was cut off and not repeated.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub ended_at: Option<SystemTime>,
    /// Rows by table, once it has ended.
    pub tables: Vec<TableRows>,
}
