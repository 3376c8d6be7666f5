//! Custom SQL of a service: texts that are declared with a projection, checked once, and filled with the names of the
//! tables that are written.
//!
//! A text never contains the real name of a table of its projection. Which table is meant depends on the build that is
//! written: the live one, a raised version, a rebuild, or a verification.

mod reader;

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::find::find_table;
pub(crate) use crate::dialect::Dialect;
pub use crate::dialect::Dialects;
use crate::state::SHADOW;
use crate::table::{INSTANCE_COLUMN, Table};

/// Declared texts, already checked.
#[derive(Debug, Clone)]
pub(crate) struct OwnSql {
    texts: Vec<(Dialect, Result<OwnText, String>)>,
}

impl OwnSql {
    pub(crate) fn new(texts: Dialects) -> Self {
        let given = [Dialect::Postgres, Dialect::Sqlite].map(|dialect| (dialect, texts.text(dialect)));
        let read = |(dialect, text): (Dialect, Option<&'static str>)| Some((dialect, OwnText::read(dialect, text?)));
        Self { texts: given.into_iter().filter_map(read).collect() }
    }

    /// The first fault of a text, with the database that the text is for.
    pub(crate) fn check(&self, tables: &[Table], schema: Option<&str>) -> Result<(), (Dialect, String)> {
        let mut numbers = None;
        for (dialect, text) in &self.texts {
            let text = text.as_ref().map_err(|what| (*dialect, what.clone()))?;
            text.check(tables, schema).map_err(|what| (*dialect, what))?;
            let values = text.values();
            if numbers.is_some_and(|others| others != values) {
                let others = numbers.unwrap_or_default();
                let what = format!("takes {values} values, the text for the other database {others}");
                return Err((*dialect, what));
            }
            numbers = Some(values);
        }
        Ok(())
    }

    /// How many values it takes, not counting the instance.
    pub(crate) fn values(&self) -> usize {
        self.texts.iter().filter_map(|(_, text)| text.as_ref().ok()).map(OwnText::values).max().unwrap_or(0)
    }

    /// The text for this database, if there is one.
    pub(crate) fn of(&self, dialect: Dialect) -> Option<&OwnText> {
        let text = self.texts.iter().find(|(of, _)| *of == dialect)?;
        text.1.as_ref().ok()
    }
}

/// A text in parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnText {
    pieces: Vec<Piece>,
    /// Words and quoted names that may name a relation.
    names: Vec<String>,
    /// The numbers of its `$n`.
    numbers: BTreeSet<usize>,
    /// The word with which it returns rows.
    reads: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
enum Piece {
    Sql(&'static str),
    Table(&'static str),
    Column(&'static str, &'static str),
}

impl OwnText {
    /// The SQL, with the quoted names of tables and columns filled in.
    pub(crate) fn fill(&self, table: impl Fn(&str) -> String, column: impl Fn(&str) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Sql(text) => Cow::Borrowed(*text),
            Piece::Table(name) => table(name).into(),
            Piece::Column(_, name) => column(name).into(),
        };
        self.pieces.iter().map(piece).collect()
    }

    fn values(&self) -> usize {
        self.numbers.last().map_or(0, |last| last.saturating_sub(1))
    }

    fn check(&self, tables: &[Table], schema: Option<&str>) -> Result<(), String> {
        let mut names_table = false;
        for piece in &self.pieces {
            let (name, column) = match piece {
                Piece::Sql(_) => continue,
                Piece::Table(name) => (*name, None),
                Piece::Column(name, column) => (*name, Some(*column)),
            };
            names_table = true;
            let table = find_table(tables, Some(name)).map_err(|error| format!("has {{{name}}}, but {error}"))?;
            if let Some(column) = column.filter(|column| *column != INSTANCE_COLUMN && table.find(column).is_none()) {
                return Err(format!("has {{{name}.{column}}}, but table {name:?} has no such column"));
            }
        }
        for name in &self.names {
            if let Some(table) = tables.iter().find(|table| is_name_of(name, table, schema)) {
                let table = &table.name;
                return Err(format!(
                    "names {name:?}; write {{{table}}} for the table, which stands for that of the build that is \
                     written, and {{{table}.column}} for a column of that name"
                ));
            }
        }
        let gap = (2..=self.values() + 1).find(|number| !self.numbers.contains(number));
        if let Some(gap) = gap {
            let last = self.values() + 1;
            return Err(format!("has ${last}, but no ${gap}; $1 is the instance, $2 and on are the values"));
        }
        if names_table && !self.numbers.contains(&1) {
            return Err("has no $1, so that it would touch the rows of every instance; add instance_id = $1".to_owned());
        }
        if let Some(word) = self.reads {
            return Err(format!("returns rows, which nobody reads; leave {word} out"));
        }
        Ok(())
    }
}

/// True for the plain name of a table, and for the name of one of its versions.
fn is_name_of(name: &str, table: &Table, schema: Option<&str>) -> bool {
    let is = |own: &str| {
        let Some((head, rest)) = name.split_at_checked(own.len()) else { return false };
        let version = rest.strip_prefix('_').unwrap_or_default();
        let version = version.split_once(SHADOW).map_or(version, |(version, _)| version);
        let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        head.eq_ignore_ascii_case(own) && (rest.is_empty() || is_version)
    };
    is(&table.name) || schema.is_some_and(|schema| is(&format!("{schema}_{}", table.name)))
}

#[cfg(test)]
mod tests;
