//! Starting the threads of an engine.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::engine::observe::observation::Observation;
use crate::engine::observe::{self, Observer};
use crate::engine::run::engine::{Engine, Threads};
use crate::engine::run::listener::Listener;
use crate::engine::run::operator::Operator;
use crate::engine::run::renewal;
use crate::engine::run::state::Shared;
use crate::engine::run::subscriber::Subscriber;
use crate::engine::run::thread::{self, Pulse, Thread};
use crate::engine::run::ticker::Ticker;
use crate::engine::run::watch;
use crate::error::{Error, StoreError, StoreErrorKind};
use crate::plain::{plain, several};
use crate::subscription::{Bus, Topics};
use crate::sync::Mutex;

/// Starts the threads. If one cannot be started, stops those that run already.
pub(super) fn launch(
    shared: &Arc<Shared>,
    now: Receiver<()>,
    operator: Operator,
    observing: Option<Observing>,
) -> Result<Engine, Error> {
    let subscription = match &shared.stores.events {
        Some(events) => events.subscribe(Topics::all()),
        None => Bus::default().subscribe(Topics::all()),
    };
    let subscription = Arc::new(subscription);
    let mut threads = Threads {
        loops: Vec::new(),
        workers: Vec::new(),
        observer: None,
        pulses: Vec::new(),
        subscription: subscription.clone(),
    };
    let started =
        observe(shared, observing, &mut threads).and_then(|()| start_all(shared, now, operator, &mut threads));
    let engine = Engine::new(Arc::clone(shared), threads);
    match started {
        Ok(()) => {
            let name = &shared.config.name;
            log::info!(
                event = "start",
                process:display = shared.id,
                name:display = plain(name),
                projections = shared.projections().len(),
                version = env!("CARGO_PKG_VERSION");
                "engine {name:?} has started as process {} with {}, by readside {}",
                shared.id,
                several(shared.projections().len() as u64, "projection"),
                env!("CARGO_PKG_VERSION")
            );
            Ok(engine)
        }
        Err(error) => {
            drop(engine);
            Err(StoreError::new("starting the engine's threads", StoreErrorKind::Other, error).into())
        }
    }
}

/// The observer of the service, and what it is told.
pub(super) type Observing = (Observer, Receiver<Observation>);

type Started = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn observe(shared: &Shared, observing: Option<Observing>, threads: &mut Threads) -> Started {
    let Some((observer, told)) = observing else { return Ok(()) };
    let hook = shared.hook.clone();
    threads.observer = Some(thread::spawn(observe::THREAD, move || hook.hand_on(&told, observer))?);
    Ok(())
}

fn start_all(shared: &Arc<Shared>, now: Receiver<()>, mut operator: Operator, threads: &mut Threads) -> Started {
    let spawned: Arc<Mutex<Vec<Thread>>> = Arc::default();
    let keep = Arc::clone(&spawned);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(shared.schedule.threads())
        .panic_handler(|_| log::error!("a worker panicked outside of a batch; it goes on"))
        .spawn_handler(move |worker| {
            let name = format!("readside-worker-{}", worker.index());
            keep.lock().push(thread::spawn(&name, move || worker.run())?);
            Ok(())
        })
        .build()?;
    threads.workers = std::mem::take(&mut *spawned.lock());
    *shared.workers.pool.lock() = Some(pool);
    let subscription = Arc::clone(&threads.subscription);
    let mut subscriber = Subscriber::new(Arc::clone(shared), subscription);
    let mut listener = Listener::new(Arc::clone(shared));
    let mut ticker = Ticker::new(Arc::clone(shared), now);
    let (renewing, watching) = (Arc::clone(shared), Arc::clone(shared));
    start(shared, threads, "readside-renewal", move || renewal::tick(&renewing))?;
    start(shared, threads, "readside-subscription", move || subscriber.tick())?;
    start(shared, threads, "readside-listener", move || listener.tick())?;
    start(shared, threads, "readside-operator", move || operator.tick())?;
    start(shared, threads, "readside-watch", move || watch::tick(&watching))?;
    start(shared, threads, "readside-ticker", move || ticker.tick())
}

fn start(
    shared: &Arc<Shared>,
    threads: &mut Threads,
    name: &'static str,
    tick: impl FnMut() + Send + 'static,
) -> Started {
    let pulse = Arc::new(Pulse::default());
    let thread = thread::start_loop(name, Arc::clone(&shared.stop), Arc::clone(&pulse), tick)?;
    threads.loops.push(thread);
    threads.pulses.push((name, pulse));
    Ok(())
}
