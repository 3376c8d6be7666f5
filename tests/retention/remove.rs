//! Contract: K3: a tenant is removed in bounded steps, and its counter stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use readside::admin::AdminCommand;
use readside::error::{AwaitError, PushError, RetentionError};
use readside::failure::By;
use readside::query::{HeadsRequest, Query};
use readside::retention::{Removed, TableRows};
use readside::store::{EventSource, ProjectionStore};
use readside::{Engine, EngineConfig, Event, EventStore, Expected, HandlerConfig, ProjectionHandler};
use uuid::Uuid;

use crate::common::LONG;
use crate::{
    ADA, BOB, Place, Store, add, answered, assert_lawful, by_table, catch_up, handler, handler_with, question, rename,
    store, strict, users,
};

const MORE: usize = 2500;

fn fill<S: Store>(store: &S) {
    store
        .push(&[add("a", "u0", ADA).metadata("from", ADA).creator(ADA).add_unique("user.name", ADA, "taken")])
        .unwrap();
    for from in (0..MORE).step_by(500) {
        let users = from..from + 500;
        let adds = users.map(|n| rename("a", &format!("{ADA}-{n}"), ADA)).collect::<Vec<_>>();
        store.push(&adds).unwrap();
    }
    store.push(&[add("b", "u1", BOB).add_unique("user.name", BOB, "taken"), rename("b", "u1", BOB)]).unwrap();
    catch_up(store, users(1), &["a", "b"]);
    ProjectionStore::setup(store, &[&users(2)]).unwrap();
    catch_up(store, users(2), &["a"]);
    let strict = handler(store, strict());
    let _ = strict.trigger(&["a"]);
    let _ = strict.retry("a", 1, &By::new(ADA, "once more"));
    for (instance, on) in [("a", false), ("a", true), ("b", true)] {
        let why = if instance == "a" { ADA } else { BOB };
        crate::common::pause(store, "users", Some(instance), on, &By::new("eve", why));
    }
    answered(store, question("a", ADA), "nothing");
    answered(store, AdminCommand::Verify { instance: None, repair: false }, ADA);
}

// Contract: K3
both!(nothing_of_a_removed_tenant_is_left);
pub(crate) fn nothing_of_a_removed_tenant_is_left<P: Place>(place: &P) {
    let store = store(place, &[&users(1), &strict()]);
    fill(&store);
    assert!(place.traces(ADA).len() >= 8, "{:?}", place.traces(ADA));
    let of_b = |(_, row): &(String, String)| row.contains(BOB);
    let before: Vec<_> = place.dump().into_iter().filter(of_b).collect();
    let mut steps = Vec::new();
    let report = store.remove("a", &mut |step| steps.push(step.rows)).unwrap();
    assert_eq!(place.traces(ADA), [""; 0]);
    assert!(steps.iter().all(|rows| *rows <= 1000), "a step touches at most 1,000 rows: {steps:?}");
    assert_eq!(report.head, i64::try_from(MORE).unwrap() + 1);
    assert_eq!(place.dump().into_iter().filter(of_b).collect::<Vec<_>>(), before);

    // Only its counter and the record of the operation name it.
    let of_a = |(table, _): &(String, String)| table.contains("instances") || table.contains("operations");
    let named: Vec<_> = place.dump().into_iter().filter(|(_, row)| names(row, "a")).collect();
    assert!(named.iter().all(of_a), "{named:?}");
    assert_eq!(store.operations()[0].tables, report.tables);
    assert_eq!(store.instance_ids(&Query::new()).unwrap(), [Arc::from("b")]);
    let heads = store.heads(&HeadsRequest { limit: 10, ..HeadsRequest::default() }).unwrap();
    assert_eq!(heads.iter().map(|head| &*head.instance).collect::<Vec<_>>(), ["b"]);

    // Nothing is stuck: neither this instance nor the other one.
    handler(&store, users(1)).trigger(&["a", "b"]).unwrap();
    handler(&store, users(2)).trigger(&["a", "b"]).unwrap();
    assert_eq!(store.names(&users(1)), [format!("b/u1={BOB}")]);
    assert_lawful(&store, &users(1));
    assert_eq!(store.remove("a", &mut |_| ()).unwrap().tables, []);
}

/// True if a column of the row has exactly this value.
fn names(row: &str, text: &str) -> bool {
    row.split(['|', ',', '(', ')']).any(|column| column.trim_matches('"') == text)
}

