//! Checks the structure of the code: modules use only their own layer and lower ones, and so do the parts of the
//! engine. No two files need each other, the engine names no database, and nothing is async. This reads the sources
//! as text, without comments and unit tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with its layer. The modules of the first three layers may use each other. Above these, a module uses
/// only itself and lower layers.
const LAYERS: [(u8, &[&str]); 7] = [
    (
        0,
        &[
            "error",
            "value",
            "clock",
            "conninfo",
            "dialect",
            "event",
            "failure",
            "command",
            "retention",
            "plain",
            "query",
            "remedy",
            "sealed",
            "setters",
            "standstill",
            "statement",
            "table",
            "state",
            "stop_cause",
            "sync",
        ],
    ),
    (1, &["projection", "store", "lease", "subscription", "inspect", "standing", "builds"]),
    (2, &["sql", "db", "postgres", "sqlite"]),
    (3, &["engine"]),
    (4, &["admin"]),
    (5, &["serve"]),
    (6, &["cli", "testing", "bin"]),
];

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

/// What is wrong with a file of `src`. `path` is relative to `src`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    if module == "lib" {
        return Vec::new();
    }
    let code = code_of(path, text);
    let mut faults = Vec::new();
    match layer(module) {
        None => faults.push(format!("{module} is in no layer: add it to LAYERS")),
        Some(own) => {
            let wrong = used_modules(&code).into_iter().filter_map(|used| wrong_use(module, own, &used));
            faults.extend(wrong);
        }
    }
    if climbs_to_root(path, &code) {
        faults.push("reaches the root by `super`: write `crate::`".to_owned());
    }
    if is_async(&code) {
        faults.push("is async: the library blocks".to_owned());
    }
    for name in ["postgres", "rusqlite", "sqlite"] {
        if module == "engine" && code.to_lowercase().contains(name) {
            faults.push(format!("names {name}: the engine knows traits only"));
        }
    }
    faults.into_iter().map(|fault| format!("src/{path} {fault}")).collect()
}

fn wrong_use(module: &str, own: u8, used: &str) -> Option<String> {
    match layer(used) {
        _ if used == module => None,
        None => Some(format!("uses crate::{used} by way of lib.rs: name the module it is in")),
        Some(theirs) if theirs > own => Some(format!("(layer {own}) uses {used} (layer {theirs})")),
        Some(theirs) if theirs == own && own > 2 => Some(format!("uses {used}, its neighbour in layer {own}")),
        Some(_) => None,
    }
}

