//! Pushes of this process that wait for the same instances share one transaction. One thread leads: it takes the pushes
//! that arrived while it waited for the lock, decides all of them in order, and answers for them.
//!
//! A push that is refused writes nothing and does not affect the others. If the database fails, everything is rolled
//! back and each push runs on its own, so that no push fails because of another one's events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::draft::Push;
use super::known::KnownVersions;
use super::ledger::Accepted;
use super::transaction::{self, Decided, Decisions};

use super::line::{Lead, Line, Member, Turn};
use crate::clock::deadline;
use crate::db::{Backend, Conn, whole};
use crate::error::{PushError, StoreError, StoreErrorKind, chain};
use crate::event::{Event, NewEvent};
use crate::subscription::Bus;
use crate::sync::Mutex;

/// How often a push is tried again at once after the database rolled it back in favour of others.
const RETRIES: usize = 5;

/// How many pushes one transaction holds at most.
const MOST_PUSHES: usize = 256;
const MOST_EVENTS: usize = 2_000;
const MOST_BYTES: usize = 4 << 20;

/// The remedy if somebody set a counter back by hand, or restored it without its events.
const BEHIND: &str = "; nothing was stored; `readside doctor` says what to set, or restore all tables from one moment";

/// What a leader says to a member.
enum Answer {
    Is(Result<Accepted, PushError>),
    /// The database failed and everything was rolled back: the member has to push on its own.
    Alone,
}

type Joined = Member<Arc<Push>, Answer>;

/// Why a transaction was rolled back.
enum Stop {
    /// There was nothing to store.
    Nothing(Decisions),
    Failed(PushError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<PushError> for Stop {
    fn from(error: PushError) -> Self {
        Self::Failed(error)
    }
}

/// The pushes of a store in this process.
#[derive(Debug, Default)]
pub(crate) struct Pushes {
    line: Line<Arc<Push>, Answer>,
    known: Mutex<KnownVersions>,
}

/// What a push needs of its store.
#[derive(Clone, Copy)]
struct Store<'s, B> {
    backend: &'s B,
    bus: &'s Bus,
    /// When the push began to wait, and when it stops waiting, whatever it waits for.
    since: Instant,
    deadline: Instant,
}

impl Pushes {
    /// Stores events of this process in their own transaction, or in one with other pushes.
    pub(crate) fn push<B: Backend>(&self, backend: &B, bus: &Bus, push: Push) -> Result<Accepted, PushError> {
        let push = Arc::new(push);
        if push.is_empty() {
            return Ok(Accepted { events: Vec::new(), repeated: false });
        }
        let store = Store { backend, bus, since: Instant::now(), deadline: deadline(backend.patience()) };
        let whole = [Arc::from("")];
        // If the database has one writer, pushes to all instances wait for each other anyway.
        let lanes = if backend.has_one_writer() { &whole } else { push.instances() };
        let mut may_join = true;
        loop {
            match self.line.enter(lanes, &push, may_join, store.deadline) {
                Turn::Leads(lead) => return self.lead(store, lead, &push, may_join),
                Turn::Told(Answer::Is(outcome)) => return outcome,
                Turn::Told(Answer::Alone) => may_join = false,
                Turn::Left => return Err(unknown().into()),
                Turn::Late => return Err(store.busy(&push)),
            }
        }
    }

    /// Stores one push in a transaction of the caller's.
    pub(crate) fn push_in(&self, conn: &mut dyn Conn, events: &[NewEvent]) -> Result<Vec<Event>, PushError> {
        let push = Push::of(events)?;
        if push.is_empty() {
            return Ok(Vec::new());
        }
        let decided = transaction::store(conn, &self.known, &push, Vec::new)?;
        decided.decisions.into_iter().next().map_or_else(|| Ok(Vec::new()), |own| own.map(|accepted| accepted.events))
    }

