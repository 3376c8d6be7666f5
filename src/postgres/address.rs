//! What a connection string means: where to connect, as which role, and which servers are acceptable. The rules are
//! those of libpq.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use postgres::Config;
use postgres::config::SslMode;

use super::connector::PostgresConnector;
use super::options::PostgresOptions;
use super::security::Security;
use crate::conninfo::passfile::{self, Found, Wanted};
use crate::conninfo::{Fault, Parts, nothing, of_process};
use crate::error::{StoreError, StoreErrorKind};
use crate::sync::Mutex;

/// Keep-alive packets find out after about twice this time that a peer has vanished.
const KEEPALIVE: Duration = Duration::from_secs(10);

const KEEPALIVES: u32 = 3;

const PORT: u16 = 5432;

/// Where servers put their sockets by default: first Debian and others, then PostgreSQL itself.
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The hosts of a connection string, and everything else that it says. `Debug` and `Display` show only the hosts and
/// the database.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) hosts: Vec<Host>,
    /// Everything but the hosts.
    pub(super) config: Config,
    pub(super) target: Target,
    /// True if hosts and their addresses are tried in random order.
    pub(super) is_random: bool,
    /// The time-out for each address, if the string names one.
    pub(super) timeout: Option<Duration>,
    /// The application name that the service gives, for when the string has none.
    pub(super) name: Arc<Mutex<Option<String>>>,
    /// True if the string has an application name.
    pub(super) is_named: bool,
    pub(super) security: Security,
    /// The service's own connector for TLS.
    pub(super) connector: Option<PostgresConnector>,
    /// True after a log line has said how well the links are protected.
    pub(super) is_warned: Arc<AtomicBool>,
    /// The file in which each connection looks for a password; `None` if the string holds one.
    passwords: Option<PathBuf>,
}

/// One host of a connection string.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// A name, an address, or the directory of a socket.
    pub(super) name: String,
    /// The address, if the string gives it. Then the name is not looked up.
    pub(super) ip: Option<IpAddr>,
    pub(super) port: u16,
}

/// Which servers are acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.to_string()).finish()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if at == 0 { "" } else { "," })?;
        }
        match self.database() {
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) if ip.to_string() != self.name => write!(f, "{} ({ip}):{}", self.name, self.port),
            _ if self.name.contains(':') => write!(f, "[{}]:{}", self.name, self.port),
            _ => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

impl Host {
    pub(super) fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }
}

impl Address {
    pub(super) fn read(text: &str, options: &PostgresOptions) -> Result<Self, StoreError> {
        let parts = || {
            let mut parts = Parts::parse(text)?;
            parts.complete(if options.environment { &of_process } else { &nothing })?;
            Ok(parts)
        };
        Self::of_parts(parts(), options)
    }

    fn of_parts(parts: Result<Parts, Fault>, options: &PostgresOptions) -> Result<Self, StoreError> {
        parts.and_then(|parts| Self::of(&parts, options)).map_err(|fault| {
            let (kind, remedy) = match fault {
                Fault::Tls(_) => (
                    StoreErrorKind::Unsupported,
                    "; build with the feature `tls`, or set PostgresOptions::connector; leave it out where plain text will do",
                ),
                Fault::Unsupported(..) => (StoreErrorKind::Unsupported, "; leave it out, where that will do"),
                Fault::Service | Fault::ServiceFile(_) | Fault::ServiceLine(..) => {
                    (StoreErrorKind::Usage, "; write the service into one of these files, as libpq has it")
                }
                Fault::Neither => (
                    StoreErrorKind::Usage,
                    "; write postgres://USER@HOST/NAME, or host=HOST dbname=NAME user=USER; a file is opened by SqliteStore",
                ),
                _ => (StoreErrorKind::Usage, "; it is not shown, since it may hold a password: compare it with what the cause says"),
            };
            StoreError::new("reading the connection string of the database", kind, fault).with_remedy(remedy)
        })
    }

