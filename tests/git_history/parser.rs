//! The parser, on git's output line by line.

use crate::git_history::parse::{Commit, Commits, File, ParseError};

fn parse(text: impl AsRef<[u8]>) -> Result<Vec<Commit>, ParseError> {
    Commits::new(text.as_ref()).collect()
}

/// The old and the new path of a file line.
fn paths(name: impl AsRef<[u8]>) -> (Option<String>, String) {
    let line = [b"commit\x1fab\x1f1\x1fA\x1fs\n\n1\t2\t", name.as_ref(), b"\n"].concat();
    let mut commits = parse(line).unwrap();
    let File { from, path, added, removed } = commits.remove(0).files.remove(0);
    assert_eq!((added, removed), (1, 2));
    (from, path)
}

fn said(text: impl AsRef<[u8]>) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn commits_have_their_files_and_merges_none() {
    let commits = parse(
        "commit\x1fa1\x1f10\x1fAda\x1ffirst\n\n3\t1\tsrc/a.rs\n-\t-\tlogo.png\ncommit\x1fb2\x1f5\x1f\x1f\n\
         commit\x1fc3\x1f\x1fBob\x1fa\x1fb \r\n",
    )
    .unwrap();
    assert_eq!(commits.len(), 3);
    let file = |path: &str, added, removed| File { path: path.into(), from: None, added, removed };
    assert_eq!(commits[0].files, [file("src/a.rs", 3, 1), file("logo.png", 0, 0)]);
    let Commit { author, subject, at, files, .. } = &commits[1];
    assert_eq!((author.as_str(), subject.as_str(), *at, files.len()), ("(unknown)", "", 5, 0));
    let Commit { author, subject, at, .. } = &commits[2];
    assert_eq!((author.as_str(), subject.as_str(), *at), ("Bob", "a\x1fb \r", 0));
    assert!(parse("").unwrap().is_empty());
}

#[test]
fn bytes_that_no_database_holds_are_replaced() {
    let commits = parse(b"commit\x1fa1\x1f10\x1fA\xff\0\x1f\0\xe4\xc3\xa4\n").unwrap();
    assert_eq!(commits[0].author, "A\u{fffd}\u{fffd}");
    assert_eq!(commits[0].subject, "\u{fffd}\u{fffd}ä");
}

#[test]
fn renames_name_both_paths() {
    for (name, from, path) in [
        ("a => b", "a", "b"),
        ("dir/{old => new}/file", "dir/old/file", "dir/new/file"),
        ("dir/{ => new}/file", "dir/file", "dir/new/file"),
        ("dir/{old => }/file", "dir/old/file", "dir/file"),
        ("{old => new}/file", "old/file", "new/file"),
        ("{old => }/file", "old/file", "file"),
        ("dir/{a.rs => b.rs}", "dir/a.rs", "dir/b.rs"),
        ("{x}/{a => b}", "{x}/a", "{x}/b"),
        ("{a} => {b}", "{a}", "{b}"),
        ("a{b => c}d", "a{b", "c}d"),
        ("a/{b => c}d/{e}", "a/b", "a/c}d/{e"),
    ] {
        assert_eq!(paths(name), (Some(from.to_owned()), path.to_owned()), "{name}");
    }
}

#[test]
fn quoted_paths_are_unquoted() {
    for (name, from, path) in [
        (r#""a\tb\303\244""#, None, "a\tbä"),
        (r#""q\"u\\o\n\r\a\b\v\f""#, None, "q\"u\\o\n\r\u{7}\u{8}\u{b}\u{c}"),
        (r#""a => b\t""#, None, "a => b\t"),
        (r#""a\t" => b"#, Some("a\t"), "b"),
        (r#"a => "b\t""#, Some("a"), "b\t"),
        (r#""a\t" => "b\t""#, Some("a\t"), "b\t"),
        (r#""\377""#, None, "\u{fffd}"),
        ("ä\"b", None, "ä\"b"),
        ("{a}/b", None, "{a}/b"),
        ("with space => ", None, "with space => "),
    ] {
        assert_eq!(paths(name), (from.map(str::to_owned), path.to_owned()), "{name}");
    }
}

#[test]
fn garbage_is_refused_with_its_line() {
    for (text, says) in [
        ("hello\n", "line 1 of the history is neither a commit nor a file: \"hello\"; make the history with"),
        ("1\t2\ta\n", "line 1 of the history is a file before the first commit"),
        ("commit\x1fab\x1f1\x1fA\n", "line 1 of the history is a commit with too few fields"),
        ("commit\x1fxyz\x1f1\x1fA\x1fs\n", "is a commit without a hash"),
        ("commit\x1f\x1f1\x1fA\x1fs\n", "is a commit without a hash"),
        ("commit\x1fab\x1fnow\x1fA\x1fs\n", "is a commit whose time is no number"),
        ("commit\x1fab\x1f1\x1fA\x1fs\n\nx\t1\ta\n", "line 3 of the history is no file: its count of added lines"),
        ("commit\x1fab\x1f1\x1fA\x1fs\n\n1\t-2\ta\n", "line 3 of the history is no file: its count of removed lines"),
        ("commit\x1fab\x1f1\x1fA\x1fs\n\n1\t2\t\n", "line 3 of the history names no file"),
        ("commit\x1fab\x1f1\x1fA\x1fs\n\n1\t2\tsrc/li", "line 3 of the history is cut off"),
    ] {
        let found = said(text);
        assert!(found.contains(says), "{found}");
    }
    let mut commits = Commits::new(b"x\ncommit\x1fab\x1f1\x1fA\x1fs\n".as_slice());
    assert!(commits.next().unwrap().is_err());
    assert!(commits.next().is_none(), "nothing after an error");
}
