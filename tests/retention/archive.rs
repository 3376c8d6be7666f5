//! Contract: K4: old events move out of the table that pushes use. Readers find them in order, as before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use readside::error::{PushError, RetentionError};
use readside::query::{Cursor, EventBatch, Query, ReadRequest, SubQuery};
use readside::retention::{Archival, OperationKind, Redaction};
use readside::store::ProjectionStore;
use readside::{Event, EventStore, Expected, HandlerConfig};

use crate::{ADA, BOB, Place, Store, add, assert_lawful, handler, handler_with, rename, store, users};

/// An archival of everything that is stored so far.
fn all() -> Archival {
    Archival::before(SystemTime::now() + Duration::from_hours(1))
}

fn hot<P: Place>(place: &P) -> usize {
    place.dump().iter().filter(|(table, _)| table.ends_with("events") && !table.contains("held")).count()
}

/// Pushes this many events in `a`, and half as many in `b`.
fn fill<S: Store>(store: &S, count: usize) {
    for n in 0..count {
        store.push(&[rename("a", &format!("u{}", n % 3), &format!("{ADA}-{n}"))]).unwrap();
        if n % 2 == 0 {
            store.push(&[rename("b", "u1", BOB)]).unwrap();
        }
    }
}

/// The batches that a projection gets above a cursor, page by page.
fn read<S: Store>(store: &S, instance: &str, after: i64, limit: usize, max_bytes: usize) -> Vec<EventBatch> {
    let (mut cursor, mut slices) = (after, Vec::new());
    loop {
        let cursors = vec![Cursor { instance: instance.into(), after: cursor }];
        let request = ReadRequest { cursors, wanted: users(1).wanted(), limit, max_bytes };
        let slice = store.read(&request).unwrap().pop().unwrap();
        cursor = slice.scanned().0;
        let more = slice.more;
        slices.push(slice);
        if !more {
            return slices;
        }
    }
}

// Contract: K4
both!(archived_events_are_read_in_order);
pub(crate) fn archived_events_are_read_in_order<P: Place>(place: &P) {
    let store = store(place, &[&users(1)]);
    fill(&store, 40);
    handler(&store, users(1)).trigger(&["a", "b"]).unwrap();
    let before = store.filter(&Query::new()).unwrap();
    let border = before.iter().find(|event| event.instance() == "a" && event.position() == 21).unwrap().created_at();
    let report = store.archive(&Archival::before(border), &mut |_| ()).unwrap();
    let old = before.iter().filter(|event| event.created_at() < border).count();
    assert_eq!((report.events, report.instances, report.dry_run), (old as u64, 2, false));
    assert_eq!((hot(place), old > 20), (before.len() - old, true));

    assert_eq!(store.filter(&Query::new()).unwrap(), before);
    let mut backwards = before.clone();
    backwards.reverse();
    assert_eq!(store.filter(&Query::new().descending()).unwrap(), backwards);
    let places: Vec<(String, i64)> =
        before.iter().map(|event| (event.instance().to_owned(), event.position())).collect();
    for page in [1, 7, 1000] {
        assert_eq!(store.positions(Query::new(), page), places);
    }
    let some = Query::new().or(SubQuery::new().instance("a").aggregate_id("u1").after(3)).limit(9);
    let found = store.filter(&some).unwrap();
    assert_eq!(found.iter().map(Event::position).collect::<Vec<_>>(), [5, 8, 11, 14, 17, 20, 23, 26, 29]);
    assert_eq!(store.instance_ids(&Query::new()).unwrap().len(), 2);

    // The checkpoints stay, a new version is built from the whole log, and then new events come.
    handler(&store, users(1)).trigger(&["a", "b"]).unwrap();
    let fresh = users(2);
    ProjectionStore::setup(&store, &[&fresh]).unwrap();
    handler(&store, fresh.clone()).trigger(&["a", "b"]).unwrap();
    fill(&store, 4);
    for projection in [users(1), fresh] {
        handler(&store, projection.clone()).trigger(&["a", "b"]).unwrap();
        assert_lawful(&store, &projection);
    }
    assert_eq!(store.names(&users(1)), store.names(&users(2)));
    let operations = store.operations();
    assert_eq!(
        (operations.len(), operations[0].kind, operations[0].instance.as_deref()),
        (1, OperationKind::Archive, None)
    );
    assert!(operations[0].subject.starts_with("{\"before\":\"2"), "{}", operations[0].subject);
}

