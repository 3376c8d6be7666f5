//! A PostgreSQL server that dies and comes back, and backends that are terminated: Contract: L2, L6, A7, E6.

use std::time::Duration;

use readside::postgres_driver::{Client, NoTls};
use readside::query::Query;
use readside::{EventStore, PostgresStore};

use crate::common::postgres::database;
use crate::common::random::{Random, seed};
use crate::common::server::Server;
use crate::load::{Acknowledged, LONG, eventually, lawful, start, under_load};

// Contract: L2, L6: the whole server dies, or a single backend, after which the server restarts too.
#[test]
fn a_server_killed_under_load_loses_and_doubles_nothing() {
    let mut server = Server::start();
    let store = PostgresStore::connect(&server.url()).unwrap();
    let engines = [start(store.clone()), start(PostgresStore::connect(&server.url()).unwrap())];
    let (acknowledged, mut random) = (Acknowledged::default(), Random::new(seed()));
    under_load(&store, 2, &acknowledged, || {
        for n in 0..6 {
            let before = acknowledged.len();
            eventually("pushes", || acknowledged.len() > before + 20);
            std::thread::sleep(random.millis(0, 200));
            if n % 2 == 0 {
                server.crash();
            } else {
                kill_a_backend(&server, &mut random);
            }
        }
    });
    let report = lawful_after_recovery(&store, &acknowledged);
    for engine in engines {
        eventually("an engine that is well", || engine.health().is_ok());
        assert!(engine.health().unwrap().loops.iter().all(|each| each.alive && each.restarts == 0));
        engine.shutdown(LONG).unwrap();
    }
    println!("6 kills of a server or a backend, {} events acknowledged: {report}", acknowledged.len());
}

/// Checks the laws after the server has restarted.
fn lawful_after_recovery(store: &PostgresStore, acknowledged: &Acknowledged) -> readside::testing::laws::LawReport {
    eventually("a server that answers", || store.filter(&Query::new().limit(1)).is_ok());
    lawful(store, acknowledged)
}

/// Kills a backend, and waits until the server has noticed. The server then ends all of its backends.
fn kill_a_backend(server: &Server, random: &mut Random) {
    let mut witness = None;
    eventually("a connection", || {
        witness = server.client();
        witness.is_some()
    });
    let sql = "SELECT pid::int8 FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> ''";
    let mut pids: Vec<i64> = Vec::new();
    eventually("backends", || {
        let rows = server.client().and_then(|mut client| client.query(sql, &[]).ok());
        pids = rows.unwrap_or_default().iter().map(|row| row.get(0)).collect();
        !pids.is_empty()
    });
    crate::common::child::send("-KILL", pids[random.below(pids.len())]);
    let mut witness = witness.unwrap();
    eventually("a restart of the server", || witness.batch_execute("").is_err());
}

// Contract: L2, L6, A7: connections end at any moment of any statement.
#[test]
fn backends_terminated_at_random_lose_and_double_nothing() {
    let database = database();
    let store = PostgresStore::connect(database.url()).unwrap();
    let engines = [start(store.clone()), start(PostgresStore::connect(database.url()).unwrap())];
    let (acknowledged, mut random) = (Acknowledged::default(), Random::new(seed()));
    let mut client = Client::connect(database.url(), NoTls).unwrap();
    let mut ended = 0;
    under_load(&store, 2, &acknowledged, || {
        while ended < 250 {
            ended += terminate_one(&mut client, &mut random);
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    let report = lawful(&store, &acknowledged);
    for engine in engines {
        eventually("an engine that is well", || engine.health().is_ok());
        assert!(engine.health().unwrap().loops.iter().all(|each| each.alive && each.restarts == 0));
        engine.shutdown(LONG).unwrap();
    }
    println!("{ended} backends ended, {} events acknowledged: {report}", acknowledged.len());
}

fn terminate_one(client: &mut Client, random: &mut Random) -> usize {
    let backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                    AND backend_type = 'client backend' ORDER BY pid";
    let pids: Vec<i32> = client.query(backends, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    if pids.is_empty() {
        return 0;
    }
    let ended: bool =
        client.query_one("SELECT pg_terminate_backend($1)", &[&pids[random.below(pids.len())]]).unwrap().get(0);
    usize::from(ended)
}
