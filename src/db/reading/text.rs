//! Examines a service's own query: which placeholders it has, and whether it is one statement that reads.

use std::collections::BTreeSet;

use crate::sql::Dialect;

/// The placeholder of the tenant.
const INSTANCE: &str = "$instance";

/// How a text may begin.
const READS: [&str; 3] = ["select", "with", "values"];

/// A text, split at the placeholders of the tenant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    pieces: Vec<&'static str>,
    numbers: BTreeSet<usize>,
}

impl Text {
    pub(super) fn names_instance(&self) -> bool {
        self.pieces.len() > 1
    }

    /// The highest number of a placeholder.
    pub(super) fn highest(&self) -> usize {
        self.numbers.last().copied().unwrap_or(0)
    }

    /// The lowest number that is missing.
    pub(super) fn gap(&self) -> Option<usize> {
        (1..=self.highest()).find(|number| !self.numbers.contains(number))
    }

    /// The text with a placeholder for the tenant that comes after all others.
    pub(super) fn numbered(&self) -> String {
        self.pieces.join(&format!("${}", self.highest() + 1))
    }

    /// Splits the text by the rules of its database: text in quotes or comments stays as it is.
    pub(super) fn read(dialect: Dialect, text: &'static str) -> Result<Self, String> {
        let mut scan = Scan { text, at: 0, is_postgres: dialect == Dialect::Postgres };
        let (mut pieces, mut numbers, mut since) = (Vec::new(), BTreeSet::new(), 0);
        let (mut first, mut is_over) = (true, false);
        while let Some(c) = scan.peek() {
            let begin = scan.at;
            if c.is_whitespace() || scan.comment()? {
                scan.at += if scan.at == begin { c.len_utf8() } else { 0 };
                continue;
            }
            if is_over {
                return Err("holds more than one statement".to_owned());
            }
            if std::mem::take(&mut first) && c != '(' {
                let word = scan.word();
                if !READS.iter().any(|read| read.eq_ignore_ascii_case(word)) {
                    return Err(format!("begins with {word:?}; a read begins with SELECT, WITH or VALUES"));
                }
                continue;
            }
            match c {
                '\'' => scan.quoted('\'', false)?,
                '"' => scan.quoted('"', false)?,
                '`' if !scan.is_postgres => scan.quoted('`', false)?,
                '[' if !scan.is_postgres => scan.quoted(']', false)?,
                '?' | '@' | '#' | ':' if !scan.is_postgres && c != ':' || scan.is_named_otherwise() => {
                    return Err(format!("has the placeholder {:?}; use $1, $2 … and $instance", scan.token()));
                }
                '$' => match scan.dollar()? {
                    Dollar::Instance => {
                        pieces.push(text.get(since..begin).unwrap_or_default());
                        since = scan.at;
                    }
                    Dollar::Number(number) => _ = numbers.insert(number),
                    Dollar::Quoted => {}
                },
                ';' => {
                    is_over = true;
                    scan.at += 1;
                }
                c if is_of_word(c) => {
                    let word = scan.word();
                    if scan.is_postgres && word.eq_ignore_ascii_case("e") && scan.peek() == Some('\'') {
                        scan.quoted('\'', true)?;
                    }
                }
                c => scan.at += c.len_utf8(),
            }
        }
        if first {
            return Err("is empty".to_owned());
        }
        pieces.push(text.get(since..).unwrap_or_default());
        Ok(Self { pieces, numbers })
    }
}

enum Dollar {
    Instance,
    Number(usize),
    Quoted,
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || !c.is_ascii()
}

struct Scan {
    text: &'static str,
    at: usize,
    is_postgres: bool,
}

