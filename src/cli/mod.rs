//! The command line: looks into a store and acts on it, for people and for scripts.
//!
//! `options` defines the arguments, `database` opens the database, and each command has its own file. All of them
//! print through `output`.

mod backup;
mod bench;
mod by;
mod commands;
mod completions;
mod database;
mod doctor;
mod events;
mod failed;
mod format;
mod hidden;
mod instances;
mod layout;
mod leases;
mod operate;
mod options;
mod output;
mod pause;
mod projections;
mod push;
mod rebuild;
mod retention;
mod serve;
mod setup;
mod status;
mod stop;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches};

use crate::admin::status_of_two;
use crate::error::{OperateError, StoreError};
use crate::inspect::{Status, Survey};
use crate::projection::Projection;
use database::{Store, Ways};
use hidden::Hidden;
use options::{Command, Options};
use output::{ClosedOutput, Output};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// All is well.
    Fine,
    /// The arguments were wrong.
    Misused,
    /// The command did not do what it was asked to do, and has said why.
    Failed,
    /// The command found a problem that scripts look for.
    Found,
    /// A projection that readers see is stuck.
    Stuck,
    /// A signal ended the command before it was done.
    Interrupted,
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Fine => ExitCode::SUCCESS,
            Ended::Failed => ExitCode::FAILURE,
            Ended::Misused => ExitCode::from(2),
            Ended::Found => ExitCode::from(3),
            Ended::Stuck => ExitCode::from(4),
            Ended::Interrupted => ExitCode::from(130),
        }
    }
}

type Outcome = anyhow::Result<Ended>;

/// Where a command is carried out.
struct Session<'s> {
    /// The store of the read models, their states, the commands, and everything else that engines keep.
    store: Arc<dyn Store>,
    /// The store of the events. It is the same store unless the events are in another database.
    events: Arc<dyn Store>,
    /// True if the events are in another database.
    has_two_databases: bool,
    /// The database as the user named it, with its secrets.
    database: &'s str,
    /// The projections whose code this process has.
    projections: &'s [Projection],
    out: Output,
}

/// Carries out the arguments of this process, and returns its exit code. A service that passes its projections gets
/// its own `readside` command, which can also do what needs the code of a projection.
///
/// # Examples
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     readside::cli::run(vec![/* users(), orders() */])
/// }
/// ```
#[must_use]
pub fn run(projections: Vec<Projection>) -> ExitCode {
    run_from(std::env::args_os(), projections)
}

