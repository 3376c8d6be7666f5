//! What the code declares for tables besides their rows: comments, grants, and isolation of tenants. The checks name
//! what is missing.

use readside::admin::{self, RebuildOptions};
use readside::builds::Phase;
use readside::error::{self, ProjectionError, SetupError};
use readside::failure::{FailureClass, FailureQuery};
use readside::inspect::{Inspect, Severity};
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{Engine, NewEvent, SqliteStore, testing};

use crate::{LONG, Place, by, common, eager, eventually, handler};

/// An unrelated setting.
const NOTHING: &str = "SET extra_float_digits = 0";

fn notes(version: u32, table: Table) -> Projection {
    Projection::new("notes", version)
        .table(table)
        .on_raw("note", "note.written", |e| upsert(["id"], [set("id", e.aggregate_id()), increment("n", 1)]))
}

fn plain() -> Table {
    Table::new("notes").column(text("id")).column(integer("n").default(0)).primary_key(["id"])
}

fn start<P: Place>(place: &P, projection: Projection) -> Engine {
    Engine::builder(place.open()).projection_with(projection, handler()).config(eager()).start().unwrap()
}

fn write(engine: &Engine, instance: &str, id: &str) {
    let pushed = engine.push(&[NewEvent::raw(instance, "note", id, "note.written")]).unwrap();
    engine.await_pushed("notes", &pushed, LONG).unwrap();
}

fn rebuild(engine: &Engine) {
    let report = engine.admin().rebuild("notes", RebuildOptions::default(), &by(), |_| {}).unwrap();
    assert!(report.switched && report.left_behind.is_empty(), "{report:?}");
}

fn raised<P: Place>(place: &P, projection: &Projection) {
    eventually("the raised version", || {
        let builds = place.open().builds().builds().unwrap();
        builds
            .iter()
            .any(|build| build.key == projection.key() && build.phase == Phase::Live && build.trouble.is_none())
    });
}

fn lacking<P: Place>(place: &P) -> Vec<String> {
    place.open().lacking().unwrap().into_iter().map(|one| one.what).collect()
}

/// A role of the server. It is dropped with this value.
struct Role<'p> {
    place: &'p common::postgres::Database,
    name: String,
}

impl<'p> Role<'p> {
    /// Creates a role whose name has to be quoted.
    fn new(place: &'p common::postgres::Database, name: &str) -> Self {
        let role = Self { place, name: format!("{name} \"{}", std::process::id()) };
        place.sql(&format!("CREATE ROLE {}", role.quoted()));
        role
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.name.replace('"', "\"\""))
    }

    fn may(&self, privilege: &str, relation: &str) -> bool {
        let name = self.name.replace('\'', "''");
        self.place.query(&format!("SELECT has_table_privilege('{name}', '{relation}', '{privilege}')")) == ["t"]
    }

    /// What the role reads after a setting of the session.
    fn reads(&self, setting: &str, sql: &str) -> Vec<String> {
        self.place.query(&format!("SET ROLE {}; {setting}; {sql}", self.quoted()))
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        self.place.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}", role = self.quoted()));
    }
}

