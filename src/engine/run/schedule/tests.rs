//! Which work gets the next worker.

use super::*;
use crate::engine::pass::work::Origin;

fn schedule(projections: usize, workers: usize) -> Schedule {
    let schedule = Schedule::new(projections, workers, 2);
    for projection in 0..projections {
        for name in ["a", "b", "c"] {
            schedule.add(projection, &Arc::from(name));
        }
    }
    schedule
}

/// Ends the job that has this instance.
fn done(schedule: &Schedule, projection: usize, instances: &[Arc<str>]) {
    let id = schedule.queues.lock().claimed[&(projection, Arc::clone(&instances[0]))].unwrap();
    schedule.done(&Job { id, projection, instances: Vec::new(), direct: None });
}

fn names(job: &Job) -> (usize, Vec<&str>) {
    (job.projection, job.instances.iter().map(AsRef::as_ref).collect())
}

// Contract: E3, L4
#[test]
fn projections_take_turns_and_no_instance_has_all_workers() {
    let schedule = schedule(3, 3);
    assert!(schedule.wants_job() && schedule.wants_job() && schedule.wants_job() && !schedule.wants_job());
    let first = schedule.next().unwrap();
    let second = schedule.next().unwrap();
    assert_eq!((names(&first), names(&second)), ((0, vec!["a", "b"]), (1, vec!["a", "b"])));
    let third = schedule.next().unwrap();
    assert_eq!(names(&third), (2, vec!["c"]), "a and b have two of three workers");
    done(&schedule, 0, &first.instances);
    assert_eq!(names(&schedule.next().unwrap()), (0, vec!["c"]));
}

// Contract: L4
#[test]
fn one_projection_leaves_a_worker_to_the_others() {
    let schedule = Schedule::new(2, 2, 1);
    for name in ["a", "b", "c"] {
        schedule.add(0, &Arc::from(name));
    }
    assert!(schedule.wants_job() && schedule.wants_job());
    assert_eq!(names(&schedule.next().unwrap()), (0, vec!["a"]));
    assert!(schedule.next().is_none(), "the second worker is kept free");
    for name in ["a", "z"] {
        schedule.add(1, &Arc::from(name));
    }
    assert!(schedule.wants_job());
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["z"]), "first for an instance that has none");
    done(&schedule, 1, &["z".into()]);
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["a"]), "but also for the one that keeps the other waiting");
    done(&schedule, 1, &["a".into()]);
    assert!(schedule.next().is_none(), "never for the projection that has the other one");
}

// Contract: L4: one time-out shows whether an instance or a projection is to blame. From then on that one waits.
#[test]
fn an_instance_that_is_to_blame_leaves_a_worker() {
    let schedule = Schedule::new(3, 2, 1);
    let take = |projection: usize| {
        let job = schedule.next().unwrap();
        assert_eq!(names(&job), (projection, vec!["bad"]));
    };
    let bad: Arc<str> = "bad".into();
    (0..2).for_each(|projection| schedule.add(projection, &bad));
    assert!(schedule.wants_job() && schedule.wants_job());
    take(0);
    take(1);
    for projection in 0..2 {
        schedule.trouble(projection, &bad, 9);
        done(&schedule, projection, std::slice::from_ref(&bad));
    }
    take(0);
    assert!(schedule.next().is_none(), "the second projection had trouble with it too");
    schedule.add(2, &bad);
    assert!(schedule.wants_job());
    take(2);
    done(&schedule, 2, std::slice::from_ref(&bad));
    schedule.add(1, &"good".into());
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["good"]));
    done(&schedule, 1, &["good".into()]);
    assert!(schedule.next().is_none());
    done(&schedule, 0, std::slice::from_ref(&bad));
    assert!(schedule.wants_job());
    take(1);
}

fn at_hand(names: &[&str]) -> Vec<Work> {
    names.iter().map(|name| Work::new(Arc::from(*name), Origin::Given, Vec::new())).collect()
}

// Contract: L4, E3: one tenant pushes events that all projections want.
#[test]
fn events_at_hand_of_one_instance_come_behind_those_of_others() {
    let schedule = Schedule::new(3, 2, 1);
    for projection in 0..3 {
        schedule.add_direct(projection, at_hand(&["loud"]));
    }
    for name in ["b", "a"] {
        schedule.add_direct(1, at_hand(&[name]));
    }
    assert!(schedule.wants_job() && schedule.wants_job());
    assert_eq!(names(&schedule.next().unwrap()), (0, vec!["loud"]));
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["b"]), "the second worker is for others first");
    done(&schedule, 1, &["b".into()]);
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["a"]));
    done(&schedule, 1, &["a".into()]);
    assert_eq!(names(&schedule.next().unwrap()), (2, vec!["loud"]), "nobody else wants it");
    done(&schedule, 0, &["loud".into()]);
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["loud"]), "it has kept its place");
}

