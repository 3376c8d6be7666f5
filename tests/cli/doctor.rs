//! The command `doctor`.

use readside::HandlerConfig;
use readside::postgres_driver::{Client, NoTls};
use serde_json::{Value, json};

use crate::service::users;
use crate::{Place, Ran, fresh, on_both};

fn verdict(ran: &Ran, check: &str) -> String {
    let report: Value = serde_json::from_str(&ran.out).expect(&ran.err);
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check}"));
    finding["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn a_healthy_database_passes() {
    on_both(|place| {
        let ran = place.run_directly(&["doctor", "--json"]);
        assert_eq!(ran.code, 0);
        for check in ["schema", "engines", "leases", "lag", "failures", "standstills", "history", "space"] {
            assert_eq!(verdict(&ran, check), "ok", "{check}: {}", ran.out);
        }
        let text = place.run(&["doctor"]).ok();
        assert!(text.lines().any(|line| line.starts_with("OK    schema")), "{text}");
        // The free space depends on the machine.
        let disk = text.lines().find(|line| line.get(6..).is_some_and(|line| line.starts_with("disk"))).unwrap();
        match place {
            Place::Sqlite(_) => assert!(disk.contains(" left (") && disk.contains("the database takes"), "{disk}"),
            Place::Postgres(_) => {
                assert!(disk.starts_with("OK") && disk.contains("watch that on the server"), "{disk}");
            }
        }
        if matches!(place, Place::Postgres(_)) {
            for check in ["server", "tls", "privileges", "pooler", "notifications", "transactions"] {
                assert_eq!(verdict(&ran, check), "ok", "{check}: {}", ran.out);
            }
        }
    });
}

#[test]
fn what_is_wrong_is_found_with_a_remedy() {
    let [_, fresh] = fresh();
    let ran = fresh.run(&["doctor", "--json"]);
    assert_eq!((ran.code, verdict(&ran, "schema").as_str()), (3, "fail"));
    on_both(|place| {
        place.with(|store| {
            store.handler(users(true), HandlerConfig::default());
            store.push(&[readside::NewEvent::raw("acme", "user", "u", "user.added")]).unwrap();
        });
        let ran = place.run(&["doctor", "--json", "--max-lag", "0s"]);
        assert_eq!(ran.code, 0, "warnings are no failures");
        assert_eq!((verdict(&ran, "engines"), verdict(&ran, "lag")), ("warn".to_owned(), "warn".to_owned()));
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(report["verdict"], "warn");
        assert!(
            report["findings"]
                .as_array()
                .unwrap()
                .iter()
                .all(|f| (f["verdict"] == "ok") == (f["remedy"] == json!(null)))
        );
        assert_eq!(place.run(&["doctor", "--strict"]).code, 3);
        let text = place.run(&["doctor"]).ok();
        assert!(text.contains("no engine runs \"users\"") && text.contains("-> start the service"), "{text}");
    });
}

/// A role of the server that may log in. It is dropped with this value.
struct Role<'p> {
    place: &'p Place,
    name: String,
}

impl<'p> Role<'p> {
    fn new(place: &'p Place, name: &str) -> Self {
        let role = Self { place, name: format!("readside_{name}_{}", std::process::id()) };
        role.owner(&format!("CREATE ROLE {} LOGIN", role.name));
        role
    }

    /// Runs SQL as the owner of the database.
    fn owner(&self, sql: &str) {
        Client::connect(&self.place.direct(), NoTls).unwrap().batch_execute(sql).unwrap();
    }

    /// Runs the command as this role.
    fn run(&self, args: &[&str]) -> Ran {
        let name = self.place.direct();
        let (_, rest) = name.split_once('@').unwrap();
        crate::run(&[&["-d", &format!("postgres://{}@{rest}", self.name)], args].concat())
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        self.owner(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name));
    }
}

#[test]
fn a_role_without_rights_is_told_which_it_lacks() {
    let [_, place] = fresh();
    place.run(&["setup"]).ok();
    let role = Role::new(&place, "reader");
    let name = &role.name;
    role.owner(&format!(
        "GRANT USAGE ON SCHEMA readside TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA readside TO {name}"
    ));
    let ran = role.run(&["doctor", "--json"]);
    assert_eq!((ran.code, verdict(&ran, "privileges").as_str()), (3, "fail"));
    let grant = format!("GRANT INSERT ON TABLE \\\"readside\\\".\\\"events\\\" TO \\\"{name}\\\";");
    assert!(ran.out.contains(&grant), "{}", ran.out);
}

