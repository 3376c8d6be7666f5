//! Claims under random schedules: built and run with `--cfg shuttle`, see `tests/run`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::thread;

use super::claims::Claims;
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

// SPEC A1, L1: pushes to overlapping instances go one after the other, and none waits for ever.
#[test]
fn claims_overlap_never_and_end() {
    check(|| {
        let (claims, busy) = (Arc::new(Claims::default()), Arc::new(Mutex::new(HashSet::new())));
        let pushers: Vec<_> = [vec![0, 1], vec![1, 2], vec![2, 0], vec![1]]
            .into_iter()
            .map(|instances| {
                let (claims, busy) = (claims.clone(), busy.clone());
                thread::spawn(move || {
                    let instances: Vec<Arc<str>> = instances.into_iter().map(name).collect();
                    let claim = claims.claim(&instances, Instant::now() + long()).unwrap();
                    assert!(instances.iter().all(|instance| busy.lock().insert(instance.clone())), "one at a time");
                    thread::yield_now();
                    instances.iter().for_each(|instance| assert!(busy.lock().remove(instance)));
                    drop(claim);
                })
            })
            .collect();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    });
}
