//! Decisions about one aggregate: Contract: A2 on every backend.

use std::collections::BTreeSet;
use std::time::SystemTime;

use readside::error::{DecideError, PayloadError, PushError};
use readside::failure::By;
use readside::retention::{Archival, Redaction};
use readside::{Aggregate, Event, Expected, NewEvent};
use serde_json::json;

use crate::Fixture;

/// How much was taken according to the events, and which events the fold saw.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    taken: u64,
    seen: Vec<i64>,
}

impl Aggregate for Stock {
    const TYPE: &'static str = "stock";
    fn apply(&mut self, event: &Event) -> Result<(), PayloadError> {
        self.seen.push(event.version());
        if !event.is_redacted() {
            self.taken += event.payload::<u64>()?;
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("only {0} are left")]
pub(crate) struct SoldOut(u64);

pub(crate) type Decide<'d> = &'d mut dyn FnMut(&Stock) -> Result<Vec<NewEvent>, SoldOut>;
pub(crate) type Decided = Result<Vec<Event>, DecideError<SoldOut>>;

fn take(count: u64) -> NewEvent {
    NewEvent::raw("a", "stock", "s1", "stock.taken").payload(&count)
}

fn takes(most: u64, count: u64) -> impl FnMut(&Stock) -> Result<Vec<NewEvent>, SoldOut> {
    move |stock| if stock.taken + count > most { Err(SoldOut(most - stock.taken)) } else { Ok(vec![take(count)]) }
}

// Contract: A2
both!(a_decision_sees_all_events_of_its_aggregate);
fn a_decision_sees_all_events_of_its_aggregate(fixture: &Fixture) {
    let others = [("b", "stock", "s1"), ("a", "stock", "s2"), ("a", "shelf", "s1")];
    let others = others.map(|(instance, kind, id)| NewEvent::raw(instance, kind, id, "stock.taken").payload(&50));
    fixture.store.push(&others).unwrap();
    let first = fixture.store.decide("s1", &mut takes(2000, 1)).unwrap();
    assert_eq!((first[0].version(), first[0].position()), (1, 3));
    // The events fill more than one page. Some are archived, and one is erased.
    fixture.store.push(&(0..1100).map(|_| take(1)).collect::<Vec<_>>()).unwrap();
    let by = By::new("a test", "a test");
    fixture.store.archived(&Archival::before(SystemTime::now()).instance("a"), &by);
    fixture.store.redacted(&Redaction::of_event("a", 700), &by);
    let mut seen = Vec::new();
    let decided = fixture.store.decide("s1", &mut |stock: &Stock| {
        seen.clone_from(&stock.seen);
        Ok(vec![take(stock.taken), take(0).expect(Expected::Version(1102))])
    });
    let decided = decided.unwrap();
    assert_eq!(seen, (1..=1101).collect::<Vec<i64>>());
    assert_eq!(decided[0].payload::<u64>().unwrap(), 1100);
    assert_eq!((decided[0].version(), decided[1].version()), (1102, 1103));
    let refused = fixture.store.decide("s1", &mut takes(2205, 6));
    assert!(matches!(refused, Err(DecideError::Refused(SoldOut(5)))), "{refused:?}");
    assert!(fixture.store.decide("s1", &mut |_: &Stock| Ok(Vec::new())).unwrap().is_empty());
}

// Contract: A2
both!(a_decision_that_was_overtaken_is_made_again);
fn a_decision_that_was_overtaken_is_made_again(fixture: &Fixture) {
    let mut seen = Vec::new();
    let decided = fixture.store.decide("s1", &mut |stock: &Stock| {
        seen.push(stock.seen.clone());
        if seen.len() < 3 {
            fixture.store.push(&[take(10)]).unwrap();
        }
        Ok(vec![take(1)])
    });
    assert_eq!(seen, [vec![], vec![1], vec![1, 2]], "only what is new is read again");
    assert_eq!(decided.unwrap()[0].version(), 3);
    let mut tries = 0;
    let lost = fixture.store.decide("s1", &mut |_: &Stock| {
        tries += 1;
        fixture.store.push(&[take(10)]).unwrap();
        Ok(vec![take(1)])
    });
    let Err(error @ DecideError::Contended { .. }) = lost else { panic!("{lost:?}") };
    let DecideError::Contended { tries: told, source, .. } = &error else { unreachable!() };
    assert_eq!((tries, *told), (10, 10));
    let PushError::Conflict { expected, found, .. } = &**source else { panic!("{source:?}") };
    assert_eq!((*expected, *found), (Expected::Version(12), 13), "the last conflict");
    assert!(readside::error::chain(&error).contains("10 tries to decide"), "{error}");
}

// Contract: A2, L1
both!(no_decision_is_made_on_an_old_state);
fn no_decision_is_made_on_an_old_state(fixture: &Fixture) {
    const MOST: u64 = 9;
    std::thread::scope(|scope| {
        let work = || {
            let mut stored = Vec::new();
            loop {
                match fixture.store.decide("s1", &mut takes(MOST, 1)) {
                    Ok(events) => stored.extend(events.iter().map(Event::version)),
                    Err(DecideError::Refused(SoldOut(left))) => return (stored, left),
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        let done: Vec<(Vec<i64>, u64)> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(done.iter().all(|(_, left)| *left == 0));
        let versions: BTreeSet<i64> = done.iter().flat_map(|(stored, _)| stored.iter().copied()).collect();
        assert_eq!(versions.into_iter().collect::<Vec<_>>(), (1..=9).collect::<Vec<i64>>());
    });
}

// Contract: A1, A2
both!(a_decision_that_cannot_be_stored_says_why);
fn a_decision_that_cannot_be_stored_says_why(fixture: &Fixture) {
    let decide = |event: fn() -> NewEvent| fixture.store.decide("s1", &mut |_: &Stock| Ok(vec![take(1), event()]));
    for (foreign, told) in [
        (decide(|| NewEvent::raw("b", "stock", "s1", "t")), "stock \"s1\" of instance \"b\""),
        (decide(|| NewEvent::raw("a", "shelf", "s1", "t")), "shelf \"s1\" of instance \"a\""),
        (decide(|| NewEvent::raw("a", "stock", "s2", "t")), "stock \"s2\" of instance \"a\""),
    ] {
        let Err(DecideError::Foreign { index: 1, found, wanted }) = foreign else { panic!("{foreign:?}") };
        assert_eq!((found.as_str(), wanted.as_str()), (told, "stock \"s1\" of instance \"a\""));
    }
    let pushed = |decided| match decided {
        Err(DecideError::Push(error)) => *error,
        other => panic!("{other:?}"),
    };
    let unmet = decide(|| take(1).expect(Expected::Version(7)));
    assert!(matches!(pushed(unmet), PushError::Conflict { found: 1, .. }));
    fixture.store.push(&[take(1).add_unique("name", "ada", "taken")]).unwrap();
    let taken = decide(|| take(1).add_unique("name", "ada", "taken"));
    assert!(matches!(pushed(taken), PushError::UniqueViolation { .. }));
    fixture.store.push(&[take(1).payload(&json!("many"))]).unwrap();
    let unread = decide(|| take(1));
    let Err(error @ DecideError::Fold { position: 2, .. }) = unread else { panic!("{unread:?}") };
    assert!(error.to_string().contains("folding stock \"s1\" of instance \"a\" failed at position 2"), "{error}");
}
