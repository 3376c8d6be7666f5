//! What a process remembers of the log, while the log beneath it is replaced: Contract: L10, G6.
//!
//! There are always two right outcomes: every event of the current log is applied exactly once, or the instance has
//! diverged and every wait says so. `READSIDE_FAULT_SEED` changes the random choices.
#![cfg(all(feature = "sqlite", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

/// Stands above a test function, and runs it on each database.
macro_rules! both {
    ($test:ident) => {
        mod $test {
            #[cfg(feature = "sqlite")]
            #[test]
            fn on_sqlite() {
                super::$test(&mut crate::common::file::File::new());
            }
            #[cfg(feature = "postgres")]
            #[test]
            fn on_postgres() {
                super::$test(&mut crate::ground::Cluster::new());
            }
        }
    };
}

#[path = "../common/mod.rs"]
mod common;

mod anew;
mod apart;
mod builds;
#[cfg(feature = "postgres")]
mod failover;
mod ground;
mod hand;
mod pages;
#[cfg(feature = "postgres")]
mod parts;
mod restored;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use readside::error::{AwaitError, PushError, TriggerError, chain};
use readside::health::StopCause;
use readside::prelude::*;
use readside::query::HeadsRequest;

use readside::testing::laws::{self, LawReport, Models};
use readside::{Engine, EngineBuilder, EngineConfig, EngineStore, Error, EventStore, HandlerConfig, NewEvent};
use serde::{Deserialize, Serialize};

pub(crate) use crate::common::{LONG, eventually};

pub(crate) const NAME: &str = "sums";

#[derive(Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) by: i64,
}
impl Payload for Moved {
    const AGGREGATE: &'static str = "thing";
    const TYPE: &'static str = "thing.moved";
}

/// Sums, and a line for each event. An event that is applied twice, not at all or out of order shows.
pub(crate) fn ledger() -> Projection {
    ledger_of(NAME, Arc::default())
}

/// A ledger whose reducer waits at a gate.
pub(crate) fn ledger_of(name: &str, gate: Arc<Gate>) -> Projection {
    let sums = Table::new(name).column(text("thing")).column(integer("n")).column(integer("last"));
    let lines = Table::suffix("lines").column(integer("position")).column(uuid("event")).primary_key(["position"]);
    Projection::new(name, 1).table(sums.primary_key(["thing"])).table(lines).on(move |e, p: Moved| {
        gate.pass();
        let (thing, position) = (e.aggregate_id().to_owned(), e.position());
        multi([
            upsert(["thing"], [set("thing", thing), increment("n", p.by), set("last", position)]),
            in_table("lines", create([set("position", position), set("event", e.id())])),
        ])
    })
}

/// A gate that is open until the test closes it. Threads that come to a closed gate wait.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// True if the gate is closed, and the number of waiting threads.
    state: Mutex<(bool, usize)>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let (mut state, deadline) = (self.state.lock(), Instant::now() + LONG);
        state.1 += 1;
        while state.0 {
            assert!(!self.opened.wait_until(&mut state, deadline).timed_out(), "nobody opened the gate");
        }
        state.1 -= 1;
    }

    pub(crate) fn close(&self) {
        self.state.lock().0 = true;
    }

    pub(crate) fn open(&self) {
        self.state.lock().0 = false;
        self.opened.notify_all();
    }

    /// The number of threads that wait at the gate.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().1
    }
}

pub(crate) fn moved(instance: &str, count: usize) -> Vec<NewEvent> {
    (0..count).map(|_| NewEvent::new(instance, "x", &Moved { by: 1 })).collect()
}

/// Events that no projection wants.
pub(crate) fn noted(instance: &str, count: usize) -> Vec<NewEvent> {
    (0..count).map(|_| NewEvent::raw(instance, "note", "n", "note.written")).collect()
}

pub(crate) fn instances(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("tenant-{n:02}")).collect()
}

/// Pushes as a service does that loses its connections from time to time.
pub(crate) fn push(store: &dyn EventStore, commands: &[NewEvent]) -> Vec<Event> {
    let mut events = Vec::new();
    eventually("a push", || match store.push(commands) {
        Ok(pushed) => {
            events = pushed;
            true
        }
        Err(PushError::Store(error)) if error.is_transient() => false,
        Err(error) => panic!("{}", chain(&error)),
    });
    events
}

/// A configuration that ticks often, and retries at once.
pub(crate) fn eager() -> EngineConfig {
    let ms = Duration::from_millis;
    let handler = HandlerConfig::default().retry_failed_after(ms(10));
    EngineConfig::default().requeue_every(ms(50)).lease(ms(1000)).workers(2).handler(handler)
}

