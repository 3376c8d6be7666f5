//! Maps addresses to the code that answers them.

use std::sync::Arc;

use super::board::Board;
use super::changes::Streams;
use super::doctor::Clinic;
use super::health::{Judgement, health, ready};
use super::http::door::{Answer, Answers};
use super::http::head::Request;
use super::http::host::Hosts;
use super::http::reply::{Kind, Refusal, Reply};
use super::metrics::{Metrics, of_engine, of_server, of_status};
use super::options::ServeOptions;
use super::pages::Pages;
use super::place::Place;

pub(crate) struct Routes {
    place: Arc<Place>,
    board: Arc<Board>,
    hosts: Hosts,
    options: ServeOptions,
    pages: Pages,
    streams: Arc<Streams>,
}

impl Routes {
    pub(crate) fn new(
        place: Arc<Place>,
        board: Arc<Board>,
        clinic: Arc<Clinic>,
        hosts: Hosts,
        options: ServeOptions,
        streams: Arc<Streams>,
    ) -> Self {
        let pages = Pages::new(Arc::clone(&place), Arc::clone(&board), clinic, &options);
        Self { place, board, hosts, options, pages, streams }
    }

    fn metrics(&self) -> Reply {
        let shown = self.board.now();
        let picture = shown.picture.as_ref();
        let mut metrics = of_server(
            shown.trouble.is_none() && picture.is_some(),
            picture.map(|picture| picture.age()),
            picture.map(|picture| picture.took),
        );
        // While the database does not answer, nobody knows whether the picture still holds.
        if let Some(picture) = picture.filter(|_| shown.trouble.is_none()) {
            metrics.extend(of_status(&picture.status, &picture.commands));
        }
        if let Some(readings) = self.place.readings() {
            metrics.extend(of_engine(&readings));
        }
        Reply::new(200, Kind::Metrics, Metrics { metrics }.to_string())
    }
}

/// A client without the password gets only one word.
fn told(found: &Judgement, is_known: bool) -> Reply {
    let body = if is_known { serde_json::to_value(found).unwrap_or_default() } else { found.in_a_word() };
    Reply::new(if found.healthy { 200 } else { 503 }, Kind::Json, format!("{body}\n"))
}

impl Answers for Routes {
    fn answer(&self, request: &Request) -> Answer {
        if request.path != "/changes" {
            return Answer::Once(self.reply(request));
        }
        // A client that may not see a page may not see changes.
        if let Some(refusal) = self.refusal(request) {
            return Answer::Once(refusal.reply());
        }
        match self.streams.open(request) {
            Err(reply) => Answer::Once(reply),
            Ok(_) if request.only_head => Answer::Once(Reply::new(200, Kind::Events, String::new())),
            Ok(changes) => {
                let streams = Arc::clone(&self.streams);
                Answer::Kept(Box::new(move |stream| streams.add(stream, changes)))
            }
        }
    }
}

impl Routes {
    /// Why the request gets nothing but health.
    fn refusal(&self, request: &Request) -> Option<Refusal> {
        if !self.hosts.accepts(request.host.as_deref()) {
            return Some(Refusal::Host);
        }
        let accepts = |password: &super::http::password::Password| password.accepts(request.authorization.as_deref());
        (!self.options.password.as_ref().is_none_or(accepts)).then_some(Refusal::Password)
    }

    fn reply(&self, request: &Request) -> Reply {
        let refusal = self.refusal(request);
        if refusal == Some(Refusal::Host) {
            return Refusal::Host.reply();
        }
        let is_known = refusal.is_none();
        match request.path.as_str() {
            "/health" => {
                let readings = self.place.readings();
                told(&health(&self.board.now(), self.options.every, readings.as_ref()), is_known)
            }
            "/ready" => told(&ready(&self.board.now(), self.options.every), is_known),
            _ if !is_known => Refusal::Password.reply(),
            "/metrics" => self.metrics(),
            path => self.pages.answer(path, &request.query, &self.board.now()),
        }
    }
}
