//! Operations on read models: one handle, from a running engine or from the database alone.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::answer::has_changed;
#[cfg(feature = "sqlite")]
use super::explain::{Explanation, explain};
#[cfg(feature = "sqlite")]
use super::own_engine::site;
use super::own_engine::unknown;
use super::rebuild::RebuildReport;
use super::switch::Change;
#[cfg(feature = "sqlite")]
use super::verify::{Verification, verify};
use crate::builds::{BuildProgress, Phase};
#[cfg(feature = "sqlite")]
use crate::command::ExplainRequest;
use crate::command::{AdminCommand, CommandRecord, RebuildOptions};
use crate::engine::{Engine, in_all};
use crate::error::{FailureError, OperateError, StoreError, StoreErrorKind};
use crate::failure::{By, FailedEvent, FailureQuery, Intervention, RetryOutcome};
use crate::state::ProjectionKey;
use crate::store::{Notifier, ProjectionStore};

/// Operations on read models: rebuild, switch, verify, pause, retry, …
///
/// [`Engine::admin`] gives one that works with that engine. [`Admin::new`] gives one that needs only the database: it
/// puts commands on record, and an engine that runs the projection carries them out, in whichever process that engine
/// is. Either way a command outlives the process that asked for it.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use std::time::Duration;
/// use readside::prelude::*;
/// use readside::{Engine, SqliteStore};
/// use readside::admin::{Admin, AdminCommand};
/// use readside::failure::By;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("service.db");
/// let logins = Projection::new("logins", 1)
///     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
///     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
/// let engine = Engine::builder(SqliteStore::open(&path)?).projection(logins).start()?;
/// assert!(engine.admin().verify("logins", None)?.differing.is_empty());
///
/// // Another process, which need not know the code of the projection:
/// let admin = Admin::new(SqliteStore::open(&path)?).timeout(Duration::from_secs(30));
/// assert!(admin.verify("logins", None)?.differing.is_empty());
///
/// // Or in two steps:
/// let verify = AdminCommand::Verify { instance: None, repair: false };
/// let id = admin.ask("logins", verify, &By::new("ada", "after the incident"))?;
/// let report = admin.answer(id, Duration::from_secs(30))?;
/// assert_eq!(report["differing"], serde_json::json!([]));
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Admin<'e> {
    pub(super) models: Arc<dyn ProjectionStore>,
    pub(super) notifier: Arc<dyn Notifier>,
    pub(super) engine: Option<&'e Engine>,
    timeout: Duration,
}

impl Engine {
    /// Operations on the read models of this engine.
    #[must_use]
    pub fn admin(&self) -> Admin<'_> {
        let (models, notifier) = (Arc::clone(self.models()), Arc::clone(self.notifier()));
        Admin { models, notifier, engine: Some(self), timeout: Duration::MAX }
    }
}

impl Admin<'static> {
    /// A handle that needs only the database of the read models.
    pub fn new<S: ProjectionStore + Notifier + 'static>(store: S) -> Self {
        let store = Arc::new(store);
        Self { models: store.clone(), notifier: store, engine: None, timeout: Duration::MAX }
    }
}

