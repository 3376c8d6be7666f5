//! Columns of every type in everything that looks at rows: verify, explain, comparisons of builds, rebuilds, raised
//! versions.

use readside::admin::{ExplainRequest, RebuildOptions};
use readside::builds::Phase;
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{Engine, NewEvent, error, testing};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{LONG, Place, by, eager, eventually, handler};

#[derive(Serialize, Deserialize)]
struct Sold {
    day: Date,
    at: Time,
    price: Decimal,
}

impl Payload for Sold {
    const AGGREGATE: &'static str = "shop";
    const TYPE: &'static str = "shop.sold";
}

fn sales(version: u32, states: &[&str]) -> Projection {
    let state = if states.is_empty() { text("state") } else { enumeration("state", states.iter().copied()) };
    Projection::new("sales", version)
        .table(
            Table::new("sales")
                .column(date("day"))
                .column(decimal("price", 6, 2))
                .column(decimal("total", 8, 2))
                .column(time("last").nullable())
                .column(duration("open").default(std::time::Duration::ZERO))
                .column(state.default("open"))
                .column(integer_array("positions").nullable())
                .column(uuid_array("events").nullable())
                .primary_key(["day", "price"]),
        )
        .on(|e, sold: Sold| {
            upsert(
                ["day", "price"],
                [
                    set("day", sold.day),
                    set("price", sold.price),
                    increment("total", sold.price),
                    greatest("last", sold.at),
                    increment("open", std::time::Duration::from_micros(7)),
                    array_append("positions", e.position()),
                    array_append("events", Uuid::from_u128(e.position().unsigned_abs().into())),
                ],
            )
        })
}

fn sold(day: &str, at: &str, price: &str) -> NewEvent {
    let sold = Sold { day: day.parse().unwrap(), at: at.parse().unwrap(), price: price.parse().unwrap() };
    NewEvent::new("a", "s1", &sold)
}

// Contract: O1, O3
both!(rows_of_every_type_are_verified_explained_and_built_anew);
pub(crate) fn rows_of_every_type_are_verified_explained_and_built_anew<P: Place>(place: &P) {
    let store = place.open();
    let first = sales(1, &["open", "shut"]);
    let start = |projection: Projection| {
        Engine::builder(place.open()).projection_with(projection, handler()).config(eager()).start().unwrap()
    };
    let engine = start(first.clone());
    let pushed = engine
        .push(&[
            sold("2026-01-31", "09:30:00", "1.50"),
            sold("2026-01-31", "08:00:00", "1.5"),
            sold("0001-01-01", "23:59:59.999999", "-9999.99"),
        ])
        .unwrap();
    engine.await_pushed("sales", &pushed, LONG).unwrap();
    assert!(engine.admin().verify("sales", None).unwrap().is_clean());
    assert!(testing::laws::check(&store, &store, &first).unwrap().is_lawful());
    let key = vec!["2026-01-31".to_owned(), "1.500".to_owned()];
    let question = ExplainRequest { instance: "a".into(), table: None, key, at: None };
    let told = engine.admin().explain("sales", &question).unwrap();
    let row = told.row.clone().unwrap();
    assert_eq!((told.steps.len(), &told.row, told.differs), (2, &told.found, false));
    let ids = [1, 2].map(|n| Uuid::from_u128(n).to_string());
    let wanted = serde_json::json!({
        "instance_id": "a", "day": "2026-01-31", "price": "1.5", "total": "3", "last": "09:30:00.000000", "open": 14,
        "state": "open", "positions": [1, 2], "events": ids,
    });
    assert_eq!(serde_json::to_value(&row).unwrap(), wanted);
    let statement = &told.steps[1].statement;
    assert!(statement.contains("total = total + 1.5, last = the greater one of last and \"08:00"), "{statement}");
    for (day, price) in [("2026-02-30", "1"), ("2026-01-31", "1.505"), ("2026-01-31", "NaN")] {
        let question = ExplainRequest { key: vec![day.to_owned(), price.to_owned()], ..question.clone() };
        assert!(matches!(engine.admin().explain("sales", &question), Err(error::OperateError::BadKey { .. })));
    }
    let report = engine.admin().rebuild("sales", RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert!(report.switched && report.comparison.unwrap().is_same(), "{:?}", report.waits_for);
    assert_eq!(report.left_behind, [""; 0]);
    ProjectionStore::verify(&store, &[&first]).unwrap();
    place.sql("UPDATE sales_1 SET total = 700 WHERE positions IS NOT NULL AND day = '0001-01-01'");
    let found = engine.admin().verify("sales", None).unwrap();
    let sample = &found.differing[0].samples[0];
    assert_eq!((found.differing[0].differing_rows, &sample.key["price"]), (1, &"-9999.99".into()));
    assert_eq!(sample.expected.as_ref().unwrap()["total"], "-9999.99");
    drop(engine);
    // Each version has its own list of allowed values.
    let second = sales(2, &["open", "gone"]);
    let engine = start(second.clone());
    eventually("the raised version", || {
        let builds = store.builds().builds().unwrap();
        builds.iter().any(|build| build.key == second.key() && build.phase == Phase::Live && build.trouble.is_none())
    });
    let row = "INSERT INTO sales_2 (instance_id, day, price, total, state) VALUES ('b', '2026-01-31', 1, 1";
    place.sql(&format!("{row}, 'gone')"));
    let refused = place.refusal(&format!("{row}, 'shut')"));
    assert!(refused.contains("readside_values_state"), "{refused}");
    drop(engine);
    let third = sales(3, &[]);
    let engine = start(third.clone());
    eventually("the version without a list", || {
        let builds = store.builds().builds().unwrap();
        builds.iter().any(|build| build.key == third.key() && build.phase == Phase::Live && build.trouble.is_none())
    });
    place.sql(&format!("{row}, 'shut')").replace("sales_2", "sales_3"));
    drop(engine);
}
