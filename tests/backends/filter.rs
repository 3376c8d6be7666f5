//! Contract: A5 on every backend.

use readside::query::{HeadsRequest, Query, SubQuery};

use crate::Fixture;
use crate::push::command;
use readside::NewEvent;

fn fill(fixture: &Fixture) {
    let mut commands: Vec<NewEvent> = Vec::new();
    for instance in ["b", "a", "ä", "B"] {
        for n in 1..=3 {
            commands.push(command(instance, &format!("u{n}"), "added").owner(&format!("o{n}")).creator("c"));
            commands.push(NewEvent::raw(instance, "org", &format!("g{n}"), "org.added"));
        }
    }
    fixture.store.push(&commands).unwrap();
}

fn found(fixture: &Fixture, query: &Query) -> Vec<String> {
    let name = |event: &readside::Event| format!("{}{}", event.instance(), event.position());
    fixture.store.filter(query).unwrap().iter().map(name).collect()
}

// Contract: A5
both!(queries_find_what_they_name);
pub(crate) fn queries_find_what_they_name(fixture: &Fixture) {
    fill(fixture);
    let sub = || SubQuery::new().instance("a");
    let one = |sub| found(fixture, &Query::new().or(sub));
    assert_eq!(found(fixture, &Query::new()).len(), 24);
    assert_eq!(one(sub()), ["a1", "a2", "a3", "a4", "a5", "a6"]);
    assert_eq!(one(sub().aggregate_type("user")), ["a1", "a3", "a5"]);
    assert_eq!(one(sub().exclude_aggregate_type("user")), ["a2", "a4", "a6"]);
    assert_eq!(one(sub().aggregate_id("u1").aggregate_id("g3")), ["a1", "a6"]);
    assert_eq!(one(sub().event_type("org.added").after(2).before(6)), ["a4"]);
    assert_eq!(one(sub().exclude_event_type("org.added").owner("o2")), ["a3"]);
    assert_eq!(one(sub().creator("c").after(1)), ["a3", "a5"]);
    assert_eq!(one(SubQuery::new().exclude_instance("a").after(5)), ["B6", "b6", "ä6"]);
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    assert_eq!(one(sub().created_after(long_ago)).len(), 6);
    assert!(one(sub().created_before(long_ago)).is_empty());
    let either = Query::new().or(sub().aggregate_id("u1")).or(SubQuery::new().instance("b").before(2));
    assert_eq!(found(fixture, &either), ["a1", "b1"]);
}

// Contract: A5
both!(pages_and_limits);
pub(crate) fn pages_and_limits(fixture: &Fixture) {
    fill(fixture);
    let query = Query::new().or(SubQuery::new().aggregate_type("org"));
    let all = found(fixture, &query);
    assert_eq!(all, ["B2", "B4", "B6", "a2", "a4", "a6", "b2", "b4", "b6", "ä2", "ä4", "ä6"]);
    assert_eq!(found(fixture, &query.clone().limit(2)), ["B2", "B4"]);
    assert_eq!(found(fixture, &query.clone().limit(0)).len(), 12);
    assert_eq!(found(fixture, &query.clone().descending().limit(2)), ["ä6", "ä4"]);
    assert_eq!(found(fixture, &query.clone().resume("B", 4).limit(3)), ["B6", "a2", "a4"]);
    assert_eq!(found(fixture, &query.descending().resume("a", 4).limit(2)), ["a2", "B6"]);
}

// Contract: A5
both!(a_nul_is_refused_by_name);
pub(crate) fn a_nul_is_refused_by_name(fixture: &Fixture) {
    fill(fixture);
    let sub = || SubQuery::new();
    for query in [sub().instance("a\0b"), sub().aggregate_id("\0"), sub().exclude_event_type("x\0")] {
        let query = Query::new().or(query);
        for error in [fixture.store.filter(&query).unwrap_err(), fixture.store.instance_ids(&query).unwrap_err()] {
            assert_eq!(error.kind(), readside::error::StoreErrorKind::Data);
            assert!(readside::error::chain(&error).contains("holds the character NUL at byte"), "{error:?}");
        }
    }
}

// Contract: A5
both!(pages_are_bounded_by_bytes);
pub(crate) fn pages_are_bounded_by_bytes(fixture: &Fixture) {
    let user = |instance: &str, id: usize, bytes: usize| {
        NewEvent::raw(instance, "user", &format!("u{id}"), "added")
            .payload_json(format!("\"{}\"", "x".repeat(bytes - 2)))
    };
    let sizes = [1000, 1000, 3000, 100, 100, 5000, 10, 10];
    let commands: Vec<NewEvent> =
        sizes.iter().enumerate().map(|(at, size)| user(if at < 4 { "a" } else { "b" }, at, *size)).collect();
    fixture.store.push(&commands).unwrap();
    let pages = |query: Query| {
        let (mut next, mut pages) = (query.clone(), Vec::new());
        loop {
            let events = fixture.store.filter(&next).unwrap();
            let Some(last) = events.last() else { return pages };
            next = query.clone().resume(last.instance(), last.position());
            pages
                .push(events.iter().map(|e| format!("{}{}", e.instance(), e.position())).collect::<Vec<_>>().join(" "));
        }
    };
    // Metadata are `{}`.
    let query = Query::new().max_bytes(2010);
    assert_eq!(pages(query.clone()), ["a1 a2", "a3", "a4 b1", "b2", "b3 b4"]);
    assert_eq!(pages(query.clone().descending()), ["b4 b3", "b2", "b1 a4", "a3", "a2 a1"]);
    assert_eq!(pages(query.limit(1)).len(), 8);
    assert_eq!(pages(Query::new().max_bytes(1)).len(), 8);
    assert_eq!(pages(Query::new().max_bytes(usize::MAX)).len(), 1);
    assert_eq!(fixture.store.all(Query::new(), 3).len(), 8);
}

// Contract: A5
both!(heads_and_instance_ids);
pub(crate) fn heads_and_instance_ids(fixture: &Fixture) {
    fill(fixture);
    let page = |after: Option<&str>, types: &[&str], limit| {
        let request = HeadsRequest {
            aggregate_types: types.iter().map(ToString::to_string).collect(),
            after: after.map(Into::into),
            limit,
            ..HeadsRequest::default()
        };
        let heads = fixture.store.heads(&request).unwrap();
        heads.iter().map(|h| (h.instance.to_string(), h.head, h.relevant)).collect::<Vec<_>>()
    };
    assert_eq!(page(None, &["user"], 2), [("B".to_owned(), 6, 5), ("a".to_owned(), 6, 5)]);
    assert_eq!(page(Some("a"), &["none"], 9), [("b".to_owned(), 6, 0), ("ä".to_owned(), 6, 0)]);
    assert_eq!(page(Some("b"), &[], 9), [("ä".to_owned(), 6, 6)]);
    let ids = fixture.store.instance_ids(&Query::new().or(SubQuery::new().exclude_instance("b"))).unwrap();
    assert_eq!(ids.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["B", "a", "ä"]);
}
