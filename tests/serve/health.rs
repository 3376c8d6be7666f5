//! The one-word answer for probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use readside::error::{StoreError, StoreErrorKind};
use readside::inspect::Inspect;
use readside::store::{Note, ProjectionKey, ProjectionStore, StandstillKind, StandstillSubject};
use readside::testing::{Call, FaultyStore};
use readside::{Engine, SqliteStore};

use crate::common::eventually;
use crate::{Place, count, counts, serve, start};

// Contract: S5: a projection that fails or is behind is healthy, and one that is stuck is not.
both!(only_what_is_stuck_is_not_healthy);
fn only_what_is_stuck_is_not_healthy<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    engine.push(&[count("a", "x"), count("a", "bad")]).unwrap();
    eventually("a failure", || client.get("/health").json()["verdict"] == "failing");
    assert_eq!(client.get("/health").status, 200);
    eventually("ready", || client.get("/ready").status == 200);
    engine.shutdown(crate::common::LONG).unwrap();
    eventually("the end of the engine", || client.get("/health").status == 503);
    let other = Engine::builder(place.open()).projection(counts("counts", 1)).start().unwrap();
    let (_server, client) = serve(&other);
    eventually("the other engine", || client.get("/health").status == 200);
    let projection = ProjectionKey { name: "counts".into(), version: 1 };
    let note = Note {
        projection,
        subject: StandstillSubject::Instance("a".into()),
        kind: StandstillKind::Denied,
        reason: "no rights on \"counts\"".into(),
        age: std::time::Duration::ZERO,
    };
    let members = || place.open().status(false).unwrap().members;
    eventually("the other engine", || members().iter().any(|member| member.alive));
    let process = members().into_iter().find(|member| member.alive).unwrap().process;
    place.open().standstills().note(process, &[note], &[]).unwrap();
    eventually("the standstill", || client.get("/health").status == 503);
    let found = client.get("/health").json();
    assert_eq!((&found["healthy"], &found["verdict"]), (&false.into(), &"stuck".into()));
    let reason = &found["reasons"][0]["reason"];
    assert!(reason.as_str().unwrap().contains("no rights"), "{found}");
}

// Contract: S5, S3
#[test]
fn a_database_that_does_not_answer_is_told_and_the_last_picture_stays() {
    let is_gone = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&is_gone);
    let store = FaultyStore::failing(SqliteStore::in_memory().unwrap(), move |call: &Call| {
        let is_look = call.name.starts_with("Inspect::") || call.name.starts_with("CommandStore::commands");
        if is_look && gone.load(Ordering::SeqCst) {
            return Err(StoreError::new("looking", StoreErrorKind::Connection, "the cable is <out>"));
        }
        Ok(())
    });
    let engine = start(store, [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    let pushed = engine.push(&[count("a", "x"), count("a", "y")]).unwrap();
    engine.await_pushed("counts", &pushed, crate::common::LONG).unwrap();
    eventually("the picture", || client.get("/index.json").page()["projections"][0]["handled"] == 2);
    is_gone.store(true, Ordering::SeqCst);
    eventually("the loss", || client.get("/health").status == 503);
    let (health, ready) = (client.get("/health").json(), client.get("/ready"));
    assert!(health["reasons"][0]["reason"].as_str().unwrap().contains("the cable is <out>"), "{health}");
    assert_eq!(ready.status, 503);
    let twin = client.get("/index.json");
    assert!(twin.json()["database_error"].as_str().unwrap().contains("cable"), "{twin:?}");
    assert_eq!(twin.page()["projections"][0]["handled"], 2, "the last picture");
    let page = client.get("/").body;
    assert!(page.contains("The database has not answered for") && page.contains("&lt;out&gt;"), "{page}");
    assert!(page.contains(">counts</a>"));
    for path in ["/failures", "/activity", "/lineage", "/instances"] {
        let lost = client.get(path);
        assert!(lost.status == 503 && lost.body.contains("The database has not answered"), "{path}: {lost:?}");
        assert_eq!(client.get(&format!("{path}.json")).status, 503, "{path}");
    }
    let metrics = client.get("/metrics").body;
    assert!(metrics.contains("readside_database_up 0\n") && !metrics.contains("readside_lag_"), "{metrics}");
    assert!(metrics.contains("readside_batches_total{"), "what the process knows itself stays");
    is_gone.store(false, Ordering::SeqCst);
    eventually("the database is back", || client.get("/health").status == 200);
    assert!(client.get("/metrics").body.contains("readside_lag_events{projection=\"counts\"} 0\n"));
}
