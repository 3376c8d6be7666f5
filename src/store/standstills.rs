//! Where processes write down why they stand still.

use std::fmt;

use uuid::Uuid;

use crate::error::StoreError;
use crate::sealed::Sealed;
use crate::standing::Standing;
use crate::standstill::{Note, StandstillSubject};
use crate::state::ProjectionKey;

/// Keeps the reasons why processes stand still, in the database of the projections' states.
///
/// A note about an instance holds only until its checkpoint moves, one about all of a projection until any checkpoint of it
/// moves, by any process. Notes of the dead are shown only while
/// no living process runs the projection.
///
/// It is sealed: only this library implements it.
pub trait StandstillStore: Sealed + fmt::Debug + Send + Sync {
    /// Writes down these in the place of what the process wrote before about the same subjects, and removes others of its.
    ///
    /// # Errors
    /// When the store fails.
    fn note(
        &self,
        process: Uuid,
        notes: &[Note],
        gone: &[(ProjectionKey, StandstillSubject)],
    ) -> Result<(), StoreError>;

    /// How these builds get on, of those that are registered; with an instance only what concerns that one.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn standings(&self, projections: &[ProjectionKey], instance: Option<&str>) -> Result<Vec<Standing>, StoreError>;
}
