//! What people and other processes ask running engines to do. The commands are rows in the database of the read models.
//!
//! Any process that can reach the database may ask for a command. One engine that runs the projection takes the row,
//! keeps it by heartbeats and answers it. The row then stays as history.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::failure::By;
use crate::setters::setters;

/// When a rebuilt read model takes the place of the live one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Switch {
    /// As soon as it has caught up and was compared, whatever the comparison showed.
    #[default]
    CaughtUp,
    /// As soon as it has caught up, if the comparison showed no difference.
    Same,
    /// When somebody asks for it.
    Asked,
}

/// How a read model is rebuilt. By default all of it, with a comparison and a switch.
///
/// # Examples
/// ```
/// use readside::admin::{RebuildOptions, Switch};
/// let options = RebuildOptions::default().switch(Switch::Same);
/// let one_tenant = RebuildOptions::default().instance("tenant-1");
/// # let _ = (options, one_tenant);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command, each with a name of its own")]
#[non_exhaustive]
pub struct RebuildOptions {
    /// Only this instance. Its rows are exchanged in place, and the old rows are not kept.
    pub instance: Option<String>,
    /// When readers see it. A single instance is always exchanged at once.
    pub switch: Switch,
    /// True to compare it with the old one first. Default: true.
    pub compare: bool,
    /// How long the switch waits for sessions that hold the tables before it gives up. Default: 10 minutes. Engines
    /// that ask without a person wait until the switch is made.
    #[serde(default)]
    pub switch_within: Option<Duration>,
    /// True to do nothing when readers see this version already. Engines that ask without a person set it: several may
    /// ask, and one rebuild is enough. Default: false.
    #[serde(default)]
    pub unless_live: bool,
    /// True to switch although the new tables lack something that guards the old ones or depends on them and cannot be
    /// moved: policies, labels, rules, foreign keys. Without this option the switch is refused, and the refusal names
    /// these things. Default: false.
    #[serde(default)]
    pub accept_loss: bool,
    /// True to apply discarded events again; false to leave them out. Default: false.
    #[serde(default)]
    pub retry_discarded: bool,
}

impl Default for RebuildOptions {
    fn default() -> Self {
        Self {
            instance: None,
            switch: Switch::default(),
            compare: true,
            switch_within: None,
            unless_live: false,
            accept_loss: false,
            retry_discarded: false,
        }
    }
}

setters! { RebuildOptions:
    instance: some String,
    switch: set Switch,
    compare: set bool,
    switch_within: some Duration,
    unless_live: set bool,
    accept_loss: set bool,
    retry_discarded: set bool,
}

/// What an engine is asked to do about a projection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AdminCommand {
    /// Rebuild the read model next to the old one, or go on with a build that was halted.
    Rebuild(RebuildOptions),
    /// Switch readers to the build that is ready.
    Switch {
        /// How long it waits for sessions that hold the tables. Default: 10 minutes.
        #[serde(default)]
        within: Option<Duration>,
    },
    /// Switch readers to the build that was live before.
    Back {
        /// True to go back although the old build lags behind the live one and no engine may bring it up to date.
        stale: bool,
        /// How long it waits for sessions that hold the tables. Default: 10 minutes.
        #[serde(default)]
        within: Option<Duration>,
    },
    /// Remove the build that was live before.
    DropOld,
    /// Give up the build under construction and remove it.
    Abandon,
    /// Compute what the tables should hold and compare.
    Verify {
        /// Only this instance.
        instance: Option<String>,
        /// True to rebuild the instances that differ.
        repair: bool,
    },
    /// Report which events made a row.
    Explain(ExplainRequest),
    /// Empty the tables and start from the first event, in place, while readers watch them fill.
    Reset {
        /// Only this instance.
        instance: Option<String>,
        /// True to apply discarded events again.
        #[serde(default)]
        retry_discarded: bool,
    },
    /// Pause the projection in all processes: nothing is applied until it is resumed. This works without a living
    /// engine.
    Pause {
        /// Only this instance.
        instance: Option<String>,
    },
    /// Resume the projection. A pause of the whole projection is resumed as a whole.
    Resume {
        /// Only this instance.
        instance: Option<String>,
    },
    /// Try a failed event again.
    Retry {
        /// The tenant.
        instance: String,
        /// Position of the event.
        position: i64,
    },
    /// Try all failed events again.
    RetryAll,
    /// Give up a failed event.
    Discard {
        /// The tenant.
        instance: String,
        /// Position of the event.
        position: i64,
    },
}

