//! Which work waits, which runs, and what a free worker takes next. Nothing here has effects outside its lock.
//!
//! Projections take turns. Within a projection, queued events and catching up take turns. With two workers or more, one
//! projection never gets all of them, so a projection in trouble leaves a worker for the others. An instance gets the
//! last worker only when no other instance wants it, and only for a projection that had no trouble with it: the first
//! trouble then costs at most one time-out, and is remembered. An instance in trouble gets separate jobs.
//!
//! A build that readers do not see yet comes last, but gets a turn after enough live jobs.
//!
//! A job whose reducer hangs keeps only the instance of that reducer. A spare thread takes its place while there is
//! one, and the job no longer counts. Each worker has one spare. Beyond that, hanging jobs count as others do. So even
//! a projection whose reducers all hang leaves a worker for the others.

mod queues;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::engine::pass::work::Work;
use crate::engine::run::schedule::queues::{Lane, MOST_WAITING, Pair, Queues, Running, Setbacks};
use crate::sync::Mutex;

/// After this many live jobs, work in the background has a turn of one job.
const BEFORE_A_TURN: usize = 8;

/// The most batches of queued events that wait. The instances of further batches are caught up instead.
const MOST_DIRECT: usize = 256;

/// Work for one job of the pool. The job has claimed its instances.
#[derive(Debug)]
pub(crate) struct Job {
    id: u64,
    pub(crate) projection: usize,
    pub(crate) instances: Vec<Arc<str>>,
    /// Queued events. Without them the job catches the instances up from the store.
    pub(crate) direct: Option<Vec<Work>>,
}

#[derive(Debug)]
pub(crate) struct Schedule {
    queues: Mutex<Queues>,
    workers: usize,
    batch: usize,
}

impl Schedule {
    pub(crate) fn new(projections: usize, workers: usize, batch: usize) -> Self {
        let lanes = (0..projections).map(|_| Lane::default()).collect();
        Self { queues: Mutex::new(Queues { lanes, ..Queues::default() }), workers, batch: batch.max(1) }
    }

    /// How many threads the pool needs: each worker has a spare one.
    pub(crate) fn threads(&self) -> usize {
        self.workers.saturating_mul(2)
    }

    /// How many jobs may have the same projection, or the same instance.
    fn share(&self) -> usize {
        self.workers.saturating_sub(1).max(1)
    }

    /// Adds an instance to catch up. An instance that is being worked on is looked at again afterwards.
    pub(crate) fn add(&self, projection: usize, instance: &Arc<str>) {
        self.queues.lock().add(projection, instance);
    }

    /// Notes that a running job could not work on an instance. Until a job succeeds with it, the instance gets separate
    /// jobs. It waits for the next one at once, at the end of the line, as often as there are retries. After that it
    /// waits until it is added again.
    pub(crate) fn trouble(&self, projection: usize, instance: &Arc<str>, retries: u32) {
        let mut queues = self.queues.lock();
        let pair = (projection, Arc::clone(instance));
        if queues.troubled.len() >= MOST_WAITING && !queues.troubled.contains_key(&pair) {
            return;
        }
        let trouble = queues.troubled.entry(pair).or_default();
        (trouble.times, trouble.again) = (trouble.times.saturating_add(1), true);
        if trouble.times <= retries.max(1) {
            queues.add(projection, instance);
        }
    }

    /// Adds queued events. The instance is caught up instead when there is no room, or when it is being worked on or
    /// has trouble.
    pub(crate) fn add_direct(&self, projection: usize, works: Vec<Work>) {
        let mut queues = self.queues.lock();
        if queues.closed {
            return;
        }
        let room = queues.lanes.get(projection).is_some_and(|lane| lane.direct.len() < MOST_DIRECT);
        let (mut free, mut other) = (Vec::new(), Vec::new());
        for work in works {
            let pair = (projection, Arc::clone(&work.instance));
            if room && !queues.claimed.contains_key(&pair) && !queues.troubled.contains_key(&pair) {
                queues.claimed.insert(pair, None);
                free.push(work);
            } else {
                other.push(work.instance);
            }
        }
        if let Some(lane) = queues.lanes.get_mut(projection).filter(|_| !free.is_empty()) {
            lane.direct.push_back(free);
        }
        for instance in other {
            queues.add(projection, &instance);
        }
    }

    /// True when one more job should start. That job is counted at once.
    pub(crate) fn wants_job(&self) -> bool {
        let mut queues = self.queues.lock();
        let has_work =
            |background: bool| queues.lanes.iter().any(|lane| lane.background == background && lane.has_work());
        let room = has_work(false) || (has_work(true) && self.leaves_one(queues.active() + 1));
        if queues.closed || !room || queues.active() >= self.workers {
            return false;
        }
        queues.jobs += 1;
        true
    }

