//! The pages in a real browser: light, dark and narrow, by keyboard, with and without scripts. The pictures are in
//! `target/status-pages`, or in the folder that `READSIDE_TEST_PICTURES` names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use readside::admin::{AdminCommand, RebuildOptions};
use readside::clock::{Clock, ManualClock};
use readside::failure::By;
use readside::inspect::Inspect;
use readside::prelude::*;
use readside::serve::StatusServer;

use readside::{Engine, EngineConfig, EventStore, HandlerConfig, NewEvent, Policy, SqliteOptions, SqliteStore};

use crate::chrome::Chrome;
use crate::common::{LONG, eventually};
use crate::{Client, EVIL, options, served};
use gate::Gate;

/// A gate that lets a given number of events pass.
mod gate {
    use std::sync::{Condvar, Mutex};

    use crate::common::LONG;

    #[derive(Default)]
    pub(super) struct Gate(Mutex<Option<u64>>, Condvar);

    impl Gate {
        /// From now on, only this many more events pass.
        pub(super) fn allow(&self, count: u64) {
            *self.0.lock().unwrap() = Some(count);
            self.1.notify_all();
        }

        pub(super) fn open(&self) {
            *self.0.lock().unwrap() = None;
            self.1.notify_all();
        }

        pub(super) fn pass(&self) {
            let is_shut = |left: &mut Option<u64>| *left == Some(0);
            let (mut left, _) = self.1.wait_timeout_while(self.0.lock().unwrap(), LONG, is_shut).unwrap();
            if let Some(left) = left.as_mut() {
                *left = left.saturating_sub(1);
            }
        }
    }
}

/// A service with a history. The test sets the clock of its database.
struct Story {
    file: crate::common::file::File,
    clock: ManualClock,
    store: SqliteStore,
    gate: Arc<Gate>,
    engine: Engine,
    server: StatusServer,
    client: Client,
    pushed: usize,
}

const TENANTS: [&str; 9] = [
    "acme",
    "bluebird",
    "cedar-and-sons",
    "delta",
    "eon",
    "fjord",
    "globex",
    "hooli",
    "initech-international-holdings",
];

fn projection(name: &'static str, version: u32, gate: Option<Arc<Gate>>) -> Projection {
    let table = Table::new(name).column(text("id")).column(integer("n")).column(timestamp("changed_at"));
    Projection::new(name, version).table(table.primary_key(["id"])).on_raw("order", "order.placed", move |event| {
        if let Some(gate) = &gate {
            gate.pass();
        }
        if name == "invoices" && event.aggregate_id().starts_with("bad") {
            return Err(ReduceError::new(format!("the amount of order {} has no currency", event.aggregate_id())));
        }
        upsert(["id"], [set("id", event.aggregate_id()), increment("n", 1), set("changed_at", event.created_at())])
    })
}

impl Story {
    fn begin(name: &'static str) -> Self {
        let file = crate::common::file::File::new();
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_hours(498_854));
        let sqlite = SqliteOptions::default().clock(Arc::new(clock.clone()));
        let store = SqliteStore::open_with(file.path(), sqlite).unwrap();
        let gate = Arc::<Gate>::default();
        let handler = HandlerConfig::default().bulk_limit(5).max_failure_count(1).policy(Policy::Park);
        let lease = Duration::from_hours(10);
        let config = EngineConfig::default().name(name).lease(lease).handler(handler).auto_switch(false);
        let engine = Engine::builder(store.clone())
            .config(config)
            .projection(projection("orders", 3, Some(Arc::clone(&gate))))
            .projection(projection("invoices", 1, None))
            .projection(projection("search_index", 12, None))
            .start()
            .unwrap();
        let (server, client) = served(&engine, options());
        let mut begun = Self { file, clock, store, gate, engine, server, client, pushed: 0 };
        for step in 0..45 {
            begun.step(2 + step % 7);
            begun.caught_up();
        }
        begun
    }

    fn push(&mut self, count: usize) {
        let event = |number: usize| {
            let (tenant, order) = (TENANTS[number * number % TENANTS.len()], format!("order-{}", number % 40));
            NewEvent::raw(tenant, "order", &order, "order.placed")
        };
        let events: Vec<NewEvent> = (self.pushed..self.pushed + count).map(event).collect();
        if !events.is_empty() {
            self.store.push(&events).unwrap();
        }
        self.pushed += count;
    }

    /// Moves the clock by a minute, and pushes this many events.
    fn step(&mut self, count: usize) {
        let now = self.clock.now() + Duration::from_mins(1);
        self.clock.set(now);
        self.push(count);
        self.looked();
    }

    /// Waits until the page shows the current state.
    fn looked(&self) {
        let now = serde_json::to_value(self.store.status(false).unwrap()).unwrap()["at"].clone();
        eventually("the next look", || self.client.get("/index.json").json()["as_of"] == now);
    }

    fn row(&self, name: &str) -> serde_json::Value {
        let page = self.client.get("/index.json").page();
        let rows = page["projections"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
        rows.unwrap_or_default()
    }

    fn caught_up(&self) {
        for name in ["orders", "invoices", "search_index"] {
            eventually("catching up", || self.row(name)["lag_events"] == 0 && self.row(name)["succeeded"] == true);
        }
    }

    fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }
}

