//! Faults at random moments: processes are killed and stopped, and connections are cut.

use std::fmt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::ground::{self, Ground};
use crate::heard::{self, Fork, Heard};
use crate::place::Place;
use crate::work::LEASE;
use crate::{Options, Result, Tally};

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
    Restored,
    Promoted,
    Replaced,
}

const KINDS: [(&str, Kind); 12] = [
    ("processes killed", Kind::Killed),
    ("processes that ended by themselves", Kind::Died),
    ("processes stopped past their lease", Kind::Frozen),
    ("times connections were cut", Kind::Cut),
    ("pushes rolled back", Kind::RolledBack),
    ("transactions held open", Kind::HeldOpen),
    ("conflicts", Kind::Conflict),
    ("pushes repeated", Kind::RepeatedPush),
    ("poison events", Kind::Poison),
    ("older copies restored", Kind::Restored),
    ("standbys that lag promoted", Kind::Promoted),
    ("files replaced", Kind::Replaced),
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

/// How processes are started.
struct Start<'s> {
    address: String,
    /// Who listens to processes that push, and how many threads of each push.
    pushes: Option<(&'s Arc<Heard>, u16)>,
}

impl Start<'_> {
    fn worker(&self) -> Result<Worker> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--worker", "--database", &self.address]).stdin(Stdio::piped()).stdout(Stdio::null());
        if let Some((_, pushers)) = self.pushes {
            command.args(["--speaks", "--pushers", &pushers.to_string()]).stdout(Stdio::piped());
        }
        let child = command.spawn()?;
        let mut worker = Worker { frozen_until: None, listens: None, child };
        if let (Some((heard, _)), Some(stdout)) = (self.pushes, worker.child.stdout.take()) {
            worker.listens = Some(heard.listen(&worker.child, stdout)?);
        }
        Ok(worker)
    }

    fn workers(&self, count: u16) -> Result<Vec<Worker>> {
        (0..count).map(|_| self.worker()).collect()
    }
}

struct Worker {
    child: Child,
    frozen_until: Option<Instant>,
    /// Listens to what the process says, until it ends.
    listens: Option<JoinHandle<()>>,
}

impl Worker {
    fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
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
        let _ = self.listens.take().map(JoinHandle::join);
    }
}

/// Keeps the processes running and disturbs them until the end. Then it stops them in order.
pub(crate) fn until<P: Place>(
    end: Instant,
    place: &P,
    processes: u16,
    mut chance: Chance,
    tally: &Tally,
) -> Result<()> {
    let start = Start { address: place.address(), pushes: None };
    let mut workers = start.workers(processes)?;
    let mut progress = Progress::default();
    while Instant::now() < end {
        disturb_one(&mut workers, place, &start, end, &mut chance, tally)?;
        progress.tell(tally);
    }
    end_all(workers);
    Ok(())
}

/// How the history forked, and how often a process did not report that its file is gone.
#[derive(Debug, Default)]
pub(crate) struct Forks {
    pub(crate) forks: Vec<Fork>,
    pub(crate) unnamed: u64,
}

/// As [`until`], with processes that push, while the database is replaced or restored from time to time.
pub(crate) fn restoring<P: Place>(
    end: Instant,
    place: &P,
    ground: &mut impl Ground,
    options: &Options,
    mut chance: Chance,
    heard: &Arc<Heard>,
    tally: &Tally,
) -> Result<Forks> {
    let start = Start { address: place.address(), pushes: Some((heard, options.pushers)) };
    let mut workers = start.workers(options.processes)?;
    let (mut forks, mut progress) = (Forks::default(), Progress::default());
    let mut next = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        disturb_one(&mut workers, place, &start, end, &mut chance, tally)?;
        if Instant::now() >= next {
            fork(&mut workers, &start, ground, &mut forks, &mut chance, tally)?;
            next = Instant::now() + Duration::from_millis(300 + chance.below(1500));
        }
        progress.tell(tally);
    }
    end_all(workers);
    Ok(forks)
}

