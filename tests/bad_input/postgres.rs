//! Servers that do not exist, do not answer, or refuse the client.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use readside::error::{PushError, SetupError, StoreError, StoreErrorKind as Kind, chain};
use readside::query::Query;
use readside::store::ProjectionStore;
use readside::{EventStore, PostgresOptions, PostgresStore};

use crate::{OnPostgres, Store, command, common, names::people};

fn refused(url: &str) -> StoreError {
    let options = PostgresOptions::default().connect_timeout(Duration::from_millis(500));
    PostgresStore::connect_with(url, options).unwrap_err()
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refused(&format!("postgres://me:secret@127.0.0.1:{port}/x"));
    assert_eq!(error.kind(), Kind::Connection, "{error:?}");
    let text = chain(&error);
    assert!(
        text.contains("check that the server runs") && text.contains("refused") && !text.contains("secret"),
        "{text}"
    );
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refused(&format!("postgres://me@127.0.0.1:{}/x", listener.local_addr().unwrap().port()));
    assert_eq!(error.kind(), Kind::Connection, "{error:?}");
    assert!(chain(&error).contains("the server did not answer within "), "{}", chain(&error));
}

/// Answers the first message as a server does after a wrong password.
pub(crate) fn wrong_password() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || refuse(listener.accept().unwrap().0));
    port
}

/// Treats a client as such a server does, also a client that leaves first.
pub(crate) fn refuse(mut stream: TcpStream) {
    let mut message = [0; 2048];
    let mut read = stream.read(&mut message).unwrap_or_default();
    if read == 8 && stream.write_all(b"N").is_ok() {
        read = stream.read(&mut message).unwrap_or_default();
    }
    if read <= 8 {
        return;
    }
    let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"me\"\0\0";
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    let _ = stream.write_all(&[b"E".as_slice(), &length, fields].concat());
}

#[test]
fn a_wrong_password_is_denied_and_not_shown() {
    let error = refused(&format!("postgres://me:secret@127.0.0.1:{}/x", wrong_password()));
    assert_eq!((error.kind(), error.code()), (Kind::Denied, Some("28P01")));
    let text = format!("{} {error:?}", chain(&error));
    assert!(
        text.contains("check user, password") && text.contains("for user \\\"me\\\"") && !text.contains("secret"),
        "{text}"
    );
}

#[test]
fn users_and_databases_that_do_not_exist_are_denied() {
    let database = common::postgres::database();
    let (base, name) = database.url().rsplit_once('/').unwrap();
    let error = refused(&format!("{base}/nobodys_database"));
    assert_eq!(error.kind(), Kind::Denied);
    assert!(chain(&error).contains("nobodys_database"), "{}", chain(&error));
    let address = base.rsplit_once('@').unwrap().1;
    let error = refused(&format!("postgres://nobody_at_all@{address}/{name}"));
    assert_eq!(error.kind(), Kind::Denied);
    assert!(chain(&error).contains("nobody_at_all"), "{}", chain(&error));
}

#[test]
fn a_url_that_cannot_be_read_does_not_show_its_password() {
    for url in ["postgres://me:secret@host:notaport/x", "nonsense secret", "postgres://me:secret@h/x?frobnicate=1"] {
        let error = refused(url);
        assert_eq!(error.kind(), Kind::Usage, "{error:?}");
        assert!(!format!("{} {error:?}", chain(&error)).contains("secret"), "{error:?}");
    }
}

#[test]
fn another_encoding_is_refused() {
    let database = common::postgres::database();
    let other = common::postgres::database_like("ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    assert_eq!(refused(other.url()).kind(), Kind::Version);
    drop(database);
}

// Contract: I1: a role without further rights works on tables that an owner set up by script.
#[test]
fn a_role_without_rights_runs_on_what_the_script_made() {
    let store = OnPostgres::new();
    let empty = common::postgres::database();
    let role = format!("clerk_{}", std::process::id());
    store.sql(&format!("CREATE ROLE {role} LOGIN"));
    let (base, name) = empty.url().rsplit_once('/').unwrap();
    let address = base.rsplit_once('@').unwrap().1;
    let clerk = PostgresStore::connect(&format!("postgres://{role}@{address}/{name}")).unwrap();
    let people = people("people", 1);
    match clerk.setup() {
        Err(SetupError::Store(error)) => assert_eq!(error.kind(), Kind::Denied, "{error:?}"),
        other => panic!("{other:?}"),
    }
    match clerk.verify(&[&people]) {
        Err(error @ SetupError::Missing { .. }) => assert!(error.to_string().contains("setup_sql()"), "{error}"),
        other => panic!("{other:?}"),
    }
    let script = clerk.setup_sql(&[&people]).unwrap();
    let mut owner = readside::postgres_driver::Client::connect(empty.url(), readside::postgres_driver::NoTls).unwrap();
    owner.batch_execute("SET search_path TO public").unwrap();
    owner.batch_execute(&script).unwrap();
    let grants = format!(
        "GRANT USAGE ON SCHEMA readside TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA readside, public TO {role}"
    );
    owner.batch_execute(&grants).unwrap();
    clerk.verify(&[&people]).unwrap();
    clerk.push(&[command("a", "1")]).unwrap();
    let clerk = std::sync::Arc::new(clerk);
    let handler = readside::ProjectionHandler::new(
        clerk.clone(),
        clerk.clone(),
        people.clone(),
        readside::HandlerConfig::default(),
    );
    handler.unwrap().trigger(&["a"]).unwrap();
    assert_eq!(clerk.read_rows(&people, "people").unwrap().len(), 1);
    owner.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
}

// Contract: L11: the error names the role, what it may not do, and the remedy.
#[test]
fn a_role_that_may_not_write_a_read_table_is_named_with_it() {
    let store = OnPostgres::new();
    let people = people("people", 1);
    ProjectionStore::setup(&*store, &[&people]).unwrap();
    let role = format!("denied_{}", std::process::id());
    store.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA readside TO {role}; \
         GRANT ALL ON ALL TABLES IN SCHEMA readside TO {role}"
    ));
    let address = store.database.url().rsplit_once('@').unwrap().1;
    let clerk = std::sync::Arc::new(PostgresStore::connect(&format!("postgres://{role}@{address}")).unwrap());
    clerk.push(&[command("a", "1")]).unwrap();
    let config = readside::HandlerConfig::default().retries(0);
    let handler = readside::ProjectionHandler::new(clerk.clone(), clerk.clone(), people, config).unwrap();
    let error = handler.trigger(&["a"]).unwrap_err();
    drop((handler, clerk));
    store.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    let readside::error::TriggerError::Stopped { stopped, .. } = &error else { panic!("{error:?}") };
    let readside::health::StopCause::Store(denied) = &stopped[0].cause else { panic!("{error:?}") };
    assert_eq!((denied.kind(), denied.code()), (Kind::Denied, Some("42501")));
    let text = chain(denied);
    for part in [format!("role \"{role}\""), "table people_1".to_owned(), "`readside doctor`".to_owned()] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    assert!(!text.contains("check user, password"), "{text}");
}

