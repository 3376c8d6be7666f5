//! What this process remembers of the log, and when it forgets that: after each reconnect the log may be another one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::run::seen::SeenRanges;
use crate::sync::{Mutex, MutexGuard};

#[derive(Debug, Default)]
pub(crate) struct LogMemory {
    seen_ranges: Mutex<SeenRanges>,
    /// The source generation for which the log was last forgotten.
    generation: AtomicU64,
    /// How often the log was forgotten.
    forgotten: AtomicU64,
}

impl LogMemory {
    pub(crate) fn new(generation: u64) -> Self {
        Self { generation: AtomicU64::new(generation), ..Self::default() }
    }

    /// What the queue has shown without a gap.
    pub(crate) fn seen_ranges(&self) -> MutexGuard<'_, SeenRanges> {
        self.seen_ranges.lock()
    }

    /// Takes in the generation of the source. Returns true when it is another one.
    pub(crate) fn is_another(&self, generation: u64) -> bool {
        self.generation.swap(generation, Ordering::SeqCst) != generation
    }

    /// Forgets it, and runs `rest` to forget more. The count rises last: a thread that sees the new number finds all of
    /// it gone.
    pub(crate) fn forget(&self, rest: impl FnOnce()) {
        self.seen_ranges.lock().forget_all();
        rest();
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    /// How often the log was forgotten. Anything read before the last time may be of another log.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }
}
