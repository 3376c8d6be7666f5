//! Tells the store and callers why projections and instances stand still in this process (`standstills.rs`).
//!
//! While nothing stands still, it costs one look at a flag. A note is written only when it changes. If the store cannot
//! take it, this process keeps it until the store can, and [`Shared::health`] shows it in the meantime.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::clock::spoken;
use crate::engine::pass::reducing::Hanging;
use crate::engine::run::runner::Runner;
use crate::engine::run::standstills::{KnownStandstill, Looker, STARVES, StandstillKey, Word};
use crate::engine::run::state::Shared;
use crate::error::{Error, StoreError, StoreErrorKind, chain, net};
use crate::plain::plain;
use crate::query::{Cursor, ReadRequest};
use crate::standing::Standing;
use crate::standstill::{Note, Standstill, StandstillKind, StandstillSubject, bounded};
use crate::state::{ProjectionKey, State};
use crate::stop_cause::StopCause;
use crate::value::time_text;

/// Says that readers see another version than this engine runs, and that no engine runs that one.
pub(crate) fn unseen(runner: &Runner, seen: &Standing) -> Option<Standstill> {
    if seen.projection == *runner.key() || seen.members > 0 {
        return None;
    }
    let reason = format!("readers see version {}, which no living engine runs", seen.projection.version);
    Some(Standstill::new(StandstillKind::Unseen, reason))
}

impl Shared {
    /// What keeps an instance of a projection, as readers see it, from moving: the gravest of all known standstills.
    pub(crate) fn why(
        &self,
        at: usize,
        runner: &Runner,
        live: &ProjectionKey,
        state: &State,
    ) -> Option<Box<StopCause>> {
        if let Some(blocked) = &state.blocked {
            return Some(Box::new(StopCause::Failing(blocked.clone())));
        }
        let mut found = if *live == *runner.key() { self.standstills.of(at, &state.instance) } else { Vec::new() };
        let standings = self.stores.models.standstills().standings(std::slice::from_ref(live), Some(&state.instance));
        match standings {
            Ok(standings) => found.extend(standings.iter().flat_map(|standing| self.reasons(standing, runner, state))),
            Err(error) => found.push(Standstill::new(StandstillKind::of(&error), bounded(&chain(&error)))),
        }
        let gravest = found.into_iter().min_by_key(|one| one.kind)?;
        Some(Box::new(StopCause::StandsStill(Box::new(gravest))))
    }

    fn reasons(&self, standing: &Standing, runner: &Runner, state: &State) -> Vec<Standstill> {
        let mut found = standing.standstills.clone();
        found.extend(unseen(runner, standing));
        if !standing.succeeded {
            found.push(Standstill::first_run());
        }
        if let Some(owner) = state.owner.filter(|owner| *owner != self.id) {
            let reason = format!("process {owner} works on it, or did until it died");
            found.push(Standstill::new(StandstillKind::Leased, reason).of(state.instance.to_string()));
        }
        found
    }

    /// Reports reducers that hang, and lets other work go on without their threads. The calling thread must not run
    /// reducers.
    pub(crate) fn mind_reducers(self: &Arc<Self>) {
        let mut pairs = Vec::new();
        for (at, runner) in self.runners.iter().enumerate() {
            for hanging in runner.handler.inner.reducing.hanging(self.config.longest_reducer) {
                let what =
                    format!("event {}{} is inside its reducer", hanging.position, self.kind_of(runner, &hanging));
                pairs.push((at, Arc::clone(&hanging.instance)));
                if self.standstills.hangs(at, &hanging, &what) {
                    let (name, instance, age) = (runner.name(), &hanging.instance, hanging.age.as_secs());
                    log::warn!("projection {name:?}, instance {instance:?}: {what} for {age} s");
                }
            }
        }
        self.mind_commands();
        let starved = self.schedule.mind_hanging(&pairs);
        for at in (0..self.runners.len()).filter(|at| !starved.contains(at)) {
            self.standstills.has_workers(at);
        }
        for at in starved {
            if self.standstills.starves(at)
                && let Some(runner) = self.runners.get(at)
            {
                log::warn!("projection {:?}: {STARVES}", runner.name());
            }
        }
        self.wake();
        self.write_new_standstills();
    }

    /// Reports commands that a reducer holds up. Such a command neither ends nor gives anything up.
    fn mind_commands(&self) {
        for (at, runner) in self.runners.iter().enumerate() {
            let all = runner.commands.hanging(self.config.longest_reducer);
            let what = all.first().map(|hanging| {
                let (event, instance) = (hanging.position, &hanging.instance);
                let kind = self.kind_of(runner, hanging);
                (
                    hanging,
                    format!("a command waits for event {event}{kind} of instance {instance:?} inside its reducer"),
                )
            });
            let told = what.as_ref().map(|(hanging, what)| (*hanging, what.as_str()));
            if self.standstills.command_hangs(at, told)
                && let Some((hanging, what)) = &what
            {
                log::warn!("projection {:?}: {what} for {} s", runner.name(), hanging.age.as_secs());
            }
        }
    }

