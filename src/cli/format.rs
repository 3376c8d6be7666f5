//! Formats numbers, times and texts from the database for people, and parses such words in arguments. Texts from the
//! database may hold anything.

use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use jiff::{SignedDuration, Timestamp, civil};

pub(super) use crate::clock::spoken as duration;
use crate::conninfo;
pub(super) use crate::plain::count;
use crate::plain::plain;
use crate::value;

/// `12,345`, of a number that is not negative.
pub(super) fn positions(number: i64) -> String {
    count(u64::try_from(number).unwrap_or(0))
}

/// `1 event`, `2 events`.
pub(super) fn several(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A time in RFC 3339, to the second.
pub(super) fn moment(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| value::time_text(at), |at| format!("{at:.0}"))
}

/// A time in RFC 3339, as exact as it is stored.
pub(super) fn exact_moment(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| value::time_text(at), |at| at.to_string())
}

/// A text from the database, without characters that move the cursor or hide parts of the text. An empty text becomes
/// `""`.
pub(super) fn clean(text: &str) -> String {
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    plain(text).into_owned()
}

/// A text as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_@%+=:,./-".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", plain(text).replace('\'', r"'\''"))
}

/// The first letters of a text.
pub(super) fn short(text: &str, letters: usize) -> String {
    let text = clean(text);
    match text.char_indices().nth(letters) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// The text with stars in place of the passwords in URLs, connection strings and file URIs.
pub(super) fn masked(text: &str) -> String {
    masked_urls(&masked_files(text))
}

/// The text with each `file:` URI as messages show it.
fn masked_files(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("file:") {
        let (before, after) = rest.split_at(at);
        let end = after
            .find(|letter: char| letter.is_whitespace() || matches!(letter, '\'' | '"' | '`'))
            .unwrap_or(after.len());
        let (uri, next) = after.split_at(end);
        shown.push_str(before);
        shown.push_str(&conninfo::shown(uri));
        rest = next;
    }
    shown + rest
}

fn masked_urls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end =
            after.find(|letter: char| letter.is_whitespace() || matches!(letter, '\'' | '"')).unwrap_or(after.len());
        let (url, next) = after.split_at(end);
        shown.push_str(&masked_url(url));
        rest = next;
    }
    shown.push_str(rest);
    masked_pairs(&shown)
}

/// Masks what follows `://`. User and password end at the last `@`.
fn masked_url(url: &str) -> String {
    let Some((user, place)) = url.rsplit_once('@') else { return url.to_owned() };
    match user.split_once(':') {
        Some((name, _)) => format!("{name}:***@{place}"),
        None => url.to_owned(),
    }
}

/// Masks what follows `password` and `=`, in upper or lower case, with spaces around it or in quotes.
fn masked_pairs(text: &str) -> String {
    const KEY: &str = "password";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find(KEY) {
        let (before, after) = rest.split_at(at + KEY.len());
        shown.push_str(before);
        let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start) else {
            rest = after;
            continue;
        };
        shown.push_str(after.strip_suffix(value).unwrap_or_default());
        shown.push_str("***");
        rest = behind_value(value);
    }
    shown + rest
}

/// The rest of the text behind a value, which may be in single quotes.
fn behind_value(text: &str) -> &str {
    let inside = text.strip_prefix('\'');
    let mut letters = inside.unwrap_or(text).chars();
    loop {
        let rest = letters.as_str();
        match letters.next() {
            None => return "",
            Some('\\') => _ = letters.next(),
            Some('\'') if inside.is_some() => return letters.as_str(),
            Some(letter) if inside.is_none() && (letter.is_whitespace() || matches!(letter, '&' | '"')) => return rest,
            Some(_) => {}
        }
    }
}

/// Parses `500ms`, `30s`, `5min`, `2h`, `1d`.
pub(super) fn parse_duration(text: &str) -> anyhow::Result<Duration> {
    let wanted = "for instance 500ms, 30s, 5min, 2h or 7d";
    // The parser takes a day for a day of the calendar, which may have 23 hours. So days are parsed here.
    if let Some(Ok(days)) = text.strip_suffix('d').map(str::parse::<u32>) {
        return Ok(Duration::from_hours(24 * u64::from(days)));
    }
    let parsed: SignedDuration = text.parse().map_err(|_| anyhow!("it is not a duration; write {wanted}"))?;
    Duration::try_from(parsed).map_err(|_| anyhow!("it is negative; write {wanted}"))
}

