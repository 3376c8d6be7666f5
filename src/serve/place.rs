//! What a page looks at: the stores of an engine, or those that a command opened.

use std::sync::Arc;

use crate::admin::{Doctor, status_of_two};
use crate::engine::{Onlooker, Readings};
use crate::error::StoreError;
use crate::inspect::{Finding, Inspect, Status};
use crate::store::{EventStore, ProjectionStore};

/// Finds out whether the database is fit.
pub(crate) type Examine = Box<dyn Fn() -> Vec<Finding> + Send + Sync>;

/// The stores, and the engine beside them where there is one.
pub(crate) struct Place {
    pub(crate) models: Arc<dyn ProjectionStore>,
    /// `None` when events come from a custom source.
    pub(crate) events: Option<Arc<dyn EventStore>>,
    /// Their database, where that is another one and can be looked into.
    pub(crate) log: Option<Arc<dyn ProjectionStore>>,
    /// True when they are in another database.
    pub(crate) has_two_databases: bool,
    pub(crate) engine: Option<Onlooker>,
    pub(crate) examine: Examine,
}

impl Place {
    pub(crate) fn status(&self) -> Result<Status, StoreError> {
        match &self.events {
            Some(events) if self.has_two_databases => status_of_two(&**events, &*self.models, false),
            _ => self.inspect().status(false),
        }
    }

    pub(crate) fn inspect(&self) -> &dyn Inspect {
        self.models.inspect()
    }

    /// The database of the log, where it can be looked into; none where events come from elsewhere.
    pub(crate) fn log(&self) -> Option<&dyn Inspect> {
        match &self.log {
            Some(log) => Some(log.inspect()),
            None => (self.events.is_some() && !self.has_two_databases).then(|| self.inspect()),
        }
    }

    /// None where no engine is beside, or is any more.
    pub(crate) fn readings(&self) -> Option<Readings> {
        self.engine.as_ref()?.readings()
    }
}

/// What `doctor` finds of the database of the read models.
pub(crate) fn examine(models: &Arc<dyn ProjectionStore>) -> Examine {
    let models = Arc::clone(models);
    Box::new(move || Doctor::default().examine(models.inspect()))
}
