//! Where the database comes from, and setting it up.

use crate::{command, fresh, ran};

#[test]
fn the_environment_may_name_the_database() {
    for place in fresh() {
        let run = |args: &[&str]| ran(command().env("READSIDE_DATABASE_URL", place.name()).args(args), "");
        assert!(run(&["setup"]).ok().starts_with("the engine's tables are up to date"));
        assert_eq!(run(&["setup", "--json"]).json()["projections"], serde_json::json!([]));
        assert!(run(&["setup", "--quiet"]).ok().is_empty());
        run(&["setup", "--check"]).ok();
        run(&["status"]).ok();
    }
}

// SPEC I1
#[test]
fn what_is_not_set_up_is_found_by_the_check() {
    for place in fresh() {
        let sql = place.run(&["setup", "--sql"]).ok();
        assert!(sql.starts_with("BEGIN;") && sql.contains("CREATE TABLE"), "{sql}");
        let error = place.run(&["setup", "--check"]).failed();
        assert!(error.contains("is missing"), "{error}");
    }
}
