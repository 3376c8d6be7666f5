//! The arguments of the command line. The comments on them are the text of the help.
#![expect(clippy::doc_markdown, reason = "these are texts for people, not for rustdoc")]

mod act;
mod common;
mod data;
mod look;
mod machine;

pub(in crate::cli) use act::*;
pub(in crate::cli) use common::*;
pub(in crate::cli) use data::*;
pub(in crate::cli) use look::*;
pub(in crate::cli) use machine::*;

use clap::{Parser, Subcommand};

/// Look into a readside database and act on it.
///
/// The database is an SQLite file or a PostgreSQL server. Any readside database will do: what its projections registered
/// is known from it. What needs the code of a projection is done by an engine that runs it, or by a command of the
/// service's own (`readside::cli::run`).
#[derive(Debug, Parser)]
#[command(name = "readside", version, max_term_width = 100, after_long_help = EXIT_CODES)]
pub(in crate::cli) struct Options {
    /// Path of an SQLite file, or URL of a PostgreSQL database: `postgres://USER@HOST/NAME`.
    ///
    /// A password in the URL is never printed, but other users of this machine may see it among the arguments; the
    /// environment is safer.
    #[arg(
        long,
        short,
        alias = "database",
        env = "READSIDE_DATABASE_URL",
        hide_env_values = true,
        value_name = "PATH|URL",
        global = true,
        help_heading = "Options of all commands"
    )]
    pub(in crate::cli) database_url: Option<String>,
    /// Where the events are, if they are in another database than the read models, which `--database-url` names then.
    ///
    /// Commands that act on the data of one database refuse it; run them on each of the two.
    #[arg(
        long,
        env = "READSIDE_EVENTS_URL",
        hide_env_values = true,
        value_name = "PATH|URL",
        global = true,
        help_heading = "Options of all commands"
    )]
    pub(in crate::cli) events_url: Option<String>,
    /// The schema of the engine's own tables, where it is not `readside` (PostgreSQL).
    #[arg(
        long,
        env = "READSIDE_SCHEMA",
        value_name = "SCHEMA",
        global = true,
        help_heading = "Options of all commands"
    )]
    pub(in crate::cli) schema: Option<String>,
    /// Print JSON: one object, or one object per line for lists.
    #[arg(long, global = true, help_heading = "Options of all commands")]
    pub(in crate::cli) json: bool,
    /// Print no progress, and no words where there is nothing to tell.
    #[arg(long, short, global = true, help_heading = "Options of all commands")]
    pub(in crate::cli) quiet: bool,
    #[command(subcommand)]
    pub(in crate::cli) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done, and all is well
  1    an error; standard error says which
  2    wrong arguments
  3    something was found: lag or failures above a limit (status), a failed check (doctor),
       rows that differ (verify, explain), events that fail again (failed retry --all),
       events that are left out (rebuild, reset, builds switch and back)
  4    a projection that readers see is stuck (status), whatever the limits
  130  ended by a signal before it was through";

