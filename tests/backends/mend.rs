//! What a person does about failed events, on every backend: Contract: H2, H3, B5.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use readside::error::FailureError;
use readside::failure::{Action, By, FailureClass, FailureQuery, FailureStatus, RetryOutcome};
use readside::prelude::*;
use readside::{HandlerConfig, NewEvent, Policy, ProjectionHandler};
use serde::{Deserialize, Serialize};

use crate::Fixture;

#[derive(Serialize, Deserialize)]
struct Put {
    value: i64,
}
impl Payload for Put {
    const AGGREGATE: &str = "item";
    const TYPE: &str = "item.put";
}

/// Keeps the last value and counts the changes, so that the order and the number of changes show. Values below
/// `-mended` are refused.
fn items(mended: &Arc<AtomicI64>) -> Projection {
    let mended = mended.clone();
    Projection::new("items", 1)
        .table(
            Table::new("items")
                .column(text("id"))
                .column(integer("value"))
                .column(integer("changes").default(0))
                .primary_key(["id"]),
        )
        .on(move |e, p: Put| {
            if p.value < -mended.load(Ordering::SeqCst) {
                return Err(ReduceError::new("not yet"));
            }
            multi([
                upsert(["id"], [set("id", e.aggregate_id()), set("value", p.value)]),
                update([increment("changes", 1)], [eq("id", e.aggregate_id())]),
            ])
        })
}

struct Bench<'f> {
    fixture: &'f Fixture,
    projection: Projection,
    handler: ProjectionHandler,
    mended: Arc<AtomicI64>,
}

fn bench(fixture: &Fixture, policy: Policy) -> Bench<'_> {
    let mended = Arc::new(AtomicI64::new(0));
    let projection = items(&mended);
    let config = HandlerConfig::default().retries(0).max_failure_count(1).bulk_limit(7).policy(policy);
    let handler = ProjectionHandler::new(fixture.source(), fixture.models(), projection.clone(), config).unwrap();
    handler.setup().unwrap();
    Bench { fixture, projection, handler, mended }
}

fn by() -> By {
    By::new("ada", "the reducer is mended")
}

impl Bench<'_> {
    fn push(&self, values: &[(&str, i64)]) {
        let put = |(id, value): &(&str, i64)| NewEvent::new("a", id, &Put { value: *value });
        self.fixture.store.push(&values.iter().map(put).collect::<Vec<_>>()).unwrap();
    }

    /// From now on, only values below this one are refused.
    fn mend(&self, up_to: i64) {
        self.mended.store(-up_to, Ordering::SeqCst);
    }

    /// `id=value(changes)` for every row.
    fn rows(&self) -> Vec<String> {
        let number = |value: &Value| if let Value::Integer(number) = value { *number } else { panic!("{value:?}") };
        let id = |value: &Value| if let Value::Text(text) = value { text.clone() } else { panic!("{value:?}") };
        let rows = self.fixture.read_rows(&self.projection, "items");
        rows.iter().map(|row| format!("{}={}({})", id(&row[1].1), number(&row[2].1), number(&row[3].1))).collect()
    }

    fn held(&self) -> Vec<(i64, FailureStatus, u32)> {
        let held = self.handler.failed_events(&FailureQuery::all()).unwrap();
        held.iter().map(|held| (held.attempt.position, held.attempt.state, held.attempt.attempts)).collect()
    }
}

/// Where a retry failed, and how many events it applied before.
fn still_fails(outcome: Result<RetryOutcome, FailureError>) -> (i64, u64) {
    match outcome {
        Err(FailureError::StillFails { position, applied, .. }) => (position, applied),
        other => panic!("{other:?}"),
    }
}

use FailureStatus::{Behind, Parked, Skipped, Stopped};

// Contract: H2: a failing event holds back only its aggregate, in order.
both!(a_parked_event_holds_back_its_aggregate_only);
pub(crate) fn a_parked_event_holds_back_its_aggregate_only(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Park);
    bench.push(&[("x", 1), ("x", -1), ("y", 3), ("x", 4), ("x", 5), ("y", 6)]);
    bench.handler.trigger(&["a"]).unwrap();
    assert_eq!(bench.rows(), ["x=1(1)", "y=6(2)"]);
    assert_eq!(bench.held(), [(2, Parked, 1), (4, Behind, 0), (5, Behind, 0)]);
    bench.push(&[("x", 7), ("z", 8)]);
    bench.handler.trigger(&["a"]).unwrap();
    assert_eq!(bench.rows(), ["x=1(1)", "y=6(2)", "z=8(1)"]);
    assert_eq!(bench.held().last(), Some(&(7, Behind, 0)));
    let query = FailureQuery::all().instance("a").aggregate("item", "x").states([Behind]).positions(5, 9).limit(1);
    let found = bench.handler.failed_events(&query).unwrap();
    assert_eq!((found.len(), found[0].attempt.position), (1, 5));
    let next = bench.handler.failed_events(&FailureQuery::all().after(&found[0])).unwrap();
    assert_eq!((next.len(), next[0].attempt.position), (1, 7));
}

