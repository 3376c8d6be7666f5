//! Who gets the next worker.

use super::*;

fn schedule(projections: usize, workers: usize) -> Schedule {
    let schedule = Schedule::new(projections, workers, 2);
    for projection in 0..projections {
        for name in ["a", "b", "c"] {
            schedule.add(projection, &Arc::from(name));
        }
    }
    schedule
}

fn names(job: &Job) -> (usize, Vec<&str>) {
    (job.projection, job.instances.iter().map(AsRef::as_ref).collect())
}

// SPEC E3, L4
#[test]
fn projections_take_turns_and_no_instance_has_all_workers() {
    let schedule = schedule(3, 3);
    assert!(schedule.wants_job() && schedule.wants_job() && schedule.wants_job() && !schedule.wants_job());
    let first = schedule.next().unwrap();
    let second = schedule.next().unwrap();
    assert_eq!((names(&first), names(&second)), ((0, vec!["a", "b"]), (1, vec!["a", "b"])));
    let third = schedule.next().unwrap();
    assert_eq!(names(&third), (2, vec!["c"]), "a and b have two of three workers");
    schedule.done(0, &first.instances);
    assert_eq!(names(&schedule.next().unwrap()), (0, vec!["c"]));
}

// SPEC L4
#[test]
fn one_projection_leaves_a_worker_to_the_others() {
    let schedule = Schedule::new(2, 2, 1);
    for name in ["a", "b", "c"] {
        schedule.add(0, &Arc::from(name));
    }
    assert!(schedule.wants_job() && schedule.wants_job());
    assert_eq!(names(&schedule.next().unwrap()), (0, vec!["a"]));
    assert!(schedule.next().is_none(), "the second worker is kept free");
    schedule.add(1, &Arc::from("a"));
    assert!(schedule.wants_job());
    assert!(schedule.next().is_none(), "but not for the instance that has one");
    schedule.add(1, &Arc::from("z"));
    assert!(schedule.wants_job());
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["z"]));
}

fn at_hand(names: &[&str]) -> Vec<Work> {
    names.iter().map(|name| Work::new(Arc::from(*name), None, Vec::new())).collect()
}

// SPEC L4, E3: one tenant that pushes what all projections want.
#[test]
fn events_at_hand_of_one_instance_leave_a_worker() {
    let schedule = Schedule::new(3, 2, 1);
    for projection in 0..3 {
        schedule.add_direct(projection, at_hand(&["loud"]));
    }
    assert!(schedule.wants_job() && schedule.wants_job());
    assert_eq!(names(&schedule.next().unwrap()), (0, vec!["loud"]));
    assert!(schedule.next().is_none(), "the second worker is kept free");
    for name in ["b", "a"] {
        schedule.add_direct(1, at_hand(&[name]));
    }
    assert!(schedule.wants_job());
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["b"]), "behind what has to wait");
    schedule.done(0, &["loud".into()]);
    assert_eq!(names(&schedule.next().unwrap()), (2, vec!["loud"]));
    schedule.done(2, &["loud".into()]);
    schedule.done(1, &["b".into()]);
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["loud"]), "it has kept its place");
}

// SPEC L5, C3: however much is pushed, what is behind is caught up.
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
        schedule.done(0, &job.instances);
    }
    assert_eq!(order, ["a", "z", "b", "y"]);
}

// SPEC C3, L4: a long backlog goes to the end of the line, whatever its name.
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
        schedule.done(0, &job.instances);
    }
    assert_eq!((order, schedule.waiting()), (["a", "c", "b", "a"].map(String::from).to_vec(), 1));
    let queued = schedule.next().unwrap();
    assert_eq!(names(&queued), (0, vec!["a"]));
}

// SPEC L4: a rebuild never keeps live work waiting.
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
    schedule.done(0, &[Arc::from("z")]);
    assert_eq!(names(&schedule.next().unwrap()), (1, vec!["a"]));
    let alone = Schedule::new(1, 1, 1);
    alone.set_background(0, true);
    alone.add(0, &Arc::from("a"));
    assert!(alone.wants_job() && alone.next().is_some(), "a single worker does it when it has nothing else");
}

// SPEC F2
#[test]
fn an_instance_asked_for_while_it_runs_is_looked_at_again() {
    let schedule = Schedule::new(1, 2, 1);
    let a: Arc<str> = "a".into();
    schedule.add(0, &a);
    assert!(schedule.wants_job());
    let job = schedule.next().unwrap();
    schedule.add(0, &a);
    schedule.add_direct(0, vec![Work::new(Arc::clone(&a), None, Vec::new())]);
    assert!(!schedule.wants_job(), "it is claimed");
    schedule.done(0, &job.instances);
    assert!(schedule.wants_job());
    assert_eq!(schedule.next().unwrap().instances, [a]);
    assert!(!schedule.close(), "a job runs");
    assert!(schedule.next().is_none() && schedule.next().is_none() && schedule.close());
}

// SPEC L4: what waits for something of its own keeps no others waiting.
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
        schedule.done(0, &job.instances);
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
