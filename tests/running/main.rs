//! The engine as it runs, on every backend; several engines on one database stand for several processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod awaiting;
mod crashes;
mod history;
mod leases;
mod lifecycle;
#[cfg(feature = "postgres")]
mod outage;
mod processes;
#[cfg(all(feature = "sqlite", unix))]
mod replaced;
mod sharing;
mod starting;
mod user_code;
mod values;
#[cfg(feature = "postgres")]
mod waiting;

use std::time::Duration;

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

/// Counts by thing; 13 cannot be reduced. Applying an event twice or not at all shows.
pub(crate) fn counts(name: &str) -> Projection {
    Projection::new(name, 1)
        .table(Table::new(name).column(text("thing")).column(integer("n")).primary_key(["thing"]))
        .on(|e, p: Counted| match p.by {
            13 => Err(ReduceError::new("bad luck")),
            by => upsert(["thing"], [set("thing", e.aggregate_id()), increment("n", by)]),
        })
}

pub(crate) fn by() -> By {
    By::new("ada", "a test")
}

/// Pauses, or lets go on, as a process without engine does.
pub(crate) fn pause(store: &dyn ProjectionStore, projection: &str, instance: Option<&str>, on: bool) {
    common::pause(store, projection, instance, on, &by());
}

pub(crate) fn count(instance: &str, by: i64) -> NewEvent {
    NewEvent::new(instance, "x", &Counted { by })
}

/// A database that can be opened many times, as by many processes.
pub(crate) trait Place {
    type Store: EngineStore + Inspect + Clone;
    fn open(&self) -> Self::Store;
    /// Another database, gone with this one.
    fn elsewhere(&self) -> Self::Store;
    fn rows(store: &Self::Store, projection: &Projection) -> Vec<Vec<(String, Value)>>;
    /// Runs SQL by hand.
    fn sql(&self, sql: &str);
    /// The name of one of the engine's tables, for such SQL.
    fn own(&self, table: &str) -> String;
}

#[cfg(feature = "sqlite")]
pub(crate) struct File(tempfile::TempDir);

#[cfg(feature = "sqlite")]
impl File {
    pub(crate) fn path(&self) -> String {
        self.0.path().join("test.db").to_str().unwrap().to_owned()
    }
}

#[cfg(feature = "sqlite")]
impl Place for File {
    type Store = SqliteStore;
    fn open(&self) -> SqliteStore {
        let options = SqliteOptions { busy_timeout: LONG, ..SqliteOptions::default() };
        SqliteStore::open_with(self.0.path().join("test.db"), options).unwrap()
    }
    fn elsewhere(&self) -> SqliteStore {
        SqliteStore::open(self.0.path().join("elsewhere.db")).unwrap()
    }
    fn rows(store: &SqliteStore, projection: &Projection) -> Vec<Vec<(String, Value)>> {
        store.read_rows(projection, projection.name()).unwrap()
    }
    fn sql(&self, sql: &str) {
        let client = rusqlite::Connection::open(self.path()).unwrap();
        client.busy_timeout(LONG).unwrap();
        client.execute_batch(sql).unwrap();
    }
    fn own(&self, table: &str) -> String {
        format!("readside_{table}")
    }
}

