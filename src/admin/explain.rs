//! Where a row comes from: it applies the events of the instance again, and reports those after which the row has
//! changed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::context::{Context, lower};
use super::format::{self, json};
use super::laws::{Columns, Memory, same};
use crate::builds::JsonRow;
use crate::command::ExplainRequest;
use crate::engine::Control;
use crate::error::{Error, OperateError, StoreError, chain};
use crate::event::Event;
use crate::failure::{FailureQuery, FailureStatus};
use crate::plain::{several, several_are};
use crate::query::{Cursor, ReadRequest};
use crate::statement::{Statement, find_table};
use crate::store::Replay;
use crate::table::Table;
use crate::value::{ColumnType, Value, parse_time, to_micros};

/// The most steps that an explanation holds. If there are more, it holds the last ones.
const STEPS: usize = 1000;

/// How many events are read at once, and how many bytes of their payloads.
const PAGE: (usize, usize) = (500, 16 << 20);

/// How a row came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The projection.
    pub projection: String,
    /// Its version.
    pub version: u32,
    /// The tenant.
    pub instance: String,
    /// The table, by its plain name.
    pub table: String,
    /// The primary key.
    pub key: JsonRow,
    /// As of this position.
    pub position: i64,
    /// Events that were applied again.
    pub events: u64,
    /// The events that changed the row, in order; the last thousand, if there are more.
    pub steps: Vec<ExplanationStep>,
    /// How many earlier changes are not in `steps`.
    pub left_out: u64,
    /// Positions of events that are on record as failed and so were not applied; the first thousand, if there are more.
    pub held: Vec<i64>,
    /// The row as these events make it; `None` when there is no such row.
    pub row: Option<JsonRow>,
    /// The row in the read model, if the question is as of the checkpoint.
    pub found: Option<JsonRow>,
    /// True when `found` is another row than `row`.
    #[serde(default)]
    pub differs: bool,
}

/// An event that changed the row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExplanationStep {
    /// Position of the event.
    pub position: i64,
    /// Its id.
    pub event: uuid::Uuid,
    /// Its type.
    pub event_type: String,
    /// Type and id of its aggregate.
    pub aggregate: (String, String),
    /// When it was stored.
    #[serde(with = "crate::clock::rfc3339")]
    pub created_at: SystemTime,
    /// The statement that its reducer made, in words.
    pub statement: String,
    /// The row afterwards; `None` if it no longer exists.
    pub row: Option<JsonRow>,
}

/// A replay in progress.
struct Told<'r> {
    site: &'r Context<'r>,
    table: &'r Table,
    key: Vec<Value>,
    held: BTreeSet<i64>,
    row: Option<Columns>,
    steps: VecDeque<ExplanationStep>,
    left_out: u64,
    events: u64,
}

/// Ends an explanation at a time limit, or when the engine stops.
#[cfg(feature = "serve")]
struct Patience<'s> {
    until: std::time::Instant,
    stop: &'s crate::engine::Stop,
}

#[cfg(feature = "serve")]
impl Control for Patience<'_> {
    fn report(&self, _progress: &serde_json::Value) {}

    fn may_go_on(&self) -> bool {
        std::time::Instant::now() < self.until && !self.stop.is_set()
    }

    fn wait(&self, time: std::time::Duration) -> bool {
        !self.stop.wait(time) && self.may_go_on()
    }

    fn announce(&self) {}

    fn switched(&self, _projection: &str, _version: u32) {}

    fn pauses(&self) -> Result<std::collections::HashSet<crate::lease::Pause>, StoreError> {
        Ok(std::collections::HashSet::new())
    }
}