// Contract: L6, K1: the connection is cut while the push waits. Nothing is stored, and the next push works.
#[test]
fn a_connection_cut_during_a_push_is_an_error_and_the_next_push_works() {
    let store = OnPostgres::new();
    let patient = PostgresStore::connect(store.database.url()).unwrap();
    store.push(&[command("a", "0")]).unwrap();
    store.transaction_of_ones_own(false, &mut |tx| {
        let _ = tx.push(&[command("a", "1")]).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| patient.push(&[command("a", "2")]));
            let mut admin = store.connect();
            loop {
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
                if !admin.query(cut, &[]).unwrap().is_empty() {
                    break;
                }
            }
            match waiting.join().unwrap() {
                Err(PushError::Store(error)) => assert_eq!(error.kind(), Kind::Connection, "{error:?}"),
                other => panic!("{other:?}"),
            }
        });
    });
    patient.push(&[command("a", "3")]).unwrap();
    assert_eq!(store.filter(&Query::new()).unwrap().len(), 2);
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
    }
}

// Contract: L6: as after a restart of the server. Nothing had begun on these connections, so no caller gets an error.
#[test]
fn connections_that_ended_while_idle_are_replaced() {
    let store = OnPostgres::new();
    let patient = PostgresStore::connect(store.database.url()).unwrap();
    let of = |which: &str| format!("FROM pg_stat_activity WHERE {which} AND datname = current_database()");
    std::thread::scope(|scope| {
        store.transaction_of_ones_own(false, &mut |tx| {
            tx.sql("LOCK TABLE readside.events");
            for _ in 0..3 {
                scope.spawn(|| patient.filter(&Query::new()).unwrap());
            }
            let waiting =
                format!("SELECT count(*) {}", of("application_name = 'readside' AND wait_event_type = 'Lock'"));
            until("three that wait", || store.number(&waiting) == 3);
        });
    });
    let idle = of("application_name = 'readside'");
    assert!(store.number(&format!("SELECT count(pg_terminate_backend(pid)) {idle}")) >= 3);
    until("the end of all", || store.number(&format!("SELECT count(*) {idle}")) == 0);
    assert!(patient.filter(&Query::new()).unwrap().is_empty());
    patient.push(&[command("a", "0")]).unwrap();
}

// Contract: I1
#[test]
fn a_newer_schema_is_named() {
    let store = OnPostgres::new();
    store.sql("INSERT INTO readside.schema_migrations (version) VALUES (99)");
    let error = ProjectionStore::setup(&*store, &[]).unwrap_err();
    assert!(matches!(error, SetupError::NewerSchema { found: 99, .. }), "{error:?}");
}

// Contract: A1: the first import waits for whoever writes events, and the index is what it wants.
#[test]
fn an_import_that_cannot_make_its_index_says_so() {
    let database = common::postgres::database();
    let options = PostgresOptions::default().lock_timeout(Duration::from_millis(100));
    let store = PostgresStore::connect_with(database.url(), options).unwrap();
    store.setup().unwrap();
    let mut writer =
        readside::postgres_driver::Client::connect(database.url(), readside::postgres_driver::NoTls).unwrap();
    writer.batch_execute("BEGIN; LOCK TABLE readside.events IN ROW EXCLUSIVE MODE").unwrap();
    let import = || store.push_imported(&[command("a", "1").id(uuid::Uuid::from_u128(1))]);
    let error = import().unwrap_err();
    assert!(matches!(error, PushError::IndexBusy { .. }) && error.is_transient(), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("the index of event ids") && text.contains("CREATE INDEX CONCURRENTLY"), "{text}");
    assert!(!text.contains("another push"), "it is not about a counter: {text}");
    writer.batch_execute("COMMIT").unwrap();
    import().unwrap();
}
