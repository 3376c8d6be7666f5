//! LISTEN and NOTIFY: other processes hear of pushes within milliseconds.
//!
//! LISTEN needs a session of the server that belongs to the listener alone. A pooler in transaction mode does not
//! give it one: the listener hears nothing, and some session of the pooler stays subscribed. So the listener checks
//! that its session stays the same. It trusts the subscription only after it has received a message from itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fallible_iterator::FallibleIterator;
use postgres::types::Type;
use postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

use super::error;
use super::server::{Postgres, millis};
use crate::clock::{deadline, spoken};
use crate::db::{Backend, DbStore, row};
use crate::error::{StoreError, StoreErrorKind, chain};
use crate::sealed::Sealed;
use crate::store::{NotificationListener, Notifications, Notifier};

/// The limit for one message: a notification carries less than 8,000 bytes.
const LONGEST: usize = 7_900;

/// Replacing the session loses notifications. The next look finds their events, so a session may be replaced, but
/// rarely.
const SHORTEST_LIFE: Duration = Duration::from_mins(1);

/// Begins a message that says that anything may have changed. The id of the store that sent it follows, if the store
/// names itself. Earlier versions of this code read such a message in the same way.
const EVERYTHING: &str = "*";

/// Stands in place of an aggregate type, and names the store that sent a message. Earlier versions take it for a type
/// that nobody wants.
const FROM: &str = "readside.from";

/// Stands in place of an aggregate type, and marks a message of a listener to itself. It tells other processes
/// nothing.
const WORD: &str = "readside.word";

/// How often to check that a session stays the same. A shared session may stay the same by chance, while others use
/// the pooler.
const LOOKS: usize = 3;

/// How many sessions to keep busy, at most, to reach the subscribed session and unsubscribe there. Each takes a
/// connection of the pool.
const TRIES: usize = 5;

/// A listener that receives no notifications tries again after its patience times this number.
const REST: u32 = 30;

const DOING: &str = "listening for pushes of other processes";

/// A listener, with its connection if there is one.
struct Listener {
    store: DbStore<Postgres>,
    session: Option<Subscription>,
    /// Why it receives nothing.
    deaf: Option<String>,
    /// When it tries again, while it receives nothing.
    again: Option<Instant>,
}

struct Subscription {
    client: Client,
    /// The process of the server that is subscribed.
    pid: i64,
    word: Word,
    /// The pool's generation at the beginning, and the time when the session ends. By then the address may lead to
    /// another server.
    life: (u64, Instant),
}

enum Word {
    /// The listener sends its message to itself at this time.
    Due(Instant),
    /// The message has to arrive by this time.
    Said(String, Instant),
    Heard,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let connected = self.session.is_some();
        f.debug_struct("Listener").field("connected", &connected).field("deaf", &self.deaf).finish_non_exhaustive()
    }
}

impl Notifier for DbStore<Postgres> {
    fn listener(&self) -> Box<dyn NotificationListener> {
        Box::new(Listener { store: self.clone(), session: None, deaf: None, again: None })
    }

    fn announce(&self, news: &Notifications) -> Result<(), StoreError> {
        tell(self.backend(), "telling other processes", &message(news, None))
    }
}

/// Tells other processes what this store pushed.
pub(super) fn tell_of_pushes(postgres: &Postgres, news: &Notifications) -> Result<(), StoreError> {
    tell(postgres, "telling other processes of pushes", &message(news, Some(postgres.origin)))
}

/// Sends a message. The commit takes a lock that all messages of a server share, so the wait for it has a limit.
///
/// A message need not outlive the server, so its commit does not wait for the disk. Else the commit of the work that
/// this process does at the same time would wait for it, too.
const TELL: &str = "SELECT pg_notify($1, $2), set_config('synchronous_commit', 'off', true), \
     set_config('lock_timeout', $3, true)";

/// The channel has the name of the schema, so that each set of tables has its own channel.
fn tell(postgres: &Postgres, doing: &str, message: &str) -> Result<(), StoreError> {
    let (channel, patience) = (postgres.home.name(), millis(postgres.options.lock_timeout));
    postgres.at_once(doing, TELL, &[(&channel, Type::TEXT), (&message, Type::TEXT), (&patience, Type::TEXT)])
}

/// A message that only its sender waits for.
fn word(token: &str) -> Notifications {
    Notifications { instances: vec![(token.into(), WORD.into())], all: false }
}

