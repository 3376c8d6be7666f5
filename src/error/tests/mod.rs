//! Every error that people meet, made once, and its text looked at. A variant without a line does not compile.

mod calls;
mod definitions;
mod operations;
mod passes;

use std::error::Error as StdError;
use std::fmt;

use super::{StoreError, StoreErrorKind, net};
use crate::plain::is_hidden;

/// What the cause of an error says, which the error itself leaves to it.
const CAUSE: &str = "hunter2 is the cause";

/// Most bytes of a text: one text of others, as long as those may be, and the words around it.
const LONGEST: usize = net::LONGEST_TEXT + 1500;

/// An error, and what its text has to say: what was being done, to what, and the remedy where there is one.
struct Line {
    name: String,
    error: Box<dyn StdError>,
    says: Vec<&'static str>,
    /// `caused` by [`Cause`], or by an error `of_ours`.
    cause: Option<&'static str>,
}

/// One line for each variant; `; caused` or `; of_ours` where it has a cause.
macro_rules! lines {
    ($error:ident: $(
        $variant:ident $({ $($field:tt)* })? $(( $($value:tt)* ))? => [$($says:expr),*] $(; $caused:ident)?,
    )+) => {{
        // A match of all variants: a new one has to get a line.
        #[allow(unreachable_patterns, reason = "a variant may have several lines")]
        fn is_listed(error: &$error) {
            match error {
                $($error::$variant { .. } => (),)+
            }
        }
        vec![$({
            let error = $error::$variant $({ $($field)* })? $(( $($value)* ))?;
            is_listed(&error);
            $crate::error::tests::Line {
                name: format!("{}::{}", stringify!($error), stringify!($variant)),
                error: Box::new(error),
                says: vec![$($says),*],
                cause: None $(.or(Some(stringify!($caused))))?,
            }
        }),+]
    }};
}
use lines;

/// A cause.
#[derive(Debug)]
struct Cause;

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CAUSE)
    }
}

impl StdError for Cause {}

/// A name as nobody should choose it, which begins with this word.
fn odd(word: &str) -> String {
    format!("{word}\n\u{202e}\u{1b}[2J\u{2028}end")
}

/// More names than a text has room for.
fn many(word: &str) -> Vec<String> {
    (0..1000).map(|number| odd(&format!("{word}{number}"))).collect()
}

/// Words of a database, as long as they are kept.
fn words() -> String {
    net::bounded(&format!("{} {}", odd("duplicate key"), "so it is ".repeat(1000)))
}

fn store() -> StoreError {
    StoreError::new(odd("reading the log"), StoreErrorKind::Conflict, Cause).with_code(odd("40001"))
}

fn not_json() -> serde_json::Error {
    serde::de::Error::custom(CAUSE)
}

/// What is wrong with the text of an error, or with its causes.
fn faults(line: &Line) -> Vec<String> {
    let text = line.error.to_string();
    let mut faults = Vec::new();
    if let Some(hidden) = text.chars().find(|letter| is_hidden(*letter)) {
        faults.push(format!("holds {hidden:?}"));
    }
    if text.len() > LONGEST {
        faults.push(format!("has {} bytes", text.len()));
    }
    faults.extend(line.says.iter().filter(|says| !text.contains(**says)).map(|says| format!("does not say {says:?}")));
    let cause = line.error.source();
    if line.cause.is_some() != cause.is_some() {
        faults.push(format!("its cause: {cause:?}"));
    }
    if text.contains(CAUSE) || cause.is_some_and(|cause| text.contains(&cause.to_string())) {
        faults.push("repeats its cause".to_owned());
    }
    if line.cause == Some("caused") && !super::chain(line.error.as_ref()).contains(CAUSE) {
        faults.push("its chain does not hold the cause".to_owned());
    }
    let shown: String = text.chars().take(300).collect();
    faults.into_iter().map(|fault| format!("{}: {fault}: {shown:?}", line.name)).collect()
}

// Contract: H1
#[test]
fn every_error_says_what_failed_and_what_to_do() {
    let lines = [definitions::lines(), calls::lines(), passes::lines(), operations::lines()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let faults: Vec<String> = lines.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{} faults of {} errors:\n{}", faults.len(), lines.len(), faults.join("\n"));
}

// Contract: H1
#[test]
fn a_list_that_is_too_long_says_how_many_more_there_are() {
    let text = super::ConfigError { faults: (0..1000).map(|number| format!("fault {number}")).collect() }.to_string();
    let (named, more) = text.rsplit_once("; and ").unwrap();
    let named = named.matches("fault ").count();
    assert_eq!(more, format!("{} more", 1000 - named), "{text}");
    assert!(named > 100, "{text}");
}
