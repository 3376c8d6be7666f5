//! The frame of every page: its head, the links to other pages, how old it is, and whether the database answers.

use std::time::{Duration, SystemTime};

use super::asked::{Asked, Made};
use super::html::Html;
use super::sha256::source;
use super::words::{machine, time_of_day};
use crate::clock::spoken;
use crate::serve::http::query::Query;
use crate::serve::http::reply::{Kind, POLICY, Reply};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The shortest time after which a browser loads the page again.
const SHORTEST: Duration = Duration::from_secs(2);

/// The reload interval in seconds. Without scripts the whole page reloads, which disturbs more, so it reloads less
/// often.
const PLAIN: &str = "15";

/// Counts that are so much older than the picture are told as such.
const COUNTED: Duration = Duration::from_secs(1);

/// The path and the title of a page that every page links to.
pub(super) type Way = (&'static str, &'static str);

pub(super) struct Frame {
    policy: String,
    every: String,
    ways: Vec<Way>,
}

impl Frame {
    pub(super) fn new(every: Duration, ways: Vec<Way>) -> Self {
        let (style, script) = (source(STYLE), source(SCRIPT));
        let policy = format!(
            "default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        Self { policy, every: every.max(SHORTEST).as_secs_f64().to_string(), ways }
    }

    pub(super) fn reply(&self, status: u16, path: &str, query: &Query, made: &Made, asked: &Asked<'_>) -> Reply {
        let mut html = Html::default();
        html.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
        html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        html.raw("<meta name=\"robots\" content=\"noindex\"><link rel=\"icon\" href=\"data:,\">");
        html.within("noscript", &[], |html| {
            html.open("meta", &[("http-equiv", "refresh"), ("content", PLAIN)]);
        });
        html.element("title", &[], format!("{} · readside", made.title));
        html.raw("<style>").raw(STYLE).raw("</style></head>");
        html.open("body", &[("data-every", &self.every)]);
        html.raw("<a class=\"skip\" href=\"#main\">To the content</a><header class=\"top\"><div>");
        html.raw("<a class=\"brand\" href=\"/\">readside</a><nav aria-label=\"Pages\">");
        for (of, title) in &self.ways {
            let current = [("href", *of), ("aria-current", "page")];
            html.element("a", if *of == path { &current } else { &current[..1] }, title);
        }
        html.raw("</nav><span class=\"asof\"><span id=\"asof\">");
        age(&mut html, asked);
        html.raw("</span><span id=\"light\" role=\"status\"></span></span></div></header>");
        html.raw("<main id=\"main\" tabindex=\"-1\">");
        if path != "/" {
            lost(&mut html, asked);
        }
        html.append(&made.html);
        html.raw("</main><footer>");
        let twin = if path == "/" { "/index.json".to_owned() } else { format!("{path}.json") };
        html.link(&query.at(&twin), "The same as JSON").raw(" · ");
        html.link("/metrics", "Metrics").raw(" · ").link("/health", "Health");
        html.text(format!(" · readside {} · times are UTC", env!("CARGO_PKG_VERSION")));
        html.raw("</footer><script>").raw(SCRIPT).raw("</script></body></html>\n");
        Reply::new(status, Kind::Html, html.into_string()).with(POLICY, &self.policy)
    }
}

/// Shows how old the picture is.
fn age(html: &mut Html, asked: &Asked<'_>) {
    let Some(picture) = asked.picture() else {
        html.text(if asked.shown.trouble.is_some() { "nothing is known yet" } else { "the first look goes on" });
        return;
    };
    let at = picture.status.at;
    html.text("as of ").element("time", &[("datetime", &machine(at))], time_of_day(at));
    // A look at a large database counts only some instances anew.
    let counted = picture.status.counted_from;
    if at.duration_since(counted).is_ok_and(|age| age >= COUNTED) {
        html.text(", counts since ").element("time", &[("datetime", &machine(counted))], time_of_day(counted));
    }
    if asked.shown.trouble.is_some() {
        html.text(format!(", {} ago", spoken(picture.taken.elapsed())));
    }
}

/// Says that the database does not answer, and what the page shows meanwhile.
pub(super) fn lost(html: &mut Html, asked: &Asked<'_>) {
    let Some(trouble) = &asked.shown.trouble else { return };
    let since = SystemTime::now().duration_since(trouble.since).unwrap_or_default();
    html.within("div", &[("class", "notice bad"), ("role", "alert")], |html| {
        html.element("strong", &[], format!("The database has not answered for {}.", spoken(since)));
        match asked.picture() {
            Some(picture) => html.text(format!(" What is shown is as of {}.", time_of_day(picture.status.at))),
            None => html.text(" Nothing is known of it yet."),
        };
        html.raw("<br>").text(&trouble.error);
    });
}
