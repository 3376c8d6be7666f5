//! Indexes with more than plain columns, and checks: SQL that the program holds, with a text for each database.

use super::{Table, TableFault, check_name};
use crate::dialect::{Dialect, Dialects};

/// An index with more than plain columns: expressions, descending columns, a condition on rows, covered columns. It is
/// part of the table's definition, so every version and every rebuild has it.
///
/// On SQLite the covered columns come last in the index, which serves the same queries. SQLite gets no index of a
/// PostgreSQL kind ([`gin`](Self::gin), [`gist`](Self::gist)), and none with a text for PostgreSQL alone.
///
/// # Examples
/// ```
/// use readside::prelude::*;
/// let orders = Table::new("orders")
///     .column(text("id"))
///     .column(text("customer"))
///     .column(integer("day"))
///     .column(text("state"))
///     .column(text_array("tags").nullable())
///     .primary_key(["id"])
///     .index_by(Index::new("open").column("customer").descending("day").only("state = 'open'"))
///     .index_by(Index::new("by_name").expression("lower(customer)").covering(["state"]))
///     .index_by(Index::new("by_tag").column("tags").gin());
/// # let _ = orders;
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Index {
    pub(crate) name: String,
    pub(crate) keys: Vec<Key>,
    pub(crate) covered: Vec<String>,
    pub(crate) only: Option<Dialects>,
    pub(crate) method: Method,
}

/// What an index sorts by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Key {
    Column { name: String, descending: bool },
    Expression(Dialects),
}

/// The kind of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Tree,
    Gin,
    Gist,
}

impl Method {
    /// The word in PostgreSQL's SQL and in definitions.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tree => "btree",
            Self::Gin => "gin",
            Self::Gist => "gist",
        }
    }
}

impl Index {
    /// An index with this name, which errors and definitions show. Add its keys after this; the instance comes before
    /// them.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), keys: Vec::new(), covered: Vec::new(), only: None, method: Method::Tree }
    }

    /// Adds a column.
    pub fn column(self, name: impl Into<String>) -> Self {
        self.key(Key::Column { name: name.into(), descending: false })
    }

    /// Adds a column in descending order.
    pub fn descending(self, name: impl Into<String>) -> Self {
        self.key(Key::Column { name: name.into(), descending: true })
    }

    /// Adds an expression over the row's columns. It has to give the same result each time: it uses no clock, no
    /// setting, and no other row.
    pub fn expression(self, sql: impl Into<Dialects>) -> Self {
        self.key(Key::Expression(sql.into()))
    }

    /// Covers columns that queries select but by which the index does not sort.
    pub fn covering<const N: usize>(mut self, columns: [&str; N]) -> Self {
        self.covered.extend(columns.iter().map(|&column| column.to_owned()));
        self
    }

    /// Indexes only rows that meet this condition on their columns.
    pub fn only(mut self, sql: impl Into<Dialects>) -> Self {
        self.only = Some(sql.into());
        self
    }

    /// Makes it an index of PostgreSQL's kind `GIN`, which finds items of arrays, parts of documents, and words. Such
    /// an index does not contain the instance, has no order and covers no columns.
    pub fn gin(mut self) -> Self {
        self.method = Method::Gin;
        self
    }

    /// Makes it an index of PostgreSQL's kind `GiST`. Such an index does not contain the instance, has no order and
    /// covers no columns.
    pub fn gist(mut self) -> Self {
        self.method = Method::Gist;
        self
    }

    fn key(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// The SQL of the index, for all databases.
    fn texts(&self) -> impl Iterator<Item = Dialects> {
        let of_key = |key: &Key| if let Key::Expression(sql) = key { Some(*sql) } else { None };
        self.keys.iter().filter_map(of_key).chain(self.only)
    }

    /// True when this database gets the index.
    pub(crate) fn is_for(&self, dialect: Dialect) -> bool {
        let has_method = self.method == Method::Tree || dialect == Dialect::Postgres;
        has_method && self.texts().all(|sql| sql.text(dialect).is_some())
    }

    /// True when the database computes something for each row, which may fail.
    pub(crate) fn computes(&self) -> bool {
        self.texts().next().is_some()
    }

    /// The columns of the table that share the room of an index entry.
    pub(crate) fn columns(&self, table: &Table) -> Vec<String> {
        let sorts = |name: &str| self.keys.iter().any(|key| matches!(key, Key::Column { name: of, .. } if of == name));
        let is_computed = |name: &str| {
            let mut keys = self.keys.iter();
            keys.any(|key| matches!(key, Key::Expression(sql) if each(*sql).any(|text| mentions(text, name))))
        };
        let names = table.columns.iter().map(|column| &column.name);
        let has = |name: &&String| sorts(name) || self.covered.contains(*name) || is_computed(name);
        names.filter(has).cloned().collect()
    }

    pub(super) fn check(&self, table: &Table) -> Result<(), TableFault> {
        check_name("index", &self.name, 0)?;
        let fault = |what: String| Err(TableFault::What(format!("has the index {:?}, {what}", self.name)));
        if self.keys.is_empty() {
            return fault("which sorts by nothing".to_owned());
        }
        let mut seen: Vec<&str> = Vec::new();
        let own = self.keys.iter().filter_map(|key| match key {
            Key::Column { name, .. } => Some(name.as_str()),
            Key::Expression(_) => None,
        });
        for name in own.chain(self.covered.iter().map(String::as_str)) {
            let Some(column) = table.find(name) else {
                return fault(format!("which names column {name:?}, and the table does not have it"));
            };
            if seen.contains(&name) {
                return fault(format!("which names column {name:?} twice"));
            }
            let is_item = column.kind.is_array() || !column.kind.is_ordered();
            if self.method == Method::Gin && !is_item {
                return fault(format!(
                    "of the kind GIN, which is for arrays and documents, and column {name:?} is neither"
                ));
            }
            seen.push(name);
        }
        let is_descending = |key: &Key| matches!(key, Key::Column { descending: true, .. });
        if self.method != Method::Tree && (self.keys.iter().any(is_descending) || !self.covered.is_empty()) {
            return fault(format!("of the kind {}, which has no order and covers nothing", self.method.word()));
        }
        for sql in self.texts() {
            if let Some(what) = each(sql).find_map(sql_fault) {
                return fault(format!("whose SQL {what}"));
            }
        }
        Ok(())
    }
}

