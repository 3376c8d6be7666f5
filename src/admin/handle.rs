//! What people do about read models in operation: one handle, from a running engine or from the database alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::answer::{check_outside, follow, has_changed, how_it_stands};
use super::context::{Context, Control};
#[cfg(feature = "sqlite")]
use super::explain::{Explanation, explain};
use super::rebuild::RebuildReport;
use super::switch::Change;
#[cfg(feature = "sqlite")]
use super::verify::{Verification, verify};
use crate::builds::{Build, BuildProgress, Phase};
#[cfg(feature = "sqlite")]
use crate::command::ExplainRequest;
use crate::command::{AdminCommand, CommandRecord, NewCommand, RebuildOptions};
use crate::engine::{Engine, in_all};
use crate::error::{FailureError, OperateError, StoreError, StoreErrorKind, Unanswered, chain};
use crate::failure::{By, FailedEvent, FailureQuery, Intervention, RetryOutcome};
use crate::lease::{Member, Pause};
use crate::state::ProjectionKey;
use crate::store::{Notifications, Notifier, ProjectionStore};

/// What people do about read models in operation: rebuild, switch, verify, pause, retry, …
///
/// [`Engine::admin`] gives one that works with that engine. [`Admin::new`] gives one that needs the database only: it
/// puts commands on record, and an engine that runs the projection carries them out, in whatever process. Either way what
/// was asked for outlives the process that asked.
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
    models: Arc<dyn ProjectionStore>,
    notifier: Arc<dyn Notifier>,
    engine: Option<&'e Engine>,
    timeout: Duration,
}

impl Engine {
    /// What people do about the read models of this engine.
    #[must_use]
    pub fn admin(&self) -> Admin<'_> {
        let (models, notifier) = (Arc::clone(self.models()), Arc::clone(self.notifier()));
        Admin { models, notifier, engine: Some(self), timeout: Duration::MAX }
    }
}

impl Admin<'static> {
    /// By the database of the read models.
    pub fn new<S: ProjectionStore + Notifier + 'static>(store: S) -> Self {
        let store = Arc::new(store);
        Self { models: store.clone(), notifier: store, engine: None, timeout: Duration::MAX }
    }
}