// Contract: I2, O1
#[test]
fn comments_and_grants_are_on_each_build_as_the_code_says_now() {
    let place = common::postgres::database();
    let role = Role::new(&place, "Dressed");
    let said = || {
        place.query(
            "SELECT obj_description('notes'::regclass, 'pg_class') || '|' || obj_description('notes_1'::regclass, 'pg_class') \
             || '|' || col_description('notes'::regclass, 3)",
        )
    };
    let dressed = |words: &str| {
        let columns = Table::new("notes").column(text("id")).column(integer("n").default(0).comment("how \\ often"));
        columns.primary_key(["id"]).comment(words).grant(&role.name, [Privilege::Select, Privilege::References])
    };
    let engine = start(&place, notes(1, dressed("it's all")));
    write(&engine, "a", "x");
    let may = || (role.may("SELECT", "notes"), role.may("SELECT", "notes_1"), role.may("REFERENCES", "notes_1"));
    assert_eq!((said(), may()), (vec!["it's all|it's all|how \\ often".to_owned()], (true, false, true)));
    assert_eq!(role.reads(NOTHING, "SELECT id FROM notes"), ["x"]);
    rebuild(&engine);
    assert_eq!((said(), may()), (vec!["it's all|it's all|how \\ often".to_owned()], (true, false, true)));
    // A person changed it by hand. The check names that, and the next set-up repairs it.
    place.sql(&format!("REVOKE SELECT ON notes FROM {}; COMMENT ON VIEW notes IS NULL", role.quoted()));
    place.sql(&format!("GRANT INSERT ON notes_1 TO {}", role.quoted()));
    let (missing, found) = (lacking(&place), admin::Doctor::default().examine(&place.open()));
    assert!(missing.len() == 2 && missing[0].contains("comment on view \"notes\""), "{missing:?}");
    assert!(missing[1].contains("grant of SELECT on view \"notes\""), "{missing:?}");
    let named = |check: &str| found.iter().find(|finding| finding.check == check).cloned();
    let finding = named("declared").unwrap();
    assert!(finding.verdict == Severity::Warn && finding.remedy.unwrap().contains("readside rebuild"));
    drop(engine);
    // The same version with other comments and grants needs no rebuild.
    drop(start(&place, notes(1, dressed("some"))));
    assert_eq!((said(), may()), (vec!["some|some|how \\ often".to_owned()], (true, false, true)));
    assert_eq!(lacking(&place), [""; 0]);
    drop(start(&place, notes(1, plain().comment("some"))));
    assert_eq!((said(), may()), (vec![String::new()], (false, false, false)));
    assert!(role.may("INSERT", "notes_1"), "it was granted by hand");
    drop(start(&place, notes(1, dressed("some"))));
    // Another version grants what it declares, and nothing that it no longer declares.
    let second = notes(2, plain().grant(&role.name, [Privilege::References]));
    let engine = start(&place, second.clone());
    raised(&place, &second);
    let may = (role.may("SELECT", "notes"), role.may("REFERENCES", "notes_2"), role.may("INSERT", "notes_2"));
    assert_eq!(may, (false, true, true));
    let comments = place.query(
        "SELECT count(*) FROM pg_description d JOIN pg_class c ON c.oid = d.objoid WHERE c.relname IN ('notes', 'notes_2')",
    );
    assert_eq!(comments, ["0"]);
    drop(engine);
    let third = notes(3, plain().grant("nobody there", [Privilege::Select]));
    let refused = error::chain(&ProjectionStore::setup(&place.open(), &[&third]).unwrap_err());
    assert!(refused.contains("\"nobody there\"") && refused.contains("create the role"), "{refused}");
    drop(role);
}

/// Whether this server can show a reader one tenant alone. One before PostgreSQL 15 cannot, and each way to a set-up says so,
/// and what to do.
fn isolates(place: &common::postgres::Database) -> bool {
    let version: u32 = place.query("SELECT current_setting('server_version_num')")[0].parse().unwrap();
    if version >= 150_000 {
        return true;
    }
    let projection = notes(1, plain().tenant_isolation());
    let said = |refused: SetupError| {
        let is_it =
            matches!(&refused, SetupError::Projection(ProjectionError::Table { table, .. }) if table == "notes");
        let said = error::chain(&refused);
        let server = format!("PostgreSQL {}", version / 10_000);
        for word in ["tenant_isolation", &server, "it takes PostgreSQL 15", "leave it out for this database"] {
            assert!(is_it && said.contains(word), "{word}: {said}");
        }
    };
    let store = place.open();
    said(ProjectionStore::setup(&store, &[&projection]).unwrap_err());
    said(store.setup_sql(&[&projection]).unwrap_err());
    let started = Engine::builder(store.clone()).projection(projection).start().unwrap_err();
    assert!(error::chain(&started).contains("tenant_isolation"), "{started:?}");
    assert_eq!(place.query("SELECT count(*) FROM pg_class WHERE relname IN ('notes', 'notes_1')"), ["0"]);
    // Without it, the same code runs.
    ProjectionStore::setup(&store, &[&notes(1, plain())]).unwrap();
    false
}