// Contract: K3
both!(a_dry_run_counts_what_is_removed);
pub(crate) fn a_dry_run_counts_what_is_removed<P: Place>(place: &P) {
    let store = store(place, &[&users(1), &strict()]);
    fill(&store);
    let before = place.dump();
    let dry = store.remove_dry_run("a").unwrap();
    assert_eq!(place.dump(), before, "a dry run changes nothing");
    let real = store.remove("a", &mut |_| ()).unwrap();
    let counted = |report: &Removed| by_table(&report.tables);
    assert_eq!((dry.dry_run, dry.head, counted(&dry)), (true, real.head, counted(&real)));
    assert!(counted(&dry).contains(&("users_names_1".to_owned(), MORE as u64 + 1)), "{:?}", counted(&dry));
}

// Contract: K3, L1: positions never begin again at 1.
both!(a_removed_instance_refuses_pushes_until_it_is_opened);
pub(crate) fn a_removed_instance_refuses_pushes_until_it_is_opened<P: Place>(place: &P) {
    let store = store(place, &[&users(1)]);
    let first = store.push(&[add("a", "u1", ADA), add("a", "u2", ADA)]).unwrap();
    let handler = handler(&store, users(1));
    handler.trigger(&["a"]).unwrap();
    assert!(matches!(store.reopen("a"), Err(RetentionError::NotRemoved { .. })));
    store.remove("a", &mut |_| ()).unwrap();

    let refused = store.push(&[add("b", "u1", BOB), add("a", "u1", BOB)]).unwrap_err();
    assert!(matches!(&refused, PushError::InstanceRemoved { instance } if instance == "a"), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        "nothing pushed: instance \"a\" was removed; open it again first if it is to live on"
    );
    assert!(!refused.is_transient());
    assert_eq!(store.filter(&Query::new()).unwrap(), []);

    store.reopen("a").unwrap();
    assert!(matches!(store.reopen("a"), Err(RetentionError::NotRemoved { .. })));
    let pushed = store.push(&[add("a", "u1", BOB).expect(Expected::New), rename("a", "u1", BOB)]).unwrap();
    assert_eq!(pushed.iter().map(|event| (event.position(), event.version())).collect::<Vec<_>>(), [(3, 1), (4, 2)]);
    assert!(pushed[0].created_at() >= first[1].created_at());
    handler.trigger(&["a"]).unwrap();
    assert_eq!(store.names(&users(1)), [format!("a/u1={BOB}")]);
    // A projection that never saw the instance before also goes on from there.
    let fresh = users(2);
    ProjectionStore::setup(&store, &[&fresh]).unwrap();
    crate::handler(&store, fresh.clone()).trigger(&["a"]).unwrap();
    assert_eq!(store.names(&fresh), [format!("a/u1={BOB}")]);
    assert_lawful(&store, &users(1));
    assert_lawful(&store, &fresh);

    // The instance is removed a second time.
    let report = store.remove("a", &mut |_| ()).unwrap();
    assert_eq!(report.head, 4);
    store.reopen("a").unwrap();
    assert_eq!(store.push(&[add("a", "u1", BOB)]).unwrap()[0].position(), 5);
    let kinds: Vec<&str> = store.operations().iter().map(|found| found.kind.as_str()).collect();
    assert_eq!(kinds, ["reopen", "remove", "reopen", "remove"]);
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    Between,
    After,
    Reopened,
}

// Contract: K3, L2: a worker that still holds events of the instance writes nothing any more, whatever it knows of
// the checkpoint.
both!(late_work_brings_nothing_back);
pub(crate) fn late_work_brings_nothing_back<P: Place>(place: &P) {
    let store = store(place, &[&users(1)]);
    for when in [When::Between, When::After, When::Reopened] {
        for before in 0..3 {
            late(&store, &format!("a-{when:?}-{before}"), when, before);
        }
    }
    assert_lawful(&store, &users(1));
}

