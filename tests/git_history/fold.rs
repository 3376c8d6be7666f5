//! Computes the same three tables in memory in the simplest way, for comparison. It does not know quoted paths.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contributor {
    pub(crate) commits: i64,
    pub(crate) added: i64,
    pub(crate) removed: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct File {
    pub(crate) changes: i64,
    pub(crate) added: i64,
    pub(crate) removed: i64,
    pub(crate) author: String,
    pub(crate) at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tables {
    pub(crate) contributors: BTreeMap<String, Contributor>,
    pub(crate) files: BTreeMap<String, File>,
    pub(crate) months: BTreeMap<String, i64>,
}

pub(crate) fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn fold(history: &str) -> Tables {
    let mut tables = Tables::default();
    let (mut author, mut at) = (String::new(), 0);
    for line in history.split('\n').filter(|line| !line.is_empty()) {
        if let Some(commit) = line.strip_prefix("commit\x1f") {
            let fields: Vec<&str> = commit.splitn(4, '\x1f').collect();
            (author, at) = (fields[2].to_owned(), fields[1].parse().unwrap());
            let new = Contributor { commits: 0, added: 0, removed: 0, first: at, last: at };
            let row = tables.contributors.entry(author.clone()).or_insert(new);
            row.commits += 1;
            row.first = row.first.min(at);
            row.last = row.last.max(at);
            *tables.months.entry(month(at)).or_default() += 1;
            continue;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        let (added, removed) = (fields[0].parse().unwrap_or(0), fields[1].parse().unwrap_or(0));
        let row = tables.contributors.get_mut(&author).unwrap();
        (row.added, row.removed) = (row.added + added, row.removed + removed);
        let (old, path) = sides(fields[2]);
        let before = old.and_then(|old| tables.files.remove(&old)).unwrap_or_default();
        let row = tables.files.entry(path).or_default();
        row.changes += before.changes + 1;
        row.added += before.added + added;
        row.removed += before.removed + removed;
        (row.author, row.at) = (author.clone(), at);
    }
    tables
}

fn sides(name: &str) -> (Option<String>, String) {
    let Some((left, right)) = name.split_once(" => ") else { return (None, name.to_owned()) };
    let (before, old) = left.split_once('{').unwrap_or(("", left));
    let (new, after) = right.split_once('}').unwrap_or((right, ""));
    let side = |middle: &str| format!("{before}{middle}{after}").replace("//", "/");
    (Some(side(old)), side(new))
}

/// Counts days from 1970 forward, year by year and month by month.
pub(crate) fn month(at: i64) -> String {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut days, mut year, mut month) = (at / 86_400, 1970, 1);
    loop {
        let length = match month {
            2 => 28 + i64::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if days < length {
            return format!("{year:04}-{month:02}");
        }
        days -= length;
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
}