// Contract: I2, O1
#[test]
fn a_reader_sees_the_tenant_that_it_has_named_and_no_other() {
    let place = common::postgres::database();
    if !isolates(&place) {
        return;
    }
    let (role, other) = (Role::new(&place, "Tenant"), Role::new(&place, "Tenant by hand"));
    let isolated = || plain().tenant_isolation().grant(&role.name, [Privilege::Select]);
    let engine = start(&place, notes(1, isolated()));
    write(&engine, "a", "of a");
    write(&engine, "b", "of b");
    let all = "SELECT id FROM notes ORDER BY id";
    let holds = |version: u32| {
        let own = format!("SELECT id FROM notes_{version}");
        for sql in [all, own.as_str()] {
            assert_eq!(role.reads("SET readside.tenant = 'a'", sql), ["of a"]);
            assert_eq!(role.reads("BEGIN; SET LOCAL readside.tenant = 'b'", sql), ["of b"]);
            for nothing in
                [NOTHING, "SET readside.tenant = ''", "SET readside.tenant = 'c'", "SET readside.tenant = 'A'"]
            {
                assert_eq!(role.reads(nothing, sql), [""; 0], "{nothing}");
            }
            let over =
                "SET readside.tenant = 'a'; BEGIN; SET LOCAL readside.tenant = 'b'; COMMIT; RESET readside.tenant";
            assert_eq!(role.reads(over, sql), [""; 0]);
        }
        // The engine and the owner of the tables see all rows.
        assert_eq!(place.query(all), ["of a", "of b"]);
        assert!(engine_is_lawful(&place, version));
        assert_eq!(lacking(&place), [""; 0]);
    };
    let engine_before = engine;
    holds(1);
    // A role that may not read the table cannot read it through the view.
    place.sql(&format!("GRANT SELECT ON notes TO {}", other.quoted()));
    let denied = place.refusal(&format!("SET ROLE {}; SET readside.tenant = 'a'; {all}", other.quoted()));
    assert!(denied.contains("notes_1"), "{denied}");
    place.sql(&format!("REVOKE SELECT ON notes FROM {}", other.quoted()));
    rebuild(&engine_before);
    write(&engine_before, "a", "of a");
    holds(1);
    // A person's policy opens the table for one role, and the rebuild moves that policy.
    place.sql(&format!(
        "GRANT SELECT ON notes, notes_1 TO {role}; CREATE POLICY support ON notes_1 TO {role} USING (true)",
        role = other.quoted()
    ));
    rebuild(&engine_before);
    holds(1);
    assert_eq!(other.reads(NOTHING, all), ["of a", "of b"]);
    drop(engine_before);
    let second = notes(2, isolated().index(["n"]));
    let engine = start(&place, second.clone());
    raised(&place, &second);
    holds(2);
    assert_eq!(other.reads(NOTHING, all), ["of a", "of b"]);
    engine.admin().back("notes", false, &by()).unwrap();
    assert_eq!(role.reads("SET readside.tenant = 'a'", all), ["of a"]);
    engine.admin().switch("notes", &by()).unwrap();
    // A person can remove the policy by hand. The check names that, and the next set-up brings the policy back.
    place.sql("DROP POLICY support ON notes_2");
    place.sql("DROP POLICY readside_tenant ON notes_2; ALTER VIEW notes SET (security_invoker = false)");
    let missing = lacking(&place);
    assert_eq!(missing, ["isolation of tenants on table \"notes_2\"", "isolation of tenants on view \"notes\""]);
    drop(engine);
    let engine = start(&place, second);
    holds(2);
    drop(engine);
    // If the code of the same version no longer asks for isolation, set-up removes it.
    let open = notes(2, plain().index(["n"]).grant(&role.name, [Privilege::Select]));
    drop(start(&place, open));
    assert_eq!(role.reads(NOTHING, all), ["of a", "of b"]);
    assert!(!role.may("SELECT", "notes_2"));
    let guarded = "SELECT count(*) FROM pg_class WHERE relname = 'notes_2' AND relrowsecurity";
    assert_eq!(place.query(guarded), ["0"]);
    drop((role, other));
}

fn engine_is_lawful(place: &common::postgres::Database, version: u32) -> bool {
    let store = place.open();
    let projection = notes(version, if version == 1 { plain() } else { plain().index(["n"]) });
    testing::laws::check(&store, &store, &projection).unwrap().is_lawful()
}

// Contract: I1
#[test]
fn the_script_of_a_set_up_has_what_the_code_says_beside_rows() {
    let place = common::postgres::database();
    if !isolates(&place) {
        return;
    }
    let role = Role::new(&place, "Scripted");
    let table = plain().tenant_isolation().grant(&role.name, [Privilege::Select]).comment("it's all");
    let projection = notes(1, table);
    place.sql(&place.open().setup_sql(&[&projection]).unwrap());
    assert_eq!(lacking(&place), [""; 0]);
    place.sql("INSERT INTO notes_1 (instance_id, id) VALUES ('a', 'x'), ('b', 'y')");
    assert_eq!(role.reads("SET readside.tenant = 'b'", "SELECT id FROM notes"), ["y"]);
    ProjectionStore::verify(&place.open(), &[&projection]).unwrap();
    drop(role);
}

