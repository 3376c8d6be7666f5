//! Which commands an engine leaves to another one: to one that is alive, and whose code can carry them out.

use std::time::{Duration, SystemTime};

use super::command::{Free, FreeCommand};
use super::{Conn, builds, command};
use crate::builds::{Build, Phase};
use crate::command::AdminCommand;
use crate::error::StoreError;

/// How long an engine leaves a command to another one, which may be alive and yet take no commands. Engines look for
/// commands every ten seconds at least.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes away those commands that the engine leaves to another one.
pub(super) fn leave(conn: &mut dyn Conn, free: &mut Free) -> Result<(), StoreError> {
    if free.found.iter().any(|one| one.asked.version.is_none()) {
        let versions = Versions::read(conn)?;
        free.found.retain(|one| !versions.leave(one));
    }
    Ok(())
}

/// Which versions living engines run, and which builds there are.
struct Versions {
    running: Vec<(String, u32)>,
    builds: Vec<Build>,
    now: SystemTime,
}

impl Versions {
    fn read(conn: &mut dyn Conn) -> Result<Self, StoreError> {
        let running = command::members(conn)?.into_iter().flat_map(|member| member.projections).collect();
        Ok(Self { running, builds: builds::builds(conn)?, now: conn.now()? })
    }

    fn leave(&self, one: &FreeCommand) -> bool {
        let FreeCommand { asked, since, own } = one;
        let is_new = self.now.duration_since(*since).is_ok_and(|age| age < PATIENCE);
        is_new && asked.version.is_none() && self.is_for_another(&asked.command, &asked.projection, *own)
    }

    /// True if a living engine can carry the command out, and one with version `own` cannot.
    fn is_for_another(&self, command: &AdminCommand, name: &str, own: u32) -> bool {
        let runs = |version: &u32| self.running.iter().any(|(of, one)| of == name && one == version);
        let of = |phase| self.highest(name, phase).filter(runs);
        match command {
            // Any code can do these.
            AdminCommand::DropOld
            | AdminCommand::Abandon
            | AdminCommand::Pause { .. }
            | AdminCommand::Resume { .. } => false,
            AdminCommand::Switch { .. } => match of(Phase::Ready) {
                Some(waiting) => waiting != own,
                None => self.newest(name) > Some(own),
            },
            AdminCommand::Rebuild(options) if options.instance.is_none() => of(Phase::Live) > Some(own),
            // These need the code of what readers see.
            _ => of(Phase::Live).is_some_and(|live| live != own),
        }
    }

    /// The highest version of which a build is in this phase.
    fn highest(&self, name: &str, phase: Phase) -> Option<u32> {
        let builds = self.builds.iter().filter(|build| build.key.projection() == name && build.phase == phase);
        builds.map(|build| build.key.version).max()
    }

    /// The highest version that a living engine runs.
    fn newest(&self, name: &str) -> Option<u32> {
        self.running.iter().filter(|(of, _)| of == name).map(|(_, version)| *version).max()
    }
}
