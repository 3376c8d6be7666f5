//! Repositories that git creates, compared with what git says about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fold::{Contributor, Tables};
use crate::git_history::{Failure, Options, Summary, run};
use crate::{options, tables};

/// A repository in its own folder, with a database.
struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(repository.path()).unwrap();
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("the repository")
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("history.db")
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.git_as("Ada <ada@example.com>", 1_000_000_000, arguments)
    }

    fn git_as(&self, author: &str, at: i64, arguments: &[&str]) -> String {
        let (name, mail) = author.split_once(" <").unwrap();
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path()).args(arguments);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for (role, at) in [("AUTHOR", at), ("COMMITTER", 1_600_000_000)] {
            command.env(format!("GIT_{role}_NAME"), name);
            command.env(format!("GIT_{role}_EMAIL"), mail.trim_end_matches('>'));
            command.env(format!("GIT_{role}_DATE"), format!("{at} +0200"));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn commit(&self, author: &str, at: i64, subject: &str) {
        self.git(&["add", "--all"]);
        self.git_as(author, at, &["commit", "--quiet", "--allow-empty", "--allow-empty-message", "-m", subject]);
    }

    fn run(&self) -> Result<Summary, Failure> {
        self.run_at(&self.path())
    }

    fn run_at(&self, path: &Path) -> Result<Summary, Failure> {
        run(&Options { checkout: Some(path.to_owned()), ..options(&self.database()) }, &mut Vec::new())
    }

    fn tables(&self) -> Tables {
        tables(self.database().to_str().unwrap(), "the repository")
    }
}

fn lines(count: usize) -> String {
    (0..count).flat_map(|line| ["line ".to_owned(), line.to_string(), "\n".to_owned()]).collect()
}