impl Admin<'_> {
    /// How long a call waits for what it asked for. Without it a call ends when the work is done, when the engine is shut
    /// down, or when no engine is alive that would do it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

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
    /// stays on record as a command, and [`ProjectionStatus::pauses`](crate::inspect::ProjectionStatus::pauses) tells. False when
    /// it was paused already.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`]; of an engine [`OperateError::UnknownInstance`]; or when the store fails.
    pub fn pause(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<bool, OperateError> {
        let instance = instance.map(str::to_owned);
        has_changed(&self.carry_out(projection, AdminCommand::Pause { instance }, by)?)
    }

    /// Lets a projection, or one instance of it, go on. False when it was not paused.
    ///
    /// # Errors
    /// As [`pause`](Self::pause); but an instance that nobody knows was not paused.
    pub fn resume(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<bool, OperateError> {
        let instance = instance.map(str::to_owned);
        has_changed(&self.carry_out(projection, AdminCommand::Resume { instance }, by)?)
    }

    /// Computes from the log what the tables of a projection should hold, and compares: all instances, or one, each
    /// as of its checkpoint, while engines go on. Holds the rows of one instance in memory.
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

    /// Tells which events and statements made a row, in order, with the row after each.
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

    /// Tries a failed event again, see [`ProjectionHandler::retry`](crate::ProjectionHandler::retry): in the build of this
    /// version that readers see, or are to see, and in one that is filled beside it. An engine's does so on this thread.
    ///
    /// # Errors
    /// [`OperateError::Failure`] with the [`FailureError`]; [`OperateError::Answered`] where another process did it.
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
    /// [`ProjectionHandler::retry_all`](crate::ProjectionHandler::retry_all); also those of a build that is filled.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub fn retry_all(&self, projection: &str, by: &By) -> Result<RetryOutcome, OperateError> {
        let Some(engine) = self.engine else { return self.mended(projection, AdminCommand::RetryAll, by) };
        Ok(engine.mended(in_all(&engine.all_builds(projection)?, |build| build.retry_all(by)))?)
    }

    /// Gives a failed event up, see [`ProjectionHandler::discard`](crate::ProjectionHandler::discard); also in a build that
    /// is filled.
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

    /// Puts a command on record and returns its id at once; see [`answer`](Self::answer). Engines hear of it at once, or
    /// within their next look.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`]; [`OperateError::Busy`] while another command is in its way;
    /// [`OperateError::InsideReducer`]; of an engine, for a pause, [`OperateError::UnknownInstance`]; of the database alone
    /// [`OperateError::NoEngine`] when nobody is alive who could do it and somebody has to
    /// ([`AdminCommand::is_immediate`]).
    pub fn ask(&self, projection: &str, command: AdminCommand, by: &By) -> Result<Uuid, OperateError> {
        let Some(engine) = self.engine else { return self.ask_version(projection, None, command, by) };
        check_outside()?;
        let Some((own, _)) = engine.projection(projection) else { return Err(unknown(engine, projection)) };
        // A pause can be lifted though the instance that it is for is gone.
        if let Some((Some(instance), true)) = command.pausing() {
            site(engine, projection)?.check_instance(instance)?;
        }
        // What is paused, is so for all versions.
        let version = (!command.is_immediate()).then(|| own.version());
        let pausing = command.pausing().map(|(instance, on)| (instance.map(str::to_owned), on));
        let command = NewCommand { projection: projection.to_owned(), version, command, by: by.clone() };
        let id = self.models.commands().ask(&command)?;
        if let Some((instance, on)) = pausing {
            engine.note_pause(projection, instance.as_deref(), on);
        }
        engine.announce();
        Ok(id)
    }

    /// As [`ask`](Self::ask), for engines that run this version.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_version(
        &self,
        projection: &str,
        version: Option<u32>,
        command: AdminCommand,
        by: &By,
    ) -> Result<Uuid, OperateError> {
        check_outside()?;
        self.check_known(projection)?;
        if !command.is_immediate() {
            self.check_engine(projection, version)?;
        }
        self.put(projection, version, command, by)
    }

    /// Puts a command on record, also when no engine is alive.
    pub(crate) fn put(
        &self,
        projection: &str,
        version: Option<u32>,
        command: AdminCommand,
        by: &By,
    ) -> Result<Uuid, OperateError> {
        let command = NewCommand { projection: projection.to_owned(), version, command, by: by.clone() };
        let id = self.models.commands().ask(&command)?;
        if let Err(error) = self.notifier.announce(&Notifications { instances: Vec::new(), all: true }) {
            log::debug!("{}; engines find the command by their next look", chain(&error));
        }
        Ok(id)
    }

    /// Waits for the answer of a command: the report as JSON.
    ///
    /// # Errors
    /// [`OperateError::Answered`] with the engine's words when it could not be carried out;
    /// [`OperateError::NoAnswer`] when there is none in time, the command stays on record then, see
    /// [`withdraw`](Self::withdraw); [`OperateError::NobodyLeft`] when no engine is alive any more that would give one;
    /// [`OperateError::ShutDown`].
    pub fn answer(&self, id: Uuid, timeout: Duration) -> Result<serde_json::Value, OperateError> {
        self.follow(id, timeout, |_| {})
    }

    /// As [`answer`](Self::answer), and tells each time when the record of the command has changed.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn follow(
        &self,
        id: Uuid,
        timeout: Duration,
        mut changed: impl FnMut(&CommandRecord),
    ) -> Result<serde_json::Value, OperateError> {
        let (start, mut is_shut_down) = (Instant::now(), false);
        let pause = |time: Duration, _: &CommandRecord| {
            match self.engine {
                Some(engine) => is_shut_down = !engine.wait(time),
                None => std::thread::park_timeout(time),
            }
            !is_shut_down && start.elapsed() < timeout
        };
        match follow(self.models.commands(), id, &mut changed, pause) {
            Err(OperateError::NoAnswer { .. }) if is_shut_down => Err(OperateError::ShutDown),
            other => other,
        }
    }

    /// As [`follow`](Self::follow), as long as `pause` says so.
    #[cfg(feature = "cli")]
    pub(crate) fn follow_while(
        &self,
        id: Uuid,
        changed: &mut dyn FnMut(&CommandRecord),
        pause: impl FnMut(Duration, &CommandRecord) -> bool,
    ) -> Result<serde_json::Value, OperateError> {
        follow(self.models.commands(), id, changed, pause)
    }

    /// Ends a command that no engine has begun, so that none ever does and nothing waits for it. False when one has.
    ///
    /// # Errors
    /// When the store fails.
    pub fn withdraw(&self, id: Uuid, by: &By) -> Result<bool, OperateError> {
        let words = if by.why.is_empty() { String::new() } else { format!(": {}", by.why) };
        let answer = serde_json::json!({ "error": format!("withdrawn by {:?}{words}", by.who) });
        Ok(self.models.commands().withdraw(id, &answer)?)
    }

    /// How it stands with a command that has no answer yet.
    ///
    /// # Errors
    /// [`OperateError::UnknownCommand`], or when the store cannot be read.
    pub fn unanswered(&self, id: Uuid) -> Result<Unanswered, OperateError> {
        let store = self.models.commands();
        how_it_stands(store, &store.command(id)?.ok_or(OperateError::UnknownCommand { id })?)
    }

    /// Commands, the latest first, at most `limit`; of one projection, if one is named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn commands(&self, projection: Option<&str>, limit: usize) -> Result<Vec<CommandRecord>, OperateError> {
        Ok(self.models.commands().commands(projection, limit)?)
    }

    /// The builds of a projection: which one is live, what is being built, what is kept.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`], or when the store cannot be read.
    pub fn builds(&self, projection: &str) -> Result<Vec<Build>, OperateError> {
        match self.engine {
            Some(engine) => {
                let known = site(engine, projection)?.known()?;
                engine.look_at_builds()?;
                Ok(known)
            }
            None => self.check_known(projection),
        }
    }

    /// The processes that are alive, with the projections that they run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn members(&self) -> Result<Vec<Member>, OperateError> {
        Ok(self.models.commands().members()?)
    }

    /// The builds of a projection that the database knows.
    fn check_known(&self, projection: &str) -> Result<Vec<Build>, OperateError> {
        let mut builds = self.models.builds().builds()?;
        let mut known: Vec<String> = builds.iter().map(|build| build.key.projection().to_owned()).collect();
        builds.retain(|build| build.key.projection() == projection);
        if builds.is_empty() {
            known.dedup();
            return Err(OperateError::UnknownProjection { projection: projection.to_owned(), known });
        }
        Ok(builds)
    }

    fn check_engine(&self, projection: &str, version: Option<u32>) -> Result<(), OperateError> {
        let members = self.members()?;
        if members.iter().any(|member| member.can_do(projection, version)) {
            return Ok(());
        }
        let versions = members.iter().flat_map(|member| &member.projections);
        let mut running: Vec<u32> = versions.filter(|(name, _)| name == projection).map(|(_, v)| *v).collect();
        running.sort_unstable();
        running.dedup();
        Err(OperateError::NoEngine { projection: projection.to_owned(), version, running })
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

    /// What came of a command about failures. What is refused again is an error, as an engine's own call has it.
    fn mended(&self, projection: &str, command: AdminCommand, by: &By) -> Result<RetryOutcome, OperateError> {
        let change: Change = self.carry_out(projection, command, by)?;
        let mended = change.mended.unwrap_or_default();
        if mended.refused.is_empty() {
            return Ok(*mended);
        }
        Err(FailureError::SomeStillFail { projection: projection.to_owned(), mended }.into())
    }
}

fn unknown(engine: &Engine, projection: &str) -> OperateError {
    OperateError::UnknownProjection { projection: projection.to_owned(), known: engine.projection_names() }
}

pub(super) fn site<'e>(engine: &'e Engine, projection: &str) -> Result<Context<'e>, OperateError> {
    let Some((own, config)) = engine.projection(projection) else { return Err(unknown(engine, projection)) };
    let (source, models) = (engine.source(), engine.models());
    let (system, cancel, reducing) = (engine.with_system(), Arc::default(), engine.reducing(projection));
    Ok(Context { source, models, projection: own, config, system, cancel, reducing })
}

impl Control for Engine {
    fn report(&self, _progress: &serde_json::Value) {}

    fn may_go_on(&self) -> bool {
        Engine::wait(self, Duration::ZERO)
    }

    fn wait(&self, time: Duration) -> bool {
        Engine::wait(self, time)
    }

    fn announce(&self) {
        Engine::announce(self);
    }

    fn pauses(&self) -> Result<std::collections::HashSet<Pause>, StoreError> {
        Engine::pauses(self)
    }
}
