//! Connections to a server: check-out with a deadline, a health check of idle connections, and limits on their number
//! and lifetime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use postgres::{Client, IsolationLevel};

use super::access::Access;
use super::address::Address;
use super::dial::{self, Primary};
use super::error::{self, End};
use super::link::{Link, guarded};
use super::options::PostgresOptions;
use crate::clock::{deadline, spoken};
use crate::error::{StoreError, StoreErrorKind};

/// A connection that was idle for longer is checked before it is used.
const DOUBTFUL: Duration = Duration::from_secs(10);

/// How long that check may take.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(500);

/// The server takes no more connections.
const CROWDED: &str = "53300";

const OLDEST_SERVER: i64 = 130_000;

pub(super) struct Pool {
    address: Address,
    options: PostgresOptions,
    limit: usize,
    /// The role of these connections on the server.
    role: String,
    state: Mutex<State>,
    freed: Condvar,
    endings: Arc<Endings>,
}

#[derive(Default)]
struct State {
    /// The connection that came back last is used first. So surplus connections grow old and are closed.
    idle: Vec<Idle>,
    /// Connections that exist, idle or not.
    open: usize,
}

struct Idle {
    link: Link,
    since: Instant,
}

impl Idle {
    fn may_live(&self, now: Instant, era: u64, idle_timeout: Duration) -> bool {
        self.link.may_live(now, era) && now.duration_since(self.since) < idle_timeout
    }
}

/// How connections of all pools of a store ended.
#[derive(Debug, Default)]
struct Endings {
    /// Rises whenever a connection is lost, or is given up because of an answer of the server.
    generation: AtomicU64,
    /// Rises whenever the server says that it shuts down or can no longer be written to. Connections from before are
    /// then given up too.
    era: AtomicU64,
    /// The server that the newest connection reached.
    primary: Mutex<Option<Primary>>,
}

impl Endings {
    /// Takes note of the server that a new connection reached. If it is another one than before, connections to the
    /// former one are given up: while both take writes, work must not be spread over two histories. Returns true then.
    fn meets(&self, primary: Option<Primary>) -> bool {
        let Some(primary) = primary else { return false };
        let mut known = self.primary.lock();
        let is_other = known.as_ref().is_some_and(|known| *known != primary);
        *known = Some(primary);
        if is_other {
            self.note(End::Moved);
        }
        is_other
    }

    fn note(&self, end: End) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if end == End::Moved {
            self.era.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn era(&self) -> u64 {
        self.era.load(Ordering::SeqCst)
    }
}

/// Shows the address without user and password.
impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Pool")
            .field("address", &self.address)
            .field("open", &state.open)
            .field("idle", &state.idle.len())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Opens a first connection, so that a wrong address or password shows at once.
    pub(super) fn open(address: Address, options: &PostgresOptions) -> Result<Self, StoreError> {
        let mut pool = Self::new(address, options.clone(), options.max_connections, String::new(), Arc::default());
        let mut first = pool.check_out("opening the store")?;
        let role = match check_server(first.client_in_use("connecting to the database")?) {
            Err(error) if is_thrown_out(&error) => Err(pool.without_transactions(error)),
            other => other,
        }?;
        first.clean();
        drop(first);
        pool.role = role;
        Ok(pool)
    }

    /// A pooler in statement mode accepts a connection and ends it at BEGIN. In most cases the client does not get
    /// the reason. So if the server accepts two connections and ends both at BEGIN, this reports such a pooler.
    fn without_transactions(&self, error: StoreError) -> StoreError {
        let doing = "beginning a transaction";
        let Ok(mut link) = self.connect(doing) else { return error };
        match link.client(doing).and_then(check_server) {
            Err(again) if is_thrown_out(&again) => {
                let why = "the connection ends when a transaction begins, which is what poolers in statement mode do \
                           (pool_mode = statement)";
                StoreError::new(doing, StoreErrorKind::Unsupported, why).with_remedy(error::NO_TRANSACTIONS)
            }
            _ => error,
        }
    }

    fn new(address: Address, options: PostgresOptions, limit: usize, role: String, endings: Arc<Endings>) -> Self {
        Self { address, options, limit, role, state: Mutex::default(), freed: Condvar::new(), endings }
    }

    /// A pool of one more connection, for work that must not wait for the connections of this pool.
    pub(super) fn reserve(&self) -> Self {
        let (address, options) = (self.address.clone(), self.options.clone());
        Self::new(address, options, 1, self.role.clone(), Arc::clone(&self.endings))
    }

