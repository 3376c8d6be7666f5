//! A service with processes of two builds goes through each step of `docs/deploying.md`, from the first version to
//! the removal.

use std::time::Duration;

use readside::admin::{Admin, AdminCommand};
use readside::builds::{Build, Phase};
use readside::error::RetentionError;
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::{Engine, EngineConfig, EngineStore, EventStore, PostgresStore, SqliteOptions, SqliteStore};

use crate::common::child::{Child, until_told};
use crate::{Counted, LONG, Place, by, count, counts, eventually, handler, seen};

/// Version 2 also counts the events of a thing, in a column that comes last.
fn with_times() -> Projection {
    let counts = Table::new("counts").column(text("thing")).column(integer("n")).column(text("last").nullable());
    Projection::new("counts", 2).table(counts.column(integer("times")).primary_key(["thing"])).on(|e, p: Counted| {
        let row = [set("thing", e.aggregate_id()), increment("n", p.by), set("last", e.event_type())];
        upsert(["thing"], row.into_iter().chain([increment("times", 1)]))
    })
}

/// A second read model of the service.
fn others() -> Projection {
    Projection::new("others", 1)
        .table(Table::new("others").column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(|e, p: Counted| upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", p.by)]))
}

fn run<S: EngineStore>(store: S) {
    let build = std::env::var("READSIDE_TEST_BUILD").unwrap();
    let (requeue_every, lease) = (Duration::from_millis(20), Duration::from_millis(500));
    let config =
        EngineConfig::default().name(format!("build {build}")).requeue_every(requeue_every).lease(lease).workers(2);
    let builder = Engine::builder(store).projection(others()).config(config);
    let builder = match build.as_str() {
        "1" => builder.projection_with(counts(1), handler()),
        "2" => builder.projection_with(with_times(), handler()),
        _ => builder,
    };
    let engine = builder.start().unwrap();
    until_told();
    engine.shutdown(LONG).unwrap();
}

/// The process that the test below starts.
#[test]
#[ignore = "run as a process of its own by the test that follows"]
fn process() {
    let place = std::env::var("READSIDE_TEST_PLACE").unwrap();
    #[cfg(feature = "postgres")]
    if place.starts_with("postgres") {
        return run(PostgresStore::connect(&place).unwrap());
    }
    run(SqliteStore::open_with(&place, SqliteOptions::default().busy_timeout(LONG)).unwrap());
}

/// A service whose builds are deployed.
struct Service<'p, P: Place> {
    place: &'p P,
    store: P::Store,
    remote: Admin<'static>,
    pushed: i64,
}

impl<P: Place> Service<'_, P> {
    /// Starts a process of a build, and waits until the process says that it is alive.
    fn deploy(&self, build: &str) -> Child {
        let alive = || self.remote.members().unwrap().into_iter().map(|member| member.process);
        let before: Vec<_> = alive().collect();
        let env = [("READSIDE_TEST_PLACE", &*self.place.address()), ("READSIDE_TEST_BUILD", build)];
        let child = Child::start("deploying::process", &env, |_| {});
        eventually("the process", || alive().any(|process| !before.contains(&process)));
        child
    }

    /// A process without an engine pushes. Every reader sees the push, and nothing before it is missing or doubled.
    fn works(&mut self, what: &str) {
        self.store.push(&[count("a", "x", 1), count("b", "x", 1)]).unwrap();
        self.pushed += 1;
        let wanted = [format!("a/x={}", self.pushed), format!("b/x={}", self.pushed)];
        eventually(what, || seen(self.place) == wanted);
        let others = "SELECT DISTINCT n FROM others";
        eventually(what, || self.place.query(others) == [self.pushed.to_string()]);
    }

    fn live(&self) -> Option<u32> {
        let builds = self.store.builds().builds().unwrap();
        let is_live = |build: &&Build| build.key.projection() == "counts" && build.phase == Phase::Live;
        builds.iter().find(is_live).map(|build| build.key.version)
    }

    fn becomes_live(&self, version: u32) {
        eventually("the switch", || self.live() == Some(version));
        // The next command must find no command still running.
        eventually("the end of the switch", || {
            self.remote.commands(Some("counts"), 100).unwrap().iter().all(|asked| asked.state.is_over())
        });
    }
}

