//! The example on real histories: its tables equal a plain count of the log, and what git itself says.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;
#[path = "../examples/git_history/main.rs"]
#[allow(dead_code, reason = "the example's own main is not called")]
mod example;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use readside::testing::{given, row};
use readside::{Event, Projection, SqliteStore, Value};

use example::events::{FileChanged, FileRenamed};
use example::parse::{Commits, File};
use example::{Options, projections, run};

fn options(database: &Path, log: &Path) -> Options {
    Options {
        checkout: ".".into(),
        log: Some(log.to_owned()),
        instance: None,
        database: Some(database.to_str().unwrap().to_owned()),
        quiet: true,
    }
}

fn on_checkout(database: &Path, checkout: &Path) -> Options {
    Options { checkout: checkout.to_owned(), log: None, ..options(database, checkout) }
}

fn run_quietly(options: &Options) -> Result<String, String> {
    let mut out = Vec::new();
    run(options, &mut out).map_err(|error| readside::error::full(error.as_ref()))?;
    Ok(String::from_utf8(out).unwrap())
}

/// All three tables, each row as text.
fn tables(store: &SqliteStore) -> [Vec<String>; 3] {
    projections::all().map(|projection| texts(store.read_rows(&projection, projection.name()).unwrap()))
}

fn texts(rows: Vec<Vec<(String, Value)>>) -> Vec<String> {
    let show = |value: Value| match value {
        Value::Text(text) => text,
        Value::Integer(number) => number.to_string(),
        Value::Timestamp(at) => at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string(),
        other => panic!("{other:?}"),
    };
    let rows = rows.into_iter().map(|row| row.into_iter().skip(1).map(|(_, value)| show(value)).collect::<Vec<_>>());
    rows.map(|row| row.join("|")).collect()
}

/// The same tables, counted in memory straight from the text, without the library and the example's parser.
fn counted(log: &str) -> [Vec<String>; 3] {
    let mut contributors: BTreeMap<String, [i64; 5]> = BTreeMap::new();
    let mut files: BTreeMap<String, (i64, i64, i64, String, i64)> = BTreeMap::new();
    let mut activity: BTreeMap<String, i64> = BTreeMap::new();
    let (mut author, mut at) = (String::new(), 0);
    for line in log.split('\n').filter(|line| !line.is_empty()) {
        if line.starts_with("commit\u{1f}") {
            let fields: Vec<&str> = line.split('\u{1f}').collect();
            (at, author) = (fields[2].parse().unwrap(), fields[3].to_owned());
            let entry = contributors.entry(author.clone()).or_insert([0, 0, 0, at, at]);
            *entry = [entry[0] + 1, entry[1], entry[2], entry[3].min(at), entry[4].max(at)];
            *activity.entry(month(at)).or_default() += 1;
            continue;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        let (added, removed) = (fields[0].parse().unwrap_or(0), fields[1].parse().unwrap_or(0));
        let entry = contributors.get_mut(&author).unwrap();
        (entry[1], entry[2]) = (entry[1] + added, entry[2] + removed);
        let (from, to) = renamed(&fields[2..].join("\t"));
        let carried = from.and_then(|from| files.remove(&from)).unwrap_or_default();
        let file = files.entry(to).or_default();
        file.0 += carried.0 + 1;
        file.1 += carried.1 + added;
        file.2 += carried.2 + removed;
        (file.3, file.4) = (author.clone(), at);
    }
    [
        contributors.iter().map(|(name, c)| format!("{name}|{}|{}|{}|{}|{}", c[0], c[1], c[2], c[3], c[4])).collect(),
        files.iter().map(|(path, f)| format!("{path}|{}|{}|{}|{}|{}", f.0, f.1, f.2, f.3, f.4)).collect(),
        activity.iter().map(|(month, count)| format!("{month}|{count}")).collect(),
    ]
}

/// Year and month of a time, by counting days (Howard Hinnant's `civil_from_days`).
fn month(at: i64) -> String {
    let days = at.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}")
}

