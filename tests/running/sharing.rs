//! Several engines on one database: SPEC A7, F6, L2, L7.

use std::sync::Arc;
use std::time::Duration;

use readside::error::StoreError;
use readside::*;

use crate::{LONG, Place, count, counts, eager, eventually, instance, lazy, start, sum};

const INSTANCES: usize = 40;

// SPEC L2, F6
pub(crate) fn engines_share_the_work_and_nothing_happens_twice<P: Place>(place: &P) {
    let stores: Vec<P::Store> = (0..3).map(|_| place.open()).collect();
    let names = ["one", "two"];
    let mut engines: Vec<Engine> = stores.iter().map(|store| start(store.clone(), &names, eager())).collect();
    let mut pushed = 0;
    for round in 0..6 {
        for n in 0..INSTANCES {
            engines[n % engines.len()].push(&[count(&instance(n), 1), count(&instance(n), 2)]).unwrap();
        }
        pushed += 2;
        if round == 3 {
            engines.remove(0).shutdown(LONG).unwrap();
        }
    }
    for n in 0..INSTANCES {
        for name in names {
            engines[0].await_position(name, &instance(n), pushed, LONG).unwrap();
        }
    }
    for name in names {
        assert_eq!(sum::<P>(&stores[1], name, None), 18 * 40);
    }
    eventually("two members", || engines[0].health().unwrap().members == 2);
}

// SPEC A7: no tick comes; the other engine hears of it by itself.
pub(crate) fn pushes_of_others_are_heard_of_at_once<P: Place>(place: &P) {
    let (one, other) = (place.open(), place.open());
    let working = start(one.clone(), &["counts"], lazy());
    eventually("the first run", || working.health().unwrap().projections[0].succeeded);
    // Takes part in the list of members, but keeps another read model.
    let pushing = start(other.clone(), &["others"], lazy());
    eventually("two members", || working.health().unwrap().members == 2 || pushing.health().unwrap().members == 2);
    for n in 0..20 {
        // Of several instances some are the working engine's to take first.
        let pushed = pushing.push(&[count(&instance(n), 1)]).unwrap();
        pushing.await_pushed("others", &pushed, LONG).unwrap();
    }
    eventually("news by wire", || sum::<P>(&one, "counts", None) >= 1);
}

/// A store whose notifications are lost, or come twice, and whose wire breaks.
#[derive(Debug, Clone)]
struct Unreliable<S> {
    inner: S,
    silent: bool,
}

#[derive(Debug)]
struct Babble(Box<dyn Wire>, u32);

impl Wire for Babble {
    fn listen(&mut self, wait: Duration) -> Result<News, StoreError> {
        self.1 += 1;
        if self.1.is_multiple_of(5) {
            return Err(StoreError::new("listening", error::StoreErrorKind::Connection, "cut off on purpose"));
        }
        let mut news = self.0.listen(wait.min(Duration::from_millis(5)))?;
        news.instances.extend(news.instances.clone());
        news.all = true;
        Ok(news)
    }
}

#[derive(Debug)]
struct Silence;

impl Wire for Silence {
    fn listen(&mut self, wait: Duration) -> Result<News, StoreError> {
        std::thread::park_timeout(wait);
        Ok(News::default())
    }
}

impl<S: Wired> Wired for Unreliable<S> {
    fn wire(&self) -> Box<dyn Wire> {
        if self.silent { Box::new(Silence) } else { Box::new(Babble(self.inner.wire(), 0)) }
    }
    fn announce(&self, news: &News) -> Result<(), StoreError> {
        self.inner.announce(news)?;
        self.inner.announce(&News { instances: Vec::new(), all: true })
    }
}

impl<S: EngineStore> EventSource for Unreliable<S> {
    fn store_id(&self) -> Result<uuid::Uuid, StoreError> {
        self.inner.store_id()
    }
    fn heads(&self, request: &HeadsRequest) -> Result<Vec<Head>, StoreError> {
        self.inner.heads(request)
    }
    fn read(&self, request: &ReadRequest) -> Result<Vec<Slice>, StoreError> {
        self.inner.read(request)
    }
}

