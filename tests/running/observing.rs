//! Hearing of what an engine does: Contract: S7.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use readside::admin::{Admin, AdminCommand, CommandState, RebuildOptions};
use readside::error::ShutdownError;
use readside::failure::{FailureClass, FailureStatus};
use readside::observe::{AppliedBatch, CommandStep, FailedAttempt, Observation, StandsStill};
use readside::store::StandstillKind;
use readside::{Engine, EngineConfig, EngineStore, HandlerConfig, NewEvent};

use crate::{Counted, LONG, Place, by, count, counts, eager, lazy, sum};

const TRACES: [&str; 3] = [
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-6bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
];

/// An engine that runs the projection `counts`, with this observer.
fn observed(
    store: impl EngineStore,
    config: EngineConfig,
    observer: impl FnMut(&Observation) + Send + 'static,
) -> Engine {
    Engine::builder(store).config(config).projection(counts("counts")).observer(observer).start().unwrap()
}

/// The same, and what its observer hears.
fn heard(store: impl EngineStore, config: EngineConfig) -> (Engine, Receiver<Observation>) {
    let (send, heard) = channel();
    (observed(store, config, move |seen| drop(send.send(seen.clone()))), heard)
}

/// Waits for the first observation of which this is something, in the order in which they come.
fn first<T>(heard: &Receiver<Observation>, is_it: impl Fn(&Observation) -> Option<T>) -> T {
    loop {
        let seen = heard.recv_timeout(LONG).expect("an observation");
        if let Some(found) = is_it(&seen) {
            return found;
        }
    }
}

fn applied(seen: &Observation) -> Option<AppliedBatch> {
    if let Observation::Applied(batch) = seen { Some(batch.clone()) } else { None }
}

fn failed(seen: &Observation) -> Option<FailedAttempt> {
    if let Observation::Failed(failed) = seen { Some(failed.clone()) } else { None }
}

fn command(seen: &Observation) -> Option<CommandStep> {
    if let Observation::Command(step) = seen { Some(step.clone()) } else { None }
}

fn traced(instance: &str, by: i64, trace: &str) -> NewEvent {
    count(instance, by).metadata("traceparent", trace)
}

