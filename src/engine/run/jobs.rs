//! What the workers of the pool do: they take a job from the schedule, and apply queued events or catch up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::engine::pass::Pass;
use crate::engine::pass::work::{Moved, Processed, Right, Work};
use crate::engine::read::read_ahead::ReadAhead;
use crate::engine::run::pass_leases::PassLeases;
use crate::engine::run::runner::Runner;
use crate::engine::run::schedule::Job;
use crate::engine::run::state::Shared;
use crate::error::{StoreError, StoreErrorKind, chain, net};
use crate::plain::plain;
use crate::projection::apart;
use crate::standstill::StandstillSubject;
use crate::stop_cause::{StopCause, Stopped};

/// Passes after which an instance with a long backlog goes to the end of the line.
const PASSES: usize = 20;

impl Shared {
    /// Puts instances that may have work on the schedule, and wakes the pool.
    pub(crate) fn trigger(self: &Arc<Self>, projection: usize, instances: &[Arc<str>]) {
        for instance in instances {
            self.schedule.add(projection, instance);
        }
        self.wake();
    }

    /// Starts as many jobs as there is work and workers for.
    pub(crate) fn wake(self: &Arc<Self>) {
        let pool = self.workers.pool.lock();
        let Some(pool) = pool.as_ref() else { return };
        while self.schedule.wants_job() {
            let shared = Arc::clone(self);
            pool.spawn(move || shared.work());
        }
    }

    /// A job: works until there is no work left. It wakes waiting callers once the instances are free for their next
    /// events.
    fn work(self: &Arc<Self>) {
        while let Some(mut job) = self.schedule.next() {
            let (direct, era) = (job.direct.take(), self.progress.era());
            // A reducer that waits for threads of this pool may have called here. What happens here is not part of that
            // reducer.
            let moves = apart(|| net::caught(|| self.run(&job, direct)));
            let moves = moves.unwrap_or_else(|panic| self.note_panic(&job, &panic));
            self.write_new_standstills();
            self.schedule.done(&job);
            self.progress.worked(era, job.projection, moves);
            self.wake();
        }
        self.progress.rested();
    }

    /// Nobody knows which instance made the batch panic. Each of them goes alone now, so that it does not hold up the
    /// others.
    fn note_panic(&self, job: &Job, panic: &str) -> Vec<InstanceMove> {
        self.workers.panics.fetch_add(1, Ordering::Relaxed);
        let (count, runner) = (job.instances.len(), self.runners.get(job.projection));
        let name = runner.map_or("", Runner::name);
        log::error!(
            "a batch of projection {name:?} with {count} instances panicked ({panic}); each is tried again alone"
        );
        self.standstills.panicked(job.projection, &job.instances);
        let retries = runner.map_or(0, |runner| runner.handler.inner.config.retries);
        for instance in &job.instances {
            self.schedule.trouble(job.projection, instance, retries);
        }
        unknown(&job.instances)
    }

    /// Does a job. Returns how far its instances got, as far as that is known.
    fn run(self: &Arc<Self>, job: &Job, direct: Option<Vec<Work>>) -> Vec<InstanceMove> {
        let Some(runner) = self.runners.get(job.projection) else { return Vec::new() };
        let moves = if let Some(works) = direct {
            self.apply_direct(job.projection, runner, works)
        } else {
            if let Err(error) = self.catch_up(job.projection, runner, &job.instances)
                && !self.halt(runner, &error)
            {
                let is_news = self.standstills.failed(job.projection, StandstillSubject::Work, &error);
                let level = if is_news { log::Level::Warn } else { log::Level::Debug };
                log::log!(level, "projection {:?}: {}; the next tick tries again", runner.name(), chain(&error));
            }
            unknown(&job.instances)
        };
        if runner.state().leads {
            self.request_tick();
        }
        moves
    }

    /// Applies queued events. They need no lease: the lock of the state row protects them while they are applied. If
    /// they kill the process, the next one catches up under a lease and finds them. Instances that another process has
    /// leased are left to it.
    fn apply_direct(&self, projection: usize, runner: &Runner, mut works: Vec<Work>) -> Vec<InstanceMove> {
        works.retain(|work| !self.is_paused(projection, &work.instance));
        for work in &mut works {
            work.right = Right::NoLease(self.id);
        }
        let processed = self.process_alone(projection, &runner.handler.inner, &mut works);
        for stopped in processed.stopped {
            match stopped.cause {
                StopCause::HistoryChanged { .. } => {
                    self.log_stop(runner, &stopped);
                    self.forget_history();
                    self.schedule.add(projection, &stopped.instance);
                }
                StopCause::Gap { .. } => {
                    self.log_memory.seen_ranges().forget(&stopped.instance);
                    self.schedule.add(projection, &stopped.instance);
                }
                // A dead process may have left the lease. Catching up takes it and finds out.
                StopCause::LeaseLost | StopCause::Suspect => self.schedule.add(projection, &stopped.instance),
                _ => self.log_stop(runner, &stopped),
            }
        }
        moves_of(&works)
    }