    /// True when this many jobs leave a worker free, or when there is only one worker.
    fn leaves_one(&self, jobs: usize) -> bool {
        jobs < self.workers || self.workers == 1
    }

    /// Sets whether a projection is worked on in the background.
    pub(crate) fn set_background(&self, projection: usize, background: bool) {
        if let Some(lane) = self.queues.lock().lanes.get_mut(projection) {
            lane.background = background;
        }
    }

    /// True when work waits that comes before background work.
    pub(crate) fn has_live_work(&self) -> bool {
        self.queues.lock().lanes.iter().any(|lane| !lane.background && lane.has_work())
    }

    /// The next work for a job. `None` ends the job.
    pub(crate) fn next(&self) -> Option<Job> {
        let mut queues = self.queues.lock();
        let job = if queues.closed { None } else { self.pick(&mut queues) };
        if job.is_none() {
            queues.jobs -= 1;
        }
        job
    }

    /// Picks live work first. Endless live work would keep background work from starting, so background work gets a
    /// turn from time to time. It may take even the last worker then, but it gets only one.
    fn pick(&self, queues: &mut Queues) -> Option<Job> {
        if queues.live >= BEFORE_A_TURN
            && !queues.lanes.iter().any(|lane| lane.background && lane.running > 0)
            && let Some(job) = self.pick_of(queues, true)
        {
            queues.live = 0;
            return Some(job);
        }
        if let Some(job) = self.pick_of(queues, false) {
            queues.live = queues.live.saturating_add(1);
            return Some(job);
        }
        let job = self.leaves_one(queues.active()).then(|| self.pick_of(queues, true)).flatten()?;
        queues.live = 0;
        Some(job)
    }

    /// Picks an instance that has its share of workers only after all others.
    fn pick_of(&self, queues: &mut Queues, background: bool) -> Option<Job> {
        self.pick_within(queues, background, false).or_else(|| self.pick_within(queues, background, true))
    }

    /// If `beyond`, it may exceed the share of an instance, where the projection had no trouble with that instance.
    fn pick_within(&self, queues: &mut Queues, background: bool, beyond: bool) -> Option<Job> {
        let count = queues.lanes.len();
        for turn in 0..count {
            let projection = (queues.next + turn) % count;
            let may = |lane: &Lane| lane.background == background && lane.running < self.share();
            if !queues.lanes.get(projection).is_some_and(may) {
                continue;
            }
            if let Some(mut job) = self.pick_from(queues, projection, beyond) {
                queues.next = projection + 1;
                queues.last_id += 1;
                job.id = queues.last_id;
                for instance in &job.instances {
                    queues.claimed.insert((projection, Arc::clone(instance)), Some(job.id));
                }
                let instances = job.instances.clone();
                let running = Running { projection, instances, hangs: false, replaced: false };
                queues.count(&running);
                queues.running.insert(job.id, running);
                return Some(job);
            }
        }
        None
    }

    fn pick_from(&self, queues: &mut Queues, projection: usize, beyond: bool) -> Option<Job> {
        let was_direct = queues.lanes.get(projection)?.was_direct;
        let job = if was_direct {
            self.pick_waiting(queues, projection, beyond).or_else(|| self.pick_direct(queues, projection, beyond))
        } else {
            self.pick_direct(queues, projection, beyond).or_else(|| self.pick_waiting(queues, projection, beyond))
        }?;
        queues.lanes.get_mut(projection)?.was_direct = job.direct.is_some();
        Some(job)
    }

    /// Takes the first batch of queued events in which no instance has its share of workers. The others keep their
    /// places.
    fn pick_direct(&self, queues: &mut Queues, projection: usize, beyond: bool) -> Option<Job> {
        let Queues { lanes, busy, troubled, .. } = queues;
        let (lane, may) = (lanes.get_mut(projection)?, self.may_have(busy, troubled, projection, beyond));
        let first = lane.direct.iter().position(|works| works.iter().all(|work| may(&work.instance)))?;
        let works = lane.direct.remove(first)?;
        let instances = works.iter().map(|work| Arc::clone(&work.instance)).collect();
        Some(Job { id: 0, projection, instances, direct: Some(works) })
    }

    fn pick_waiting(&self, queues: &mut Queues, projection: usize, beyond: bool) -> Option<Job> {
        let Queues { lanes, busy, troubled, claimed, .. } = queues;
        let (lane, may) = (lanes.get_mut(projection)?, self.may_have(busy, troubled, projection, beyond));
        let is_free = |instance: &Arc<str>| !claimed.contains_key(&(projection, Arc::clone(instance))) && may(instance);
        let is_alone = |instance: &Arc<str>| troubled.contains_key(&(projection, Arc::clone(instance)));
        let mut instances = lane.waiting.take(1, is_free);
        if !instances.first().is_some_and(is_alone) {
            instances.extend(lane.waiting.take(self.batch - 1, |one| is_free(one) && !is_alone(one)));
        }
        queues.waiting -= instances.len();
        (!instances.is_empty()).then_some(Job { id: 0, projection, instances, direct: None })
    }