    fn of(parts: &Parts, settings: &PostgresOptions) -> Result<Self, Fault> {
        refuse_unsupported(parts)?;
        let mut config = Config::new();
        if let Some(user) = shown(parts, "user")? {
            config.user(user);
        }
        if let Some(database) = shown(parts, "dbname")? {
            config.dbname(database);
        }
        let mut passwords = parts.text("passfile")?.map(PathBuf::from).or_else(passfile::usual);
        if let Some(password) = parts.bytes("password") {
            config.password(password);
            passwords = None;
        }
        if let Some(options) = parts.text("options")? {
            config.options(options);
        }
        let name = parts.text("application_name")?.or(parts.text("fallback_application_name")?);
        let is_named = name.is_some();
        config.application_name(name.unwrap_or("readside"));
        config.ssl_mode(SslMode::Disable);
        keep_alive(parts, settings, &mut config)?;
        config.notice_callback(|notice| log::debug!("the server says: {}", notice.message()));
        let targets = [
            ("any", Target::Any),
            ("read-write", Target::ReadWrite),
            ("read-only", Target::ReadOnly),
            ("primary", Target::Primary),
            ("standby", Target::Standby),
            ("prefer-standby", Target::PreferStandby),
        ];
        let wanted = "any, read-write, read-only, primary, standby or prefer-standby";
        let target = parts.choice("target_session_attrs", &targets, wanted)?;
        let balance = [("disable", false), ("random", true)];
        let is_random = parts.choice("load_balance_hosts", &balance, "disable or random")?;
        // As in libpq, zero means no time-out.
        let timeout = number::<i32>(parts, "connect_timeout", SECONDS)?.map(|seconds| {
            u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map_or(Duration::MAX, Duration::from_secs)
        });
        Ok(Self {
            hosts: hosts(parts)?,
            config,
            target: target.unwrap_or(Target::Any),
            is_random: is_random.unwrap_or_default(),
            timeout,
            name: Arc::default(),
            is_named,
            security: Security::read(parts, settings.connector.is_some())?,
            connector: settings.connector.clone(),
            is_warned: Arc::default(),
            passwords,
        })
    }
}

impl Address {
    /// True if a connection may use TLS.
    pub(super) fn speaks_tls(&self) -> bool {
        self.connector.is_some() || cfg!(feature = "tls")
    }

    /// The password for a host, from a password file.
    pub(super) fn password(&self, host: &Host) -> Found {
        let Some(path) = &self.passwords else { return Found::Nothing };
        let (Some(user), Some(database)) = (self.user(), self.database()) else { return Found::Nothing };
        let name = if SOCKETS.contains(&&*host.name) { "localhost" } else { &host.name };
        passfile::find(path, &Wanted { host: name, port: host.port, database: &database, user: &user })
    }

    /// The role, if it is known: without one in the string it is the user of this process.
    fn user(&self) -> Option<Cow<'_, str>> {
        self.config.get_user().map(Cow::Borrowed).or_else(|| whoami::username().ok().map(Cow::Owned))
    }

    /// The database: without one in the string it has the name of the role.
    fn database(&self) -> Option<Cow<'_, str>> {
        self.config.get_dbname().map(Cow::Borrowed).or_else(|| self.user())
    }
}

const SECONDS: &str = "a whole number of seconds";

/// Settings in the string take precedence over the defaults here. Zero leaves the choice to the operating system.
fn keep_alive(parts: &Parts, options: &PostgresOptions, config: &mut Config) -> Result<(), Fault> {
    config.keepalives(number::<i32>(parts, "keepalives", "0 or 1")? != Some(0));
    let seconds =
        |keyword| Ok(number::<u32>(parts, keyword, SECONDS)?.map(|seconds| Duration::from_secs(seconds.into())));
    let (idle, interval) = (seconds("keepalives_idle")?, seconds("keepalives_interval")?);
    if idle != Some(Duration::ZERO) {
        config.keepalives_idle(idle.unwrap_or(KEEPALIVE));
    }
    if interval != Some(Duration::ZERO) {
        config.keepalives_interval(interval.unwrap_or(KEEPALIVE / 2));
    }
    let count = number::<u32>(parts, "keepalives_count", "a whole number")?;
    let count = count.or(number::<u32>(parts, "keepalives_retries", "a whole number")?);
    if count != Some(0) {
        config.keepalives_retries(count.unwrap_or(KEEPALIVES));
    }
    match number::<u32>(parts, "tcp_user_timeout", "a whole number of milliseconds")? {
        Some(0) => {}
        Some(millis) => _ = config.tcp_user_timeout(Duration::from_millis(millis.into())),
        // The operating system cannot be given a longer time-out. Without one, it uses its own.
        None if options.statement_timeout.as_millis() > i32::MAX as u128 => {}
        None => _ = config.tcp_user_timeout(options.statement_timeout),
    }
    Ok(())
}