/// A worker fetches the events above a checkpoint and is slow. Meanwhile the instance is removed.
fn late<S: Store>(store: &S, instance: &str, when: When, before: usize) {
    let push = |n: usize| store.push(&[add(instance, &format!("u{n}"), ADA)]).unwrap();
    let mut events: Vec<Event> = (0..3).flat_map(push).collect();
    let one = handler_with(store, users(1), HandlerConfig::default().bulk_limit(1));
    for _ in 0..before {
        let _ = one.process(one.fetch_events(&[instance]).unwrap());
    }
    let slow = handler_with(store, users(1), HandlerConfig::default());
    let fetch = || slow.fetch_events(&[instance]).unwrap();
    let (mut fetched, again) = (Some(fetch()), fetch());
    assert_eq!(again.events().count(), 3 - before);
    let work = |fetched| {
        let _ = slow.process(fetched);
        let _ = slow.process_events(&events);
    };
    let mut between = |step: &TableRows| {
        // The worker comes when the read tables are already empty.
        match fetched.take() {
            Some(fetched) if when == When::Between && step.table.ends_with("events") => work(fetched),
            other => fetched = other,
        }
        slow.trigger(&[instance]).unwrap();
    };
    store.remove(instance, &mut between).unwrap();
    if when == When::Reopened {
        store.reopen(instance).unwrap();
    }
    work(again);
    assert_eq!(store.names(&users(1)), [""; 0], "{instance}");
    slow.trigger(&[instance]).unwrap();
    if when == When::Reopened {
        events.extend(push(4));
        assert_eq!(slow.process_events(&events[3..]).applied, 1);
        assert_eq!(store.names(&users(1)), [format!("{instance}/u4={ADA}")]);
        store.remove(instance, &mut |_| ()).unwrap();
    }
}

// Contract: K3, G5: the events and the read models are in two databases.
both!(read_models_elsewhere_are_removed_too);
pub(crate) fn read_models_elsewhere_are_removed_too<P: Place>(place: &P) {
    let (events, models) = (store(place, &[]), place.elsewhere());
    ProjectionStore::setup(&models, &[&users(1)]).unwrap();
    let (source, target) = (Arc::new(events.clone()), Arc::new(models.clone()));
    let handler = ProjectionHandler::new(source, target, users(1), HandlerConfig::default()).unwrap();
    events.push(&[add("a", "u1", ADA), add("a", "u2", ADA), add("b", "u1", BOB)]).unwrap();
    handler.trigger(&["a", "b"]).unwrap();
    let late = handler.fetch_events(&["a"]).unwrap();
    events.remove("a", &mut |_| ()).unwrap();
    let report = models.remove("a", &mut |_| ()).unwrap();
    let wanted = [("projection_states", 1), ("users_1", 2), ("users_names_1", 2)];
    assert_eq!(by_table(&report.tables), wanted.map(|(table, rows)| (table.to_owned(), rows)));
    let _ = handler.process(late);
    handler.trigger(&["a", "b"]).unwrap();
    assert_eq!(models.names(&users(1)), [format!("b/u1={BOB}")]);
    events.reopen("a").unwrap();
    events.push(&[add("a", "u1", BOB)]).unwrap();
    handler.trigger(&["a", "b"]).unwrap();
    assert_eq!(models.names(&users(1)), [format!("a/u1={BOB}"), format!("b/u1={BOB}")]);
    let report = readside::testing::laws::check(&events, &models, &users(1)).unwrap();
    assert!(report.is_lawful(), "{report}");
}

// Contract: K3, L1: a push during the removal is either removed with the rest, or refused.
both!(pushes_meanwhile_come_before_or_not_at_all);
pub(crate) fn pushes_meanwhile_come_before_or_not_at_all<P: Place>(place: &P) {
    let store = store(place, &[&users(1)]);
    fill_some(&store);
    let (stop, last) = (AtomicBool::new(false), AtomicI64::new(0));
    let report = std::thread::scope(|scope| {
        for n in 0..3 {
            let (store, stop, last) = (store.clone(), &stop, &last);
            scope.spawn(move || {
                let handler = handler_with(&store, users(1), HandlerConfig::default());
                while !stop.load(Ordering::Relaxed) {
                    match store.push(&[rename("a", &format!("u{n}"), ADA)]) {
                        Ok(pushed) => last.fetch_max(pushed[0].position(), Ordering::Relaxed),
                        Err(PushError::InstanceRemoved { .. }) => break,
                        Err(error) => panic!("{error:?}"),
                    };
                    // A caller who wants to read the instance does the same.
                    let _ = handler.trigger(&["a"]);
                    let seen: Vec<i64> = store.positions(Query::new(), 100).iter().map(|found| found.1).collect();
                    assert!((1..).zip(&seen).all(|(at, position)| at == *position), "a beginning of the log: {seen:?}");
                }
            });
        }
        let are_many = crate::common::holds_within(10 * LONG, || last.load(Ordering::Relaxed) >= 1510);
        let report = store.remove("a", &mut |_| ()).unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(are_many, "few events were pushed");
        report
    });
    assert_eq!(report.head, last.load(Ordering::Relaxed));
    assert_eq!(place.traces(ADA), [""; 0]);
    store.reopen("a").unwrap();
    assert_eq!(store.push(&[add("a", "u1", BOB)]).unwrap()[0].position(), report.head + 1);
}

