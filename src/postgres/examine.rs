//! Checks whether a server, and a pooler in front of it, suit the engine.

use std::time::{Duration, Instant, SystemTime};

use fallible_iterator::FallibleIterator;
use postgres::Client;

use super::access::Access;
use super::channel::{Cover, Looked};
use super::server::Postgres;
use super::{error, notify, rights};
use crate::clock::spoken;
use crate::db::made::torn_builds;
use crate::db::{Backend, Row, row};
use crate::error::{StoreError, StoreErrorKind, chain};
use crate::inspect::{Examined, Finding};
use crate::plain::plain;
use crate::store::{Notifications, UNHEARD};
use crate::value::{Value, time_text};

/// A transaction older than this keeps the server from cleaning up.
const OLD_TRANSACTION: Duration = Duration::from_mins(5);

/// Above this part of the server's connections, in percent, they become scarce.
const TIGHT: i64 = 80;

/// A certificate that ends within this time should have been renewed.
const ENDS_SOON: Duration = Duration::from_hours(24 * 14);

pub(super) fn examine(postgres: &Postgres, patience: Duration) -> Vec<Finding> {
    let checks: [(&'static str, &dyn Fn() -> Examined); 11] = [
        ("server", &|| server(postgres)),
        ("tls", &|| tls(postgres)),
        ("durability", &|| durability(postgres)),
        ("privileges", &|| privileges(postgres)),
        ("read tables", &|| read_tables(postgres)),
        ("pooler", &|| pooler(postgres)),
        ("notifications", &|| notifications(postgres, patience)),
        ("transactions", &|| transactions(postgres)),
        ("connections", &|| connections(postgres)),
        ("space", &|| space(postgres)),
        ("disk", &|| disk(postgres)),
    ];
    checks.into_iter().map(|(check, look)| look().unwrap_or_else(|error| failed(check, &error))).collect()
}

fn failed(check: &'static str, error: &StoreError) -> Finding {
    Finding::fail(check, chain(error), "remove the cause that the error names, then run doctor again")
}

/// The single row of a query.
fn one(postgres: &Postgres, doing: &str, sql: &str) -> Result<Row, StoreError> {
    one_of(postgres, doing, sql, &[])
}

/// The single row of a query about the schema of the engine's tables.
fn one_at_home(postgres: &Postgres, doing: &str, sql: &str) -> Result<Row, StoreError> {
    one_of(postgres, doing, sql, &[postgres.home.name().into()])
}

fn one_of(postgres: &Postgres, doing: &str, sql: &str, params: &[Value]) -> Result<Row, StoreError> {
    let rows = postgres.read(doing, |conn| conn.query(sql, params))?;
    rows.into_iter().next().ok_or_else(|| StoreError::new(doing, StoreErrorKind::Corrupt, "the server gave no row"))
}

fn server(postgres: &Postgres) -> Examined {
    let doing = "asking for the server's version";
    let sql = "SELECT version(), current_database()::text, current_user::text";
    let found = one(postgres, doing, sql)?;
    let (version, database, user) = (row::text(&found, 0)?, row::text(&found, 1)?, row::text(&found, 2)?);
    // The rest of the text is about the machine and the compiler.
    let version = plain(version.split(" on ").next().unwrap_or(version)).into_owned();
    let (product, access) = (product(postgres)?, access(postgres, doing)?);
    let side = if access == Access::Standby { "a standby" } else { "primary" };
    let text = format!("{version}{product}, database {database:?}, user {user:?}, {side}");
    Ok(match access.why() {
        None => Finding::ok("server", text),
        Some(why) => {
            let remedy = access.remedy().trim_start_matches("; ");
            let reads = "status, events and doctor work here; engines, pushes and commands do not";
            Finding::fail("server", format!("{text}; {why}: {reads}"), remedy)
        }
    })
}

/// The product that is based on PostgreSQL or hosts it, recognized by something that only it has. A server that is
/// not PostgreSQL says so in its version.
fn product(postgres: &Postgres) -> Result<String, StoreError> {
    let sql = "SELECT p.name FROM (VALUES ('Citus', EXISTS (SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'citus')), \
           ('Aurora', EXISTS (SELECT 1 FROM pg_catalog.pg_proc WHERE proname = 'aurora_version'))) AS p(name, is_there) \
         WHERE p.is_there \
         UNION ALL SELECT p.name FROM (VALUES ('Neon', 'neon.'), ('AlloyDB', 'alloydb.'), ('Amazon RDS', 'rds.'), \
           ('Cloud SQL', 'cloudsql.'), ('Azure', 'azure.'), ('TimescaleDB', 'timescaledb.')) AS p(name, prefix) \
         WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_settings s WHERE starts_with(s.name, p.prefix))";
    let rows = postgres.read("asking for the server's product", |conn| conn.query(sql, &[]))?;
    let names = rows.iter().map(|found| row::text(found, 0)).collect::<Result<Vec<_>, _>>()?;
    Ok(if names.is_empty() { String::new() } else { format!(" with {}", names.join(", ")) })
}

/// How well a new link to the server, or to a pooler in front of it, is protected.
fn tls(postgres: &Postgres) -> Examined {
    let channel = postgres.pool().connect("looking at TLS")?.channel();
    let (looked, until) = match channel.cover {
        Cover::Plain if channel.is_local => {
            return Ok(Finding::ok("tls", "none; the link does not leave this machine"));
        }
        Cover::Plain => {
            let found =
                "none: an attacker on the network can read and change everything, passwords and events included";
            return Ok(Finding::warn(
                "tls",
                found,
                "set sslmode=verify-full in the connection string, and sslrootcert",
            ));
        }
        Cover::Tls { looked, until } => (looked, until),
    };
    let words = match looked {
        Looked::Nobody => "in use, but nobody has checked whose certificate the server has",
        Looked::Issuer => "in use, the server's certificate is of a trusted authority",
        Looked::Host => "in use, the server's certificate is of a trusted authority, and for this host",
        Looked::Connector => "in use, by a connector of the service's own",
    };
    let end = until.map(|until| format!("; the certificate ends at {}", time_text(until))).unwrap_or_default();
    let found = format!("{words}{end}");
    let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
    Ok(if left.is_some_and(|left| left < ENDS_SOON) {
        Finding::warn("tls", found, "have it renewed on the server; clients that check it cannot connect after that")
    } else if looked == Looked::Nobody && !channel.is_local {
        Finding::warn("tls", found, "set sslmode=verify-full in the connection string, and sslrootcert")
    } else {
        Finding::ok("tls", found)
    })
}

/// What the server lets this role do now. This opens a new connection, because changed defaults apply only to new
/// ones.
fn access(postgres: &Postgres, doing: &str) -> Result<Access, StoreError> {
    Ok(postgres.pool().connect(doing)?.access())
}

fn durability(postgres: &Postgres) -> Examined {
    let sql =
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')";
    let found = one(postgres, "asking for the server's settings", sql)?;
    let names = ["fsync", "synchronous_commit", "full_page_writes"];
    let mut off = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        if row::text(&found, at)? == "off" {
            off.push(name);
        }
    }
    Ok(if off.is_empty() {
        Finding::ok("durability", "a commit is on the disk")
    } else {
        Finding::warn(
            "durability",
            format!("{} off: a crash of the server can lose events", off.join(", ")),
            "turn it on, unless you can do without this data",
        )
    })
}

