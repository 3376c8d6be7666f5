//! What a person does about something that is wrong: words, and commands of `readside` that a shell takes as they are
//! printed.

use std::fmt::{self, Display, Write};

use serde::{Serialize, Serializer};

use crate::plain::is_hidden;

/// A command of `readside` that helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Abandon,
    Back,
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "the status page alone names it"))]
    Builds,
    Commands,
    Doctor,
    DropOld,
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "the status page alone names it"))]
    Failed,
    Leases,
    Rebuild,
    Remove,
    /// A reset of the instance, or of the whole projection where no instance is known.
    Reset,
    ResetAll,
    Resume,
    RetryAll,
    Setup,
    Switch,
    Watch,
}

/// A piece of a remedy that is not about a certain projection yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Say(&'static str),
    Run(Act),
    /// What to say where the instance is known, and where it is not.
    Here(&'static [Self], &'static [Self]),
}

/// What a remedy is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) projection: &'a str,
    /// `None` for the version that readers see.
    pub(crate) version: Option<u32>,
    /// `None` when the whole projection is meant.
    pub(crate) instance: Option<&'a str>,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Self::Abandon => "builds abandon",
            Self::Back => "builds back",
            Self::Builds => "builds list",
            Self::Commands => "commands",
            Self::Doctor => "doctor",
            Self::DropOld => "builds drop-old",
            Self::Failed => "failed list",
            Self::Leases => "leases",
            Self::Rebuild => "rebuild",
            Self::Remove => "projections remove",
            Self::Reset | Self::ResetAll => "reset",
            Self::Resume => "resume",
            Self::RetryAll => "failed retry",
            Self::Setup => "setup",
            Self::Switch => "builds switch",
            Self::Watch => "status",
        }
    }

    /// Why somebody runs it, for the record that it leaves.
    fn why(self) -> Option<&'static str> {
        match self {
            Self::Abandon | Self::DropOld | Self::Rebuild | Self::Reset | Self::ResetAll => Some("it stands still"),
            Self::Back => Some("the newer version is not kept up to date"),
            Self::Switch => Some("readers may see it"),
            Self::Remove => Some("no service keeps it"),
            Self::Resume => Some("it may go on"),
            Self::RetryAll => Some("the reducer is fixed"),
            Self::Builds | Self::Commands | Self::Doctor | Self::Failed | Self::Leases | Self::Setup | Self::Watch => {
                None
            }
        }
    }

    /// The command about this subject.
    pub(crate) fn on(self, of: &Subject<'_>) -> Command {
        let mut command = Command::new(self.name());
        if !matches!(self, Self::Builds | Self::Doctor | Self::Setup) {
            command = command.arg(of.projection);
        }
        if let (Self::Reset | Self::Resume, Some(instance)) = (self, of.instance) {
            command = command.option("--instance", instance);
        }
        if let (Self::Failed | Self::RetryAll, Some(version)) = (self, of.version) {
            command = command.option("--projection-version", &version.to_string());
        }
        match self {
            Self::RetryAll => command = command.flag("--all"),
            Self::Watch => command = command.flag("--watch"),
            _ => {}
        }
        match self.why() {
            Some(why) => command.option("--why", why),
            None => command,
        }
    }
}

/// A command with its arguments, as a shell takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    name: &'static str,
    args: Vec<String>,
    options: Vec<String>,
}

impl Command {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, args: Vec::new(), options: Vec::new() }
    }

    pub(crate) fn arg(mut self, value: &str) -> Self {
        self.args.push(value.to_owned());
        self
    }

    pub(crate) fn flag(mut self, name: &'static str) -> Self {
        self.options.push(name.to_owned());
        self
    }

    pub(crate) fn option(mut self, name: &'static str, value: &str) -> Self {
        if value.starts_with('-') {
            // Apart, the value would count as another option.
            self.options.push(format!("{name}={value}"));
        } else {
            self.options.extend([name.to_owned(), value.to_owned()]);
        }
        self
    }
}

impl Command {
    /// Its words, quoted for a shell.
    pub(crate) fn words(&self) -> Vec<String> {
        let begins = std::iter::once("readside").chain(self.name.split(' ')).map(str::to_owned);
        let (args, options) = (self.args.iter(), self.options.iter());
        // Behind `--`, nothing counts as an option.
        let (first, between, last) = if self.args.iter().any(|arg| arg.starts_with('-')) {
            (options, Some("--".to_owned()), args)
        } else {
            (args, None, options)
        };
        begins.chain(first.map(|word| quoted(word))).chain(between).chain(last.map(|word| quoted(word))).collect()
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

/// A word of a shell's command. A word of plain letters stays as it is. One with letters that nobody would see is made
/// by `printf`, so that it survives being shown and copied.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b':' | b'-' | b'=');
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    if !word.contains(is_hidden) {
        return format!("'{}'", word.replace('\'', "'\\''"));
    }
    let mut text = String::new();
    for letter in word.chars() {
        match letter {
            '\'' => text.push_str("'\\''"),
            '\\' => text.push_str("\\\\"),
            '%' => text.push_str("%%"),
            hidden if is_hidden(hidden) => {
                for byte in hidden.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a string does not fail.
                    let _ = write!(text, "\\{byte:03o}");
                }
            }
            other => text.push(other),
        }
    }
    format!("\"$(printf '{text}')\"")
}

/// A part of a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Words(&'static str),
    Command(Command),
}

/// What a person does about something. As a text, its commands stand in backticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remedy(pub(crate) Vec<Part>);

impl Remedy {
    /// These pieces about this subject.
    pub(crate) fn of(pieces: &[Piece], of: &Subject<'_>) -> Self {
        let mut parts = Vec::new();
        add(&mut parts, pieces, of);
        Self(parts)
    }
}

fn add(parts: &mut Vec<Part>, pieces: &[Piece], of: &Subject<'_>) {
    for piece in pieces {
        match piece {
            Piece::Say(words) => parts.push(Part::Words(words)),
            Piece::Run(act) => parts.push(Part::Command(act.on(of))),
            Piece::Here(known, _) if of.instance.is_some() => add(parts, known, of),
            Piece::Here(_, unknown) => add(parts, unknown, of),
        }
    }
}

impl Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Words(words) => f.write_str(words),
            Part::Command(command) => write!(f, "`{command}`"),
        })
    }
}

impl Serialize for Remedy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The pieces as a text that is about no certain projection.
pub(crate) fn in_general(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Say(words) => (*words).to_owned(),
            Piece::Run(act) => format!("`readside {}`", act.name()),
            Piece::Here(_, unknown) => in_general(unknown),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: S3
    #[test]
    fn a_shell_takes_a_command_as_it_is_printed() {
        let odd = ["plain", "", "a b", "it's", "-x", "$HOME `id` \"q\" \\n %s", "a\tb\u{202e}c'd%\\", "ä/ö"];
        for word in odd {
            let command = Command::new("reset").arg(word).option("--instance", word).option("--why", "w y").to_string();
            assert!(!command.contains(is_hidden), "{command}");
            let script = format!("readside() {{ printf '%s\\n' \"$@\"; }}\n{command}");
            let told = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let words = if word.starts_with('-') {
                format!("reset\n--instance={word}\n--why\nw y\n--\n{word}\n")
            } else {
                format!("reset\n{word}\n--instance\n{word}\n--why\nw y\n")
            };
            assert_eq!(String::from_utf8(told.stdout).unwrap(), words, "{command}");
        }
    }
}
