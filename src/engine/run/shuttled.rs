//! Random schedules of what threads share. They are built and run with `--cfg shuttle`, see `tests/run`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use shuttle::thread;
use uuid::Uuid;

use crate::engine::handler::single_flight::{FlightOutcome, SingleFlight};
use crate::engine::pass::lease::{LeaseHandle, LeaseRegistry};
use crate::engine::pass::work::Moved;
use crate::engine::run::progress::Progress;
use crate::engine::run::schedule::Schedule;
use crate::engine::stop::Stop;
use crate::lease::{Lease, Renewal};
use crate::state::ProjectionKey;
use crate::sync::Mutex;

const SCHEDULES: usize = 3000;

fn check(test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(test, SCHEDULES);
}

fn long() -> Duration {
    Duration::from_secs(1000)
}

fn name(n: usize) -> Arc<str> {
    format!("tenant-{n}").into()
}

/// A caller brings an instance up to date, alone or with another caller's pass, and sees its own event.
fn trigger(flights: &SingleFlight, head: &AtomicI64, applied: &AtomicI64, flying: &AtomicUsize) {
    let mine = head.fetch_add(1, SeqCst) + 1;
    thread::yield_now();
    loop {
        match flights.start(&name(1)) {
            Ok(leader) => {
                assert_eq!(flying.fetch_add(1, SeqCst), 0, "one at a time");
                loop {
                    let seen = head.load(SeqCst);
                    thread::yield_now();
                    applied.fetch_max(seen, SeqCst);
                    flying.store(1, SeqCst);
                    thread::yield_now();
                    flying.store(0, SeqCst);
                    if leader.land_at(seen, false) {
                        break;
                    }
                    flying.store(1, SeqCst);
                }
                break;
            }
            Err(flight) => {
                if !flight.raise(mine) {
                    continue;
                }
                match flight.wait() {
                    Some(FlightOutcome::Reached) => break,
                    Some(FlightOutcome::Abandoned | FlightOutcome::Stopped(_)) | None => {}
                }
            }
        }
    }
    assert!(applied.load(SeqCst) >= mine, "a caller sees its own event");
}