// Contract: L5, C3: instances that lag are caught up, however much is pushed.
#[test]
fn events_at_hand_and_what_is_behind_take_turns() {
    let schedule = Schedule::new(1, 1, 1);
    for name in ["z", "y"] {
        schedule.add(0, &Arc::from(name));
    }
    assert!(schedule.wants_job());
    let mut order = Vec::new();
    for name in ["a", "b", "c", "d"] {
        schedule.add_direct(0, at_hand(&[name]));
        let job = schedule.next().unwrap();
        order.extend(job.instances.iter().map(ToString::to_string));
        done(&schedule, 0, &job.instances);
    }
    assert_eq!(order, ["a", "z", "b", "y"]);
}

// Contract: C3, L4: an instance with a long backlog goes to the end of the line, whatever its name.
#[test]
fn instances_wait_in_the_order_in_which_they_came() {
    let schedule = Schedule::new(1, 2, 1);
    for name in ["a", "c", "b", "a"] {
        schedule.add(0, &Arc::from(name));
    }
    assert!(schedule.wants_job());
    let mut order = Vec::new();
    for _ in 0..4 {
        let job = schedule.next().unwrap();
        order.extend(job.instances.iter().map(ToString::to_string));
        // It has more to do.
        schedule.add(0, &"a".into());
        done(&schedule, 0, &job.instances);
    }
    assert_eq!((order, schedule.waiting()), (["a", "c", "b", "a"].map(String::from).to_vec(), 1));
    let queued = schedule.next().unwrap();
    assert_eq!(names(&queued), (0, vec!["a"]));
}

// Contract: L4: a rebuild never keeps live work waiting.
#[test]
fn background_work_comes_last_and_leaves_a_worker() {
    let schedule = Schedule::new(2, 2, 1);
    schedule.set_background(1, true);
    for name in ["a", "b"] {
        schedule.add(1, &Arc::from(name));
    }
    assert!(schedule.wants_job() && !schedule.wants_job(), "the last worker is not for it");
    schedule.add(0, &Arc::from("z"));
    assert!(schedule.has_live_work() && schedule.wants_job());
    assert_eq!(names(&schedule.next().unwrap()), (0, vec!["z"]));
    assert!(!schedule.has_live_work());
    assert!(schedule.next().is_none(), "two jobs are two workers");
    done(&schedule, 0, &[Arc::from("z")]);
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["a"]));
    let alone = Schedule::new(1, 1, 1);
    alone.set_background(0, true);
    alone.add(0, &Arc::from("a"));
    assert!(alone.wants_job() && alone.next().is_some(), "a single worker does it when it has nothing else");
}

// Contract: L4: endless live work does not keep a build waiting for ever, and waits for at most one job of the build.
#[test]
fn background_work_has_its_turn_also_where_live_work_never_ends() {
    let schedule = Schedule::new(2, 1, 1);
    schedule.set_background(1, true);
    schedule.add(1, &"built".into());
    schedule.add(0, &"busy".into());
    assert!(schedule.wants_job());
    let mut had = Vec::new();
    for _ in 0..2 * (BEFORE_A_TURN + 1) {
        let job = schedule.next().unwrap();
        assert!(job.projection == 0 || schedule.has_live_work(), "which tells it to end after a page");
        had.push(job.projection);
        schedule.add(job.projection, &job.instances[0]);
        done(&schedule, job.projection, &job.instances);
    }
    let round = [vec![0; BEFORE_A_TURN], vec![1]].concat();
    assert_eq!(had, [round.clone(), round].concat());
}

// Contract: L4: this holds when the other workers are busy, too; but background work gets only one of several workers.
#[test]
fn the_turn_of_background_work_takes_one_worker_at_most() {
    let schedule = Schedule::new(4, 3, 1);
    (2..4).for_each(|build| schedule.set_background(build, true));
    let take = || {
        let job = schedule.next().unwrap();
        (job.projection, job.instances[0].to_string())
    };
    schedule.add(0, &"slow".into());
    (2..4).for_each(|build| schedule.add(build, &"built".into()));
    assert!(schedule.wants_job());
    assert_eq!(take(), (0, "slow".to_owned()));
    let busy = |count: usize| {
        for at in 0..count {
            schedule.add(1, &format!("busy-{at}").into());
        }
        assert!(schedule.wants_job());
        for at in 0..count {
            assert_eq!(take(), (1, format!("busy-{at}")));
            done(&schedule, 1, &[format!("busy-{at}").into()]);
        }
    };
    busy(BEFORE_A_TURN - 1);
    schedule.add(1, &"late".into());
    assert_eq!(take(), (2, "built".to_owned()), "it is its turn");
    assert!(schedule.wants_job());
    assert_eq!(take(), (1, "late".to_owned()), "the last worker is for live work");
    done(&schedule, 1, &["late".into()]);
    for at in 0..2 * BEFORE_A_TURN {
        schedule.add(1, &format!("more-{at}").into());
        assert_eq!(take(), (1, format!("more-{at}")));
        done(&schedule, 1, &[format!("more-{at}").into()]);
    }
    assert!(schedule.next().is_none(), "another build has to wait for the first one's end");
    done(&schedule, 2, &["built".into()]);
    assert_eq!(take(), (3, "built".to_owned()));
}

