//! Settings that people make on PostgreSQL's views survive a switch, and the switch does not drop what depends on the
//! views.

use readside::admin::{CommandState, RebuildOptions};
use readside::error::OperateError;

use crate::versions::{doubled, live, start_doubled};
use crate::{LONG, Place, by, common, count, eager, eventually, fill, start};

const SETTINGS: &str = "SELECT c.relacl::text || ' ' || obj_description(c.oid, 'pg_class') || ' ' || \
     (SELECT string_agg(coalesce(col_description(c.oid, attnum), '') || coalesce(attacl::text, ''), ',' ORDER BY attname) \
      FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('n', 'thing')) || \
     pg_get_userbyid(c.relowner) || coalesce(array_to_string(c.reloptions, ','), '') \
     FROM pg_class c WHERE c.oid = 'counts'::regclass";

fn set(place: &impl Place, role: &str) {
    place.sql(&format!(
        "CREATE ROLE {role}; CREATE ROLE {role}_owner; GRANT {role}_owner TO CURRENT_USER; \
         GRANT CREATE, USAGE ON SCHEMA public TO {role}_owner; \
         GRANT SELECT ON counts TO {role} WITH GRANT OPTION; GRANT SELECT ON counts TO PUBLIC; \
         GRANT UPDATE (n) ON counts TO {role}; COMMENT ON VIEW counts IS 'counts of ''things'''; \
         COMMENT ON COLUMN counts.n IS 'how many'; ALTER VIEW counts SET (security_barrier = true); \
         ALTER VIEW counts OWNER TO {role}_owner; GRANT SELECT ON counts_1 TO {role}_owner"
    ));
}

fn unset(place: &impl Place, role: &str) {
    place.sql(&format!(
        "DROP OWNED BY {role}; REASSIGN OWNED BY {role}_owner TO CURRENT_USER; DROP OWNED BY {role}_owner; \
         DROP ROLE {role}, {role}_owner"
    ));
}

// Contract: B1
#[test]
fn owner_grants_and_comments_outlast_switches() {
    let place = common::postgres::database();
    let role = format!("reader_{}", std::process::id());
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    set(&place, &role);
    let before = place.query(SETTINGS);
    assert!(before[0].contains("counts of 'things'") && before[0].contains("how many"), "{before:?}");
    // The owner of the view may read the tables beneath it. So a role that may read the view can read them too.
    let read = format!("SET ROLE {role}; SELECT sum(n) FROM counts");
    assert_eq!(place.query(&read), ["6"]);
    old.admin().rebuild("counts", RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert_eq!((place.query(SETTINGS), place.query(&read)), (before.clone(), vec!["6".to_owned()]), "within a version");
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(&place) == 2);
    assert_eq!((place.query(SETTINGS), place.query(&read)), (before, vec!["12".to_owned()]), "with other columns");
    drop((old, new));
    unset(&place, &role);
}

#[test]
fn what_depends_on_a_view_is_named() {
    let place = common::postgres::database();
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.sql("CREATE VIEW totals AS SELECT sum(n) AS n FROM counts");
    let new = start_doubled(place.open(), eager());
    let refused = || {
        let asked = &new.admin().commands(Some("counts"), 1).unwrap()[0];
        asked.state == CommandState::Failed
            && asked.answer.as_ref().unwrap()["error"].as_str().unwrap().contains("view totals depends on it")
    };
    eventually("the refusal", refused);
    assert_eq!((live(&place), place.query("SELECT n FROM totals")), (1, vec!["6".to_owned()]));
    match new.admin().switch("counts", &by()) {
        Err(OperateError::Answered { error }) => assert!(error.contains("view totals depends on it"), "{error}"),
        other => panic!("{other:?}"),
    }
    place.sql("DROP VIEW totals");
    new.admin().switch("counts", &by()).unwrap();
    let pushed = new.push(&[count("tenant-000", "x0", 1)]).unwrap();
    new.await_pushed("counts", &pushed, LONG).unwrap();
    assert_eq!((live(&place), doubled().version()), (2, 2));
}
