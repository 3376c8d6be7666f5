//! One transaction: lock and compare, apply, record failures, move checkpoints, commit.

pub(crate) mod effect;
mod observed;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use crate::builds::LaggingInstance;
#[cfg(feature = "serve")]
use crate::engine::pass::apply::effect::sighted;
use crate::engine::pass::apply::effect::{Effect, checkpoint, shows, steps_todo, todo};
use crate::engine::pass::failure::Outcome;
use crate::engine::pass::history::{self, Spot};
use crate::engine::pass::lease::LeaseHandle;
use crate::engine::pass::plan::{self, Plan};
use crate::engine::pass::read_position::{self, ReadPosition};
use crate::engine::pass::work::{Status, Step, Work};
use crate::engine::pass::{LogIdentity, Pass, failure};
use crate::engine::watch::changes::Rows;
use crate::engine::watch::hub::{Flight, Landed};
use crate::engine::watch::touched::Touched;
use crate::error::{StoreError, StoreErrorKind};
use crate::event::Event;
use crate::failure::{Aggregates, Attempt, FailureClass, FailureQuery, FailureStatus};
use crate::query::Cursor;
use crate::state::{Checkpoint, Log, State};
use crate::stop_cause::StopCause;
use crate::store::ProjectionTransaction;

/// How statements are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApplyMode {
    /// All at once; an error ends the transaction.
    Batch,
    /// All at once, without waiting for locks, and in this share of the time that a statement may take: that was spent already.
    BatchNoWait {
        /// One of so many.
        share: u32,
    },
    /// One by one, up to the first statement that fails.
    StepByStep,
}

/// Which failures a transaction records, and so counts. Other failures are tried again first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recording {
    Nothing,
    /// Failures that another attempt in the same call would not change.
    Final,
    Everything,
}

/// Settings of a whole transaction.
#[derive(Debug, Clone, Copy)]
struct Round {
    origin: LogIdentity,
    way: ApplyMode,
    recording: Recording,
}

/// Leases that a transaction has extended, and when it asked for that.
type Extended = (Instant, Vec<Arc<LeaseHandle>>);

impl Pass {
    /// Does what can be done in these instances in one transaction.
    pub(crate) fn transact(
        &self,
        works: &mut [&mut Work],
        way: ApplyMode,
        recording: Recording,
    ) -> Result<(), StoreError> {
        let began = Instant::now();
        let outcome = self.transact_open(works, (way, recording), began);
        if !matches!(outcome, Ok(false)) {
            self.meter.batch(began.elapsed(), outcome.is_ok());
        }
        outcome.map(|_| ())
    }

    /// False when there was nothing to do.
    fn transact_open(
        &self,
        works: &mut [&mut Work],
        (way, recording): (ApplyMode, Recording),
        began: Instant,
    ) -> Result<bool, StoreError> {
        // Read before the transaction: event store and read model may be one database with one connection.
        let round = Round { origin: self.log_of(works)?, way, recording };
        let mut works: Vec<&mut Work> =
            works.iter_mut().map(|work| &mut **work).filter(|work| work.is_open()).collect();
        if works.is_empty() {
            return Ok(false);
        }
        let instances: Vec<Arc<str>> = works.iter().map(|work| Arc::clone(&work.instance)).collect();
        let (mut effects, mut extended, mut missed) = (Vec::new(), None, 0);
        let flight = self.hub.begin(self.projection.name(), &instances);
        let outcome = self.models.transaction(&mut |tx| {
            if let ApplyMode::BatchNoWait { share } = way {
                tx.limit_waits(share)?;
            }
            let states = tx.lock(&self.key, &instances)?;
            effects = self.apply_all(tx, works.iter().map(|work| &**work).zip(&states), round)?;
            if way != ApplyMode::StepByStep {
                self.apply_together(tx, &works, &effects)?;
            }
            missed = tx.missed();
            extended = self.extend(tx, &works, &effects)?;
            self.finish(tx, &works, &effects, round.origin.log)
        });
        match outcome {
            Err(error) if error.kind() == StoreErrorKind::CommitUnknown => {
                self.resolve(&instances, &effects, error)?;
                // Another process may have moved the checkpoint.
                for effect in &mut effects {
                    effect.clean = None;
                }
            }
            other => {
                other?;
                self.missed.fetch_add(missed, Ordering::Relaxed);
                if let Some((asked, lease_registry)) = extended {
                    for handle in lease_registry {
                        handle.extend(asked);
                    }
                }
            }
        }
        if let Some(flight) = flight {
            for (work, effect) in works.iter().zip(&effects) {
                self.tell(&flight, work, effect);
            }
        }
        #[cfg(feature = "serve")]
        {
            let applied = works.iter().zip(&effects).flat_map(|(work, effect)| steps_todo(work, effect));
            self.sightings.note(self.projection.tables(), applied.filter_map(sighted));
        }
        let (now, is_hidden) = (SystemTime::now(), self.is_hidden.load(Ordering::Relaxed));
        self.tell_applied(&works, &effects, began, now);
        for (work, effect) in works.iter_mut().zip(effects) {
            self.meter.applied(steps_todo(work, &effect).map(|step| step.event.created_at), now, is_hidden);
            self.take_over(work, effect);
        }
        Ok(true)
    }

