//! The store traits of a [`FaultyStore`].

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::transaction::FaultyTransaction;
use super::{Answer, Call, FaultyStore, Told, hand_on};
use crate::builds::{Build, Comparison, LaggingInstance, Model, Phase};
use crate::command::{CommandRecord, CommandState, NewCommand};
use crate::error::{Error, OperateError, PushError, SetupError, StoreError, SwitchError};
use crate::event::{Event, NewEvent};
use crate::failure::{FailedEvent, FailureQuery, FailureStatus, Intervention};
use crate::inspect::{
    ActiveLease, Finding, Hanging, Inspect, Lacking, LeaseQuery, MemberStatus, Mismatch, SchemaVersion, Status, Survey,
};
use crate::inspect::{Activity, FailureGroups, InstanceCheckpoint, InstanceHead, InstanceLag, Lineage};
use crate::lease::{Lag, LagRequest, Lease, Member, Pause, Renewal};
use crate::projection::Projection;
use crate::query::{EventBatch, Flaw, Head, HeadsRequest, Query, ReadRequest, Span};
use crate::retention::Operation;
use crate::sealed::Sealed;
use crate::standing::Standing;
use crate::standstill::{Note, StandstillSubject};
use crate::state::{ProjectionKey, State};
use crate::store::CommandStore;
use crate::store::StandstillStore;
use crate::store::{BuildStore, CatchUp, Replaying};
use crate::store::{EventSource, EventStore, ProjectionStore, ProjectionTransaction};
use crate::store::{LeaseStore, NotificationListener, Notifications, Notifier};
use crate::subscription::{Subscription, Topics};
use crate::table::Table;
use crate::value::Value;

impl<S: EventSource> EventSource for FaultyStore<S> {
    hand_on! { "EventSource", self => self.inner;
        fn removed(instance: &str) -> Result<i64, StoreError>, in_one(instance);
        fn flaws(spans: &[Span]) -> Result<Vec<Flaw>, StoreError>, at(spans.iter().map(|span| &span.instance));
    }

    fn store_id(&self) -> Result<Uuid, StoreError> {
        self.told.changing(Call::new("EventSource::store_id"), |_| self.inner.store_id(), |id| Answer::StoreId(id))
    }

    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        let call = Call::new("EventSource::heads").at(&request.instances);
        self.told.changing(call, |_| self.inner.heads(request), |heads| Answer::Heads(heads))
    }

    fn read(&self, request: &ReadRequest) -> Result<Vec<EventBatch>, StoreError> {
        let call = Call::new("EventSource::read").at(request.cursors.iter().map(|cursor| &cursor.instance));
        self.told.changing(call, |_| self.inner.read(request), |batches| Answer::Batches(batches))
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }

    fn forget(&self) {
        self.inner.forget();
    }
}

impl<S> Sealed for FaultyStore<S> {}

impl<S: EventStore> EventStore for FaultyStore<S> {
    hand_on! { "EventStore", self => self.inner;
        fn push(events: &[NewEvent]) -> Result<Vec<Event>, PushError>, at(events.iter().map(|event| &event.instance));
        fn instance_ids(query: &Query) -> Result<Vec<Arc<str>>, StoreError>;
        fn location() -> Result<String, StoreError>;
    }

    fn filter(&self, query: &Query) -> Result<Vec<Event>, StoreError> {
        self.told.changing(
            Call::new("EventStore::filter"),
            |_| self.inner.filter(query),
            |events| Answer::Events(events),
        )
    }

    fn subscribe(&self, topics: Topics) -> Subscription {
        let is_deaf = self.told.faults.before(&mut Call::new("EventStore::subscribe")).is_err();
        // No event has a type with a NUL character, so this subscription receives nothing.
        self.inner.subscribe(if is_deaf { Topics::all().event_type("\0") } else { topics })
    }
}