/// Replaces or restores the database when all processes have it open. A process that opens a file just after it was
/// replaced is not to blame for what it finds.
fn fork(
    workers: &mut Vec<Worker>,
    start: &Start<'_>,
    ground: &mut impl Ground,
    forks: &mut Forks,
    chance: &mut Chance,
    tally: &Tally,
) -> Result<()> {
    until_all_push(workers, start, tally)?;
    let from = heard::now();
    let kind = ground.begin()?;
    tally.faults.add(kind);
    ground::pause(chance);
    ground.end()?;
    let gone = matches!(kind, Kind::Replaced).then(heard::now);
    if let (Some(gone), Some((heard, _))) = (gone, start.pushes) {
        let refused = |worker: &Worker| heard.refusal(worker.child.id(), gone);
        let deadline = Instant::now() + Duration::from_secs(10);
        while workers.iter_mut().any(|worker| worker.is_alive() && refused(worker).is_none())
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        for words in workers.iter_mut().filter_map(|worker| worker.is_alive().then(|| refused(worker))) {
            if !words.as_ref().is_some_and(|words| words.contains("another file")) {
                println!("soak: a process does not say that its file was replaced, it says {words:?}");
                forks.unnamed += 1;
            }
        }
        let count = u16::try_from(workers.len())?;
        workers.clear();
        ground.clear()?;
        *workers = start.workers(count)?;
    }
    forks.forks.push(Fork { from, gone, to: heard::now() });
    Ok(())
}

/// Wakes all processes. A stopped process with an open transaction would block the restore of a copy.
fn until_all_push(workers: &mut [Worker], start: &Start<'_>, tally: &Tally) -> Result<()> {
    workers.iter_mut().for_each(Worker::thaw);
    let deadline = Instant::now() + Duration::from_mins(1);
    let has_spoken = |worker: &Worker| start.pushes.is_none_or(|(heard, _)| heard.has_pushed(worker.child.id()));
    loop {
        for worker in workers.iter_mut() {
            tend(worker, start, tally)?;
        }
        if workers.iter().all(has_spoken) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err("a process does not get to push".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Prints the progress every ten seconds.
struct Progress {
    began: Instant,
    said: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self { began: Instant::now(), said: Instant::now() }
    }
}

impl Progress {
    fn tell(&mut self, tally: &Tally) {
        if self.said.elapsed() > Duration::from_secs(10) {
            self.said = Instant::now();
            let (passed, events) = (self.began.elapsed().as_secs(), tally.pushed.load(Ordering::SeqCst));
            println!("soak: {passed} s, {events} events pushed, {} faults", tally.faults.sum());
        }
    }
}

/// Waits a while, then looks after all processes and disturbs one.
fn disturb_one<P: Place>(
    workers: &mut [Worker],
    place: &P,
    start: &Start<'_>,
    end: Instant,
    chance: &mut Chance,
    tally: &Tally,
) -> Result<()> {
    std::thread::sleep(Duration::from_millis(100 + chance.below(900)).min(end - Instant::now().min(end)));
    for worker in workers.iter_mut() {
        tend(worker, start, tally)?;
    }
    let which = usize::try_from(chance.below(workers.len() as u64))?;
    match workers.get_mut(which) {
        Some(worker) => disturb(worker, place, start, chance, tally),
        None => Ok(()),
    }
}

/// Wakes a process when its pause is over, and restarts a process that died.
fn tend(worker: &mut Worker, start: &Start<'_>, tally: &Tally) -> Result<()> {
    if worker.frozen_until.is_some_and(|until| until <= Instant::now()) {
        worker.thaw();
    }
    if worker.child.try_wait()?.is_some() {
        tally.faults.add(Kind::Died);
        *worker = start.worker()?;
    }
    Ok(())
}

fn disturb<P: Place>(
    worker: &mut Worker,
    place: &P,
    start: &Start<'_>,
    chance: &mut Chance,
    tally: &Tally,
) -> Result<()> {
    match chance.below(5) {
        0 | 1 => {
            tally.faults.add(Kind::Killed);
            *worker = start.worker()?;
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

/// Ends the input of all processes, so that they shut down. A process that does not end in time is killed.
fn end_all(mut workers: Vec<Worker>) {
    workers.iter_mut().for_each(Worker::thaw);
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
