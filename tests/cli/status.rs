//! The command `status`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use readside::prelude::*;
use readside::store::{Member, ProjectionKey};
use readside::{EngineConfig, HandlerConfig, NewEvent};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::child::send;
use crate::common::{LONG, eventually};
use crate::service::users;
use crate::wrong::execute;
use crate::{Place, command, on_both};

fn push(place: &Place, instance: &str, count: usize) {
    place.with(|store| {
        let command = |n: usize| NewEvent::raw(instance, "user", &format!("u{n}"), "user.added");
        store.push(&(0..count).map(command).collect::<Vec<_>>()).unwrap();
    });
}

fn catch_up(place: &Place, instance: &str) {
    place.with(|store| store.handler(users(true), HandlerConfig::default()).trigger(&[instance]).unwrap());
}

fn projection(status: &Value) -> &Value {
    assert_eq!(status["projections"].as_array().unwrap().len(), 1);
    &status["projections"][0]
}

#[test]
fn lag_is_counted_in_events_and_seconds() {
    on_both(|place| {
        push(place, "a", 5);
        catch_up(place, "a");
        push(place, "a", 2);
        push(place, "b", 3);
        let status = place.run(&["status", "--json"]).json();
        let users = projection(&status);
        for (field, wanted) in [
            ("name", json!("users")),
            ("version", json!(1)),
            ("phase", json!("live")),
            ("succeeded", json!(false)),
            ("paused", json!(false)),
            ("instances", json!(2)),
            ("lagging_instances", json!(2)),
            ("lag_events", json!(5)),
            ("handled", json!(5)),
            ("stopped", json!(0)),
            ("leases", json!(0)),
            ("members", json!(0)),
            ("per_second", json!(null)),
        ] {
            assert_eq!(users[field], wanted, "{field}");
        }
        assert!((0.0..60.0).contains(&users["lag_seconds"].as_f64().unwrap()));
        assert_eq!(place.run(&["status", "--max-lag-events", "5"]).code, 0);
        assert_eq!(place.run(&["status", "--max-lag-events", "4"]).code, 3);
        assert_eq!(place.run(&["status", "--max-lag", "1h"]).code, 0);
        assert_eq!(place.run(&["status", "--max-lag", "0s"]).code, 3);
        catch_up(place, "a");
        catch_up(place, "b");
        let status = place.run(&["status", "users", "--json"]).json();
        assert_eq!(
            (&projection(&status)["lag_events"], &projection(&status)["lag_seconds"]),
            (&json!(0), &json!(null))
        );
        assert_eq!(place.run(&["status", "--max-lag", "0s"]).code, 0);
    });
}

#[test]
fn the_table_says_it_in_words() {
    on_both(|place| {
        let none = place.run(&["status"]).ok();
        assert_eq!(none, "no projection is registered here; the service registers them when it starts\n");
        push(place, "a", 1200);
        catch_up(place, "a");
        let table = place.run(&["status"]).ok();
        insta::assert_snapshot!("status", table);
        assert!(!table.contains('\u{1b}'), "no colours where no terminal is");
    });
}

// Contract: L11: a reducer that takes a row for granted which is not there, shows, and how often.
#[test]
fn statements_that_met_no_row_are_told() {
    on_both(|place| {
        let table = Table::new("users").column(text("id")).primary_key(["id"]);
        let blind = Projection::new("users", 1)
            .table(table)
            .on_raw("user", "user.added", |e| update([set("id", e.aggregate_id())], [eq("id", "nobody")]));
        let line = |met: &str| format!("users@1: {met} met no row since the engines started");
        place.with(|store| {
            let engine = store.engine(blind.clone(), EngineConfig::default());
            for (id, met) in [("u1", "1 update or delete"), ("u2", "2 updates and deletes")] {
                assert!(!place.run(&["status"]).ok().contains(&line(met)));
                let pushed = engine.push(&[NewEvent::raw("a", "user", id, "user.added")]).unwrap();
                engine.await_pushed("users", &pushed, LONG).unwrap();
                eventually("the line", || place.run(&["status"]).ok().lines().any(|told| told == line(met)));
            }
            let status = place.run(&["status", "--json"]).json();
            assert_eq!(projection(&status)["missed"], json!(2));
            engine.shutdown(LONG).unwrap();
        });
        assert!(!place.run(&["status"]).ok().contains("met no row"), "nobody is there who tells");
    });
}

/// The log ends at this position, as if it had been put back by hand.
fn put_back(place: &Place, position: i64) {
    execute(
        place,
        &in_tables(
            place,
            &format!(
                "DELETE FROM readside.events WHERE position > {position}; UPDATE readside.heads SET head = {position}; \
                 UPDATE readside.instances SET head = {position}, head_event = \
                 (SELECT event_id FROM readside.events WHERE position = {position})"
            ),
        ),
    );
}

