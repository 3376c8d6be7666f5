//! Changes that people make to the engine's tables by hand, or by restoring only some of the tables.

use readside::admin::{Doctor, RebuildOptions};
use readside::error::{AwaitError, TriggerError, chain};
use readside::failure::By;
use readside::health::StopCause;
use readside::inspect::{Inspect, Severity};
use readside::store::{EventSource, LeaseStore, ProjectionStore, Standstill, StandstillKind};
use readside::{Engine, EventStore, Value, error};

use crate::ground::Ground;
use crate::{LONG, NAME, Site, begun, eager, eventually, ledger, moved, noted, push};

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

/// The sums of these instances in the ledger.
fn sums<G: Ground>(store: &G::Store, instances: [&str; 2]) -> [i64; 2] {
    let builds = store.builds();
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

// Contract: L2, L11: the checkpoint is gone but the rows are not. Applying the events again would double them.
both!(rows_without_a_checkpoint_stand_still);
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
    assert!(told.verdict == Severity::Fail && told.remedy.as_ref().unwrap().contains("readside reset"), "{told:?}");
    let site = Site { engine: &engine, events: &store, models: &store, projection: &ledger() };
    engine.admin().reset(NAME, Some("a"), &by()).unwrap();
    eventually("the end", || !named(&engine, "a") && sums::<G>(&store, ["a", "b"]) == [6, 4]);
    site.lawful();
    forget();
    eventually("the standstill", || named(&engine, "a"));
    assert!(engine.admin().rebuild(NAME, RebuildOptions::default(), &by(), |_| {}).unwrap().switched);
    eventually("the end", || !named(&engine, "a"));
    engine.await_pushed(NAME, &push(&store, &moved("a", 1)), LONG).unwrap();
    assert_eq!(sums::<G>(&store, ["a", "b"]), [7, 4]);
    site.lawful();
    engine.shutdown(LONG).unwrap();
}

// Contract: L2, L5: all states are removed at once, by a statement that fires no trigger for each row.
both!(states_that_are_emptied_at_a_blow_are_missed);
pub(crate) fn states_that_are_emptied_at_a_blow_are_missed<G: Ground>(ground: &mut G) {
    let (store, engine) = filled(ground);
    let source = store.store_id().unwrap();
    let change_token = || LeaseStore::change_token(&store, source).unwrap();
    let before = change_token();
    ground.empty("projection_states");
    assert_ne!(change_token(), before, "whoever is calm looks again");
    eventually("the standstills", || named(&engine, "a") && named(&engine, "b"));
    engine.admin().reset(NAME, None, &by()).unwrap();
    Site { engine: &engine, events: &store, models: &store, projection: &ledger() }.lawful();
    assert_eq!(sums::<G>(&store, ["a", "b"]), [5, 3]);
    engine.shutdown(LONG).unwrap();
}

/// What the doctor says about the logs.
fn doctor<S: Inspect>(store: &S) -> (Severity, String) {
    let findings = Doctor::default().examine(store);
    let found = findings.into_iter().find(|finding| finding.check == "events").unwrap();
    (found.verdict, found.found)
}

// Contract: L1, L2, L11: an event that is gone is missing for everybody who begins with the log, wanted or not.
both!(a_hole_in_the_log_is_named);
pub(crate) fn a_hole_in_the_log_is_named<G: Ground>(ground: &mut G) {
    let (store, engine) = filled(ground);
    engine.await_pushed(NAME, &push(&store, &moved("b", 1)), LONG).unwrap();
    push(&store, &noted("a", 3));
    engine.await_pushed(NAME, &push(&store, &moved("a", 2)), LONG).unwrap();
    assert_eq!(doctor(&store).0, Severity::Ok);
    ground.run("CREATE TABLE kept AS SELECT * FROM readside.events WHERE instance_id = 'a' AND position IN (2, 6, 7)");
    for (positions, words) in [("2", "event 2 is missing"), ("6, 7", "events 6 to 7 are missing")] {
        ground.run(&format!("DELETE FROM readside.events WHERE instance_id = 'a' AND position IN ({positions})"));
        let (verdict, found) = doctor(&store);
        assert!(verdict == Severity::Fail && found.contains("\"a\"") && found.contains(words), "{found}");
        let found = engine.admin().verify(NAME, None).unwrap();
        let named: Vec<&str> = found.differing.iter().map(|one| one.instance.as_str()).collect();
        assert_eq!(named, ["a"]);
        assert!(found.differing[0].others.iter().any(|other| other.contains(words)), "{found:?}");
        for options in [RebuildOptions::default(), RebuildOptions::default().instance("a")] {
            let error = chain(&engine.admin().rebuild(NAME, options, &by(), |_| {}).unwrap_err());
            assert!(error.contains("\"a\"") && error.contains(words), "{error}");
        }
        engine.admin().abandon(NAME, &by()).unwrap();
        let put_back = "INSERT INTO readside.events SELECT * FROM kept WHERE position IN";
        ground.run(&format!("{put_back} ({positions})"));
        assert!(engine.admin().rebuild(NAME, RebuildOptions::default(), &by(), |_| {}).unwrap().switched);
    }
    Site { engine: &engine, events: &store, models: &store, projection: &ledger() }.lawful();
    engine.shutdown(LONG).unwrap();
}

