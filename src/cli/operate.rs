//! Operations that need the code of a projection. A command on record asks an engine that runs the projection. If no
//! such engine is alive and this process has the code, it starts its own engine until the work is done.

use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::format::{clean, duration, positions};
use super::options::WaitArgs;
use super::stop::Stop;
use super::{Ended, Outcome, Session};
use crate::admin::Admin;
use crate::builds::BuildProgress;
use crate::command::{AdminCommand, CommandRecord, CommandState};
use crate::engine::{Engine, EngineConfig, HandlerConfig};
use crate::error::{OperateError, Unanswered};
use crate::failure::By;
use crate::projection::Projection;

/// How long an engine may take to begin a command, unless `--timeout` says otherwise.
const BEGIN: Duration = Duration::from_mins(10);

/// How long the threads of this process's engine may take to end.
const END: Duration = Duration::from_secs(10);

/// The name of this process's engine in the list of members.
const NAME: &str = "readside command line";

/// What is known of a command at the end of the wait.
pub(super) enum Told {
    /// The report.
    Answer(Value),
    /// The command goes on without this process.
    GoesOn(Ended),
}

#[derive(Serialize)]
struct Started {
    command: Uuid,
}

impl Session<'_> {
    /// Asks an engine to do something, and waits for the answer.
    pub(super) fn operate(
        &mut self,
        (projection, version): (&str, Option<u32>),
        command: AdminCommand,
        by: &By,
        wait: &WaitArgs,
    ) -> anyhow::Result<Told> {
        self.build(projection, version)?;
        let remote = self.store.admin();
        let is_look = matches!(command, AdminCommand::Explain(_) | AdminCommand::Verify { repair: false, .. });
        let what = format!("{} of projection {projection:?}", command.kind());
        let (id, engine) = match remote.ask_version(projection, version, command.clone(), by) {
            Ok(id) if wait.detach => {
                self.out.changed(format!("{what} is asked for as command {id}"));
                return self.started(id);
            }
            Ok(id) => (id, None),
            Err(error @ OperateError::NoEngine { .. }) => {
                let own = self.code(projection).filter(|code| version.is_none_or(|version| version == code.version()));
                let Some(code) = own else { return Err(error.into()) };
                if wait.detach {
                    bail!("no engine that could do this is alive: leave --detach out, and this process does it");
                }
                // The command is put on record before this process counts as a member. So a command that no engine
                // works on does not block it.
                let id = remote.put(projection, Some(code.version()), command, by)?;
                let engine = self.engine(projection);
                if engine.is_err() {
                    remote.withdraw(id, &By::new(by.who.as_str(), "no engine could be started"))?;
                }
                (id, engine?)
            }
            Err(error) => return Err(error.into()),
        };
        let told = self.follow(&remote, id, wait, (Some(by), engine))?;
        if !is_look && matches!(told, Told::Answer(_)) {
            self.out.changed(format!("{what} is carried out"));
        }
        Ok(told)
    }

    /// As [`operate`](Self::operate), and prints the report: as JSON, or through `words`, which also judges it.
    pub(super) fn operated<T: DeserializeOwned>(
        &mut self,
        projection: &str,
        command: AdminCommand,
        by: &By,
        wait: &WaitArgs,
        words: impl FnOnce(&mut Self, &T) -> Outcome,
    ) -> Outcome {
        self.operated_in((projection, None), command, by, wait, words)
    }

    /// The same, with the code of a given version.
    pub(super) fn operated_in<T: DeserializeOwned>(
        &mut self,
        projection: (&str, Option<u32>),
        command: AdminCommand,
        by: &By,
        wait: &WaitArgs,
        words: impl FnOnce(&mut Self, &T) -> Outcome,
    ) -> Outcome {
        let answer = match self.operate(projection, command, by, wait)? {
            Told::Answer(answer) => answer,
            Told::GoesOn(ended) => return Ok(ended),
        };
        if self.out.is_json() {
            self.out.object(&answer)?;
        }
        words(self, &serde_json::from_value(answer)?)
    }

    /// The code of a projection, if this process has it.
    fn code(&self, projection: &str) -> Option<&Projection> {
        self.projections.iter().find(|code| code.name() == projection)
    }

    /// Starts an engine in this process, if it has the code of the projection.
    fn engine(&self, projection: &str) -> anyhow::Result<Option<Engine>> {
        let Some(code) = self.code(projection) else { return Ok(None) };
        // The policy of the service's engines decides about failing events, not this engine.
        let handler = HandlerConfig {
            max_failure_count: u32::MAX,
            max_lasting_failure_count: u32::MAX,
            ..HandlerConfig::default()
        };
        let config = EngineConfig { name: NAME.to_owned(), setup: false, handler, ..EngineConfig::default() };
        let engine = self.events.engine();
        let engine = if self.has_two_databases { self.store.keep_models(engine) } else { engine };
        Ok(Some(engine.projection(code.clone()).config(config).start()?))
    }

    fn started(&mut self, id: Uuid) -> anyhow::Result<Told> {
        if self.out.is_json() {
            self.out.object(&Started { command: id })?;
        } else {
            self.out.remark(&format!(
                "an engine carries it out; `readside commands --id {id} --wait` waits for its answer"
            ))?;
        }
        Ok(Told::GoesOn(Ended::Fine))
    }

    /// Waits for the answer of a command, until a signal or the time-out. If no engine that could do the work is
    /// alive and this process has the code, its own engine does the work. If the wait ends early and no engine has
    /// begun the command, this withdraws it.
    pub(super) fn follow(
        &mut self,
        remote: &Admin<'_>,
        id: Uuid,
        wait: &WaitArgs,
        (asker, mut engine): (Option<&By>, Option<Engine>),
    ) -> anyhow::Result<Told> {
        let (stop, start) = (Stop::on_signals()?, Instant::now());
        let bar = if self.out.shows_progress() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let pause = |time: Duration, asked: &CommandRecord| {
            let is_begun = asked.state != CommandState::Asked;
            let limit = wait.timeout.or((!is_begun).then_some(BEGIN)).unwrap_or(Duration::MAX);
            let left = limit.saturating_sub(start.elapsed());
            !left.is_zero() && stop.wait(time.min(left))
        };
        let told = loop {
            match remote.follow_while(id, &mut |asked| show(&bar, asked), pause) {
                Err(OperateError::NobodyLeft { projection, .. })
                    if engine.is_none() && self.code(&projection).is_some() =>
                {
                    log::info!("no engine that could carry out command {id} is alive; this process does it");
                    engine = self.engine(&projection)?;
                }
                other => break other,
            }
        };
        bar.finish_and_clear();
        let told = match (told, engine) {
            (told, None) => told,
            (told, Some(engine)) => {
                engine.shutdown(END)?;
                // The command may have ended meanwhile.
                if told.is_err() { remote.answer(id, Duration::ZERO) } else { told }
            }
        };
        let (kind, projection, has_nobody) = match told {
            Err(OperateError::NoAnswer { kind, projection, .. }) => (kind, projection, false),
            Err(OperateError::NobodyLeft { kind, projection, .. }) => (kind, projection, true),
            other => return Ok(Told::Answer(other?)),
        };
        let waited = start.elapsed();
        let withdrawn = |by: &By| {
            let why = format!("no engine had begun it after {}", duration(waited));
            remote.withdraw(id, &By::new(by.who.as_str(), why))
        };
        let is_withdrawn = asker.map(withdrawn).transpose()?.unwrap_or(false);
        let found = Box::new(if is_withdrawn { Unanswered::Withdrawn } else { remote.unanswered(id)? });
        if stop.is_asked() {
            eprintln!("readside: {found}");
            return Ok(Told::GoesOn(Ended::Interrupted));
        }
        Err(if has_nobody {
            OperateError::NobodyLeft { id, kind, projection, found }.into()
        } else {
            OperateError::NoAnswer { id, kind, projection, found, waited }.into()
        })
    }
}

