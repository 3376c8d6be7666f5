//! Indexes and checks that a table declares, next to those that a person made.

use readside::admin::RebuildOptions;
use readside::builds::Phase;
use readside::error::SetupError;
use readside::failure::{FailureClass, FailureQuery};
use readside::inspect::Inspect;
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{Engine, NewEvent, admin, error};

use crate::{LONG, Place, by, eager, eventually, handler};

fn table() -> Table {
    Table::new("stock")
        .column(text("id"))
        .column(integer("pieces").default(0))
        .column(text("state").default("open"))
        .column(text_array("tags").nullable())
        .primary_key(["id"])
}

fn stock(version: u32, table: Table) -> Projection {
    Projection::new("stock", version)
        .table(table)
        .on_raw("item", "item.added", |e| upsert(["id"], [set("id", e.aggregate_id()), increment("pieces", 2)]))
        .on_raw("item", "item.taken", |e| update([decrement("pieces", 3)], [eq("id", e.aggregate_id())]))
}

fn declared() -> Table {
    table()
        .index_by(Index::new("open").descending("pieces").column("id").only("state = 'open'"))
        .index_by(Index::new("shouted").expression("upper(state)").covering(["pieces"]))
        .index_by(Index::new("tagged").column("tags").gin())
        .index_by(Index::new("elsewhere").expression(Dialects::sqlite("unicode(state)")))
        .demand("not_negative", "pieces >= 0")
}

/// The statements that create the declared indexes of a table, without the names of the indexes.
fn indexes<P: Place>(place: &P, table: &str) -> Vec<String> {
    let all = if is_sqlite(place) {
        place.query(&format!(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = '{table}' AND name LIKE 'readside%'"
        ))
    } else {
        place.query(&format!(
            "SELECT indexdef FROM pg_indexes WHERE tablename = '{table}' AND indexname LIKE 'readside%'"
        ))
    };
    let mut all: Vec<String> =
        all.iter().filter_map(|sql| Some(sql.split_once(" ON ")?.1.replace("public.", ""))).collect();
    all.sort();
    all
}

fn is_sqlite<P: Place>(place: &P) -> bool {
    place.address().contains(".db") || !place.address().starts_with("postgres")
}

fn hanging<P: Place>(place: &P) -> Vec<String> {
    place.open().hanging().unwrap().into_iter().map(|one| one.what).collect()
}