/// The rights that running needs, with the statements that grant the missing ones.
fn privileges(postgres: &Postgres) -> Examined {
    let sql = "SELECT has_database_privilege(current_database(), 'CREATE'), to_regnamespace($1::text) IS NOT NULL, \
         coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";
    let (check, doing) = ("privileges", "asking for privileges");
    let found = one_at_home(postgres, doing, sql)?;
    let [create, exists, tables] = [row::truth(&found, 0)?, row::truth(&found, 1)?, row::truth(&found, 2)?];
    if !exists {
        let remedy = "have the owner of the database run what `readside setup --sql --grant-to ROLE` prints";
        return Ok(if create {
            Finding::ok(check, "may create the engine's schema")
        } else {
            Finding::fail(check, "may not create the engine's schema, which is missing", remedy)
        });
    }
    let lacking = postgres.read(doing, |conn| rights::lacking(conn))?;
    if !lacking.grants.is_empty() {
        let (found, remedy) = lacking.words();
        return Ok(Finding::fail(check, found, remedy));
    }
    let (guarded, statements) = postgres.read(doing, rights::under_policies)?;
    if !guarded.is_empty() {
        let found = format!(
            "row-level security holds for role {:?} on {}: engines refuse to work where policies may hide rows from them",
            lacking.role,
            guarded.join(", ")
        );
        let (bypass, others) =
            statements.split_first().map_or(("", &[][..]), |(first, others)| (first.as_str(), others));
        let remedy = format!(
            "a policy that lets this role see all rows does not help. Have a superuser run\n{bypass}\nor have the owner of these \
             tables run\n{}",
            others.join("\n")
        );
        return Ok(Finding::fail(check, found, remedy));
    }
    Ok(if lacking.is_owner && tables {
        Finding::ok(check, "may read and write all tables, set up and rebuild")
    } else {
        let found = "may read and write all tables, but not set up and rebuild, which needs their owner";
        Finding::warn(check, found, "start engines without set-up; have the owner set new tables up, and rebuild")
    })
}

