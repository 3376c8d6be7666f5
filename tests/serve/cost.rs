//! What pages, looks and retries cost a PostgreSQL server, as its log tells. In-crate tests do the
//! same for SQLite.

use readside::inspect::{Inspect, Survey};
use readside::postgres_driver::{Client as Driver, NoTls, SimpleQueryMessage};
use readside::store::{ProjectionKey, ProjectionStore};
use readside::{Engine, EngineBuilder, PostgresStore};
use std::process::Command;
use std::time::Duration;

use crate::common::server::Server;
use crate::common::{LONG, eventually};
use crate::{Client, config, count, counts, options, served};

/// Pages with their twins. An examination and an explanation are made by other threads, with deadlines of their own.
const PATHS: [&str; 9] = [
    "/",
    "/failures",
    "/failures?projection=p0",
    "/failure?projection=p0&instance=i0&position=2",
    "/instances",
    "/instance?instance=i0",
    "/activity",
    "/lineage",
    "/projection?projection=p0",
];

fn driver(server: &Server) -> Driver {
    Driver::connect(&server.url(), NoTls).unwrap()
}

/// The statements that the server ran since its log had this length, each with the line of its parameters.
fn ran(server: &Server, since: usize) -> Vec<String> {
    let log = server.log();
    let lines: Vec<&str> = log.get(since..).unwrap().lines().collect();
    let is_one = |line: &str| line.contains("LOG:  execute ") || line.contains("LOG:  statement: ");
    let found = lines.iter().enumerate().filter(|(_, line)| is_one(line));
    found.map(|(at, line)| format!("{line}\n{}", lines.get(at + 1).unwrap_or(&""))).collect()
}

/// A server that writes all statements into its log.
fn telling() -> Server {
    let server = Server::start();
    driver(&server).batch_execute("ALTER SYSTEM SET log_statement = 'all'").unwrap();
    driver(&server).batch_execute("SELECT pg_reload_conf()").unwrap();
    // Whoever connects after a logged statement is told, too.
    eventually("the log", || {
        driver(&server).batch_execute("SELECT 'a mark'").unwrap();
        server.log().contains("a mark")
    });
    server
}

/// The number of statements of each page, of its JSON twin and of a look, with this many projections and instances. In
/// each pair of a projection and an instance an event has failed.
fn costs(projections: usize, instances: usize) -> Vec<(String, usize)> {
    let server = telling();
    let store = PostgresStore::connect(&server.url()).unwrap();
    let builder = (0..projections).map(|number| counts(&format!("p{number}"), 1));
    let engine = builder.fold(Engine::builder(store.clone()).config(config()), EngineBuilder::projection);
    let engine = engine.start().unwrap();
    let events = |number: usize| ["good", "bad"].map(|thing| count(&format!("i{number}"), thing));
    engine.push(&(0..instances).flat_map(events).collect::<Vec<_>>()).unwrap();
    let failures = projections as u64 * instances as u64;
    let parked = || store.status(false).unwrap().projections.iter().map(|one| one.parked).sum::<u64>();
    eventually("the failures", || parked() == failures);
    engine.shutdown(LONG).unwrap();
    // One look at the beginning, and none while pages are shown.
    let (_served, client) = served(&engine, options().every(Duration::from_mins(5)));
    let of = |client: Client, path: &str| {
        let answer = client.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    };
    let mut found = Vec::new();
    for path in PATHS {
        let (name, query) =
            path.split_once('?').map_or((path, String::new()), |(name, query)| (name, format!("?{query}")));
        let twin = if name == "/" { "/index.json".to_owned() } else { format!("{name}.json{query}") };
        for path in [path.to_owned(), twin] {
            // The first one opens connections.
            of(client, &path);
            let since = server.log().len();
            of(client, &path);
            found.push((path, ran(&server, since).len()));
        }
    }
    let mut survey = Survey::default();
    for _ in 0..2 {
        let since = server.log().len();
        store.look(false, &mut survey).unwrap();
        found.push(("a look".to_owned(), ran(&server, since).len()));
    }
    found
}