fn in_tables(place: &Place, sql: &str) -> String {
    match place {
        Place::Sqlite(_) => sql.replace("readside.", "readside_"),
        Place::Postgres(_) => sql.to_owned(),
    }
}

// Contract: L11: the log was set back below a checkpoint. Nothing lags, and nothing failed.
#[test]
fn a_checkpoint_above_the_log_is_stuck_and_has_an_exit_code_of_its_own() {
    on_both(|place| {
        push(place, "a", 5);
        catch_up(place, "a");
        assert_eq!(place.run(&["status", "--max-lag", "1s", "--max-failed", "0"]).code, 0);
        put_back(place, 3);
        let ran = place.run(&["status", "--max-lag", "1s", "--max-failed", "0"]);
        assert_eq!(ran.code, 4, "{}", ran.out);
        assert!(ran.out.contains("stuck: history diverged"), "{}", ran.out);
        assert!(ran.out.contains("users@1 in \"a\": history diverged: the checkpoint lies above"), "{}", ran.out);
        let ran = place.run(&["status", "--json"]);
        let users: Value = serde_json::from_str(&ran.out).unwrap();
        let users = projection(&users);
        assert_eq!((ran.code, &users["verdict"], &users["lag_events"]), (4, &json!("stuck"), &json!(0)));
        assert_eq!(users["standstills"][0]["kind"], "diverged");
        let ran = place.run(&["doctor"]);
        assert_eq!(ran.code, 3);
        assert!(ran.out.contains("FAIL  standstills") && ran.out.contains("`readside reset "), "{}", ran.out);
        // Other events take the positions of the lost ones.
        push_more(place, "a", 4);
        let ran = place.run(&["doctor"]);
        assert_eq!(ran.code, 3);
        assert!(ran.out.contains("FAIL  history") && ran.out.contains("stands at 5 of instance \"a\""), "{}", ran.out);
    });
}

// Contract: L11: heads and counters still name the events that somebody deleted, so nothing lags. The doctor finds the
// hole, and the status does, too.
#[test]
fn deleted_events_are_told_although_the_heads_stay() {
    on_both(|place| {
        push(place, "a", 5);
        catch_up(place, "a");
        execute(place, &in_tables(place, "DELETE FROM readside.events WHERE position > 3"));
        let ran = place.run(&["status"]);
        assert!(ran.code == 4 && ran.out.contains("stuck: history diverged"), "{}", ran.out);
    });
}

/// Pushes events of new users.
fn push_more(place: &Place, instance: &str, count: usize) {
    place.with(|store| {
        let command = |n: usize| NewEvent::raw(instance, "user", &format!("new{n}"), "user.added");
        store.push(&(0..count).map(command).collect::<Vec<_>>()).unwrap();
    });
}

// Contract: L11
#[test]
fn stuck_and_behind_but_moving_differ_in_one_call() {
    on_both(|place| {
        push(place, "a", 3);
        catch_up(place, "a");
        push_more(place, "a", 2);
        let member =
            Member { process: Uuid::from_u128(1), name: "api-1".into(), projections: vec![("users".into(), 1)] };
        place.with(|store| drop(store.heartbeat(&member, Duration::from_mins(1)).unwrap()));
        let late = "UPDATE readside.events SET created_at = '2020-01-01T00:00:00.000000Z' WHERE position > 3";
        execute(place, &in_tables(place, late));
        assert_eq!(place.run(&["status"]).code, 0, "it moved just now");
        assert_eq!(place.run(&["status", "--max-lag", "1h"]).code, 3);
        let still = "UPDATE readside.projection_states SET moved_at = '2020-01-01T00:00:00.000000Z'";
        execute(place, &in_tables(place, still));
        let began = "UPDATE readside.members SET since = '2020-01-01T00:00:00.000000Z'";
        assert_eq!(place.run(&["status"]).code, 0, "its engine began a moment ago");
        execute(place, &in_tables(place, began));
        for args in [vec!["status"], vec!["status", "--max-lag", "1h"], vec!["status", "users", "--json"]] {
            assert_eq!(place.run(&args).code, 4, "{args:?}");
        }
        let ran = place.run(&["status"]);
        assert!(
            ran.out.contains("stuck: does not move for ") && ran.out.contains("since 2020-01-01T00:00:00Z"),
            "{}",
            ran.out
        );
        place.run(&["pause", "users", "--why", "a test"]).ok();
        let paused = place.run(&["status", "--json"]).json();
        assert_eq!(
            (&projection(&paused)["verdict"], &projection(&paused)["reason"]),
            (&json!("paused"), &json!("paused: by \"ada\": \"a test\""))
        );
    });
}

