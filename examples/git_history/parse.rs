//! Reads the output of `git log --numstat -M --format='commit%x1f%H%x1f%at%x1f%aN%x1f%s'`, one commit at a time.
//!
//! In that format, a file whose name contains ` => ` looks like a rename, so it is read as one.

use std::io::{self, BufRead, Read};

/// A commit with its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) hash: String,
    /// The author time in seconds since 1970, or 0 if git cannot read it.
    pub(crate) at: i64,
    pub(crate) author: String,
    pub(crate) subject: String,
    pub(crate) files: Vec<File>,
}

/// What a commit did to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: String,
    /// The old path, if the file was renamed.
    pub(crate) from: Option<String>,
    pub(crate) added: i64,
    pub(crate) removed: i64,
}

/// Why reading a history stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("reading the history after line {after}")]
    Read { after: u64, source: io::Error },
    #[error(
        "line {number} of the history {why}: {text:?}; make the history with: \
         git log --reverse --topo-order --numstat -M --format='commit%x1f%H%x1f%at%x1f%aN%x1f%s'"
    )]
    Line { number: u64, why: &'static str, text: String },
}

/// The commits of a history, in its order. The iterator ends after an error.
#[derive(Debug)]
pub(crate) struct Commits<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
    /// The commit whose files are being read.
    open: Option<Commit>,
    done: bool,
}

enum Line {
    Blank,
    Commit(Commit),
    File(File),
}

const SEPARATOR: u8 = 0x1f;
const ARROW: &[u8] = b" => ";
const UNKNOWN: &str = "(unknown)";

/// The limit for the length of a line. A longer line cannot come from a history.
const LONGEST: u64 = 16 << 20;

impl<R: BufRead> Commits<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), number: 0, open: None, done: false }
    }

    /// Reads until the next commit begins. Only then this one is complete.
    fn read_commit(&mut self) -> Result<Option<Commit>, ParseError> {
        while self.read_line()? {
            match parse_line(&self.line).map_err(|why| self.bad(why))? {
                Line::Blank => {}
                Line::Commit(commit) => {
                    if let Some(complete) = self.open.replace(commit) {
                        return Ok(Some(complete));
                    }
                }
                Line::File(file) => match &mut self.open {
                    Some(commit) => commit.files.push(file),
                    None => return Err(self.bad("is a file before the first commit")),
                },
            }
        }
        Ok(self.open.take())
    }

    /// Reads the next line, without its end. False if there is none.
    fn read_line(&mut self) -> Result<bool, ParseError> {
        self.line.clear();
        let read = self.reader.by_ref().take(LONGEST).read_until(b'\n', &mut self.line);
        let count = read.map_err(|source| ParseError::Read { after: self.number, source })?;
        if count == 0 {
            return Ok(false);
        }
        self.number += 1;
        match self.line.pop() {
            Some(b'\n') => Ok(true),
            last => {
                self.line.extend(last);
                Err(self.bad("is cut off (it has no end)"))
            }
        }
    }

    fn bad(&self, why: &'static str) -> ParseError {
        let text = String::from_utf8_lossy(&self.line).chars().take(80).collect();
        ParseError::Line { number: self.number, why, text }
    }
}

impl<R: BufRead> Iterator for Commits<R> {
    type Item = Result<Commit, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.read_commit().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

fn parse_line(line: &[u8]) -> Result<Line, &'static str> {
    if line.is_empty() {
        return Ok(Line::Blank);
    }
    match line.strip_prefix(b"commit\x1f") {
        Some(fields) => commit(fields).map(Line::Commit),
        None => file(line).map(Line::File),
    }
}

fn commit(fields: &[u8]) -> Result<Commit, &'static str> {
    let mut fields = fields.splitn(4, |byte| *byte == SEPARATOR);
    let (Some(hash), Some(at), Some(author), Some(subject)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("is a commit with too few fields");
    };
    if hash.is_empty() || !hash.iter().all(u8::is_ascii_hexdigit) {
        return Err("is a commit without a hash");
    }
    let at = if at.is_empty() { Some(0) } else { number(at) };
    Ok(Commit {
        hash: text(hash),
        at: at.ok_or("is a commit whose time is no number")?,
        author: if author.is_empty() { UNKNOWN.to_owned() } else { text(author) },
        subject: text(subject),
        files: Vec::new(),
    })
}

