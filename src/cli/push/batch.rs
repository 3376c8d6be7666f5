//! Lines that are stored together.

use anyhow::Context;

use super::line::{Defaults, command};
use super::source::Line;
use crate::error::PushError;
use crate::event::Command;
use crate::store::EventStore;

/// How often a push is repeated of which the outcome is not known, or for which others left no room.
const TRIES: u32 = 5;

/// Commands with the numbers of their lines; never empty when it is stored.
#[derive(Debug, Default)]
pub(super) struct Batch {
    commands: Vec<Command>,
    lines: Vec<u64>,
    bytes: usize,
}

/// Why a batch was not stored, or not all of it.
#[derive(Debug)]
pub(super) struct Refused {
    /// The line that is at fault, if that is known.
    pub(super) line: Option<u64>,
    /// Events of the batch that are stored nevertheless: those that a repeated import had stored before.
    pub(super) stored: usize,
    /// Why.
    pub(super) error: anyhow::Error,
    /// True when it may be stored nevertheless.
    pub(super) unknown: bool,
}

impl Batch {
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

    /// Reads a line and adds its command.
    pub(super) fn add(&mut self, line: &Line, defaults: &Defaults<'_>, key_prefix: Option<&str>) -> anyhow::Result<()> {
        let text = std::str::from_utf8(&line.bytes).context("it is no UTF-8")?.trim_ascii_end();
        let mut command = command(text, defaults)?;
        command.check(0).map_err(|error| anyhow::anyhow!("{}", reason(&error)))?;
        if let Some(prefix) = key_prefix {
            command = command.push_key(&format!("{prefix}:{}", line.number));
        }
        self.commands.push(command);
        self.lines.push(line.number);
        self.bytes += line.bytes.len();
        Ok(())
    }

    /// Stores all of it, or nothing; of a repeated import what is not stored yet.
    pub(super) fn store(&self, store: &dyn EventStore, keyed: bool) -> Result<(), Refused> {
        match push(store, &self.commands, keyed) {
            Ok(()) => Ok(()),
            // An import with other batches may have stored a part of this one.
            Err(PushError::PushKeyReused { .. }) if self.len() > 1 => self.store_halves(store),
            Err(error) => Err(self.refused(&self.commands, 0, error)),
        }
    }

    /// Stores what is not stored, in ever smaller parts.
    fn store_halves(&self, store: &dyn EventStore) -> Result<(), Refused> {
        let (mut parts, mut stored) = (vec![self.commands.as_slice()], 0);
        while let Some(part) = parts.pop() {
            match push(store, part, true) {
                Ok(()) => stored += part.len(),
                Err(PushError::PushKeyReused { .. }) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => return Err(self.refused(part, stored, error)),
            }
        }
        Ok(())
    }

    fn refused(&self, part: &[Command], stored: usize, error: PushError) -> Refused {
        let at = match &error {
            PushError::PushKeyReused { .. } if part.len() == 1 => Some(0),
            PushError::Invalid { index, .. } => Some(*index),
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
        Refused { line, stored, error: error.into(), unknown }
    }
}

/// Pushes; again when that may help and cannot store anything twice.
fn push(store: &dyn EventStore, commands: &[Command], keyed: bool) -> Result<(), PushError> {
    let mut tries = 1;
    loop {
        match store.push(commands) {
            Ok(_) => return Ok(()),
            Err(PushError::Store(error))
                if tries < TRIES
                    && (error.is_transient()
                        || (keyed && error.kind() == crate::error::StoreErrorKind::CommitUnknown)) =>
            {
                log::warn!("{}; trying again", crate::error::full(&error));
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What is wrong with a command, without the number that it has in its push.
fn reason(error: &PushError) -> String {
    match error {
        PushError::Invalid { field, source, .. } => {
            format!("its {field} cannot be stored: {}", crate::error::full(source))
        }
        other => crate::error::full(other),
    }
}