impl<S: ProjectionStore> ProjectionStore for FaultyStore<S> {
    hand_on! { "ProjectionStore", self => self.inner;
        fn setup(projections: &[&Projection]) -> Result<(), SetupError>;
        fn verify(projections: &[&Projection]) -> Result<(), SetupError>;
        fn states(projection: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError>,
            of(projection).at(instances);
        fn states_after(
            projection: &ProjectionKey,
            after: Option<&str>,
            limit: usize
        ) -> Result<Vec<State>, StoreError>, of(projection);
        fn failed_events(projection: &ProjectionKey, query: &FailureQuery) -> Result<Vec<FailedEvent>, StoreError>,
            of(projection);
        fn failure_count(projection: &ProjectionKey, query: &FailureQuery) -> Result<u64, StoreError>, of(projection);
        fn failure_counts(projection: &ProjectionKey) -> Result<Vec<(FailureStatus, u64)>, StoreError>, of(projection);
        fn interventions(projection: &ProjectionKey, limit: usize) -> Result<Vec<Intervention>, StoreError>,
            of(projection);
        fn holds(source: Uuid) -> Result<bool, StoreError>;
    }

    fn transaction(
        &self,
        work: &mut dyn FnMut(&mut dyn ProjectionTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.told.faults.before(&mut Call::new("ProjectionStore::transaction"))?;
        let mut commit = None;
        let outcome = self.inner.transaction(&mut |tx| {
            commit = None;
            work(&mut FaultyTransaction { inner: tx, told: &self.told })?;
            let call = commit.insert(Call::new("ProjectionStore::commit"));
            self.told.faults.before(call)
        });
        match (&outcome, commit) {
            (Ok(()), Some(call)) => self.told.faults.after(&call, Answer::Done)?,
            (Err(_), Some(call)) => drop(self.told.faults.after(&call, Answer::Failed)),
            (_, None) => {}
        }
        outcome
    }

    fn connections(&self) -> Option<usize> {
        self.inner.connections()
    }

    fn commands(&self) -> &dyn CommandStore {
        self
    }

    fn builds(&self) -> &dyn BuildStore {
        self
    }

    fn standstills(&self) -> &dyn StandstillStore {
        self
    }

    fn inspect(&self) -> &dyn Inspect {
        self
    }
}

impl<S: ProjectionStore> StandstillStore for FaultyStore<S> {
    hand_on! { "StandstillStore", self => self.inner.standstills();
        fn note(
            process: Uuid,
            notes: &[Note],
            gone: &[(ProjectionKey, StandstillSubject)]
        ) -> Result<(), StoreError>;
        fn standings(projections: &[ProjectionKey], instance: Option<&str>) -> Result<Vec<Standing>, StoreError>;
    }
}

impl<S: ProjectionStore> CommandStore for FaultyStore<S> {
    hand_on! { "CommandStore", self => self.inner.commands();
        fn ask(command: &NewCommand) -> Result<Uuid, OperateError>;
        fn take(
            owner: Uuid,
            projections: &[(String, u32)],
            lease: Duration,
            limit: usize
        ) -> Result<Vec<CommandRecord>, StoreError>;
        fn keep(owner: Uuid, commands: &[Uuid], lease: Duration) -> Result<Vec<Uuid>, StoreError>;
        fn report(id: Uuid, owner: Uuid, progress: &serde_json::Value) -> Result<bool, StoreError>;
        fn answer(
            id: Uuid,
            owner: Uuid,
            state: CommandState,
            answer: &serde_json::Value
        ) -> Result<bool, StoreError>;
        fn give_back(owner: Uuid) -> Result<(), StoreError>;
        fn command(id: Uuid) -> Result<Option<CommandRecord>, StoreError>;
        fn is_tended(id: Uuid) -> Result<bool, StoreError>;
        fn withdraw(id: Uuid, answer: &serde_json::Value) -> Result<bool, StoreError>;
        fn commands(projection: Option<&str>, limit: usize) -> Result<Vec<CommandRecord>, StoreError>;
        fn forget_rows(age: Duration) -> Result<(), StoreError>;
        fn members() -> Result<Vec<Member>, StoreError>;
    }
}

impl<S: ProjectionStore> BuildStore for FaultyStore<S> {
    hand_on! { "BuildStore", self => self.inner.builds();
        fn builds() -> Result<Vec<Build>, StoreError>;
        fn begin(build: &Projection, command: Uuid) -> Result<Vec<String>, SwitchError>, of(&build.key());
        fn enter(
            build: &ProjectionKey,
            from: &[Phase],
            to: Phase,
            trouble: Option<&str>
        ) -> Result<bool, StoreError>, of(build);
        fn revive(build: &ProjectionKey, command: Uuid) -> Result<(), SwitchError>, of(build);
        fn instances_of(
            builds: &[ProjectionKey],
            after: Option<&str>,
            limit: usize
        ) -> Result<Vec<Arc<str>>, StoreError>;
        fn compare(
            old: &ProjectionKey,
            new: &ProjectionKey,
            instances: &[Arc<str>],
            equal: &[LaggingInstance],
            into: &mut Comparison
        ) -> Result<Vec<LaggingInstance>, StoreError>, of(new).at(instances);
        fn remove(build: &ProjectionKey) -> Result<bool, SetupError>, of(build);
        fn referring(projection: &Projection) -> Result<Vec<String>, StoreError>, of(&projection.key());
        fn half_removed() -> Result<Vec<Arc<str>>, StoreError>;
        fn forget_discarded(build: &ProjectionKey, instance: Option<&str>) -> Result<u64, StoreError>, of(build);
        fn empty(projection: &Projection, instances: &[Arc<str>]) -> Result<u64, StoreError>,
            of(&projection.key()).at(instances);
        fn revoke(projection: &ProjectionKey) -> Result<(), StoreError>, of(projection);
        fn instances(
            projection: &Projection,
            after: Option<&str>,
            limit: usize
        ) -> Result<Vec<Arc<str>>, StoreError>, of(&projection.key());
        fn find(
            projection: &Projection,
            table: &Table,
            instance: &str,
            key: &[Value]
        ) -> Result<Option<Vec<(String, Value)>>, StoreError>, of(&projection.key()).in_one(instance);
        fn model(projection: &Projection, instance: &str) -> Result<Model, StoreError>,
            of(&projection.key()).in_one(instance);
        fn replay(projection: &Projection, work: Replaying<'_>) -> Result<bool, Error>, of(&projection.key());
    }

    fn go_live(
        &self,
        build: &ProjectionKey,
        patience: Duration,
        catch_up: Option<CatchUp<'_>>,
    ) -> Result<(), SwitchError> {
        let call = Call::new("BuildStore::go_live").of(build);
        self.told.around(call, || match catch_up {
            Some(catch_up) => self.inner.builds().go_live(build, patience, Some(&mut self.told.during(catch_up))),
            None => self.inner.builds().go_live(build, patience, None),
        })
    }

    fn exchange(&self, build: &Projection, instance: &Arc<str>, catch_up: CatchUp<'_>) -> Result<(), SwitchError> {
        let call = Call::new("BuildStore::exchange").of(&build.key()).in_one(instance);
        self.told.around(call, || self.inner.builds().exchange(build, instance, &mut self.told.during(catch_up)))
    }
}

impl Told {
    /// Wraps what catches up inside one of the store's own transactions, so that the faults run around its calls.
    fn during<'c>(
        &'c self,
        catch_up: CatchUp<'c>,
    ) -> impl FnMut(&mut dyn ProjectionTransaction, &[LaggingInstance]) -> Result<(), StoreError> + 'c {
        move |tx, lagging| catch_up(&mut FaultyTransaction { inner: tx, told: self }, lagging)
    }
}

impl<S: LeaseStore> LeaseStore for FaultyStore<S> {
    hand_on! { "LeaseStore", self => self.inner;
        fn acquire(
            projection: &ProjectionKey,
            instances: &[Arc<str>],
            owner: Uuid,
            lease: Duration
        ) -> Result<Vec<Lease>, StoreError>, of(projection).at(instances);
        fn renew(owner: Uuid, lease: Duration) -> Result<Vec<Renewal>, StoreError>;
        fn release(projection: &ProjectionKey, instances: &[Arc<str>], owner: Uuid) -> Result<(), StoreError>,
            of(projection).at(instances);
        fn lead(projection: &ProjectionKey, owner: Uuid, lease: Duration) -> Result<bool, StoreError>, of(projection);
        fn succeeded(projections: &[ProjectionKey]) -> Result<Vec<bool>, StoreError>;
        fn succeed(projection: &ProjectionKey, owner: Uuid) -> Result<bool, StoreError>, of(projection);
        fn heartbeat(member: &Member, time_to_live: Duration) -> Result<Vec<Member>, StoreError>;
        fn tell(process: Uuid, missed: &[(ProjectionKey, u64)], deaf: Option<&str>) -> Result<(), StoreError>;
        fn leave(process: Uuid) -> Result<(), StoreError>;
        fn is_at(location: &str) -> Result<bool, StoreError>;
        fn lagging(source: Uuid, request: &LagRequest) -> Result<Option<Vec<Lag>>, StoreError>, at(&request.instances);
        fn lagging_instances(source: Uuid, request: &LagRequest) -> Result<Option<Vec<Arc<str>>>, StoreError>,
            at(&request.instances);
        fn diverged(source: Uuid, request: &LagRequest, thorough: bool) -> Result<Option<Vec<Lag>>, StoreError>,
            at(&request.instances);
        fn change_token(source: Uuid) -> Result<Option<String>, StoreError>;
        fn pauses() -> Result<Vec<Pause>, StoreError>;
    }

