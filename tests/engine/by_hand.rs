//! Events that the caller passes to the handler: Contract: C4, G1, D2.

use std::sync::Arc;

use readside::EventStore;
use readside::health::StopCause;
use readside::query::{Query, SubQuery};

use crate::{config, count, handler, position, push, rows, store};

// Contract: C4, G1
#[test]
fn events_that_continue_at_the_checkpoint_are_applied_and_others_dropped() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1), count("a", "x", 2), count("b", "x", 7), count("a", "x", 4)]);
    let all = store.filter(&Query::new()).unwrap();
    let handler = handler(&store, config());
    let processed = handler.process_events(&all[..2]);
    assert_eq!((processed.applied, processed.stopped.len()), (2, 0));
    assert_eq!(rows(&store), ["a/x=3"]);
    // The events come in any order, and twice. In the end the read model holds all of them, and none twice.
    let mut mixed = all.clone();
    mixed.reverse();
    mixed.extend(all.clone());
    let processed = handler.process_events(&mixed);
    assert_eq!((processed.applied, processed.stopped.len()), (4, 0));
    assert_eq!(rows(&store), ["a/x=7", "b/x=7"]);
    assert_eq!((position(&store, "a"), position(&store, "b")), (3, 1));
}

// Contract: D2: the handler does not skip a gap.
#[test]
fn a_gap_stops_its_instance_there() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1), count("a", "x", 2), count("a", "x", 4), count("b", "x", 7)]);
    let mut events = store.filter(&Query::new()).unwrap();
    events.remove(1);
    let processed = handler(&store, config()).process_events(&events);
    assert_eq!(processed.applied, 2);
    assert_eq!((&*processed.stopped[0].instance, processed.stopped[0].position), ("a", 3));
    assert!(matches!(processed.stopped[0].cause, StopCause::Gap { checkpoint: 1 }));
    assert_eq!(rows(&store), ["a/x=1", "b/x=7"]);
}

// Contract: G1: another worker was faster. What it applied is dropped, not applied again.
#[test]
fn what_was_fetched_before_another_worker_went_on_is_dropped() {
    let (store, _) = store();
    push(&store, &[count("a", "x", 1), count("a", "x", 2)]);
    let (slow, fast) = (handler(&store, config()), handler(&store, config()));
    let fetched = slow.fetch_events(&["a"]).unwrap();
    assert_eq!(fetched.events().count(), 2);
    push(&store, &[count("a", "x", 4)]);
    fast.trigger(&["a"]).unwrap();
    let processed = slow.process(fetched);
    assert_eq!((processed.applied, processed.stopped.len()), (2, 0));
    assert_eq!((rows(&store), position(&store, "a")), (vec!["a/x=7".to_owned()], 3));
}

// Contract: C3
#[test]
fn one_busy_instance_does_not_starve_others() {
    let (store, _) = store();
    for _ in 0..20 {
        push(&store, &[count("busy", "x", 1)]);
    }
    push(&store, &[count("quiet", "x", 1)]);
    let handler = handler(&store, config().bulk_limit(5));
    let fetched = handler.fetch_events(&["busy", "quiet"]).unwrap();
    assert_eq!(fetched.events().count(), 6);
    assert_eq!(fetched.more(), [Arc::from("busy")]);
    let _ = handler.process(fetched);
    handler.trigger(&["busy", "quiet"]).unwrap();
    assert_eq!(rows(&store), ["busy/x=20", "quiet/x=1"]);
    let query = Query::new().or(SubQuery::new().instance("busy"));
    assert_eq!(store.filter(&query).unwrap().len(), 20);
}