    /// A pool of one more connection to another address, under the same name.
    pub(super) fn elsewhere(&self, mut address: Address) -> Self {
        address.name = Arc::clone(&self.address.name);
        Self::new(address, self.options.clone(), 1, self.role.clone(), Arc::clone(&self.endings))
    }

    /// Sets the name that new connections of this pool and its reserve have in the server's lists. Closes the idle
    /// connections, which have the old name.
    pub(super) fn call_itself(&self, name: &str) {
        *self.address.name.lock() = Some(name.to_owned());
        let idle = std::mem::take(&mut self.state.lock().idle);
        let count = idle.len();
        drop(idle);
        self.state.lock().open -= count;
        self.freed.notify_all();
    }

    pub(super) fn role(&self) -> &str {
        &self.role
    }

    /// How often connections of this pool and its reserve were lost, or given up because of the server's answer.
    pub(super) fn generation(&self) -> u64 {
        self.endings.generation.load(Ordering::SeqCst)
    }

    /// Takes an idle connection or opens a new one, as soon as possible. One deadline covers the wait and connecting
    /// to the first address.
    pub(super) fn check_out(&self, doing: &str) -> Result<Checked<'_>, StoreError> {
        self.check_out_within(doing, self.options.connect_timeout)
    }

    pub(super) fn check_out_within(&self, doing: &str, patience: Duration) -> Result<Checked<'_>, StoreError> {
        let (since, deadline) = (Instant::now(), deadline(patience));
        self.close_ended();
        // The server's refusal because of too many connections. Another connection of this pool may still come back.
        let mut crowded = None;
        let mut state = self.state.lock();
        loop {
            if let Some(idle) = state.idle.pop() {
                drop(state);
                if let Some(checked) = self.reuse(idle, doing)? {
                    return Ok(checked);
                }
                state = self.state.lock();
            } else if state.open < self.limit && crowded.is_none() {
                state.open += 1;
                drop(state);
                let error = match self.connect_within(doing, deadline, patience) {
                    Ok(link) => return Ok(Checked::new(self, link, false)),
                    Err(error) => error,
                };
                state = self.state.lock();
                state.open -= 1;
                if state.open == 0 || error.code() != Some(CROWDED) {
                    // Another caller that waits for this place may succeed.
                    self.freed.notify_one();
                    return Err(error);
                }
                crowded = Some(error);
            } else if self.freed.wait_until(&mut state, deadline).timed_out() && state.idle.is_empty() {
                let why = || format!("all {} connections were in use for {}", state.open, spoken(since.elapsed()));
                return Err(crowded.unwrap_or_else(|| StoreError::new(doing, StoreErrorKind::Timeout, why())));
            } else {
                // A connection came back or ended. If it ended, the server has room for another one.
                crowded = None;
            }
        }
    }

    /// An idle connection, unless it is too old to use.
    fn reuse(&self, idle: Idle, doing: &str) -> Result<Option<Checked<'_>>, StoreError> {
        let may_live = idle.may_live(Instant::now(), self.endings.era(), self.options.idle_timeout);
        let is_doubtful = idle.since.elapsed() >= DOUBTFUL;
        let mut checked = Checked::new(self, idle.link, true);
        let client = checked.client_in_use(doing)?;
        if !may_live || client.is_closed() {
            return Ok(None);
        }
        if is_doubtful && guarded(doing, || client.is_valid(HEALTH_TIMEOUT).is_err())? {
            checked.ends(Some(End::Lost));
            return Ok(None);
        }
        checked.clean();
        Ok(Some(checked))
    }

    /// Closes idle connections that are too old to use, unless the state is locked.
    fn close_ended(&self) {
        let (now, era, idle_timeout) = (Instant::now(), self.endings.era(), self.options.idle_timeout);
        let ends = |idle: &mut Idle| !idle.may_live(now, era, idle_timeout);
        let ended: Vec<Idle> = self.state.lock().idle.extract_if(.., ends).collect();
        let count = ended.len();
        if count > 0 {
            drop(ended);
            self.state.lock().open -= count;
            self.freed.notify_all();
        }
    }

    /// A new connection that does not belong to the pool.
    pub(super) fn connect_anew(&self, doing: &str) -> Result<Client, StoreError> {
        self.connect(doing)?.into_client(doing)
    }

    /// As [`connect_anew`](Self::connect_anew), with what is known about the connection.
    pub(super) fn connect(&self, doing: &str) -> Result<Link, StoreError> {
        let patience = self.options.connect_timeout;
        self.connect_within(doing, deadline(patience), patience)
    }

    fn connect_within(&self, doing: &str, first: Instant, patience: Duration) -> Result<Link, StoreError> {
        // The era is read first: the server may go away while the connection is being made.
        let mut era = self.endings.era();
        let dialed = dial::connect(&self.address, first, patience, doing)?;
        if self.endings.meets(dialed.primary) {
            era = self.endings.era();
            log::warn!(
                "{} leads to another server than before, or to another timeline of it; \
                 this process gives up its connections to the former; if both take writes, stop one",
                self.address
            );
        }
        let mut link = Link::new(dialed.client, self.options.max_lifetime, era, dialed.access, dialed.channel);
        link.try_driver(&format!("{doing}: connecting to {}", self.address))?;
        Ok(link)
    }
}

