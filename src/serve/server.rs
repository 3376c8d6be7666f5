//! A running status page.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::address::ServeAddress;
use super::board::Board;
use super::changes::Streams;
use super::doctor::Clinic;
use super::error::ServeError;
use super::http::door::{Answers, open};
use super::http::host::Hosts;
use super::http::socket::Listener;
use super::options::ServeOptions;
use super::place::{Place, examine};
use super::routes::Routes;
use super::thread::{Stop, Thread, join_all, spawn};
use crate::engine::Engine;
use crate::sync::Mutex;

/// How long dropping the server waits for its threads.
const DROP_TIME: Duration = Duration::from_secs(5);

/// A running status page. Dropping it stops it.
#[derive(Debug)]
pub struct StatusServer {
    address: ServeAddress,
    stop: Arc<Stop>,
    threads: Mutex<Vec<Thread>>,
}

impl StatusServer {
    /// Where it listens, with the port that it got.
    #[must_use]
    pub fn address(&self) -> &ServeAddress {
        &self.address
    }

    /// Stops the server: it accepts no more clients, finishes its answers, and joins its threads. You may call it
    /// again.
    ///
    /// # Errors
    /// [`ServeError::StillRunning`] names threads that did not end in this time, for instance because the database does
    /// not answer. They end once it does.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ServeError> {
        self.stop.set();
        let mut threads = self.threads.lock();
        *threads = join_all(std::mem::take(&mut *threads), crate::clock::deadline(timeout));
        if threads.is_empty() {
            return Ok(());
        }
        Err(ServeError::StillRunning { names: threads.iter().map(|thread| thread.name().to_owned()).collect() })
    }
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown(DROP_TIME) {
            log::error!("dropping a status page: {error}");
        }
    }
}

/// Serves the stores of this place.
pub(crate) fn serve(place: Place, options: ServeOptions) -> Result<StatusServer, ServeError> {
    options.check()?;
    let listen = |source| ServeError::Listen { address: options.listen.clone(), source };
    let (listener, address) = Listener::bind(&options.listen).map_err(listen)?;
    let (stop, board, place) = (Arc::new(Stop::default()), Arc::new(Board::new()), Arc::new(place));
    // Dropped on an error, it ends what runs already.
    let server = StatusServer { address: address.clone(), stop: Arc::clone(&stop), threads: Mutex::new(Vec::new()) };
    let (looks, looked_at, until, every) = (Arc::clone(&board), Arc::clone(&place), Arc::clone(&stop), options.every);
    server.threads.lock().push(spawn("readside-look", move || looks.keep(&looked_at, every, &until))?);
    let clinic = Arc::new(Clinic::default());
    let (examiner, looked_into, until) = (Arc::clone(&clinic), Arc::clone(&place), Arc::clone(&stop));
    let keep = move || examiner.keep(&looked_into.examine, &until);
    server.threads.lock().push(spawn("readside-doctor", keep)?);
    let hosts = Hosts::of(&address, &options.hosts);
    let streams = Streams::start(&place, every, &stop, &mut server.threads.lock())?;
    let routes: Arc<dyn Answers> = Arc::new(Routes::new(place, board, clinic, hosts, options, streams));
    open(listener, &stop, &routes, &mut server.threads.lock())?;
    log::info!(address:display = address; "the status page is served on {address}");
    Ok(server)
}

impl Engine {
    /// Serves a status page of this engine's databases, with health and with metrics of this process. It is open to
    /// this machine only; for other machines use [`serve_status_with`](Self::serve_status_with). Dropping the server
    /// ends it.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use readside::{Engine, SqliteStore};
    /// # use readside::prelude::*;
    /// # let logins = Projection::new("logins", 1)
    /// #     .table(Table::new("logins").column(text("user")).primary_key(["user"]))
    /// #     .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    /// let engine = Engine::builder(SqliteStore::in_memory()?).projection(logins).start()?;
    /// let page = engine.serve_status("127.0.0.1:0".parse()?)?;
    /// println!("http://{}/", page.address());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn serve_status(&self, address: SocketAddr) -> Result<StatusServer, ServeError> {
        self.serve_status_with(ServeOptions::at(address))
    }

    /// As [`serve_status`](Self::serve_status), with all options.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn serve_status_with(&self, options: ServeOptions) -> Result<StatusServer, ServeError> {
        serve(self.place(), options)
    }

    pub(super) fn place(&self) -> Place {
        let models = Arc::clone(self.models());
        let here = self.source().store_id().and_then(|id| models.holds(id));
        Place {
            // Until that is known, the page shows what the database of the read models says.
            has_two_databases: here.is_ok_and(|here| !here),
            events: self.event_store().cloned(),
            log: None,
            engine: Some(self.onlooker()),
            examine: examine(&models),
            models,
        }
    }
}
