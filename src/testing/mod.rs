//! A kit for testing projections without a service: given these events, expect these statements, or these rows.
//!
//! Like `assert_eq!`, it reports by a panic, at the line of the test.
//!
//! # Examples
//! ```
//! use readside::testing::given;
//! # #[cfg(feature = "sqlite")]
//! use readside::prelude::*;
//! use readside::testing::row;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Added { name: String }
//! impl Payload for Added { const AGGREGATE: &str = "user"; const TYPE: &str = "user.added"; }
//! #[derive(Serialize, Deserialize)]
//! struct Renamed { name: String }
//! impl Payload for Renamed { const AGGREGATE: &str = "user"; const TYPE: &str = "user.renamed"; }
//!
//! let users = Projection::new("users", 1)
//!     .table(Table::new("users").column(text("id")).column(text("name")).primary_key(["id"]))
//!     .on(|e, p: Added| create([set("id", e.aggregate_id()), set("name", p.name)]))
//!     .on(|e, p: Renamed| update([set("name", p.name)], [eq("id", e.aggregate_id())]));
//!
//! let events = [
//!     Event::of("main", "u1", &Added { name: "Ada".into() })?,
//!     Event::of("main", "u1", &Renamed { name: "Lady Ada".into() })?,
//! ];
//! let given = given(&users, events);
//! given.expect_statements([
//!     create([set("id", "u1"), set("name", "Ada")]),
//!     update([set("name", "Lady Ada")], [eq("id", "u1")]),
//! ]);
//! # #[cfg(feature = "sqlite")]
//! given.expect_rows("users", [row([("id", "u1".into()), ("name", "Lady Ada".into())])]);
//! # Ok::<(), serde_json::Error>(())
//! ```

pub mod conformance;
mod faulty;
mod source;

/// The law checker, see [`check`](laws::check).
#[cfg(feature = "sqlite")]
pub mod laws {
    #[doc(inline)]
    pub use crate::admin::laws::{Columns, Fault, LawLag, LawReport, Model, Models, check};
}
#[cfg(feature = "sqlite")]
mod rows;

pub use faulty::{Answer, Call, Faults, FaultyStore};
pub use source::MemorySource;

#[cfg(feature = "sqlite")]
pub use rows::{Row, row};

use crate::error::chain;
use crate::event::Event;
use crate::failure::FailureClass;
use crate::projection::Projection;
use crate::statement::{Reduced, Statement};

/// A projection and the events it is tested with.
#[derive(Debug, Clone)]
#[must_use = "say what is expected"]
pub struct Given<'p> {
    projection: &'p Projection,
    #[cfg(feature = "sqlite")]
    source: MemorySource,
    events: Vec<Event>,
}

/// Begins a test. In the given order, the events get positions without holes in each instance and versions in each
/// aggregate. An event without an id gets one.
///
/// # Panics
/// When the definition of the projection is wrong.
#[track_caller]
pub fn given(projection: &Projection, events: impl IntoIterator<Item = Event>) -> Given<'_> {
    if let Err(error) = projection.check() {
        fail(&chain(&error));
    }
    let source = MemorySource::default();
    let events = events.into_iter().map(|event| source.append(event)).collect();
    Given {
        projection,
        #[cfg(feature = "sqlite")]
        source,
        events,
    }
}