/// A repository with renames, a merge, odd names, a binary file, an author with two names, and times out of order.
fn odd_repository() -> Repository {
    let repository = Repository::new();
    repository.write("src/deep/a.rs", lines(20));
    repository.write("tab\there.txt", lines(10));
    repository.write("größe \"quoted\".txt", lines(10));
    repository.write("back\\slash", lines(3));
    repository.write("logo.bin", [0, 1, 2, 0, 255]);
    repository.commit("Ada <ada@example.com>", 1_000_000_000, "start \"it\" – ü");
    repository.write("other", lines(30));
    repository.commit("Bob <bob@example.com>", 900_000_000, "");
    repository.git(&["switch", "--quiet", "--create", "side"]);
    repository.git(&["mv", "src/deep/a.rs", "src/a.rs"]);
    repository.git(&["mv", "tab\there.txt", "tab\tthere.txt"]);
    repository.write("logo.bin", [0, 9]);
    repository.commit("ada l. <old@example.com>", 1_100_000_000, "on the side");
    repository.git(&["switch", "--quiet", "main"]);
    repository.write("other", lines(28) + "new\n");
    repository.write("größe/ä", "x");
    repository.commit("Çağ 名 <c@example.com>", 951_868_799, "on main");
    repository.git_as("Bob <bob@example.com>", 1_200_000_000, &["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    repository.git(&["mv", "src/a.rs", "a.rs"]);
    repository.write("a.rs", lines(22));
    repository.write(".mailmap", "Ada <ada@example.com> <old@example.com>\n");
    repository.commit("Bob <bob@example.com>", 1_150_000_000, "up");
    repository.git(&["rm", "--quiet", "other"]);
    repository.commit("Bob <bob@example.com>", 1_150_000_001, "gone\n\nwith a body\n1\t2\tno file");
    repository
}

/// What git counts: commits by `shortlog`, lines by `log --numstat`, times by `log`.
fn counted_by_git(repository: &Repository) -> BTreeMap<String, Contributor> {
    let new = Contributor { commits: 0, added: 0, removed: 0, first: i64::MAX, last: 0 };
    let mut authors = BTreeMap::new();
    for line in repository.git(&["shortlog", "-sn", "HEAD"]).lines() {
        let (commits, author) = line.trim().split_once('\t').unwrap();
        authors.insert(author.to_owned(), Contributor { commits: commits.parse().unwrap(), ..new.clone() });
    }
    let mut author = String::new();
    for line in repository.git(&["log", "-M", "--numstat", "--format=@%at %aN"]).lines().filter(|line| !line.is_empty())
    {
        if let Some((at, name)) = line.strip_prefix('@').and_then(|line| line.split_once(' ')) {
            name.clone_into(&mut author);
            let (row, at) = (authors.get_mut(&author).unwrap(), at.parse().unwrap());
            (row.first, row.last) = (row.first.min(at), row.last.max(at));
            continue;
        }
        let counts: Vec<&str> = line.split('\t').collect();
        let row = authors.get_mut(&author).unwrap();
        row.added += counts[0].parse::<i64>().unwrap_or(0);
        row.removed += counts[1].parse::<i64>().unwrap_or(0);
    }
    authors
}

#[test]
fn git_counts_the_same() {
    let repository = odd_repository();
    let summary = repository.run().unwrap();
    assert_eq!((summary.commits, summary.new_commits), (7, 7));
    let tables = repository.tables();
    assert_eq!(tables.contributors, counted_by_git(&repository));
    assert_eq!(tables.contributors.keys().collect::<Vec<_>>(), ["Ada", "Bob", "Çağ 名"], "the mailmap counts");
    let months = [("1998-07", 1), ("2000-02", 1), ("2001-09", 1), ("2004-11", 1), ("2006-06", 2), ("2008-01", 1)];
    assert_eq!(tables.months, months.map(|(month, commits)| (month.to_owned(), commits)).into());
    let files: Vec<(&str, i64, i64, i64)> =
        tables.files.iter().map(|(path, row)| (path.as_str(), row.changes, row.added, row.removed)).collect();
    let expected = [
        (".mailmap", 1, 1, 0),
        ("a.rs", 3, 22, 0),
        ("back\\slash", 1, 3, 0),
        ("größe \"quoted\".txt", 1, 10, 0),
        ("größe/ä", 1, 1, 0),
        ("logo.bin", 2, 0, 0),
        ("other", 3, 31, 31),
        ("tab\tthere.txt", 2, 10, 0),
    ];
    assert_eq!(files, expected);
    let mut there: Vec<String> =
        repository.git(&["ls-files", "-z"]).split_terminator('\0').map(str::to_owned).collect();
    there.push("other".to_owned());
    there.sort();
    assert_eq!(tables.files.keys().cloned().collect::<Vec<_>>(), there);
}

#[test]
fn settings_of_the_user_change_nothing() {
    let repository = odd_repository();
    repository.run().unwrap();
    let before = repository.tables();
    for (name, value) in [
        ("core.quotePath", "true"),
        ("log.showRoot", "false"),
        ("diff.renames", "false"),
        ("diff.relative", "true"),
        ("color.ui", "always"),
        ("log.showSignature", "true"),
        ("i18n.logOutputEncoding", "ISO-8859-1"),
        ("format.pretty", "oneline"),
    ] {
        repository.git(&["config", name, value]);
    }
    std::fs::remove_file(repository.database()).unwrap();
    let inside = repository.path().join("größe");
    assert_eq!(repository.run_at(&inside).unwrap().new_commits, 7, "from a folder inside");
    assert_eq!(repository.tables(), before);
}

#[test]
fn a_second_run_adds_only_what_is_new() {
    let repository = odd_repository();
    repository.run().unwrap();
    let before = repository.tables();
    let summary = repository.run().unwrap();
    assert_eq!((summary.commits, summary.new_commits, summary.pushed, summary.projected), (7, 0, 0, 0));
    assert_eq!(repository.tables(), before);
    repository.write("new", "1\n2\n");
    repository.commit("Dora <dora@example.com>", 1_200_000_000, "one more");
    let summary = repository.run().unwrap();
    assert_eq!((summary.commits, summary.new_commits, summary.pushed, summary.projected), (8, 1, 2, 3));
    let mut after = repository.tables();
    assert_eq!(after.contributors, counted_by_git(&repository));
    assert_eq!(after.files.remove("new").unwrap().added, 2);
    assert_eq!(after.files, before.files);
}

#[test]
fn a_rewritten_history_is_refused() {
    let repository = odd_repository();
    repository.run().unwrap();
    let before = repository.tables();
    repository.git(&["commit", "--quiet", "--amend", "-m", "said otherwise"]);
    let failure = repository.run().unwrap_err();
    assert!(matches!(failure, Failure::Rewritten { number: 7, .. }), "{failure}");
    assert!(failure.to_string().contains("read it into another --instance or --database"), "{failure}");
    repository.git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    let failure = repository.run().unwrap_err();
    assert!(matches!(failure, Failure::Shorter { stored: 7, found: 5, .. }), "{failure}");
    assert_eq!(repository.tables(), before);
}

#[test]
fn a_repository_without_commits_is_named() {
    let failure = Repository::new().run().unwrap_err();
    assert!(failure.to_string().contains("has no history yet; make a first commit"), "{failure}");
}

#[test]
fn a_bare_repository_will_do() {
    let repository = odd_repository();
    let bare = repository.folder.path().join("bare.git");
    repository.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    assert_eq!(repository.run_at(&bare).unwrap().new_commits, 7);
    let tables = tables(repository.database().to_str().unwrap(), "bare.git");
    assert_eq!(tables.contributors, counted_by_git(&repository));
}
