//! What people ask of read models, on every backend: commands, verify, explain, rebuild, switch, back, reset.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![cfg(feature = "sqlite")]

#[path = "../common/mod.rs"]
mod common;

mod builds;
#[cfg(feature = "postgres")]
mod carried;
mod commands;
#[cfg(unix)]
mod crashes;
mod gone;
#[cfg(feature = "postgres")]
mod grants;
mod looking;
mod objects;
mod own_sql;
#[cfg(feature = "postgres")]
mod rights;
#[cfg(feature = "postgres")]
mod schemas;
mod standing;
#[cfg(feature = "postgres")]
mod switching;
mod versions;
mod wrapped;

use std::time::Duration;

use readside::admin::Remote;
use readside::*;
use serde::{Deserialize, Serialize};

/// Longer than anything takes that goes well.
pub(crate) const LONG: Duration = Duration::from_mins(1);

#[derive(Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) by: i64,
}
impl Payload for Counted {
    const AGGREGATE: &'static str = "thing";
    const TYPE: &'static str = "thing.counted";
}

/// Counts by thing, and writes each event down in a second table that refers to the first; 13 cannot be reduced.
pub(crate) fn counts(version: u32) -> Projection {
    let counts = Table::new("counts").column(text("thing")).column(integer("n")).column(text("last").nullable());
    let log = Table::suffix("log").column(text("thing")).column(integer("position")).column(integer("by"));
    Projection::new("counts", version)
        .table(counts.primary_key(["thing"]).index(["n"]))
        .table(log.primary_key(["thing", "position"]).references_primary(["thing"]))
        .on(|e, p: Counted| match p.by {
            13 => Err(ReduceError::new("bad luck")),
            by => multi([
                upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", by), set("last", e.event_type())]),
                in_table("log", create([set("thing", e.aggregate_id()), set("position", e.position()), set("by", by)])),
            ]),
        })
}

pub(crate) fn count(instance: &str, thing: &str, by: i64) -> NewEvent {
    NewEvent::new(instance, thing, &Counted { by })
}

/// A database that can be opened many times, as by many processes.
pub(crate) trait Place: Sync {
    type Store: EngineStore + Inspect + testing::laws::Models + Clone;
    /// Erases all events of a thing.
    fn redact(&self, instance: &str, thing: &str);
    fn open(&self) -> Self::Store;
    fn address(&self) -> String;
    /// Another database, gone with this one.
    fn elsewhere(&self) -> Self::Store;
    /// Runs SQL; `{counts}` stands for the table of the live build of version 1.
    fn sql(&self, sql: &str);
    /// Rows of a query as texts.
    fn query(&self, sql: &str) -> Vec<String>;
    /// The words in which the database refuses SQL.
    fn refusal(&self, sql: &str) -> String;
    /// Drops a table, whatever stands on it.
    fn forget(&self, table: &str);
    /// A trigger that notes in `seen_by_trigger` each row that comes or changes.
    fn own_trigger(&self, table: &str);
    /// One that notes there what somebody would insert into a view.
    fn own_instead_of(&self, view: &str);
    /// Names of the indexes on a table which the engine did not make.
    fn indexes(&self, table: &str) -> Vec<String>;
}

pub(crate) struct File(tempfile::TempDir);

impl File {
    fn connect(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.0.path().join("test.db")).unwrap();
        db.busy_timeout(LONG).unwrap();
        db
    }
}

