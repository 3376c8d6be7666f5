//! The text of `git log --numstat` as commits, one at a time.

use std::fmt;
use std::io::{self, BufRead};

/// One commit with its files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Commit {
    pub(crate) hash: String,
    /// Seconds since 1970.
    pub(crate) at: i64,
    pub(crate) author: String,
    pub(crate) subject: String,
    pub(crate) files: Vec<File>,
}

/// A changed file. Lines of binary files count as 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct File {
    pub(crate) path: String,
    /// The path before a rename.
    pub(crate) from: Option<String>,
    pub(crate) added: i64,
    pub(crate) removed: i64,
}

/// A line that is not what `git log` prints.
#[derive(Debug)]
pub(crate) struct ParseError {
    line: usize,
    why: &'static str,
    source: Option<io::Error>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the log {}", self.line, self.why)
    }
}

impl std::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Commits of a log, oldest first.
pub(crate) struct Commits<R> {
    input: R,
    line: usize,
    next: Option<Commit>,
}

impl<R: BufRead> Commits<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, line: 0, next: None }
    }

    fn error(&self, why: &'static str) -> ParseError {
        ParseError { line: self.line, why, source: None }
    }

    /// The next line without its end, none at the end of the input.
    fn read_line(&mut self) -> Result<Option<String>, ParseError> {
        let mut bytes = Vec::new();
        self.line += 1;
        let read = self.input.read_until(b'\n', &mut bytes);
        let failed = |source| ParseError { line: self.line, why: "cannot be read", source: Some(source) };
        if read.map_err(failed)? == 0 {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(Some(String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}")))
    }

    fn read_commit(&mut self) -> Result<Option<Commit>, ParseError> {
        while let Some(line) = self.read_line()? {
            if let Some(header) = line.strip_prefix("commit\u{1f}") {
                let commit = parse_header(header).ok_or_else(|| {
                    self.error("is no commit: hash, time, author and subject are expected, separated by the byte 0x1f")
                })?;
                if let Some(complete) = self.next.replace(commit) {
                    return Ok(Some(complete));
                }
            } else if !line.is_empty() {
                let file = parse_file(&line).ok_or_else(|| {
                    self.error("is neither a commit nor a file: it has to be the text of 'git log --numstat'")
                })?;
                match &mut self.next {
                    Some(commit) => commit.files.push(file),
                    None => return Err(self.error("is a file before the first commit")),
                }
            }
        }
        Ok(self.next.take())
    }
}

impl<R: BufRead> Iterator for Commits<R> {
    type Item = Result<Commit, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_commit().transpose()
    }
}

fn parse_header(header: &str) -> Option<Commit> {
    let mut parts = header.splitn(4, '\u{1f}');
    let (hash, at, author, subject) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hash = hash.len() >= 7 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let author = if author.is_empty() { "(unknown)" } else { author };
    is_hash.then_some(Commit {
        hash: hash.to_owned(),
        at: at.parse().ok()?,
        author: author.to_owned(),
        subject: subject.to_owned(),
        files: Vec::new(),
    })
}

fn parse_file(line: &str) -> Option<File> {
    let mut parts = line.splitn(3, '\t');
    let added = lines(parts.next()?)?;
    let removed = lines(parts.next()?)?;
    let (from, path) = paths(parts.next()?)?;
    if path.is_empty() {
        return None;
    }
    let from = from.filter(|from| *from != path);
    Some(File { path, from, added, removed })
}

fn lines(text: &str) -> Option<i64> {
    if text == "-" { Some(0) } else { text.parse().ok().filter(|lines| *lines >= 0) }
}

/// The path before a rename, if it is one, and the path.
fn paths(text: &str) -> Option<(Option<String>, String)> {
    if text.contains('"')
        && let Some(quoted) = quoted_paths(text)
    {
        return Some(quoted);
    }
    let Some(arrow) = text.find(" => ") else { return Some((None, text.to_owned())) };
    let (before, after) = (text.get(..arrow)?, text.get(arrow + 4..)?);
    match (before.rfind('{'), after.find('}')) {
        (Some(open), Some(close)) => {
            let (start, old) = (before.get(..open)?, before.get(open + 1..)?);
            let (new, end) = (after.get(..close)?, after.get(close + 1..)?);
            Some((Some(joined(start, old, end)), joined(start, new, end)))
        }
        _ => Some((Some(before.to_owned()), after.to_owned())),
    }
}

/// A side of a rename may be empty, and leaves two slashes, or one in front, then.
fn joined(start: &str, middle: &str, end: &str) -> String {
    let end = if middle.is_empty() { end.strip_prefix('/').unwrap_or(end) } else { end };
    format!("{start}{middle}{end}")
}

/// `"old" => "new"`, where each side is quoted only if it has to be; none when the quotes are part of a plain name.
fn quoted_paths(text: &str) -> Option<(Option<String>, String)> {
    let (first, rest) = one_path(text)?;
    if rest.is_empty() {
        return Some((None, first));
    }
    let (second, rest) = one_path(rest.strip_prefix(" => ")?)?;
    rest.is_empty().then_some((Some(first), second))
}

/// A quoted path, or a plain one up to the arrow, and what follows it.
fn one_path(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(" => ").unwrap_or(text.len());
        return Some((text.get(..end)?.to_owned(), text.get(end..)?));
    };
    let (mut bytes, mut rest) = (Vec::new(), quoted.bytes().enumerate());
    while let Some((at, byte)) = rest.next() {
        match byte {
            b'"' => return Some((String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}"), quoted.get(at + 1..)?)),
            b'\\' => bytes.push(escaped(&mut rest)?),
            byte => bytes.push(byte),
        }
    }
    None
}

/// The byte behind a backslash, as C writes it.
fn escaped(rest: &mut impl Iterator<Item = (usize, u8)>) -> Option<u8> {
    Some(match rest.next()?.1 {
        b'a' => 7,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 11,
        b'f' => 12,
        b'r' => b'\r',
        digit @ b'0'..=b'3' => {
            let mut number = digit - b'0';
            for _ in 0..2 {
                number = number * 8 + rest.next()?.1.checked_sub(b'0').filter(|digit| *digit < 8)?;
            }
            number
        }
        other => other,
    })
}