// Contract: L11: the only engine is dead, or works on a file that was moved away. Its last work is seconds old.
#[test]
fn what_a_dead_engine_ran_does_not_move() {
    on_both(|place| {
        push(place, "a", 3);
        catch_up(place, "a");
        push_more(place, "a", 2);
        let told = |words: &str| {
            let status = place.run(&["status"]).ok();
            assert!(status.contains("behind: no engine runs it") && status.contains(words), "{status}");
            assert!(!status.contains("moving"), "{status}");
        };
        told("no engine is alive: nothing keeps these projections up to date\n");
        let member =
            Member { process: Uuid::from_u128(1), name: "api-1".into(), projections: vec![("users".into(), 1)] };
        place.with(|store| drop(store.heartbeat(&member, Duration::from_mins(1)).unwrap()));
        assert!(!place.run(&["status"]).ok().contains("no engine runs it"), "one is alive");
        let lapsed = "UPDATE readside.members SET alive_until = '2020-01-01T00:00:00.000000Z'";
        execute(place, &in_tables(place, lapsed));
        told("see `readside doctor`; the last was api-1, until 2020-01-01T00:00:00Z");
        told(
            "users@1 since 2020-01-01T00:00:00Z: no engine runs it: no living engine runs version 1; \"api-1\" did until then",
        );
        let doctor = place.run(&["doctor"]).out;
        assert!(doctor.contains("no engine runs \"users\"; \"api-1\" did until "), "{doctor}");
    });
}

// Contract: A7, L11
#[test]
fn an_engine_that_does_not_hear_of_pushes_is_told() {
    on_both(|place| {
        push(place, "a", 3);
        catch_up(place, "a");
        let process = Uuid::from_u128(1);
        let member = Member { process, name: "api-1".into(), projections: vec![("users".into(), 1)] };
        let tell = |deaf: Option<&str>| place.with(|store| store.tell(process, &[], deaf).unwrap());
        place.with(|store| drop(store.heartbeat(&member, Duration::from_mins(1)).unwrap()));
        let line = "engine api-1 looks only now and then: a pooler swallows them";
        for deaf in [None, Some("a pooler swallows them"), None] {
            tell(deaf);
            let status = place.run(&["status"]).ok();
            assert_eq!(status.lines().any(|told| told == line), deaf.is_some(), "{status}");
            assert_eq!(place.run(&["status", "--json"]).json()["members"][0]["deaf"], json!(deaf));
            let doctor = place.run(&["doctor"]).ok();
            let warns = "WARN  hearing        \"api-1\": a pooler swallows them";
            assert_eq!(doctor.lines().any(|told| told == warns), deaf.is_some(), "{doctor}");
        }
    });
}

#[test]
fn engines_and_leases_are_shown() {
    on_both(|place| {
        push(place, "a", 3);
        catch_up(place, "a");
        let (alive, dead) = (Uuid::from_u128(1), Uuid::from_u128(2));
        place.with(|store| {
            let runs = vec![("users".to_owned(), 1)];
            let member = |process, name: &str| Member { process, name: name.to_owned(), projections: runs.clone() };
            let key = ProjectionKey { name: "users".into(), version: 1 };
            store.heartbeat(&member(alive, "api-1"), Duration::from_mins(1)).unwrap();
            store.acquire(&key, &["a".into()], alive, Duration::from_mins(1)).unwrap();
            store.acquire(&key, &["b".into()], dead, Duration::from_micros(1)).unwrap();
        });
        let report = place.run(&["leases", "--json"]).json();
        assert_eq!(report["members"][0]["name"], "api-1");
        assert_eq!(report["members"][0]["leases"], 1);
        let lease = |at: usize| &report["leases"][at];
        assert_eq!(
            (&lease(0)["instance"], &lease(0)["name"], &lease(0)["alive"]),
            (&json!("a"), &json!("api-1"), &json!(true))
        );
        assert!((1.0..=60.0).contains(&lease(0)["seconds_left"].as_f64().unwrap()));
        assert_eq!(
            (&lease(1)["instance"], &lease(1)["name"], &lease(1)["alive"]),
            (&json!("b"), &json!(null), &json!(false))
        );
        assert_eq!(lease(1)["seconds_left"], json!(null));
        let table = place.run(&["leases", "users"]).ok();
        assert!(table.contains("api-1") && table.contains("alive") && table.contains("over"), "{table}");
        let status = place.run(&["status", "--json"]).json();
        assert_eq!((&projection(&status)["leases"], &projection(&status)["owners"]), (&json!(2), &json!(2)));
        assert_eq!(projection(&status)["members"], 1);
        assert_eq!(status["members"][0]["alive"], true);
    });
}

