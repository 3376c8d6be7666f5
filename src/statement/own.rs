//! SQL of a service's own: texts that are declared with a projection, looked through once, and filled in with the names of
//! the tables that are written.
//!
//! A text never names a table of its projection itself. Which table is meant depends on the build that is written: the live
//! one, a raised version, a rebuild, a verification.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::find::find_table;
pub(crate) use crate::dialect::Dialect;
pub use crate::dialect::Dialects;
use crate::state::SHADOW;
use crate::table::{INSTANCE_COLUMN, Table};

/// Declared texts that were looked through.
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

    /// What is wrong with one of the texts, and which.
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

    /// How many values it takes beside the instance.
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
    /// What may name a relation: words, and names in quotes.
    names: Vec<String>,
    /// The numbers of its `$n`.
    numbers: BTreeSet<usize>,
    /// The word by which it returns rows.
    reads: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
enum Piece {
    Sql(&'static str),
    Table(&'static str),
    Column(&'static str, &'static str),
}

impl OwnText {
    /// The SQL with the quoted names of tables and columns.
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

/// The plain name of a table, or that of one of its versions.
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

/// Words that no database takes for a name unless they are in quotes.
const RESERVED: [&str; 37] = [
    "all",
    "and",
    "as",
    "case",
    "check",
    "collate",
    "constraint",
    "create",
    "default",
    "distinct",
    "else",
    "end",
    "except",
    "foreign",
    "from",
    "group",
    "having",
    "in",
    "intersect",
    "into",
    "limit",
    "not",
    "null",
    "on",
    "or",
    "order",
    "primary",
    "references",
    "returning",
    "select",
    "table",
    "then",
    "to",
    "union",
    "unique",
    "using",
    "where",
];

/// Words behind which a relation is named.
const BEFORE_TABLES: [&str; 7] = ["from", "join", "into", "update", "table", "only", "using"];

/// Words that begin or end a transaction, which is the engine's.
const TRANSACTIONS: [&str; 9] =
    ["begin", "start", "commit", "end", "abort", "rollback", "savepoint", "release", "prepare"];

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|one| one.eq_ignore_ascii_case(word))
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// A text that is being read, from left to right.
struct Reader {
    dialect: Dialect,
    /// What is not read yet.
    rest: &'static str,
    /// From the last placeholder of a table on.
    since: &'static str,
    text: OwnText,
    /// The word in front, if what is in front is a word.
    word: Option<&'static str>,
    behind_dot: bool,
    is_first: bool,
    /// Behind the semicolon at the end.
    is_over: bool,
    /// Parentheses that are open.
    depth: usize,
}

impl OwnText {
    /// Takes a text apart, in the way of its database: what is in quotes or in a comment is left as it is.
    fn read(dialect: Dialect, text: &'static str) -> Result<Self, String> {
        let mut reader = Reader {
            dialect,
            rest: text,
            since: text,
            text: Self::default(),
            word: None,
            behind_dot: false,
            is_first: true,
            is_over: false,
            depth: 0,
        };
        while let Some(c) = reader.rest.chars().next() {
            reader.step(c)?;
        }
        reader.cut(0);
        if reader.is_first { Err("is empty".to_owned()) } else { Ok(reader.text) }
    }
}

impl Reader {
    fn step(&mut self, c: char) -> Result<(), String> {
        let is_postgres = self.dialect == Dialect::Postgres;
        if c.is_whitespace() {
            self.skip(c.len_utf8());
            return Ok(());
        }
        if self.rest.starts_with("--") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            return Ok(());
        }
        if self.rest.starts_with("/*") {
            return self.comment();
        }
        if self.is_over {
            return Err("holds more than one statement; give each a text of its own, and join them by `multi`".into());
        }
        let (word, behind_dot) = (self.word.take(), std::mem::take(&mut self.behind_dot));
        let is_first = std::mem::take(&mut self.is_first);
        match c {
            '\'' => self.string(word),
            '"' => self.quoted('"'),
            '`' if !is_postgres => self.quoted('`'),
            '[' if !is_postgres => self.quoted(']'),
            '{' => self.table(),
            '}' => Err("has a } without a {".to_owned()),
            '$' => self.dollar(),
            '?' if !is_postgres || self.digits(1) > 0 => Err(only_dollars(self.peek())),
            ':' | '@' | '#' if !is_postgres && self.rest.chars().nth(1).is_some_and(is_of_word) => {
                Err(only_dollars(self.peek()))
            }
            c if c.is_ascii_digit() => {
                self.skip(self.find(|c| !is_of_word(c) && c != '.'));
                Ok(())
            }
            c if is_of_word(c) => self.word(word, behind_dot, is_first),
            '&' if self.rest.starts_with("&\"") && word.is_some_and(|word| word.eq_ignore_ascii_case("u")) => {
                Err("has a name with escapes (U&); write it as it is".to_owned())
            }
            c => {
                self.behind_dot = c == '.';
                self.is_over = c == ';';
                match c {
                    '(' => self.depth += 1,
                    ')' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.skip(c.len_utf8());
                Ok(())
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Where the first such character is, or the end.
    fn find(&self, is: impl Fn(char) -> bool) -> usize {
        self.rest.find(is).unwrap_or(self.rest.len())
    }

    /// How many digits there are from here.
    fn digits(&self, from: usize) -> usize {
        let rest = self.rest.get(from..).unwrap_or_default();
        rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()
    }

    /// What is at hand, for a person.
    fn peek(&self) -> &'static str {
        let end = self.rest.char_indices().skip(1).find(|(_, c)| !is_of_word(*c)).map_or(self.rest.len(), |(at, _)| at);
        self.rest.get(..end).unwrap_or_default()
    }

    /// Keeps what was read since the last placeholder as it is, and skips so many bytes.
    fn cut(&mut self, bytes: usize) {
        let sql = self.since.get(..self.since.len() - self.rest.len()).unwrap_or_default();
        if !sql.is_empty() {
            self.text.pieces.push(Piece::Sql(sql));
        }
        self.skip(bytes);
        self.since = self.rest;
    }

    /// Those of PostgreSQL nest.
    fn comment(&mut self) -> Result<(), String> {
        let mut depth = 0;
        loop {
            if self.rest.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                depth += 1;
                self.skip(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.skip(2);
                if depth == 0 {
                    return Ok(());
                }
            } else if let Some(c) = self.rest.chars().next() {
                self.skip(c.len_utf8());
            } else {
                return Err("has a comment without an end".to_owned());
            }
        }
    }

    /// Reads up to the quote at the end, which stands for itself where it is doubled; returns what is between.
    fn until(&mut self, end: char, escapes: bool) -> Result<String, String> {
        let mut found = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if escapes && c == '\\' {
                found.extend(chars.next().map(|(_, c)| c));
            } else if c != end || end != ']' && chars.next_if(|(_, next)| *next == end).is_some() {
                found.push(c);
            } else {
                self.skip(at + c.len_utf8());
                return Ok(found);
            }
        }
        Err(format!("has a quote without an end: {:.20}", self.rest))
    }

    /// SQLite takes a text for a name where a name has to be.
    fn string(&mut self, word: Option<&'static str>) -> Result<(), String> {
        let escapes = self.dialect == Dialect::Postgres && word.is_some_and(|word| word.eq_ignore_ascii_case("e"));
        let text = self.until('\'', escapes)?;
        if word.is_some_and(|word| is_one_of(word, &BEFORE_TABLES)) {
            self.text.names.push(text);
        }
        Ok(())
    }

    fn quoted(&mut self, end: char) -> Result<(), String> {
        let name = self.until(end, false)?;
        self.text.names.push(name);
        Ok(())
    }

    fn table(&mut self) -> Result<(), String> {
        let end = self.rest.find('}').ok_or("has a { without a }")?;
        let name = self.rest.get(1..end).unwrap_or_default();
        self.cut(end + 1);
        self.text.pieces.push(match name.split_once('.') {
            Some((table, column)) => Piece::Column(table, column),
            None => Piece::Table(name),
        });
        Ok(())
    }

    /// A value by its number; on PostgreSQL a text between tags, too.
    fn dollar(&mut self) -> Result<(), String> {
        let digits = self.digits(1);
        if digits > 0 {
            let number = self.rest.get(1..=digits).and_then(|number| number.parse::<usize>().ok());
            let is_word = self.rest.get(digits + 1..).is_some_and(|rest| rest.starts_with(is_of_word));
            match number {
                Some(number @ 1..=65_535) if !is_word => self.text.numbers.insert(number),
                _ => return Err(only_dollars(self.peek())),
            };
            self.skip(digits + 1);
            return Ok(());
        }
        let tag = self.rest.get(1..).and_then(|rest| rest.find('$')).map_or(0, |at| at + 2);
        let (tag, body) = self.rest.split_at_checked(tag).unwrap_or_default();
        let is_tag = tag.chars().all(is_of_word) && !tag.is_empty();
        if self.dialect != Dialect::Postgres || !is_tag {
            return Err(only_dollars(self.peek()));
        }
        let end = body.find(tag).ok_or_else(|| format!("has a quote without an end: {tag}"))?;
        self.skip(2 * tag.len() + end);
        Ok(())
    }

    fn word(&mut self, before: Option<&'static str>, behind_dot: bool, is_first: bool) -> Result<(), String> {
        let word = self.rest.get(..self.find(|c| !is_of_word(c))).unwrap_or_default();
        self.skip(word.len());
        if is_first && is_one_of(word, &TRANSACTIONS) {
            return Err(format!("begins with {word}; the transaction is the engine's"));
        }
        let reads = is_first && self.dialect == Dialect::Sqlite && is_one_of(word, &["select", "values"]);
        let returns = self.depth == 0 && !behind_dot && word.eq_ignore_ascii_case("returning");
        if reads || returns {
            self.text.reads = Some(word);
        }
        let is_call = self.rest.trim_start().starts_with('(');
        let names_table = before.is_some_and(|before| is_one_of(before, &BEFORE_TABLES)) || behind_dot;
        if names_table || !is_call && !is_one_of(word, &RESERVED) {
            self.text.names.push(word.to_owned());
        }
        self.word = Some(word);
        Ok(())
    }
}

fn only_dollars(found: &str) -> String {
    format!("has {found}; values are $2, $3 and on, and $1 is the instance")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{integer, text};

    fn tables() -> Vec<Table> {
        let items =
            Table::new("items").column(text("id")).column(integer("n")).column(text("items")).primary_key(["id"]);
        vec![items, Table::new("items_tags").column(text("id")).primary_key(["id"])]
    }

    fn read(texts: Dialects) -> Result<OwnSql, String> {
        let own = OwnSql::new(texts);
        own.check(&tables(), Some("crm")).map(|()| own).map_err(|(dialect, what)| format!("{dialect:?}: {what}"))
    }

    fn filled(dialect: Dialect, texts: Dialects) -> String {
        let own = read(texts).unwrap();
        own.of(dialect).unwrap().fill(|name| format!("<{name}>"), |name| format!("\"{name}\""))
    }

    // Contract: B2
    #[test]
    fn tables_are_filled_in_where_braces_are_sql() {
        let everywhere = "UPDATE {items} AS i SET n = $2, {items.items} = '{items} items_1' -- {items} don't\n \
                          WHERE i.instance_id = $1 /* {x */ AND \"n\" IN (SELECT n FROM {tags}) AND '$9' <> '?'';';";
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            assert_eq!(
                filled(dialect, everywhere.into()),
                "UPDATE <items> AS i SET n = $2, \"items\" = '{items} items_1' -- {items} don't\n \
                 WHERE i.instance_id = $1 /* {x */ AND \"n\" IN (SELECT n FROM <tags>) AND '$9' <> '?'';';"
            );
            assert_eq!(read(everywhere.into()).unwrap().values(), 1);
        }
        for postgres in [
            r"UPDATE {items} SET j = E'\'{x} $7' WHERE instance_id = $1 AND j ? 'a' AND a[1:2] @> '{1,2}'",
            "UPDATE {items} SET j = $$ {x} ' $7 $$ || $a$ items $$ {x} $a$ WHERE instance_id = $1 AND j::text = ''",
            "/* /* {x} */ items */ SELECT items(1), $1 /* $5 */",
        ] {
            let text = filled(Dialect::Postgres, Dialects::postgres(postgres));
            assert_eq!(text, postgres.replace("{items}", "<items>"));
        }
        let sqlite = "DELETE FROM {items} WHERE [n] = `n` AND instance_id = $1";
        assert_eq!(filled(Dialect::Sqlite, Dialects::sqlite(sqlite)), sqlite.replace("{items}", "<items>"));
        assert!(read(Dialects::sqlite(sqlite)).unwrap().of(Dialect::Postgres).is_none());
    }

    // Contract: B2: a plain name would mean the live build, whichever is written.
    #[test]
    fn the_name_of_a_table_of_the_projection_is_refused() {
        for text in [
            "UPDATE items SET n = 1 WHERE instance_id = $1",
            "UPDATE {items} SET n = (SELECT max(n) FROM \"Items\") WHERE instance_id = $1",
            "UPDATE {items} SET n = 1 FROM public.items_tags WHERE instance_id = $1",
            "UPDATE {items} SET n = 1 FROM items_1 WHERE instance_id = $1",
            "UPDATE {items} SET n = 1 FROM \"items_12#a\" WHERE instance_id = $1",
            "INSERT INTO crm_items_tags_3 (instance_id, id) VALUES ($1, 'a')",
            "INSERT INTO public.items (instance_id, id) VALUES ($1, 'a')",
            "INSERT INTO 'items' (instance_id, id) VALUES ($1, 'a')",
            "SELECT 1 FROM {items} AS items WHERE $1 = ''",
            "UPDATE {items} SET items = 'a' WHERE instance_id = $1",
        ] {
            let error = read(text.into()).unwrap_err();
            assert!(error.contains("names ") && error.contains("write {items"), "{text}: {error}");
        }
        for other in ["items_of", "items_1_old", "my_items", "crm_item", "tags"] {
            assert!(
                read(Dialects::both(Box::leak(format!("DELETE FROM {other} WHERE a = $1").into_boxed_str()))).is_ok()
            );
        }
    }

    // Contract: B2, B3
    #[test]
    fn what_cannot_be_filled_in_or_bound_is_refused() {
        for (text, wanted) in [
            ("UPDATE {item} SET n = 1 WHERE instance_id = $1", "has no table \"item\""),
            ("UPDATE {items} SET {items.m} = 1 WHERE instance_id = $1", "no such column"),
            ("UPDATE {} SET n = 1 WHERE instance_id = $1", "has no table \"\""),
            ("UPDATE {items SET n = 1 WHERE instance_id = $1", "a { without a }"),
            ("UPDATE items} SET n = 1 WHERE instance_id = $1", "a } without a {"),
            ("UPDATE {items} SET n = ?1 WHERE instance_id = ?2", "has ?1; values are $2"),
            ("UPDATE {items} SET n = $3 WHERE instance_id = $1", "has $3, but no $2"),
            ("UPDATE {items} SET n = $n WHERE instance_id = $1", "has $n; values are $2"),
            ("UPDATE {items} SET n = $0 WHERE instance_id = $1", "has $0; values are $2"),
            ("UPDATE {items} SET n = 1", "has no $1"),
            ("UPDATE {items} SET n = 1 WHERE instance_id = $1; DELETE FROM {items}", "more than one statement"),
            ("UPDATE {items} SET n = 1 WHERE instance_id = $1 RETURNING n", "leave RETURNING out"),
            ("SELECT $1", "leave SELECT out"),
            ("UPDATE U&\"item\\0073\" SET n = 1 WHERE instance_id = $1", "a name with escapes"),
            (" COMMIT", "begins with COMMIT"),
            ("SELECT 'a", "a quote without an end"),
            ("SELECT 1 /* a", "a comment without an end"),
            (" -- nothing", "is empty"),
        ] {
            let error = read(text.into()).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        for text in ["SELECT ?", "SELECT :a", "SELECT @a", "SELECT $$a$$"] {
            let error = read(Dialects::sqlite(text)).unwrap_err();
            assert!(error.contains("values are $2"), "{text}: {error}");
        }
        let error =
            read(Dialects::each("DELETE FROM a WHERE b IN ($1, $2)", "DELETE FROM a WHERE b = $1")).unwrap_err();
        assert!(error.contains("takes 0 values, the text for the other database 1"), "{error}");
    }
}
