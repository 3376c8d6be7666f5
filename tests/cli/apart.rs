//! Events in one database and read models in another: PostgreSQL and SQLite, both ways.

use std::sync::Arc;

use readside::store::{EventSource, ProjectionStore};
use readside::{HandlerConfig, PostgresStore, ProjectionHandler, SqliteStore};
use serde_json::{Value, json};

use crate::service::{service, users};
use crate::wrong::execute;
use crate::{Place, Ran, fresh};

/// A database of events, and a database of read models.
struct Apart {
    events: Place,
    models: Place,
}

impl Apart {
    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let name = self.events.name();
        self.models.run_with(&[&["--events-url", &name], args].concat(), input)
    }

    fn handler(&self) -> ProjectionHandler {
        let source: Arc<dyn EventSource> = match &self.events {
            Place::Sqlite(_) => Arc::new(SqliteStore::open(self.events.name()).unwrap()),
            Place::Postgres(_) => Arc::new(PostgresStore::connect(&self.events.name()).unwrap()),
        };
        let models: Arc<dyn ProjectionStore> = match &self.models {
            Place::Sqlite(_) => Arc::new(SqliteStore::open(self.models.name()).unwrap()),
            Place::Postgres(_) => Arc::new(PostgresStore::connect(&self.models.name()).unwrap()),
        };
        let handler = ProjectionHandler::new(source, models, users(true), HandlerConfig::default()).unwrap();
        handler.setup().unwrap();
        handler
    }

    /// Users of both tenants. The read model has only those of `a`.
    fn fill(&self) {
        let lines: Vec<String> = [("a", "u1"), ("a", "u2"), ("b", "u1"), ("b", "u2"), ("b", "u3")]
            .map(|(instance, id)| {
                json!({"instance": instance, "aggregate_type": "user", "aggregate_id": id, "type": "user.added"})
                    .to_string()
            })
            .into();
        self.handler();
        self.run_with(&["push"], &lines.join("\n")).ok();
        self.handler().trigger(&["a"]).unwrap();
    }
}

fn both_ways(test: impl Fn(&Apart)) {
    let set_up = |events: Place, models: Place| {
        for place in [&events, &models] {
            place.run(&["setup"]).ok();
        }
        test(&Apart { events, models });
    };
    let [sqlite, postgres] = fresh();
    set_up(sqlite, postgres);
    let [sqlite, postgres] = fresh();
    set_up(postgres, sqlite);
}

fn projection(status: &Value) -> &Value {
    assert_eq!(status["projections"].as_array().unwrap().len(), 1);
    &status["projections"][0]
}