// Contract: H3: parked events are applied in order, each once, and the record of who did it stays.
both!(a_retry_applies_what_was_parked_in_order);
pub(crate) fn a_retry_applies_what_was_parked_in_order(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Park);
    bench.push(&[("x", 1), ("x", -1), ("x", 4), ("y", 3), ("x", 5)]);
    bench.handler.trigger(&["a"]).unwrap();
    assert_eq!(still_fails(bench.handler.retry("a", 2, &by())), (2, 0));
    assert_eq!(bench.held(), [(2, Parked, 2), (3, Behind, 0), (5, Behind, 0)]);
    bench.mend(-1);
    assert_eq!(bench.handler.retry("a", 2, &By::new("bob", "again")).unwrap().applied, 3);
    assert_eq!((bench.rows(), bench.held()), (vec!["x=5(4)".to_owned(), "y=3(1)".to_owned()], vec![]));
    assert!(matches!(bench.handler.retry("a", 2, &by()), Err(FailureError::NotOnRecord { position: 2, .. })));
    bench.push(&[("x", 9)]);
    bench.handler.trigger(&["a"]).unwrap();
    assert_eq!(bench.rows()[0], "x=9(5)");
    let done = bench.handler.interventions(10).unwrap();
    let who: Vec<_> = done.iter().map(|done| (done.position, done.action, done.by.who.as_str())).collect();
    assert_eq!(who, [(2, Action::Retry, "bob"), (2, Action::Retry, "ada")]);
}

// Contract: H3: the next poison event behind a parked one is parked in its turn.
both!(a_second_poison_event_is_parked_in_its_turn);
pub(crate) fn a_second_poison_event_is_parked_in_its_turn(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Park);
    bench.push(&[("x", 1), ("x", -1), ("x", -2), ("x", 4)]);
    bench.handler.trigger(&["a"]).unwrap();
    bench.mend(-1);
    assert_eq!(still_fails(bench.handler.retry("a", 2, &by())), (3, 1));
    assert_eq!((bench.rows(), bench.held()), (vec!["x=-1(2)".to_owned()], vec![(3, Parked, 1), (4, Behind, 0)]));
    assert_eq!(bench.handler.discard("a", 3, &by()).unwrap().applied, 1);
    assert_eq!((bench.rows(), bench.held()), (vec!["x=4(3)".to_owned()], vec![]));
}

// Contract: H3: any event of the aggregate lets a retry go on that was cut off, also an event that is done.
both!(any_event_of_an_aggregate_takes_a_retry_up);
pub(crate) fn any_event_of_an_aggregate_takes_a_retry_up(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Park);
    bench.push(&[("x", 1), ("x", -1), ("x", 2), ("x", -2), ("x", 4), ("y", 5), ("x", 6)]);
    bench.handler.trigger(&["a"]).unwrap();
    bench.mend(-1);
    assert_eq!(still_fails(bench.handler.retry("a", 2, &by())), (4, 2));
    bench.mend(-2);
    let mended = bench.handler.retry("a", 2, &by()).unwrap();
    assert_eq!((mended.applied, mended.went_on, mended.before, mended.after), (3, Some(4), 3, 0), "it was done");
    assert_eq!((bench.rows(), bench.held()), (vec!["x=6(6)".to_owned(), "y=5(1)".to_owned()], vec![]));
    for done in [2, 4, 6, 99, 0, -5, i64::MIN, i64::MAX] {
        let outcome = bench.handler.retry("a", done, &by());
        assert!(matches!(outcome, Err(FailureError::NotOnRecord { position, .. }) if position == done), "{outcome:?}");
    }
    bench.push(&[("z", -9), ("z", 8)]);
    bench.handler.trigger(&["a"]).unwrap();
    bench.mend(-9);
    let mended = bench.handler.retry("a", 9, &by()).unwrap();
    assert_eq!((mended.applied, mended.went_on), (2, Some(8)), "it waited behind the one that is parked");
}

