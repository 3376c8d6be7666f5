//! What a queue owes its receiver, tested without a single wait.

use super::*;

fn event(instance: &str, aggregate: &str, position: i64) -> Event {
    Event::new(instance, aggregate, "1", &format!("{aggregate}.done")).with_position(position)
}

fn positions(received: &Received) -> Vec<(String, i64)> {
    received.events.iter().map(|event| (event.instance().to_owned(), event.position())).collect()
}

fn small(events: usize, dirty: usize) -> Limits {
    Limits { events, dirty, ..Limits::default() }
}

// Contract: A6
#[test]
fn events_come_in_order_and_once() {
    let bus = Bus::default();
    let subscription = bus.subscribe(Topics::all());
    bus.publish(&[event("a", "user", 1), event("b", "user", 1)]);
    bus.publish(&[event("a", "user", 2)]);
    let received = subscription.recv_timeout(Duration::MAX);
    assert_eq!(positions(&received), [("a".into(), 1), ("b".into(), 1), ("a".into(), 2)]);
    assert!(received.dirty.is_empty() && !received.all);
    assert!(subscription.recv_timeout(Duration::ZERO).is_empty());
}

// Contract: A6
#[test]
fn topics_join_aggregate_and_event_types_by_or() {
    let bus = Bus::default();
    let subscription = bus.subscribe(Topics::all().aggregate_type("user").event_type("order.done"));
    bus.publish(&[event("a", "user", 1), event("a", "order", 2), event("a", "bill", 3)]);
    assert_eq!(positions(&subscription.drain()), [("a".into(), 1), ("a".into(), 2)]);
    bus.publish(&[event("a", "bill", 4)]);
    assert!(subscription.drain().is_empty());
}

// Contract: A6, L9
#[test]
fn overflow_marks_the_instance_and_keeps_it_marked_until_taken() {
    let bus = Bus::default();
    let subscription = bus.subscribe_with(Topics::all(), small(2, 8));
    bus.publish(&[event("a", "user", 1), event("a", "user", 2), event("a", "user", 3), event("b", "user", 1)]);
    let received = subscription.drain();
    assert_eq!(positions(&received), [("a".into(), 1), ("a".into(), 2)]);
    assert_eq!(received.dirty, ["a".into(), "b".into()]);
    bus.mark_dirty(&["a".into()]);
    bus.publish(&[event("a", "user", 4), event("b", "user", 2)]);
    let received = subscription.drain();
    assert_eq!(positions(&received), [("b".into(), 2)], "an event behind a mark would overtake it");
    assert_eq!(received.dirty, ["a".into()]);
    bus.publish(&[event("a", "user", 5)]);
    assert_eq!(positions(&subscription.drain()), [("a".into(), 5)]);
}

// Contract: L9
#[test]
fn too_many_dirty_instances_become_all() {
    let bus = Bus::default();
    let subscription = bus.subscribe_with(Topics::all(), small(0, 2));
    bus.publish(&[event("a", "user", 1), event("b", "user", 1)]);
    bus.publish(&[event("c", "user", 1), event("d", "user", 1)]);
    let received = subscription.drain();
    assert!(received.events.is_empty() && received.dirty.is_empty() && received.all);
    assert!(subscription.drain().is_empty());
}

// Contract: L9
#[test]
fn bytes_are_bounded_too() {
    let bus = Bus::default();
    let limits = Limits { bytes: 100, ..Limits::default() };
    let subscription = bus.subscribe_with(Topics::all(), limits);
    let large = event("b", "user", 1).with_payload(format!("{:?}", "x".repeat(200)));
    bus.publish(&[event("a", "user", 1), large, event("a", "user", 2)]);
    let received = subscription.drain();
    assert_eq!(positions(&received), [("a".into(), 1), ("a".into(), 2)]);
    assert_eq!(received.dirty, ["b".into()]);
}

/// Whatever the sizes, each event is either handed over, or covered by a mark that comes with the events before it or
/// later.
// Contract: A6
#[test]
fn nothing_is_lost_in_any_size_of_queue() {
    for (capacity, dirty, step) in (0..4).flat_map(|c| (0..3).flat_map(move |d| (1..7).map(move |s| (c, d, s)))) {
        let bus = Bus::default();
        let subscription = bus.subscribe_with(Topics::all(), small(capacity, dirty));
        let mut seen = [0i64; 3];
        for published in 1..=24i64 {
            for instance in ["0", "1", "2"] {
                bus.publish(&[event(instance, "user", published)]);
            }
            if published % step != 0 {
                continue;
            }
            let received = subscription.drain();
            for event in &received.events {
                let at: usize = event.instance().parse().unwrap();
                assert_eq!(event.position(), seen[at] + 1, "an event overtook a mark");
                seen[at] = event.position();
            }
            for (at, seen) in seen.iter_mut().enumerate() {
                if received.all || received.dirty.iter().any(|instance| **instance == *at.to_string()) {
                    *seen = published;
                }
                assert_eq!(*seen, published, "capacity {capacity}, dirty {dirty}, step {step}");
            }
        }
    }
}

// Contract: A6
#[test]
fn a_dropped_subscription_is_forgotten() {
    let bus = Bus::default();
    let (first, second) = (bus.subscribe(Topics::all()), bus.subscribe(Topics::all()));
    first.unsubscribe();
    bus.publish(&[event("a", "user", 1)]);
    assert_eq!(bus.queues.lock().len(), 1);
    assert_eq!(second.drain().events.len(), 1);
}

// Contract: J3
#[test]
fn close_wakes_a_waiting_receiver() {
    let bus = Bus::default();
    let subscription = bus.subscribe(Topics::all());
    bus.publish(&[event("a", "user", 1)]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let first = subscription.recv_timeout(Duration::MAX);
            (first.events.len(), subscription.recv_timeout(Duration::MAX).is_empty())
        });
        subscription.close();
        assert_eq!(waiting.join().unwrap(), (1, true));
    });
    bus.publish(&[event("a", "user", 2)]);
    assert!(subscription.is_closed() && subscription.drain().is_empty());
}

// Contract: A4
#[test]
fn a_token_marks_only_when_it_is_fired() {
    let bus = Arc::new(Bus::default());
    let subscription = bus.subscribe(Topics::all().aggregate_type("user"));
    let token = || DirtyToken::new(Arc::clone(&bus), [("a".into(), "user".into()), ("a".into(), "z".into())].into());
    drop(token());
    assert!(subscription.drain().is_empty());
    assert_eq!(token().instances(), ["a".into()]);
    token().fire();
    assert_eq!(subscription.drain().dirty, ["a".into()]);
}

// Contract: A7, L9: news that gather while nobody takes them are taken together, each pair once.
#[test]
fn what_is_untold_comes_together() {
    let untold = Arc::new(Untold::default());
    let bus = Bus::telling(Some(Arc::clone(&untold)));
    for position in 1..=1000 {
        bus.publish(&[event("a", "user", position), event("b", "user", position)]);
    }
    let news = untold.take().unwrap();
    assert_eq!(news.instances, ["a", "b"].map(|instance| (instance.into(), "user".into())));
    assert!(!news.all);
    for n in 0..=10_000 {
        bus.publish(&[event(&n.to_string(), "user", 1)]);
    }
    untold.close();
    let news = untold.take().unwrap();
    assert!(news.all && news.instances.is_empty(), "what is bounded says that there is more");
    assert_eq!(untold.take(), None);
}
