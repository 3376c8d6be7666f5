//! Operations in code: an engine asks itself, or whoever of its kind is first, and waits for the answer.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::context::Context;
use super::rebuild::RebuildReport;
use super::remote::{check_outside, follow, has_changed};
use super::switch::Change;
use crate::builds::{Build, BuildProgress};
use crate::command::{AdminCommand, CommandRecord, NewCommand, RebuildOptions};
use crate::engine::Engine;
use crate::error::{OperateError, StoreError, StoreErrorKind};
use crate::failure::By;

impl Engine {
    /// Builds a read model anew beside the one that readers see, compares the two, and has readers see the new one in one
    /// transaction; or does so for one instance alone. Blocks until that is done, and tells how far it is.
    ///
    /// All engines that run the projection take part, after their live work. It outlasts this process: another one goes on
    /// with it. The old build is kept until [`drop_old`](Self::drop_old) or the next rebuild, [`back`](Self::back) returns
    /// to it. An event that fails is parked at once. One that was discarded is passed over, unless
    /// [`RebuildOptions::retry_discarded`] says otherwise.
    ///
    /// # Errors
    /// [`OperateError::Busy`] while another rebuild, switch or reset of the projection goes on; what went wrong otherwise.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::{By, NewEvent, Engine, Projection, RebuildOptions, SqliteStore, Table, create, set, text};
    ///
    /// let logins = Projection::new("logins", 1)
    ///     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    ///     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let engine = Engine::builder(SqliteStore::in_memory()?).projection(logins).start()?;
    /// engine.push(&[NewEvent::raw("main", "user", "ada", "user.logged_in")])?;
    ///
    /// let by = By::new("ada", "a column was edited by hand");
    /// let report = engine.rebuild("logins", RebuildOptions::default(), &by, |progress| {
    ///     println!("{}: {} of {}", progress.step, progress.done, progress.total);
    /// })?;
    /// assert!(report.switched);
    /// # }
    /// # Ok::<(), readside::Error>(())
    /// ```
    pub fn rebuild(
        &self,
        projection: &str,
        options: RebuildOptions,
        by: &By,
        mut progress: impl FnMut(&BuildProgress),
    ) -> Result<RebuildReport, OperateError> {
        let id = self.ask(projection, AdminCommand::Rebuild(options), by)?;
        self.answer_of(id, &mut |asked| {
            let told = asked.progress.clone().and_then(|told| serde_json::from_value(told).ok());
            if let Some(told) = told {
                progress(&told);
            }
        })
    }

    /// Has readers see a build that waits for its switch.
    ///
    /// # Errors
    /// [`OperateError::Refused`] when there is none, or when it was filled from events that the log does not have any more;
    /// as [`rebuild`](Self::rebuild).
    pub fn switch(&self, projection: &str, by: &By) -> Result<Change, OperateError> {
        self.carry_out(projection, AdminCommand::Switch { within: None }, by)
    }

    /// Has readers see the build that was live before the last switch. Within a version it is brought up to date first;
    /// an older version has to be kept current by a process that runs its code, unless `stale` says that readers may see
    /// it as of where it stands.
    ///
    /// # Errors
    /// [`OperateError::Refused`] when none is kept, when it stands still, or when it was filled from events that the log does
    /// not have any more.
    pub fn back(&self, projection: &str, stale: bool, by: &By) -> Result<Change, OperateError> {
        self.carry_out(projection, AdminCommand::Back { stale, within: None }, by)
    }

    /// Removes the builds that readers saw before.
    ///
    /// # Errors
    /// [`OperateError::Refused`] when there are none, or when a process runs their code.
    pub fn drop_old(&self, projection: &str, by: &By) -> Result<Change, OperateError> {
        self.carry_out(projection, AdminCommand::DropOld, by)
    }

    /// Gives the build under construction up: its rebuild ends, its tables go.
    ///
    /// # Errors
    /// [`OperateError::Refused`] when there is none.
    pub fn abandon(&self, projection: &str, by: &By) -> Result<Change, OperateError> {
        self.carry_out(projection, AdminCommand::Abandon, by)
    }