// Contract: B1, F6, K5, O1, L2
both!(a_service_is_deployed_from_its_first_version_to_the_removal);
pub(crate) fn a_service_is_deployed_from_its_first_version_to_the_removal<P: Place>(place: &P) {
    let store = place.open();
    ProjectionStore::setup(&store, &[]).unwrap();
    let mut service = Service { place, remote: Admin::new(store.clone()), store, pushed: 0 };

    let (first, second) = (service.deploy("1"), service.deploy("1"));
    service.becomes_live(1);
    service.works("both of the first version");
    place.sql("CREATE VIEW report AS SELECT thing, n FROM counts");

    // The version is raised, process by process. Readers see the old version until the new one has caught up, then
    // the new one.
    let third = service.deploy("2");
    service.becomes_live(2);
    service.works("two versions in one fleet");
    let of_version_1 = || place.query("SELECT DISTINCT n FROM counts_1") == [service.pushed.to_string()];
    eventually("the old version is kept current while it runs", of_version_1);
    assert_eq!(
        place.query("SELECT DISTINCT times FROM counts"),
        [service.pushed.to_string()],
        "the column that was added"
    );
    assert_eq!(place.query("SELECT count(*) FROM report"), ["2"], "a view of one's own goes along");
    assert!(first.end() && second.end());
    let fourth = service.deploy("2");
    service.works("all of the second version");

    // The work of a killed process goes on when its lease has ended.
    third.kill();
    service.works("one was killed");

    // The code is rolled back, and readers see what was pushed meanwhile. PostgreSQL does not let a view lose columns
    // that another view uses.
    place.sql("DROP VIEW report");
    assert!(fourth.end());
    let fifth = service.deploy("1");
    service.works("rolled back");
    service.becomes_live(1);
    let sixth = service.deploy("2");
    assert!(fifth.end());
    service.becomes_live(2);
    service.works("and forward again");
    let _ = service
        .remote
        .ask("counts", AdminCommand::DropOld, &by())
        .and_then(|id| service.remote.answer(id, LONG))
        .unwrap();
    assert!(place.refusal("SELECT * FROM counts_1").contains("counts_1"), "nothing of it is left");

    // The projection is removed from the code, then from the database.
    match place.remove("counts", false) {
        Err(RetentionError::ProjectionRuns { engines, .. }) => assert_eq!(engines, ["build 2"]),
        other => panic!("{other:?}"),
    }
    let seventh = service.deploy("3");
    place.sql("CREATE VIEW report AS SELECT thing, n FROM counts");
    assert!(sixth.end());
    match place.remove("counts", false) {
        Err(RetentionError::Dependents { dependents, .. }) => {
            assert!(dependents[0].contains("report"), "{dependents:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(seen(place).len(), 2, "nothing has changed");
    place.sql("DROP VIEW report");
    let dry = place.remove("counts", true).unwrap();
    assert_eq!((dry.dry_run, service.live()), (true, Some(2)));
    let removed = place.remove("counts", false).unwrap();
    assert_eq!((removed.dry_run, &removed.tables), (false, &dry.tables));
    let rows = |table: &str| removed.tables.iter().find(|one| one.table.ends_with(table)).map(|one| one.rows);
    assert_eq!((rows("counts_2"), rows("projection_states")), (Some(2), Some(2)), "{removed:?}");
    for left in ["counts", "counts_1", "counts_2", "counts_log"] {
        assert!(place.refusal(&format!("SELECT * FROM {left}")).contains(left));
    }
    for table in ["projections", "projection_states", "projection_tables", "held_events"] {
        let column = if table == "projections" { "name" } else { "projection" };
        let found =
            place.query(&format!("SELECT DISTINCT {column} FROM readside.{table} WHERE {column} LIKE 'counts%'"));
        assert!(found.is_empty(), "{table}: {found:?}");
    }
    assert!(matches!(place.remove("counts", false), Err(RetentionError::UnknownProjection { .. })));
    assert_eq!(place.query("SELECT kind || ' ' || who FROM readside.operations"), ["remove-projection ada"]);
    // The remaining projection goes on, and a projection that comes back is built again from the log.
    service.store.push(&[count("a", "x", 1), count("b", "x", 1)]).unwrap();
    service.pushed += 1;
    let eighth = service.deploy("1");
    service.works("declared again");
    assert!(seventh.end() && eighth.end());
}
