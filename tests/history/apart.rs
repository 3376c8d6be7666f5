//! Events are in one database and read models in another. Only the events are restored to an older state.

use readside::admin::Doctor;
use readside::failure::By;
use readside::inspect::{Finding, Severity};

use readside::{Engine, EngineStore, Event};

use crate::ground::Ground;
use crate::{LONG, NAME, Site, begun, eager, eventually, health_tells, is_divergence, ledger, moved, push};

fn start<S: EngineStore + Clone>(events: &S, models: &S) -> Engine {
    begun(Engine::builder(events.clone()).models(models.clone()).projection(ledger()).config(eager()))
}

/// Restores the events of instance a from 100 to 50, beneath this engine. Instance b is unchanged.
fn restored<G: Ground>(ground: &mut G) -> (G::Store, G::Store, Engine) {
    let (events, models) = (ground.open(), ground.beside());
    let engine = start(&events, &models);
    for commands in [moved("b", 3), moved("a", 50)] {
        engine.await_pushed(NAME, &push(&events, &commands), LONG).unwrap();
    }
    ground.keep();
    engine.await_pushed(NAME, &push(&events, &moved("a", 50)), LONG).unwrap();
    ground.put_back();
    (events, models, engine)
}

// Contract: L10, C6, G6: this includes waits for the checkpoint itself, and for positions behind it.
both!(a_checkpoint_above_the_head_is_told_to_everybody_who_waits);
pub(crate) fn a_checkpoint_above_the_head_is_told_to_everybody_who_waits<G: Ground>(ground: &mut G) {
    let (events, models, engine) = restored(ground);
    for (count, last) in [(1, 51), (48, 99), (1, 100), (1, 101)] {
        let pushed = push(&events, &moved("a", count));
        assert_eq!(pushed.last().map(Event::position), Some(last));
        match engine.await_pushed(NAME, &pushed, LONG) {
            Err(error) => assert!(is_divergence(&error), "{error}"),
            Ok(()) => panic!("a wait for position {last} says Ok, and nothing is applied"),
        }
    }
    let site = Site { engine: &engine, events: &ground.open(), models: &models, projection: &ledger() };
    site.diverged("a");
    engine.await_pushed(NAME, &push(&events, &moved("b", 2)), LONG).unwrap();
    assert_eq!(site.settled().into_iter().collect::<Vec<_>>(), ["a"]);
    engine.shutdown(LONG).unwrap();
}

// Contract: L10, L11: where no engine is alive that could name it, the doctor compares the checkpoints with the log,
// also once other events stand at their positions.
both!(a_doctor_finds_other_events_at_the_checkpoints);
pub(crate) fn a_doctor_finds_other_events_at_the_checkpoints<G: Ground>(ground: &mut G) {
    let (events, models, engine) = restored(ground);
    engine.shutdown(LONG).unwrap();
    drop((events, engine));
    let events = ground.open();
    let history = || -> Finding {
        let findings = Doctor::default().examine_two(&events, &models);
        findings.into_iter().find(|finding| finding.check == "history").unwrap()
    };
    assert_eq!(history().verdict, Severity::Ok, "{:?}", history());
    push(&events, &moved("a", 60));
    let finding = history();
    assert_eq!(finding.verdict, Severity::Fail, "{finding:?}");
    assert!(
        finding.found.contains("stands at 100 of instance \"a\"") && !finding.found.contains("\"b\""),
        "{finding:?}"
    );
    assert!(finding.remedy.is_some_and(|remedy| remedy.contains("readside reset")));
    ground.remove(&events, "a", &By::new("ada", "a test"));
    assert_eq!(history().verdict, Severity::Ok, "events that were removed for good are not another history");
}

// Contract: L10, G6: an engine that starts remembers nothing from before.
both!(a_start_on_a_restored_store_tells);
pub(crate) fn a_start_on_a_restored_store_tells<G: Ground>(ground: &mut G) {
    let (events, models, engine) = restored(ground);
    engine.shutdown(LONG).unwrap();
    drop((events, engine));
    let events = ground.open();
    let engine = start(&events, &models);
    health_tells(&engine);
    let site = Site { engine: &engine, events: &events, models: &models, projection: &ledger() };
    site.diverged("a");
    let error = engine.await_pushed(NAME, &push(&events, &moved("a", 1)), LONG).unwrap_err();
    assert!(is_divergence(&error), "{error}");
    engine.await_pushed(NAME, &push(&events, &moved("b", 1)), LONG).unwrap();
    assert_eq!(site.settled().into_iter().collect::<Vec<_>>(), ["a"]);
    engine.shutdown(LONG).unwrap();
}

// Contract: K3, L10, L11: the log again holds what was also removed from the read models. A reset does not help, but
// the named remedy does.
both!(a_removed_instance_that_is_in_the_log_again_is_named);
pub(crate) fn a_removed_instance_that_is_in_the_log_again_is_named<G: Ground>(ground: &mut G) {
    let (events, models) = (ground.open(), ground.beside());
    let engine = start(&events, &models);
    engine.await_pushed(NAME, &push(&events, &moved("a", 5)), LONG).unwrap();
    ground.keep();
    let by = By::new("ada", "a test");
    ground.remove(&events, "a", &by);
    ground.remove(&models, "a", &by);
    ground.put_back();
    let events = ground.open();
    health_tells(&engine);
    let told = || format!("{:?}", engine.health().unwrap().projections[0].standstills);
    for words in ["was removed here up to position 5", "remove it there too", "restore the read models of that time"] {
        // A pass that was under way may have told of it before in other words.
        eventually(words, || told().contains(words));
    }
    ground.remove(&events, "a", &by);
    eventually("the end", || engine.health().unwrap().projections[0].standstills.is_empty());
    engine.await_pushed(NAME, &push(&events, &moved("b", 2)), LONG).unwrap();
    Site { engine: &engine, events: &events, models: &models, projection: &ledger() }.lawful();
    engine.shutdown(LONG).unwrap();
}
