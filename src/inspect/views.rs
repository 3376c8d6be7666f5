//! What pages show about single instances, failures and people's acts. Both the answers and their cost are bounded.

use std::time::SystemTime;

use serde::Serialize;
use uuid::Uuid;

use crate::failure::{By, FailureClass, FailureStatus};

/// An instance in which a projection is behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InstanceLag {
    /// The tenant.
    pub instance: String,
    /// The checkpoint of the projection in it.
    pub position: i64,
    /// The last position that concerns the projection.
    pub head: i64,
    /// Positions between the two.
    pub lag: i64,
    /// When its checkpoint last moved, by the database's clock; `None` if that is not on record.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub moved_at: Option<SystemTime>,
}

/// An instance of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InstanceHead {
    /// The tenant.
    pub instance: String,
    /// Its last position.
    pub head: i64,
    /// When that event was stored, by the database's clock; `None` before the first event.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub head_at: Option<SystemTime>,
    /// True when it was removed and refuses pushes.
    pub closed: bool,
}

/// The checkpoint of one build in one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InstanceCheckpoint {
    /// The projection.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// The mark of a build beside another one of the same version.
    pub build: Option<String>,
    /// The checkpoint; 0 before the first event.
    pub position: i64,
    /// The last position of this database's log that concerns the projection; `None` if there is none.
    pub head: Option<i64>,
    /// Some of its events are on record as failed, or wait for such events.
    pub held: bool,
    /// When the checkpoint last moved, by the database's clock; `None` if that is not on record.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub moved_at: Option<SystemTime>,
    /// The process that holds the lease, if there is one.
    pub owner: Option<Uuid>,
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FailureGroup {
    /// The projection.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// The mark of a build beside another one of the same version.
    pub build: Option<String>,
    /// Type of the events.
    pub event_type: String,
    /// Class of the errors.
    pub class: FailureClass,
    /// Their state.
    #[serde(serialize_with = "state_word")]
    pub state: FailureStatus,
    /// How many there are.
    pub events: u64,
    /// The number of instances.
    pub instances: u64,
    /// When the earliest failure happened.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub first_at: SystemTime,
    /// When the latest failure happened.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub last_at: SystemTime,
    /// The error text of one of them.
    pub example: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn state_word<S: serde::Serializer>(state: &FailureStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

/// Failures in groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FailureGroups {
    /// The groups, the largest first.
    pub groups: Vec<FailureGroup>,
    /// How many failures the records hold that were read.
    pub counted: u64,
    /// False when there are more records than were read.
    pub complete: bool,
}

/// What kind of act it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ActivityKind {
    /// A person asked an engine for something, or paused or resumed.
    Command,
    /// A person retried or discarded a failed event.
    Intervention,
    /// A person redacted, removed, reopened or archived data.
    Operation,
}

/// What a person did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Activity {
    /// Its id; later ones are greater.
    pub id: Uuid,
    /// What kind of act it was.
    pub kind: ActivityKind,
    /// Its name, for instance `rebuild`, `discard` or `redact`.
    pub what: String,
    /// The projection; `None` if the act is about the log.
    pub projection: Option<String>,
    /// The tenant, if it is about one.
    pub instance: Option<String>,
    /// The position, if it is about one event.
    pub position: Option<i64>,
    /// By whom, and why.
    pub by: By,
    /// When, by the database's clock.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub at: SystemTime,
    /// How far it is: `asked`, `taken`, `done` or `failed`.
    pub state: String,
}

/// What a projection is made of, as its code declared it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Lineage {
    /// The projection.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// Readers see this version.
    pub live: bool,
    /// The aggregate types that feed it, each with its event types.
    pub events: Vec<(String, Vec<String>)>,
    /// The tables that these feed.
    pub tables: Vec<LineageTable>,
}

/// A table that events feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LineageTable {
    /// Its name.
    pub name: String,
    /// Names and types of its columns.
    pub columns: Vec<(String, String)>,
}
