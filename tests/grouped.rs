//! Pushes that wait for each other and share a transaction: Contract: A1-A3, A6, K1, L1, L6.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Barrier;
use std::time::Duration;

use readside::error::{PushError, StoreErrorKind as Kind};
use readside::query::{Query, SubQuery};
use readside::subscription::Topics;
use readside::{Event, EventStore, Expected, NewEvent};

use crate::common::{LONG, eventually};

const THREADS: usize = 16;

type Outcome = Result<Vec<Event>, PushError>;

/// A database, and a store on it.
trait Place: Sync {
    type Store: EventStore + Clone + Debug + Send + Sync + 'static;
    fn store(&self) -> Self::Store;
    fn store_with(&self, patience: Duration) -> Self::Store;
    /// Runs something while another transaction blocks pushes to the instance "a".
    fn while_held(&self, meanwhile: &mut dyn FnMut());
    /// Makes the database refuse events of the type "poison".
    fn refuse_poison(&self);
}

fn command(instance: &str, id: &str, kind: &str) -> NewEvent {
    NewEvent::raw(instance, "user", id, kind)
}

fn stored(store: &dyn EventStore, instance: &str) -> Vec<Event> {
    let events = store.filter(&Query::new().or(SubQuery::new().instance(instance))).unwrap();
    let positions: Vec<i64> = events.iter().map(Event::position).collect();
    assert_eq!(positions, (1..).take(events.len()).collect::<Vec<i64>>(), "positions have no holes");
    events
}

/// How many transactions stored these events. A transaction reads the clock once, so its events have one time.
fn transactions(events: &[Event]) -> usize {
    events.iter().map(Event::created_at).collect::<BTreeSet<_>>().len()
}

/// Threads push at once. Each pushes the commands for its number.
fn at_once(store: &dyn EventStore, threads: usize, commands: &(dyn Fn(usize) -> Vec<NewEvent> + Sync)) -> Vec<Outcome> {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let push = |thread| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                store.push(&commands(thread))
            })
        };
        let pushing: Vec<_> = (0..threads).map(push).collect();
        pushing.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The same, but all of them wait until the last one has come: the first one for the database, and the others for the
/// first.
fn together<P: Place>(place: &P, store: &P::Store, commands: &(dyn Fn(usize) -> Vec<NewEvent> + Sync)) -> Vec<Outcome> {
    let waiting = format!("waiting: {}", THREADS - 1);
    std::thread::scope(|scope| {
        let mut pushing = None;
        place.while_held(&mut || {
            pushing = Some(scope.spawn(|| at_once(store, THREADS, commands)));
            eventually("a line of pushes", || format!("{store:?}").contains(&waiting));
        });
        pushing.unwrap().join().unwrap()
    })
}

// Contract: A1, A6, L1
fn those_that_wait_share_a_transaction<P: Place>(place: &P) {
    let store = place.store();
    let heard = store.subscribe(Topics::all());
    store.push(&[command("a", "first", "added")]).unwrap();
    let outcomes = together(place, &store, &|thread| {
        (0..=thread).map(|n| command("a", &format!("{thread}-{n}"), "added")).collect()
    });
    let events = stored(&store, "a");
    assert_eq!(events.len(), 1 + (1..=THREADS).sum::<usize>());
    assert_eq!(transactions(&events[1..]), 1);
    for (thread, outcome) in outcomes.into_iter().enumerate() {
        let own = outcome.unwrap();
        assert_eq!(own.len(), thread + 1);
        let first = usize::try_from(own[0].position()).unwrap() - 1;
        assert_eq!(own, events[first..=first + thread], "each gets its own events, which follow each other");
    }
    assert_eq!(heard.drain().events, events, "subscribers hear them in order");
}

