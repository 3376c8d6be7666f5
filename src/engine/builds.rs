//! Which builds there are, as the database says: which one is live, which are filled in the background, which are left
//! alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::{Runner, Shared};
use super::unfed::ITSELF;
use crate::build::{Build, Phase};
use crate::error::{OperateError, StoreError, StoreErrorKind, full};
use crate::held::By;
use crate::instruction::{Instruction, NewCommand, RebuildOptions, Switch};
use crate::state::ProjectionKey;

/// The mark of a whole build beside the live one.
pub(crate) const NEXT: &str = "next";

/// The live build of a projection: what readers see.
#[derive(Debug, Clone)]
pub(super) struct LiveBuild {
    pub(super) key: ProjectionKey,
    pub(super) aggregate_types: Vec<String>,
}

impl Shared {
    /// Takes in which builds there are, and says whether that has changed; none when the store does not tell.
    pub(super) fn look_at_builds(&self) -> Result<Option<bool>, StoreError> {
        let Some(store) = self.models.builds() else { return Ok(None) };
        // What is read later is taken in later.
        let _looking = self.looking.lock();
        let builds = store.builds()?;
        let mut moved = false;
        for (at, runner) in self.runners.iter().enumerate() {
            let build = builds.iter().find(|build| build.key == *runner.key());
            moved |= self.take_in(at, runner, build);
            let live = builds.iter().find(|b| b.phase == Phase::Live && b.key.projection() == runner.name());
            moved |= live.is_some_and(|live| runner.sees(live));
            let others = builds.iter().filter(|b| b.key.projection() == runner.name() && b.key.mark().is_none());
            let contested = others.into_iter().any(|b| b.key != *runner.key() && b.phase.is_filled());
            runner.contested.store(contested, Ordering::Relaxed);
            if let Some(build) = build {
                self.mind_trouble(runner, build);
                self.ask_for_switch(runner, build);
            }
            if let (false, Some(build), Some(live)) = (runner.is_beside(), build, live) {
                self.mind_readers(runner, build, live);
            }
        }
        if moved {
            self.progress.all_moved();
        }
        Ok(Some(moved))
    }

    fn take_in(&self, at: usize, runner: &Runner, build: Option<&Build>) -> bool {
        let phase = build.map(|build| build.phase);
        let is_filled = match phase {
            // A process that runs the code of an older version goes on with its tables.
            None | Some(Phase::Kept) => !runner.is_beside(),
            Some(phase) => phase.is_filled(),
        };
        let is_filled = is_filled && runner.trouble.lock().is_none();
        if let Some(build) = build {
            runner.succeeded.store(build.succeeded, Ordering::Relaxed);
            runner.resets.store(build.resets, Ordering::Relaxed);
        }
        let background = phase.is_some_and(|phase| phase != Phase::Live);
        self.schedule.set_background(at, background);
        let was =
            (runner.active.swap(is_filled, Ordering::Relaxed), runner.background.swap(background, Ordering::Relaxed));
        was != (is_filled, background)
    }

    /// What went wrong here is written down as soon as the database takes it. Once it is on record, the record decides.
    fn mind_trouble(&self, runner: &Runner, build: &Build) {
        let Some(trouble) = runner.trouble.lock().clone() else { return };
        if build.phase == Phase::Halted {
            *runner.trouble.lock() = None;
        } else {
            self.write_trouble(runner, &trouble);
        }
    }

    fn write_trouble(&self, runner: &Runner, trouble: &str) {
        let Some(store) = self.models.builds() else { return };
        match store.enter(runner.key(), &[Phase::Building, Phase::Ready], Phase::Halted, Some(trouble)) {
            Ok(_) => *runner.trouble.lock() = None,
            Err(error) => log::warn!("{}; it is tried again at the next tick", full(&error)),
        }
    }

    /// Leaves a build alone that the database cannot take; what is live goes on. True when it was that.
    pub(super) fn halt(&self, runner: &Runner, error: &StoreError) -> bool {
        use StoreErrorKind as K;
        let stops = matches!(error.kind(), K::Full | K::ReadOnly | K::Denied | K::Unsupported);
        if !stops || !runner.is_background() {
            return false;
        }
        let trouble = full(error);
        log::error!("the build {} of projection {:?} is halted: {trouble}", runner.key().name, runner.name());
        runner.active.store(false, Ordering::Relaxed);
        *runner.trouble.lock() = Some(trouble.clone());
        self.write_trouble(runner, &trouble);
        true
    }

    /// A version that was raised in the code takes the place of the live one without being told to. All engines ask; one
    /// of them is heard.
    fn ask_for_switch(&self, runner: &Runner, build: &Build) {
        let Some(commands) = self.models.commands() else { return };
        if runner.is_beside() || build.phase != Phase::Building || runner.asked.load(Ordering::Relaxed) {
            return;
        }
        let switch = if self.config.auto_switch { Switch::CaughtUp } else { Switch::Asked };
        let why = format!("version {} is in the code of {}", build.key.version, self.config.name);
        let command = NewCommand {
            projection: runner.name().to_owned(),
            version: Some(build.key.version),
            instruction: Instruction::Rebuild(RebuildOptions {
                switch,
                unless_live: true,
                ..RebuildOptions::default()
            }),
            by: By::new(ITSELF, why),
        };
        match commands.ask(&command) {
            Ok(_) => {
                runner.asked.store(true, Ordering::Relaxed);
                self.request_operation();
            }
            Err(OperateError::Busy { running: "rebuild", .. }) => {}
            Err(error) => log::debug!("{}; the next tick asks again", full(&error)),
        }
    }
}

impl Runner {
    /// What readers see of its projection; itself, where the store does not tell.
    pub(super) fn seen(&self) -> Arc<LiveBuild> {
        let own = || LiveBuild { key: self.key().clone(), aggregate_types: self.wanted.aggregate_types.clone() };
        // A build beside the live one was asked for by its own name.
        let known = self.live.lock().clone().filter(|_| !self.is_beside());
        known.unwrap_or_else(|| Arc::new(own()))
    }

    /// Takes in which build is live; true when that is another one than before.
    fn sees(&self, live: &Build) -> bool {
        let mut known = self.live.lock();
        if known.as_ref().is_some_and(|known| known.key == live.key) {
            return false;
        }
        *known = Some(Arc::new(LiveBuild { key: live.key.clone(), aggregate_types: live.aggregate_types.clone() }));
        true
    }
}
