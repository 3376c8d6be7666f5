//! Compares what the tables of a projection hold with what they should hold, which it computes from the log.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::context::{Context, lower};
use super::format::json;
use crate::sealed::Sealed;

use super::laws::{Check, Fault, LawReport, Model, Models};
use crate::builds::JsonRow;
use crate::engine::Control;
use crate::error::{Error, OperateError, StoreError};
use crate::failure::Action;
use crate::projection::Projection;
use crate::store::{BuildStore, Replaying};

/// How many rows of one instance are shown.
const ROWS: usize = 20;

/// How many instances are listed.
const LISTED: usize = 1000;

/// How many discarded events a verification knows; the latest ones, if there are more.
const GIVEN_UP: usize = 100_000;

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[must_use = "a verification that nobody looks at finds nothing"]
pub struct Verification {
    /// The projection.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// Instances that were checked, each at its checkpoint.
    pub instances: u64,
    /// Events that were applied again.
    pub events: u64,
    /// Rows that were found.
    pub rows: u64,
    /// Events that are on record as failed, and count as not applied.
    pub held: u64,
    /// Instances whose checkpoint lies below their relevant head, which is no fault.
    pub behind: u64,
    /// The first thousand instances that differ.
    pub differing: Vec<DifferingInstance>,
    /// How many instances differ beyond these.
    pub more: u64,
    /// Instances that were rebuilt.
    pub repaired: Vec<String>,
}

impl Verification {
    /// True when no row differs and no checkpoint is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differing.is_empty()
    }
}

/// An instance that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DifferingInstance {
    /// The tenant.
    pub instance: String,
    /// The checkpoint at which it was checked.
    pub position: i64,
    /// Rows that were found.
    pub rows: u64,
    /// Rows that differ.
    pub differing_rows: u64,
    /// The first twenty of these.
    pub samples: Vec<DifferingRow>,
    /// What else is wrong, in words.
    pub others: Vec<String>,
}

/// A row that differs. It is missing if `found` is `None`, and one too many if `expected` is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DifferingRow {
    /// The table, by its plain name.
    pub table: String,
    /// The primary key.
    pub key: JsonRow,
    /// The row that applying each event once, in order, gives.
    pub expected: Option<JsonRow>,
    /// The row that is there.
    pub found: Option<JsonRow>,
}

/// Builds as the checker reads them.
#[derive(Debug)]
struct Seen<'b>(&'b dyn BuildStore);

impl Sealed for Seen<'_> {}

impl Models for Seen<'_> {
    fn instances(
        &self,
        projection: &Projection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        self.0.instances(projection, after, limit)
    }

    fn model(&self, projection: &Projection, instance: &str) -> Result<Model, StoreError> {
        self.0.model(projection, instance)
    }

    fn replay(&self, projection: &Projection, work: Replaying<'_>) -> Result<bool, Error> {
        self.0.replay(projection, work)
    }
}

/// Verifies one instance, or all, while engines continue to work.
pub(super) fn verify(
    site: &Context<'_>,
    instance: Option<&str>,
    control: &dyn Control,
) -> Result<Verification, OperateError> {
    site.check_live_is_ours("verify")?;
    if let Some(instance) = instance {
        site.check_instance(instance)?;
    }
    let seen = Seen(site.builds());
    let may_go_on = || control.may_go_on();
    let check = Check::new(site.source.as_ref(), None, &seen, &site.projection)
        .map_err(lower)?
        .while_wanted(&may_go_on)
        .telling(&site.reducing);
    let interventions = site.models.interventions(&site.projection.key(), GIVEN_UP)?;
    let given_up: HashSet<(Arc<str>, i64)> = interventions
        .into_iter()
        .filter(|intervention| intervention.action == Action::Discard)
        .map(|intervention| (intervention.instance, intervention.position))
        .collect();
    let (projection, version) = (site.name().to_owned(), site.projection.version());
    let mut found = Verification { projection, version, ..Verification::default() };
    let mut visit = |instance: &Arc<str>| -> Result<(), Error> {
        if !control.may_go_on() {
            return Err(OperateError::ShutDown.into());
        }
        if instance.is_empty() && !site.system {
            return Ok(());
        }
        let mut report = LawReport::new(site.name());
        let position = check.instance(instance, &mut report)?;
        found.take_in(instance, position, &report, &given_up);
        if found.instances.is_multiple_of(100) {
            control.report(&serde_json::json!({ "instances": found.instances, "differing": found.differing.len() }));
        }
        Ok(())
    };
    match instance {
        Some(instance) => visit(&instance.into()).map_err(lower)?,
        None => check.each(&mut visit).map_err(lower)?,
    }
    Ok(found)
}

impl Verification {
    /// Adds an instance to the report. If a person gave an event up, it is no fault that the event was not applied.
    fn take_in(&mut self, instance: &Arc<str>, position: i64, report: &LawReport, given_up: &HashSet<(Arc<str>, i64)>) {
        let is_fault = |fault: &&Fault| match fault {
            Fault::Refused { instance, position, .. } => !given_up.contains(&(Arc::clone(instance), *position)),
            _ => true,
        };
        let faults: Vec<&Fault> = report.faults().iter().filter(is_fault).collect();
        self.instances += 1;
        self.events += report.events();
        self.rows += report.rows();
        self.held += report.held();
        self.behind += report.behind().len() as u64;
        if faults.is_empty() {
            return;
        }
        if self.differing.len() == LISTED {
            self.more += 1;
            return;
        }
        let mut differing = DifferingInstance {
            instance: instance.to_string(),
            position,
            rows: report.rows(),
            differing_rows: 0,
            samples: Vec::new(),
            others: Vec::new(),
        };
        for fault in faults {
            differing.add(fault);
        }
        differing.differing_rows += report.more();
        self.differing.push(differing);
    }
}

impl DifferingInstance {
    fn add(&mut self, fault: &Fault) {
        let Fault::Row { table, key, expected, found, .. } = fault else {
            if self.others.len() < ROWS {
                self.others.push(fault.to_string());
            }
            return;
        };
        self.differing_rows += 1;
        if self.samples.len() < ROWS {
            let row = |row: &Option<Vec<(String, crate::value::Value)>>| row.as_deref().map(json);
            let (expected, found) = (row(expected), row(found));
            self.samples.push(DifferingRow { table: table.clone(), key: json(key), expected, found });
        }
    }
}
