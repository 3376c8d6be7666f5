//! A lagging standby is promoted behind a forwarder. The new primary never had the last events of the old one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use readside::error::StoreError;
use readside::postgres_driver::{Client, NoTls, Transaction};
use readside::store::EventSource;
use readside::{HandlerConfig, PostgresOptions, PostgresStore, ProjectionHandler, testing};

use crate::common::proxy::Proxy;
use crate::common::random::{Random, seed};
use crate::common::server::Server;
use crate::common::standby::Standby;
use crate::pages::Two;
use crate::{LONG, NAME, Site, eager, eventually, instances, ledger, moved, push, start};

/// Options with long time-outs: for connections that the forwarder holds, and for locks of the test.
fn patient() -> PostgresOptions {
    let (connect_timeout, lock_timeout, statement_timeout) = (LONG, LONG, LONG);
    PostgresOptions::default()
        .connect_timeout(connect_timeout)
        .lock_timeout(lock_timeout)
        .statement_timeout(statement_timeout)
        .max_connections(30)
}

/// A primary with a standby, and a forwarder in front of both.
struct Pair {
    primary: Server,
    standby: Standby,
    forwarder: Proxy,
}

impl Pair {
    fn new() -> Self {
        let primary = Server::start();
        let (standby, forwarder) = (primary.standby(), Proxy::before(&primary.url()));
        Self { primary, standby, forwarder }
    }

    /// A store that connects through the forwarder.
    fn open(&self) -> PostgresStore {
        PostgresStore::connect_with(&self.forwarder.url(&self.primary.url()), patient()).unwrap()
    }

    /// Makes the standby lag from now on.
    fn lag(&self) {
        self.standby.catch_up(&self.primary);
        self.standby.stop_receiving();
    }

    /// Keeps the states of a projection locked until the connection ends.
    fn lock_states(&self) -> Client {
        let mut client = Client::connect(&self.primary.url(), NoTls).unwrap();
        client.batch_execute("BEGIN; SELECT FROM readside.projection_states WHERE position > 0 FOR UPDATE").unwrap();
        client
    }

    /// Waits until this many transactions wait for a lock.
    fn await_waiting(&self, count: i64) {
        let mut client = self.primary.client().unwrap();
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        eventually("transactions that wait", || client.query_one(sql, &[]).unwrap().get::<_, i64>(0) >= count);
    }

    /// Ends the primary. Clients are held until the standby is promoted. Returns the new primary, and a store of
    /// another process on it.
    fn fail_over(self) -> (Server, PostgresStore, Proxy) {
        let Self { primary, standby, forwarder } = self;
        forwarder.hold(true);
        forwarder.cut();
        drop(primary);
        let primary = standby.promote();
        forwarder.point_to(&primary.url());
        forwarder.hold(false);
        let store = PostgresStore::connect(&primary.url()).unwrap();
        (primary, store, forwarder)
    }
}

// Contract: L10: the events that the engine holds when the primary dies were never pushed to the new one.
#[test]
fn events_that_the_new_primary_never_had_are_not_applied() {
    let pair = Pair::new();
    let store = pair.open();
    let engine = start(store.clone(), eager());
    let tenants = instances(4);
    for tenant in &tenants {
        engine.await_pushed(NAME, &push(&store, &moved(tenant, 10)), LONG).unwrap();
    }
    pair.lag();
    let locked = pair.lock_states();
    for tenant in &tenants {
        assert_eq!(push(&store, &moved(tenant, 20))[19].position(), 30, "acknowledged, and lost");
    }
    pair.await_waiting(1);
    let (_primary, other, _forwarder) = pair.fail_over();
    drop(locked);
    let projection = ledger();
    let site = Site { engine: &engine, events: &other, models: &other, projection: &projection };
    // The engine works again, and has had its held events for a longer time.
    engine.await_pushed(NAME, &push(&store, &moved("new", 1)), LONG).unwrap();
    site.lawful();
    for tenant in &tenants {
        assert_eq!(push(&other, &moved(tenant, 20))[0].position(), 11);
        engine.await_position(NAME, tenant, 30, LONG).unwrap();
    }
    site.lawful();
    engine.shutdown(LONG).unwrap();
}

// Contract: L10: one connection string names both servers, without a forwarder.
#[test]
fn an_engine_follows_a_list_of_hosts_to_the_new_primary() {
    let mut primary = Server::start();
    let standby = primary.standby();
    let ports = [primary.port(), standby.port()];
    let list = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let url = format!("postgres://tester@{list}/postgres?target_session_attrs=read-write");
    let store = PostgresStore::connect_with(&url, patient()).unwrap();
    let engine = start(store.clone(), eager());
    engine.await_pushed(NAME, &push(&store, &moved("a", 10)), LONG).unwrap();
    standby.catch_up(&primary);
    primary.kill();
    let _new = standby.promote();
    // The same engine, on the same store, goes on where it was.
    let pushed = push(&store, &moved("a", 5));
    assert_eq!(pushed[0].position(), 11);
    engine.await_pushed(NAME, &pushed, LONG).unwrap();
    let projection = ledger();
    Site { engine: &engine, events: &store, models: &store, projection: &projection }.lawful();
    engine.shutdown(LONG).unwrap();
}

