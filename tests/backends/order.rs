//! SPEC L1 on every backend: many pushers to few instances, some of which fail, and a reader that counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use readside::{Cursor, Expected, ReadRequest, Wanted};

use crate::Fixture;
use crate::push::command;

const PUSHERS: usize = 6;
const PUSHES: usize = 40;
const INSTANCES: [&str; 2] = ["a", "b"];

// SPEC L1
pub(crate) fn pushers_leave_no_holes(fixture: &Fixture) {
    let (stored, running) = (AtomicUsize::new(0), AtomicUsize::new(PUSHERS));
    let seen = std::thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let (stored, running) = (&stored, &running);
            scope.spawn(move || {
                stored.fetch_add(push_all(fixture, pusher), Ordering::SeqCst);
                running.fetch_sub(1, Ordering::SeqCst);
            });
        }
        let mut reader = Reader::default();
        while running.load(Ordering::SeqCst) > 0 {
            reader.read(fixture);
        }
        reader.read(fixture);
        reader
    });
    assert_eq!(seen.holes, 0, "a reader that sees a position sees every position below");
    assert_eq!(seen.events, stored.load(Ordering::SeqCst), "nothing is lost");
}

/// Every third push fails after it had taken its place in line, and must leave no hole.
fn push_all(fixture: &Fixture, pusher: usize) -> usize {
    let mut stored = 0;
    for n in 0..PUSHES {
        let id = format!("{pusher}-{n}");
        let mut commands =
            vec![command(INSTANCES[n % 2], &id, "added"), command(INSTANCES[(n + pusher) % 2], &id, "added")];
        if n % 3 == 0 {
            commands.push(command("a", "never", "added").expect(Expected::Version(7)));
        }
        let count = commands.len();
        match fixture.store.push(&commands) {
            Ok(_) => stored += count,
            Err(error) => assert!(n % 3 == 0, "{}", readside::error::full(&error)),
        }
    }
    stored
}

#[derive(Default)]
struct Reader {
    cursors: HashMap<&'static str, i64>,
    events: usize,
    holes: usize,
}

impl Reader {
    fn read(&mut self, fixture: &Fixture) {
        let cursors = INSTANCES
            .map(|name| Cursor { instance: Arc::from(name), after: self.cursors.get(name).copied().unwrap_or(0) })
            .to_vec();
        let wanted = Wanted { aggregate_types: vec!["user".into()], event_types: vec!["added".into()] };
        let request = ReadRequest { cursors, wanted, limit: 1000, max_bytes: usize::MAX };
        for (name, slice) in INSTANCES.into_iter().zip(fixture.store.read(&request).unwrap()) {
            for event in &slice.events {
                let last = self.cursors.entry(name).or_default();
                self.holes += usize::from(event.position() != *last + 1);
                *last = event.position();
                self.events += 1;
            }
            assert!(slice.events.last().is_none_or(|event| event.position() <= slice.head));
        }
    }
}