// Contract: L3, L5: nobody looks for events above a head.
both!(heads_that_say_less_than_the_log_are_named);
pub(crate) fn heads_that_say_less_than_the_log_are_named<G: Ground>(ground: &mut G) {
    let (store, engine) = filled(ground);
    engine.shutdown(LONG).unwrap();
    let of = "WHERE instance_id = 'a' AND aggregate_type = 'thing'";
    ground.run(&format!("UPDATE readside.heads SET head = 3 {of}"));
    let (verdict, found) = doctor(&store);
    assert!(verdict == Severity::Fail && found.contains("\"thing\" has event 5, and its head says 3"), "{found}");
    ground.run(&format!("DELETE FROM readside.heads {of}"));
    assert!(doctor(&store).1.contains("\"thing\" has event 5, and its head says 0"));
    ground.run("INSERT INTO readside.heads (instance_id, aggregate_type, head) VALUES ('a', 'thing', 5)");
    assert_eq!(doctor(&store).0, Severity::Ok);
    ground.run("UPDATE readside.instances SET head = 4 WHERE instance_id = 'a'");
    assert!(doctor(&store).1.contains("event 5 lies above the head, which says 4"), "{:?}", doctor(&store));
    ground.run("UPDATE readside.instances SET head = 7 WHERE instance_id = 'a'");
    assert!(doctor(&store).1.contains("events 6 to 7 are missing"), "{:?}", doctor(&store));
}

// Contract: A1, L11: a counter that was set back by hand, or restored without its events, gives positions a second
// time.
both!(a_counter_below_its_log_is_named);
pub(crate) fn a_counter_below_its_log_is_named<G: Ground>(ground: &mut G) {
    let (store, engine) = filled(ground);
    engine.shutdown(LONG).unwrap();
    ground.run("CREATE TABLE counters AS SELECT * FROM readside.instances");
    let told = |words: &str| {
        let error = store.push(&moved("a", 1)).unwrap_err();
        assert!(!matches!(&error, error::PushError::Store(error) if error.is_transient()), "{error:?}");
        let text = chain(&error);
        for word in ["instance \"a\" has event 5", words, "nothing was stored", "readside doctor"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let findings = Doctor::default().examine(&store);
        let found = findings.iter().find(|finding| finding.check == "events").unwrap();
        let remedy = found.remedy.as_ref().unwrap();
        assert!(found.verdict == Severity::Fail && remedy.contains("`head_event`"), "{found:?}");
        assert!(!remedy.contains("backup that is whole") && found.found.contains("\"a\""), "{found:?}");
        // A checkpoint above the counter may not be reported as another history without a word about the counter.
        let standstills = findings.iter().filter(|finding| finding.check == "standstills");
        for one in standstills.filter(|one| one.verdict != Severity::Ok) {
            assert!(one.remedy.as_ref().unwrap().contains("a counter is behind its log"), "{one:?}");
        }
    };
    ground.run("UPDATE readside.instances SET head = 3 WHERE instance_id = 'a'");
    told("its counter says 3");
    ground.run("DELETE FROM readside.instances WHERE instance_id = 'a'");
    told("its counter says 0");
    assert_eq!(push(&store, &moved("b", 1))[0].position(), 4, "nobody else is in trouble");
    // This is the remedy that the doctor names.
    ground.run("INSERT INTO readside.instances SELECT * FROM counters WHERE instance_id = 'a'");
    assert_eq!(doctor(&store).0, Severity::Ok);
    assert_eq!(push(&store, &moved("a", 1))[0].position(), 6);
}
