//! Builds of read models: the one that readers see, and the one that is made beside it.
//!
//! Each is a projection of its own: states, leases and failures are kept under its key, rows in tables of its own. The
//! plain name of a version always means its older build; a switch within a version exchanges the names.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, SetupError, StoreError, SwitchError};
use crate::projection::Projection;
use crate::state::{ProjectionKey, State};
use crate::statement::Statement;
use crate::store::ProjectionTransaction;
use crate::table::Table;
use crate::value::Value;

/// Rows of each kind of difference that are shown.
pub(crate) const SAMPLES: usize = 20;

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// It is being filled.
    Building,
    /// It has caught up, is kept current, and waits for its switch.
    Ready,
    /// Readers see it.
    Live,
    /// Readers saw it before the last switch. Only processes that run its code keep it current.
    Kept,
    /// Something is wrong that does not pass by itself; it waits for a person, who starts the rebuild again.
    Halted,
}

impl Phase {
    /// The word under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Live => "live",
            Self::Kept => "kept",
            Self::Halted => "halted",
        }
    }

    /// The phase of a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Building, Self::Ready, Self::Live, Self::Kept, Self::Halted].into_iter().find(|p| p.as_str() == word)
    }

    /// True when engines are to bring it up to date.
    #[must_use]
    pub fn is_filled(self) -> bool {
        matches!(self, Self::Building | Self::Ready | Self::Live)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the trouble of a build begins that was not put before the readers. Moving does not end it.
pub(crate) const SWITCH_REFUSED: &str = "the switch was refused: ";

/// A build as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Build {
    /// The key of its states; its name says which projection it is a build of.
    pub key: ProjectionKey,
    /// How far it is.
    pub phase: Phase,
    /// True once all its instances have been up to date.
    pub succeeded: bool,
    /// How often it was reset.
    pub resets: i64,
    /// Why it was halted; or, in another phase, why it does not move for now: engines try again, later and later; or why
    /// readers were not switched to it, see [`is_refused`](Self::is_refused).
    pub trouble: Option<String>,
    /// The command that it was made by, if one.
    pub command: Option<Uuid>,
    /// The aggregate types that it handles.
    pub aggregate_types: Vec<String>,
}

impl Build {
    /// True while readers have not seen it: it is filled, or waits for a person.
    #[must_use]
    pub fn is_made(&self) -> bool {
        matches!(self.phase, Phase::Building | Phase::Ready | Phase::Halted)
    }

    /// True when its switch was refused, and a person has to act; its trouble says why. It is kept current meanwhile.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.starts_with(SWITCH_REFUSED))
    }
}

/// How far a rebuild is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BuildProgress {
    /// What is being done.
    pub step: Step,
    /// Positions that are behind it, over all instances.
    pub done: i64,
    /// Positions that there are to handle; grows with new events.
    pub total: i64,
    /// Positions a second, of late.
    pub per_second: Option<f64>,
    /// Estimated time to the end of this step, in seconds.
    pub seconds_left: Option<f64>,
    /// What it waits for, if for anything in particular.
    pub waits_for: Option<String>,
    /// What the comparison found, once it is over.
    pub comparison: Option<Comparison>,
}

/// The steps of a rebuild, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// Events are applied to the new tables.
    Filling,
    /// Old and new are compared.
    Comparing,
    /// The new one takes the place of the old one.
    Switching,
    /// Failed events are tried again.
    Retrying,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filling => "filling",
            Self::Comparing => "comparing",
            Self::Switching => "switching",
            Self::Retrying => "retrying",
        })
    }
}

/// A row as JSON, by column.
pub type JsonRow = serde_json::Map<String, serde_json::Value>;

/// What two builds have in common, and in what they differ.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Instances that were compared, each at one position.
    pub instances: u64,
    /// Instances in which the two never stood at the same position while it was looked.
    pub left_out: u64,
    /// The tables.
    pub tables: Vec<TableComparison>,
}

impl Comparison {
    /// True when every instance was compared and no row differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.left_out == 0
            && self.tables.iter().all(|table| {
                table.added == 0 && table.gone == 0 && table.changed == 0 && table.not_comparable.is_none()
            })
    }
}