/// Answers a question within this time, with the stores and the projection of an engine.
#[cfg(feature = "serve")]
pub(crate) fn explain_within(
    desk: &crate::engine::Desk,
    question: &ExplainRequest,
    time: std::time::Duration,
) -> Result<Explanation, String> {
    let site = Context {
        source: &desk.source,
        models: &desk.models,
        projection: desk.projection.clone(),
        config: desk.config.clone(),
        system: desk.system,
        cancel: Arc::default(),
        reducing: Arc::clone(&desk.reducing),
        hook: crate::engine::Hook::default(),
    };
    let patience = Patience { until: crate::clock::deadline(time), stop: &desk.stop };
    explain(&site, question, &patience).map_err(|error| match error {
        OperateError::ShutDown if !desk.stop.is_set() => format!(
            "it has not come to its end in {}; ask `readside explain`, which takes its time",
            crate::clock::spoken(time)
        ),
        other => chain(&other),
    })
}

/// Answers a question.
pub(super) fn explain(
    site: &Context<'_>,
    question: &ExplainRequest,
    control: &dyn Control,
) -> Result<Explanation, OperateError> {
    site.check_live_is_ours("explain")?;
    let table = find_table(site.projection.tables(), question.table.as_deref())?;
    let key = key(table, &question.key)?;
    let position = as_of(site, question)?;
    let instance: Arc<str> = question.instance.as_str().into();
    let held = site
        .models
        .failed_events(&site.projection.key(), &FailureQuery::all().instance(&instance).states(FailureStatus::ALL))?;
    let mut told = Told {
        site,
        table,
        key,
        held: held.iter().map(|held| held.attempt.position).filter(|held| *held <= position).collect(),
        row: None,
        steps: VecDeque::new(),
        left_out: 0,
        events: 0,
    };
    let mut work = |replay: &mut dyn Replay| told.run(replay, &instance, position, control);
    if !site.builds().replay(&site.projection, &mut work).map_err(lower)? {
        Memory::default().replay(&site.projection, &mut work).map_err(lower)?;
    }
    let found = if question.at.is_none() { told.found(&instance)? } else { None };
    let named: Vec<(String, Value)> = table.primary_key.iter().cloned().zip(told.key).collect();
    Ok(Explanation {
        projection: site.name().to_owned(),
        version: site.projection.version(),
        instance: question.instance.clone(),
        table: table.name.clone(),
        key: json(&named),
        position,
        events: told.events,
        steps: told.steps.into(),
        left_out: told.left_out,
        held: told.held.into_iter().take(STEPS).collect(),
        differs: question.at.is_none() && told.row != found,
        row: told.row.as_deref().map(json),
        found: found.as_deref().map(json),
    })
}

/// The position that the question means.
fn as_of(site: &Context<'_>, question: &ExplainRequest) -> Result<i64, OperateError> {
    site.check_instance(&question.instance)?;
    let Some(position) = question.at else {
        return Ok(site.state(&site.projection.key(), &question.instance)?.position);
    };
    let head = site.head(&question.instance)?.map_or(0, |head| head.head);
    if (1..=head).contains(&position) {
        return Ok(position);
    }
    Err(OperateError::UnknownPosition { instance: question.instance.clone(), position, head })
}

/// Reads the values of a primary key from texts.
fn key(table: &Table, given: &[String]) -> Result<Vec<Value>, OperateError> {
    let bad = |why: String| OperateError::BadKey {
        table: table.name.clone(),
        columns: table.primary_key.join(", "),
        given: given.to_vec(),
        why,
    };
    if given.len() != table.primary_key.len() {
        let columns = several(table.primary_key.len() as u64, "column");
        return Err(bad(format!("it has {columns}, and {} given", several_are(given.len() as u64, "value"))));
    }
    let value = |(name, text): (&String, &String)| {
        let kind = table.find(name).map_or(ColumnType::Text, |column| column.kind);
        value_of(text, kind).ok_or_else(|| bad(format!("column {name:?} holds {kind}, which {text:?} is not")))
    };
    table.primary_key.iter().zip(given).map(value).collect()
}

