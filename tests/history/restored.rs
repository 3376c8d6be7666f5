//! One database is restored to an older state beneath a running engine.

use crate::ground::Ground;
use crate::{LONG, NAME, Site, eager, instances, last_scan, ledger, moved, noted, push, start, told};

// Contract: L10, G6: what the engine remembers of lost events says nothing about the events that took their
// positions.
both!(events_pushed_into_lost_positions_are_applied);
pub(crate) fn events_pushed_into_lost_positions_are_applied<G: Ground>(ground: &mut G) {
    let store = ground.open();
    let engine = start(store.clone(), last_scan());
    let tenants = instances(20);
    for tenant in &tenants {
        let pushed = push(&store, &moved(tenant, 20));
        engine.await_pushed(NAME, &pushed, LONG).unwrap();
    }
    ground.keep();
    for tenant in &tenants {
        push(&store, &noted(tenant, 5));
    }
    ground.put_back();
    let other = ground.open();
    let mut said = Vec::new();
    for tenant in &tenants {
        push(&other, &moved(tenant, 5));
        let pushed = push(&store, &moved(tenant, 1));
        assert_eq!(pushed[0].position(), 26);
        said.push(told(engine.await_pushed(NAME, &pushed, LONG)));
    }
    let site = Site { engine: &engine, events: &other, models: &other, projection: &ledger() };
    let diverged = site.settled();
    for (tenant, applied) in tenants.iter().zip(said) {
        assert_eq!(applied, !diverged.contains(tenant), "what the wait said of {tenant}");
    }
    engine.shutdown(LONG).unwrap();
}

// Contract: L10, G6: nobody pushes. The engine's own look finds that a checkpoint is above the head.
both!(events_set_back_by_hand_stop_the_instance);
pub(crate) fn events_set_back_by_hand_stop_the_instance<G: Ground>(ground: &mut G) {
    let store = ground.open();
    let engine = start(store.clone(), eager());
    for tenant in ["a", "b"] {
        let pushed = push(&store, &moved(tenant, 10));
        engine.await_pushed(NAME, &pushed, LONG).unwrap();
    }
    ground.set_back("a", 5);
    crate::health_tells(&engine);
    let site = Site { engine: &engine, events: &store, models: &store, projection: &ledger() };
    site.diverged("a");
    let pushed = push(&store, &moved("b", 1));
    engine.await_pushed(NAME, &pushed, LONG).unwrap();
    assert_eq!(site.settled().into_iter().collect::<Vec<_>>(), ["a"]);
    engine.shutdown(LONG).unwrap();
}
