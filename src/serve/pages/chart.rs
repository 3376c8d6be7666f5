//! Draws the last hour: the line of the log's head above the line of handled positions, so that the gap is the lag.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::html::Html;
use super::words::{positions, seconds, time_of_day};
use crate::serve::series::{Mark, Point, thinned};

/// How far back a drawing goes, in seconds.
const SPAN: f64 = 3600.0;

/// The most points of a line.
const MOST: usize = 180;

/// The size of a drawing, in its own units.
const WIDTH: f64 = 720.0;

struct Frame {
    height: f64,
    end: SystemTime,
    low: i64,
    high: i64,
}

impl Frame {
    fn of(points: &[Point], height: f64) -> Option<Self> {
        let end = points.last()?.at;
        let low = points.iter().map(|point| point.handled).min()?;
        let high = points.iter().map(|point| point.handled.saturating_add(point.lag_events)).max()?;
        Some(Self { height, end, low, high })
    }

    fn x(&self, at: SystemTime) -> f64 {
        let age = self.end.duration_since(at).unwrap_or_default().as_secs_f64();
        WIDTH * (1.0 - (age / SPAN).min(1.0))
    }

    #[expect(clippy::cast_precision_loss, reason = "a drawing need not be exact")]
    fn y(&self, position: i64) -> f64 {
        let (above, all) = (position.saturating_sub(self.low) as f64, self.high.saturating_sub(self.low) as f64);
        let share = if all > 0.0 { above / all } else { 0.0 };
        3.0 + (self.height - 6.0) * (1.0 - share)
    }

    fn line(&self, points: &[Point], of: impl Fn(&Point) -> i64) -> String {
        let mut text = String::new();
        for point in points {
            let _ = write!(text, "{:.1},{:.1} ", self.x(point.at), self.y(of(point)));
        }
        text.trim_end().to_owned()
    }
}

fn head(point: &Point) -> i64 {
    point.handled.saturating_add(point.lag_events)
}

fn described(points: &[Point]) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return "nothing is known yet".to_owned() };
    let most = points.iter().map(|point| point.lag_events).max().unwrap_or(0);
    format!(
        "from {} to {}: {} behind now, {} at most",
        time_of_day(first.at),
        time_of_day(last.at),
        positions(last.lag_events),
        positions(most)
    )
}

fn drawing(html: &mut Html, points: &[Point], height: f64, class: &str, marks: &[Mark]) {
    let few = thinned(points, MOST);
    let Some(frame) = Frame::of(&few, height) else { return };
    let (view, label) = (format!("0 0 {WIDTH} {height}"), described(points));
    let attributes = [
        ("class", class),
        ("viewBox", view.as_str()),
        ("preserveAspectRatio", "none"),
        ("role", "img"),
        ("aria-label", label.as_str()),
    ];
    html.within("svg", &attributes, |html| {
        let (heads, handled) = (frame.line(&few, head), frame.line(&few, |point| point.handled));
        let back = frame.line(&few.iter().rev().copied().collect::<Vec<_>>(), |point| point.handled);
        html.within("polygon", &[("class", "gap"), ("points", &format!("{heads} {back}"))], |_| {});
        html.within("polyline", &[("class", "head"), ("points", &heads)], |_| {});
        html.within("polyline", &[("class", "handled"), ("points", &handled)], |_| {});
        for mark in marks {
            let (x, bottom) = (format!("{:.1}", frame.x(mark.at)), format!("{height}"));
            let line =
                [("class", "mark"), ("x1", x.as_str()), ("x2", x.as_str()), ("y1", "0"), ("y2", bottom.as_str())];
            html.within("line", &line, |html| {
                html.element("title", &[], format!("{} {}", time_of_day(mark.at), mark.what));
            });
        }
    });
}

/// A line above or below a drawing that says what its edges are. Readers who cannot see the drawing have its label.
fn scale(html: &mut Html, left: &str, right: &str) {
    html.within("p", &[("class", "scale"), ("aria-hidden", "true")], |html| {
        html.element("span", &[], left);
        html.element("span", &[], right);
    });
}

/// Draws a small chart for a list.
pub(crate) fn spark(html: &mut Html, points: &[Point]) {
    if points.len() < 2 {
        html.element("span", &[("class", "faint")], "just begun");
        return;
    }
    drawing(html, points, 40.0, "spark", &[]);
}

/// Draws a large chart, with its numbers as a table for readers who cannot see it.
pub(crate) fn hour(html: &mut Html, points: &[Point], marks: &[Mark]) {
    if points.len() < 2 {
        html.element("p", &[("class", "faint")], "Just begun: the line grows as long as this page is served.");
        return;
    }
    html.within("div", &[("class", "chart")], |html| {
        let frame = Frame::of(points, 0.0);
        if let Some(frame) = &frame {
            scale(html, &format!("{} to {} events", positions(frame.low), positions(frame.high)), "");
        }
        drawing(html, points, 200.0, "hour", marks);
        if let Some(frame) = &frame {
            let begin = frame.end.checked_sub(Duration::from_secs_f64(SPAN)).map(time_of_day).unwrap_or_default();
            scale(html, &begin, &time_of_day(frame.end));
        }
    });
    html.within("p", &[("class", "legend")], |html| {
        html.raw("<span class=\"key head\"></span> head of the log ");
        html.raw("<span class=\"key handled\"></span> handled ");
        html.raw("<span class=\"key gap\"></span> lag");
        if !marks.is_empty() {
            html.raw(" <span class=\"key mark\"></span> ").text("a switch, or an engine that came or went");
        }
    });
    html.within("details", &[("id", "numbers")], |html| {
        html.element("summary", &[], "The same as numbers");
        html.within("div", &[("class", "wide")], |html| {
            html.within("table", &[], |html| {
                html.raw("<thead><tr><th>At (UTC)<th class=\"n\">Handled<th class=\"n\">Behind<th class=\"n\">Oldest waits</thead><tbody>");
                let step = points.len().div_ceil(20).max(1);
                for point in points.iter().rev().step_by(step) {
                    html.within("tr", &[], |html| {
                        html.element("td", &[], time_of_day(point.at));
                        html.element("td", &[("class", "n")], positions(point.handled));
                        html.element("td", &[("class", "n")], positions(point.lag_events));
                        html.element("td", &[("class", "n")], seconds(point.lag_seconds));
                    });
                }
                html.raw("</tbody>");
            });
        });
        if !marks.is_empty() {
            html.within("ul", &[], |html| {
                for mark in marks.iter().rev() {
                    html.element("li", &[], format!("{} {}", time_of_day(mark.at), mark.what));
                }
            });
        }
    });
}
