//! What the threads of an engine share: its stores, its projections, and what each thread tells the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use uuid::Uuid;

use crate::engine::config::EngineConfig;
use crate::engine::pass::lease::LeaseRegistry;
use crate::engine::run::log_memory::LogMemory;
use crate::engine::run::members;
use crate::engine::run::pauses::Pauses;
use crate::engine::run::progress::Progress;
use crate::engine::run::runner::Runner;
use crate::engine::run::schedule::Schedule;
use crate::engine::run::standstills::Standstills;
use crate::engine::run::thread::Thread;
use crate::engine::stop::Stop;
use crate::lease::Member;
use crate::store::{EventSource, EventStore, ProjectionStore};
use crate::store::{LeaseStore, Notifier, UNHEARD};
use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: Uuid,
    pub(crate) config: EngineConfig,
    /// None when events can only be read.
    pub(crate) events: Option<Arc<dyn EventStore>>,
    pub(crate) source: Arc<dyn EventSource>,
    pub(crate) models: Arc<dyn ProjectionStore>,
    pub(crate) leases: Arc<dyn LeaseStore>,
    pub(crate) notifier: Arc<dyn Notifier>,
    pub(crate) runners: Vec<Runner>,
    pub(crate) schedule: Schedule,
    pub(crate) stop: Arc<Stop>,
    pub(crate) lease_registry: LeaseRegistry,
    pub(crate) members: Mutex<Vec<Member>>,
    pub(crate) pauses: Pauses,
    pub(crate) progress: Progress,
    pub(crate) log_memory: LogMemory,
    pub(crate) pool: Mutex<Option<rayon::ThreadPool>>,
    pub(crate) tick_now: Sender<()>,
    pub(crate) operate_now: Sender<()>,
    /// Events and read models are in the same store.
    pub(crate) is_one_store: bool,
    /// Commands are announced by the notifier.
    pub(crate) hears_commands: bool,
    /// Why nothing is heard of other processes at present.
    pub(crate) deaf: Mutex<Option<String>>,
    /// The database answers, but what is said of pushes does not arrive.
    pub(crate) swallowed: AtomicBool,
    /// Held by whoever looks which builds there are.
    pub(crate) looking: Mutex<()>,
    /// Threads that carry out commands.
    pub(crate) tasks: Mutex<Vec<(Thread, Arc<Stop>)>>,
    /// Batches that ended by a panic.
    pub(crate) worker_panics: AtomicU64,
    /// Tasks that are over and not taken off the operator's list yet, by their numbers.
    pub(crate) over: Mutex<Vec<u64>>,
    /// What stands still here, and why.
    pub(crate) standstills: Standstills,
}

impl Shared {
    pub(crate) fn prefers(&self, projection: usize, instance: &str) -> bool {
        let members = self.members.lock();
        let Some(runner) = self.runners.get(projection) else { return false };
        let key = runner.key();
        let runs = |member: &&Member| {
            member.projections.iter().any(|(name, version)| **name == *runner.name() && *version == key.version)
        };
        members::prefers(members.iter().filter(runs).map(|member| member.process), self.id, &key.name, instance)
    }

    pub(crate) fn is_paused(&self, projection: usize, instance: &Arc<str>) -> bool {
        self.runners.get(projection).is_some_and(|runner| self.pauses.hold(runner.name(), instance))
    }

    /// True when news of this instance are this process's to act upon.
    pub(crate) fn is_ours(&self, projection: usize, instance: &Arc<str>) -> bool {
        (self.config.system_instance || !instance.is_empty())
            && self.runners.get(projection).is_some_and(|runner| runner.state().may_work())
            && !self.is_paused(projection, instance)
            && self.prefers(projection, instance)
    }

    /// Forgets the log when the source may be another one than before.
    pub(crate) fn mind_generation(&self) {
        if self.log_memory.is_another(self.source.generation()) {
            log::debug!("a connection to the event store was lost; what is remembered of the log is dropped");
            self.forget_history();
        }
    }

    /// Drops all that is remembered of the log: what the queue has shown, pages, the store's id; and has the ticker look at
    /// everything.
    pub(crate) fn forget_history(&self) {
        self.log_memory.forget(|| {
            self.source.forget();
            for runner in &self.runners {
                runner.handler.inner.source.forget();
            }
        });
        self.request_tick();
    }

    /// Time between two looks for work. What nobody tells of is looked for more often; a database that does not answer is
    /// not, since more questions would not help it.
    pub(crate) fn look_every(&self) -> Duration {
        let every = self.config.requeue_every;
        if self.swallowed.load(Ordering::SeqCst) { every.min(UNHEARD) } else { every }
    }

    /// Names and versions of the projections that it runs.
    pub(crate) fn projections(&self) -> Vec<(String, u32)> {
        let runners = self.runners.iter().filter(|runner| !runner.is_shadow());
        runners.map(|runner| (runner.name().to_owned(), runner.key().version)).collect()
    }

    /// Has the ticker look at once.
    pub(crate) fn request_tick(&self) {
        let _ = self.tick_now.try_send(());
    }

    /// The place of a runner.
    pub(crate) fn place(&self, runner: &Runner) -> usize {
        self.runners.iter().position(|one| std::ptr::eq(one, runner)).unwrap_or(usize::MAX)
    }
}
