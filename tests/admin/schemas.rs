//! Read tables without a schema in their name, in databases whose sessions have different search paths.

use readside::admin::{ExplainRequest, RebuildOptions};
use readside::error::{SetupError, StoreErrorKind, chain};
use readside::failure::FailureQuery;
use readside::postgres_driver::{Client, NoTls};
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{Engine, EventStore, HandlerConfig, NewEvent, PostgresStore, ProjectionHandler};

use crate::versions::{doubled, live};
use crate::{LONG, Place, by, common, count, counts, eager, eventually, handler, start};
use common::postgres::Database;

/// A database with two schemas.
fn database() -> Database {
    let place = common::postgres::database();
    place.sql("CREATE SCHEMA app; CREATE SCHEMA other");
    place
}

/// The address for sessions whose search path is only this schema.
fn looking_into(place: &Database, schema: &str) -> String {
    format!("{}?options=-csearch_path%3D{schema}", place.url())
}

fn connect(url: &str) -> PostgresStore {
    PostgresStore::connect(url).unwrap()
}

/// The relations of readside outside of its own schema, as `schema.name`.
fn relations(place: &Database) -> Vec<String> {
    place.query(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'v') AND n.nspname IN ('app', 'other', 'public', 'late') ORDER BY 1",
    )
}

fn number(place: &Database, table: &str) -> Vec<String> {
    place.query(&format!("SELECT count(*) FROM {table}"))
}

/// A role that may log in. It is dropped with this value.
struct Role<'d>(&'d Database, String);

impl<'d> Role<'d> {
    fn new(place: &'d Database, name: &str) -> Self {
        let role = format!("{name}_{}", std::process::id());
        place.sql(&format!("CREATE ROLE {role} LOGIN"));
        Self(place, role)
    }

    fn url(&self) -> String {
        let (_, address) = self.0.url().split_once('@').unwrap();
        format!("postgres://{}@{address}", self.1)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let mut client = Client::connect(self.0.url(), NoTls).unwrap();
        client.batch_execute(&format!("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", self.1)).unwrap();
    }
}

fn push(engine: &Engine, thing: &str, events: i64) {
    let commands: Vec<NewEvent> = (0..events).map(|_| count("tenant-000", thing, 1)).collect();
    let pushed = engine.push(&commands).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
}

const ALL: [&str; 4] = ["app.counts", "app.counts_1", "app.counts_log", "app.counts_log_1"];

// Contract: B1, L2: all rows of a read model are in the same tables, whichever session writes them.
#[test]
fn sessions_with_another_search_path_write_to_the_same_tables() {
    let place = database();
    let first = start(connect(&looking_into(&place, "app")), eager());
    push(&first, "x0", 20);
    first.shutdown(LONG).unwrap();
    let store = connect(&looking_into(&place, "other"));
    let second = start(store.clone(), eager());
    push(&second, "x0", 20);
    assert_eq!(relations(&place), ALL);
    assert_eq!(number(&place, "app.counts_log_1"), ["40"]);
    assert_eq!(store.read_rows(&counts(1), "counts_log").unwrap().len(), 40);
    assert!(second.admin().verify("counts", None).unwrap().differing.is_empty());
}