// Contract: F2
#[test]
fn an_instance_asked_for_while_it_runs_is_looked_at_again() {
    let schedule = Schedule::new(1, 2, 1);
    let a: Arc<str> = "a".into();
    schedule.add(0, &a);
    assert!(schedule.wants_job());
    let job = schedule.next().unwrap();
    schedule.add(0, &a);
    schedule.add_direct(0, vec![Work::new(Arc::clone(&a), Origin::Given, Vec::new())]);
    assert!(!schedule.wants_job(), "it is claimed");
    done(&schedule, 0, &job.instances);
    assert!(schedule.wants_job());
    assert_eq!(schedule.next().unwrap().instances, [a]);
    assert!(!schedule.close(), "a job runs");
    assert!(schedule.next().is_none() && schedule.next().is_none() && schedule.close());
}

// Contract: L4: an instance that waits for something keeps no others waiting.
#[test]
fn an_instance_with_trouble_has_jobs_of_its_own() {
    let schedule = Schedule::new(1, 3, 3);
    let add = |names: [&str; 2]| names.iter().for_each(|name| schedule.add(0, &Arc::from(*name)));
    let run = |expected: &[&str], trouble: Option<&str>| {
        let job = schedule.next().unwrap();
        assert_eq!(names(&job), (0, expected.to_vec()));
        if let Some(name) = trouble {
            schedule.trouble(0, &Arc::from(name), 2);
        }
        done(&schedule, 0, &job.instances);
    };
    add(["a", "b"]);
    assert!(schedule.wants_job());
    run(&["a", "b"], Some("b"));
    add(["a", "c"]);
    run(&["b"], Some("b"));
    run(&["a", "c"], None);
    run(&["b"], Some("b"));
    assert!(schedule.next().is_none(), "it was tried often enough");
    add(["b", "a"]);
    assert!(schedule.wants_job());
    run(&["b"], None);
    run(&["a"], None);
    add(["b", "a"]);
    run(&["b", "a"], None);
}

// Contract: L4: a reducer that hangs keeps only its instance, and no worker.
#[test]
fn a_job_that_hangs_frees_the_others_and_has_a_spare_in_its_place() {
    let schedule = Schedule::new(2, 2, 3);
    assert_eq!(schedule.threads(), 4);
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    schedule.add_direct(0, at_hand(&["a", "b", "c"]));
    assert!(schedule.wants_job());
    let hung = schedule.next().unwrap();
    schedule.add(0, &"d".into());
    schedule.add(0, &a);
    assert!(schedule.wants_job() && schedule.next().is_none(), "the second worker is kept free");
    assert_eq!(schedule.mind_hanging(&[(0, Arc::clone(&a))]), [0; 0]);
    assert!(schedule.wants_job() && schedule.wants_job() && !schedule.wants_job(), "two workers beside the spare");
    let others = schedule.next().unwrap();
    assert_eq!(names(&others), (0, vec!["d", "b", "c"]));
    schedule.done(&hung);
    schedule.add(0, &b);
    assert!(schedule.next().is_none(), "b is still worked on");
    schedule.done(&others);
    assert_eq!(names(&schedule.next().unwrap()), (0, vec!["a"]), "alone, for it has hung");
    done(&schedule, 0, &[a]);
    assert_eq!(names(&schedule.next().unwrap()), (0, vec!["b"]));
}

// Contract: L4, L11: when more reducers hang than there are spares, the projection stands still and reports it; others
// go on.
#[test]
fn more_jobs_hang_than_there_are_spares() {
    let schedule = Schedule::new(3, 2, 1);
    let mut hanging: Vec<(usize, Arc<str>)> = Vec::new();
    let hang = |hanging: &mut Vec<(usize, Arc<str>)>, projection: usize, name: &str| {
        schedule.add(projection, &name.into());
        assert!(schedule.wants_job(), "{name}");
        assert_eq!(names(&schedule.next().unwrap()), (projection, vec![name]));
        hanging.push((projection, name.into()));
        schedule.mind_hanging(hanging)
    };
    for name in ["a", "b", "c"] {
        assert_eq!(hang(&mut hanging, 0, name), [0; 0]);
    }
    schedule.add(0, &"d".into());
    assert_eq!(schedule.mind_hanging(&hanging), [0]);
    assert!(schedule.wants_job() && schedule.next().is_none(), "the last worker is for other projections");
    schedule.add(1, &"d".into());
    assert!(schedule.wants_job());
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["d"]));
    done(&schedule, 1, &["d".into()]);
    assert!(schedule.next().is_none());
    assert_eq!(hang(&mut hanging, 1, "e"), [0]);
    schedule.add(2, &"z".into());
    assert_eq!(schedule.mind_hanging(&hanging), [0, 2], "two projections can take all workers");
    assert!(!schedule.wants_job());
    done(&schedule, 0, &["a".into()]);
    hanging.remove(0);
    assert_eq!(schedule.mind_hanging(&hanging), [0; 0], "a spare is free again");
    assert_eq!(names(&schedule.next().unwrap()), (2, vec!["z"]));
    // A reducer that goes on counts again.
    assert_eq!(schedule.mind_hanging(&[]), [0; 0]);
    assert!(!schedule.wants_job());
}
