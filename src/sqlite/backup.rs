//! A copy of the file as of one moment, even while others read and write it.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::connection::refuse_server;
use super::{Sqlite, SqliteStore, error};
use crate::error::{StoreError, StoreErrorKind};

/// How many pages are copied before the next question whether to continue: about 4 MiB.
const STEP: i32 = 1000;

/// For an error: the name of the copy is not free.
const TAKEN: &str = "; name a file that is not there yet";

impl SqliteStore {
    /// Copies the database as it is now into a file that does not exist yet. Engines of this process and of others can
    /// read and write meanwhile, and wait for nothing. Returns the length of the copy in bytes. An incomplete copy
    /// never has the name of the file. `docs/sqlite.md` says how to restore a copy.
    ///
    /// # Examples
    /// ```
    /// use readside::{EventStore, NewEvent, SqliteStore};
    /// use readside::query::Query;
    /// # let folder = tempfile::tempdir()?;
    /// # std::env::set_current_dir(&folder)?;
    /// let store = SqliteStore::open("service.db")?;
    /// store.setup()?;
    /// store.push(&[NewEvent::raw("acme", "user", "u1", "user.added")])?;
    /// store.back_up("service-backup.db")?;
    /// assert_eq!(SqliteStore::open("service-backup.db")?.filter(&Query::new())?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the file exists already or cannot be written, and when the database cannot be read.
    pub fn back_up(&self, to: impl AsRef<Path>) -> Result<u64, StoreError> {
        back_up(self.backend(), to.as_ref(), &mut |_, _| true)
    }
}

/// Copies. Between two steps `goes_on` gets how many pages are done, and how many there are, and says whether to
/// continue.
pub(super) fn back_up(
    sqlite: &Sqlite,
    to: &Path,
    goes_on: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<u64, StoreError> {
    refuse_server(to)?;
    let doing = format!("copying the database to {:?}", to.display());
    let to = std::path::absolute(to).map_err(|error| StoreError::new(&*doing, StoreErrorKind::CannotOpen, error))?;
    if fs::symlink_metadata(&to).is_ok() {
        return Err(StoreError::new(doing, StoreErrorKind::Usage, "there is something already").with_remedy(TAKEN));
    }
    let part = Part(named(&to));
    if let Some(path) = &sqlite.path {
        let source = sqlite.open_again(path, &doing)?;
        keep_snapshot(&source).map_err(|error| error::store(&doing, error))?;
        sqlite.check(&doing)?;
        copy(&source, &part.0, &doing, goes_on)?;
        // The same users may read both files, and no others.
        if let Some(rights) = sqlite.file().and_then(|file| fs::metadata(file).ok()) {
            let given = fs::set_permissions(&part.0, rights.permissions());
            given.map_err(|error| StoreError::new(&*doing, StoreErrorKind::CannotOpen, error))?;
        }
    } else {
        // In memory this is the only connection.
        let source = sqlite.writer(&doing, crate::clock::deadline(sqlite.options.busy_timeout))?;
        copy(&source, &part.0, &doing, goes_on)?;
    }
    let length = || {
        let length = fs::metadata(&part.0)?.len();
        // If another process has taken the name meanwhile, its file stays.
        fs::hard_link(&part.0, &to).or_else(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::rename(&part.0, &to),
        })?;
        Ok(length)
    };
    length().map_err(|error: std::io::Error| {
        let taken = error.kind() == std::io::ErrorKind::AlreadyExists;
        let error = StoreError::new(doing, StoreErrorKind::CannotOpen, error);
        if taken { error.with_remedy(TAKEN) } else { error }
    })
}

/// The copy does not see later writes, so it never has to begin again.
fn keep_snapshot(source: &Connection) -> rusqlite::Result<()> {
    source.pragma_update(None, "query_only", true)?;
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

fn copy(
    source: &Connection,
    part: &Path,
    doing: &str,
    goes_on: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(), StoreError> {
    let failed = |error| error::store(doing, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(part, flags).map_err(failed)?;
    target.pragma_update(None, "synchronous", "full").map_err(failed)?;
    {
        let backup = Backup::new(source, &mut target).map_err(failed)?;
        loop {
            let step = backup.step(STEP).map_err(failed)?;
            let pages = backup.progress();
            let count = |pages: i32| u64::try_from(pages).unwrap_or_default();
            if step == StepResult::Done {
                break;
            }
            if matches!(step, StepResult::Busy | StepResult::Locked) {
                return Err(StoreError::new(doing, StoreErrorKind::Timeout, "the file was locked"));
            }
            if !goes_on(count(pages.pagecount - pages.remaining), count(pages.pagecount)) {
                return Err(StoreError::new(doing, StoreErrorKind::Other, "it was ended before it was through"));
            }
        }
    }
    let found: String = target.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if found != "ok" {
        let why = format!("the copy is damaged, and so may be the database: {}", crate::plain::plain(&found));
        return Err(StoreError::new(doing, StoreErrorKind::Corrupt, why));
    }
    target.close().map_err(|(_, error)| failed(error))
}

/// The name of the copy while it is incomplete, next to the file.
fn named(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(format!(".part-{}", Uuid::now_v7().simple()));
    to.with_file_name(name)
}

/// An incomplete copy. It is removed in the end, with the files that SQLite keeps next to it.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        for end in ["", "-journal", "-wal", "-shm"] {
            let mut name = self.0.clone().into_os_string();
            name.push(end);
            let _ = fs::remove_file(name);
        }
    }
}