impl Scan {
    fn rest(&self) -> &'static str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// A word. It may contain a dollar.
    fn word(&mut self) -> &'static str {
        let rest = self.rest();
        let end = rest.find(|c| !is_of_word(c) && c != '$').unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// The current token, in words for a person.
    fn token(&self) -> &'static str {
        let rest = self.rest();
        let end = rest.char_indices().skip(1).find(|(_, c)| !is_of_word(*c)).map_or(rest.len(), |(at, _)| at);
        rest.get(..end).unwrap_or_default()
    }

    /// True for `:name`, which SQLite takes for a placeholder. A cast is none.
    fn is_named_otherwise(&self) -> bool {
        let mut chars = self.rest().chars();
        !self.is_postgres && chars.next() == Some(':') && chars.next().is_some_and(is_of_word)
    }

    /// Skips a comment. Comments of PostgreSQL can be nested.
    fn comment(&mut self) -> Result<bool, String> {
        if self.rest().starts_with("--") {
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            return Ok(true);
        }
        if !self.rest().starts_with("/*") {
            return Ok(false);
        }
        let mut depth = 0;
        loop {
            if self.rest().starts_with("/*") && (depth == 0 || self.is_postgres) {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(true);
                }
            } else if let Some(c) = self.peek() {
                self.at += c.len_utf8();
            } else {
                return Err("has a comment without an end".to_owned());
            }
        }
    }

    /// Skips a quoted text. A doubled quote inside it stands for one.
    fn quoted(&mut self, end: char, escapes: bool) -> Result<(), String> {
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if escapes && c == '\\' {
                chars.next();
            } else if c == end && (end == ']' || chars.next_if(|(_, next)| *next == end).is_none()) {
                self.at += at + c.len_utf8();
                return Ok(());
            }
        }
        Err("has a quote without an end".to_owned())
    }

    fn dollar(&mut self) -> Result<Dollar, String> {
        let rest = self.rest();
        let inner = rest.get(1..).unwrap_or_default();
        let end = inner.find(|c| !is_of_word(c)).unwrap_or(inner.len());
        let (name, behind) = inner.split_at_checked(end).unwrap_or((inner, ""));
        let is_number = name.starts_with(|c: char| c.is_ascii_digit());
        if self.is_postgres && !is_number && behind.starts_with('$') {
            let tag = rest.get(..end + 2).unwrap_or_default();
            let body = rest.get(end + 2..).unwrap_or_default();
            let close = body.find(tag).ok_or_else(|| "has a quote without an end".to_owned())?;
            self.at += 2 * tag.len() + close;
            return Ok(Dollar::Quoted);
        }
        self.at += 1 + end;
        if name == &INSTANCE[1..] {
            return Ok(Dollar::Instance);
        }
        match name.parse() {
            Ok(number @ 1..) => Ok(Dollar::Number(number)),
            _ => Err(format!("has the placeholder \"${name}\"; use $1, $2 … and $instance")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dialect: Dialect, text: &'static str) -> Result<(String, bool, usize), String> {
        Text::read(dialect, text).map(|text| (text.numbered(), text.names_instance(), text.highest()))
    }

    // Contract: B4: a name in quotes or in a comment is no placeholder.
    #[test]
    fn the_tenant_is_found_where_it_is_one() {
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            for (text, filled, names, highest) in [
                ("SELECT 1", "SELECT 1", false, 0),
                (
                    "select a from t where i = $instance and b = $1;",
                    "select a from t where i = $2 and b = $1;",
                    true,
                    1,
                ),
                ("SELECT $instance, '$instance' -- $instance\n", "SELECT $1, '$instance' -- $instance\n", true, 0),
                ("SELECT '$instance'", "SELECT '$instance'", false, 0),
                ("SELECT \"$instance\" /* $instance */", "SELECT \"$instance\" /* $instance */", false, 0),
                ("SELECT 'it''s $1', $2, $1", "SELECT 'it''s $1', $2, $1", false, 2),
                (
                    "-- first\nWITH x AS (SELECT $1) SELECT * FROM x",
                    "-- first\nWITH x AS (SELECT $1) SELECT * FROM x",
                    false,
                    1,
                ),
                ("(SELECT a$1 FROM t)", "(SELECT a$1 FROM t)", false, 0),
                ("VALUES ($instance),($instance)", "VALUES ($1),($1)", true, 0),
                ("SELECT 'ü', $instance", "SELECT 'ü', $1", true, 0),
            ] {
                assert_eq!(read(dialect, text), Ok((filled.to_owned(), names, highest)), "{text}");
            }
        }
        for (text, names) in [
            ("SELECT $$ $instance $$", false),
            ("SELECT $instance$ $1 $instance$", false),
            ("SELECT E'\\' $instance', 1", false),
            ("SELECT /* a /* b */ $instance */ 1", false),
            ("SELECT a::text, b[1] FROM t WHERE c ? 'k' AND i = $instance", true),
        ] {
            assert_eq!(read(Dialect::Postgres, text).unwrap().1, names, "{text}");
        }
        assert!(!read(Dialect::Sqlite, "SELECT [$instance], `$instance`").unwrap().1);
        assert_eq!(Text::read(Dialect::Sqlite, "SELECT $3, $1").unwrap().gap(), Some(2));
    }

    // Contract: B4
    #[test]
    fn what_is_no_read_is_refused() {
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            for (text, what) in [
                ("", "is empty"),
                (" -- nothing", "is empty"),
                ("DELETE FROM t", "begins with \"DELETE\""),
                ("SELECT 1; DELETE FROM t", "more than one statement"),
                ("SELECT 'a", "a quote without an end"),
                ("SELECT 1 /* a", "a comment without an end"),
                ("SELECT $tenant", "the placeholder \"$tenant\""),
                ("SELECT $0", "the placeholder \"$0\""),
            ] {
                let error = read(dialect, text).unwrap_err();
                assert!(error.contains(what), "{text}: {error}");
            }
        }
        for text in ["SELECT ?", "SELECT ?1", "SELECT :a", "SELECT @a"] {
            assert!(read(Dialect::Sqlite, text).unwrap_err().contains("the placeholder"), "{text}");
        }
    }
}
