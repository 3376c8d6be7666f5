//! Looks that read some instances anew and take the counts of the others from the looks before.

use std::time::Duration;

use readside::inspect::{Inspect, ProjectionStatus, Status, Survey};
use readside::store::{LeaseStore, ProjectionKey, ProjectionStore, StandstillKind};
use uuid::Uuid;

use crate::Place;

/// Enough pairs of an instance and a build for four parts.
const BUILDS: usize = 310;
const INSTANCES: usize = 1_000;

/// How many instances have events: the first one, the last one, and some of each part. States of all would take long.
const WITH_EVENTS: u64 = 100;

/// Nothing lags: every checkpoint is at its head, which is position 9.
fn fill<P: Place>(place: &P) {
    ProjectionStore::setup(&place.open(), &[]).unwrap();
    let numbers = |to: usize| format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {to})");
    place.sql(&format!(
        "INSERT INTO readside.instances (instance_id, head) {} SELECT 'i' || (10000 + i), 9 FROM n;
         INSERT INTO readside.heads (instance_id, aggregate_type, head) SELECT instance_id, 'user', 9 FROM readside.instances
         WHERE CAST(substr(instance_id, 2) AS bigint) % 20 < 2;
         INSERT INTO readside.projections (name, version, definition, live, phase) {}
         SELECT 'p' || (10000 + i), 1, '{{\"events\":[[\"user\",[\"a\"]]],\"tables\":[]}}', true, 'live' FROM n;
         INSERT INTO readside.projection_states (instance_id, projection, version, position, store)
         SELECT instance_id, name, 1, 9, (SELECT store_id FROM readside.store) FROM readside.heads, readside.projections;",
        numbers(INSTANCES),
        numbers(BUILDS)
    ));
}

/// What all builds show: how many instances lag, by how many positions in all, and how many are counted.
fn shown(status: &Status) -> (u64, i64, u64) {
    let of = |one: &ProjectionStatus| (one.lagging_instances, one.lag_events, one.instances);
    let first = of(&status.projections[0]);
    assert!(status.projections.iter().all(|one| of(one) == first), "all builds get on alike");
    first
}

// Contract: S3: one look costs the same at any size, and tells how old its counts are.
both!(a_look_reads_some_instances_and_remembers_the_others);
fn a_look_reads_some_instances_and_remembers_the_others<P: Place>(place: &P) {
    fill(place);
    let (store, mut survey) = (place.open(), Survey::default());
    let count = WITH_EVENTS;
    let first = store.look(false, &mut survey).unwrap();
    assert_eq!((first.projections.len(), shown(&first)), (BUILDS, (0, 0, count)));
    assert_eq!(first.counted_from, first.at, "the first look reads everything");
    place.sql("UPDATE readside.heads SET head = 12 WHERE instance_id IN ('i10001', 'i11000')");
    let held = "INSERT INTO readside.held_events SELECT instance_id, projection, version, 9, 'user', 'u', 'a', 'parked', 1, 'reducer', \
         'text', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z' \
         FROM readside.projection_states WHERE instance_id IN ('i10001', 'i11000')";
    place.sql(held);
    let second = store.look(false, &mut survey).unwrap();
    assert_eq!((shown(&second), second.projections[7].parked), ((1, 3, count), 1), "the last part was not due");
    assert_eq!(second.counted_from, first.at);
    let third = store.look(false, &mut survey).unwrap();
    assert_eq!((shown(&third), third.projections[7].parked), ((2, 6, count), 2));
    assert_eq!(third.counted_from, second.at);
    let whole = store.status(false).unwrap();
    assert_eq!((shown(&whole), whole.counted_from), (shown(&third), whole.at));
    // An instance comes: it belongs to the last part.
    place.sql("INSERT INTO readside.instances (instance_id, head) VALUES ('z', 4)");
    place.sql("INSERT INTO readside.heads (instance_id, aggregate_type, head) VALUES ('z', 'user', 4)");
    assert_eq!(shown(&store.look(false, &mut survey).unwrap()), (2, 6, count));
    assert_eq!(shown(&store.look(false, &mut survey).unwrap()), (3, 10, count + 1));
    // A build that was reset is counted anew, with all others.
    place.sql("UPDATE readside.projection_states SET position = 0 WHERE projection = 'p10001'");
    place.sql("UPDATE readside.projections SET resets = resets + 1 WHERE name = 'p10001'");
    let reset = store.look(false, &mut survey).unwrap();
    assert_eq!((reset.projections[0].lagging_instances, reset.counted_from), (count + 1, reset.at));
    assert_eq!((reset.projections[1].lagging_instances, reset.projections[1].lag_events), (3, 10));
}

// Contract: S3: a look costs no more than the instances that there are, also after there were many.
both!(parts_of_a_look_are_joined_where_instances_went);
fn parts_of_a_look_are_joined_where_instances_went<P: Place>(place: &P) {
    fill(place);
    let (store, mut survey) = (place.open(), Survey::default());
    assert_eq!(shown(&store.look(false, &mut survey).unwrap()), (0, 0, WITH_EVENTS));
    for table in ["projection_states", "heads", "instances"] {
        place.sql(&format!("DELETE FROM readside.{table} WHERE instance_id > 'i10050'"));
    }
    // One reads three parts, the next one the last part. After that they are one.
    for _ in 0..2 {
        let status = store.look(false, &mut survey).unwrap();
        assert!(status.counted_from < status.at);
    }
    for _ in 0..2 {
        let status = store.look(false, &mut survey).unwrap();
        assert_eq!((shown(&status), status.counted_from), ((0, 0, 5), status.at), "everything is one part");
    }
}

