//! The command on a server that only reads: a hot standby, or a server that somebody made read-only.

use readside::error::{PushError, StoreErrorKind as Kind, chain};
use readside::postgres_driver::Client;
use readside::query::Query;
use readside::{EventStore, PostgresStore};

use crate::common::server::Server;
use crate::{Ran, command, common, ran};

fn run(url: &str, args: &[&str]) -> Ran {
    ran(command().args(["-d", url]).args(args), "")
}

fn pushed(url: &str) -> Ran {
    let line = r#"{"instance":"acme","aggregate_type":"user","aggregate_id":"1","type":"user.added"}"#;
    ran(command().args(["-d", url, "push"]), line)
}

/// Sets up a database, and pushes an event.
fn filled(url: &str) {
    run(url, &["setup"]).ok();
    pushed(url).ok();
}

/// The failed checks of `doctor`, and what they say.
fn failed_checks(url: &str) -> Vec<(String, String)> {
    let report = run(url, &["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report.out).expect(&report.err);
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] == "fail");
    findings.map(|finding| (finding["check"].as_str().unwrap().to_owned(), finding.to_string())).collect()
}

#[test]
fn a_standby_is_read_whatever_the_role_defaults_are_and_a_write_names_the_primary() {
    let primary = Server::start();
    filled(&primary.url());
    let role =
        "CREATE ROLE reader LOGIN SUPERUSER; ALTER ROLE reader SET default_transaction_isolation = 'serializable'";
    primary.client().unwrap().batch_execute(role).unwrap();
    let standby = primary.standby();
    let url = standby.url().replace("tester@", "reader@");
    let status = run(&url, &["status", "--json"]);
    assert_eq!(status.code, 0, "{}", status.err);
    assert_eq!(run(&url, &["events"]).lines().len(), 1);
    let failed = failed_checks(&url);
    let checks: Vec<&str> = failed.iter().map(|(check, _)| check.as_str()).collect();
    assert_eq!(checks, ["server"], "{failed:?}");
    assert!(failed[0].1.contains("a standby, which only reads"), "{failed:?}");
    assert!(failed[0].1.contains("connect to the primary server"), "{failed:?}");
    let error = pushed(&url).failed();
    assert!(error.contains("this server is a standby: connect to the primary server"), "{error}");
    let error = run(&url, &["setup"]);
    assert_eq!(error.code, 0, "there is nothing to be written: {}", error.err);
    let store = PostgresStore::connect(&url).unwrap();
    match store.push(&[readside::NewEvent::raw("acme", "user", "1", "user.added")]) {
        Err(PushError::Store(error)) => {
            assert_eq!(error.kind(), Kind::ReadOnly, "{error:?}");
            assert!(
                chain(&error).contains("this server is a standby: connect to the primary server"),
                "{}",
                chain(&error)
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.filter(&Query::new()).unwrap().len(), 1);
}

// Contract: O4, L11: every command that only looks works although nothing can be written.
#[test]
fn every_command_that_only_looks_works_on_a_standby() {
    let primary = Server::start();
    filled(&primary.url());
    let line = r#"{"instance":"acme","aggregate_type":"user","aggregate_id":"2","type":"user.added","payload":"bad"}"#;
    ran(command().args(["-d", &primary.url(), "push"]), line).ok();
    let store = std::sync::Arc::new(PostgresStore::connect(&primary.url()).unwrap());
    let config = readside::HandlerConfig::default().max_failure_count(1);
    let users = crate::service::users(false);
    let handler = readside::ProjectionHandler::new(store.clone(), store, users, config).unwrap();
    handler.setup().unwrap();
    let _ = handler.trigger(&["acme"]);
    run(&primary.url(), &["pause", "users", "--why", "a test"]).ok();
    let standby = primary.standby();
    for args in [
        "status",
        "status users --json",
        "instances",
        "instances --projection users --behind",
        "events",
        "events --json --limit 1",
        "events --follow --after 0 --limit 1",
        "failed list",
        "failed show users acme 2",
        "leases",
        "leases users",
        "builds list",
        "commands",
        "operations",
        "redact --instance acme --position 1 --dry-run",
        "remove-instance acme --dry-run",
        "archive --before 1h --dry-run",
        "setup --check",
        "setup --sql",
    ] {
        let ran = run(&standby.url(), &args.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{args}: {}{}", ran.out, ran.err);
    }
    let line = r#"{"instance":"acme","aggregate_type":"user","aggregate_id":"1","type":"user.added"}"#;
    ran(command().args(["-d", &standby.url(), "push", "--dry-run"]), line).ok();
    for args in [&["verify", "users"][..], &["explain", "users", "acme", "1", "1"]] {
        let ran = crate::service::service_on(&standby.url(), false, args);
        // These need an answer of an engine, so the command has to be put on record.
        let words = ["on record", "connect to the primary server"];
        assert!(ran.code == 1 && words.iter().all(|word| ran.err.contains(word)), "{args:?}: {}{}", ran.out, ran.err);
    }
    // Commands that change something fail too.
    for args in ["resume users --why x", "remove-instance acme --why x", "redact --instance acme --position 1 --why x"]
    {
        let ran = run(&standby.url(), &args.split(' ').collect::<Vec<_>>());
        assert!(ran.code != 0 && ran.err.contains("connect to the primary server"), "{args}: {}{}", ran.out, ran.err);
    }
}

// As in libpq.
#[test]
fn a_list_of_hosts_is_searched_for_the_wanted_server() {
    let primary = Server::start();
    filled(&primary.url());
    let standby = primary.standby();
    let (one, other) = (primary.port(), standby.port());
    let push =
        |store: &PostgresStore| store.push(&[readside::NewEvent::raw("acme", "user", "1", "user.added")]).is_ok();
    for (wanted, takes_writes) in
        [("read-write", true), ("primary", true), ("standby", false), ("read-only", false), ("prefer-standby", false)]
    {
        for ports in [[one, other], [other, one]] {
            let [first, second] = ports;
            let url = format!(
                "postgres://tester@127.0.0.1:{first},127.0.0.1:{second}/postgres?target_session_attrs={wanted}"
            );
            assert_eq!(push(&PostgresStore::connect(&url).unwrap()), takes_writes, "{url}");
        }
    }
    let url = format!("postgres://tester@127.0.0.1:{one}/postgres?target_session_attrs=prefer-standby");
    assert!(push(&PostgresStore::connect(&url).unwrap()));
    let url = format!("postgres://tester@127.0.0.1:{other}/postgres?target_session_attrs=primary");
    let error = PostgresStore::connect(&url).unwrap_err();
    assert_eq!(error.kind(), Kind::Connection);
    let text = chain(&error);
    assert!(text.contains("wants the primary server; this server is a standby"), "{text}");
    assert!(text.contains("target_session_attrs of the connection string asks for another server"), "{text}");
}

// A setting that somebody made is obeyed and named.
#[test]
fn who_made_it_read_only_is_named() {
    let database = common::postgres::database();
    filled(database.url());
    let (base, name) = database.url().rsplit_once('/').unwrap();
    let address = base.rsplit_once('@').unwrap().1;
    let role = format!("reads_{}", std::process::id());
    let mut client = Client::connect(database.url(), readside::postgres_driver::NoTls).unwrap();
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE, CREATE ON SCHEMA readside TO {role}; \
             GRANT ALL ON ALL TABLES IN SCHEMA readside TO {role}; GRANT ALL ON DATABASE {name} TO {role}"
        ))
        .unwrap();
    let url = format!("postgres://{role}@{address}/{name}");
    let with_options = format!("{url}?options=-c%20default_transaction_read_only%3Don");
    let on = "SET default_transaction_read_only = on";
    for (url, set, reset, named) in [
        (&url, format!("ALTER ROLE {role} {on}"), format!("ALTER ROLE {role} RESET ALL"), "set for this role"),
        (
            &url,
            format!("ALTER DATABASE {name} {on}"),
            format!("ALTER DATABASE {name} RESET ALL"),
            "set for this database",
        ),
        (
            &url,
            format!("ALTER ROLE {role} IN DATABASE {name} {on}"),
            format!("ALTER ROLE {role} IN DATABASE {name} RESET ALL"),
            "set for this role in this database",
        ),
        (&with_options, "SELECT 1".to_owned(), "SELECT 1".to_owned(), "set by"),
    ] {
        client.batch_execute(&set).unwrap();
        assert_eq!(run(url, &["status", "--json"]).code, 0);
        assert_eq!(run(url, &["events"]).lines().len(), 1);
        let error = pushed(url).failed();
        assert!(error.contains("default_transaction_read_only is") && error.contains(named), "{error}");
        let failed = failed_checks(url);
        assert!(failed.iter().any(|(check, text)| check == "server" && text.contains(named)), "{failed:?}");
        client.batch_execute(&format!("SET default_transaction_read_only = off; {reset}")).unwrap();
        assert_eq!(failed_checks(&url.replace("%3Don", "%3Doff")), []);
    }
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
}
