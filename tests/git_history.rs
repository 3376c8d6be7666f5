//! The example `git_history`, on histories of real projects and on repositories that git creates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![cfg(feature = "sqlite")]

mod common;
#[path = "../examples/git_history/main.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod git_history;

#[path = "git_history/fold.rs"]
mod fold;
#[path = "git_history/parser.rs"]
mod parser;
#[path = "git_history/reducers.rs"]
mod reducers;
#[path = "git_history/repository.rs"]
mod repository;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fold::Tables;
use git_history::{Failure, Options, Summary, run, store};

const HISTORIES: [&str; 4] = ["r2d2", "disintegrate", "message-db", "river"];

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.log.gz"))
}

pub(crate) fn options(database: &Path) -> Options {
    Options { database: Some(database.to_str().unwrap().to_owned()), quiet: true, ..Options::default() }
}

/// Runs the example on a log.
fn run_log(database: &Path, log: &Path) -> Result<Summary, Failure> {
    run(&Options { log: Some(log.to_owned()), ..options(database) }, &mut Vec::new())
}

/// The tables of an instance, as the database holds them.
pub(crate) fn tables(database: &str, instance: &str) -> Tables {
    let store = store::open(database).unwrap();
    let contributors = store.contributors(instance, i64::MAX).unwrap().into_iter().map(|row| {
        let (first, last) = (seconds(row.first_commit_at), seconds(row.last_commit_at));
        let (commits, added, removed) = (row.commits, row.lines_added, row.lines_removed);
        (row.author, fold::Contributor { commits, added, removed, first, last })
    });
    let files = store.files(instance, i64::MAX).unwrap().into_iter().map(|row| {
        let (author, at) = (row.last_author, seconds(row.last_changed_at));
        let (changes, added, removed) = (row.changes, row.lines_added, row.lines_removed);
        (row.path, fold::File { changes, added, removed, author, at })
    });
    let months = store.months(instance, i64::MAX).unwrap().into_iter().map(|row| (row.month, row.commits));
    Tables { contributors: contributors.collect(), files: files.collect(), months: months.collect() }
}

fn seconds(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

#[test]
fn real_histories_become_what_a_fold_says() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("all.db");
    for name in HISTORIES {
        let summary = run_log(&database, &data(name)).unwrap();
        let expected = fold::fold(&fold::unpacked(&data(name)));
        let commits: i64 = expected.contributors.values().map(|row| row.commits).sum();
        assert_eq!(
            (i64::try_from(summary.commits).unwrap(), summary.new_commits),
            (commits, summary.commits),
            "{name}"
        );
        assert_eq!(tables(database.to_str().unwrap(), name), expected, "{name}");
    }
    for name in HISTORIES {
        let expected = fold::fold(&fold::unpacked(&data(name)));
        let summary = run_log(&database, &data(name)).unwrap();
        assert_eq!((summary.new_commits, summary.pushed, summary.projected), (0, 0, 0), "{name}");
        assert_eq!(tables(database.to_str().unwrap(), name), expected, "{name}: the second run changed something");
    }
}

#[cfg(feature = "postgres")]
#[test]
fn a_real_history_becomes_the_same_on_postgres() {
    let database = common::postgres::database();
    let expected = fold::fold(&fold::unpacked(&data("river")));
    let options = Options {
        log: Some(data("river")),
        instance: Some("the river".into()),
        database: Some(database.url().to_owned()),
        quiet: true,
        ..Options::default()
    };
    for new in [true, false] {
        let summary = run(&options, &mut Vec::new()).unwrap();
        assert_eq!(summary.new_commits > 0, new);
        assert_eq!(tables(database.url(), "the river"), expected);
    }
}

