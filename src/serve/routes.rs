//! Which address is answered by what.

use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::health::{Judgement, health, ready};
use super::http::door::Answers;
use super::http::head::Request;
use super::http::host::Hosts;
use super::http::reply::{Kind, Refusal, Reply};
use super::metrics::{Metrics, of_engine, of_server, of_status};
use super::options::ServeOptions;
use super::pages::Pages;
use super::place::Place;

/// How long the first request waits for the first look.
const FIRST_LOOK: Duration = Duration::from_secs(3);

pub(crate) struct Routes {
    place: Arc<Place>,
    board: Arc<Board>,
    hosts: Hosts,
    options: ServeOptions,
    pages: Pages,
}

impl Routes {
    pub(crate) fn new(place: Arc<Place>, board: Arc<Board>, hosts: Hosts, options: ServeOptions) -> Self {
        let pages = Pages::new(Arc::clone(&place), Arc::clone(&board), &options);
        Self { place, board, hosts, options, pages }
    }

    fn metrics(&self) -> Reply {
        let shown = self.board.first(FIRST_LOOK);
        let picture = shown.picture.as_ref();
        let mut metrics = of_server(
            shown.trouble.is_none() && picture.is_some(),
            picture.map(|picture| picture.taken.elapsed()),
            picture.map(|picture| picture.took),
        );
        // While the database does not answer nobody knows whether that still holds.
        if let Some(picture) = picture.filter(|_| shown.trouble.is_none()) {
            metrics.extend(of_status(&picture.status, &picture.commands));
        }
        if let Some(readings) = self.place.readings() {
            metrics.extend(of_engine(&readings));
        }
        Reply::new(200, Kind::Metrics, Metrics { metrics }.to_string())
    }
}

/// Who is not known hears one word only.
fn told(found: &Judgement, is_known: bool) -> Reply {
    let body = if is_known { serde_json::to_value(found).unwrap_or_default() } else { found.in_a_word() };
    Reply::new(if found.healthy { 200 } else { 503 }, Kind::Json, format!("{body}\n"))
}

impl Answers for Routes {
    fn answer(&self, request: &Request) -> Reply {
        if !self.hosts.accepts(request.host.as_deref()) {
            return Refusal::Host.reply();
        }
        let accepts = |password: &super::http::password::Password| password.accepts(request.authorization.as_deref());
        let is_known = self.options.password.as_ref().is_none_or(accepts);
        match request.path.as_str() {
            "/health" => {
                let readings = self.place.readings();
                told(&health(&self.board.first(FIRST_LOOK), self.options.every, readings.as_ref()), is_known)
            }
            "/ready" => told(&ready(&self.board.first(FIRST_LOOK), self.options.every), is_known),
            _ if !is_known => Refusal::Password.reply(),
            "/metrics" => self.metrics(),
            path => self.pages.answer(path, &request.query, &self.board.first(FIRST_LOOK)),
        }
    }
}