// Contract: S7: a batch is told once, with the traces that were asked for.
both!(a_batch_is_told_with_traces_of_its_events);
fn a_batch_is_told_with_traces_of_its_events<P: Place>(place: &P) {
    let store = place.open();
    let (engine, heard) = heard(store.clone(), lazy().observed_traces(2));
    let traces = ["hunter2", TRACES[0], TRACES[0], TRACES[1], TRACES[2]];
    let pushed = engine.push(&traces.map(|trace| traced("a", 1, trace))).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let batch = first(&heard, applied);
    assert_eq!((&*batch.projection, batch.version, batch.is_hidden), ("counts", 1, false));
    assert_eq!((batch.instances, batch.events), (1, 5));
    assert!(batch.writing > Duration::ZERO && batch.visible_after.is_some(), "{batch:?}");
    assert_eq!(batch.traces, TRACES[..2]);
    engine.shutdown(LONG).unwrap();
    assert_eq!(heard.iter().find_map(|seen| applied(&seen)), None, "one batch, and none without events");

    // Nobody has asked for traces.
    let (engine, heard) = self::heard(store, lazy());
    let pushed = engine.push(&[traced("a", 1, TRACES[0])]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    let batches: Vec<AppliedBatch> = heard.iter().filter_map(|seen| applied(&seen)).collect();
    assert_eq!(batches.iter().map(|batch| (batch.events, batch.traces.len())).collect::<Vec<_>>(), [(1, 0)]);
}

// Contract: S7: each attempt is told, with what the log line says.
both!(a_failure_is_told_with_its_trace);
fn a_failure_is_told_with_its_trace<P: Place>(place: &P) {
    let handler = HandlerConfig::default().max_lasting_failure_count(2).backoff_base(Duration::from_millis(10));
    let (engine, heard) = heard(place.open(), eager().handler(handler));
    let event = engine.push(&[traced("a", 13, TRACES[0])]).unwrap().remove(0);
    for (attempts, state) in [(1, FailureStatus::Failing), (2, FailureStatus::Parked)] {
        let failed = first(&heard, failed);
        assert_eq!((&*failed.projection, failed.version, failed.is_hidden), ("counts", 1, false));
        assert_eq!((&*failed.instance, failed.position, failed.event_id), ("a", 1, Some(event.id())));
        assert_eq!((&*failed.aggregate_type, &*failed.aggregate_id), ("thing", "x"));
        assert_eq!((&*failed.event_type, failed.class), ("thing.counted", FailureClass::Reducer));
        assert_eq!((failed.attempts, failed.state), (attempts, state));
        assert_eq!(failed.retry_in > Duration::ZERO, state == FailureStatus::Failing);
        assert!(failed.error.contains("bad luck"), "{failed:?}");
        assert_eq!(failed.trace.as_deref(), Some(TRACES[0]));
    }
    engine.shutdown(LONG).unwrap();
}

// Contract: S7: a rebuild is told from its beginning to its end.
both!(a_rebuild_is_told);
fn a_rebuild_is_told<P: Place>(place: &P) {
    let (engine, heard) = heard(place.open(), eager());
    let pushed = engine.push(&[count("a", 1), count("a", 2)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.admin().rebuild("counts", RebuildOptions::default(), &by(), |_| {}).unwrap();
    engine.shutdown(LONG).unwrap();
    let all: Vec<Observation> = heard.iter().collect();
    let steps: Vec<CommandStep> = all.iter().filter_map(command).collect();
    let found: Vec<_> = steps.iter().map(|step| (&*step.projection, step.kind, &*step.who, step.state)).collect();
    let step = |state| ("counts", "rebuild", "ada", state);
    assert_eq!(found, [step(CommandState::Taken), step(CommandState::Done)]);
    assert_eq!(steps[0].id, steps[1].id);
    let at = |is_it: &dyn Fn(&Observation) -> bool| all.iter().position(is_it).unwrap_or_else(|| panic!("{all:?}"));
    let hidden = at(&|seen| applied(seen).is_some_and(|batch| batch.is_hidden && batch.visible_after.is_none()));
    let switched = at(&|seen| *seen == Observation::Switched { projection: "counts".into(), version: 1 });
    let is_done = |seen: &Observation| command(seen).is_some_and(|step| step.state == CommandState::Done);
    assert!(at(&|seen| command(seen).is_some()) < hidden && hidden < switched && switched < at(&is_done), "{all:?}");
    at(&|seen| *seen == Observation::FirstSuccess { projection: "counts".into(), version: 1 });
}

// Contract: S7: a retry that a person asks for is told from its beginning to its end. What the event did is told to that
// person alone, in the answer.
both!(a_retry_on_record_is_told);
fn a_retry_on_record_is_told<P: Place>(place: &P) {
    let handler = HandlerConfig::default().max_failure_count(1).max_lasting_failure_count(1);
    let (engine, heard) = heard(place.open(), eager().handler(handler));
    engine.push(&[count("a", 13)]).unwrap();
    assert_eq!(first(&heard, failed).state, FailureStatus::Parked);
    let asked = AdminCommand::Retry { instance: "a".to_owned(), position: 1 };
    let id = Admin::new(place.open()).ask("counts", asked, &by()).unwrap();
    // It fails as before.
    let steps = [CommandState::Taken, CommandState::Failed].map(|state| {
        let step = first(&heard, command);
        assert_eq!((step.id, &*step.projection, step.kind, &*step.who), (id, "counts", "retry", "ada"));
        assert_eq!(step.state, state, "{step:?}");
        step
    });
    engine.shutdown(LONG).unwrap();
    assert_eq!(heard.iter().filter_map(|seen| failed(&seen)).collect::<Vec<_>>(), [], "{steps:?}");
}

// Contract: S7, L11: what stands still is told, and that it goes on.
both!(what_stands_still_is_told_until_it_goes_on);
fn what_stands_still_is_told_until_it_goes_on<P: Place>(place: &P) {
    let engine = observed(place.open(), eager(), |_| {});
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    let states = place.own("projection_states");
    let set = |position: i64| place.sql(&format!("UPDATE {states} SET position = {position} WHERE instance_id = 'a'"));
    set(99);
    let (engine, heard) = heard(place.open(), eager());
    let stands = |seen: &Observation| match seen {
        Observation::StandsStill(one) if one.instance.is_some() => Some(one.clone()),
        _ => None,
    };
    let StandsStill { projection, version, is_rebuild, instance, kind, reason, .. } = first(&heard, stands);
    assert_eq!((&*projection, version, is_rebuild, instance.as_deref()), ("counts", 1, false, Some("a")));
    assert_eq!((kind, reason.is_empty()), (StandstillKind::Diverged, false));
    set(1);
    let goes_on = |seen: &Observation| if let Observation::GoesOn(one) = seen { Some(one.clone()) } else { None };
    let one = first(&heard, goes_on);
    assert_eq!((&*one.projection, one.instance.as_deref(), one.kind), ("counts", Some("a"), StandstillKind::Diverged));
    engine.shutdown(LONG).unwrap();
}

// Contract: S7
both!(a_hand_over_is_told);
fn a_hand_over_is_told<P: Place>(place: &P) {
    let (engine, heard) = heard(place.open(), eager());
    let other = observed(place.open(), eager(), |_| {});
    for processes in [2, 1] {
        first(&heard, |seen| (*seen == Observation::HandOver { processes }).then_some(()));
        other.shutdown(LONG).unwrap();
    }
    engine.shutdown(LONG).unwrap();
}

// Contract: S7, L4, L9: who does not come back holds up no work; what it misses is counted.
both!(a_slow_observer_holds_up_nothing);
fn a_slow_observer_holds_up_nothing<P: Place>(place: &P) {
    let store = place.open();
    let ((free, wait), (send, heard)) = (channel::<()>(), channel());
    let engine = observed(store.clone(), lazy(), move |seen| {
        // It ends when the other end is dropped.
        let _ = wait.recv();
        drop(send.send(seen.clone()));
    });
    let bad: Vec<NewEvent> = (0..1100).map(|n| NewEvent::new("a", &format!("t{n}"), &Counted { by: 13 })).collect();
    engine.push(&bad).unwrap();
    let pushed = engine.push(&[count("a", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!(sum::<P>(&store, "counts", Some("a")), 1);
    let dropped = engine.health().unwrap().observer_dropped;
    assert!((70..=1100).contains(&dropped), "1,100 failures, of which one is being told and 1,024 wait: {dropped}");
    #[cfg(feature = "serve")]
    {
        let metrics = engine.metrics().unwrap().metrics;
        let metric = metrics.iter().find(|metric| metric.name == "readside_observer_dropped_total").unwrap();
        let is_some = |sample: &readside::serve::Sample| match sample {
            readside::serve::Sample::Number { value, .. } => *value >= 70.0,
            _ => false,
        };
        assert!(metric.samples.iter().any(is_some), "{metric:?}");
    }
    drop(free);
    engine.shutdown(LONG).unwrap();
    assert!(heard.iter().count() >= 1024, "what waits is told at the end");
}

// Contract: S7, L4, L8: a panic costs the observer that call.
both!(an_observer_that_panics_costs_nobody_anything);
fn an_observer_that_panics_costs_nobody_anything<P: Place>(place: &P) {
    let store = place.open();
    let (send, heard) = channel();
    let engine = observed(store.clone(), lazy(), move |seen| {
        send.send(seen.clone()).unwrap();
        assert!(applied(seen).is_none(), "the observer's own fault");
    });
    for _ in 0..2 {
        let pushed = engine.push(&[count("a", 1)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
        first(&heard, applied);
    }
    assert_eq!(sum::<P>(&store, "counts", Some("a")), 2);
    crate::eventually("the count", || engine.health().unwrap().observer_panics == 2);
    assert_eq!(engine.health().unwrap().worker_panics, 0);
    engine.shutdown(LONG).unwrap();
}

// Contract: S7, J1: one that does not come back is named, and can be waited for later.
both!(an_observer_that_hangs_is_named);
fn an_observer_that_hangs_is_named<P: Place>(place: &P) {
    let (free, wait) = channel::<()>();
    let (send, heard) = channel();
    let engine = observed(place.open(), lazy(), move |_| {
        let _ = send.send(());
        let _ = wait.recv();
    });
    engine.push(&[count("a", 1)]).unwrap();
    heard.recv_timeout(LONG).unwrap();
    let ShutdownError { threads, .. } = engine.shutdown(Duration::from_millis(500)).unwrap_err();
    assert!(threads.contains(&"readside-observer".to_owned()), "{threads:?}");
    drop(free);
    engine.shutdown(LONG).unwrap();
}

// Contract: S7, J1: it cannot wait for itself.
both!(an_observer_cannot_wait_for_its_own_end);
fn an_observer_cannot_wait_for_its_own_end<P: Place>(place: &P) {
    let (send, heard) = channel();
    let own: Arc<Mutex<Weak<Engine>>> = Arc::default();
    let inside = Arc::clone(&own);
    let engine = observed(place.open(), lazy(), move |seen| {
        let engine = inside.lock().unwrap().upgrade();
        if let (Some(_), Some(engine)) = (applied(seen), engine) {
            let _ = send.send(engine.shutdown(Duration::MAX));
        }
    });
    let engine = Arc::new(engine);
    *own.lock().unwrap() = Arc::downgrade(&engine);
    engine.push(&[count("a", 1)]).unwrap();
    let ShutdownError { threads, .. } = heard.recv_timeout(LONG).unwrap().unwrap_err();
    assert_eq!(threads, ["readside-observer"]);
    engine.shutdown(LONG).unwrap();
}
