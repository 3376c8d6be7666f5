//! Everything that commands print: lines, tables for people, and JSON for scripts.

use std::io::{self, BufWriter, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;

use super::layout;
pub(super) use super::layout::{Column, number, text};
use crate::plain::is_hidden;

/// Sentences get this much room even in a narrower terminal.
const NARROWEST: usize = 20;

/// The reader of the output went away, which is no failure.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(super) struct ClosedOutput;

pub(super) struct Output {
    out: BufWriter<io::Stdout>,
    json: bool,
    quiet: bool,
    terminal: bool,
    /// The width of a line, if it is limited.
    width: Option<usize>,
    /// What this command has changed permanently, in words.
    changed: Option<String>,
    /// The error that kept the output from saying so.
    lost: Option<anyhow::Error>,
}

impl Output {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|width| *width > 0);
        let width = width.or_else(|| terminal.then(|| comfy_table::Table::new().width()).flatten().map(usize::from));
        Self { out: BufWriter::new(io::stdout()), json, quiet, terminal, width, changed: None, lost: None }
    }

    /// Notes that the command has changed something. From now on a failing output is not a failure of the command.
    pub(super) fn changed(&mut self, what: impl Into<String>) {
        self.changed = Some(what.into());
    }

    /// The outcome of the command. If an error came after a change, it says that the change was made.
    pub(super) fn judged<T>(&self, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
        match &self.changed {
            Some(changed) => outcome.with_context(|| format!("{changed}, but what came afterwards failed")),
            None => outcome,
        }
    }

    /// What was changed although the output could not say so, and why it could not.
    pub(super) fn untold(&mut self) -> Option<(String, anyhow::Error)> {
        Some((self.changed.clone()?, self.lost.take()?))
    }

    /// True if the output is for scripts.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// True if lines have a width to fit in. Otherwise a program may read them, and each row is one line.
    pub(super) fn has_width(&self) -> bool {
        self.width.is_some()
    }

    /// True if standard error is a terminal and progress is wanted.
    pub(super) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    pub(super) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        let outcome = writeln!(self.out, "{text}");
        self.written(outcome)
    }

    /// Prints a sentence for people behind `before`. If the width is limited, it breaks the sentence between words and
    /// indents the further lines by `indent`.
    pub(super) fn prose(&mut self, before: &str, indent: usize, text: &str) -> anyhow::Result<()> {
        let limit = self.width.map(|width| width.saturating_sub(indent).max(NARROWEST));
        let lines = layout::wrapped(text, limit);
        lines.iter().enumerate().try_for_each(|(at, line)| match at {
            0 => self.line(&format!("{before}{line}")),
            _ => self.line(&format!("{:indent$}{line}", "")),
        })
    }

    /// Prints a line for people only. `--quiet` leaves it out.
    pub(super) fn remark(&mut self, text: &str) -> anyhow::Result<()> {
        if self.json || self.quiet { Ok(()) } else { self.line(text) }
    }

    /// Prints one line of JSON.
    pub(super) fn object(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value)?;
        // Such characters can only be inside texts, where an escape means the same. Scripts get the text unchanged.
        if self.terminal { self.line(&escaped(&text)) } else { self.line(&text) }
    }

    /// Prints bytes unchanged.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let outcome = self.out.write_all(bytes);
        self.written(outcome)
    }

    /// Prints a table. If the width is not limited, each row is one line.
    #[expect(clippy::needless_pass_by_value, reason = "callers collect the rows for this")]
    pub(super) fn table(&mut self, columns: &[Column], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        let shown = layout::table(columns, &rows, self.width);
        shown.header.iter().chain(shown.rows.iter().flatten()).try_for_each(|line| self.line(line))
    }

    /// As [`table`](Self::table), with a text below each row that may be longer than a column should be.
    pub(super) fn told_table(&mut self, columns: &[Column], rows: Vec<(Vec<String>, String)>) -> anyhow::Result<()> {
        let (rows, texts): (Vec<Vec<String>>, Vec<String>) = rows.into_iter().unzip();
        let shown = layout::table(columns, &rows, self.width);
        shown.header.iter().try_for_each(|line| self.line(line))?;
        for (lines, text) in shown.rows.iter().zip(texts) {
            let told = layout::wrapped(&text, self.width.map(|width| width.saturating_sub(2)));
            lines.iter().try_for_each(|line| self.line(line))?;
            told.iter().try_for_each(|line| self.line(&format!("  {line}")))?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        let outcome = self.out.flush();
        self.written(outcome)
    }

    fn written(&mut self, outcome: io::Result<()>) -> anyhow::Result<()> {
        let Err(error) = outcome else { return Ok(()) };
        let error = match error.kind() {
            io::ErrorKind::BrokenPipe => ClosedOutput.into(),
            _ => anyhow::Error::from(error).context("writing the output"),
        };
        if self.changed.is_none() {
            return Err(error);
        }
        self.lost.get_or_insert(error);
        Ok(())
    }
}

/// JSON without characters that control a terminal.
fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_hidden(letter) {
            shown.extend(letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Returns an error if nobody can read the output any more. Only some systems can tell that before a write.
pub(super) fn check_reader() -> anyhow::Result<()> {
    if is_read() { Ok(()) } else { Err(ClosedOutput.into()) }
}

/// False if standard output is a pipe without a reader. To find out, it copies the content of an empty pipe into
/// standard output: Linux does that without a write, and refuses it if there is no reader. On other systems it
/// returns true, and the next write finds out.
#[cfg(target_os = "linux")]
fn is_read() -> bool {
    use std::os::fd::AsFd;

    let probe = || {
        let (mut empty, writer) = io::pipe()?;
        drop(writer);
        let mut out = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
        io::copy(&mut empty, &mut out)
    };
    probe().map_or_else(|error: io::Error| error.kind() != io::ErrorKind::BrokenPipe, |_| true)
}

#[cfg(not(target_os = "linux"))]
fn is_read() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_on_a_terminal_means_the_same() {
        let value = serde_json::json!({"a": "\u{202e}\u{9b}\n\u{e0001}é", "b": ["\u{7f}", 1.5]});
        let shown = escaped(&value.to_string());
        assert!(!shown.contains(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
