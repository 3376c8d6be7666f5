//! Turns an event into a checked statement: upcasts, the reducer with panics caught, the check against the tables.

use std::cell::Cell;
use std::error::Error as StdError;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Projection, Reducer};
use crate::error::{PayloadError, ReduceError, StatementError, net};
use crate::event::Event;
use crate::failure::{FailureClass, ReduceFailure};
use crate::query::EventFilter;
use crate::statement::{Reduced, Statement};

thread_local! {
    /// True while a reducer or an upcast runs on this thread.
    static REDUCING: Cell<bool> = const { Cell::new(false) };
}

/// True inside a reducer or an upcast on this thread. A call that waits for a pass would wait for itself there.
pub(crate) fn is_reducing() -> bool {
    REDUCING.get()
}

/// Runs work of the engine as if outside of a reducer. A reducer that waits for others may make its thread run such
/// work.
pub(crate) fn apart<R>(work: impl FnOnce() -> R) -> R {
    let _mark = Mark::set(false);
    work()
}

/// Sets whether a reducer runs on this thread, until it is dropped.
struct Mark {
    before: bool,
}

impl Mark {
    fn set(reducing: bool) -> Self {
        Self { before: REDUCING.replace(reducing) }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        REDUCING.set(self.before);
    }
}

impl Projection {
    /// The statement that the event's reducer makes, checked against the tables. It is [`Statement::Noop`] for an event
    /// without a reducer, and for an erased event unless [`on_redacted`](Self::on_redacted) sets a reducer.
    ///
    /// # Errors
    /// When an upcast or the reducer fails or panics, or the statement does not fit the tables.
    pub fn reduce(&self, event: &Event) -> Result<Statement, ReduceFailure> {
        let Some(reducer) = self.reducer(event) else { return Ok(Statement::Noop) };
        let reducer = match (event.is_redacted(), &self.inner.redacted) {
            (false, _) => reducer,
            (true, Some(reducer)) => reducer,
            (true, None) => return Ok(Statement::Noop),
        };
        // A reducer is a pure function of its event, so nobody can see anything that it changed halfway.
        let _mark = Mark::set(true);
        let statement = match net::caught(|| self.call(reducer, event)) {
            Ok(Ok(statement)) => statement,
            Ok(Err(error)) => {
                let failure = failure(class(&error), &describe(&error));
                net::discard(error);
                return Err(failure);
            }
            Err(panic) => return Err(failure(FailureClass::Panic, &panic)),
        };
        match statement.check(self.tables(), &|name| self.own_sql(name)) {
            Ok(()) => Ok(statement),
            Err(error) => Err(failure(FailureClass::Statement, &without_payload(&error))),
        }
    }

    /// The reducer for both types, else the one for the aggregate type, else the one for all events.
    fn reducer(&self, event: &Event) -> Option<&Reducer> {
        let every = EventFilter::EVERY;
        let (aggregate_type, event_type) = (event.aggregate_type(), event.event_type());
        let mut places = [(aggregate_type, event_type), (aggregate_type, every), (every, every)].into_iter();
        places.find_map(|(aggregate_type, event_type)| self.inner.reducers.get(aggregate_type)?.get(event_type))
    }

    fn call(&self, reducer: &Reducer, event: &Event) -> Reduced {
        let Some(upcasts) = self.inner.upcasts.get(event.event_type()).filter(|_| !event.is_redacted()) else {
            return reducer(event);
        };
        let Some(first) = upcasts.get(&event.revision()) else {
            return reducer(event);
        };
        let mut current = first(event)?;
        // Each upcast raises the revision, so this ends.
        while let Some(next) = upcasts.get(&current.revision()) {
            current = next(&current)?;
        }
        reducer(&current)
    }
}

/// The event with its payload in the next revision's form.
pub(super) fn upcast<Old: DeserializeOwned, New: Serialize>(
    event: &Event,
    upcast: &impl Fn(Old) -> New,
) -> Result<Event, PayloadError> {
    let failed =
        |source| PayloadError::Upcast { event_type: event.event_type().to_owned(), revision: event.revision(), source };
    let revision = event.revision().checked_add(1).ok_or_else(|| failed("there is no higher revision".into()))?;
    let json = serde_json::to_string(&upcast(event.payload()?)).map_err(|error| failed(error.into()))?;
    Ok(event.clone().with_revision(revision).with_payload(json))
}

