//! A database that is replaced beneath the processes of a soak: it is restored or failed over, or its file is
//! replaced.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::chance::Chance;
use crate::common::file;
#[cfg(all(feature = "postgres", unix))]
use crate::common::{proxy::Proxy, server::Server, standby::Standby};
use crate::fault::Kind;

/// A database that is replaced in two steps. Pushes between the start of the first step and the end of the second are
/// lost, or may be. Events and read models stay together, so no history diverges from what was built from it.
pub(crate) trait Ground {
    /// Keeps a copy or a standby of the current state. The kind of change is another one each time.
    fn begin(&mut self) -> Result<Kind>;

    /// Replaces the current state by what was kept.
    fn end(&mut self) -> Result<()>;

    /// Called when every process that had the database open is dead, in cases where the processes had to refuse it.
    fn clear(&mut self) -> Result<()>;
}

/// A file that is restored in place or replaced.
pub(crate) struct File {
    path: PathBuf,
    kept: PathBuf,
    replaces: bool,
}

impl File {
    pub(crate) fn new(path: &str) -> Self {
        Self { path: path.into(), kept: with(path, "-kept"), replaces: false }
    }
}

impl Ground for File {
    fn begin(&mut self) -> Result<Kind> {
        self.replaces = !self.replaces;
        file::keep(&self.path, &self.kept);
        Ok(if self.replaces { Kind::Replaced } else { Kind::Restored })
    }

    fn end(&mut self) -> Result<()> {
        if self.replaces {
            std::fs::rename(&self.kept, &self.path)?;
        } else {
            file::put_back(&self.path, &self.kept);
        }
        Ok(())
    }

    /// Removes what the old file left behind, because it would spoil the new file.
    fn clear(&mut self) -> Result<()> {
        for suffix in ["-wal", "-shm"] {
            match std::fs::remove_file(with(&self.path, suffix)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn with(path: impl Into<OsString>, suffix: &str) -> PathBuf {
    let mut path = path.into();
    path.push(suffix);
    path.into()
}

/// A server behind a forwarder. It is restored from a copy of its folder, or a lagging standby takes its place.
#[cfg(all(feature = "postgres", unix))]
pub(crate) struct Cluster {
    server: Server,
    standby: Option<Standby>,
    fails_over: bool,
    forwarder: Proxy,
}

#[cfg(all(feature = "postgres", unix))]
impl Cluster {
    /// The forwarder adds a delay, so that some data is always on its way.
    pub(crate) fn start() -> Self {
        let server = Server::start();
        let forwarder = Proxy::before(&server.url());
        forwarder.delay(Duration::from_millis(2));
        Self { server, standby: None, fails_over: false, forwarder }
    }

    /// The address of the forwarder, which stays the same.
    pub(crate) fn url(&self) -> String {
        self.forwarder.url(&self.server.url())
    }
}

#[cfg(all(feature = "postgres", unix))]
impl Ground for Cluster {
    fn begin(&mut self) -> Result<Kind> {
        self.fails_over = !self.fails_over;
        if !self.fails_over {
            self.server.keep();
            return Ok(Kind::Restored);
        }
        let standby = self.server.standby();
        standby.catch_up(&self.server);
        standby.stop_receiving();
        self.standby = Some(standby);
        Ok(Kind::Promoted)
    }

    fn end(&mut self) -> Result<()> {
        let Some(standby) = self.standby.take() else {
            self.server.put_back();
            return Ok(());
        };
        self.forwarder.hold(true);
        self.forwarder.cut();
        self.server.kill();
        self.server = standby.promote();
        self.forwarder.point_to(&self.server.url());
        self.forwarder.hold(false);
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Waits a while between the two steps, so that pushes happen in between.
pub(crate) fn pause(chance: &mut Chance) {
    std::thread::sleep(Duration::from_millis(200 + chance.below(800)));
}