impl Admin<'_> {
    /// How long a call waits for its command. Without a time-out, a call ends when the work is done, when the engine
    /// shuts down, or when no engine is alive that could do the work.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Builds a new read model beside the one that readers see, compares the two, and switches readers to the new one
    /// in one transaction. It can do this for one instance alone. Blocks until it is done, and reports its progress.
    ///
    /// All engines that run the projection take part, after their live work. If this process ends, another one
    /// continues the rebuild. The old build is kept until [`drop_old`](Self::drop_old) or the next rebuild;
    /// [`back`](Self::back) returns to it. An event that fails is parked at once. A discarded event is passed over,
    /// unless [`RebuildOptions::retry_discarded`] says otherwise.
    ///
    /// # Errors
    /// [`OperateError::Busy`] while another rebuild, switch or reset of the projection runs; any error of the work
    /// itself.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::prelude::*;
    /// use readside::{Engine, NewEvent, SqliteStore};
    /// use readside::admin::RebuildOptions;
    /// use readside::failure::By;
    ///
    /// let logins = Projection::new("logins", 1)
    ///     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    ///     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let engine = Engine::builder(SqliteStore::in_memory()?).projection(logins).start()?;
    /// engine.push(&[NewEvent::raw("main", "user", "ada", "user.logged_in")])?;
    ///
    /// let by = By::new("ada", "a column was edited by hand");
    /// let report = engine.admin().rebuild("logins", RebuildOptions::default(), &by, |progress| {
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
        self.answer_of(id, |asked| {
            let told = asked.progress.clone().and_then(|told| serde_json::from_value(told).ok());
            if let Some(told) = told {
                progress(&told);
            }
        })
    }

    /// Switches readers to a build that is ready and waits for this command.
    ///
    /// # Errors
    /// [`OperateError::Refused`] if no build is ready, or if it was filled from events that the log does not have any
    /// more; also the errors of [`rebuild`](Self::rebuild).
    pub fn switch(&self, projection: &str, by: &By) -> Result<Change, OperateError> {
        self.carry_out(projection, AdminCommand::Switch { within: None }, by)
    }

    /// Switches readers back to the build that was live before the last switch. A build of the same version is brought
    /// up to date first. A build of an older version has to be kept current by a process that runs its code, unless
    /// `stale` says that readers may see it out of date.
    ///
    /// # Errors
    /// [`OperateError::Refused`] if no earlier build is kept, if it stands still, or if it was filled from events that
    /// the log does not have any more.
    pub fn back(&self, projection: &str, stale: bool, by: &By) -> Result<Change, OperateError> {
        self.carry_out(projection, AdminCommand::Back { stale, within: None }, by)
    }

    /// Removes the builds that readers saw before.
    ///
    /// # Errors
    /// [`OperateError::Refused`] if there are none, or if a process runs their code.
    pub fn drop_old(&self, projection: &str, by: &By) -> Result<Change, OperateError> {
        self.carry_out(projection, AdminCommand::DropOld, by)
    }

    /// Gives up the build under construction: ends its rebuild and removes its tables.
    ///
    /// # Errors
    /// [`OperateError::Refused`] if there is none.
    pub fn abandon(&self, projection: &str, by: &By) -> Result<Change, OperateError> {
        self.carry_out(projection, AdminCommand::Abandon, by)
    }

    /// Empties a read model, or one instance of it, and fills it again in place: readers see it grow. Prefer
    /// [`rebuild`](Self::rebuild), which they do not notice. Returns when the read model is filled again, except for
    /// what [`left_out`](Change::left_out) reports.
    ///
    /// # Errors
    /// [`OperateError::UnknownInstance`]; also the errors of [`rebuild`](Self::rebuild).
    pub fn reset(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<Change, OperateError> {
        let instance = instance.map(str::to_owned);
        self.carry_out(projection, AdminCommand::Reset { instance, retry_discarded: false }, by)
    }

    /// Pauses a projection, or one instance of it, in all processes; they notice within a tick. Who did it, when and
    /// why stays on record as a command, and [`ProjectionStatus::pauses`](crate::inspect::ProjectionStatus::pauses)
    /// shows it. Returns false if it was paused already.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`]; [`OperateError::UnknownInstance`] with a handle of an engine; or when the
    /// store fails.
    pub fn pause(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<bool, OperateError> {
        let instance = instance.map(str::to_owned);
        has_changed(&self.carry_out(projection, AdminCommand::Pause { instance }, by)?)
    }

    /// Lets a projection, or one instance of it, go on. Returns false if it was not paused.
    ///
    /// # Errors
    /// As [`pause`](Self::pause), but an unknown instance is no error: it was not paused.
    pub fn resume(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<bool, OperateError> {
        let instance = instance.map(str::to_owned);
        has_changed(&self.carry_out(projection, AdminCommand::Resume { instance }, by)?)
    }

    /// Computes from the log what the tables of a projection should hold, and compares: one instance, or all, each at
    /// its checkpoint, while engines go on. Holds the rows of one instance in memory.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`], [`OperateError::UnknownInstance`], or when a store cannot be read.
    #[cfg(feature = "sqlite")]
    pub fn verify(&self, projection: &str, instance: Option<&str>) -> Result<Verification, OperateError> {
        let Some(engine) = self.engine else {
            let instance = instance.map(str::to_owned);
            let by = By::new("", "");
            return self.carry_out(projection, AdminCommand::Verify { instance, repair: false }, &by);
        };
        verify(&site(engine, projection)?, instance, engine)
    }

    /// Verifies, and rebuilds each instance that differs.
    ///
    /// # Errors
    /// As [`verify`](Self::verify) and [`rebuild`](Self::rebuild).
    #[cfg(feature = "sqlite")]
    pub fn repair(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<Verification, OperateError> {
        let instance = instance.map(str::to_owned);
        self.carry_out(projection, AdminCommand::Verify { instance, repair: true }, by)
    }

    /// Reports which events and statements made a row, in order, with the row after each of them.
    ///
    /// # Errors
    /// [`OperateError::UnknownInstance`], [`OperateError::UnknownPosition`], [`OperateError::BadKey`], or when a store
    /// cannot be read.
    #[cfg(feature = "sqlite")]
    pub fn explain(&self, projection: &str, question: &ExplainRequest) -> Result<Explanation, OperateError> {
        let Some(engine) = self.engine else {
            return self.carry_out(projection, AdminCommand::Explain(question.clone()), &By::new("", ""));
        };
        explain(&site(engine, projection)?, question, engine)
    }

    /// Recorded failures of a projection, by instance and position.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`], or when the store cannot be read.
    pub fn failed_events(&self, projection: &str, query: &FailureQuery) -> Result<Vec<FailedEvent>, OperateError> {
        Ok(self.models.failed_events(&self.key(projection)?, query)?)
    }

    /// What people did about failures of a projection, the latest first, at most `limit`.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`], or when the store cannot be read.
    pub fn interventions(&self, projection: &str, limit: usize) -> Result<Vec<Intervention>, OperateError> {
        Ok(self.models.interventions(&self.key(projection)?, limit)?)
    }

    /// Tries a failed event again, see [`ProjectionHandler::retry`](crate::ProjectionHandler::retry): in the build of
    /// this version that readers see or will see, and in one that is being filled beside it. With a handle of an
    /// engine, it runs on this thread.
    ///
    /// # Errors
    /// [`OperateError::Failure`] with the [`FailureError`]; [`OperateError::Answered`] if another process did it.
    pub fn retry(
        &self,
        projection: &str,
        instance: &str,
        position: i64,
        by: &By,
    ) -> Result<RetryOutcome, OperateError> {
        let Some(engine) = self.engine else {
            let command = AdminCommand::Retry { instance: instance.to_owned(), position };
            return self.mended(projection, command, by);
        };
        let outcome = in_all(&engine.all_builds(projection)?, |build| build.retry(instance, position, by));
        Ok(engine.mended(outcome)?)
    }

    /// Tries all failed events of a projection again, see
    /// [`ProjectionHandler::retry_all`](crate::ProjectionHandler::retry_all); also those of a build that is being
    /// filled.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub fn retry_all(&self, projection: &str, by: &By) -> Result<RetryOutcome, OperateError> {
        let Some(engine) = self.engine else { return self.mended(projection, AdminCommand::RetryAll, by) };
        Ok(engine.mended(in_all(&engine.all_builds(projection)?, |build| build.retry_all(by)))?)
    }

    /// Gives a failed event up, see [`ProjectionHandler::discard`](crate::ProjectionHandler::discard); also in a build
    /// that is being filled.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub fn discard(
        &self,
        projection: &str,
        instance: &str,
        position: i64,
        by: &By,
    ) -> Result<RetryOutcome, OperateError> {
        let Some(engine) = self.engine else {
            let command = AdminCommand::Discard { instance: instance.to_owned(), position };
            return self.mended(projection, command, by);
        };
        let outcome = in_all(&engine.all_builds(projection)?, |build| build.discard(instance, position, by));
        Ok(engine.mended(outcome)?)
    }

    /// The engine's own version, or the one that readers see.
    fn key(&self, projection: &str) -> Result<ProjectionKey, OperateError> {
        if let Some(engine) = self.engine {
            let Some((own, _)) = engine.projection(projection) else { return Err(unknown(engine, projection)) };
            return Ok(own.key());
        }
        let builds = self.check_known(projection)?;
        let live = builds.iter().find(|build| build.phase == Phase::Live).or(builds.first());
        let known = Vec::new();
        let failed = || OperateError::UnknownProjection { projection: projection.to_owned(), known };
        Ok(live.ok_or_else(failed)?.key.clone())
    }

    fn answer_of<T: DeserializeOwned>(&self, id: Uuid, changed: impl FnMut(&CommandRecord)) -> Result<T, OperateError> {
        let answer = self.follow(id, self.timeout, changed)?;
        let failed = |error| StoreError::new("reading an answer", StoreErrorKind::Corrupt, error);
        Ok(serde_json::from_value(answer).map_err(failed)?)
    }

    fn carry_out<T: DeserializeOwned>(
        &self,
        projection: &str,
        command: AdminCommand,
        by: &By,
    ) -> Result<T, OperateError> {
        let id = self.ask(projection, command, by)?;
        self.answer_of(id, |_| {})
    }

    /// The outcome of a command about failures. If an event fails again, that is an error, as with a call on an engine.
    fn mended(&self, projection: &str, command: AdminCommand, by: &By) -> Result<RetryOutcome, OperateError> {
        let change: Change = self.carry_out(projection, command, by)?;
        let mended = change.mended.unwrap_or_default();
        if mended.refused.is_empty() {
            return Ok(*mended);
        }
        Err(FailureError::SomeStillFail { projection: projection.to_owned(), mended }.into())
    }
}