// Contract: I2
#[test]
fn a_file_cannot_keep_tenants_apart_and_says_so() {
    let place = crate::File::new();
    let projection = notes(1, plain().tenant_isolation().grant("reports", [Privilege::Select]).comment("all"));
    let refused = ProjectionStore::setup(&place.open(), &[&projection]).unwrap_err();
    let is_it = matches!(&refused, SetupError::Projection(ProjectionError::Table { table, .. }) if table == "notes");
    let said = error::chain(&refused);
    assert!(is_it && said.contains("tenant_isolation") && said.contains("leave it out"), "{said}");
    let said = error::chain(&place.open().setup_sql(&[&projection]).unwrap_err());
    assert!(said.contains("tenant_isolation"), "{said}");
    // Only this process reads a database in memory, so the tests of a service work there.
    ProjectionStore::setup(&SqliteStore::in_memory().unwrap(), &[&projection]).unwrap();
    // Set-up ignores grants and comments.
    let open = notes(1, plain().grant("reports", [Privilege::Select]).comment("all"));
    ProjectionStore::setup(&place.open(), &[&open]).unwrap();
    ProjectionStore::setup(&place.open(), &[&notes(1, plain())]).unwrap();
    for table in [plain().grant("", [Privilege::Select]), plain().grant("x", []), plain().comment("a\0")] {
        notes(1, table).check().unwrap_err();
    }
}

// Contract: O4
both!(the_doctor_names_what_is_declared_and_not_there);
pub(crate) fn the_doctor_names_what_is_declared_and_not_there<P: Place>(place: &P) {
    let cut = "a_name_that_is_so_long_that_the_database_cuts_it_off";
    let table = Table::new("notes")
        .column(text("id"))
        .column(integer("n").default(0))
        .column(integer("twice").generated("n * 2"))
        .column(enumeration("state", ["open", "shut"]).default("open"))
        .primary_key(["id"])
        .unique(["twice", "id"])
        .index(["n"])
        .index_by(Index::new("best").descending("n").only("n > 0"))
        .index_by(Index::new(cut).expression("n + 1"))
        .index_by(Index::new("nowhere").expression(Dialects::postgres("n + 2")))
        .demand("few", "n < 1000");
    let log = Table::new("notes_log").column(text("id")).primary_key(["id"]).references_primary(["id"]);
    let engine = start(place, notes(1, table).table(log));
    write(&engine, "a", "x");
    assert_eq!(lacking(place), [""; 0]);
    let is_postgres = place.address().starts_with("postgres");
    let found = |filter: &str| {
        if is_postgres {
            place.query(&format!("SELECT indexname FROM pg_indexes WHERE tablename = 'notes_1' AND ({filter})"))
        } else {
            let name = filter.replace("indexname", "name");
            place.query(&format!(
                "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'notes_1' AND ({name})"
            ))
        }
    };
    for name in found(
        "indexname LIKE '%\\_best' ESCAPE '\\' OR indexname LIKE '%a_name_that%' OR indexname LIKE '%\\_n\\_idx' ESCAPE '\\'",
    ) {
        place.sql(&format!("DROP INDEX \"{name}\""));
    }
    let mut wanted = vec!["index over [\"n\"]".to_owned(), "index \"best\"".to_owned(), format!("index {cut:?}")];
    if is_postgres {
        place.sql(
            "ALTER TABLE notes_1 DROP CONSTRAINT readside_check_few, DROP CONSTRAINT readside_values_state, \
             ALTER twice DROP EXPRESSION; ALTER TABLE notes_1 DROP CONSTRAINT notes_1_instance_id_twice_id_key; \
             ALTER TABLE notes_log_1 DROP CONSTRAINT notes_log_1_instance_id_id_fkey",
        );
        wanted.insert(0, "unique constraint over [\"twice\", \"id\"]".to_owned());
        wanted.extend([
            "check \"few\"".to_owned(),
            "list of values of column \"state\"".to_owned(),
            "generated column \"twice\"".to_owned(),
            "foreign key over [\"id\"]".to_owned(),
        ]);
    }
    let mut missing = lacking(place);
    missing.sort();
    wanted.sort();
    assert_eq!(missing, wanted);
    let findings = admin::Doctor::default().examine(&place.open());
    let finding = findings.iter().find(|finding| finding.check == "declared").unwrap();
    assert!(finding.verdict == Severity::Warn && finding.found.contains("index \"best\" on table \"notes_1\""));
    rebuild_with_loss(&engine);
    assert_eq!(lacking(place), [""; 0]);
    drop(engine);
}