/// A question about the origin of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainRequest {
    /// The tenant.
    pub instance: String,
    /// The table, by name or suffix; the primary one unless named.
    pub table: Option<String>,
    /// The values of the primary key, in its order, as texts.
    pub key: Vec<String>,
    /// As of this position. Default: as of the checkpoint.
    pub at: Option<i64>,
}

impl AdminCommand {
    /// The word by which it is stored and shown.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rebuild(_) => "rebuild",
            Self::Switch { .. } => "switch",
            Self::Back { .. } => "back",
            Self::DropOld => "drop-old",
            Self::Abandon => "abandon",
            Self::Verify { .. } => "verify",
            Self::Explain(_) => "explain",
            Self::Reset { .. } => "reset",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Retry { .. } => "retry",
            Self::RetryAll => "retry-all",
            Self::Discard { .. } => "discard",
        }
    }

    /// True when only one such command may run for a projection at a time.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        matches!(
            self,
            Self::Rebuild(_)
                | Self::Switch { .. }
                | Self::Back { .. }
                | Self::DropOld
                | Self::Reset { .. }
                | Self::Verify { repair: true, .. }
        )
    }

    /// True when the store carries it out at once, whether an engine is alive or not.
    #[must_use]
    pub fn is_immediate(&self) -> bool {
        self.pausing().is_some()
    }

    /// What the command pauses or resumes: the instance, or `None` for the whole projection; and true for a pause.
    pub(crate) fn pausing(&self) -> Option<(Option<&str>, bool)> {
        match self {
            Self::Pause { instance } => Some((instance.as_deref(), true)),
            Self::Resume { instance } => Some((instance.as_deref(), false)),
            _ => None,
        }
    }

    /// True when its answer holds rows of read models, which are not kept for long.
    #[must_use]
    pub fn shows_rows(&self) -> bool {
        matches!(self, Self::Rebuild(_) | Self::Verify { .. } | Self::Explain(_))
    }
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CommandState {
    /// No engine has taken it yet.
    Asked,
    /// An engine carries it out.
    Taken,
    /// It was carried out.
    Done,
    /// It could not be carried out; the answer says why.
    Failed,
}

impl CommandState {
    /// The word under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Taken => "taken",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The state of a stored word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Asked, Self::Taken, Self::Done, Self::Failed].into_iter().find(|state| state.as_str() == word)
    }

    /// True when it has its answer.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

impl fmt::Display for CommandState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A command with its projection, and who gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommand {
    /// The projection.
    pub projection: String,
    /// The version that an engine has to run to take the command. `None` for any version.
    pub version: Option<u32>,
    /// What to do.
    pub command: AdminCommand,
    /// Who asks, and why.
    pub by: By,
}

/// A command on record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CommandRecord {
    /// Its id; later ones are greater.
    pub id: Uuid,
    /// The projection.
    pub projection: String,
    /// The version of code that has to carry it out, if one was named.
    pub version: Option<u32>,
    /// What to do.
    #[serde(rename = "instruction")]
    pub command: AdminCommand,
    /// Who asked.
    pub who: String,
    /// Why.
    pub why: String,
    /// How far it is.
    pub state: CommandState,
    /// When it was asked for.
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    pub asked_at: SystemTime,
    /// The process that carries it out, or did.
    pub taken_by: Option<Uuid>,
    /// When that process took it.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub taken_at: Option<SystemTime>,
    /// What was reported while it was carried out. For a rebuild this is a
    /// [`BuildProgress`](crate::builds::BuildProgress).
    pub progress: Option<serde_json::Value>,
    /// When it was answered.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub answered_at: Option<SystemTime>,
    /// The report, or `{"error": …}`. Rows of read models are removed from it an hour after the answer.
    pub answer: Option<serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_asked_for_is_read() {
        let read = |text: &str| serde_json::from_str::<AdminCommand>(text).unwrap();
        assert_eq!(read(r#"{"kind":"switch"}"#), AdminCommand::Switch { within: None });
        assert_eq!(read(r#"{"kind":"back","stale":true}"#), AdminCommand::Back { stale: true, within: None });
        let rebuild = r#"{"kind":"rebuild","instance":null,"switch":"caught-up","compare":true}"#;
        assert_eq!(read(rebuild), AdminCommand::Rebuild(RebuildOptions::default()));
    }
}
