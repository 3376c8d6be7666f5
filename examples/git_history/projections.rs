//! The read models.

use std::time::{Duration, SystemTime};

use readside::{
    Assignment, Event, Projection, Reduced, Table, copy, delete, eq, gt, increment, integer, lt, multi, set, set_if,
    source_column, source_value, text, timestamp, upsert,
};

use super::events::{CommitAuthored, FileChanged, FileRenamed};

/// The last second of the year 9999; author times are whatever a clock once said.
const LATEST: i64 = 253_402_300_799;

fn time(at: i64) -> SystemTime {
    let at = at.clamp(0, LATEST);
    SystemTime::UNIX_EPOCH + Duration::from_secs(at.unsigned_abs())
}

/// Commits and lines of each author, first and last commit by author time.
pub(crate) fn contributors() -> Projection {
    let table = Table::new("contributors")
        .column(text("author"))
        .column(integer("commits"))
        .column(integer("lines_added"))
        .column(integer("lines_removed"))
        .column(timestamp("first_commit_at"))
        .column(timestamp("last_commit_at"))
        .primary_key(["author"]);
    Projection::new("contributors", 1).table(table).on(|e: &Event, p: CommitAuthored| {
        let at = time(p.at);
        upsert(
            ["author"],
            [
                set("author", e.aggregate_id()),
                increment("commits", 1),
                increment("lines_added", p.added),
                increment("lines_removed", p.removed),
                set_if("first_commit_at", at, gt("first_commit_at", at)),
                set_if("last_commit_at", at, lt("last_commit_at", at)),
            ],
        )
    })
}

/// Changes and lines of each file. A rename carries them to the new path, and adds them to those already there.
pub(crate) fn files() -> Projection {
    let table = Table::new("files")
        .column(text("path"))
        .column(integer("changes"))
        .column(integer("lines_added"))
        .column(integer("lines_removed"))
        .column(text("last_author"))
        .column(timestamp("last_changed_at"))
        .primary_key(["path"]);
    Projection::new("files", 1)
        .table(table)
        .on(|e: &Event, p: FileChanged| upsert(["path"], change(e.aggregate_id(), &p)))
        .on(|e: &Event, p: FileRenamed| renamed(e.aggregate_id(), p))
}

fn change(path: &str, p: &FileChanged) -> [Assignment; 6] {
    [
        set("path", path),
        increment("changes", 1),
        increment("lines_added", p.added),
        increment("lines_removed", p.removed),
        set("last_author", p.author.clone()),
        set("last_changed_at", time(p.at)),
    ]
}

fn renamed(path: &str, p: FileRenamed) -> Reduced {
    let changed = FileChanged { author: p.author, at: p.at, added: p.added, removed: p.removed };
    multi([
        copy(
            ["path"],
            ["path", "changes", "lines_added", "lines_removed", "last_author", "last_changed_at"],
            [
                source_value(path),
                source_column("changes").added(),
                source_column("lines_added").added(),
                source_column("lines_removed").added(),
                source_column("last_author"),
                source_column("last_changed_at"),
            ],
            [eq("path", p.from.clone())],
        ),
        delete([eq("path", p.from)]),
        upsert(["path"], change(path, &changed)),
    ])
}

/// Commits per month of the author time, in UTC.
pub(crate) fn activity() -> Projection {
    let table = Table::new("activity").column(text("month")).column(integer("commits")).primary_key(["month"]);
    Projection::new("activity", 1).table(table).on(|_: &Event, p: CommitAuthored| {
        let month = jiff::Timestamp::try_from(time(p.at))?.strftime("%Y-%m").to_string();
        upsert(["month"], [set("month", month), increment("commits", 1)])
    })
}

/// All of them.
pub(crate) fn all() -> [Projection; 3] {
    [contributors(), files(), activity()]
}
