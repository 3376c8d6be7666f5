//! `doctor`: finds out whether all is well.

use serde::Serialize;

use super::options::DoctorArgs;
use super::{Ended, Outcome, Session};
use crate::admin::Doctor;
use crate::inspect::{Finding, Severity};
use crate::plain::plain;

/// Where the words of a finding begin.
const INDENT: usize = 21;

#[derive(Serialize)]
struct DoctorReport {
    verdict: Severity,
    findings: Vec<Finding>,
}

pub(super) fn run(session: &mut Session<'_>, args: &DoctorArgs) -> Outcome {
    let doctor = Doctor { patience: args.patience, longest_lag: args.max_lag };
    let findings = if session.has_two_databases {
        doctor.examine_two(&*session.events, &*session.store)
    } else {
        doctor.examine(&*session.store)
    };
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Severity::Ok);
    if session.out.is_json() {
        session.out.object(&DoctorReport { verdict, findings })?;
    } else {
        for Finding { check, verdict, found, remedy } in &findings {
            session.out.prose(&format!("{verdict:<4}  {check:<13}  "), INDENT, &plain(found))?;
            // Further lines of a remedy are statements to run, which stay as they are.
            for (at, line) in remedy.iter().flat_map(|remedy| remedy.lines()).enumerate() {
                match at {
                    0 => session.out.prose(&format!("{:INDENT$}-> ", ""), INDENT + 3, &plain(line))?,
                    _ => session.out.line(&plain(line))?,
                }
            }
        }
    }
    let bad = if args.strict { Severity::Warn } else { Severity::Fail };
    Ok(if verdict >= bad { Ended::Found } else { Ended::Fine })
}
