//! Decides, under the lock of its state, what to do in an instance. Pure.

use std::ops::Range;
use std::time::Duration;

use uuid::Uuid;

use crate::engine::pass::LogIdentity;
use crate::engine::pass::work::{Right, Step, Work};
use crate::failure::Blocked;
use crate::state::{Log, State};
use crate::stop_cause::StopCause;

#[derive(Debug)]
pub(crate) enum Plan {
    /// Nothing can be done.
    Stop(StopCause),
    Apply(Run),
}

/// Steps to apply, and whether a gap follows them.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) steps: Range<usize>,
    /// Events are missing after the steps, from this checkpoint on.
    pub(crate) gap: Option<i64>,
}

/// Compares the state with what the work was fetched for, and drops what is applied already.
pub(crate) fn plan(work: &Work, state: &State, origin: LogIdentity, backoff_cap: Duration) -> Plan {
    if let Some(cause) = refusal(work, state, origin, backoff_cap) {
        return Plan::Stop(cause);
    }
    let first = work.steps.partition_point(|step| step.event.position <= state.position);
    let rest = work.steps.get(first..).unwrap_or_default();
    let (length, gap) = match work.after() {
        Some(_) => (rest.len(), None),
        None => dense(rest, start(work, state, rest)),
    };
    Plan::Apply(Run { steps: first..first + length, gap })
}

/// True when the work would make the first checkpoint of its instance.
pub(crate) fn begins(work: &Work, state: &State, origin: LogIdentity, backoff_cap: Duration) -> bool {
    let is_fresh = state.position == 0 || (state.event.is_none() && state.store.is_none());
    is_fresh
        && work.end().is_some_and(|(end, _)| end > state.position)
        && matches!(plan(work, state, origin, backoff_cap), Plan::Apply(_))
}

/// After a removal, a new state counts the removed positions as handled. A log in another database may still hold these
/// events, or hold them again: then they were not handled.
fn fenced(work: &Work, state: &State, log: Log) -> Option<StopCause> {
    if log == Log::Here || state.position == 0 || state.event.is_some() || state.store.is_some() {
        return None;
    }
    if work.after().is_none() {
        // What is read from the log shows.
        return Some(StopCause::Gap { checkpoint: state.position });
    }
    let first = work.steps.first().map(|step| step.event.position).filter(|first| *first <= state.position)?;
    let found = format!(
        "the instance was removed here up to position {}, and the log still holds events from position {first} on; remove \
         it there too; where it is to live again, restore the read models of that time with the log, or set them up again in \
         an empty database",
        state.position
    );
    Some(StopCause::HistoryDiverged { found })
}

fn refusal(work: &Work, state: &State, origin: LogIdentity, backoff_cap: Duration) -> Option<StopCause> {
    let LogIdentity { store, log } = origin;
    if let Some(cause) = fenced(work, state, log) {
        return Some(cause);
    }
    if let Some(other) = state.store.filter(|other| *other != store) {
        return Some(StopCause::HistoryDiverged {
            found: format!("its checkpoint belongs to event store {other}, this is {store}"),
        });
    }
    if work.after().is_some_and(|from| state.position < from) {
        return Some(StopCause::Reset);
    }
    let is_others = match &work.right {
        Right::Caller => false,
        Right::Lease(handle) => !handle.is_of(state),
        Right::NoLease(me) => state.owner.is_some_and(|owner| owner != *me),
    };
    if is_others {
        return Some(StopCause::LeaseLost);
    }
    if state.careful && !work.is_careful() {
        return Some(StopCause::Suspect);
    }
    if !work.is_proved(state) {
        return Some(StopCause::Gap { checkpoint: state.position });
    }
    blocking_failure(state, backoff_cap)
}

/// A position and the event there, as far as it is known.
type Spot = (i64, Option<Uuid>);

/// The event that the first step has to follow. When no position between the checkpoint and the first step concerns the
/// projection, that is the position before the step.
fn start(work: &Work, state: &State, rest: &[Step]) -> Spot {
    let checkpoint = state.position;
    match (work.known(), rest.first()) {
        (Some(known), Some(first)) if known.from <= checkpoint.saturating_add(1) && known.relevant <= checkpoint => {
            (first.event.position - 1, None)
        }
        _ => (checkpoint, state.event),
    }
}

