//! Everything that commands print: lines, tables for people, JSON for scripts.

use std::io::{self, BufWriter, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// Who read the output went away. Nothing is wrong then.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(super) struct ClosedOutput;

pub(super) struct Output {
    out: BufWriter<io::Stdout>,
    json: bool,
    quiet: bool,
    terminal: bool,
}

impl Output {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self { out: BufWriter::new(io::stdout()), json, quiet, terminal: io::stdout().is_terminal() }
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
        closed(writeln!(self.out, "{text}"))
    }

    /// A line that scripts do not need, and that `--quiet` leaves out.
    pub(super) fn remark(&mut self, text: &str) -> anyhow::Result<()> {
        if self.json || self.quiet { Ok(()) } else { self.line(text) }
    }

    /// One line of JSON.
    pub(super) fn object(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value)?;
        self.line(&text)
    }

    /// Text that is printed as it is.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        closed(self.out.write_all(bytes))
    }

    /// Columns without lines between. Where no terminal limits the width, no cell is cut or wrapped.
    pub(super) fn table(&mut self, columns: &[Column], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let arranged = if self.is_terminal() { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
        table.set_content_arrangement(arranged);
        table.set_header(columns.iter().map(|column| column.name));
        table.add_rows(rows);
        for (at, column) in columns.iter().enumerate() {
            if let Some(of_table) = table.column_mut(at) {
                of_table.set_padding((0, 2));
                of_table.set_cell_alignment(if column.number { CellAlignment::Right } else { CellAlignment::Left });
            }
        }
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        closed(self.out.flush())
    }
}

fn closed(outcome: io::Result<()>) -> anyhow::Result<()> {
    outcome.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => ClosedOutput.into(),
        _ => anyhow::Error::from(error).context("writing the output"),
    })
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
