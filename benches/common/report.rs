//! What a bench prints.

use std::time::Duration;

/// Prints the answer to a question. A higher value is better.
pub(crate) fn ratio(question: &str, value: f64, reach: f64) {
    println!("ratio {question} {value:.2} reach {reach:.2}");
}

/// Prints how fast both sides handled this many things, and the ratio of their speeds.
pub(crate) fn speeds(question: &str, what: &str, count: usize, ours: Duration, floor: Duration, reach: f64) {
    println!("{question}: readside {}; floor {}", speed(what, count, ours), speed(what, count, floor));
    ratio(question, floor.as_secs_f64() / ours.as_secs_f64(), reach);
}

pub(crate) fn speed(what: &str, count: usize, time: Duration) -> String {
    format!("{:.0} {what}/s ({count} in {time:.3?})", count as f64 / time.as_secs_f64())
}

/// Prints the ratio of a limit to the measured value.
pub(crate) fn limit(question: &str, measured: f64, limit: f64, unit: &str) {
    println!("{question}: {measured:.3} {unit}; limit {limit:.3} {unit}");
    ratio(question, limit / measured, 1.0);
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
