//! The projections and the pushes of these tests, and the final check.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use readside::error::{PushError, chain};
use readside::prelude::*;
use readside::query::Query;
use readside::testing::laws::{self, LawReport, Models};
use readside::{Engine, EngineConfig, EngineStore, Error, EventStore, Expected, HandlerConfig, NewEvent};
use serde::{Deserialize, Serialize};

use crate::common::random::Random;

pub(crate) use crate::common::{LONG, eventually};

pub(crate) const INSTANCES: usize = 12;

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
    let sums = Table::new("sums").column(text("thing")).column(integer("n")).column(integer("last"));
    let lines = Table::suffix("lines").column(integer("position")).column(text("thing")).primary_key(["position"]);
    Projection::new("sums", 1).table(sums.primary_key(["thing"])).table(lines).on(|e, p: Moved| {
        let (thing, position) = (e.aggregate_id().to_owned(), e.position());
        multi([
            upsert(["thing"], [set("thing", &thing), increment("n", p.by), set("last", position)]),
            in_table("lines", create([set("position", position), set("thing", thing)])),
        ])
    })
}

pub(crate) fn instance(n: usize) -> String {
    format!("tenant-{n:02}")
}

pub(crate) fn instances() -> Vec<String> {
    (0..INSTANCES).map(instance).collect()
}

pub(crate) fn moved(instance: &str, thing: &str, by: i64) -> NewEvent {
    NewEvent::new(instance, thing, &Moved { by })
}

/// A configuration that ticks often, retries at once, and has short leases.
pub(crate) fn eager() -> EngineConfig {
    let ms = Duration::from_millis;
    let handler = HandlerConfig::default().retry_failed_after(ms(10)).concurrent_instances(5);
    EngineConfig::default().requeue_every(ms(50)).lease(ms(1000)).workers(2).handler(handler)
}

pub(crate) fn start(store: impl EngineStore) -> Engine {
    Engine::builder(store).projection(ledger()).config(eager()).start().unwrap()
}

/// Events that a push has returned, none of which may be lost: the id of each by instance and position.
#[derive(Debug, Default, Clone)]
pub(crate) struct Acknowledged(Arc<Mutex<HashMap<(String, i64), String>>>);

impl Acknowledged {
    pub(crate) fn add(&self, events: &[Event]) {
        let mut known = self.0.lock();
        for event in events {
            known.insert((event.instance().to_owned(), event.position()), event.id().to_string());
        }
    }

    /// Reads what another process prints about its pushes.
    pub(crate) fn hear(&self, line: &str) {
        if let ["pushed", instance, position, id, "."] = line.split(' ').collect::<Vec<_>>()[..] {
            self.0.lock().insert((instance.to_owned(), position.parse().unwrap()), id.to_owned());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Prints the line that [`Acknowledged::hear`] reads. A process that is killed while it prints leaves out the end of
/// the line.
pub(crate) fn say(events: &[Event]) {
    for event in events {
        println!("pushed {} {} {} .", event.instance(), event.position(), event.id());
    }
}

/// One or several new events, for one or two instances.
pub(crate) fn some_commands(random: &mut Random) -> Vec<NewEvent> {
    let count = 1 + random.below(3);
    let two = [random.below(INSTANCES), random.below(INSTANCES)];
    let one = |n: usize, random: &mut Random| {
        moved(&instance(two[n % 2]), &format!("thing-{}", random.below(3)), 1 + i64::try_from(random.below(9)).unwrap())
    };
    (0..count).map(|n| one(n, random)).collect()
}

/// Pushes once. One push in six fails on purpose after it locked its counter. Errors from the fault under test are
/// ignored here.
pub(crate) fn push(store: &dyn EventStore, random: &mut Random) -> Vec<Event> {
    let mut commands = some_commands(random);
    let fails = random.one_in(6);
    if fails {
        commands.push(moved(&instance(0), "never", 1).expect(Expected::Version(7)));
    }
    match store.push(&commands) {
        Ok(events) => events,
        Err(PushError::Busy { .. }) => Vec::new(),
        Err(PushError::Conflict { .. }) if fails => Vec::new(),
        Err(PushError::Store(error)) if error.is_transient() => Vec::new(),
        Err(error) => panic!("{}", chain(&error)),
    }
}

/// Pushes from several threads until the fault has ended.
pub(crate) fn under_load(store: &dyn EventStore, pushers: u64, acknowledged: &Acknowledged, fault: impl FnOnce()) {
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for pusher in 0..pushers {
            let running = &running;
            scope.spawn(move || {
                let mut random = Random::new(crate::common::random::seed() * 1000 + pusher);
                while running.load(Ordering::SeqCst) {
                    acknowledged.add(&push(store, &mut random));
                    std::thread::sleep(random.millis(0, 4));
                }
            });
        }
        // The pushers must end, also if the fault panics.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fault));
        running.store(false, Ordering::SeqCst);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Waits until everything is projected, and checks all laws: nothing is lost, doubled or stuck.
pub(crate) fn lawful<S: EventStore + Models>(store: &S, acknowledged: &Acknowledged) -> LawReport {
    let projection = ledger();
    let deadline = Instant::now() + LONG;
    let report = loop {
        let said = match laws::check(store, store, &projection) {
            Ok(report) if report.behind().is_empty() || !report.is_lawful() => break report,
            Ok(report) => format!("stuck: {report}\n{:?}", report.behind()),
            // The store may find only now that the fault has ended a connection.
            Err(Error::Store(error)) if error.is_transient() => chain(&error),
            Err(error) => panic!("{}", chain(&error)),
        };
        assert!(Instant::now() < deadline, "{said}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(report.is_lawful(), "{report}");
    assert_eq!(report.held(), 0, "no event is at fault: {report}");
    all_there(store, acknowledged);
    report
}

/// Checks that every event that a push returned is in the log, at the position that the push returned.
fn all_there(events: &dyn EventStore, acknowledged: &Acknowledged) {
    let log = events.filter(&Query::new()).unwrap();
    let log: HashMap<(String, i64), String> = log
        .into_iter()
        .map(|event| ((event.instance().to_owned(), event.position()), event.id().to_string()))
        .collect();
    for (place, id) in &*acknowledged.0.lock() {
        assert_eq!(log.get(place), Some(id), "an event that was pushed is not at {place:?}");
    }
}