/// Three builds of different types, in 1,200 instances. Each build has handled its own head.
fn fill_mixed<P: Place>(place: &P) {
    ProjectionStore::setup(&place.open(), &[]).unwrap();
    let build = |name: &str, kinds: &str| {
        format!(
            "INSERT INTO readside.projections (name, version, definition, live, phase) \
             VALUES ('{name}', 1, '{{\"events\":[{kinds}],\"tables\":[]}}', true, 'live');"
        )
    };
    place.sql(&format!(
        "INSERT INTO readside.instances (instance_id, head, removed) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
           WHERE i < 1200) SELECT 'i' || (10000 + i), 9, 9 FROM n;
         INSERT INTO readside.heads (instance_id, aggregate_type, head) SELECT instance_id, 'user', 9 FROM readside.instances
           WHERE instance_id < 'i11000';
         INSERT INTO readside.heads (instance_id, aggregate_type, head) SELECT instance_id, 'order', 4 FROM readside.instances
           WHERE instance_id > 'i10100';
         {} {} {}
         INSERT INTO readside.projection_states (instance_id, projection, version, position, store, moved_at)
           SELECT instance_id, name, 1, CASE WHEN instance_id < 'i11000' AND name <> 'orders' THEN 9 ELSE 4 END,
           (SELECT store_id FROM readside.store), '2026-01-01T00:00:00.000000Z' FROM readside.instances, readside.projections
           WHERE NOT (name = 'users' AND instance_id >= 'i11000') AND NOT (name = 'orders' AND instance_id <= 'i10100');",
        build("users", r#"["user",["a"]]"#),
        build("orders", r#"["order",["a"]]"#),
        build("both", r#"["user",["a"]],["order",["a"]]"#),
    ));
}

/// What a status tells, without its times.
fn figures(status: &Status) -> serde_json::Value {
    let mut told = serde_json::to_value(status).unwrap();
    let (fields, ages) = (told.as_object_mut().unwrap(), ["lag_seconds"]);
    fields.retain(|name, _| name != "at" && name != "counted_from");
    for projection in fields["projections"].as_array_mut().unwrap() {
        for age in ages {
            let is_known = !projection[age].is_null();
            projection[age] = is_known.into();
        }
    }
    told
}

// Contract: S3: whoever looks once gets the same figures, although most instances are not counted one by one.
both!(one_look_tells_the_same_figures_as_many);
fn one_look_tells_the_same_figures_as_many<P: Place>(place: &P) {
    fill_mixed(place);
    let store = place.open();
    let same = || {
        let status = store.status(false).unwrap();
        assert_eq!(figures(&status), figures(&store.look(false, &mut Survey::default()).unwrap()));
        let of = |name: &str| status.projections.iter().find(|one| one.name == name).unwrap().clone();
        [of("both"), of("orders"), of("users")]
    };
    let lags = |found: &[ProjectionStatus; 3]| found.each_ref().map(|one| (one.instances, one.lagging_instances));
    assert_eq!(lags(&same()), [(1200, 0), (1100, 0), (999, 0)]);
    // A checkpoint above the head of its types is no lag.
    place.sql(
        "UPDATE readside.projection_states SET position = 7 WHERE projection = 'orders' AND instance_id = 'i10101'",
    );
    assert_eq!(lags(&same()), [(1200, 0), (1100, 0), (999, 0)]);
    place.sql("UPDATE readside.projection_states SET position = 3 WHERE instance_id = 'i10102'");
    place.sql("DELETE FROM readside.projection_states WHERE projection = 'users' AND instance_id = 'i10103'");
    place.sql(
        "UPDATE readside.projection_states SET position = 30 WHERE projection = 'orders' AND instance_id = 'i10104'",
    );
    place.sql("UPDATE readside.projection_states SET store = NULL WHERE projection = 'users'");
    let key = ProjectionKey { name: "users".into(), version: 1 };
    let leased = ["i10105".into(), "i10106".into()];
    store.acquire(&key, &leased, Uuid::from_u128(7), Duration::from_hours(1)).unwrap();
    place.sql(
        "UPDATE readside.projection_states SET leased_at = '2026-01-01T00:00:00.000000Z' WHERE instance_id = 'i10106'",
    );
    place.sql(
        "INSERT INTO readside.held_events SELECT instance_id, projection, version, 9, 'user', 'u', 'a', 'parked', 1, 'reducer', \
         'text', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z' \
         FROM readside.projection_states WHERE instance_id IN ('i10102', 'i11000')",
    );
    let found = same();
    assert_eq!(lags(&found), [(1200, 1), (1100, 1), (999, 2)]);
    assert_eq!(found.each_ref().map(|one| (one.parked, one.leases)), [(2, 0), (2, 0), (1, 2)]);
    let kinds = found.each_ref().map(|one| one.standstills.iter().map(|one| one.kind).collect::<Vec<_>>());
    assert!(kinds[1].contains(&StandstillKind::Diverged), "{kinds:?}");
    assert_eq!(store.processes().unwrap().len(), 0);
    // Too many instances lag for naming them.
    place.sql("UPDATE readside.heads SET head = head + 1");
    assert_eq!(lags(&same()), [(1200, 1200), (1100, 1098), (999, 999)]);
}
