//! One instance: its log from the first position to the head, its checkpoint, its rows.

use std::sync::Arc;

use super::report::{Fault, LawLag, LawReport};
use super::{Check, EVENTS, Model, rows};
use crate::error::{Error, OperateError, StoreError, chain};
use crate::event::Event;
use crate::query::{Cursor, EventBatch, EventFilter, Flaw, ReadRequest, Span};
use crate::statement::Statement;
use crate::store::Replay;

/// How many bytes of payload are read at once.
pub(super) const BYTES: usize = 16 << 20;

/// What the checker has seen on its way through a log.
#[derive(Debug, Default)]
struct Log {
    /// The last position.
    last: i64,
    /// The last position of the aggregate types that the projection handles.
    relevant: i64,
    /// The event at the checkpoint.
    at: Option<uuid::Uuid>,
}

impl Check<'_> {
    /// Checks an instance at its present checkpoint, and returns that checkpoint.
    pub(crate) fn instance(&self, instance: &Arc<str>, report: &mut LawReport) -> Result<i64, Error> {
        // The model is read first: a head that is read later is at or above every checkpoint.
        let model = self.models.model(self.projection, instance)?;
        let slice = self.slice(instance, model.state.position)?;
        let (mut log, mut expected) = (Log::default(), Vec::new());
        let mut work = |replay: &mut dyn Replay| -> Result<(), Error> {
            log = match self.whole {
                Some(_) => self.log(replay, instance, &model, slice.head, report)?,
                None => self.wanted(replay, instance, &model, &slice, report)?,
            };
            expected = replay.rows(instance)?;
            Ok(())
        };
        if !self.models.replay(self.projection, &mut work)? {
            self.memory.replay(self.projection, &mut work)?;
        }
        relevant_head(&slice, &log, report);
        self.checkpoint(&model, &slice, &log, report);
        report.instances += 1;
        report.held += model.held.len() as u64;
        rows::compare(self.projection, instance, expected, model.tables, report);
        Ok(model.state.position)
    }

    fn slice(&self, instance: &Arc<str>, after: i64) -> Result<EventBatch, Error> {
        let cursors = vec![Cursor { instance: Arc::clone(instance), after }];
        let request = ReadRequest { cursors, wanted: self.projection.wanted(), limit: 1, max_bytes: 1 };
        let mut slices = self.source.read(&request)?;
        slices.pop().ok_or_else(|| {
            let why = "the source gave no slice for a cursor";
            StoreError::new("reading heads", crate::error::StoreErrorKind::Corrupt, why).into()
        })
    }

    /// Reads the log up to the head, and applies what the checkpoint covers.
    fn log(
        &self,
        replay: &mut dyn Replay,
        instance: &Arc<str>,
        model: &Model,
        head: i64,
        report: &mut LawReport,
    ) -> Result<Log, Error> {
        let mut log = Log { last: self.source.removed(instance)?, ..Log::default() };
        let wanted = self.projection.wanted();
        while let Some(page) = self.whole {
            let events = page(instance, log.last, head)?;
            let before = log.last;
            for event in &events {
                dense(&log, event, report);
                log.last = log.last.max(event.position);
                if EventFilter::lists(&wanted.aggregate_types, &event.aggregate_type) {
                    log.relevant = event.position;
                }
                if event.position == model.state.position {
                    log.at = Some(event.id);
                }
            }
            report.events += events.len() as u64;
            self.apply(replay, &events, model, report);
            if log.last == before {
                break;
            }
        }
        if log.last < head {
            report.add(Fault::Hole { instance: Arc::clone(instance), from: log.last + 1, to: head });
        }
        Ok(log)
    }

    /// Applies the wanted events up to the checkpoint. Other facts about the log come from the slice. The source says
    /// whether the log is whole.
    fn wanted(
        &self,
        replay: &mut dyn Replay,
        instance: &Arc<str>,
        model: &Model,
        slice: &EventBatch,
        report: &mut LawReport,
    ) -> Result<Log, Error> {
        let whole = Span { instance: Arc::clone(instance), after: 0, to: slice.head };
        for Flaw { instance, found, .. } in self.source.flaws(&[whole])? {
            report.add(Fault::Log { instance, found });
        }
        let mut log = Log { last: 0, relevant: slice.relevant, at: slice.at };
        while log.last < model.state.position {
            if self.may_go_on.is_some_and(|may_go_on| !may_go_on()) {
                return Err(OperateError::ShutDown.into());
            }
            let cursors = vec![Cursor { instance: Arc::clone(instance), after: log.last }];
            let wanted = self.projection.wanted();
            let request = ReadRequest { cursors, wanted, limit: EVENTS, max_bytes: BYTES };
            let page = self.source.read(&request)?.pop();
            let events = page.map(|page| page.events).unwrap_or_default();
            let Some(last) = events.last() else { break };
            log.last = last.position;
            let within = events.partition_point(|event| event.position <= model.state.position);
            report.events += within as u64;
            self.apply(replay, events.get(..within).unwrap_or_default(), model, report);
        }
        Ok(log)
    }

    /// Applies one statement at a time, each under its own savepoint.
    fn apply(&self, replay: &mut dyn Replay, events: &[Event], model: &Model, report: &mut LawReport) {
        let counts = |event: &&Event| event.position <= model.state.position && !model.held.contains(&event.position);
        for event in events.iter().filter(counts) {
            let inside = self.reducing.map(|reducing| reducing.enter(&event.instance));
            if let Some(inside) = &inside {
                inside.at(event.position);
            }
            let reduced = self.projection.reduce(event);
            drop(inside);
            let refused = match reduced {
                Ok(Statement::Noop) => continue,
                Ok(statement) => match replay.apply(&event.instance, &statement) {
                    Ok(()) => continue,
                    Err(error) => chain(&error),
                },
                Err(failure) => format!("{}: {}", failure.class, failure.error),
            };
            let instance = Arc::clone(&event.instance);
            report.add(Fault::Refused { instance, position: event.position, error: refused });
        }
    }

    fn checkpoint(&self, model: &Model, slice: &EventBatch, log: &Log, report: &mut LawReport) {
        let (state, instance) = (&model.state, Arc::clone(&slice.instance));
        if state.position == 0 {
            // Nothing was applied yet: the state names no event and no store.
        } else if state.store != Some(self.store) {
            report.add(Fault::OtherStore { instance: Arc::clone(&instance), expected: self.store, found: state.store });
        } else if state.position > slice.head {
            let (position, head) = (state.position, slice.head);
            report.add(Fault::Ahead { instance: Arc::clone(&instance), position, head });
        } else if state.event != log.at {
            let (position, expected, found) = (state.position, log.at, state.event);
            report.add(Fault::OtherEvent { instance: Arc::clone(&instance), position, expected, found });
        }
        if state.position < log.relevant {
            report.behind.push(LawLag { instance, position: state.position, relevant: log.relevant });
        }
    }
}

/// Compares a position with the one before it.
fn dense(log: &Log, event: &Event, report: &mut LawReport) {
    let (instance, expected) = (Arc::clone(&event.instance), log.last + 1);
    if event.position > expected {
        report.add(Fault::Hole { instance, from: expected, to: event.position - 1 });
    } else if event.position < expected {
        report.add(Fault::Doubled { instance, position: event.position });
    }
}

fn relevant_head(slice: &EventBatch, log: &Log, report: &mut LawReport) {
    if slice.relevant != log.relevant {
        let instance = Arc::clone(&slice.instance);
        report.add(Fault::RelevantHead { instance, expected: log.relevant, found: slice.relevant });
    }
}
