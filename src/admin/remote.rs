//! Asking running engines, from a process that need not know the projections.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::builds::Build;
use crate::command::{AdminCommand, CommandRecord, CommandState, NewCommand};
use crate::error::{OperateError, StoreError, StoreErrorKind, Unanswered, chain};
use crate::failure::By;
use crate::lease::Member;
use crate::projection::is_reducing;
use crate::store::CommandStore;
use crate::store::ProjectionStore;
use crate::store::{Notifications, Notifier};

/// The first wait between two looks for an answer, and the longest.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// The time between two looks whether anybody is alive who could carry a command out.
const WHO_IS_ALIVE: Duration = Duration::from_millis(500);

/// For how long nobody may be: an engine may be started anew.
const NOBODY: Duration = Duration::from_secs(2);

/// Asks running engines to do something, and waits for their answers. It needs the database only.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use std::time::Duration;
/// use readside::prelude::*;
/// use readside::{Engine, SqliteStore};
/// use readside::admin::{AdminCommand, Remote};
/// use readside::failure::By;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("service.db");
/// let logins = Projection::new("logins", 1)
///     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
///     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
/// let engine = Engine::builder(SqliteStore::open(&path)?).projection(logins).start()?;
///
/// // Another process:
/// let remote = Remote::new(SqliteStore::open(&path)?);
/// let verify = AdminCommand::Verify { instance: None, repair: false };
/// let id = remote.ask("logins", verify, &By::new("ada", "after the incident"))?;
/// let report = remote.answer(id, Duration::from_secs(30))?;
/// assert_eq!(report["differing"], serde_json::json!([]));
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Remote {
    models: Arc<dyn ProjectionStore>,
    notifier: Arc<dyn Notifier>,
}

impl Remote {
    /// By the database of the read models.
    pub fn new<S: ProjectionStore + Notifier + 'static>(store: S) -> Self {
        let store = Arc::new(store);
        Self { models: store.clone(), notifier: store }
    }

    /// Pauses a projection, or one instance of it, as [`Engine::pause`](crate::Engine::pause) does; no engine has to be alive.
    /// Which instances there are is not looked at: their events may be in another database.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`], or when the store fails.
    pub fn pause(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<bool, OperateError> {
        self.at_once(projection, AdminCommand::Pause { instance: instance.map(str::to_owned) }, by)
    }

    /// Lets a projection, or one instance of it, go on. False when it was not paused.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub fn resume(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<bool, OperateError> {
        self.at_once(projection, AdminCommand::Resume { instance: instance.map(str::to_owned) }, by)
    }

    fn at_once(&self, projection: &str, command: AdminCommand, by: &By) -> Result<bool, OperateError> {
        let id = self.ask(projection, command, by)?;
        has_changed(&self.answer(id, Duration::ZERO)?)
    }

    /// Puts a command on record for the engines that run the projection, and returns its id. They hear of it at once, or
    /// within their next look.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`] by its name; [`OperateError::NoEngine`] when nobody is alive who could do it and
    /// somebody has to ([`AdminCommand::is_immediate`]);
    /// [`OperateError::Busy`] while another command is in its way.
    pub fn ask(&self, projection: &str, command: AdminCommand, by: &By) -> Result<Uuid, OperateError> {
        self.ask_version(projection, None, command, by)
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

    /// Puts a command on record, whoever is alive.
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

    fn check_known(&self, projection: &str) -> Result<(), OperateError> {
        let builds = self.models.builds().builds()?;
        let mut known: Vec<String> = builds.iter().map(|build| build.key.projection().to_owned()).collect();
        known.dedup();
        if !known.iter().any(|name| name == projection) {
            return Err(OperateError::UnknownProjection { projection: projection.to_owned(), known });
        }
        Ok(())
    }

    fn check_engine(&self, projection: &str, version: Option<u32>) -> Result<(), OperateError> {
        let members = self.models.commands().members()?;
        if members.iter().any(|member| member.can_do(projection, version)) {
            return Ok(());
        }
        let versions = members.iter().flat_map(|member| &member.projections);
        let mut running: Vec<u32> = versions.filter(|(name, _)| name == projection).map(|(_, v)| *v).collect();
        running.sort_unstable();
        running.dedup();
        Err(OperateError::NoEngine { projection: projection.to_owned(), version, running })
    }

    /// Waits for the answer of a command: the report as JSON.
    ///
    /// # Errors
    /// [`OperateError::Answered`] with the engine's words when it could not be carried out;
    /// [`OperateError::NoAnswer`] when there is none in time, the command stays on record then, see
    /// [`withdraw`](Self::withdraw); [`OperateError::NobodyLeft`] when no engine is alive any more that would give one.
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
        let start = Instant::now();
        let pause = |time: Duration, _: &CommandRecord| {
            std::thread::park_timeout(time);
            start.elapsed() < timeout
        };
        follow(self.models.commands(), id, &mut changed, pause)
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

    /// All builds of all projections.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn builds(&self) -> Result<Vec<Build>, OperateError> {
        Ok(self.models.builds().builds()?)
    }

    /// The processes that are alive, with the projections that they run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn members(&self) -> Result<Vec<Member>, OperateError> {
        Ok(self.models.commands().members()?)
    }
}

