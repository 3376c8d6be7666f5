//! Faults at random moments: processes killed and stopped, connections cut.

use std::fmt;
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::place::Place;
use crate::work::LEASE;
use crate::{Result, Tally};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Killed,
    Died,
    Frozen,
    Cut,
    RolledBack,
    HeldOpen,
    Conflict,
    RepeatedPush,
    Poison,
}

const KINDS: [(&str, Kind); 9] = [
    ("processes killed", Kind::Killed),
    ("processes that died of an event", Kind::Died),
    ("processes stopped past their lease", Kind::Frozen),
    ("times connections were cut", Kind::Cut),
    ("pushes rolled back", Kind::RolledBack),
    ("transactions held open", Kind::HeldOpen),
    ("conflicts", Kind::Conflict),
    ("pushes repeated", Kind::RepeatedPush),
    ("poison events", Kind::Poison),
];

#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; KINDS.len()]);

impl Counts {
    pub(crate) fn add(&self, kind: Kind) {
        if let Some(count) = self.0.get(kind as usize) {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::SeqCst)).sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |(name, kind): &(&str, Kind)| {
            let count = self.0.get(*kind as usize).map_or(0, |count| count.load(Ordering::SeqCst));
            format!("{count} {name}")
        };
        f.write_str(&KINDS.iter().map(of).collect::<Vec<_>>().join(", "))
    }
}

struct Worker {
    child: Child,
    frozen_until: Option<Instant>,
}

impl Worker {
    fn start(address: &str) -> io::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["--worker", "--database", address])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child, frozen_until: None })
    }

    fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
    }

    fn thaw(&mut self) {
        if self.frozen_until.take().is_some() {
            self.signal("-CONT");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the processes running and disturbs them, until the end; then stops them in order.
pub(crate) fn until<P: Place>(
    end: Instant,
    place: &P,
    processes: u16,
    mut chance: Chance,
    tally: &Tally,
) -> Result<()> {
    let address = place.address();
    let mut workers = (0..processes).map(|_| Worker::start(&address)).collect::<io::Result<Vec<_>>>()?;
    let (mut said, start) = (Instant::now(), Instant::now());
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100 + chance.below(900)).min(end - Instant::now().min(end)));
        for worker in &mut workers {
            tend(worker, &address, tally)?;
        }
        let which = usize::try_from(chance.below(u64::from(processes)))?;
        if let Some(worker) = workers.get_mut(which) {
            disturb(worker, place, &address, &mut chance, tally)?;
        }
        if said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            let (passed, events) = (start.elapsed().as_secs(), tally.pushed.load(Ordering::SeqCst));
            println!("soak: {passed} s, {events} events pushed, {} faults", tally.faults.sum());
        }
    }
    workers.iter_mut().for_each(Worker::thaw);
    end_all(workers);
    Ok(())
}

/// Wakes a process whose time is over, and starts one anew that died.
fn tend(worker: &mut Worker, address: &str, tally: &Tally) -> Result<()> {
    if worker.frozen_until.is_some_and(|until| until <= Instant::now()) {
        worker.thaw();
    }
    if worker.child.try_wait()?.is_some() {
        tally.faults.add(Kind::Died);
        *worker = Worker::start(address)?;
    }
    Ok(())
}

fn disturb<P: Place>(worker: &mut Worker, place: &P, address: &str, chance: &mut Chance, tally: &Tally) -> Result<()> {
    match chance.below(5) {
        0 | 1 => {
            tally.faults.add(Kind::Killed);
            *worker = Worker::start(address)?;
        }
        2 if worker.frozen_until.is_none() => {
            tally.faults.add(Kind::Frozen);
            worker.signal("-STOP");
            worker.frozen_until = Some(Instant::now() + LEASE + Duration::from_millis(chance.below(1500)));
        }
        3 => match place.cut(chance) {
            Ok(true) => tally.faults.add(Kind::Cut),
            Ok(false) => {}
            Err(error) => log::info!("cutting connections: {error}"),
        },
        _ => {}
    }
    Ok(())
}

/// Their input ends, they shut down by themselves; one that does not in time is killed.
fn end_all(mut workers: Vec<Worker>) {
    for worker in &mut workers {
        drop(worker.child.stdin.take());
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    for worker in &mut workers {
        while Instant::now() < deadline && matches!(worker.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
