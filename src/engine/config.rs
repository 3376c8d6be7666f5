//! What can be set on a handler, with defaults that suit most services.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use crate::engine::observe::MOST_TRACES;
use crate::error::ConfigError;
use crate::failure::FailureClass;
use crate::setters::setters;

/// What becomes of an event that failed too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Policy {
    /// The event is left out and its aggregate's later events wait behind it, in order, until a person retries or
    /// discards it; everything else goes on.
    #[default]
    Park,
    /// The instance waits for a person, all others go on.
    Stop,
    /// The projection goes on without the event, which stays on record.
    Skip,
}

/// How a projection is brought up to date.
///
/// # Examples
/// ```
/// use readside::{HandlerConfig, Policy};
/// let config = HandlerConfig::default().bulk_limit(100).policy(Policy::Skip);
/// config.check()?;
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerConfig {
    /// Events per instance in one fetch, and so in one transaction. Default: 1,000.
    pub bulk_limit: usize,
    /// Bytes of payload that one fetch holds in memory, for all its instances together; at least one event of each is
    /// fetched. Default: 16 MiB.
    pub fetch_bytes: usize,
    /// Instances that share one fetch and one transaction, as far as their events fit a page of 10,000; 0 means 1.
    /// Default: 200.
    pub concurrent_instances: usize,
    /// How often work that failed is tried again before the call ends. An engine lets other instances have their turns
    /// in between when an instance waits for a lock or has a slow statement. Default: 2.
    pub retries: u32,
    /// How long the first of these retries waits; the following wait twice as long each, up to 5 s. Default: 100 ms.
    pub retry_failed_after: Duration,
    /// Failed calls after which `policy` decides about an event, where waiting may mend it: a constraint refused its row,
    /// or the process died. Default: 8.
    pub max_failure_count: u32,
    /// Failed calls after which `policy` decides about an event, where waiting does not mend it
    /// ([`FailureClass::is_lasting`](crate::failure::FailureClass::is_lasting)): its reducer failed or panicked, or its statement does
    /// not fit. With 1 no call tries it twice. A reducer that is not pure wants more. Default: 1.
    pub max_lasting_failure_count: u32,
    /// How long an event waits after its first failed call; twice as long after each further one. Default: 5 s.
    pub backoff_base: Duration,
    /// The longest such wait. Default: 5 minutes, so that 8 calls take about ten minutes.
    pub backoff_cap: Duration,
    /// What becomes of an event that failed too often. Default: [`Policy::Park`].
    pub policy: Policy,
}

impl Default for HandlerConfig {
    fn default() -> Self {
        Self {
            bulk_limit: 1000,
            fetch_bytes: 16 << 20,
            concurrent_instances: 200,
            retries: 2,
            retry_failed_after: Duration::from_millis(100),
            max_failure_count: 8,
            max_lasting_failure_count: 1,
            backoff_base: Duration::from_secs(5),
            backoff_cap: Duration::from_mins(5),
            policy: Policy::Park,
        }
    }
}

setters! { HandlerConfig:
    bulk_limit: set usize,
    fetch_bytes: set usize,
    concurrent_instances: set usize,
    retries: set u32,
    retry_failed_after: set Duration,
    max_failure_count: set u32,
    max_lasting_failure_count: set u32,
    backoff_base: set Duration,
    backoff_cap: set Duration,
    policy: set Policy,
}

/// The longest back-off that makes sense, and that fits every database's times.
const LONGEST: Duration = Duration::from_hours(24 * 365);

impl HandlerConfig {
    /// The same, with `policy` deciding about an event at its first failed call: for builds, where what fails has failed
    /// before, or fails for ever.
    pub(crate) fn at_once(self) -> Self {
        Self { max_failure_count: 1, max_lasting_failure_count: 1, ..self }
    }

    /// How many failed calls of this class there may be.
    pub(crate) fn limit(&self, class: FailureClass) -> u32 {
        if class.is_lasting() { self.max_lasting_failure_count } else { self.max_failure_count }
    }

    /// Checks all values together.
    ///
    /// # Errors
    /// Each value that is not allowed, with what is.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut faults = Vec::new();
        let mut expect = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        expect((1..=1_000_000).contains(&self.bulk_limit), "bulk_limit has to be between 1 and 1,000,000");
        expect(self.fetch_bytes > 0, "fetch_bytes has to be 1 or more");
        expect(self.concurrent_instances <= 10_000, "concurrent_instances has to be 10,000 or less");
        expect(self.retries <= 100, "retries has to be 100 or less");
        expect(self.max_failure_count > 0, "max_failure_count has to be 1 or more");
        expect(self.max_lasting_failure_count > 0, "max_lasting_failure_count has to be 1 or more");
        expect(self.backoff_base > Duration::ZERO, "backoff_base has to be longer than zero");
        expect(self.backoff_cap >= self.backoff_base, "backoff_cap has to be as long as backoff_base or longer");
        expect(self.backoff_cap <= LONGEST, "backoff_cap has to be a year or less");
        expect(self.retry_failed_after <= LONGEST, "retry_failed_after has to be a year or less");
        if faults.is_empty() { Ok(()) } else { Err(ConfigError { faults }) }
    }
}