// Contract: K4, K1, A2
both!(versions_and_push_keys_outlive_the_archive);
pub(crate) fn versions_and_push_keys_outlive_the_archive<P: Place>(place: &P) {
    let store = store(place, &[]);
    let push = || store.push(&[add("a", "u1", ADA).push_key("k"), add("a", "u2", ADA).push_key("k")]);
    let first = push().unwrap();
    store.archive(&all(), &mut |_| ()).unwrap();
    assert_eq!(hot(place), 0);
    assert_eq!(push().unwrap(), first);
    let conflict = store.push(&[rename("a", "u1", BOB).expect(Expected::New)]).unwrap_err();
    assert!(matches!(conflict, PushError::Conflict { found: 1, .. }), "{conflict:?}");
    let more = store.push(&[
        rename("a", "u1", BOB).expect(Expected::Version(1)),
        rename("a", "u3", BOB),
        rename("b", "u1", BOB),
    ]);
    let places: Vec<_> = more.unwrap().iter().map(|event| (event.position(), event.version())).collect();
    assert_eq!(places, [(3, 2), (4, 1), (1, 1)]);
    // The events of one aggregate are partly in the archive, and partly in the main table.
    assert_eq!(store.push(&[rename("a", "u1", BOB)]).unwrap()[0].version(), 3);
    store.archive(&all(), &mut |_| ()).unwrap();
    assert_eq!(store.push(&[rename("a", "u1", BOB)]).unwrap()[0].version(), 4);
}

// Contract: K4, C3, L3
both!(pages_cross_the_border);
pub(crate) fn pages_cross_the_border<P: Place>(place: &P) {
    let store = store(place, &[]);
    fill(&store, 30);
    // The last archived event is large, and one event comes after it.
    let large = "x".repeat(50_000);
    store.push(&[rename("a", "u1", &large)]).unwrap();
    store.archive(&all(), &mut |_| ()).unwrap();
    store.push(&[rename("a", "u1", &large)]).unwrap();
    fill(&store, 10);
    let positions = |slices: &[EventBatch]| -> Vec<i64> {
        slices.iter().flat_map(|slice| slice.events.iter().map(Event::position)).collect()
    };
    let ids: Vec<_> = store.filter(&Query::new().or(SubQuery::new().instance("a"))).unwrap();
    for limit in [1, 2, 5, 30, 31, 32, 41, 42, 1000] {
        for max_bytes in [1, 400, 60_000, 1_000_000] {
            for after in [0, 1, 15, 30, 31, 32, 40, 42] {
                let slices = read(&store, "a", after, limit, max_bytes);
                assert_eq!(positions(&slices), (after + 1..=42).collect::<Vec<_>>(), "{limit} {max_bytes} {after}");
                for slice in &slices {
                    assert!(slice.events.len() <= limit);
                    let bytes: usize =
                        slice.events.iter().map(|event| event.payload_json().len() + event.metadata_json().len()).sum();
                    assert!(bytes <= max_bytes || slice.events.len() == 1, "{bytes} of {max_bytes}");
                    let at = usize::try_from(slice.after).unwrap();
                    assert_eq!(slice.at, at.checked_sub(1).map(|at| ids[at].id()));
                    assert!(
                        slice.events.iter().all(|event| *event == ids[usize::try_from(event.position()).unwrap() - 1])
                    );
                }
            }
        }
    }
}

