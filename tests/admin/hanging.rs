//! Reducers that hang or fail inside a build of a command, while the live build goes on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use readside::admin::{RebuildOptions, Switch};
use readside::error::*;
use readside::inspect::Inspect;
use readside::prelude::*;
use readside::store::{Standstill, StandstillKind};
use readside::testing::{Call, Faults, FaultyStore};
use readside::{Engine, EventStore, HandlerConfig, Policy};

use crate::{Counted, LONG, Place, by, count, eager, eventually, fill, handler, seen, tenant};

fn options() -> RebuildOptions {
    RebuildOptions::default().switch(Switch::CaughtUp)
}

/// Counts by thing. When a 7 is reduced for the second time, which is the build's, it calls `then`.
fn twice(then: impl Fn() -> Result<(), ReduceError> + Send + Sync + 'static) -> Projection {
    let calls = AtomicUsize::new(0);
    Projection::new("counts", 1)
        .table(Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(move |e, p: Counted| {
            if p.by == 7 && calls.fetch_add(1, Ordering::SeqCst) == 1 {
                then()?;
            }
            upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)])
        })
}

/// The second time, it hangs until the sender is dropped. The receiver hears when it hangs.
fn hanging() -> (Projection, std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>) {
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let (hang, hangs) = std::sync::mpsc::channel::<()>();
    let (opened, hang) = (Mutex::new(opened), Mutex::new(hang));
    let projection = twice(move || {
        let _ = hang.lock().unwrap().send(());
        let _ = opened.lock().unwrap().recv_timeout(LONG);
        Ok(())
    });
    (projection, open, hangs)
}

type Late = Box<dyn Fn() + Send + Sync>;

/// Does something before the first exchange of an instance, or before the first switch.
#[derive(Default)]
struct Before {
    late: OnceLock<Late>,
    is_done: AtomicBool,
}

impl Faults for Before {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        if matches!(call.name, "BuildStore::exchange" | "BuildStore::go_live")
            && let Some(late) = self.late.get()
            && !self.is_done.swap(true, Ordering::SeqCst)
        {
            late();
        }
        Ok(())
    }
}