// Contract: H3: the report names every event that is refused again.
both!(a_retry_of_all_names_what_fails_again);
pub(crate) fn a_retry_of_all_names_what_fails_again(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Park);
    bench.push(&[("x", -3), ("y", -1), ("y", -3), ("z", -2), ("z", 4), ("u", -3), ("u", 5)]);
    bench.handler.trigger(&["a"]).unwrap();
    bench.mend(-2);
    let Err(error @ FailureError::SomeStillFail { .. }) = bench.handler.retry_all(&by()) else { panic!("three fail") };
    let said = error.to_string();
    assert!(said.contains("3 events were applied, 4 of 7 are still on record"), "{said}");
    let FailureError::SomeStillFail { mended, .. } = error else { unreachable!() };
    let refused: Vec<_> = mended.refused.iter().map(|one| (one.position, one.class, &*one.error)).collect();
    let reducer = Some(FailureClass::Reducer);
    assert_eq!(refused, [1, 3, 6].map(|at| (at, reducer, "not yet")));
    assert!(refused.iter().all(|(at, _, _)| said.contains(&format!("event {at} of instance \"a\""))), "{said}");
    assert_eq!((mended.applied, mended.before, mended.after, mended.not_named), (3, 7, 4, 0));
    bench.mend(-3);
    let mended = bench.handler.retry_all(&by()).unwrap();
    assert_eq!((mended.applied, mended.before, mended.after), (4, 4, 0));
}

// Contract: H3: few transactions repair many aggregates, and one that is refused again blocks none of the others.
both!(a_retry_of_all_mends_many_aggregates_together);
pub(crate) fn a_retry_of_all_mends_many_aggregates_together(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Park);
    let ids: Vec<String> = (0..60).map(|n| format!("i{n:02}")).collect();
    bench.push(&[("bad", -5), ("bad", 1)]);
    bench.push(&ids.iter().map(|id| (id.as_str(), -1)).collect::<Vec<_>>());
    bench.push(&ids.iter().map(|id| (id.as_str(), 7)).collect::<Vec<_>>());
    bench.handler.trigger(&["a"]).unwrap();
    assert_eq!(bench.held().len(), 122);
    bench.mend(-1);
    let Err(FailureError::SomeStillFail { mended, .. }) = bench.handler.retry_all(&by()) else { panic!("one fails") };
    assert_eq!((mended.applied, mended.before, mended.after, mended.refused.len()), (120, 122, 2, 1));
    assert_eq!(bench.held(), [(1, Parked, 2), (2, Behind, 0)]);
    let wanted: Vec<String> = ids.iter().map(|id| format!("{id}=7(2)")).collect();
    assert_eq!(bench.rows(), wanted, "each once and in order");
    let done = bench.handler.interventions(1000).unwrap();
    let mut positions: Vec<i64> = done.iter().map(|one| one.position).collect();
    positions.sort_unstable();
    assert_eq!(positions, [1].into_iter().chain(3..=62).collect::<Vec<i64>>(), "each is on record");
    let times: std::collections::BTreeSet<_> = done.iter().filter(|one| one.position > 1).map(|one| one.at).collect();
    assert_eq!(times.len(), 1, "they were noted by one statement");
    bench.mend(-5);
    assert_eq!(bench.handler.retry_all(&by()).unwrap().applied, 2);
    assert_eq!(bench.held(), []);
}

