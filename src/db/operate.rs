//! Commands and builds of a store: each call is one read or one write transaction.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::place::placed;
use super::{Backend, DbStore, ask, builds, command, discarded, leave, model, replay, retention};
use crate::builds::{Build, Comparison, LaggingInstance, Model, Phase};
use crate::command::{CommandRecord, CommandState, NewCommand};
use crate::error::{Error, OperateError, SetupError, StoreError, SwitchError, chain};
use crate::lease::Member;
use crate::projection::Projection;
use crate::sql::Dialect;
use crate::state::ProjectionKey;
use crate::store::CommandStore;
use crate::store::{BuildStore, CatchUp, Replaying};
use crate::table::Table;
use crate::value::Value;

impl<B: Backend> CommandStore for DbStore<B> {
    fn ask(&self, command: &NewCommand) -> Result<Uuid, OperateError> {
        let doing = format!(
            "putting {} of projection {:?} on record, which engines read",
            command.command.kind(),
            command.projection
        );
        let asked = self.backend().write(&doing, |conn| ask::ask(conn, command));
        asked.map_err(|error| match error {
            OperateError::Store(error) => error.doing(doing).into(),
            other => other,
        })
    }

    /// Most looks find nothing, so the first look only reads.
    fn take(
        &self,
        owner: Uuid,
        projections: &[(String, u32)],
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let free = self.backend().read("looking for commands", |conn| {
            let mut free = command::free(conn, projections, lease)?;
            leave::leave(conn, &mut free)?;
            Ok::<_, StoreError>(free)
        })?;
        let mut taken = Vec::new();
        free.strange.iter().for_each(|(id, error)| self.tell_strange(*id, error));
        for id in free.found.iter().map(|one| one.asked.id).take(limit) {
            match self.backend().write("taking a command", |conn| command::take(conn, id, owner, lease)) {
                Ok(one) => taken.extend(one),
                Err(error) if taken.is_empty() => return Err(error),
                // The caller has to know which commands are its own now; the next look meets the error again.
                Err(error) => {
                    log::warn!("{}; the others wait", chain(&error));
                    break;
                }
            }
        }
        Ok(taken)
    }

    fn keep(&self, owner: Uuid, commands: &[Uuid], lease: Duration) -> Result<Vec<Uuid>, StoreError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.backend().write("keeping commands", |conn| command::keep(conn, owner, commands, lease))
    }

    fn report(&self, id: Uuid, owner: Uuid, progress: &serde_json::Value) -> Result<bool, StoreError> {
        self.backend().write("reporting on a command", |conn| command::report(conn, id, owner, progress))
    }

    fn answer(
        &self,
        id: Uuid,
        owner: Uuid,
        state: CommandState,
        answer: &serde_json::Value,
    ) -> Result<bool, StoreError> {
        self.backend().write("answering a command", |conn| command::answer(conn, id, owner, state, answer))
    }

    fn give_back(&self, owner: Uuid) -> Result<(), StoreError> {
        self.backend().write("giving back commands", |conn| command::give_back(conn, owner))
    }

    fn command(&self, id: Uuid) -> Result<Option<CommandRecord>, StoreError> {
        self.backend().read("reading a command", |conn| command::one(conn, id))
    }

    fn is_tended(&self, id: Uuid) -> Result<bool, StoreError> {
        self.backend().read("looking whether anybody is at a command", |conn| command::is_tended(conn, id))
    }

    fn withdraw(&self, id: Uuid, answer: &serde_json::Value) -> Result<bool, StoreError> {
        self.backend().write("withdrawing a command", |conn| command::withdraw(conn, id, answer))
    }

    fn commands(&self, projection: Option<&str>, limit: usize) -> Result<Vec<CommandRecord>, StoreError> {
        self.backend().read("reading commands", |conn| command::list(conn, projection, limit))
    }

    fn forget_rows(&self, age: Duration) -> Result<(), StoreError> {
        self.backend().write("removing rows from old answers", |conn| command::forget_rows(conn, age).map(|_| ()))
    }

    fn members(&self) -> Result<Vec<Member>, StoreError> {
        self.backend().read("reading which processes are alive", command::members)
    }
}

impl<B: Backend> BuildStore for DbStore<B> {
    fn builds(&self) -> Result<Vec<Build>, StoreError> {
        self.backend().read("reading which builds there are", builds::builds)
    }

    fn begin(&self, build: &Projection, command: Uuid) -> Result<Vec<String>, SwitchError> {
        let doing = format!("beginning a build of projection {:?}", build.name());
        self.backend().write(&doing, |conn| builds::begin(conn, build, command))
    }

