//! Which event types a process has applied, and which tables their statements touched: lineage from what was seen, beside
//! what projections declare.

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

impl Sightings {
    /// Takes note of the events of a batch with the statements that were applied for them. It counts per event type first,
    /// since a batch has many events of few types and this runs for each event.
    pub(crate) fn note<'s>(&self, tables: &[Table], applied: impl Iterator<Item = (&'s Event, &'s Statement)>) {
        let mut batch: Vec<(&Event, Sighting)> = Vec::new();
        for (event, statement) in applied {
            let is_same = |(one, _): &&mut (&Event, Sighting)| {
                one.event_type() == event.event_type() && one.aggregate_type() == event.aggregate_type()
            };
            if let Some((_, sighting)) = batch.iter_mut().find(is_same) {
                sighting.count(tables, statement);
                continue;
            }
            if batch.len() == BATCH_TYPES {
                self.add(batch.drain(..));
            }
            let mut sighting = Sighting::default();
            sighting.count(tables, statement);
            batch.push((event, sighting));
        }
        self.add(batch.into_iter());
    }

    fn add<'s>(&self, batch: impl Iterator<Item = (&'s Event, Sighting)>) {
        let mut seen = self.0.lock();
        for (event, counted) in batch {
            if let Some(sighting) = seen.sighting(event) {
                sighting.events += counted.events;
                sighting.tables.extend(counted.tables);
                sighting.sql.extend(counted.sql);
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

impl Sighting {
    fn count(&mut self, tables: &[Table], statement: &Statement) {
        self.events += 1;
        self.touch(tables, statement);
    }

    fn touch(&mut self, tables: &[Table], statement: &Statement) {
        let table = match statement {
            Statement::Noop => return,
            Statement::Multi(all) => return all.iter().for_each(|one| self.touch(tables, one)),
            Statement::Expect { statement, .. } => return self.touch(tables, statement),
            Statement::Exec { sql, .. } => {
                if !self.sql.contains(&**sql) {
                    self.sql.insert(sql.to_string());
                }
                return;
            }
            Statement::Create { table, .. }
            | Statement::Upsert { table, .. }
            | Statement::Update { table, .. }
            | Statement::Delete { table, .. }
            | Statement::Copy { table, .. } => table,
        };
        if let Ok(table) = find_table(tables, table.as_deref())
            && !self.tables.contains(&table.name)
        {
            self.tables.insert(table.name.clone());
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