impl<S: EngineStore> EventStore for Unreliable<S> {
    fn push(&self, commands: &[Command]) -> Result<Vec<Event>, error::PushError> {
        self.inner.push(commands)
    }
    fn filter(&self, query: &Query) -> Result<Vec<Event>, StoreError> {
        self.inner.filter(query)
    }
    fn instance_ids(&self, query: &Query) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.instance_ids(query)
    }
    fn subscribe(&self, topics: Topics) -> Subscription {
        // The silent one never hears of anything.
        self.inner.subscribe(if self.silent { Topics::all().event_type("never") } else { topics })
    }
}

impl<S: EngineStore> ProjectionStore for Unreliable<S> {
    fn setup(&self, projections: &[&Projection]) -> Result<(), error::SetupError> {
        self.inner.setup(projections)
    }
    fn verify(&self, projections: &[&Projection]) -> Result<(), error::SetupError> {
        self.inner.verify(projections)
    }
    fn states(&self, key: &ProjectionKey, instances: &[Arc<str>]) -> Result<Vec<State>, StoreError> {
        self.inner.states(key, instances)
    }
    fn transaction(
        &self,
        work: &mut dyn FnMut(&mut dyn ProjectionTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.inner.transaction(work)
    }
    fn held_events(&self, key: &ProjectionKey) -> Result<Vec<HeldEvent>, StoreError> {
        self.inner.held_events(key)
    }
    fn switch(&self, projection: &Projection) -> Result<(), error::SetupError> {
        self.inner.switch(projection)
    }
}

impl<S: EngineStore> LeaseStore for Unreliable<S> {
    fn acquire(
        &self,
        key: &ProjectionKey,
        instances: &[Arc<str>],
        owner: uuid::Uuid,
        lease: Duration,
    ) -> Result<Vec<Lease>, StoreError> {
        self.inner.acquire(key, instances, owner, lease)
    }
    fn renew(&self, owner: uuid::Uuid, lease: Duration) -> Result<Vec<Renewal>, StoreError> {
        self.inner.renew(owner, lease)
    }
    fn release(&self, key: &ProjectionKey, instances: &[Arc<str>], owner: uuid::Uuid) -> Result<(), StoreError> {
        self.inner.release(key, instances, owner)
    }
    fn lead(&self, key: &ProjectionKey, owner: uuid::Uuid, lease: Duration) -> Result<bool, StoreError> {
        self.inner.lead(key, owner, lease)
    }
    fn succeeded(&self, keys: &[ProjectionKey]) -> Result<Vec<bool>, StoreError> {
        self.inner.succeeded(keys)
    }
    fn succeed(&self, key: &ProjectionKey, owner: uuid::Uuid) -> Result<bool, StoreError> {
        self.inner.succeed(key, owner)
    }
    fn heartbeat(&self, member: &Member, ttl: Duration) -> Result<Vec<Member>, StoreError> {
        self.inner.heartbeat(member, ttl)
    }
    fn leave(&self, id: uuid::Uuid) -> Result<(), StoreError> {
        self.inner.leave(id)
    }
    fn lagging(&self, source: uuid::Uuid, request: &LagRequest) -> Result<Option<Vec<Lag>>, StoreError> {
        self.inner.lagging(source, request)
    }
    fn pause(&self, projection: &str, instance: Option<&str>, on: bool) -> Result<(), StoreError> {
        self.inner.pause(projection, instance, on)
    }
    fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.inner.pauses()
    }
}

fn run<P: Place>(place: &P, silent: bool) {
    let stores: Vec<P::Store> = (0..2).map(|_| place.open()).collect();
    let engines: Vec<Engine> = stores
        .iter()
        .map(|store| {
            let store = Unreliable { inner: store.clone(), silent };
            Engine::builder(store).projection(counts("counts")).config(eager()).start().unwrap()
        })
        .collect();
    for round in 0..5 {
        for n in 0..10 {
            engines[(round + n) % 2].push(&[count(&instance(n), 1)]).unwrap();
        }
    }
    for n in 0..10 {
        engines[0].await_position("counts", &instance(n), 5, LONG).unwrap();
    }
    assert_eq!(sum::<P>(&stores[0], "counts", None), 50);
}

// SPEC L7
pub(crate) fn the_ticker_alone_suffices<P: Place>(place: &P) {
    run(place, true);
}

// SPEC L7
pub(crate) fn everything_heard_twice_happens_once<P: Place>(place: &P) {
    run(place, false);
}