/// What a read model lacks of the log, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// Events that failed and are parked.
    pub parked: u64,
    /// Events that wait behind a parked one of their aggregate.
    pub behind: u64,
    /// Events that failed and were skipped.
    pub skipped: u64,
    /// Events that people gave up, which are passed over. They are wanted so.
    #[serde(default)]
    pub discarded: u64,
    /// Instances that stand still: paused, before an event that fails, or because nobody moves them.
    pub standing: u64,
    /// Positions of these that are not handled.
    pub waiting: u64,
    /// Some of these instances, each with its reason.
    pub reasons: Vec<String>,
}

impl LeftOut {
    /// True when nothing is left out, but for what people gave up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parked + self.behind + self.skipped + self.standing == 0
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.parked, "failed events are parked"),
            (self.behind, "wait behind them"),
            (self.skipped, "failed events were skipped"),
            (
                self.discarded,
                if self.discarded == 1 { "discarded event passed over" } else { "discarded events passed over" },
            ),
            (self.standing, "instances stand still"),
            (self.waiting, "positions of these wait"),
        ];
        let words: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        let reasons = self.reasons.iter().map(|reason| format!("; {reason}"));
        write!(f, "{}{}", words.join(", "), reasons.collect::<String>())
    }
}

/// One table in two builds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TableComparison {
    /// Its plain name.
    pub table: String,
    /// Rows in the old build.
    pub old_rows: u64,
    /// Rows in the new build.
    pub new_rows: u64,
    /// Rows that only the new one has.
    pub added: u64,
    /// Rows that only the old one has.
    pub gone: u64,
    /// Rows that both have, with other values in a column that both have.
    pub changed: u64,
    /// Why rows could not be compared one by one.
    pub not_comparable: Option<String>,
    /// Some of the rows that differ, at most twenty of each kind.
    pub samples: Vec<RowDifference>,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowDifference {
    /// The row in the old build, or as it is found.
    pub old: Option<JsonRow>,
    /// The row in the new build, or as it should be.
    pub new: Option<JsonRow>,
}

/// All that one instance of a read model holds, as of one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// The checkpoint.
    pub state: State,
    /// Positions of events that are on record as failed, whatever became of them.
    pub held: BTreeSet<i64>,
    /// Rows of each table, in the order of the definition.
    pub tables: Vec<Vec<Vec<(String, Value)>>>,
}

/// An instance in which the new build is behind the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaggingInstance {
    /// The tenant.
    pub instance: Arc<str>,
    /// Position of the new build.
    pub from: i64,
    /// Position of the old build.
    pub to: i64,
}

/// Brings the instances of a build up to date inside the transaction that locks them.
pub type CatchUp<'c> = &'c mut dyn FnMut(&mut dyn ProjectionTransaction, &[LaggingInstance]) -> Result<(), StoreError>;

/// Tables of a projection that are empty at first, that nobody else sees, and that are gone afterwards.
pub trait Replay {
    /// Applies a statement; one that is refused changes nothing.
    ///
    /// # Errors
    /// Why it is refused, or that the store fails.
    fn apply(&mut self, instance: &str, statement: &Statement) -> Result<(), StoreError>;

    /// The rows of an instance, table by table.
    ///
    /// # Errors
    /// When the store fails.
    fn rows(&mut self, instance: &str) -> Result<Vec<Vec<Columns>>, StoreError>;

    /// The row with this primary key.
    ///
    /// # Errors
    /// When the store fails.
    fn find(&mut self, table: &Table, instance: &str, key: &[Value]) -> Result<Option<Columns>, StoreError>;
}

/// A row of a read table: names and values of its columns, the instance first.
type Columns = Vec<(String, Value)>;

/// Work on such tables.
pub type Replaying<'w> = &'w mut dyn FnMut(&mut dyn Replay) -> Result<(), Error>;

/// Where builds are registered, compared and exchanged: in the database of the read models.
pub trait BuildStore: fmt::Debug + Send + Sync {
    /// All builds of all projections.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn builds(&self) -> Result<Vec<Build>, StoreError>;