/// True if the connection has ended, or the server has said that it will.
fn is_thrown_out(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Connection | StoreErrorKind::Unsupported)
}

/// Refuses a server that cannot be used. Returns the role of the connection.
fn check_server(client: &mut Client) -> Result<String, StoreError> {
    let doing = "looking at the version of the server";
    let sql = "SELECT current_setting('server_version_num')::int8, current_setting('server_encoding'), \
         current_user::text";
    let failed = |error: postgres::Error| error::store(doing, &error);
    // If the role's default is serializable, a standby answers only in a transaction with another isolation level.
    let begun = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).read_only(true).start();
    let mut transaction = begun.map_err(failed)?;
    let row = transaction.query_typed_one(sql, &[]).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    let version: i64 = row.try_get(0).map_err(failed)?;
    let encoding: String = row.try_get(1).map_err(failed)?;
    if version < OLDEST_SERVER {
        let why = format!("PostgreSQL 13 or newer is needed, this is {}", version / 10_000);
        return Err(StoreError::new(doing, StoreErrorKind::Version, why));
    }
    if encoding != "UTF8" {
        let why = format!("the database has the encoding {encoding}, UTF8 is needed");
        return Err(StoreError::new(doing, StoreErrorKind::Version, why));
    }
    row.try_get(2).map_err(failed)
}

/// A connection in use. It goes back to the pool if it is clean and may live on. Otherwise it is closed.
pub(super) struct Checked<'p> {
    pool: &'p Pool,
    /// `None` only while it is dropped.
    link: Option<Link>,
    is_reused: bool,
    clean: bool,
    end: Option<End>,
}

impl<'p> Checked<'p> {
    fn new(pool: &'p Pool, link: Link, is_reused: bool) -> Self {
        Self { pool, link: Some(link), is_reused, clean: true, end: None }
    }

    /// True if the connection was idle before. It may have ended meanwhile, as all connections do when a server
    /// restarts.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// What the server let this role do when the connection was opened.
    pub(super) fn access(&self) -> Access {
        self.link.as_ref().map_or(Access::Writes, Link::access)
    }

    /// The connection. It is not clean from now on.
    pub(super) fn client_in_use(&mut self, doing: &str) -> Result<&mut Client, StoreError> {
        self.clean = false;
        let gone = || StoreError::new(doing, StoreErrorKind::Connection, "the connection is gone");
        self.link.as_mut().ok_or_else(gone)?.client(doing)
    }

    /// Marks the connection as clean: no transaction is open on it any more.
    pub(super) fn clean(&mut self) {
        self.clean = true;
    }

    /// Marks the connection to be given up, if `end` says so.
    pub(super) fn ends(&mut self, end: Option<End>) {
        self.end = self.end.max(end);
    }
}

impl Drop for Checked<'_> {
    fn drop(&mut self) {
        let (pool, now) = (self.pool, Instant::now());
        let is_closed = self.link.as_ref().is_none_or(Link::is_closed);
        let end = self.end.max(is_closed.then_some(End::Lost));
        if let Some(end) = end {
            pool.endings.note(end);
        }
        let era = pool.endings.era();
        let goes_back = self.clean && end.is_none();
        let link = self.link.take().filter(|link| goes_back && link.may_live(now, era));
        let mut state = pool.state.lock();
        match link {
            Some(link) => state.idle.push(Idle { link, since: now }),
            None => state.open -= 1,
        }
        drop(state);
        pool.freed.notify_one();
        pool.close_ended();
    }
}