/// The text without comments and without code that is compiled for tests only.
fn code_of(path: &str, text: &str) -> String {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return String::new();
    }
    let is_test =
        |pair: &[&str]| pair[0].starts_with("#[cfg(") && pair[0].contains("test") && pair[1].starts_with("mod ");
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.windows(2).position(is_test).unwrap_or(lines.len());
    let lines = lines[..end].iter().map(|line| match line.find("//") {
        // A `//` inside a text such as "postgres://" begins no comment.
        Some(at) if line[..at].matches('"').count() % 2 == 0 => &line[..at],
        _ => *line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_async(code: &str) -> bool {
    let blocks = ["async fn ", "async move ", "async {", "async |"];
    blocks.iter().any(|block| code.contains(block))
        || code.match_indices(".await").any(|(at, found)| first_word(&code[at + 1..]).len() == found.len() - 1)
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

/// The modules that follow `crate::`, also those in braces.
fn used_modules(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(top_level_names(group)),
            None => modules.push(first_word(rest)),
        }
    }
    modules
}

fn first_word(text: &str) -> String {
    words(text.trim_start()).next().unwrap_or_default().to_owned()
}

/// The first word of each entry of a group. The group ends at its closing brace.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(first_word(&group[start..at]));
                start = at + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// True if a path of `super`s leaves the file's top module and reaches the root.
fn climbs_to_root(path: &str, code: &str) -> bool {
    let below_src = path.trim_end_matches(".rs").trim_end_matches("/mod");
    code.contains(&"super::".repeat(below_src.split('/').count()))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

// Contract: J4
#[test]
fn imports_point_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&src);
    assert!(files.len() > 10, "the sources were not found");
    let mut found = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        found.extend(faults(&path, &fs::read_to_string(file).unwrap()));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_use_of_a_higher_layer_is_found() {
    for (path, text) in [
        ("value.rs", "use crate::engine::Pipeline;"),
        ("store.rs", "fn f() { crate::db::row::read() }"),
        ("projection/mod.rs", "use crate::{\n    event::{Event, Payload},\n    sql::Dialect,\n};"),
        ("db/mod.rs", "pub(crate) use crate::testing::given;"),
        ("testing.rs", "use crate::cli::run;"),
        ("event.rs", "use crate::Statement;"),
        ("event.rs", "use super::projection::Projection;"),
        ("db/push.rs", "use super::super::engine::Engine;"),
        ("utils.rs", ""),
    ] {
        assert_eq!(faults(path, text).len(), 1, "{path}: {text}: {:?}", faults(path, text));
    }
}

#[test]
fn a_use_of_the_own_or_a_lower_layer_is_accepted() {
    for (path, text) in [
        ("error.rs", "use crate::event::Expected; // not crate::engine"),
        ("db/push.rs", "use crate::{error::StoreError, sql::{Dialect, quote}};\nuse super::row;"),
        ("engine/mod.rs", "/// [`x`](crate::sqlite::X)\nuse crate::engine::config;\nuse crate::store::EventStore;"),
        ("value.rs", "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::engine::X;\n    use super::*;\n}"),
        ("engine/mod.rs", "fn f() {}\n#[cfg(all(test, feature = \"sqlite\"))]\nmod tests;\nuse crate::sqlite::X;"),
        ("testing.rs", "use crate::sqlite::SqliteStore;"),
        ("lib.rs", "pub use crate::engine::Engine;"),
    ] {
        assert_eq!(faults(path, text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn async_code_and_databases_in_the_engine_are_found() {
    assert_eq!(faults("db/mod.rs", "async fn f() {}").len(), 1);
    assert_eq!(faults("db/mod.rs", "let x = f()\n    .await;").len(), 1);
    assert_eq!(faults("db/mod.rs", "engine.await_position(1); // async fn, .await").len(), 0);
    assert_eq!(faults("engine/mod.rs", "fn f(store: &SqliteStore) {}").len(), 1);
    assert_eq!(faults("engine/pool.rs", "let url = \"postgres://x\";").len(), 1);
    assert_eq!(faults("sqlite/mod.rs", "use rusqlite::Connection;").len(), 0);
}

/// The parts of the engine. Each uses only the parts before it.
const STOREYS: [&str; 4] = ["pass", "read", "handler", "run"];

/// Each path of a `use` tree, such as `a::b` and `a::c` of `a::{b, c as d}`.
fn paths_of(tree: &str) -> Vec<String> {
    let Some(brace) = tree.find('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().split_whitespace().collect()];
    };
    let (start, group) = (tree[..brace].trim(), tree[brace + 1..].trim_end().trim_end_matches('}'));
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[begin..]);
    let whole = parts.into_iter().filter(|part| !part.trim().is_empty()).map(|part| format!("{start}{}", part.trim()));
    whole.flat_map(|path| paths_of(&path)).collect()
}

/// The files of `src` that a file uses: for each path, the longest beginning that is a file. Re-exports (`pub use`)
/// in a `mod.rs` and visibility (`pub(in crate::x)`) do not count.
fn used_files(path: &str, code: &str, files: &BTreeSet<String>) -> BTreeSet<String> {
    let below = path.trim_end_matches(".rs");
    let own: Vec<&str> = below.strip_suffix("/mod").unwrap_or(below).split('/').collect();
    let file_of = |parts: &[&str]| {
        (1..=parts.len()).rev().find_map(|length| {
            let path = parts[..length].join("/");
            [format!("{path}.rs"), format!("{path}/mod.rs")].into_iter().find(|path| files.contains(path))
        })
    };
    let mut paths = Vec::new();
    for statement in code.split(';') {
        let Some(at) = statement.rfind("use ").filter(|at| !statement[*at..].contains('(')) else { continue };
        let ahead = statement[..at].trim_end();
        if !ahead.ends_with("pub") && !ahead.ends_with("pub(crate)") && !ahead.ends_with("pub(super)") {
            paths.extend(paths_of(statement[at + "use ".len()..].trim()));
        }
    }
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let is_start =
                !code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':');
            let is_seen = code[..at].ends_with("pub(in ");
            let end = code[at..].find(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
            // Groups were read above.
            if is_start && !is_seen && !code[at + root.len()..].starts_with('{') {
                paths.push(code[at..end.map_or(code.len(), |end| at + end)].trim_end_matches(':').to_owned());
            }
        }
    }
    let mut used = BTreeSet::new();
    for path in paths {
        let mut parts: Vec<&str> = path.split("::").collect();
        let ups = parts.iter().take_while(|part| **part == "super").count();
        let base = match parts.first() {
            Some(&"crate") => Vec::new(),
            Some(&"super") if ups <= own.len() => own[..own.len() - ups].to_vec(),
            // A module of the file itself.
            Some(first)
                if file_of(&[&own[..], &[*first]].concat()).is_some_and(|file| file != path_of(&own, files)) =>
            {
                own.clone()
            }
            _ => continue,
        };
        parts.drain(..ups.max(usize::from(parts.first() == Some(&"crate"))));
        used.extend(file_of(&[&base[..], &parts[..]].concat()));
    }
    used.remove(path);
    used
}

/// The file of a module.
fn path_of(parts: &[&str], files: &BTreeSet<String>) -> String {
    let path = parts.join("/");
    let name = format!("{path}.rs");
    if files.contains(&name) { name } else { format!("{path}/mod.rs") }
}

/// What is wrong with the files of `src`: files that need each other, and parts of the engine that use a later part.
/// The paths are relative to `src`.
fn faults_of_files(sources: &BTreeMap<String, String>) -> Vec<String> {
    let files: BTreeSet<String> = sources.keys().filter(|path| *path != "lib.rs").cloned().collect();
    let storey = |path: &str| {
        let room = path.strip_prefix("engine/").and_then(|path| path.split('/').next());
        STOREYS.iter().position(|name| room == Some(name))
    };
    let (mut faults, mut uses) = (Vec::new(), BTreeMap::new());
    for (path, text) in sources.iter().filter(|(path, _)| *path != "lib.rs") {
        let others = used_files(path, &code_of(path, text), &files);
        for other in others.iter().filter(|other| storey(path).is_some() && storey(other) > storey(path)) {
            faults.push(format!("{path} uses {other}, which is on a higher storey"));
        }
        uses.insert(path.clone(), others);
    }
    for path in uses.keys() {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![path]);
        while let Some(next) = todo.pop() {
            todo.extend(uses.get(next).into_iter().flatten().filter(|used| seen.insert((*used).clone())));
        }
        if seen.contains(path) {
            faults.push(format!("{path} needs itself, by way of what it uses"));
        }
    }
    faults
}

#[test]
fn the_engine_has_storeys_and_no_file_needs_itself() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    for file in sources(&src) {
        let path = file.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        let is_test = path.ends_with("/tests.rs") || path.ends_with("shuttled.rs");
        if !is_test {
            files.insert(path, fs::read_to_string(&file).unwrap());
        }
    }
    assert!(files.len() > 200, "the sources were not found");
    let faults = faults_of_files(&files);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn circles_and_higher_storeys_are_found() {
    let faults = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        faults_of_files(&files).len()
    };
    let run =
        [("engine/run/a.rs", "use crate::engine::pass::Pass;\nuse crate::engine::run::b::B;"), ("engine/run/b.rs", "")];
    assert_eq!(faults(&[&run[..], &[("engine/pass/mod.rs", "pub struct Pass;")]].concat()), 0);
    assert_eq!(faults(&[("engine/pass/a.rs", "fn f(x: crate::engine::read::X) {}"), ("engine/read/mod.rs", "")]), 1);
    let circle = [
        ("db/a.rs", "use crate::db::b::B;"),
        ("db/b.rs", "use super::{row, c::{C, D as E}};"),
        ("db/c.rs", "fn f() -> super::a::A {}"),
        ("db/row.rs", ""),
    ];
    assert_eq!(faults(&circle), 3);
    let parent = [("db/fold/mod.rs", "mod run;\nuse run::Runs;"), ("db/fold/run.rs", "use super::Out;")];
    assert_eq!(faults(&parent), 2);
    let handed_on = [("db/fold/mod.rs", "mod run;\npub(crate) use run::Runs;"), ("db/fold/run.rs", "use super::Out;")];
    assert_eq!(faults(&handed_on), 0);
    let seen =
        [("cli/mod.rs", "use crate::cli::options::Options;"), ("cli/options.rs", "pub(in crate::cli) struct Options;")];
    assert_eq!(faults(&seen), 0);
}

