//! Builds of read models: the live one, which readers see, and its shadow.
//!
//! Each build is a separate projection: its key has its own states, leases and failures, and its rows are in its own
//! tables. The plain name of a version always means its older build; a switch within a version exchanges the names.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{StoreError, StoreErrorKind};
use crate::state::{ProjectionKey, State};
use crate::value::Value;

/// The most rows of each kind of difference that are shown.
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
    /// Something is wrong that does not pass without help. The build waits for a person, who starts the rebuild again.
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

    /// True when engines should bring it up to date.
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

/// The beginning of the trouble of a build to which readers were not switched. Moving does not end that trouble.
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
    /// Why it was halted. In another phase, why it does not move at present while engines try again at growing
    /// intervals, or why readers were not switched to it, see [`is_refused`](Self::is_refused).
    pub trouble: Option<String>,
    /// The command that made it, if one did.
    pub command: Option<Uuid>,
    /// The aggregate types that it handles.
    pub aggregate_types: Vec<String>,
    /// What happened to its tables, if they do not belong to its checkpoints: somebody restored the read tables alone,
    /// or the engine's tables alone, or created them again. Nothing is applied to such a build; a rebuild repairs it.
    pub torn: Option<String>,
}

/// The error of an operation on tables that do not belong to their checkpoints.
pub(crate) fn torn_tables(doing: &str, found: &str) -> StoreError {
    StoreError::new(doing, StoreErrorKind::Schema, found.to_owned()).with_remedy(
        "; a restore of read tables alone, or of the engine's alone, does that: restore both from one backup, or build the \
         read model again from the events with `readside rebuild`",
    )
}

impl Build {
    /// True while readers have not seen it: it is filled, or waits for a person.
    #[must_use]
    pub fn is_made(&self) -> bool {
        matches!(self.phase, Phase::Building | Phase::Ready | Phase::Halted)
    }

    /// True when its switch was refused and a person has to act. Its trouble says why. Engines keep it current
    /// meanwhile.
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
    /// The positions that are handled, over all instances.
    pub done: i64,
    /// The positions to handle. The number grows with new events.
    pub total: i64,
    /// The positions per second lately.
    pub per_second: Option<f64>,
    /// Estimated time to the end of this step, in seconds.
    pub seconds_left: Option<f64>,
    /// What it waits for, if it waits for anything.
    pub waits_for: Option<String>,
    /// What the comparison found, once it has ended.
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

/// What two builds have in common, and how they differ.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Comparison {
    /// The instances that were compared, each at one position.
    pub instances: u64,
    /// The instances in which the two builds were never at the same position during the comparison.
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

/// Which events of the log a read model lacks, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// Events that failed and are parked.
    pub parked: u64,
    /// Events that wait behind a parked one of their aggregate.
    pub behind: u64,
    /// Events that failed and were skipped.
    pub skipped: u64,
    /// Events that people gave up, which the projection ignores on purpose.
    #[serde(default)]
    pub discarded: u64,
    /// Instances that stand still: paused, waiting at a failing event, partly removed, or because no process moves
    /// them.
    pub standing: u64,
    /// The positions in these instances that are not handled.
    pub waiting: u64,
    /// Some of these instances, each with its reason.
    pub reasons: Vec<String>,
}

impl LeftOut {
    /// True when nothing is left out other than what people gave up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parked + self.behind + self.skipped + self.standing == 0
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.parked, "failed event is parked", "failed events are parked"),
            (self.behind, "waits behind", "wait behind them"),
            (self.skipped, "failed event was skipped", "failed events were skipped"),
            (self.discarded, "discarded event is passed over", "discarded events are passed over"),
            (self.standing, "instance stands still", "instances stand still"),
            (self.waiting, "position of these waits", "positions of these wait"),
        ];
        let word = |(count, one, many): &(u64, &str, &str)| format!("{count} {}", if *count == 1 { one } else { many });
        let words: Vec<String> = counts.iter().filter(|(count, ..)| *count > 0).map(word).collect();
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
    /// Rows that both have, but with different values in a column that both have.
    pub changed: u64,
    /// Why rows could not be compared one by one.
    pub not_comparable: Option<String>,
    /// Some of the rows that differ, at most twenty of each kind.
    pub samples: Vec<RowDifference>,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowDifference {
    /// The row in the old build, or as it was found.
    pub old: Option<JsonRow>,
    /// The row in the new build, or as it should be.
    pub new: Option<JsonRow>,
}

/// Everything that one instance of a read model holds at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// The checkpoint.
    pub state: State,
    /// The positions of events that are on record as failed, in any state.
    pub held: BTreeSet<i64>,
    /// Rows of each table, in the order of the definition.
    pub tables: Vec<Vec<Vec<(String, Value)>>>,
}

/// An instance in which the new build lags behind the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaggingInstance {
    /// The tenant.
    pub instance: Arc<str>,
    /// Position of the new build.
    pub from: i64,
    /// Position of the old build.
    pub to: i64,
}
