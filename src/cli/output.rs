//! Everything that commands print: lines, tables for people, JSON for scripts.

use std::io::{self, BufWriter, IsTerminal, Write};

use anyhow::Context;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::plain::is_hidden;

/// Who read the output went away. Nothing is wrong then.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(super) struct ClosedOutput;

pub(super) struct Output {
    out: BufWriter<io::Stdout>,
    json: bool,
    quiet: bool,
    terminal: bool,
    /// What this command has changed for good, in words.
    changed: Option<String>,
    /// Why that could not be told.
    lost: Option<anyhow::Error>,
}

impl Output {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        Self { out: BufWriter::new(io::stdout()), json, quiet, terminal, changed: None, lost: None }
    }

    /// From now on the command has changed something, and an output that takes nothing makes no failure of it.
    pub(super) fn changed(&mut self, what: impl Into<String>) {
        self.changed = Some(what.into());
    }

    /// The outcome of the command; an error that came after the change says that it is made.
    pub(super) fn judged<T>(&self, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
        match &self.changed {
            Some(changed) => outcome.with_context(|| format!("{changed}, but what came afterwards failed")),
            None => outcome,
        }
    }

    /// What was changed though nobody could be told, and why not.
    pub(super) fn untold(&mut self) -> Option<(String, anyhow::Error)> {
        Some((self.changed.clone()?, self.lost.take()?))
    }

    /// True when scripts read what is printed.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// True when somebody looks at standard error and wants to see progress.
    pub(super) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    pub(super) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        let outcome = writeln!(self.out, "{text}");
        self.written(outcome)
    }

    /// A line that scripts do not need, and that `--quiet` leaves out.
    pub(super) fn remark(&mut self, text: &str) -> anyhow::Result<()> {
        if self.json || self.quiet { Ok(()) } else { self.line(text) }
    }

    /// One line of JSON.
    pub(super) fn object(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value)?;
        // Only texts in it can hold such characters, where an escape means the same. Scripts get it as it was given.
        if self.terminal { self.line(&escaped(&text)) } else { self.line(&text) }
    }

    /// Text that is printed as it is.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let outcome = self.out.write_all(bytes);
        self.written(outcome)
    }

    /// Columns without lines between. Where no terminal limits the width, no cell is cut or wrapped.
    pub(super) fn table(&mut self, columns: &[Column], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        for line in arranged(columns, rows, self.is_terminal()) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// The same, with a text below each row that may be longer than any column should be.
    pub(super) fn told_table(&mut self, columns: &[Column], rows: Vec<(Vec<String>, String)>) -> anyhow::Result<()> {
        let (rows, texts): (Vec<Vec<String>>, Vec<String>) = rows.into_iter().unzip();
        // Each row is one line.
        let mut lines = arranged(columns, rows, false).into_iter();
        lines.next().map_or(Ok(()), |header| self.line(&header))?;
        for (line, text) in lines.zip(texts) {
            self.line(&line)?;
            self.line(&format!("  {text}"))?;
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

/// The lines of a table; with a limit each may take several.
fn arranged(columns: &[Column], rows: Vec<Vec<String>>, limited: bool) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let arranged = if limited { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
    table.set_content_arrangement(arranged);
    table.set_header(columns.iter().map(|column| column.name));
    table.add_rows(rows);
    for (at, column) in columns.iter().enumerate() {
        if let Some(of_table) = table.column_mut(at) {
            of_table.set_padding((0, 2));
            of_table.set_cell_alignment(if column.number { CellAlignment::Right } else { CellAlignment::Left });
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// JSON without characters that a terminal would obey.
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

/// An error once nobody can read the output any more, where the system tells before something is written.
pub(super) fn check_reader() -> anyhow::Result<()> {
    if is_read() { Ok(()) } else { Err(ClosedOutput.into()) }
}

/// False when standard output is a pipe that nobody reads. Nothing out of an empty pipe is copied into it: Linux does that
/// from pipe to pipe without a write, and refuses it where there is no reader. Elsewhere it does nothing, and the next write tells.
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

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    number: bool,
}

/// A column of texts.
pub(super) const fn text(name: &'static str) -> Column {
    Column { name, number: false }
}

/// A column of numbers.
pub(super) const fn number(name: &'static str) -> Column {
    Column { name, number: true }
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
