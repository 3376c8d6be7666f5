//! What the threads of an engine share, and the work that its pool does.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::sync::Mutex;
use crossbeam_channel::Sender;
use uuid::Uuid;

use super::builder::EngineConfig;
use super::builds::{LiveBuild, Trouble};
use super::feed::Feed;
use super::handler::{Inner, ProjectionHandler};
use super::holding::Holdings;
use super::leased::Leased;
use super::members;
use super::progress::{Moved, Progress};
use super::schedule::{Job, Schedule};
use super::standstill::Standstills;
use super::stop::Stop;
use super::thread::Thread;
use super::unfed::Unfed;
use super::windows::Windows;
use super::work::{Processed, Work};
use crate::error::{StoreError, StoreErrorKind, full, net};
use crate::lease::{LeaseStore, Member, Pause, Wired};
use crate::projection::apart;
use crate::query::Wanted;
use crate::standstill::Subject;
use crate::state::{ProjectionKey, StopCause, Stopped};
use crate::store::{EventSource, EventStore, ProjectionStore};

/// Passes after which an instance with a long backlog goes to the end of the line.
const PASSES: usize = 20;

/// A projection in an engine.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) handler: ProjectionHandler,
    pub(super) wanted: Wanted,
    /// Its first run of all instances has succeeded once.
    pub(super) succeeded: AtomicBool,
    /// This process leads its first run.
    pub(super) leading: AtomicBool,
    /// It is kept current; a build beside the live one is only while there is one.
    pub(super) active: AtomicBool,
    /// Readers do not see it; live work comes first.
    pub(super) background: AtomicBool,
    /// Another version is about to take the place of this one, or has: what readers see is asked for each time.
    pub(super) contested: AtomicBool,
    /// This process has asked for its switch.
    pub(super) asked: AtomicBool,
    /// How often it was reset.
    pub(super) resets: AtomicI64,
    /// Why it is left alone: until that is on record, or until it moves again.
    pub(super) trouble: Mutex<Option<Trouble>>,
    /// That it does not move is on record, by whichever process.
    pub(super) told: AtomicBool,
    /// What readers see of its projection, once that is known.
    pub(super) live: Mutex<Option<Arc<LiveBuild>>>,
    /// No living engine runs what readers see.
    pub(super) unfed: Mutex<Option<Unfed>>,
}