// Contract: S3: pages and looks run no more statements for many projections, instances and failures than for few.
#[test]
fn a_page_asks_no_more_where_there_is_more() {
    let (few, many) = (costs(3, 5), costs(30, 50));
    assert_eq!(few, many);
    assert!(few.iter().all(|(path, count)| *count <= if path == "a look" { 20 } else { 12 }), "{few:?}");
    assert_eq!(
        few.iter().filter(|(path, count)| path == "a look" && *count > 5).count(),
        2,
        "they are counted: {few:?}"
    );
}

/// The statement that counts the pairs of a part, as the server ran it, with its parameters in their places.
fn census(server: &Server, since: usize) -> Vec<String> {
    let ran = ran(server, since);
    let found = ran.iter().filter(|one| one.contains("hs AS MATERIALIZED") && one.contains("p AS MATERIALIZED"));
    let put = |one: &String| {
        let (line, parameters) = one.split_once('\n').unwrap();
        let mut text = line[line.find("WITH ").unwrap()..].to_owned();
        let values = parameters.split_once("$1 = ").unwrap().1;
        let values: Vec<&str> = values.split(", $").collect();
        for (at, value) in values.iter().enumerate().rev() {
            let value = value.split_once(" = ").map_or(*value, |(_, value)| value);
            text = text.replace(&format!("${}", at + 1), value);
        }
        text
    };
    found.map(put).collect()
}

/// 1,000 instances of 600 projections.
const FILL: &str = "INSERT INTO readside.instances (instance_id, head) SELECT 'i' || (10000 + i), 9 FROM generate_series(1, 1000) i;
        INSERT INTO readside.heads SELECT instance_id, 'user', 9 FROM readside.instances;
        INSERT INTO readside.projections (name, version, definition, live, phase) SELECT 'p' || (10000 + i), 1,
          '{\"events\":[[\"user\",[\"a\"]]],\"tables\":[]}', true, 'live' FROM generate_series(1, 600) i;
        INSERT INTO readside.projection_states (instance_id, projection, version, position, store)
        SELECT instance_id, name, 1, 9, (SELECT store_id FROM readside.store) FROM readside.instances, readside.projections;
        ANALYZE;";

fn plan(explain: &mut Driver, how: &str, text: &str) -> Vec<String> {
    let rows = explain.simple_query(&format!("EXPLAIN ({how}) {text}")).unwrap();
    let line = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    rows.iter().filter_map(line).collect()
}

// Contract: S3: a part of the instances is found by the index, and its states are not sorted.
#[test]
fn a_part_of_the_instances_is_found_by_an_index() {
    let server = telling();
    let store = PostgresStore::connect(&server.url()).unwrap();
    store.setup().unwrap();
    driver(&server).batch_execute(FILL).unwrap();
    let since = server.log().len();
    assert_eq!(store.look(false, &mut Survey::default()).unwrap().projections[0].instances, 1000);
    let parts = census(&server, since);
    assert_eq!(parts.len(), 7, "600,000 pairs and the end");
    let mut explain = driver(&server);
    let settings = "SET jit = off; SET enable_nestloop = off; SET work_mem = '32MB'";
    explain.batch_execute(settings).unwrap();
    let plan = plan(&mut explain, "COSTS off", &parts[2]);
    let whole = plan.join("\n");
    assert!(plan.iter().any(|line| line.contains("projection_states_pkey")), "{whole}");
    assert!(!plan.iter().any(|line| line.contains("Seq Scan on projection_states")), "{whole}");
    // Only what lags is sorted, to find what has not moved for longest.
    let of_all = plan.iter().position(|line| line.contains("Group Key: p.number, p.owner")).expect(&whole);
    let of_lag = plan.iter().position(|line| line.contains("*SELECT* 3")).expect(&whole);
    assert!(of_all < of_lag && !plan[..of_lag].iter().any(|line| line.contains("Sort")), "{whole}");
}

