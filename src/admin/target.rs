//! A build that is to take the live one's place.

use uuid::Uuid;

use super::context::Context;
use super::running;
use crate::builds::{Build, Phase};
use crate::engine::{NEXT, ProjectionHandler};
use crate::error::OperateError;
use crate::projection::Projection;

/// A build that is to take the live one's place.
pub(super) struct Target {
    pub(super) projection: Projection,
    pub(super) live: Build,
    pub(super) handler: ProjectionHandler,
    /// The phase that the build gets if it cannot be brought up to date.
    pub(super) otherwise: Phase,
    /// True if an engine asked for it, and not a person.
    pub(super) by_itself: bool,
}

impl Target {
    pub(super) fn or_else(self, otherwise: Phase) -> Self {
        Self { otherwise, ..self }
    }
}

impl Context<'_> {
    pub(super) fn next(&self) -> Projection {
        self.projection.shadow(NEXT)
    }

    /// The build that a rebuild by this code makes. If the version was raised, it is the version itself; else a build
    /// of the same version beside the live one.
    pub(super) fn target(&self) -> Result<Target, OperateError> {
        let live = self.live()?;
        let own = self.projection.version();
        self.check_older(&live)?;
        let projection = if live.key.version == own { self.next() } else { self.projection.clone() };
        let handler = self.handler(projection.clone())?;
        Ok(Target { projection, live, handler, otherwise: Phase::Halted, by_itself: false })
    }

    /// A version older than the one that readers see may take its place only if no engine runs the newer one.
    pub(super) fn check_older(&self, live: &Build) -> Result<(), OperateError> {
        let (own, seen) = (self.projection.version(), live.key.version);
        if seen <= own || !running::is_run(self, seen)? {
            return Ok(());
        }
        Err(self.refused(format!(
            "readers see version {seen}, which is newer than version {own} of this code and run by an engine; go back \
             to it, or raise the version"
        )))
    }

    /// True if this command has already switched readers to its build.
    pub(super) fn is_done(&self, command: Uuid) -> Result<bool, OperateError> {
        Ok(self.live()?.command == Some(command))
    }
}

/// Fails if the build was halted or given up.
pub(super) fn check(site: &Context<'_>, target: &Target) -> Result<(), OperateError> {
    let key = target.projection.key();
    match site.known()?.into_iter().find(|build| build.key == key) {
        Some(build) if build.phase.is_filled() => Ok(()),
        Some(Build { trouble: Some(trouble), .. }) => {
            Err(OperateError::Halted { projection: site.name().to_owned(), trouble })
        }
        _ => Err(site.refused("the build was given up meanwhile")),
    }
}