    /// The types of an event, if the log tells.
    fn kind_of(&self, runner: &Runner, hanging: &Hanging) -> String {
        let cursors = vec![Cursor { instance: Arc::clone(&hanging.instance), after: hanging.position - 1 }];
        let request = ReadRequest { cursors, wanted: runner.wanted.clone(), limit: 1, max_bytes: 1 };
        // A custom source may panic.
        let read = net::caught(|| self.stores.source.read(&request)).ok().and_then(Result::ok).unwrap_or_default();
        let event = read.iter().flat_map(|slice| &slice.events).find(|event| event.position == hanging.position);
        event.map_or(String::new(), |event| format!(" ({:?} of {:?})", event.event_type(), event.aggregate_type()))
    }

    /// Notes whether the look for work succeeded. Then it writes what is to be written, and looks again at what stands
    /// still: the reason may be gone even when nothing lags.
    pub(crate) fn tend_standstills(self: &Arc<Self>, looked: Result<(), &Error>) {
        let runs =
            |at: &usize| self.runners.get(*at).is_some_and(|runner| runner.state().is_active && !runner.is_shadow());
        match looked {
            Ok(()) => self.standstills.looked(self.runners.len()),
            Err(error) => self.standstills.look_failed((0..self.runners.len()).filter(runs), error),
        }
        if !self.standstills.has_any() {
            return;
        }
        self.write_standstills();
        if looked.is_err() {
            return;
        }
        for (projection, instance) in self.standstills.instances() {
            let may_work = self.runners.get(projection).is_some_and(|runner| runner.state().may_work());
            if may_work && !self.is_paused(projection, &instance) {
                self.schedule.add(projection, &instance);
            }
        }
        self.wake();
    }

    /// Writes new standstills, unless they can wait for the next tick.
    pub(crate) fn write_new_standstills(&self) {
        if self.standstills.urgent.load(Ordering::Relaxed) {
            self.write_standstills();
        }
    }

    /// Adds the known standstills to the error of a look.
    pub(crate) fn with_standstill(&self, error: StoreError) -> StoreError {
        let all = (0..self.runners.len()).flat_map(|at| self.standstills.find(at, |_, _| true));
        let Some(first) = all.min_by_key(|one| one.since) else { return error };
        let age = first.since.and_then(|since| since.elapsed().ok()).unwrap_or_default();
        error.doing(format!(
            "telling how projections get on, which stand still here for {} ({})",
            spoken(age),
            first.kind
        ))
    }

    fn write_standstills(&self) {
        self.standstills.urgent.store(false, Ordering::Relaxed);
        let (notes, gone) = self.unwritten_standstills();
        if notes.is_empty() && gone.is_empty() {
            return;
        }
        let name = |key: &StandstillKey| self.runners.get(key.0).map(|runner| runner.key().clone());
        let forget: Vec<(ProjectionKey, StandstillSubject)> =
            gone.iter().filter_map(|key| Some((name(key)?, key.1.clone()))).collect();
        let write: Vec<Note> = notes.iter().map(|(_, note)| note.clone()).collect();
        let outcome = self.stores.models.standstills().note(self.id, &write, &forget);
        if let Err(error) = outcome {
            log::debug!("{}; the next tick tries again", chain(&error));
            return;
        }
        self.standstills.with(|all| {
            for (key, note) in &notes {
                match all.kept.get_mut(key) {
                    Some(kept) if kept.reason == note.reason && kept.kind == note.kind => kept.written = true,
                    _ => {}
                }
            }
            for key in &gone {
                all.gone.remove(key);
            }
            false
        });
    }

    fn unwritten_standstills(&self) -> (Vec<(StandstillKey, Note)>, Vec<StandstillKey>) {
        let notes = self.standstills.notes.lock();
        let written = |(key, kept): (&StandstillKey, &KnownStandstill)| {
            let projection = self.runners.get(key.0)?.key().clone();
            let (subject, kind, reason) = (key.1.clone(), kept.kind, kept.reason.clone());
            Some((key.clone(), Note { projection, subject, kind, reason, age: kept.since.elapsed() }))
        };
        let new = notes.kept.iter().filter(|(_, kept)| !kept.written).filter_map(written).collect();
        (new, notes.gone.iter().cloned().collect())
    }
}

impl Shared {
    /// Logs that a look at the database failed, unless the log has said so already.
    pub(crate) fn look_failed(&self, looker: Looker, kind: Option<StoreErrorKind>, text: &str) {
        let word = self.standstills.outage.lock().fail(looker, kind, Instant::now());
        let engine = plain(&self.config.name);
        match word {
            None => log::debug!("{text}"),
            Some(Word::Lasts { since, looks }) => log::warn!(
                event = "outage", state = "lasts", engine:display = engine, looks = looks;
                "the database has failed since {}, in {looks} looks so far; the last time: {text}",
                time_text(since)
            ),
            Some(_) => log::warn!(event = "outage", state = "begins", engine:display = engine; "{text}"),
        }
    }

    /// Logs that the database answers again, when a look by each thread that had failed has succeeded.
    pub(crate) fn look_succeeded(&self, looker: Looker) {
        let word = self.standstills.outage.lock().succeed(looker, Instant::now());
        if let Some(Word::Over { after, looks }) = word {
            let engine = plain(&self.config.name);
            log::info!(
                event = "outage", state = "over", engine:display = engine, looks = looks;
                "the database answers again after {}; {looks} looks had failed",
                spoken(after)
            );
        }
    }
}
