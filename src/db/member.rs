//! The processes on record.

use std::time::SystemTime;

use uuid::Uuid;

use super::clause::FAR;
use super::{Conn, Row, row};
use crate::error::{StoreError, StoreErrorKind};
use crate::inspect::MemberStatus;

/// How many leases a process holds of a projection.
pub(super) type Leases = (Uuid, u64);

/// The updates and deletes that met no row, as living processes reported them.
pub(super) struct Missed(Vec<(String, u32, u64)>);

/// True if the process with this row may be alive. One that died while its clock was ahead would live on until that
/// time, so an end far ahead is ignored. Processes of earlier builds do not say when they announced themselves.
pub(super) fn is_alive(found: &Row, until: usize, announced: usize, now: SystemTime) -> Result<bool, StoreError> {
    let Some(until) = row::time(found, until)? else { return Ok(false) };
    let lease = row::time(found, announced)?.and_then(|announced| until.duration_since(announced).ok());
    let far = lease.and_then(|lease| now.checked_add(lease.saturating_mul(FAR)));
    Ok(until > now && far.is_none_or(|far| until <= far))
}

impl Missed {
    pub(super) fn read(conn: &mut dyn Conn, now: SystemTime) -> Result<Self, StoreError> {
        let sql = format!(
            "SELECT missed, alive_until, announced_at FROM {} WHERE missed IS NOT NULL",
            conn.dialect().table("members")
        );
        let failed = |error| StoreError::new("reading members", StoreErrorKind::Corrupt, error);
        let mut all = Vec::new();
        for found in &conn.query(&sql, &[])? {
            if is_alive(found, 1, 2, now)? {
                all.extend(serde_json::from_str::<Vec<_>>(row::text(found, 0)?).map_err(failed)?);
            }
        }
        Ok(Self(all))
    }

    /// The sum for a build over all processes that reported; `None` if no process did.
    pub(super) fn of(&self, (name, version): (&str, u32)) -> Option<u64> {
        let of_build = self.0.iter().filter(|(of, its, _)| (of.as_str(), *its) == (name, version));
        of_build.map(|(.., count)| *count).reduce(u64::saturating_add)
    }
}

pub(super) fn members(
    conn: &mut dyn Conn,
    leases: &[Leases],
    now: SystemTime,
) -> Result<Vec<MemberStatus>, StoreError> {
    let sql = format!(
        "SELECT process, name, projections, alive_until, deaf, announced_at, since FROM {} ORDER BY process",
        conn.dialect().table("members")
    );
    let failed = |error| StoreError::new("reading members", StoreErrorKind::Corrupt, error);
    let member = |found: &Row| {
        let process = row::uuid(found, 0)?.unwrap_or_default();
        let alive_until = row::time(found, 3)?.unwrap_or(SystemTime::UNIX_EPOCH);
        let of_process = leases.iter().filter(|(of, _)| *of == process);
        Ok(MemberStatus {
            process,
            name: row::text(found, 1)?.to_owned(),
            projections: serde_json::from_str(row::text(found, 2)?).map_err(failed)?,
            alive_until,
            alive: is_alive(found, 3, 5, now)?,
            since: row::time(found, 6)?,
            deaf: if row::is_null(found, 4) { None } else { Some(row::text(found, 4)?.to_owned()) },
            leases: of_process.map(|(_, count)| count).sum(),
        })
    };
    conn.query(&sql, &[])?.iter().map(member).collect()
}

/// Name and version of a build.
pub(super) struct Of(pub(super) String, pub(super) u32);

impl Of {
    pub(super) fn read(found: &Row) -> Result<Self, StoreError> {
        Ok(Self(row::text(found, 0)?.to_owned(), count32(row::int(found, 1)?)))
    }
}

pub(super) fn count32(n: i64) -> u32 {
    u32::try_from(n).unwrap_or(0)
}
