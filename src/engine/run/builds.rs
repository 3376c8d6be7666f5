//! Reads from the database which builds there are: which one is live, which ones are being filled in the background,
//! and which ones rest.

use std::time::Instant;

use crate::builds::{Build, Phase, torn_tables};
use crate::clock;
use crate::command::{AdminCommand, NewCommand, RebuildOptions, Switch};
use crate::engine::pass::backoff;
use crate::engine::run::runner::{BuildTrouble, Runner};
use crate::engine::run::state::Shared;
use crate::engine::run::unfed::{ITSELF, LONGEST};
use crate::error::{OperateError, StoreError, StoreErrorKind, chain};
use crate::failure::By;
use crate::projection::Projection;
use crate::remedy::{Act, Subject};
use crate::standstill::StandstillSubject;

/// The mark of a complete build that is built next to the live one.
pub(crate) const NEXT: &str = "next";

impl Shared {
    /// Reads which builds there are. Returns whether that has changed.
    pub(crate) fn look_at_builds(&self) -> Result<bool, StoreError> {
        let store = self.stores.models.builds();
        // Two looks never overlap, so a later read is also taken in later.
        let _looking = self.looking.lock();
        let mut builds = store.builds()?;
        if self.set_up_again(&builds) {
            builds = store.builds()?;
        }
        let mut moved = false;
        for (at, runner) in self.runners.iter().enumerate() {
            let build = builds.iter().find(|build| build.key == *runner.key());
            moved |= self.take_in(at, runner, build);
            self.mind_tables(at, runner, build);
            let live = builds.iter().find(|b| b.phase == Phase::Live && b.key.projection() == runner.name());
            moved |= live.is_some_and(|live| runner.sees(live));
            let others = builds.iter().filter(|b| b.key.projection() == runner.name() && b.key.mark().is_none());
            let contested = others.into_iter().any(|b| b.key != *runner.key() && b.phase.is_filled());
            runner.change(|state| state.is_contested = contested);
            if let Some(build) = build {
                self.mind_trouble(runner, build);
                self.ask_for_switch(runner, build);
            }
            if let (false, Some(build), Some(live)) = (runner.is_shadow(), build, live) {
                self.mind_readers(runner, build, live);
            }
        }
        if moved {
            self.progress.all_moved();
        }
        Ok(moved)
    }

    /// Sets up versions of this engine that are no longer on record because the database of the read models was
    /// restored to an earlier time. If a newer version is on record, a missing older one was removed on purpose.
    /// Returns true when it set up any.
    fn set_up_again(&self, builds: &[Build]) -> bool {
        let is_gone = |runner: &&Runner| {
            let mut others = builds.iter().filter(|build| build.key.projection() == runner.name());
            !runner.is_shadow() && others.all(|other| other.key.version < runner.key().version)
        };
        let gone: Vec<&Runner> = self.runners.iter().filter(is_gone).collect();
        if gone.is_empty() {
            return false;
        }
        let names: Vec<String> =
            gone.iter().map(|runner| format!("version {} of {:?}", runner.key().version, runner.name())).collect();
        let names = names.join(", ");
        if !self.config.setup {
            log::error!(
                "the database has no record of {names} any more, as after a restore, and `EngineConfig::setup` keeps this engine \
                 from setting it up; set it up, or run `readside rebuild`"
            );
            return false;
        }
        let projections: Vec<&Projection> = gone.iter().map(|runner| &runner.handler.inner.projection).collect();
        if let Err(error) = self.stores.models.setup(&projections) {
            log::error!(
                "the database has no record of {names} any more, as after a restore: {}; the next tick tries again",
                chain(&error)
            );
            return false;
        }
        log::warn!(
            "the database had no record of {names} any more, as after a restore; the engine has set it up again"
        );
        for runner in gone {
            *runner.asked.lock() = None;
        }
        true
    }

    /// Reports tables that do not belong to their checkpoints, and the end of that state.
    fn mind_tables(&self, at: usize, runner: &Runner, build: Option<&Build>) {
        let torn = build.and_then(|build| build.torn.as_deref());
        let before = runner.change(|state| state.is_torn = torn.is_some());
        *runner.torn.lock() = torn.map(str::to_owned);
        match torn {
            Some(found) => {
                let error = torn_tables("applying events to them", found);
                if !before.is_torn {
                    log::error!("projection {:?}: {}", runner.name(), chain(&error));
                }
                self.standstills.failed(at, StandstillSubject::Work, &error);
            }
            None if before.is_torn => self.standstills.works(at),
            None => {}
        }
    }

    fn take_in(&self, at: usize, runner: &Runner, build: Option<&Build>) -> bool {
        let phase = build.map(|build| build.phase);
        let is_filled = match phase {
            // A process that runs the code of an older version goes on with that version's tables.
            None | Some(Phase::Kept) => !runner.is_shadow(),
            Some(phase) => phase.is_filled(),
        };
        let is_filled = is_filled && !runner.trouble.lock().as_ref().is_some_and(BuildTrouble::holds);
        // A refused switch stays on record even though the build moves.
        let is_told = build.is_some_and(|build| build.trouble.is_some() && !build.is_refused());
        let is_background = phase.is_some_and(|phase| phase != Phase::Live);
        self.schedule.set_background(at, is_background);
        let before = runner.change(|state| {
            if let Some(build) = build {
                (state.has_succeeded, state.resets) = (build.succeeded, build.resets);
            }
            (state.is_told, state.is_active, state.is_background) = (is_told, is_filled, is_background);
        });
        (before.is_active, before.is_background) != (is_filled, is_background)
    }

