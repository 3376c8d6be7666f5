//! Objects that only PostgreSQL allows on tables and views. A rebuild moves them, or says before it begins that it
//! cannot.
//!
//! Contract: O1

use readside::PostgresStore;
use readside::admin::{CommandState, RebuildOptions};
use readside::store::ProjectionStore;

use crate::objects::{rebuild, refused};
use crate::versions::{live, start_doubled};
use crate::{LONG, Place, common, count, eager, eventually, fill, lawful, start, tenant};

/// All that is on a table beside its definition, as one text. Names of indexes that the engine makes do not count. PostgreSQL 18
/// and newer list each NOT NULL as a constraint with a name.
const ALL: &str = "SELECT concat_ws(E'\\n', c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.reloptions, \
     obj_description(c.oid, 'pg_class'), (SELECT t.reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid), c.relpersistence, \
     (SELECT string_agg(x::text, ',' ORDER BY x::text) FROM aclexplode(c.relacl) x), \
     (SELECT string_agg(concat_ws(' ', polname, polcmd, polpermissive, (SELECT array_agg(r ORDER BY r) FROM unnest(polroles) r), pg_get_expr(polqual, polrelid), \
       pg_get_expr(polwithcheck, polrelid), obj_description(p.oid, 'pg_policy')), ',' ORDER BY polname) FROM pg_policy p WHERE polrelid = c.oid), \
     (SELECT string_agg(concat_ws(' ', attname, attstattarget, attstorage, attoptions, col_description(c.oid, attnum), \
       attacl), ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0), \
     (SELECT string_agg(concat_ws(' ', conname, pg_get_constraintdef(oid), obj_description(k.oid, 'pg_constraint')), ',' ORDER BY conname) \
       FROM pg_constraint k WHERE conrelid = c.oid AND conname NOT LIKE '%\\_key' AND contype <> 'p' AND conname NOT LIKE '%\\_fkey'), \
     (SELECT string_agg(concat_ws(' ', pg_get_statisticsobjdef(oid)), ',' ORDER BY stxname) FROM pg_statistic_ext WHERE stxrelid = c.oid), \
     (SELECT string_agg(concat_ws(' ', i.indexrelid::regclass, i.indisreplident, i.indisunique, pg_get_expr(i.indpred, c.oid), \
       obj_description(i.indexrelid, 'pg_class')), ',' ORDER BY i.indexrelid::regclass::text) FROM pg_index i \
       WHERE i.indrelid = c.oid AND NOT i.indisprimary AND i.indexrelid::regclass::text NOT LIKE '%\\_idx%'), \
     (SELECT string_agg(concat_ws(' ', pg_get_triggerdef(oid), tgenabled, obj_description(t.oid, 'pg_trigger')), ',' ORDER BY tgname) \
       FROM pg_trigger t WHERE tgrelid = c.oid AND NOT tgisinternal), \
     (SELECT string_agg(concat_ws(' ', pg_get_ruledef(oid), ev_enabled), ',' ORDER BY rulename) FROM pg_rewrite WHERE ev_class = c.oid), \
     (SELECT string_agg(concat_ws(' ', prpubid, to_jsonb(r) -> 'prattrs', pg_get_expr(prqual, prrelid)), ',' ORDER BY prpubid) \
       FROM pg_publication_rel r WHERE prrelid = c.oid), \
     (SELECT string_agg(inhparent::regclass::text, ',') FROM pg_inherits WHERE inhrelid = c.oid), \
     pg_get_userbyid(c.relowner)) FROM pg_class c WHERE c.oid = '{}'::regclass";

/// From version 15 on, a publication may name columns and conditions, and a view may check the rights of its reader.
fn is_since_15(place: &impl Place) -> bool {
    place.query("SELECT current_setting('server_version_num')::int >= 150000") == ["t"]
}

fn all(place: &impl Place, table: &str) -> String {
    let all = ALL.replace("{}", table);
    let all = if is_since_15(place) { all } else { all.replace(", pg_get_expr(prqual, prrelid)", "") };
    place.query(&all).remove(0)
}

/// A role of one test. It is dropped with this value.
struct Role<'p, P: Place>(&'p P, String);

