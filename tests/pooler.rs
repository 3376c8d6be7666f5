//! A pooler in transaction mode between engine and server. LISTEN hears nothing behind it, and the listener finds
//! that out.
#![cfg(all(feature = "postgres", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::pooler::Pooler;
use common::postgres::{Database, database};
use common::proxy::Proxy;
use readside::admin::Doctor;
use readside::inspect::{Inspect, Severity};
use readside::postgres_driver::{Client, NoTls};
use readside::prelude::*;
use readside::store::{Notifications, Notifier};
use readside::{Engine, EngineConfig, EventStore, NewEvent, PostgresOptions, PostgresStore};

use crate::common::{LONG, eventually};

/// The logged warnings.
#[derive(Debug)]
struct Warnings(Mutex<Vec<String>>);

static WARNINGS: Warnings = Warnings(Mutex::new(Vec::new()));

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

fn things() -> Projection {
    Projection::new("things", 1).table(Table::new("things").column(text("thing")).primary_key(["thing"])).on_raw(
        "thing",
        "thing.made",
        |e| create([set("thing", e.aggregate_id())]),
    )
}

fn made(instance: &str) -> NewEvent {
    NewEvent::raw(instance, "thing", "x", "thing.made")
}

/// A store that gives up after one second. The calls usually take milliseconds.
fn open(url: &str) -> PostgresStore {
    let options = PostgresOptions::default().connect_timeout(Duration::from_secs(1));
    PostgresStore::connect_with(url, options).unwrap()
}

fn start(store: PostgresStore, requeue_every: Duration) -> Engine {
    let config = EngineConfig::default().requeue_every(requeue_every).workers(2);
    Engine::builder(store).projection(things()).config(config).start().unwrap()
}

fn connect(url: &str) -> Client {
    Client::connect(url, NoTls).unwrap()
}

/// How many of the pooler's sessions are subscribed. A transaction takes each session out of the pool and asks it.
fn subscribed(database: &Database, pooler: &Pooler) -> usize {
    let mut direct = connect(database.url());
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut left: Vec<i32> = direct.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    let (mut held, mut subscribed) = (Vec::new(), 0);
    while !left.is_empty() {
        let mut client = connect(pooler.url());
        client.batch_execute("BEGIN").unwrap();
        let row =
            client.query_typed_one("SELECT pg_backend_pid(), count(*) FROM pg_listening_channels()", &[]).unwrap();
        let (pid, channels): (i32, i64) = (row.get(0), row.get(1));
        assert!(left.contains(&pid), "all sessions belong to the pooler, and each is asked once");
        left.retain(|other| *other != pid);
        subscribed += usize::from(channels > 0);
        held.push(client);
    }
    subscribed
}

/// Tests with engines hold this, so that each sees only its own warnings.
static ENGINES: Mutex<()> = Mutex::new(());

// Contract: A7, L7, L11
#[test]
fn an_engine_that_hears_nothing_finds_it_out_and_looks_more_often() {
    let _alone = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    WARNINGS.0.lock().unwrap().clear();
    log::set_logger(&WARNINGS).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let database = database();
    let pooler = Pooler::before(database.url());
    let seldom = Duration::from_hours(1);
    let engine = start(open(pooler.url()), seldom);
    eventually("the word that does not come", || engine.health().unwrap().deaf.is_some());
    let why = engine.health().unwrap().deaf.unwrap();
    assert!(why.contains("a session of its own") && why.contains("past the pooler"), "{why}");
    assert_eq!(engine.health().unwrap().looks_every, Duration::from_secs(1));
    let other = PostgresStore::connect(database.url()).unwrap();
    eventually("its note", || other.status(false).unwrap().members[0].deaf.as_ref() == Some(&why));
    for instance in ["a", "b", "c"] {
        other.push(&[made(instance)]).unwrap();
        // No notification arrives. A tick finds the event, long before the next configured tick.
        engine.await_position("things", instance, 1, LONG).unwrap();
    }
    drop(other);
    engine.shutdown(LONG).unwrap();
    drop(engine);
    assert_eq!(subscribed(&database, &pooler), 0, "no session of the pooler hears what nobody listens to");
    let warnings = WARNINGS.0.lock().unwrap();
    let told: Vec<_> = warnings.iter().filter(|text| text.contains("ticks find the pushes")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("meanwhile, ticks find the pushes of other processes, every 1 s"), "{told:?}");
}

