//! Names of tables and columns: Contract: B1, B4.

use readside::EventStore;
use readside::error::{NameError, ProjectionError, SetupError};
use readside::prelude::*;
use readside::store::ProjectionStore;

use crate::{Store, command};

/// People by id, in a table with any name.
pub(crate) fn people(table: &str, version: u32) -> Projection {
    Projection::new(table, version).table(Table::new(table).column(text("id")).primary_key(["id"])).on_raw(
        "user",
        "added",
        |e| create([set("id", format!("{}-{}", e.aggregate_id(), e.position()))]),
    )
}

// Contract: B4
both!(odd_names_work_from_end_to_end);
pub(crate) fn odd_names_work_from_end_to_end<S: Store>(store: &S) {
    let longest = "x".repeat(61);
    let names = ["select", "a \"quoted\" name", "order", "Größe", "semi;colon--", "$1", longest.as_str()];
    store.push(&[command("a", "1")]).unwrap();
    for name in names {
        let column = format!("{}c", name.chars().take(40).collect::<String>());
        let key = column.clone();
        let table = Table::new(name)
            .column(text("id"))
            .column(Column::new(column.as_str(), ColumnType::Integer).default(7))
            .primary_key(["id"])
            .index([column.as_str()])
            .unique(["id", column.as_str()]);
        let projection = Projection::new(name, 1).table(table).on_raw("user", "added", move |e| {
            multi([
                upsert(["id"], [set("id", e.aggregate_id()), increment(key.clone(), 1)]),
                update([increment(key.clone(), 1)], [gt(key.clone(), 0), eq("id", e.aggregate_id())]),
            ])
        });
        crate::trigger(store, &projection, &["a"]).unwrap();
        assert_eq!(store.rows(&projection, name)[0][2], (column, Value::Integer(2)), "{name}");
    }
    for (name, length) in [("y".repeat(62), 64), ("ß".repeat(31), 64)] {
        let error = people(&name, 1).check().unwrap_err();
        let ProjectionError::Name { source: NameError::TooLong { length: found, limit: 63, .. }, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*found, length);
    }
    for name in ["", "nul\0", "sqlite_x", "pg_x", "readside_x"] {
        assert!(people(name, 1).check().is_err(), "{name:?}");
    }
    let twice = Table::new("t").column(text("id")).column(text("ID")).primary_key(["id"]);
    assert!(people("p", 1).table(twice).check().is_err());
}

// Contract: B1
both!(a_name_used_twice_is_refused);
pub(crate) fn a_name_used_twice_is_refused<S: Store>(store: &S) {
    let (one, other) = (people("people", 1), people("people", 2));
    let error = ProjectionStore::setup(&**store, &[&one, &other]).unwrap_err();
    assert!(matches!(error, SetupError::Projection(ProjectionError::DuplicateProjection { .. })), "{error:?}");
}
