//! What the checker found.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::Columns;

/// How many faults a report keeps. It only counts more of them, so that a damaged database does not fill memory.
const KEPT: usize = 1000;

/// A law that is broken, and where.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// A row is missing (`found` is `None`), is one too many (`expected` is `None`), or holds something else.
    Row {
        /// The tenant.
        instance: Arc<str>,
        /// The table, by its plain name.
        table: String,
        /// The primary key.
        key: Columns,
        /// The row that applying each event once, in order, gives.
        expected: Option<Columns>,
        /// The row that is there.
        found: Option<Columns>,
    },
    /// An event that the checkpoint covers and that is not on record as failed cannot be applied.
    Refused {
        /// The tenant.
        instance: Arc<str>,
        /// Its position.
        position: i64,
        /// Why.
        error: String,
    },
    /// A checkpoint lies above the head.
    Ahead {
        /// The tenant.
        instance: Arc<str>,
        /// The checkpoint.
        position: i64,
        /// The head.
        head: i64,
    },
    /// A checkpoint names another event than the log has at its position.
    OtherEvent {
        /// The tenant.
        instance: Arc<str>,
        /// The checkpoint.
        position: i64,
        /// The event that the log has at this position.
        expected: Option<Uuid>,
        /// The event that the checkpoint names.
        found: Option<Uuid>,
    },
    /// A checkpoint belongs to another event store.
    OtherStore {
        /// The tenant.
        instance: Arc<str>,
        /// The store that is checked.
        expected: Uuid,
        /// The store that the checkpoint names.
        found: Option<Uuid>,
    },
    /// Positions of the log are missing.
    Hole {
        /// The tenant.
        instance: Arc<str>,
        /// The first one that is missing.
        from: i64,
        /// The last one.
        to: i64,
    },
    /// The source says that the log is not whole.
    Log {
        /// The tenant.
        instance: Arc<str>,
        /// What is missing, in words.
        found: String,
    },
    /// A position occurs twice in the log, or after a higher one.
    Doubled {
        /// The tenant.
        instance: Arc<str>,
        /// The position.
        position: i64,
    },
    /// The source names another relevant head than the log has.
    RelevantHead {
        /// The tenant.
        instance: Arc<str>,
        /// The last position of the aggregate types that the projection handles.
        expected: i64,
        /// What the source says.
        found: i64,
    },
}

/// An instance that is not up to date. That alone is no fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LawLag {
    /// The tenant.
    pub instance: Arc<str>,
    /// The checkpoint.
    pub position: i64,
    /// The relevant head.
    pub relevant: i64,
}

/// The outcome of a check. Its text lists every fault.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a check that nobody looks at finds nothing"]
pub struct LawReport {
    projection: String,
    pub(super) instances: u64,
    pub(super) events: u64,
    pub(super) rows: u64,
    pub(super) held: u64,
    pub(super) behind: Vec<LawLag>,
    faults: Vec<Fault>,
    more: u64,
}

impl LawReport {
    pub(crate) fn new(projection: &str) -> Self {
        let (instances, events, rows, held, more) = (0, 0, 0, 0, 0);
        let (behind, faults) = (Vec::new(), Vec::new());
        Self { projection: projection.to_owned(), instances, events, rows, held, behind, faults, more }
    }

    pub(super) fn add(&mut self, fault: Fault) {
        if self.faults.len() < KEPT {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// The first thousand faults.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many faults were found beyond these.
    pub(crate) fn more(&self) -> u64 {
        self.more
    }

    /// True when there is no fault.
    #[must_use]
    pub fn is_lawful(&self) -> bool {
        self.faults.is_empty()
    }

    /// Instances whose checkpoint lies below their relevant head.
    #[must_use]
    pub fn behind(&self) -> &[LawLag] {
        &self.behind
    }

    /// Instances that were looked at.
    #[must_use]
    pub fn instances(&self) -> u64 {
        self.instances
    }

    /// Events that were looked at.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Events that are on record as failed, which were left out.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Rows that were found.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl fmt::Display for LawReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "projection {:?}: {} faults, {} instances behind, {} events held, in {} instances with {} events and {} rows",
            self.projection,
            self.faults.len() as u64 + self.more,
            self.behind.len(),
            self.held,
            self.instances,
            self.events,
            self.rows
        )?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        if self.more > 0 {
            write!(f, "\n  and {} more", self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance {:?}: ", self.instance())?;
        match self {
            Self::Row { table, key, expected, found, .. } => {
                write!(f, "table {table:?}, key {}: ", Shown(key))?;
                match (expected, found) {
                    (Some(expected), Some(found)) => {
                        write!(f, "expected {}, found {}", Shown(expected), Shown(found))
                    }
                    (Some(expected), None) => write!(f, "missing {}", Shown(expected)),
                    (None, Some(found)) => write!(f, "unexpected {}", Shown(found)),
                    (None, None) => Ok(()),
                }
            }
            Self::Refused { position, error, .. } => {
                write!(f, "the event at {position} is neither applied nor on record: {error}")
            }
            Self::Ahead { position, head, .. } => {
                write!(f, "the checkpoint {position} lies ahead of the head {head}")
            }
            Self::OtherEvent { position, expected, found, .. } => {
                write!(f, "the checkpoint {position} names event {}, but {} stands there", id(*found), id(*expected))
            }
            Self::OtherStore { expected, found, .. } => match found {
                Some(found) => write!(f, "the checkpoint belongs to event store {found}, not to {expected}"),
                None => write!(f, "the checkpoint names no event store, as where the instance was removed in part"),
            },
            Self::Hole { from, to, .. } => write!(f, "positions {from} to {to} are missing"),
            Self::Log { found, .. } => write!(f, "the log is not whole: {found}"),
            Self::Doubled { position, .. } => write!(f, "position {position} comes twice, or too late"),
            Self::RelevantHead { expected, found, .. } => {
                write!(f, "the relevant head is {expected}, but the source says {found}")
            }
        }
    }
}

impl Fault {
    /// The tenant.
    #[must_use]
    pub fn instance(&self) -> &str {
        match self {
            Self::Row { instance, .. }
            | Self::Refused { instance, .. }
            | Self::Ahead { instance, .. }
            | Self::OtherEvent { instance, .. }
            | Self::OtherStore { instance, .. }
            | Self::Hole { instance, .. }
            | Self::Log { instance, .. }
            | Self::Doubled { instance, .. }
            | Self::RelevantHead { instance, .. } => instance,
        }
    }
}

struct Shown<'r>(&'r Columns);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        write!(f, "({})", columns.join(", "))
    }
}

fn id(id: Option<Uuid>) -> String {
    id.map_or_else(|| "no event".to_owned(), |id| id.to_string())
}