/// Sends a message the way pushes are announced, and returns what to listen for.
pub(super) fn say(postgres: &Postgres) -> Result<String, StoreError> {
    let token = Uuid::now_v7().to_string();
    tell(postgres, "telling oneself a word", &message(&word(&token), None))?;
    Ok(token)
}

/// True if the pooler gives the session of this connection to other clients too. False may be chance.
pub(super) fn is_shared(postgres: &Postgres, client: &mut Client) -> Result<bool, StoreError> {
    // If the role's default is serializable, a standby answers only in a transaction with another isolation level.
    let sql = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_backend_pid(); COMMIT";
    let own = |client: &mut Client| pid(client, sql);
    let before = own(client)?;
    for _ in 0..LOOKS {
        // The open transaction keeps its session, which may be the session of `client`.
        let differs = postgres.read("looking for a pooler", |conn| {
            let rows = conn.query("SELECT pg_backend_pid()::int8", &[])?;
            let taken = rows.first().map(|found| row::int(found, 0)).transpose()?;
            Ok::<_, StoreError>(taken == Some(before) || own(client)? != before)
        })?;
        if differs {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs statements in one session of the server, and returns the last number in their answers: the session's process.
fn pid(client: &mut Client, sql: &str) -> Result<i64, StoreError> {
    let messages = client.simple_query(sql).map_err(|error| error::store(DOING, &error))?;
    let found = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    found.ok_or_else(|| StoreError::new(DOING, StoreErrorKind::Corrupt, "the server does not tell its process"))
}

/// Subscribes, and returns the process of the server that is subscribed.
pub(super) fn subscribe(postgres: &Postgres, client: &mut Client) -> Result<i64, StoreError> {
    pid(client, &postgres.home.script("LISTEN readside; SELECT pg_backend_pid()"))
}

/// Removes the subscription. A pooler gives the next client the session that was used last, which may not be the
/// subscribed one. So this keeps each wrong session busy with a transaction, and tries again. It fails if many other
/// clients use the pooler meanwhile.
pub(super) fn unsubscribe(postgres: &Postgres, client: &mut Client, subscribed: i64) {
    if !take_back(postgres, client, subscribed, TRIES) {
        log::debug!("the pooler keeps a session that is still subscribed, process {subscribed} of the server");
    }
}

fn take_back(postgres: &Postgres, client: &mut Client, subscribed: i64, tries: usize) -> bool {
    // If the connection is gone, nothing can be sent.
    let Ok(found) = pid(client, &postgres.home.script("UNLISTEN readside; SELECT pg_backend_pid()")) else {
        return false;
    };
    if found == subscribed {
        return true;
    }
    tries > 0
        && postgres
            .read("taking back a subscription", |conn| {
                conn.query("SELECT 1", &[])?;
                Ok::<_, StoreError>(take_back(postgres, client, subscribed, tries - 1))
            })
            .unwrap_or(false)
}

/// The message: instances by aggregate type, or `*` if there are too many. `from` is the store that sends it and will
/// ignore it.
fn message(news: &Notifications, from: Option<Uuid>) -> String {
    let from = from.map(|from| from.to_string());
    let mut by_type: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    by_type.extend(from.as_deref().map(|from| (FROM, vec![from])));
    for (instance, kind) in &news.instances {
        by_type.entry(kind).or_default().push(instance);
    }
    match serde_json::to_string(&by_type) {
        Ok(text) if !news.all && text.len() <= LONGEST => text,
        _ => format!("{EVERYTHING}{}", from.unwrap_or_default()),
    }
}

/// Adds the news of a message, unless this store sent it. Returns the words in it that listeners sent to themselves.
pub(super) fn read(message: &str, own: Uuid, news: &mut Notifications) -> Vec<String> {
    let is_own = |from: &str| Uuid::parse_str(from) == Ok(own);
    if message.strip_prefix(EVERYTHING).is_some_and(is_own) {
        return Vec::new();
    }
    let Ok(mut by_type) = serde_json::from_str::<BTreeMap<String, Vec<String>>>(message) else {
        news.all = true;
        return Vec::new();
    };
    if by_type.remove(FROM).is_some_and(|from| from.iter().any(|from| is_own(from))) {
        return Vec::new();
    }
    let words = by_type.remove(WORD).unwrap_or_default();
    for (kind, instances) in by_type {
        let kind: Arc<str> = kind.into();
        news.instances.extend(instances.into_iter().map(|instance| (instance.into(), Arc::clone(&kind))));
    }
    words
}

impl Subscription {
    /// Waits for news, at most this long.
    fn hear(&mut self, own: Uuid, wait: Duration) -> Result<Notifications, StoreError> {
        if self.client.is_closed() {
            return Err(StoreError::new(DOING, StoreErrorKind::Connection, "the connection was closed"));
        }
        let (mut news, mut words) = (Notifications::default(), Vec::new());
        let mut notifications = self.client.notifications();
        let failed = |error: postgres::Error| error::store(DOING, &error);
        if let Some(first) = notifications.timeout_iter(wait).next().map_err(failed)? {
            words.extend(read(first.payload(), own, &mut news));
        }
        let mut queued = notifications.iter();
        while let Some(more) = queued.next().map_err(failed)? {
            words.extend(read(more.payload(), own, &mut news));
        }
        if matches!(&self.word, Word::Said(token, _) if words.contains(token)) {
            self.word = Word::Heard;
        }
        Ok(news)
    }
}

impl Listener {
    /// How long a message to itself may take: as long as connecting.
    fn patience(&self) -> Duration {
        self.store.backend().options.connect_timeout
    }

    fn connect(&mut self) -> Result<Notifications, StoreError> {
        self.again = None;
        let postgres = self.store.backend();
        let mut client = postgres.connect_to_listen(DOING)?;
        let shared = is_shared(postgres, &mut client).unwrap_or_else(|error| {
            log::debug!("{}; a later look shows whether notifications arrive", chain(&error));
            false
        });
        if shared {
            self.go_deaf("a pooler in transaction mode gives others the session that would listen");
        } else {
            let pid = subscribe(postgres, &mut client)?;
            let life = (postgres.pool().generation(), deadline(postgres.options.max_lifetime.max(SHORTEST_LIFE)));
            self.session = Some(Subscription { client, pid, word: Word::Due(Instant::now()), life });
        }
        Ok(Notifications { instances: Vec::new(), all: true })
    }

    /// Ends the session. If the listener received its own message, the session is its own and ends with its
    /// connection. Otherwise the session may be a pooler's and would go on, so this unsubscribes first.
    fn leave(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        if !matches!(session.word, Word::Heard) {
            unsubscribe(self.store.backend(), &mut session.client, session.pid);
        }
    }

    fn go_deaf(&mut self, why: &str) {
        self.leave();
        self.deaf = Some(format!(
            "pushes of other processes are not heard of: {why}; LISTEN needs a session of its own: let \
             PostgresOptions::listen_url go past the pooler, to the same database"
        ));
        self.again = Some(deadline(self.patience().saturating_mul(REST)));
    }

    /// Sends the message to itself, or checks whether it has arrived.
    fn prove(&mut self) {
        let (patience, now) = (self.patience(), Instant::now());
        let Some(session) = &mut self.session else { return };
        match &session.word {
            Word::Heard => self.deaf = None,
            Word::Said(_, until) if now >= *until => {
                self.go_deaf(&format!(
                    "a test notification of this process to itself did not arrive within {}",
                    spoken(patience)
                ));
            }
            Word::Due(time) if now >= *time => {
                let said = say(self.store.backend());
                session.word = said.map_or_else(
                    |error| {
                        log::debug!("{}; the next look tries again", chain(&error));
                        Word::Due(deadline(patience))
                    },
                    |token| Word::Said(token, deadline(patience)),
                );
            }
            Word::Said(..) | Word::Due(_) => {}
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Sealed for Listener {}

impl NotificationListener for Listener {
    fn listen(&mut self, wait: Duration) -> Result<Notifications, StoreError> {
        if self.again.is_some_and(|again| Instant::now() < again) {
            std::thread::park_timeout(wait);
            return Ok(Notifications::default());
        }
        let (generation, now) = (self.store.backend().pool().generation(), Instant::now());
        if self.session.as_ref().is_some_and(|session| session.life.0 != generation || session.life.1 <= now) {
            self.leave();
        }
        let Some(session) = &mut self.session else { return self.connect() };
        let heard = session.hear(self.store.backend().origin, wait);
        match heard {
            Ok(_) => self.prove(),
            Err(_) => self.session = None,
        }
        heard
    }

    fn deaf(&self) -> Option<String> {
        self.deaf.clone()
    }
}