// Contract: C1
#[test]
fn callers_of_one_flight_see_their_own_events() {
    check(|| {
        let (flights, head) = (Arc::new(SingleFlight::default()), Arc::new(AtomicI64::new(0)));
        let (applied, flying) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (flights, head) = (flights.clone(), head.clone());
                let (applied, flying) = (applied.clone(), flying.clone());
                thread::spawn(move || trigger(&flights, &head, &applied, &flying))
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

/// What was asked for each pair, and what was done.
#[derive(Default)]
struct Ledger {
    asked: Mutex<HashMap<(usize, Arc<str>), usize>>,
    done: Mutex<HashMap<(usize, Arc<str>), usize>>,
    running: Mutex<HashSet<(usize, Arc<str>)>>,
}

/// Starts jobs while there is work for them, as the engine's pool does.
fn wake(schedule: &Arc<Schedule>, ledger: &Arc<Ledger>) {
    while schedule.wants_job() {
        let (schedule, ledger) = (schedule.clone(), ledger.clone());
        thread::spawn(move || {
            while let Some(job) = schedule.next() {
                let pairs: Vec<_> = job.instances.iter().map(|instance| (job.projection, instance.clone())).collect();
                for pair in &pairs {
                    assert!(ledger.running.lock().insert(pair.clone()), "a pair is worked on by one job at a time");
                    let asked = ledger.asked.lock().get(pair).copied().unwrap_or(0);
                    ledger.done.lock().insert(pair.clone(), asked);
                }
                thread::yield_now();
                pairs.iter().for_each(|pair| assert!(ledger.running.lock().remove(pair)));
                schedule.done(&job);
                wake(&schedule, &ledger);
            }
        });
    }
}

// Contract: E3, F2: every request is looked at afterwards, even one for a pair that was being worked on.
#[test]
fn whatever_is_asked_for_is_done_afterwards() {
    check(|| {
        let (schedule, ledger) = (Arc::new(Schedule::new(2, 2, 2)), Arc::new(Ledger::default()));
        let askers: Vec<_> = (0..2)
            .map(|n| {
                let (schedule, ledger) = (schedule.clone(), ledger.clone());
                thread::spawn(move || {
                    for (projection, instance) in [(0, 1), (1, 1), (0, n)] {
                        *ledger.asked.lock().entry((projection, name(instance))).or_default() += 1;
                        schedule.add(projection, &name(instance));
                        wake(&schedule, &ledger);
                    }
                })
            })
            .collect();
        askers.into_iter().for_each(|asker| asker.join().unwrap());
        while !(schedule.is_idle(0) && schedule.is_idle(1)) {
            thread::yield_now();
        }
        assert_eq!(*ledger.asked.lock(), *ledger.done.lock());
    });
}

// Contract: L4: a job that hangs keeps only its own instance, and its end does not give back what other jobs got in the
// meantime.
#[test]
fn what_shares_a_job_with_one_that_hangs_is_done() {
    check(|| {
        let (schedule, done) = (Arc::new(Schedule::new(1, 1, 2)), Arc::new(AtomicUsize::new(0)));
        let hung = thread::spawn({
            let (schedule, done) = (schedule.clone(), done.clone());
            (1..=2).for_each(|n| schedule.add(0, &name(n)));
            assert!(schedule.wants_job());
            move || {
                let job = schedule.next().unwrap();
                assert_eq!(job.instances, [name(1), name(2)]);
                while done.load(SeqCst) == 0 {
                    thread::yield_now();
                }
                schedule.done(&job);
                assert!(schedule.next().is_none());
            }
        });
        while done.load(SeqCst) == 0 {
            assert!(schedule.mind_hanging(&[(0, name(1))]).is_empty());
            if schedule.wants_job() {
                while let Some(job) = schedule.next() {
                    if job.instances == [name(2)] {
                        done.store(1, SeqCst);
                        thread::yield_now();
                    }
                    schedule.done(&job);
                }
            }
            thread::yield_now();
        }
        hung.join().unwrap();
        assert!(schedule.mind_hanging(&[]).is_empty() && schedule.is_idle(0));
    });
}

// Contract: C6: a caller that waits for an instance wakes when the instance moves.
#[test]
fn who_waits_for_a_move_wakes() {
    check(|| {
        let (progress, checkpoint) = (Arc::new(Progress::default()), Arc::new(AtomicI64::new(0)));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (progress, checkpoint) = (progress.clone(), checkpoint.clone());
                thread::spawn(move || {
                    loop {
                        let since = progress.now();
                        if checkpoint.load(SeqCst) > 0 {
                            return;
                        }
                        thread::yield_now();
                        progress.wait_for(since, 0, "tenant-1", Instant::now() + long());
                    }
                })
            })
            .collect();
        progress.worked(0, 0, [(name(2), Moved::default())]);
        checkpoint.store(1, SeqCst);
        progress.worked(0, 0, [(name(1), Moved::default())]);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

// Contract: J3
#[test]
fn a_stop_ends_every_wait() {
    check(|| {
        let stop = Arc::new(Stop::default());
        let wait = |stop: Arc<Stop>| thread::spawn(move || assert!(!stop.wait(long())));
        let waiters = [wait(stop.clone()), wait(stop.clone())];
        stop.set();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

/// The database's part of one lease, and the time, which passes only here.
struct Database {
    now: Instant,
    owner: Option<Uuid>,
    epoch: i64,
    until: Instant,
}

const LEASE: Duration = Duration::from_secs(10);

impl Database {
    fn is_of(&self, owner: Uuid, epoch: i64) -> bool {
        self.owner == Some(owner) && self.epoch == epoch && self.now < self.until
    }
}

/// A process: its worker takes the lease, works and gives it back; its keeper renews it.
#[derive(Clone)]
struct Process {
    id: Uuid,
    key: ProjectionKey,
    lease_registry: Arc<LeaseRegistry>,
    database: Arc<Mutex<Database>>,
}

impl Process {
    fn new(id: u128, database: &Arc<Mutex<Database>>) -> Self {
        let id = Uuid::from_u128(id);
        let key = ProjectionKey { name: name(0), version: 1 };
        Self { id, key, lease_registry: Arc::new(LeaseRegistry::new(id, LEASE)), database: database.clone() }
    }

    fn now(&self) -> Instant {
        self.database.lock().now
    }

    fn acquire(&self) -> Option<Arc<LeaseHandle>> {
        let asked = self.now();
        thread::yield_now();
        let epoch = {
            let mut database = self.database.lock();
            if database.owner.is_some() && database.now < database.until {
                return None;
            }
            (database.owner, database.until) = (Some(self.id), database.now + LEASE);
            database.epoch += 1;
            database.epoch
        };
        thread::yield_now();
        let lease = Lease { instance: name(1), epoch, careful: false };
        Some(self.lease_registry.add(&self.key, &lease, asked))
    }

    fn renew(&self) {
        let asked = self.now();
        thread::yield_now();
        let renewed: Vec<Renewal> = {
            let mut database = self.database.lock();
            let is_mine = database.owner == Some(self.id) && database.now < database.until;
            if is_mine {
                database.until = database.now + LEASE;
            }
            let lease = Lease { instance: name(1), epoch: database.epoch, careful: false };
            is_mine.then(|| Renewal { projection: self.key.clone(), lease }).into_iter().collect()
        };
        thread::yield_now();
        self.lease_registry.renewed(&renewed, asked);
    }

    fn work(&self) {
        for _ in 0..2 {
            let Some(handle) = self.acquire() else { continue };
            for _ in 0..3 {
                thread::yield_now();
                let database = self.database.lock();
                let trusted = handle.is_trusted_at(database.now);
                assert!(!trusted || database.is_of(self.id, handle.epoch()), "trusted, and somebody else's");
            }
            self.lease_registry.remove(&self.key, [(name(1), handle)]);
            let mut database = self.database.lock();
            if database.owner == Some(self.id) {
                database.owner = None;
            }
        }
    }
}

// Contract: F3, F5: whatever the order of renewals, expiry and other holders, trust ends before the lease does.
#[test]
fn a_lease_is_not_trusted_longer_than_it_lasts() {
    let now = Instant::now();
    check(move || {
        let database = Arc::new(Mutex::new(Database { now, owner: None, epoch: 0, until: now }));
        let processes = [Process::new(1, &database), Process::new(2, &database)];
        let mut threads = Vec::new();
        for process in &processes {
            let (worker, keeper) = (process.clone(), process.clone());
            threads.push(thread::spawn(move || worker.work()));
            threads.push(thread::spawn(move || (0..3).for_each(|_| keeper.renew())));
        }
        for _ in 0..8 {
            thread::yield_now();
            database.lock().now += LEASE / 4;
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(processes.iter().all(|process| process.lease_registry.is_empty()));
    });
}
