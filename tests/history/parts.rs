//! Restores of a part of a database: the read tables without the engine's tables, or the reverse.

use std::process::Command;

use readside::admin::Doctor;
use readside::admin::RebuildOptions;
use readside::error::{AwaitError, chain};
use readside::failure::By;
use readside::health::Verdict;
use readside::inspect::{Finding, Inspect, Severity};
use readside::store::{Standstill, StandstillKind};
use readside::{Engine, Event, PostgresStore};

use crate::common::server::Server;
use crate::{LONG, NAME, Site, eager, eventually, ledger, moved, push, start};

/// A server with one database, and dumps of parts of it.
struct Parts {
    server: Server,
}

impl Parts {
    fn new() -> Self {
        let site = Self { server: Server::start() };
        site.sql("CREATE DATABASE ground");
        site
    }

    fn sql(&self, sql: &str) {
        self.server.client().unwrap().batch_execute(sql).unwrap();
    }

    fn url(&self) -> String {
        self.server.url().replace("/postgres", "/ground")
    }

    fn open(&self) -> PostgresStore {
        let store = PostgresStore::connect(&self.url()).unwrap();
        store.setup().unwrap();
        store
    }

    fn run(&self, program: &str, arguments: &[&str], input: Option<&[u8]>) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), input.unwrap_or_default()).unwrap();
        let mut command = Command::new(self.server.program(program));
        let done = command.args(arguments).stdin(file.reopen().unwrap()).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    /// Dumps a schema, or everything.
    fn dump(&self, schema: Option<&str>) -> Vec<u8> {
        let url = self.url();
        let mut arguments = vec!["-Fc", "-d", &url];
        arguments.extend(schema.into_iter().flat_map(|schema| ["-n", schema]));
        self.run("pg_dump", &arguments, None)
    }

    /// Restores a dump over the current content.
    fn restore(&self, dump: &[u8]) {
        self.run("pg_restore", &["--clean", "--if-exists", "-d", &self.url()], Some(dump));
    }
}

fn doctor(store: &PostgresStore) -> Finding {
    let mut findings = Doctor::default().examine(store).into_iter();
    findings.find(|finding| finding.check == "read tables").unwrap()
}