fn renamed(path: &str) -> (Option<String>, String) {
    if !path.contains(" => ") {
        return (None, path.to_owned());
    }
    let side = |right: bool| {
        let pick = |text: &str| {
            let (old, new) = text.split_once(" => ").unwrap();
            if right { new.to_owned() } else { old.to_owned() }
        };
        let Some((start, rest)) = path.split_once('{') else { return pick(path) };
        let (middle, end) = rest.split_once('}').unwrap();
        format!("{start}{}{end}", pick(middle)).replace("//", "/").trim_start_matches('/').to_owned()
    };
    (Some(side(false)), side(true))
}

fn data(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.log.gz"));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
    (path, String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn real_histories_are_counted_right_and_a_second_run_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["r2d2", "disintegrate", "message-db", "river"] {
        let (path, log) = data(name);
        let database = folder.path().join(format!("{name}.db"));
        let first = run_quietly(&options(&database, &path)).unwrap();
        let store = SqliteStore::open(&database).unwrap();
        let expected = counted(&log);
        assert!(expected.iter().all(|table| table.len() > 3));
        assert_eq!(tables(&store), expected, "{name}");
        let events = readside::EventStore::filter(&store, &readside::Query::new()).unwrap().len();
        assert_eq!(run_quietly(&options(&database, &path)).unwrap(), first);
        assert_eq!(readside::EventStore::filter(&store, &readside::Query::new()).unwrap().len(), events);
    }
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_holds_the_same() {
    let database = common::postgres::database();
    let (path, log) = data("river");
    let options = Options { database: Some(database.url().to_owned()), ..options(Path::new("unused"), &path) };
    run_quietly(&options).unwrap();
    run_quietly(&options).unwrap();
    let store = readside::PostgresStore::connect(database.url()).unwrap();
    let found = projections::all().map(|p| texts(store.read_rows(&p, p.name()).unwrap()));
    assert_eq!(found, counted(&log));
}

/// A repository with all that is odd.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.git_as("Ada", 1_000_000_000, arguments)
    }

    fn git_as(&self, author: &str, at: i64, arguments: &[&str]) -> String {
        let date = format!("{at} +0200");
        let output = Command::new("git")
            .arg("-C")
            .arg(self.0.path())
            .args(arguments)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([("GIT_AUTHOR_NAME", author), ("GIT_AUTHOR_EMAIL", "a@example.com"), ("GIT_AUTHOR_DATE", &date)])
            .envs([
                ("GIT_COMMITTER_NAME", "c"),
                ("GIT_COMMITTER_EMAIL", "c@example.com"),
                ("GIT_COMMITTER_DATE", &date),
            ])
            .output()
            .expect("git is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn commit(&self, author: &str, at: i64, files: &[(&str, &[u8])]) {
        for (path, content) in files {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git_as(author, at, &["commit", "-q", "--allow-empty", "--allow-empty-message", "-m", ""]);
    }
}

const TEXT: &[u8] = b"one\ntwo\nthree\nfour\nfive\n";

/// Odd names, a rename into a new folder and one onto a former path, a merge, a binary file, an author with two names.
fn odd_repository() -> Repository {
    let repository = Repository::new();
    repository.commit(
        "Ada",
        1_000_000_000,
        &[("a.txt", TEXT), ("tab\there \"quoted\" ä.txt", TEXT), ("bin", &[0, 1, 2])],
    );
    repository.commit("Émile", 900_000_000, &[("dir/b.txt", b"x\n"), ("bin", &[0, 9])]);
    repository.git(&["mv", "a.txt", "dir/deep.txt"]);
    repository.commit("Ada L.", 1_100_000_000, &[(".mailmap", b"Ada <a@example.com> Ada L. <a@example.com>\n")]);
    repository.git(&["checkout", "-q", "-b", "side"]);
    repository.commit("Zoë", 1_050_000_000, &[("side.txt", b"s\n")]);
    repository.git(&["checkout", "-q", "main"]);
    repository.commit("Ada", 1_200_000_000, &[("dir/b.txt", b"x\ny\n")]);
    repository.git_as("Ada", 1_250_000_000, &["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    repository.git(&["mv", "tab\there \"quoted\" ä.txt", "a.txt"]);
    repository.commit("Émile", 1_300_000_000, &[]);
    repository
}

#[test]
fn the_numbers_are_those_that_git_says() {
    let repository = odd_repository();
    let database = repository.0.path().join(".git/history.db");
    run_quietly(&on_checkout(&database, repository.0.path())).unwrap();
    let store = SqliteStore::open(&database).unwrap();
    let [contributors, files, activity] = tables(&store);
    let short = |row: &String| {
        let cells: Vec<&str> = row.split('|').collect();
        (cells[0].to_owned(), cells[1].to_owned())
    };
    let mut said: Vec<(String, String)> = repository
        .git(&["shortlog", "-sn", "HEAD"])
        .lines()
        .map(|line| line.trim().split_once('\t').unwrap())
        .map(|(count, name)| (name.to_owned(), count.to_owned()))
        .collect();
    said.sort();
    let mut found: Vec<_> = contributors.iter().map(short).collect();
    found.sort();
    assert_eq!(found, said);
    let log = repository.git(&["log", "--numstat", "-M", "--format="]);
    let sum = |at: usize| -> i64 { log.lines().filter_map(|line| line.split('\t').nth(at)?.parse::<i64>().ok()).sum() };
    let ours = |at: usize| -> i64 {
        contributors.iter().map(|row| row.split('|').nth(at).unwrap().parse::<i64>().unwrap()).sum()
    };
    assert_eq!((ours(2), ours(3)), (sum(0), sum(1)));
    let names: Vec<&str> = files.iter().map(|row| row.split('|').next().unwrap()).collect();
    assert_eq!(names, [".mailmap", "a.txt", "bin", "dir/b.txt", "dir/deep.txt", "side.txt"]);
    assert_eq!(files[1], "a.txt|2|5|0|Émile|1300000000", "the renamed file took its counts along");
    assert_eq!(activity.len(), 7);
    assert!(activity.contains(&"1998-07|1".to_owned()), "{activity:?}");
}

#[test]
fn a_new_commit_is_added_and_a_rewritten_history_refused() {
    let repository = odd_repository();
    let database = repository.0.path().join(".git/history.db");
    let options = on_checkout(&database, repository.0.path());
    run_quietly(&options).unwrap();
    let store = SqliteStore::open(&database).unwrap();
    let before = tables(&store);
    repository.commit("Zoë", 1_400_000_000, &[("new.txt", b"n\n")]);
    run_quietly(&options).unwrap();
    let after = tables(&store);
    assert_eq!(after[1].len(), before[1].len() + 1);
    assert!(after[0].contains(&"Zoë|2|2|0|1050000000|1400000000".to_owned()), "{after:?}");
    repository.git_as(
        "Zoë",
        1_400_000_001,
        &["commit", "-q", "--amend", "--reset-author", "--allow-empty-message", "-m", ""],
    );
    let refused = run_quietly(&options).unwrap_err();
    assert!(refused.contains("another history") && refused.contains("--instance"), "{refused}");
    repository.git(&["reset", "-q", "--hard", "HEAD~2"]);
    let refused = run_quietly(&options).unwrap_err();
    assert!(refused.contains("has 8 already"), "{refused}");
    assert_eq!(tables(&store), after);
}

#[test]
fn wrong_inputs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("x.db");
    let no_checkout = run_quietly(&on_checkout(&database, folder.path())).unwrap_err();
    assert!(no_checkout.contains("is no git checkout"), "{no_checkout}");
    let missing = run_quietly(&options(&database, &folder.path().join("missing.log"))).unwrap_err();
    assert!(missing.contains("cannot open") && missing.contains("missing.log"), "{missing}");
    for (text, expected) in [
        ("hello\n", "line 1 of the log is neither a commit nor a file"),
        ("1\t2\tx\n", "line 1 of the log is a file before the first commit"),
        ("commit\u{1f}abcdef0\u{1f}soon\u{1f}A\u{1f}s\n", "line 1 of the log is no commit"),
        ("commit\u{1f}abcdef0\u{1f}1\u{1f}A\u{1f}s\n\n-1\t2\tx\n", "line 3 of the log is neither"),
    ] {
        let path = folder.path().join("bad.log");
        std::fs::write(&path, text).unwrap();
        let error = run_quietly(&options(&database, &path)).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let empty = Repository::new();
    let error = run_quietly(&on_checkout(&database, empty.0.path())).unwrap_err();
    assert!(error.contains("has no commits yet"), "{error}");
}

fn parsed(lines: &str) -> Vec<File> {
    let text = format!("commit\u{1f}abcdef0\u{1f}-5\u{1f}\u{1f}\n\n{lines}");
    let mut commits: Vec<_> = Commits::new(text.as_bytes()).map(Result::unwrap).collect();
    assert_eq!((commits[0].author.as_str(), commits[0].subject.as_str(), commits[0].at), ("(unknown)", "", -5));
    commits.remove(0).files
}

#[test]
fn paths_are_read_as_git_writes_them() {
    let read = |line: &str| {
        let file = parsed(&format!("1\t2\t{line}\n")).remove(0);
        (file.from, file.path)
    };
    let renamed = |from: &str, to: &str| (Some(from.to_owned()), to.to_owned());
    assert_eq!(read("plain path.rs"), (None, "plain path.rs".to_owned()));
    assert_eq!(read("a => b"), renamed("a", "b"));
    assert_eq!(read("src/{a => b}/f.rs"), renamed("src/a/f.rs", "src/b/f.rs"));
    assert_eq!(read("src/{ => b}/f.rs"), renamed("src/f.rs", "src/b/f.rs"));
    assert_eq!(read("{a => }/f.rs"), renamed("a/f.rs", "f.rs"));
    assert_eq!(read("{ => a}/f.rs"), renamed("f.rs", "a/f.rs"));
    assert_eq!(read("x/{a.rs => b.rs}"), renamed("x/a.rs", "x/b.rs"));
    assert_eq!(read(r#""t\tab\303\244\"q\"""#), (None, "t\tabä\"q\"".to_owned()));
    assert_eq!(read(r#"plain => "\303\244""#), renamed("plain", "ä"));
    assert_eq!(read(r#""\303\244" => plain"#), renamed("ä", "plain"));
    assert_eq!(read(r#"a"b.txt"#), (None, "a\"b.txt".to_owned()));
    let binary = parsed("-\t-\tbin\n").remove(0);
    assert_eq!((binary.added, binary.removed), (0, 0));
}

fn changed(path: &str, added: i64) -> Event {
    Event::of("r", path, &FileChanged { author: "A".into(), at: 1, added, removed: 0 }).unwrap()
}

fn moved(from: &str, path: &str, added: i64) -> Event {
    Event::of("r", path, &FileRenamed { from: from.into(), author: "B".into(), at: 2, added, removed: 1 }).unwrap()
}

#[test]
fn a_rename_moves_the_row_or_adds_to_the_one_there() {
    let files: Projection = projections::files();
    let cells = |path: &str, changes: i64, added: i64| {
        row([("path", path.into()), ("changes", changes.into()), ("lines_added", added.into())])
    };
    given(&files, [changed("a", 1), changed("a", 2), moved("a", "b", 4)]).expect_rows("files", [cells("b", 3, 7)]);
    given(&files, [changed("a", 1), changed("b", 8), moved("a", "b", 4)]).expect_rows("files", [cells("b", 3, 13)]);
    given(&files, [moved("gone", "b", 4)]).expect_rows("files", [cells("b", 1, 4)]);
}
