//! The ticker: finds what lags in all projections, puts it on the schedule, and leads first runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::clock;
use crate::engine::observe::observation::Observation;
use crate::engine::run::first_run::FirstRun;
use crate::engine::run::lag::{Look, MOST};
use crate::engine::run::runner::{RunState, Runner};
use crate::engine::run::standstills::{Looker, of_store};
use crate::engine::run::state::Shared;
use crate::error::{Error, StoreError, chain};
use crate::event::NewEvent;
use crate::lease::{Lag, Lagging};
use crate::plain::plain;

/// The shortest time between two ticks, however often one is asked for.
const SHORTEST: Duration = Duration::from_millis(20);

/// The ticker remembers at most this many lagging instances. With more of them, it looks at everything again.
const FEW: usize = 100;

/// After this many ticks the ticker looks at everything, even if the change token is the same. When ticks come more
/// often than configured, because nothing is heard, more of them pass, so the cost stays the same.
const ANYWAY: u32 = 30;

/// How long the ticker waits for progress before it counts again what waits.
const LONGEST_LOOK: Duration = Duration::from_millis(200);

/// The result of the last look at everything: while the change token is the same, nothing else lags.
#[derive(Debug)]
struct LastScan {
    change_token: String,
    behind: Vec<Arc<str>>,
    /// The sum of the waits after the ticks since then.
    waits: Duration,
    /// How often the log had been forgotten by then.
    forgotten: u64,
}

#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    now: Receiver<()>,
    /// The change token before this tick's look.
    change_token: Option<(String, u64)>,
    last_scan: Option<LastScan>,
    /// How often the log had been forgotten when all checkpoints were last compared with it.
    compared: Option<u64>,
    /// Pairs that another process should take first, with the checkpoint at which they lagged at the last tick.
    left_to_others: HashMap<(usize, Arc<str>), i64>,
    /// The first runs that this process leads.
    first_runs: HashMap<usize, FirstRun>,
}

impl Ticker {
    pub(crate) fn new(shared: Arc<Shared>, now: Receiver<()>) -> Self {
        let (compared, left_to_others, first_runs) = (None, HashMap::new(), HashMap::new());
        Self { shared, now, change_token: None, last_scan: None, compared, left_to_others, first_runs }
    }

    /// One tick, then the wait for the next one.
    pub(crate) fn tick(&mut self) {
        let looked = self.look();
        self.shared.mind_reducers();
        self.shared.tend_standstills(looked.as_ref().map(|_| ()));
        let more = match looked {
            Ok(more) => {
                self.shared.look_succeeded(Looker::Ticker);
                more
            }
            Err(error) => {
                let text = format!("looking for work: {}; the next tick looks again", chain(&error));
                self.shared.look_failed(Looker::Ticker, of_store(&error).map(StoreError::kind), &text);
                false
            }
        };
        let wait = self.shared.look_every();
        if !self.shared.stop.wait(SHORTEST.min(wait)) {
            return;
        }
        if more {
            self.let_work_run_low(clock::deadline(wait));
        } else {
            let _ = self.now.recv_timeout(wait.saturating_sub(SHORTEST));
        }
    }

    /// Waits while there is more work than one look takes. The next look comes when most of this work is done.
    fn let_work_run_low(&self, deadline: Instant) {
        while self.shared.schedule.waiting() > MOST / 10 && Instant::now() < deadline && !self.shared.stop.is_set() {
            let now = self.shared.progress.now();
            self.shared.progress.wait(now, deadline.min(clock::deadline(LONGEST_LOOK)));
        }
    }

