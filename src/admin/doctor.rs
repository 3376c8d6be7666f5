//! Checks whether all is well with the database and the engines that work on it.

mod backlog;
mod engines;
mod logs;
mod read_tables;
mod standstills;
mod wording;

use std::time::Duration;

use self::backlog::{failures, lag};
use self::engines::{engines, hearing, leases};
use self::logs::{COUNTED, history, whole};
use self::read_tables::{declared, objects, tables};
use self::standstills::standstills;
use self::wording::{SHOWN, unreadable};
use super::two_databases::{COMPARED, mismatches_of_two, status_of_two};
use crate::error::StoreError;
use crate::inspect::{Finding, Inspect, SchemaVersion, Status};
use crate::retention::Operation;
use crate::store::{EventStore, ProjectionStore};
use crate::value::time_text;

/// Finds out whether a store is fit, and whether engines keep up.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use readside::SqliteStore;
/// use readside::admin::Doctor;
/// use readside::inspect::Severity;
/// let store = SqliteStore::in_memory()?;
/// store.setup()?;
/// let findings = Doctor::default().examine(&store);
/// assert!(findings.iter().all(|finding| finding.verdict == Severity::Ok));
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doctor {
    /// How long the doctor waits for an answer of the database. Default: 2 s.
    pub patience: Duration,
    /// The doctor warns if an event waits longer than this. Default: 1 minute.
    pub longest_lag: Duration,
}

impl Default for Doctor {
    fn default() -> Self {
        Self { patience: Duration::from_secs(2), longest_lag: Duration::from_mins(1) }
    }
}

impl Doctor {
    /// Runs all checks. What it cannot read is a finding, too.
    #[must_use]
    pub fn examine<S: Inspect + ?Sized>(&self, store: &S) -> Vec<Finding> {
        let (mut findings, usable) = self.database(store);
        if usable {
            let status = store.status(false);
            let builds = status.as_ref().map_or_else(|_| Vec::new(), |status| status.projections.clone());
            findings.extend(self.projections(status));
            findings.push(history(store.mismatches(COMPARED), &builds));
            findings.extend(whole(store.flawed(COUNTED)));
            findings.extend(objects(store.hanging()));
            findings.extend(declared(store.lacking()));
            findings.extend(tables(store.out_of_place()));
            findings.extend(unfinished(store.unfinished(SHOWN + 1)));
        }
        findings
    }

    /// As [`examine`](Self::examine), for events and read models in two databases: examines both.
    #[must_use]
    pub fn examine_two<E, M>(&self, events: &E, models: &M) -> Vec<Finding>
    where
        E: EventStore + Inspect + ?Sized,
        M: ProjectionStore + Inspect + ?Sized,
    {
        let (mut findings, known) = self.database(events);
        for finding in &mut findings {
            finding.found = format!("of the events: {}", finding.found);
        }
        let (of_models, usable) = self.database(models);
        findings.extend(of_models);
        if known {
            findings.extend(whole(events.flawed(COUNTED)));
        }
        if known && usable {
            let status = status_of_two(events, models, false);
            let builds = status.as_ref().map_or_else(|_| Vec::new(), |status| status.projections.clone());
            findings.extend(self.projections(status));
            findings.push(history(mismatches_of_two(events, models, COMPARED), &builds));
            findings.extend(objects(models.hanging()));
            findings.extend(declared(models.lacking()));
            findings.extend(tables(models.out_of_place()));
            findings.extend(unfinished(events.unfinished(SHOWN + 1)));
            findings.extend(unfinished(models.unfinished(SHOWN + 1)));
        }
        findings
    }

    /// Findings about the database itself, and whether its schema is the one that this library works with.
    fn database<S: Inspect + ?Sized>(&self, store: &S) -> (Vec<Finding>, bool) {
        let mut findings = store.examine(self.patience);
        let schema = store.schema();
        let usable = matches!(&schema, Ok(version) if version.found == version.known);
        findings.push(schema.map_or_else(|error| unreadable("schema", &error), schema_finding));
        (findings, usable)
    }

    fn projections(&self, status: Result<Status, StoreError>) -> Vec<Finding> {
        match status {
            Ok(status) => {
                let mut findings: Vec<Finding> = self.work(&status).into();
                findings.extend(hearing(&status));
                findings.extend(standstills(&status));
                findings
            }
            Err(error) => vec![unreadable("projections", &error)],
        }
    }

    fn work(&self, status: &Status) -> [Finding; 4] {
        [engines(status), leases(status), lag(status, self.longest_lag), failures(status)]
    }
}

/// Operations on the data that a person began and that did not come to their end.
fn unfinished(found: Result<Vec<Operation>, StoreError>) -> Option<Finding> {
    let check = "operations";
    let found = match found {
        Ok(found) if found.is_empty() => return None,
        Ok(found) => found,
        Err(error) => return Some(unreadable(check, &error)),
    };
    let describe = |one: &Operation| {
        let of = one.instance.as_ref().map_or("all instances".to_owned(), |instance| format!("instance {instance:?}"));
        format!("{} of {of}, begun by {:?} at {}", one.kind, one.by.who, time_text(one.began_at))
    };
    let mut words: Vec<String> = found.iter().take(SHOWN).map(describe).collect();
    if found.len() > SHOWN {
        words.push("and more".to_owned());
    }
    Some(Finding::warn(
        check,
        format!("not finished: {}", words.join("; ")),
        "unless somebody is at it, run the same command again, which finishes it; see `readside operations`",
    ))
}

fn schema_finding(version: SchemaVersion) -> Finding {
    let SchemaVersion { found, known } = version;
    let check = "schema";
    if found == known {
        return Finding::ok(check, format!("version {found}, the newest"));
    }
    if found == 0 {
        return Finding::fail(check, "the engine's tables are missing", "run `readside setup`, or start an engine");
    }
    if found > known {
        let text = format!("version {found}, this readside knows up to {known}");
        return Finding::fail(check, text, "use a newer readside");
    }
    Finding::fail(check, format!("version {found}, this readside needs {known}"), "run `readside setup`")
}
