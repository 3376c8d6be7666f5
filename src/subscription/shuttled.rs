//! The bus under random schedules. These tests are built and run with `--cfg shuttle`, see `tests/run`.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use super::{Bus, Topics};
use crate::event::Event;

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

// Contract: A6, D1, J3: a receiver misses nothing that is published, and closing wakes it.
#[test]
fn subscribers_miss_nothing_and_wake_at_the_close() {
    check(|| {
        let bus = Arc::new(Bus::default());
        let subscription = Arc::new(bus.subscribe(Topics::all()));
        let receiver = {
            let subscription = subscription.clone();
            thread::spawn(move || {
                let mut received = 0;
                loop {
                    let closed = subscription.is_closed();
                    received += subscription.recv_timeout(long()).events.len();
                    if closed {
                        return received;
                    }
                }
            })
        };
        let pushers: Vec<_> = (0..2)
            .map(|n| {
                let bus = bus.clone();
                thread::spawn(move || {
                    for position in 1..=2 {
                        bus.publish(&[Event::new(&*name(n), "t", "1", "e").with_position(position)]);
                    }
                })
            })
            .collect();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        subscription.close();
        assert_eq!(receiver.join().unwrap(), 4);
    });
}