    /// Looks once. Returns true when there was more than one tick takes.
    pub(crate) fn look(&mut self) -> Result<bool, Error> {
        let mut last_scan = self.unchanged_scan()?;
        if last_scan.is_none() || !self.is_settled() {
            let moved = self.shared.look_at_builds()?;
            last_scan = last_scan.filter(|_| !moved && !self.has_first_runs());
            self.shared.pauses.look(&*self.shared.stores.leases)?;
        }
        self.take_leads()?;
        let is_whole = last_scan.is_none();
        let mut lags = self.lags(last_scan)?;
        let full = lags.len() >= MOST;
        self.end_first_runs()?;
        if is_whole {
            lags.extend(self.diverged()?);
        }
        for (projection, instances) in self.ours(lags) {
            self.shared.trigger(projection, &instances);
        }
        Ok(full)
    }

    /// What the earlier looks found, unless the change token has changed. The token is read before anything else: what
    /// happens in between changes the next token.
    fn unchanged_scan(&mut self) -> Result<Option<LastScan>, StoreError> {
        self.shared.mind_generation();
        let (before, forgotten) = (self.last_scan.take(), self.shared.log_memory.forgotten());
        let source = self.shared.log_beside_states()?;
        let change_token = source.map(|source| self.shared.stores.leases.change_token(source)).transpose()?.flatten();
        let anyway = self.shared.config.requeue_every.saturating_mul(ANYWAY);
        let is_calm = |last_scan: &LastScan| {
            Some(&last_scan.change_token) == change_token.as_ref()
                && last_scan.waits < anyway
                && last_scan.forgotten == forgotten
        };
        let last_scan = before.filter(is_calm);
        self.change_token = change_token.map(|change_token| (change_token, forgotten));
        Ok(last_scan)
    }

    /// Checkpoints that are not part of the log are work, too: the worker that opens them reports them. The first look
    /// compares each checkpoint with the event that it names, and so does each look after the log may have become
    /// another one.
    fn diverged(&mut self) -> Result<Vec<Lag>, StoreError> {
        let forgotten = self.shared.log_memory.forgotten();
        let pairs = self.shared.diverged(self.compared != Some(forgotten))?;
        self.compared = Some(forgotten);
        Ok(pairs)
    }

    fn has_first_runs(&self) -> bool {
        self.shared.runners.iter().any(|runner| runner.state().is_in_first_run())
    }

    /// True when no build is under construction, so builds stay as they are while the change token stays the same.
    fn is_settled(&self) -> bool {
        let is_calm = |state: RunState| !state.is_background && !state.is_torn;
        let is_settled = |runner: &Runner| is_calm(runner.state()) && runner.trouble.lock().is_none();
        !self.has_first_runs() && self.shared.runners.iter().all(is_settled)
    }

    fn lags(&mut self, last_scan: Option<LastScan>) -> Result<Vec<Lag>, StoreError> {
        let look = match &last_scan {
            Some(last_scan) if last_scan.behind.is_empty() => Look { lags: Vec::new(), behind: Some(Vec::new()) },
            Some(last_scan) => self.look_at(&last_scan.behind)?,
            None => self.look_at(&[])?,
        };
        let behind = look.behind.filter(|behind| behind.len() <= FEW);
        if let (Some((change_token, forgotten)), Some(behind)) = (self.change_token.take(), behind) {
            self.last_scan = Some(LastScan {
                change_token,
                behind,
                waits: last_scan
                    .map_or(Duration::ZERO, |last_scan| last_scan.waits.saturating_add(self.shared.look_every())),
                forgotten,
            });
        }
        Ok(look.lags)
    }

    /// Looks at what readers see and at builds separately, so that a build with much to do does not hide live work.
    fn look_at(&self, instances: &[Arc<str>]) -> Result<Look, StoreError> {
        let of = |background: bool| {
            self.shared.look(Lagging::Free, instances, move |runner| {
                runner.state().is_active && runner.state().is_background == background
            })
        };
        let (mut look, built) = (of(false)?, of(true)?);
        look.lags.extend(built.lags);
        look.behind = look.behind.zip(built.behind).map(|(mut behind, built)| {
            behind.extend(built);
            behind.sort_unstable();
            behind.dedup();
            behind
        });
        Ok(look)
    }

