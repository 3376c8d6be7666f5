//! A database that is dropped and created again beneath a running engine. It is another store, with its own id.

use readside::Engine;
use readside::store::{EventSource, ProjectionStore, State};

use crate::ground::Ground;
use crate::{LONG, NAME, Site, begun, eager, is_divergence, ledger, moved, push};

fn state(models: &dyn ProjectionStore, instance: &str) -> State {
    models.states(&ledger().key(), &[instance.into()]).unwrap().remove(0)
}

// Contract: L10, G6: the events are apart from the read models. What was built from the old store diverges. What
// begins in the new store belongs to it, also after a restart.
both!(instances_of_a_new_store_bear_its_id);
pub(crate) fn instances_of_a_new_store_bear_its_id<G: Ground>(ground: &mut G) {
    let (events, models) = (ground.open(), ground.beside());
    let start = |events: &G::Store| {
        begun(Engine::builder(events.clone()).models(models.clone()).projection(ledger()).config(eager()))
    };
    let engine = start(&events);
    engine.await_pushed(NAME, &push(&events, &moved("a", 10)), LONG).unwrap();
    ground.make_anew();
    let other = ground.open();
    push(&other, &moved("a", 2));
    match engine.await_pushed(NAME, &push(&events, &moved("a", 1)), LONG) {
        Err(error) => assert!(is_divergence(&error), "{error}"),
        Ok(()) => panic!("a wait for an event of the new store says Ok, and nothing is applied"),
    }
    engine.await_pushed(NAME, &push(&events, &moved("b", 2)), LONG).unwrap();
    let new = other.store_id().unwrap();
    assert_eq!((state(&models, "b").position, state(&models, "b").store), (2, Some(new)));
    let site = Site { engine: &engine, events: &other, models: &models, projection: &ledger() };
    site.diverged("a");
    assert_eq!(site.settled().into_iter().collect::<Vec<_>>(), ["a"]);
    engine.shutdown(LONG).unwrap();
    drop((engine, events));
    let events = ground.open();
    let engine = start(&events);
    engine.await_pushed(NAME, &push(&events, &moved("b", 1)), LONG).unwrap();
    let site = Site { engine: &engine, events: &events, models: &models, projection: &ledger() };
    site.diverged("a");
    assert_eq!(site.settled().into_iter().collect::<Vec<_>>(), ["a"]);
    engine.shutdown(LONG).unwrap();
}

// Contract: L10: events and read models are together. Nothing remains of the old store, so everything goes on with
// the new one.
both!(a_database_made_anew_is_projected_anew);
pub(crate) fn a_database_made_anew_is_projected_anew<G: Ground>(ground: &mut G) {
    let store = ground.open();
    let engine = begun(Engine::builder(store.clone()).projection(ledger()).config(eager()));
    engine.await_pushed(NAME, &push(&store, &moved("a", 10)), LONG).unwrap();
    ground.make_anew();
    let other = ground.open();
    ProjectionStore::setup(&other, &[&ledger()]).unwrap();
    push(&other, &moved("a", 3));
    push(&other, &moved("c", 3));
    let site = Site { engine: &engine, events: &other, models: &other, projection: &ledger() };
    site.lawful();
    for tenant in ["a", "b"] {
        engine.await_pushed(NAME, &push(&store, &moved(tenant, 4)), LONG).unwrap();
    }
    site.lawful();
    let new = other.store_id().unwrap();
    for (tenant, position) in [("a", 7), ("b", 4), ("c", 3)] {
        let state = state(&other, tenant);
        assert_eq!((state.position, state.store), (position, Some(new)), "{tenant}");
    }
    engine.shutdown(LONG).unwrap();
}