    /// Tells those who watch an instance which of its rows were changed.
    fn tell(&self, flight: &Flight<'_>, work: &Work, effect: &Effect) {
        let Some(Checkpoint { position, event, .. }) = effect.checkpoint else { return };
        let landed = Landed { from: effect.clean, position, event, anew: effect.anew };
        flight.landed(&self.key, &work.instance, &landed, || {
            let mut touched = Touched::new(&self.projection);
            let statements = steps_todo(work, effect).filter_map(|step| step.statement().and_then(Result::ok));
            statements.for_each(|statement| touched.add(statement));
            Rows::Known(touched.rows())
        });
    }

    /// Where the events of some works come from. A log in another database is asked whether it still holds the last event of
    /// each; what it does not hold any more stops. In the same database the transaction sees for itself.
    pub(crate) fn log_of(&self, works: &mut [&mut Work]) -> Result<LogIdentity, StoreError> {
        let origin = self.origin()?;
        if origin.log == Log::Here {
            return Ok(origin);
        }
        let ends: Vec<Option<Spot>> = works.iter().map(|work| work.end()).collect();
        let asked = works.iter().zip(&ends).filter_map(|(work, end)| Some((&work.instance, (*end)?.0)));
        let cursors: Vec<Cursor> =
            asked.map(|(instance, after)| Cursor { instance: Arc::clone(instance), after }).collect();
        if cursors.is_empty() {
            return Ok(origin);
        }
        let mut slices = history::standings(self.source.as_ref(), cursors)?.into_iter();
        for (work, end) in works.iter_mut().zip(ends).filter_map(|(work, end)| Some((work, end?))) {
            if let Some(found) = slices.next().and_then(|slice| history::diverged(end, &slice)) {
                self.source.forget();
                work.stop(StopCause::HistoryChanged { found });
            }
        }
        // The latest read says which store the events come from.
        self.origin()
    }

    /// Brings instances up to date inside a transaction that the caller began and commits. `reduce` reduces their
    /// events. An instance stays as it is when one of its events fails, or when it is being probed.
    pub(crate) fn follow(
        &self,
        tx: &mut dyn ProjectionTransaction,
        behind: &[LaggingInstance],
        reduce: &dyn Fn(Vec<Work>) -> Result<Vec<Work>, StoreError>,
    ) -> Result<(), StoreError> {
        let instances: Vec<Arc<str>> = behind.iter().map(|behind| Arc::clone(&behind.instance)).collect();
        let round = Round { origin: self.origin()?, way: ApplyMode::Batch, recording: Recording::Nothing };
        let states = tx.lock(&self.key, &instances)?;
        let cursor = |state: &State| Cursor { instance: Arc::clone(&state.instance), after: state.position };
        let request = self.request(states.iter().map(cursor).collect());
        let slices = match tx.event_batches(round.origin.store, &request)? {
            Some(slices) => slices,
            None => self.source.read(&request)?,
        };
        let (mut works, mut standing) = (Vec::new(), Vec::new());
        for (state, slice) in states.into_iter().zip(slices) {
            if read_position::diverged(&ReadPosition::of(&state), &slice).is_none() {
                works.push(Work::read(slice, false));
                standing.push(state);
            }
        }
        let mut works = reduce(works)?;
        let effects = self.apply_all(tx, works.iter().zip(&standing), round)?;
        let works: Vec<&mut Work> = works.iter_mut().collect();
        self.apply_together(tx, &works, &effects)?;
        self.finish(tx, &works, &effects, round.origin.log)
    }