/// A failure whose text any database can record: bounded, and without NUL.
fn failure(class: FailureClass, text: &str) -> ReduceFailure {
    ReduceFailure { class, error: net::bounded(text).replace('\0', "\u{2400}") }
}

/// A statement that could not be built counts as a statement error, not as a reducer error.
fn class(error: &ReduceError) -> FailureClass {
    if error.downcast_ref::<StatementError>().is_some() { FailureClass::Statement } else { FailureClass::Reducer }
}

fn describe(error: &ReduceError) -> String {
    without_payload(error.cause())
}

/// The chain of an error on one line, like [`chain`](crate::error::chain), but with the decoders' texts shortened so
/// that they do not quote the payload.
fn without_payload(error: &(dyn StdError + 'static)) -> String {
    net::chain(error, |error| match error.downcast_ref::<serde_json::Error>() {
        Some(json) => json_words(json),
        None => net::said(error),
    })
}

/// What a JSON error says, without values.
fn json_words(error: &serde_json::Error) -> String {
    if !error.is_data() {
        return error.to_string();
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = error.to_string();
    let said = said.strip_suffix(&place).unwrap_or(&said);
    format!("{}{place}", data_words(said))
}

/// Serde's own texts are `<what> <value>, expected <type>` and `<what> field <name of a field>`. A text of another
/// author may hold anything.
fn data_words(said: &str) -> String {
    if said.starts_with("missing field `") || said.starts_with("duplicate field `") {
        return said.to_owned();
    }
    for what in ["invalid type", "invalid value", "invalid length", "unknown variant", "unknown field"] {
        // The value may contain the word, too, so the last one counts.
        if let (true, Some((_, expected))) = (said.starts_with(what), said.rsplit_once(", expected ")) {
            return format!("{what}, expected {expected}");
        }
    }
    "the payload does not fit the type".to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::event::Payload;
    use crate::statement::{create, noop, set};
    use crate::table::{Table, integer, text};

    #[derive(Serialize, Deserialize)]
    struct Added {
        name: String,
        age: i64,
    }

    impl Payload for Added {
        const AGGREGATE: &'static str = "user";
        const TYPE: &'static str = "user.added";
        const REVISION: u32 = 3;
    }

    fn users() -> Projection {
        Projection::new("users", 1)
            .table(
                Table::new("users").column(text("id")).column(text("name")).column(integer("age")).primary_key(["id"]),
            )
            .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name), set("age", p.age)]))
    }

    fn event(json: &str) -> Event {
        Event::new("t", "user", "u1", "user.added").with_revision(3).with_payload(json)
    }

    fn failed(projection: &Projection, event: &Event) -> ReduceFailure {
        projection.reduce(event).unwrap_err()
    }

    // Contract: B1
    #[test]
    fn an_event_is_reduced_by_the_reducer_of_both_its_types() {
        let statement = users().reduce(&event(r#"{"name":"Ada","age":36}"#)).unwrap();
        let wanted = create([set("id", "u1"), set("name", "Ada"), set("age", 36)]).unwrap();
        assert_eq!(statement, wanted);
        let other = Event::new("t", "machine", "u1", "user.added");
        assert_eq!(users().reduce(&other).unwrap(), Statement::Noop);
    }

    // Contract: A9
    #[test]
    fn upcasts_follow_each_other_until_none_matches() {
        let projection = users().upcast::<String, (String, i64)>("user.added", 1, |name| (name, 0)).upcast(
            "user.added",
            2,
            |(name, age): (String, i64)| Added { name, age },
        );
        let wanted = create([set("id", "u1"), set("name", "Ada"), set("age", 0)]).unwrap();
        assert_eq!(projection.reduce(&event("\"Ada\"").with_revision(1)).unwrap(), wanted);
        assert_eq!(projection.reduce(&event(r#"["Ada",0]"#).with_revision(2)).unwrap(), wanted);
        assert_eq!(projection.reduce(&event(r#"{"name":"Ada","age":0}"#)).unwrap(), wanted);
        let failure = failed(&projection, &event("1").with_revision(1));
        assert_eq!(failure.class, FailureClass::Reducer);
        assert!(failure.error.contains("revision 1"), "{}", failure.error);
    }

    // Contract: A9
    #[test]
    fn there_is_no_revision_above_the_highest() {
        let projection = users().upcast("user.added", u32::MAX, |added: Added| added);
        let failure = failed(&projection, &event(r#"{"name":"Ada","age":0}"#).with_revision(u32::MAX));
        assert!(failure.error.ends_with("there is no higher revision"), "{}", failure.error);
    }

    // Contract: H1
    #[test]
    fn errors_and_panics_are_told_apart() {
        let fails = |reducer: fn(&Event) -> Reduced| {
            failed(&Projection::new("p", 1).on_raw("user", "user.added", reducer), &event("{}"))
        };
        let error = fails(|_| Err(ReduceError::new("no\0 way")));
        assert_eq!(error, ReduceFailure { class: FailureClass::Reducer, error: "no\u{2400} way".into() });
        let panic = fails(|_| panic!("boom {}", 1));
        assert_eq!(panic, ReduceFailure { class: FailureClass::Panic, error: "boom 1".into() });
        let odd = fails(|_| std::panic::panic_any(7));
        assert_eq!(odd.error, "a panic without a text");
        let long = fails(|_| Err(ReduceError::new("ß".repeat(9000))));
        assert!(long.error.len() < net::LONGEST_TEXT + 4 && long.error.ends_with('…'));
        let statement = fails(|_| create([set("id", 1)]));
        assert_eq!(statement.class, FailureClass::Statement);
    }

    // Contract: H1
    #[test]
    fn the_text_of_a_failure_does_not_quote_the_payload() {
        let secret = r#"tell nobody, expected \"x"#;
        for payload in [
            format!(r#"{{"name":"a","age":"{secret}"}}"#),
            format!(r#"{{"name":{{"{secret}":1}},"age":1}}"#),
            format!(r#"{{"name":"{secret}"}}"#),
            format!(r#""{secret}""#),
        ] {
            let error = failed(&users(), &event(&payload)).error;
            assert!(!error.contains("nobody"), "{error}");
            assert!(error.contains("user.added") && error.contains("column"), "{error}");
        }
        assert!(failed(&users(), &event(r#"{"name":"x"}"#)).error.contains("missing field `age`"));
        let custom = serde::de::Error::custom("tell nobody");
        assert!(!json_words(&custom).contains("nobody"));
    }

    // Contract: C1: a reducer that waits for a pool may make its thread run engine work. That work is not inside the
    // reducer.
    #[test]
    fn what_a_thread_does_for_others_is_not_inside_the_reducer() {
        let projection = Projection::new("p", 1).on_raw("user", "user.added", |_| {
            let seen = [is_reducing(), apart(is_reducing), is_reducing()];
            let nested = apart(|| users().reduce(&event(r#"{"name":"Ada","age":36}"#)).map(|_| is_reducing()));
            Err(ReduceError::new(format!("{seen:?} {nested:?}")))
        });
        assert_eq!(failed(&projection, &event("{}")).error, "[true, false, true] Ok(false)");
        let panics = Projection::new("p", 1).on_raw("user", "user.added", |_| panic!("boom"));
        assert_eq!((failed(&panics, &event("{}")).class, is_reducing()), (FailureClass::Panic, false));
    }

    #[test]
    fn an_event_without_a_statement_is_no_failure() {
        let projection = Projection::new("p", 1).on_raw("user", "user.added", |_| noop());
        assert_eq!(projection.reduce(&event("no json")).unwrap(), Statement::Noop);
    }

    // Contract: K2
    #[test]
    fn an_erased_event_is_passed_over_unless_there_is_a_reducer_for_it() {
        let erased = event(r#"{"name":"Ada","age":36}"#).with_revision(1).redacted();
        let untouched = |_: Option<Added>| -> Added { panic!("an upcast saw an erased event") };
        let users = users().upcast("user.added", 1, untouched).on_raw("user", "user.closed", |_| panic!("so did this"));
        assert_eq!(users.reduce(&erased), Ok(Statement::Noop));
        assert_eq!(users.reduce(&Event::new("t", "user", "u1", "user.closed").redacted()), Ok(Statement::Noop));
        let counts = users.on_redacted(|e| create([set("id", e.aggregate_id()), set("name", "?"), set("age", 0)]));
        let wanted = create([set("id", "u1"), set("name", "?"), set("age", 0)]).unwrap();
        assert_eq!(counts.reduce(&erased), Ok(wanted));
        assert_eq!(counts.reduce(&Event::new("t", "machine", "m", "machine.added").redacted()), Ok(Statement::Noop));
        assert!(!Event::new("t", "user", "u1", "user.added").with_payload("null").is_redacted());
    }
}