/// Whether the tables of all builds are still those that were made for them.
fn read_tables(postgres: &Postgres) -> Examined {
    let (check, doing) = ("read tables", "looking whether read tables belong to their checkpoints");
    let is_there = "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass($1::text || '.projections')::oid \
                    AND attname = 'made_for'";
    if row::int(&one_at_home(postgres, doing, is_there)?, 0)? == 0 {
        return Ok(Finding::ok(check, "not on record yet; the next set-up notes which they are"));
    }
    let builds = postgres.read(doing, |conn| torn_builds(conn))?;
    Ok(if builds.is_empty() {
        Finding::ok(check, "checkpoints and read tables belong together")
    } else {
        let remedy = "a restore of read tables alone, or of the engine's alone, does that: restore both from one backup, or \
                      build these read models again with `readside rebuild`";
        Finding::fail(check, builds.join("; "), remedy)
    })
}

/// Looks for a pooler in transaction mode: it gives the server's session to another client between two statements.
fn pooler(postgres: &Postgres) -> Examined {
    let mut client = postgres.pool().connect_anew("looking for a pooler")?;
    Ok(if notify::is_shared(postgres, &mut client)? {
        Finding::warn(
            "pooler",
            "there is a pooler in transaction mode: everything works, except LISTEN, which needs its own session",
            "if engines have to see pushes of other processes within milliseconds, name a way past it by PostgresOptions::listen_url",
        )
    } else {
        Finding::ok("pooler", "none, or one that leaves sessions whole")
    })
}

/// Sends a notification to itself, as engines do. It does not listen in a shared session: it would hear nothing
/// there, and would leave the session subscribed.
fn notifications(postgres: &Postgres, patience: Duration) -> Examined {
    let doing = "testing notifications";
    if access(postgres, doing)? == Access::Standby {
        return Ok(Finding::warn("notifications", "none on a standby", "connect to the primary server"));
    }
    let mut listener = postgres.connect_to_listen(doing)?;
    let remedy = "name a way past the pooler, to the same database, by PostgresOptions::listen_url or --listen-url";
    if notify::is_shared(postgres, &mut listener)? {
        let found = format!("none arrive where sessions are shared: {}", looked_for());
        return Ok(Finding::warn("notifications", found, remedy));
    }
    let pid = notify::subscribe(postgres, &mut listener)?;
    let heard = hear(postgres, &mut listener, patience);
    notify::unsubscribe(postgres, &mut listener, pid);
    Ok(match heard? {
        Some(took) => Finding::ok("notifications", format!("they arrive, after {}", spoken(took))),
        None => Finding::warn(
            "notifications",
            format!("none arrived within {}: {}", spoken(patience), looked_for()),
            remedy,
        ),
    })
}