// Contract: L10: the same for a pass on the caller's thread with pages read ahead.
#[test]
fn a_trigger_does_not_apply_what_the_new_primary_never_had() {
    let pair = Pair::new();
    let store = pair.open();
    let ms = Duration::from_millis;
    let config = HandlerConfig::default().bulk_limit(5).retries(20).retry_failed_after(ms(10));
    let shared = Arc::new(store.clone());
    let handler = ProjectionHandler::new(shared.clone(), shared, ledger(), config).unwrap();
    handler.setup().unwrap();
    let tenants = instances(4);
    let names: Vec<&str> = tenants.iter().map(String::as_str).collect();
    for tenant in &tenants {
        push(&store, &moved(tenant, 10));
    }
    handler.trigger(&names).unwrap();
    pair.lag();
    let locked = pair.lock_states();
    for tenant in &tenants {
        push(&store, &moved(tenant, 20));
    }
    let (_primary, other, _forwarder) = std::thread::scope(|scope| {
        let pass = scope.spawn(|| handler.trigger(&names));
        pair.await_waiting(1);
        let after = pair.fail_over();
        drop(locked);
        // Whether the pass can go on with the new state does not matter here.
        let _ = pass.join().unwrap();
        after
    });
    let check = || testing::laws::check(&other, &other, &ledger()).unwrap();
    assert!(check().is_lawful(), "{}", check());
    for tenant in &tenants {
        push(&other, &moved(tenant, 20));
    }
    handler.trigger(&names).unwrap();
    assert!(check().is_lawful() && check().behind().is_empty(), "{}", check());
    assert_eq!(check().events(), 4 * 30);
}

// Contract: L10: pages that two projections share do not survive their connection or their server.
#[test]
fn pages_of_the_old_primary_are_not_applied_to_the_new_one() {
    let pair = Pair::new();
    let store = pair.open();
    let two = Two::start(store.clone());
    two.await_all(&push(&store, &moved("a", 10)));
    pair.lag();
    two.read_a_page(&pair.open(), "a");
    let (_primary, other, _forwarder) = pair.fail_over();
    push(&other, &moved("a", 1));
    two.gate.open();
    two.lawful(&other);
    push(&other, &moved("a", 500));
    two.lawful(&other);
    two.engine.shutdown(LONG).unwrap();
}

// Contract: L10, L2: the failover comes at any moment, while the service pushes all the time. Another process pushes
// the lost events again. Of many tenants, some have only lost events, and go on at the new primary's head.
#[test]
fn a_failover_under_load_leaves_nothing_that_is_not_in_the_log() {
    for round in 0..3 {
        under_load(&mut Random::new(seed() * 10 + round));
    }
}

fn under_load(random: &mut Random) {
    let pair = Pair::new();
    let store = pair.open();
    let engine = start(store.clone(), eager());
    pair.forwarder.delay(random.millis(1, 4));
    let (tenants, pushed, running) = (instances(60), AtomicUsize::new(0), AtomicBool::new(true));
    let count = || pushed.load(Ordering::SeqCst);
    let (primary, other, _forwarder) = std::thread::scope(|scope| {
        for _ in 0..8 {
            let (mut random, store) = (Random::new(random.next()), &store);
            let (tenants, pushed, running) = (&tenants, &pushed, &running);
            scope.spawn(move || {
                while running.load(Ordering::SeqCst) {
                    push(store, &moved(&tenants[random.below(tenants.len())], 1 + random.below(5)));
                    pushed.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        eventually("pushes", || count() > 300);
        pair.lag();
        let lost = count() + random.below(30);
        eventually("pushes that get lost", || count() >= lost);
        let after = pair.fail_over();
        let (_, other, forwarder) = &after;
        forwarder.delay(Duration::ZERO);
        let before = count();
        eventually("pushes to the new primary", || count() > before + 20);
        for tenant in &tenants {
            push(other, &moved(tenant, 50));
        }
        running.store(false, Ordering::SeqCst);
        after
    });
    let site = Site { engine: &engine, events: &other, models: &other, projection: &ledger() };
    site.lawful();
    engine.shutdown(LONG).unwrap();
    drop(primary);
}

/// Says whether new connections to this server may write.
fn takes_writes(server: &Server, on: bool) {
    let set = if on { "RESET default_transaction_read_only" } else { "SET default_transaction_read_only = on" };
    let change = format!("BEGIN READ WRITE; ALTER ROLE tester {set}; COMMIT");
    server.client().unwrap().batch_execute(&change).unwrap();
}

// Contract: L10: two servers of a list take writes, as when a fenced primary comes back. A store whose connections went
// to both would spread its work over two histories.
#[test]
fn all_connections_of_a_store_are_to_one_server() {
    let first = Server::start();
    let second = first.standby().promote();
    let (a, b) = (first.port(), second.port());
    takes_writes(&first, false);
    let hosts = format!("postgres://tester@127.0.0.1:{a},127.0.0.1:{b}/postgres?target_session_attrs=read-write");
    let store = PostgresStore::connect_with(&hosts, patient()).unwrap();
    let port = |client: &mut Transaction<'_>| -> u16 {
        let port: i32 = client.query_one("SELECT inet_server_port()", &[]).unwrap().get(0);
        port.try_into().unwrap()
    };
    let two_at_once = || {
        let both = |outer: &mut Transaction<'_>| {
            let inner = store.with_client(|inner| Ok::<_, StoreError>(port(inner)))?;
            Ok::<_, StoreError>((port(outer), inner))
        };
        store.with_client(both).unwrap()
    };
    takes_writes(&first, true);
    let generation = store.generation();
    assert_eq!(two_at_once(), (b, a), "the second connection reaches the server that takes writes again");
    assert!(store.generation() > generation, "what was remembered of the other server goes");
    assert_eq!(two_at_once(), (a, a));
    let generation = store.generation();
    assert_eq!(two_at_once(), (a, a));
    assert_eq!(store.generation(), generation);
}