#[test]
fn lag_is_heads_of_the_one_beside_checkpoints_of_the_other() {
    both_ways(|apart| {
        apart.fill();
        let status = apart.run(&["status", "--json"]).json();
        let users = projection(&status);
        for (field, wanted) in [
            ("events_elsewhere", json!(false)),
            ("instances", json!(2)),
            ("lagging_instances", json!(1)),
            ("lag_events", json!(3)),
            ("handled", json!(2)),
        ] {
            assert_eq!(users[field], wanted, "{field}");
        }
        assert!((0.0..60.0).contains(&users["lag_seconds"].as_f64().unwrap()), "{users}");
        assert_eq!(apart.run(&["status", "--max-lag-events", "3"]).code, 0);
        assert_eq!(apart.run(&["status", "--max-lag", "0s"]).code, 3);
        let builds = apart.run(&["builds", "list", "--json"]).json();
        assert_eq!(builds["lag_events"], 3);
        let behind = apart.run(&["instances", "--projection", "users", "--behind", "--json"]).lines();
        assert_eq!((behind.len(), &behind[0]["instance"], &behind[0]["lag_events"]), (1, &json!("b"), &json!(3)));

        apart.handler().trigger(&["b"]).unwrap();
        let status = apart.run(&["status", "--json"]).json();
        let users = projection(&status);
        assert_eq!((&users["lag_events"], &users["lag_seconds"]), (&json!(0), &json!(null)));
        let events = apart.run(&["events", "--instance", "b", "--json"]).lines();
        assert_eq!(events.iter().map(|event| event["position"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
        apart.run(&["pause", "users", "--instance", "b", "--why", "a look"]).ok();
        assert_eq!(
            apart.models.run(&["commands", "--json"]).lines().len(),
            1,
            "what engines read is beside the models"
        );
    });
}

#[test]
fn what_is_not_known_is_not_called_zero() {
    both_ways(|apart| {
        apart.fill();
        let status = apart.models.run(&["status", "--json"]).json();
        assert_eq!(projection(&status)["events_elsewhere"], true);
        let text = apart.models.run(&["status"]).ok();
        assert!(text.contains(" ?  ") && text.contains("name it with --events-url"), "{text}");
        let error = apart.models.run(&["status", "--max-lag", "1h"]).failed();
        assert!(error.contains("the lag of users is not known"), "{error}");
        let doctor = apart.models.run(&["doctor"]).ok();
        assert!(doctor.contains("WARN  lag            not known of \"users\""), "{doctor}");

        // This is not the event store from which the read model was built.
        let [other, _] = fresh();
        other.run(&["setup"]).ok();
        let error = apart.models.run(&["--events-url", &other.name(), "status"]).failed();
        assert!(error.contains("is fed from the event store") && error.contains("name the right database"), "{error}");
        assert!(error.contains("`readside rebuild "), "what else to do: {error}");
    });
}

// Contract: L11: the events were set back below the checkpoints. For one tenant, no event remains.
#[test]
fn checkpoints_above_the_heads_of_the_other_are_stuck() {
    both_ways(|apart| {
        apart.fill();
        apart.handler().trigger(&["b"]).unwrap();
        assert_eq!(apart.run(&["status"]).code, 0);
        let sql = "DELETE FROM readside.events WHERE instance_id = 'a'; DELETE FROM readside.heads WHERE instance_id = 'a'; \
                   DELETE FROM readside.instances WHERE instance_id = 'a'; DELETE FROM readside.events WHERE position > 1; \
                   UPDATE readside.heads SET head = 1; UPDATE readside.instances SET head = 1";
        let sql = match &apart.events {
            Place::Sqlite(_) => sql.replace("readside.", "readside_"),
            Place::Postgres(_) => sql.to_owned(),
        };
        execute(&apart.events, &sql);
        let ran = apart.run(&["status"]);
        assert_eq!(ran.code, 4, "{}", ran.out);
        assert!(ran.out.contains("in \"a\": history diverged") && ran.out.contains("in 2 instances"), "{}", ran.out);
        let ran = apart.run(&["doctor"]);
        assert!(ran.code == 3 && ran.out.contains("FAIL  standstills"), "{}", ran.out);
    });
}

// Contract: L11: other events took the places of those from which the read model was made, or the newest ones are gone.
// Heads and checkpoints agree.
#[test]
fn events_that_the_read_model_was_not_made_of_are_told() {
    let put_back = "DELETE FROM readside.events WHERE instance_id = 'a' AND position > 1; \
                    UPDATE readside.heads SET head = 1 WHERE instance_id = 'a'; UPDATE readside.instances SET head = 1, \
                    head_event = (SELECT event_id FROM readside.events WHERE instance_id = 'a') WHERE instance_id = 'a'";
    for (sql, others) in [(put_back, 1), ("DELETE FROM readside.events WHERE instance_id = 'a' AND position > 1", 0)] {
        both_ways(|apart| {
            apart.fill();
            apart.handler().trigger(&["b"]).unwrap();
            assert_eq!(apart.run(&["status"]).code, 0);
            let sql = match &apart.events {
                Place::Sqlite(_) => sql.replace("readside.", "readside_"),
                Place::Postgres(_) => sql.to_owned(),
            };
            execute(&apart.events, &sql);
            for _ in 0..others {
                let line =
                    json!({"instance": "a", "aggregate_type": "user", "aggregate_id": "u9", "type": "user.added"});
                apart.run_with(&["push"], &line.to_string()).ok();
            }
            let ran = apart.run(&["status"]);
            assert_eq!(ran.code, 4, "{}", ran.out);
            assert!(ran.out.contains("users@1 in \"a\": history diverged"), "{}", ran.out);
            let ran = apart.run(&["doctor"]);
            assert!(ran.code == 3 && ran.out.contains("FAIL  history"), "{}", ran.out);
        });
    }
}

#[test]
fn the_doctor_looks_at_both() {
    both_ways(|apart| {
        apart.fill();
        let ran = apart.run(&["doctor", "--max-lag", "0s"]);
        assert_eq!(ran.code, 0, "{}", ran.out);
        let lines = |check: &str| ran.out.lines().filter(|line| line.get(6..).unwrap().starts_with(check)).count();
        assert_eq!((lines("schema"), lines("disk"), lines("engines"), lines("lag")), (2, 2, 1, 1), "{}", ran.out);
        assert!(ran.out.contains("OK    schema         of the events: version"), "{}", ran.out);
        assert!(ran.out.contains("\"users\" is 3 events behind"), "{}", ran.out);
    });
}

// The service's own command reads the events of one database and applies them to the other.
#[test]
fn rows_are_verified_and_explained() {
    both_ways(|apart| {
        apart.fill();
        let name = apart.events.name();
        let own = |args: &[&str]| service(&apart.models, true, &[&["--events-url", name.as_str()], args].concat());
        let clean = own(&["verify", "users", "--instance", "a"]).ok();
        assert!(clean.contains("no row differs; looked at 1 instance with 2 rows, from 2 events"), "{clean}");
        execute(&apart.models, "UPDATE users_1 SET event = 'edited' WHERE id = 'u2' AND instance_id = 'a'");
        assert_eq!(own(&["verify", "users", "--instance", "a"]).code, 3);
        let told = own(&["explain", "users", "a", "u1", "1"]).ok();
        assert!(told.contains("user.added of user u1"), "{told}");
    });
}

#[test]
fn what_acts_on_one_database_says_so() {
    both_ways(|apart| {
        for args in [
            &["remove-instance", "a", "--dry-run"][..],
            &["redact", "--instance", "a", "--position", "1", "--dry-run"],
            &["archive", "--before", "1d", "--dry-run"],
            &["reopen-instance", "a", "--why", "w"],
            &["operations"],
            &["setup"],
            &["bench"],
        ] {
            let error = apart.run(args).failed();
            assert!(error.contains(&format!("{} works on one database", args[0])), "{error}");
        }
        // The environment may name the other database, and an empty value means none.
        let run = |events: &str| {
            let mut command = crate::command();
            command.env("READSIDE_EVENTS_URL", events).args(["-d", &apart.models.name(), "operations"]);
            crate::ran(&mut command, "")
        };
        assert_eq!((run(&apart.events.name()).code, run("").code, run(&apart.models.name()).code), (1, 0, 0));
    });
}
