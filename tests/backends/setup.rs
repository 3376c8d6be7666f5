//! Contract: I1-I3, B1 on every backend.

use readside::error::{SetupError, SwitchError};
use readside::prelude::*;

use readside::{HandlerConfig, NewEvent, ProjectionHandler};

use crate::Fixture;

fn projection(name: &str, version: u32) -> Projection {
    Projection::new(name, version)
        .table(Table::new(name).column(text("id")).column(text("odd \"name\" $1").nullable()).primary_key(["id"]))
        .on_raw("t", "x", |e| create([set("id", e.aggregate_id()), set("odd \"name\" $1", "v")]))
}

// Contract: I1, I2, I3
both!(setup_is_repeatable_and_finds_changes);
pub(crate) fn setup_is_repeatable_and_finds_changes(fixture: &Fixture) {
    let store = &fixture.store;
    let one = projection("select", 1);
    assert!(matches!(store.verify(&[&one]), Err(SetupError::Missing { .. })));
    store.setup(&[&one]).unwrap();
    store.setup(&[&one]).unwrap();
    store.verify(&[&one]).unwrap();
    let changed = projection("select", 1).on_raw("t", "y", |_| noop());
    assert!(matches!(store.setup(&[&changed]), Err(SetupError::DefinitionChanged { .. })));
    assert!(matches!(store.verify(&[&changed]), Err(SetupError::DefinitionChanged { .. })));
    store.setup(&[&Projection::new("tableless", 1).on_raw("t", "x", |_| noop())]).unwrap();
    assert!(store.setup(&[&one, &one]).is_err(), "a name used twice");
}

// Contract: B1
both!(taken_names_are_refused);
pub(crate) fn taken_names_are_refused(fixture: &Fixture) {
    fixture.store.setup(&[&projection("users", 1)]).unwrap();
    let thief = Projection::new("thief", 1).table(Table::new("users").column(text("id")).primary_key(["id"])).on_raw(
        "t",
        "x",
        |_| noop(),
    );
    match fixture.store.setup(&[&thief]) {
        Err(SetupError::NameTaken { projection, by, .. }) => {
            assert_eq!(projection, "thief");
            assert!(by.contains("\"users\""), "{by}");
        }
        other => panic!("{other:?}"),
    }
}

// Contract: B1
both!(a_new_version_waits_for_its_switch);
pub(crate) fn a_new_version_waits_for_its_switch(fixture: &Fixture) {
    let handler = |version| {
        let p = projection("things", version);
        let handler = ProjectionHandler::new(fixture.source(), fixture.models(), p, HandlerConfig::default()).unwrap();
        handler.setup().unwrap();
        handler
    };
    fixture.store.push(&[NewEvent::raw("a", "t", "1", "x")]).unwrap();
    let (old, new) = (handler(1), handler(2));
    old.trigger(&["a"]).unwrap();
    let switch = || {
        let (key, patience) = (projection("things", 2).key(), std::time::Duration::from_secs(30));
        fixture.store.builds().go_live(&key, patience, Some(&mut |_, _| Ok(())))
    };
    match switch() {
        Err(SwitchError::NotCaughtUp { behind, instance, .. }) => assert_eq!((behind, instance.as_str()), (1, "a")),
        other => panic!("{other:?}"),
    }
    new.trigger(&["a"]).unwrap();
    switch().unwrap();
    switch().unwrap();
    assert_eq!(fixture.read_rows(&projection("things", 2), "things").len(), 1);
    assert_eq!(fixture.read_rows(&projection("things", 1), "things").len(), 1);
}

/// What `tests/run` has linked is what the tests of SQLite work with. It cannot see by itself which library a program
/// finds.
#[cfg(feature = "sqlite")]
mod the_version_is_the_one_that_was_asked_for {
    #[test]
    fn on_sqlite() {
        if let Ok(wanted) = std::env::var("READSIDE_TEST_SQLITE_VERSION") {
            assert_eq!(readside::rusqlite::version(), wanted);
        }
    }
}