impl<'p, P: Place> Role<'p, P> {
    fn new(place: &'p P, name: &str) -> Self {
        let role = format!("{name}_{}", std::process::id());
        place.sql(&format!(
            "CREATE ROLE {role}; GRANT {role} TO CURRENT_USER; GRANT USAGE, CREATE ON SCHEMA public TO {role}"
        ));
        Self(place, role)
    }
}

impl<P: Place> Drop for Role<'_, P> {
    fn drop(&mut self) {
        self.0.sql(&format!("REASSIGN OWNED BY {0} TO CURRENT_USER; DROP OWNED BY {0}; DROP ROLE {0}", self.1));
    }
}

// Contract: B1
#[test]
fn a_rebuild_takes_along_all_that_is_on_a_table() {
    let place = common::postgres::database();
    let (reader, owner) = (Role::new(&place, "carried_reader"), Role::new(&place, "carried_owner"));
    let engine = start(place.open(), eager());
    fill(&engine, 1, 5);
    let part = if is_since_15(&place) { "(instance_id, thing) WHERE (thing > 'a')" } else { "" };
    place.sql(&format!(
        "CREATE TABLE parent (instance_id text COLLATE \"C\" NOT NULL); CREATE SCHEMA els; \
         ALTER TABLE counts_1 ENABLE ROW LEVEL SECURITY; ALTER TABLE counts_1 FORCE ROW LEVEL SECURITY; \
         CREATE POLICY mine ON counts_1 AS RESTRICTIVE FOR SELECT TO {reader}, CURRENT_USER USING (thing = 'x''1'); \
         CREATE POLICY everybody ON counts_1 USING (n > 0) WITH CHECK (n IS NOT NULL); \
         COMMENT ON POLICY mine ON counts_1 IS 'only x1'; GRANT SELECT ON counts_1 TO {reader} WITH GRANT OPTION; \
         GRANT UPDATE (n) ON counts_1 TO {reader}; \
         ALTER TABLE counts_1 SET (fillfactor = 70, toast.autovacuum_enabled = false); \
         COMMENT ON TABLE counts_1 IS 'it''s counted'; COMMENT ON COLUMN counts_1.n IS 'how many'; \
         ALTER TABLE counts_1 ALTER COLUMN n SET STATISTICS 7, ALTER COLUMN last SET STORAGE EXTERNAL, ALTER COLUMN last SET (n_distinct = 3); \
         ALTER TABLE counts_1 ADD CONSTRAINT small CHECK (n < 1000000); ALTER TABLE counts_1 ADD CONSTRAINT once UNIQUE (instance_id, thing, last); \
         COMMENT ON CONSTRAINT small ON counts_1 IS 'not many'; \
         CREATE STATISTICS els.both (dependencies) ON thing, n FROM counts_1; \
         CREATE UNIQUE INDEX \"Odd Name\" ON counts_1 (instance_id, thing) WHERE n > 3; COMMENT ON INDEX \"Odd Name\" IS 'odd'; \
         CREATE UNIQUE INDEX who ON counts_1 (instance_id, thing); ALTER TABLE counts_1 REPLICA IDENTITY USING INDEX who; \
         CREATE INDEX twice ON counts_1 (instance_id, n); \
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER off AFTER UPDATE OF n ON counts_1 FOR EACH ROW WHEN (NEW.n > 5) EXECUTE FUNCTION nothing(' ON counts_1 '); \
         ALTER TABLE counts_1 DISABLE TRIGGER off; CREATE TRIGGER always AFTER INSERT ON counts_1 FOR EACH ROW EXECUTE FUNCTION nothing(); \
         ALTER TABLE counts_1 ENABLE ALWAYS TRIGGER always; COMMENT ON TRIGGER off ON counts_1 IS 'off'; \
         CREATE PUBLICATION part FOR TABLE counts_1 {part}; CREATE PUBLICATION whole FOR TABLE counts_1, counts_log_1; \
         ALTER TABLE counts_1 INHERIT parent; ALTER TABLE counts_1 OWNER TO {owner}",
        reader = reader.1, owner = owner.1
    ));
    let before = all(&place, "counts_1");
    for wanted in
        ["only x1", "fillfactor=70", "Odd Name", "els.", "not many", "ON counts_1", "parent", "twice", &owner.1]
    {
        assert!(before.contains(wanted), "{wanted}: {before}");
    }
    let policies = place.query("SELECT polname FROM pg_policy WHERE polrelid = 'counts_1'::regclass ORDER BY 1");
    let report = rebuild(&engine).unwrap();
    assert_eq!(report.left_behind, Vec::<String>::new());
    assert_eq!(all(&place, "counts_1"), before);
    // A role that may read the old build sees no more in the new one.
    assert_eq!(
        place.query("SELECT polname FROM pg_policy WHERE polrelid = '\"counts_1#next\"'::regclass ORDER BY 1"),
        policies
    );
    rebuild(&engine).unwrap();
    assert_eq!(all(&place, "counts_1"), before, "the second time");
    engine.admin().back("counts", false, &crate::by()).unwrap();
    assert_eq!(all(&place, "counts_1"), before, "back again");
    let pushed = engine.push(&[count(&tenant(0), "x1", 1)]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    lawful(&place);
}

// Contract: B1: after a switch, a role that may see some rows sees no others.
#[test]
fn rows_that_are_kept_from_a_role_stay_so() {
    let place = common::postgres::database();
    let reader = Role::new(&place, "kept_from");
    let engine = start(place.open(), eager());
    fill(&engine, 1, 5);
    place.sql(&format!(
        "ALTER TABLE counts_1 ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON counts_1 FOR SELECT TO {0} USING (thing = 'x1'); \
         GRANT SELECT ON counts, counts_1 TO {0}",
        reader.1
    ));
    // Before, what is beneath a view is read as the owner of the view.
    let of_view = if is_since_15(&place) {
        place.sql("ALTER VIEW counts SET (security_invoker = true)");
        "1"
    } else {
        "3"
    };
    let sees = |view: &str| place.query(&format!("SET ROLE {}; SELECT count(*) FROM {view}", reader.1));
    assert_eq!((sees("counts"), sees("counts_1")), (vec![of_view.to_owned()], vec!["1".to_owned()]));
    rebuild(&engine).unwrap();
    assert_eq!((sees("counts"), sees("counts_1")), (vec![of_view.to_owned()], vec!["1".to_owned()]));
    engine.shutdown(LONG).unwrap();
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(&place) == 2);
    assert_eq!((sees("counts"), sees("counts_2")), (vec![of_view.to_owned()], vec!["1".to_owned()]));
    drop(new);
}

