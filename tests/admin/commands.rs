//! Commands of processes that do not have the code of the projections.
//!
//! Contract: O2

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use readside::admin::{
    Admin, AdminCommand, CommandRecord, CommandState, ExplainRequest, NewCommand, RebuildOptions, Switch,
};
use readside::error::{AwaitError, OperateError, StoreError, Unanswered};
use readside::failure::{Action, By, FailureQuery, FailureStatus};
use readside::inspect::Inspect;
use readside::prelude::*;
use readside::store::ProjectionStore;
use readside::testing::{Call, Faults, FaultyStore};
use readside::{Engine, EngineStore, NewEvent, Policy};
use uuid::Uuid;

use crate::{Counted, LONG, Place, by, count, eager, eventually, fill, lazy, remote, start, tenant};

fn verify() -> AdminCommand {
    AdminCommand::Verify { instance: None, repair: false }
}

// An engine that does not tick hears of the command, carries it out and answers. The record stays.
both!(a_plain_process_asks_and_is_answered);
pub(crate) fn a_plain_process_asks_and_is_answered<P: Place>(place: &P) {
    let engine = start(place.open(), lazy());
    fill(&engine, 2, 3);
    let remote = remote(place);
    let id = remote.ask("counts", verify(), &by()).unwrap();
    let answer = remote.answer(id, LONG).unwrap();
    assert_eq!((&answer["instances"], &answer["differing"]), (&2.into(), &serde_json::json!([])), "{answer}");
    let history = remote.commands(Some("counts"), 10).unwrap();
    assert_eq!(history.len(), 1);
    let asked = &history[0];
    assert_eq!((asked.id, asked.state, &*asked.who, &*asked.why), (id, CommandState::Done, "ada", "a test"));
    assert!(asked.taken_by.is_some() && asked.answered_at >= Some(asked.asked_at), "{asked:?}");
    assert!(remote.commands(Some("others"), 10).unwrap().is_empty());
}

