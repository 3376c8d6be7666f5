//! The queues of a schedule: what waits, what runs, and how it counts.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::engine::pass::work::Work;

/// Pairs that wait, at most; what comes after that is found by a later tick.
pub(super) const MOST_WAITING: usize = 100_000;

/// Instances that wait, in the order in which they came, each once.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) order: VecDeque<Arc<str>>,
    pub(super) known: HashSet<Arc<str>>,
}

impl Line {
    /// False when it waits already.
    pub(super) fn add(&mut self, instance: &Arc<str>) -> bool {
        let is_new = self.known.insert(Arc::clone(instance));
        if is_new {
            self.order.push_back(Arc::clone(instance));
        }
        is_new
    }

    /// The first so many that are free; the others keep their places.
    pub(super) fn take(&mut self, most: usize, is_free: impl Fn(&Arc<str>) -> bool) -> Vec<Arc<str>> {
        let (mut taken, mut passed) = (Vec::new(), Vec::new());
        while taken.len() < most
            && let Some(instance) = self.order.pop_front()
        {
            if is_free(&instance) {
                self.known.remove(&instance);
                taken.push(instance);
            } else {
                passed.push(instance);
            }
        }
        for instance in passed.into_iter().rev() {
            self.order.push_front(instance);
        }
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.known.clear();
    }
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) waiting: Line,
    pub(super) direct: VecDeque<Vec<Work>>,
    /// The last job was of events at hand: the next one is not, if it can be helped.
    pub(super) was_direct: bool,
    pub(super) running: usize,
    /// Worked on when there is nothing else to do and another worker is free, or when it is its turn.
    pub(super) background: bool,
}

impl Lane {
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.direct.is_empty()
    }
}

/// How often an instance could not be worked on in a row.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    pub(super) times: u32,
    /// Also in the job that runs.
    pub(super) again: bool,
}

/// A job that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) projection: usize,
    /// Those that it still has.
    pub(super) instances: Vec<Arc<str>>,
    pub(super) hangs: bool,
    /// A spare thread works in its place: it counts in no share.
    pub(super) replaced: bool,
}

pub(super) type Pair = (usize, Arc<str>);

#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) lanes: Vec<Lane>,
    pub(super) waiting: usize,
    /// Pairs that are worked on, with the job; none for events at hand that wait.
    pub(super) claimed: HashMap<Pair, Option<u64>>,
    pub(super) running: BTreeMap<u64, Running>,
    pub(super) last_id: u64,
    /// To be worked on in their own jobs, so that what they wait for keeps no others waiting.
    pub(super) troubled: HashMap<(usize, Arc<str>), Setbacks>,
    /// Asked for while they were being worked on.
    pub(super) again: HashSet<(usize, Arc<str>)>,
    /// Jobs by instance.
    pub(super) busy: HashMap<Arc<str>, usize>,
    pub(super) next: usize,
    pub(super) jobs: usize,
    /// Live jobs since the last one in the background.
    pub(super) live: usize,
    pub(super) closed: bool,
}

impl Queues {
    pub(super) fn add(&mut self, projection: usize, instance: &Arc<str>) {
        let background = self.lanes.get(projection).is_some_and(|lane| lane.background);
        let most = if background { MOST_WAITING / 2 } else { MOST_WAITING };
        if self.closed || self.waiting >= most {
            return;
        }
        let pair = (projection, Arc::clone(instance));
        if self.claimed.contains_key(&pair) {
            self.again.insert(pair);
            return;
        }
        let added = self.lanes.get_mut(projection).is_some_and(|lane| lane.waiting.add(instance));
        self.waiting += usize::from(added);
    }

    /// Jobs that take a worker.
    pub(super) fn active(&self) -> usize {
        self.jobs.saturating_sub(self.running.values().filter(|job| job.replaced).count())
    }

    /// Counts a job in the shares of its projection and of its instances.
    pub(super) fn count(&mut self, job: &Running) {
        if let Some(lane) = self.lanes.get_mut(job.projection) {
            lane.running += 1;
        }
        for instance in &job.instances {
            *self.busy.entry(Arc::clone(instance)).or_default() += 1;
        }
    }

    /// The same for one that is over, or does not count any more.
    pub(super) fn discount(&mut self, job: &Running) {
        if let Some(lane) = self.lanes.get_mut(job.projection) {
            lane.running = lane.running.saturating_sub(1);
        }
        self.discount_instances(&job.instances);
    }

    pub(super) fn discount_instances(&mut self, instances: &[Arc<str>]) {
        for instance in instances {
            if let Some(jobs) = self.busy.get_mut(instance) {
                *jobs = jobs.saturating_sub(1);
                if *jobs == 0 {
                    self.busy.remove(instance);
                }
            }
        }
    }

    /// Takes all other instances from a job that hangs in these. They wait again.
    pub(super) fn free(&mut self, id: u64, hanging: &[Arc<str>]) {
        let Some(job) = self.running.get_mut(&id) else { return };
        let (projection, counts) = (job.projection, !job.replaced);
        let others: Vec<Arc<str>> = job.instances.extract_if(.., |instance| !hanging.contains(instance)).collect();
        if counts {
            self.discount_instances(&others);
        }
        for instance in others {
            let pair = (projection, Arc::clone(&instance));
            self.claimed.remove(&pair);
            self.again.remove(&pair);
            self.add(projection, &instance);
        }
        for instance in hanging {
            let pair = (projection, Arc::clone(instance));
            if self.troubled.len() < MOST_WAITING || self.troubled.contains_key(&pair) {
                self.troubled.entry(pair).or_default().again = true;
            }
        }
    }

    /// Puts a spare thread in the place of a job, or takes it back.
    pub(super) fn replace(&mut self, id: u64, replaced: bool) {
        let Some(mut job) = self.running.remove(&id) else { return };
        if job.replaced != replaced {
            job.replaced = replaced;
            if replaced {
                self.discount(&job);
            } else {
                self.count(&job);
            }
        }
        self.running.insert(id, job);
    }
}
