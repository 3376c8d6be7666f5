//! Connects: tries one address after the other, as libpq does.
//!
//! Each address has the whole time-out, so a dead address takes no time from the others. If a server answers with an
//! error, the search ends, unless the error says that the server takes no connections now.

use std::error::Error as _;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use postgres::{Client, SimpleQueryMessage};

use super::access::{Access, Setter};
use super::address::{Address, Host, Target};
use super::channel::{Channel, is_local};
use super::link::{Link, random};
use super::security::Try;
use super::{error, secured};
use crate::clock::deadline;
use crate::conninfo::passfile::Found;
use crate::error::{StoreError, StoreErrorKind};

/// The server is starting up, or shutting down.
const NOT_NOW: &str = "57P03";

/// How much later than the caller's wait the driver's own ends.
const LONGER: Duration = Duration::from_secs(2);

/// An address where connecting failed.
struct Tried {
    place: String,
    error: StoreError,
    /// True if there was a server, but not an acceptable one.
    is_other: bool,
}

/// Which server takes the writes of a connection: its cluster, and the timeline that it writes. A standby that was
/// promoted has a timeline of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Primary {
    cluster: String,
    timeline: String,
}

/// A connection, and what is known about it.
pub(super) struct Dialed {
    pub(super) client: Client,
    pub(super) access: Access,
    /// `None` for a standby, and where the server does not tell.
    pub(super) primary: Option<Primary>,
    pub(super) channel: Channel,
}

/// Connects to the first acceptable host. The first address may take until `first`. Each other address may take as
/// long as `patience`.
pub(super) fn connect(
    address: &Address,
    first: Instant,
    patience: Duration,
    doing: &str,
) -> Result<Dialed, StoreError> {
    let passes = match address.target {
        Target::PreferStandby => &[Target::Standby, Target::Any][..],
        _ => std::slice::from_ref(&address.target),
    };
    let (mut first, mut tried) = (Some(first), Vec::new());
    for target in passes {
        tried.clear();
        for host in in_order(&address.hosts, address.is_random) {
            let doing = format!("{doing}: connecting to {host}/{}", address.config.get_dbname().unwrap_or_default());
            let mut until = Some(first.take().unwrap_or_else(|| deadline(patience)));
            let ips = match addresses(host, until.unwrap_or_else(Instant::now), &doing) {
                Ok(ips) => ips,
                Err(error) => {
                    tried.push(Tried { place: host.to_string(), error, is_other: false });
                    continue;
                }
            };
            for ip in in_order(&ips, address.is_random) {
                let until = until.take().unwrap_or_else(|| deadline(patience));
                let (error, is_other) = match connect_to(address, host, *ip, until, &doing) {
                    Ok(dialed) if dialed.access.suits(*target) => {
                        warn(address, host, dialed.channel);
                        return Ok(dialed);
                    }
                    Ok(dialed) => {
                        let why = unsuited(dialed.access, *target);
                        close(dialed);
                        (StoreError::new(&*doing, StoreErrorKind::Connection, why), true)
                    }
                    Err(error) if error.code().is_some_and(|code| code != NOT_NOW) => return Err(error),
                    Err(error) => (error, false),
                };
                let place = match ip {
                    Some(ip) if ips.len() > 1 => format!("{host} ({ip})"),
                    _ => host.to_string(),
                };
                tried.push(Tried { place, error, is_other });
            }
        }
    }
    Err(all_failed(address, &tried, doing))
}

/// If there was one address, its error stays as it is. If there were several, the error lists each with its cause.
fn all_failed(address: &Address, tried: &[Tried], doing: &str) -> StoreError {
    let error = if let [tried] = tried {
        tried.error.clone()
    } else {
        let cause = |tried: &Tried| {
            let source = tried.error.source().map(ToString::to_string);
            format!("{}: {}", tried.place, source.unwrap_or_default())
        };
        let causes: Vec<String> = tried.iter().map(cause).collect();
        let doing = format!("{doing}: connecting to {address}");
        let is_insecure = |tried: &Tried| tried.error.kind() == StoreErrorKind::Insecure;
        let insecure = !tried.is_empty() && tried.iter().all(is_insecure);
        let kind = if insecure { StoreErrorKind::Insecure } else { StoreErrorKind::Connection };
        let error = StoreError::new(doing, kind, causes.join("; "));
        match tried.iter().find_map(|tried| tried.error.code()) {
            Some(code) => error.with_code(code),
            None => error,
        }
    };
    if tried.iter().any(|tried| tried.is_other) {
        return error.with_remedy("; target_session_attrs of the connection string asks for another server");
    }
    error
}

