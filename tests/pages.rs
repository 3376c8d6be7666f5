//! Checks the project's pages: each path that they name exists. This reads the pages as text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// The endings of a text between backticks that make it a path.
const ENDINGS: [&str; 5] = [".rs", ".md", ".toml", ".sql", "/"];

/// The largest number of characters in a line of a page.
const LONGEST: usize = 100;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The texts between backticks, outside of code blocks.
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

/// True if the path exists in one of the folders that pages refer to.
fn exists(page: &Path, path: &str) -> bool {
    let folders = [page.parent().unwrap().to_owned(), root().to_owned(), root().join("src"), root().join("tests")];
    folders.iter().any(|folder| folder.join(path).exists())
}

/// The README and the pages of `docs`.
fn docs() -> Vec<PathBuf> {
    let files = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    assert!(pages.len() > 5, "the pages were not found");
    pages.push(root().join("README.md"));
    pages
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("CONTRIBUTING.md"), root().join("tests/README.md")];
    pages.extend(docs());
    pages
}

/// The targets of the links of a page, without the part behind `#`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.match_indices("](").map(|(at, _)| text[at + 2..].split([')', '#']).next().unwrap());
    targets.filter(|target| !target.is_empty() && !target.contains(':'))
}

/// The numbers of the lines that are too long. Rows of tables do not count, because they cannot be broken.
fn long_lines(text: &str) -> Vec<usize> {
    let is_long = |line: &str| line.chars().count() > LONGEST && !line.trim_start().starts_with('|');
    text.lines().enumerate().filter(|(_, line)| is_long(line)).map(|(at, _)| at + 1).collect()
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
        let wrong = links(&text)
            .filter(|target| !page.parent().unwrap().join(target).exists())
            .map(|target| format!("{target} in {}", page.display()));
        missing.extend(wrong);
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn each_page_is_linked_from_another_one() {
    let linked: Vec<PathBuf> = pages()
        .into_iter()
        .flat_map(|page| {
            let text = fs::read_to_string(&page).unwrap();
            let target = |link: &str| page.parent().unwrap().join(link).canonicalize().unwrap_or_default();
            let found: Vec<PathBuf> = links(&text).map(target).collect();
            found.into_iter().filter(move |target| *target != page.canonicalize().unwrap())
        })
        .collect();
    let lost: Vec<PathBuf> =
        docs().into_iter().filter(|page| !linked.contains(&page.canonicalize().unwrap())).collect();
    assert!(lost.is_empty(), "no page leads to {lost:?}");
}

/// The pages of the numbered lists of the guide, in order.
fn reading_order(guide: &str) -> Vec<&str> {
    let listed = guide.split("\n## More").next().unwrap();
    let mut order: Vec<&str> = links(listed).filter(|target| target.ends_with(".md")).collect();
    order.dedup();
    order
}

#[test]
fn each_page_of_the_guide_leads_to_the_next_one() {
    let docs = root().join("docs");
    let guide = fs::read_to_string(docs.join("README.md")).unwrap();
    let order = reading_order(&guide);
    assert!(order.len() > 10, "{order:?}");
    let mut wrong = Vec::new();
    for (at, page) in order.iter().enumerate() {
        let text = fs::read_to_string(docs.join(page)).unwrap();
        let next = text.lines().rev().find_map(|line| line.strip_prefix("Next: ")).and_then(|line| links(line).next());
        if next != order.get(at + 1).copied() {
            wrong.push(format!("{page} leads to {next:?}, not to {:?}", order.get(at + 1)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_line_of_a_page_is_too_long() {
    let mut long = Vec::new();
    for page in docs() {
        let text = fs::read_to_string(&page).unwrap();
        long.extend(long_lines(&text).iter().map(|line| format!("{}:{line}", page.display())));
    }
    assert!(long.is_empty(), "more than {LONGEST} characters:\n{}", long.join("\n"));
}

#[test]
fn the_code_of_each_page_is_run() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let has_code = |page: &PathBuf| fs::read_to_string(page).unwrap().contains("```rust");
    let name = |page: PathBuf| page.strip_prefix(root()).unwrap().display().to_string();
    let idle: Vec<String> =
        docs().into_iter().filter(has_code).map(name).filter(|page| !lib.contains(&format!("\"../{page}\""))).collect();
    assert!(idle.is_empty(), "src/lib.rs does not include {idle:?}");
}

/// Functions of a walk that are not in the file that the walk's table names, as `function: files`.
fn lost_steps(page: &str, read: impl Fn(&str) -> String) -> (usize, Vec<String>) {
    let (mut is_walk, mut steps, mut lost) = (false, 0, Vec::new());
    for line in page.lines() {
        is_walk = line.starts_with('|') && (is_walk || line.starts_with("| Step | File |"));
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, _, files, functions, _] = cells[..] else { continue };
        if !is_walk || !files.contains('`') {
            continue;
        }
        let text: String = quoted(files).into_iter().map(&read).collect();
        for name in quoted(functions) {
            steps += 1;
            let word = name.split("::").last().unwrap_or(name);
            let is_there = ["fn", "struct", "trait", "enum"].iter().any(|kind| {
                let declared = format!("{kind} {word}");
                let mut rests = text.split(&declared).skip(1);
                rests.any(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
            });
            if !is_there && !text.contains(&format!("for {word}")) {
                lost.push(format!("{name}: {files}"));
            }
        }
    }
    (steps, lost)
}

fn source(path: &str) -> String {
    let at = root().join("src").join(path);
    if at.is_file() {
        return fs::read_to_string(at).unwrap();
    }
    let files = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn each_step_of_an_events_way_is_where_the_page_says() {
    let (steps, lost) = lost_steps(&fs::read_to_string(root().join("docs/design.md")).unwrap(), source);
    assert!(steps > 30, "{steps}");
    assert!(lost.is_empty(), "\n{}", lost.join("\n"));
}

#[test]
fn a_step_that_moved_away_is_found() {
    let page = "| Step | File | Function |\n| --- | --- | --- |\n| a | `x.rs` | `A::go`, `gone`, `g` |\n\n| b | `y.rs` | `h` |";
    let read = |path: &str| if path == "x.rs" { "fn go(".to_owned() } else { String::new() };
    assert_eq!(lost_steps(page, read), (3, vec!["gone: `x.rs`".to_owned(), "g: `x.rs`".to_owned()]));
}

#[test]
fn long_lines_and_links_are_found() {
    let long = "x".repeat(LONGEST + 1);
    assert_eq!(long_lines(&format!("short\n{long}\n| {long} |\n   | {long} |")), [2]);
    assert_eq!(links("[a](b.md#c), [d](#e), [f](https://g.h), [i](../j)").collect::<Vec<_>>(), ["b.md", "../j"]);
}

#[test]
fn paths_are_told_from_other_quoted_words() {
    let page = "`src/lib.rs` and `db/push/`, not `Engine`, `/`, `a b.rs`\n```\n`x.rs`\n```\n`y.sql`";
    assert_eq!(paths(page), ["src/lib.rs", "db/push/", "y.sql"]);
}
