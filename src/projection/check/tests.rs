//! The check finds and names each fault of a definition.

use super::*;
use crate::statement::noop;
use crate::table::{integer, text};

fn empty() -> Projection {
    Projection::new("users", 3).on_raw("user", "user.added", |_| noop())
}

fn table(name: &str) -> Table {
    with_id(Table::new(name))
}

fn with_id(table: Table) -> Table {
    table.column(text("id")).primary_key(["id"])
}

fn fault(projection: &Projection) -> String {
    crate::error::chain(&projection.check().unwrap_err())
}

// Contract: B1
#[test]
fn a_definition_that_holds_together_is_accepted() {
    assert_eq!(empty().check(), Ok(()), "tables are not required");
    let projection = empty()
        .schema("crm")
        .table(table("users"))
        .table(with_id(Table::suffix("phones")).references_primary(["id"]))
        .table(with_id(Table::suffix("calls")).references(["id"], "phones"))
        .table(with_id(Table::new("tree")).column(text("parent").nullable()).references(["parent"], "tree"));
    assert_eq!(projection.check(), Ok(()));
    let names: Vec<_> = projection.tables().iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["users", "users_phones", "users_calls", "tree"]);
    assert_eq!(projection.tables()[2].foreign_keys[0].table.as_deref(), Some("users_phones"));
    assert_eq!(Projection::new("pg_x", 1).on_raw("a", "b", |_| noop()).check(), Ok(()));
}

// Contract: B2, J5
#[test]
fn name_version_and_reducers_are_required() {
    let named = |name, version| Projection::new(name, version).on_raw("a", "b", |_| noop());
    assert_eq!(named("", 1).check(), Err(ProjectionError::NoProjection));
    assert_eq!(named("p", 0).check(), Err(ProjectionError::NoVersion { projection: "p".into() }));
    assert_eq!(Projection::new("p", 1).check(), Err(ProjectionError::NoReducer { projection: "p".into() }));
    let twice = named("p", 1).on_raw("a", "b", |_| noop());
    assert!(matches!(twice.check(), Err(ProjectionError::DuplicateReducer { .. })));
    assert!(fault(&named("p\n", 1)).contains("control character"));
    assert!(fault(&named("p#next", 1)).contains("marks a second build of a version"));
    assert!(fault(&empty().on_raw("", "b", |_| noop())).contains("aggregate type has an empty name"));
    assert!(fault(&empty().on_raw("a", "", |_| noop())).contains("event type has an empty name"));
}

// Contract: A9, J5
#[test]
fn upcasts_that_could_not_run_are_refused() {
    let same = |text: String| text;
    assert!(fault(&empty().upcast("user.added", 1, same).upcast("user.added", 1, same)).contains("is given twice"));
    assert!(fault(&empty().upcast("user.added", 0, same)).contains("count from 1"));
    assert!(fault(&empty().upcast("user.add", 1, same)).contains("no reducer is for this event type"));
    assert_eq!(empty().upcast("user.added", 1, same).upcast("user.added", 2, same).check(), Ok(()));
}

// Contract: B1, B4
#[test]
fn names_leave_room_for_what_the_engine_adds() {
    let name = "x".repeat(61);
    assert_eq!(empty().table(table(&name)).check(), Ok(()));
    assert!(fault(&empty().table(table(&format!("{name}x")))).contains("64 bytes"));
    assert!(fault(&empty().schema("s").table(table(&name))).contains("65 bytes"));
    assert!(fault(&empty().schema("sqlite").table(table("users"))).contains("SQLite keeps"));
    assert!(fault(&empty().schema("ReadSide").table(table("users"))).contains("the engine keeps"));
    assert!(fault(&empty().table(table("users")).table(with_id(Table::suffix("")))).contains("empty name"));
    assert!(fault(&empty().table(table("users").column(text("ID")))).contains("used twice"));
}

// Contract: B1, B5
#[test]
fn tables_are_told_apart_by_every_name_they_have() {
    assert!(fault(&empty().table(table("users")).table(table("Users"))).contains("used twice"));
    assert!(fault(&empty().table(table("users")).table(table("users_3"))).contains("used twice"));
    assert!(fault(&empty().table(with_id(Table::suffix("x")))).contains("comes first"));
    let both = empty().table(table("users")).table(table("phones")).table(with_id(Table::suffix("phones")));
    assert!(fault(&both).contains("could be meant by \"phones\""));
    assert!(fault(&empty().table(Table::new("users").column(text("id")))).contains("no primary key"));
}

// Contract: B1
#[test]
fn foreign_keys_fit_a_table_that_comes_before() {
    let refers = |key: Table| fault(&empty().table(table("users")).table(key).table(table("later")));
    assert!(refers(table("x").references(["id"], "nothing")).contains("does not come before"));
    assert!(refers(table("x").references(["id"], "later")).contains("does not come before"));
    assert!(refers(table("x").column(integer("n")).references_primary(["n"])).contains("other columns or types"));
    assert!(refers(table("x").column(text("n")).references_primary(["id", "n"])).contains("other columns"));
}

// Contract: B1
#[test]
fn projections_share_neither_name_nor_table() {
    let other = |name: &str| Projection::new(name, 1).on_raw("a", "b", |_| noop());
    let users = empty().table(table("users"));
    assert_eq!(Projection::check_all(&[&users, &other("o").table(table("others"))]), Ok(()));
    assert_eq!(
        Projection::check_all(&[&users, &other("users")]),
        Err(ProjectionError::DuplicateProjection { name: "users".into() })
    );
    for name in ["USERS", "users_3"] {
        let clash = other("o").table(table(name));
        assert!(matches!(Projection::check_all(&[&users, &clash]), Err(ProjectionError::Name { .. })), "{name}");
    }
}

// Contract: A8, J5: the two databases do not agree on which documents are equal.
#[test]
fn documents_are_no_keys() {
    let document = || Table::new("users").column(text("id")).column(crate::table::json("doc"));
    for keyed in [document().primary_key(["doc"]), document().primary_key(["id"]).unique(["id", "doc"])] {
        let text = fault(&empty().table(keyed));
        assert!(text.contains("the JSON column \"doc\" in a key") && text.contains("raise the version"), "{text}");
    }
    assert_eq!(empty().table(document().primary_key(["id"]).index(["doc"])).check(), Ok(()));
}
