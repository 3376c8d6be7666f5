//! Finds arguments that may hold a password, so that no error shows them: connection strings in any place, also with
//! a slip, and what follows the word `password`.

use std::cell::LazyCell;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory};

use super::format;
use super::options::Options;
use crate::conninfo::{Look, follows_secret_word, holds_secret_pair, look, shown};

/// Texts that must not be shown.
pub(super) struct Hidden {
    texts: Vec<String>,
    /// Values of options that are numbers. They may be shown also where a hidden text holds the same digits.
    numbers: Vec<String>,
}

fn may_hold_secret(text: &str) -> bool {
    look(text) != Look::File || shown(text) != text
}

/// True for a pair of a keyword and a password that a space may have cut. A text with a space was given in quotes.
fn may_be_cut(text: &str) -> bool {
    !text.contains(char::is_whitespace) && !text.contains("://") && look(text) != Look::File && holds_secret_pair(text)
}

/// True for the name of a command, and for an option that is written out.
fn is_word_of(command: &Command, arg: &str) -> bool {
    let option = arg.strip_prefix("--").map(|option| option.split_once('=').map_or(option, |(name, _)| name));
    option.map_or(command.get_name() == arg, |option| command.get_arguments().any(|own| own.get_long() == Some(option)))
        || command.get_subcommands().any(|inner| is_word_of(inner, arg))
}

impl Hidden {
    pub(super) fn of(args: &[OsString]) -> Self {
        let args: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
        let (mut hidden, mut numbers) = (Vec::new(), Vec::new());
        let (mut is_secret, mut rest, mut is_value) = (false, 0, false);
        let command = LazyCell::new(Options::command);
        for (at, arg) in args.iter().enumerate() {
            let bare = arg.trim_start_matches('-');
            let value =
                if bare.len() < arg.len() { bare.split_once('=').map_or(bare, |(_, value)| value) } else { bare };
            if is_secret && arg == "=" {
                continue;
            }
            let is_one = is_secret || at < rest || [arg, bare, value].iter().any(|text| may_hold_secret(text));
            // A password behind a keyword may have spaces, too. What follows belongs to it, up to a word of the command line.
            if is_secret || may_be_cut(arg) || may_be_cut(value) {
                rest = rest.max(at + 1 + args.iter().skip(at + 1).take_while(|arg| !is_word_of(&command, arg)).count());
            }
            is_secret = follows_secret_word(bare);
            // Spaces in a password cut a URL that is not quoted. What follows belongs to it, up to the host.
            if value.split_once("://").is_some_and(|(_, behind)| !behind.contains(['@', '/'])) {
                let host = args.iter().skip(at + 1).position(|arg| arg.contains('@'));
                rest = host.map_or(rest, |host| rest.max(at + host + 2));
            }
            if is_one {
                hidden.extend([arg, bare, value].into_iter().filter(|text| !text.is_empty()).map(str::to_owned));
            } else if (is_value || value.len() < bare.len())
                && !value.is_empty()
                && value.bytes().all(|byte| byte.is_ascii_digit())
            {
                numbers.push(value.to_owned());
            }
            is_value = bare.len() < arg.len();
        }
        // Longer texts come first, so that a whole text is replaced before its parts.
        hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        hidden.dedup();
        Self { texts: hidden, numbers }
    }