/// Shows the progress of a command on a terminal.
fn show(bar: &ProgressBar, asked: &CommandRecord) {
    let told = asked.progress.as_ref().and_then(building);
    if let Some(told) = told {
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        bar.set_message(format!("{} {}", filled(told.done, told.total), progress(&told)));
    } else {
        bar.set_message(format!("{} of {}: {}", asked.command.kind(), clean(&asked.projection), asked.state));
    }
    bar.tick();
}

/// The number of letters in a bar.
const BAR: i64 = 30;

/// A bar that is full only when all is done.
fn filled(done: i64, total: i64) -> String {
    let (done, total) = (done.max(0), total.max(done).max(1));
    let full = usize::try_from(done.saturating_mul(BAR) / total).unwrap_or(0);
    let left = usize::try_from(BAR).unwrap_or(0).saturating_sub(full);
    format!("{}{}", "█".repeat(full), "░".repeat(left))
}

/// How far a build is. For a reset, how far its filling is.
pub(super) fn building(told: &Value) -> Option<BuildProgress> {
    serde_json::from_value(told.get("progress").unwrap_or(told).clone()).ok()
}

/// `filling, 1,200 of 5,000 (24 %), 800 a second, 5 s left`.
pub(super) fn progress(told: &BuildProgress) -> String {
    let BuildProgress { step, done, total, per_second, seconds_left, waits_for, .. } = told;
    let mut words = vec![step.to_string()];
    // Events that are pushed meanwhile may be applied before they are counted.
    let total = total.max(done);
    if *total > 0 {
        let part = done.saturating_mul(100) / total;
        words.push(format!("{} of {} ({part} %)", positions(*done), positions(*total)));
    }
    words.extend(per_second.map(|speed| format!("{speed:.0} a second")));
    let left = seconds_left.and_then(|left| Duration::try_from_secs_f64(left).ok());
    words.extend(left.map(|left| format!("{} left", duration(left))));
    words.extend(waits_for.as_deref().map(|what| format!("waits for {}", clean(what))));
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builds::Step;

    fn at(done: i64, total: i64) -> String {
        let told = BuildProgress {
            step: Step::Filling,
            done,
            total,
            per_second: None,
            seconds_left: None,
            waits_for: None,
            comparison: None,
        };
        format!("{} {}", filled(done, total), progress(&told))
    }

    // Contract: O2: what the bar shows of a command is true.
    #[test]
    fn a_bar_is_full_when_all_is_done() {
        let (full, empty) = ("█".repeat(30), "░".repeat(30));
        assert_eq!(at(0, 39), format!("{empty} filling, 0 of 39 (0 %)"));
        assert_eq!(at(0, 0), format!("{empty} filling"), "nothing is known yet");
        assert_eq!(at(39, 39), format!("{full} filling, 39 of 39 (100 %)"));
        assert_eq!(at(2, 0), format!("{full} filling, 2 of 2 (100 %)"), "never more than there are");
        assert_eq!(at(1, 2), format!("{}{} filling, 1 of 2 (50 %)", &"█".repeat(15), &"░".repeat(15)));
        assert!(!at(999, 1000).starts_with(&full), "not before");
        assert!(at(i64::MAX, i64::MAX).starts_with("█"));
    }
}
