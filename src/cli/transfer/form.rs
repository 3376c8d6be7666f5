//! The lines of an export: a header, the events, the unique values, and at the end the numbers of both. A file
//! without this last line was cut short.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::push::{Defaults, Next, Source, command};
use crate::cli::stop::Stop;
use crate::event::NewEvent;
use crate::value::{check_text, time_text};

/// The version of the format that this code writes and reads.
pub(super) const FORMAT: u32 = 1;

/// The time after which a signal is noticed.
const NOTICE: Duration = Duration::from_millis(100);

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) readside_export: u32,
    /// Identifies this export.
    pub(super) export: Uuid,
    /// The version of the schema of the store that wrote it.
    pub(super) schema: i64,
    pub(super) instance: String,
    pub(super) events: u64,
    pub(super) unique_values: u64,
}

/// Reads only the format version of a file.
#[derive(Deserialize)]
struct Form {
    readside_export: Option<u32>,
}

/// A unique value that is taken.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UniqueLine {
    pub(super) unique: UniqueValue,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UniqueValue {
    pub(super) constraint: String,
    pub(super) value: String,
}

/// The last line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine {
    pub(super) end: Counts,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub(super) events: u64,
    pub(super) unique_values: u64,
}

/// What a line holds.
pub(super) enum Item {
    Event(Box<NewEvent>, usize),
    Unique(String, String),
}

/// A file that is read from its beginning to its end.
pub(super) struct Export<'a> {
    path: &'a Path,
    source: Source,
    pub(super) header: Header,
}

impl<'a> Export<'a> {
    /// Reads the first line. `known` is the newest schema that this code knows.
    pub(super) fn open(path: &'a Path, known: i64, stop: &Stop) -> anyhow::Result<Option<Self>> {
        ensure!(path != Path::new("-"), "an import reads its file twice, which standard input cannot be: name a file");
        let source = Source::open(Some(path))?;
        let Some((number, text)) = next(&source, stop)? else {
            return if stop.is_asked() { Ok(None) } else { Err(no_export("it is empty")) };
        };
        let form: Result<Form, _> = serde_json::from_str(&text);
        let Some(format) = form.ok().and_then(|form| form.readside_export) else {
            return Err(no_export("its first line names no format"));
        };
        ensure!(
            format == FORMAT,
            "the file has the form {format} of an export, and this readside reads the form {FORMAT}: use the version of \
             readside that wrote it, or a newer one"
        );
        let header: Header = serde_json::from_str(&text).with_context(|| format!("line {number}"))?;
        ensure!(
            header.schema <= known,
            "the file comes from a store with the schema {}, and this readside knows {known}: use a newer readside",
            header.schema
        );
        Ok(Some(Self { path, source, header }))
    }

    /// Checks each line and passes its content on, one by one in order. False if a signal ended it.
    pub(super) fn walk(
        &self,
        instance: &str,
        stop: &Stop,
        mut each: impl FnMut(Item) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let instance = Arc::from(instance);
        let mut before = None;
        for _ in 0..self.header.events {
            let Some((number, text)) = self.line(stop)? else { return Ok(false) };
            let event = self.event(&text, &mut before).with_context(|| format!("line {number}"))?;
            each(Item::Event(Box::new(NewEvent { instance: Arc::clone(&instance), ..event }), text.len()))?;
        }
        for _ in 0..self.header.unique_values {
            let Some((number, text)) = self.line(stop)? else { return Ok(false) };
            let read = || {
                let line: UniqueLine = serde_json::from_str(&text).context("it is not a unique value")?;
                check_text(&line.unique.constraint)?;
                check_text(&line.unique.value)?;
                anyhow::Ok(line.unique)
            };
            let unique = read().with_context(|| format!("line {number}"))?;
            each(Item::Unique(unique.constraint, unique.value))?;
        }
        let Some((number, text)) = self.line(stop)? else { return Ok(false) };
        let Header { events, unique_values, .. } = self.header;
        let is_end =
            serde_json::from_str::<EndLine>(&text).is_ok_and(|line| line.end == Counts { events, unique_values });
        ensure!(is_end, "line {number}: it is not the last line of this export: the file was changed");
        if let Some((number, _)) = next(&self.source, stop)? {
            bail!("line {number}: the export has ended before it: more was written behind it");
        }
        Ok(!stop.is_asked())
    }

    fn event(&self, text: &str, before: &mut Option<SystemTime>) -> anyhow::Result<NewEvent> {
        let event = command(text, &Defaults { keep: true, ..Defaults::default() })?;
        let of = event.instance();
        ensure!(of == self.header.instance, "it is of instance {of:?}, and the file of {:?}", self.header.instance);
        ensure!(event.id.is_some(), "it has no `id`");
        event.check(0)?;
        if let (Some(at), Some(before)) = (event.created_at, *before) {
            let (at_text, before) = (time_text(at), if at < before { Some(time_text(before)) } else { None });
            if let Some(before) = before {
                bail!("it was created at {at_text}, and the one in front of it at {before}: times never go back");
            }
        }
        *before = event.created_at;
        Ok(event)
    }

    /// The next line. `None` if a signal ended the wait for it.
    fn line(&self, stop: &Stop) -> anyhow::Result<Option<(u64, String)>> {
        let line = next(&self.source, stop)?;
        if line.is_none() && !stop.is_asked() {
            let Header { events, unique_values, .. } = self.header;
            bail!(
                "\"{}\" was cut short: it should hold {events} events, {unique_values} unique values and a last line; \
                 export it again",
                self.path.display()
            );
        }
        Ok(line)
    }
}

fn no_export(why: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "the file is not an export of readside: {why}; `readside push --keep-times` stores what `readside events` has printed"
    )
}

/// `None` at the end, and if a signal asked the command to end.
fn next(source: &Source, stop: &Stop) -> anyhow::Result<Option<(u64, String)>> {
    loop {
        if stop.is_asked() {
            return Ok(None);
        }
        match source.next(NOTICE)? {
            Next::Line(line) => {
                let number = line.number;
                let text = String::from_utf8(line.bytes)
                    .ok()
                    .with_context(|| format!("line {number}: it is not valid UTF-8"))?;
                return Ok(Some((number, text)));
            }
            Next::Nothing => {}
            Next::End => return Ok(None),
        }
    }
}
