//! Read tables that a person drops or renames although their checkpoints remain.

use readside::error::{SetupError, chain};
use readside::failure::{FailureClass, FailureQuery};
use readside::health::Verdict;
use readside::inspect::{Inspect, Severity};
use readside::prelude::*;
use readside::store::{ProjectionStore, ProjectionTransaction, StandstillKind};
use readside::{Engine, EventStore, HandlerConfig, NewEvent, ProjectionHandler, admin};

use crate::versions::{live, start_doubled};
use crate::{Counted, LONG, Place, count, counts, eager, eventually, fill, lawful, seen, start, tenant};

fn is_there<P: Place>(place: &P, name: &str) -> bool {
    let catalog =
        if place.address().starts_with("postgres") { "pg_class WHERE relname" } else { "sqlite_master WHERE name" };
    place.query(&format!("SELECT count(*) FROM {catalog} = '{name}'")) != ["0"]
}

/// Set-up and checks name the table and the remedy. Nothing is created.
fn refused<P: Place>(place: &P, gone: &str) {
    let store = place.open();
    for outcome in [ProjectionStore::setup(&store, &[&counts(1)]), ProjectionStore::verify(&store, &[&counts(1)])] {
        match outcome {
            Err(error @ SetupError::TableGone { .. }) => {
                let text = chain(&error);
                for word in ["\"counts\"", gone, "rename it back", "raise the version"] {
                    assert!(text.contains(word), "{word}: {text}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!is_there(place, gone), "nothing is made");
}

fn filled<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 20);
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    engine.shutdown(LONG).unwrap();
}

// Contract: L2: a checkpoint is never above rows that do not exist.
both!(a_dropped_table_is_not_made_anew_beneath_its_checkpoint);
pub(crate) fn a_dropped_table_is_not_made_anew_beneath_its_checkpoint<P: Place>(place: &P) {
    filled(place);
    place.sql("DROP VIEW counts_log; DROP TABLE counts_log_1");
    refused(place, "counts_log_1");
    place.sql("DROP VIEW counts; DROP TABLE counts_1");
    refused(place, "counts_1");
    // This is the remedy that the error names.
    let engine = start_doubled(place.open(), eager());
    eventually("the switch", || live(place) == 2);
    fill(&engine, 1, 1);
    assert_eq!(place.query("SELECT sum(times) FROM counts"), ["41"]);
}

// Contract: L2
both!(a_renamed_table_is_missed_until_it_is_back);
pub(crate) fn a_renamed_table_is_missed_until_it_is_back<P: Place>(place: &P) {
    filled(place);
    let before = seen(place);
    place.sql("ALTER TABLE counts_1 RENAME TO counts_old");
    refused(place, "counts_1");
    place.sql("ALTER TABLE counts_old RENAME TO counts_1");
    assert_eq!(seen(place), before);
    let engine = start(place.open(), eager());
    fill(&engine, 1, 1);
    lawful(place);
}

// Contract: L2: if nothing was applied yet, nothing is lost.
both!(a_table_that_was_never_filled_is_made_again);
pub(crate) fn a_table_that_was_never_filled_is_made_again<P: Place>(place: &P) {
    ProjectionStore::setup(&place.open(), &[&counts(1)]).unwrap();
    place.sql("DROP VIEW counts_log; DROP TABLE counts_log_1");
    let engine = start(place.open(), eager());
    fill(&engine, 1, 3);
    lawful(place);
}

/// What the doctor says about read tables and views.
fn told<P: Place>(place: &P) -> String {
    let findings = admin::Doctor::default().examine(&place.open());
    findings.into_iter().filter(|finding| finding.check == "tables").map(|finding| finding.found).collect()
}

// Contract: L11: the doctor finds out if readers find nothing, or something else.
both!(a_view_that_is_gone_is_found);
pub(crate) fn a_view_that_is_gone_is_found<P: Place>(place: &P) {
    filled(place);
    let before = seen(place);
    assert_eq!(told(place), "");
    place.sql("DROP VIEW counts");
    assert!(told(place).contains("view \"counts\" of projection \"counts\" is gone"), "{}", told(place));
    place.sql("CREATE TABLE other (instance_id TEXT, thing TEXT, n INTEGER)");
    place.sql("CREATE VIEW counts AS SELECT * FROM other");
    assert!(told(place).contains("view \"counts\" of projection \"counts\" does not read table"), "{}", told(place));
    place.sql("DROP VIEW counts");
    start(place.open(), eager()).shutdown(LONG).unwrap();
    assert_eq!((told(place), seen(place)), (String::new(), before));
    place.sql("DROP VIEW counts_log");
    place.sql("DROP TABLE counts_log_1");
    assert!(told(place).contains("table \"counts_log_1\" of projection \"counts\" is gone"), "{}", told(place));
}

// Contract: L2: otherwise readers would see old rows for ever.
both!(a_view_on_another_table_is_refused);
pub(crate) fn a_view_on_another_table_is_refused<P: Place>(place: &P) {
    filled(place);
    place.sql(
        "ALTER TABLE counts_log_1 RENAME TO counts_old; \
         CREATE TABLE counts_kept AS SELECT * FROM counts_old",
    );
    place.sql("DROP VIEW counts_log; CREATE VIEW counts_log AS SELECT * FROM counts_kept");
    place.sql("ALTER TABLE counts_old RENAME TO counts_log_1");
    let store = place.open();
    for outcome in [ProjectionStore::setup(&store, &[&counts(1)]), ProjectionStore::verify(&store, &[&counts(1)])] {
        match outcome {
            Err(error @ SetupError::ViewElsewhere { .. }) => {
                let text = chain(&error);
                for word in ["\"counts\"", "\"counts_log\"", "\"counts_log_1\"", "DROP VIEW"] {
                    assert!(text.contains(word), "{word}: {text}");
                }
            }
            other => panic!("{other:?}"),
        }
    }
    // This is the remedy that the error names.
    place.sql("DROP VIEW counts_log");
    ProjectionStore::setup(&store, &[&counts(1)]).unwrap();
    place.sql("DELETE FROM counts_kept");
    assert_eq!(place.query("SELECT count(*) FROM counts_log"), ["40"]);
}

// Contract: L11: if a table is gone, no event is to blame.
both!(a_table_that_vanishes_is_a_standstill);
pub(crate) fn a_table_that_vanishes_is_a_standstill<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    fill(&engine, 2, 3);
    eventually("the first run", || engine.health().unwrap().projections[0].succeeded);
    place.sql("ALTER TABLE counts_log_1 RENAME TO counts_old");
    engine.push(&[count(&tenant(0), "x", 1), count(&tenant(1), "x", 1)]).unwrap();
    let found = || engine.health().unwrap().projections.remove(0);
    eventually("a standstill or a failure", || {
        found().verdict == Verdict::Stuck || place.query("SELECT count(*) FROM readside.held_events") != ["0"]
    });
    assert_eq!(place.query("SELECT count(*) FROM readside.held_events"), ["0"]);
    assert_eq!(found().standstills[0].kind, StandstillKind::Missing);
    let reason = found().reason.unwrap();
    for word in ["counts_log_1", "rename it back", "raise the version"] {
        assert!(reason.contains(word), "{word}: {reason}");
    }
    assert!(!reason.contains("setup()"), "{reason}");
    eventually("the note", || {
        let status = place.open().status(false).unwrap();
        status.projections[0].standstills.iter().any(|one| one.kind == StandstillKind::Missing)
    });
    let findings = admin::Doctor::default().examine(&place.open());
    let finding = findings.iter().find(|finding| finding.check == "standstills").unwrap();
    assert!(finding.verdict == Severity::Fail && finding.remedy.as_ref().unwrap().contains("put back"), "{finding:?}");
    refused(place, "counts_log_1");
    place.sql("ALTER TABLE counts_old RENAME TO counts_log_1");
    for n in 0..2 {
        engine.await_position("counts", &tenant(n), 4, LONG).unwrap();
    }
    eventually("the end", || found().standstills.is_empty() && found().verdict == Verdict::Idle);
    assert_eq!(place.query("SELECT count(*) FROM readside.held_events"), ["0"]);
    lawful(place);
}

// Contract: I2: a table that was never set up is not called lost.
both!(what_was_never_set_up_is_told_so);
pub(crate) fn what_was_never_set_up_is_told_so<P: Place>(place: &P) {
    let store = place.open();
    ProjectionStore::setup(&store, &[]).unwrap();
    store.push(&[count(&tenant(0), "x", 1)]).unwrap();
    let told = |projection: Projection, lost: bool| {
        let store = std::sync::Arc::new(place.open());
        let handler = ProjectionHandler::new(store.clone(), store, projection, HandlerConfig::default()).unwrap();
        let text = chain(&handler.trigger(&[&tenant(0)]).unwrap_err());
        assert!(text.contains("run setup()") != lost, "{text}");
        assert_eq!(text.contains("rename it back"), lost, "{text}");
    };
    told(counts(1), false);
    told(counts(1).schema("app"), false);
    ProjectionStore::setup(&store, &[&counts(1)]).unwrap();
    place.sql("ALTER TABLE counts_log_1 RENAME TO counts_old");
    told(counts(1), true);
}

/// A table with one row, and custom SQL.
fn by_hand(words: &'static str) -> Projection {
    let table = Table::new("notes").column(text("thing")).column(text("word")).primary_key(["thing"]);
    Projection::new("notes", 1).table(table).sql("words", words).on(|_, _: Counted| {
        multi([upsert(["thing"], [set("thing", "x"), set("word", "y")]), exec::<Value>("words", [])])
    })
}

fn fault<P: Place>(place: &P, words: &'static str) -> bool {
    let projection = by_hand(words);
    let own = upsert(["thing"], [set("thing", "x"), set("word", "y")]);
    let statement = multi([own, exec::<Value>("words", [])]).unwrap();
    let apply = &mut |tx: &mut dyn ProjectionTransaction| tx.apply_one(&projection, "a", &statement);
    place.open().transaction(apply).unwrap_err().is_statements_fault()
}

// Contract: L11: an event is to blame only for a table that its own statement names.
both!(whose_fault_a_missing_table_is);
pub(crate) fn whose_fault_a_missing_table_is<P: Place>(place: &P) {
    let (never, own) = ("INSERT INTO never (a) SELECT $1", "UPDATE {notes} SET word = 'a' WHERE instance_id = $1");
    ProjectionStore::setup(&place.open(), &[&by_hand(never)]).unwrap();
    assert!(fault(place, never), "its SQL names a table that never was");
    place.sql("ALTER TABLE notes_1 RENAME TO notes_old");
    assert!(!fault(place, never), "the table of its projection is gone");
    place.sql("ALTER TABLE notes_old RENAME TO notes_1; ALTER TABLE notes_1 RENAME COLUMN word TO old");
    assert!(!fault(place, own), "a column of its projection is gone");
    let alone = exec::<Value>("words", []).unwrap();
    let apply = &mut |tx: &mut dyn ProjectionTransaction| tx.apply_one(&by_hand(own), "a", &alone);
    assert!(!place.open().transaction(apply).unwrap_err().is_statements_fault(), "so it is where SQL names it");
}

fn emails() -> Projection {
    let table = Table::new("emails").column(text("id")).column(text("email")).column(integer("n").nullable());
    Projection::new("emails", 1).table(table.primary_key(["id"]).unique(["email"])).on(|e, p: Counted| match p.by {
        13 => create([set("id", e.aggregate_id()), set("email", "taken"), set("n", p.by)]),
        by => upsert(["email"], [set("id", e.aggregate_id()), set("email", e.aggregate_id()), set("n", by)]),
    })
}

/// Alters a table beneath an engine, and undoes that. Meanwhile the instance stands still, and no event is blamed.
fn altered<P: Place>(place: &P, engine: &Engine, at: i64, (change, back): (&str, &str), word: &str) {
    place.sql(change);
    let thing = format!("x{at}");
    engine.push(&[count("a", &thing, 1)]).unwrap();
    let found = || engine.health().unwrap().projections.remove(0);
    let held = || engine.admin().failed_events("emails", &FailureQuery::all()).unwrap();
    let in_the_way = || found().standstills.into_iter().find(|one| one.kind != StandstillKind::FirstRun);
    eventually("a standstill or a failure", || in_the_way().is_some() || !held().is_empty());
    assert!(held().is_empty(), "{change}: {:?}", held());
    let stands = in_the_way().unwrap();
    assert_eq!(stands.kind, StandstillKind::Missing, "{change}: {stands}");
    for word in [word, "emails_1", "undo that change", "readside rebuild"] {
        assert!(stands.reason.contains(word), "{word}: {}", stands.reason);
    }
    eventually("the note", || {
        let status = place.open().status(false).unwrap();
        status.projections[0].standstills.iter().any(|one| one.reason.contains(word))
    });
    let findings = admin::Doctor::default().examine(&place.open());
    let finding = findings.iter().find(|finding| finding.check == "standstills").unwrap();
    assert!(finding.remedy.as_ref().unwrap().contains("put back"), "{finding:?}");
    place.sql(back);
    engine.await_position("emails", "a", at, LONG).unwrap();
    eventually("the end", || found().standstills.is_empty());
}

// Contract: L11, I2: if a person altered a table, no event is to blame.
both!(an_altered_table_is_a_standstill);
pub(crate) fn an_altered_table_is_a_standstill<P: Place>(place: &P) {
    let config = HandlerConfig::default().max_failure_count(1);
    let builder = Engine::builder(place.open()).projection_with(emails(), config).config(eager());
    let engine = builder.start().unwrap();
    engine.await_pushed("emails", &engine.push(&[count("a", "taken", 1)]).unwrap(), LONG).unwrap();
    let copy = "ALTER TABLE emails_1 RENAME TO emails_old; CREATE TABLE emails_1 AS SELECT * FROM emails_old";
    let mut changes = vec![(copy, "DROP TABLE emails_1; ALTER TABLE emails_old RENAME TO emails_1", "emails_1")];
    if place.address().starts_with("postgres") {
        changes = vec![
            (
                "DROP VIEW emails; ALTER TABLE emails_1 ALTER COLUMN n TYPE boolean USING n > 0",
                "ALTER TABLE emails_1 ALTER COLUMN n TYPE bigint USING n::int",
                "column \"n\" is boolean, not bigint",
            ),
            (
                "ALTER TABLE emails_1 DROP CONSTRAINT emails_1_instance_id_email_key",
                "ALTER TABLE emails_1 ADD UNIQUE (instance_id, email)",
                "unique constraint over \"instance_id\" and [\"email\"]",
            ),
            (
                "ALTER TABLE emails_1 ADD COLUMN own text NOT NULL DEFAULT ''; \
                 ALTER TABLE emails_1 ALTER COLUMN own DROP DEFAULT",
                "ALTER TABLE emails_1 ALTER COLUMN own DROP NOT NULL",
                "column \"own\"",
            ),
            (
                "ALTER TABLE emails_1 ALTER COLUMN n SET NOT NULL; ALTER TABLE emails_1 ALTER COLUMN n ADD GENERATED ALWAYS AS IDENTITY",
                "ALTER TABLE emails_1 ALTER COLUMN n DROP IDENTITY; ALTER TABLE emails_1 ALTER COLUMN n DROP NOT NULL",
                "alone gives column \"n\" its values",
            ),
            (
                "ALTER TABLE emails_1 RENAME COLUMN n TO kept; \
                 ALTER TABLE emails_1 ADD COLUMN n bigint GENERATED ALWAYS AS (1) STORED",
                "ALTER TABLE emails_1 DROP COLUMN n; ALTER TABLE emails_1 RENAME COLUMN kept TO n",
                "alone gives column \"n\" its values",
            ),
        ];
    } else {
        changes.push((
            "ALTER TABLE emails_1 RENAME COLUMN n TO kept; ALTER TABLE emails_1 ADD COLUMN n INTEGER AS (1) VIRTUAL",
            "ALTER TABLE emails_1 DROP COLUMN n; ALTER TABLE emails_1 RENAME COLUMN kept TO n",
            "alone gives column \"n\" its values",
        ));
    }
    if place.address().starts_with("postgres") {
        // No statement has to give a value for a column that the database fills in.
        place.sql("ALTER TABLE emails_1 ADD COLUMN own_number bigint GENERATED BY DEFAULT AS IDENTITY");
    }
    for (at, (change, back, word)) in changes.iter().enumerate() {
        altered(place, &engine, i64::try_from(at).unwrap() + 2, (change, back), word);
    }
    // If nothing is wrong with the table, the event is to blame for a refused row.
    engine.push(&[count("a", "bad", 13)]).unwrap();
    eventually("a failure", || engine.admin().failed_events("emails", &FailureQuery::all()).unwrap().len() == 1);
    engine.shutdown(LONG).unwrap();
}

// Contract: L11, H2: a person may put an altered table back while the engine looks why a statement was refused. The engine
// holds the table and runs the statement again. If it succeeds then, the event was not at fault.
#[cfg(feature = "postgres")]
#[test]
fn what_a_table_refuses_no_more_is_no_events_fault() {
    let place = crate::common::postgres::database();
    let config = HandlerConfig::default().max_failure_count(1);
    let engine = Engine::builder(place.open()).projection_with(emails(), config).config(eager()).start().unwrap();
    engine.await_pushed("emails", &engine.push(&[count("a", "x", 1)]).unwrap(), LONG).unwrap();
    // Refuses what comes together, and the event alone, and is as it should be then. A sequence counts what is rolled back.
    place.sql(
        "CREATE SEQUENCE refusals; CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF nextval(''refusals'') <= 2 THEN RAISE ''altered'' USING ERRCODE = ''23514''; END IF; RETURN NEW; END'; \
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON emails_1 FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    engine.await_pushed("emails", &engine.push(&[count("a", "y", 1)]).unwrap(), LONG).unwrap();
    assert_eq!(place.query("SELECT last_value >= 3 FROM refusals"), ["t"], "it was refused alone, too");
    assert_eq!(engine.admin().failed_events("emails", &FailureQuery::all()).unwrap(), []);
    engine.shutdown(LONG).unwrap();
}

// Contract: H2: a projection that writes only to tables of the service has no table that could be to blame.
both!(a_projection_without_tables_parks_what_is_refused);
pub(crate) fn a_projection_without_tables_parks_what_is_refused<P: Place>(place: &P) {
    place.sql("CREATE TABLE service_words (tenant TEXT, word TEXT CHECK (word <> 'bad'))");
    let words = Projection::new("words", 1)
        .sql("write", "INSERT INTO service_words (tenant, word) VALUES ($1, $2)")
        .on_raw("word", "word.said", |e| exec("write", [e.aggregate_id()]));
    let config = HandlerConfig::default().max_failure_count(1);
    let engine = Engine::builder(place.open()).projection_with(words, config).config(eager()).start().unwrap();
    let said = |word| NewEvent::raw("a", "word", word, "word.said");
    let pushed = engine.push(&[said("bad"), said("good")]).unwrap();
    engine.await_pushed("words", &pushed[1..], LONG).unwrap();
    let failed = engine.admin().failed_events("words", &FailureQuery::all()).unwrap();
    let attempts: Vec<_> = failed.iter().map(|one| (one.attempt.position, one.attempt.class)).collect();
    assert_eq!(attempts, [(1, FailureClass::Constraint)], "{failed:?}");
    assert_eq!(place.query("SELECT word FROM service_words"), ["good"]);
    engine.shutdown(LONG).unwrap();
}

// Contract: I2
both!(a_unique_constraint_that_is_gone_is_reported);
pub(crate) fn a_unique_constraint_that_is_gone_is_reported<P: Place>(place: &P) {
    let store = place.open();
    ProjectionStore::setup(&store, &[&emails()]).unwrap();
    if place.address().starts_with("postgres") {
        place.sql("ALTER TABLE emails_1 DROP CONSTRAINT emails_1_instance_id_email_key");
    } else {
        place.sql(
            "DROP VIEW emails; DROP TABLE emails_1; \
             CREATE TABLE emails_1 (instance_id TEXT NOT NULL, id TEXT NOT NULL, email TEXT NOT NULL, n INTEGER, \
             PRIMARY KEY (instance_id, id)) STRICT",
        );
    }
    match ProjectionStore::setup(&store, &[&emails()]) {
        Err(SetupError::TableDiffers { difference, .. }) => assert!(difference.contains("unique constraint")),
        other => panic!("{other:?}"),
    }
    if !place.address().starts_with("postgres") {
        for other in ["email, instance_id, lower(email)", "email COLLATE NOCASE, instance_id"] {
            place.sql(&format!("CREATE UNIQUE INDEX mine ON emails_1 ({other})"));
            let outcome = ProjectionStore::setup(&store, &[&emails()]);
            assert!(matches!(outcome, Err(SetupError::TableDiffers { .. })), "{other}: {outcome:?}");
            place.sql("DROP INDEX mine");
        }
    }
    place.sql("CREATE UNIQUE INDEX mine ON emails_1 (email, instance_id)");
    ProjectionStore::setup(&store, &[&emails()]).unwrap();
}
