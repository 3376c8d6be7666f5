//! Connections to a server: check-out with a deadline, a look at the health of idle ones, a bound on their number.

use std::str::FromStr;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use postgres::{Client, Config, NoTls};

use super::PostgresOptions;
use super::error;
use crate::error::{StoreError, StoreErrorKind};

/// A connection that was idle for longer is asked whether it lives before it is used.
const DOUBTFUL: Duration = Duration::from_secs(10);

/// How long that may take.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(500);

/// A peer that is gone without a word is found out after about twice this time.
const KEEPALIVE: Duration = Duration::from_secs(10);

const OLDEST_SERVER: i64 = 130_000;

pub(super) struct Pool {
    config: Config,
    timeout: Duration,
    limit: usize,
    /// As whom the server lets these connections in.
    role: String,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<(Client, Instant)>,
    /// Connections that exist, idle or not.
    open: usize,
}

/// The address, without user and password.
impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Pool")
            .field("hosts", &self.config.get_hosts())
            .field("open", &state.open)
            .field("idle", &state.idle.len())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Reads the URL and opens a first connection, so that a wrong address or password shows at once.
    pub(super) fn open(url: &str, options: &PostgresOptions) -> Result<Self, StoreError> {
        let doing = "reading the URL of the database";
        let mut config = Config::from_str(url)
            .map_err(|error| StoreError::new(doing, StoreErrorKind::Usage, error::words(&error)))?;
        if config.get_application_name().is_none() {
            config.application_name("readside");
        }
        config.connect_timeout(options.connect_timeout);
        config.tcp_user_timeout(options.statement_timeout);
        config.keepalives_idle(KEEPALIVE);
        config.keepalives_interval(KEEPALIVE / 2);
        config.keepalives_retries(3);
        config.notice_callback(|notice| log::debug!("the server says: {}", notice.message()));
        let mut pool = Self::new(config, options.connect_timeout, options.max_connections.max(1), String::new());
        let mut first = pool.check_out("opening the store")?;
        let role = check_server(first.client_in_use("connecting to the database")?)?;
        first.clean();
        drop(first);
        pool.role = role;
        Ok(pool)
    }

    fn new(config: Config, timeout: Duration, limit: usize, role: String) -> Self {
        Self { config, timeout, limit, role, state: Mutex::default(), freed: Condvar::new() }
    }

    /// One more connection, for what must not wait for those of this pool.
    pub(super) fn reserve(&self) -> Self {
        Self::new(self.config.clone(), self.timeout, 1, self.role.clone())
    }

    pub(super) fn role(&self) -> &str {
        &self.role
    }

    pub(super) fn check_out(&self, doing: &str) -> Result<Checked<'_>, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let mut state = self.state.lock();
        loop {
            if let Some((mut client, since)) = state.idle.pop() {
                if since.elapsed() < DOUBTFUL && !client.is_closed() {
                    return Ok(Checked::reused(self, client));
                }
                drop(state);
                if client.is_valid(HEALTH_TIMEOUT).is_ok() {
                    return Ok(Checked::reused(self, client));
                }
                drop(client);
                state = self.state.lock();
                state.open -= 1;
            } else if state.open < self.limit {
                state.open += 1;
                drop(state);
                return self.connect(doing);
            } else if self.freed.wait_until(&mut state, deadline).timed_out() && state.idle.is_empty() {
                let why = format!("all {} connections were in use for {:?}", self.limit, self.timeout);
                return Err(StoreError::new(doing, StoreErrorKind::Timeout, why));
            }
        }
    }

    /// A connection that is not one of the pool's.
    pub(super) fn connect_anew(&self, doing: &str) -> Result<Client, StoreError> {
        let doing = format!("{doing}: connecting to {}", address(&self.config));
        connect(&self.config, self.timeout, &doing)
    }

    /// Fills a place that is counted as open already.
    fn connect(&self, doing: &str) -> Result<Checked<'_>, StoreError> {
        match self.connect_anew(doing) {
            Ok(client) => Ok(Checked { pool: self, client: Some(client), is_reused: false, clean: true }),
            Err(error) => {
                self.state.lock().open -= 1;
                self.freed.notify_one();
                Err(error)
            }
        }
    }
}

/// Hosts, port and database, for people; never user and password.
fn address(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            postgres::config::Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            postgres::config::Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{}:{port}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

/// The driver's own time-out ends with the TCP handshake; a server that is silent after it would hold the caller for
/// ever. The thread that connects is left behind then, and ends with the connection.
fn connect(config: &Config, timeout: Duration, doing: &str) -> Result<Client, StoreError> {
    let (send, receive) = crossbeam_channel::bounded(1);
    let config = config.clone();
    let thread = std::thread::Builder::new().name("readside-connect".to_owned()).spawn(move || {
        let _ = send.send(config.connect(NoTls));
    });
    let thread = thread.map_err(|error| StoreError::new(doing, StoreErrorKind::Other, error))?;
    let Ok(connected) = receive.recv_timeout(timeout) else {
        let why = format!("the server did not answer within {timeout:?}");
        return Err(StoreError::new(doing, StoreErrorKind::Connection, why));
    };
    let _ = thread.join();
    connected.map_err(|error| error::store(doing, &error))
}

/// Refuses a server that cannot be used; returns the role.
fn check_server(client: &mut Client) -> Result<String, StoreError> {
    let doing = "looking at the version of the server";
    let sql = "SELECT current_setting('server_version_num')::int8, current_setting('server_encoding'), \
         current_user::text";
    let row = client.query_typed_one(sql, &[]).map_err(|error| error::store(doing, &error))?;
    let version: i64 = row.try_get(0).map_err(|error| error::store(doing, &error))?;
    let encoding: String = row.try_get(1).map_err(|error| error::store(doing, &error))?;
    if version < OLDEST_SERVER {
        let why = format!("PostgreSQL 13 or newer is needed, this is {}", version / 10_000);
        return Err(StoreError::new(doing, StoreErrorKind::Version, why));
    }
    if encoding != "UTF8" {
        let why = format!("the database has the encoding {encoding}, UTF8 is needed");
        return Err(StoreError::new(doing, StoreErrorKind::Version, why));
    }
    row.try_get(2).map_err(|error| error::store(doing, &error))
}

/// A connection in use. It goes back when it is clean, and is closed otherwise.
pub(super) struct Checked<'p> {
    pool: &'p Pool,
    client: Option<Client>,
    is_reused: bool,
    clean: bool,
}

impl<'p> Checked<'p> {
    fn reused(pool: &'p Pool, client: Client) -> Self {
        Self { pool, client: Some(client), is_reused: true, clean: true }
    }

    /// It may have ended while it was idle, as all do when a server restarts.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// The connection, which is not clean from now on.
    pub(super) fn client_in_use(&mut self, doing: &str) -> Result<&mut Client, StoreError> {
        self.clean = false;
        let gone = || StoreError::new(doing, StoreErrorKind::Connection, "the connection is gone");
        self.client.as_mut().ok_or_else(gone)
    }

    /// No transaction is open on it any more.
    pub(super) fn clean(&mut self) {
        self.clean = true;
    }
}

impl Drop for Checked<'_> {
    fn drop(&mut self) {
        let client = self.client.take().filter(|client| self.clean && !client.is_closed());
        let mut state = self.pool.state.lock();
        match client {
            Some(client) => state.idle.push((client, Instant::now())),
            None => state.open -= 1,
        }
        drop(state);
        self.pool.freed.notify_one();
    }
}