/// Checks that health, status and doctor report it, and that no wait answers `Ok`.
fn told(store: &PostgresStore, engine: &Engine, pushed: &[Event], word: &str) {
    eventually("the note", || {
        let health = engine.health().unwrap();
        let found = &health.projections[0];
        let is_it = |one: &Standstill| one.kind == StandstillKind::Missing && one.reason.contains(word);
        found.verdict == Verdict::Stuck && found.standstills.iter().any(is_it)
    });
    match engine.await_pushed(NAME, pushed, LONG) {
        Err(error @ AwaitError::Stopped { .. }) => {
            let said = chain(&error);
            assert!(said.contains(word) && said.contains("readside rebuild"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    let refused = chain(&engine.trigger(NAME, &["a"]).unwrap_err());
    assert!(refused.contains(word), "{refused}");
    eventually("the record", || {
        let status = store.status(false).unwrap();
        let of = status.projections.iter().find(|one| one.build.is_none()).unwrap();
        of.verdict == Verdict::Stuck && of.standstills.iter().any(|one| one.reason.contains(word))
    });
    let found = doctor(store);
    assert!(found.verdict == Severity::Fail && found.found.contains(word), "{found:?}");
}

/// Rebuilds the projection, and checks that it goes on with each event applied once.
fn mended(store: &PostgresStore, engine: &Engine) {
    let asked = engine.admin().rebuild(NAME, RebuildOptions::default(), &By::new("a test", ""), |_| {});
    assert!(asked.unwrap().switched);
    let pushed = push(store, &moved("a", 1));
    eventually("it goes on", || engine.await_pushed(NAME, &pushed, LONG).is_ok());
    Site { engine, events: store, models: store, projection: &ledger() }.lawful();
    let health = engine.health().unwrap();
    assert!(health.projections[0].standstills.is_empty(), "{health:?}");
}

fn filled(site: &Parts) -> (PostgresStore, Engine) {
    let store = site.open();
    let engine = start(store.clone(), eager());
    let pushed = push(&store, &moved("a", 5));
    engine.await_pushed(NAME, &pushed, LONG).unwrap();
    assert_eq!(doctor(&store).verdict, Severity::Ok);
    (store, engine)
}

// Contract: L2, L10, L11: the rows are of yesterday, and the checkpoints of today.
#[test]
fn read_tables_that_are_restored_alone_are_named_until_they_are_built_anew() {
    let site = Parts::new();
    let (store, engine) = filled(&site);
    let dump = site.dump(Some("public"));
    let pushed = push(&store, &moved("a", 5));
    engine.await_pushed(NAME, &pushed, LONG).unwrap();
    site.restore(&dump);
    let word = "public.sums_1 was dropped and made again";
    told(&store, &engine, &pushed, word);
    // An engine that starts on this database finds the same, with and without set-up.
    for setup in [true, false] {
        let again = Engine::builder(site.open()).projection(ledger()).config(eager().setup(setup)).start().unwrap();
        told(&store, &again, &pushed, word);
        again.shutdown(LONG).unwrap();
    }
    mended(&store, &engine);
    // The build that readers saw before is the restored one.
    let refused = chain(&engine.admin().back(NAME, true, &By::new("a test", "")).unwrap_err());
    assert!(refused.contains("was dropped and made again"), "{refused}");
    engine.shutdown(LONG).unwrap();
}

// Contract: L2, L10, L11: the rows are of today, and the checkpoints and the log of yesterday.
#[test]
fn the_engines_tables_that_are_restored_alone_are_named_until_all_is_built_anew() {
    let site = Parts::new();
    let (store, engine) = filled(&site);
    let dump = site.dump(Some("readside"));
    let pushed = push(&store, &moved("a", 5));
    engine.await_pushed(NAME, &pushed, LONG).unwrap();
    site.restore(&dump);
    told(&store, &engine, &pushed, "the engine's tables were dropped and made again, but not table public.sums");
    mended(&store, &engine);
    engine.shutdown(LONG).unwrap();
}

// Contract: L10, L2: parts of one backup fit each other, also on another server. Then the events decide.
#[test]
fn parts_that_are_restored_together_or_elsewhere_are_whole() {
    let site = Parts::new();
    let (store, engine) = filled(&site);
    let (parts, all) = ([site.dump(Some("readside")), site.dump(Some("public"))], site.dump(None));
    engine.shutdown(LONG).unwrap();
    for part in &parts {
        site.restore(part);
    }
    let other = Parts::new();
    other.restore(&all);
    for (site, store) in [(&site, store), (&other, other.open())] {
        for setup in [false, true] {
            let engine =
                Engine::builder(store.clone()).projection(ledger()).config(eager().setup(setup)).start().unwrap();
            let pushed = push(&store, &moved("a", 1));
            engine.await_pushed(NAME, &pushed, LONG).unwrap();
            Site { engine: &engine, events: &store, models: &store, projection: &ledger() }.lawful();
            engine.shutdown(LONG).unwrap();
        }
        assert_eq!(doctor(&store).verdict, Severity::Ok);
        // A later restore of a part shows too, because set-up has recorded the current tables.
        let dump = site.dump(Some("public"));
        site.restore(&dump);
        assert_eq!(doctor(&store).verdict, Severity::Fail);
    }
}

/// How builds that know no record of tables switch within a version: names and commands are exchanged, records are not.
fn switched_by_an_earlier_build(site: &Parts) {
    let mut client = postgres::Client::connect(&site.url(), postgres::NoTls).unwrap();
    let builds = client.query("SELECT name, made_tables[1] FROM readside.projections ORDER BY live DESC", &[]).unwrap();
    let builds: Vec<(String, String)> = builds.iter().map(|row| (row.get(0), row.get(1))).collect();
    let [(live, table), (kept, beside)] = builds.as_slice() else { panic!("{builds:?}") };
    let seen: String = client.query_one("SELECT pg_get_viewdef('sums'::regclass)", &[]).unwrap().get(0);
    let mut switch = vec!["BEGIN".to_owned()];
    for (from, to) in [(live, "aside"), (kept, live.as_str()), (&"aside".to_owned(), kept.as_str())] {
        for rows in ["projection_states", "held_events"] {
            switch.push(format!("UPDATE readside.{rows} SET projection = '{to}' WHERE projection = '{from}'"));
        }
    }
    for (from, to) in [(table.as_str(), "aside"), (beside, table), ("aside", beside)] {
        switch.push(format!("ALTER TABLE \"{from}\" RENAME TO \"{to}\""));
    }
    switch.push(format!("CREATE OR REPLACE VIEW sums AS {}", seen.trim_end_matches(';')));
    let commands =
        "UPDATE readside.projections p SET command = o.command FROM readside.projections o WHERE o.name <> p.name";
    switch.extend([commands.to_owned(), "COMMIT".to_owned()]);
    client.batch_execute(&switch.join(";")).unwrap();
}

// Contract: L2, L10: the record of the other build says nothing about this one.
#[test]
fn a_switch_by_an_earlier_build_leaves_the_tables_whole() {
    let site = Parts::new();
    let (store, engine) = filled(&site);
    let asked = engine.admin().rebuild(NAME, RebuildOptions::default(), &By::new("a test", ""), |_| {});
    assert!(asked.unwrap().switched);
    engine.shutdown(LONG).unwrap();
    switched_by_an_earlier_build(&site);
    for setup in [false, true] {
        let store = site.open();
        let engine = Engine::builder(store.clone()).projection(ledger()).config(eager().setup(setup)).start().unwrap();
        let pushed = push(&store, &moved("a", 1));
        engine.await_pushed(NAME, &pushed, LONG).unwrap();
        Site { engine: &engine, events: &store, models: &store, projection: &ledger() }.lawful();
        assert_eq!(doctor(&store).verdict, Severity::Ok);
        engine.shutdown(LONG).unwrap();
    }
    // The set-up took note of what there is, so that a restore of a part shows.
    let dump = site.dump(Some("public"));
    site.restore(&dump);
    let found = doctor(&store);
    assert!(found.verdict == Severity::Fail && found.found.contains("public.sums_1 was dropped"), "{found:?}");
}
