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
/// The database is an SQLite file or a PostgreSQL database. It holds what its projections registered, so this command
/// works on every readside database.
///
/// Some commands need the code of a projection. An engine that runs the projection carries them out. A command of the
/// service's own (`readside::cli::run`) can do it without an engine.
#[derive(Debug, Parser)]
#[command(name = "readside", version, max_term_width = 100, after_long_help = EXIT_CODES)]
pub(in crate::cli) struct Options {
    /// The database: path of an SQLite file, or URL of a PostgreSQL database (`postgres://USER@HOST/NAME`).
    ///
    /// The command never prints a password in the URL, but other users of this machine can see it among the arguments.
    /// The environment is safer.
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
    /// The database of the events, if the read models are in another one. `--database-url` then names that of the read
    /// models.
    ///
    /// Commands that act on the data of one database refuse this option. Run them on each of the two.
    #[arg(
        long,
        env = "READSIDE_EVENTS_URL",
        hide_env_values = true,
        value_name = "PATH|URL",
        global = true,
        help_heading = "Options of all commands"
    )]
    pub(in crate::cli) events_url: Option<String>,
    /// Schema of the engine's own tables in PostgreSQL. Default: `readside`.
    #[arg(
        long,
        env = "READSIDE_SCHEMA",
        value_name = "SCHEMA",
        global = true,
        help_heading = "Options of all commands"
    )]
    pub(in crate::cli) schema: Option<String>,
    /// Print JSON: one object, or for lists one object per line.
    #[arg(long, global = true, help_heading = "Options of all commands")]
    pub(in crate::cli) json: bool,
    /// Print no progress, and no remarks for people.
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
  3    something was found: lag or failures above a limit (status), a failed
       check (doctor), rows that differ (verify, explain), events that fail
       again (failed retry --all), events that are left out (rebuild, reset,
       builds switch, builds back)
  4    a projection that readers see is stuck (status), whatever the limits
  130  a signal ended the command early
TIME is a number and a unit: 500ms, 30s, 5min, 2h, 7d.";

