//! A role that may not create tables: what it needs for running engines, and how it is told what it lacks.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use readside::admin::{Admin, AdminCommand, ExplainRequest};
use readside::error::{self, PushError, SetupError, StoreError, StoreErrorKind};
use readside::failure::FailureQuery;
use readside::health::Verdict;
use readside::inspect::{Finding, Inspect, Severity};
use readside::postgres_driver::{Client, NoTls};
use readside::prelude::*;
use readside::store::{ProjectionStore, Standstill, StandstillKind};
use readside::{Engine, EventStore, PostgresStore, SqliteStore};

use crate::common::postgres::{Database, database};
use crate::{Counted, LONG, Place, by, common, count, counts, eager, eventually, handler};

/// A role of the server. It is dropped with this value. Its name has to be quoted.
struct Role<'d> {
    database: &'d Database,
    name: String,
}

static ROLES: AtomicU32 = AtomicU32::new(0);

impl<'d> Role<'d> {
    fn new(database: &'d Database) -> Self {
        let name = format!("a \"clerk\" {}-{}", std::process::id(), ROLES.fetch_add(1, Ordering::Relaxed));
        let role = Self { database, name };
        database.sql(&format!("CREATE ROLE {} LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC", role.quoted()));
        role
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.name.replace('"', "\"\""))
    }

    fn url(&self) -> String {
        let (_, rest) = self.database.url().split_once('@').unwrap();
        format!("postgres://{}@{rest}", self.name.replace(' ', "%20").replace('"', "%22"))
    }

    fn open(&self) -> PostgresStore {
        PostgresStore::connect(&self.url()).unwrap()
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        self.database.sql(&format!("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", self.quoted()));
    }
}

/// A read model in its own schema. The name of the schema has to be quoted too.
fn sums() -> Projection {
    Projection::new("sums", 1)
        .schema("Read models")
        .table(Table::new("sums").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(|e, p: Counted| upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)]))
}

fn start(store: &PostgresStore) -> Engine {
    let config = eager().setup(false);
    let builder = Engine::builder(store.clone()).config(config).projection_with(counts(1), handler());
    builder.projection_with(sums(), handler()).start().unwrap()
}

/// Does everything that an engine does without creating tables.
fn run(role: &Role<'_>, instance: &str) {
    let store = role.open();
    let engine = start(&store);
    let unique = count(instance, "x", 1).add_unique("thing.name", "x", "taken").push_key("one");
    engine.push(&[unique]).unwrap();
    engine.push(&[count(instance, "y", 2)]).unwrap();
    engine.push(&[count(instance, "x", 3).remove_unique("thing.name", "x")]).unwrap();
    engine.push(&[count(instance, "z", 13), count(instance, "z", 4)]).unwrap();
    eventually("the failure", || {
        engine.admin().failed_events("counts", &FailureQuery::all().instance(instance)).unwrap().len() == 2
    });
    let again = engine.admin().retry("counts", instance, 4, &by());
    assert!(
        matches!(again, Err(readside::error::OperateError::Failure(readside::error::FailureError::StillFails { .. }))),
        "{again:?}"
    );
    engine.admin().discard("counts", instance, 4, &by()).unwrap();
    assert!(!engine.admin().interventions("counts", 10).unwrap().is_empty());
    common::pause(&store, "counts", Some(instance), true, &by());
    common::pause(&store, "counts", Some(instance), false, &by());
    let pushed = engine.push(&[count(instance, "x", 5)]).unwrap();
    for name in ["counts", "sums"] {
        engine.await_pushed(name, &pushed, LONG).unwrap();
    }
    engine.trigger("counts", &[instance]).unwrap();
    let remote = Admin::new(store.clone());
    let verify = AdminCommand::Verify { instance: Some(instance.to_owned()), repair: false };
    let id = remote.ask("sums", verify, &by()).unwrap();
    remote.answer(id, LONG).unwrap();
    let asked = engine.admin().explain(
        "counts",
        &ExplainRequest { instance: instance.to_owned(), table: None, key: vec!["x".into()], at: None },
    );
    assert_eq!(asked.unwrap().row.unwrap()["n"], serde_json::json!(9));
    eventually("the first run", || engine.health().unwrap().projections.iter().all(|each| each.succeeded));
    store.status(true).unwrap();
    let mut client = Client::connect(&role.url(), NoTls).unwrap();
    let read = "SELECT (SELECT sum(n) FROM counts WHERE instance_id = $1) + (SELECT sum(n) FROM \"Read models\".sums \
         WHERE instance_id = $1)";
    let sum: readside::postgres_driver::Row =
        client.query_one(&format!("SELECT ({read})::int8"), &[&instance]).unwrap();
    assert_eq!(sum.get::<_, i64>(0), 1 + 2 + 3 + 4 + 5 + 28);
    engine.shutdown(LONG).unwrap();
}

