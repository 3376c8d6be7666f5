//! Feeds the crate `metrics` from an observer: any of its exporters then shows what the engine does.
//!
//! `cargo run --example metrics_bridge` pushes a few events, one of which fails, prints what was counted, and ends.

use std::error::Error;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use readside::observe::Observation;
use readside::prelude::*;
use readside::{Engine, NewEvent, SqliteStore};

/// No label holds a tenant: their number has no bound.
fn count(seen: &Observation) {
    match seen {
        Observation::Applied(batch) => {
            let labels = [("projection", batch.projection.to_string()), ("version", batch.version.to_string())];
            counter!("readside_events_applied_total", &labels).increment(batch.events as u64);
            histogram!("readside_batch_seconds", &labels).record(batch.writing);
            if let Some(time) = batch.visible_after {
                histogram!("readside_visible_seconds", &labels).record(time);
            }
        }
        Observation::Failed(failed) => {
            let labels = [("projection", failed.projection.to_string()), ("state", failed.state.as_str().to_owned())];
            counter!("readside_failures_total", &labels).increment(1);
        }
        Observation::StandsStill(one) => {
            let labels = [("projection", one.projection.to_string()), ("kind", one.kind.as_str().to_owned())];
            counter!("readside_standstills_total", &labels).increment(1);
        }
        Observation::HandOver { processes } => {
            gauge!("readside_processes").set(u32::try_from(*processes).unwrap_or(u32::MAX));
        }
        _ => {}
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // A service installs its exporter here, such as the one for Prometheus.
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install()?;

    let logins = Projection::new("logins", 1)
        .table(Table::new("logins").column(text("user")).column(integer("times")).primary_key(["user"]))
        .on_raw("user", "user.logged_in", |e| match e.aggregate_id() {
            "mallory" => Err(ReduceError::new("nobody knows this user")),
            user => upsert(["user"], [set("user", user), increment("times", 1)]),
        });
    let engine = Engine::builder(SqliteStore::in_memory()?).projection(logins).observer(count).start()?;
    let login = |user| NewEvent::raw("acme", "user", user, "user.logged_in");
    engine.push(&[login("mallory")])?;
    let pushed = engine.push(&[login("ada"), login("ada")])?;
    engine.await_pushed("logins", &pushed, Duration::from_secs(30))?;
    // The observer hears what waits for it.
    engine.shutdown(Duration::from_secs(30))?;

    let mut lines: Vec<String> = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<String> =
            key.key().labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(count) => count.to_string(),
            DebugValue::Gauge(value) => value.to_string(),
            DebugValue::Histogram(values) => format!("{} values", values.len()),
        };
        lines.push(format!("{}{{{}}} {value}", key.key().name(), labels.join(",")));
    }
    lines.sort();
    println!("{}", lines.join("\n"));
    Ok(())
}
