//! `import`: makes an instance from a file. It reads the file once to check it, and once more to store it.

use anyhow::{Context, ensure};
use serde::Serialize;
use uuid::Uuid;

use super::form::{Export, Header, Item};
use crate::cli::by;
use crate::cli::format::several;
use crate::cli::options::ImportArgs;
use crate::cli::stop::Stop;
use crate::cli::{Ended, Outcome, Session};
use crate::db::{ImportError, Manifest};
use crate::event::NewEvent;

/// The limits of one transaction.
const EVENTS: usize = 1000;
const BYTES: usize = 8 << 20;

#[derive(Debug, Serialize)]
struct ImportReport<'a> {
    instance: &'a str,
    /// All events of the file that are stored now.
    events: u64,
    /// How many of them an earlier import had stored before it was cut off.
    repeated: u64,
    unique_values: u64,
    complete: bool,
}

/// An import in progress.
struct Import<'s> {
    session: &'s Session<'s>,
    instance: &'s str,
    /// True if everything is stored already, so that the file is only compared.
    is_complete: bool,
    /// Events that were stored before this process began.
    repeated: u64,
    /// Events of the file so far.
    seen: u64,
    stored: u64,
    unique_values: u64,
    head: Option<Uuid>,
    events: Vec<NewEvent>,
    bytes: usize,
    values: Vec<(String, String)>,
}

pub(in crate::cli) fn import(session: &mut Session<'_>, args: &ImportArgs) -> Outcome {
    let stop = Stop::on_signals()?;
    let known = session.events.schema()?.known;
    let open = || Export::open(&args.file, known, &stop);
    let Some(file) = open()? else { return Ok(Ended::Interrupted) };
    let instance = args.instance.as_deref().unwrap_or(&file.header.instance);
    if !file.walk(instance, &stop, |_| Ok(()))? {
        return Ok(Ended::Interrupted);
    }
    let Some(again) = open()? else { return Ok(Ended::Interrupted) };
    ensure!(again.header == file.header, "\"{}\" was changed while it was read", args.file.display());
    let Header { export, schema, events, unique_values, .. } = file.header;
    let taken = session.events.begin_import(instance, export, &by::of_looks(&args.by))?;
    let exists = || ImportError::Exists { instance: instance.to_owned(), events: taken.events };
    ensure!(taken.events <= events && (!taken.is_complete || taken.events == events), exists());
    let mut import = Import {
        session,
        instance,
        is_complete: taken.is_complete,
        repeated: taken.events,
        seen: 0,
        stored: taken.events,
        unique_values: 0,
        head: taken.head,
        events: Vec::new(),
        bytes: 0,
        values: Vec::new(),
    };
    let outcome = again.walk(instance, &stop, |item| import.take(item)).and_then(|is_whole| {
        if is_whole && !taken.is_complete {
            import.store_values()?;
            session.events.end_import(instance, import.head, export, &Manifest { schema, events, unique_values })?;
        }
        Ok(is_whole)
    });
    let (stored, repeated, unique_values) = (import.stored, import.repeated, import.unique_values);
    let is_whole = outcome.with_context(|| format!("{stored} of {} are stored", several(events, "event")))?;
    let (instance, complete) = (instance.to_owned(), is_whole);
    session.out.changed(format!("{} of instance {instance:?} are stored", several(stored, "event")));
    let report = ImportReport { instance: &instance, events: stored, repeated, unique_values, complete };
    if session.out.is_json() {
        session.out.object(&report)?;
    } else {
        session.out.remark(&told(&report, taken.is_complete, events))?;
    }
    Ok(if is_whole { Ended::Fine } else { Ended::Interrupted })
}

fn told(report: &ImportReport<'_>, was_complete: bool, events: u64) -> String {
    let ImportReport { instance, events: stored, unique_values, .. } = *report;
    let all = several(stored, "event");
    if was_complete {
        return format!("instance {instance:?} holds all of this file already: {all}");
    }
    if !report.complete {
        return format!(
            "a signal ended it; {stored} of {} are stored, and the same import goes on",
            several(events, "event")
        );
    }
    let before = if report.repeated == 0 { String::new() } else { format!(", {} of them before", report.repeated) };
    format!("imported {all}{before} and {} as instance {instance:?}", several(unique_values, "unique value"))
}

impl Import<'_> {
    fn take(&mut self, item: Item) -> anyhow::Result<()> {
        match item {
            Item::Event(event, bytes) => self.event(*event, bytes),
            Item::Unique(constraint, value) => {
                self.store_events()?;
                self.unique_values += 1;
                if self.is_complete {
                    return Ok(());
                }
                self.values.push((constraint, value));
                if self.values.len() == EVENTS { self.store_values() } else { Ok(()) }
            }
        }
    }

    fn event(&mut self, event: NewEvent, bytes: usize) -> anyhow::Result<()> {
        self.seen += 1;
        if self.seen < self.repeated {
            return Ok(());
        }
        if self.seen == self.repeated {
            // If the last stored event is the event at this place of the file, the stored events are a beginning of
            // this file.
            let exists = ImportError::Exists { instance: self.instance.to_owned(), events: self.repeated };
            ensure!(event.id == self.head, exists);
            return Ok(());
        }
        self.events.push(event);
        self.bytes += bytes;
        let is_full = self.events.len() == EVENTS || self.bytes >= BYTES;
        if is_full { self.store_events() } else { Ok(()) }
    }

    fn store_events(&mut self) -> anyhow::Result<()> {
        if self.events.is_empty() {
            return Ok(());
        }
        self.head = self.session.events.import_events(self.instance, self.head, &self.events)?;
        self.stored += self.events.len() as u64;
        self.events.clear();
        self.bytes = 0;
        Ok(())
    }

    fn store_values(&mut self) -> anyhow::Result<()> {
        self.store_events()?;
        if !self.values.is_empty() {
            self.session.events.import_unique(self.instance, self.head, &self.values)?;
            self.values.clear();
        }
        Ok(())
    }
}