// Contract: O1, I2
both!(declared_indexes_and_checks_are_on_each_build_and_tell_themselves_from_others);
pub(crate) fn declared_indexes_and_checks_are_on_each_build_and_tell_themselves_from_others<P: Place>(place: &P) {
    let start = |projection: Projection| {
        Engine::builder(place.open()).projection_with(projection, handler()).config(eager()).start().unwrap()
    };
    let engine = start(stock(1, declared()));
    let made = indexes(place, "stock_1");
    let wanted: &[&str] = if is_sqlite(place) {
        &[
            r#""stock_1" ("instance_id", "pieces" DESC, "id") WHERE (state = 'open')"#,
            r#""stock_1" ("instance_id", (unicode(state)))"#,
            r#""stock_1" ("instance_id", (upper(state)), "pieces")"#,
        ]
    } else {
        &[
            "stock_1 USING btree (instance_id, pieces DESC, id) WHERE (state = 'open'::text)",
            "stock_1 USING btree (instance_id, upper(state)) INCLUDE (pieces)",
            "stock_1 USING gin (tags)",
        ]
    };
    assert_eq!(made, wanted);
    place.sql("CREATE INDEX by_hand ON stock_1 (upper(state)) WHERE pieces > 0");
    let added = |id: &str| NewEvent::raw("a", "item", id, "item.added");
    let taken = |id: &str| NewEvent::raw("a", "item", id, "item.taken");
    // A row that is refused only for a moment is refused in a batch too.
    let pushed = engine.push(&[added("x"), taken("x"), added("x"), added("y")]).unwrap();
    engine.await_position("stock", "a", 2, LONG).unwrap_err();
    engine.await_pushed("stock", &pushed[3..], LONG).unwrap();
    let failed = engine.admin().failed_events("stock", &FailureQuery::all()).unwrap();
    let classes: Vec<_> = failed.iter().map(|held| (held.attempt.position, held.attempt.class)).collect();
    assert_eq!(classes, [(2, FailureClass::Constraint), (3, FailureClass::Predecessor)]);
    assert!(failed[0].attempt.error.contains("not_negative"), "{}", failed[0].attempt.error);
    let by_hand = hanging(place);
    assert!(by_hand.len() == 1 && by_hand[0].contains("by_hand"), "{by_hand:?}");
    let findings = admin::Doctor::default().examine(&place.open());
    assert!(
        findings.iter().any(|finding| finding.check == "objects" && finding.found.contains("by_hand")),
        "{findings:?}"
    );
    let report = engine.admin().rebuild("stock", RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert!(report.switched && report.left_behind.is_empty(), "{report:?}");
    assert_eq!((indexes(place, "stock_1"), hanging(place)), (made, by_hand.clone()));
    drop(engine);
    // Another version brings what it declares, and drops what it no longer declares.
    let second = stock(2, table().index_by(Index::new("open").column("pieces")));
    let engine = start(second.clone());
    eventually("the raised version", || {
        let builds = place.open().builds().builds().unwrap();
        builds.iter().any(|build| build.key == second.key() && build.phase == Phase::Live && build.trouble.is_none())
    });
    assert_eq!(indexes(place, "stock_2").len(), 1);
    assert_eq!(hanging(place), by_hand);
    let pushed = engine.push(&[added("z"), taken("z")]).unwrap();
    engine.await_pushed("stock", &pushed, LONG).unwrap();
    drop(engine);
}

// Contract: I2
both!(what_is_no_sql_is_refused_at_set_up_by_name);
pub(crate) fn what_is_no_sql_is_refused_at_set_up_by_name<P: Place>(place: &P) {
    let store = place.open();
    let refused = |table: Table| {
        let error = ProjectionStore::setup(&store, &[&stock(1, table)]).unwrap_err();
        (error::chain(&error), matches!(error, SetupError::Expression { .. }))
    };
    for (table, name) in [
        (table().index_by(Index::new("odd").expression("nothing(state)")), "index"),
        (table().index_by(Index::new("odd").column("id").only("nowhere = 1")), "index"),
        (table().index_by(Index::new("odd").expression("state +")), "index"),
        (table().demand("fine", "pieces > 0").demand("odd", "pieces >"), "check"),
        (table().demand("fine", "pieces > 0").demand("odd", "nowhere > 0"), "check"),
    ] {
        let name = format!("the {name} \"odd\" of table \"stock\"");
        let (said, is_sql) = refused(table);
        assert!(is_sql && said.contains(&name) && said.contains("Nothing was changed"), "{said}");
    }
    for (table, words) in [
        (table().index_by(Index::new("odd")), "\"odd\", which sorts by nothing"),
        (table().index_by(Index::new("odd").column("nowhere")), "\"nowhere\""),
        (table().index_by(Index::new("odd").column("id").covering(["id"])), "twice"),
        (table().index_by(Index::new("odd").column("id").gin()), "arrays and documents"),
        (table().index_by(Index::new("odd").descending("tags").gin()), "no order"),
        (table().index_by(Index::new("odd").expression("upper(state)) --")), "closes a bracket"),
        (table().index_by(Index::new("odd").column("id")).index_by(Index::new("ODD").column("state")), "twice"),
        (table().demand("odd", "pieces > 0; DROP TABLE x"), "semicolon"),
        (table().demand("odd", "true").demand("odd", "true"), "twice"),
    ] {
        let (said, is_sql) = refused(table);
        assert!(!is_sql && said.contains(words), "{said}");
    }
    ProjectionStore::setup(&store, &[&stock(1, declared())]).unwrap();
    let error = ProjectionStore::setup(&store, &[&stock(1, declared().demand("more", "pieces < 9"))]).unwrap_err();
    assert!(matches!(error, SetupError::DefinitionChanged { .. }), "{error:?}");
}