fn file(line: &[u8]) -> Result<File, &'static str> {
    let mut fields = line.splitn(3, |byte| *byte == b'\t');
    let (Some(added), Some(removed), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("is neither a commit nor a file");
    };
    let lines = |field: &[u8]| match field {
        b"-" => Some(0),
        field => number(field).filter(|lines| *lines >= 0),
    };
    let (from, path) = paths(name).ok_or("names no file")?;
    Ok(File {
        path,
        from,
        added: lines(added).ok_or("is no file: its count of added lines is no number")?,
        removed: lines(removed).ok_or("is no file: its count of removed lines is no number")?,
    })
}

fn number(digits: &[u8]) -> Option<i64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Turns bytes into text that every database can store.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

/// The old path if the file was renamed, and the path.
fn paths(name: &[u8]) -> Option<(Option<String>, String)> {
    let (from, path) = quoted_paths(name).or_else(|| braces(name)).unwrap_or_else(|| plain(name));
    if path.is_empty() || from.as_ref().is_some_and(Vec::is_empty) {
        return None;
    }
    Some((from.as_deref().map(text), text(&path)))
}

type Paths = (Option<Vec<u8>>, Vec<u8>);

/// `"path"`, `"old" => "new"`, `"old" => new` or `old => "new"`.
fn quoted_paths(name: &[u8]) -> Option<Paths> {
    if let Some((first, rest)) = unquote(name) {
        let Some(new) = rest.strip_prefix(ARROW) else { return rest.is_empty().then_some((None, first)) };
        return Some((Some(first), whole(new).unwrap_or_else(|| new.to_vec())));
    }
    arrows(name).find_map(|(old, new)| Some((Some(old.to_vec()), whole(new)?)))
}

/// `dir/{old => new}/file`, where `old` or `new` may be empty. Before and behind the braces stands nothing or a `/`.
fn braces(name: &[u8]) -> Option<Paths> {
    arrows(name).find_map(|(left, right)| {
        let opens = |at: usize| at.checked_sub(1).is_none_or(|before| left.get(before) == Some(&b'/'));
        let closes = |at: usize| right.get(at + 1).is_none_or(|after| *after == b'/');
        let open = (0..left.len()).rev().find(|at| left.get(*at) == Some(&b'{') && opens(*at))?;
        let close = (0..right.len()).find(|at| right.get(*at) == Some(&b'}') && closes(*at))?;
        // Git uses braces only if both paths have a part in common.
        if open == 0 && close + 1 == right.len() {
            return None;
        }
        let (prefix, old) = (left.get(..open)?, left.get(open + 1..)?);
        let (new, suffix) = (right.get(..close)?, right.get(close + 1..)?);
        Some((Some(joined(prefix, old, suffix)), joined(prefix, new, suffix)))
    })
}

/// `old => new`, or a single path.
fn plain(name: &[u8]) -> Paths {
    let rename = arrows(name).find(|(old, new)| !old.is_empty() && !new.is_empty());
    rename.map_or_else(|| (None, name.to_vec()), |(old, new)| (Some(old.to_vec()), new.to_vec()))
}

/// Every way to split a text at an arrow.
fn arrows(name: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    (0..name.len()).filter_map(|at| {
        let (left, right) = name.split_at_checked(at)?;
        Some((left, right.strip_prefix(ARROW)?))
    })
}

/// Joins the parts of a path. An empty middle leaves one slash, not two.
fn joined(prefix: &[u8], middle: &[u8], suffix: &[u8]) -> Vec<u8> {
    let suffix = if middle.is_empty() { suffix.strip_prefix(b"/").unwrap_or(suffix) } else { suffix };
    [prefix, middle, suffix].concat()
}

/// Unquotes a text that is quoted as a whole.
fn whole(quoted: &[u8]) -> Option<Vec<u8>> {
    unquote(quoted).and_then(|(text, rest)| rest.is_empty().then_some(text))
}

/// Removes git's quotes, which follow the rules of C, and returns the text and the rest behind it.
fn unquote(quoted: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = quoted.strip_prefix(b"\"")?;
    let mut text = Vec::new();
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((text, rest)),
            b'\\' => {
                let (byte, after) = escape(rest)?;
                text.push(byte);
                rest = after;
            }
            byte => text.push(*byte),
        }
    }
}

fn escape(escaped: &[u8]) -> Option<(u8, &[u8])> {
    let (kind, rest) = escaped.split_first()?;
    Some(match kind {
        b'a' => (0x07, rest),
        b'b' => (0x08, rest),
        b't' => (b'\t', rest),
        b'n' => (b'\n', rest),
        b'v' => (0x0b, rest),
        b'f' => (0x0c, rest),
        b'r' => (b'\r', rest),
        b'"' | b'\\' => (*kind, rest),
        b'0'..=b'3' => {
            let (digits, rest) = escaped.split_at_checked(3)?;
            (u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()?, rest)
        }
        _ => return None,
    })
}