    /// Plans each instance. The first events of an instance are applied only while its tables are empty: without a
    /// checkpoint nobody knows which events made the rows.
    fn apply_all<'w>(
        &self,
        tx: &mut dyn ProjectionTransaction,
        pairs: impl Iterator<Item = (&'w Work, &'w State)>,
        round: Round,
    ) -> Result<Vec<Effect>, StoreError> {
        let pairs: Vec<(&Work, &State)> = pairs.collect();
        let begins =
            |(work, state): &&(&Work, &State)| plan::begins(work, state, round.origin, self.config.backoff_cap);
        let fresh = pairs.iter().filter(begins);
        let fresh: Vec<Arc<str>> = fresh.map(|(work, _)| Arc::clone(&work.instance)).collect();
        let filled = if fresh.is_empty() { Vec::new() } else { tx.with_rows(&self.projection, &fresh)? };
        let mut effects = Vec::with_capacity(pairs.len());
        for (work, state) in pairs {
            effects.push(if filled.contains(&work.instance) {
                Effect { stop: Some(StopCause::RowsWithoutCheckpoint), ..Effect::nothing(work) }
            } else {
                self.apply(tx, work, state, round)?
            });
        }
        Ok(effects)
    }

    /// Plans an instance. In single steps it applies the statements too.
    fn apply(
        &self,
        tx: &mut dyn ProjectionTransaction,
        work: &Work,
        state: &State,
        round: Round,
    ) -> Result<Effect, StoreError> {
        let mut effect = Effect::nothing(work);
        let store = round.origin.store;
        let run = match plan::plan(work, state, round.origin, self.config.backoff_cap) {
            Plan::Apply(run) => run,
            Plan::Stop(cause) => {
                effect.stop = Some(cause);
                return Ok(effect);
            }
        };
        let (end, gap) = (run.steps.end, run.gap);
        let (mut parked, mut left) = (Aggregates::new(), Vec::new());
        if state.held {
            parked = self.parked(tx, work, run.steps.clone())?;
            left = self.given_up(tx, work, work.steps.get(run.steps.clone()).unwrap_or_default())?;
        }
        effect.failed = self.run(tx, (work, state), run.steps, round, (&mut parked, &left), &mut effect)?;
        effect.unmark = state.mark.is_some();
        effect.checkpoint = checkpoint(work, state, &effect, end, store);
        effect.clear = state.blocked.is_some() && effect.checkpoint.is_some();
        (effect.clean, effect.anew) = (Some(state.position), state.anew);
        if let Some(checkpoint) = gap.filter(|_| !effect.failed) {
            effect.stop = Some(StopCause::Gap { checkpoint });
        }
        Ok(effect)
    }

    /// The aggregates of these steps that are parked.
    fn parked(
        &self,
        tx: &mut dyn ProjectionTransaction,
        work: &Work,
        steps: std::ops::Range<usize>,
    ) -> Result<Aggregates, StoreError> {
        let steps = work.steps.get(steps).unwrap_or_default();
        let mut ids: Vec<Arc<str>> = steps.iter().map(|step| Arc::from(step.event.aggregate_id())).collect();
        ids.sort_unstable();
        ids.dedup();
        tx.parked(&self.key, &work.instance, &ids)
    }

    /// The records of steps that a person gave up.
    pub(crate) fn given_up(
        &self,
        tx: &mut dyn ProjectionTransaction,
        work: &Work,
        steps: &[Step],
    ) -> Result<Vec<Attempt>, StoreError> {
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Ok(Vec::new()) };
        let query = FailureQuery::all().instance(&work.instance).states([FailureStatus::Discarded]);
        let found = tx.failed_events(&self.key, &query.positions(first.event.position, last.event.position))?;
        Ok(found.into_iter().map(|one| one.attempt).collect())
    }

    /// Goes through the steps up to the first that ends the work, and returns true if there is one. A step that fails
    /// for good does not end it: however many such steps there are, later events do not wait.
    fn run(
        &self,
        tx: &mut dyn ProjectionTransaction,
        (work, state): (&Work, &State),
        steps: std::ops::Range<usize>,
        round: Round,
        (parked, left): (&mut Aggregates, &[Attempt]),
        effect: &mut Effect,
    ) -> Result<bool, StoreError> {
        (effect.first, effect.next) = (steps.start, steps.start);
        for step in work.steps.get(steps).unwrap_or_default() {
            if given_up(left, &step.event) {
                effect.given_up.push(effect.next);
                effect.next += 1;
                continue;
            }
            if is_parked(parked, &step.event) {
                effect.behind.push(effect.next);
                effect.next += 1;
                continue;
            }
            let failure = match step.statement() {
                Some(Ok(statement)) if round.way == ApplyMode::StepByStep => {
                    match tx.apply_one(&self.projection, &work.instance, statement) {
                        Err(error) if error.is_statements_fault() => Some(failure::of_statement(&error)),
                        other => other.map(|()| None)?,
                    }
                }
                Some(Ok(_)) => None,
                Some(Err(failure)) => Some(failure.clone()),
                None => return Err(not_reduced(work)),
            };
            if let Some(failure) = failure {
                let attempt = failure::decide(&self.config, state, &step.event, &failure);
                let is_recorded = self.is_recorded(round.recording, failure.class);
                if !is_recorded || !matches!(Outcome::of(&attempt), Outcome::PassedOver) {
                    effect.attempt = is_recorded.then_some(attempt);
                    return Ok(true);
                }
                if attempt.state == FailureStatus::Parked {
                    parked.insert(aggregate_of(&step.event));
                }
                effect.passed.push(attempt);
            }
            effect.next += 1;
        }
        Ok(false)
    }

    /// True when this transaction records a failure of this class.
    fn is_recorded(&self, recording: Recording, class: FailureClass) -> bool {
        match recording {
            Recording::Nothing => false,
            Recording::Final => class.is_lasting() && self.config.limit(class) == 1,
            Recording::Everything => true,
        }
    }

    fn apply_together(
        &self,
        tx: &mut dyn ProjectionTransaction,
        works: &[&mut Work],
        effects: &[Effect],
    ) -> Result<(), StoreError> {
        let batches = works.iter().zip(effects).map(|(work, effect)| todo(work, effect));
        tx.apply(&self.projection, &batches.collect::<Vec<_>>())
    }

    /// Extends overdue leases: their renewal skips the rows that this transaction has locked. Returns the leases and
    /// the time of the request.
    fn extend(
        &self,
        tx: &mut dyn ProjectionTransaction,
        works: &[&mut Work],
        effects: &[Effect],
    ) -> Result<Option<Extended>, StoreError> {
        let moved = works.iter().zip(effects).filter(|(_, effect)| effect.checkpoint.is_some());
        let leased = moved.filter_map(|(work, _)| Some((Arc::clone(&work.instance), Arc::clone(work.lease()?))));
        let (instances, lease_registry): (Vec<_>, Vec<_>) = leased.filter(|(_, handle)| handle.is_overdue()).unzip();
        let Some(first) = lease_registry.first() else { return Ok(None) };
        let asked = Instant::now();
        let extended = tx.extend(&self.key, &instances, first.owner(), first.lease())?;
        Ok(extended.then_some((asked, lease_registry)))
    }

    fn finish(
        &self,
        tx: &mut dyn ProjectionTransaction,
        works: &[&mut Work],
        effects: &[Effect],
        log: Log,
    ) -> Result<(), StoreError> {
        let mut attempts: Vec<Attempt> = Vec::new();
        for (work, effect) in works.iter().zip(effects) {
            let steps = effect.behind.iter().filter_map(|at| work.steps.get(*at));
            attempts.extend(steps.map(|step| failure::behind_parked(&step.event)));
            attempts.extend(effect.passed.iter().chain(&effect.attempt).cloned());
        }
        if !attempts.is_empty() {
            tx.record(&self.key, &attempts)?;
        }
        for (work, _) in works.iter().zip(effects).filter(|(_, effect)| effect.unmark) {
            tx.mark(&self.key, &work.instance, None)?;
        }
        let checkpoints: Vec<Checkpoint> = effects.iter().filter_map(|effect| effect.checkpoint.clone()).collect();
        for checkpoint in effects.iter().filter(|effect| effect.clear).filter_map(|effect| effect.checkpoint.as_ref()) {
            tx.clear(&self.key, &checkpoint.instance, checkpoint.position)?;
        }
        if checkpoints.is_empty() { Ok(()) } else { tx.save(&self.key, &checkpoints, log) }
    }

    /// Finds out what became of a commit whose answer was lost: the states tell whether it moved them.
    fn resolve(&self, instances: &[Arc<str>], effects: &[Effect], error: StoreError) -> Result<(), StoreError> {
        let states = self.models.states(&self.key, instances)?;
        let name = self.projection.name();
        if effects.iter().zip(&states).all(|(effect, state)| shows(effect, state)) {
            log::warn!("projection {name:?}: a commit was cut off, but it happened; the work goes on");
            return Ok(());
        }
        log::warn!("projection {name:?}: a commit was cut off and did not happen; the work is repeated");
        Err(error.of_kind(StoreErrorKind::Connection))
    }

    fn take_over(&self, work: &mut Work, effect: Effect) {
        let left = effect.behind.len() + effect.given_up.len() + effect.passed.len();
        work.applied += effect.next.saturating_sub(work.next).saturating_sub(left);
        work.next = effect.next;
        if let Some(checkpoint) = &effect.checkpoint {
            work.moved_to(checkpoint.position);
        }
        if let (Some(from), Some(checkpoint), None, 0) = (effect.clean, &effect.checkpoint, &effect.attempt, left) {
            work.add_clean(from, checkpoint.position);
        }
        for attempt in effect.passed.iter().chain(&effect.attempt) {
            let event = work.steps.iter().map(|step| &step.event).find(|event| event.position == attempt.position);
            self.tell_failed(attempt, event);
        }
        match (effect.stop, effect.attempt) {
            (Some(cause), _) => work.stop(cause),
            (None, Some(attempt)) => work.end_attempt(Outcome::of(&attempt)),
            (None, None) if effect.failed => work.status = Status::Failed,
            (None, None) => work.status = Status::Finished,
        }
    }
}

/// True when a person gave this very event up. A position is not enough: after a restore another event may have it.
pub(crate) fn given_up(left: &[Attempt], event: &Event) -> bool {
    left.iter().any(|one| {
        one.position == event.position
            && *one.event_type == *event.event_type()
            && *one.aggregate_id == *event.aggregate_id()
            && one.aggregate_type == event.aggregate_type
    })
}

fn is_parked(parked: &Aggregates, event: &Event) -> bool {
    !parked.is_empty() && parked.contains(&aggregate_of(event))
}

fn aggregate_of(event: &Event) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&event.aggregate_type), Arc::from(event.aggregate_id()))
}

/// The error for an event that was left unreduced because its aggregate was parked, and whose aggregate no longer is.
fn not_reduced(work: &Work) -> StoreError {
    let found = format!("an event of instance {:?} was not reduced", work.instance);
    StoreError::new("applying events", StoreErrorKind::Conflict, found)
}