// Contract: L10, A1: an import after a removal may end with the event that ended the first one.
both!(versions_are_not_remembered_across_a_removal);
pub(crate) fn versions_are_not_remembered_across_a_removal<P: Place>(place: &P) {
    let (store, other) = (store(place, &[]), place.open());
    let id = Uuid::now_v7();
    let kept = || add("a", "u2", BOB).id(id);
    store.import(&[add("a", "u1", ADA), rename("a", "u1", ADA), kept()]).unwrap();
    other.remove("a", &mut |_| {}).unwrap();
    other.reopen("a").unwrap();
    other.import(&[kept()]).unwrap();
    let pushed = store.push(&[add("a", "u1", ADA).expect(Expected::New)]).unwrap();
    assert_eq!((pushed[0].position(), pushed[0].version()), (5, 1));
}

// Contract: C6: events that went with their tenant are in no read model, also when the tenant goes on.
both!(a_wait_for_removed_events_is_no_success);
pub(crate) fn a_wait_for_removed_events_is_no_success<P: Place>(place: &P) {
    let store = store(place, &[&users(1)]);
    let engine = Engine::builder(store.clone()).projection(users(1)).start().unwrap();
    let wait = |pushed: &[Event]| engine.await_pushed("users", pushed, LONG);
    let gone = engine.push(&[add("a", "u1", ADA)]).unwrap();
    wait(&gone).unwrap();
    store.remove("a", &mut |_| ()).unwrap();
    let lost = |waited: Result<(), AwaitError>| match waited {
        Err(error @ AwaitError::EventLost { position: 1, .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    store.reopen("a").unwrap();
    let there = engine.push(&[add("a", "u2", BOB)]).unwrap();
    wait(&there).unwrap();
    assert_eq!(store.names(&users(1)), [format!("a/u2={BOB}")]);
    assert!(lost(wait(&gone)).contains("the tenant was removed"));
    assert!(lost(wait(&[gone, there].concat())).contains("the tenant was removed"));
    engine.await_position("users", "a", 1, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
}

fn fill_some<S: Store>(store: &S) {
    for _ in 0..3 {
        store.push(&(0..500).map(|n| rename("a", &format!("u{}", n % 5), ADA)).collect::<Vec<_>>()).unwrap();
    }
}

// Contract: K3, L4
both!(an_engine_goes_on_beside_a_removal);
pub(crate) fn an_engine_goes_on_beside_a_removal<P: Place>(place: &P) {
    let store = store(place, &[&users(1)]);
    let config = EngineConfig::default().requeue_every(Duration::from_millis(20)).workers(2);
    let engine = Engine::builder(store.clone()).projection(users(1)).config(config).start().unwrap();
    fill_some(&store);
    store.remove("a", &mut |_| ()).unwrap();
    let pushed = engine.push(&[add("b", "u1", BOB)]).unwrap();
    engine.await_pushed("users", &pushed, Duration::from_mins(1)).unwrap();
    assert_eq!(store.names(&users(1)), [format!("b/u1={BOB}")]);
    store.reopen("a").unwrap();
    let pushed = engine.push(&[add("a", "u1", BOB)]).unwrap();
    engine.await_pushed("users", &pushed, Duration::from_mins(1)).unwrap();
    engine.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(store.names(&users(1)), [format!("a/u1={BOB}"), format!("b/u1={BOB}")]);
    assert_lawful(&store, &users(1));
}

// Contract: K3
both!(what_cannot_be_removed_is_refused);
pub(crate) fn what_cannot_be_removed_is_refused<P: Place>(place: &P) {
    let store = store(place, &[&users(1)]);
    for (instance, wanted) in [("", "system instance"), ("nobody", "there is no instance \"nobody\"")] {
        for error in [store.remove(instance, &mut |_| ()).err(), store.remove_dry_run(instance).err()] {
            let error = error.unwrap().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
    assert!(matches!(store.reopen("nobody"), Err(RetentionError::UnknownInstance { .. })));
    assert_eq!(store.operations(), []);
}