// Contract: S4: a service that asks for metrics again and again has a bounded share counted anew.
#[test]
fn metrics_in_code_count_a_share_anew() {
    let server = telling();
    let store = PostgresStore::connect(&server.url()).unwrap();
    store.setup().unwrap();
    driver(&server).batch_execute(FILL).unwrap();
    let engine = Engine::builder(store.clone()).config(config()).projection(counts("counts", 1)).start().unwrap();
    let parts = |look: &dyn Fn()| {
        let since = server.log().len();
        look();
        let is_part = |one: &&String| one.contains("hs AS MATERIALIZED") && one.contains("p AS MATERIALIZED");
        ran(&server, since).iter().filter(is_part).count()
    };
    let metrics = || {
        let metrics = engine.metrics().unwrap();
        assert_eq!(
            metrics.number("readside_instances", &[("projection", "p10001"), ("state", "current")]),
            Some(1000.0)
        );
        assert!(metrics.number("readside_look_age_seconds", &[]).is_some());
    };
    // Without what an earlier look counted, each look counts all of them.
    let all = parts(&metrics);
    assert!(all >= 7, "{all:?}");
    let further = [parts(&metrics), parts(&metrics)];
    assert!(further.iter().all(|further| (1..=4).contains(further)), "{all:?}, then {further:?}");
    engine.shutdown(LONG).unwrap();
}

// Contract: S3: a command that looks once runs no more statements for many pairs than for few, and one that needs no
// figures reads no state for them.
#[test]
fn a_command_that_looks_once_asks_no_more_where_there_is_more() {
    let server = telling();
    let store = PostgresStore::connect(&server.url()).unwrap();
    store.setup().unwrap();
    let ran_by = |args: &[&str]| {
        let since = server.log().len();
        let binary = env!("CARGO_BIN_EXE_readside");
        let output = Command::new(binary).args(args).args(["--database-url", &server.url()]).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        let ran = ran(&server, since);
        let over_states = |one: &&String| one.contains("projection_states") && !one.contains("owner IS NOT NULL GROUP");
        (ran.len(), ran.iter().filter(over_states).count())
    };
    let costs = || {
        let of =
            [&["status"][..], &["status", "--json"], &["status", "--probe"], &["status", "--probe", "--max-lag", "1h"]];
        of.map(ran_by)
    };
    let fill = |builds: usize| {
        FILL.replace("1, 600)", &format!("1, {builds})"))
            .replace("head) SELECT", "head, removed) SELECT")
            .replace(", 9 FROM gen", ", 9, 9 FROM gen")
    };
    driver(&server).batch_execute(&fill(3)).unwrap();
    let few = costs();
    let leases = ran_by(&["leases"]);
    driver(&server)
        .batch_execute("TRUNCATE readside.projection_states, readside.heads, readside.instances, readside.projections")
        .unwrap();
    driver(&server).batch_execute(&fill(600)).unwrap();
    assert_eq!(few, costs(), "600,000 pairs");
    assert_eq!(leases, ran_by(&["leases"]));
    let [status, json, probe, limited] = few.map(|(_, over_states)| over_states);
    assert_eq!([status - 1, json - 1, limited - 1], [probe; 3], "only figures need the last moves: {few:?}");
}

/// How many rows the nodes of a plan handled and left out, in all.
fn rows(plan: &[String]) -> f64 {
    let number = |text: &str| text.split([' ', ')']).next().unwrap().parse::<f64>().unwrap();
    let of = |line: &String| {
        if let Some((_, removed)) = line.split_once("Rows Removed by Filter: ") {
            return number(removed);
        }
        let Some((_, actual)) = line.split_once("(actual rows=") else { return 0.0 };
        number(actual) * number(actual.split_once("loops=").unwrap().1)
    };
    plan.iter().map(of).sum()
}

