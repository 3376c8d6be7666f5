//! LISTEN and NOTIFY: other processes hear of pushes within milliseconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres::Client;

use super::{Postgres, error};
use crate::db::{Backend, Conn, DbStore};
use crate::error::StoreError;
use crate::lease::{News, Wire, Wired};

/// A notification carries less than 8,000 bytes.
const LONGEST: usize = 7_900;

const CHANNEL: &str = "readside";

/// A connection that listens, when there is one.
struct Listener {
    store: DbStore<Postgres>,
    client: Option<Client>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("connected", &self.client.is_some()).finish_non_exhaustive()
    }
}

impl Wired for DbStore<Postgres> {
    fn wire(&self) -> Box<dyn Wire> {
        Box::new(Listener { store: self.clone(), client: None })
    }

    fn announce(&self, news: &News) -> Result<(), StoreError> {
        self.backend().read("telling other processes of pushes", |conn| tell(conn, &message(news)))
    }
}

pub(super) fn tell(conn: &mut dyn Conn, message: &str) -> Result<(), StoreError> {
    conn.query("SELECT pg_notify($1, $2)", &[CHANNEL.into(), message.into()]).map(|_| ())
}

/// News of one instance.
pub(super) fn word(kind: &str, instance: &str) -> String {
    message(&News { instances: vec![(instance.into(), kind.into())], all: false })
}

/// Instances by aggregate type, or `*` when they would be too many.
fn message(news: &News) -> String {
    let mut by_type: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (instance, kind) in &news.instances {
        by_type.entry(kind).or_default().push(instance);
    }
    match serde_json::to_string(&by_type) {
        Ok(text) if !news.all && text.len() <= LONGEST => text,
        _ => "*".to_owned(),
    }
}

fn read(message: &str, news: &mut News) {
    match serde_json::from_str::<BTreeMap<String, Vec<String>>>(message) {
        Ok(by_type) => {
            for (kind, instances) in by_type {
                let kind: Arc<str> = kind.into();
                news.instances.extend(instances.into_iter().map(|instance| (instance.into(), Arc::clone(&kind))));
            }
        }
        Err(_) => news.all = true,
    }
}

impl Listener {
    fn connect(&mut self) -> Result<News, StoreError> {
        let doing = "listening for pushes of other processes";
        let mut client = self.store.backend().pool().connect_anew(doing)?;
        client.batch_execute("LISTEN readside").map_err(|error| error::store(doing, &error))?;
        self.client = Some(client);
        Ok(News { instances: Vec::new(), all: true })
    }

    fn hear(client: &mut Client, wait: Duration) -> Result<News, StoreError> {
        let failed = |error: postgres::Error| error::store("listening for pushes of other processes", &error);
        let mut news = News::default();
        let mut notifications = client.notifications();
        if let Some(first) = notifications.timeout_iter(wait).next().map_err(failed)? {
            read(first.payload(), &mut news);
        }
        let mut queued = notifications.iter();
        while let Some(more) = queued.next().map_err(failed)? {
            read(more.payload(), &mut news);
        }
        Ok(news)
    }
}

impl Wire for Listener {
    fn listen(&mut self, wait: Duration) -> Result<News, StoreError> {
        let Some(client) = &mut self.client else { return self.connect() };
        let heard = if client.is_closed() {
            Err(StoreError::new("listening", crate::error::StoreErrorKind::Connection, "the connection was closed"))
        } else {
            Self::hear(client, wait)
        };
        if heard.is_err() {
            self.client = None;
        }
        heard
    }
}