impl Runner {
    pub(super) fn new(handler: ProjectionHandler) -> Self {
        let (wanted, active) = (handler.projection().wanted(), !handler.projection().is_beside());
        Self {
            handler,
            wanted,
            succeeded: AtomicBool::new(false),
            leading: AtomicBool::new(false),
            active: AtomicBool::new(active),
            background: AtomicBool::new(!active),
            contested: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            resets: AtomicI64::new(0),
            trouble: Mutex::new(None),
            told: AtomicBool::new(false),
            live: Mutex::new(None),
            unfed: Mutex::new(None),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.handler.projection().name()
    }

    pub(super) fn key(&self) -> &ProjectionKey {
        &self.handler.inner.key
    }

    /// True for a build beside the live one of its version.
    pub(super) fn is_beside(&self) -> bool {
        self.handler.projection().is_beside()
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn is_contested(&self) -> bool {
        self.contested.load(Ordering::Relaxed)
    }

    pub(super) fn is_background(&self) -> bool {
        self.background.load(Ordering::Relaxed)
    }

    /// True when this process leads its first run.
    pub(super) fn leads(&self) -> bool {
        self.leading.load(Ordering::Relaxed)
    }

    /// False while another process leads its first run, or while it is left alone.
    pub(super) fn may_work(&self) -> bool {
        self.is_active() && (self.succeeded.load(Ordering::Relaxed) || self.leads())
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: Uuid,
    pub(super) config: EngineConfig,
    /// None when events can only be read.
    pub(super) events: Option<Arc<dyn EventStore>>,
    pub(super) source: Arc<dyn EventSource>,
    pub(super) models: Arc<dyn ProjectionStore>,
    pub(super) leases: Arc<dyn LeaseStore>,
    pub(super) wired: Arc<dyn Wired>,
    pub(super) runners: Vec<Runner>,
    pub(super) schedule: Schedule,
    pub(super) stop: Arc<Stop>,
    pub(super) holdings: Holdings,
    pub(super) members: Mutex<Vec<Member>>,
    /// Paused projections (without instance) and instances.
    pub(super) pauses: Mutex<HashSet<Pause>>,
    pub(super) progress: Progress,
    pub(super) windows: Mutex<Windows>,
    /// The generation of the source up to which the log was forgotten.
    pub(super) generation: AtomicU64,
    /// How often the log was forgotten.
    pub(super) forgotten: AtomicU64,
    pub(super) pool: Mutex<Option<rayon::ThreadPool>>,
    pub(super) tick_now: Sender<()>,
    pub(super) operate_now: Sender<()>,
    /// Commands are announced by the wire.
    pub(super) hears_commands: bool,
    /// Why nothing is heard of other processes at present.
    pub(super) deaf: Mutex<Option<String>>,
    /// Held by whoever looks which builds there are.
    pub(super) looking: Mutex<()>,
    /// Threads that carry out commands.
    pub(super) tasks: Mutex<Vec<(Thread, Arc<Stop>)>>,
    /// Batches that ended by a panic.
    pub(super) worker_panics: AtomicU64,
    /// Tasks that are over and not taken off the operator's list yet, by their numbers.
    pub(super) over: Mutex<Vec<u64>>,
    /// What stands still here, and why.
    pub(super) standstills: Standstills,
}

impl Shared {
    pub(super) fn prefers(&self, projection: usize, instance: &str) -> bool {
        let members = self.members.lock();
        let Some(runner) = self.runners.get(projection) else { return false };
        let key = runner.key();
        let runs = |member: &&Member| {
            member.projections.iter().any(|(name, version)| **name == *runner.name() && *version == key.version)
        };
        members::prefers(members.iter().filter(runs).map(|member| member.process), self.id, &key.name, instance)
    }

    /// Takes in what is paused.
    pub(super) fn look_at_pauses(&self) -> Result<(), StoreError> {
        let pauses = self.leases.pauses()?;
        *self.pauses.lock() = pauses.into_iter().collect();
        Ok(())
    }

    pub(super) fn is_paused(&self, projection: usize, instance: &Arc<str>) -> bool {
        let pauses = self.pauses.lock();
        let Some(runner) = self.runners.get(projection).filter(|_| !pauses.is_empty()) else { return false };
        let name = runner.name().to_owned();
        pauses.contains(&(name.clone(), None)) || pauses.contains(&(name, Some(Arc::clone(instance))))
    }

    /// True when news of this instance are this process's to act upon.
    pub(super) fn is_ours(&self, projection: usize, instance: &Arc<str>) -> bool {
        (self.config.system_instance || !instance.is_empty())
            && self.runners.get(projection).is_some_and(Runner::may_work)
            && !self.is_paused(projection, instance)
            && self.prefers(projection, instance)
    }

    /// Forgets the log when the source may be another one than before.
    pub(super) fn mind_generation(&self) {
        let generation = self.source.generation();
        if self.generation.swap(generation, Ordering::SeqCst) != generation {
            log::debug!("a connection to the event store was lost; what is remembered of the log is dropped");
            self.forget_history();
        }
    }

    /// Drops all that is remembered of the log: what the queue has shown, pages, the store's id; and has the ticker look at
    /// everything.
    pub(super) fn forget_history(&self) {
        self.windows.lock().forget_all();
        self.source.forget();
        for runner in &self.runners {
            runner.handler.inner.source.forget();
        }
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.request_tick();
    }

    /// Names and versions of the projections that it runs.
    pub(super) fn projections(&self) -> Vec<(String, u32)> {
        let runners = self.runners.iter().filter(|runner| !runner.is_beside());
        runners.map(|runner| (runner.name().to_owned(), runner.key().version)).collect()
    }

    /// Has the ticker look at once.
    pub(super) fn request_tick(&self) {
        let _ = self.tick_now.try_send(());
    }

    /// Puts instances that may have work on the schedule, and wakes the pool.
    pub(super) fn trigger(self: &Arc<Self>, projection: usize, instances: &[Arc<str>]) {
        for instance in instances {
            self.schedule.add(projection, instance);
        }
        self.wake();
    }

    /// Starts as many jobs as there is work and workers for.
    pub(super) fn wake(self: &Arc<Self>) {
        let pool = self.pool.lock();
        let Some(pool) = pool.as_ref() else { return };
        while self.schedule.wants_job() {
            let shared = Arc::clone(self);
            pool.spawn(move || shared.work());
        }
    }

    /// A job: works as long as there is work. Who waits is told when the instances are free for their next events.
    fn work(self: &Arc<Self>) {
        while let Some(mut job) = self.schedule.next() {
            let direct = job.direct.take();
            // A reducer that waits for threads of this pool may have called here: what is done here is not inside of it.
            let moves = apart(|| net::caught(|| self.run(&job, direct)));
            let moves = moves.unwrap_or_else(|panic| self.note_panic(&job, &panic));
            self.write_new_standstills();
            self.schedule.done(job.projection, &job.instances);
            self.progress.worked(job.projection, moves);
            self.wake();
        }
        self.progress.rested();
    }

    /// Which instance made the batch panic is not known: each of them goes alone now, so that the one keeps no others.
    fn note_panic(&self, job: &Job, panic: &str) -> Vec<Move> {
        self.worker_panics.fetch_add(1, Ordering::Relaxed);
        let (count, runner) = (job.instances.len(), self.runners.get(job.projection));
        let name = runner.map_or("", Runner::name);
        log::error!("a batch of projection {name:?} with {count} instances panicked ({panic}); each goes on alone");
        self.standstills.panicked(job.projection, &job.instances);
        let retries = runner.map_or(0, |runner| runner.handler.inner.config.retries);
        for instance in &job.instances {
            self.schedule.trouble(job.projection, instance, retries);
        }
        unknown(&job.instances)
    }

    /// Does a job, and says how far that brought its instances, where it is known.
    fn run(self: &Arc<Self>, job: &Job, direct: Option<Vec<Work>>) -> Vec<Move> {
        let Some(runner) = self.runners.get(job.projection) else { return Vec::new() };
        let moves = if let Some(works) = direct {
            self.apply_direct(job.projection, runner, works)
        } else {
            if let Err(error) = self.catch_up(job.projection, runner, &job.instances)
                && !self.halt(runner, &error)
            {
                self.standstills.failed(job.projection, Subject::Work, &error);
                log::warn!("projection {:?}: {}; the next tick tries again", runner.name(), full(&error));
            }
            unknown(&job.instances)
        };
        if runner.leads() {
            self.request_tick();
        }
        moves
    }

    /// Events at hand go without a lease: while they are applied the lock of the state row is as good, and a process that
    /// they kill leaves them to be caught up, which takes leases. What others hold is left to them.
    fn apply_direct(&self, projection: usize, runner: &Runner, mut works: Vec<Work>) -> Vec<Move> {
        for work in &mut works {
            work.unleased = Some(self.id);
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
                    self.windows.lock().forget(&stopped.instance);
                    self.schedule.add(projection, &stopped.instance);
                }
                // A lease may have been left by the dead: whoever takes it sees.
                StopCause::LeaseLost | StopCause::Suspect => self.schedule.add(projection, &stopped.instance),
                _ => self.log_stop(runner, &stopped),
            }
        }
        moves_of(&works)
    }

    fn catch_up(&self, projection: usize, runner: &Runner, instances: &[Arc<str>]) -> Result<(), StoreError> {
        let inner = &runner.handler.inner;
        if !runner.is_active() {
            return Ok(());
        }
        let pass = self.standstills.begin();
        inner.is_hidden.store(runner.is_background(), Ordering::Relaxed);
        let opened = inner.open(instances)?;
        opened.stopped.iter().for_each(|stopped| self.mind_stop(projection, runner, stopped));
        let mut feed = Feed::new(opened.places, PASSES);
        let leased = Leased::new(self, runner);
        let (mut failed, mut yields) = (None, false);
        inner.feed(&mut feed, &|fetched| leased.prepare(fetched), |fetched| {
            fetched.stopped.iter().for_each(|stopped| self.log_stop(runner, stopped));
            let works = &mut fetched.works;
            if let Err(error) = leased.lease(works.iter_mut()) {
                failed = Some(error);
                return leased.end(instances);
            }
            let mut ended: Vec<Arc<str>> =
                works.extract_if(.., |work| work.lease.is_none()).map(|work| work.instance).collect();
            let (processed, apart) = self.process(projection, inner, works, instances);
            self.standstills.keep(projection, ended.iter().chain(&apart));
            self.progress.worked(projection, moves_of(works));
            if runner.is_background() && works.iter().any(|work| work.clean.is_some() || work.applied > 0) {
                self.relieve(runner);
            }
            processed.stopped.iter().for_each(|stopped| self.mind_stop(projection, runner, stopped));
            ended.extend(processed.stopped.into_iter().map(|stopped| stopped.instance));
            ended.extend(apart);
            yields |= runner.is_background() && self.schedule.has_live_work();
            if self.stop.is_set() || yields || !runner.is_active() { leased.end(instances) } else { ended }
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
    /// What has trouble goes on in a job of its own, also the next time; those are told that are not done here.
    fn process(
        &self,
        projection: usize,
        inner: &Inner,
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

    fn process_alone(&self, projection: usize, inner: &Inner, works: &mut [Work]) -> Processed {
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

    /// A build that cannot go on is left alone, for a while or for good; what was read of another history is read anew; other
    /// stops are only told.
    fn mind_stop(&self, projection: usize, runner: &Runner, stopped: &Stopped) {
        match &stopped.cause {
            StopCause::Store(error) if self.halt(runner, error) => {}
            // Whoever waits for the build hears why.
            cause @ StopCause::LogIncomplete { .. } if runner.is_background() => {
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

    /// Causes that were logged where they arose, are somebody else's work now, or stand as they stood, are not logged again.
    fn log_stop(&self, runner: &Runner, stopped: &Stopped) {
        let is_news = self.standstills.stopped(self.place(runner), stopped);
        match &stopped.cause {
            StopCause::Failing(_) | StopCause::Stopped(_) | StopCause::LeaseLost | StopCause::Cancelled => {
                log::debug!("projection {:?} stopped in {stopped}", runner.name());
            }
            _ if !is_news => log::debug!("projection {:?} still stands in {stopped}", runner.name()),
            _ => log::warn!(
                "projection {:?} stopped in {stopped}; it is tried again, by the next tick at the latest",
                runner.name()
            ),
        }
    }

    /// The place of a runner.
    pub(super) fn place(&self, runner: &Runner) -> usize {
        self.runners.iter().position(|one| std::ptr::eq(one, runner)).unwrap_or(usize::MAX)
    }
}

/// An instance, and what is known of the work on it.
type Move = (Arc<str>, Moved);

fn moves_of(works: &[Work]) -> Vec<Move> {
    works.iter().map(|work| (Arc::clone(&work.instance), work.moved())).collect()
}

fn unknown(instances: &[Arc<str>]) -> Vec<Move> {
    instances.iter().map(|instance| (Arc::clone(instance), Moved::default())).collect()
}