// Contract: H3: if the database refuses one aggregate, or cuts the work off, the others keep their order and are
// repaired.
both!(a_retry_of_all_goes_on_where_the_database_refuses);
pub(crate) fn a_retry_of_all_goes_on_where_the_database_refuses(fixture: &Fixture) {
    let mended = Arc::new(AtomicI64::new(0));
    let known = Arc::clone(&mended);
    let projection = Projection::new("limits", 1)
        .table(Table::new("limits").column(text("id")).column(integer("value")).primary_key(["id"]))
        .on(move |e, p: Put| match p.value {
            _ if known.load(Ordering::SeqCst) == 0 => Err(ReduceError::new("not yet")),
            // The row exists already.
            9 => multi([create([set("id", "i0"), set("value", 9)])]),
            value => upsert(["id"], [set("id", e.aggregate_id()), set("value", value)]),
        });
    let config = HandlerConfig::default().retries(0).max_failure_count(1).policy(Policy::Park);
    let handler = ProjectionHandler::new(fixture.source(), fixture.models(), projection.clone(), config).unwrap();
    handler.setup().unwrap();
    let put = |id: usize, value: i64| NewEvent::new("a", &format!("i{id}"), &Put { value });
    let commands = [put(0, 1), put(1, 1), put(2, 9), put(3, 1), put(2, 2), put(3, 3)];
    fixture.store.push(&commands).unwrap();
    handler.trigger(&["a"]).unwrap();
    mended.store(1, Ordering::SeqCst);
    let Err(FailureError::SomeStillFail { mended, .. }) = handler.retry_all(&by()) else { panic!("one fails") };
    assert_eq!((mended.applied, mended.before, mended.after), (4, 6, 2));
    let held = handler.failed_events(&FailureQuery::all()).unwrap();
    let held: Vec<_> = held.iter().map(|held| (held.attempt.position, held.attempt.state)).collect();
    assert_eq!(held, [(3, Parked), (5, Behind)]);
    let rows = fixture.read_rows(&projection, "limits");
    let rows: Vec<_> = rows.iter().map(|row| (row[1].1.clone(), row[2].1.clone())).collect();
    assert_eq!(rows, [("i0", 1), ("i1", 1), ("i3", 3)].map(|(id, n)| (Value::from(id), Value::from(n))));
}

// Contract: H3: other events may lie between the events of an aggregate.
both!(an_aggregate_among_many_others_is_mended);
pub(crate) fn an_aggregate_among_many_others_is_mended(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Park);
    bench.push(&[("x", -1)]);
    for n in 1..=20 {
        let others = (0..n).map(|other| ("y", other)).chain([("x", n)]);
        bench.push(&others.collect::<Vec<_>>());
    }
    bench.handler.trigger(&["a"]).unwrap();
    assert_eq!(bench.held().len(), 21);
    bench.mend(-1);
    assert_eq!(bench.handler.retry("a", 1, &by()).unwrap().applied, 21);
    assert_eq!((bench.rows(), bench.held()), (vec!["x=20(21)".to_owned(), "y=19(210)".to_owned()], vec![]));
}

// Contract: H3: this holds too if more events wait than one transaction takes.
both!(a_long_queue_behind_a_parked_event_is_applied_once);
pub(crate) fn a_long_queue_behind_a_parked_event_is_applied_once(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Park);
    bench.push(&[("x", -1)]);
    for value in 1..=5 {
        bench.push(&(0..300).map(|n| ("x", value * 1000 + n)).collect::<Vec<_>>());
    }
    bench.handler.trigger(&["a"]).unwrap();
    assert_eq!((bench.rows().len(), bench.held().len()), (0, 1501));
    bench.mend(-1);
    assert_eq!(bench.handler.retry_all(&by()).unwrap().applied, 1501);
    assert_eq!((bench.rows(), bench.held()), (vec!["x=5299(1501)".to_owned()], vec![]));
}

// Contract: H3: a stopped instance goes on with the event, or without it.
both!(a_stopped_instance_goes_on_when_a_person_says_so);
pub(crate) fn a_stopped_instance_goes_on_when_a_person_says_so(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Stop);
    bench.push(&[("x", 1), ("x", -1), ("x", -2), ("x", 4)]);
    assert!(bench.handler.trigger(&["a"]).is_err());
    assert_eq!(bench.held(), [(2, Stopped, 1)]);
    assert_eq!(still_fails(bench.handler.retry("a", 2, &by())), (2, 0));
    assert_eq!(bench.held(), [(2, Stopped, 2)]);
    bench.mend(-1);
    assert_eq!(bench.handler.retry("a", 2, &by()).unwrap().applied, 1, "the one behind it stops the instance again");
    assert_eq!((bench.rows(), bench.held()), (vec!["x=-1(2)".to_owned()], vec![(3, Stopped, 1)]));
    bench.handler.discard("a", 3, &by()).unwrap();
    bench.handler.trigger(&["a"]).unwrap();
    assert_eq!((bench.rows(), bench.held()), (vec!["x=4(3)".to_owned()], vec![]));
}

// Contract: H3: a skipped event can be applied later, or given up for good.
both!(a_skipped_event_can_be_applied_late);
pub(crate) fn a_skipped_event_can_be_applied_late(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Skip);
    bench.push(&[("x", 1), ("y", -1), ("x", -1), ("x", 4)]);
    bench.handler.trigger(&["a"]).unwrap();
    assert_eq!(bench.held(), [(2, Skipped, 1), (3, Skipped, 1)]);
    assert_eq!(still_fails(bench.handler.retry("a", 2, &by())), (2, 0));
    bench.mend(-1);
    assert_eq!(bench.handler.retry("a", 2, &by()).unwrap().applied, 1);
    assert_eq!(bench.rows(), ["x=4(2)", "y=-1(1)"]);
    bench.handler.discard("a", 3, &by()).unwrap();
    assert_eq!((bench.rows(), bench.held()), (vec!["x=4(2)".to_owned(), "y=-1(1)".to_owned()], vec![]));
}

