//! What needs the code of a projection: an engine that runs it is asked, by a command that is on record. Where none is
//! alive and the code is at hand, an engine is started for as long as that takes.

use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::options::WaitArgs;
use super::stop::Stop;
use super::words::{clean, duration, positions};
use super::{Ended, Outcome, Session};
use crate::admin::Remote;
use crate::build::BuildProgress;
use crate::clock;
use crate::engine::{Engine, EngineConfig, HandlerConfig};
use crate::error::OperateError;
use crate::held::By;
use crate::instruction::{Asked, Instruction};

/// How soon a signal is noticed while an answer is waited for.
const NOTICE: Duration = Duration::from_secs(1);

/// How long the threads of an engine of this process may take to end.
const END: Duration = Duration::from_secs(10);

/// The name of an engine of this process, in the list of members.
const NAME: &str = "readside command line";

/// What became of a command.
pub(super) enum Told {
    /// The report.
    Answer(Value),
    /// It goes on without this process.
    GoesOn(Ended),
}

#[derive(Serialize)]
struct Started {
    command: Uuid,
}

impl Session<'_> {
    /// Has an engine do something, and waits for its answer.
    pub(super) fn operate(
        &mut self,
        projection: &str,
        instruction: Instruction,
        by: &By,
        wait: &WaitArgs,
    ) -> anyhow::Result<Told> {
        self.build(projection, None)?;
        let remote = self.store.remote()?;
        let is_look = matches!(instruction, Instruction::Explain(_) | Instruction::Verify { repair: false, .. });
        let what = format!("{} of projection {projection:?}", instruction.kind());
        let mut ended = Ok(());
        let told = match remote.ask(projection, instruction.clone(), by) {
            Ok(id) if wait.detach => {
                self.out.changed(format!("{what} is asked for as command {id}"));
                self.started(id)
            }
            Ok(id) => self.follow(&remote, id, wait),
            Err(error @ OperateError::NoEngine { .. }) => {
                let Some(engine) = self.engine(projection)? else { return Err(error.into()) };
                if wait.detach {
                    bail!("no engine is alive that would go on with it: leave --detach out, and this process does it");
                }
                let id = engine.ask(projection, instruction, by)?;
                let told = self.follow(&remote, id, wait);
                ended = engine.shutdown(END);
                told
            }
            Err(error) => Err(error.into()),
        }?;
        if !is_look && matches!(told, Told::Answer(_)) {
            self.out.changed(format!("{what} is carried out"));
        }
        ended?;
        Ok(told)
    }

    /// As [`operate`](Self::operate), and prints the report: as JSON, or by `words`, which judges it too.
    pub(super) fn operated<T: DeserializeOwned>(
        &mut self,
        projection: &str,
        instruction: Instruction,
        by: &By,
        wait: &WaitArgs,
        words: impl FnOnce(&mut Self, &T) -> Outcome,
    ) -> Outcome {
        let answer = match self.operate(projection, instruction, by, wait)? {
            Told::Answer(answer) => answer,
            Told::GoesOn(ended) => return Ok(ended),
        };
        if self.out.is_json() {
            self.out.object(&answer)?;
        }
        words(self, &serde_json::from_value(answer)?)
    }

    /// An engine of this process, when the code of the projection is at hand.
    fn engine(&self, projection: &str) -> anyhow::Result<Option<Engine>> {
        let Some(code) = self.projections.iter().find(|code| code.name() == projection) else { return Ok(None) };
        // What becomes of events that fail is for the engines of the service to say, by their policy.
        let handler = HandlerConfig { max_failure_count: u32::MAX, ..HandlerConfig::default() };
        let config = EngineConfig { name: NAME.to_owned(), setup: false, handler, ..EngineConfig::default() };
        let engine = self.events.engine();
        let engine = if self.is_apart { self.store.keep_models(engine) } else { engine };
        Ok(Some(engine.projection(code.clone()).config(config).start()?))
    }

    fn started(&mut self, id: Uuid) -> anyhow::Result<Told> {
        if self.out.is_json() {
            self.out.object(&Started { command: id })?;
        } else {
            self.out.remark(&format!("an engine does it; `readside commands --id {id} --wait` tells how far it is"))?;
        }
        Ok(Told::GoesOn(Ended::Fine))
    }

    /// Waits for the answer of a command, until a signal or the time-out ends that.
    pub(super) fn follow(&mut self, remote: &Remote, id: Uuid, wait: &WaitArgs) -> anyhow::Result<Told> {
        let stop = Stop::on_signals()?;
        let bar = if self.out.shows_progress() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let deadline = wait.timeout.map(clock::deadline);
        let outcome = loop {
            let left = deadline.map_or(NOTICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            match remote.follow(id, left.min(NOTICE), |asked| show(&bar, asked)) {
                Err(OperateError::NoAnswer { .. }) if stop.is_asked() => break None,
                Err(OperateError::NoAnswer { .. }) if left > NOTICE || deadline.is_none() => {}
                other => break Some(other),
            }
        };
        bar.finish_and_clear();
        let Some(answer) = outcome else {
            eprintln!("readside: the command goes on; `readside commands --id {id} --wait` tells how far it is");
            return Ok(Told::GoesOn(Ended::Interrupted));
        };
        Ok(Told::Answer(answer?))
    }
}

/// How far a command is, on a terminal.
fn show(bar: &ProgressBar, asked: &Asked) {
    let told: Option<BuildProgress> = asked.progress.clone().and_then(|told| serde_json::from_value(told).ok());
    if let Some(told) = told {
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style);
        }
        bar.set_length(u64::try_from(told.total).unwrap_or(0));
        bar.set_position(u64::try_from(told.done).unwrap_or(0));
        bar.set_message(progress(&told));
    } else {
        bar.set_message(format!("{} of {}: {}", asked.instruction.kind(), clean(&asked.projection), asked.state));
    }
    bar.tick();
}

/// `filling, 1,200 of 5,000 (24 %), 800 a second, 5 s left`.
pub(super) fn progress(told: &BuildProgress) -> String {
    let BuildProgress { step, done, total, per_second, seconds_left, waits_for, .. } = told;
    let mut words = vec![step.to_string()];
    let part = if *total > 0 { format!(" ({} %)", done.saturating_mul(100) / total) } else { String::new() };
    words.push(format!("{} of {}{part}", positions(*done), positions(*total)));
    words.extend(per_second.map(|speed| format!("{speed:.0} a second")));
    let left = seconds_left.and_then(|left| Duration::try_from_secs_f64(left).ok());
    words.extend(left.map(|left| format!("{} left", duration(left))));
    words.extend(waits_for.as_deref().map(|what| format!("waits for {}", clean(what))));
    words.join(", ")
}
