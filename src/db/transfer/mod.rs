//! Copies a whole instance from one database to another: events with ids, times, versions and push keys, and the unique
//! values that are taken.

mod export;
mod import;

pub(crate) use import::{ImportError, Taken};

use uuid::Uuid;

use super::{Backend, DbStore};
use crate::error::{RetentionError, StoreError};
use crate::event::{Event, NewEvent};
use crate::failure::By;

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The version of the schema of the engine's own tables.
    pub(crate) schema: i64,
    pub(crate) events: u64,
    pub(crate) unique_values: u64,
}

/// The parts of an export, in this order.
#[derive(Debug)]
pub(crate) enum Part<'p> {
    /// The first part.
    Manifest(&'p Manifest),
    /// An event with its push key, in the order of positions.
    Event(&'p Event, Option<&'p str>),
    /// A unique constraint and a value that is taken.
    Unique(&'p str, &'p str),
}

/// A store that whole instances are copied from and to.
pub(crate) trait Transfer {
    /// Hands out everything of an instance as of one snapshot, in bounded memory. An error of `each` ends it.
    fn export(
        &self,
        instance: &str,
        each: &mut dyn FnMut(Part<'_>) -> Result<(), StoreError>,
    ) -> Result<(), RetentionError>;

    /// Begins the import of this export, or continues one that was cut off.
    fn begin_import(&self, instance: &str, export: Uuid, by: &By) -> Result<Taken, ImportError>;

    /// Stores the next events, all or none of them; returns the id of the last one.
    fn import_events(
        &self,
        instance: &str,
        head: Option<Uuid>,
        events: &[NewEvent],
    ) -> Result<Option<Uuid>, ImportError>;

    /// Takes those of these unique values that are not taken yet, all or none.
    fn import_unique(&self, instance: &str, head: Option<Uuid>, values: &[(String, String)])
    -> Result<(), ImportError>;

    /// Records that the import is complete.
    fn end_import(
        &self,
        instance: &str,
        head: Option<Uuid>,
        export: Uuid,
        manifest: &Manifest,
    ) -> Result<(), ImportError>;
}

impl<B: Backend> Transfer for DbStore<B> {
    fn export(
        &self,
        instance: &str,
        each: &mut dyn FnMut(Part<'_>) -> Result<(), StoreError>,
    ) -> Result<(), RetentionError> {
        export::export(self.backend(), instance, each)
    }

    fn begin_import(&self, instance: &str, export: Uuid, by: &By) -> Result<Taken, ImportError> {
        import::begin(self.backend(), instance, export, by)
    }

    fn import_events(
        &self,
        instance: &str,
        head: Option<Uuid>,
        events: &[NewEvent],
    ) -> Result<Option<Uuid>, ImportError> {
        import::check(instance, events)?;
        let stored = self.push_copied(events, head)?;
        Ok(stored.last().map(Event::id).or(head))
    }

    fn import_unique(
        &self,
        instance: &str,
        head: Option<Uuid>,
        values: &[(String, String)],
    ) -> Result<(), ImportError> {
        import::unique(self.backend(), instance, head, values)
    }

    fn end_import(
        &self,
        instance: &str,
        head: Option<Uuid>,
        export: Uuid,
        manifest: &Manifest,
    ) -> Result<(), ImportError> {
        import::end(self.backend(), instance, head, export, manifest)
    }
}
