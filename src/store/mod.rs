//! The contracts below the engine: where events come from, where they are pushed to, where read models are kept.
//!
//! A service may bring a custom [`EventSource`]. The other traits are sealed, so only this library's stores implement
//! them, and they may grow. Tests make calls fail with [`FaultyStore`](crate::testing::FaultyStore). [`EventSource`]
//! and [`ProjectionStore`] may be two databases.

mod builds;
mod commands;
pub(crate) mod events;
mod leases;
mod notify;
mod projections;
mod standstills;
mod transaction;

pub use builds::{BuildStore, CatchUp, Replay, Replaying};
pub use commands::CommandStore;
pub use events::EventSource;
pub(crate) use events::EventStore;
pub use leases::LeaseStore;
pub(crate) use notify::UNHEARD;
pub use notify::{NotificationListener, Notifications, Notifier};
pub use projections::ProjectionStore;
pub use standstills::StandstillStore;
pub use transaction::ProjectionTransaction;

#[doc(inline)]
pub use crate::lease::{Lag, LagRequest, Lagging, Lease, Member, Pause, Renewal};
#[doc(inline)]
pub use crate::standstill::{Note, Standstill, StandstillKind, StandstillSubject};
#[doc(inline)]
pub use crate::state::{Checkpoint, Log, Mark, ProjectionKey, State};
