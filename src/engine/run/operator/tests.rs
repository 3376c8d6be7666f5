//! Commands that are taken away from an engine while it carries them out.

#![cfg(feature = "sqlite")]

use crossbeam_channel::{Sender, bounded};

use super::*;
use crate::command::{AdminCommand, NewCommand};
use crate::failure::By;
use crate::prelude::*;
use crate::{Engine, EngineConfig, SqliteStore};

const LONG: Duration = Duration::from_secs(30);

const LEASE: Duration = Duration::from_secs(1);

/// Does nothing until it is told to go on or to stop. Then it waits until the test lets it end.
#[derive(Debug)]
struct Held {
    began: Sender<()>,
    stopped: Sender<()>,
    finish: Receiver<()>,
    let_go: Receiver<()>,
}

impl CommandHandler for Held {
    fn carry_out(&self, task: &Task) -> Result<serde_json::Value, OperateError> {
        self.began.send(()).unwrap();
        while task.wait(Duration::from_millis(2)) {
            if self.finish.try_recv().is_ok() {
                return Ok(serde_json::json!({ "done": "it" }));
            }
        }
        self.stopped.send(()).unwrap();
        let _ = self.let_go.recv_timeout(LONG);
        Err(OperateError::ShutDown)
    }
}

/// An engine stalls, and another process takes its command and gives it back. The engine begins it again, whether or
/// not its first thread has ended by then.
fn comes_back(ends_before: bool) {
    let ((began, begins), (stopped, stops)) = (bounded(9), bounded(9));
    let ((end, finish), (release, let_go)) = (bounded(9), bounded(9));
    let store = SqliteStore::in_memory().unwrap();
    let logins = crate::Projection::new("logins", 1)
        .table(Table::new("logins").column(text("user")).primary_key(["user"]))
        .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    let config = EngineConfig { lease: LEASE, ..EngineConfig::default() };
    let builder = Engine::builder(store.clone()).projection(logins).config(config);
    let engine = builder.start_with(Arc::new(Held { began, stopped, finish, let_go })).unwrap();
    let commands = ProjectionStore::commands(&store);
    let command = AdminCommand::Reset { instance: None, retry_discarded: false };
    let command = NewCommand { projection: "logins".into(), version: None, command, by: By::new("ada", "a test") };
    let id = commands.ask(&command).unwrap();
    engine.announce();
    begins.recv_timeout(LONG).unwrap();

    // A process with such a short lease takes a long one for the work of a wrong clock.
    let (other, names) = (Uuid::from_u128(7), [("logins".to_owned(), 1)]);
    while commands.keep(other, &[id], LEASE * 3).unwrap() != [id] {
        commands.take(other, &names, Duration::from_millis(1), 1).unwrap();
    }
    stops.recv_timeout(LONG).unwrap();
    if ends_before {
        release.send(()).unwrap();
    }
    commands.give_back(other).unwrap();
    engine.announce();
    begins.recv_timeout(LONG).expect("it is begun again");
    if !ends_before {
        release.send(()).unwrap();
    }
    end.send(()).unwrap();
    let deadline = Instant::now() + LONG;
    while !commands.command(id).unwrap().unwrap().state.is_over() {
        assert!(Instant::now() < deadline, "it is not answered");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    assert!(commands.ask(&command).is_ok(), "nothing is in the way of the next one");
    release.send(()).unwrap();
    engine.shutdown(LONG).unwrap();
}

#[test]
fn a_command_that_comes_back_is_begun_again() {
    comes_back(true);
}

#[test]
fn a_command_that_comes_back_early_is_begun_again() {
    comes_back(false);
}