// Contract: L11: an engine that cannot write, for instance to a full disk, cannot report that it is alive either.
#[test]
fn an_engine_that_is_silent_need_not_be_dead() {
    on_both(|place| {
        push(place, "a", 1);
        catch_up(place, "a");
        assert!(place.run(&["status"]).ok().contains("no engine is alive"), "there was none");
        place.with(|store| {
            let projections = vec![("users".to_owned(), 1)];
            let member = Member { process: Uuid::from_u128(1), name: "api-1".to_owned(), projections };
            store.heartbeat(&member, Duration::from_mins(1)).unwrap();
        });
        let silent = "UPDATE readside.members SET alive_until = '2020-01-01T00:00:00.000000Z'";
        execute(place, &in_tables(place, silent));
        let table = place.run(&["status"]).ok();
        assert!(table.contains("no engine says that it is alive, 1 did") && table.contains("disk is full"), "{table}");
        assert!(!table.contains("no engine is alive"), "{table}");
        let doctor = place.run(&["doctor"]).out;
        assert!(doctor.contains("0 alive, 1 silent") && doctor.contains("make room on the disk"), "{doctor}");
    });
}

#[test]
fn instances_show_where_a_projection_stands() {
    on_both(|place| {
        push(place, "a", 5);
        push(place, "b", 3);
        catch_up(place, "a");
        let heads = place.run(&["instances", "--json"]).lines();
        assert_eq!(heads, [json!({"instance": "a", "head": 5}), json!({"instance": "b", "head": 3})]);
        let behind = place.run(&["instances", "--projection", "users", "--behind", "--json"]).lines();
        let wanted =
            json!({"instance": "b", "head": 3, "relevant_head": 3, "checkpoint": 0, "lag_events": 3, "state": "-"});
        assert_eq!(behind, [wanted]);
        assert_eq!(place.run(&["instances", "--after", "a", "--json"]).lines().len(), 1);
        let page = place.run(&["instances", "--limit", "1"]).ok();
        assert!(page.contains("--after \"a\""), "{page}");
        insta::assert_snapshot!("instances", place.run(&["instances", "--projection", "users"]).ok());
    });
}

#[test]
fn many_instances_come_in_pages() {
    on_both(|place| {
        place.with(|store| {
            let command = |n: usize| NewEvent::raw(&format!("t{n:04}"), "user", "u", "user.added");
            store.push(&(0..1500).map(command).collect::<Vec<_>>()).unwrap();
        });
        assert_eq!(place.run(&["instances", "--json"]).lines().len(), 100);
        let all = place.run(&["instances", "--json", "--limit", "0"]).lines();
        assert_eq!(all.len(), 1500);
        assert_eq!(all[1499]["instance"], "t1499");
    });
}

#[test]
fn two_looks_tell_the_speed() {
    on_both(|place| {
        push(place, "a", 30);
        catch_up(place, "a");
        push(place, "b", 50);
        let mut process = command()
            .args(["-d", &place.name(), "status", "--watch", "--every", "50ms", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut looks = BufReader::new(process.stdout.take().unwrap()).lines().map(|line| {
            let look: Value = serde_json::from_str(&line.unwrap()).unwrap();
            projection(&look).clone()
        });
        let first = looks.next().unwrap();
        assert_eq!((&first["lag_events"], &first["per_second"]), (&json!(50), &json!(null)));
        catch_up(place, "b");
        let moved = looks.find(|look| look["per_second"].as_f64().is_some_and(|speed| speed > 0.0)).unwrap();
        assert_eq!(moved["lag_events"], 0);
        send("-INT", i64::from(process.id()));
        let _ = looks.count();
        assert_eq!(process.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn a_watch_outlasts_a_database_that_is_away() {
    let server = crate::common::server::Server::start();
    let proxy = crate::common::proxy::Proxy::before(&server.url());
    crate::run(&["-d", &server.url(), "setup"]).ok();
    let mut process = command()
        .args(["-d", &proxy.url(&server.url()), "status", "--watch", "--every", "20ms", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut looks = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut errors = BufReader::new(process.stderr.take().unwrap()).lines();
    looks.next().unwrap().unwrap();
    proxy.vanish(true);
    assert!(errors.next().unwrap().unwrap().ends_with("; looking again"));
    proxy.vanish(false);
    std::thread::spawn(move || errors.count());
    let before: Value = serde_json::from_str(&looks.next().unwrap().unwrap()).unwrap();
    let mut times = looks.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["at"].clone());
    assert!(times.any(|at| at != before["at"]));
    send("-INT", i64::from(process.id()));
    let _ = looks.count();
    assert_eq!(process.wait().unwrap().code(), Some(0));
}
