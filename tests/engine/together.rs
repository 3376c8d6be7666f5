//! Callers at the same time: Contract: C1 (single flight), L2, C5 (a stop interrupts).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use readside::error::StoreError;
use readside::health::StopCause;
use readside::testing::{Answer, Call, Faults, FaultyStore};
use readside::{Projection, ProjectionHandler};

use crate::{config, count, counts, handler, patient, push, rows, stopped, store};

/// Waits at the end of its first read until the test lets it go, and counts reads.
#[derive(Debug)]
struct Gate {
    reads: AtomicUsize,
    heads: AtomicUsize,
    open: crossbeam_channel::Receiver<()>,
    entered: crossbeam_channel::Sender<()>,
}

impl Faults for Gate {
    fn after(&self, _: &Call, answer: Answer<'_>) -> Result<(), StoreError> {
        match answer {
            Answer::Heads(_) => drop(self.heads.fetch_add(1, Ordering::SeqCst)),
            Answer::Batches(_) if self.reads.fetch_add(1, Ordering::SeqCst) == 0 => {
                self.entered.send(()).unwrap();
                self.open.recv_timeout(Duration::from_secs(30)).unwrap();
            }
            _ => {}
        }
        Ok(())
    }
}

// Contract: C1: the second caller raises the target of the running pass to the head that it finds, and waits for
// that.
#[test]
fn a_second_caller_waits_for_the_first_and_sees_its_own_event() {
    let (store, _) = store();
    let (open, wait) = crossbeam_channel::bounded(1);
    let (entered, first_reads) = crossbeam_channel::bounded(1);
    let gate = Arc::new(Gate { reads: AtomicUsize::new(0), heads: AtomicUsize::new(0), open: wait, entered });
    let source = Arc::new(FaultyStore::new(store.clone(), gate.clone()));
    let handler = ProjectionHandler::new(source, Arc::new(store.clone()), counts(), config()).unwrap();
    push(&store, &[count("a", "x", 1)]);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| handler.trigger(&["a"]));
        first_reads.recv_timeout(Duration::from_secs(30)).unwrap();
        // The first caller has read what was there. This event comes later.
        push(&store, &[count("a", "x", 2)]);
        let second = scope.spawn(|| handler.trigger(&["a"]).map(|()| rows(&store)));
        crate::common::eventually("the second caller's look", || gate.heads.load(Ordering::SeqCst) > 0);
        open.send(()).unwrap();
        assert_eq!(second.join().unwrap().unwrap(), ["a/x=3"], "it returned after its event was applied");
        first.join().unwrap().unwrap();
    });
    assert!(gate.reads.load(Ordering::SeqCst) <= 3, "one caller did the work");
}

// Contract: L2: many callers of many handlers run while events come in.
#[test]
fn many_callers_apply_each_event_once() {
    let (store, _) = store();
    let handlers: Vec<ProjectionHandler> = (0..3).map(|_| handler(&store, config().bulk_limit(3).retries(9))).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let (handler, done) = (&handlers[n % 3], &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    handler.trigger(if n % 2 == 0 { &["a", "b"] } else { &["b", "c", "a"] }).unwrap();
                }
            });
        }
        for n in 0..60 {
            push(&store, &[count(["a", "b", "c"][n % 3], "x", 1), count("a", "y", 1)]);
        }
        done.store(true, Ordering::SeqCst);
    });
    handlers[0].trigger(&["a", "b", "c"]).unwrap();
    assert_eq!(rows(&store), ["a/x=20", "a/y=60", "b/x=20", "c/x=20"]);
}

// Contract: C5, J3: a cancellation ends a long back-off. If the back-off ended normally, the error would have another
// cause.
#[test]
fn cancel_interrupts_the_wait_between_attempts() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1), count("a", "x", 13)]);
    let (reduced, second) = crossbeam_channel::bounded(1);
    let projection: Projection = counts().on_raw("thing", "thing.signal", move |_| {
        let _ = reduced.try_send(());
        Err(readside::error::ReduceError::new("no"))
    });
    push(&store, &[readside::NewEvent::raw("b", "thing", "s", "thing.signal")]);
    let waits = patient().retries(1).retry_failed_after(Duration::from_mins(2));
    let shared = Arc::new(store.clone());
    let handler = ProjectionHandler::new(shared.clone(), shared, projection, waits).unwrap();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| handler.trigger(&["a", "b"]));
        second.recv_timeout(Duration::from_secs(30)).unwrap();
        handler.cancel();
        let stopped = stopped(running.join().unwrap());
        assert!(stopped.iter().all(|stopped| matches!(stopped.cause, StopCause::Cancelled)), "{stopped:?}");
    });
    assert!(matches!(stopped(handler.trigger(&["a"]))[0].cause, StopCause::Cancelled), "it stays cancelled");
}