// Contract: O2: access to the database is enough: an engine does the work, and gives the same answer as to its own
// service.
both!(the_database_alone_is_enough_to_do_what_an_engine_can);
pub(crate) fn the_database_alone_is_enough_to_do_what_an_engine_can<P: Place>(place: &P) {
    let engine = start(place.open(), lazy());
    fill(&engine, 2, 3);
    let (inside, outside) = (engine.admin(), remote(place).timeout(LONG));
    let row = ExplainRequest { instance: tenant(0), table: None, key: vec!["x1".into()], at: None };
    assert_eq!(outside.explain("counts", &row).unwrap().row, inside.explain("counts", &row).unwrap().row);
    assert_eq!(outside.verify("counts", None).unwrap().instances, 2);
    assert_eq!(outside.builds("counts").unwrap(), inside.builds("counts").unwrap());

    let poison = engine.push(&[count("a", "x1", 13)]).unwrap().remove(0);
    let held = || outside.failed_events("counts", &FailureQuery::all()).unwrap();
    eventually("the failure", || held().len() == 1);
    assert_eq!(held(), inside.failed_events("counts", &FailureQuery::all()).unwrap());
    match outside.retry("counts", "a", poison.position(), &by()) {
        Err(OperateError::Answered { error }) => assert!(error.contains("still fails"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(outside.retry_all("counts", &by()).is_err());
    assert_eq!(outside.discard("counts", "a", poison.position(), &by()).unwrap().after, 0);
    let done = outside.interventions("counts", 10).unwrap();
    assert_eq!(done, inside.interventions("counts", 10).unwrap());
    assert_eq!(done.iter().filter(|one| one.action == Action::Discard).count(), 1, "{done:?}");

    assert!(outside.rebuild("counts", RebuildOptions::default(), &by(), |_| {}).unwrap().switched);
    assert_eq!(outside.repair("counts", None, &by()).unwrap().differing.len(), 0);
    let unknown = outside.failed_events("users", &FailureQuery::all());
    assert!(matches!(unknown, Err(OperateError::UnknownProjection { .. })), "{unknown:?}");
}

both!(what_nobody_can_do_is_said_at_once);
pub(crate) fn what_nobody_can_do_is_said_at_once<P: Place>(place: &P) {
    let engine = start(place.open(), lazy());
    let remote = remote(place);
    match remote.ask("users", verify(), &by()) {
        Err(OperateError::UnknownProjection { projection, known }) => {
            assert_eq!((&*projection, known), ("users", vec!["counts".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
    match remote.ask_version("counts", Some(7), verify(), &by()) {
        Err(error @ OperateError::NoEngine { .. }) => assert!(error.to_string().contains("run version 1"), "{error}"),
        other => panic!("{other:?}"),
    }
    engine.shutdown(LONG).unwrap();
    assert!(matches!(remote.ask("counts", verify(), &by()), Err(OperateError::NoEngine { .. })));
    assert!(matches!(remote.answer(Uuid::nil(), LONG), Err(OperateError::UnknownCommand { .. })));
}

// A process took a command and died. Nobody waits for it longer than its lease.
both!(a_command_of_a_dead_engine_is_taken_over);
pub(crate) fn a_command_of_a_dead_engine_is_taken_over<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), eager());
    fill(&engine, 1, 2);
    engine.shutdown(LONG).unwrap();
    let command = NewCommand { projection: "counts".into(), version: None, command: verify(), by: by() };
    let commands = store.commands();
    let id = commands.ask(&command).unwrap();
    let dead = Uuid::from_u128(7);
    let taken = commands.take(dead, &[("counts".into(), 1)], Duration::from_millis(300), 5).unwrap();
    assert_eq!((taken.len(), taken[0].id, taken[0].state), (1, id, CommandState::Taken));
    assert!(commands.take(Uuid::from_u128(8), &[("counts".into(), 1)], LONG, 5).unwrap().is_empty(), "it is kept");
    assert!(commands.take(Uuid::from_u128(8), &[("counts".into(), 2)], LONG, 5).unwrap().is_empty());
    let engine = start(store.clone(), eager());
    let remote = remote(place);
    remote.answer(id, LONG).unwrap();
    let asked = commands.command(id).unwrap().unwrap();
    assert_ne!(asked.taken_by, Some(dead));
    assert!(!commands.answer(id, dead, CommandState::Failed, &serde_json::Value::Null).unwrap(), "it is not his");
    engine.shutdown(LONG).unwrap();
}

// Contract: J3: nobody waits for a command that no engine will carry out.
both!(what_nobody_is_left_for_is_told_and_withdrawn);
pub(crate) fn what_nobody_is_left_for_is_told_and_withdrawn<P: Place>(place: &P) {
    let store = place.open();
    start(store.clone(), lazy()).shutdown(LONG).unwrap();
    let (remote, commands) = (remote(place), store.commands());
    let [asked, taken, lapsed] = asks(&store, 3).try_into().unwrap();
    match remote.answer(asked, LONG) {
        Err(OperateError::NobodyLeft { id, found, .. }) => {
            assert_eq!((id, *found), (asked, Unanswered::NotBegun { id: asked }));
        }
        other => panic!("{other:?}"),
    }
    assert!(remote.withdraw(asked, &By::new("ada", "nobody is there")).unwrap());
    assert!(!remote.withdraw(asked, &by()).unwrap(), "it is over");
    match remote.answer(asked, LONG) {
        Err(OperateError::Answered { error }) => assert_eq!(error, "withdrawn by \"ada\": nobody is there"),
        other => panic!("{other:?}"),
    }
    let one = |id, lease| {
        let found = commands.take(Uuid::from_u128(7), &[("counts".into(), 1)], lease, 1).unwrap();
        assert_eq!(found[0].id, id);
    };
    one(taken, LONG);
    assert!(!remote.withdraw(taken, &by()).unwrap(), "somebody is at it");
    match remote.answer(taken, Duration::from_millis(1)) {
        Err(OperateError::NoAnswer { found, .. }) => {
            let named = Uuid::from_u128(7).to_string();
            assert!(matches!(&*found, Unanswered::Begun { by, .. } if *by == named), "{found}");
        }
        other => panic!("{other:?}"),
    }
    let answer = serde_json::Value::Null;
    assert!(commands.answer(taken, Uuid::from_u128(7), CommandState::Done, &answer).unwrap());
    one(lapsed, Duration::from_millis(1));
    match remote.answer(lapsed, LONG) {
        Err(error @ OperateError::NobodyLeft { .. }) => {
            let said = error.to_string();
            assert!(said.contains("start one") && said.contains("that had begun it has ended"), "{said}");
            assert!(said.contains(&format!("readside commands --id {lapsed}")), "{said}");
        }
        other => panic!("{other:?}"),
    }
    let engine = start(store.clone(), lazy());
    remote.answer(lapsed, LONG).unwrap();
    engine.shutdown(LONG).unwrap();
}

both!(two_rebuilds_at_once_are_refused);
pub(crate) fn two_rebuilds_at_once_are_refused<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), eager());
    fill(&engine, 2, 2);
    let waits = RebuildOptions::default().switch(Switch::Asked);
    engine.admin().pause("counts", None, &by()).unwrap();
    engine.push(&[count("tenant-000", "x", 1)]).unwrap();
    let id = engine.admin().ask("counts", AdminCommand::Rebuild(waits.clone()), &by()).unwrap();
    match Admin::new(store).ask("counts", AdminCommand::Rebuild(waits), &By::new("bob", "again")) {
        Err(error @ OperateError::Busy { .. }) => {
            let said = error.to_string();
            assert!(said.contains("rebuild by \"ada\"") && said.contains(&id.to_string()), "{said}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(engine.admin().reset("counts", None, &by()), Err(OperateError::Busy { .. })));
    engine.admin().resume("counts", None, &by()).unwrap();
    engine.admin().answer(id, Duration::MAX).unwrap();
}

both!(failures_are_mended_by_command);
pub(crate) fn failures_are_mended_by_command<P: Place>(place: &P) {
    let engine = start(place.open(), eager());
    engine.push(&[count("a", "x", 1), count("a", "x", 13), count("a", "x", 2), count("a", "y", 3)]).unwrap();
    engine.await_position("counts", "a", 4, LONG).unwrap();
    let remote = remote(place);
    let retry = AdminCommand::Retry { instance: "a".into(), position: 2 };
    let id = remote.ask("counts", retry, &by()).unwrap();
    match remote.answer(id, LONG) {
        Err(OperateError::Answered { error }) => assert!(error.contains("still fails"), "{error}"),
        other => panic!("{other:?}"),
    }
    let discard = AdminCommand::Discard { instance: "a".into(), position: 2 };
    let id = remote.ask("counts", discard, &by()).unwrap();
    let done = "event 2 was given up, and 1 event that waited behind it was applied";
    assert_eq!(remote.answer(id, LONG).unwrap()["done"], done);
    assert!(engine.admin().failed_events("counts", &FailureQuery::all()).unwrap().is_empty());
    crate::lawful_but_for(place, 2);
}

// Answers that hold rows of a read model must not survive the erasing of these rows.
both!(rows_in_answers_do_not_stay);
pub(crate) fn rows_in_answers_do_not_stay<P: Place>(place: &P) {
    let store = place.open();
    let engine = start(store.clone(), eager());
    fill(&engine, 1, 1);
    let question = ExplainRequest { instance: "tenant-000".into(), table: None, key: vec!["x1".into()], at: None };
    let id = engine.admin().ask("counts", AdminCommand::Explain(question), &by()).unwrap();
    assert_eq!(engine.admin().answer(id, Duration::MAX).unwrap()["row"]["n"], 1);
    let commands = store.commands();
    commands.forget_rows(LONG).unwrap();
    assert_eq!(commands.command(id).unwrap().unwrap().answer.unwrap()["row"]["n"], 1, "not yet");
    // Contract: K2: an erasure removes the answer too, and with it the name of the person.
    place.redact("tenant-000", "x1");
    assert_eq!(commands.command(id).unwrap(), None);
}

both!(a_pause_is_on_record_though_no_engine_is_alive);
pub(crate) fn a_pause_is_on_record_though_no_engine_is_alive<P: Place>(place: &P) {
    let store = place.open();
    start(store.clone(), lazy()).shutdown(LONG).unwrap();
    let (ada, bob) = (By::new("ada", "its rows\0are wrong"), By::new("bob", "they are not"));
    let remote = remote(place);
    assert!(remote.pause("counts", Some("a"), &ada).unwrap());
    assert!(!remote.pause("counts", Some("a"), &bob).unwrap(), "it is paused already");
    assert!(matches!(remote.pause("others", None, &ada), Err(OperateError::UnknownProjection { .. })));
    let paused = || store.status(false).unwrap().projections[0].pauses.clone();
    let first = paused();
    assert_eq!((first.len(), first[0].instance.as_deref()), (1, Some("a")));
    assert_eq!(first[0].by, Some(By::new("ada", "its rows\u{fffd}are wrong")));

    // An engine that starts later obeys the pause, and the events of other instances go on.
    let engine = start(store.clone(), lazy());
    engine.push(&[count("a", "x", 1), count("b", "x", 1)]).unwrap();
    engine.await_position("counts", "b", 1, LONG).unwrap();
    assert!(engine.await_position("counts", "a", 1, Duration::from_millis(50)).is_err());
    assert!(engine.admin().pause("counts", None, &bob).unwrap());
    let [whole, of_a] = paused().try_into().unwrap();
    assert_eq!((whole.instance, whole.by, of_a.by), (None, Some(bob.clone()), first[0].by.clone()));
    assert!(engine.admin().resume("counts", None, &ada).unwrap());

    // The engine does not tick, so it must hear of the command.
    assert!(remote.resume("counts", Some("a"), &bob).unwrap());
    engine.await_position("counts", "a", 1, LONG).unwrap();
    assert_eq!(paused(), []);
    let mut history = remote.commands(Some("counts"), 10).unwrap();
    history.reverse();
    let told: Vec<_> = history.iter().map(|asked| (asked.command.clone(), &*asked.who, said(asked))).collect();
    let a = || Some("a".to_owned());
    let wanted = [
        (AdminCommand::Pause { instance: a() }, "ada", "instance \"a\" is paused"),
        (AdminCommand::Pause { instance: a() }, "bob", "instance \"a\" was paused already"),
        (AdminCommand::Pause { instance: None }, "bob", "the whole projection is paused"),
        (AdminCommand::Resume { instance: None }, "ada", "the whole projection goes on"),
        (AdminCommand::Resume { instance: a() }, "bob", "instance \"a\" goes on"),
    ];
    assert_eq!(told, wanted.map(|(command, who, done)| (command, who, done.to_owned())));
    assert!(history.iter().all(|asked| asked.state == CommandState::Done && asked.answered_at == Some(asked.asked_at)));
    assert_eq!(first[0].since, Some(history[0].asked_at));
}

// Contract: O2: a slip in a name is an error, and nothing is put on record.
both!(what_nobody_knows_cannot_be_paused);
pub(crate) fn what_nobody_knows_cannot_be_paused<P: Place>(place: &P) {
    let engine = start(place.open(), lazy());
    engine.push(&[count("a", "x", 1)]).unwrap();
    match engine.admin().pause("counts", Some("never"), &by()) {
        Err(OperateError::UnknownInstance { projection, instance }) => {
            assert_eq!((projection.as_str(), instance.as_str()), ("counts", "never"));
        }
        other => panic!("{other:?}"),
    }
    let pause = AdminCommand::Pause { instance: Some("never".into()) };
    assert!(matches!(engine.admin().ask("counts", pause, &by()), Err(OperateError::UnknownInstance { .. })));
    match engine.admin().pause("count", None, &by()) {
        Err(OperateError::UnknownProjection { known, .. }) => assert_eq!(known, ["counts"]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(engine.admin().resume("count", None, &by()), Err(OperateError::UnknownProjection { .. })));
    assert!(engine.admin().commands(None, 10).unwrap().is_empty());
    assert!(engine.admin().pause("counts", Some("a"), &by()).unwrap());
    assert!(!engine.admin().resume("counts", Some("never"), &by()).unwrap(), "it was not paused");
}

fn said(asked: &CommandRecord) -> String {
    asked.answer.as_ref().unwrap()["done"].as_str().unwrap().to_owned()
}

fn asks(store: &impl EngineStore, count: usize) -> Vec<Uuid> {
    let command = NewCommand { projection: "counts".into(), version: None, command: verify(), by: by() };
    (0..count).map(|_| store.commands().ask(&command).unwrap()).collect()
}

fn ids(taken: &[CommandRecord]) -> Vec<Uuid> {
    taken.iter().map(|asked| asked.id).collect()
}

// A process took a command but does not carry it out, for instance because it never got the answer. In time another
// process takes it.
both!(what_is_not_carried_out_is_not_kept);
pub(crate) fn what_is_not_carried_out_is_not_kept<P: Place>(place: &P) {
    let store = place.open();
    start(store.clone(), lazy()).shutdown(LONG).unwrap();
    let (one, other, counts) = (Uuid::from_u128(7), Uuid::from_u128(8), [("counts".to_owned(), 1)]);
    let [first, second] = asks(&store, 2).try_into().unwrap();
    let commands = store.commands();
    assert_eq!(commands.take(one, &counts, Duration::from_millis(200), 5).unwrap().len(), 2);
    assert_eq!(commands.keep(one, &[first, Uuid::nil()], LONG).unwrap(), [first]);
    assert!(
        commands.keep(other, &[first], LONG).unwrap().is_empty() && commands.keep(one, &[], LONG).unwrap().is_empty()
    );
    let mut taken = Vec::new();
    crate::eventually("taking the one that is not kept", || {
        taken = commands.take(other, &counts, LONG, 5).unwrap();
        !taken.is_empty()
    });
    assert_eq!(ids(&taken), [second]);
}

// A newer version of the code may have written the command.
both!(what_this_code_cannot_read_is_left_alone);
pub(crate) fn what_this_code_cannot_read_is_left_alone<P: Place>(place: &P) {
    let store = place.open();
    start(store.clone(), lazy()).shutdown(LONG).unwrap();
    let mut asked = asks(&store, 3);
    place.sql(
        "UPDATE readside.commands SET instruction = '{\"kind\":\"dance\"}' \
         WHERE command_id = (SELECT command_id FROM readside.commands ORDER BY command_id LIMIT 1)",
    );
    asked.remove(0);
    let taken = store.commands().take(Uuid::from_u128(7), &[("counts".into(), 1)], LONG, 1).unwrap();
    assert_eq!(ids(&taken), asked[..1]);
    let engine = start(store.clone(), lazy());
    remote(place).answer(asked[1], LONG).unwrap();
    engine.shutdown(LONG).unwrap();
    let left = place.query("SELECT state FROM readside.commands ORDER BY command_id LIMIT 1");
    assert_eq!(left, ["asked"]);
}

// A process that takes two commands, and gets an error at the second, keeps the first.
both!(what_was_taken_before_an_error_is_known);
pub(crate) fn what_was_taken_before_an_error_is_known<P: Place>(place: &P) {
    let store = place.open();
    start(store.clone(), lazy()).shutdown(LONG).unwrap();
    let asked = asks(&store, 2);
    // This unique name makes the second command fail.
    place.sql("CREATE UNIQUE INDEX one_at_a_time ON readside.commands (owner)");
    let (commands, counts) = (store.commands(), [("counts".to_owned(), 1)]);
    assert_eq!(ids(&commands.take(Uuid::from_u128(7), &counts, LONG, 5).unwrap()), asked[..1]);
    assert!(commands.take(Uuid::from_u128(7), &counts, LONG, 5).is_err(), "nothing was taken, and why is told");
}

/// Once armed, it holds the third write until the test lets it go.
#[derive(Debug)]
struct Gate {
    armed: AtomicBool,
    writes: AtomicU32,
    reached: Sender<()>,
    let_go: std::sync::Mutex<Receiver<()>>,
}

impl Gate {
    fn pass(&self) {
        if self.armed.load(Ordering::SeqCst) && self.writes.fetch_add(1, Ordering::SeqCst) == 2 {
            self.reached.send(()).unwrap();
            self.let_go.lock().unwrap().recv_timeout(LONG).unwrap();
        }
    }
}

impl Faults for Gate {
    fn before(&self, call: &mut Call) -> Result<(), StoreError> {
        if call.name == "ProjectionTransaction::apply" {
            self.pass();
        }
        Ok(())
    }
}

// Contract: J1, J3
both!(a_shutdown_ends_what_a_command_catches_up);
pub(crate) fn a_shutdown_ends_what_a_command_catches_up<P: Place>(place: &P) {
    let ((reached, here), (release, let_go)) = (channel(), channel());
    let (armed, writes) = (AtomicBool::new(false), AtomicU32::new(0));
    let gate = Arc::new(Gate { armed, writes, reached, let_go: let_go.into() });
    let (store, hook) = (place.open(), gate.clone());
    let counts = Projection::new("counts", 1)
        .table(Table::new("counts").column(integer("position")).column(integer("by")).primary_key(["position"]))
        .on(move |e, p: Counted| match p.by {
            13 if !gate.armed.load(Ordering::SeqCst) => Err(ReduceError::new("bad luck")),
            by => create([set("position", e.position()), set("by", by)]),
        });
    let stops = crate::handler().policy(Policy::Stop).bulk_limit(1);
    let builder = Engine::builder(FaultyStore::new(store.clone(), hook.clone())).projection_with(counts, stops);
    let engine = builder.config(eager()).start().unwrap();
    let events: Vec<NewEvent> = std::iter::once(13).chain(1..=300).map(|by| count("a", "x", by)).collect();
    engine.push(&events).unwrap();
    let stopped = FailureQuery::all().states([FailureStatus::Stopped]);
    eventually("the stop", || !engine.admin().failed_events("counts", &stopped).unwrap().is_empty());
    hook.armed.store(true, Ordering::SeqCst);
    let id = engine.admin().ask("counts", AdminCommand::Retry { instance: "a".into(), position: 1 }, &by()).unwrap();
    here.recv_timeout(LONG).unwrap();
    std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| engine.shutdown(LONG));
        let wait = || engine.await_position("counts", "a", 301, Duration::from_millis(1));
        eventually("the stop of the engine", || matches!(wait(), Err(AwaitError::ShutDown)));
        release.send(()).unwrap();
        shutdown.join().unwrap().unwrap();
    });
    let asked = store.commands().command(id).unwrap().unwrap();
    assert_eq!((asked.state, said(&asked)), (CommandState::Done, "1 event was applied".into()), "the one that failed");
    let done = store.states(&crate::counts(1).key(), &["a".into()]).unwrap()[0].position;
    assert!((2..300).contains(&done), "{done} were caught up");
}

// Contract: J1, J3: this holds within one instance too, however long it is.
both!(a_shutdown_ends_what_is_verified);
pub(crate) fn a_shutdown_ends_what_is_verified<P: Place>(place: &P) {
    let ((reached, here), (release, let_go)) = (channel(), channel());
    let (armed, writes) = (AtomicBool::new(false), AtomicU32::new(0));
    let gate = Arc::new(Gate { armed, writes, reached, let_go: let_go.into() });
    let own = gate.clone();
    let counts = Projection::new("counts", 1)
        .table(Table::new("counts").column(integer("position")).primary_key(["position"]))
        .on(move |e, _: Counted| {
            own.pass();
            create([set("position", e.position())])
        });
    let builder = Engine::builder(place.open()).projection_with(counts, crate::handler());
    let engine = builder.config(eager()).start().unwrap();
    let pushed = engine.push(&(0..500).map(|_| count("a", "x", 1)).collect::<Vec<_>>()).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    gate.armed.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let verifying = scope.spawn(|| engine.admin().verify("counts", Some("a")));
        here.recv_timeout(LONG).unwrap();
        let shutdown = scope.spawn(|| engine.shutdown(LONG));
        let wait = || engine.await_position("counts", "a", 501, Duration::from_millis(1));
        eventually("the stop of the engine", || matches!(wait(), Err(AwaitError::ShutDown)));
        release.send(()).unwrap();
        shutdown.join().unwrap().unwrap();
        assert!(verifying.join().unwrap().is_err());
    });
    let reduced = gate.writes.load(Ordering::SeqCst);
    assert!(reduced < 500, "all {reduced} events were gone through");
}