const PUSH: &str = "\
Fields of a line:
  instance        the tenant; --instance stands in for it
  aggregate_type  needed
  aggregate_id    needed
  type            the event type; needed
  revision        of the payload's form; 1 without it
  payload         any JSON, also null, kept as it is; {} without it
  metadata        an object of texts; null beside the payload null: an erased event, which stays
                  erased
  creator, owner  texts
  expected        \"any\", \"new\", or the version that the aggregate must have
  push_key        makes the event repeatable, beside others that bear one
  payload_text    the payload as a text, for one with line breaks to the letter
  unique          [{\"add\": {\"constraint\": \"email\", \"value\": \"a@b.c\", \"message\": \"taken\"}},
                   {\"remove\": {\"constraint\": \"email\", \"value\": \"x@y.z\"}}, \"remove_all\"]
  id, version, created_at
                  read over, unless --keep-times keeps them; created_at in RFC 3339
  position        read over: the store assigns it
`readside events` prints no push keys and no unique values; `readside export` does.

Attributes of a CloudEvent 1.0 (a line with `specversion`):
  type           the event type
  source         the creator
  data           the payload; it has to be JSON
  subject        the aggregate id, unless there is an `aggregateid`
  aggregatetype  the aggregate type; --aggregate-type stands in for it
  instance, owner, revision
                 as above
  all others, id, source and subject too, become metadata by their name behind `ce_`
  source and id together are its push key, so that an event that comes again is stored once;
  --key-prefix gives other keys
  time           with --keep-times, when the event was created

Example: copy events to another database with their times; repeated, it stores nothing twice:
  readside -d old.db events --instance acme --limit 0 |
    readside -d new.db push --keep-times --key-prefix copy-1
`readside export` and `readside import` copy a tenant with its push keys and unique values.";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// How each projection is doing: lag, failures, who works on it.
    ///
    /// Lag is counted in positions and as the age of the oldest event that is not handled yet. With `--watch`, two looks
    /// tell the speed and how long catching up will take.
    ///
    /// The verdict is one word: idle, moving, behind, building, paused, failing or stuck. Stuck is what does not move and will
    /// not by itself: something stands in its way, which is named below the table; or it is behind, its oldest event waits for
    /// more than a minute, and no engine runs it or no checkpoint of it has moved for a minute. Exits with 4 when readers see
    /// a projection that is stuck.
    #[command(after_long_help = "\
Example: alert when an event waits for more than a minute, or anything failed:
  readside status --max-lag 1min --max-failed 0 || alert")]
    Status(StatusArgs),
    /// Serve a status page, metrics for Prometheus and health by HTTP, until a signal ends it.
    ///
    /// The page shows what `status`, `failed`, `instances`, `commands` and `doctor` tell, with the last hour of each projection.
    /// Nothing can be changed there. It looks at the database by itself, so that it costs the same however many look.
    ///
    /// Other machines reach it only where --listen names an address of theirs, which takes a password: the first line of
    /// --password-file, or READSIDE_SERVE_PASSWORD; or --without-password. There is no TLS: put a proxy before it.
    #[command(after_long_help = "\
Addresses:
  /         the page; behind the name of each page `.json` gives the same as JSON
  /metrics  numbers for Prometheus
  /health   200, or 503 and the reason when a projection that readers see is stuck
  /ready    200 once the database answers and each first run is over
Example:
  readside serve --listen 127.0.0.1:7878")]
    Serve(ServeArgs),
    /// List instances (tenants) with their heads.
    #[command(after_long_help = "\
Example: the instances in which the projection `users` is behind:
  readside instances --projection users --behind")]
    Instances(InstancesArgs),
    /// Print events as JSON lines, in order of instance and position.
    ///
    /// Conditions of different kinds are joined by AND, several of one kind by OR. The fields are id, instance, position,
    /// aggregate_type, aggregate_id, version, type, revision, created_at, creator, owner, payload and metadata.
    #[command(after_long_help = "\
Example: what happened to one user in the last two hours:
  readside events --instance acme --aggregate-type user --aggregate-id u1 --created-after 2h")]
    Events(EventsArgs),
    /// Store events from JSON lines.
    ///
    /// Each line is an event as `readside events` prints it, or a CloudEvent. Lines are stored in batches, each all or
    /// nothing. At the first wrong line it stops, names it, and says what is stored.
    #[command(after_long_help = PUSH)]
    Push(PushArgs),
    /// Write all events of an instance into a file, to the letter, for `readside import`.
    ///
    /// Ids, times, versions, metadata and push keys are in it, erased events, and the unique values that are taken. It is one
    /// snapshot: who pushes meanwhile is not waited for. The file must not exist; only its owner can read it.
    #[command(after_long_help = "\
Example: copy a tenant to another database:
  readside -d old.db export --instance acme --file acme.jsonl
  readside -d new.db import acme.jsonl")]
    Export(ExportArgs),
    /// Make an instance from a file of `readside export`.
    ///
    /// The file is read twice: nothing is stored of one that is cut short or wrong. An instance of that name must not exist. It
    /// is stored in transactions of 1,000 events at most; when it is cut off, the same import goes on where it stood. Nobody
    /// may push to the instance meanwhile; somebody who does ends it.
    ///
    /// Positions count from 1, or from behind what was removed here; all else is kept.
    #[command(after_long_help = "\
Example: a copy to try something on:
  readside import acme.jsonl --instance acme-copy")]
    Import(ImportArgs),
    /// List failed events, and act on them.
    #[command(after_long_help = "\
Example: what failed, and why:
  readside failed list
  readside failed show users acme 17 --payload")]
    Failed(FailedArgs),
    /// Pause a projection, or one instance of it, in all processes.
    ///
    /// Engines notice at their next tick, which is after 10 s by default; none has to be alive. Pushes go on; the lag grows
    /// until `resume`. `status` tells who paused it and why, `commands` keeps that on record.
    #[command(after_long_help = "\
Example:
  readside pause users --instance acme --why 'its rows are looked at'")]
    Pause(PauseArgs),
    /// Let a paused projection, or one instance of it, go on.
    #[command(after_long_help = "\
Example:
  readside resume users --instance acme --why 'they are as they should be'")]
    Resume(PauseArgs),
    /// Who works on which instance until when, and which processes are alive.
    #[command(after_long_help = "\
Example: what process holds the instance acme?
  readside leases users --limit 0 | grep acme")]
    Leases(LeasesArgs),
    /// Create the engine's tables, or bring them to the newest schema.
    ///
    /// A service does the same when it starts. With `--sql` it prints what would run on an empty database, for its owner to run.
    #[command(after_long_help = "\
Example: for an owner of the database who runs it by hand:
  readside -d postgres://localhost/service setup --sql --grant-to ROLE > readside.sql")]
    Setup(SetupArgs),
    /// Copy an SQLite file as it is now, also while services read and write it.
    ///
    /// Nobody waits for it. The copy is checked, and has its name only when it is whole. For PostgreSQL use pg_dump.
    #[command(after_long_help = "\
Example: one copy each night, before which nothing has to stop:
  readside -d service.db backup \"service-$(date +%F).db\"")]
    Backup(BackupArgs),
    /// Find out whether all is well, and what to do if not.
    ///
    /// Looks at the connection and what stands between, privileges, space, schema, engines, leases, lag and failures. Each
    /// line is OK, WARN or FAIL. A failed check ends with exit code 3; with `--strict` a warning does too.
    ///
    /// The disk of an SQLite file should have as much left as the file takes, since a rebuild needs that, and a tenth of it, but
    /// no less than 1 GiB and no more than 10 GiB. That of a PostgreSQL server has to be watched there.
    #[command(after_long_help = "\
Example:
  readside doctor --strict && echo all is well")]
    Doctor(DoctorArgs),
    /// Build a read model anew beside the old one, compare the two, and have readers see the new one.
    ///
    /// Engines that run the projection do it, after their live work; readers notice nothing before the switch, which is one
    /// transaction. The old build is kept: `builds back` returns to it, `builds drop-old` removes it. One instance alone is
    /// exchanged in place.
    #[command(after_long_help = "\
Example: look at the differences before readers see them:
  readside rebuild users --switch asked --why 'a column was wrong'
  readside builds switch users --why 'looks right'")]
    Rebuild(RebuildArgs),
    /// Which builds of read models there are, and which one readers see.
    #[command(after_long_help = "\
Example:
  readside builds list")]
    Builds(BuildsArgs),
    /// Remove projections that no service keeps any more.
    #[command(after_long_help = "\
Example:
  readside projections remove users --dry-run
  readside projections remove users --why 'nobody reads it'")]
    Projections(ProjectionsArgs),
    /// Empty a read model and fill it again in place: readers see it grow. Prefer `rebuild`.
    #[command(after_long_help = "\
Example:
  readside reset users --instance acme --why 'its rows were edited by hand'")]
    Reset(ResetArgs),
    /// Compute from the log what the tables of a projection should hold, and compare. Exits with 3 when rows differ.
    ///
    /// Engines go on meanwhile: each instance is looked at as of one position. With `--repair`, instances that differ are
    /// rebuilt.
    #[command(after_long_help = "\
Example:
  readside verify users --instance acme")]
    Verify(VerifyArgs),
    /// Tell which events made a row, in order, with the row after each.
    #[command(after_long_help = "\
Example: the row of table users with the primary key u1, and as it was at position 40:
  readside explain users acme u1
  readside explain users acme u1 --at 40")]
    Explain(ExplainArgs),
    /// What engines were asked to do, the latest first: by whom, why, and how far it is.
    ///
    /// `pause` and `resume` are among them, done as soon as they were asked for.
    #[command(after_long_help = "\
Example:
  readside commands users --limit 10")]
    Commands(CommandsArgs),
    /// Erase payload and metadata of an event, or of all events of an aggregate.
    ///
    /// Position, version, type and time stay. What projections took from the events before stays in their tables until they
    /// are rebuilt; the report names them. Metadata, and what was recorded of failures, go too.
    #[command(after_long_help = "\
Example: a person asks to be forgotten:
  readside redact --instance acme --aggregate-type user --aggregate-id u1 \\
    --creator-and-owner --unique user.email=ada@example.com --dry-run")]
    Redact(RedactArgs),
    /// Remove a tenant: its events, states, failures and read rows.
    ///
    /// Pushes to it are refused from then on, until `reopen-instance`. It goes in small steps; after an interruption, say it
    /// again. Where rows of tables of your own hold on to rows that have to go, it names them before it begins.
    #[command(after_long_help = "\
Example:
  readside remove-instance acme --dry-run
  readside remove-instance acme --why 'contract 17 ended'")]
    RemoveInstance(RemoveArgs),
    /// Let a removed instance be pushed to again, behind its last position.
    #[command(after_long_help = "\
Example:
  readside reopen-instance acme --why 'they came back'")]
    ReopenInstance(ReopenArgs),
    /// Move old events out of the table that pushes work on. Reads find them as before.
    #[command(after_long_help = "\
Example: what is older than a year:
  readside archive --before 365d --dry-run")]
    Archive(ArchiveArgs),
    /// What was erased, removed or archived, the latest first: when, by whom, and why.
    #[command(after_long_help = "\
Example:
  readside operations --limit 10")]
    Operations(OperationsArgs),
    /// Measure how fast this database is: pushes and catching up, beside the same work written by hand.
    ///
    /// It uses its own instances and tables, named `readside-bench-…`, and removes them at the end. The service goes on
    /// meanwhile, and both slow each other down.
    #[command(after_long_help = "\
Example:
  readside bench --events 100000 --batch 1")]
    Bench(BenchArgs),
    /// Print a script that completes commands and options in a shell.
    #[command(after_long_help = "\
Example:
  readside completions bash > ~/.local/share/bash-completion/completions/readside")]
    Completions(CompletionsArgs),
}