fn privileges(store: &PostgresStore) -> Finding {
    let findings = store.examine(Duration::from_secs(1));
    findings.into_iter().find(|finding| finding.check == "privileges").unwrap()
}

// Contract: I1: the printed grants suffice, and if one of them is missing, the error names it.
#[test]
fn what_is_granted_is_what_running_needs() {
    let place = database();
    let owner = place.open();
    ProjectionStore::setup(&owner, &[&counts(1), &sums()]).unwrap();
    let role = Role::new(&place);
    let sql = owner.grant_sql(&role.name, &[&counts(1), &sums()]).unwrap();
    place.sql(&sql);
    run(&role, "a");
    let store = role.open();
    let fine = privileges(&store);
    assert!(fine.verdict == Severity::Warn && fine.found.contains("not set up and rebuild"), "{fine:?}");
    let grants: Vec<&str> = sql.lines().filter(|line| line.starts_with("GRANT ")).collect();
    for grant in &grants {
        let (rights, rest) = grant.strip_prefix("GRANT ").unwrap().split_once(" ON ").unwrap();
        let (object, _) = rest.rsplit_once(" TO ").unwrap();
        for right in rights.split(", ") {
            let one = format!("GRANT {right} ON {object} TO {};", role.quoted());
            place.sql(&one.replacen("GRANT", "REVOKE", 1).replacen(" TO ", " FROM ", 1));
            let found = privileges(&store);
            let name = object.trim_start_matches("TABLE ").replace("SCHEMA ", "schema ");
            assert_eq!(found.verdict, Severity::Fail, "{one}: {found:?}");
            assert!(found.found.contains(&format!("{right} on {name}")), "{one}: {found:?}");
            let remedy = found.remedy.unwrap();
            assert!(remedy.lines().any(|line| line == one), "{one}: {remedy}");
            place.sql(remedy.split_once('\n').unwrap().1);
            assert_eq!(privileges(&store), fine, "{one}");
        }
    }
    run(&role, "b");
    // Without the code, the registered projections count.
    let mut registered: Vec<String> = owner.grant_sql(&role.name, &[]).unwrap().lines().map(str::to_owned).collect();
    let mut defined: Vec<&str> = sql.lines().collect();
    registered.sort_unstable();
    defined.sort_unstable();
    assert_eq!(registered, defined);
}