const PUSH: &str = "\
Fields of a line:
  instance        the tenant; default: --instance
  aggregate_type  required
  aggregate_id    required
  type            the event type; required
  revision        the revision of the payload's form; default: 1
  payload         any JSON, also null, stored as it is; default: {}
  metadata        an object of texts; null, with the payload null, marks an
                  erased event, which stays erased
  creator, owner  texts
  expected        \"any\", \"new\", or the version that the aggregate must have
  push_key        makes the event repeatable; lines with and without a key go
                  into different batches
  payload_text    the payload as a text, to keep its line breaks
  unique          [{\"add\": {\"constraint\": \"email\", \"value\": \"a@b.c\",
                            \"message\": \"taken\"}},
                   {\"remove\": {\"constraint\": \"email\", \"value\": \"x@y.z\"}},
                   \"remove_all\"]
  id, version, created_at
                  ignored without --keep-times; created_at is in RFC 3339
  position        ignored: the store assigns it
`readside events` prints no push keys and no unique values; `readside export`
does.

Attributes of a CloudEvent 1.0 (a line with `specversion`):
  type           the event type
  source         the creator
  data           the payload, which has to be JSON
  subject        the aggregate id, unless there is an `aggregateid`
  aggregatetype  the aggregate type; default: --aggregate-type
  instance, owner, revision
                 as above
  time           with --keep-times, when the event was created
  all others, and id, source and subject, become metadata: `ce_` and their name
Without --key-prefix, source and id together are the push key: an event that
comes again is stored once.

Example: copy events to another database with their times; a repetition stores
nothing twice:
  readside -d old.db events --instance acme --limit 0 |
    readside -d new.db push --keep-times --key-prefix copy-1
`readside export` and `readside import` copy a tenant with its push keys and
unique values.";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Show how each projection is doing: lag, failures, and who works on it.
    ///
    /// Lag is counted in positions, and as the age of the oldest event that is not handled yet. With `--watch`, the
    /// command also tells the speed, and how long catching up will take.
    ///
    /// The verdict is one word: idle, moving, behind, building, paused, failing or stuck. A stuck projection will not
    /// move by itself. Either something stands in its way, which is named below the table. Or its oldest event has
    /// waited for more than a minute, and no engine runs it, or no checkpoint of it has moved for a minute.
    ///
    /// The exit code is 4 if readers see a projection that is stuck.
    #[command(after_long_help = "\
Example: alert when an event waits for more than a minute, or anything failed:
  readside status --max-lag 1min --max-failed 0 || alert")]
    Status(StatusArgs),
    /// Serve a status page, metrics for Prometheus and health by HTTP, until a signal ends it.
    ///
    /// The page shows what `status`, `failed`, `instances`, `commands` and `doctor` tell, and the last hour of each
    /// projection. Nobody can change anything there. The command looks at the database at its own pace: many viewers
    /// cost the database no more than one.
    ///
    /// Only this machine reaches the page, unless --listen names an address that others reach. Such an address needs a
    /// password (--password-file or READSIDE_SERVE_PASSWORD), or --without-password. There is no TLS: put a proxy in
    /// front.
    #[command(after_long_help = "\
Addresses:
  /         the page; add `.json` to the name of a page to get it as JSON
  /metrics  numbers for Prometheus
  /health   200, or 503 and the reason if a projection that readers see is stuck
  /ready    200 once the database answers and each first run is over
Example:
  readside serve --listen 127.0.0.1:7878")]
    Serve(ServeArgs),
    /// List instances (tenants), each with its head: the position of its last event.
    #[command(after_long_help = "\
Example: the instances in which the projection `users` is behind:
  readside instances --projection users --behind")]
    Instances(InstancesArgs),
    /// Print events as JSON lines, in order of instance and position.
    ///
    /// An event has to meet all conditions. If a condition is repeated, one of its values is enough; each `--not-`
    /// condition excludes all its values. The fields are id, instance, position, aggregate_type, aggregate_id, version,
    /// type, revision, created_at, creator, owner, payload and metadata.
    #[command(after_long_help = "\
Example: what happened to one user in the last two hours:
  readside events --instance acme --aggregate-type user --aggregate-id u1 \\
    --created-after 2h")]
    Events(EventsArgs),
    /// Store events from JSON lines.
    ///
    /// Each line is an event as `readside events` prints it, or a CloudEvent. Lines are stored in batches, each all or
    /// none. At the first wrong line the command stops, names the line, and says what is stored.
    #[command(after_long_help = PUSH)]
    Push(PushArgs),
    /// Write all events of an instance into a file for `readside import`.
    ///
    /// The file holds every event exactly as stored, with id, time, version, metadata and push key. Erased events are
    /// in it, and the unique values that are taken. It is one snapshot, and pushes go on meanwhile. The file must not
    /// exist. Only its owner can read it.
    #[command(after_long_help = "\
Example: copy a tenant to another database:
  readside -d old.db export --instance acme --file acme.jsonl
  readside -d new.db import acme.jsonl")]
    Export(ExportArgs),
    /// Make an instance from a file of `readside export`.
    ///
    /// The instance must not exist. The command reads the file twice, and stores nothing of a file that is cut short or
    /// wrong. It stores at most 1,000 events in a transaction. If the import is cut off, run the same import again: it
    /// goes on where it stopped. Nobody may push to the instance meanwhile; such a push ends the import.
    ///
    /// Positions count from 1, or go on after those of a removed instance of this name. Everything else is kept.
    #[command(after_long_help = "\
Example: a copy to try something with:
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
    /// No engine has to be alive. Engines notice at their next tick, within 10 s by default. Pushes go on, and the lag
    /// grows until `resume`. `status` tells who paused it and why; `commands` keeps it on record.
    #[command(after_long_help = "\
Example:
  readside pause users --instance acme --why 'we check its rows'")]
    Pause(PauseArgs),
    /// Let a paused projection, or one instance of it, go on.
    #[command(after_long_help = "\
Example:
  readside resume users --instance acme --why 'its rows are right'")]
    Resume(PauseArgs),
    /// List who works on which instance until when, and which processes are alive.
    #[command(after_long_help = "\
Example: which process works on the instance acme?
  readside leases users --limit 0 | grep acme")]
    Leases(LeasesArgs),
    /// Create the engine's tables, or bring them to the newest schema.
    ///
    /// A service does the same when it starts. With `--sql`, the command prints the SQL for an empty database, for the
    /// owner of the database to run.
    #[command(after_long_help = "\
Example: the SQL and the grants, for the owner of the database to run:
  readside -d postgres://localhost/service setup \\
    --sql --grant-to ROLE > readside.sql")]
    Setup(SetupArgs),
    /// Copy an SQLite file as it is now, while services read and write it.
    ///
    /// No service waits for the copy. The command checks the copy, and gives it its name only when it is whole. For
    /// PostgreSQL, use pg_dump.
    #[command(after_long_help = "\
Example: a copy each night, for which nothing has to stop:
  readside -d service.db backup \"service-$(date +%F).db\"")]
    Backup(BackupArgs),
    /// Check whether all is well, and tell what to do if not.
    ///
    /// The command checks the connection, TLS, a pooler in between, privileges, space, schema, engines, leases, lag and
    /// failures. Each line is OK, WARN or FAIL. The exit code is 3 if a check fails; with `--strict`, also on a
    /// warning.
    ///
    /// The disk of an SQLite file should have as much free space as the file takes, because a rebuild needs that; and
    /// at least a tenth of the disk, or 10 GiB of a large one and 1 GiB of a small one. Watch the disk of a PostgreSQL
    /// server on its machine.
    #[command(after_long_help = "\
Example:
  readside doctor --strict && echo all is well")]
    Doctor(DoctorArgs),
    /// Build a new read model, compare it with the live one, and let readers see it.
    ///
    /// An engine that runs the projection does this, after its live work. Readers notice nothing before the switch,
    /// which is one transaction. The old build is kept: `builds back` returns to it, `builds drop-old` removes it. With
    /// --instance, the rows of one instance are exchanged in place.
    #[command(after_long_help = "\
Example: look at the differences before readers see them:
  readside rebuild users --switch asked --why 'a column was wrong'
  readside builds switch users --why 'looks right'")]
    Rebuild(RebuildArgs),
    /// List the builds of read models, and choose which one readers see.
    #[command(after_long_help = "\
Example:
  readside builds list")]
    Builds(BuildsArgs),
    /// Remove projections that no service runs any more.
    #[command(after_long_help = "\
Example:
  readside projections remove users --dry-run
  readside projections remove users --why 'nobody reads it'")]
    Projections(ProjectionsArgs),
    /// Empty a read model and fill it again in place, while readers see it. Prefer `rebuild`.
    #[command(after_long_help = "\
Example:
  readside reset users --instance acme --why 'its rows were edited by hand'")]
    Reset(ResetArgs),
    /// Compute from the log what the tables of a projection should hold, and compare. Exits with 3 if rows differ.
    ///
    /// Engines go on meanwhile: each instance is compared as of one position. With `--repair`, the instances that
    /// differ are rebuilt.
    #[command(after_long_help = "\
Example:
  readside verify users --instance acme")]
    Verify(VerifyArgs),
    /// Show which events made a row, in order, with the row after each.
    #[command(after_long_help = "\
Example: the row of table users with the primary key u1, now and at position 40:
  readside explain users acme u1
  readside explain users acme u1 --at 40")]
    Explain(ExplainArgs),
    /// List what engines were asked to do, the latest first: by whom, why, and how far it is.
    ///
    /// `pause` and `resume` are in the list, too; they are done at once.
    #[command(after_long_help = "\
Example:
  readside commands users --limit 10")]
    Commands(CommandsArgs),
    /// Erase the payload and metadata of an event, or of all events of an aggregate.
    ///
    /// Position, version, type and time stay. Records of failures of these events are erased, too. The tables of
    /// projections keep what they took from the events until they are rebuilt; the report names these projections.
    #[command(after_long_help = "\
Example: a person asks to be forgotten:
  readside redact --instance acme --aggregate-type user --aggregate-id u1 \\
    --creator-and-owner --unique user.email=ada@example.com --dry-run")]
    Redact(RedactArgs),
    /// Remove an instance (tenant): its events, states, failures and rows in read models.
    ///
    /// Pushes to it are refused from then on, until `reopen-instance`. The command works in small steps; after an
    /// interruption, run it again. If rows of your own tables refer to rows that have to go, it names them before it
    /// begins.
    #[command(after_long_help = "\
Example:
  readside remove-instance acme --dry-run
  readside remove-instance acme --why 'contract 17 ended'")]
    RemoveInstance(RemoveArgs),
    /// Allow pushes to a removed instance again. Positions go on after its last one.
    #[command(after_long_help = "\
Example:
  readside reopen-instance acme --why 'they came back'")]
    ReopenInstance(ReopenArgs),
    /// Move old events out of the table that pushes work on. Reads find them as before.
    #[command(after_long_help = "\
Example: what is older than a year, without moving it:
  readside archive --before 365d --dry-run")]
    Archive(ArchiveArgs),
    /// List what was erased, removed or archived, the latest first: when, by whom, and why.
    #[command(after_long_help = "\
Example:
  readside operations --limit 10")]
    Operations(OperationsArgs),
    /// Measure how fast this database pushes and catches up, compared with the same work written by hand.
    ///
    /// The command uses instances and tables of its own, named `readside-bench-…`, and removes them at the end. The
    /// service goes on meanwhile, and the two slow each other down.
    #[command(after_long_help = "\
Example:
  readside bench --events 100000 --batch 1")]
    Bench(BenchArgs),
    /// Print a script that completes commands and options in a shell.
    #[command(after_long_help = "\
Example:
  readside completions bash \\
    > ~/.local/share/bash-completion/completions/readside")]
    Completions(CompletionsArgs),
}
