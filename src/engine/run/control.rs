//! What an operation needs of who carries it out: an engine that was asked, or a command that an engine has taken.

use std::collections::HashSet;
use std::time::Duration;

use crate::error::StoreError;
use crate::lease::Pause;

/// How an operation reports its progress, and how it learns that it has to end.
pub(crate) trait Control {
    /// Records the progress.
    fn report(&self, progress: &serde_json::Value);
    /// False when the operation has to end.
    fn may_go_on(&self) -> bool;
    /// Waits this long. Returns false when the operation has to end.
    fn wait(&self, time: Duration) -> bool;
    /// Makes all engines look for work and commands at once.
    fn announce(&self);
    /// Says that readers see another build, of this version.
    fn switched(&self, projection: &str, version: u32);
    /// What is paused.
    fn pauses(&self) -> Result<HashSet<Pause>, StoreError>;
}
