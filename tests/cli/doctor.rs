//! Whether all is well.

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
        let ran = place.run(&["doctor", "--json"]);
        assert_eq!(ran.code, 0);
        for check in ["schema", "engines", "leases", "lag", "failures", "standstills", "history", "space"] {
            assert_eq!(verdict(&ran, check), "ok", "{check}: {}", ran.out);
        }
        let text = place.run(&["doctor"]).ok();
        assert!(text.lines().any(|line| line.starts_with("OK    schema")), "{text}");
        // How much room there is, is the machine's matter.
        let disk = text.lines().find(|line| line.get(6..).is_some_and(|line| line.starts_with("disk"))).unwrap();
        match place {
            Place::Sqlite(_) => assert!(disk.contains(" left (") && disk.contains("the database takes"), "{disk}"),
            Place::Postgres(_) => {
                assert!(disk.starts_with("OK") && disk.contains("watch that on the server"), "{disk}");
            }
        }
        if matches!(place, Place::Postgres(_)) {
            for check in ["server", "privileges", "pooler", "notifications", "transactions"] {
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
            store.push(&[readside::Command::raw("acme", "user", "u", "user.added")]).unwrap();
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

#[test]
fn a_role_without_rights_is_told_which_it_lacks() {
    let [_, place] = fresh();
    place.run(&["setup"]).ok();
    let role = format!("readside_reader_{}", std::process::id());
    let mut client = Client::connect(&place.name(), NoTls).unwrap();
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA readside TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA readside TO {role}")).unwrap();
    let (_, rest) = place.name().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let ran = crate::run(&["-d", &format!("postgres://{role}@{rest}"), "doctor", "--json"]);
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
    assert_eq!((ran.code, verdict(&ran, "privileges").as_str()), (3, "fail"));
    assert!(
        ran.out.contains("may not read and write all of the engine's tables: ") && ran.out.contains(" events,"),
        "{}",
        ran.out
    );
}
