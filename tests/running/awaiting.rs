//! Clients wait until they can read their own writes: Contract: C6, D1, D2.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use readside::error::AwaitError;
use readside::store::ProjectionStore;
use readside::testing::{Answer, Call, Faults, FaultyStore};
use readside::{Engine, EventStore, HandlerConfig, NewEvent, Policy, error};

use crate::{LONG, Place, count, counts, eventually, lazy, start, sum};

// Contract: C6, D2
both!(pushes_become_visible);
pub(crate) fn pushes_become_visible<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), &["counts", "others"], lazy());
    for n in 1..=20 {
        let pushed = engine.push(&[count("a", 1), count("b", 2), count("a", 1)]).unwrap();
        for name in ["counts", "others"] {
            engine.await_pushed(name, &pushed, LONG).unwrap();
            assert_eq!((sum::<P>(&store, name, Some("a")), sum::<P>(&store, name, Some("b"))), (2 * n, 2 * n));
        }
    }
    engine.shutdown(LONG).unwrap();
}

// Contract: C6
both!(waiting_ends_with_the_reason);
pub(crate) fn waiting_ends_with_the_reason<P: Place>(place: &P) {
    let store = place.open();
    let stops = HandlerConfig::default().max_failure_count(1).retries(0).policy(Policy::Stop);
    let skips = stops.clone().policy(Policy::Skip);
    let fails = stops.clone().max_failure_count(9).max_lasting_failure_count(9);
    let engine = Engine::builder(store)
        .projection_with(counts("stops"), stops)
        .projection_with(counts("skips"), skips)
        .projection_with(counts("fails"), fails)
        .config(lazy())
        .start()
        .unwrap();
    let pushed = engine.push(&[count("a", 1), count("a", 13), count("a", 2)]).unwrap();
    match engine.await_pushed("stops", &pushed, LONG) {
        Err(AwaitError::Stopped { stopped, .. }) => assert_eq!(stopped.position, 2),
        other => panic!("{other:?}"),
    }
    match engine.await_pushed("skips", &pushed, LONG) {
        Err(AwaitError::EventFailed { position: 2, .. }) => {}
        other => panic!("{other:?}"),
    }
    engine.await_position("skips", "a", 3, LONG).unwrap();
    match engine.await_position("fails", "a", 3, Duration::from_millis(300)) {
        Err(error @ AwaitError::TimedOut { checkpoint: 1, waited, .. }) => {
            assert!(waited >= Duration::from_millis(300), "it was given up early: {error}");
            assert!(error.to_string().contains("bad luck"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    match engine.await_position("nobody", "a", 1, LONG) {
        Err(AwaitError::UnknownProjection { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(engine.trigger("nobody", &["a"]), Err(error::TriggerError::UnknownProjection { .. })));
    match engine.await_position("skips", "no such instance", 1, Duration::from_millis(10)) {
        Err(AwaitError::TimedOut { checkpoint: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
    let health = engine.health().unwrap();
    let found: Vec<_> = health.projections.iter().map(|p| (p.failing, p.stopped, p.skipped)).collect();
    assert_eq!(found, [(0, 1, 0), (0, 0, 1), (1, 0, 0)]);
    assert_eq!(health.projections[2].lag_events, 2);
}

// Contract: C6, D2, G4: a wait for such events succeeds, and no checkpoint is written.
both!(events_nobody_wants_move_nothing);
pub(crate) fn events_nobody_wants_move_nothing<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), &["counts"], lazy());
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let pushed = engine.push(&[NewEvent::raw("a", "other", "o", "other.added")]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let states = store.states(&counts("counts").key(), &["a".into()]).unwrap();
    assert_eq!(states[0].position, 1);
    // The next event is applied, although nobody wanted the event before it.
    let pushed = engine.push(&[count("a", 5)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(sum::<P>(&store, "counts", None), 6);
}

/// While it is armed, a look at pauses returns its answer only when the gate opens.
struct LateAnswer {
    armed: AtomicBool,
    read: crossbeam_channel::Sender<()>,
    gate: crossbeam_channel::Receiver<()>,
}

impl Faults for LateAnswer {
    fn after(&self, call: &Call, _: Answer<'_>) -> Result<(), error::StoreError> {
        if call.name == "LeaseStore::pauses" && self.armed.swap(false, Ordering::SeqCst) {
            self.read.send(()).unwrap();
            self.gate.recv_timeout(LONG).unwrap();
        }
        Ok(())
    }
}

// Contract: O5: a look that began before a pause and ends after it does not undo the pause.
both!(an_older_look_does_not_undo_a_pause);
pub(crate) fn an_older_look_does_not_undo_a_pause<P: Place>(place: &P) {
    let ((read, reads), (open, gate)) = (crossbeam_channel::bounded(1), crossbeam_channel::bounded(1));
    let late = Arc::new(LateAnswer { armed: AtomicBool::new(false), read, gate });
    // One worker applies events in the order of pushes.
    let one_worker = crate::eager().workers(1);
    let engine = start(FaultyStore::new(place.open(), late.clone()), &["counts"], one_worker);
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    late.armed.store(true, Ordering::SeqCst);
    // Another process changes a pause, so that a tick looks at the pauses.
    crate::pause(&place.open(), "counts", Some("b"), true);
    reads.recv_timeout(LONG).unwrap();
    engine.admin().pause("counts", Some("a"), &crate::by()).unwrap();
    late.armed.store(true, Ordering::SeqCst);
    open.send(()).unwrap();
    // The pause causes a second look. When it has begun, the first one is over.
    reads.recv_timeout(LONG).unwrap();
    let pushed = engine.push(&[count("a", 1), count("c", 1)]).unwrap();
    engine.await_position("counts", "c", 1, LONG).unwrap();
    let states = place.open().states(&counts("counts").key(), &["a".into()]).unwrap();
    open.send(()).unwrap();
    assert_eq!(states[0].position, 1, "a is paused");
    engine.admin().resume("counts", Some("a"), &crate::by()).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
}

/// While it is armed, a read of events waits for the gate.
struct LateRead {
    armed: AtomicBool,
    begins: crossbeam_channel::Sender<()>,
    gate: crossbeam_channel::Receiver<()>,
}

impl Faults for LateRead {
    fn before(&self, call: &mut Call) -> Result<(), error::StoreError> {
        if call.name == "EventSource::read" && self.armed.swap(false, Ordering::SeqCst) {
            self.begins.send(()).unwrap();
            self.gate.recv_timeout(LONG).unwrap();
        }
        Ok(())
    }
}

// Contract: O5: a job that began before a pause applies nothing that is stored after the pause.
both!(a_job_under_way_minds_a_pause);
pub(crate) fn a_job_under_way_minds_a_pause<P: Place>(place: &P) {
    let ((begins, begun), (open, gate)) = (crossbeam_channel::bounded(1), crossbeam_channel::bounded(1));
    let late = Arc::new(LateRead { armed: AtomicBool::new(false), begins, gate });
    // One worker applies events in the order of pushes.
    let one_worker = crate::eager().workers(1);
    let engine = start(FaultyStore::new(place.open(), late.clone()), &["counts"], one_worker);
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    late.armed.store(true, Ordering::SeqCst);
    place.open().push(&[count("a", 1)]).unwrap();
    begun.recv_timeout(LONG).unwrap();
    engine.admin().pause("counts", Some("a"), &crate::by()).unwrap();
    let pushed = place.open().push(&[count("a", 1)]).unwrap();
    open.send(()).unwrap();
    engine.await_pushed("counts", &engine.push(&[count("c", 1)]).unwrap(), LONG).unwrap();
    let states = place.open().states(&counts("counts").key(), &["a".into()]).unwrap();
    assert_eq!(states.iter().map(|state| state.position).sum::<i64>(), 0, "a is paused");
    engine.admin().resume("counts", Some("a"), &crate::by()).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
}

// Contract: O5
both!(a_paused_instance_waits);
pub(crate) fn a_paused_instance_waits<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), &["counts", "others"], crate::eager());
    engine.await_pushed("counts", &engine.push(&[count("a", 1)]).unwrap(), LONG).unwrap();
    engine.admin().pause("counts", Some("a"), &crate::by()).unwrap();
    let pushed = engine.push(&[count("a", 1), count("b", 1)]).unwrap();
    engine.await_position("counts", "b", 1, LONG).unwrap();
    engine.await_pushed("others", &pushed, LONG).unwrap();
    assert!(engine.await_position("counts", "a", 2, Duration::from_millis(150)).is_err());
    engine.admin().resume("counts", Some("a"), &crate::by()).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.admin().pause("counts", None, &crate::by()).unwrap();
    let pushed = engine.push(&[count("b", 1)]).unwrap();
    assert!(engine.await_pushed("counts", &pushed, Duration::from_millis(150)).is_err());
    engine.admin().resume("counts", None, &crate::by()).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    assert!(engine.admin().pause("nobody", None, &crate::by()).is_err());
}

// Contract: C6, J3: a wait ends at its deadline or with the engine, also while its checkpoint keeps moving.
both!(a_wait_ends_while_its_checkpoint_moves);
pub(crate) fn a_wait_ends_while_its_checkpoint_moves<P: Place>(place: &P) {
    const FAR: i64 = 5_000;
    let store = place.open();
    let engine = start(store.clone(), &["counts"], lazy());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..FAR {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                store.push(&[count("a", 1)]).unwrap();
            }
        });
        engine.await_position("counts", "a", 1, LONG).unwrap();
        match engine.await_position("counts", "a", FAR, Duration::from_millis(100)) {
            Err(AwaitError::TimedOut { checkpoint, .. }) => {
                engine.await_position("counts", "a", checkpoint + 1, LONG).unwrap();
            }
            other => panic!("{other:?}"),
        }
        let waits = scope.spawn(|| engine.await_position("counts", "a", FAR, LONG));
        engine.shutdown(LONG).unwrap();
        let ended = waits.join().unwrap();
        over.store(true, Ordering::Relaxed);
        assert!(matches!(ended, Err(AwaitError::ShutDown)), "{ended:?}");
    });
}