// Contract: O1: this holds too if the tables belong to another role, to which the policies apply.
#[test]
fn rows_stay_kept_from_a_role_where_policies_hold_for_the_owner() {
    for options in ["security_invoker = true", "security_barrier = true"] {
        let place = common::postgres::database();
        if options.contains("invoker") && !is_since_15(&place) {
            let refused = place.refusal(&format!("CREATE VIEW no WITH ({options}) AS SELECT 1"));
            assert!(refused.contains("security_invoker"), "{refused}");
            continue;
        }
        let (service, reader) = (Role::new(&place, "forced"), Role::new(&place, "sees_one"));
        let engine = start(place.open(), eager());
        fill(&engine, 1, 5);
        place.sql(&format!(
            "ALTER TABLE counts_1 OWNER TO {service}; ALTER VIEW counts OWNER TO {service}; \
             GRANT CREATE ON SCHEMA public TO {service}; SET ROLE {service}; ALTER TABLE counts_1 ENABLE ROW LEVEL SECURITY; ALTER TABLE counts_1 FORCE ROW LEVEL SECURITY; \
             CREATE POLICY mine ON counts_1 USING (current_user = '{service}' OR thing = 'x1'); \
             ALTER VIEW counts SET ({options}); GRANT SELECT ON counts, counts_1 TO {reader}",
            service = service.1, reader = reader.1
        ));
        let owner = "SELECT pg_get_userbyid(relowner) || ' ' || relforcerowsecurity FROM pg_class WHERE relname = '{}'";
        let kept = |table: &str, what: &str| {
            let seen = place.query(&format!("SET ROLE {}; SELECT count(*) FROM counts", reader.1));
            assert_eq!(seen, ["1"], "{options}, {what}");
            let owner = place.query(&owner.replace("{}", table));
            assert_eq!(owner, [format!("{} true", service.1)], "{options}, {what}");
        };
        kept("counts_1", "before");
        for _ in 0..2 {
            rebuild(&engine).unwrap();
            kept("counts_1", "behind a rebuild");
            kept("counts_1#next", "the former build");
        }
        engine.admin().back("counts", false, &crate::by()).unwrap();
        kept("counts_1", "back again");
        let pushed = engine.push(&[count(&tenant(0), "x2", 1)]).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
        engine.shutdown(LONG).unwrap();
        let new = start_doubled(place.open(), eager());
        eventually("the switch", || live(&place) == 2);
        kept("counts_2", "behind a raised version");
        new.shutdown(LONG).unwrap();
    }
}