// Contract: L11: the engine would not change rows that policies hide, and the database would not report it.
#[test]
fn row_level_security_that_holds_for_the_engine_is_told() {
    let place = database();
    let owner = place.open();
    ProjectionStore::setup(&owner, &[&counts(1), &sums()]).unwrap();
    let role = Role::new(&place);
    place.sql(&owner.grant_sql(&role.name, &[]).unwrap());
    let store = role.open();
    let fine = privileges(&store);
    place.sql(
        "ALTER TABLE counts_1 ENABLE ROW LEVEL SECURITY; CREATE POLICY one ON counts_1 USING (instance_id = 'a'); \
         ALTER TABLE \"Read models\".sums_1 ENABLE ROW LEVEL SECURITY; \
         ALTER TABLE readside.events ENABLE ROW LEVEL SECURITY",
    );
    let found = privileges(&store);
    assert_eq!(found.verdict, Severity::Fail, "{found:?}");
    for word in ["row-level security", "counts_1", "\"Read models\".sums_1", "readside.events"] {
        assert!(found.found.contains(word), "{word}: {found:?}");
    }
    // A policy that lets the role see all rows is none of the remedies: the server refuses it all the same.
    place.sql(&format!("CREATE POLICY service ON counts_1 TO {} USING (true)", role.quoted()));
    place.sql("ALTER TABLE counts_1 FORCE ROW LEVEL SECURITY");
    let found = privileges(&store);
    let remedy = found.remedy.unwrap();
    assert!(
        found.found.contains("counts_1") && remedy.contains("a policy that lets this role see all rows"),
        "{remedy}"
    );
    assert_eq!(privileges(&owner).verdict, Severity::Ok, "it holds for no owner");
    // What is printed is what helps: the first statement, or the others.
    let statements: Vec<&str> = remedy.lines().filter(|line| line.ends_with(';')).collect();
    let owner = place.query("SELECT quote_ident(current_user)").remove(0);
    let (role_name, table) = (role.quoted(), place.query("SELECT 'public.counts_1'").remove(0));
    let bypass = format!("ALTER ROLE {role_name} BYPASSRLS;");
    let others =
        [format!("GRANT {owner} TO {role_name};"), format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;")];
    assert_eq!(statements, [&bypass, &others[0], &others[1]]);
    place.sql(&others.join(" "));
    assert_ne!(privileges(&store).verdict, Severity::Fail);
    place.sql(&format!("REVOKE {owner} FROM {role_name}; ALTER TABLE {table} FORCE ROW LEVEL SECURITY"));
    assert_eq!(privileges(&store).verdict, Severity::Fail);
    place.sql(&bypass);
    assert_eq!(privileges(&store), fine);
}

/// Hides all rows of a table from this role.
fn hide(place: &Database, table: &str) {
    place.sql(&format!(
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
         CREATE POLICY hides ON {table} USING (instance_id <> 'b')"
    ));
}

// Contract: L11, L2: nothing is changed in part. The work goes on without help when the role sees every row.
#[test]
fn an_engine_from_which_policies_hide_rows_stands_still_and_says_so() {
    let place = database();
    ProjectionStore::setup(&place.open(), &[&adding(), &sums()]).unwrap();
    let role = Role::new(&place);
    // The role owns the table, but with `FORCE` the policies apply to the owner too.
    place.sql(&format!("ALTER TABLE added_1 OWNER TO {}", role.quoted()));
    place.sql(&place.open().grant_sql(&role.name, &[]).unwrap());
    let store = role.open();
    let builder = Engine::builder(store.clone()).config(eager().setup(false));
    let engine = builder.projection_with(adding(), handler()).projection_with(sums(), handler()).start().unwrap();
    for instance in ["a", "b"] {
        let pushed = engine.push(&[count(instance, "x", 1)]).unwrap();
        engine.await_pushed("added", &pushed, LONG).unwrap();
    }
    hide(&place, "added_1");
    let pushed = engine.push(&[count("b", "x", 2)]).unwrap();
    engine.await_pushed("sums", &pushed, LONG).unwrap();
    eventually("the note", || {
        let health = engine.health().unwrap();
        let added = health.projections.iter().find(|each| &*each.name == "added").unwrap();
        let told = |one: &Standstill| one.kind == StandstillKind::Denied && one.reason.contains("row-level security");
        added.verdict == Verdict::Stuck && added.standstills.iter().any(told)
    });
    let refused = engine.trigger("added", &["b"]).unwrap_err();
    let said = error::chain(&refused);
    assert!(said.contains("added_1") && said.contains("BYPASSRLS"), "{said}");
    engine.await_pushed("added", &pushed, Duration::from_millis(100)).unwrap_err();
    // For the service's own reads, policies filter the rows.
    let read = "SELECT n FROM added_1 ORDER BY n";
    assert_eq!(store.query_all_as::<i64>(read, &[]).unwrap(), [1]);
    let seen: i64 = store
        .with_client(|client| {
            Ok::<_, StoreError>(client.query_one("SELECT count(*) FROM added_1", &[]).unwrap().get(0))
        })
        .unwrap();
    assert_eq!(seen, 1);
    place.sql(&format!("ALTER ROLE {} BYPASSRLS", role.quoted()));
    engine.await_pushed("added", &pushed, LONG).unwrap();
    assert_eq!(store.query_all_as::<i64>(read, &[]).unwrap(), [1, 3]);
    engine.shutdown(LONG).unwrap();
}

/// Updates existing rows. If it sees no row, it changes nothing.
fn adding() -> Projection {
    Projection::new("added", 1)
        .table(Table::new("added").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(|e, p: Counted| {
            if e.position() == 1 {
                create([set("thing", e.aggregate_id()), set("n", p.by)])
            } else {
                update([increment("n", p.by)], [eq("thing", e.aggregate_id())])
            }
        })
}

// Contract: L11, A4: hidden events would look like missing events.
#[test]
fn policies_on_the_engines_tables_are_an_error_of_each_call() {
    let place = database();
    let owner = place.open();
    ProjectionStore::setup(&owner, &[&adding()]).unwrap();
    owner.push(&[count("b", "x", 1)]).unwrap();
    let role = Role::new(&place);
    place.sql(&owner.grant_sql(&role.name, &[]).unwrap());
    for table in ["events", "instances", "heads", "projection_states"] {
        hide(&place, &format!("readside.{table}"));
        let store = role.open();
        let builder = Engine::builder(store.clone()).config(eager().setup(false)).projection_with(adding(), handler());
        let told = match builder.start() {
            Err(error) => error::chain(&error),
            Ok(engine) => match engine.trigger("added", &["b"]) {
                Err(error) => error::chain(&error),
                Ok(report) => panic!("{table}: {report:?}"),
            },
        };
        assert!(told.contains(table) && told.contains("BYPASSRLS"), "{table}: {told}");
        if table == "instances" {
            let pushed = store.with_transaction(|transaction| {
                let before: String = transaction.query_one("SHOW row_security", &[]).unwrap().get(0);
                let refused = store.push_in(transaction, &[count("b", "x", 2)]).map(|pushed| pushed.events);
                let after: String = transaction.query_one("SHOW row_security", &[]).unwrap().get(0);
                assert_eq!((before.as_str(), after.as_str()), ("on", "on"));
                Ok::<_, PushError>(refused)
            });
            let told = error::chain(&pushed.unwrap().unwrap_err());
            assert!(told.contains("BYPASSRLS"), "{told}");
        }
        place.sql(&format!("ALTER TABLE readside.{table} DISABLE ROW LEVEL SECURITY"));
    }
    let store = role.open();
    store
        .with_transaction(|transaction| {
            let pushed = store.push_in(transaction, &[count("b", "x", 2)])?;
            let after: String = transaction.query_one("SHOW row_security", &[]).unwrap().get(0);
            assert_eq!((pushed.events[0].position(), after.as_str()), (2, "on"));
            Ok::<_, PushError>(())
        })
        .unwrap();
}

// Contract: I1: for each table of a migration, somebody has to decide about its grants.
#[test]
fn every_table_of_the_engine_is_granted_or_left_out_on_purpose() {
    let place = database();
    let owner = place.open();
    owner.setup().unwrap();
    let sql = owner.grant_sql("clerk", &[]).unwrap();
    let tables = place.query(
        "SELECT relname FROM pg_class WHERE relnamespace = 'readside'::regnamespace AND relkind IN ('r', 'v', 'S')",
    );
    let left: Vec<&String> =
        tables.iter().filter(|name| !sql.contains(&format!(" ON TABLE \"readside\".\"{name}\" TO "))).collect();
    assert!(left.is_empty(), "{left:?}");
    // What redacting, removing and archiving leave is their owner's; `doctor` reads it.
    let read = "GRANT SELECT ON TABLE \"readside\".\"operations\" TO ";
    assert!(sql.contains(read), "{sql}");
    assert!(
        !sql.contains("UPDATE ON TABLE \"readside\".\"events\"")
            && !sql.contains("DELETE ON TABLE \"readside\".\"events\"")
    );
}

// Contract: I1: on a database without tables, the script and the grants work together.
#[test]
fn script_and_grants_set_an_empty_database_up() {
    let place = database();
    let role = Role::new(&place);
    let store = role.open();
    let lacking = privileges(&store);
    assert!(lacking.verdict == Severity::Fail && lacking.remedy.unwrap().contains("--grant-to"), "{}", lacking.found);
    let projections = [&counts(1), &sums()];
    let owner = place.open();
    place.sql(&owner.setup_sql(&projections).unwrap());
    place.sql(&owner.grant_sql(&role.name, &projections).unwrap());
    run(&role, "a");
}

// Contract: L10: an index of event ids costs each push, so the first import makes it, also as a role that owns no table.
#[test]
fn the_first_import_makes_the_indexes_of_event_ids() {
    for home in ["readside", "other_home"] {
        let place = database();
        let options = || readside::PostgresOptions::default().schema(home.to_owned());
        let owner = PostgresStore::connect_with(place.url(), options()).unwrap();
        ProjectionStore::setup(&owner, &[]).unwrap();
        let role = Role::new(&place);
        place.sql(&owner.grant_sql(&role.name, &[]).unwrap());
        let store = PostgresStore::connect_with(&role.url(), options()).unwrap();
        let mut client = Client::connect(place.url(), NoTls).unwrap();
        let mut indexes = || -> Vec<String> {
            let sql = "SELECT tablename || ' ' || indexname FROM pg_indexes WHERE schemaname = $1 \
                       AND indexdef LIKE '%(event_id)' ORDER BY 1";
            client.query(sql, &[&home]).unwrap().iter().map(|row| row.get(0)).collect()
        };
        let pushed = store.push(&[count("a", "x", 1)]).unwrap();
        let again = store.push_imported(&[count("a", "x", 1).id(pushed[0].id())]);
        assert!(matches!(again, Err(PushError::IdExists { index: 0, .. })), "{again:?}");
        assert!(indexes().is_empty(), "what is refused leaves nothing");
        // Whoever imports first, both find it made.
        std::thread::scope(|scope| {
            let import = |instance: &'static str| {
                let store = &store;
                move || store.push_imported(&[count(instance, "x", 1).id(uuid::Uuid::from_u128(1))]).unwrap()
            };
            let both = ["b", "c"].map(|instance| scope.spawn(import(instance)));
            for thread in both {
                thread.join().unwrap();
            }
        });
        assert_eq!(indexes(), ["events events_by_id", "events_archive events_archive_by_id"]);
        store.push(&[count("a", "x", 1)]).unwrap();
    }
}

// Contract: L10: an operator of a large store makes the index beforehand, without a wait for pushes.
#[test]
fn indexes_of_event_ids_that_are_there_suffice() {
    let place = database();
    let owner = place.open();
    ProjectionStore::setup(&owner, &[]).unwrap();
    place.sql("CREATE INDEX mine ON readside.events (event_id)");
    place.sql("CREATE INDEX its ON readside.events_archive (event_id)");
    owner.push_imported(&[count("a", "x", 1).id(uuid::Uuid::from_u128(1))]).unwrap();
    let mut client = Client::connect(place.url(), NoTls).unwrap();
    let made = client.query("SELECT 1 FROM pg_indexes WHERE indexname LIKE 'events%by_id'", &[]).unwrap();
    assert!(made.is_empty());
}

#[test]
fn a_role_that_cannot_be_is_refused() {
    let place = database();
    for name in ["", "a\0b"] {
        match place.open().grant_sql(name, &[]) {
            Err(SetupError::Store(error)) => assert_eq!(error.kind(), StoreErrorKind::Usage),
            other => panic!("{other:?}"),
        }
    }
    match SqliteStore::in_memory().unwrap().grant_sql("clerk", &[]) {
        Err(SetupError::Store(error)) => {
            assert_eq!(error.kind(), StoreErrorKind::Unsupported);
            assert!(readside::error::chain(&error).contains("this database has no roles"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