#[cfg(feature = "postgres")]
impl Place for common::postgres::Database {
    type Store = PostgresStore;
    fn open(&self) -> PostgresStore {
        PostgresStore::connect(self.url()).unwrap()
    }
    fn elsewhere(&self) -> PostgresStore {
        PostgresStore::connect(self.beside()).unwrap()
    }
    fn rows(store: &PostgresStore, projection: &Projection) -> Vec<Vec<(String, Value)>> {
        store.read_rows(projection, projection.name()).unwrap()
    }
    fn sql(&self, sql: &str) {
        let mut client = postgres_driver::Client::connect(self.url(), postgres_driver::NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    }
    fn own(&self, table: &str) -> String {
        format!("readside.{table}")
    }
}

macro_rules! on_both {
    ($($module:ident: $($test:ident),* $(,)?;)*) => {
        #[cfg(feature = "sqlite")]
        mod on_sqlite { $($(#[test] fn $test() { super::$module::$test(&super::File(tempfile::tempdir().unwrap())); })*)* }
        #[cfg(feature = "postgres")]
        mod on_postgres { $($(#[test] fn $test() { super::$module::$test(&super::common::postgres::database()); })*)* }
    };
}

on_both! {
    awaiting: pushes_become_visible, waiting_ends_with_the_reason, events_nobody_wants_move_nothing, a_paused_instance_waits;
    history: a_wait_for_an_event_that_was_lost_is_an_error, no_wait_believes_a_checkpoint_that_the_log_lost,
        a_log_that_came_to_the_same_heads_again_is_looked_at, a_log_that_was_set_back_with_its_read_model_is_applied_again;
    starting: many_first_set_ups_at_once_make_one_schema, a_backlog_is_caught_up_without_a_new_event, the_first_run_is_announced_once, read_models_may_live_elsewhere,
        a_state_that_is_set_back_is_found_by_a_calm_engine, what_waits_is_found_when_it_may_go_on, the_system_instance_counts_only_when_asked_for;
    leases: leases_go_to_one_at_a_time, a_new_holder_has_a_higher_epoch, the_mark_of_the_dead_outlives_their_successors, who_leaves_frees_everything, lag_is_found_in_one_query, many_that_lag_do_not_hide_the_others,
        signs_change_with_all_that_makes_something_lag;
    sharing: engines_share_the_work_and_nothing_happens_twice, pushes_of_others_are_heard_of_at_once, the_ticker_alone_suffices,
        everything_heard_twice_happens_once, a_gap_in_the_queue_is_caught_up,
        events_from_the_queue_need_no_lease, events_of_what_another_holds_are_left_to_it,
        a_starting_engine_knows_what_is_paused,
        a_success_that_could_not_be_recorded_is_not_announced_twice, a_first_run_is_not_over_while_anything_has_to_wait, a_first_run_ends_although_events_keep_coming, a_lead_is_kept_between_ticks,
        pairs_that_their_first_taker_leaves_alone_are_taken,
        a_calm_engine_looks_for_signs_only;
    lifecycle: an_engine_starts_and_stops_many_times, a_stop_ends_every_wait, a_shutdown_that_is_repeated_waits_for_what_is_left, the_longest_time_is_no_limit, a_reducer_that_panics_harms_nobody_else,
        a_reducer_slower_than_the_lease_keeps_it;
    user_code: a_reducer_that_hangs_is_told, a_reducer_that_hangs_keeps_no_other_tenant_waiting, a_trigger_does_not_wait_for_a_reducer_elsewhere, whatever_user_code_does_fails_its_event_only, a_trigger_outlives_whatever_user_code_does, a_reducer_cannot_wait_for_itself;
    values: arrays_and_their_absence_are_written_in_bulk;
    crashes: work_of_the_dead_goes_on_with_care, what_is_reduced_ahead_is_found_if_it_kills,
        what_the_dead_left_is_marked_before_it_is_reduced, a_trigger_leaves_what_the_dead_left;
}

/// Never ticks by itself within a test.
pub(crate) fn lazy() -> EngineConfig {
    EngineConfig { requeue_every: Duration::from_hours(1), workers: 2, ..EngineConfig::default() }
}

/// Ticks often.
pub(crate) fn eager() -> EngineConfig {
    let (requeue_every, lease) = (Duration::from_millis(30), Duration::from_secs(5));
    EngineConfig { requeue_every, lease, workers: 2, ..EngineConfig::default() }
}

pub(crate) fn start<S: EngineStore>(store: S, names: &[&str], config: EngineConfig) -> Engine {
    let builder = Engine::builder(store).config(config);
    names.iter().fold(builder, |builder, name| builder.projection(counts(name))).start().unwrap()
}

/// The sum over all things of one instance, or all.
pub(crate) fn sum<P: Place>(store: &P::Store, name: &str, instance: Option<&str>) -> i64 {
    let rows = P::rows(store, &counts(name));
    rows.iter()
        .filter(|row| instance.is_none_or(|instance| row[0].1 == Value::from(instance)))
        .map(|row| if let Value::Integer(n) = row[2].1 { n } else { panic!("{row:?}") })
        .sum()
}

/// Waits for what a signal of the engine brings about, with a deadline.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + LONG;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what} did not come about");
        std::thread::yield_now();
    }
}

pub(crate) fn instance(n: usize) -> String {
    format!("tenant-{n:03}")
}