/// How an engine runs.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use readside::{EngineConfig, HandlerConfig, Policy};
/// let config = EngineConfig::default()
///     .name("web-1")
///     .requeue_every(Duration::from_secs(5))
///     .lease(Duration::from_secs(20)) // the same in all processes
///     .workers(8)
///     .setup(false) // an owner of the database makes the tables
///     .auto_switch(false) // a person shows a raised version to readers
///     .handler(HandlerConfig::default().policy(Policy::Stop));
/// config.check()?;
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineConfig {
    /// The name of this process in the list of members and in PostgreSQL's of sessions, for people. Default: its program, number
    /// and host: `billing-4711@host-a`.
    pub name: String,
    /// Time between two looks for work; pushes are heard of at once without it. Default: 10 s.
    pub requeue_every: Duration,
    /// For how long an instance is leased without renewal: what a dead process held goes on after this time and one tick.
    /// The same in all processes on one database: a lease that ends four times as late is not believed. A transaction of a
    /// process that stands still is ended by the server within half of it (SQLite: it stops all writers of the file).
    /// Default: 30 s.
    pub lease: Duration,
    /// A reducer that takes longer for one event is told as one that hangs (`StandstillKind::Hangs`); it is not ended, which
    /// nobody can do to a thread. At the next tick other instances go on without it: each worker has a spare thread for that.
    /// Default: 1 minute.
    pub longest_reducer: Duration,
    /// Workers of the pool; 0 for twice the number of processors, as far as connections allow. As many threads more stand by
    /// for reducers that hang. Default: 0.
    pub workers: usize,
    /// True to create or migrate tables at start; false to check only. Default: true.
    pub setup: bool,
    /// True to keep read models of the system instance too. Default: false.
    pub system_instance: bool,
    /// True to have readers see a version that was raised in the code as soon as it has caught up, and one that was
    /// deployed again (or rolled back to) once no living engine has run what they see for as long as a lease; false to
    /// wait until somebody asks for the switch. Default: true.
    pub auto_switch: bool,
    /// How many different `traceparent`s of each batch's events an observer hears
    /// ([`EngineBuilder::observer`](crate::EngineBuilder::observer)), 64 at most. Looking for them reads the metadata
    /// of the events. Default: 0.
    pub observed_traces: usize,
    /// What holds for projections that bring no configuration of their own.
    pub handler: HandlerConfig,
}

/// Program, number and host of this process, as far as they are known.
fn own_name() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_stem).and_then(OsStr::to_str).unwrap_or("readside").to_owned();
    let known = ["HOSTNAME", "COMPUTERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or(known).unwrap_or_default();
    let host = if host.trim().is_empty() { String::new() } else { format!("@{}", host.trim()) };
    format!("{program}-{}{host}", std::process::id()).replace('\0', "")
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            name: own_name(),
            requeue_every: Duration::from_secs(10),
            lease: Duration::from_secs(30),
            longest_reducer: Duration::from_mins(1),
            workers: 0,
            setup: true,
            system_instance: false,
            auto_switch: true,
            observed_traces: 0,
            handler: HandlerConfig::default(),
        }
    }
}

setters! { EngineConfig:
    name: into String,
    requeue_every: set Duration,
    lease: set Duration,
    longest_reducer: set Duration,
    workers: set usize,
    setup: set bool,
    system_instance: set bool,
    auto_switch: set bool,
    observed_traces: set usize,
    handler: set HandlerConfig,
}

impl EngineConfig {
    /// Checks all values together.
    ///
    /// # Errors
    /// Each value that is not allowed, with what is.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut faults = Vec::new();
        let mut expect = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        let day = Duration::from_hours(24);
        expect(
            self.requeue_every > Duration::ZERO && self.requeue_every <= day,
            "requeue_every has to be longer than zero and a day or less",
        );
        expect(
            self.lease >= Duration::from_millis(100) && self.lease <= day,
            "lease has to be between 100 ms, so that it can be renewed in time, and a day",
        );
        expect(self.longest_reducer > Duration::ZERO, "longest_reducer has to be longer than zero");
        expect(!self.name.contains('\0'), "name has to be without the character NUL");
        expect(self.workers <= 1000, "workers has to be 1000 or less");
        expect(self.observed_traces <= MOST_TRACES, "observed_traces has to be 64 or less");
        if let Err(error) = self.handler.check() {
            faults.extend(error.faults);
        }
        if faults.is_empty() { Ok(()) } else { Err(ConfigError { faults }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart_by_their_names() {
        let name = EngineConfig::default().name;
        assert!(name.contains(&std::process::id().to_string()) && name.starts_with("readside-"), "{name}");
        assert_eq!(name, EngineConfig::default().name);
    }

    #[test]
    fn every_wrong_value_is_named() {
        assert_eq!(HandlerConfig::default().check(), Ok(()));
        let wrong = HandlerConfig {
            bulk_limit: 0,
            max_failure_count: 0,
            max_lasting_failure_count: 0,
            backoff_base: Duration::from_secs(2),
            backoff_cap: Duration::from_secs(1),
            ..HandlerConfig::default()
        };
        let error = wrong.check().unwrap_err();
        assert_eq!(error.faults.len(), 4);
        assert!(error.to_string().contains("bulk_limit has to be between"), "{error}");
    }
}
