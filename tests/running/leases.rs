//! Leases, members and lag, directly on the stores: Contract: F1, F3, F5, F6, E2.

use std::sync::Arc;
use std::time::Duration;

use readside::store::{
    Checkpoint, EventSource, Lag, LagRequest, Lagging, Lease, LeaseStore, Log, Member, ProjectionKey, ProjectionStore,
};
use readside::{EventStore, NewEvent};
use uuid::Uuid;

use crate::{Place, count, counts, eventually};

const LEASE: Duration = Duration::from_mins(1);

fn alive<S: LeaseStore>(store: &S, process: Uuid, time_to_live: Duration) -> Vec<Uuid> {
    let me = Member { process, name: "test".into(), projections: vec![("counts".into(), 1)] };
    let members = store.heartbeat(&me, time_to_live).unwrap();
    assert!(members.contains(&me) || time_to_live < LEASE);
    members.iter().map(|member| member.process).collect()
}

fn names(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|&name| name.into()).collect()
}

fn got(leases: &[Lease]) -> Vec<&str> {
    let mut names: Vec<&str> = leases.iter().map(|lease| &*lease.instance).collect();
    names.sort_unstable();
    names
}

fn ready<P: Place>(place: &P) -> (P::Store, ProjectionKey, Uuid, Uuid) {
    let store = place.open();
    store.setup(&[&counts("counts")]).unwrap();
    (store, counts("counts").key(), Uuid::from_u128(1), Uuid::from_u128(2))
}

// Contract: F1, F5
both!(leases_go_to_one_at_a_time);
pub(crate) fn leases_go_to_one_at_a_time<P: Place>(place: &P) {
    let (store, key, me, other) = ready(place);
    assert_eq!(got(&store.acquire(&key, &names(&["a", "b"]), me, LEASE).unwrap()), ["a", "b"]);
    assert_eq!(got(&store.acquire(&key, &names(&["c", "b", "a"]), other, LEASE).unwrap()), ["c"]);
    assert_eq!(got(&store.acquire(&key, &names(&["a"]), me, LEASE).unwrap()), ["a"], "one's own again");
    store.release(&key, &names(&["a", "b"]), other).unwrap();
    assert!(store.acquire(&key, &names(&["a"]), other, LEASE).unwrap().is_empty(), "only one's own are released");
    store.release(&key, &names(&["a"]), me).unwrap();
    assert_eq!(got(&store.acquire(&key, &names(&["a", "b"]), other, LEASE).unwrap()), ["a"]);
    let mut renewed: Vec<String> =
        store.renew(other, LEASE).unwrap().iter().map(|renewal| renewal.lease.instance.to_string()).collect();
    renewed.sort();
    assert_eq!(renewed, ["a", "c"]);
}

// Contract: F3
both!(a_new_holder_has_a_higher_epoch);
pub(crate) fn a_new_holder_has_a_higher_epoch<P: Place>(place: &P) {
    let (store, key, me, other) = ready(place);
    let epoch = |owner, lease| store.acquire(&key, &names(&["a"]), owner, lease).unwrap().first().map(|l| l.epoch);
    assert_eq!((epoch(me, LEASE), epoch(me, LEASE)), (Some(1), Some(1)), "one's own keeps its epoch");
    store.release(&key, &names(&["a"]), me).unwrap();
    assert_eq!(epoch(other, Duration::from_millis(1)), Some(2));
    eventually("the end of the lease", || epoch(me, LEASE) == Some(3));
    assert!(store.renew(other, LEASE).unwrap().is_empty(), "an expired lease is not renewed");
    let states = store.states(&key, &names(&["a"])).unwrap();
    assert_eq!((states[0].owner, states[0].epoch, states[0].position), (Some(me), 3, 0));
}

// Contract: F7: a holder removes its own mark when it ends, but never the mark of a process that died.
both!(the_mark_of_the_dead_outlives_their_successors);
pub(crate) fn the_mark_of_the_dead_outlives_their_successors<P: Place>(place: &P) {
    let (store, key, me, dead) = ready(place);
    let mark = |position| store.transaction(&mut |tx| tx.mark(&key, "a", Some(position))).unwrap();
    let marked = || store.states(&key, &names(&["a"])).unwrap()[0].mark.map(|mark| (mark.position, mark.epoch));
    let take = |owner, lease| store.acquire(&key, &names(&["a"]), owner, lease).unwrap().first().map(|one| one.epoch);
    let endings: [&dyn Fn(); 3] =
        [&|| store.release(&key, &names(&["a"]), me).unwrap(), &|| store.leave(me).unwrap(), &|| {
            take(me, LEASE).unwrap();
        }];
    for end in endings {
        store.release(&key, &names(&["a"]), me).unwrap();
        let epoch = take(dead, Duration::from_millis(1)).unwrap();
        mark(7);
        eventually("the end of the lease", || take(me, LEASE) == Some(epoch + 1));
        end();
        assert_eq!(marked(), Some((7, epoch)));
        assert!(take(me, LEASE).is_some());
        mark(8);
        assert_eq!(marked().map(|(position, _)| position), Some(8));
        end();
        assert_eq!(marked(), None);
    }
}