/// An object that names the tables of a version stays with them when another version takes over, and the report says
/// so.
#[test]
fn what_names_a_version_is_told_when_another_takes_over() {
    let place = common::postgres::database();
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.sql(
        "CREATE PUBLICATION abroad FOR TABLE counts_1; CREATE RULE quiet AS ON DELETE TO counts_log DO INSTEAD NOTHING; CREATE VIEW mine AS SELECT thing FROM counts_1; \
         ALTER TABLE counts_1 ADD CONSTRAINT named CHECK (last <> 'x'); ALTER TABLE counts_1 SET (fillfactor = 60)",
    );
    old.shutdown(LONG).unwrap();
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(&place) == 2);
    eventually("its record", || new.admin().commands(None, 1).unwrap()[0].state == CommandState::Done);
    let answer = new.admin().commands(None, 1).unwrap()[0].answer.clone().unwrap();
    let left = answer["left_behind"].to_string();
    for wanted in ["publication abroad", "rule quiet", "view mine", "constraint named"] {
        assert!(left.contains(wanted), "{wanted}: {left}");
    }
    assert_eq!(place.query("SELECT reloptions::text FROM pg_class WHERE relname = 'counts_2'"), ["{fillfactor=60}"]);
    let error = refused(new.admin().drop_old("counts", &crate::by()));
    assert!(error.contains("view mine"), "{error}");
    assert_eq!(place.query("SELECT count(*) FROM mine"), ["3"]);
}

/// Only its owner can move an object of another role. The refusal says so before anything is built.
#[test]
fn what_belongs_to_others_is_named_before() {
    let place = common::postgres::database();
    let (service, other) = (Role::new(&place, "service"), Role::new(&place, "other"));
    place.sql(&format!(
        "ALTER ROLE {0} LOGIN; GRANT CREATE ON DATABASE \"{1}\" TO {0}",
        service.1,
        place.query("SELECT current_database()")[0]
    ));
    let url = place.url().replacen("tester@", &format!("{}@", service.1), 1);
    let engine = start(PostgresStore::connect(&url).unwrap(), eager());
    fill(&engine, 1, 3);
    place.sql(&format!("CREATE VIEW theirs AS SELECT thing FROM counts_1; ALTER VIEW theirs OWNER TO {}", other.1));
    let error = refused(rebuild(&engine));
    assert!(error.contains("view theirs on "), "{error}");
    place.sql("DROP VIEW theirs");
    assert!(rebuild(&engine).unwrap().switched);
    drop(engine);
}

/// A revoked grant does not come back through default privileges for new tables.
#[test]
fn what_was_revoked_stays_revoked() {
    let place = common::postgres::database();
    let reader = Role::new(&place, "revoked");
    place.sql(&format!("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {}", reader.1));
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    place.sql(&format!("REVOKE SELECT ON counts_1 FROM {}", reader.1));
    rebuild(&engine).unwrap();
    assert_eq!(place.query(&format!("SELECT has_table_privilege('{}', 'counts_1', 'SELECT')", reader.1)), ["f"]);
}

/// No statement can give a new table a label whose provider is not loaded.
#[test]
fn what_guards_and_cannot_be_taken_along_refuses_until_it_is_accepted() {
    let place = common::postgres::database();
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    rebuild(&engine).unwrap();
    place.sql(
        "SET allow_system_table_mods = on; INSERT INTO pg_seclabel (objoid, classoid, objsubid, provider, label) \
         VALUES ('counts_1'::regclass, 'pg_class'::regclass, 0, 'nobody', 'secret')",
    );
    let error = refused(rebuild(&engine));
    assert!(error.contains("security label of nobody on counts_1") && error.contains("--accept-loss"), "{error}");
    let builds = engine.admin().builds("counts").unwrap();
    assert_eq!(builds.len(), 2, "it was refused before anything was done: {builds:?}");
    engine.admin().back("counts", false, &crate::by()).unwrap_err();
    let options = RebuildOptions::default().accept_loss(true);
    let report = engine.admin().rebuild("counts", options, &crate::by(), |_| {}).unwrap();
    assert!(report.switched && report.left_behind[0].contains("security label"), "{report:?}");
}