/// Parses a time, a day in UTC, or a duration before now.
pub(super) fn parse_time(text: &str) -> anyhow::Result<SystemTime> {
    if let Some(at) = value::parse_time(text) {
        return Ok(at);
    }
    if let Ok(day) = text.parse::<civil::Date>() {
        return value::parse_time(&format!("{day}T00:00:00Z")).context("the day is out of range");
    }
    let Ok(ago) = parse_duration(text) else {
        bail!("it is not a time; write for instance 2026-01-31T12:00:00Z, 2026-01-31 (UTC), or 2h for two hours ago");
    };
    // A time before the first one that can be stored can only be a slip, and a dry run must not make it look right.
    let at = SystemTime::now().checked_sub(ago).filter(|at| value::within(*at) <= *at);
    at.context("that is longer ago than a time that can be stored; write for instance 2h, 30d or 365d")
}

/// Parses `NAME=VALUE`.
pub(super) fn parse_pair(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').context("it is not a pair; write CONSTRAINT=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn parse_batch(text: &str) -> anyhow::Result<usize> {
    match text.parse() {
        Ok(lines @ 1..=10_000) => Ok(lines),
        _ => bail!("it has to be between 1 and 10,000"),
    }
}

pub(super) fn parse_events(text: &str) -> anyhow::Result<usize> {
    match text.parse() {
        Ok(events @ 1..=10_000_000) => Ok(events),
        _ => bail!("it has to be between 1 and 10,000,000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_stars() {
        for (text, shown) in [
            ("postgres://ada:secret@host/db", "postgres://ada:***@host/db"),
            (
                "connecting to \"postgres://ada:se@cret:x@host:5432/db\": no",
                "connecting to \"postgres://ada:***@host:5432/db\": no",
            ),
            ("postgres://ada@host/db postgresql://b:c@d", "postgres://ada@host/db postgresql://b:***@d"),
            ("postgres://host/db?user=ada&password=secret&x=1", "postgres://host/db?user=ada&password=***&x=1"),
            ("host=a password=secret user=b", "host=a password=*** user=b"),
            ("host=a PASSWORD = secret", "host=a PASSWORD = ***"),
            (r"password='se \'cr et' user=b", "password=*** user=b"),
            ("check user, password and more", "check user, password and more"),
            ("nothing", "nothing"),
            ("opening \"file:x.db?key=secret\": no", "opening \"file:x.db?key=***\": no"),
            ("a file: it is there", "a file: it is there"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn times_are_read() {
        assert_eq!(parse_duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("5min").unwrap(), Duration::from_mins(5));
        assert!(parse_duration("-5s").unwrap_err().to_string().contains("negative"));
        assert_eq!(parse_duration("365d").unwrap(), Duration::from_hours(24 * 365));
        assert!(parse_duration("soon").is_err());
        let day = parse_time("2026-01-31").unwrap();
        assert_eq!(day, parse_time("2026-01-31T00:00:00Z").unwrap());
        assert!(parse_time("2h").unwrap() < SystemTime::now());
        for ago in ["99999999d", "4294967295d", "1000000h"] {
            let outcome = parse_time(ago).map(moment);
            assert_eq!(outcome.is_ok(), ago == "1000000h", "{ago}: {outcome:?}");
        }
        assert!(parse_time("yesterday").unwrap_err().to_string().contains("for instance"));
        // Contract: A8: up to both ends of the range that can be stored.
        for end in ["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"] {
            assert_eq!(value::time_text(parse_time(end).unwrap()), end);
            assert!(moment(parse_time(end).unwrap()).starts_with(&end[..19]));
        }
        assert_eq!(parse_time("9999-12-31").unwrap(), parse_time("9999-12-31T00:00:00Z").unwrap());
    }

    #[test]
    fn words_for_people() {
        assert_eq!(duration(Duration::from_millis(3)), "3 ms");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(several(1, "event"), "1 event");
        assert_eq!(several(12_000, "event"), "12,000 events");
        assert_eq!(clean("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(clean(""), "\"\"");
        assert_eq!(short("abcdef", 3), "abc…");
        assert_eq!([quoted("a-b.c"), quoted("it's a"), quoted("")], ["a-b.c", r"'it'\''s a'", "''"]);
    }
}
