//! The pages of the project, checked: each path that they name exists. Reads them as text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Endings of what is taken for a path when it stands between backticks.
const ENDINGS: [&str; 5] = [".rs", ".md", ".toml", ".sql", "/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The texts between backticks, outside of blocks of code.
fn quoted(page: &str) -> Vec<&str> {
    let mut is_code = false;
    let prose = page.lines().filter(move |line| {
        is_code ^= line.starts_with("```");
        !is_code
    });
    prose.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The quoted texts that name a file or folder of the project.
fn paths(page: &str) -> Vec<&str> {
    let is_path = |text: &&str| {
        ENDINGS.iter().any(|ending| text.len() > ending.len() && text.ends_with(ending))
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter))
    };
    quoted(page).into_iter().filter(is_path).collect()
}

/// True when the path exists from one of the folders that pages speak from.
fn exists(page: &Path, path: &str) -> bool {
    let folders = [page.parent().unwrap().to_owned(), root().to_owned(), root().join("src"), root().join("tests")];
    folders.iter().any(|folder| folder.join(path).exists())
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md"), root().join("tests/README.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    pages
}

#[test]
fn each_path_that_a_page_names_exists() {
    let mut missing = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let wrong = paths(&text)
            .into_iter()
            .filter(|path| !exists(&page, path))
            .map(|path| format!("{path} in {}", page.display()));
        missing.extend(wrong);
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn each_link_of_a_page_leads_somewhere() {
    let mut missing = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains(':') && !page.parent().unwrap().join(target).exists() {
                missing.push(format!("{target} in {}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn paths_are_told_from_other_quoted_words() {
    let page = "`src/lib.rs` and `db/push/`, not `Engine`, `/`, `a b.rs`\n```\n`x.rs`\n```\n`y.sql`";
    assert_eq!(paths(page), ["src/lib.rs", "db/push/", "y.sql"]);
}