fn folder() -> PathBuf {
    let folder = std::env::var_os("READSIDE_TEST_PICTURES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../status-pages"));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Opens a page in all three forms, and keeps the pictures.
fn look(chrome: &mut Chrome, story: &Story, path: &str, name: &str) {
    for (kind, width, height, scheme) in
        [("light", 1280, 800, "light"), ("dark", 1280, 800, "dark"), ("narrow", 375, 812, "light")]
    {
        chrome.look(width, height, scheme);
        chrome.open(&story.address(path));
        chrome.until("document.readyState === 'complete' && document.querySelector('main section')");
        let wide = chrome.value("document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= u64::from(width), "{name} {kind}: {wide} wide");
        assert_eq!(
            chrome.value("getComputedStyle(document.querySelector('nav')).display"),
            "flex",
            "the style is allowed"
        );
        assert_eq!(chrome.value("document.querySelectorAll('.asof button').length"), 1, "the script is allowed");
        let dark = "getComputedStyle(document.body).backgroundColor === 'rgb(18, 21, 26)'";
        assert_eq!(chrome.value(dark), scheme == "dark");
        legible(chrome, &format!("{name} {kind}"));
        let picture = chrome.picture();
        std::fs::write(folder().join(format!("{name}-{kind}.png")), decoded(&picture)).unwrap();
    }
    assert_eq!(chrome.complaints, [""; 0], "{name}");
}

/// Finds texts with too little contrast, by WCAG 2 (4.5 for texts of this size).
fn legible(chrome: &mut Chrome, name: &str) {
    let found = chrome.value(
        "(() => { const parts = text => text.match(/[\\d.]+/g).map(Number); \
         const light = ([r, g, b]) => { const one = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }; \
           return 0.2126 * one(r) + 0.7152 * one(g) + 0.0722 * one(b); }; \
         const ground = at => { for (; at; at = at.parentElement) { const c = parts(getComputedStyle(at).backgroundColor); \
           if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; }; \
         return [...document.querySelectorAll('main *, header *, footer *')] \
           .filter(at => [...at.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && at.offsetParent) \
           .filter(at => { const a = light(parts(getComputedStyle(at).color)), b = light(ground(at)); \
             return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5; }) \
           .map(at => at.tagName + '.' + at.className + ': ' + at.textContent.slice(0, 30)); })()",
    );
    assert_eq!(found, serde_json::json!([]), "{name}");
}

fn decoded(base64: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bytes, letters) = (Vec::new(), base64.trim_end_matches('=').as_bytes());
    for chunk in letters.chunks(4) {
        let bits = chunk.iter().enumerate().fold(0, |bits, (at, byte)| bits | value(*byte) << (18 - 6 * at));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    bytes
}

// Contract: S2, S3
#[test]
fn what_is_well_reads_well() {
    let mut story = Story::begin("api-1");
    let mut chrome = Chrome::start();
    look(&mut chrome, &story, "/", "healthy");
    for (path, name) in [
        ("/projection?projection=orders", "healthy-projection"),
        ("/instances", "instances"),
        ("/instance?instance=acme", "instance"),
        ("/activity", "activity-empty"),
        ("/lineage", "lineage"),
        ("/database", "database"),
        ("/failures", "failures-none"),
    ] {
        look(&mut chrome, &story, path, name);
    }
    // A service that shows payloads shows rows, too.
    (story.server, story.client) = served(&story.engine, options().show_payloads());
    story.caught_up();
    look(&mut chrome, &story, "/explain?projection=orders&instance=acme&table=orders&key=order-3", "explain");
    assert_eq!(chrome.value("document.querySelectorAll('#steps tbody tr').length > 1"), true);
    look(&mut chrome, &story, "/instance?instance=acme", "instance-payloads");
    // By keyboard: the link to the content, then page by page. The focus is visible.
    chrome.open(&story.address("/"));
    chrome.press("Tab");
    assert_eq!(chrome.value("document.activeElement.textContent"), "To the content");
    chrome.press("Tab");
    chrome.press("Tab");
    assert_eq!(chrome.value("document.activeElement.getAttribute('aria-current')"), "page");
    assert_eq!(chrome.value("getComputedStyle(document.activeElement).outlineStyle"), "solid");
    chrome.press("Tab");
    assert_eq!(chrome.value("document.activeElement.textContent"), "Failures");
    // Screen readers can read the charts out.
    let named = "[...document.querySelectorAll('svg[role=img]')].every(one => one.getAttribute('aria-label').includes('behind'))";
    assert_eq!(chrome.value(named), true);
    assert_eq!(chrome.value("document.querySelectorAll('main').length"), 1);
    // The user prefers no motion.
    assert_eq!(chrome.value("getComputedStyle(document.querySelector('main')).transitionDuration"), "0s");
}

// Contract: S3: a page refreshes itself, and keeps what the user is working with.
#[test]
fn a_page_refreshes_itself_and_works_without_scripts() {
    let mut story = Story::begin("api-1");
    let mut chrome = Chrome::start();
    chrome.look(1280, 800, "light");
    chrome.open(&story.address("/projection?projection=orders"));
    chrome.value(
        "document.querySelector('#numbers summary').click(), document.querySelector('#find input').focus(), true",
    );
    chrome.value("document.querySelector('#find input').value = 'ac', true");
    let before = chrome.value("document.querySelector('#asof time').getAttribute('datetime')");
    story.step(4);
    chrome.until(&format!("document.querySelector('#asof time').getAttribute('datetime') !== {before}"));
    assert_eq!(chrome.value("document.querySelector('#numbers').open"), true);
    assert_eq!(chrome.value("document.activeElement.value"), "ac");
    chrome.value("document.querySelector('.asof button').click(), true");
    assert_eq!(chrome.value("document.getElementById('light').textContent"), "paused");
    // The server goes away.
    chrome.value("document.querySelector('.asof button').click(), true");
    story.server.shutdown(LONG).unwrap();
    chrome.until("document.getElementById('light').textContent.startsWith('no answer for')");
    assert_eq!(chrome.value("document.querySelectorAll('#facts h1').length"), 1, "the last picture stays");
    let (server, client) = served(&story.engine, options());
    (story.server, story.client) = (server, client);
    chrome.complaints.clear();
    chrome.scripts(false);
    chrome.open(&story.address("/"));
    chrome.scripts(true);
    assert_eq!(chrome.value("document.querySelectorAll('.asof button').length"), 0, "no script ran");
    assert_eq!(chrome.value("document.querySelectorAll('#list tbody tr').length"), 3);
    assert_eq!(chrome.value("document.querySelector('#whole .word').textContent.includes('idle')"), true);
}

// Contract: S3
#[test]
fn what_is_behind_shows_by_how_much_and_why() {
    let mut story = Story::begin("api-1");
    let mut chrome = Chrome::start();
    let is = |story: &Story, verdict: &str| {
        eventually(verdict, || story.row("orders")["verdict"] == verdict);
    };
    for _ in 0..3 {
        story.gate.allow(9);
        story.step(14);
    }
    for name in ["invoices", "search_index"] {
        eventually("the others", || story.row(name)["lag_events"] == 0);
    }
    is(&story, "moving");
    look(&mut chrome, &story, "/", "moving");
    look(&mut chrome, &story, "/projection?projection=orders", "moving-projection");
    story.gate.open();
    story.caught_up();
    story.gate.allow(0);
    story.step(0);
    story.step(0);
    story.step(90);
    is(&story, "behind");
    look(&mut chrome, &story, "/", "behind");
    look(&mut chrome, &story, "/projection?projection=orders", "behind-projection");
    for _ in 0..6 {
        story.step(9);
    }
    is(&story, "stuck");
    look(&mut chrome, &story, "/", "unmoved");
    look(&mut chrome, &story, "/projection?projection=orders", "unmoved-projection");
    story.engine.admin().pause("orders", None, &By::new("ada", "the totals are checked")).unwrap();
    eventually("the pause", || story.row("orders")["verdict"] == "paused");
    look(&mut chrome, &story, "/", "paused");
    look(&mut chrome, &story, "/projection?projection=orders", "paused-projection");
    assert_eq!(chrome.value("document.querySelector('#facts').textContent.includes('done in about')"), false);
    story.gate.open();
}

// Contract: S2, S3
#[test]
fn what_fails_shows_its_cause() {
    let mut story = Story::begin("api-1");
    for number in 0..7 {
        let (tenant, order) = (TENANTS[number % 3], format!("bad-{}", number % 4));
        story.store.push(&[NewEvent::raw(tenant, "order", &order, "order.placed")]).unwrap();
    }
    story.step(3);
    eventually("the failures", || story.row("invoices")["verdict"] == "failing");
    let by = By::new("ada", "waits for the new currencies");
    story.store.push(&[NewEvent::raw(EVIL, "order", "o", "order.placed")]).unwrap();
    story.engine.admin().pause("search_index", Some("eon"), &by).unwrap();
    story.engine.admin().pause("search_index", Some(EVIL), &By::new(EVIL, EVIL)).unwrap();
    story.step(1);
    let mut chrome = Chrome::start();
    look(&mut chrome, &story, "/", "failing");
    look(&mut chrome, &story, "/failures", "failures");
    look(&mut chrome, &story, "/failures?projection=invoices", "failures-projection");
    look(&mut chrome, &story, "/activity", "activity");
    // The page is still narrow. A cell with several parts does not press them into columns.
    assert_eq!(chrome.value("document.querySelector('td[data-label=About] a').offsetHeight < 30"), true);
    let one = story.client.get("/failures.json?projection=invoices").page()["failures"][0].clone();
    let path = format!("/failure?projection=invoices&instance=acme&position={}", one["position"]);
    look(&mut chrome, &story, &path, "failure");
    assert_eq!(chrome.value("document.querySelectorAll('img').length"), 0);
}

// Contract: S3
#[test]
fn what_is_stuck_shows_what_to_do() {
    let mut story = Story::begin("api-1");
    let other = "UPDATE readside_projection_states SET event = (SELECT process FROM readside_members LIMIT 1) \
         WHERE projection = 'orders' AND instance_id IN ('acme', 'globex')";
    crate::common::file::run(&story.file.at("test.db"), other);
    story.step(9);
    eventually("the standstill", || story.row("orders")["verdict"] == "stuck");
    story.step(9);
    let mut chrome = Chrome::start();
    look(&mut chrome, &story, "/", "stuck");
    look(&mut chrome, &story, "/projection?projection=orders", "stuck-projection");
    look(&mut chrome, &story, "/database", "stuck-database");
    assert_eq!(story.client.get("/health").status, 503);
}

// Contract: S3
#[test]
fn what_is_rebuilt_shows_how_far_it_is() {
    let mut story = Story::begin("api-1");
    story.gate.allow(60);
    let by = By::new("ada", "the totals were rounded");
    story.engine.admin().ask("orders", AdminCommand::Rebuild(RebuildOptions::default()), &by).unwrap();
    let is_building = || story.client.get("/projection.json?projection=orders").page()["progress"]["done"].as_i64();
    eventually("the build", || is_building().is_some_and(|done| done > 20));
    story.step(0);
    let mut chrome = Chrome::start();
    look(&mut chrome, &story, "/", "rebuilding");
    look(&mut chrome, &story, "/projection?projection=orders", "rebuilding-projection");
    story.gate.open();
}
