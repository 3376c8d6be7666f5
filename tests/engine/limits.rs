//! The configuration bounds the memory: Contract: C3, L9.

use readside::{NewEvent, Payload};

use crate::{Counted, config, handler, push, rows, store};

fn large(instance: &str, bytes: usize) -> NewEvent {
    let payload = format!(r#"{{"by":1,"ballast":"{}"}}"#, "x".repeat(bytes));
    NewEvent::raw(instance, Counted::AGGREGATE, "x", Counted::TYPE).payload_json(payload)
}

// Contract: C3
#[test]
fn a_fetch_holds_no_more_bytes_than_it_may_but_at_least_an_event() {
    let (store, _) = store();
    push(&store, &(0..30).map(|_| large("a", 10_000)).collect::<Vec<_>>());
    push(&store, &(0..30).map(|_| large("b", 10)).collect::<Vec<_>>());
    let handler = handler(&store, config().fetch_bytes(50_000));
    let fetched = handler.fetch_events(&["a", "b"]).unwrap();
    let of = |instance| fetched.events().filter(|event| event.instance() == instance).count();
    assert_eq!((of("a"), of("b")), (2, 30), "each instance has its share");
    assert_eq!(fetched.more().len(), 1);
    handler.trigger(&["a", "b"]).unwrap();
    assert_eq!(rows(&store), ["a/x=30", "b/x=30"]);
    let tiny = crate::handler(&store, config().fetch_bytes(1));
    push(&store, &[large("a", 10_000), large("a", 10_000)]);
    assert_eq!(tiny.fetch_events(&["a"]).unwrap().events().count(), 1);
    tiny.trigger(&["a"]).unwrap();
    assert_eq!(rows(&store)[0], "a/x=32");
}

// Contract: L9: many instances are processed in batches.
#[test]
fn instances_share_a_fetch_in_batches() {
    let (store, _) = store();
    let names: Vec<String> = (0..25).map(|n| format!("i{n:02}")).collect();
    push(&store, &names.iter().map(|name| crate::count(name, "x", 2)).collect::<Vec<_>>());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for concurrent_instances in [0, 1, 7] {
        handler(&store, config().concurrent_instances(concurrent_instances)).trigger(&names).unwrap();
        assert_eq!(rows(&store).len(), 25);
    }
}
