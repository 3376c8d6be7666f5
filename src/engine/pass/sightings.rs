//! Which event types a process has applied, and which tables their statements touched: lineage from what was seen, in
//! addition to what projections declare.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::event::Event;
use crate::statement::{Statement, find_table};
use crate::sync::Mutex;
use crate::table::Table;

/// Event types that are remembered of a build; what else comes is told as more.
const MOST: usize = 500;

/// Event types that are counted by themselves before they are added to what is remembered: a search among few is cheap.
const BATCH_TYPES: usize = 16;

/// What became of the events of one type.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Sighting {
    pub(crate) events: u64,
    /// Tables, by their plain names.
    pub(crate) tables: BTreeSet<String>,
    /// SQL of the projection's own, by its names. What it touches is not known.
    pub(crate) sql: BTreeSet<String>,
}

/// By aggregate type, then by event type.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Seen {
    pub(crate) of: HashMap<Arc<str>, HashMap<Arc<str>, Sighting>>,
    pub(crate) types: usize,
    /// There were more types than are remembered.
    pub(crate) more: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<Seen>);

/// What was seen of the events of one type in a batch.
struct Batched<'s> {
    /// One of them.
    event: &'s Event,
    events: u64,
    tables: Vec<&'s Table>,
    sql: BTreeSet<&'s str>,
}

impl Sightings {
    /// Takes note of the events of a batch with the statements that were applied for them. It counts per event type first,
    /// since a batch has many events of few types and this runs for each event. The next event often has the type of the
    /// one before.
    pub(crate) fn note<'s>(&self, tables: &'s [Table], applied: impl Iterator<Item = (&'s Event, &'s Statement)>) {
        let (mut batch, mut at): (Vec<Batched<'s>>, usize) = (Vec::new(), 0);
        applied.for_each(|(event, statement)| {
            if !batch.get(at).is_some_and(|one| one.is_of(event)) {
                at = batch.iter().position(|one| one.is_of(event)).unwrap_or_else(|| {
                    if batch.len() == BATCH_TYPES {
                        self.add(batch.drain(..));
                    }
                    batch.push(Batched { event, events: 0, tables: Vec::new(), sql: BTreeSet::new() });
                    batch.len() - 1
                });
            }
            if let Some(one) = batch.get_mut(at) {
                one.events += 1;
                one.touch(tables, statement);
            }
        });
        self.add(batch.into_iter());
    }

    fn add<'s>(&self, batch: impl Iterator<Item = Batched<'s>>) {
        let mut seen = self.0.lock();
        for counted in batch {
            if let Some(sighting) = seen.sighting(counted.event) {
                sighting.events += counted.events;
                sighting.tables.extend(counted.tables.into_iter().map(|table| table.name.clone()));
                sighting.sql.extend(counted.sql.into_iter().map(str::to_owned));
            }
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.0.lock().clone()
    }
}

impl Seen {
    /// Aggregate type, event type and what became of it.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str, &Sighting)> {
        self.of.iter().flat_map(|(aggregate, types)| types.iter().map(move |(kind, one)| (&**aggregate, &**kind, one)))
    }

    fn sighting(&mut self, event: &Event) -> Option<&mut Sighting> {
        let (aggregate, kind) = (event.aggregate_type(), event.event_type());
        if self.of.get(aggregate).is_none_or(|types| !types.contains_key(kind)) {
            if self.types >= MOST {
                self.more = true;
                return None;
            }
            self.types += 1;
            self.of.entry(aggregate.into()).or_default().entry(kind.into()).or_default();
        }
        self.of.get_mut(aggregate)?.get_mut(kind)
    }
}

impl<'s> Batched<'s> {
    fn is_of(&self, event: &Event) -> bool {
        let (one, other) = (&self.event.aggregate_type, &event.aggregate_type);
        (Arc::ptr_eq(one, other) || one == other) && self.event.event_type() == event.event_type()
    }

    fn touch(&mut self, tables: &'s [Table], statement: &'s Statement) {
        let table = match statement {
            Statement::Noop => return,
            Statement::Multi(all) => return all.iter().for_each(|one| self.touch(tables, one)),
            Statement::Expect { statement, .. } => return self.touch(tables, statement),
            Statement::Exec { sql, .. } => {
                self.sql.insert(sql);
                return;
            }
            Statement::Create { table, .. }
            | Statement::Upsert { table, .. }
            | Statement::Update { table, .. }
            | Statement::Delete { table, .. }
            | Statement::Copy { table, .. } => table,
        };
        if let Ok(table) = find_table(tables, table.as_deref())
            && !self.tables.iter().any(|one| std::ptr::eq(*one, table))
        {
            self.tables.push(table);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{create, in_table, multi, noop, set};
    use crate::table::{Table, text};

    // Contract: S3: what is remembered is bounded, whatever comes.
    #[test]
    fn what_was_seen_is_bounded_and_says_so() {
        let tables = [Table::new("users").column(text("id")), Table::new("users_log").column(text("id"))];
        let (sightings, row) = (Sightings::default(), || create([set("id", "u")]));
        let both = multi([row(), in_table("log", row())]).unwrap();
        let event = |number: usize| Event::new("t", "user", "u", &format!("user.{number}"));
        let events: Vec<Event> = (0..MOST + 3).map(event).collect();
        sightings.note(&tables, events.iter().map(|event| (event, &both)));
        sightings.note(&tables, [(&events[0], &noop().unwrap())].into_iter());
        let seen = sightings.seen();
        let of = |number: usize| seen.of["user"].get(&*format!("user.{number}"));
        assert_eq!((of(0).unwrap().events, of(MOST), seen.more, seen.types), (2, None, true, MOST));
        assert_eq!(of(0).unwrap().tables, BTreeSet::from(["users".to_owned(), "users_log".to_owned()]));
    }
}
