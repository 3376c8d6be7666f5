//! Looking needs no command: it is done on the caller's thread, and leaves nothing behind.

use std::collections::HashSet;
use std::time::Duration;

use super::context::Control;
use super::explain::{Explanation, explain};
use super::verify::{Verification, verify};
use crate::command::{AdminCommand, ExplainRequest};
use crate::engine::Engine;
use crate::error::{OperateError, StoreError};
use crate::failure::By;
use crate::lease::Pause;

impl Control for Engine {
    fn report(&self, _progress: &serde_json::Value) {}

    fn may_go_on(&self) -> bool {
        Engine::wait(self, Duration::ZERO)
    }

    fn wait(&self, time: Duration) -> bool {
        Engine::wait(self, time)
    }

    fn announce(&self) {
        Engine::announce(self);
    }

    fn pauses(&self) -> Result<HashSet<Pause>, StoreError> {
        Engine::pauses(self)
    }
}

impl Engine {
    /// Computes from the log what the tables of a projection should hold, and compares: all instances, or one, each
    /// as of its checkpoint, while engines go on. Holds the rows of one instance in memory.
    ///
    /// # Errors
    /// [`OperateError::UnknownProjection`], [`OperateError::UnknownInstance`], or when a store cannot be read.
    pub fn verify(&self, projection: &str, instance: Option<&str>) -> Result<Verification, OperateError> {
        verify(&self.site(projection)?, instance, self)
    }

    /// Verifies, and rebuilds each instance that differs.
    ///
    /// # Errors
    /// As [`verify`](Self::verify) and [`rebuild`](Self::rebuild).
    pub fn repair(&self, projection: &str, instance: Option<&str>, by: &By) -> Result<Verification, OperateError> {
        let instance = instance.map(str::to_owned);
        self.carry_out(projection, AdminCommand::Verify { instance, repair: true }, by)
    }

    /// Tells which events and statements made a row, in order, with the row after each.
    ///
    /// # Errors
    /// [`OperateError::UnknownInstance`], [`OperateError::UnknownPosition`], [`OperateError::BadKey`], or when a store
    /// cannot be read.
    pub fn explain(&self, projection: &str, question: &ExplainRequest) -> Result<Explanation, OperateError> {
        explain(&self.site(projection)?, question, self)
    }
}