fn unsuited(access: Access, target: Target) -> String {
    let wanted = match target {
        Target::Any => "any",
        Target::ReadWrite => "one that can be written to",
        Target::ReadOnly => "one that only reads",
        Target::Primary => "the primary server",
        Target::Standby | Target::PreferStandby => "a standby",
    };
    format!("target_session_attrs wants {wanted}; {}", access.why().unwrap_or("this server takes writes"))
}

fn in_order<T>(list: &[T], is_random: bool) -> Vec<&T> {
    let mut list: Vec<&T> = list.iter().collect();
    if is_random {
        let mut keyed: Vec<(f64, &T)> = list.into_iter().map(|one| (random(), one)).collect();
        keyed.sort_by(|(left, _), (right, _)| left.total_cmp(right));
        list = keyed.into_iter().map(|(_, one)| one).collect();
    }
    list
}

/// The addresses of a host. A socket has none, so its list holds one `None`.
fn addresses(host: &Host, until: Instant, doing: &str) -> Result<Vec<Option<IpAddr>>, StoreError> {
    if host.is_socket() {
        return Ok(vec![None]);
    }
    if let Some(ip) = host.ip.or_else(|| host.name.parse().ok()) {
        return Ok(vec![Some(ip)]);
    }
    let (name, port) = (host.name.clone(), host.port);
    let found = within("readside-resolve", "the name of the host was not looked up", until, doing, move || {
        let found = (name.as_str(), port).to_socket_addrs();
        found.map(|found| found.map(|address| Some(address.ip())).collect::<Vec<_>>())
    })?;
    let found = found.map_err(|error| StoreError::new(doing, StoreErrorKind::Connection, error))?;
    if found.is_empty() {
        return Err(StoreError::new(doing, StoreErrorKind::Connection, "the name of the host has no address"));
    }
    Ok(found)
}

/// Tries TLS and plain text, in the order that the string asks for, as far as it allows both.
fn connect_to(
    address: &Address,
    host: &Host,
    ip: Option<IpAddr>,
    until: Instant,
    doing: &str,
) -> Result<Dialed, StoreError> {
    let mut insecure = None;
    let mut tries = address.security.tries(host.is_socket(), address.speaks_tls()).iter().peekable();
    while let Some(one) = tries.next() {
        let failed = match connect_by(address, host, ip, *one, until, doing)? {
            Ok(dialed) => return Ok(dialed),
            Err(failed) => failed,
        };
        if tries.peek().is_none() || !failed.may_be_tls {
            return Err(insecure.unwrap_or(failed.error));
        }
        // This error says more than the answer of a server that refuses plain text.
        insecure = Some(failed.error).filter(|error| error.kind() == StoreErrorKind::Insecure);
    }
    Err(StoreError::new(doing, StoreErrorKind::Usage, "there is no way to connect"))
}

fn connect_by(
    address: &Address,
    host: &Host,
    ip: Option<IpAddr>,
    one: Try,
    until: Instant,
    doing: &str,
) -> Result<Result<Dialed, secured::Failed>, StoreError> {
    let mut config = address.config.clone();
    config.host(&host.name).port(host.port);
    if let Some(ip) = ip {
        config.hostaddr(ip);
    }
    if let Some(name) = address.name.lock().as_deref().filter(|_| !address.is_named) {
        config.application_name(name);
    }
    // It only ends the thread that is left behind. If both ended at once, it would be chance which error is told.
    config.connect_timeout(until.saturating_duration_since(Instant::now()).saturating_add(LONGER));
    let (asked, address, host) = (doing.to_owned(), address.clone(), host.clone());
    within("readside-connect", "the server did not answer", until, doing, move || {
        let found = address.password(&host);
        let is_open = found == Found::Open;
        if let Found::Password(password) = found {
            config.password(password);
        }
        let connected = secured::connect(&config, &address.security, address.connector.as_ref(), one, &asked);
        let (mut client, cover) = connected.map_err(|failed| failed.with_passwords(is_open))?;
        let failed = |met| secured::Failed { error: error::store(&asked, &met), may_be_tls: false };
        let access = access(&mut client, address.target).map_err(failed)?;
        let primary = if access == Access::Standby { None } else { primary(&mut client).map_err(failed)? };
        Ok(Dialed { client, access, primary, channel: Channel { is_local: is_local(ip), cover } })
    })
}