    /// True for instances of which the projection may have one more job.
    fn may_have<'q>(
        &self,
        busy: &'q HashMap<Arc<str>, usize>,
        troubled: &'q HashMap<(usize, Arc<str>), Setbacks>,
        projection: usize,
        beyond: bool,
    ) -> impl Fn(&Arc<str>) -> bool + use<'q> {
        let share = self.share();
        move |instance| {
            busy.get(instance).is_none_or(|jobs| *jobs < share)
                || (beyond && !troubled.contains_key(&(projection, Arc::clone(instance))))
        }
    }

    /// Gives back the instances that a job still has. Those that were asked for in the meantime wait again under the
    /// same lock, so nothing looks idle in between.
    pub(crate) fn done(&self, job: &Job) {
        let mut queues = self.queues.lock();
        let Some(running) = queues.running.remove(&job.id) else { return };
        if !running.replaced {
            queues.discount(&running);
        }
        let mut again = Vec::new();
        for instance in running.instances {
            let pair = (running.projection, instance);
            queues.claimed.remove(&pair);
            if let Some(trouble) = queues.troubled.get_mut(&pair)
                && !std::mem::take(&mut trouble.again)
            {
                queues.troubled.remove(&pair);
            }
            if queues.again.remove(&pair) {
                again.push(pair.1);
            }
        }
        for instance in again {
            queues.add(running.projection, &instance);
        }
    }

    /// Notes which pairs are inside reducers that hang; `hanging` lists all of them. Returns the projections whose
    /// work has no worker because hanging reducers have them all.
    pub(crate) fn mind_hanging(&self, hanging: &[Pair]) -> Vec<usize> {
        let mut queues = self.queues.lock();
        let mut found: BTreeMap<u64, Vec<Arc<str>>> = BTreeMap::new();
        for pair in hanging {
            if let Some(id) = queues.claimed.get(pair).copied().flatten() {
                found.entry(id).or_default().push(Arc::clone(&pair.1));
            }
        }
        for (id, instances) in &found {
            queues.free(*id, instances);
        }
        for (id, job) in &mut queues.running {
            job.hangs = found.contains_key(id);
        }
        let over: Vec<u64> =
            queues.running.iter().filter(|(_, job)| job.replaced && !job.hangs).map(|(id, _)| *id).collect();
        for id in over {
            queues.replace(id, false);
        }
        let spares = self.threads().saturating_sub(self.workers);
        let hang: Vec<u64> = queues.running.iter().filter(|(_, job)| job.hangs).map(|(id, _)| *id).collect();
        // A job that has a spare thread keeps it.
        let has_one = |id: &u64| queues.running.get(id).is_some_and(|job| job.replaced);
        let (have, want): (Vec<u64>, Vec<u64>) = hang.into_iter().partition(has_one);
        for id in want.into_iter().take(spares.saturating_sub(have.len())) {
            queues.replace(id, true);
        }
        self.starved(&queues)
    }

    fn starved(&self, queues: &Queues) -> Vec<usize> {
        let counted: Vec<usize> =
            queues.running.values().filter(|job| job.hangs && !job.replaced).map(|job| job.projection).collect();
        let is_starved = |(projection, lane): &(usize, &Lane)| {
            let own = counted.iter().filter(|one| *one == projection).count();
            let all = if lane.background { self.share() } else { self.workers };
            lane.has_work() && (own >= self.share() || counted.len() >= all)
        };
        queues.lanes.iter().enumerate().filter(is_starved).map(|(projection, _)| projection).collect()
    }

    /// Pairs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queues.lock().waiting
    }

    /// True when no work of this projection waits or runs.
    #[cfg(all(test, shuttle))]
    pub(crate) fn is_idle(&self, projection: usize) -> bool {
        let queues = self.queues.lock();
        queues
            .lanes
            .get(projection)
            .is_none_or(|lane| lane.waiting.is_empty() && lane.direct.is_empty() && lane.running == 0)
    }

    /// Refuses new work and forgets what waits. Returns true when no job runs any more.
    pub(crate) fn close(&self) -> bool {
        let mut queues = self.queues.lock();
        queues.closed = true;
        queues.waiting = 0;
        queues.troubled.clear();
        for lane in &mut queues.lanes {
            lane.waiting.clear();
            lane.direct.clear();
        }
        queues.jobs == 0
    }
}

#[cfg(test)]
mod tests;