/// A configuration that ticks so rarely that only what the engine hears and remembers matters.
pub(crate) fn last_scan() -> EngineConfig {
    eager().requeue_every(Duration::from_secs(10))
}

pub(crate) fn start(store: impl EngineStore, config: EngineConfig) -> Engine {
    begun(Engine::builder(store).projection(ledger()).config(config))
}

/// Starts an engine, and waits until its first run is over.
pub(crate) fn begun(builder: EngineBuilder) -> Engine {
    let engine = builder.start().unwrap();
    eventually("the first run", || {
        engine.health().is_ok_and(|health| health.projections.iter().all(|projection| projection.succeeded))
    });
    engine
}

/// What can be seen of a projection from outside.
pub(crate) struct Site<'s> {
    pub(crate) engine: &'s Engine,
    pub(crate) events: &'s dyn EventStore,
    pub(crate) models: &'s dyn Models,
    pub(crate) projection: &'s Projection,
}

impl Site<'_> {
    /// Waits until the engine has brought each instance to its head, or names it as diverged. Returns the diverged
    /// ones. If the rows are wrong, the instance has to be named as diverged.
    pub(crate) fn settled(&self) -> BTreeSet<String> {
        let mut diverged = BTreeSet::new();
        eventually("everything applied or named", || {
            let report = match laws::check(self.events, self.models, self.projection) {
                Ok(report) => report,
                Err(Error::Store(error)) if error.is_transient() => return false,
                Err(error) => panic!("{}", chain(&error)),
            };
            assert_eq!(report.held(), 0, "no event is at fault: {report}");
            let faulty: BTreeSet<&str> = report.faults().iter().map(laws::Fault::instance).collect();
            let behind: BTreeSet<&str> = report.behind().iter().map(|behind| &*behind.instance).collect();
            let new = |instance: &&&str| !diverged.contains(**instance);
            let named: Vec<(String, bool)> = faulty
                .union(&behind)
                .filter(new)
                .map(|instance| ((*instance).to_owned(), self.says_that_it_diverged(instance, &report)))
                .collect();
            for (instance, named) in named {
                assert!(named || !faulty.contains(&*instance), "a wait for {instance:?} says Ok, but {report}");
                if named {
                    diverged.insert(instance);
                }
            }
            report.behind().iter().all(|behind| diverged.contains(&*behind.instance))
        });
        diverged
    }

    /// Checks that everything is applied exactly once, and that nothing has diverged.
    pub(crate) fn lawful(&self) {
        assert_eq!(self.settled(), BTreeSet::new(), "the history of these goes on");
    }

    /// Waits for the head as a client does. False if the wait says that the head is reached.
    fn says_that_it_diverged(&self, instance: &str, report: &LawReport) -> bool {
        let request = HeadsRequest { instances: vec![instance.into()], limit: 1, ..HeadsRequest::default() };
        let head = self.events.heads(&request).unwrap().first().map_or(0, |head| head.head);
        match self.engine.await_position(self.projection.name(), instance, head, LONG) {
            Ok(()) => false,
            Err(AwaitError::Store(error)) if error.is_transient() => false,
            Err(error) => {
                assert!(is_divergence(&error), "{instance:?}: {}, and {report}", chain(&error));
                true
            }
        }
    }

    /// Checks that this instance has diverged: each wait and each trigger says so at once, and so does health.
    pub(crate) fn diverged(&self, instance: &str) {
        let name = self.projection.name();
        for position in [1, 1000] {
            let error = self.engine.await_position(name, instance, position, LONG).unwrap_err();
            assert!(is_divergence(&error), "{}", chain(&error));
        }
        match self.engine.trigger(name, &[instance]) {
            Err(TriggerError::Stopped { stopped, .. }) => {
                assert!(matches!(stopped[0].cause, StopCause::HistoryDiverged { .. }), "{stopped:?}");
            }
            other => panic!("{other:?}"),
        }
        health_tells(self.engine);
    }
}

/// Waits until health names a diverged history, in any form.
pub(crate) fn health_tells(engine: &Engine) {
    eventually("a health that names the divergence", || {
        let said = format!("{:?}", engine.health()).to_lowercase();
        said.contains("diverge") || said.contains("history")
    });
}

pub(crate) fn is_divergence(error: &AwaitError) -> bool {
    matches!(error, AwaitError::Stopped { stopped, .. } if matches!(stopped.cause, StopCause::HistoryDiverged { .. }))
}

/// Checks the outcome of a wait for these events. False if it says that their instance has diverged.
pub(crate) fn told(outcome: Result<(), AwaitError>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(error) if is_divergence(&error) => false,
        Err(error) => panic!("{}", chain(&error)),
    }
}
