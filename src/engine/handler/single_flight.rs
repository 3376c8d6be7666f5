//! Single flight: while one caller brings an instance up to date, others raise its target and wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::sync::{Condvar, Mutex};

use crate::stop_cause::Stopped;

/// The longest single wait. A wait that ends here begins again, so this only limits what a lost wake-up costs.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How a flight ended.
#[derive(Debug, Clone)]
pub(crate) enum FlightOutcome {
    /// Every event up to the target was looked at.
    Reached,
    Stopped(Stopped),
    /// The caller gave up, for instance by a panic. Another caller has to take the instance.
    Abandoned,
}

#[derive(Debug, Default)]
struct FlightState {
    target: i64,
    outcome: Option<FlightOutcome>,
}

/// One instance on its way.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    course: Mutex<FlightState>,
    landed: Condvar,
}

impl InFlight {
    /// Raises the target; false when it has landed already.
    pub(crate) fn raise(&self, target: i64) -> bool {
        let mut course = self.course.lock();
        course.target = course.target.max(target);
        course.outcome.is_none()
    }

    /// How the flight landed, or `None` when a single wait was not enough.
    pub(crate) fn wait(&self) -> Option<FlightOutcome> {
        let deadline = clock::deadline(LONGEST_WAIT);
        let mut course = self.course.lock();
        while course.outcome.is_none() {
            if self.landed.wait_until(&mut course, deadline).timed_out() {
                break;
            }
        }
        course.outcome.clone()
    }

    fn end(&self, mut course: crate::sync::MutexGuard<'_, FlightState>, outcome: FlightOutcome) {
        course.outcome.get_or_insert(outcome);
        drop(course);
        self.landed.notify_all();
    }
}

#[derive(Debug, Default)]
pub(crate) struct SingleFlight {
    by_instance: Mutex<HashMap<Arc<str>, Arc<InFlight>>>,
}

/// The right to fly an instance; given back when dropped.
#[derive(Debug)]
pub(crate) struct Leader<'a> {
    flights: &'a SingleFlight,
    pub(crate) instance: Arc<str>,
    flight: Arc<InFlight>,
}

impl SingleFlight {
    /// Starts a flight, or returns the one that is under way.
    pub(crate) fn start(&self, instance: &Arc<str>) -> Result<Leader<'_>, Arc<InFlight>> {
        let mut flights = self.by_instance.lock();
        if let Some(flight) = flights.get(instance) {
            return Err(Arc::clone(flight));
        }
        let flight = Arc::new(InFlight::default());
        flights.insert(Arc::clone(instance), Arc::clone(&flight));
        Ok(Leader { flights: self, instance: Arc::clone(instance), flight })
    }

    /// Makes all callers stop waiting for this flight. The next caller starts another one.
    pub(crate) fn abandon(&self, instance: &Arc<str>, flight: &Arc<InFlight>) {
        self.forget(instance, flight);
        flight.end(flight.course.lock(), FlightOutcome::Abandoned);
    }

    fn forget(&self, instance: &Arc<str>, flight: &Arc<InFlight>) {
        let mut flights = self.by_instance.lock();
        if flights.get(instance).is_some_and(|one| Arc::ptr_eq(one, flight)) {
            flights.remove(instance);
        }
    }
}

impl Leader<'_> {
    /// Lands at this position, unless the target was raised above it and may be reached: then the flight has to go on.
    pub(crate) fn land_at(&self, position: i64, stands: bool) -> bool {
        let course = self.flight.course.lock();
        if course.target > position && !stands {
            return false;
        }
        self.flight.end(course, FlightOutcome::Reached);
        true
    }

    pub(crate) fn stop(&self, stopped: Stopped) {
        self.flight.end(self.flight.course.lock(), FlightOutcome::Stopped(stopped));
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.flights.forget(&self.instance, &self.flight);
        self.flight.end(self.flight.course.lock(), FlightOutcome::Abandoned);
    }
}