/// Foreign keys move to the new table. What cannot move is named before, and is never dropped.
#[test]
fn what_stands_on_a_table_follows_it_or_is_named() {
    let place = common::postgres::database();
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    place.sql(
        "CREATE TABLE orders (instance_id text, thing text, CONSTRAINT known FOREIGN KEY (instance_id, thing) REFERENCES counts_1 ON DELETE CASCADE); \
         INSERT INTO orders VALUES ('tenant-000', 'x1'); CREATE VIEW mine AS SELECT c.thing, c.n FROM counts_1 c JOIN orders USING (instance_id, thing); \
         ALTER VIEW mine SET (security_barrier = true); CREATE VIEW upon AS SELECT thing FROM mine; CREATE SEQUENCE lucky OWNED BY counts_1.n",
    );
    for round in 1..=3 {
        rebuild(&engine).unwrap();
        assert_eq!(place.query("SELECT thing FROM upon"), ["x1"], "round {round}");
    }
    engine.admin().drop_old("counts", &crate::by()).unwrap();
    assert_eq!(
        place.query("SELECT reloptions::text FROM pg_class WHERE relname = 'mine'"),
        ["{security_barrier=true}"]
    );
    let error = place.refusal("INSERT INTO orders VALUES ('tenant-000', 'nobody')");
    assert!(error.contains("known"), "{error}");
    assert_eq!(place.query("SELECT nextval('lucky')"), ["1"]);
    for (make, drop) in [
        ("CREATE MATERIALIZED VIEW often AS SELECT n FROM counts_1", "DROP MATERIALIZED VIEW often"),
        (
            "CREATE FUNCTION all_of_it() RETURNS SETOF counts_1 LANGUAGE sql AS 'SELECT * FROM counts_1'",
            "DROP FUNCTION all_of_it",
        ),
        ("CREATE FUNCTION given(counts_1) RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION given"),
        ("CREATE TABLE copies (one counts_1)", "DROP TABLE copies"),
        ("CREATE TABLE child () INHERITS (counts_1)", "DROP TABLE child"),
        (
            "CREATE POLICY by_counts ON orders USING (EXISTS (SELECT 1 FROM counts_1))",
            "DROP POLICY by_counts ON orders",
        ),
        (
            "CREATE RULE also AS ON INSERT TO orders DO ALSO DELETE FROM counts_1 WHERE n < 0",
            "DROP RULE also ON orders",
        ),
    ] {
        place.sql(make);
        let error = refused(rebuild(&engine));
        let name = drop.split(' ').find(|word| word.chars().all(|c| c.is_lowercase() || c == '_')).unwrap();
        assert!(error.contains(name) && error.contains("stay where they are"), "{make}: {error}");
        assert_eq!(engine.admin().builds("counts").unwrap().len(), 1, "{make}");
        place.sql(drop);
    }
    rebuild(&engine).unwrap();
    // Rows that other rows refer to have to be in the new build too.
    place.sql(
        "INSERT INTO counts_1 (instance_id, thing, n) VALUES ('tenant-000', 'by hand', 1); INSERT INTO orders VALUES ('tenant-000', 'by hand')",
    );
    let error = refused(rebuild(&engine));
    assert!(error.contains("foreign key known of table orders"), "{error}");
    lawful_but_by_hand(&place);
}

fn lawful_but_by_hand(place: &impl Place) {
    place.sql("DELETE FROM orders WHERE thing = 'by hand'; DELETE FROM counts_1 WHERE thing = 'by hand'");
    lawful(place);
}