    /// Replaces the hidden texts with stars, also where the text quotes them.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for hidden in &self.texts {
            let quoted = format!("{hidden:?}");
            let quoted = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(hidden);
            for form in [hidden.as_str(), quoted, &format::clean(hidden)] {
                shown = shown.replace(form, "***");
            }
        }
        format::masked(&shown)
    }

    /// The message for wrong arguments that replaces clap's message, if clap's message would show a hidden text or a
    /// part of it.
    pub(super) fn instead_of(&self, error: &clap::Error) -> Option<String> {
        let text = error.to_string();
        let mut said: Vec<&str> =
            error.context().filter(|(kind, _)| *kind != ContextKind::Usage).fold(Vec::new(), |mut said, (_, value)| {
                match value {
                    ContextValue::String(one) => said.push(one),
                    ContextValue::Strings(some) => said.extend(some.iter().map(String::as_str)),
                    _ => {}
                }
                said
            });
        said.retain(|one| !one.is_empty() && !self.numbers.iter().any(|number| number == one));
        let shows = |hidden: &String| text.contains(hidden) || said.iter().any(|one| hidden.contains(one));
        if !error.use_stderr() || !self.texts.iter().any(shows) {
            return None;
        }
        let what = error.kind().as_str().unwrap_or("wrong arguments");
        Some(format!(
            "error: {what}; it is not shown, since it looks like a connection string, which may hold a password\n\n\
             Name a database by --database-url or --events-url, as one argument in quotes, or in the environment by \
             READSIDE_DATABASE_URL or READSIDE_EVENTS_URL.\n\nFor more information, try '--help'.\n"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(args: &[&str]) -> Hidden {
        Hidden::of(&std::iter::once(&"readside").chain(args).map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_may_be_a_secret_is_hidden() {
        for args in [
            &["postgres//a:supersecret@h"][..],
            &["--postgres://a:supersecret@h"],
            &["--why=password=supersecret"],
            &["password", "=", "supersecret"],
            &["PASSWORD=", "supersecret"],
            &["-d", "host=h password=supersecret"],
            &["-d", "file:x.db?hexkey=super secret"],
            &["--database-url=file:x.db?hexkey=supersecret"],
        ] {
            let hidden = hidden(args);
            let text = format!("there is no {:?}, nor {}", args.join(" "), args.join(", "));
            assert!(!hidden.masked(&text).contains("super"), "{args:?}: {}", hidden.masked(&text));
        }
        let text = "status of x.db at 12:30";
        assert_eq!(hidden(&["-d", "x.db", "status"]).masked(text), text);
    }

    #[test]
    fn a_number_is_told_although_a_connection_string_holds_its_digits() {
        let of = |args: &[&str]| {
            let args: Vec<&str> = std::iter::once("readside").chain(args.iter().copied()).collect();
            let error = Options::command().try_get_matches_from(&args).unwrap_err();
            hidden(&args[1..]).instead_of(&error)
        };
        let url = "postgres://a:7secret0@h:5400/x";
        assert_eq!(of(&["-d", url, "bench", "--events", "0"]), None);
        assert_eq!(of(&["-d", url, "bench", "--events=0"]), None);
        // A part of a password that a space cut off is no number.
        for cut in [&["-d", "postgres://a:7", "0@h"][..], &["-d", "postgres://a:7", "7", "0@h"]] {
            assert!(of(cut).is_some(), "{cut:?}");
        }
        assert!(of(&["-d", "postgres://a:se", "77", "cret@h"]).is_some());
        assert!(of(&["-d", url, "bench", "--events", "7secret0"]).is_some());
    }

    /// What is said about these arguments, with `password=` and what the words are cut from before them.
    fn said(before: &[&str], words: &[&str], behind: &[&str]) -> String {
        let args: Vec<&str> = [&["readside"], before, words, behind].concat();
        match Options::command().try_get_matches_from(&args) {
            Ok(_) => String::new(),
            Err(error) => hidden(&args[1..]).instead_of(&error).unwrap_or_else(|| error.to_string()),
        }
    }

    #[test]
    fn pieces_of_a_password_behind_a_keyword_are_hidden() {
        for before in [&["-d", "password=12"][..], &["-d", "password", "=", "12"], &["--database-url=password='12"]] {
            for words in [&["34"][..], &["34'"], &["3", "4"], &["-34"], &["--34=5"], &["status", "34"]] {
                let said = said(before, words, &[]);
                assert!(words[0] == "status" || !said.contains(['3', '4']), "{before:?} {words:?}: {said}");
            }
        }
        // A command and an option end it.
        let at = |args: &[&str]| said(&["-d", "password=12"], args, &[]);
        assert!(at(&["bench", "--events", "0"]).contains("'0'"), "{}", at(&["bench", "--events", "0"]));
        assert!(at(&["status", "--nonsense"]).contains("--nonsense"));
        let text = "projection users of status";
        assert_eq!(hidden(&["-d", "password=secret", "explain", "users"]).masked(text), text);
        assert_eq!(hidden(&["explain", "users", "-d", "host=h password=secret"]).masked(text), text);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 64, failure_persistence: None, ..proptest::prelude::ProptestConfig::default()
        })]

        #[test]
        fn no_piece_of_a_password_is_shown(
            pieces in proptest::collection::vec("[!-~]{0,4}", 1..5),
            at in 0_usize..5,
            key in "(password|PASSWORD|passwort|sslpassword|--password)( ?= ?)",
        ) {
            const MARK: &str = "zQ7x";
            let mut pieces = pieces;
            let at = at % pieces.len();
            pieces[at] = format!("{}{MARK}", pieces[at]);
            let all = format!("{key}{}", pieces.join(" "));
            let words: Vec<&str> = all.split(' ').filter(|word| !word.is_empty()).collect();
            for behind in [&[][..], &["status"], &["bench", "--events", "0"]] {
                let said = said(&["-d"], &words, behind);
                proptest::prop_assert!(!said.contains(MARK), "{all}: {said}");
            }
        }
    }
}