/// A reducer that waits for what a command brings about may wait for itself.
pub(super) fn check_outside() -> Result<(), OperateError> {
    if is_reducing() { Err(OperateError::InsideReducer) } else { Ok(()) }
}

/// Whether a pause, or its end, changed anything.
pub(super) fn has_changed(answer: &serde_json::Value) -> Result<bool, OperateError> {
    let failed = || StoreError::new("reading an answer", StoreErrorKind::Corrupt, "it does not say whether it changed");
    Ok(answer.get("changed").and_then(serde_json::Value::as_bool).ok_or_else(failed)?)
}

/// Looks until the command is over, or `pause` says that the time is, or nobody is alive who would bring it to its end.
pub(super) fn follow(
    store: &dyn CommandStore,
    id: Uuid,
    changed: &mut dyn FnMut(&CommandRecord),
    mut pause: impl FnMut(Duration, &CommandRecord) -> bool,
) -> Result<serde_json::Value, OperateError> {
    check_outside()?;
    let (start, mut wait, mut last) = (Instant::now(), LOOK_AGAIN.0, None);
    let (mut asked_who, mut nobody): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let asked = store.command(id)?.ok_or(OperateError::UnknownCommand { id })?;
        if last.as_ref() != Some(&asked) {
            changed(&asked);
        }
        if asked.state.is_over() {
            return answered(asked);
        }
        if asked_who.is_none_or(|at| at.elapsed() >= WHO_IS_ALIVE) {
            asked_who = Some(Instant::now());
            nobody = if store.is_tended(id)? { None } else { nobody.or(asked_who) };
        }
        if nobody.is_some_and(|since| since.elapsed() >= NOBODY) {
            let (kind, found) = (asked.command.kind().to_owned(), how_it_stands(store, &asked)?.into());
            return Err(OperateError::NobodyLeft { id, kind, projection: asked.projection, found });
        }
        if !pause(wait, &asked) {
            let (kind, found) = (asked.command.kind().to_owned(), how_it_stands(store, &asked)?.into());
            let waited = start.elapsed();
            return Err(OperateError::NoAnswer { id, kind, projection: asked.projection, found, waited });
        }
        last = Some(asked);
        wait = (wait * 2).min(LOOK_AGAIN.1);
    }
}

fn how_it_stands(store: &dyn CommandStore, asked: &CommandRecord) -> Result<Unanswered, OperateError> {
    let id = asked.id;
    let (CommandState::Taken, Some(process)) = (asked.state, asked.taken_by) else {
        return Ok(Unanswered::NotBegun { id });
    };
    if !store.is_tended(id)? {
        return Ok(Unanswered::Left { id });
    }
    let name = store.members()?.into_iter().find(|member| member.process == process).map(|member| member.name);
    let by = name.map_or_else(|| process.to_string(), |name| format!("{name:?} ({process})"));
    let since = asked.taken_at.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
    Ok(Unanswered::Begun { id, by, since })
}

fn answered(asked: CommandRecord) -> Result<serde_json::Value, OperateError> {
    let answer = asked.answer.unwrap_or_default();
    if asked.state == CommandState::Done {
        return Ok(answer);
    }
    let error = answer.get("error").and_then(serde_json::Value::as_str);
    Err(OperateError::Answered { error: error.unwrap_or("it failed without a word").to_owned() })
}