    /// Empties a read model, or one instance of it, and fills it again in place: readers see it grow. Prefer
    /// [`rebuild`](Self::rebuild), which they do not notice. Returns when it is filled again, but for what
    /// [`left_out`](Change::left_out) tells.
    ///
    /// # Errors
    /// [`OperateError::UnknownInstance`]; as [`rebuild`](Self::rebuild).
    pub fn reset(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<Change, OperateError> {
        let instance = instance.map(str::to_owned);
        self.carry_out(projection, AdminCommand::Reset { instance, retry_discarded: false }, by)
    }

    /// Pauses a projection, or one instance of it, in all processes; they notice within a tick. Who did it, when and why
    /// stays on record as a command, and [`ProjectionStatus::pauses`](crate::ProjectionStatus::pauses) tells. False when
    /// it was paused already.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`]; [`OperateError::UnknownInstance`]; or when the store fails.
    pub fn pause(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<bool, OperateError> {
        let pause = AdminCommand::Pause { instance: instance.map(str::to_owned) };
        has_changed(&self.carry_out(projection, pause, by)?)
    }

    /// Lets a projection, or one instance of it, go on. False when it was not paused.
    ///
    /// # Errors
    /// As [`pause`](Self::pause); but an instance that nobody knows was not paused.
    pub fn resume(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<bool, OperateError> {
        let resume = AdminCommand::Resume { instance: instance.map(str::to_owned) };
        has_changed(&self.carry_out(projection, resume, by)?)
    }

    /// Puts a command on record and returns its id at once; see [`answer`](Self::answer).
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`], [`OperateError::Busy`], [`OperateError::InsideReducer`]; for a pause
    /// [`OperateError::UnknownInstance`].
    pub fn ask(&self, projection: &str, command: AdminCommand, by: &By) -> Result<Uuid, OperateError> {
        check_outside()?;
        let Some((own, _)) = self.projection(projection) else {
            let known = self.projection_names();
            return Err(OperateError::UnknownProjection { projection: projection.to_owned(), known });
        };
        // A pause can be lifted though the instance that it is for is gone.
        if let Some((Some(instance), true)) = command.pausing() {
            self.site(projection)?.check_instance(instance)?;
        }
        // What is paused, is so for all versions.
        let version = (!command.is_immediate()).then(|| own.version());
        let command = NewCommand { projection: projection.to_owned(), version, command, by: by.clone() };
        let id = self.models().commands().ask(&command)?;
        if let Some((instance, on)) = command.command.pausing() {
            self.note_pause(projection, instance, on);
        }
        self.announce();
        Ok(id)
    }

    /// Waits for the answer of a command: the report as JSON.
    ///
    /// # Errors
    /// [`OperateError::Answered`] when it could not be carried out; [`OperateError::ShutDown`].
    pub fn answer(&self, id: Uuid) -> Result<serde_json::Value, OperateError> {
        self.follow(id, &mut |_| {})
    }

    /// Commands, the latest first, at most `limit`; of one projection, if one is named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn commands(&self, projection: Option<&str>, limit: usize) -> Result<Vec<CommandRecord>, OperateError> {
        Ok(self.models().commands().commands(projection, limit)?)
    }

    /// The builds of a projection: which one is live, what is being built, what is kept.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`], or when the store cannot be read.
    pub fn builds(&self, projection: &str) -> Result<Vec<Build>, OperateError> {
        let known = self.site(projection)?.known()?;
        self.look_at_builds()?;
        Ok(known)
    }

    pub(super) fn site(&self, projection: &str) -> Result<Context<'_>, OperateError> {
        let Some((own, config)) = self.projection(projection) else {
            let known = self.projection_names();
            return Err(OperateError::UnknownProjection { projection: projection.to_owned(), known });
        };
        let (source, models) = (self.source(), self.models());
        let (system, cancel, reducing) = (self.with_system(), Arc::default(), self.reducing(projection));
        Ok(Context { source, models, projection: own, config, system, cancel, reducing })
    }

    fn follow(&self, id: Uuid, changed: &mut dyn FnMut(&CommandRecord)) -> Result<serde_json::Value, OperateError> {
        let outcome =
            follow(self.models().commands(), id, changed, |time: Duration, _: &CommandRecord| self.wait(time));
        match outcome {
            Err(OperateError::NoAnswer { .. }) => Err(OperateError::ShutDown),
            other => other,
        }
    }

    fn answer_of<T: DeserializeOwned>(
        &self,
        id: Uuid,
        changed: &mut dyn FnMut(&CommandRecord),
    ) -> Result<T, OperateError> {
        let answer = self.follow(id, changed)?;
        let failed = |error| StoreError::new("reading an answer", StoreErrorKind::Corrupt, error);
        Ok(serde_json::from_value(answer).map_err(failed)?)
    }

    pub(super) fn carry_out<T: DeserializeOwned>(
        &self,
        projection: &str,
        command: AdminCommand,
        by: &By,
    ) -> Result<T, OperateError> {
        let id = self.ask(projection, command, by)?;
        self.answer_of(id, &mut |_| {})
    }
}