// Contract: A2
fn of_those_that_expect_the_same_version_one_wins<P: Place>(place: &P) {
    let store = place.store();
    for round in 0..20 {
        let expected = if round == 0 { Expected::New } else { Expected::Version(round) };
        let commands = |_| vec![command("a", "u", "added").expect(expected)];
        let outcomes =
            if round == 0 { together(place, &store, &commands) } else { at_once(&store, THREADS, &commands) };
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for outcome in lost {
            match outcome {
                Err(PushError::Conflict { found, expected: given, .. }) => {
                    assert_eq!((found, given), (round + 1, expected));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let versions: Vec<i64> = stored(&store, "a").iter().map(Event::version).collect();
    assert_eq!(versions, (1..=20).collect::<Vec<i64>>());
}

// Contract: A3: a refused push leaves no trace of the values that it would have taken.
fn a_unique_value_is_taken_once<P: Place>(place: &P) {
    let store = place.store();
    store.push(&[command("a", "first", "added")]).unwrap();
    let outcomes = together(place, &store, &|thread| {
        let own = format!("own-{thread}");
        vec![
            command("a", &own, "added").add_unique("own", &own, "never"),
            command("a", "u", "added").add_unique("name", "ada", "taken"),
        ]
    });
    let won: Vec<usize> = (0..THREADS).filter(|thread| outcomes[*thread].is_ok()).collect();
    assert_eq!(won.len(), 1);
    let refused =
        |outcome: &Outcome| matches!(outcome, Err(PushError::UniqueViolation { message, .. }) if message == "taken");
    assert_eq!(outcomes.iter().filter(|outcome| refused(outcome)).count(), THREADS - 1);
    let events = stored(&store, "a");
    assert_eq!((events.len(), events[2].version()), (3, 1), "versions of the refused do not count");
    for thread in 0..THREADS {
        let own = format!("own-{thread}");
        let again = store.push(&[command("a", &own, "added").add_unique("own", &own, "taken by itself")]);
        assert_eq!(again.is_err(), won.contains(&thread), "{again:?}");
    }
}

// Contract: A3: each push sees what the pushes before it gave back and took.
fn unique_values_go_from_hand_to_hand<P: Place>(place: &P) {
    let store = place.store();
    store.push(&[command("a", "first", "added").add_unique("name", "ada", "taken")]).unwrap();
    let swap = |_| vec![command("a", "u", "changed").remove_unique("name", "ada").add_unique("name", "ada", "taken")];
    assert!(together(place, &store, &swap).iter().all(Result::is_ok));
    assert!(store.push(&[command("a", "u", "added").add_unique("name", "ada", "taken")]).is_err());
}

// Contract: K1
fn a_push_repeated_at_once_is_stored_once<P: Place>(place: &P) {
    let store = place.store();
    let heard = store.subscribe(Topics::all());
    let commands = |_| vec![command("a", "u1", "added").push_key("k"), command("b", "u2", "added").push_key("k")];
    let outcomes: Vec<Vec<Event>> = together(place, &store, &commands).into_iter().map(Result::unwrap).collect();
    assert!(outcomes.iter().all(|events| *events == outcomes[0]));
    assert_eq!((stored(&store, "a").len(), stored(&store, "b").len()), (1, 1));
    let heard = heard.drain();
    assert_eq!(heard.events, outcomes[0], "published once");
    assert_eq!(heard.dirty, ["a".into(), "b".into()], "whoever did not hear of them looks");
    let other = store.push(&[command("a", "other", "added").push_key("k")]);
    assert!(matches!(other, Err(PushError::PushKeyReused { .. })));
}

// Contract: A1, A2: a refused push does not affect the others of its group.
fn a_refused_push_does_not_hurt_the_others<P: Place>(place: &P) {
    let store = place.store();
    store.push(&[command("a", "first", "added")]).unwrap();
    let outcomes = together(place, &store, &|thread| {
        let id = format!("{thread}");
        let expected = if thread % 3 == 0 { Expected::Version(7) } else { Expected::New };
        vec![command("a", "shared", "added"), command("a", &id, "added").expect(expected)]
    });
    for (thread, outcome) in outcomes.iter().enumerate() {
        assert_eq!(matches!(outcome, Err(PushError::Conflict { found: 0, .. })), thread % 3 == 0, "{outcome:?}");
        assert_eq!(outcome.is_ok(), thread % 3 != 0);
    }
    let events = stored(&store, "a");
    assert_eq!((events.len(), transactions(&events[1..])), (1 + 2 * (THREADS - THREADS.div_ceil(3)), 1));
    let shared: Vec<i64> = events.iter().filter(|event| event.aggregate_id() == "shared").map(Event::version).collect();
    assert_eq!(shared, (1..=10).collect::<Vec<i64>>(), "versions of the refused do not count");
}

// Contract: A1: the same holds for a push that the database refuses.
fn a_poisoned_push_does_not_hurt_the_others<P: Place>(place: &P) {
    let store = place.store();
    place.refuse_poison();
    store.push(&[command("a", "first", "added")]).unwrap();
    let outcomes = together(place, &store, &|thread| {
        vec![command("a", &format!("{thread}"), if thread == 5 { "poison" } else { "added" }).expect(Expected::New)]
    });
    for (thread, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Err(PushError::Store(error)) => {
                assert_eq!((thread, error.kind() == Kind::CommitUnknown), (5, false), "{error:?}");
            }
            other => assert_eq!(other.as_ref().unwrap().len(), 1),
        }
    }
    let events = stored(&store, "a");
    assert_eq!((events.len(), transactions(&events[1..])), (THREADS, THREADS - 1), "each by itself");
}

// Contract: A1: pushes that wait in line do not wait longer than the push that waits for the database.
fn all_that_wait_too_long_are_told_so<P: Place>(place: &P) {
    place.store().push(&[command("a", "first", "added")]).unwrap();
    let store = place.store_with(Duration::from_millis(200));
    let mut outcomes = Vec::new();
    place.while_held(&mut || outcomes = at_once(&store, THREADS, &|_| vec![command("a", "u", "added")]));
    for outcome in outcomes {
        match outcome {
            Err(PushError::Busy { instance, .. }) => assert_eq!(instance, "a"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stored(&store, "a").len(), 1);
    store.push(&[command("a", "u", "added")]).unwrap();
}

// Contract: A1, A2: once another process has pushed, a store no longer trusts the versions that it remembers.
fn versions_are_right_whoever_pushes<P: Place>(place: &P) {
    let (one, other) = (place.store(), place.store());
    for n in 0..30 {
        let store = if [2, 3, 7, 11, 12].contains(&(n % 13)) { &other } else { &one };
        let expected = if n == 0 { Expected::New } else { Expected::Version(n) };
        let pushed = store.push(&[command("a", "u", "added").expect(expected), command("a", &format!("{n}"), "added")]);
        assert_eq!(pushed.unwrap()[0].version(), n + 1);
    }
    assert_eq!(stored(&one, "a").len(), 60);
}

#[cfg(feature = "sqlite")]
mod on_sqlite {
    use readside::rusqlite::Connection;
    use readside::{SqliteOptions, SqliteStore};

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.store().setup().unwrap();
            folder
        }

        fn connect(&self) -> Connection {
            let db = Connection::open(self.0.path().join("test.db")).unwrap();
            db.busy_timeout(LONG).unwrap();
            db
        }
    }

    impl Place for Folder {
        type Store = SqliteStore;
        fn store(&self) -> SqliteStore {
            self.store_with(LONG)
        }
        fn store_with(&self, patience: Duration) -> SqliteStore {
            let options = SqliteOptions::default().busy_timeout(patience);
            SqliteStore::open_with(self.0.path().join("test.db"), options).unwrap()
        }
        fn while_held(&self, meanwhile: &mut dyn FnMut()) {
            let db = self.connect();
            db.execute_batch("BEGIN IMMEDIATE").unwrap();
            meanwhile();
            db.execute_batch("ROLLBACK").unwrap();
        }
        fn refuse_poison(&self) {
            let made = self.connect().execute_batch(
                "CREATE TRIGGER refuse BEFORE INSERT ON readside_events WHEN NEW.event_type = 'poison' \
                 BEGIN SELECT RAISE(ABORT, 'poison'); END",
            );
            made.unwrap();
        }
    }

    // Contract: A1, L1: if there is one writer, pushes to all instances share a transaction.
    #[test]
    fn pushes_to_different_instances_share_a_transaction() {
        let place = Folder::new();
        let store = place.store();
        let outcomes = together(&place, &store, &|thread| vec![command(&format!("tenant-{thread}"), "u", "added")]);
        assert!(outcomes.into_iter().all(|outcome| outcome.unwrap()[0].position() == 1));
        let all = store.filter(&Query::new()).unwrap();
        // The transaction reads the clock once more, for pushes that joined.
        assert!(all.len() == THREADS && transactions(&all) <= 2, "{all:?}");
    }

    macro_rules! tests {
        ($($test:ident),*) => { $(#[test] fn $test() { super::$test(&Folder::new()); })* };
    }
    tests!(
        those_that_wait_share_a_transaction,
        of_those_that_expect_the_same_version_one_wins,
        a_unique_value_is_taken_once,
        unique_values_go_from_hand_to_hand,
        a_push_repeated_at_once_is_stored_once,
        a_refused_push_does_not_hurt_the_others,
        a_poisoned_push_does_not_hurt_the_others,
        all_that_wait_too_long_are_told_so,
        versions_are_right_whoever_pushes
    );
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use readside::postgres_driver::{Client, NoTls};
    use readside::{PostgresOptions, PostgresStore};

    use super::*;
    use crate::common::postgres::{Database, database};
    use crate::common::proxy::{Fate, Proxy};

    impl Place for Database {
        type Store = PostgresStore;
        fn store(&self) -> PostgresStore {
            self.store_with(LONG)
        }
        fn store_with(&self, patience: Duration) -> PostgresStore {
            connect(self.url(), patience)
        }
        fn while_held(&self, meanwhile: &mut dyn FnMut()) {
            let mut db = client(self);
            let mut tx = db.transaction().unwrap();
            tx.batch_execute(
                "INSERT INTO readside.instances VALUES ('a', 0) ON CONFLICT DO NOTHING; \
                 SELECT 1 FROM readside.instances WHERE instance_id = 'a' FOR UPDATE",
            )
            .unwrap();
            meanwhile();
            tx.rollback().unwrap();
        }
        fn refuse_poison(&self) {
            let made = client(self).batch_execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                   $$ BEGIN RAISE EXCEPTION 'poison'; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON readside.events FOR EACH ROW \
                   WHEN (NEW.event_type = 'poison') EXECUTE FUNCTION refuse()",
            );
            made.unwrap();
        }
    }

    fn connect(url: &str, patience: Duration) -> PostgresStore {
        let options = PostgresOptions::default().lock_timeout(patience).statement_timeout(2 * LONG);
        PostgresStore::connect_with(url, options).unwrap()
    }

    fn client(place: &Database) -> Client {
        Client::connect(place.url(), NoTls).unwrap()
    }

    fn made() -> Database {
        let database = database();
        database.store().setup().unwrap();
        database
    }

    /// Pushes until there is an answer, which a push key makes safe. Returns the events, and how often the outcome
    /// was unknown.
    fn insist(store: &PostgresStore, commands: &[NewEvent]) -> (Vec<Event>, usize) {
        let mut unknown = 0;
        loop {
            match store.push(commands) {
                Ok(events) => return (events, unknown),
                Err(PushError::Store(error)) if error.is_transient() => {
                    unknown += usize::from(error.kind() == Kind::CommitUnknown);
                }
                Err(error) => panic!("{}", readside::error::chain(&error)),
            }
        }
    }

    // Contract: L6, K1: if the commit of a group is lost or unanswered, its outcome is unknown, and a repeated push
    // finds it out.
    #[test]
    fn a_commit_of_a_group_may_be_lost_or_unanswered() {
        let place = made();
        let proxy = Proxy::before(place.url());
        let store = connect(&proxy.url(place.url()), LONG);
        store.push(&[command("a", "first", "added")]).unwrap();
        for (round, fate) in [Fate::Lost, Fate::Unanswered].into_iter().enumerate() {
            let mut fates = vec![fate];
            proxy.commits_of("INSERT INTO", move || fates.pop().unwrap_or(Fate::Pass));
            let key = |thread| format!("{round}-{thread}");
            let commands = |thread| vec![command("a", &key(thread), "added").push_key(&key(thread))];
            let outcomes = together(&place, &store, &commands);
            for outcome in outcomes {
                match outcome {
                    Err(PushError::Store(error)) => assert_eq!(error.kind(), Kind::CommitUnknown),
                    other => panic!("{other:?}"),
                }
            }
            proxy.pass_commits();
            let found = stored(&place.store(), "a").len();
            assert_eq!(found, if fate == Fate::Lost { 1 } else { 1 + 2 * THREADS }, "round {round}");
            for thread in 0..THREADS {
                let (events, _) = insist(&store, &commands(thread));
                assert_eq!((events.len(), events[0].aggregate_id()), (1, key(thread).as_str()));
            }
            assert_eq!(stored(&store, "a").len(), 1 + (round + 1) * THREADS);
        }
    }

    // Contract: L1, L6, K1
    #[test]
    fn pushes_are_stored_once_whatever_becomes_of_commits() {
        let place = made();
        let proxy = Proxy::before(place.url());
        let store = connect(&proxy.url(place.url()), LONG);
        let mut commits = 0;
        proxy.commits_of("INSERT INTO", move || {
            commits += 1;
            [Fate::Pass, Fate::Lost, Fate::Pass, Fate::Unanswered, Fate::Pass][commits % 5]
        });
        let pushes = 25;
        let unknown: usize = std::thread::scope(|scope| {
            let push = |thread: usize| {
                let store = &store;
                move || {
                    (0..pushes)
                        .map(|n| {
                            let key = format!("{thread}-{n}");
                            let instance = ["a", "b"][(thread + n) % 2];
                            let commands = [
                                command(instance, &key, "added").push_key(&key),
                                command("a", "shared", "added").push_key(&key),
                            ];
                            insist(store, &commands).1
                        })
                        .sum::<usize>()
                }
            };
            let pushing: Vec<_> = (0..8).map(|thread| scope.spawn(push(thread))).collect();
            pushing.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        proxy.pass_commits();
        assert!(unknown > 0 && proxy.counts().1 > 0 && proxy.counts().2 > 0, "{unknown} {:?}", proxy.counts());
        let store = place.store();
        let all = [stored(&store, "a"), stored(&store, "b")].concat();
        assert_eq!(all.len(), 2 * 8 * pushes);
        let shared: Vec<i64> =
            all.iter().filter(|event| event.aggregate_id() == "shared").map(Event::version).collect();
        assert_eq!(shared, (1..).take(8 * pushes).collect::<Vec<i64>>());
    }

    // Contract: L1, L4: a push that waits for two tenants blocks neither, and does not join the group of one of them.
    #[test]
    fn a_tenant_that_is_held_holds_up_no_other() {
        let place = made();
        let store = place.store();
        store.push(&[command("a", "first", "added"), command("b", "first", "added")]).unwrap();
        std::thread::scope(|scope| {
            let mut waiting = Vec::new();
            place.while_held(&mut || {
                waiting.push(scope.spawn(|| store.push(&[command("a", "u", "added")])));
                eventually("a push that waits for the database", || format!("{store:?}").contains("taken: 1"));
                waiting.push(scope.spawn(|| store.push(&[command("a", "u", "added"), command("b", "u", "added")])));
                eventually("a push that waits in line", || format!("{store:?}").contains("waiting: 1"));
                store.push(&[command("b", "u", "added")]).unwrap();
            });
            for pushing in waiting {
                pushing.join().unwrap().unwrap();
            }
        });
        assert_eq!((transactions(&stored(&store, "a")), transactions(&stored(&store, "b"))), (3, 3));
    }

    macro_rules! tests {
        ($($test:ident),*) => { $(#[test] fn $test() { super::$test(&made()); })* };
    }
    tests!(
        those_that_wait_share_a_transaction,
        of_those_that_expect_the_same_version_one_wins,
        a_unique_value_is_taken_once,
        unique_values_go_from_hand_to_hand,
        a_push_repeated_at_once_is_stored_once,
        a_refused_push_does_not_hurt_the_others,
        a_poisoned_push_does_not_hurt_the_others,
        all_that_wait_too_long_are_told_so,
        versions_are_right_whoever_pushes
    );
}
