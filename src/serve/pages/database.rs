//! Whether the database is fit: what `readside doctor` finds.

use std::time::SystemTime;

use serde::Serialize;

use super::asked::{Asked, Made, Missing};
use super::html::Html;
use super::overview::coded;
use super::table::{cell, list};
use super::words::{machine, time_of_day};
use crate::inspect::{Finding, Severity};

#[derive(Serialize)]
struct View {
    #[serde(serialize_with = "crate::clock::rfc3339::serialize")]
    examined_at: SystemTime,
    verdict: Severity,
    /// The findings, the gravest first.
    findings: Vec<Finding>,
}

pub(super) fn page(asked: &Asked<'_>) -> Result<Made, Missing> {
    let found = asked.pages.clinic.now().map_err(Missing::Examined)?;
    let mut findings = found.findings.to_vec();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    let verdict = findings.first().map_or(Severity::Ok, |finding| finding.verdict);
    Ok(Made::new("Database", &View { examined_at: found.at, verdict, findings }, write))
}

fn badge(html: &mut Html, severity: Severity) {
    let (colour, words) = match severity {
        Severity::Ok => ("good", "✓ ok"),
        Severity::Warn => ("warn", "▲ warning"),
        Severity::Fail => ("bad", "■ failed"),
    };
    html.element("span", &[("class", &format!("badge {colour}"))], words);
}

fn write(html: &mut Html, view: &View) {
    html.within("section", &[("id", "findings")], |html| {
        html.within("h1", &[], |html| {
            html.text("Database ");
            badge(html, view.verdict);
        });
        html.within("p", &[("class", "faint")], |html| {
            html.text("What ").element("code", &[], "readside doctor").text(" finds, looked at ");
            html.element("time", &[("datetime", &machine(view.examined_at))], time_of_day(view.examined_at));
            html.text("; it looks again when somebody sees what is older than 30 s.");
        });
        list(html, &["Check", "Verdict", "Found"], |html| {
            for finding in &view.findings {
                html.within("tr", &[], |html| {
                    cell(html, "first", "Check", |html| _ = html.text(finding.check));
                    cell(html, "nowrap", "Verdict", |html| badge(html, finding.verdict));
                    cell(html, "long", "Found", |html| {
                        html.text(&finding.found);
                        if let Some(remedy) = &finding.remedy {
                            html.within("small", &[], |html| coded(html, &format!("What to do: {remedy}")));
                        }
                    });
                });
            }
        });
    });
}