// Contract: F6
both!(who_leaves_frees_everything);
pub(crate) fn who_leaves_frees_everything<P: Place>(place: &P) {
    let (store, key, me, other) = ready(place);
    assert_eq!(alive(&store, me, LEASE), [me]);
    assert_eq!(alive(&store, other, LEASE), [me, other]);
    store.acquire(&key, &names(&["a"]), me, LEASE).unwrap();
    assert!(store.lead(&key, me, LEASE).unwrap());
    assert!(!store.lead(&key, other, LEASE).unwrap());
    store.leave(me).unwrap();
    assert!(store.lead(&key, other, LEASE).unwrap());
    assert_eq!(got(&store.acquire(&key, &names(&["a"]), other, LEASE).unwrap()), ["a"]);
    assert_eq!(alive(&store, other, LEASE), [other]);
    alive(&store, me, Duration::from_millis(1));
    eventually("the death of a member", || alive(&store, other, LEASE) == [other]);
}

// Contract: E2
both!(lag_is_found_in_one_query);
pub(crate) fn lag_is_found_in_one_query<P: Place>(place: &P) {
    let (store, key, me, other) = ready(place);
    let source = store.store_id().unwrap();
    let late = ProjectionKey { version: 2, ..key.clone() };
    let request = |lagging| LagRequest {
        projections: vec![(key.clone(), vec!["thing".into()]), (late.clone(), vec!["nothing".into(), "thing".into()])],
        instances: Vec::new(),
        owner: me,
        lagging,
        system: false,
        longest_wait: LEASE,
        lease: LEASE,
        limit: 100,
    };
    let behind = || {
        let mut behind = store.lagging_instances(source, &request(Lagging::Free)).unwrap().unwrap();
        behind.sort();
        behind
    };
    let lags = |lagging| {
        let mut lags = store.lagging(source, &request(lagging)).unwrap().unwrap();
        let some = LagRequest { instances: behind(), ..request(lagging) };
        assert_eq!(
            store.lagging(source, &some).unwrap().unwrap().len(),
            lags.len(),
            "the same when told where to look"
        );
        lags.sort_by(|a, b| (a.projection, &a.instance).cmp(&(b.projection, &b.instance)));
        lags.iter()
            .map(|lag| format!("{}{}:{}/{}", lag.projection, lag.instance, lag.checkpoint, lag.relevant))
            .collect::<Vec<String>>()
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(lags(Lagging::All), none);
    assert_eq!(behind(), names(&[]));
    store
        .push(&[count("a", 1), count("a", 1), NewEvent::raw("a", "other", "o", "x"), count("", 1), count("b", 1)])
        .unwrap();
    assert_eq!(lags(Lagging::Free), ["0a:0/2", "0b:0/1", "1a:0/2", "1b:0/1"], "without the system instance");
    let checkpoint = Checkpoint { instance: "a".into(), position: 2, event: None, store: source };
    store
        .transaction(&mut |tx| {
            tx.lock(&key, &names(&["a"]))?;
            tx.save(&key, std::slice::from_ref(&checkpoint), Log::Elsewhere)
        })
        .unwrap();
    store.acquire(&key, &names(&["b"]), other, LEASE).unwrap();
    assert_eq!(lags(Lagging::Free), ["1a:0/2", "1b:0/1"]);
    assert_eq!(behind(), names(&["a", "b"]));
    assert_eq!(lags(Lagging::All), ["0b:0/1", "1a:0/2", "1b:0/1"]);
    assert_eq!(lags(Lagging::Open), lags(Lagging::All), "nothing waits for a person");
    crate::pause(&store, "counts", Some("a"), true);
    assert_eq!(lags(Lagging::Free), ["1b:0/1"]);
    crate::pause(&store, "counts", None, true);
    assert_eq!(lags(Lagging::Free), none);
    assert_eq!(behind(), names(&["a", "b"]), "also where it has to wait");
    crate::pause(&store, "counts", None, false);
    crate::pause(&store, "counts", Some("a"), false);
    assert_eq!(lags(Lagging::Free).len(), 2);
    assert!(
        store
            .lagging(
                Uuid::from_u128(9),
                &LagRequest {
                    projections: vec![],
                    instances: vec![],
                    owner: me,
                    lagging: Lagging::All,
                    system: true,
                    longest_wait: LEASE,
                    lease: LEASE,
                    limit: 1
                }
            )
            .unwrap()
            .is_none(),
        "the events are somewhere else"
    );
}

// Contract: L4, L5: many pairs that lag and do not move never hide another projection or instance for good.
both!(many_that_lag_do_not_hide_the_others);
pub(crate) fn many_that_lag_do_not_hide_the_others<P: Place>(place: &P) {
    let (store, key, me, _) = ready(place);
    let source = store.store_id().unwrap();
    let other = ProjectionKey { name: "others".into(), ..key.clone() };
    let stuck: Vec<Arc<str>> = (0..12).map(|n| crate::instance(n).into()).collect();
    store.push(&stuck.iter().map(|name| count(name, 1)).collect::<Vec<_>>()).unwrap();
    store.push(&[NewEvent::raw("z", "last", "o", "x")]).unwrap();
    // More names than fit into one query. Only the first and the last of these instances exist.
    let mut named = stuck.clone();
    named.extend((0..1000).map(|n| Arc::from(format!("u-{n:04}"))));
    named.push("z".into());
    let look = |instances: &[Arc<str>], limit| {
        let request = LagRequest {
            projections: vec![(key.clone(), vec!["thing".into()]), (other.clone(), vec!["last".into()])],
            instances: instances.to_vec(),
            owner: me,
            lagging: Lagging::Free,
            system: false,
            longest_wait: LEASE,
            lease: LEASE,
            limit,
        };
        store.lagging(source, &request).unwrap().unwrap()
    };
    let others = |lags: &[Lag]| lags.iter().filter(|lag| lag.projection == 1).map(|lag| lag.relevant).sum::<i64>();
    for instances in [&[] as &[Arc<str>], &named] {
        let some = look(instances, 10);
        assert_eq!((some.len(), others(&some)), (10, 1), "{some:?}");
        let all = look(instances, 100);
        assert_eq!((all.len(), others(&all)), (13, 1), "{all:?}");
    }
    let mut seen = std::collections::BTreeSet::new();
    eventually("each of them", || {
        seen.extend(look(&[], 10).into_iter().filter(|lag| lag.projection == 0).map(|lag| lag.instance));
        seen.len() == stuck.len()
    });
}

// Contract: L5, E2: the change token becomes another text after everything that can make something lag.
both!(signs_change_with_all_that_makes_something_lag);
pub(crate) fn signs_change_with_all_that_makes_something_lag<P: Place>(place: &P) {
    let (store, key, me, _) = ready(place);
    let source = store.store_id().unwrap();
    let change_token = || store.change_token(source).unwrap().unwrap();
    let save = |position| {
        let checkpoint = Checkpoint { instance: "a".into(), position, event: None, store: source };
        store.transaction(&mut |tx| {
            tx.lock(&key, &names(&["a"]))?;
            tx.save(&key, std::slice::from_ref(&checkpoint), Log::Elsewhere)
        })
    };
    let begin = change_token();
    store.push(&[count("a", 1), count("a", 1)]).unwrap();
    let pushed = change_token();
    assert_ne!(pushed, begin, "a push");
    store.push(&[NewEvent::raw("b", "other", "o", "x")]).unwrap();
    let elsewhere = change_token();
    assert_ne!(elsewhere, pushed, "a push elsewhere");
    save(2).unwrap();
    store.acquire(&key, &names(&["a"]), me, LEASE).unwrap();
    store.release(&key, &names(&["a"]), me).unwrap();
    assert_eq!(change_token(), elsewhere, "work that goes on makes nothing lag");
    save(1).unwrap();
    let back = change_token();
    assert_ne!(back, elsewhere, "a checkpoint that was set back");
    save(2).unwrap();
    assert_eq!(change_token(), back);
    save(0).unwrap();
    let again = change_token();
    assert_ne!(again, back, "again");
    crate::pause(&store, "counts", Some("a"), true);
    assert_ne!(change_token(), again, "a pause");
    crate::pause(&store, "counts", Some("a"), false);
    assert_eq!(change_token(), again);
    assert_eq!(store.change_token(Uuid::from_u128(9)).unwrap(), None, "the events are somewhere else");
}

// Contract: L10, G5: however a database is opened, it has one location, and a copy of it has another one.
both!(a_database_is_at_one_location);
pub(crate) fn a_database_is_at_one_location<P: Place>(place: &P) {
    let (store, other) = (place.open(), place.open());
    let location = store.location().unwrap();
    assert!(other.is_at(&location).unwrap());
    assert!(!place.elsewhere().is_at(&location).unwrap());
}

// Contract: L11: a lease that began in the future would never be reported as one that lasts for long.
both!(a_lease_that_began_in_the_future_begins_anew);
pub(crate) fn a_lease_that_began_in_the_future_begins_anew<P: Place>(place: &P) {
    let (store, me, key) = (place.open(), Uuid::from_u128(1), counts("counts").key());
    ProjectionStore::setup(&store, &[&counts("counts")]).unwrap();
    let (instances, lease) = (["a".into()], crate::LONG);
    let states = place.own("projection_states");
    let is_ahead = || {
        let ahead = format!("SELECT 1 FROM {states} WHERE leased_at > '2199-01-01T00:00:00.000000Z'");
        place.finds(&ahead)
    };
    assert_eq!(store.acquire(&key, &instances, me, lease).unwrap().len(), 1);
    for by_renewal in [true, false] {
        place.sql(&format!("UPDATE {states} SET leased_at = '2200-01-01T00:00:00.000000Z'"));
        assert!(is_ahead());
        let had = if by_renewal {
            store.renew(me, lease).unwrap().len()
        } else {
            store.acquire(&key, &instances, me, lease).unwrap().len()
        };
        assert_eq!((had, is_ahead()), (1, false), "by renewal: {by_renewal}");
    }
}
