//! Inspection of a database, one call for each question; see [`Inspect`].

use std::time::Duration;

use uuid::Uuid;

use super::store::DbStore;
use super::{Backend, builds, retention, setup, standstill, status, views, whole};
use crate::error::StoreError;
use crate::inspect::{
    ActiveLease, Finding, Hanging, Inspect, Lacking, LeaseQuery, MemberStatus, Mismatch, SchemaVersion, Status, Survey,
};
use crate::inspect::{Activity, FailureGroups, InstanceCheckpoint, InstanceHead, InstanceLag, Lineage};
use crate::query::Flaw;
use crate::retention::Operation;
use crate::state::ProjectionKey;

impl<B: Backend> Inspect for DbStore<B> {
    fn schema(&self) -> Result<SchemaVersion, StoreError> {
        let backend = self.backend();
        backend.read("reading the schema version", |conn| setup::schema(conn, backend.migrations()))
    }

    fn status(&self, system: bool) -> Result<Status, StoreError> {
        self.look(system, &mut Survey::of_figures())
    }

    fn look(&self, system: bool, survey: &mut Survey) -> Result<Status, StoreError> {
        self.backend().read("reading how projections are doing", |conn| status::status(conn, system, survey))
    }

    fn processes(&self) -> Result<Vec<MemberStatus>, StoreError> {
        self.backend().read("reading which processes are on record", status::processes)
    }

    fn active_leases(&self, query: &LeaseQuery) -> Result<Vec<ActiveLease>, StoreError> {
        self.backend().read("reading leases", |conn| status::active_leases(conn, query))
    }

    fn mismatches(&self, limit: usize) -> Result<Vec<Mismatch>, StoreError> {
        let doing = "comparing checkpoints with the log";
        self.backend().read(doing, |conn| standstill::mismatches(conn, limit))
    }

    fn flawed(&self, events: usize) -> Result<Vec<Flaw>, StoreError> {
        self.backend().read("looking whether logs are whole", |conn| whole::first_flaws(conn, events))
    }

    fn hanging(&self) -> Result<Vec<Hanging>, StoreError> {
        self.backend().read("reading what stands on read tables", builds::hanging)
    }

    fn lacking(&self) -> Result<Vec<Lacking>, StoreError> {
        self.backend().read("looking for what is declared of read tables", builds::lacking)
    }

    fn out_of_place(&self) -> Result<Vec<String>, StoreError> {
        self.backend().read("looking for read tables and views", builds::out_of_place)
    }

    fn unfinished(&self, limit: usize) -> Result<Vec<Operation>, StoreError> {
        let doing = "reading which operations were not finished";
        self.backend().read(doing, |conn| retention::unfinished(conn, limit))
    }

    fn most_behind(&self, build: &ProjectionKey, limit: usize) -> Result<Vec<InstanceLag>, StoreError> {
        let doing = format!("reading where projection {:?} is behind", build.projection());
        self.backend().read(&doing, |conn| views::most_behind(conn, build, limit))
    }

    fn instance_heads(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<InstanceHead>, StoreError> {
        self.backend().read("reading instances", |conn| views::instance_heads(conn, prefix, after, limit))
    }

    fn checkpoints(&self, instance: &str) -> Result<Vec<InstanceCheckpoint>, StoreError> {
        let doing = format!("reading where projections stand in instance {instance:?}");
        self.backend().read(&doing, |conn| views::checkpoints(conn, instance))
    }

    fn failure_groups(&self, build: Option<&ProjectionKey>, most: usize) -> Result<FailureGroups, StoreError> {
        self.backend().read("grouping failed events", |conn| views::failure_groups(conn, build, most))
    }

    fn activity(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Activity>, StoreError> {
        self.backend().read("reading what people did", |conn| views::activity(conn, before, limit))
    }

    fn lineage(&self) -> Result<Vec<Lineage>, StoreError> {
        self.backend().read("reading what feeds which tables", views::lineage)
    }

    fn examine(&self, patience: Duration) -> Vec<Finding> {
        self.backend().examine(patience)
    }
}
