//! Whether the file that was opened is still the one at its path.
//!
//! An open connection keeps its file, whatever happens to the path. But SQLite opens the write-ahead log and readers by
//! the path. So if a file is moved, replaced or removed, two databases would be mixed, and commits would be lost.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::LOG_IS_GONE;
use crate::error::{StoreError, StoreErrorKind as Kind};

/// Where a file was when it was opened, and which file it was.
#[derive(Debug)]
pub(super) struct Place {
    /// The path as the caller named it, so that each use follows links again.
    path: PathBuf,
    /// The path as SQLite has it.
    real: Option<String>,
    identity: Identity,
    /// The files that SQLite keeps next to the database while any connection is open. While this one is open, SQLite
    /// removes none of them.
    sibling: Vec<(PathBuf, Identity)>,
}

impl Place {
    /// The file of a connection that was just opened, by this path or by the path that SQLite made of a URI. `None` if
    /// there is no file. `before` is what was at the path before.
    pub(super) fn of(
        conn: &Connection,
        path: Option<&Path>,
        before: Option<&Identity>,
    ) -> Result<Option<Self>, StoreError> {
        let real = conn.path().filter(|path| !path.is_empty()).map(str::to_owned);
        let Some(path) = path.or(real.as_deref().map(Path::new)).map(Path::to_owned) else { return Ok(None) };
        let identity = Identity::at(&path).map_err(|error| unreadable("opening the database", &path, error))?;
        if before.is_some_and(|before| *before != identity) {
            return Err(replaced("opening the database", &path));
        }
        refuse_second_name(&path, "opening the database")?;
        Ok(Some(Self { path, real, identity, sibling: Vec::new() }))
    }

    /// An identity that no other file has as long as this one is open.
    pub(super) fn identity(&self) -> String {
        format!("{:?}", self.identity)
    }

    /// The file itself, if the path is a link. The log lies next to the file, not to the link.
    pub(super) fn file(&self) -> &Path {
        self.real.as_deref().map_or(&*self.path, Path::new)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What has to be writable for a write, in words.
    pub(super) fn needed(&self) -> String {
        let (file, folder) = (self.file(), self.file().parent().unwrap_or(Path::new(".")));
        let index = sibling(file, "-shm");
        format!("which writes {:?}, its folder {:?} and {:?}", file.display(), folder.display(), index.display())
    }

    /// Remembers the log and its index, which exist once the connection has read. The connection must stay open from
    /// now on.
    pub(super) fn keep_log(&mut self, conn: &Connection, doing: &str) -> Result<(), StoreError> {
        let read = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        read.map_err(|error| super::error::store(doing, error))?;
        let paths = [log_of(self.file()), sibling(self.file(), "-shm")];
        // A file opened as immutable has no log.
        let found = paths.into_iter().filter_map(|path| Identity::at(&path).ok().map(|identity| (path, identity)));
        self.sibling = found.collect();
        Ok(())
    }

    /// Checks that the file at the path, and its log, are still those that were opened. It compares inodes.
    pub(super) fn check(&self, doing: &str) -> Result<(), StoreError> {
        self.check_file(doing)?;
        let other = self.sibling.iter().find(|(path, identity)| !Identity::at(path).is_ok_and(|now| now == *identity));
        match other {
            None => Ok(()),
            Some((path, _)) => {
                let why = format!("{:?} was removed or replaced while the database was open", path.display());
                Err(StoreError::new(doing, Kind::Replaced, why).with_remedy(LOG_IS_GONE))
            }
        }
    }

    fn check_file(&self, doing: &str) -> Result<(), StoreError> {
        match Identity::at(&self.path) {
            Ok(found) if found == self.identity => Ok(()),
            Ok(_) => Err(replaced(doing, &self.path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = format!("the file {:?} was removed or moved while it was open", self.path.display());
                Err(StoreError::new(doing, Kind::Replaced, why))
            }
            Err(error) => Err(unreadable(doing, &self.path, error)),
        }
    }

    /// Checks that a connection opened later has the same file.
    pub(super) fn check_opened(&self, conn: &Connection, doing: &str) -> Result<(), StoreError> {
        if conn.path() != self.real.as_deref() {
            return Err(replaced(doing, &self.path));
        }
        refuse_second_name(&self.path, doing)?;
        self.check(doing)
    }
}

/// Each name of a file has its own log. So a file with two names is two databases that overwrite each other.
#[cfg(unix)]
fn refuse_second_name(path: &Path, doing: &str) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt;
    let names = std::fs::metadata(path).map_or(1, |found| found.nlink());
    if names <= 1 {
        return Ok(());
    }
    let why = format!("the file {:?} has {names} names (hard links), and each would have its own log", path.display());
    Err(StoreError::new(doing, Kind::CannotOpen, why).with_remedy(
        "; stop every process that uses the file by another name, remove that name, or make it a symbolic link",
    ))
}

/// The standard library does not tell here how many names a file has.
#[cfg(not(unix))]
fn refuse_second_name(_path: &Path, _doing: &str) -> Result<(), StoreError> {
    Ok(())
}

fn replaced(doing: &str, path: &Path) -> StoreError {
    let why = format!("another file lies at {:?} than the one that was opened", path.display());
    StoreError::new(doing, Kind::Replaced, why)
}

fn unreadable(doing: &str, path: &Path, error: io::Error) -> StoreError {
    let doing = format!("{doing}: looking whether {:?} is still the file that was opened", path.display());
    StoreError::new(doing, Kind::CannotOpen, error)
}

/// SQLite makes a file before its log. So a log without a file, or with an empty one, belongs to a file that was
/// removed. Processes may still use that log, and its pages would go into the new file.
pub(super) fn refuse_log_without_file(path: &Path, doing: &str) -> Result<(), StoreError> {
    // In this order, because another process may make the file meanwhile.
    let log = log_of(path);
    if !log.exists() || std::fs::metadata(path).is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    let why = format!("{:?} is the log of a database that is not at {:?} any more", log.display(), path.display());
    Err(StoreError::new(doing, Kind::Replaced, why))
}

/// The write-ahead log of a file.
pub(super) fn log_of(path: &Path) -> PathBuf {
    sibling(path, "-wal")
}

fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// What distinguishes a file from another one at the same path. While the file is open, no other file can have it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity(#[cfg(unix)] (u64, u64), #[cfg(not(unix))] Option<std::time::SystemTime>);

impl Identity {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|found| Self::of(&found))
    }

    #[cfg(unix)]
    fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self((found.dev(), found.ino()))
    }

    /// The standard library does not give a file number here, so the time of its creation is used, if that is known.
    #[cfg(not(unix))]
    fn of(found: &Metadata) -> Self {
        Self(found.created().ok())
    }
}

/// The size of a file's write-ahead log, in bytes.
pub(super) fn log_length(path: &Path) -> u64 {
    std::fs::metadata(log_of(path)).map_or(0, |found| found.len())
}
