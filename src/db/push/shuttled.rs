//! The line of pushes under random schedules: built and run with `--cfg shuttle`, see `tests/run`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::thread;

use super::line::{Line, Turn};
use crate::sync::Mutex;

const SCHEDULES: usize = 3000;

/// The work of a push is its number, and the outcome is the number of its leader.
type Numbers = Line<usize, usize>;

fn check(test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(test, SCHEDULES);
}

fn long() -> Instant {
    Instant::now() + Duration::from_secs(1000)
}

fn lanes(numbers: &[usize]) -> Vec<Arc<str>> {
    numbers.iter().map(|number| format!("tenant-{number}").into()).collect()
}

/// Holds its lanes and lets others join. It answers for all of them, except those that it forgets.
fn lead(line: &Numbers, busy: &Mutex<HashSet<Arc<str>>>, lanes: &[Arc<str>], own: usize, forgets: bool) -> Vec<usize> {
    match line.enter(lanes, &own, true, long()) {
        Turn::Leads(lead) => {
            assert!(lanes.iter().all(|lane| busy.lock().insert(lane.clone())), "one at a time");
            let members = lead.gather(|_| true);
            thread::yield_now();
            let mut done = vec![own];
            for member in members {
                if !forgets {
                    done.push(*member.work());
                    member.tell(own);
                }
            }
            lanes.iter().for_each(|lane| assert!(busy.lock().remove(lane)));
            drop(lead);
            done
        }
        Turn::Told(leader) => {
            assert!(leader != own);
            Vec::new()
        }
        Turn::Left => Vec::new(),
        Turn::Late => panic!("time does not pass here"),
    }
}

fn run(forgets: bool) -> Vec<usize> {
    let (line, busy) = (Arc::new(Numbers::default()), Arc::new(Mutex::new(HashSet::new())));
    let pushers: Vec<_> = [vec![0, 1], vec![1], vec![1, 2], vec![1], vec![2, 0]]
        .into_iter()
        .enumerate()
        .map(|(own, numbers)| {
            let (line, busy) = (line.clone(), busy.clone());
            thread::spawn(move || lead(&line, &busy, &lanes(&numbers), own, forgets && own == 0))
        })
        .collect();
    let mut done: Vec<usize> = pushers.into_iter().flat_map(|pusher| pusher.join().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(format!("{line:?}"), "Line { taken: 0, waiting: 0 }");
    done
}

// Contract: A1, L1: leaders of overlapping instances run one after the other, each push runs once, and none waits for
// ever.
#[test]
fn each_push_is_done_once() {
    check(|| assert_eq!(run(false), [0, 1, 2, 3, 4]));
}

// Contract: L8: a push that joined a leader which ended without an answer hears of that, and the others go on.
#[test]
fn a_leader_that_goes_leaves_nobody_waiting() {
    check(|| assert!(run(true).starts_with(&[0])));
}
