//! Commands on record: asking for one, following it, and what is on record already.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::answer::{check_outside, follow, how_it_stands};
use super::handle::Admin;
use super::own_engine::{site, unknown};
use crate::builds::Build;
use crate::command::{AdminCommand, CommandRecord, NewCommand};
use crate::engine::Control;
use crate::error::{OperateError, Unanswered, chain};
use crate::failure::By;
use crate::lease::Member;
use crate::store::Notifications;

impl Admin<'_> {
    /// Puts a command on record and returns its id, without waiting for the work; see [`answer`](Self::answer). Engines
    /// hear of it at once, or at their next look.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`]; [`OperateError::Busy`] while another command conflicts with it;
    /// [`OperateError::InsideReducer`]. With a handle of an engine, for a pause: [`OperateError::UnknownInstance`].
    /// With the database alone: [`OperateError::NoEngine`] if the command needs an engine
    /// ([`AdminCommand::is_immediate`]) and none is alive.
    pub fn ask(&self, projection: &str, command: AdminCommand, by: &By) -> Result<Uuid, OperateError> {
        let Some(engine) = self.engine else { return self.ask_version(projection, None, command, by) };
        check_outside()?;
        let Some((own, _)) = engine.projection(projection) else { return Err(unknown(engine, projection)) };
        // A pause of an instance that no longer exists can still be lifted.
        if let Some((Some(instance), true)) = command.pausing() {
            site(engine, projection)?.check_instance(instance)?;
        }
        // A pause holds for all versions.
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

    /// As [`ask`](Self::ask), but only engines that run this version carry the command out.
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

    /// Puts a command on record, even when no engine is alive.
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
            log::debug!("{}; engines find the command at their next look", chain(&error));
        }
        Ok(id)
    }

    /// Waits for the answer of a command: the report as JSON.
    ///
    /// # Errors
    /// [`OperateError::Answered`] with the engine's words if the engine could not carry it out;
    /// [`OperateError::NoAnswer`] if there is no answer in time: the command stays on record, see
    /// [`withdraw`](Self::withdraw); [`OperateError::NobodyLeft`] if no engine is alive any more that could answer;
    /// [`OperateError::ShutDown`].
    pub fn answer(&self, id: Uuid, timeout: Duration) -> Result<serde_json::Value, OperateError> {
        self.follow(id, timeout, |_| {})
    }

    /// As [`answer`](Self::answer), and calls `changed` whenever the record of the command changes.
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

    /// As [`follow`](Self::follow), but only as long as `pause` allows.
    #[cfg(feature = "cli")]
    pub(crate) fn follow_while(
        &self,
        id: Uuid,
        changed: &mut dyn FnMut(&CommandRecord),
        pause: impl FnMut(Duration, &CommandRecord) -> bool,
    ) -> Result<serde_json::Value, OperateError> {
        follow(self.models.commands(), id, changed, pause)
    }

    /// Ends a command that no engine has begun, so that no engine ever does. Returns false if one has begun it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn withdraw(&self, id: Uuid, by: &By) -> Result<bool, OperateError> {
        let words = if by.why.is_empty() { String::new() } else { format!(": {}", by.why) };
        let answer = serde_json::json!({ "error": format!("withdrawn by {:?}{words}", by.who) });
        Ok(self.models.commands().withdraw(id, &answer)?)
    }

    /// The state of a command that has no answer yet.
    ///
    /// # Errors
    /// [`OperateError::UnknownCommand`], or when the store cannot be read.
    pub fn unanswered(&self, id: Uuid) -> Result<Unanswered, OperateError> {
        let store = self.models.commands();
        how_it_stands(store, &store.command(id)?.ok_or(OperateError::UnknownCommand { id })?)
    }

    /// Commands, the latest first, at most `limit`; only those of `projection`, if it is given.
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
    pub(super) fn check_known(&self, projection: &str) -> Result<Vec<Build>, OperateError> {
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
}