// Contract: H2: attempts and waits are stored with the read model, so a new process goes on counting.
both!(a_restart_goes_on_counting);
pub(crate) fn a_restart_goes_on_counting(fixture: &Fixture) {
    let bench = bench(fixture, Policy::Park);
    bench.push(&[("x", -1), ("x", 2)]);
    let config = HandlerConfig::default()
        .retries(0)
        .max_failure_count(3)
        .max_lasting_failure_count(3)
        .backoff_base(std::time::Duration::from_nanos(1));
    for attempts in 1..=3 {
        let projection = bench.projection.clone();
        let handler = ProjectionHandler::new(fixture.source(), fixture.models(), projection, config.clone()).unwrap();
        assert_eq!(handler.trigger(&["a"]).is_err(), attempts < 3);
        assert_eq!(bench.held()[0].2, attempts);
    }
    assert_eq!(bench.held(), [(1, Parked, 3), (2, Behind, 0)]);
}

/// One event type for each class of failure. The event succeeds if `value` is not 0.
fn fails(class: FailureClass, calls: &Arc<AtomicI64>) -> Projection {
    let calls = calls.clone();
    Projection::new("items", 1)
        .table(
            Table::new("items")
                .column(text("id"))
                .column(integer("value").default(i64::MAX))
                .primary_key(["id"])
                .unique(["value"]),
        )
        .on(move |e, p: Put| {
            let row = create([set("id", e.aggregate_id()), set("value", p.value)]);
            if p.value != 0 {
                return row;
            }
            calls.fetch_add(1, Ordering::SeqCst);
            match class {
                FailureClass::Reducer => Err(ReduceError::new("no")),
                FailureClass::Panic => panic!("no"),
                FailureClass::Statement => create([set("nothing", 1)]),
                FailureClass::Data => update([increment("value", i64::MAX)], [eq("id", "first")]),
                _ => multi([row, create([set("id", "second"), set("value", p.value)])]),
            }
        })
}

// Contract: H2: reducers are pure, so an event that a reducer refused once it always refuses. No one waits for
// another attempt.
both!(what_waiting_does_not_mend_is_parked_at_once);
pub(crate) fn what_waiting_does_not_mend_is_parked_at_once(fixture: &Fixture) {
    let lasting = [FailureClass::Reducer, FailureClass::Panic, FailureClass::Statement, FailureClass::Data];
    for class in lasting.into_iter().chain([FailureClass::Constraint]) {
        let (instance, calls) = (class.as_str(), Arc::new(AtomicI64::new(0)));
        let events = [("first", 1), ("x", 0), ("x", 4), ("y", 5)];
        let put = |(id, value): &(&str, i64)| NewEvent::new(instance, id, &Put { value: *value });
        fixture.store.push(&events.iter().map(put).collect::<Vec<_>>()).unwrap();
        let (projection, config) = (fails(class, &calls), HandlerConfig::default());
        let handler = ProjectionHandler::new(fixture.source(), fixture.models(), projection, config).unwrap();
        handler.setup().unwrap();
        let outcome = handler.trigger(&[instance]);
        let held = handler.failed_events(&FailureQuery::all().instance(instance)).unwrap();
        let held: Vec<_> = held.iter().map(|held| (held.attempt.position, held.attempt.state)).collect();
        let ids: Vec<Value> =
            fixture.read_rows(&fails(class, &calls), "items").into_iter().map(|row| row[1].1.clone()).collect();
        if lasting.contains(&class) {
            assert!(outcome.is_ok(), "{class}: {outcome:?}");
            assert_eq!(held, [(2, Parked), (3, Behind)], "{class}");
            assert!(ids.contains(&Value::from("y")), "{class}: the tenant goes on");
            assert!(class == FailureClass::Data || calls.load(Ordering::SeqCst) == 1, "{class}: {calls:?} calls");
        } else {
            assert!(outcome.is_err(), "{class}: somebody else's row may be what is missing");
            assert_eq!(held, [(2, FailureStatus::Failing)], "{class}");
        }
    }
}
