//! The commands of people to engines, in the database of the read models.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::command::{CommandRecord, CommandState, NewCommand};
use crate::error::{OperateError, StoreError};
use crate::lease::Member;
use crate::sealed::Sealed;

/// Keeps commands, in the database of the projections' states.
///
/// All times are on this database's clock.
///
/// It is sealed: only this library implements it.
pub trait CommandStore: Sealed + fmt::Debug + Send + Sync {
    /// Puts a command on record and returns its id. One that is [at once](crate::admin::AdminCommand::is_immediate) is carried out in the
    /// same transaction, and on record with its answer.
    ///
    /// # Errors
    /// [`OperateError::Busy`] when another one that excludes it goes on for the projection. One that nobody is at, and that
    /// no engine alive could take, is not in the way: it ends.
    fn ask(&self, command: &NewCommand) -> Result<Uuid, OperateError>;

    /// Takes commands that are asked for, or whose engine does not keep them any more, for these projections (name and
    /// version), the oldest first, at most `limit`. Those that this code cannot read are left to others. Once one is
    /// taken, it is returned, whatever comes of the next.
    ///
    /// # Errors
    /// When the store fails and nothing is taken.
    fn take(
        &self,
        owner: Uuid,
        projections: &[(String, u32)],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<CommandRecord>, StoreError>;

    /// Keeps those of these commands that are still the owner's, and returns their ids.
    ///
    /// # Errors
    /// When the store fails.
    fn keep(&self, owner: Uuid, commands: &[Uuid], lease: Duration) -> Result<Vec<Uuid>, StoreError>;

    /// Writes down how far a command is; false when it is not the owner's any more.
    ///
    /// # Errors
    /// When the store fails.
    fn report(&self, id: Uuid, owner: Uuid, progress: &serde_json::Value) -> Result<bool, StoreError>;

    /// Ends a command with its answer; false when it is not the owner's any more.
    ///
    /// # Errors
    /// When the store fails.
    fn answer(
        &self,
        id: Uuid,
        owner: Uuid,
        state: CommandState,
        answer: &serde_json::Value,
    ) -> Result<bool, StoreError>;

    /// Lets others take what this owner has not ended.
    ///
    /// # Errors
    /// When the store fails.
    fn give_back(&self, owner: Uuid) -> Result<(), StoreError>;

    /// One command.
    ///
    /// # Errors
    /// When the store fails.
    fn command(&self, id: Uuid) -> Result<Option<CommandRecord>, StoreError>;

    /// Whether a command that is not over comes to its end if nothing changes: an engine keeps it, or one is alive that may take
    /// it.
    ///
    /// # Errors
    /// When the store fails.
    fn is_tended(&self, id: Uuid) -> Result<bool, StoreError>;

    /// Ends a command that no engine is at, before one begins it; false when one was faster. It is on record as failed then,
    /// with this answer.
    ///
    /// # Errors
    /// When the store fails.
    fn withdraw(&self, id: Uuid, answer: &serde_json::Value) -> Result<bool, StoreError>;

    /// Commands, the latest first, at most `limit`; of one projection, if one is named.
    ///
    /// # Errors
    /// When the store fails.
    fn commands(&self, projection: Option<&str>, limit: usize) -> Result<Vec<CommandRecord>, StoreError>;

    /// Removes the rows of read models from answers that are older than this.
    ///
    /// # Errors
    /// When the store fails.
    fn forget_rows(&self, age: Duration) -> Result<(), StoreError>;

    /// The processes that are alive.
    ///
    /// # Errors
    /// When the store fails.
    fn members(&self) -> Result<Vec<Member>, StoreError>;
}