/// Store traits that a service may implement, and those that a test kit may implement.
const OPEN: [&str; 5] = ["EventSource", "Clock", "Payload", "Aggregate", "Faults"];

/// Traits that cannot be named from outside the crate.
const INSIDE: [&str; 3] = ["Backend", "Catalogue", "Conn"];

/// The public traits of a file: name, supertraits, and the text between the braces.
fn traits(code: &str) -> Vec<(String, Vec<String>, &str)> {
    let mut traits = Vec::new();
    for (at, begin) in code.match_indices("pub trait ") {
        let rest = &code[at + begin.len()..];
        let Some(open) = rest.find('{') else { continue };
        let mut depth = 0;
        let end = rest.char_indices().skip_while(|(at, _)| *at < open).find(|(_, letter)| {
            depth += match letter {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0
        });
        let needs = rest[..open].split_once(':').map_or("", |(_, needs)| needs);
        let needs = needs.split('+').map(|need| need.rsplit("::").next().unwrap_or(need).trim().to_owned());
        traits.push((first_word(rest), needs.collect(), &rest[open + 1..end.map_or(rest.len(), |(at, _)| at)]));
    }
    traits
}

/// What is wrong with the public traits of these files: traits that will grow although a service could implement
/// them, and store methods that an implementation may forget.
fn faults_of_seam(texts: &[String]) -> Vec<String> {
    let all: Vec<_> = texts.iter().flat_map(|text| traits(text)).collect();
    let mut sealed: BTreeSet<&str> = BTreeSet::from(["Sealed"]);
    for _ in 0..all.len() {
        let more = all.iter().filter(|(_, needs, _)| needs.iter().any(|need| sealed.contains(need.as_str())));
        sealed.extend(more.map(|(name, ..)| name.as_str()).collect::<Vec<_>>());
    }
    let mut faults = Vec::new();
    for (name, _, body) in &all {
        let is_open = OPEN.contains(&name.as_str());
        if INSIDE.contains(&name.as_str()) || name == "Sealed" {
            continue;
        }
        if !is_open && !sealed.contains(name.as_str()) {
            faults.push(format!("{name} is open: have it need `Sealed`, or add it to OPEN"));
        }
        let is_store = sealed.contains(name.as_str()) || name == "EventSource";
        if is_store && body.contains('{') {
            faults.push(format!("{name} has a method with a default: who wraps a store may forget it"));
        }
    }
    faults
}

#[test]
fn stores_are_sealed_and_have_no_defaults() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |file: &PathBuf| code_of(file.to_str().unwrap(), &fs::read_to_string(file).unwrap());
    let texts: Vec<String> = sources(&src).iter().map(read).collect();
    let known: BTreeSet<String> = texts.iter().flat_map(|text| traits(text)).map(|(name, ..)| name).collect();
    for name in OPEN.iter().chain(&INSIDE) {
        assert!(known.contains(*name), "there is no trait {name}");
    }
    let faults = faults_of_seam(&texts);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_store_that_is_open_and_a_default_are_found() {
    let faults = |text: &str| faults_of_seam(&[text.to_owned()]).len();
    assert_eq!(faults("pub trait Store: fmt::Debug { fn f(&self); }"), 1);
    assert_eq!(faults("pub trait Store: Sealed + fmt::Debug { fn f(&self); }\npub trait Both: Store + Sync {}"), 0);
    assert_eq!(faults("pub trait Store: Sealed { fn f(&self) -> bool {\n false\n } }"), 1);
    assert_eq!(faults("pub trait EventSource { fn forget(&self) {} }"), 1);
    assert_eq!(faults("pub trait Clock: fmt::Debug { fn now(&self); }"), 0);
}