    /// The pairs for this process. It takes a pair if it leads the first run, if it is the process to take the pair
    /// first, or if that process has not moved the pair since the last tick.
    fn ours(&mut self, lags: Vec<Lag>) -> BTreeMap<usize, Vec<Arc<str>>> {
        let mut ours: BTreeMap<usize, Vec<Arc<str>>> = BTreeMap::new();
        let before = std::mem::take(&mut self.left_to_others);
        for lag in lags {
            let Some(runner) = self.shared.runners.get(lag.projection).filter(|runner| runner.state().may_work())
            else {
                continue;
            };
            // Pausing a projection pauses its builds.
            if runner.is_shadow() && self.shared.is_paused(lag.projection, &lag.instance) {
                continue;
            }
            let pair = (lag.projection, Arc::clone(&lag.instance));
            let stuck = before.get(&pair) == Some(&lag.checkpoint);
            if runner.state().leads || stuck || self.shared.prefers(lag.projection, &lag.instance) {
                ours.entry(lag.projection).or_default().push(lag.instance);
            } else {
                self.left_to_others.insert(pair, lag.checkpoint);
            }
        }
        ours
    }

    /// Finds first runs that are over, and takes or keeps the lead of the others.
    fn take_leads(&self) -> Result<(), StoreError> {
        for runner in self.shared.runners.iter().filter(|runner| runner.state().is_active) {
            let leads = runner.state().is_in_first_run()
                && self.shared.stores.leases.lead(runner.key(), self.shared.id, self.shared.config.lease)?;
            runner.change(|state| state.leads = leads);
        }
        Ok(())
    }

    /// Ends first runs that this process leads. A first run is over when every instance has reached the head that it
    /// had when the run began. Events that came later do not matter, and an instance that waits for a person does not
    /// count.
    fn end_first_runs(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        self.first_runs.retain(|at, run| shared.runners.get(*at).is_some_and(|runner| run.is_of(runner)));
        for (at, runner) in shared.runners.iter().enumerate().filter(|(_, runner)| runner.state().leads) {
            let run = self.first_runs.entry(at).or_insert_with(|| FirstRun::new(runner));
            if shared.advance(runner, run)? {
                shared.request_tick();
            }
            if run.is_over() {
                // The projection may have been reset since the builds were looked at.
                shared.look_at_builds()?;
                if run.is_of(runner) {
                    self.succeed(runner)?;
                }
            }
        }
        Ok(())
    }

    /// Records the success with an event. The event has a push key, so that no process announces the success twice.
    fn succeed(&self, runner: &Runner) -> Result<(), Error> {
        let key = &runner.handler.inner.key;
        let event = NewEvent::raw("", "system", "SYSTEM", "system.projections.scheduler.succeeded")
            .payload(&serde_json::json!({ "name": &*key.name }))
            .push_key(&push_key(runner));
        if let Some(events) = &self.shared.stores.events {
            events.push(&[event])?;
        }
        let is_recorded = self.shared.stores.leases.succeed(key, self.shared.id)?;
        runner.change(|state| state.leads = false);
        if !is_recorded {
            // Another process leads, or has succeeded. The next tick sees that.
            return Ok(());
        }
        runner.change(|state| state.has_succeeded = true);
        log::info!(
            event = "first-success",
            projection:display = plain(&key.name),
            version = key.version;
            "projection {:?} (version {}) has caught up for the first time",
            key.name,
            key.version
        );
        self.shared
            .hook
            .tell(|| Observation::FirstSuccess { projection: key.projection().into(), version: key.version });
        Ok(())
    }
}

/// A success after a reset has another key.
fn push_key(runner: &Runner) -> String {
    let key = runner.key();
    match runner.state().resets {
        0 => format!("readside: {} {} succeeded", key.name, key.version),
        resets => format!("readside: {} {} succeeded after reset {resets}", key.name, key.version),
    }
}
