//! Finds arguments that may hold a password, so that no error shows them: connection strings in any place, also with
//! a slip, and what follows the word `password`.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};

use super::format;
use crate::conninfo::{Look, follows_secret_word, look, shown};

/// Texts that must not be shown.
pub(super) struct Hidden(Vec<String>);

fn may_hold_secret(text: &str) -> bool {
    look(text) != Look::File || shown(text) != text
}

impl Hidden {
    pub(super) fn of(args: &[OsString]) -> Self {
        let args: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
        let mut hidden = Vec::new();
        let mut is_secret = false;
        for arg in &args {
            let bare = arg.trim_start_matches('-');
            let value =
                if bare.len() < arg.len() { bare.split_once('=').map_or(bare, |(_, value)| value) } else { bare };
            if is_secret && arg == "=" {
                continue;
            }
            let is_one = is_secret || [arg, bare, value].iter().any(|text| may_hold_secret(text));
            is_secret = follows_secret_word(bare);
            if is_one {
                hidden.extend([arg, bare, value].into_iter().filter(|text| !text.is_empty()).map(str::to_owned));
            }
        }
        // Longer texts come first, so that a whole text is replaced before its parts.
        hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        hidden.dedup();
        Self(hidden)
    }

    /// Replaces the hidden texts with stars, also where the text quotes them.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for hidden in &self.0 {
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
        said.retain(|one| !one.is_empty());
        let shows = |hidden: &String| text.contains(hidden) || said.iter().any(|one| hidden.contains(one));
        if !error.use_stderr() || !self.0.iter().any(shows) {
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
}
