//! The reducers, with rows in memory.

use std::time::{Duration, UNIX_EPOCH};

use readside::testing::{Row, given, row};
use readside::{Event, Value};

use crate::git_history::events::{CommitAuthored, FileChanged, FileRenamed};
use crate::git_history::projections::{activity, contributors, files};

fn changed(path: &str, author: &str, at: i64, added: i64, removed: i64) -> Event {
    Event::of("r", path, &FileChanged { author: author.into(), at, added, removed }).unwrap()
}

fn renamed(from: &str, path: &str, author: &str, at: i64, added: i64, removed: i64) -> Event {
    let from = from.to_owned();
    Event::of("r", path, &FileRenamed { from, author: author.into(), at, added, removed }).unwrap()
}

fn authored(author: &str, number: u64, at: i64, added: i64, removed: i64) -> Event {
    let (hash, subject) = (format!("{number:x}"), String::new());
    Event::of("r", author, &CommitAuthored { number, hash, at, subject, added, removed }).unwrap()
}

fn time(at: u64) -> Value {
    (UNIX_EPOCH + Duration::from_secs(at)).into()
}

fn file(path: &str, counts: [i64; 3], author: &str, at: u64) -> Row {
    row([
        ("path", path.into()),
        ("changes", counts[0].into()),
        ("lines_added", counts[1].into()),
        ("lines_removed", counts[2].into()),
        ("last_author", author.into()),
        ("last_changed_at", time(at)),
    ])
}

#[test]
fn a_rename_onto_a_new_path_moves_the_row() {
    let events = [changed("a", "ada", 10, 5, 0), changed("b", "bob", 20, 1, 1), renamed("a", "c", "cy", 5, 2, 3)];
    let rows = [file("b", [1, 1, 1], "bob", 20), file("c", [2, 7, 3], "cy", 5)];
    given(&files(), events).expect_rows("files", rows);
}

#[test]
fn a_rename_onto_an_existing_path_adds_the_counts() {
    let events = [changed("a", "ada", 10, 5, 0), changed("b", "bob", 20, 1, 1), renamed("a", "b", "cy", 5, 2, 3)];
    given(&files(), events).expect_rows("files", [file("b", [3, 8, 4], "cy", 5)]);
}

#[test]
fn a_rename_of_what_was_never_seen_makes_a_row() {
    let events = [renamed("a", "b", "cy", 5, 2, 3), renamed("b", "b", "cy", 6, 0, 0)];
    given(&files(), events).expect_rows("files", [file("b", [2, 2, 3], "cy", 6)]);
}

#[test]
fn first_and_last_commit_are_so_by_author_time() {
    let rows = |commits: i64, added: i64, removed: i64, first, last| {
        [row([
            ("author", "ada".into()),
            ("commits", commits.into()),
            ("lines_added", added.into()),
            ("lines_removed", removed.into()),
            ("first_commit_at", time(first)),
            ("last_commit_at", time(last)),
        ])]
    };
    let events = [
        authored("ada", 1, 100, 1, 0),
        authored("ada", 2, 50, 2, 1),
        authored("ada", 3, 200, 0, 0),
        authored("ada", 4, 150, 0, 7),
    ];
    given(&contributors(), events).expect_rows("contributors", rows(4, 3, 8, 50, 200));
}

#[test]
fn months_are_those_of_utc() {
    // The last second of February of a leap year, and the first of March.
    let at = 951_868_799;
    let events = [authored("a", 1, at, 0, 0), authored("a", 2, at + 1, 0, 0), authored("b", 3, at + 2, 0, 0)];
    let month = |month: &str, commits: i64| row([("month", month.into()), ("commits", commits.into())]);
    given(&activity(), events).expect_rows("activity", [month("2000-02", 1), month("2000-03", 2)]);
    for (at, month) in [(at, "2000-02"), (at + 1, "2000-03"), (0, "1970-01")] {
        assert_eq!(crate::fold::month(at), month);
    }
}
