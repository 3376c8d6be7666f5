//! One suite for the store traits, run on every backend; a backend brings only its constructor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod filter;
mod json;
mod mend;
mod project;
mod push;
mod setup;
mod tables;

use std::sync::Arc;

use readside::{EventStore, Projection, ProjectionStore, Value};

/// What every backend is.
pub(crate) trait Store: EventStore + ProjectionStore {
    fn rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>>;
    fn all(&self, query: readside::Query, page: usize) -> Vec<(String, i64)>;
}
#[cfg(feature = "sqlite")]
impl Store for readside::SqliteStore {
    fn rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>> {
        self.read_rows(projection, table).unwrap()
    }
    fn all(&self, query: readside::Query, page: usize) -> Vec<(String, i64)> {
        self.stream(query, page)
            .map(Result::unwrap)
            .map(|event| (event.instance().to_owned(), event.position()))
            .collect()
    }
}
#[cfg(feature = "postgres")]
impl Store for readside::PostgresStore {
    fn rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>> {
        self.read_rows(projection, table).unwrap()
    }
    fn all(&self, query: readside::Query, page: usize) -> Vec<(String, i64)> {
        self.stream(query, page)
            .map(Result::unwrap)
            .map(|event| (event.instance().to_owned(), event.position()))
            .collect()
    }
}

/// A fresh store, and what keeps its database alive.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    _keep: Box<dyn std::any::Any + Send + Sync>,
}

impl Fixture {
    pub(crate) fn source(&self) -> Arc<dyn readside::EventSource> {
        self.store.clone()
    }

    pub(crate) fn read_rows(&self, projection: &Projection, table: &str) -> Vec<Vec<(String, Value)>> {
        self.store.rows(projection, table)
    }

    pub(crate) fn stream(&self, query: readside::Query, page: usize) -> Vec<(String, i64)> {
        self.store.all(query, page)
    }

    pub(crate) fn models(&self) -> Arc<dyn ProjectionStore> {
        self.store.clone()
    }
}

#[cfg(feature = "sqlite")]
fn sqlite() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = readside::SqliteStore::open(folder.path().join("test.db")).unwrap();
    store.setup().unwrap();
    Fixture { store: Arc::new(store), _keep: Box::new(folder) }
}

#[cfg(feature = "sqlite")]
fn sqlite_in_memory() -> Fixture {
    let store = readside::SqliteStore::in_memory().unwrap();
    store.setup().unwrap();
    Fixture { store: Arc::new(store), _keep: Box::new(()) }
}

#[cfg(feature = "postgres")]
fn postgres() -> Fixture {
    let database = common::postgres::database();
    let store = readside::PostgresStore::connect(database.url()).unwrap();
    store.setup().unwrap();
    Fixture { store: Arc::new(store), _keep: Box::new(database) }
}

macro_rules! suite {
    ($($module:ident: $($test:ident),* $(,)?;)*) => {
        #[cfg(feature = "sqlite")]
        mod on_sqlite { $($(#[test] fn $test() { super::$module::$test(&super::sqlite()); })*)* }
        #[cfg(feature = "sqlite")]
        mod on_sqlite_in_memory { $($(#[test] fn $test() { super::$module::$test(&super::sqlite_in_memory()); })*)* }
        #[cfg(feature = "postgres")]
        mod on_postgres { $($(#[test] fn $test() { super::$module::$test(&super::postgres()); })*)* }
    };
}

suite! {
    push: events_come_back_as_stored, a_push_is_all_or_nothing, expected_versions_decide, unique_values_are_taken_and_given_back,
        a_repeated_push_returns_the_first_events, bad_commands_are_refused_by_field, odd_texts_are_kept,
        large_payloads_are_kept, subscribers_hear_of_pushes;
    filter: queries_find_what_they_name, pages_and_limits, pages_are_bounded_by_bytes, a_nul_is_refused_by_name, heads_and_instance_ids;

    project: a_read_model_follows_its_events, filtered_reads_move_the_checkpoint, a_poison_event_stops_its_instance_only,
        a_skipped_event_leaves_the_rest, an_exchanged_store_is_noticed, columns_and_conditions_do_what_they_say;
    mend: a_parked_event_holds_back_its_aggregate_only, a_retry_applies_what_was_parked_in_order,
        a_second_poison_event_is_parked_in_its_turn, any_event_of_an_aggregate_takes_a_retry_up,
        a_retry_of_all_names_what_fails_again, a_retry_of_all_mends_many_aggregates_together, a_retry_of_all_goes_on_where_the_database_refuses, an_aggregate_among_many_others_is_mended, a_long_queue_behind_a_parked_event_is_applied_once,
        a_stopped_instance_goes_on_when_a_person_says_so, a_skipped_event_can_be_applied_late, a_restart_goes_on_counting;
    tables: a_projection_has_several_tables_in_a_schema, a_table_that_was_changed_by_hand_is_reported, own_sql_stores_what_the_columns_hold,
        a_stream_is_complete;
    json: rows_copied_onto_one_key_are_refused;
    setup: setup_is_repeatable_and_finds_changes, taken_names_are_refused, a_new_version_waits_for_its_switch;
}