impl Place for File {
    type Store = SqliteStore;
    fn redact(&self, instance: &str, thing: &str) {
        let redaction = Redaction::of_aggregate(instance, Counted::AGGREGATE, thing);
        let _ = self.open().redact(&redaction, &by(), |_| {}).unwrap();
    }
    fn open(&self) -> SqliteStore {
        let options = SqliteOptions { busy_timeout: LONG, ..SqliteOptions::default() };
        SqliteStore::open_with(self.address(), options).unwrap()
    }
    fn elsewhere(&self) -> SqliteStore {
        SqliteStore::open(self.0.path().join("elsewhere.db")).unwrap()
    }
    fn address(&self) -> String {
        self.0.path().join("test.db").to_str().unwrap().to_owned()
    }
    fn sql(&self, sql: &str) {
        self.connect().execute_batch(&sql.replace("readside.", "readside_")).unwrap();
    }
    fn query(&self, sql: &str) -> Vec<String> {
        let db = self.connect();
        let mut select = db.prepare(&sql.replace("readside.", "readside_")).unwrap();
        let rows = select.query_map([], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
        rows.map(|row| match row.unwrap() {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(number) => number.to_string(),
            other => panic!("{other:?}"),
        })
        .collect()
    }
    fn refusal(&self, sql: &str) -> String {
        self.connect().execute_batch(sql).unwrap_err().to_string()
    }
    fn forget(&self, table: &str) {
        self.sql(&format!("DROP TABLE {table}"));
    }
    fn own_trigger(&self, table: &str) {
        let note = "BEGIN INSERT INTO seen_by_trigger VALUES (NEW.thing); END";
        self.sql(&format!(
            "CREATE TABLE seen_by_trigger (thing TEXT); \
             CREATE TRIGGER note_new AFTER INSERT ON {table} {note}; CREATE TRIGGER note_changed AFTER UPDATE ON {table} {note}"
        ));
    }
    fn own_instead_of(&self, view: &str) {
        self.sql(&format!(
            "CREATE TABLE seen_by_trigger (thing TEXT); CREATE TRIGGER instead INSTEAD OF INSERT ON {view} \
             BEGIN INSERT INTO seen_by_trigger VALUES (NEW.thing); END"
        ));
    }
    fn indexes(&self, table: &str) -> Vec<String> {
        self.query(&format!(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = '{table}' AND sql NOT NULL \
             AND name NOT LIKE '%\\_idx' ESCAPE '\\' ORDER BY name"
        ))
    }
}

#[cfg(feature = "postgres")]
impl Place for common::postgres::Database {
    type Store = PostgresStore;
    fn redact(&self, instance: &str, thing: &str) {
        let redaction = Redaction::of_aggregate(instance, Counted::AGGREGATE, thing);
        let _ = self.open().redact(&redaction, &by(), |_| {}).unwrap();
    }
    fn open(&self) -> PostgresStore {
        PostgresStore::connect(self.url()).unwrap()
    }
    fn address(&self) -> String {
        self.url().to_owned()
    }
    fn elsewhere(&self) -> PostgresStore {
        PostgresStore::connect(self.beside()).unwrap()
    }
    fn sql(&self, sql: &str) {
        let mut client = postgres_driver::Client::connect(self.url(), postgres_driver::NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    }
    fn query(&self, sql: &str) -> Vec<String> {
        let mut client = postgres_driver::Client::connect(self.url(), postgres_driver::NoTls).unwrap();
        let rows = client.simple_query(sql).unwrap();
        rows.iter()
            .filter_map(|message| match message {
                postgres_driver::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            })
            .collect()
    }
    fn refusal(&self, sql: &str) -> String {
        let mut client = postgres_driver::Client::connect(self.url(), postgres_driver::NoTls).unwrap();
        client.batch_execute(sql).unwrap_err().as_db_error().unwrap().message().to_owned()
    }
    fn forget(&self, table: &str) {
        self.sql(&format!("DROP TABLE {table} CASCADE"));
    }
    fn own_trigger(&self, table: &str) {
        self.sql(&format!(
            "CREATE TABLE seen_by_trigger (thing text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO seen_by_trigger VALUES (NEW.thing); RETURN NEW; END'; \
             CREATE TRIGGER note AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION note()"
        ));
    }
    fn own_instead_of(&self, view: &str) {
        self.sql(&format!(
            "CREATE TABLE seen_by_trigger (thing text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO seen_by_trigger VALUES (NEW.thing); RETURN NEW; END'; \
             CREATE TRIGGER instead INSTEAD OF INSERT ON {view} FOR EACH ROW EXECUTE FUNCTION note()"
        ));
    }
    fn indexes(&self, table: &str) -> Vec<String> {
        self.query(&format!(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = '{table}'::regclass \
             AND NOT i.indisprimary AND right(c.relname, 4) <> '_idx' ORDER BY 1"
        ))
    }
}

macro_rules! on_both {
    ($($module:ident: $($test:ident),* $(,)?;)*) => {
        mod on_sqlite { $($(#[test] fn $test() { super::$module::$test(&super::File(tempfile::tempdir().unwrap())); })*)* }
        #[cfg(feature = "postgres")]
        mod on_postgres { $($(#[test] fn $test() { super::$module::$test(&super::common::postgres::database()); })*)* }
    };
}

on_both! {
    commands: what_nobody_knows_cannot_be_paused, a_plain_process_asks_and_is_answered, what_nobody_can_do_is_said_at_once, a_command_of_a_dead_engine_is_taken_over, what_nobody_is_left_for_is_told_and_withdrawn,
        two_rebuilds_at_once_are_refused, failures_are_mended_by_command, rows_in_answers_do_not_stay,
        a_pause_is_on_record_though_no_engine_is_alive, what_is_not_carried_out_is_not_kept, what_this_code_cannot_read_is_left_alone,
        what_was_taken_before_an_error_is_known, a_shutdown_ends_what_a_command_catches_up;
    looking: a_spoilt_row_is_found_and_repaired, a_row_is_explained, values_are_compared_alike_and_look_different_where_they_differ, nothing_is_too_many_or_too_long_to_ask_for, wrong_questions_are_answered_by_name;
    own_sql: a_raised_version_is_filled_by_it, a_rebuild_is_filled_by_it, it_is_verified_and_explained,
        a_batch_that_fails_goes_on_with_it, one_text_suffices_for_its_own_database, what_does_not_hold_together_is_refused,
        an_array_with_null_is_read;
    standing: a_clock_far_ahead_hides_no_standstill, a_history_that_diverged_is_told_until_it_is_mended, a_checkpoint_above_the_head_is_told,
        many_standstills_are_counted_and_go_when_they_are_mended, a_pause_is_told_as_one, what_nobody_runs_is_told_once_it_is_late,
        what_does_not_move_is_stuck_and_what_moves_is_not, a_lease_and_a_lead_of_another_process_are_told,
        a_halted_build_is_told_with_its_trouble, notes_hold_as_long_as_somebody_stands_by_them;
    builds: a_rebuild_takes_the_place_of_the_old_one_unseen, going_back_and_forth, a_build_waits_for_its_switch_if_asked,
        an_abandoned_build_goes, one_instance_alone, an_exchange_that_arrived_is_not_done_twice, a_reset_starts_over, what_is_left_out_is_told,
        what_waits_behind_an_event_is_left_out, a_reset_revokes_the_success_when_all_is_empty, a_build_ends_although_events_keep_coming, a_full_disk_keeps_only_the_build_waiting, a_build_that_waits_for_room_can_be_given_up,
        a_paused_projection_is_not_built, events_that_fail_are_parked_in_the_build_too, readers_never_see_half_a_table, what_is_removed_does_not_come_back, read_models_elsewhere_are_rebuilt;
    gone: an_altered_table_is_a_standstill, a_unique_constraint_that_is_gone_is_reported,
        a_dropped_table_is_not_made_anew_beneath_its_checkpoint, a_renamed_table_is_missed_until_it_is_back,
        a_table_that_was_never_filled_is_made_again, a_view_on_another_table_is_refused, a_table_that_vanishes_is_a_standstill,
        whose_fault_a_missing_table_is;
    objects: nobody_writes_through_the_view, what_a_view_refuses_is_the_statements_fault, indexes_and_triggers_stay_on_what_readers_see, a_raised_version_takes_over_what_fits,
        a_build_that_something_stands_on_is_not_removed, a_view_on_the_table_follows_it, a_view_that_would_break_is_named_before, a_foreign_key_follows_the_table, a_foreign_key_follows_a_raised_version,
        a_view_that_is_broken_already_stops_nothing,
        triggers_on_the_view_outlast_switches, the_doctor_tells_what_stands_on_tables;
    crashes: a_rebuild_outlasts_its_processes, a_switch_happens_or_not, an_exchange_happens_or_not, a_reset_outlasts_its_processes;
    versions: a_raised_version_takes_over_by_itself, a_raised_version_waits_if_told_to, an_old_version_is_gone_back_to_by_name, what_is_waited_for_is_what_readers_see,
        a_version_that_was_live_before_takes_over_by_itself, a_version_that_nobody_runs_is_named,
        two_versions_alive_leave_readers_where_they_are, what_a_person_went_back_to_stays, what_is_live_already_is_not_built_again;
}

/// Ticks often.
pub(crate) fn eager() -> EngineConfig {
    let (requeue_every, lease) = (Duration::from_millis(30), Duration::from_secs(5));
    EngineConfig { requeue_every, lease, workers: 2, ..EngineConfig::default() }
}

/// Never ticks by itself within a test.
pub(crate) fn lazy() -> EngineConfig {
    EngineConfig { requeue_every: Duration::from_hours(1), workers: 2, ..EngineConfig::default() }
}

pub(crate) fn handler() -> HandlerConfig {
    HandlerConfig { max_failure_count: 1, retries: 0, ..HandlerConfig::default() }
}

pub(crate) fn start<S: EngineStore>(store: S, config: EngineConfig) -> Engine {
    Engine::builder(store).projection_with(counts(1), handler()).config(config).start().unwrap()
}

pub(crate) fn by() -> By {
    By::new("ada", "a test")
}

pub(crate) fn remote<P: Place>(place: &P) -> Remote {
    Remote::new(place.open()).unwrap()
}

/// Some tenants with some events each, projected.
pub(crate) fn fill(engine: &Engine, tenants: usize, events: i64) {
    for n in 0..tenants {
        let commands: Vec<NewEvent> =
            (1..=events).map(|by| count(&tenant(n), &format!("x{}", by % 3), if by == 13 { 14 } else { by })).collect();
        let pushed = engine.push(&commands).unwrap();
        engine.await_pushed("counts", &pushed, LONG).unwrap();
    }
}

pub(crate) fn tenant(n: usize) -> String {
    format!("tenant-{n:03}")
}

/// `instance/thing=n` of the view that readers use.
pub(crate) fn seen<P: Place>(place: &P) -> Vec<String> {
    place.query("SELECT instance_id || '/' || thing || '=' || n FROM counts ORDER BY 1")
}

/// Waits for what a signal of the engine brings about, with a deadline.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + LONG;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what} did not come about");
        std::thread::yield_now();
    }
}

/// Every effect is in the live build once, in order.
pub(crate) fn lawful<P: Place>(place: &P) {
    let store = place.open();
    let report = testing::laws::check(&store, &store, &counts(1)).unwrap();
    assert!(report.is_lawful(), "{report}");
}

/// The same, but for one event of instance `a` that was given up by hand.
pub(crate) fn lawful_but_for<P: Place>(place: &P, position: i64) {
    let store = place.open();
    let report = testing::laws::check(&store, &store, &counts(1)).unwrap();
    let is_that = |fault: &testing::laws::Fault| matches!(fault, testing::laws::Fault::Refused { position: at, .. } if *at == position);
    assert!(report.faults().iter().all(is_that), "{report}");
}