fn value_of(text: &str, kind: ColumnType) -> Option<Value> {
    Some(match kind {
        ColumnType::Text => text.into(),
        ColumnType::Integer => text.parse::<i64>().ok()?.into(),
        ColumnType::Boolean => text.parse::<bool>().ok()?.into(),
        ColumnType::Float => text.parse::<f64>().ok().filter(|number| number.is_finite())?.into(),
        ColumnType::Json => Value::Json(text.to_owned()),
        ColumnType::Uuid => text.parse::<uuid::Uuid>().ok()?.into(),
        ColumnType::Timestamp => Value::Timestamp(to_micros(parse_time(text)?)),
        ColumnType::TextArray => Value::TextArray(serde_json::from_str(text).ok()?),
        ColumnType::Bytes => Value::Bytes(bytes_of(text)?),
        ColumnType::Decimal { .. } => {
            let value = Value::decimal(text);
            value.fits(kind).then(|| value.held_by(kind).into_owned())?
        }
        ColumnType::Date => Value::Date(text.parse().ok()?),
        ColumnType::Time => Value::Time(text.parse().ok()?),
        ColumnType::Duration => Value::Duration(text.parse().ok()?),
        ColumnType::IntegerArray => Value::IntegerArray(serde_json::from_str(text).ok()?),
        ColumnType::UuidArray => Value::UuidArray(serde_json::from_str(text).ok()?),
    })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high * 16 + low),
            _ => None,
        })
        .collect()
}

impl Told<'_> {
    fn run(
        &mut self,
        replay: &mut dyn Replay,
        instance: &Arc<str>,
        position: i64,
        control: &dyn Control,
    ) -> Result<(), Error> {
        let mut after = 0;
        while after < position {
            if !control.may_go_on() {
                return Err(OperateError::ShutDown.into());
            }
            let cursors = vec![Cursor { instance: Arc::clone(instance), after }];
            let wanted = self.site.projection.wanted();
            let request = ReadRequest { cursors, wanted, limit: PAGE.0, max_bytes: PAGE.1 };
            let events = self.site.source.read(&request)?.pop().map(|slice| slice.events).unwrap_or_default();
            let Some(last) = events.last() else { break };
            after = last.position;
            let within = events.partition_point(|event| event.position <= position);
            for event in events.get(..within).unwrap_or_default() {
                if !self.held.contains(&event.position) {
                    self.events += 1;
                    self.one(replay, event)?;
                }
            }
            control.report(&serde_json::json!({ "events": self.events, "at": after, "of": position }));
        }
        Ok(())
    }

    /// Applies one event. If it is refused here, it changes nothing; why it is refused is a separate step.
    fn one(&mut self, replay: &mut dyn Replay, event: &Event) -> Result<(), StoreError> {
        let projection = &self.site.projection;
        let inside = self.site.reducing.enter(&event.instance);
        inside.at(event.position);
        let reduced = projection.reduce(event);
        drop(inside);
        let (statement, refused) = match reduced {
            Ok(Statement::Noop) => return Ok(()),
            Ok(statement) => {
                let outcome = replay.apply(&event.instance, &statement);
                (format::statement(projection, &statement), outcome.err().map(|error| chain(&error)))
            }
            Err(failure) => (String::new(), Some(format!("{}: {}", failure.class, failure.error))),
        };
        let row = replay.find(self.table, &event.instance, &self.key)?.map(|row| same(self.table, row));
        if row == self.row && refused.is_none() {
            return Ok(());
        }
        self.row.clone_from(&row);
        if self.steps.len() == STEPS {
            self.steps.pop_front();
            self.left_out += 1;
        }
        let statement = match refused {
            Some(why) => format!("refused ({why}){}{statement}", if statement.is_empty() { "" } else { ": " }),
            None => statement,
        };
        self.steps.push_back(ExplanationStep {
            position: event.position,
            event: event.id,
            event_type: event.event_type().to_owned(),
            aggregate: (event.aggregate_type.to_string(), event.aggregate_id().to_owned()),
            created_at: event.created_at,
            statement,
            row: row.as_deref().map(json),
        });
        Ok(())
    }

    /// The row as readers see it.
    fn found(&self, instance: &Arc<str>) -> Result<Option<Columns>, OperateError> {
        let projection = &self.site.projection;
        let row = self
            .site
            .builds()
            .find(projection, self.table, instance, &self.key)
            .map_err(|error| lower(error.into()))?;
        Ok(row.map(|row| same(self.table, row)))
    }
}
