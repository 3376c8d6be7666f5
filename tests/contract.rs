//! The contract and its citations: `docs/contract.md` defines each cited clause, and a test cites each defined
//! clause. This reads the sources as text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The text in front of the clauses that a comment cites.
const CITES: &str = "Contract: ";

/// The name of a clause at the beginning of the text: a letter and a number.
fn clause(text: &str) -> Option<&str> {
    let digits = text.strip_prefix(|letter: char| letter.is_ascii_uppercase())?;
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    (end > 0).then(|| &text[..=end])
}

/// The clauses that a page defines: `- **L1 Order.** …` or `- **A1** …`.
fn defined(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| clause(line.strip_prefix("- **")?)).collect()
}

/// The clauses that a text cites: `Contract: L1, L2`.
fn cited(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(CITES) {
        let mut rest = &text[at + CITES.len()..];
        while let Some(name) = clause(rest) {
            found.insert(name);
            rest = rest[name.len()..].strip_prefix(", ").unwrap_or_default();
        }
    }
    found
}

/// The part of a text that is compiled for tests only: a whole test file, or what follows `#[cfg(test)]` in another
/// file.
fn tests_of<'a>(path: &Path, text: &'a str) -> &'a str {
    let is_test = path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name().is_some_and(|name| name == "tests.rs" || name == "shuttled.rs");
    if is_test {
        return text;
    }
    text.find("#[cfg(test)]").or_else(|| text.find("#[cfg(all(test")).map_or("", |at| &text[at..])
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each source file except this one, with its text.
fn texts() -> BTreeMap<PathBuf, String> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz"] {
        sources(&root().join(folder), &mut files);
    }
    files.retain(|file| {
        !file.ends_with("tests/contract.rs") && !file.components().any(|part| part.as_os_str() == "target")
    });
    assert!(files.len() > 100, "the sources were not found");
    files.into_iter().map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect()
}

#[test]
fn each_clause_that_is_cited_is_defined_once() {
    let page = fs::read_to_string(root().join("docs/contract.md")).unwrap();
    let names = defined(&page);
    let known: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), known.len(), "a clause is defined twice");
    let mut faults = Vec::new();
    for (file, text) in &texts() {
        faults.extend(cited(text).difference(&known).map(|name| format!("{} cites {name}", file.display())));
        if text.contains("SPEC ") {
            faults.push(format!("{} cites a page that is not here: write `{CITES}`", file.display()));
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn a_test_cites_each_clause() {
    let page = fs::read_to_string(root().join("docs/contract.md")).unwrap();
    let texts = texts();
    let tested: BTreeSet<&str> = texts.iter().flat_map(|(file, text)| cited(tests_of(file, text))).collect();
    let untested: Vec<&str> = defined(&page).into_iter().filter(|name| !tested.contains(name)).collect();
    assert_eq!(untested, [""; 0], "no test cites these clauses");
}

#[test]
fn clauses_are_found_where_they_are_defined_and_cited() {
    assert_eq!(defined("- **L1 Order.** A reader.\n- **A12** Text, L7.\n**B1**\n- **Words** no.\n"), ["L1", "A12"]);
    let text = format!("// {CITES}L1, A12\n/// x ({CITES}B3). {CITES}nothing");
    assert_eq!(cited(&text).into_iter().collect::<Vec<_>>(), ["A12", "B3", "L1"]);
}
