//! The operator: takes commands that people asked for, carries out each on a separate thread, and answers them.
//!
//! It does not know what a command means; see [`CommandHandler`].

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use uuid::Uuid;

use crate::command::{CommandRecord, CommandState};
use crate::engine::config::HandlerConfig;
use crate::engine::observe::Hook;
use crate::engine::observe::observation::{CommandStep, Observation};
use crate::engine::pass::reducing::Reducing;
use crate::engine::run::control::Control;
use crate::engine::run::standstills::Looker;
use crate::engine::run::state::Shared;
use crate::engine::run::thread;
use crate::engine::stop::Stop;
use crate::error::{OperateError, StoreError, chain};
use crate::lease::Pause;
use crate::plain::plain;
use crate::projection::Projection;
use crate::store::CommandStore;
use crate::store::{EventSource, ProjectionStore};
use crate::store::{Notifications, UNHEARD};

/// The most commands that an engine carries out at the same time.
const MOST: usize = 8;

/// The longest time between two looks for commands that nobody announced.
const LONGEST: Duration = Duration::from_secs(10);

/// How long answers keep the rows that they show.
const KEEP_ROWS: Duration = Duration::from_hours(1);

/// The pause between two attempts to store an answer that the database does not take.
const AGAIN: Duration = Duration::from_millis(500);

/// Knows what commands mean.
pub(crate) trait CommandHandler: fmt::Debug + Send + Sync {
    /// Carries out a command and returns its answer. If this process does not finish it, this or another process
    /// begins it again.
    fn carry_out(&self, task: &Task) -> Result<serde_json::Value, OperateError>;
}

/// A command that is being carried out.
#[derive(Debug)]
pub(crate) struct Task {
    asked: CommandRecord,
    /// Counts the beginnings of commands: a command that was lost may have to begin again while its first thread still
    /// ends.
    number: u64,
    shared: Arc<Shared>,
    /// True once another engine has taken it over.
    lost: AtomicBool,
    /// Set when it may not go on.
    cancel: Arc<Stop>,
}

impl Task {
    pub(crate) fn asked(&self) -> &CommandRecord {
        &self.asked
    }

    pub(crate) fn source(&self) -> &Arc<dyn EventSource> {
        &self.shared.stores.source
    }

    pub(crate) fn models(&self) -> &Arc<dyn ProjectionStore> {
        &self.shared.stores.models
    }

    /// The projection of the command with its configuration.
    pub(crate) fn projection(&self) -> Option<(Projection, HandlerConfig)> {
        self.shared.projection(&self.asked.projection)
    }

    /// The record of the events that the command reduces.
    pub(crate) fn reducing(&self) -> Arc<Reducing> {
        self.shared.reducing(&self.asked.projection)
    }

    /// True when the system instance is kept current too.
    pub(crate) fn with_system(&self) -> bool {
        self.shared.config.system_instance
    }

    /// The signal that ends the passes of the command's handlers when the command may not go on.
    pub(crate) fn cancel(&self) -> &Arc<Stop> {
        &self.cancel
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
        self.cancel.set();
    }

    /// Who hears what its engine does.
    pub(crate) fn hook(&self) -> Hook {
        self.shared.hook.clone()
    }
}

impl Control for Task {
    fn report(&self, progress: &serde_json::Value) {
        match self.shared.stores.models.commands().report(self.asked.id, self.shared.id, progress) {
            Ok(true) => {}
            Ok(false) => self.lose(),
            Err(error) => log::warn!("{}", chain(&error)),
        }
    }

    fn may_go_on(&self) -> bool {
        !self.cancel.is_set()
    }

    fn wait(&self, time: Duration) -> bool {
        self.cancel.wait(time)
    }

    fn announce(&self) {
        self.shared.tell_all();
    }

    fn switched(&self, projection: &str, version: u32) {
        self.shared.switched(projection, version);
    }

    fn pauses(&self) -> Result<HashSet<Pause>, StoreError> {
        self.shared.pauses_on_record()
    }
}

impl Shared {
    pub(crate) fn projection(&self, name: &str) -> Option<(Projection, HandlerConfig)> {
        let runner = self.runners.iter().find(|runner| !runner.is_shadow() && runner.name() == name)?;
        let inner = &runner.handler.inner;
        Some((inner.projection.clone(), inner.config.clone()))
    }

