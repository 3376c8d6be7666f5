//! How much space the file system of the file has left.

use super::Sqlite;
use super::place::log_length;
use crate::error::{StoreError, StoreErrorKind};
use crate::inspect::Examined;
use crate::inspect::{Finding, bytes};

/// With less than this left, space is short, however small the file and the file system are.
const LEAST: u64 = 1 << 30;

/// With more than this left, it is not, however large the file system is.
const ENOUGH: u64 = 10 << 30;

pub(super) fn look(sqlite: &Sqlite) -> Examined {
    let Some(path) = sqlite.file() else { return Ok(Finding::ok("disk", "none, in memory")) };
    let failed = |error| StoreError::new("asking for the room on the disk", StoreErrorKind::Other, error);
    let file = std::fs::metadata(path).map_err(failed)?.len() + log_length(path);
    let system = fs4::statvfs(path).map_err(failed)?;
    Ok(judge(file, system.available_space(), system.total_space()))
}

/// A rebuild of a read model, and `VACUUM`, need as much free space as the file has already. Other files fill the disk
/// too, so a tenth of the disk should be free. On small and on large disks a tenth is no good measure, so it has
/// bounds.
fn judge(file: u64, left: u64, total: u64) -> Finding {
    let needed = (total / 10).clamp(LEAST, ENOUGH).max(file);
    let shown = |count: u64| bytes(i64::try_from(count).unwrap_or(i64::MAX));
    let percent = u128::from(left) * 100 / u128::from(total.max(1));
    let text = format!("{} of {} left ({percent} %), the database takes {}", shown(left), shown(total), shown(file));
    if left >= needed {
        return Finding::ok("disk", text);
    }
    Finding::warn(
        "disk",
        text,
        format!(
            "have {} free: remove other files, enlarge the disk, or move the database to a larger one; when it is full, \
             pushes fail and projections stand still",
            shown(needed)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Severity;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn room_is_judged_by_the_file_and_by_the_disk() {
        let cases = [
            // A small database, on disks of several sizes.
            (MIB, GIB, 5 * GIB, Severity::Ok),
            (MIB, GIB - 1, 5 * GIB, Severity::Warn),
            (MIB, 5 * GIB, 50 * GIB, Severity::Ok),
            (MIB, 5 * GIB - 1, 50 * GIB, Severity::Warn),
            (MIB, 10 * GIB, 4000 * GIB, Severity::Ok),
            (MIB, 10 * GIB - 1, 4000 * GIB, Severity::Warn),
            // A large database needs as much space again.
            (30 * GIB, 30 * GIB, 100 * GIB, Severity::Ok),
            (30 * GIB, 30 * GIB - 1, 100 * GIB, Severity::Warn),
            // What file systems may say.
            (0, 0, 0, Severity::Warn),
            (MIB, u64::MAX, u64::MAX, Severity::Ok),
        ];
        for (file, left, total, wanted) in cases {
            let found = judge(file, left, total);
            assert_eq!(found.verdict, wanted, "{file} {left} {total}: {}", found.found);
            assert_eq!(found.remedy.is_some(), wanted == Severity::Warn);
        }
        let found = judge(3 * GIB, 2 * GIB, 40 * GIB);
        assert_eq!(found.found, "2.0 GiB of 40.0 GiB left (5 %), the database takes 3.0 GiB");
        assert!(found.remedy.unwrap().starts_with("have 4.0 GiB free:"));
    }
}