// Contract: L4: the exchange brings the instance up to date in its own transaction. That transaction ends when a
// reducer hangs.
both!(a_reducer_that_hangs_in_an_exchange_keeps_no_other_writer);
pub(crate) fn a_reducer_that_hangs_in_an_exchange_keeps_no_other_writer<P: Place>(place: &P) {
    let (projection, open, hangs) = hanging();
    let before = Arc::new(Before::default());
    let store = FaultyStore::new(place.open(), before.clone());
    let builder = Engine::builder(store).projection_with(projection, handler()).config(eager());
    let engine = Arc::new(builder.start().unwrap());
    fill(&engine, 2, 3);
    let late = Arc::downgrade(&engine);
    let push = move || {
        let engine = late.upgrade().unwrap();
        let pushed = engine.push(&[count(&tenant(1), "late", 7)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
    };
    assert!(before.late.set(Box::new(push)).is_ok());
    let one = options().instance(tenant(1));
    let report = std::thread::scope(|scope| {
        let rebuilding = scope.spawn(|| engine.admin().rebuild("counts", one, &by(), |_| {}));
        hangs.recv_timeout(LONG).unwrap();
        // The push waits for the writer as long as it may. The reducer hangs for longer.
        let pushed = place.impatient().push(&[count(&tenant(0), "x1", 1)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
        drop(open);
        rebuilding.join().unwrap()
    });
    assert!(report.unwrap().switched);
    assert!(seen(place).contains(&format!("{}/late=7", tenant(1))), "{:?}", seen(place));
    assert!(engine.admin().verify("counts", None).unwrap().is_clean());
    engine.shutdown(LONG).unwrap();
}

// Contract: L11: while a reducer holds up a command, people see the command and its event.
both!(a_reducer_that_hangs_in_a_command_is_told);
pub(crate) fn a_reducer_that_hangs_in_a_command_is_told<P: Place>(place: &P) {
    let (projection, open, hangs) = hanging();
    let config = eager().longest_reducer(std::time::Duration::from_millis(20));
    let builder = Engine::builder(place.open()).projection_with(projection, handler()).config(config);
    let engine = builder.start().unwrap();
    fill(&engine, 1, 3);
    let pushed = engine.push(&[count(&tenant(0), "late", 7)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let told = |standstills: &[Standstill]| {
        let is_it = |one: &&Standstill| one.kind == StandstillKind::Hangs && one.reason.contains("a command waits");
        standstills.iter().find(is_it).cloned()
    };
    let health = || told(&engine.health().unwrap().projections[0].standstills);
    let status = || told(&place.open().status(false).unwrap().projections.remove(0).standstills);
    let one = options().instance(tenant(0));
    let report = std::thread::scope(|scope| {
        let rebuilding = scope.spawn(|| engine.admin().rebuild("counts", one, &by(), |_| {}));
        hangs.recv_timeout(LONG).unwrap();
        eventually("the standstill", || health().is_some());
        eventually("the note", || status().is_some_and(|one| one.since.is_some()));
        let reason = status().unwrap().reason;
        assert!(reason.contains("event 4 (\"thing.counted\" of \"thing\") of instance \"tenant-000\""), "{reason}");
        // The live build goes on while the command still hangs.
        let pushed = engine.push(&[count(&tenant(0), "x1", 1)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
        assert!(health().is_some() && status().is_some());
        drop(open);
        rebuilding.join().unwrap()
    });
    assert!(report.unwrap().switched);
    eventually("the end", || health().is_none() && status().is_none());
    engine.shutdown(LONG).unwrap();
}

fn stopping() -> HandlerConfig {
    handler().policy(Policy::Stop)
}

// Contract: O1, L11: nobody can repair an event inside a build, so the command ends and names the event. The live
// build goes on.
both!(an_event_that_is_stopped_in_a_build_alone_ends_the_rebuild);
pub(crate) fn an_event_that_is_stopped_in_a_build_alone_ends_the_rebuild<P: Place>(place: &P) {
    let is_bad = Arc::new(AtomicBool::new(false));
    let bad = Arc::clone(&is_bad);
    let projection = Projection::new("counts", 1)
        .table(Table::new("counts").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(move |e, p: Counted| match p.by {
            7 if bad.load(Ordering::SeqCst) => Err(ReduceError::new("bad luck in the build")),
            by => upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", by)]),
        });
    let builder = Engine::builder(place.open()).projection_with(projection, stopping()).config(eager());
    let engine = builder.start().unwrap();
    fill(&engine, 1, 3);
    engine.await_pushed("counts", &engine.push(&[count(&tenant(0), "late", 7)]).unwrap(), LONG).unwrap();
    let before = seen(place);
    for instance in [Some(tenant(0)), None] {
        is_bad.store(true, Ordering::SeqCst);
        let mut asked = options();
        asked.instance = instance;
        let error = engine.admin().rebuild("counts", asked.clone(), &by(), |_| {}).unwrap_err();
        let told = chain(&error);
        for word in ["bad luck in the build", "tenant-000", "at position 4"] {
            assert!(told.contains(word), "{asked:?}: {told}");
        }
        engine.await_pushed("counts", &engine.push(&[count(&tenant(0), "x1", 0)]).unwrap(), LONG).unwrap();
        assert_eq!(seen(place), before, "readers stay, and go on");
        is_bad.store(false, Ordering::SeqCst);
        if asked.instance.is_none() {
            let _ = engine.admin().retry("counts", &tenant(0), 4, &by()).unwrap();
        }
        assert!(engine.admin().rebuild("counts", asked, &by(), |_| {}).unwrap().switched, "the next one reduces it");
        assert_eq!(seen(place), before);
    }
    engine.shutdown(LONG).unwrap();
}
