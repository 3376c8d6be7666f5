//! The end of a soak: everything catches up, failed events are repaired, and each row is computed again from the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use readside::error::{FailureError, OperateError};
use readside::failure::{By, FailureQuery, FailureStatus};
use readside::testing::laws::{self, Columns, Fault};
use readside::{Engine, ProjectionHandler, Value};

use crate::place::Place;
use crate::work;
use crate::{Result, Tally};

/// If nothing at all moves for this long while work remains, the soak is stuck.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) events: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) stuck: u64,
}

impl Found {
    /// Prints what was found. True if all is well.
    pub(crate) fn tell(&self, tally: &Tally) -> bool {
        let Self { events, lost, doubled, stuck } = self;
        let faults = tally.faults.sum();
        println!("soak: events={events} faults={faults} lost={lost} doubled={doubled} stuck={stuck}");
        lost + doubled + stuck == 0
    }
}

pub(crate) fn all<P: Place>(store: &P::Store, tally: &Tally) -> Result<Found> {
    let mut found = Found { stuck: catch_up::<P>(store)?, ..Found::default() };
    for (projection, _) in work::projections() {
        let report = laws::check(store, store, &projection)?;
        if !report.is_lawful() {
            println!("soak: {report}");
        }
        let doubled = report.faults().iter().filter(|fault| is_doubled(fault)).count() as u64;
        found.events = found.events.max(report.events());
        found.doubled += doubled;
        found.lost += report.faults().len() as u64 - doubled;
        found.stuck += report.behind().len() as u64;
    }
    // Every acknowledged event has to be in the log.
    found.lost += tally.pushed.load(Ordering::SeqCst).saturating_sub(found.events);
    Ok(found)
}

/// True for a fault that doubles an effect. Every other fault counts as lost.
fn is_doubled(fault: &Fault) -> bool {
    match fault {
        Fault::Doubled { .. } => true,
        Fault::Row { expected, found, .. } => number(found.as_ref()) > number(expected.as_ref()),
        _ => false,
    }
}

fn number(row: Option<&Columns>) -> i64 {
    let values = row.into_iter().flatten();
    values
        .map(|(name, value)| match (name.as_str(), value) {
            ("n" | "changes", Value::Integer(number)) => *number,
            _ => 0,
        })
        .sum()
}

/// Runs an engine in this process until it has caught up with everything. Returns how much remains.
fn catch_up<P: Place>(store: &P::Store) -> Result<u64> {
    println!("soak: catching up");
    let engine = work::start::<P>(store.clone(), "soak-check")?;
    let (mut left, mut moved) = (left(&engine)?, Instant::now());
    while left.sum() > 0 && moved.elapsed() < PATIENCE {
        for (projection, _) in work::projections() {
            if let Err(error) = engine.admin().retry_all(projection.name(), &By::new("soak", "the end")).map(|_| ()) {
                match error {
                    OperateError::Failure(error) => mendable(error)?,
                    error => return Err(error.into()),
                }
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        let now = self::left(&engine)?;
        if now != left {
            moved = Instant::now();
        }
        left = now;
    }
    engine.shutdown(Duration::from_secs(30))?;
    Ok(left.sum())
}

/// The remaining work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    instances: u64,
    /// How many positions these instances are behind.
    events: i64,
    /// Events that are recorded as failed and were not skipped.
    held: u64,
}

impl Left {
    fn sum(self) -> u64 {
        self.instances + self.held
    }
}

fn left(engine: &Engine) -> Result<Left> {
    let mut left = Left { instances: 0, events: 0, held: 0 };
    for projection in engine.health()?.projections {
        left.instances += projection.lagging_instances as u64;
        left.events += projection.lag_events;
        left.held += projection.failing + projection.stopped + projection.parked + projection.behind;
    }
    Ok(left)
}

/// Accepts errors after which the retry is made again: a worker is in the middle of it, or the database cut it off.
fn mendable(error: FailureError) -> Result<()> {
    match error {
        FailureError::UnknownProjection { .. } | FailureError::EventGone { .. } => Err(error.into()),
        error => {
            log::info!("a retry is made again: {error}");
            Ok(())
        }
    }
}

/// Retries what failed while everything goes on, as a person with repaired reducers does.
pub(crate) fn mend_until_stopped<P: Place>(store: &P::Store, tally: &Tally) -> Result<()> {
    let store = Arc::new(store.clone());
    let mut handlers = Vec::new();
    for (projection, config) in work::projections() {
        handlers.push(ProjectionHandler::new(store.clone(), store.clone(), projection, config)?);
    }
    let given_up = FailureQuery::all().states([FailureStatus::Parked, FailureStatus::Stopped]).limit(5);
    while !tally.stop.load(Ordering::SeqCst) {
        for handler in &handlers {
            for held in handler.failed_events(&given_up).unwrap_or_default() {
                let (instance, position) = (&held.attempt.instance, held.attempt.position);
                if let Err(error) = handler.retry(instance, position, &By::new("soak", "mended")) {
                    mendable(error)?;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}
