//! Waits that grow: exponential, capped, with jitter so that many do not come back at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The wait after the n-th failure, from 1: `base`, twice as long each time, at most `cap`, then up to a tenth off.
pub(crate) fn after(base: Duration, cap: Duration, failures: u32) -> Duration {
    jittered(chain(base, cap, failures), random())
}

fn chain(base: Duration, cap: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(30);
    base.saturating_mul(1 << doublings).min(cap)
}

fn jittered(full: Duration, random: f64) -> Duration {
    full.mul_f64(1.0 - random / 10.0)
}

/// A random number between 0 and 1. The standard library gives each of these hashers a new seed.
fn random() -> f64 {
    let bits = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: H2
    #[test]
    fn waits_double_up_to_the_cap() {
        let seconds = |n| chain(Duration::from_secs(5), Duration::from_mins(5), n).as_secs();
        assert_eq!((1..=8).map(seconds).collect::<Vec<_>>(), [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(seconds(u32::MAX), 300);
        // Eight attempts lie about ten minutes apart in all.
        assert_eq!((1..8).map(seconds).sum::<u64>(), 615);
    }

    #[test]
    fn jitter_takes_at_most_a_tenth_off() {
        let full = Duration::from_secs(10);
        assert_eq!(jittered(full, 0.0), full);
        assert_eq!(jittered(full, 1.0), Duration::from_secs(9));
        assert!((0..100).map(|_| random()).all(|random| (0.0..=1.0).contains(&random)));
    }
}
