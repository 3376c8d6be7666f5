//! Erasing, removing and archiving.

use super::{SetupError, StoreError};
use crate::plain::{listed, plain};

/// An operation on the life of the data that did not happen, or did not finish. What it did so far stays, and a
/// repeated call goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// The database knows nothing of this instance.
    #[error("there is no instance {instance:?}; see `readside instances`")]
    UnknownInstance {
        /// The tenant.
        instance: String,
    },
    /// There is no such event.
    #[error("instance {instance:?} has no event at position {position}")]
    UnknownEvent {
        /// The tenant.
        instance: String,
        /// The position.
        position: i64,
    },
    /// There is no event of this aggregate.
    #[error("instance {instance:?} has no event of {} {aggregate_id:?}; check its type and id", plain(aggregate_type))]
    UnknownAggregate {
        /// The tenant.
        instance: String,
        /// Type of the aggregate.
        aggregate_type: String,
        /// Id of the aggregate.
        aggregate_id: String,
    },
    /// The system instance belongs to the engine.
    #[error("the system instance \"\" cannot be removed: the engine announces its first runs there")]
    SystemInstance,
    /// The instance was not removed, so it cannot be opened again.
    #[error("instance {instance:?} is open: it was not removed, or was opened again already")]
    NotRemoved {
        /// The tenant.
        instance: String,
    },
    /// Rows of the service's tables refer to rows that should be removed.
    #[error(
        "instance {instance:?} {}: others refer to its rows ({}); delete these rows or their references, then remove \
         the instance again",
        if *.begun { "is removed in part, and what is gone stays so" } else { "is not removed" },
        listed(.referring, ", ")
    )]
    Referred {
        /// The tenant.
        instance: String,
        /// The foreign keys, each with its table and, if they can be counted, how many rows use it.
        referring: Vec<String>,
        /// True when the removal had begun. Otherwise nothing was removed.
        begun: bool,
        /// What the database says, if it refused.
        source: Option<Box<StoreError>>,
    },
    /// The database knows nothing of this projection.
    #[error("there is no projection {projection:?} here; see `readside status`")]
    UnknownProjection {
        /// The name.
        projection: String,
    },
    /// Engines still run the projection. They would write into tables that are gone.
    #[error(
        "projection {projection:?} is run by {}; deploy without it everywhere, and try again once these have ended \
         (a killed process counts until its lease is over)",
        listed(engines, ", ")
    )]
    ProjectionRuns {
        /// The name.
        projection: String,
        /// The engines that run it.
        engines: Vec<String>,
    },
    /// An object of the service depends on its tables or views.
    #[error(
        "what readers see of projection {projection:?} is used by {}; drop or change that first",
        listed(dependents, ", ")
    )]
    Dependents {
        /// The name.
        projection: String,
        /// The objects that depend on it.
        dependents: Vec<String>,
    },
    /// Its tables cannot be removed.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The removal of the instance has begun and has not finished.
    #[error("instance {instance:?} still has events: its removal was cut off; remove it again, then open it")]
    Unfinished {
        /// The tenant.
        instance: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