#[test]
fn a_run_that_was_cut_off_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let (database, log) = (folder.path().join("cut.db"), folder.path().join("river.log"));
    let whole = fold::unpacked(&data("river"));
    for (kept, of) in [(1, 3), (2, 3), (5, 6)] {
        std::fs::write(&log, &whole[..whole.len() * kept / of - 1]).unwrap();
        let failure = run_log(&database, &log).unwrap_err();
        assert!(failure.to_string().contains("is cut off"), "{failure}");
    }
    std::fs::write(&log, &whole).unwrap();
    let summary = run_log(&database, &log).unwrap();
    assert!(0 < summary.new_commits && summary.new_commits < summary.commits, "{summary:?}");
    assert_eq!(tables(database.to_str().unwrap(), "river"), fold::fold(&whole));
}

#[test]
fn two_runs_at_the_same_time_store_a_history_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("two.db");
    std::thread::scope(|scope| {
        let runs = [(); 2].map(|()| scope.spawn(|| run_log(&database, &data("disintegrate")).unwrap()));
        assert_eq!(runs.map(|run| run.join().unwrap().commits), [260, 260]);
    });
    let expected = fold::fold(&fold::unpacked(&data("disintegrate")));
    assert_eq!(tables(database.to_str().unwrap(), "disintegrate"), expected);
}

#[test]
fn the_report_is_aligned_and_holds_no_control_characters() {
    let folder = tempfile::tempdir().unwrap();
    let (database, log) = (folder.path().join("report.db"), folder.path().join("odd.log"));
    let text = "commit\x1fab\x1f951782400\x1fA \u{1b}[31mred\x1f\n\n1\t2\t\"a\\tb\"\n\
                commit\x1fcd\x1f0\x1f\x1f\u{0}\x1f\ncommit\x1fef\x1f99999999999999\x1fB\x1fs\n";
    std::fs::write(&log, text).unwrap();
    let mut out = Vec::new();
    run(&Options { log: Some(log), ..options(&database) }, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(!out.chars().any(|c| c.is_control() && c != '\n'), "{out}");
    for line in [
        "odd: 3 commits, 3 of them new",
        "  author      commits  lines_added  lines_removed  first_commit_at  last_commit_at",
        "  (unknown)         1            0              0  1970-01-01       1970-01-01",
        "  A \u{fffd}[31mred        1            1              2  2000-02-29       2000-02-29",
        "  a\u{fffd}b         1            1              2  A \u{fffd}[31mred   2000-02-29",
        "  2000-02        1",
        "  9999-12        1",
    ] {
        assert!(out.contains(&format!("{line}\n")), "{line} in\n{out}");
    }
}

#[test]
fn failures_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("none.db");
    let said = |options: Options| readside::error::chain(&run(&options, &mut Vec::new()).unwrap_err());
    let log = |name: &str| Some(folder.path().join(name));
    let no_file = said(Options { log: log("missing.log"), ..options(&database) });
    assert!(no_file.contains("cannot be read; check the path given to --log"), "{no_file}");
    let no_checkout = said(Options { checkout: Some(folder.path().to_owned()), ..options(&database) });
    assert!(no_checkout.contains("is no git checkout; name the folder of one"), "{no_checkout}");
    let no_folder = said(Options { checkout: log("missing"), ..options(&database) });
    assert!(no_folder.contains("is no git checkout; name the folder of one"), "{no_folder}");
    std::fs::write(folder.path().join("garbage.log"), "commit\x1fab\x1f1\x1fA\x1fs\n\nhello\n").unwrap();
    let garbage = said(Options { log: log("garbage.log"), ..options(&database) });
    assert!(garbage.contains("line 3 of the history is neither a commit nor a file: \"hello\""), "{garbage}");
    let no_database = said(Options { log: log("garbage.log"), ..options(&folder.path().join("a/b.db")) });
    assert!(no_database.contains("check that its folder exists"), "{no_database}");
    assert_eq!(tables(database.to_str().unwrap(), "garbage"), Tables::default());
}

#[test]
fn passwords_are_not_shown() {
    assert_eq!(store::shown("postgres://u:s:e@cret@host/db"), "postgres://u:***@host/db");
    assert_eq!(store::shown("postgres://u@host/db"), "postgres://u@host/db");
    assert_eq!(store::shown("a:b@c.db"), "a:b@c.db");
}