// Contract: H3: to go on in many aggregates costs the same, however many events are held.
#[test]
fn what_is_next_in_aggregates_costs_the_same_however_much_is_held() {
    let of = |held: usize| {
        let server = telling();
        let store = PostgresStore::connect(&server.url()).unwrap();
        store.setup().unwrap();
        let fill = format!(
            "INSERT INTO readside.held_events SELECT 'acme', 'users', 1, n, 'user', 'u' || (n % ({held} / 2)), 'renamed',
               CASE WHEN n < {held} / 2 THEN 'parked' ELSE 'behind' END, 1, 'reducer', 'no', now(), now(), now()
             FROM generate_series(0, {held} - 1) n;
             DELETE FROM readside.held_events WHERE position < 1000;
             ANALYZE;"
        );
        driver(&server).batch_execute(&fill).unwrap();
        let key = ProjectionKey { name: "users".into(), version: 1 };
        let aggregates = (0..1000).map(|number| ("user".into(), format!("u{number}").into())).collect();
        let since = server.log().len();
        store.transaction(&mut |tx| tx.promote(&key, "acme", &aggregates)).unwrap();
        let ran = ran(&server, since);
        let promotion = ran.iter().find(|one| one.contains("SET state = 'parked'")).unwrap();
        let text = promotion[promotion.find("UPDATE ").unwrap()..].lines().next().unwrap();
        let mut explain = driver(&server);
        let again = format!(
            "UPDATE readside.held_events SET state = 'behind' WHERE state = 'parked';
             PREPARE next (text, text, bigint, text, text[]) AS {text}"
        );
        explain.batch_execute(&again).unwrap();
        let ids = (0..1000).map(|number| format!("u{number}")).collect::<Vec<_>>().join(",");
        let next = format!("EXECUTE next ('acme', 'users', 1, 'user', '{{{ids}}}')");
        let plan = plan(&mut explain, "ANALYZE, COSTS off, TIMING off", &next);
        (rows(&plan), plan)
    };
    let (few, many) = (of(3_000), of(30_000));
    assert!((few.0 - many.0).abs() < 0.5, "{few:#?}, then {many:#?}");
    let looked = |line: &&String| line.contains("held_events_by_aggregate") && line.contains("loops=1000)");
    assert_eq!(many.1.iter().filter(looked).count(), 1, "{:#?}", many.1);
}

// Contract: H3: whether an instance still holds events is asked after each chunk of a retry. Removed records leave their
// entries in the indexes, and these must not be read.
#[test]
fn whether_events_are_held_costs_the_same_however_many_were_removed() {
    let of = |removed: usize| {
        let server = telling();
        let store = PostgresStore::connect(&server.url()).unwrap();
        store.setup().unwrap();
        let key = ProjectionKey { name: "users".into(), version: 1 };
        let fill = "INSERT INTO readside.projection_states (instance_id, projection, version, position)
             VALUES ('acme', 'users', 1, 50000);
             INSERT INTO readside.held_events SELECT 'acme', 'users', 1, n, 'user', 'u', 'renamed',
               CASE WHEN n = 0 THEN 'parked' ELSE 'behind' END, 1, 'reducer', 'no', now(), now(), now()
             FROM generate_series(0, 40000) n;
             ANALYZE;";
        driver(&server).batch_execute(fill).unwrap();
        let since = server.log().len();
        store.transaction(&mut |tx| tx.forget(&key, "acme", &[0])).unwrap();
        let ran = ran(&server, since);
        let asked = ran.iter().find(|one| one.contains("SET held = ")).unwrap();
        let text = asked[asked.find("UPDATE ").unwrap()..].lines().next().unwrap();
        let mut explain = driver(&server);
        // The transaction that removes them sees that they are gone only in the table.
        let chunk = format!(
            "PREPARE ask (text, bigint, text[]) AS {text}; BEGIN;
             DELETE FROM readside.held_events WHERE position <= {removed}"
        );
        explain.batch_execute(&chunk).unwrap();
        let ask = "EXECUTE ask ('users', 1, '{acme}')";
        let plan = plan(&mut explain, "ANALYZE, BUFFERS, COSTS off, TIMING off, SUMMARY off", ask);
        let buffers = plan.iter().skip_while(|line| !line.contains("SubPlan")).find(|line| line.contains("Buffers:"));
        let buffers = buffers.unwrap_or_else(|| panic!("{plan:#?}"));
        let pages = buffers.split(['=', ' ']).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
        (pages, plan)
    };
    let (few, many) = (of(1_000), of(30_000));
    assert!(few.0 < 10 && many.0 < 10, "{few:#?}, then {many:#?}");
}
