//! `/metrics`, the same numbers in code, and the files in `ops/`. Prometheus's own tool checks all of them.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use readside::serve::{Metrics, Sample};

use readside::{Engine, SqliteStore};

use crate::common::{LONG, eventually};
use crate::{EVIL, Place, count, counts, serve, start};

/// Runs promtool with this input, and returns its output if it found no fault.
fn promtool(args: &[&str], input: &str) -> String {
    let process = Command::new("promtool")
        .args(args)
        .current_dir(ops())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process =
        process.expect("promtool starts: run the tests by tests/run, which installs the package prometheus");
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "promtool {args:?}: {said}\n{input}");
    said
}

fn ops() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops")
}

/// The number behind a name and its labels.
fn number(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

// Contract: S4
both!(prometheus_reads_what_the_status_says);
fn prometheus_reads_what_the_status_says<P: Place>(place: &P) {
    let engine = start(place.open(), [counts("counts", 1), counts("others", 3)]);
    let (_server, client) = serve(&engine);
    let events = [count("a", "x"), count("a", "y"), count(EVIL, "x"), count("b", "bad"), count("b", "bad")];
    let pushed = engine.push(&events).unwrap();
    engine.await_pushed("counts", &pushed[..3], LONG).unwrap();
    let metrics = || client.get("/metrics");
    let held = |state: &str| format!("readside_held_events{{projection=\"counts\",state=\"{state}\"}}");
    eventually("the failures", || number(&metrics().body, &held("behind")) == Some(1.0));
    let answer = metrics();
    assert!(answer.head.contains("Content-Type: text/plain; version=0.0.4"), "{}", answer.head);
    let text = answer.body;
    assert_eq!(promtool(&["check", "metrics"], &text), "");
    assert_eq!(number(&text, &held("parked")), Some(1.0));
    assert_eq!(number(&text, "readside_lag_events{projection=\"counts\"}"), Some(0.0));
    assert_eq!(number(&text, "readside_lag_seconds{projection=\"counts\"}"), Some(0.0));
    assert_eq!(number(&text, "readside_handled_positions{projection=\"counts\"}"), Some(5.0));
    assert_eq!(number(&text, "readside_instances{projection=\"counts\",state=\"current\"}"), Some(3.0));
    assert_eq!(number(&text, "readside_verdict{projection=\"counts\",verdict=\"failing\"}"), Some(1.0));
    assert_eq!(number(&text, "readside_verdict{projection=\"counts\",verdict=\"idle\"}"), Some(0.0));
    assert_eq!(number(&text, "readside_projection_info{projection=\"others\",version=\"3\"}"), Some(1.0));
    assert_eq!(number(&text, "readside_engines{projection=\"others\"}"), Some(1.0));
    let applied = "readside_events_applied_total{projection=\"counts\",version=\"1\"}";
    assert_eq!(number(&text, applied), Some(3.0));
    let visible = "readside_visible_seconds_count{projection=\"counts\",version=\"1\"}";
    assert_eq!(number(&text, visible), Some(3.0), "each event became visible once");
    let batches = "readside_batch_seconds_count{projection=\"counts\",version=\"1\"}";
    let done = "readside_batches_total{projection=\"counts\",version=\"1\",outcome=\"done\"}";
    assert_eq!(number(&text, batches), number(&text, done));
    // No label holds a tenant, or anything from an event.
    assert!(!text.contains("<script") && !text.contains("instance="), "{text}");
    let in_code = engine.metrics().unwrap();
    assert_eq!(in_code.number("readside_events_applied_total", &[("projection", "counts")]), Some(3.0));
    assert_eq!(in_code.number("readside_held_events", &[("projection", "counts"), ("state", "parked")]), Some(1.0));
    assert_eq!(promtool(&["check", "metrics"], &in_code.to_string()), "");
    assert_eq!(names(&in_code), names_in(&text).into_iter().filter(|name| !of_the_page(name)).collect::<BTreeSet<_>>());
}

/// The names of metrics that have values.
fn names(metrics: &Metrics) -> BTreeSet<String> {
    let known = metrics.metrics.iter().filter(|metric| !metric.samples.is_empty());
    known.map(|metric| metric.name.to_owned()).collect()
}

fn names_in(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect()
}

fn of_the_page(name: &str) -> bool {
    ["readside_look_seconds", "readside_build_info", "readside_database_up"].contains(&name)
}

// Contract: S4: if clocks differ, no latency is negative. An unknown number has no value.
#[test]
fn what_is_not_known_is_absent() {
    let events = SqliteStore::in_memory().unwrap();
    events.setup().unwrap();
    let models = SqliteStore::in_memory().unwrap();
    let engine = Engine::builder(events).models(models.clone()).projection(counts("counts", 1)).start().unwrap();
    let pushed = engine.push(&[count("a", "x")]).unwrap();
    engine.await_pushed("counts", &pushed, LONG).unwrap();
    let here = engine.metrics().unwrap();
    assert_eq!(here.number("readside_lag_events", &[("projection", "counts")]), Some(0.0), "both are at hand");
    // An engine that has only the read models does not know the log.
    let alone = Engine::builder(models).projection(counts("others", 1)).start().unwrap();
    let metrics = alone.metrics().unwrap();
    for name in ["readside_lag_seconds", "readside_lag_events", "readside_instances", "readside_handled_positions"] {
        assert_eq!(metrics.number(name, &[("projection", "counts")]), None, "{name}");
    }
    assert_eq!(metrics.number("readside_engines", &[("projection", "counts")]), Some(1.0));
    assert!(!metrics.to_string().contains("readside_lag_seconds{projection=\"counts\"}"));
    let is_number = |sample: &Sample| matches!(sample, Sample::Number { value, .. } if value.is_finite());
    let all = metrics.metrics.iter().filter(|metric| metric.kind != readside::serve::MetricKind::Histogram);
    assert!(all.flat_map(|metric| &metric.samples).all(is_number));
}

// Contract: S4
#[test]
fn the_alert_rules_fire_where_they_should() {
    assert!(promtool(&["check", "rules", "prometheus/alerts.yml"], "").contains("SUCCESS: 5 rules found"));
    assert!(promtool(&["test", "rules", "prometheus/alerts_test.yml"], "").contains("SUCCESS"));
}

/// The names of our metrics in an expression, without the suffixes of histograms.
fn used(expression: &str) -> Vec<String> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("readside_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

// Contract: S4: rules and dashboard use only metrics that exist.
#[test]
fn dashboard_and_rules_know_the_metrics() {
    let engine = start(SqliteStore::in_memory().unwrap(), [counts("counts", 1)]);
    let (_server, client) = serve(&engine);
    eventually("all metrics", || client.get("/metrics").body.contains("readside_lag_seconds"));
    let mut known = names_in(&client.get("/metrics").body);
    // This metric has values only while something is built.
    known.insert("readside_rebuild_progress_ratio".to_owned());
    let rules = std::fs::read_to_string(ops().join("prometheus/alerts.yml")).unwrap();
    let text = std::fs::read_to_string(ops().join("grafana/readside.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut expressions = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(panel["title"].is_string() && panel["gridPos"]["w"].as_i64().unwrap() <= 24, "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            expressions.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    assert!(expressions.len() >= 10, "{expressions:?}");
    let unknown = |name: &String| !known.contains(name);
    let asked = used(&rules).into_iter().chain(expressions.iter().flat_map(|expression| used(expression)));
    let unknown: Vec<String> = asked.filter(unknown).collect();
    assert!(unknown.is_empty(), "{unknown:?} of {known:?}");
    // Each text is a valid expression for Prometheus.
    let rule = |(at, text): (usize, &String)| {
        let text = text.replace("$projection", ".*");
        format!("  - record: panel:{at}\n    expr: >-\n      {text}\n")
    };
    let rules: String = expressions.iter().enumerate().map(rule).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("panels.yml");
    std::fs::write(&file, format!("groups:\n- name: panels\n  rules:\n{rules}")).unwrap();
    let said = promtool(&["check", "rules", file.to_str().unwrap()], "");
    assert!(said.contains(&format!("SUCCESS: {} rules found", expressions.len())), "{said}");
}