/// Everything on a view except its columns.
const ON_VIEW: &str = "SELECT concat_ws(E'\\n', (SELECT string_agg(concat_ws(' ', pg_get_triggerdef(oid), tgenabled, \
     obj_description(oid, 'pg_trigger')), ',' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = c.oid), \
     (SELECT string_agg(concat_ws(' ', pg_get_ruledef(oid), ev_enabled), ',' ORDER BY rulename) FROM pg_rewrite \
       WHERE ev_class = c.oid AND rulename <> '_RETURN'), \
     (SELECT string_agg(attname || ' ' || pg_get_expr(adbin, adrelid), ',') FROM pg_attrdef JOIN pg_attribute \
       ON attrelid = adrelid AND attnum = adnum WHERE adrelid = c.oid), c.reloptions) FROM pg_class c WHERE c.oid = 'counts'::regclass";

// Contract: B1
#[test]
fn what_is_on_a_view_outlasts_other_columns() {
    let place = common::postgres::database();
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.own_instead_of("counts");
    place.sql(
        "CREATE TRIGGER off INSTEAD OF DELETE ON counts FOR EACH ROW EXECUTE FUNCTION note(); \
         CREATE RULE told AS ON UPDATE TO counts DO INSTEAD INSERT INTO seen_by_trigger VALUES (NEW.thing); \
         ALTER VIEW counts ALTER COLUMN n SET DEFAULT 3; ALTER VIEW counts SET (security_barrier = true); \
         COMMENT ON TRIGGER off ON counts IS 'hands off'",
    );
    let before = place.query(ON_VIEW);
    assert!(before[0].contains("hands off") && before[0].contains("RULE told"), "{before:?}");
    rebuild(&old).unwrap();
    assert_eq!(place.query(ON_VIEW), before, "within a version");
    let new = start_doubled(place.open(), eager());
    eventually("the switch", || live(&place) == 2);
    assert_eq!(place.query(ON_VIEW), before, "with other columns");
    drop((old, new));
}

#[test]
fn what_on_a_view_needs_a_column_that_goes_is_named_before() {
    let place = common::postgres::database();
    let old = start(place.open(), eager());
    fill(&old, 1, 3);
    place.sql(
        "CREATE TABLE notes (word text); CREATE RULE told AS ON UPDATE TO counts DO INSTEAD INSERT INTO notes VALUES (NEW.last)",
    );
    let new = start_doubled(place.open(), eager());
    let failed =
        || new.admin().commands(None, 1).unwrap().first().is_some_and(|asked| asked.state == CommandState::Failed);
    eventually("the refusal", failed);
    let error = new.admin().commands(None, 1).unwrap()[0].answer.as_ref().unwrap()["error"].to_string();
    assert!(error.contains("rule told on view counts uses column last"), "{error}");
    assert_eq!(live(&place), 1);
    let options = RebuildOptions::default().accept_loss(true);
    new.admin().rebuild("counts", options, &crate::by(), |_| {}).unwrap();
    assert_eq!(live(&place), 2);
    drop(old);
}

/// A view that cannot be written to costs readers nothing: conditions and joins reach the table's index.
#[test]
fn a_view_that_nobody_writes_to_costs_readers_nothing() {
    let place = common::postgres::database();
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    let plan = |of: &str| {
        let sql = "SET enable_seqscan = off; EXPLAIN (COSTS off) SELECT * FROM (VALUES ('x1')) v (t) LEFT JOIN {} c \
                   ON c.instance_id = 'tenant-000' AND c.thing = v.t";
        place.query(&sql.replace("{}", of))
    };
    let through = plan("counts");
    assert!(through.iter().any(|line| line.contains("Index Cond")), "{through:?}");
    let straight: Vec<String> = plan("counts_1").iter().map(|line| line.replace("counts_1 c", "counts_1")).collect();
    assert_eq!(through, straight);
    // The next set-up makes a view of an earlier version read-only, and keeps the view's settings.
    place.sql(
        "CREATE OR REPLACE VIEW counts AS SELECT instance_id, thing, n, last FROM counts_1; ALTER VIEW counts SET (security_barrier = true); \
         UPDATE counts SET n = n",
    );
    ProjectionStore::setup(&place.open(), &[&crate::counts(1)]).unwrap();
    assert!(place.refusal("UPDATE counts SET n = n").contains("view"));
    assert_eq!(
        place.query("SELECT reloptions::text FROM pg_class WHERE relname = 'counts'"),
        ["{security_barrier=true}"]
    );
}
