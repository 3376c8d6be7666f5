//! One word for machines: whether what readers see is kept up to date.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::board::Shown;
use crate::clock::spoken;
use crate::engine::Readings;
use crate::inspect::{ProjectionStatus, Status};
use crate::remedy::Piece::{Run, Say};
use crate::remedy::{Act, Piece, Remedy};
use crate::standing::Verdict;
use crate::standstill::{Standstill, StandstillKind};

/// An older picture says nothing about the present.
const OLDEST: Duration = Duration::from_secs(30);

/// One verdict for the whole, with its reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Whole {
    pub(crate) verdict: Verdict,
    /// The projection that the verdict is about.
    pub(crate) projection: Option<String>,
    pub(crate) version: Option<u32>,
    pub(crate) reason: Option<String>,
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub(crate) since: Option<SystemTime>,
    /// What a person does about it.
    pub(crate) remedy: Option<Remedy>,
}

const BUILDING: &[Piece] = &[Say("wait; "), Run(Act::Builds), Say(" shows how far it is")];
const FAILING: &[Piece] = &[
    Say("see "),
    Run(Act::Failed),
    Say("; fix the reducer, then "),
    Run(Act::RetryAll),
    Say("; or discard single events"),
];
const BEHIND: &[Piece] = &[
    Say("see by "),
    Run(Act::Watch),
    Say(" whether it comes nearer, and by "),
    Run(Act::Leases),
    Say(" who works on it"),
];

/// What a person does about a projection.
pub(crate) fn remedy(projection: &ProjectionStatus) -> Option<Remedy> {
    let why = || projection.standstills.iter().find(|one| is_why(projection.verdict, one));
    let pieces = match projection.verdict {
        Verdict::Idle | Verdict::Moving => return None,
        Verdict::Building => BUILDING,
        Verdict::Failing => FAILING,
        Verdict::Behind if why().is_none() => BEHIND,
        _ => return why().map(|one| projection.remedy(one)),
    };
    Some(Remedy::of(pieces, &projection.subject(None)))
}

/// The gravest reason comes first. A pause may stand behind reasons that do not make the verdict.
fn is_why(verdict: Verdict, one: &Standstill) -> bool {
    match verdict {
        Verdict::Paused => one.kind == StandstillKind::Paused,
        Verdict::Behind => one.kind == StandstillKind::NoEngine,
        _ => true,
    }
}

/// The gravest verdict on everything that readers see. If that is well, a build next to it counts too: as building, or,
/// if it is stuck, as failing.
pub(crate) fn whole(status: &Status) -> Whole {
    let rank = |projection: &&ProjectionStatus| match (projection.is_live(), projection.verdict) {
        (true, verdict) => verdict,
        (false, Verdict::Stuck | Verdict::Failing) => Verdict::Failing,
        (false, Verdict::Building) => Verdict::Building,
        (false, _) => Verdict::Idle,
    };
    let all = status.projections.iter();
    // If there are several, this names the first one.
    let worst = all.rev().max_by_key(|projection| rank(projection));
    let Some(worst) = worst else {
        let reason = Some("no projection is registered here; the service registers them when it starts".to_owned());
        return Whole { verdict: Verdict::Idle, projection: None, version: None, reason, since: None, remedy: None };
    };
    let verdict = rank(&worst);
    let is_named = verdict > Verdict::Idle;
    Whole {
        verdict,
        projection: is_named.then(|| worst.name.clone()),
        version: is_named.then_some(worst.version),
        reason: worst.reason.clone().or_else(|| measured(worst)).filter(|_| is_named),
        since: worst.since.filter(|_| is_named),
        remedy: remedy(worst).filter(|_| is_named),
    }
}

/// What to say about a projection that moves or is being built, if there is no reason.
#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn measured(projection: &ProjectionStatus) -> Option<String> {
    let (behind, handled) = (projection.lag_events, projection.handled);
    if projection.events_elsewhere || behind == 0 {
        return None;
    }
    if !projection.is_live() {
        let share = handled as f64 / handled.saturating_add(behind) as f64 * 100.0;
        return Some(format!("a build of it is {share:.0} % filled"));
    }
    let age = projection.lag_age.map_or(String::new(), |age| format!(", the oldest waits for {}", spoken(age)));
    Some(format!("it is {behind} positions behind{age}"))
}

