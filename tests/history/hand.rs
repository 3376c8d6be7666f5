//! What people do to the engine's tables by hand, or by restoring some of them without the others.

use readside::admin::Doctor;
use readside::error::{AwaitError, TriggerError};
use readside::*;

use crate::ground::Ground;
use crate::{LONG, NAME, Site, begun, eager, eventually, ledger, moved, push};

fn by() -> By {
    By::new("ada", "a test")
}

fn filled<G: Ground>(ground: &G) -> (G::Store, Engine) {
    let store = ground.open();
    let engine = begun(Engine::builder(store.clone()).projection(ledger()).config(eager()));
    for (instance, count) in [("a", 5), ("b", 3)] {
        engine.await_pushed(NAME, &push(&store, &moved(instance, count)), LONG).unwrap();
    }
    (store, engine)
}

/// What the ledger says of these instances.
fn sums<G: Ground>(store: &G::Store, instances: [&str; 2]) -> [i64; 2] {
    let builds = store.builds().unwrap();
    instances.map(|instance| {
        let row = builds.find(&ledger(), &ledger().tables()[0], instance, &["x".into()]).unwrap().unwrap();
        match row.iter().find(|(name, _)| name == "n") {
            Some((_, Value::Integer(n))) => *n,
            other => panic!("{other:?}"),
        }
    })
}

fn named(engine: &Engine, instance: &str) -> bool {
    let health = engine.health().unwrap();
    let is_it = |one: &Standstill| one.kind == StandstillKind::Orphaned && one.instance.as_deref() == Some(instance);
    health.projections[0].standstills.iter().any(is_it)
}

// SPEC L2, L11: the checkpoint is gone and the rows are not; applying the events again would double them.
pub(crate) fn rows_without_a_checkpoint_stand_still<G: Ground>(ground: &mut G) {
    let (store, engine) = filled(ground);
    let forget = || ground.run("DELETE FROM readside.projection_states WHERE instance_id = 'a'");
    forget();
    eventually("the standstill", || named(&engine, "a"));
    for pushed in [push(&store, &moved("a", 1)), push(&store, &moved("b", 1))] {
        match engine.await_pushed(NAME, &pushed, LONG) {
            Ok(()) => assert_eq!(pushed[0].instance(), "b"),
            Err(AwaitError::Stopped { stopped, .. }) => {
                assert!(matches!(stopped.cause, StopCause::RowsWithoutCheckpoint), "{stopped}");
                assert!(stopped.to_string().contains("readside reset"), "{stopped}");
                assert_eq!(pushed[0].instance(), "a");
            }
            other => panic!("{other:?}"),
        }
    }
    match engine.trigger(NAME, &["a"]) {
        Err(TriggerError::Stopped { stopped, .. }) => {
            assert!(matches!(stopped[0].cause, StopCause::RowsWithoutCheckpoint), "{stopped:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(sums::<G>(&store, ["a", "b"]), [5, 4], "nothing is doubled");
    eventually("the note", || {
        let status = store.status(false).unwrap();
        status.projections[0].standstills.iter().any(|one| one.kind == StandstillKind::Orphaned)
    });
    let findings = Doctor::default().examine(&store);
    let told = findings.iter().find(|finding| finding.check == "standstills").unwrap();
    assert!(told.verdict == Verdict::Fail && told.remedy.as_ref().unwrap().contains("readside reset"), "{told:?}");
    let site = Site { engine: &engine, events: &store, models: &store, projection: &ledger() };
    engine.reset(NAME, Some("a"), &by()).unwrap();
    eventually("the end", || !named(&engine, "a") && sums::<G>(&store, ["a", "b"]) == [6, 4]);
    site.lawful();
    forget();
    eventually("the standstill", || named(&engine, "a"));
    assert!(engine.rebuild(NAME, RebuildOptions::default(), &by(), |_| {}).unwrap().switched);
    eventually("the end", || !named(&engine, "a"));
    engine.await_pushed(NAME, &push(&store, &moved("a", 1)), LONG).unwrap();
    assert_eq!(sums::<G>(&store, ["a", "b"]), [7, 4]);
    site.lawful();
    engine.shutdown(LONG).unwrap();
}

// SPEC L2, L5: all of them at once, by the statement that fires no trigger for each row.
pub(crate) fn states_that_are_emptied_at_a_blow_are_missed<G: Ground>(ground: &mut G) {
    let (store, engine) = filled(ground);
    let source = store.store_id().unwrap();
    let signs = || LeaseStore::signs(&store, source).unwrap();
    let before = signs();
    ground.empty("projection_states");
    assert_ne!(signs(), before, "whoever is calm looks again");
    eventually("the standstills", || named(&engine, "a") && named(&engine, "b"));
    engine.reset(NAME, None, &by()).unwrap();
    Site { engine: &engine, events: &store, models: &store, projection: &ledger() }.lawful();
    assert_eq!(sums::<G>(&store, ["a", "b"]), [5, 3]);
    engine.shutdown(LONG).unwrap();
}