    fn hold_within(&self, lease: Duration) {
        self.inner.hold_within(lease);
    }

    fn call_itself(&self, name: &str) {
        self.inner.call_itself(name);
    }
}

impl<S: Notifier> Notifier for FaultyStore<S> {
    hand_on! { "Notifier", self => self.inner;
        fn announce(news: &Notifications) -> Result<(), StoreError>,
            at(news.instances.iter().map(|(instance, _)| instance));
    }

    fn listener(&self) -> Box<dyn NotificationListener> {
        Box::new(FaultyListener { inner: self.inner.listener(), told: self.told.clone() })
    }
}

#[derive(Debug)]
struct FaultyListener {
    inner: Box<dyn NotificationListener>,
    told: Told,
}

impl Sealed for FaultyListener {}

impl NotificationListener for FaultyListener {
    fn listen(&mut self, wait: Duration) -> Result<Notifications, StoreError> {
        let call = Call { wait: Some(wait), ..Call::new("NotificationListener::listen") };
        let listen = |call: &Call| self.inner.listen(call.wait.unwrap_or(wait));
        self.told.changing(call, listen, |news| Answer::Notifications(news))
    }

    fn deaf(&self) -> Option<String> {
        self.inner.deaf()
    }
}

impl<S: ProjectionStore> Inspect for FaultyStore<S> {
    hand_on! { "Inspect", self => self.inner.inspect();
        fn schema() -> Result<SchemaVersion, StoreError>;
        fn status(system: bool) -> Result<Status, StoreError>;
        fn look(system: bool, survey: &mut Survey) -> Result<Status, StoreError>;
        fn processes() -> Result<Vec<MemberStatus>, StoreError>;
        fn active_leases(query: &LeaseQuery) -> Result<Vec<ActiveLease>, StoreError>;
        fn mismatches(limit: usize) -> Result<Vec<Mismatch>, StoreError>;
        fn flawed(events: usize) -> Result<Vec<Flaw>, StoreError>;
        fn hanging() -> Result<Vec<Hanging>, StoreError>;
        fn lacking() -> Result<Vec<Lacking>, StoreError>;
        fn out_of_place() -> Result<Vec<String>, StoreError>;
        fn unfinished(limit: usize) -> Result<Vec<Operation>, StoreError>;
        fn most_behind(build: &ProjectionKey, limit: usize) -> Result<Vec<InstanceLag>, StoreError>, of(build);
        fn instance_heads(
            prefix: &str,
            after: Option<&str>,
            limit: usize
        ) -> Result<Vec<InstanceHead>, StoreError>;
        fn checkpoints(instance: &str) -> Result<Vec<InstanceCheckpoint>, StoreError>, in_one(instance);
        fn failure_groups(build: Option<&ProjectionKey>, most: usize) -> Result<FailureGroups, StoreError>;
        fn activity(before: Option<Uuid>, limit: usize) -> Result<Vec<Activity>, StoreError>;
        fn lineage() -> Result<Vec<Lineage>, StoreError>;
    }

    fn examine(&self, patience: Duration) -> Vec<Finding> {
        self.inner.inspect().examine(patience)
    }
}
