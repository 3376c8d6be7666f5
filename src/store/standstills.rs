//! Where processes record why they stand still.

use std::fmt;

use uuid::Uuid;

use crate::error::StoreError;
use crate::sealed::Sealed;
use crate::standing::Standing;
use crate::standstill::{Note, StandstillSubject};
use crate::state::ProjectionKey;

/// Keeps the reasons why processes stand still, in the database of the projections' states.
///
/// A note about an instance holds only until its checkpoint moves. A note about a whole projection holds until any of
/// its checkpoints moves. It does not matter which process moves them. Notes of dead processes are shown only while no
/// living process runs the projection.
///
/// It is sealed: only this library implements it.
pub trait StandstillStore: Sealed + fmt::Debug + Send + Sync {
    /// Replaces the notes of a process about these subjects, and removes its other notes.
    ///
    /// # Errors
    /// When the store fails.
    fn note(
        &self,
        process: Uuid,
        notes: &[Note],
        gone: &[(ProjectionKey, StandstillSubject)],
    ) -> Result<(), StoreError>;

    /// How these builds get on, as far as they are registered. If an instance is named, only what concerns that
    /// instance.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn standings(&self, projections: &[ProjectionKey], instance: Option<&str>) -> Result<Vec<Standing>, StoreError>;
}