fn looked_for() -> String {
    format!("engines look for the pushes of other processes, every {} at the latest", spoken(UNHEARD))
}

/// How long a notification took to arrive.
fn hear(postgres: &Postgres, listener: &mut Client, patience: Duration) -> Result<Option<Duration>, StoreError> {
    let failed = |error: postgres::Error| error::store("testing notifications", &error);
    let started = Instant::now();
    let word = notify::say(postgres)?;
    let mut notifications = listener.notifications();
    while started.elapsed() < patience {
        let left = patience.saturating_sub(started.elapsed());
        if let Some(heard) = notifications.timeout_iter(left).next().map_err(failed)?
            && notify::read(heard.payload(), postgres.origin, &mut Notifications::default()).contains(&word)
        {
            return Ok(Some(started.elapsed()));
        }
    }
    Ok(None)
}

fn transactions(postgres: &Postgres) -> Examined {
    let sql = "SELECT coalesce(extract(epoch FROM max(clock_timestamp() - a.xact_start)), 0)::float8, \
         (SELECT pid::int8 FROM pg_stat_activity b WHERE b.xact_start = min(a.xact_start) LIMIT 1), \
         (SELECT application_name FROM pg_stat_activity b WHERE b.xact_start = min(a.xact_start) LIMIT 1), \
         (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) \
         FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() \
         AND a.xact_start IS NOT NULL AND a.backend_type = 'client backend'";
    let found = one(postgres, "looking for old transactions", sql)?;
    let age = match found.first() {
        Some(Value::Float(seconds)) => Duration::try_from_secs_f64(*seconds).unwrap_or_default(),
        _ => Duration::ZERO,
    };
    let prepared = row::int(&found, 3)?;
    if prepared > 0 {
        return Ok(Finding::warn(
            "transactions",
            format!("{prepared} are prepared and neither committed nor rolled back; their locks stay"),
            "end them: COMMIT PREPARED or ROLLBACK PREPARED, see pg_prepared_xacts",
        ));
    }
    if age < OLD_TRANSACTION {
        return Ok(Finding::ok("transactions", format!("the oldest is {} old", spoken(age))));
    }
    let pid = row::int_or_zero(&found, 1)?;
    let application = if row::is_null(&found, 2) { "" } else { row::text(&found, 2)? };
    Ok(Finding::warn(
        "transactions",
        format!("the oldest is {} old: pid {pid} ({application}); the server cannot clean up behind it", spoken(age)),
        format!("find out what it does; SELECT pg_terminate_backend({pid}) ends it"),
    ))
}

fn connections(postgres: &Postgres) -> Examined {
    let sql = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
         current_setting('max_connections')::int8";
    let found = one(postgres, "counting connections", sql)?;
    let (used, most) = (row::int(&found, 0)?, row::int(&found, 1)?);
    let text = format!("{used} of {most} in use");
    Ok(if used * 100 < most * TIGHT {
        Finding::ok("connections", text)
    } else {
        Finding::warn("connections", text, "raise max_connections, or lower that of the services")
    })
}

fn space(postgres: &Postgres) -> Examined {
    let sql = "SELECT pg_database_size(current_database()), (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 \
         FROM pg_class c WHERE c.relnamespace = to_regnamespace($1::text)::oid AND c.relkind = 'r')";
    let found = one_at_home(postgres, "measuring the database", sql)?;
    let (all, own) = (row::int(&found, 0)?, row::int(&found, 1)?);
    let found =
        format!("database {}, of these events and states {}", crate::inspect::bytes(all), crate::inspect::bytes(own));
    Ok(Finding::ok("space", found))
}

/// Reports only the size of the database. No SQL tells how much space the server's file system has left.
fn disk(postgres: &Postgres) -> Examined {
    let found = one(postgres, "measuring the database", "SELECT pg_database_size(current_database())")?;
    let size = crate::inspect::bytes(row::int(&found, 0)?);
    let text = format!("the database takes {size}; SQL does not tell what its disk has left: watch that on the server");
    Ok(Finding::ok("disk", text))
}