// Contract: A7, L7, L11: if the session is its own, only a message that does not arrive shows that it hears nothing.
// The wire then tries again.
#[test]
fn a_wire_believes_that_it_hears_when_it_hears_itself() {
    let database = database();
    let proxy = Proxy::before(database.url());
    let options = PostgresOptions::default().connect_timeout(Duration::from_millis(500));
    let store = PostgresStore::connect_with(&proxy.url(database.url()), options).unwrap();
    let mut wire = store.listener();
    proxy.mute(true);
    let mut listen_until = |what: &str, is_deaf: bool| {
        eventually(what, || {
            let _ = wire.listen(Duration::from_millis(20));
            wire.deaf().is_some() == is_deaf
        });
        wire.deaf().unwrap_or_default()
    };
    let why = listen_until("a word that is missed", true);
    assert!(why.contains("did not arrive within 500 ms") && why.contains("a session of its own"), "{why}");
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND query LIKE '%LISTEN%' AND pid <> pg_backend_pid()";
    let mut client = connect(database.url());
    eventually("the end of the session that hears nothing", || {
        client.query_typed_one(listening, &[]).unwrap().get::<_, i64>(0) == 0
    });
    proxy.mute(false);
    listen_until("a word that arrives", false);
    // The wire sends its message once for each connection.
    proxy.mute(true);
    assert_eq!(wire.listen(Duration::from_secs(1)).unwrap(), Notifications::default());
    assert_eq!(wire.deaf(), None);
    proxy.cut();
    assert!(wire.listen(LONG).is_err(), "the connection is lost");
    eventually("a word that is missed on the next connection", || {
        let _ = wire.listen(Duration::from_millis(20));
        wire.deaf().is_some()
    });
}

// A program that ends before it has found out leaves no subscription behind either.
#[test]
fn an_engine_that_ends_at_once_takes_its_subscription_back() {
    let _alone = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    let database = database();
    let pooler = Pooler::before(database.url());
    let engine = start(open(pooler.url()), Duration::from_hours(1));
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    engine.shutdown(LONG).unwrap();
    drop(engine);
    assert_eq!(subscribed(&database, &pooler), 0);
}

#[test]
fn the_look_at_notifications_takes_its_subscription_back() {
    let database = database();
    let pooler = Pooler::before(database.url());
    let store = open(pooler.url());
    store.setup().unwrap();
    let doctor = Doctor { patience: Duration::from_millis(200), ..Doctor::default() };
    let findings = doctor.examine(&store);
    for check in ["pooler", "notifications"] {
        let finding = findings.iter().find(|finding| finding.check == check).unwrap();
        assert_eq!(finding.verdict, Severity::Warn, "{finding:?}");
    }
    let told = &findings.iter().find(|finding| finding.check == "notifications").unwrap().found;
    assert!(told.contains("engines look for the pushes of other processes, every 1 s at the latest"), "{told}");
    drop(store);
    assert_eq!(subscribed(&database, &pooler), 0);
}

// Contract: A7, L11: a connection past the pooler hears, and no session of the pooler stays subscribed.
#[test]
fn a_way_past_the_pooler_hears() {
    let database = database();
    PostgresStore::connect(database.url()).unwrap().setup().unwrap();
    let pooler = Pooler::before(database.url());
    let options = PostgresOptions::default().listen_url(database.url()).connect_timeout(Duration::from_secs(1));
    assert!(!format!("{options:?}").contains("postgres://"), "it may hold a password");
    let store = PostgresStore::connect_with(pooler.url(), options).unwrap();
    let findings = Inspect::examine(&store, LONG);
    let heard = findings.iter().find(|finding| finding.check == "notifications").unwrap();
    assert_eq!(heard.verdict, Severity::Ok, "{heard:?}");
    // A tick would come too late.
    let engine = start(store, LONG * 10);
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%LISTEN readside%' \
         AND datname = current_database() AND pid <> pg_backend_pid()";
    let mut client = connect(database.url());
    eventually("a subscription", || client.query_typed_one(listening, &[]).unwrap().get::<_, i64>(0) == 1);
    PostgresStore::connect(database.url()).unwrap().push(&[made("a")]).unwrap();
    engine.await_position("things", "a", 1, LONG).unwrap();
    let health = engine.health().unwrap();
    assert_eq!((health.deaf, health.looks_every), (None, LONG * 10), "who hears looks as seldom as is configured");
    engine.shutdown(LONG).unwrap();
}

// Contract: O4
#[test]
fn a_way_past_the_pooler_that_cannot_be_read_is_named_and_not_shown() {
    let database = database();
    let options = PostgresOptions::default().listen_url("postgres://a:zecret@h:x/y");
    let error = PostgresStore::connect_with(database.url(), options).unwrap_err();
    let text = format!("{} {error:?}", readside::error::chain(&error));
    assert!(text.contains("reading listen_url") && !text.contains("zecret"), "{text}");
}

#[test]
fn a_pooler_without_transactions_is_refused_by_name() {
    let database = database();
    let pooler = Pooler::in_mode("statement", database.url());
    let error = PostgresStore::connect(pooler.url()).unwrap_err();
    let text = readside::error::chain(&error);
    assert_eq!(error.kind(), readside::error::StoreErrorKind::Unsupported, "{text}");
    assert!(text.contains("pool_mode = statement") && text.contains("transaction or session"), "{text}");
}

#[test]
fn a_database_that_the_pooler_does_not_know_is_denied() {
    let database = database();
    let pooler = Pooler::before(database.url());
    let (base, _) = pooler.url().rsplit_once('/').unwrap();
    let error = PostgresStore::connect(&format!("{base}/nobodys_database")).unwrap_err();
    let text = readside::error::chain(&error);
    assert_eq!((error.kind(), error.code()), (readside::error::StoreErrorKind::Denied, Some("08P01")), "{text}");
    assert!(text.contains("nobodys_database") && text.contains("whether the pooler knows"), "{text}");
}
