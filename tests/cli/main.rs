//! The command line, run as a process, on both databases.
#![cfg(all(feature = "cli", feature = "sqlite", feature = "postgres", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod apart;
mod backup;
mod bench;
mod doctor;
mod events;
mod failed;
mod help;
mod operate;
mod outputs;
mod pause;
mod places;
mod push;
mod retention;
mod secrets;
mod service;
mod standby;
mod status;
mod tables;
mod transfer;
mod wrong;

use std::process::{Command, Stdio};

use readside::{PostgresStore, SqliteStore};

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Ran {
    /// The output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.out
    }

    /// The output as a single JSON object.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.into_iter().next().unwrap()
    }

    /// The output as lines of JSON.
    #[track_caller]
    pub(crate) fn lines(self) -> Vec<serde_json::Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The error output of a command that must have failed.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.code, 1, "{}\n{}", self.out, self.err);
        assert!(self.err.starts_with("readside: "), "{}", self.err);
        self.err
    }
}

/// The command, without the environment variables of the tests.
pub(crate) fn command() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("readside"));
    command
        .env_remove("READSIDE_DATABASE_URL")
        .env_remove("READSIDE_EVENTS_URL")
        .env_remove("RUST_LOG")
        .env_remove("COLUMNS")
        .env("USER", "ada");
    command
}

pub(crate) fn run(args: &[&str]) -> Ran {
    ran(command().args(args), "")
}

/// Runs the command with this input.
pub(crate) fn ran(command: &mut Command, input: &str) -> Ran {
    use std::io::Write;

    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // The command may end before it has read all input.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().expect("no signal ended it"),
    }
}

/// A test's own database.
pub(crate) enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(common::postgres::Database),
}

impl Place {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Sqlite(folder) => folder.path().join("test.db").to_str().unwrap().to_owned(),
            Self::Postgres(database) => database.store_url(),
        }
    }

    /// The name that leads past a pooler: for what a pooler in transaction mode cannot do, and for other roles, which the
    /// pooler does not know.
    pub(crate) fn direct(&self) -> String {
        match self {
            Self::Sqlite(_) => self.name(),
            Self::Postgres(database) => database.url().to_owned(),
        }
    }

    pub(crate) fn run_directly(&self, args: &[&str]) -> Ran {
        ran(command().args(["-d", &self.direct()]).args(args), "")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        ran(command().args(["-d", &self.name()]).args(args), input)
    }

    /// Does something with a store on this database.
    pub(crate) fn with(&self, work: impl FnOnce(&dyn TestStore)) {
        match self {
            Self::Sqlite(_) => work(&SqliteStore::open(self.name()).unwrap()),
            Self::Postgres(_) => work(&PostgresStore::connect(&self.name()).unwrap()),
        }
    }
}

/// A store, with everything that tests need to build other objects on it.
pub(crate) trait TestStore:
    readside::EventStore + readside::store::ProjectionStore + readside::store::LeaseStore
{
    fn handler(&self, projection: readside::Projection, config: readside::HandlerConfig)
    -> readside::ProjectionHandler;
    fn rows(&self, projection: &readside::Projection) -> Vec<Vec<(String, readside::Value)>>;
    fn engine(&self, projection: readside::Projection, config: readside::EngineConfig) -> readside::Engine;
}

macro_rules! test_store {
    ($store:ty) => {
        impl TestStore for $store {
            fn handler(
                &self,
                projection: readside::Projection,
                config: readside::HandlerConfig,
            ) -> readside::ProjectionHandler {
                let store = std::sync::Arc::new(self.clone());
                let handler = readside::ProjectionHandler::new(store.clone(), store, projection, config).unwrap();
                handler.setup().unwrap();
                handler
            }

            fn rows(&self, projection: &readside::Projection) -> Vec<Vec<(String, readside::Value)>> {
                self.read_rows(projection, projection.name()).unwrap()
            }

            fn engine(&self, projection: readside::Projection, config: readside::EngineConfig) -> readside::Engine {
                readside::Engine::builder(self.clone()).projection(projection).config(config).start().unwrap()
            }
        }
    };
}

test_store!(SqliteStore);
test_store!(PostgresStore);

/// Runs a test on both databases. Each of them is set up.
pub(crate) fn on_both(test: impl Fn(&Place)) {
    for place in fresh() {
        place.run(&["setup"]).ok();
        test(&place);
    }
}

/// Both databases, not set up.
pub(crate) fn fresh() -> [Place; 2] {
    [Place::Sqlite(tempfile::tempdir().unwrap()), Place::Postgres(common::postgres::database())]
}