/// Why something is not well.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Cause {
    pub(crate) projection: Option<String>,
    pub(crate) version: Option<u32>,
    pub(crate) reason: String,
    pub(crate) remedy: Option<Remedy>,
}

/// Whether all is well, and why not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Judgement {
    pub(crate) healthy: bool,
    /// `None` while that is not known.
    pub(crate) verdict: Option<Verdict>,
    /// When this was seen, by the database's clock.
    #[serde(serialize_with = "crate::clock::rfc3339::optional::serialize")]
    pub(crate) as_of: Option<SystemTime>,
    pub(crate) reasons: Vec<Cause>,
}

impl Judgement {
    /// The judgement as one word, without the reasons.
    pub(crate) fn in_a_word(&self) -> serde_json::Value {
        serde_json::json!({ "healthy": self.healthy, "verdict": self.verdict })
    }
}

fn about(reason: impl Into<String>) -> Cause {
    Cause { projection: None, version: None, reason: reason.into(), remedy: None }
}

/// A projection is well if it moves, or need not. Other means report behind, failing, paused and building. Stuck is not
/// well.
pub(crate) fn judge(status: &Status) -> Judgement {
    let stuck = status.projections.iter().filter(|projection| projection.is_stuck()).map(|projection| Cause {
        projection: Some(projection.name.clone()),
        version: Some(projection.version),
        reason: projection.reason.clone().unwrap_or_else(|| "it does not move".to_owned()),
        remedy: remedy(projection),
    });
    let reasons: Vec<Cause> = stuck.collect();
    let verdict = Some(whole(status).verdict);
    Judgement { healthy: reasons.is_empty(), verdict, as_of: Some(status.at), reasons }
}

/// As [`judge`], for the last picture and the threads of this process.
pub(crate) fn health(shown: &Shown, every: Duration, readings: Option<&Readings>) -> Judgement {
    let mut found = match &shown.picture {
        Some(picture) => judge(&picture.status),
        None => Judgement { healthy: false, verdict: None, as_of: None, reasons: Vec::new() },
    };
    let mut more = Vec::new();
    match (&shown.trouble, &shown.picture) {
        (Some(trouble), _) => more.push(about(format!("the database does not answer: {}", trouble.error))),
        (None, None) => {
            let time = spoken(shown.looking);
            more.push(about(format!(
                "nothing is known yet: the first look at the database goes on, for {time} so far"
            )));
        }
        (None, Some(picture)) if picture.taken.elapsed() > OLDEST.max(every * 5).max(picture.took * 10) => {
            let age = spoken(picture.taken.elapsed());
            more.push(about(format!("the last look was {age} ago: the database does not answer")));
        }
        _ => {}
    }
    for dead in readings.iter().flat_map(|readings| &readings.loops).filter(|one| !one.alive) {
        more.push(about(format!("thread {} of the engine has ended", dead.name)));
    }
    found.healthy &= more.is_empty();
    found.reasons.splice(0..0, more);
    found
}

/// Ready for requests: the database answers, and everything that readers see was filled once.
pub(crate) fn ready(shown: &Shown, every: Duration) -> Judgement {
    let mut found = health(shown, every, None);
    found.reasons.retain(|reason| reason.projection.is_none());
    if let Some(picture) = &shown.picture {
        let is_filled = |projection: &&ProjectionStatus| projection.is_live() && !projection.succeeded;
        found.reasons.extend(picture.status.projections.iter().filter(is_filled).map(|projection| Cause {
            projection: Some(projection.name.clone()),
            version: Some(projection.version),
            reason: "its first run is not over".to_owned(),
            remedy: None,
        }));
    }
    found.healthy = found.reasons.is_empty();
    found
}