fn hosts(parts: &Parts) -> Result<Vec<Host>, Fault> {
    let list = |keyword| {
        let value = parts.text(keyword)?;
        Ok(value.map(|value| value.split(',').map(str::trim).collect::<Vec<&str>>()).unwrap_or_default())
    };
    let (names, numeric, listed) = (list("host")?, list("hostaddr")?, list("port")?);
    let count = names.len().max(numeric.len()).max(1);
    if !numeric.is_empty() && !names.is_empty() && numeric.len() != names.len() {
        return Err(Fault::Count("hostaddr", numeric.len()));
    }
    if listed.len() > 1 && listed.len() != count {
        return Err(Fault::Count("port", listed.len()));
    }
    let at = |list: &[&str], at: usize| list.get(at).copied().unwrap_or_default().to_owned();
    (0..count)
        .map(|index| {
            let (name, ip) = (at(&names, index), at(&numeric, index));
            let port = at(&listed, if listed.len() == 1 { 0 } else { index });
            let wanted = Fault::Value("port", "a number from 1 to 65535 for each host");
            let port =
                if port.is_empty() { Ok(PORT) } else { port.parse().ok().filter(|port| *port > 0).ok_or(wanted) }?;
            let no_address = Fault::Value("hostaddr", "an IP address for each host");
            let ip = if ip.is_empty() { None } else { Some(IpAddr::from_str(&ip).map_err(|_| no_address)?) };
            let name = match (name.is_empty(), ip) {
                (true, Some(ip)) => ip.to_string(),
                (true, None) => usual_host(port),
                (false, _) => name,
            };
            refuse_no_host(&name)?;
            Ok(Host { name, ip, port })
        })
        .collect()
}

/// The directory in which a server on this machine has its socket.
fn usual_host(port: u16) -> String {
    if !cfg!(unix) {
        return "localhost".to_owned();
    }
    let has_socket = |folder: &&&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    let is_there = |folder: &&&str| Path::new(folder).is_dir();
    let found = SOCKETS.iter().find(has_socket).or_else(|| SOCKETS.iter().find(is_there));
    found.map_or("/tmp", |folder| *folder).to_owned()
}

/// Errors show hosts. So this refuses a host name that may be a part of a password.
fn refuse_no_host(name: &str) -> Result<(), Fault> {
    if name.starts_with('@') {
        return Err(Fault::Unsupported("host", "a socket without a file"));
    }
    let is_socket = name.starts_with('/');
    let is_part = |letter: char| {
        letter.is_alphanumeric()
            || ".-_:%".contains(letter)
            || (is_socket && !letter.is_control() && !"@=".contains(letter))
    };
    if name.chars().all(is_part) { Ok(()) } else { Err(Fault::Nested("host")) }
}

/// Errors of this store and of the server show this value. So this refuses a value that may hold a password.
fn shown<'p>(parts: &'p Parts, keyword: &'static str) -> Result<Option<&'p str>, Fault> {
    let value = parts.text(keyword)?;
    let holds_secret = |value: &str| {
        let has_credentials = value.split_once(':').is_some_and(|(_, rest)| rest.contains('@'));
        has_credentials || value.contains("://") || value.to_ascii_lowercase().contains("password=")
    };
    if value.is_some_and(holds_secret) { Err(Fault::Nested(keyword)) } else { Ok(value) }
}

/// Refuses settings that would be ignored silently, although they protect the connection or lead to another server.
fn refuse_unsupported(parts: &Parts) -> Result<(), Fault> {
    let is = |keyword, wanted: &str| Ok(parts.text(keyword)?.is_some_and(|value| value.eq_ignore_ascii_case(wanted)));
    if is("gssencmode", "require")? {
        return Err(Fault::Unsupported("gssencmode", "GSSAPI is not spoken"));
    }
    let encoding = parts.text("client_encoding")?.map(str::to_ascii_lowercase);
    if encoding.is_some_and(|encoding| !["utf8", "utf-8", "unicode", "auto"].contains(&&*encoding)) {
        return Err(Fault::Unsupported("client_encoding", "texts are sent as UTF-8"));
    }
    let unsure = "whom it would keep out could get in";
    for (keyword, why) in [
        ("requirepeer", unsure),
        ("require_auth", unsure),
        ("scram_client_key", "a key in place of the password"),
        ("scram_server_key", "a key in place of the password"),
        ("oauth_client_id", "OAuth"),
        ("oauth_client_secret", "OAuth"),
        ("replication", "a link for replication"),
        ("authtype", "libpq does not know it any more"),
        ("tty", "libpq does not know it any more"),
    ] {
        if parts.bytes(keyword).is_some() {
            return Err(Fault::Unsupported(keyword, why));
        }
    }
    Ok(())
}

fn number<T: FromStr>(parts: &Parts, keyword: &'static str, wanted: &'static str) -> Result<Option<T>, Fault> {
    let value = parts.text(keyword)?.map(|value| value.trim().parse());
    value.transpose().map_err(|_| Fault::Value(keyword, wanted))
}

#[cfg(test)]
mod tests;
