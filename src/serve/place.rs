//! What a page looks at: the stores of an engine, or those that a command opened.

use std::sync::Arc;

use crate::admin::{Doctor, status_of_two};
#[cfg(feature = "sqlite")]
use crate::engine::Desk;
use crate::engine::{Onlooker, Readings, Seen};
use crate::error::StoreError;
use crate::inspect::{Finding, Inspect, Status, Survey};
use crate::state::ProjectionKey;
use crate::store::{EventStore, ProjectionStore};

/// Examines the condition of the database.
pub(crate) type Examine = Box<dyn Fn() -> Vec<Finding> + Send + Sync>;

/// The stores, and the engine of this process if there is one.
pub(crate) struct Place {
    pub(crate) models: Arc<dyn ProjectionStore>,
    /// `None` when events come from a custom source.
    pub(crate) events: Option<Arc<dyn EventStore>>,
    /// The database of the events, if that is another one and can be inspected.
    pub(crate) log: Option<Arc<dyn ProjectionStore>>,
    /// True when events and read models are in different databases.
    pub(crate) has_two_databases: bool,
    pub(crate) engine: Option<Onlooker>,
    pub(crate) examine: Examine,
}

impl Place {
    /// How everything is doing. Two databases are compared in full.
    pub(crate) fn look(&self, survey: &mut Survey) -> Result<Status, StoreError> {
        match &self.events {
            Some(events) if self.has_two_databases => status_of_two(&**events, &*self.models, false),
            _ => self.inspect().look(false, survey),
        }
    }

    pub(crate) fn inspect(&self) -> &dyn Inspect {
        self.models.inspect()
    }

    /// The database of the log, if it can be inspected; `None` if events come from a custom source.
    pub(crate) fn log(&self) -> Option<&dyn Inspect> {
        match &self.log {
            Some(log) => Some(log.inspect()),
            None => (self.events.is_some() && !self.has_two_databases).then(|| self.inspect()),
        }
    }

    /// Explains rows of a projection; `None` if this process does not have its code. To explain a row, SQLite applies its
    /// events again.
    #[cfg(feature = "sqlite")]
    pub(crate) fn desk(&self, projection: &str) -> Option<Desk> {
        self.engine.as_ref()?.desk(projection)
    }

    /// What this process has seen, by build; `None` without a running engine.
    pub(crate) fn seen(&self) -> Option<Vec<(ProjectionKey, Seen)>> {
        self.engine.as_ref()?.seen()
    }

    /// `None` without a running engine.
    pub(crate) fn readings(&self) -> Option<Readings> {
        self.engine.as_ref()?.readings()
    }
}

/// What `doctor` finds in the database of the read models.
pub(crate) fn examine(models: &Arc<dyn ProjectionStore>) -> Examine {
    let models = Arc::clone(models);
    Box::new(move || Doctor::default().examine(models.inspect()))
}