    /// The record in which commands on a projection note the events that they are reducing.
    pub(crate) fn reducing(&self, name: &str) -> Arc<Reducing> {
        let runner = self.runners.iter().find(|runner| !runner.is_shadow() && runner.name() == name);
        runner.map(|runner| Arc::clone(&runner.commands)).unwrap_or_default()
    }

    /// Makes the operator look at once.
    pub(crate) fn request_operation(&self) {
        let _ = self.commands.now.try_send(());
    }

    /// The pauses as the database has them.
    pub(crate) fn pauses_on_record(&self) -> Result<HashSet<Pause>, StoreError> {
        Ok(self.stores.leases.pauses()?.into_iter().collect())
    }

    /// Makes this engine and all others look at once.
    pub(crate) fn tell_all(&self) {
        if let Err(error) = self.stores.notifier.announce(&Notifications { instances: Vec::new(), all: true }) {
            log::debug!("{}; other processes see it at their next tick", chain(&error));
        }
        self.request_tick();
        self.request_operation();
        self.progress.all_moved();
    }
}

#[derive(Debug)]
pub(crate) struct Operator {
    shared: Arc<Shared>,
    now: Receiver<()>,
    operate: Arc<dyn CommandHandler>,
    running: BTreeMap<Uuid, (usize, Arc<Task>)>,
    begun: u64,
    kept: Instant,
    swept: Option<Instant>,
}

impl Operator {
    pub(crate) fn new(shared: Arc<Shared>, now: Receiver<()>, operate: Arc<dyn CommandHandler>) -> Self {
        Self { shared, now, operate, running: BTreeMap::new(), begun: 0, kept: Instant::now(), swept: None }
    }

    /// One look, then the wait for the next one.
    pub(crate) fn tick(&mut self) {
        let shared = Arc::clone(&self.shared);
        match self.look(shared.stores.models.commands()) {
            Ok(()) => shared.look_succeeded(Looker::Operator),
            Err(error) => {
                let text = format!("{}; commands wait for the next look", chain(&error));
                shared.look_failed(Looker::Operator, Some(error.kind()), &text);
            }
        }
        if !self.hears() && !shared.stop.is_set() {
            shared.look_at_fleet();
        }
        let _ = self.now.recv_timeout(self.pause());
    }

    fn pause(&self) -> Duration {
        let lease = self.shared.config.lease;
        let unheard = if self.hears() { LONGEST } else { UNHEARD };
        let pause = self.shared.config.requeue_every.clamp(UNHEARD, LONGEST).min(unheard);
        if self.running.is_empty() { pause } else { pause.min(lease / 3) }
    }

    /// True if news of commands, and of processes that come or go, arrive by themselves.
    fn hears(&self) -> bool {
        self.shared.stores.is_one_store && self.shared.fleet.deaf.lock().is_none()
    }

    fn look(&mut self, commands: &dyn CommandStore) -> Result<(), StoreError> {
        let over: Vec<u64> = self.shared.commands.over.lock().drain(..).collect();
        self.running.retain(|_, (_, task)| !over.contains(&task.number));
        let lease = self.shared.config.lease;
        if self.kept.elapsed() >= lease / 4 {
            self.keep(commands)?;
        }
        if self.swept.is_none_or(|swept| swept.elapsed() > KEEP_ROWS / 4) {
            self.swept = Some(Instant::now());
            commands.forget_rows(KEEP_ROWS)?;
        }
        let room = MOST.saturating_sub(self.running.len());
        if room == 0 || self.shared.stop.is_set() {
            return Ok(());
        }
        for asked in commands.take(self.shared.id, &self.shared.projections(), lease, room)? {
            self.begin(asked);
        }
        Ok(())
    }

    /// Keeps the commands that run here and no others: other processes must get what this process took and does not
    /// run.
    fn keep(&mut self, commands: &dyn CommandStore) -> Result<(), StoreError> {
        let running = self.running.iter().filter(|(_, (_, task))| !task.is_lost());
        let running: Vec<(Uuid, &Task)> = running.map(|(id, (_, task))| (*id, task.as_ref())).collect();
        let ids: Vec<Uuid> = running.iter().map(|(id, _)| *id).collect();
        let ours = commands.keep(self.shared.id, &ids, self.shared.config.lease)?;
        running.iter().filter(|(id, _)| !ours.contains(id)).for_each(|(_, task)| task.lose());
        self.kept = Instant::now();
        Ok(())
    }

