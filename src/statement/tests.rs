//! What the builders refuse.

use super::*;
use crate::error::{NameError, TextFault};
use crate::table::{Table, integer, json, text, text_array};

fn refused(built: Reduced) -> StatementError {
    let error = built.unwrap_err();
    error.downcast_ref::<StatementError>().cloned().unwrap_or_else(|| panic!("{error}"))
}

fn none() -> [Assignment; 0] {
    []
}

fn nowhere() -> [Condition; 0] {
    []
}

// Contract: B2
#[test]
fn statements_without_values_are_refused() {
    let no_values = |statement| StatementError::NoValues { statement };
    assert_eq!(refused(create(none())), no_values("create"));
    assert_eq!(refused(update(none(), [eq("id", 1)])), no_values("update"));
    assert_eq!(refused(upsert(["id"], none())), no_values("upsert"));
    assert_eq!(refused(upsert(["id"], [set("id", 1)])), no_values("upsert"), "nothing is left to set");
    let nothing: [&str; 0] = [];
    assert_eq!(refused(copy(["id"], nothing, [], [eq("id", 1)])), no_values("copy"));
}

// Contract: B2: a missing condition is reported before missing values.
#[test]
fn statements_without_condition_are_refused() {
    let no_condition = |statement| StatementError::NoCondition { statement };
    assert_eq!(refused(update(none(), nowhere())), no_condition("update"));
    assert_eq!(refused(delete(nowhere())), no_condition("delete"));
    let nothing: [&str; 0] = [];
    assert_eq!(refused(copy(["id"], nothing, [], nowhere())), no_condition("copy"));
    assert_eq!(refused(update([set("a", 1)], nowhere())), no_condition("update"));
}

// Contract: B2
#[test]
fn copy_needs_as_many_sources_as_targets() {
    let unequal = refused(copy(["id"], ["id", "n"], [source_value(1)], [eq("id", 1)]));
    assert_eq!(unequal, StatementError::UnequalColumns { to: 2, from: 1 });
}

// Contract: B2
#[test]
fn upsert_knows_its_conflict_columns() {
    let nothing: [&str; 0] = [];
    let missing = refused(upsert(nothing, [set("n", 1)]));
    assert_eq!(missing, StatementError::NoConflictColumns { statement: "upsert" });
    let valueless = refused(upsert(["id"], [set("n", 1)]));
    assert_eq!(valueless, StatementError::ConflictColumnWithoutValue { column: "id".into() });
}

// Contract: B2: one part that cannot be built spoils all of a multi.
#[test]
fn a_multi_is_refused_with_its_parts() {
    let spoiled = refused(multi([create([set("id", 1)]), delete(nowhere())]));
    assert_eq!(spoiled, StatementError::NoCondition { statement: "delete" });
}

// Contract: B3
#[test]
fn values_that_no_database_could_hold_are_refused() {
    let nul = refused(create([set("id", "a\0b")]));
    assert_eq!(nul, StatementError::BadValue { column: "id".into(), source: TextFault::Nul { at: 1 } });
    let infinite = refused(update([set("f", f64::INFINITY)], [eq("id", 1)]));
    assert_eq!(infinite, StatementError::BadValue { column: "f".into(), source: TextFault::NotFinite });
    assert!(matches!(refused(delete([eq("id", "\0")])), StatementError::BadValue { .. }));
    assert!(matches!(refused(delete([not(is_in("id", ["\0"]))])), StatementError::BadValue { .. }));
    assert!(matches!(refused(delete([contains("id", "\0")])), StatementError::BadValue { .. }));
    assert!(matches!(refused(update([array_append("a", "\0")], [eq("id", 1)])), StatementError::BadValue { .. }));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = refused(create([set("j", Value::Json(deep))]));
    assert!(matches!(deep, StatementError::BadValue { source: TextFault::TooDeep { limit: 127, .. }, .. }));
    let map = std::collections::HashMap::from([(vec![1], 1)]);
    assert!(matches!(refused(create([set_json("j", &map)])), StatementError::NotSerializable { .. }));
    assert!(matches!(
        refused(update([decrement("n", i64::MIN)], [eq("id", 1)])),
        StatementError::NotSerializable { .. }
    ));
}

