//! On which file system the file lies.
//!
//! The processes that use a file share memory for the index of its log, and rely on locks of the file system. Neither
//! works over a network.

use std::path::Path;

use super::Sqlite;
use crate::inspect::Finding;

/// Kinds of file systems that other machines may write to, or that only pass calls on to another one.
const SHARED: &[&str] = &[
    "9p",
    "acfs",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "gfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "panfs",
    "prl_fs",
    "pvfs2",
    "smb2",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
];

const REMEDY: &str = "move the database to a disk of this machine, or use PostgreSQL: over a network two machines may destroy the file, \
     and locks may not hold";

pub(super) fn look(sqlite: &Sqlite) -> Finding {
    let check = "filesystem";
    let Some(path) = sqlite.file() else { return Finding::ok(check, "none, in memory") };
    // Only Linux has this list.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let real = std::fs::canonicalize(path);
    match real.ok().and_then(|path| kind(&mounts, &path)) {
        None => Finding::ok(check, "not known"),
        Some(kind) if is_shared(&kind) => Finding::warn(
            check,
            format!("the file lies on {kind:?}, which is a network file system or like one"),
            REMEDY,
        ),
        Some(kind) => Finding::ok(check, kind),
    }
}

fn is_shared(kind: &str) -> bool {
    // A program may serve files from anywhere. A disk that a program serves has the kind `fuseblk`.
    kind.starts_with("fuse.") || SHARED.contains(&kind)
}

/// The kind of the file system on which a path lies: that of the deepest mount point above it; the last of several
/// mounts at one point.
fn kind(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (place, system) = line.split_once(" - ")?;
        let at = unescaped(place.split(' ').nth(4)?);
        let kind = system.split(' ').next()?.to_owned();
        path.starts_with(&at).then(|| (Path::new(&at).components().count(), kind))
    };
    mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

/// The kernel writes a blank, line break or backslash of a path as three octal digits.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |field, (code, letter)| field.replace(code, letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /data rw,relatime - xfs /dev/vdb rw
31 22 0:27 / /data/far rw,relatime shared:2 master:1 - nfs4 server:/export rw,vers=4.2
32 22 0:28 / /data/far\\040away rw - fuse.sshfs me@host: rw
33 22 0:29 / /twice rw - cifs //server/share rw
34 22 0:30 / /twice rw - tmpfs tmpfs rw
";

    #[test]
    fn the_deepest_mount_decides() {
        for (path, wanted, shared) in [
            ("/x.db", "ext4", false),
            ("/data/x.db", "xfs", false),
            ("/data/far/a/x.db", "nfs4", true),
            ("/data/farther/x.db", "xfs", false),
            ("/data/far away/x.db", "fuse.sshfs", true),
            ("/twice/x.db", "tmpfs", false),
        ] {
            let found = kind(MOUNTS, Path::new(path)).unwrap();
            assert_eq!((&*found, is_shared(&found)), (wanted, shared), "{path}");
        }
        assert_eq!(kind("", Path::new("/x.db")), None);
        assert_eq!(kind("nonsense\n - \n", Path::new("/x.db")), None);
    }
}