/// A condition that each row of a table has to meet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) sql: Dialects,
}

impl Check {
    pub(super) fn check(&self) -> Result<(), TableFault> {
        check_name("check", &self.name, 0)?;
        match each(self.sql).find_map(sql_fault) {
            Some(what) => Err(TableFault::What(format!("has the check {:?}, whose SQL {what}", self.name))),
            None => Ok(()),
        }
    }
}

pub(super) fn each(sql: Dialects) -> impl Iterator<Item = &'static str> {
    [Dialect::Postgres, Dialect::Sqlite].into_iter().filter_map(move |dialect| sql.text(dialect))
}

/// True when the SQL contains a name as a word, quoted or not. Upper and lower case count as the same.
pub(super) fn mentions(sql: &str, name: &str) -> bool {
    let (text, name) = (sql.to_lowercase(), name.to_lowercase());
    let mut words = text.split(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '_' | '$')));
    text.contains(&format!("\"{name}\"")) || words.any(|word| word == name)
}

/// Finds faults of SQL that will be put into brackets: it must not close them, and must not open a quote or comment
/// that it does not close. Whether it is an expression, only the database says.
pub(super) fn sql_fault(sql: &str) -> Option<&'static str> {
    let (mut depth, mut quote, mut before) = (0_usize, None, ' ');
    for letter in sql.chars() {
        if letter.is_control() && !letter.is_whitespace() {
            return Some("has a control character");
        }
        if let Some(open) = quote {
            quote = Some(open).filter(|open| *open != letter);
            before = letter;
            continue;
        }
        match letter {
            '\'' | '"' => quote = Some(letter),
            '(' => depth += 1,
            ')' if depth == 0 => return Some("closes a bracket that it did not open"),
            ')' => depth -= 1,
            ';' => return Some("has a semicolon"),
            '-' if before == '-' => return Some("has a comment"),
            '*' if before == '/' => return Some("has a comment"),
            '$' => return Some("has a dollar sign, which begins a value or a text"),
            _ => {}
        }
        before = letter;
    }
    match (sql.trim().is_empty(), quote, depth) {
        (true, ..) => Some("is empty"),
        (_, Some(_), _) => Some("has a quote that does not end"),
        (_, _, 1..) => Some("has a bracket that does not end"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: B4
    #[test]
    fn sql_stays_within_its_brackets() {
        for sql in ["lower(name)", "a > 0 AND (b IS NULL OR c = 'it''s (')", "\"odd )\" = 1", "a - -1 > 0", "a -'1'- b"]
        {
            assert_eq!(sql_fault(sql), None, "{sql}");
        }
        for sql in ["", "  ", "a)", "(a", "a = 'x", "a; DROP", "a -- b", "a /* b", "\"a", "a = $1", "a\0"] {
            assert!(sql_fault(sql).is_some(), "{sql}");
        }
        assert!(mentions("lower(\"Name\")", "name") && mentions("a+b", "b") && !mentions("ab", "b"));
    }
}