    fn begin(&mut self, asked: CommandRecord) {
        if self.running.get(&asked.id).is_some_and(|(_, task)| !task.is_lost()) {
            // The lease had lapsed before it was renewed. No other process has begun the command.
            return;
        }
        let (id, kind, projection) = (asked.id, asked.command.kind(), asked.projection.clone());
        log::info!(
            event = kind,
            state = "taken",
            projection:display = plain(&projection),
            command:display = id,
            who:display = plain(&asked.who);
            "projection {projection:?}: carrying out {kind} for {:?} (command {id})",
            asked.who
        );
        tell(&self.shared, &asked, CommandState::Taken);
        self.begun += 1;
        let (shared, lost) = (Arc::clone(&self.shared), AtomicBool::new(false));
        let cancel = Arc::new(Stop::default());
        let task = Arc::new(Task { asked, number: self.begun, shared, lost, cancel: Arc::clone(&cancel) });
        let taken: Vec<usize> = self.running.values().map(|(slot, _)| *slot).collect();
        let slot = (0..MOST).find(|slot| !taken.contains(slot)).unwrap_or(MOST);
        let (operate, running) = (Arc::clone(&self.operate), Arc::clone(&task));
        let name = format!("readside-command-{slot}");
        match thread::spawn(&name, move || run(operate.as_ref(), &running)) {
            Ok(thread) => {
                let mut tasks = self.shared.commands.threads.lock();
                tasks.retain(|(thread, _)| !thread.is_done());
                if self.shared.stop.is_set() {
                    // The call that stops the engine may have passed this command in the list already.
                    cancel.set();
                }
                tasks.push((thread, cancel));
                drop(tasks);
                self.running.insert(id, (slot, task));
            }
            Err(error) => log::error!(
                "starting a thread for command {id} failed: {error}; an engine takes the command again later"
            ),
        }
    }
}

/// Tells an observer how far a command is.
fn tell(shared: &Shared, asked: &CommandRecord, state: CommandState) {
    shared.hook.tell(|| {
        Observation::Command(CommandStep {
            id: asked.id,
            projection: asked.projection.as_str().into(),
            kind: asked.command.kind(),
            who: asked.who.as_str().into(),
            state,
        })
    });
}

fn run(operate: &dyn CommandHandler, task: &Task) {
    let outcome = catch_unwind(AssertUnwindSafe(|| operate.carry_out(task)));
    let outcome = match outcome {
        Ok(Ok(answer)) => Some((CommandState::Done, answer)),
        // The work was cut short, so its error is not an answer to the command. A process begins the command again.
        Ok(Err(_)) if !task.may_go_on() => None,
        Ok(Err(OperateError::ShutDown)) => None,
        Ok(Err(error)) => Some((CommandState::Failed, serde_json::json!({ "error": chain(&error) }))),
        Err(_) => Some((CommandState::Failed, serde_json::json!({ "error": "the engine panicked; see its log" }))),
    };
    match outcome {
        _ if task.is_lost() => log::warn!("command {} was taken over by another process", task.asked.id),
        Some((state, answer)) => answer_at_last(task, state, &answer),
        None => {}
    }
    // This includes a command that did not finish: this process may get it again.
    task.shared.commands.over.lock().push(task.number);
    task.shared.tell_all();
}

/// Answers a command, and tries again while the database is away.
fn answer_at_last(task: &Task, state: CommandState, answer: &serde_json::Value) {
    let commands = task.shared.stores.models.commands();
    let (kind, projection) = (task.asked.command.kind(), &task.asked.projection);
    loop {
        match commands.answer(task.asked.id, task.shared.id, state, answer) {
            Ok(_) => {
                let id = task.asked.id;
                tell(&task.shared, &task.asked, state);
                break log::info!(
                    event = kind,
                    state:display = state,
                    projection:display = plain(projection),
                    command:display = id;
                    "projection {projection:?}: {kind} has ended: {state} (command {id})"
                );
            }
            Err(error) => log::warn!("{}; trying again", chain(&error)),
        }
        if !task.wait(AGAIN) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
