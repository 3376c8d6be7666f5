//! Where a projection stands in an instance.

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

/// The mark of a build of one instance, of which rows are taken and never the tables.
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

/// The state of a projection in one instance; a row that does not exist reads as position 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The tenant.
    pub instance: Arc<str>,
    /// Every wanted event up to here is in the tables.
    pub position: i64,
    /// Id of the event at `position`, none at 0.
    pub event: Option<Uuid>,
    /// Id of the event store that the position belongs to, none before the first event.
    pub store: Option<Uuid>,
    /// The event that holds the instance up, if one does.
    pub blocked: Option<Blocked>,
    /// Who holds the lease, whether it has expired or not.
    pub owner: Option<Uuid>,
    /// Which holder that is, counted from the first.
    pub epoch: i64,
    /// True when events of it are on record as failed, parked or behind a parked one.
    pub held: bool,
    /// True while it is worked on event by event, because a process died that worked on it.
    pub careful: bool,
    /// The event that is being tried in this way.
    pub mark: Option<Mark>,
    /// How often its rows were changed without moving the checkpoint on: exchanged, emptied, or mended below it.
    pub anew: i64,
}

/// Says that an event is being tried, so that it is known if the process does not survive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Position of the event.
    pub position: i64,
    /// The holder's epoch.
    pub epoch: i64,
}

/// What is to be written as the new state of an instance.
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

/// In which database the events stand that checkpoints name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// In the database of the read models: the transaction that moves a checkpoint sees the event itself.
    Here,
    /// In another one: its source was asked for the event before the transaction began.
    Elsewhere,
}
