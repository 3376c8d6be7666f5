//! A batch of lines that are stored together.

use std::collections::HashSet;

use anyhow::Context;

use super::defaults::Defaults;
use super::line::command;
use super::source::Line;
use crate::cli::database::Store;
use crate::error::PushError;
use crate::event::NewEvent;

/// How often a push is tried, if its outcome is unknown or if other pushes kept it from its locks.
const TRIES: u32 = 5;

/// What helps if the key of a `CloudEvent` cannot be used.
const BY_LINES: &str = "; its `source` and `id` make a push key, so that it is stored once: shorten them, or give --key-prefix, \
     which makes the keys of the numbers of lines";

/// Events with the numbers of their lines. A batch that is stored is never empty.
#[derive(Debug, Default)]
pub(super) struct Batch {
    commands: Vec<NewEvent>,
    lines: Vec<u64>,
    bytes: usize,
    /// The push keys of its events, by instance. Either all events have one, or none has.
    keys: HashSet<(String, String)>,
    /// True if the events keep the ids, times and versions of their lines.
    keep: bool,
}

/// A line, read as a new event.
#[derive(Debug)]
pub(super) struct Read {
    command: NewEvent,
    line: u64,
    bytes: usize,
}

impl Read {
    /// Reads a line. With a prefix, the push key is the prefix and the number of the line.
    pub(super) fn line(line: &Line, defaults: &Defaults<'_>, key_prefix: Option<&str>) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(&line.bytes).context("it is not valid UTF-8")?.trim_ascii_end();
        let mut command = command(text, defaults)?;
        if let Some(prefix) = key_prefix {
            command = command.push_key(&format!("{prefix}:{}", line.number));
        }
        command.check(0).map_err(|error| {
            let hint = match &error {
                // Without a prefix, only a `CloudEvent` gives an event a push key.
                PushError::Invalid { field: "push key", .. } if key_prefix.is_none() => BY_LINES,
                _ => "",
            };
            anyhow::anyhow!("{}{hint}", reason(&error))
        })?;
        Ok(Self { command, line: line.number, bytes: line.bytes.len() })
    }

    fn key(&self) -> Option<(String, String)> {
        self.command.push_key.as_ref().map(|key| (self.command.instance().to_owned(), key.clone()))
    }
}

/// Why a batch was not stored, or only in part.
#[derive(Debug)]
pub(super) struct Refused {
    /// The line that is at fault, if it is known.
    pub(super) line: Option<u64>,
    /// How many events of the batch are stored nevertheless. An earlier run of the same import stored them.
    pub(super) stored: usize,
    /// How many of these were stored before.
    pub(super) repeated: usize,
    /// Why.
    pub(super) error: anyhow::Error,
    /// True if the batch may be stored nevertheless, so that a repetition could store it twice.
    pub(super) unknown: bool,
}

impl Batch {
    /// An empty batch.
    pub(super) fn of(keep: bool) -> Self {
        Self { keep, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first_line(&self) -> u64 {
        self.lines.first().copied().unwrap_or(0)
    }

    pub(super) fn last_line(&self) -> u64 {
        self.lines.last().copied().unwrap_or(0)
    }

    /// False for a line that has to wait until this batch is stored. In one push, either all events have a key or
    /// none has. Two events with the same key would both be stored.
    pub(super) fn takes(&self, read: &Read) -> bool {
        match read.key() {
            _ if self.commands.is_empty() => true,
            Some(key) => self.is_keyed() && !self.keys.contains(&key),
            None => !self.is_keyed(),
        }
    }

    pub(super) fn add(&mut self, read: Read) {
        self.keys.extend(read.key());
        self.commands.push(read.command);
        self.lines.push(read.line);
        self.bytes += read.bytes;
    }

    /// True if the push can be repeated without storing anything twice.
    fn is_keyed(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Stores the whole batch or nothing. If an earlier run has stored a part, it stores the rest. Returns how many
    /// events were stored before.
    pub(super) fn store(&self, store: &dyn Store) -> Result<usize, Refused> {
        match self.push(store, &self.commands) {
            Ok(repeated) => Ok(if repeated { self.len() } else { 0 }),
            // An import with other batches may have stored a part of this one.
            Err(PushError::PushKeyReused { .. }) if self.len() > 1 => self.store_halves(store),
            Err(error) => Err(self.refused(&self.commands, 0, error)),
        }
    }

    /// Stores the missing events, in ever smaller parts.
    fn store_halves(&self, store: &dyn Store) -> Result<usize, Refused> {
        let (mut parts, mut stored, mut repeated) = (vec![self.commands.as_slice()], 0, 0);
        while let Some(part) = parts.pop() {
            match self.push(store, part) {
                Ok(again) => {
                    stored += part.len();
                    repeated += if again { part.len() } else { 0 };
                }
                Err(PushError::PushKeyReused { .. }) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => return Err(Refused { repeated, ..self.refused(part, stored, error) }),
            }
        }
        Ok(repeated)
    }

    /// Pushes, and tries again if that may help and cannot store anything twice. True if all events were stored
    /// before.
    fn push(&self, store: &dyn Store, commands: &[NewEvent]) -> Result<bool, PushError> {
        let mut tries = 1;
        loop {
            let pushed = if self.keep { store.import_or_repeat(commands) } else { store.push_or_repeat(commands) };
            match pushed {
                Ok(repeated) => return Ok(repeated),
                Err(PushError::Store(error))
                    if tries < TRIES
                        && error.passes()
                        && (self.is_keyed() || error.kind() != crate::error::StoreErrorKind::CommitUnknown) =>
                {
                    log::warn!("{}; trying again", crate::error::chain(&error));
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn refused(&self, part: &[NewEvent], stored: usize, error: PushError) -> Refused {
        let at = match &error {
            PushError::PushKeyReused { .. } if part.len() == 1 => Some(0),
            PushError::Invalid { index, .. }
            | PushError::TimeGoesBack { index, .. }
            | PushError::TimeAhead { index, .. }
            | PushError::IdExists { index, .. }
            | PushError::UniqueViolation { index, .. } => Some(*index),
            PushError::Conflict { instance, aggregate_type, aggregate_id, expected, .. } => {
                part.iter().position(|command| {
                    command.instance() == instance
                        && command.aggregate_type() == aggregate_type
                        && command.aggregate_id() == aggregate_id
                        && command.expected == *expected
                })
            }
            _ => None,
        };
        let line = at.and_then(|at| self.lines.get(stored + at)).copied();
        let unknown =
            matches!(&error, PushError::Store(error) if error.kind() == crate::error::StoreErrorKind::CommitUnknown);
        Refused { line, stored, repeated: 0, error: error.into(), unknown: unknown && !self.is_keyed() }
    }
}

/// What is wrong with an event, without its number in the push.
fn reason(error: &PushError) -> String {
    match error {
        PushError::Invalid { field, source, .. } => {
            format!("its {field} cannot be stored: {}", crate::error::chain(source))
        }
        other => crate::error::chain(other),
    }
}