    /// Leads. The lead keeps other pushes of this process to these instances in line until the events are published.
    fn lead<B: Backend>(
        &self,
        store: Store<'_, B>,
        lead: Lead<'_, Arc<Push>, Answer>,
        push: &Arc<Push>,
        mut shares: bool,
    ) -> Result<Accepted, PushError> {
        let mut tries = 0;
        loop {
            let mut members = Vec::new();
            let stored = store.backend.write_within("pushing events", store.left(), |conn| {
                let join = || {
                    members = if shares { gather(&lead, push) } else { Vec::new() };
                    members.iter().map(|member| Arc::clone(member.work())).collect()
                };
                let decided = transaction::store(conn, &self.known, push, join)?;
                if decided.has_written { Ok(decided) } else { Err(Stop::Nothing(decided.decisions)) }
            });
            match stored {
                Ok(Decided { decisions, before, ledger, .. }) => {
                    self.known.lock().learn(&before, ledger);
                    return store.settle(lead, push, decisions, members);
                }
                Err(Stop::Nothing(decisions)) => return store.settle(lead, push, decisions, members),
                Err(Stop::Failed(error)) if !members.is_empty() => {
                    let unknown = commit_unknown(&error);
                    for member in members {
                        let unknown = unknown.clone().map(|error| Answer::Is(Err(error.into())));
                        member.tell(unknown.unwrap_or(Answer::Alone));
                    }
                    if unknown.is_some() {
                        return Err(error);
                    }
                    shares = false;
                }
                Err(Stop::Failed(error)) if is_conflict(&error) && tries < RETRIES => tries += 1,
                Err(Stop::Failed(error)) if is_busy(&error) => return Err(store.busy(push)),
                Err(Stop::Failed(error)) => return Err(explained(store.backend, push.instances(), error)),
            }
        }
    }
}

impl<B: Backend> Store<'_, B> {
    /// Publishes what is stored, lets the next push begin, and gives each push its outcome.
    fn settle(
        self,
        lead: Lead<'_, Arc<Push>, Answer>,
        push: &Push,
        decisions: Decisions,
        members: Vec<Joined>,
    ) -> Result<Accepted, PushError> {
        let pushes = std::iter::once(push).chain(members.iter().map(|member| &**member.work()));
        for (push, decision) in pushes.zip(&decisions) {
            match decision {
                // Subscribers may not have received these events, for instance if the outcome of the first commit was
                // unknown.
                Ok(accepted) if accepted.repeated => {
                    self.bus.mark_dirty(push.instances());
                    self.bus.tell(accepted.events.iter().map(|event| (&event.instance, &event.aggregate_type)));
                }
                Ok(accepted) => self.bus.publish(&accepted.events),
                Err(_) => {}
            }
        }
        drop(lead);
        let mut outcomes = decisions.into_iter();
        let own = outcomes.next().unwrap_or_else(|| Err(unknown().into()));
        for (member, outcome) in members.into_iter().zip(outcomes) {
            member.tell(Answer::Is(outcome));
        }
        own
    }

    fn busy(&self, push: &Push) -> PushError {
        let names: Vec<String> = push.instances().iter().map(ToString::to_string).collect();
        super::busy(push.instances(), self.since, self.backend.holder(&names))
    }

    /// How long the push may still wait.
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// If the row of an event existed already, a counter gave its position twice. The caller has rolled back.
pub(crate) fn explained<B: Backend>(backend: &B, instances: &[Arc<str>], error: PushError) -> PushError {
    let refused = match &error {
        PushError::Store(refused) if refused.kind() == StoreErrorKind::Constraint => refused,
        _ => return error,
    };
    match backend.read("looking at counters", |conn| whole::behind(conn, instances)) {
        Ok(Some(found)) => {
            let explained = StoreError::new("pushing events", StoreErrorKind::Corrupt, found).with_remedy(BEHIND);
            refused.code().map_or_else(|| explained.clone(), |code| explained.clone().with_code(code)).into()
        }
        Ok(None) => error,
        Err(unread) => {
            log::debug!("{}", chain(&unread));
            error
        }
    }
}

/// The waiting pushes that wait for no other instances than this push does, as many as one transaction may hold.
fn gather(lead: &Lead<'_, Arc<Push>, Answer>, push: &Push) -> Vec<Joined> {
    let (mut pushes, mut events, mut bytes) = (1, push.len(), push.bytes());
    lead.gather(|joining| {
        pushes += 1;
        events += joining.len();
        bytes += joining.bytes();
        pushes <= MOST_PUSHES && events <= MOST_EVENTS && bytes <= MOST_BYTES
    })
}

/// What a push gets whose leader ended without an answer.
fn unknown() -> StoreError {
    let why = "another thread of this process was storing it together with its own push, and did not come back";
    StoreError::new("pushing events", StoreErrorKind::CommitUnknown, why)
}

fn commit_unknown(error: &PushError) -> Option<StoreError> {
    match error {
        PushError::Store(error) if error.kind() == StoreErrorKind::CommitUnknown => Some(error.clone()),
        _ => None,
    }
}

fn is_conflict(error: &PushError) -> bool {
    matches!(error, PushError::Store(error) if error.kind() == StoreErrorKind::Conflict)
}

/// True if the database did not give a lock in time. A wait for a connection has no code of the database.
fn is_busy(error: &PushError) -> bool {
    match error {
        PushError::Busy { .. } => true,
        PushError::Store(error) => error.kind() == StoreErrorKind::Timeout && error.code().is_some(),
        _ => false,
    }
}

#[cfg(test)]
#[cfg(all(feature = "sqlite", not(shuttle)))]
mod tests;