// Contract: B1, L2
#[test]
fn a_role_that_cannot_reach_the_tables_is_refused() {
    let place = database();
    let first = start(connect(&looking_into(&place, "app")), eager());
    push(&first, "x0", 20);
    let role = Role::new(&place, "stranger");
    place.sql(&format!(
        "GRANT USAGE ON SCHEMA readside TO {0}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA readside \
         TO {0}; GRANT ALL ON SCHEMA other TO {0}",
        role.1
    ));
    let store = connect(&format!("{}?options=-csearch_path%3Dother", role.url()));
    for outcome in [store.setup_of(&counts(1)), store.verify(&[&counts(1)])] {
        match outcome {
            Err(error @ SetupError::SchemaOutOfReach { .. }) => {
                let text = chain(&error);
                for word in ["\"app\"", "\"other\"", "GRANT USAGE ON SCHEMA", "search_path", "Projection::schema"] {
                    assert!(text.contains(word), "{word}: {text}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(relations(&place), ALL);
    // With the rights, it works together with the other process on the same tables.
    place.sql(&format!(
        "GRANT USAGE ON SCHEMA app TO {0}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO {0}",
        role.1
    ));
    let second = start(store, eager());
    push(&second, "x0", 20);
    assert_eq!(
        (relations(&place), number(&place, "app.counts_log_1")),
        (ALL.map(str::to_owned).to_vec(), vec!["40".into()])
    );
}

// Contract: B1, L2: `"$user", public` means another schema once a schema has the role's name.
#[test]
fn a_schema_of_the_roles_name_that_is_made_later_takes_nothing() {
    let place = common::postgres::database();
    let role = Role::new(&place, "app17");
    let name = place.query("SELECT current_database()").remove(0);
    place.sql(&format!("GRANT ALL ON DATABASE \"{name}\" TO {0}; GRANT ALL ON SCHEMA public TO {0}", role.1));
    let first = start(connect(&role.url()), eager());
    push(&first, "x0", 20);
    first.shutdown(LONG).unwrap();
    place.sql(&format!("CREATE SCHEMA {0} AUTHORIZATION {0}", role.1));
    let second = start(connect(&role.url()), eager());
    push(&second, "x0", 20);
    assert_eq!(number(&place, "public.counts_log_1"), ["40"]);
    assert_eq!(number(&place, &format!("pg_class WHERE relnamespace = '{}'::regnamespace", role.1)), ["0"]);
}

// Contract: B1: this includes moving, comparing, emptying and removing tables.
#[test]
fn every_operation_finds_the_tables_where_they_are() {
    let place = database();
    let first = start(connect(&looking_into(&place, "app")), eager());
    push(&first, "x0", 20);
    first.shutdown(LONG).unwrap();
    let store = connect(&looking_into(&place, "other"));
    let engine = start(store.clone(), eager());
    for n in 0..2 {
        let report = engine.admin().rebuild("counts", RebuildOptions::default(), &by(), |_| {}).unwrap();
        let comparison = report.comparison.unwrap();
        assert!(report.switched && comparison.is_same() && comparison.instances == 1, "{n}: {comparison:?}");
    }
    engine.admin().back("counts", false, &by()).unwrap();
    engine.admin().drop_old("counts", &by()).unwrap();
    place.sql("UPDATE app.counts_1 SET n = 7");
    assert_eq!(engine.admin().verify("counts", None).unwrap().differing.len(), 1);
    assert_eq!(engine.admin().repair("counts", None, &by()).unwrap().repaired, ["tenant-000"]);
    let question = ExplainRequest { instance: "tenant-000".into(), table: None, key: vec!["x0".into()], at: None };
    assert_eq!(engine.admin().explain("counts", &question).unwrap().steps.len(), 20);
    engine.admin().reset("counts", None, &by()).unwrap();
    engine.await_position("counts", "tenant-000", 20, LONG).unwrap();
    assert_eq!(
        (relations(&place), number(&place, "app.counts_log_1")),
        (ALL.map(str::to_owned).to_vec(), vec!["20".into()])
    );
    let new = Engine::builder(connect(&looking_into(&place, "other")))
        .projection_with(doubled(), handler())
        .config(eager())
        .start()
        .unwrap();
    eventually("the switch", || live(&place) == 2);
    assert_eq!(place.query("SELECT n FROM app.counts"), ["40"]);
    drop((engine, new));
    let _ = store.remove_instance("tenant-000", &by(), |_| {}).unwrap();
    for table in ["app.counts_1", "app.counts_log_1", "app.counts_2"] {
        assert_eq!(number(&place, table), ["0"], "{table}");
    }
    assert!(relations(&place).iter().all(|name| name.starts_with("app.")), "{:?}", relations(&place));
}

fn notes(schema: Option<&str>) -> Projection {
    let notes = Projection::new("notes", 1)
        .table(Table::new("notes").column(text("id")).primary_key(["id"]))
        .sql("write", "INSERT INTO {notes} (instance_id, id) VALUES ($1, $2)")
        .sql("break", Dialects::postgres("SELECT 1 / 0"))
        .on_raw("note", "note.written", |e| exec("write", [e.aggregate_id()]))
        .on_raw("note", "note.broken", |_| exec::<Value>("break", []));
    match schema {
        None => notes,
        Some(schema) => notes.schema(schema),
    }
}

// Contract: B2: the service's own SQL writes to the right tables, also after a statement that was refused.
#[test]
fn sql_of_the_services_own_writes_to_the_same_tables() {
    let place = database();
    let store = connect(&looking_into(&place, "app"));
    ProjectionStore::setup(&store, &[&notes(None)]).unwrap();
    place.sql("CREATE TABLE other.notes_1 (instance_id text, id text, PRIMARY KEY (instance_id, id))");
    let store = connect(&looking_into(&place, "other"));
    let config = HandlerConfig::default().max_failure_count(1).retries(0);
    let shared = std::sync::Arc::new(store.clone());
    let by_hand = ProjectionHandler::new(shared.clone(), shared, notes(None), config).unwrap();
    let written = |id: &str, kind: &str| NewEvent::raw("a", "note", id, kind);
    store
        .push(&[
            written("n1", "note.written"),
            written("n2", "note.broken"),
            written("n3", "note.written"),
            written("n4", "note.written"),
        ])
        .unwrap();
    by_hand.trigger(&["a"]).unwrap();
    assert_eq!(place.query("SELECT id FROM app.notes_1 ORDER BY id"), ["n1", "n3", "n4"]);
    assert_eq!(number(&place, "other.notes_1"), ["0"]);
    assert_eq!(store.failed_events(&notes(None).key(), &FailureQuery::all()).unwrap().len(), 1);
}

/// The state that the version before left: no schema is on record.
fn forget_places(place: &Database) {
    place.sql(
        "UPDATE readside.projections SET place = NULL; \
         UPDATE readside.projection_tables SET table_name = split_part(table_name, '.', 2)",
    );
}

// Contract: B1, I1: tables that an earlier version of the library set up are found where they are.
#[test]
fn tables_of_the_version_before_are_found() {
    let place = database();
    let first = start(connect(&looking_into(&place, "app")), eager());
    push(&first, "x0", 20);
    first.shutdown(LONG).unwrap();
    forget_places(&place);
    // A copy that a person made is not one of the read model's tables.
    place.sql("CREATE TABLE other.counts_1 AS SELECT * FROM app.counts_1");
    let store = connect(&looking_into(&place, "other"));
    assert!(matches!(store.verify(&[&counts(1)]), Err(SetupError::Missing { .. })));
    let elsewhere = Projection::new("elsewhere", 1).on_raw("t", "x", |_| noop());
    // This includes projections that this code does not have.
    ProjectionStore::setup(&store, &[&elsewhere]).unwrap();
    store.verify(&[&counts(1)]).unwrap();
    assert_eq!(place.query("SELECT table_name FROM readside.projection_tables ORDER BY 1"), ALL.map(str::to_owned));
    assert_eq!(place.query("SELECT DISTINCT place FROM readside.projections WHERE name = 'counts'"), ["app"]);
    let second = start(store, eager());
    push(&second, "x0", 20);
    assert_eq!(number(&place, "app.counts_log_1"), ["40"]);
}

// Contract: B1, L2: an engine does not go on with rows that were split over two schemas.
#[test]
fn tables_in_two_schemas_are_refused_by_name() {
    let place = database();
    let first = start(connect(&looking_into(&place, "app")), eager());
    push(&first, "x0", 20);
    first.shutdown(LONG).unwrap();
    forget_places(&place);
    place.sql(
        "CREATE TABLE other.counts_1 (LIKE app.counts_1 INCLUDING ALL); \
         CREATE TABLE other.counts_log_1 (LIKE app.counts_log_1 INCLUDING ALL)",
    );
    let store = connect(&looking_into(&place, "app"));
    match store.setup_of(&counts(1)) {
        Err(error @ SetupError::SchemasDisagree { .. }) => {
            let text = chain(&error);
            assert!(text.contains("app, other") && text.contains("rebuild"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    place.sql("DROP TABLE other.counts_1, other.counts_log_1");
    store.setup_of(&counts(1)).unwrap();
}

// Contract: B1, L2: if a table was moved away, it is not created again under its old checkpoints.
#[test]
fn tables_that_were_moved_are_missed() {
    let place = database();
    let store = connect(&looking_into(&place, "app"));
    let first = start(store.clone(), eager());
    push(&first, "x0", 20);
    first.shutdown(LONG).unwrap();
    place.sql("ALTER TABLE app.counts_log_1 SET SCHEMA other");
    for outcome in [store.setup_of(&counts(1)), store.verify(&[&counts(1)])] {
        match outcome {
            Err(error @ SetupError::TableMoved { .. }) => {
                let text = chain(&error);
                assert!(
                    text.contains("\"app\"") && text.contains("\"other\"") && text.contains("SET SCHEMA"),
                    "{text}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    place.sql("ALTER TABLE other.counts_log_1 SET SCHEMA app");
    store.setup_of(&counts(1)).unwrap();
}

// Contract: B1: what a process remembers ends with the first statement that it does not fit.
#[test]
fn a_record_that_was_changed_is_read_again() {
    let place = database();
    let store = connect(&looking_into(&place, "app"));
    let shared = std::sync::Arc::new(store.clone());
    let hand = ProjectionHandler::new(shared.clone(), shared, counts(1), HandlerConfig::default()).unwrap();
    hand.setup().unwrap();
    store.push(&[count("a", "x0", 1)]).unwrap();
    hand.trigger(&["a"]).unwrap();
    place.sql(
        "ALTER SCHEMA app RENAME TO late; UPDATE readside.projections SET place = 'late'; \
         UPDATE readside.projection_tables SET table_name = 'late.' || split_part(table_name, '.', 2)",
    );
    // A remembered place leads to an error. A new connection remembers nothing, so it reads the record.
    match store.read_rows(&counts(1), "counts") {
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Schema),
        Ok(rows) => assert_eq!(rows[0][2], ("n".to_owned(), Value::Integer(1)), "{rows:?}"),
    }
    store.push(&[count("a", "x0", 1)]).unwrap();
    hand.trigger(&["a"]).unwrap();
    assert_eq!(place.query("SELECT n FROM late.counts"), ["2"]);
}

// Contract: I2: writing the recorded schema's name into the code changes nothing.
#[test]
fn the_recorded_schema_may_be_named_in_the_code() {
    let place = database();
    ProjectionStore::setup(&connect(&looking_into(&place, "app")), &[&notes(None)]).unwrap();
    let store = connect(&looking_into(&place, "other"));
    ProjectionStore::setup(&store, &[&notes(Some("app"))]).unwrap();
    store.verify(&[&notes(Some("app"))]).unwrap();
    store.verify(&[&notes(None)]).unwrap();
    match ProjectionStore::setup(&store, &[&notes(Some("other"))]) {
        Err(SetupError::DefinitionChanged { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(relations(&place), ["app.notes", "app.notes_1"]);
}

// Contract: I1: the script records the schema in which it creates the tables.
#[test]
fn the_script_records_where_it_makes_tables() {
    let place = database();
    let script = connect(place.url()).setup_sql(&[&counts(1)]).unwrap();
    let mut client = Client::connect(&looking_into(&place, "app"), NoTls).unwrap();
    client.batch_execute(&script).unwrap();
    let store = connect(&looking_into(&place, "other"));
    store.verify(&[&counts(1)]).unwrap();
    let engine = start(store, eager().setup(false));
    push(&engine, "x0", 20);
    assert_eq!(
        (relations(&place), number(&place, "app.counts_log_1")),
        (ALL.map(str::to_owned).to_vec(), vec!["20".into()])
    );
}

trait SetupOf {
    fn setup_of(&self, projection: &Projection) -> Result<(), SetupError>;
}

impl SetupOf for PostgresStore {
    fn setup_of(&self, projection: &Projection) -> Result<(), SetupError> {
        ProjectionStore::setup(self, &[projection])
    }
}