/// Stops at an event that waits for its next attempt, or for a person. A wait longer than any back-off comes from a
/// clock that was wrong, so it counts as over.
pub(crate) fn blocking_failure(state: &State, backoff_cap: Duration) -> Option<StopCause> {
    let blocked = state.blocked.as_ref().filter(|blocked| blocked.position > state.position)?;
    let waits = |blocked: &Blocked| !blocked.retry_in.is_zero() && blocked.retry_in <= backoff_cap.saturating_mul(2);
    if blocked.stopped {
        return Some(StopCause::Stopped(blocked.clone()));
    }
    waits(blocked).then(|| StopCause::Failing(blocked.clone()))
}

/// How many steps follow the start without a hole, and where the hole begins. A step that knows the event before it
/// follows no other event. If another one is there, events are missing or the log was restored to another history.
fn dense(steps: &[Step], start: Spot) -> (usize, Option<i64>) {
    let mut last = start;
    for (at, Step { event, .. }) in steps.iter().enumerate() {
        let is_other = last.1.zip(event.previous).is_some_and(|(last, previous)| last != previous);
        if last.0.checked_add(1) != Some(event.position) || is_other {
            return (at, Some(last.0));
        }
        last = (event.position, Some(event.id));
    }
    (steps.len(), None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::engine::pass::lease::LeaseRegistry;
    use crate::engine::pass::work::{Known, Origin};
    use crate::event::Event;
    use crate::lease::Lease;
    use crate::state::ProjectionKey;

    fn work(from: Option<i64>, positions: &[i64]) -> Work {
        let event = |position: &i64| Event::new("a", "t", "1", "e").with_position(*position);
        let origin = from.map_or(Origin::Given, |after| Origin::Read { after, to: None, is_first: false });
        Work::new("a".into(), origin, positions.iter().map(event).collect())
    }

    fn here() -> LogIdentity {
        LogIdentity { store: Uuid::nil(), log: Log::Here }
    }

    fn at(position: i64) -> State {
        let event = (position > 0).then(Uuid::nil);
        State { instance: "a".into(), position, event, ..State::default() }
    }

    fn run(work: &Work, state: &State) -> (Range<usize>, Option<i64>) {
        match plan(work, state, here(), Duration::from_mins(1)) {
            Plan::Apply(run) => (run.steps, run.gap),
            Plan::Stop(cause) => panic!("{cause}"),
        }
    }

    fn refused(work: &Work, state: &State) -> StopCause {
        match plan(work, state, here(), Duration::from_mins(1)) {
            Plan::Stop(cause) => cause,
            Plan::Apply(run) => panic!("{run:?}"),
        }
    }

    // Contract: G1
    #[test]
    fn what_is_applied_is_dropped_and_what_was_set_back_refused() {
        let fetched = work(Some(4), &[5, 8, 9]);
        assert_eq!(run(&fetched, &at(4)), (0..3, None));
        assert_eq!(run(&fetched, &at(8)), (2..3, None));
        assert_eq!(run(&fetched, &at(20)), (3..3, None));
        assert!(matches!(refused(&fetched, &at(3)), StopCause::Reset));
        let elsewhere = State { store: Some(Uuid::max()), ..at(4) };
        assert!(matches!(refused(&fetched, &elsewhere), StopCause::HistoryDiverged { .. }));
    }

    // Contract: D2
    #[test]
    fn events_from_a_queue_continue_only_where_nothing_lies_between() {
        let mut queued = work(None, &[5, 6, 8]);
        assert_eq!(run(&queued, &at(4)), (0..2, Some(6)));
        assert_eq!(run(&queued, &at(2)), (0..0, Some(2)), "3 and 4 are not known");
        let known = |from, relevant| {
            let last = (0..10).map(|position| (position, Uuid::nil())).collect();
            Origin::Queue(Known { from, relevant, last })
        };
        queued.origin = known(3, 0);
        assert_eq!(run(&queued, &at(2)), (0..2, Some(6)), "3 and 4 were seen and concern nobody");
        assert_eq!(run(&queued, &at(1)), (0..0, Some(1)), "2 was not seen");
        queued.origin = known(1, 4);
        assert_eq!(run(&queued, &at(2)), (0..0, Some(2)), "4 concerns the projection");
        assert_eq!(run(&queued, &at(5)), (1..2, Some(6)));
    }

    // Contract: L10: by-hand events of two histories have no hole in their positions.
    #[test]
    fn events_by_hand_follow_the_event_that_they_name() {
        let chained = |previous: u128, id: u128, position| Event {
            id: Uuid::from_u128(id),
            previous: Some(Uuid::from_u128(previous)),
            ..Event::new("a", "t", "1", "e").with_position(position)
        };
        let by_hand = |events: Vec<Event>| Work::new("a".into(), Origin::Given, events);
        let state = State { event: Some(Uuid::from_u128(4)), ..at(4) };
        assert_eq!(run(&by_hand(vec![chained(4, 5, 5), chained(5, 6, 6)]), &state), (0..2, None));
        assert_eq!(run(&by_hand(vec![chained(4, 5, 5), chained(55, 6, 6)]), &state), (0..1, Some(5)));
        assert_eq!(run(&by_hand(vec![chained(44, 5, 5)]), &state), (0..0, Some(4)), "another event stands at 4");
    }

    // Contract: G6: the store was restored to an older state, and pushed to again.
    #[test]
    fn events_from_a_queue_do_not_continue_another_history() {
        let other = Some(Uuid::from_u128(7));
        let mut queued = work(None, &[5, 6]);
        queued.origin = Origin::Queue(Known { from: 3, relevant: 0, last: vec![(3, Uuid::nil()), (4, Uuid::nil())] });
        assert_eq!(run(&queued, &at(4)), (0..2, None));
        assert!(matches!(refused(&queued, &State { event: other, ..at(4) }), StopCause::Gap { checkpoint: 4 }));
        assert!(
            matches!(refused(&queued, &State { event: other, ..at(5) }), StopCause::Gap { .. }),
            "it is one of them"
        );
        assert!(matches!(refused(&queued, &at(9)), StopCause::Gap { .. }), "they lie in front of it");
    }

    // Contract: L10, K3: the instance was removed beside the read models, and not from the log.
    #[test]
    fn a_fence_in_another_database_hides_no_events() {
        let fence = State { instance: "a".into(), position: 50, ..State::default() };
        let plan_of =
            |work: &Work, log| plan(work, &fence, LogIdentity { store: Uuid::nil(), log }, Duration::from_mins(1));
        let still_there = work(Some(0), &[1, 51]);
        assert!(matches!(plan_of(&still_there, Log::Elsewhere), Plan::Stop(StopCause::HistoryDiverged { .. })));
        assert!(matches!(plan_of(&work(Some(0), &[51]), Log::Elsewhere), Plan::Apply(run) if run.steps == (0..1)));
        assert!(matches!(plan_of(&work(None, &[51]), Log::Elsewhere), Plan::Stop(StopCause::Gap { checkpoint: 50 })));
        assert!(
            matches!(plan_of(&still_there, Log::Here), Plan::Apply(run) if run.steps == (1..2)),
            "held since before"
        );
    }

    // Contract: F3
    #[test]
    fn work_under_a_lease_that_moved_on_is_refused() {
        let (me, key) = (Uuid::from_u128(1), ProjectionKey { name: "p".into(), version: 1 });
        let lease_registry = LeaseRegistry::new(me, Duration::from_mins(1));
        let mut leased = work(Some(0), &[1]);
        leased.right = Right::Lease(lease_registry.add(
            &key,
            &Lease { instance: Arc::from("a"), epoch: 7, careful: false },
            Instant::now(),
        ));
        let state = |owner, epoch| State { owner: Some(owner), epoch, ..at(0) };
        assert_eq!(run(&leased, &state(me, 7)), (0..1, None));
        assert!(matches!(refused(&leased, &state(me, 8)), StopCause::LeaseLost));
        assert!(matches!(refused(&leased, &state(Uuid::from_u128(2), 7)), StopCause::LeaseLost));
        assert!(matches!(refused(&leased, &at(0)), StopCause::LeaseLost));
    }

    // Contract: D2, F7: also where it has expired: its holder may have died of the next event.
    #[test]
    fn work_without_a_lease_is_left_to_whoever_has_one() {
        let me = Uuid::from_u128(1);
        let mut direct = work(None, &[1]);
        direct.right = Right::NoLease(me);
        let state = |owner| State { owner, ..at(0) };
        assert_eq!(run(&direct, &state(None)), (0..1, None));
        assert_eq!(run(&direct, &state(Some(me))), (0..1, None));
        assert!(matches!(refused(&direct, &state(Some(Uuid::from_u128(2)))), StopCause::LeaseLost));
    }
}