    fn catch_up(&self, projection: usize, runner: &Runner, instances: &[Arc<str>]) -> Result<(), StoreError> {
        let inner = &runner.handler.inner;
        if !runner.state().is_active {
            return Ok(());
        }
        let pass = self.standstills.begin();
        inner.is_hidden.store(runner.state().is_background, Ordering::Relaxed);
        let opened = inner.open(instances)?;
        opened.stopped.iter().for_each(|stopped| self.mind_stop(projection, runner, stopped));
        let mut feed = ReadAhead::new(opened.places, PASSES);
        let leased = PassLeases::new(self, runner);
        let (mut failed, mut yields, era) = (None, false, self.progress.era());
        inner.feed(&mut feed, &|fetched| leased.prepare(fetched), |fetched| {
            fetched.stopped.iter().for_each(|stopped| self.log_stop(runner, stopped));
            let works = &mut fetched.works;
            // This asks after the read, so that events which are stored once a pause is known are not applied.
            let paused = works.extract_if(.., |work| self.is_paused(projection, &work.instance));
            let mut ended: Vec<Arc<str>> = paused.map(|work| work.instance).collect();
            if let Err(error) = leased.lease(works.iter_mut()) {
                failed = Some(error);
                return leased.end(instances);
            }
            ended.extend(works.extract_if(.., |work| work.lease().is_none()).map(|work| work.instance));
            let (processed, apart) = self.process(projection, inner, works, instances);
            self.standstills.keep(projection, ended.iter().chain(&apart));
            self.progress.worked(era, projection, moves_of(works));
            if runner.state().is_background && works.iter().any(|work| work.clean.is_some() || work.applied > 0) {
                self.relieve(runner);
            }
            processed.stopped.iter().for_each(|stopped| self.mind_stop(projection, runner, stopped));
            ended.extend(processed.stopped.into_iter().map(|stopped| stopped.instance));
            ended.extend(apart);
            yields |= runner.state().is_background && self.schedule.has_live_work();
            if self.stop.is_set() || yields || !runner.state().is_active { leased.end(instances) } else { ended }
        })?;
        let left = feed.left.iter().map(|place| &place.instance);
        for instance in left.chain(instances.iter().filter(|_| yields)) {
            self.schedule.add(projection, instance);
        }
        if failed.is_none() {
            self.standstills.passed(projection, instances, pass);
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Shared {
    /// Gives an instance with trouble its own jobs, now and next time. Returns the instances that it did not finish.
    fn process(
        &self,
        projection: usize,
        inner: &Pass,
        works: &mut [Work],
        instances: &[Arc<str>],
    ) -> (Processed, Vec<Arc<str>>) {
        if instances.len() > 1 {
            let (processed, apart) = inner.process_together(works);
            for instance in &apart {
                self.schedule.trouble(projection, instance, inner.config.retries);
            }
            return (processed, apart);
        }
        (self.process_alone(projection, inner, works), Vec::new())
    }

    fn process_alone(&self, projection: usize, inner: &Pass, works: &mut [Work]) -> Processed {
        let processed = inner.process_alone(works);
        let is_trouble = |stopped: &&Stopped| match &stopped.cause {
            StopCause::Store(error) => error.is_transient() && !error.concerns_all(),
            _ => false,
        };
        for stopped in processed.stopped.iter().filter(is_trouble) {
            self.schedule.trouble(projection, &stopped.instance, inner.config.retries);
        }
        processed
    }

    /// Acts on a stop. A build that cannot go on rests, for a while or for good. Events of another history are read
    /// again. Other stops are only reported.
    fn mind_stop(&self, projection: usize, runner: &Runner, stopped: &Stopped) {
        match &stopped.cause {
            StopCause::Store(error) if self.halt(runner, error) => {}
            // The command that waits for the build learns the reason.
            cause @ StopCause::LogIncomplete { .. } if runner.state().is_background => {
                let why = format!("instance {:?}: {cause}", stopped.instance);
                self.halt(runner, &StoreError::new("building a read model", StoreErrorKind::Unsupported, why));
            }
            StopCause::HistoryChanged { .. } => {
                self.log_stop(runner, stopped);
                self.forget_history();
                self.schedule.trouble(projection, &stopped.instance, runner.handler.inner.config.retries);
            }
            _ => self.log_stop(runner, stopped),
        }
    }

    /// Logs a stop. It is silent about a cause that was logged where it arose, that another process now handles, or
    /// that was logged not long ago.
    fn log_stop(&self, runner: &Runner, stopped: &Stopped) {
        let is_news = self.standstills.stopped(self.place(runner), stopped);
        match &stopped.cause {
            StopCause::Failing(_) | StopCause::Stopped(_) | StopCause::LeaseLost | StopCause::Cancelled => {
                log::debug!("projection {:?} stopped in {stopped}", runner.name());
            }
            _ if !is_news => log::debug!("projection {:?} still stands still in {stopped}", runner.name()),
            cause => log::warn!(
                event = if matches!(cause, StopCause::HistoryDiverged { .. }) { "divergence" } else { "standstill" },
                projection:display = plain(runner.name()),
                instance:display = plain(&stopped.instance);
                "projection {:?} stopped in {stopped}; the engine tries again, at the next tick at the latest",
                runner.name()
            ),
        }
    }
}

/// An instance, and how far the work on it got, if that is known.
type InstanceMove = (Arc<str>, Moved);

fn moves_of(works: &[Work]) -> Vec<InstanceMove> {
    works.iter().map(|work| (Arc::clone(&work.instance), work.moved())).collect()
}

fn unknown(instances: &[Arc<str>]) -> Vec<InstanceMove> {
    instances.iter().map(|instance| (Arc::clone(instance), Moved::default())).collect()
}