impl Given<'_> {
    /// Expects one statement for each event, in order: `noop()` for an event that the projection does not handle.
    /// Runs each reducer twice, and fails if the two results differ.
    ///
    /// # Panics
    /// When a reducer returns another statement, or fails.
    #[track_caller]
    pub fn expect_statements(&self, expected: impl IntoIterator<Item = Reduced>) {
        let expected: Vec<Reduced> = expected.into_iter().collect();
        if expected.len() != self.events.len() {
            fail(&format!("{} statements are expected of {} events", expected.len(), self.events.len()));
        }
        for (at, (event, expected)) in self.events.iter().zip(expected).enumerate() {
            let place = place(at, event);
            let expected = match expected {
                Ok(statement) => statement,
                Err(error) => fail(&format!("the statement expected of {place} cannot be built: {error}")),
            };
            match self.reduce_twice(at, event) {
                Ok(found) if found == expected => {}
                Ok(found) => {
                    fail(&format!("{place} gave another statement\nexpected: {expected:#?}\n   found: {found:#?}"))
                }
                Err((class, error)) => fail(&format!("{place} failed ({class}): {error}")),
            }
        }
    }

    /// Expects that the event at this place, counted from 0, fails in this class.
    ///
    /// # Panics
    /// When the event gives a statement, or fails in another class.
    #[track_caller]
    pub fn expect_failure(&self, at: usize, class: FailureClass) {
        let Some(event) = self.events.get(at) else {
            fail(&format!("there is no event {at}, only {} are given", self.events.len()));
        };
        let place = place(at, event);
        match self.reduce_twice(at, event) {
            Err((found, _)) if found == class => {}
            Err((found, error)) => fail(&format!("{place} failed otherwise ({found}): {error}")),
            Ok(found) => fail(&format!("{place} was expected to fail ({class}), but gave {found:#?}")),
        }
    }

    #[track_caller]
    fn reduce_twice(&self, at: usize, event: &Event) -> Result<Statement, (FailureClass, String)> {
        let (first, second) = (self.projection.reduce(event), self.projection.reduce(event));
        if first != second {
            let place = place(at, event);
            fail(&format!(
                "the reducer is not pure: {place} gave two results; a reducer may only look at its event\n first: {first:#?}\nsecond: {second:#?}"
            ));
        }
        first.map_err(|failure| (failure.class, failure.error))
    }
}

fn place(at: usize, event: &Event) -> String {
    format!("event {at} ({} of instance {:?})", event.event_type(), event.instance())
}

#[track_caller]
#[expect(clippy::panic, reason = "a test kit reports by panics, as assert_eq! does")]
fn fail(message: &str) -> ! {
    panic!("{message}")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::statement::{create, noop, set};
    use crate::table::{Table, integer, text};

    fn counts() -> Projection {
        Projection::new("counts", 1)
            .table(Table::new("counts").column(text("id")).column(integer("n")).primary_key(["id"]))
            .on_raw("user", "added", |e| create([set("id", e.aggregate_id()), set("n", e.position())]))
            .on_raw("user", "broken", |_| create([set("id", 1)]))
    }

    fn event(instance: &str, id: &str, kind: &str) -> Event {
        Event::new(instance, "user", id, kind)
    }

    fn message(test: impl FnOnce()) -> String {
        let test = std::panic::AssertUnwindSafe(test);
        *std::panic::catch_unwind(test).unwrap_err().downcast::<String>().unwrap()
    }

    // Contract: B6
    #[test]
    fn statements_are_compared_in_order() {
        let projection = counts();
        let given = given(&projection, [event("t", "a", "added"), event("t", "a", "other"), event("t", "b", "added")]);
        let added = |id, n| create([set("id", id), set("n", n)]);
        given.expect_statements([added("a", 1), noop(), added("b", 3)]);
        let said = message(|| given.expect_statements([added("a", 1), noop(), added("b", 4)]));
        assert!(said.contains("event 2 (added of instance \"t\") gave another statement"), "{said}");
        let said = message(|| given.expect_statements([noop()]));
        assert!(said.contains("1 statements are expected of 3 events"), "{said}");
        let said = message(|| given.expect_statements([create([]), noop(), noop()]));
        assert!(said.contains("cannot be built"), "{said}");
    }

    // Contract: B6
    #[test]
    fn failures_are_compared_by_class() {
        let projection = counts();
        let given = given(&projection, [event("t", "a", "broken")]);
        given.expect_failure(0, FailureClass::Statement);
        assert!(message(|| given.expect_failure(0, FailureClass::Panic)).contains("failed otherwise (statement)"));
        assert!(message(|| given.expect_failure(1, FailureClass::Panic)).contains("there is no event 1"));
        assert!(message(|| given.expect_statements([noop()])).contains("failed (statement)"));
    }

    // Contract: B6
    #[test]
    fn a_reducer_that_is_not_pure_is_found() {
        static CALLS: AtomicI64 = AtomicI64::new(0);
        let projection = Projection::new("p", 1).table(Table::new("p").column(integer("n")).primary_key(["n"])).on_raw(
            "user",
            "added",
            |_| create([set("n", CALLS.fetch_add(1, Ordering::Relaxed))]),
        );
        let given = given(&projection, [event("t", "a", "added")]);
        assert!(message(|| given.expect_statements([noop()])).contains("not pure"));
    }

    #[test]
    fn a_definition_that_does_not_hold_together_is_named() {
        let projection = Projection::new("p", 1);
        assert!(message(|| drop(given(&projection, []))).contains("no reducer"));
    }
}
