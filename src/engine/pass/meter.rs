//! What a process measures of its work on a projection. Counting costs a few atomic additions for each batch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Upper bounds of the buckets of a histogram, in seconds.
pub(crate) const BOUNDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// How often something took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One for each bound, and one for what is longer.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    pub(crate) fn add(&self, times: impl Iterator<Item = Duration>) {
        let (mut counts, mut sum) = ([0; BOUNDS.len() + 1], Duration::ZERO);
        // Events that were pushed together have one time.
        let (mut last, mut at) = (None, 0);
        times.for_each(|time| {
            if last != Some(time) {
                let seconds = time.as_secs_f64();
                (last, at) = (Some(time), BOUNDS.partition_point(|bound| *bound < seconds));
            }
            if let Some(count) = counts.get_mut(at) {
                *count += 1;
            }
            sum = sum.saturating_add(time);
        });
        for (bucket, count) in self.buckets.iter().zip(counts).filter(|(_, count)| *count > 0) {
            bucket.fetch_add(count, Ordering::Relaxed);
        }
        add(&self.nanos, sum);
    }

    fn read(&self) -> Spread {
        Spread { buckets: self.buckets.iter().map(read).collect(), sum: time(&self.nanos) }
    }
}

/// A histogram as it was read: how many fell into each bucket, the last being what is longer than all bounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Spread {
    pub(crate) buckets: Vec<u64>,
    pub(crate) sum: Duration,
}

/// What is measured of one build in this process.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    events: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    batches: Histogram,
    visible: Histogram,
    reading: AtomicU64,
    reducing: AtomicU64,
    writing: AtomicU64,
    /// Of `reading` and `reducing`, what an observer has heard of.
    told: [AtomicU64; 2],
}

/// As it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Measured {
    /// Events that were applied.
    pub(crate) events: u64,
    /// Transactions that were committed.
    pub(crate) done: u64,
    /// Transactions that were rolled back.
    pub(crate) failed: u64,
    /// How long transactions took that were committed.
    pub(crate) batches: Spread,
    /// From the push of an event to the commit by which readers see it.
    pub(crate) visible: Spread,
    /// Time spent on reading events.
    pub(crate) reading: Duration,
    /// Time spent in reducers.
    pub(crate) reducing: Duration,
    /// Time spent in transactions.
    pub(crate) writing: Duration,
}

impl Meter {
    pub(crate) fn batch(&self, time: Duration, is_done: bool) {
        add(&self.writing, time);
        if is_done {
            self.done.fetch_add(1, Ordering::Relaxed);
            self.batches.add(std::iter::once(time));
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events were applied that were stored then; readers see them unless they are hidden. Clocks may differ, so that one seems
    /// to be seen before it was stored: that counts as at once.
    pub(crate) fn applied(&self, stored: impl Iterator<Item = SystemTime>, now: SystemTime, is_hidden: bool) {
        let mut events = 0;
        let stored = stored.inspect(|_| events += 1);
        if is_hidden {
            stored.for_each(drop);
        } else {
            self.visible.add(stored.map(|stored| now.duration_since(stored).unwrap_or_default()));
        }
        self.events.fetch_add(events, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, time: Duration) {
        add(&self.reading, time);
    }

    pub(crate) fn reduced(&self, time: Duration) {
        add(&self.reducing, time);
    }

    /// Time spent on reading and in reducers since it was asked for before. Whoever asks at the same time, nothing is
    /// told twice.
    pub(crate) fn untold(&self) -> [Duration; 2] {
        let [reading, reducing] = &self.told;
        [(&self.reading, reading), (&self.reducing, reducing)].map(|(spent, told)| {
            let now = read(spent);
            Duration::from_nanos(now.saturating_sub(told.fetch_max(now, Ordering::Relaxed)))
        })
    }

    pub(crate) fn measured(&self) -> Measured {
        Measured {
            events: read(&self.events),
            done: read(&self.done),
            failed: read(&self.failed),
            batches: self.batches.read(),
            visible: self.visible.read(),
            reading: time(&self.reading),
            reducing: time(&self.reducing),
            writing: time(&self.writing),
        }
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn time(nanos: &AtomicU64) -> Duration {
    Duration::from_nanos(read(nanos))
}

fn add(nanos: &AtomicU64, time: Duration) {
    nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: S7: what observers hear adds up to what the metrics say.
    #[test]
    fn time_is_told_once() {
        let meter = Meter::default();
        let seconds = Duration::from_secs;
        assert_eq!(meter.untold(), [Duration::ZERO; 2]);
        meter.read(seconds(1));
        meter.reduced(seconds(2));
        assert_eq!(meter.untold(), [seconds(1), seconds(2)]);
        meter.reduced(seconds(3));
        assert_eq!(meter.untold(), [Duration::ZERO, seconds(3)]);
    }

    // Contract: S4
    #[test]
    fn each_time_falls_into_one_bucket_and_none_is_negative() {
        let meter = Meter::default();
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let late = Duration::from_hours(9);
        let ages = [Duration::from_millis(1), Duration::from_millis(2), late];
        meter.applied(ages.iter().map(|age| at + late - *age), at + late, false);
        meter.applied([at + Duration::from_hours(1)].into_iter(), at, false);
        meter.applied([at].into_iter(), at, true);
        meter.batch(Duration::from_secs(1), true);
        meter.batch(Duration::from_secs(2), false);
        let found = meter.measured();
        assert_eq!((found.events, found.done, found.failed, found.writing), (5, 1, 1, Duration::from_secs(3)));
        let last = BOUNDS.len();
        assert_eq!((found.visible.buckets[0], found.visible.buckets[1], found.visible.buckets[last]), (2, 1, 1));
        assert_eq!(found.visible.sum, Duration::from_hours(9) + Duration::from_millis(3));
        assert_eq!((found.batches.buckets.iter().sum::<u64>(), found.batches.sum), (1, Duration::from_secs(1)));
    }
}
