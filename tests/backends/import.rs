//! Events that keep the ids and times that they had elsewhere: Contract: A1, A2, L10 on every backend.

use std::time::{Duration, SystemTime};

use readside::error::{InvalidEvent, PushError};
use readside::query::{Query, SubQuery};
use readside::{Expected, NewEvent};
use uuid::Uuid;

use crate::Fixture;
use crate::push::command;

/// This many seconds after a day in 2023.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number << 64 | 0x7000_8000)
}

// Contract: A1
both!(an_import_keeps_ids_and_times);
fn an_import_keeps_ids_and_times(fixture: &Fixture) {
    let fine = at(2) + Duration::from_nanos(1_500);
    let stored = fixture.store.import(&[
        command("a", "u1", "added").id(id(7)).created_at(at(1)),
        command("b", "u1", "added").created_at(at(9)),
        command("a", "u1", "renamed").id(id(3)).created_at(at(1)).expect(Expected::Version(1)),
        command("a", "u2", "added").created_at(fine),
    ]);
    let stored = stored.unwrap();
    assert_eq!((stored[0].id(), stored[2].id()), (id(7), id(3)));
    let times: Vec<SystemTime> = stored.iter().map(readside::Event::created_at).collect();
    assert_eq!(times, [at(1), at(9), at(1), at(2) + Duration::from_micros(1)], "cut to microseconds");
    let places: Vec<(i64, i64)> = stored.iter().map(|event| (event.position(), event.version())).collect();
    assert_eq!(places, [(1, 1), (1, 1), (2, 2), (3, 1)]);
    let found = fixture.store.filter(&Query::new().or(SubQuery::new().instance("a"))).unwrap();
    assert_eq!(found, [stored[0].clone(), stored[2].clone(), stored[3].clone()]);
    let next = fixture.store.push(&[command("a", "u3", "added")]).unwrap();
    assert!(next[0].created_at() > at(1_000_000), "the clock of the store goes on");
    let mixed = fixture.store.import(&[command("a", "u4", "added"), command("a", "u4", "renamed").id(id(1))]).unwrap();
    assert!(mixed[0].created_at() >= next[0].created_at() && mixed[1].id() == id(1));
}

// Contract: A1
both!(times_never_go_back);
fn times_never_go_back(fixture: &Fixture) {
    let import = |events: &[(&str, u64)]| {
        let events: Vec<NewEvent> =
            events.iter().map(|(instance, time)| command(instance, "u", "t").created_at(at(*time))).collect();
        fixture.store.import(&events)
    };
    let back = |refused: Result<_, PushError>| match refused {
        Err(error @ PushError::TimeGoesBack { .. }) => {
            assert!(error.to_string().contains("import events in their order"), "{error}");
            let PushError::TimeGoesBack { index, instance, created_at, before } = error else { unreachable!() };
            (index, instance, created_at, before)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(back(import(&[("a", 5), ("b", 1), ("a", 4)])), (2, "a".to_owned(), at(4), at(5)));
    import(&[("a", 5), ("b", 1)]).unwrap();
    assert_eq!(back(import(&[("b", 1), ("a", 4)])), (1, "a".to_owned(), at(4), at(5)));
    import(&[("a", 5)]).unwrap();
    let now = fixture.store.push(&[command("a", "u", "t")]).unwrap()[0].created_at();
    assert_eq!(back(import(&[("a", 5)])), (0, "a".to_owned(), at(5), now));
    // An event without a given time takes the clock's time. Later events cannot have an earlier time.
    let given = fixture.store.import(&[command("b", "u", "t"), command("b", "u", "t").created_at(at(2))]);
    assert_eq!(back(given).0, 1);
    let count = |instance| fixture.store.filter(&Query::new().or(SubQuery::new().instance(instance))).unwrap().len();
    assert_eq!((count("a"), count("b")), (3, 1), "what is refused leaves nothing");
}

// Contract: A1
both!(times_to_come_are_refused);
fn times_to_come_are_refused(fixture: &Fixture) {
    let later = SystemTime::now() + Duration::from_hours(1);
    let refused = fixture.store.import(&[command("a", "u", "t"), command("a", "u", "t").created_at(later)]);
    let Err(PushError::TimeAhead { index: 1, now, .. }) = refused else { panic!("{refused:?}") };
    assert!(now < later);
    let never = fixture.store.import(&[command("a", "u", "t").created_at(at(u64::from(u32::MAX) * 100))]);
    assert!(matches!(never, Err(PushError::Invalid { field: "created_at", .. })), "{never:?}");
    assert!(fixture.store.filter(&Query::new()).unwrap().is_empty());
}

// Contract: L10: the id of an event identifies it.
both!(an_id_exists_once_in_an_instance);
fn an_id_exists_once_in_an_instance(fixture: &Fixture) {
    let import = |instance: &str, ids: &[Uuid]| {
        let events: Vec<NewEvent> = ids.iter().map(|id| command(instance, "u", "t").id(*id)).collect();
        fixture.store.import(&events)
    };
    let exists = |refused: Result<_, PushError>| match refused {
        Err(PushError::IdExists { index, instance, id }) => (index, instance, id),
        other => panic!("{other:?}"),
    };
    assert_eq!(exists(import("a", &[id(1), id(2), id(1)])), (2, "a".to_owned(), id(1)));
    import("a", &[id(1), id(2)]).unwrap();
    import("b", &[id(1)]).unwrap();
    assert_eq!(exists(import("a", &[id(3), id(2)])), (1, "a".to_owned(), id(2)));
    let pushed = fixture.store.push(&[command("a", "u", "t")]).unwrap();
    assert_eq!(exists(import("a", &[pushed[0].id()])), (0, "a".to_owned(), pushed[0].id()));
    assert_eq!(fixture.store.filter(&Query::new()).unwrap().len(), 4);
    let nil = import("a", &[Uuid::nil()]);
    assert!(matches!(nil, Err(PushError::Invalid { field: "id", source: InvalidEvent::Empty, .. })), "{nil:?}");
}

// Contract: A1: only an import may bring times.
both!(a_push_refuses_what_only_an_import_keeps);
fn a_push_refuses_what_only_an_import_keeps(fixture: &Fixture) {
    let field = |event: NewEvent| match fixture.store.push(&[command("a", "u", "t"), event]) {
        Err(PushError::Invalid { index: 1, field, source: InvalidEvent::OfImport }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(command("a", "u", "t").id(id(1))), "id");
    assert_eq!(field(command("a", "u", "t").created_at(at(1))), "created_at");
    assert!(fixture.store.filter(&Query::new()).unwrap().is_empty());
}

// Contract: K1
both!(an_import_with_push_keys_can_be_repeated);
fn an_import_with_push_keys_can_be_repeated(fixture: &Fixture) {
    let import = |time: u64, number: u128| {
        fixture.store.import(&[command("a", "u", "t").push_key("k").created_at(at(time)).id(id(number))])
    };
    let first = import(5, 1).unwrap();
    fixture.store.push(&[command("a", "u", "t")]).unwrap();
    assert_eq!(import(5, 1).unwrap(), first);
    for (time, number) in [(6, 1), (5, 2)] {
        let other = import(time, number);
        assert!(matches!(other, Err(PushError::PushKeyReused { .. })), "{other:?}");
    }
}