/// Logs once how the link is protected, if the client did not ask for better protection.
fn warn(address: &Address, host: &Host, channel: Channel) {
    let Some(warning) = channel.warning(&address.security, address.speaks_tls()) else { return };
    if !address.is_warned.swap(true, Ordering::SeqCst) {
        log::warn!("the link to {host} goes {warning}");
    }
}

/// The driver's own time-out covers only the TCP handshake. A server that is silent after that would hold the caller
/// for ever. So this gives up waiting, and leaves the waiting thread behind. That thread ends with the connection or
/// with the look-up.
fn within<T: Send + 'static>(
    name: &str,
    lack: &str,
    until: Instant,
    doing: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let since = Instant::now();
    let (send, receive) = crossbeam_channel::bounded(1);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _ = send.send(work());
    });
    let thread = thread.map_err(|error| StoreError::new(doing, StoreErrorKind::Other, error))?;
    let Ok(done) = receive.recv_deadline(until) else {
        let why = format!("{lack} within {}", crate::clock::spoken(since.elapsed()));
        return Err(StoreError::new(doing, StoreErrorKind::Connection, why));
    };
    let _ = thread.join();
    Ok(done)
}

/// Asks in a transaction with its own isolation level. If the role's default is serializable, a standby answers in no
/// other way. If the server cannot answer, it is accepted, unless the target matters.
fn access(client: &mut Client, target: Target) -> Result<Access, postgres::Error> {
    let looked = look(client);
    match looked {
        Err(error) if error.as_db_error().is_some() && target == Target::Any => {
            // The first error says more.
            client.batch_execute("ROLLBACK").map_or(Err(error), |()| Ok(Access::Writes))
        }
        looked => looked,
    }
}

fn look(client: &mut Client) -> Result<Access, postgres::Error> {
    let sql = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.pg_is_in_recovery(), \
               pg_catalog.current_setting('transaction_read_only'); COMMIT";
    let found = one_row(client, sql)?;
    let is = |at: usize, wanted: &str| found.get(at).is_some_and(|found| found == wanted);
    if is(0, "t") {
        return Ok(Access::Standby);
    }
    if !is(1, "on") {
        return Ok(Access::Writes);
    }
    let sql = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT source FROM pg_catalog.pg_settings \
               WHERE name = 'default_transaction_read_only'; COMMIT";
    let found = one_row(client, sql)?;
    Ok(Access::ReadOnly(match found.first().map(String::as_str) {
        Some("user") => Setter::Role,
        Some("database") => Setter::Database,
        Some("database user") => Setter::RoleInDatabase,
        Some("client" | "session") => Setter::Client,
        _ => Setter::Server,
    }))
}

/// Asks which server this is. A server that is only like PostgreSQL, or hides its number from the role, does not tell.
fn primary(client: &mut Client) -> Result<Option<Primary>, postgres::Error> {
    let sql = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT s.system_identifier, \
               pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) \
               FROM pg_catalog.pg_control_system() s; COMMIT";
    match one_row(client, sql) {
        Err(error) if error.as_db_error().is_some() => {
            // The first error says more.
            client.batch_execute("ROLLBACK").map_or(Err(error), |()| Ok(None))
        }
        found => found.map(|found| match <[String; 2]>::try_from(found) {
            Ok([cluster, timeline]) => Some(Primary { cluster, timeline }),
            Err(_) => None,
        }),
    }
}

fn one_row(client: &mut Client, sql: &str) -> Result<Vec<String>, postgres::Error> {
    let messages = client.simple_query(sql)?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let texts = row.map(|row| (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect());
    Ok(texts.unwrap_or_default())
}

/// Closes the connection as a [`Link`] does: dropping a connection of the driver waits, and this may be a runtime's
/// thread.
fn close(dialed: Dialed) {
    drop(Link::new(dialed.client, Duration::ZERO, 0, dialed.access, dialed.channel));
}
