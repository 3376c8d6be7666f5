//! What the threads of an engine share: its stores, its projections, and what each thread tells the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use uuid::Uuid;

use crate::engine::config::EngineConfig;
use crate::engine::observe::Hook;
use crate::engine::observe::observation::Observation;
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
use crate::engine::watch::hub::Hub;
use crate::lease::Member;
use crate::store::{EventSource, EventStore, ProjectionStore};
use crate::store::{LeaseStore, Notifier, UNHEARD};
use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: Uuid,
    pub(crate) config: EngineConfig,
    pub(crate) stores: Stores,
    pub(crate) runners: Vec<Runner>,
    pub(crate) schedule: Schedule,
    pub(crate) workers: Workers,
    pub(crate) stop: Arc<Stop>,
    pub(crate) lease_registry: LeaseRegistry,
    pub(crate) fleet: Fleet,
    pub(crate) pauses: Pauses,
    pub(crate) progress: Progress,
    pub(crate) log_memory: LogMemory,
    /// What stands still here, and why.
    pub(crate) standstills: Standstills,
    /// Tells the watchers of read models in this process.
    pub(crate) hub: Arc<Hub>,
    /// Who hears what this engine does.
    pub(crate) hook: Hook,
    pub(crate) commands: RunningCommands,
    pub(crate) tick_now: Sender<()>,
    /// Held while a thread looks which builds there are.
    pub(crate) looking: Mutex<()>,
}

/// What an engine asks of its databases.
#[derive(Debug)]
pub(crate) struct Stores {
    /// `None` when events can only be read.
    pub(crate) events: Option<Arc<dyn EventStore>>,
    pub(crate) source: Arc<dyn EventSource>,
    pub(crate) models: Arc<dyn ProjectionStore>,
    pub(crate) leases: Arc<dyn LeaseStore>,
    pub(crate) notifier: Arc<dyn Notifier>,
    /// Events and read models are in the same store. Then the notifier announces commands, too.
    pub(crate) is_one_store: bool,
}

/// The threads that do the jobs of the schedule.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    pub(crate) pool: Mutex<Option<rayon::ThreadPool>>,
    /// Batches that ended in a panic.
    pub(crate) panics: AtomicU64,
}

/// The processes that run the same projections, as far as this one hears of them.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) members: Mutex<Vec<Member>>,
    /// Why this process hears nothing of the others at present.
    pub(crate) deaf: Mutex<Option<String>>,
    /// The database answers, but notifications of pushes do not arrive.
    pub(crate) swallowed: AtomicBool,
}

/// The commands that this process carries out.
#[derive(Debug)]
pub(crate) struct RunningCommands {
    pub(crate) threads: Mutex<Vec<(Thread, Arc<Stop>)>>,
    /// Commands that ended, by their numbers. The operator has not taken them off its list yet.
    pub(crate) over: Mutex<Vec<u64>>,
    pub(crate) now: Sender<()>,
}

impl Shared {
    pub(crate) fn prefers(&self, projection: usize, instance: &str) -> bool {
        let members = self.fleet.members.lock();
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

    /// True when this process acts on news of this instance.
    pub(crate) fn is_ours(&self, projection: usize, instance: &Arc<str>) -> bool {
        (self.config.system_instance || !instance.is_empty())
            && self.runners.get(projection).is_some_and(|runner| runner.state().may_work())
            && !self.is_paused(projection, instance)
            && self.prefers(projection, instance)
    }

    /// Forgets the log when the source may be another one than before.
    pub(crate) fn mind_generation(&self) {
        if self.log_memory.is_another(self.stores.source.generation()) {
            log::debug!("a connection to the event store was lost; this process forgets what it knew of the log");
            self.forget_history();
        }
    }

    /// Drops all that this process remembers of the log: what the queue has shown, pages, the store's id, and what was
    /// applied. Then it makes the ticker look at everything.
    pub(crate) fn forget_history(&self) {
        self.log_memory.forget(|| {
            self.stores.source.forget();
            for runner in &self.runners {
                runner.handler.inner.source.forget();
            }
            self.progress.forget();
        });
        self.request_tick();
    }

    /// The time between two looks for work. It is shorter where no notifications arrive. It is not shorter where the
    /// database does not answer, because more questions would not help.
    pub(crate) fn look_every(&self) -> Duration {
        let every = self.config.requeue_every;
        if self.fleet.swallowed.load(Ordering::SeqCst) { every.min(UNHEARD) } else { every }
    }

    /// The names and versions of the projections that the engine runs.
    pub(crate) fn projections(&self) -> Vec<(String, u32)> {
        let runners = self.runners.iter().filter(|runner| !runner.is_shadow());
        runners.map(|runner| (runner.name().to_owned(), runner.key().version)).collect()
    }

    /// Tells an observer that readers see another build.
    pub(crate) fn switched(&self, projection: &str, version: u32) {
        self.hook.tell(|| Observation::Switched { projection: projection.into(), version });
    }

    /// Makes the ticker look at once.
    pub(crate) fn request_tick(&self) {
        let _ = self.tick_now.try_send(());
    }

    /// The index of a runner.
    pub(crate) fn place(&self, runner: &Runner) -> usize {
        self.runners.iter().position(|one| std::ptr::eq(one, runner)).unwrap_or(usize::MAX)
    }
}