    fn enter(
        &self,
        build: &ProjectionKey,
        from: &[Phase],
        to: Phase,
        trouble: Option<&str>,
    ) -> Result<bool, StoreError> {
        let doing = format!("marking a build of projection {:?} as {to}", build.projection());
        self.backend().write(&doing, |conn| builds::enter(conn, build, from, to, trouble))
    }

    fn revive(&self, build: &ProjectionKey, command: Uuid) -> Result<(), SwitchError> {
        let doing = format!("filling a build of projection {:?} again", build.projection());
        self.backend().write(&doing, |conn| builds::revive(conn, build, command))
    }

    fn instances_of(
        &self,
        builds: &[ProjectionKey],
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        self.backend().read("listing instances", |conn| builds::instances_of(conn, builds, after, limit))
    }

    fn compare(
        &self,
        old: &ProjectionKey,
        new: &ProjectionKey,
        instances: &[Arc<str>],
        equal: &[LaggingInstance],
        into: &mut Comparison,
    ) -> Result<Vec<LaggingInstance>, StoreError> {
        let doing = format!("comparing two builds of projection {:?}", old.projection());
        let mut found = into.clone();
        let others = self.backend().read(&doing, |conn| builds::compare(conn, old, new, instances, equal, &mut found));
        let others = others.map_err(|error: StoreError| error.doing(doing))?;
        *into = found;
        Ok(others)
    }

    fn go_live(
        &self,
        build: &ProjectionKey,
        patience: Duration,
        catch_up: Option<CatchUp<'_>>,
    ) -> Result<(), SwitchError> {
        let doing = format!("switching projection {:?}", build.projection());
        self.backend().write(&doing, |conn| builds::go_live(conn, build, patience, catch_up))
    }

    fn exchange(&self, build: &Projection, instance: &Arc<str>, catch_up: CatchUp<'_>) -> Result<(), SwitchError> {
        let doing = format!("exchanging instance {instance:?} of projection {:?}", build.name());
        let live = build.plain();
        self.backend().write(&doing, |conn| builds::exchange(conn, build, &live, instance, catch_up))
    }

    fn remove(&self, build: &ProjectionKey) -> Result<bool, SetupError> {
        let doing = format!("removing a build of projection {:?}", build.projection());
        self.backend().write(&doing, |conn| builds::remove(conn, build))
    }

    fn empty(&self, projection: &Projection, instances: &[Arc<str>]) -> Result<u64, StoreError> {
        let doing = format!("emptying projection {:?}", projection.name());
        self.backend().write(&doing, |conn| builds::empty(conn, projection, instances))
    }

    fn referring(&self, projection: &Projection) -> Result<Vec<String>, StoreError> {
        let doing = format!("looking what refers to the rows of projection {:?}", projection.name());
        self.backend().read(&doing, |conn| builds::referring(conn, projection))
    }

    fn half_removed(&self) -> Result<Vec<Arc<str>>, StoreError> {
        self.backend().read("reading which removals were not finished", retention::half_removed)
    }

    fn forget_discarded(&self, build: &ProjectionKey, instance: Option<&str>) -> Result<u64, StoreError> {
        let doing = format!("taking in what was discarded of projection {:?}", build.name);
        self.backend().write(&doing, |conn| discarded::forget(conn, build, instance))
    }

    fn revoke(&self, projection: &ProjectionKey) -> Result<(), StoreError> {
        let doing = format!("taking back the success of projection {:?}", projection.name);
        self.backend().write(&doing, |conn| builds::revoke(conn, projection))
    }

    fn instances(
        &self,
        projection: &Projection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let doing = format!("listing the instances of projection {:?}", projection.name());
        self.backend().read(&doing, |conn| model::instances(conn, projection, after, limit))
    }

    fn find(
        &self,
        projection: &Projection,
        table: &Table,
        instance: &str,
        key: &[Value],
    ) -> Result<Option<Vec<(String, Value)>>, StoreError> {
        let doing = format!("reading a row of projection {:?}", projection.name());
        self.backend().read(&doing, |conn| model::find(conn, projection, table, instance, key))
    }

    fn model(&self, projection: &Projection, instance: &str) -> Result<Model, StoreError> {
        let doing = format!("reading projection {:?} in instance {instance:?}", projection.name());
        // Finding its schema may read, so it comes first: the snapshot has to be taken after the locks.
        let projection = self.backend().read(&doing, |conn| placed(conn, projection))?;
        self.backend().read(&doing, |conn| model::read(conn, &projection, instance))
    }

    /// Only the service's own SQL may mean something else on another database.
    fn replay(&self, projection: &Projection, work: Replaying<'_>) -> Result<bool, Error> {
        if self.backend().dialect() == Dialect::Sqlite || !projection.has_own_sql() {
            return Ok(false);
        }
        replay::in_temporary_tables(self.backend(), projection, work).map(|()| true)
    }
}