// Contract: B3
#[test]
fn null_is_compared_by_equality_only() {
    assert!(delete([eq("n", None::<i64>), ne("n", None::<i64>)]).is_ok());
    let never = refused(delete([lt("n", None::<i64>)]));
    assert_eq!(never, StatementError::NullComparison { column: "n".into(), operator: "<" });
}

// Contract: B4
#[test]
fn a_reducer_can_neither_name_the_instance_nor_a_column_twice() {
    let reserved = |error| matches!(error, StatementError::Name(NameError::Reserved { .. }));
    assert!(reserved(refused(create([set("instance_id", "other")]))));
    assert!(reserved(refused(delete([eq("Instance_ID", "other")]))));
    assert!(reserved(refused(update([copy_column("n", "instance_id")], [eq("id", 1)]))));
    let twice = refused(create([set("id", 1), set("ID", 2)]));
    assert_eq!(twice, StatementError::DuplicateColumn { column: "ID".into() });
    let long = "x".repeat(64);
    assert!(matches!(refused(create([set(long, 1)])), StatementError::Name(NameError::TooLong { length: 64, .. })));
    assert!(matches!(refused(create([set("", 1)])), StatementError::Name(NameError::Empty { .. })));
}

// Contract: B2: changes that need an existing row, or a new one, are accepted only where there is one.
#[test]
fn changes_stand_where_they_make_sense() {
    let not_here = |error| matches!(error, StatementError::NotHere { .. });
    assert!(not_here(refused(create([increment("n", 1)]))));
    assert!(not_here(refused(create([array_append("tags", "x")]))));
    assert!(not_here(refused(update([set_on_insert("n", 1)], [eq("id", 1)]))));
    assert!(not_here(refused(upsert(["id"], [set("id", 1), array_remove("tags", "x")]))));
    assert!(not_here(refused(upsert(["id"], [set("id", 1), copy_column("n", "m")]))));
}

fn tables() -> [Table; 2] {
    let table = Table::new("t").column(text("id")).column(integer("n")).column(json("j")).column(text_array("tags"));
    [table.primary_key(["id"]), Table::new("t_more").column(text("id")).primary_key(["id"])]
}

fn misfit(built: Reduced) -> StatementError {
    built.expect("it is built").check(&tables(), &|_| None).expect_err("it does not fit")
}

// Contract: B4, B5
#[test]
fn statements_have_to_fit_their_tables() {
    let wrong = |error| matches!(error, StatementError::WrongType { .. });
    assert!(wrong(misfit(create([set("n", "text")]))));
    assert!(wrong(misfit(update([increment("id", 1)], [eq("id", "x")]))));
    assert!(wrong(misfit(delete([contains("n", "x")]))));
    assert!(wrong(misfit(delete([json_contains("tags", &1)]))));
    assert!(wrong(misfit(delete([ge("tags", vec!["a"])]))), "each database has an order of its own");
    assert!(wrong(misfit(update([copy_column("n", "id")], [eq("id", "x")]))));
    assert!(wrong(misfit(copy(["id"], ["id", "n"], [source_column("id"), source_column("id")], [eq("id", "x")]))));
    let unknown = misfit(delete([eq("nobody", 1)]));
    assert_eq!(unknown, StatementError::UnknownColumn { table: "t".into(), column: "nobody".into() });
    let conflict = misfit(upsert(["n"], [set("n", 1), set("id", "x")]));
    assert_eq!(conflict, StatementError::UnknownConflict { table: "t".into(), columns: vec!["n".into()] });
    let table = misfit(in_table("less", delete([eq("id", "x")])));
    assert_eq!(table, StatementError::UnknownTable { table: "less".into() });
    assert!(
        in_table("more", delete([eq("id", "x")])).expect("built").check(&tables(), &|_| None).is_ok(),
        "by its suffix"
    );
    assert!(wrong(misfit(multi([noop(), create([set("n", true)])]))));
}