/// As [`run`], with the caller's arguments. The first one is the name of the command.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "a call is one line of `main`")]
pub fn run_from(args: impl IntoIterator<Item = impl Into<OsString>>, projections: Vec<Projection>) -> ExitCode {
    // The service may have set a logger already.
    let _ = env_logger::try_init();
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let hidden = Hidden::of(&args);
    match carry_out(args, &hidden, &projections) {
        Ok(ended) => ended.into(),
        Err(error) if error.is::<ClosedOutput>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("readside: {}", hidden.masked(&crate::error::chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(args: Vec<OsString>, hidden: &Hidden, projections: &[Projection]) -> anyhow::Result<Ended> {
    let options =
        match Options::command().try_get_matches_from(args).and_then(|found| Options::from_arg_matches(&found)) {
            Ok(options) => options,
            Err(error) => return Ok(said(&error, hidden)),
        };
    let out = Output::new(options.json, options.quiet);
    if let Command::Completions(args) = &options.command {
        if options.json {
            let why = "completions are a script for a shell, and there is no JSON of it: leave --json out";
            return Ok(said(&Options::command().error(clap::error::ErrorKind::ArgumentConflict, why), hidden));
        }
        return completions::run(args, out);
    }
    let Some(database) = options.database_url.as_deref() else { return Ok(said(&no_database(), hidden)) };
    let listen = match &options.command {
        Command::Events(args) => args.listen_url.as_deref(),
        Command::Doctor(args) => args.listen_url.as_deref(),
        _ => None,
    };
    let listen = listen.filter(|url| !url.is_empty());
    // An empty value counts as none, which helps scripts.
    let elsewhere = options.events_url.as_deref().filter(|place| !place.is_empty() && *place != database);
    // Listening is for events, so it belongs to the database of the events.
    let schema = options.schema.as_deref().filter(|schema| !schema.is_empty());
    let own = Ways { listen: listen.filter(|_| elsewhere.is_none()), schema };
    let store = database::open(database, matches!(options.command, Command::Setup(_)), own)?;
    let events = match elsewhere {
        Some(place) => {
            ensure_two_databases(&options.command)?;
            database::open(place, false, Ways { listen, schema }).context("opening the database of the events")?
        }
        None => Arc::clone(&store),
    };
    let mut session = Session { store, events, has_two_databases: elsewhere.is_some(), database, projections, out };
    // A backup works on an older schema too, so that people can make it before a new version sets up.
    if !matches!(options.command, Command::Setup(_) | Command::Backup(_) | Command::Doctor(_)) {
        database::check_schema(&*session.store)?;
        if session.has_two_databases {
            database::check_schema(&*session.events).context("checking the database of the events")?;
        }
    }
    let outcome = dispatch(&mut session, &options.command).and_then(|ended| match ended {
        // The failure was reported on standard error, so a failing output does not matter.
        Ended::Failed => Ok(ended),
        _ => session.out.flush().map(|()| ended),
    });
    let ended = session.out.judged(outcome)?;
    if let Some((changed, error)) = session.out.untold() {
        let text = format!("{changed}, but the output did not take that: {}", crate::error::chain(error.as_ref()));
        eprintln!("readside: {}", format::masked(&text));
    }
    Ok(ended)
}

fn dispatch(session: &mut Session<'_>, command: &Command) -> Outcome {
    match command {
        Command::Completions(_) => Ok(Ended::Fine),
        Command::Setup(args) => setup::run(session, args),
        Command::Backup(args) => backup::run(session, args),
        Command::Status(args) => status::run(session, args),
        Command::Serve(args) => serve::run(session, args),
        Command::Instances(args) => instances::run(session, args),
        Command::Events(args) => events::run(session, args),
        Command::Push(args) => push::run(session, args),
        Command::Export(args) => transfer::export(session, args),
        Command::Import(args) => transfer::import(session, args),
        Command::Failed(args) => failed::run(session, args),
        Command::Pause(args) => pause::run(session, args, true),
        Command::Resume(args) => pause::run(session, args, false),
        Command::Leases(args) => leases::run(session, args),
        Command::Rebuild(args) => rebuild::rebuild(session, args),
        Command::Builds(args) => rebuild::builds(session, args),
        Command::Projections(args) => retention::projections(session, args),
        Command::Reset(args) => rebuild::reset(session, args),
        Command::Verify(args) => verify::verify(session, args),
        Command::Explain(args) => verify::explain(session, args),
        Command::Commands(args) => commands::run(session, args),
        Command::Redact(args) => retention::redact(session, args),
        Command::RemoveInstance(args) => retention::remove(session, args),
        Command::ReopenInstance(args) => retention::reopen(session, args),
        Command::Archive(args) => retention::archive(session, args),
        Command::Operations(args) => retention::operations(session, args),
        Command::Bench(args) => bench::run(session, args),
        Command::Doctor(args) => doctor::run(session, args),
    }
}

/// Refuses a command that acts on the data of one database only.
fn ensure_two_databases(command: &Command) -> anyhow::Result<()> {
    let (name, order) = match command {
        Command::Setup(_) => ("setup", ""),
        Command::Backup(_) => ("backup", ""),
        Command::Redact(_) => ("redact", ", first on that of the events"),
        Command::RemoveInstance(_) => ("remove-instance", ", first on that of the events"),
        Command::ReopenInstance(_) => ("reopen-instance", ""),
        Command::Archive(_) => ("archive", ""),
        Command::Operations(_) => ("operations", ""),
        Command::Bench(_) => ("bench", ""),
        _ => return Ok(()),
    };
    anyhow::bail!("{name} works on one database: run it on each of the two by itself{order}, without --events-url")
}

impl Session<'_> {
    /// The status of all projections. A command that looks again keeps the survey.
    fn status(&self, system: bool, survey: &mut Survey) -> Result<Status, StoreError> {
        if self.has_two_databases {
            status_of_two(&*self.events, &*self.store, system)
        } else {
            self.store.look(system, survey)
        }
    }
}

/// For a command that looks again and again: reports a database error that will pass, and returns any other error.
fn passes(error: anyhow::Error) -> anyhow::Result<()> {
    let passes = error.downcast_ref::<StoreError>().is_some_and(StoreError::is_transient)
        || matches!(error.downcast_ref(), Some(OperateError::Store(error)) if error.is_transient());
    if !passes {
        return Err(error);
    }
    eprintln!("readside: {}; looking again", format::masked(&crate::error::chain(error.as_ref())));
    Ok(())
}

fn no_database() -> clap::Error {
    Options::command().error(
        clap::error::ErrorKind::MissingRequiredArgument,
        "no database is named: give --database-url PATH|URL, or set READSIDE_DATABASE_URL",
    )
}

/// Prints the help, the version, or what is wrong with the arguments. The arguments may hold a password.
fn said(error: &clap::Error, hidden: &Hidden) -> Ended {
    match hidden.instead_of(error) {
        Some(text) => eprint!("{text}"),
        // A closed output does not matter here.
        None => _ = error.print(),
    }
    if error.use_stderr() { Ended::Misused } else { Ended::Fine }
}
