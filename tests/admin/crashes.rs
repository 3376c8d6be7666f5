//! Processes are killed with -9 in each phase of a rebuild, of an exchange and of a reset. A living process goes on
//! with the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use readside::admin::{Admin, AdminCommand, RebuildOptions};
use readside::error::StoreError;
use readside::store::ProjectionStore;
use readside::testing::{Answer, Call, Faults, FaultyStore};
use readside::{Engine, EngineConfig, EngineStore, PostgresStore, SqliteOptions, SqliteStore};

use crate::common::child::{Child, send, until_told};
use crate::{LONG, Place, by, count, counts, eventually, fill, handler, lawful, seen, start, tenant};

/// Kills the process at a point of its work, or some time after it.
#[derive(Debug)]
struct Death {
    point: String,
    after: Duration,
    /// How many batches of a shadow the process survives.
    batches: AtomicI64,
}

fn die() {
    send("-KILL", i64::from(std::process::id()));
    std::thread::sleep(LONG);
}

impl Faults for Death {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        let is_shadow = call.projection.as_ref().is_some_and(|key| key.mark().is_some());
        let counts = self.point == "apply" && call.name == "ProjectionTransaction::apply" && is_shadow;
        if counts && self.batches.fetch_sub(1, Ordering::SeqCst) == 0 {
            die();
        }
        self.at(call, "");
        Ok(())
    }

    fn after(&self, call: &Call, _: Answer<'_>) -> Result<(), StoreError> {
        self.at(call, ".");
        Ok(())
    }
}

impl Death {
    /// A call of the build store is about to begin (`begin`), or has ended (`begin.`).
    fn at(&self, call: &Call, ended: &str) {
        let Some(method) = call.name.strip_prefix("BuildStore::") else { return };
        if format!("{method}{ended}") != self.point {
            return;
        }
        if self.after.is_zero() {
            die();
        }
        let after = self.after;
        std::thread::spawn(move || {
            std::thread::sleep(after);
            die();
        });
    }
}

fn config() -> EngineConfig {
    let (requeue_every, lease) = (Duration::from_millis(20), Duration::from_millis(300));
    EngineConfig::default().requeue_every(requeue_every).lease(lease).workers(2)
}

fn run<S: EngineStore>(store: S) {
    let point = std::env::var("READSIDE_TEST_POINT").unwrap();
    let after: u64 = std::env::var("READSIDE_TEST_AFTER").unwrap().parse().unwrap();
    let death = Death { point, after: Duration::from_micros(after), batches: AtomicI64::new(1) };
    let store = FaultyStore::new(store, Arc::new(death));
    // With small batches, filling takes several of them.
    let handler = handler().bulk_limit(7).concurrent_instances(2);
    let engine = Engine::builder(store).projection_with(counts(1), handler).config(config()).start().unwrap();
    until_told();
    engine.shutdown(LONG).unwrap();
}

/// The process that the tests below start.
#[test]
#[ignore = "run as a process of its own by the tests that follow"]
fn process() {
    let place = std::env::var("READSIDE_TEST_PLACE").unwrap();
    #[cfg(feature = "postgres")]
    if place.starts_with("postgres") {
        return run(PostgresStore::connect(&place).unwrap());
    }
    run(SqliteStore::open_with(&place, SqliteOptions::default().busy_timeout(LONG)).unwrap());
}

/// A process takes the command and dies at this point. Another process finishes the command.
fn killed<P: Place>(place: &P, command: &AdminCommand, point: &str, after: u64) {
    let after = after.to_string();
    let env =
        [("READSIDE_TEST_PLACE", &*place.address()), ("READSIDE_TEST_POINT", point), ("READSIDE_TEST_AFTER", &after)];
    let (say, hear) = std::sync::mpsc::channel();
    let child = Child::start("crashes::process", &env, move |line| {
        let _ = say.send(line);
    });
    let remote = Admin::new(place.open());
    eventually("the process", || !remote.members().unwrap().is_empty());
    let id = remote.ask("counts", command.clone(), &by()).unwrap();
    // The output ends when the process dies.
    while hear.recv_timeout(LONG).is_ok() {}
    drop(child);
    let engine = Engine::builder(place.open()).projection_with(counts(1), handler()).config(config()).start().unwrap();
    remote.answer(id, LONG).unwrap_or_else(|error| panic!("killed at {point} after {after}: {error}"));
    let pushed = engine.push(&[count("tenant-000", "after", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    eventually("all rows", || engine.admin().verify("counts", None).unwrap().behind == 0);
    lawful(place);
    engine.shutdown(LONG).unwrap();
}

fn filled<P: Place>(place: &P) {
    let engine = start(place.open(), config());
    fill(&engine, 4, 20);
    engine.shutdown(LONG).unwrap();
}

fn spoil<P: Place>(place: &P) {
    place.sql("UPDATE counts_1 SET n = n + 1000 WHERE thing = 'x1'");
}

// Contract: L2, L6
both!(a_rebuild_outlasts_its_processes);
pub(crate) fn a_rebuild_outlasts_its_processes<P: Place>(place: &P) {
    filled(place);
    let rebuild = AdminCommand::Rebuild(RebuildOptions::default());
    for point in ["begin", "begin.", "apply", "compare", "compare.", "enter", "enter.", "go_live", "go_live."] {
        spoil(place);
        killed(place, &rebuild, point, 0);
    }
}

// Contract: L2, L6: the process dies inside the transaction of the switch, or just after it.
both!(a_switch_happens_or_not);
pub(crate) fn a_switch_happens_or_not<P: Place>(place: &P) {
    filled(place);
    let rebuild = AdminCommand::Rebuild(RebuildOptions::default().compare(false));
    for after in [100, 300, 700, 1200, 2000, 4000, 8000] {
        spoil(place);
        killed(place, &rebuild, "go_live", after);
    }
}

both!(an_exchange_happens_or_not);
pub(crate) fn an_exchange_happens_or_not<P: Place>(place: &P) {
    filled(place);
    let one = RebuildOptions::default().instance(tenant(1));
    for (point, after) in [
        ("begin.", 0),
        ("apply", 0),
        ("exchange", 0),
        ("exchange", 300),
        ("exchange", 1500),
        ("exchange.", 0),
        ("remove.", 0),
    ] {
        place.sql("UPDATE counts_1 SET n = n + 1000 WHERE thing = 'x1' AND instance_id = 'tenant-001'");
        killed(place, &AdminCommand::Rebuild(one.clone()), point, after);
    }
    assert_eq!(place.open().builds().builds().unwrap().len(), 1);
}

both!(a_reset_outlasts_its_processes);
pub(crate) fn a_reset_outlasts_its_processes<P: Place>(place: &P) {
    filled(place);
    for point in ["empty", "empty.", "revoke", "revoke."] {
        spoil(place);
        killed(place, &AdminCommand::Reset { instance: None, retry_discarded: false }, point, 0);
    }
    assert!(seen(place).contains(&"tenant-000/x1=71".to_owned()), "{:?}", seen(place));
}
