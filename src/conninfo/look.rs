//! Tells whether a text is a connection string, looks like one, or is the path of a file.

use super::fault::Fault;
use super::keyword::{distance, is_secret, nearest};

/// What a text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// The path of a file.
    File,
    /// A connection string. Parsing it shows whether it is correct.
    Server,
    /// A connection string with a slip, which cannot be parsed.
    Slip(Fault),
}

/// What this text looks like. A text that begins with `./`, `../` or `file:` is always a path.
pub(crate) fn look(text: &str) -> Look {
    if ["./", "../", ".\\", "..\\", "file:"].iter().any(|begin| text.starts_with(begin)) {
        return Look::File;
    }
    if is_url(text) {
        return Look::Server;
    }
    let bare =
        text.trim_start_matches(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '`' | '<'));
    if has_scheme(bare) {
        return Look::Slip(Fault::Scheme);
    }
    if has_pairs(bare) {
        return Look::Server;
    }
    if has_credentials(bare) {
        return Look::Slip(Fault::NoScheme);
    }
    if has_secret_word(bare) { Look::Slip(Fault::Words) } else { Look::File }
}

pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// True for `postgres:` and similar schemes with slips, and for any text with a scheme and `://`.
fn has_scheme(text: &str) -> bool {
    let end =
        text.find(|letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter)).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    if rest.starts_with("://") {
        return true;
    }
    let is_near = || {
        let head = head.to_ascii_lowercase();
        let known = ["postgres", "postgresql"].iter().any(|scheme| head.len() < 15 && distance(&head, scheme) <= 2);
        known || matches!(&*head, "pg" | "psql" | "pgsql" | "jdbc")
    };
    (rest.starts_with([':', ';']) || rest.starts_with("//")) && is_near()
}

/// True if the text has a keyword and `=`: at its beginning, behind a space, or behind a character that separates
/// parameters of a URL.
fn has_pairs(text: &str) -> bool {
    // The first keyword may have other characters between its letters.
    let first = text.split_once('=').map_or("", |(first, _)| first);
    let letters: String = first.chars().filter(|letter| letter.is_alphanumeric() || *letter == '_').take(32).collect();
    if nearest(&letters).is_some() {
        return true;
    }
    text.match_indices('=').any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default().trim_end();
        let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
        let start = before.rfind(|letter| !is_word(letter)).map_or(0, |at| at + last_len(before, at));
        let (ahead, word) = before.split_at(start);
        ends_word(ahead) && nearest(word).is_some()
    })
}

fn last_len(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
}

/// True if a new word may begin behind this text.
fn ends_word(text: &str) -> bool {
    text.chars().next_back().is_none_or(|letter| letter.is_whitespace() || "?&;,'\"`({".contains(letter))
}

/// True for `user:password@host`, also behind `//`, and for `//user@host`.
fn has_credentials(text: &str) -> bool {
    text.split_once(':').is_some_and(|(_, rest)| rest.contains('@')) || (text.starts_with("//") && text.contains('@'))
}

/// True if the text has the word `password` with something behind it.
fn has_secret_word(text: &str) -> bool {
    let ends = |letter: char| letter.is_whitespace() || "?&;,:'\"`".contains(letter);
    let mut rest = text;
    while let Some(at) = rest.find(ends) {
        let (word, behind) = rest.split_at(at);
        if is_secret(word) && !behind.trim_matches(ends).is_empty() {
            return true;
        }
        rest = behind.trim_start_matches(ends);
    }
    false
}

/// True if a secret follows this text: it ends with the word `password`, or with another keyword of a secret.
#[cfg(feature = "cli")]
pub(crate) fn follows_secret_word(text: &str) -> bool {
    let word = text.trim_end_matches(['=', ':']);
    is_secret(word.rsplit(char::is_whitespace).next().unwrap_or(word))
}

/// True if the text, in the form of keywords and values, has the value of a secret.
#[cfg(feature = "cli")]
pub(crate) fn holds_secret_pair(text: &str) -> bool {
    let ends = |letter: char| !letter.is_alphanumeric() && letter != '_';
    text.match_indices('=').any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default().trim_end();
        is_secret(before.rsplit(ends).next().unwrap_or(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_files() {
        for text in [
            "x.db",
            "/var/lib/service/x.db",
            "data/tenant=acme/x.db",
            "tenant=acme.db",
            "postgres",
            "postgres/x.db",
            "postgres.db",
            "my file.db",
            "passwords.db",
            "backup@2024.db",
            "12:30.db",
            ":memory:",
            "file:x.db?mode=ro&cache=shared",
            "./a:b@c",
            "../host=a",
            "C:\\data\\x.db",
            "C:/data/x.db",
            "",
        ] {
            assert_eq!(look(text), Look::File, "{text}");
        }
    }

    #[test]
    fn connection_strings_are_known() {
        for text in [
            "postgres://h/x",
            "postgresql://",
            "host=h",
            " host = h",
            "dbname=x",
            "h/x?password=a",
            "PASSWORD = x",
            "pwd=x",
        ] {
            assert_eq!(look(text), Look::Server, "{text}");
        }
    }

    #[test]
    fn slips_are_known() {
        for (text, fault) in [
            ("postgresql:/a:b@h/x", Fault::Scheme),
            ("postgres//a:b@h", Fault::Scheme),
            ("postgres:a:b@h/x", Fault::Scheme),
            ("POSTGRES://a:b@h/x", Fault::Scheme),
            ("postgre://a:b@h/x", Fault::Scheme),
            ("pg://b", Fault::Scheme),
            ("mysql://a:b@h/x", Fault::Scheme),
            (" postgres://a:b@h/x", Fault::Scheme),
            ("'postgres://a:b@h/x'", Fault::Scheme),
            ("jdbc:postgresql://h/x", Fault::Scheme),
            ("a:b@h:5432/x", Fault::NoScheme),
            ("/a:b@h", Fault::NoScheme),
            ("//a@h", Fault::NoScheme),
            ("://a:b@h", Fault::Scheme),
            ("host h password b", Fault::Words),
            ("password: b", Fault::Words),
        ] {
            assert_eq!(look(text), Look::Slip(fault), "{text}");
        }
    }
}
