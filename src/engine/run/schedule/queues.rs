//! The queues of a schedule: what waits, what runs, and how it counts.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::engine::pass::work::Work;

/// The most pairs that wait. A later tick finds the pairs that had no room.
pub(super) const MOST_WAITING: usize = 100_000;

/// Instances that wait, in the order of arrival, each once.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) order: VecDeque<Arc<str>>,
    pub(super) known: HashSet<Arc<str>>,
}

impl Line {
    /// Returns false when the instance already waits.
    pub(super) fn add(&mut self, instance: &Arc<str>) -> bool {
        let is_new = self.known.insert(Arc::clone(instance));
        if is_new {
            self.order.push_back(Arc::clone(instance));
        }
        is_new
    }

    /// Takes the first free instances, at most `most` of them. The others keep their places.
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
    /// The last job had queued events. The next one catches up, if anything waits for that.
    pub(super) was_direct: bool,
    pub(super) running: usize,
    /// Worked on when no other work waits and another worker is free, or when it is its turn.
    pub(super) background: bool,
}

impl Lane {
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.direct.is_empty()
    }
}

/// How often in a row an instance could not be worked on.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    pub(super) times: u32,
    /// True when the running job had trouble with it too.
    pub(super) again: bool,
}

/// A job that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) projection: usize,
    /// The instances that the job still has.
    pub(super) instances: Vec<Arc<str>>,
    pub(super) hangs: bool,
    /// A spare thread works in its place, so the job counts in no share.
    pub(super) replaced: bool,
}

pub(super) type Pair = (usize, Arc<str>);

#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) lanes: Vec<Lane>,
    pub(super) waiting: usize,
    /// Pairs that are being worked on, each with its job. `None` for queued events that wait for a job.
    pub(super) claimed: HashMap<Pair, Option<u64>>,
    pub(super) running: BTreeMap<u64, Running>,
    pub(super) last_id: u64,
    /// Pairs that get separate jobs, so that no other instance waits with them.
    pub(super) troubled: HashMap<(usize, Arc<str>), Setbacks>,
    /// Pairs that were asked for while they were being worked on.
    pub(super) again: HashSet<(usize, Arc<str>)>,
    /// The number of jobs by instance.
    pub(super) busy: HashMap<Arc<str>, usize>,
    pub(super) next: usize,
    pub(super) jobs: usize,
    /// The number of live jobs since the last background job.
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

    /// The number of jobs that take a worker.
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

    /// Undoes [`count`](Self::count) for a job that is over, or that no longer counts.
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

    /// Takes all instances from a job except those in whose reducers it hangs. They wait again.
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
