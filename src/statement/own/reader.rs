//! Parses a text of custom SQL.

use super::{OwnText, Piece};
use crate::dialect::Dialect;

/// Words that no database accepts as an unquoted name.
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

/// Words that are followed by the name of a relation.
const BEFORE_TABLES: [&str; 7] = ["from", "join", "into", "update", "table", "only", "using"];

/// Words that begin or end a transaction. Only the engine may do that.
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
    /// The rest of the text, not read yet.
    rest: &'static str,
    /// The text since the last placeholder of a table.
    since: &'static str,
    text: OwnText,
    /// The previous token, if it is a word.
    word: Option<&'static str>,
    behind_dot: bool,
    is_first: bool,
    /// True after the final semicolon.
    is_over: bool,
    /// The number of open parentheses.
    depth: usize,
}

impl OwnText {
    /// Parses a text by the rules of its database. Quoted texts and comments stay as they are.
    pub(super) fn read(dialect: Dialect, text: &'static str) -> Result<Self, String> {
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

    /// The offset of the first such character, or of the end.
    fn find(&self, is: impl Fn(char) -> bool) -> usize {
        self.rest.find(is).unwrap_or(self.rest.len())
    }

    /// How many digits follow from here.
    fn digits(&self, from: usize) -> usize {
        let rest = self.rest.get(from..).unwrap_or_default();
        rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()
    }

    /// The text at the reader's place, for an error.
    fn peek(&self) -> &'static str {
        let end = self.rest.char_indices().skip(1).find(|(_, c)| !is_of_word(*c)).map_or(self.rest.len(), |(at, _)| at);
        self.rest.get(..end).unwrap_or_default()
    }

    /// Keeps what was read since the last placeholder unchanged, and skips this many bytes.
    fn cut(&mut self, bytes: usize) {
        let sql = self.since.get(..self.since.len() - self.rest.len()).unwrap_or_default();
        if !sql.is_empty() {
            self.text.pieces.push(Piece::Sql(sql));
        }
        self.skip(bytes);
        self.since = self.rest;
    }

    /// Skips a comment. On PostgreSQL comments nest.
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

    /// Reads up to the closing quote and returns what is between. A doubled quote stands for a single one.
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

    /// Skips a text in quotes. SQLite accepts such a text in the place of a name, so it counts as a name.
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

    /// Reads a numbered placeholder or, on PostgreSQL, a dollar-quoted text.
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
