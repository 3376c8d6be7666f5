//! How far a projection is in an instance.

use std::sync::Arc;

use uuid::Uuid;

use crate::failure::Blocked;

/// The name and version under which a projection keeps its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectionKey {
    /// Name.
    pub name: Arc<str>,
    /// Version, from 1.
    pub version: u32,
}

/// Separates the name of a projection from the mark of a shadow build.
pub(crate) const SHADOW: char = '#';

/// The mark of a build of one instance. A switch takes its rows, never its tables.
pub(crate) const PART: &str = "part";

impl ProjectionKey {
    /// The name of the projection that it is a build of.
    #[must_use]
    pub fn projection(&self) -> &str {
        self.name.split(SHADOW).next().unwrap_or_default()
    }

    /// The mark of a shadow build; `None` for the build under the plain name.
    #[must_use]
    pub fn mark(&self) -> Option<&str> {
        self.name.split_once(SHADOW).map(|(_, mark)| mark)
    }
}

/// The state of a projection in one instance. A row that does not exist has position 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The tenant.
    pub instance: Arc<str>,
    /// Every wanted event up to here is in the tables.
    pub position: i64,
    /// The id of the event at `position`. `None` at 0.
    pub event: Option<Uuid>,
    /// The id of the event store that the position belongs to. `None` before the first event.
    pub store: Option<Uuid>,
    /// The event that holds the instance up, if one does.
    pub blocked: Option<Blocked>,
    /// The process that holds the lease, whether it has expired or not.
    pub owner: Option<Uuid>,
    /// The number of that holder, counted from the first.
    pub epoch: i64,
    /// True when events of the instance are on record as failed, parked, or waiting for a parked one.
    pub held: bool,
    /// True while the work goes event by event, because a process died during it.
    pub careful: bool,
    /// The event that is being tried alone.
    pub mark: Option<Mark>,
    /// How often its rows were changed without moving the checkpoint: exchanged, emptied, or corrected below it.
    pub anew: i64,
}

/// Says that an event is being tried, so that the next process knows it if this one dies of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Position of the event.
    pub position: i64,
    /// The holder's epoch.
    pub epoch: i64,
}

/// The new state of an instance, to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The tenant.
    pub instance: Arc<str>,
    /// The new position.
    pub position: i64,
    /// Id of the event there.
    pub event: Option<Uuid>,
    /// Id of the event store.
    pub store: Uuid,
}

/// Which database holds the events that checkpoints name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// The database of the read models: the transaction that moves a checkpoint sees the event itself.
    Here,
    /// Another one: its source was asked for the event before the transaction began.
    Elsewhere,
}