    /// Puts trouble of this process on record as soon as the database takes it. Once the record says that a person has
    /// to act, the record decides.
    fn mind_trouble(&self, runner: &Runner, build: &Build) {
        let Some(trouble) = runner.trouble.lock().clone() else { return };
        if !matches!(build.phase, Phase::Building | Phase::Ready) {
            *runner.trouble.lock() = None;
        } else if !trouble.is_told {
            self.write_trouble(runner, &trouble);
        }
    }

    fn write_trouble(&self, runner: &Runner, trouble: &BuildTrouble) {
        let store = self.stores.models.builds();
        let outcome = if trouble.again.is_some() {
            self.record(runner, Some(&trouble.text))
        } else {
            store.enter(runner.key(), &[Phase::Building, Phase::Ready], Phase::Halted, Some(&trouble.text)).map(|_| ())
        };
        match outcome {
            Ok(()) if trouble.again.is_none() => *runner.trouble.lock() = None,
            Ok(()) => {
                runner.change(|state| state.is_told = true);
                if let Some(known) = runner.trouble.lock().as_mut() {
                    known.is_told = true;
                }
            }
            Err(error) => log::warn!("{}; the next tick tries again", chain(&error)),
        }
    }

    /// Records why a build does not move, or with `None` that it moves. The build stays in its phase.
    fn record(&self, runner: &Runner, trouble: Option<&str>) -> Result<(), StoreError> {
        let store = self.stores.models.builds();
        for phase in [Phase::Building, Phase::Ready] {
            if store.enter(runner.key(), &[phase], phase, trouble)? {
                break;
            }
        }
        Ok(())
    }

    /// Stops work on a build that the database cannot take; the live build goes on. Engines try it again, at growing
    /// intervals, if somebody may have made room or granted rights in the meantime. Returns true when the error was of
    /// this kind.
    pub(crate) fn halt(&self, runner: &Runner, error: &StoreError) -> bool {
        use StoreErrorKind as K;
        let may_pass = matches!(error.kind(), K::Full | K::ReadOnly | K::Denied | K::Schema);
        if !(may_pass || error.kind() == K::Unsupported) || !runner.state().is_background {
            return false;
        }
        let mut known = runner.trouble.lock();
        // Several of its jobs may end in the same way.
        if !runner.change(|state| state.is_active = false).is_active && known.is_some() {
            return true;
        }
        let config = &runner.handler.inner.config;
        let times = known.as_ref().map_or(0, |known| known.times).saturating_add(1);
        let wait = backoff::after(config.backoff_base, config.backoff_cap, times);
        let (text, again) = (chain(error), may_pass.then(|| clock::deadline(wait)));
        let what = format!("the build {} of projection {:?}", runner.key().name, runner.name());
        let rebuild = Act::Rebuild.on(&Subject { projection: runner.name(), version: None, instance: None });
        match again {
            Some(_) => log::error!("{what} cannot go on: {text}; the engine tries again in {}", clock::spoken(wait)),
            None => log::error!("{what} is halted: {text}; fix that, then run `{rebuild}`"),
        }
        let trouble = BuildTrouble { text, again, times, is_told: false };
        *known = Some(trouble.clone());
        drop(known);
        self.standstills.halted(self.place(runner), &trouble.text);
        self.write_trouble(runner, &trouble);
        true
    }

    /// The build moves, so the trouble that stopped it is over.
    pub(crate) fn relieve(&self, runner: &Runner) {
        let had = runner.trouble.lock().take().is_some();
        if (runner.change(|state| state.is_told = false).is_told || had)
            && let Err(error) = self.record(runner, None)
        {
            // The record still names the trouble. The next look sees that.
            log::debug!("{}", chain(&error));
        }
    }

    /// Asks for the switch to a version that was raised in the code; no person has to ask. All engines ask, and one of
    /// them is heard. After a refused switch they ask again, at growing intervals, because the reason may be gone.
    fn ask_for_switch(&self, runner: &Runner, build: &Build) {
        let is_refused = self.config.auto_switch && build.is_refused();
        if runner.is_shadow() || !(build.phase == Phase::Building || build.phase == Phase::Ready && is_refused) {
            return;
        }
        let (now, lease) = (Instant::now(), self.config.lease);
        let mut asked = runner.asked.lock();
        if asked.is_some_and(|(again, _)| !is_refused || now < again) {
            return;
        }
        let switch = if self.config.auto_switch { Switch::CaughtUp } else { Switch::Asked };
        let why = format!("version {} is in the code of {}", build.key.version, self.config.name);
        let command = NewCommand {
            projection: runner.name().to_owned(),
            version: Some(build.key.version),
            command: AdminCommand::Rebuild(RebuildOptions { switch, unless_live: true, ..RebuildOptions::default() }),
            by: By::new(ITSELF, why),
        };
        match self.stores.models.commands().ask(&command) {
            Ok(_) => {
                let pause = asked.map_or(lease, |(_, pause)| (pause * 2).min(LONGEST.max(lease)));
                *asked = Some((now + pause, pause));
                self.request_operation();
            }
            Err(OperateError::Busy { running: "rebuild", .. }) => {}
            Err(error) => log::debug!("{}; the next tick asks again", chain(&error)),
        }
    }
}
