//! Failed events: anybody can see them, and a service that has the code can repair them.

use std::sync::Arc;

use readside::error::{StoreError, StoreErrorKind};
use readside::failure::By;
use readside::prelude::*;
use readside::testing::{Call, FaultyStore};
use readside::{
    EngineConfig, EngineStore, HandlerConfig, NewEvent, Policy, PostgresStore, ProjectionHandler, SqliteStore,
};
use serde_json::json;

use crate::common::{LONG, eventually};
use crate::service::{service, users};
use crate::{Place, on_both};

/// Parks one event of `acme`, and lets one wait behind it.
fn fail(place: &Place) {
    place.with(|store| {
        let command = |id: &str, payload: &str| NewEvent::raw("acme", "user", id, "user.added").payload_json(payload);
        let commands = [command("u1", "{}"), command("u2", r#"{"bad":1}"#), command("u2", "{}"), command("u3", "{}")];
        store.push(&commands).unwrap();
        let config = HandlerConfig::default().retries(0).max_failure_count(1).policy(Policy::Park);
        store.handler(users(false), config).trigger(&["acme"]).unwrap();
    });
}

fn rows(place: &Place) -> usize {
    let mut count = 0;
    place.with(|store| count = store.rows(&users(true)).len());
    count
}

#[test]
fn failures_are_listed_and_shown() {
    on_both(|place| {
        fail(place);
        let list = place.run(&["failed", "list", "--json"]).lines();
        assert_eq!(list.len(), 2);
        for (field, wanted) in [
            ("projection", json!("users")),
            ("version", json!(1)),
            ("instance", json!("acme")),
            ("position", json!(2)),
            ("aggregate_type", json!("user")),
            ("aggregate_id", json!("u2")),
            ("type", json!("user.added")),
            ("state", json!("parked")),
            ("attempts", json!(1)),
            ("class", json!("reducer")),
            ("error", json!("no name in it")),
        ] {
            assert_eq!(list[0][field], wanted, "{field}");
        }
        assert_eq!(list[1]["state"], "behind");
        assert_eq!(place.run(&["failed", "list", "users", "--state", "parked", "--json"]).lines().len(), 1);
        assert_eq!(place.run(&["failed", "list", "--instance", "other", "--json"]).lines().len(), 0);
        let table = place.run(&["failed", "list"]).ok();
        assert!(table.contains("users@1") && table.contains("reducer: no name in it"), "{table}");
        let shown = place.run(&["failed", "show", "users", "acme", "2", "--payload"]).ok();
        assert!(
            shown.contains("later events of its aggregate wait behind it") && shown.contains(r#""payload":{"bad":1}"#),
            "{shown}"
        );
        assert!(!place.run(&["failed", "show", "users", "acme", "2"]).ok().contains("bad"));
        let error = place.run(&["failed", "show", "users", "acme", "1"]).failed();
        assert!(error.contains("is not on record as failed"), "{error}");
        assert_eq!(place.run(&["status", "--max-failed", "1"]).code, 3);
        assert_eq!(place.run(&["status", "--max-failed", "2"]).code, 0);
    });
}

// Contract: H3: what is shown can be given to the next command.
#[test]
fn a_position_is_shown_in_plain_digits() {
    on_both(|place| {
        place.with(|store| {
            let event = |payload: &str| NewEvent::raw("acme", "user", "u1", "user.added").payload_json(payload);
            let other = |_| NewEvent::raw("acme", "order", "o1", "order.made");
            let mut events: Vec<NewEvent> = (1..1235).map(other).collect();
            events.push(event(r#"{"bad":1}"#));
            store.push(&events).unwrap();
            store.handler(users(false), HandlerConfig::default()).trigger(&["acme"]).unwrap();
        });
        let shown = place.run(&["failed", "show", "users", "acme", "1235"]).ok();
        assert!(shown.lines().any(|line| line.split_whitespace().eq(["position", "1235"])), "{shown}");
    });
}

// Contract: H3: the limit holds for all projections and builds together.
#[test]
fn a_list_ends_at_its_limit_and_says_so() {
    on_both(|place| {
        place.with(|store| {
            let bad = |id: &str| NewEvent::raw("acme", "user", id, "user.added").payload_json(r#"{"bad":1}"#);
            store.push(&["u1", "u2", "u3"].map(bad)).unwrap();
            let others = Projection::new("others", 1)
                .table(Table::new("others").column(text("id")).primary_key(["id"]))
                .on_raw("user", "user.added", |_| Err(ReduceError::new("not here")));
            for projection in [others, users(false)] {
                store.handler(projection, HandlerConfig::default()).trigger(&["acme"]).unwrap();
            }
        });
        let shown = |limit: &str| place.run(&["failed", "list", "--limit", limit, "--json"]).lines();
        for (limit, wanted) in [("1", 1), ("3", 3), ("4", 4), ("6", 6), ("7", 6), ("0", 6)] {
            let listed = shown(limit);
            assert_eq!(listed.len(), wanted, "{limit}");
            let of_others = listed.iter().filter(|one| one["projection"] == "others").count();
            assert_eq!(of_others, wanted.min(3), "those of one projection come first");
            let text = place.run(&["failed", "list", "--limit", limit]).ok();
            assert_eq!(text.contains("there are more: --limit 0 for all"), wanted < 6, "{limit}: {text}");
        }
    });
}

// Contract: H3
#[test]
fn a_service_that_has_the_code_mends_them() {
    on_both(|place| {
        fail(place);
        let why = ["--why", "the reducer is mended"];
        let retry = [&["failed", "retry", "users", "acme", "2"], &why[..]].concat();
        let error = service(place, false, &retry).failed();
        assert!(error.contains("still fails") && error.contains("no name in it"), "{error}");
        assert_eq!(rows(place), 2);
        let said = service(place, true, &retry).ok();
        assert_eq!(said, "users: 2 events were applied\n");
        assert_eq!(rows(place), 4);
        assert!(place.run(&["failed", "list"]).ok().contains("no event is on record"));
    });
}

// Contract: H3
#[test]
fn a_retry_of_all_tells_what_fails_again() {
    on_both(|place| {
        fail(place);
        place.with(|store| {
            let bad = NewEvent::raw("beta", "user", "u9", "user.added").payload_json(r#"{"bad":2}"#);
            store.push(&[bad]).unwrap();
            let config = HandlerConfig::default().retries(0).max_failure_count(1);
            store.handler(users(false), config).trigger(&["beta"]).unwrap();
        });
        let all = ["failed", "retry", "users", "--all", "--why", "let us see"];
        let told = service(place, false, &all);
        assert_eq!(told.code, 3, "{}{}", told.out, told.err);
        assert!(
            told.out.contains("no event was applied; 3 were on record as failed before, and 3 are now"),
            "{}",
            told.out
        );
        let lines: Vec<&str> = told.out.lines().collect();
        let tells = |instance: &str| {
            lines.windows(2).any(|pair| pair[0].starts_with(instance) && pair[1].contains("no name in it"))
        };
        assert!(tells("acme") && tells("beta"), "{}", told.out);
        let told = service(place, false, &[&all[..], &["--json"]].concat());
        assert_eq!(told.code, 3);
        let report: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!(report["mended"]["refused"][1]["instance"], "beta");
        let done = service(place, true, &all).ok();
        assert_eq!(done, "users: 3 events were applied; 3 were on record as failed before, and none is now\n");
    });
}

// Contract: H3
#[test]
fn a_retry_goes_on_where_it_was() {
    on_both(|place| {
        fail(place);
        let retry = |position: &str| {
            service(place, true, &["failed", "retry", "users", "acme", position, "--why", "the reducer is mended"])
        };
        let done = retry("3").ok();
        assert!(done.contains("from event 2, the first that was held of the aggregate of event 3"), "{done}");
        assert!(retry("2").failed().contains("is not on record as failed"));
        // A person retried the aggregate by its event 2, and nobody named event 3.
        let error = place.run(&["failed", "show", "users", "acme", "2"]).failed();
        assert!(error.contains("any more: retried by \"ada\" at 20"), "{error}");
        let error = place.run(&["failed", "show", "users", "acme", "1"]).failed();
        assert!(!error.contains("any more"), "{error}");
        assert_eq!(rows(place), 4);
    });
}

// Contract: H3
#[test]
fn an_event_is_given_up() {
    on_both(|place| {
        fail(place);
        let discard = ["failed", "discard", "users", "acme", "2", "--who", "bob", "--why", "a test", "--json"];
        let done = service(place, false, &discard).json();
        assert_eq!(done["done"], "event 2 was given up, and 1 event that waited behind it was applied");
        assert_eq!(rows(place), 3);
        let error = service(place, true, &discard).failed();
        assert!(error.contains("is not on record as failed"), "{error}");
        // The error tells what became of the event, and the record stays.
        assert!(error.contains("any more: discarded by \"bob\" at 20") && error.contains("\"a test\""), "{error}");
        let shown = place.run(&["failed", "show", "users", "acme", "2"]).ok();
        assert!(shown.contains("a person gave it up") && shown.contains("discard by bob at "), "{shown}");
        let shown = place.run(&["failed", "show", "users", "acme", "2", "--json"]).json();
        assert_eq!((&shown["state"], &shown["interventions"][0]["action"]), (&json!("discarded"), &json!("discard")));
        let error = service(place, true, &["failed", "retry", "users", "--all", "--why", " "]).failed();
        assert!(error.contains("--why is empty"), "{error}");
    });
}

/// Gives event 2 up as a process does that dies before it applies what waits behind it.
fn cut_off<S>(store: S)
where
    FaultyStore<S>: EngineStore,
{
    let dies = |call: &Call| match call.name {
        "ProjectionTransaction::apply" | "ProjectionTransaction::apply_one" => {
            Err(StoreError::new("applying", StoreErrorKind::Full, "it dies here"))
        }
        _ => Ok(()),
    };
    let store = Arc::new(FaultyStore::failing(store, dies));
    let dying = ProjectionHandler::new(store.clone(), store, users(true), HandlerConfig::default()).unwrap();
    dying.discard("acme", 2, &By::new("bob", "a test")).unwrap_err();
}

// Contract: H3: what a discard left undone that was cut off is done by the same command, once.
#[test]
fn a_discard_that_was_cut_off_is_ended_by_the_same_command() {
    on_both(|place| {
        fail(place);
        match place {
            Place::Sqlite(_) => cut_off(SqliteStore::open(place.name()).unwrap()),
            Place::Postgres(_) => cut_off(PostgresStore::connect(&place.name()).unwrap()),
        }
        assert_eq!(rows(place), 2);
        let discard = ["failed", "discard", "users", "acme", "2", "--why", "again"];
        let done = service(place, true, &discard).ok();
        let told = "users: event 2 had been given up before, and 1 event that waited behind it was applied\n";
        assert_eq!((done.as_str(), rows(place)), (told, 3));
        // Said once more, it changes nothing.
        let error = service(place, true, &discard).failed();
        assert!(error.contains("any more: discarded by \"bob\" at 20"), "{error}");
        assert_eq!(rows(place), 3);
        let shown = place.run(&["failed", "show", "users", "acme", "2", "--json"]).json();
        assert_eq!(shown["interventions"].as_array().unwrap().len(), 1, "{shown}");
    });
}

// Contract: H3: a version takes over what was given up in the one before, with the person who did it.
#[test]
fn who_gave_an_event_up_is_shown_in_the_next_version() {
    on_both(|place| {
        fail(place);
        let by = ["--who", "bob", "--why", "a test"];
        service(place, true, &[&["failed", "discard", "users", "acme", "2"], &by[..]].concat()).ok();
        place.with(|store| {
            let engine = store.engine(raised(), EngineConfig::default());
            let show = ["failed", "show", "users", "acme", "2"];
            eventually("the switch", || {
                let builds = place.run(&["builds", "list", "--json"]).lines();
                builds.iter().any(|build| build["version"] == 2 && build["phase"] == "live")
            });
            let shown = place.run(&show).ok();
            assert!(shown.contains("users@2") && shown.contains("a person gave it up"), "{shown}");
            assert!(shown.contains("discard by bob at 20") && shown.contains(": a test"), "{shown}");
            place.run(&[&["builds", "drop-old", "users"], &by[..]].concat()).ok();
            let shown = place.run(&show).ok();
            assert!(shown.contains("discard by bob at 20"), "{shown}");
            let again = [&["failed", "discard", "users", "acme", "2"], &by[..]].concat();
            let error = place.run(&again).failed();
            assert!(error.contains("any more: discarded by \"bob\" at 20"), "{error}");
            engine.shutdown(LONG).unwrap();
        });
    });
}

#[test]
fn what_people_did_is_shown() {
    on_both(|place| {
        fail(place);
        service(place, false, &["failed", "retry", "users", "acme", "2", "--who", "bob", "--why", "let us see"])
            .failed();
        let shown = place.run(&["failed", "show", "users", "acme", "2", "--json"]).json();
        assert_eq!(shown["interventions"][0]["who"], "bob");
        assert_eq!(shown["interventions"][0]["why"], "let us see");
        let shown = place.run(&["failed", "show", "users", "acme", "2"]).ok();
        assert!(shown.contains("retry by bob at "), "{shown}");
    });
}

/// True for a character that would control a terminal, or that a person cannot see.
fn is_hidden(letter: char) -> bool {
    letter != '\n' && (letter.is_control() || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'))
}

// Contract: H1
#[test]
fn no_text_breaks_a_line_or_turns_it() {
    const KIND: &str = "us\u{202e}er\n";
    const TYPE: &str = "added\n\t\u{1b}[2J\u{9b}";
    const INSTANCE: &str = "a\u{202e}\r\nb";
    let projection = || {
        Projection::new("broken", 1).table(Table::new("broken").column(text("id")).primary_key(["id"])).on_raw(
            KIND,
            TYPE,
            |_| Err(ReduceError::new("no\nname\u{1b}[31m\u{202e}\u{7}")),
        )
    };
    on_both(|place| {
        place.with(|store| {
            let config = HandlerConfig::default().max_failure_count(1).policy(Policy::Stop);
            let handler = store.handler(projection(), config);
            store.push(&[NewEvent::raw(INSTANCE, KIND, "i\u{2066}d", TYPE)]).unwrap();
            let error = handler.trigger(&[INSTANCE]).unwrap_err();
            assert!(!error.to_string().contains(is_hidden), "{error:?}");
            assert!(!readside::error::chain(&error).contains(is_hidden), "{error:?}");
        });
        let by = ["--who", "a\u{202e}da", "--why", "a\ttest\u{1b}"];
        let pause = ["pause", "broken", "--instance", INSTANCE];
        let said = place.run(&[&pause[..], &by].concat());
        for (args, lines) in [
            (&["failed", "list"][..], 3),
            (&["failed", "show", "broken", INSTANCE, "1"], 8),
            (&["failed", "show", "broken", "other\u{202e}", "1"], 1),
            (&["failed", "discard", "broken", INSTANCE, "9", "--why", "x"], 1),
            (&["instances"], 2),
            (&["events", "--instance", INSTANCE], 1),
            (&["commands"], 2),
            (&["pause", "broken", "--instance", "\u{9b}", "--why", "x"], 1),
            (&["status"], 8),
        ] {
            let ran = place.run(args);
            let told = ran.out + &ran.err;
            let is_json = args[0] == "events";
            assert!(is_json || !told.contains(is_hidden), "{args:?}: {told:?}");
            assert!(told.lines().count() <= lines, "{args:?}: {told}");
        }
        let doctor = place.run(&["doctor"]).out;
        assert!(!doctor.contains(is_hidden), "{doctor:?}");
        assert!(!(said.out + &said.err).contains(is_hidden));
        let unknown = place.run(&["pause", "broken", "--instance", "", "--why", "x"]).failed();
        assert!(unknown.contains("no instance \"\" here"), "{unknown}");
    });
}

/// As [`users`] in a higher version, which cannot apply one event.
fn raised() -> Projection {
    let table = Table::new("users").column(text("id")).column(text("more").nullable()).primary_key(["id"]);
    Projection::new("users", 2).table(table).on_raw("user", "user.added", |e| match e.aggregate_id() {
        "u2" => Err(ReduceError::new("not in version 2")),
        id => readside::statement::create([readside::statement::set("id", id)]),
    })
}

// Contract: H3: an event that fails in a version that readers do not see is found, and given up, by the number of
// that version.
#[test]
fn what_fails_in_a_version_that_is_built_is_reached_by_its_number() {
    on_both(|place| {
        place.with(|store| {
            let added = |id: &str| NewEvent::raw("acme", "user", id, "user.added").payload_json("{}");
            store.push(&[added("u1"), added("u2"), added("u3")]).unwrap();
            store.handler(users(true), HandlerConfig::default()).trigger(&["acme"]).unwrap();
            let long = std::time::Duration::from_hours(1);
            let handler = HandlerConfig::default().backoff_base(long).backoff_cap(long);
            let config = EngineConfig::default().handler(handler).name("the service").auto_switch(false);
            let engine = store.engine(raised(), config);
            let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
            while place.run(&["failed", "list", "--json"]).lines().is_empty() {
                assert!(std::time::Instant::now() < deadline, "it did not fail");
            }
            let why = ["--why", "a test"];
            let hint = place.run(&[&["failed", "discard", "users", "acme", "2"], &why[..]].concat()).failed();
            assert!(hint.contains("--projection-version 2"), "{hint}");
            let listed = place.run(&["failed", "list"]).ok();
            assert!(listed.lines().any(|line| line.trim() == "reducer: not in version 2"), "on its own line: {listed}");
            let discard = ["failed", "discard", "users", "acme", "2", "--projection-version", "2"];
            let said = place.run(&[&discard, &why[..]].concat()).ok();
            assert_eq!(said, "users: event 2 was given up, and nothing waited behind it\n");
            place.run(&[&["builds", "switch", "users"], &why[..]].concat()).ok();
            let is_live = || {
                let builds = place.run(&["builds", "list", "--json"]).lines();
                builds.iter().any(|build| build["version"] == 2 && build["phase"] == "live")
            };
            while !is_live() {
                assert!(std::time::Instant::now() < deadline, "it does not take over");
            }
            engine.shutdown(std::time::Duration::from_mins(1)).unwrap();
        });
    });
}