fn rebuild_with_loss(engine: &Engine) {
    let mut options = RebuildOptions::default();
    options.compare = false;
    engine.admin().rebuild("notes", options, &by(), |_| {}).unwrap();
}

// Contract: G3, B5
both!(a_row_that_is_referred_to_stays_where_the_key_restricts);
pub(crate) fn a_row_that_is_referred_to_stays_where_the_key_restricts<P: Place>(place: &P) {
    let shop = |version: u32| {
        Projection::new("shop", version)
            .table(Table::new("customers").column(text("region")).column(text("id")).primary_key(["region", "id"]))
            .table(
                Table::new("orders")
                    .column(text("id"))
                    .column(text("region"))
                    .column(text("customer"))
                    .primary_key(["id"])
                    .foreign_key(ForeignKey::primary(["region", "customer"]).restrict()),
            )
            .on_raw("customer", "customer.came", |e| create([set("region", "eu"), set("id", e.aggregate_id())]))
            .on_raw("customer", "customer.left", |e| delete([eq("region", "eu"), eq("id", e.aggregate_id())]))
            .on_raw("order", "order.placed", |e| {
                let customer = e.payload::<String>()?;
                let all = [set("id", e.aggregate_id()), set("region", "eu"), set("customer", customer)];
                in_table("orders", upsert(["id"], all))
            })
            .on_raw("order", "order.gone", |e| in_table("orders", delete([eq("id", e.aggregate_id())])))
    };
    let engine = start(place, shop(1));
    let customer = |id: &str, what: &str| NewEvent::raw("a", "customer", id, what);
    let order = |id: &str, of: &str| NewEvent::raw("a", "order", id, "order.placed").payload(&of);
    let events = [
        customer("c1", "customer.came"),
        customer("c2", "customer.came"),
        customer("c3", "customer.came"),
        order("o1", "c1"),
        order("o2", "c2"),
        // An order refers to this customer.
        customer("c1", "customer.left"),
        NewEvent::raw("a", "order", "o2", "order.gone"),
        // No order refers to this customer any more.
        customer("c2", "customer.left"),
        customer("c4", "customer.came"),
    ];
    let pushed = engine.push(&events).unwrap();
    engine.await_pushed("shop", &pushed[8..], LONG).unwrap();
    let failed = engine.admin().failed_events("shop", &FailureQuery::all()).unwrap();
    let failed: Vec<_> = failed.iter().map(|held| (held.attempt.position, held.attempt.class)).collect();
    assert_eq!(failed, [(6, FailureClass::Constraint)]);
    let rows =
        || (place.query("SELECT id FROM customers ORDER BY id"), place.query("SELECT id FROM orders ORDER BY id"));
    let wanted = (vec!["c1".to_owned(), "c3".to_owned(), "c4".to_owned()], vec!["o1".to_owned()]);
    assert_eq!(rows(), wanted);
    assert!(engine.admin().verify("shop", None).unwrap().is_clean());
    let mut one = RebuildOptions::default();
    one.instance = Some("a".to_owned());
    for options in [RebuildOptions::default(), one.clone()] {
        engine.admin().rebuild("shop", options, &by(), |_| {}).unwrap();
        assert_eq!(rows(), wanted);
    }
    // Because of the service's own rows, the rebuild changes rows in place: an order refers to a customer that has to
    // go, and then to another one.
    place.sql(
        "CREATE TABLE bills (instance_id TEXT, region TEXT, id TEXT, FOREIGN KEY (instance_id, region, id) \
         REFERENCES customers_1 (instance_id, region, id)); INSERT INTO bills VALUES ('a', 'eu', 'c3'); \
         INSERT INTO customers_1 (instance_id, region, id) VALUES ('a', 'eu', 'odd'); \
         UPDATE orders_1 SET customer = 'odd'",
    );
    engine.admin().rebuild("shop", one, &by(), |_| {}).unwrap();
    assert_eq!(rows(), wanted);
    assert_eq!(place.query("SELECT customer FROM orders"), ["c1"]);
    place.sql("DROP TABLE bills");
    place.remove_tenant("a", &mut |_| {});
    assert_eq!(rows(), (Vec::new(), Vec::new()));
    drop(engine);
    let tree = Table::new("tree").column(text("id")).column(text("up").nullable()).primary_key(["id"]);
    let tree = Projection::new("tree", 1).table(tree.foreign_key(ForeignKey::to(["up"], "tree").restrict())).on_raw(
        "a",
        "b",
        |_| noop(),
    );
    assert!(error::chain(&tree.check().unwrap_err()).contains("refers to itself"));
}