// Contract: L11: a role that may only read can see how things are. Its missing right to run engines is a finding.
#[test]
fn a_role_that_may_only_read_looks() {
    let [_, place] = fresh();
    for schema in ["readside", "other"] {
        let with = |args: &[&'static str]| [&["--schema", schema], args].concat();
        place.run(&with(&["setup"])).ok();
        let role = Role::new(&place, "looker");
        role.owner(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {0}",
            role.name
        ));
        for given in [&["status"][..], &["events"], &["instances"], &["leases"], &["commands"], &["failed", "list"]] {
            role.run(&with(given)).ok();
        }
        let ran = role.run(&with(&["doctor", "--json"]));
        assert_eq!((ran.code, verdict(&ran, "privileges").as_str()), (3, "fail"), "{}", ran.out);
        for check in ["server", "tls", "schema", "lag", "failures", "history", "space"] {
            assert_eq!(verdict(&ran, check), "ok", "{check}: {}", ran.out);
        }
        assert!(ran.out.contains(&format!("ON TABLE \\\"{schema}\\\".\\\"events\\\"")), "{}", ran.out);
    }
    let error = place.run(&["--schema", "nobodys", "status"]).failed();
    assert!(error.contains("has no tables of readside"), "{error}");
}

// Contract: L11: the tables of projections count too, and the printed statements repair it.
#[test]
fn a_role_without_rights_on_a_read_table_is_told_what_to_grant() {
    let [_, place] = fresh();
    place.run(&["setup"]).ok();
    crate::service::service(&place, true, &["setup"]).ok();
    let role = Role::new(&place, "clerk");
    let name = &role.name;
    role.owner(&format!(
        "GRANT USAGE ON SCHEMA readside TO {name}; GRANT ALL ON ALL TABLES IN SCHEMA readside, public TO {name}; \
         REVOKE INSERT, UPDATE ON users_1 FROM {name}"
    ));
    let ran = role.run(&["doctor"]);
    let grant = format!("GRANT INSERT, UPDATE ON TABLE \"public\".\"users_1\" TO \"{name}\";");
    assert_eq!(ran.code, 3, "{}", ran.out);
    assert!(ran.out.contains("INSERT, UPDATE on \"public\".\"users_1\""), "{}", ran.out);
    assert!(ran.out.lines().any(|line| line == grant), "{}", ran.out);
    role.owner(&grant);
    assert_eq!(verdict(&role.run(&["doctor", "--json"]), "privileges"), "warn", "it is not the owner");
}

// Contract: L11: what set-up prints for a role is all that looking and running need.
#[test]
fn a_role_with_the_rights_that_set_up_prints_sees_no_failure() {
    let [_, place] = fresh();
    place.run(&["setup"]).ok();
    crate::service::service(&place, true, &["setup"]).ok();
    let role = Role::new(&place, "worker");
    role.owner(&crate::service::service(&place, true, &["setup", "--grant-to", &role.name]).ok());
    let text = role.run(&["doctor"]).ok();
    assert!(!text.contains("FAIL"), "{text}");
    for given in [&["status"][..], &["operations"], &["builds", "list"], &["failed", "list"], &["instances"]] {
        role.run(given).ok();
    }
}

// Contract: I1
#[test]
fn set_up_prints_what_a_role_needs() {
    let [file, place] = fresh();
    let [sql, both] = [&["setup", "--sql"][..], &["setup", "--sql", "--grant-to", "a clerk"]];
    let script = crate::service::service(&place, true, sql).ok();
    let grants = crate::service::service(&place, true, &["setup", "--grant-to", "a clerk"]).ok();
    assert!(grants.contains("GRANT USAGE ON SCHEMA \"public\" TO \"a clerk\";"), "{grants}");
    assert!(grants.contains("GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE \"public\".\"users_1\" TO \"a clerk\";"));
    assert!(grants.contains("GRANT SELECT ON TABLE \"public\".\"users\" TO \"a clerk\";"), "{grants}");
    let all = crate::service::service(&place, true, both).ok();
    assert!(all.ends_with(&grants) && all.lines().count() == script.lines().count() + grants.lines().count(), "{all}");
    crate::service::service(&place, true, &["setup"]).ok();
    assert_eq!(crate::service::service(&place, true, both).ok(), grants, "the tables are there");
    let error = file.run(&["setup", "--grant-to", "a clerk"]).failed();
    assert!(error.contains("this database has no roles"), "{error}");
}
