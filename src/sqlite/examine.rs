//! Whether a file is fit for the engine.

use std::time::Duration;

use super::Sqlite;
use crate::db::{Backend, row};
use crate::error::{StoreError, StoreErrorKind, chain};
use crate::inspect::{Examined, Finding, bytes};

/// If more than this percentage of the file's pages is free, it is worth shrinking the file.
const MANY_FREE: i64 = 50;

pub(super) fn examine(sqlite: &Sqlite, _patience: Duration) -> Vec<Finding> {
    let checks: &[(&'static str, &dyn Fn() -> Examined)] = &[
        ("library", &|| Ok(Finding::ok("library", format!("SQLite {}", rusqlite::version())))),
        ("writing", &|| writing(sqlite)),
        ("log", &|| sqlite.examine_log(super::log::WORTH_A_LOOK)),
        ("filesystem", &|| Ok(super::mount::look(sqlite))),
        ("space", &|| space(sqlite)),
        #[cfg(feature = "cli")]
        ("disk", &|| super::disk::look(sqlite)),
    ];
    checks.iter().map(|(check, look)| look().unwrap_or_else(|error| failed(check, &error))).collect()
}

fn failed(check: &'static str, error: &StoreError) -> Finding {
    Finding::fail(check, chain(error), "remove the cause that the error names, then run doctor again")
}

/// Begins a write, and ends it without a change.
fn writing(sqlite: &Sqlite) -> Examined {
    let begun: Result<(), StoreError> = sqlite.write("testing whether the file can be written", |_| Ok(()));
    match begun {
        Ok(()) => Ok(Finding::ok("writing", "the file can be written")),
        Err(error) if error.kind() == StoreErrorKind::Timeout => Ok(Finding::warn(
            "writing",
            chain(&error),
            "find the process that writes for so long, or was stopped while it wrote; it stops all writers",
        )),
        Err(error) => Err(error),
    }
}

fn space(sqlite: &Sqlite) -> Examined {
    let pages = sqlite.read("counting pages", |conn| {
        let sql = "SELECT (SELECT page_count FROM pragma_page_count), (SELECT freelist_count FROM pragma_freelist_count), \
             (SELECT page_size FROM pragma_page_size), (SELECT max_page_count FROM pragma_max_page_count)";
        conn.query(sql, &[])
    })?;
    let pages = pages.first().ok_or_else(|| StoreError::new("counting pages", StoreErrorKind::Corrupt, "no row"))?;
    let (all, free, size, most) = (row::int(pages, 0)?, row::int(pages, 1)?, row::int(pages, 2)?, row::int(pages, 3)?);
    let text = format!("file of {}, {} of it free", bytes(all * size), bytes(free * size));
    Ok(if all >= most {
        Finding::fail("space", format!("{text}; it may not grow"), "raise PRAGMA max_page_count, or remove data")
    } else if all > 1000 && free * 100 > all * MANY_FREE {
        Finding::warn("space", text, "VACUUM gives free pages back to the file system; stop all writers before")
    } else {
        Finding::ok("space", text)
    })
}