// Contract: K4, L1, L2
both!(archiving_goes_on_beside_everything_else);
pub(crate) fn archiving_goes_on_beside_everything_else<P: Place>(place: &P) {
    let store = store(place, &[&users(1)]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        for _ in 0..2 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..150 {
                    store.push(&[rename("a", &format!("u{}", n % 5), ADA), rename("b", "u1", ADA)]).unwrap();
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            let store = store.clone();
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    store.archive(&Archival::before(SystemTime::now()), &mut |_| ()).unwrap();
                }
            });
        }
        let store = store.clone();
        scope.spawn(move || {
            let handler = handler_with(&store, users(1), HandlerConfig::default().bulk_limit(3));
            while !stop.load(Ordering::Relaxed) {
                handler.trigger(&["a", "b"]).unwrap();
                for instance in ["a", "b"] {
                    let slices = read(&store, instance, 0, 50, 1_000_000);
                    let found: Vec<i64> =
                        slices.iter().flat_map(|slice| slice.events.iter().map(Event::position)).collect();
                    assert!((1..).zip(&found).all(|(at, position)| at == *position), "{found:?}");
                    assert!(slices.iter().all(|slice| slice.after == 0 || slice.at.is_some()));
                }
                let all = store.positions(Query::new(), 64);
                assert!(all.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].1 + 1 == pair[1].1), "{all:?}");
            }
        });
    });
    handler(&store, users(1)).trigger(&["a", "b"]).unwrap();
    store.archive(&all(), &mut |_| ()).unwrap();
    assert_eq!((hot(place), store.positions(Query::new(), 1000).len()), (0, 600));
    assert_lawful(&store, &users(1));
}

// Contract: K2, K3, K4
both!(archived_events_are_erased_and_removed_too);
pub(crate) fn archived_events_are_erased_and_removed_too<P: Place>(place: &P) {
    let store = store(place, &[]);
    fill(&store, 12);
    store.archive(&all().instance("a"), &mut |_| ()).unwrap();
    fill(&store, 4);
    let report = store.redact(&Redaction::of_aggregate("a", "user", "u0"), &mut |_| ()).unwrap();
    assert_eq!(crate::by_table(&report.tables), [("events".to_owned(), 2), ("events_archive".to_owned(), 4)]);
    store.redact(&Redaction::of_event("a", 2), &mut |_| ()).unwrap();
    let erased: Vec<i64> =
        store.filter(&Query::new()).unwrap().iter().filter(|event| event.is_redacted()).map(Event::position).collect();
    assert_eq!(erased, [1, 2, 4, 7, 10, 13, 16]);
    store.remove("a", &mut |_| ()).unwrap();
    assert_eq!(place.traces(ADA), [""; 0]);
    store.reopen("a").unwrap();
    assert_eq!(store.push(&[add("a", "u0", ADA).expect(Expected::New)]).unwrap()[0].position(), 17);
    assert_eq!(store.archive(&all().instance("a"), &mut |_| ()).unwrap().events, 1);
    assert_eq!(store.positions(Query::new().or(SubQuery::new().instance("a")), 10), [("a".to_owned(), 17)]);
}

// Contract: K4
both!(a_dry_run_counts_what_is_archived);
pub(crate) fn a_dry_run_counts_what_is_archived<P: Place>(place: &P) {
    let store = store(place, &[]);
    for _ in 0..3 {
        store.push(&(0..500).map(|n| rename("a", &format!("u{n}"), ADA)).collect::<Vec<_>>()).unwrap();
    }
    fill(&store, 3);
    let before = place.dump();
    let dry = store.archive_dry_run(&all()).unwrap();
    assert_eq!((dry.dry_run, dry.events, dry.instances), (true, 1505, 2));
    assert_eq!(store.archive_dry_run(&all().instance("b")).unwrap().events, 2);
    assert_eq!(place.dump(), before, "a dry run changes nothing");
    assert_eq!(store.archive(&Archival::before(SystemTime::UNIX_EPOCH), &mut |_| ()).unwrap().events, 0);
    let far_past = SystemTime::UNIX_EPOCH - Duration::from_hours(24 * 365 * 500_000);
    assert_eq!(store.archive(&Archival::before(far_past), &mut |_| ()).unwrap().events, 0, "nothing is older");
    let mut steps = Vec::new();
    let real = store.archive(&all(), &mut |step| steps.push(step.rows)).unwrap();
    assert_eq!((real.events, real.instances, steps), (1505, 2, vec![1000, 503, 2]));
    assert_eq!(store.archive(&all(), &mut |_| ()).unwrap().events, 0);
    for error in
        [store.archive(&all().instance("x"), &mut |_| ()).err(), store.archive_dry_run(&all().instance("x")).err()]
    {
        assert!(matches!(error, Some(RetentionError::UnknownInstance { .. })), "{error:?}");
    }
}
