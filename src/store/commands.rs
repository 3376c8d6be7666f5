//! The commands of people to engines, kept in the database of the read models.

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
    /// Puts a command on record and returns its id. The same transaction carries out a command that is
    /// [immediate](crate::admin::AdminCommand::is_immediate), and puts its answer on record.
    ///
    /// # Errors
    /// [`OperateError::Busy`] when a command that excludes it is running for the projection. A command that no engine
    /// works on, and that no living engine could take, does not block it: that command ends.
    fn ask(&self, command: &NewCommand) -> Result<Uuid, OperateError>;

    /// Takes commands that wait, or whose engine no longer keeps them, for these projections (name and version), the
    /// oldest first, at most `limit`. It leaves commands that this code cannot read to other engines; and, for a while,
    /// those that name no version and that a living engine of another version can carry out, and this one cannot. Once
    /// it has taken a command, it returns that one even if the next one fails.
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

    /// Keeps those of these commands that the owner still has, and returns their ids.
    ///
    /// # Errors
    /// When the store fails.
    fn keep(&self, owner: Uuid, commands: &[Uuid], lease: Duration) -> Result<Vec<Uuid>, StoreError>;

    /// Puts the progress of a command on record. Returns false when the owner no longer has it.
    ///
    /// # Errors
    /// When the store fails.
    fn report(&self, id: Uuid, owner: Uuid, progress: &serde_json::Value) -> Result<bool, StoreError>;

    /// Ends a command with its answer. Returns false when the owner no longer has it.
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

    /// Lets other engines take the commands that this owner has not ended.
    ///
    /// # Errors
    /// When the store fails.
    fn give_back(&self, owner: Uuid) -> Result<(), StoreError>;

    /// One command.
    ///
    /// # Errors
    /// When the store fails.
    fn command(&self, id: Uuid) -> Result<Option<CommandRecord>, StoreError>;

    /// Whether an unfinished command will finish if nothing changes: an engine keeps it, or a living one may take it.
    ///
    /// # Errors
    /// When the store fails.
    fn is_tended(&self, id: Uuid) -> Result<bool, StoreError>;

    /// Ends a command that no engine works on, before one begins it. The command is then on record as failed, with this
    /// answer. Returns false when an engine was faster.
    ///
    /// # Errors
    /// When the store fails.
    fn withdraw(&self, id: Uuid, answer: &serde_json::Value) -> Result<bool, StoreError>;

    /// Commands, the latest first, at most `limit`. If a projection is named, only its commands.
    ///
    /// # Errors
    /// When the store fails.
    fn commands(&self, projection: Option<&str>, limit: usize) -> Result<Vec<CommandRecord>, StoreError>;

    /// Removes rows of read models from answers that are older than this.
    ///
    /// # Errors
    /// When the store fails.
    fn forget_rows(&self, age: Duration) -> Result<(), StoreError>;

    /// The living processes.
    ///
    /// # Errors
    /// When the store fails.
    fn members(&self) -> Result<Vec<Member>, StoreError>;
}