    /// Makes the tables of a build where there are none, removes what is left of an earlier one that is not wanted any
    /// more, and registers it as being built by this command. One that is under construction goes on. Its tables get what
    /// people hung on those that readers see; returned is what they will be without.
    ///
    /// # Errors
    /// See [`SwitchError`]: what would refuse the switch is said here.
    fn begin(&self, build: &Projection, command: Uuid) -> Result<Vec<String>, SwitchError>;

    /// Moves a build into another phase, unless it is in none of these; false then.
    ///
    /// # Errors
    /// When the store fails.
    fn enter(
        &self,
        build: &ProjectionKey,
        from: &[Phase],
        to: Phase,
        trouble: Option<&str>,
    ) -> Result<bool, StoreError>;

    /// Has a build that was kept be filled again, for this command.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn revive(&self, build: &ProjectionKey, command: Uuid) -> Result<(), SwitchError>;

    /// Instances that have a state in one of these builds, by bytes, behind `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instances_of(
        &self,
        builds: &[ProjectionKey],
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError>;

    /// Compares two builds in those of these instances in which both stand at the same position, and adds to the
    /// comparison. Returns the others with both positions.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn compare(
        &self,
        old: &ProjectionKey,
        new: &ProjectionKey,
        instances: &[Arc<str>],
        equal: &[LaggingInstance],
        into: &mut Comparison,
    ) -> Result<Vec<LaggingInstance>, StoreError>;

    /// Has readers see this build, in one transaction, in which the live one stands still. `catch_up` is called for the
    /// instances in which it is behind the live one; none to switch although it is. Readers that are at it are waited for
    /// so long; new ones wait meanwhile.
    ///
    /// # Errors
    /// See [`SwitchError`]; nothing has changed then.
    fn go_live(
        &self,
        build: &ProjectionKey,
        patience: Duration,
        catch_up: Option<CatchUp<'_>>,
    ) -> Result<(), SwitchError>;

    /// Exchanges rows, state and failures of one instance of the live build for those of a build beside it, in one
    /// transaction.
    ///
    /// # Errors
    /// See [`SwitchError`]; nothing has changed then.
    fn exchange(&self, build: &Projection, instance: &Arc<str>, catch_up: CatchUp<'_>) -> Result<(), SwitchError>;

    /// Removes a build that readers do not see: tables, states, failures; false when there is none.
    ///
    /// # Errors
    /// [`SetupError::Dependents`] where something of the service's own stands on its tables; when the store fails.
    fn remove(&self, build: &ProjectionKey) -> Result<bool, SetupError>;

    /// Foreign keys of the service's own tables that refer to the tables of a build, in words.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn referring(&self, _projection: &Projection) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// Empties these instances of a read model: rows, state and failures, but for what people gave up. Returns how many rows went.
    ///
    /// # Errors
    /// When the store fails.
    fn empty(&self, projection: &Projection, instances: &[Arc<str>]) -> Result<u64, StoreError>;

    /// What people gave up is applied again when it is met; in one instance or all. Returns how many events that are.
    ///
    /// # Errors
    /// When the store fails.
    fn forget_discarded(&self, _build: &ProjectionKey, _instance: Option<&str>) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Takes back that the first run has succeeded.
    ///
    /// # Errors
    /// When the store fails.
    fn revoke(&self, projection: &ProjectionKey) -> Result<(), StoreError>;

    /// Instances that have a state or a row, by bytes, behind `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn instances(
        &self,
        projection: &Projection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError>;

    /// The row with this primary key, as readers of this build see it.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn find(
        &self,
        projection: &Projection,
        table: &Table,
        instance: &str,
        key: &[Value],
    ) -> Result<Option<Vec<(String, Value)>>, StoreError>;

    /// One instance, read from one snapshot: while an engine works, state and rows must fit each other.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn model(&self, projection: &Projection, instance: &str) -> Result<Model, StoreError>;

    /// Runs the work on tables of the projection, where its SQL of its own needs this database to mean what it means in the
    /// read model. False when SQLite in memory does as well; nothing was done then.
    ///
    /// # Errors
    /// Those of the work, and when the store fails.
    fn replay(&self, _projection: &Projection, _work: Replaying<'_>) -> Result<bool, Error> {
        Ok(false)
    }
}
