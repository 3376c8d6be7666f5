//! Lines that are stored together.

use std::collections::HashSet;

use anyhow::Context;

use super::defaults::Defaults;
use super::line::command;
use super::source::Line;
use crate::cli::database::Store;
use crate::error::PushError;
use crate::event::NewEvent;

/// How often a push is repeated of which the outcome is not known, or for which others left no room.
const TRIES: u32 = 5;

/// What helps where an event brings a key that does not fit.
const BY_LINES: &str = "; its `source` and `id` make a push key, so that it is stored once: shorten them, or give --key-prefix, \
     which makes the keys of the numbers of lines";

/// Commands with the numbers of their lines; never empty when it is stored.
#[derive(Debug, Default)]
pub(super) struct Batch {
    commands: Vec<NewEvent>,
    lines: Vec<u64>,
    bytes: usize,
    /// Those of its events, by instance. All of them bear one, or none does.
    keys: HashSet<(String, String)>,
    /// They keep what they were elsewhere.
    keep: bool,
}

/// A line as a new event.
#[derive(Debug)]
pub(super) struct Read {
    command: NewEvent,
    line: u64,
    bytes: usize,
}

impl Read {
    /// With a prefix its push key is that and the number of the line.
    pub(super) fn line(line: &Line, defaults: &Defaults<'_>, key_prefix: Option<&str>) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(&line.bytes).context("it is not valid UTF-8")?.trim_ascii_end();
        let mut command = command(text, defaults)?;
        if let Some(prefix) = key_prefix {
            command = command.push_key(&format!("{prefix}:{}", line.number));
        }
        command.check(0).map_err(|error| {
            let hint = match &error {
                // Without a prefix, what is a key was made of a `CloudEvent`.
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

/// Why a batch was not stored, or not all of it.
#[derive(Debug)]
pub(super) struct Refused {
    /// The line that is at fault, if that is known.
    pub(super) line: Option<u64>,
    /// Events of the batch that are stored nevertheless: those that a repeated import had stored before.
    pub(super) stored: usize,
    /// How many of these were there already.
    pub(super) repeated: usize,
    /// Why.
    pub(super) error: anyhow::Error,
    /// True when it may be stored nevertheless, and a repetition would store it twice.
    pub(super) unknown: bool,
}

impl Batch {
    /// An empty one.
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

    /// False for what has to wait until this batch is stored: a push has a key for each event or for none, and two under one
    /// key would both be stored.
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

    /// True when it can be repeated.
    fn is_keyed(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Stores all of it, or nothing; of a repeated import what is not stored yet. Returns how many were there already.
    pub(super) fn store(&self, store: &dyn Store) -> Result<usize, Refused> {
        match self.push(store, &self.commands) {
            Ok(repeated) => Ok(if repeated { self.len() } else { 0 }),
            // An import with other batches may have stored a part of this one.
            Err(PushError::PushKeyReused { .. }) if self.len() > 1 => self.store_halves(store),
            Err(error) => Err(self.refused(&self.commands, 0, error)),
        }
    }

    /// Stores what is not stored, in ever smaller parts.
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

    /// Pushes; again when that may help and cannot store anything twice. True when all of it was there already.
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
            | PushError::IdExists { index, .. } => Some(*index),
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

/// What is wrong with an event, without the number that it has in its push.
fn reason(error: &PushError) -> String {
    match error {
        PushError::Invalid { field, source, .. } => {
            format!("its {field} cannot be stored: {}", crate::error::chain(source))
        }
        other => crate::error::chain(other),
    }
}
