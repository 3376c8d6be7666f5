//! Checks whether all is well with the database and the engines that work on it.

use std::time::Duration;

use super::two_databases::{mismatches_of_two, status_of_two};
use crate::builds::Phase;
use crate::clock::spoken;
use crate::error::{StoreError, chain};
use crate::inspect::{
    Finding, Hanging, Inspect, Lacking, MemberStatus, Mismatch, ProjectionStatus, SchemaVersion, Status,
};
use crate::plain::several;
use crate::query::Flaw;
use crate::retention::Operation;
use crate::standstill::{Standstill, StandstillKind};
use crate::store::{EventStore, ProjectionStore};
use crate::value::time_text;

/// The most checkpoints that are compared with the log.
const COMPARED: usize = 10_000;

/// The most events that are counted to see whether logs are whole.
const COUNTED: usize = 100_000;

/// The remedy if somebody set a counter or a head back by hand, or restored it without the events. A reset would not
/// help.
const BEHIND: &str = "restore all of the engine's tables from one moment; or, where these events are right, stop all that pushes and \
     set `head` of each such type in the table `heads` to the position of its last event, and `head`, `head_event` and \
     `head_at` of the instance in the table `instances` to position, `event_id` and `created_at` of its last event";

/// The remedy for a history that diverged, worded to fit with the other findings.
const DIVERGED: &str = "where only a counter is behind its log, the finding `events` says so and what to set; else connect the right \
     store; or, if this one is right, build the read model from it: `readside reset`";

/// How many standstills, and how many checkpoints of another history, are listed one by one.
const SHOWN: usize = 20;

/// Finds out whether a store is fit, and whether engines keep up.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use readside::SqliteStore;
/// use readside::admin::Doctor;
/// use readside::inspect::Severity;
/// let store = SqliteStore::in_memory()?;
/// store.setup()?;
/// let findings = Doctor::default().examine(&store);
/// assert!(findings.iter().all(|finding| finding.verdict == Severity::Ok));
/// # }
/// # Ok::<(), readside::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doctor {
    /// How long the doctor waits for an answer of the database. Default: 2 s.
    pub patience: Duration,
    /// The doctor warns if an event waits longer than this. Default: 1 minute.
    pub longest_lag: Duration,
}

impl Default for Doctor {
    fn default() -> Self {
        Self { patience: Duration::from_secs(2), longest_lag: Duration::from_mins(1) }
    }
}

impl Doctor {
    /// Runs all checks. What it cannot read is a finding, too.
    #[must_use]
    pub fn examine<S: Inspect + ?Sized>(&self, store: &S) -> Vec<Finding> {
        let (mut findings, usable) = self.database(store);
        if usable {
            let status = store.status(false);
            let builds = status.as_ref().map_or_else(|_| Vec::new(), |status| status.projections.clone());
            findings.extend(self.projections(status));
            findings.push(history(store.mismatches(COMPARED), &builds));
            findings.extend(whole(store.flawed(COUNTED)));
            findings.extend(objects(store.hanging()));
            findings.extend(declared(store.lacking()));
            findings.extend(tables(store.out_of_place()));
            findings.extend(unfinished(store.unfinished(SHOWN + 1)));
        }
        findings
    }

    /// As [`examine`](Self::examine), for events and read models in two databases: examines both.
    #[must_use]
    pub fn examine_two<E, M>(&self, events: &E, models: &M) -> Vec<Finding>
    where
        E: EventStore + Inspect + ?Sized,
        M: ProjectionStore + Inspect + ?Sized,
    {
        let (mut findings, known) = self.database(events);
        for finding in &mut findings {
            finding.found = format!("of the events: {}", finding.found);
        }
        let (of_models, usable) = self.database(models);
        findings.extend(of_models);
        if known {
            findings.extend(whole(events.flawed(COUNTED)));
        }
        if known && usable {
            let status = status_of_two(events, models, false);
            let builds = status.as_ref().map_or_else(|_| Vec::new(), |status| status.projections.clone());
            findings.extend(self.projections(status));
            findings.push(history(mismatches_of_two(events, models, COMPARED), &builds));
            findings.extend(objects(models.hanging()));
            findings.extend(declared(models.lacking()));
            findings.extend(tables(models.out_of_place()));
            findings.extend(unfinished(events.unfinished(SHOWN + 1)));
            findings.extend(unfinished(models.unfinished(SHOWN + 1)));
        }
        findings
    }

    /// Findings about the database itself, and whether its schema is the one that this library works with.
    fn database<S: Inspect + ?Sized>(&self, store: &S) -> (Vec<Finding>, bool) {
        let mut findings = store.examine(self.patience);
        let schema = store.schema();
        let usable = matches!(&schema, Ok(version) if version.found == version.known);
        findings.push(schema.map_or_else(|error| unreadable("schema", &error), schema_finding));
        (findings, usable)
    }

    fn projections(&self, status: Result<Status, StoreError>) -> Vec<Finding> {
        match status {
            Ok(status) => {
                let mut findings: Vec<Finding> = self.work(&status).into();
                findings.extend(hearing(&status));
                findings.extend(standstills(&status));
                findings
            }
            Err(error) => vec![unreadable("projections", &error)],
        }
    }

    fn work(&self, status: &Status) -> [Finding; 4] {
        [engines(status), leases(status), self.lag(status), failures(status)]
    }

    fn lag(&self, status: &Status) -> Finding {
        let check = "lag";
        let late = |projection: &&ProjectionStatus| {
            projection.is_live() && projection.lag_age.is_some_and(|age| age > self.longest_lag)
        };
        let (paused, late): (Vec<_>, Vec<_>) =
            status.projections.iter().filter(late).partition(|projection| projection.paused);
        let elsewhere: Vec<_> = status.projections.iter().filter(|p| p.is_live() && p.events_elsewhere).collect();
        if !elsewhere.is_empty() {
            return Finding::warn(
                check,
                format!("not known of {}: the events are elsewhere", list(&elsewhere, shown)),
                "if that is a database of readside too, name it with --events-url; else look at the health that engines tell",
            );
        }
        let describe = |projection: &ProjectionStatus| {
            let age = spoken(projection.lag_age.unwrap_or_default());
            let lag = several(u64::try_from(projection.lag_events).unwrap_or(0), "event");
            format!("{} is {lag} behind, the oldest waits for {age}", shown(projection))
        };
        if !late.is_empty() {
            let remedy = "see `readside status --watch` for whether it comes nearer, and `readside failed list` for what holds it up";
            return Finding::warn(check, list(&late, describe), remedy);
        }
        if !paused.is_empty() {
            return Finding::warn(
                check,
                format!(
                    "paused: {}",
                    list(&paused, |projection| format!("{}{}", describe(projection), paused_by(projection)))
                ),
                "let it go on with `readside resume`",
            );
        }
        Finding::ok(check, format!("no event waits for more than {}", spoken(self.longest_lag)))
    }
}

/// Each standstill with its remedy, or one finding that there is none. A first run is no fault. Pauses, lag and engines
/// have their own findings.
fn standstills(status: &Status) -> Vec<Finding> {
    use StandstillKind as K;
    let check = "standstills";
    let all: Vec<(&ProjectionStatus, &Standstill)> = status
        .projections
        .iter()
        .flat_map(|projection| projection.standstills.iter().map(move |one| (projection, one)))
        .filter(|(_, one)| !matches!(one.kind, K::Paused | K::NoEngine))
        .collect();
    if all.is_empty() {
        return vec![Finding::ok(check, "nothing stands still")];
    }
    let name = |process| status.members.iter().find(|member| Some(member.process) == process).map(|m| m.name.as_str());
    let finding = |(projection, one): &(&ProjectionStatus, &Standstill)| {
        let since = one.since.and_then(|since| status.at.duration_since(since).ok());
        let since = since.map_or(String::new(), |age| format!(", for {}", spoken(age)));
        let by = name(one.process).map_or(String::new(), |name| format!(", says {name}"));
        let found = format!("{}{since}{by}: {one}", shown(projection));
        let remedy = remedy(one.kind, projection.phase);
        match one.kind {
            K::FirstRun => Finding::ok(check, format!("{found}; {remedy}")),
            _ if !projection.is_live() => Finding::warn(check, found, remedy),
            // Alone it makes nothing stuck, for instance while an event of the instance is tried again.
            K::Unmoved if !projection.is_stuck() => Finding::warn(check, found, remedy),
            _ => Finding::fail(check, found, remedy),
        }
    };
    let mut findings: Vec<Finding> = all.iter().take(SHOWN).map(finding).collect();
    if all.len() > SHOWN {
        let more = format!("{} more", all.len() - SHOWN);
        findings.push(Finding::warn(check, more, "see all of them with `readside status --json`"));
    }
    findings
}

/// The remedy for a standstill. A remedy for a build that readers do not see changes only that build, and not what they
/// see.
fn remedy(kind: StandstillKind, phase: Phase) -> &'static str {
    use StandstillKind as K;
    match (kind, phase) {
        (K::Diverged | K::Halted, Phase::Kept) => {
            "readers do not see this build: remove it with `readside builds drop-old`, unless the event store is the wrong one"
        }
        (K::Diverged, Phase::Building | Phase::Ready | Phase::Halted) => {
            "readers do not see this build: connect the right store; or, if this one is right, give the build up with \
             `readside builds abandon`, then ask for it with `readside rebuild`"
        }
        (K::Diverged, _) => DIVERGED,
        _ => kind.remedy(),
    }
}

/// Checks whether checkpoints belong to the log.
fn history(found: Result<Vec<Mismatch>, StoreError>, builds: &[ProjectionStatus]) -> Finding {
    let check = "history";
    let found = match found {
        Ok(found) => found,
        Err(error) => return unreadable(check, &error),
    };
    let describe = |one: &Mismatch| {
        let mark = one.build.as_deref().map_or(String::new(), |mark| format!(", {mark}"));
        format!(
            "{:?} (version {}{mark}) stands at {} of instance {:?}",
            one.projection, one.version, one.position, one.instance
        )
    };
    if found.is_empty() {
        return Finding::ok(check, format!("the events at the first {COMPARED} checkpoints are those of the log"));
    }
    let some: Vec<String> = found.iter().take(SHOWN).map(describe).collect();
    let more = if found.len() > SHOWN { format!("; and {} more", found.len() - SHOWN) } else { String::new() };
    let text = format!("where the log has another event, or none: {}{more}", some.join("; "));
    let phase = |one: &Mismatch| {
        let is_it = |build: &&ProjectionStatus| {
            build.name == one.projection && build.version == one.version && build.build == one.build
        };
        builds.iter().find(is_it).map_or(Phase::Live, |build| build.phase)
    };
    // The gravest case decides.
    let phases: Vec<Phase> = found.iter().map(phase).collect();
    if phases.contains(&Phase::Live) {
        return Finding::fail(check, text, DIVERGED);
    }
    let under_way = phases.iter().find(|phase| **phase != Phase::Kept);
    Finding::warn(check, text, remedy(StandstillKind::Diverged, under_way.copied().unwrap_or(Phase::Kept)))
}

/// Checks whether logs are whole, and whether counters and heads agree with them.
fn whole(found: Result<Vec<Flaw>, StoreError>) -> Vec<Finding> {
    let check = "events";
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![unreadable(check, &error)],
    };
    let (behind, holes): (Vec<Flaw>, Vec<Flaw>) = found.into_iter().partition(|flaw| flaw.behind);
    let describe = |flaws: &[Flaw]| {
        let one = |flaw: &Flaw| format!("of instance {:?}: {}", flaw.instance, flaw.found);
        let some: Vec<String> = flaws.iter().take(SHOWN).map(one).collect();
        let more = if flaws.len() > SHOWN { format!("; and {} more", flaws.len() - SHOWN) } else { String::new() };
        format!("{}{more}", some.join("; "))
    };
    let mut findings = Vec::new();
    if !holes.is_empty() {
        let text = format!("logs that are not whole: {}", describe(&holes));
        findings.push(Finding::fail(check, text, StandstillKind::Incomplete.remedy()));
    }
    if !behind.is_empty() {
        findings.push(Finding::fail(
            check,
            format!("counters that say less than the log: {}", describe(&behind)),
            BEHIND,
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(check, format!("no event is missing among the first {COUNTED}")));
    }
    findings
}

/// Lists the objects on read tables that would make a rebuild or a removal fail, before anybody tries.
fn objects(found: Result<Vec<Hanging>, StoreError>) -> Vec<Finding> {
    let check = "objects";
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![unreadable(check, &error)],
    };
    let named = |which: &dyn Fn(&Hanging) -> bool| -> Vec<String> {
        let which: Vec<&Hanging> = found.iter().filter(|one| which(one)).collect();
        let mut words: Vec<String> =
            which.iter().take(SHOWN).map(|one| format!("{} on table {:?}", one.what, one.table)).collect();
        if which.len() > SHOWN {
            words.push(format!("and {} more", which.len() - SHOWN));
        }
        words
    };
    let (moved, fixed, left) =
        (named(&|one| one.is_live && one.moves), named(&|one| one.is_live && !one.moves), named(&|one| !one.is_live));
    let mut findings = Vec::new();
    if !fixed.is_empty() {
        findings.push(Finding::warn(
            check,
            format!("a rebuild is refused, because it cannot move {}", fixed.join("; ")),
            "have it use the view that readers use, which follows each switch; or drop it before a rebuild and make it \
             anew afterwards; or leave it on the former table by `readside rebuild --accept-loss`",
        ));
    }
    if !left.is_empty() {
        findings.push(Finding::warn(
            check,
            format!("not what readers see, and its build cannot be removed: {}", left.join("; ")),
            "drop it, or have it use the view that readers use; then remove the build by `readside builds drop-old`",
        ));
    }
    if findings.is_empty() {
        let text = if moved.is_empty() {
            "nothing of the service's own stands on read tables".to_owned()
        } else {
            format!("a rebuild moves what stands on read tables: {}", moved.join("; "))
        };
        findings.push(Finding::ok(check, text));
    } else if !moved.is_empty() {
        findings.push(Finding::ok(check, format!("a rebuild moves {}", moved.join("; "))));
    }
    findings
}

/// Checks whether readers see what engines write.
fn tables(found: Result<Vec<String>, StoreError>) -> Option<Finding> {
    let check = "tables";
    match found {
        Ok(found) if found.is_empty() => None,
        Ok(found) => Some(Finding::fail(
            check,
            found.join("; "),
            "start the service again, which makes a view anew and says what to do about a table; a view of another table's has \
             to be dropped first",
        )),
        Err(error) => Some(unreadable(check, &error)),
    }
}

/// What the code declares for read tables and the database lacks.
fn declared(found: Result<Vec<Lacking>, StoreError>) -> Option<Finding> {
    let check = "declared";
    let found = match found {
        Ok(found) if found.is_empty() => return None,
        Ok(found) => found,
        Err(error) => return Some(unreadable(check, &error)),
    };
    let describe = |one: &Lacking| format!("{} on table {:?} of {:?}", one.what, one.table, one.projection);
    let mut words: Vec<String> = found.iter().take(SHOWN).map(describe).collect();
    if found.len() > SHOWN {
        words.push(format!("and {} more", found.len() - SHOWN));
    }
    Some(Finding::warn(
        check,
        format!("the code declares and the database lacks: {}", words.join("; ")),
        "make the tables anew as the code declares them, by `readside rebuild`; comments, grants and isolation come back with \
         the next set-up, too, by the owner of the tables",
    ))
}

/// Operations on the data that a person began and that did not come to their end.
fn unfinished(found: Result<Vec<Operation>, StoreError>) -> Option<Finding> {
    let check = "operations";
    let found = match found {
        Ok(found) if found.is_empty() => return None,
        Ok(found) => found,
        Err(error) => return Some(unreadable(check, &error)),
    };
    let describe = |one: &Operation| {
        let of = one.instance.as_ref().map_or("all instances".to_owned(), |instance| format!("instance {instance:?}"));
        format!("{} of {of}, begun by {:?} at {}", one.kind, one.by.who, time_text(one.began_at))
    };
    let mut words: Vec<String> = found.iter().take(SHOWN).map(describe).collect();
    if found.len() > SHOWN {
        words.push("and more".to_owned());
    }
    Some(Finding::warn(
        check,
        format!("not finished: {}", words.join("; ")),
        "unless somebody is at it, say the same again, which finishes it; see `readside operations`",
    ))
}

fn unreadable(check: &'static str, error: &StoreError) -> Finding {
    Finding::fail(check, chain(error), "remove the cause that the error names, then run doctor again")
}

fn schema_finding(version: SchemaVersion) -> Finding {
    let SchemaVersion { found, known } = version;
    let check = "schema";
    if found == known {
        return Finding::ok(check, format!("version {found}, the newest"));
    }
    if found == 0 {
        return Finding::fail(check, "the engine's tables are missing", "run `readside setup`, or start an engine");
    }
    if found > known {
        let text = format!("version {found}, this readside knows up to {known}");
        return Finding::fail(check, text, "use a newer readside");
    }
    Finding::fail(check, format!("version {found}, this readside needs {known}"), "run `readside setup`")
}

/// The name, with the version if readers see another one.
fn shown(projection: &ProjectionStatus) -> String {
    let ProjectionStatus { name, version, build, .. } = projection;
    let mark = build.as_deref().map_or(String::new(), |mark| format!(", {mark}"));
    if projection.is_live() { format!("{name:?}") } else { format!("{name:?} (version {version}{mark})") }
}

fn list(projections: &[&ProjectionStatus], describe: impl Fn(&ProjectionStatus) -> String) -> String {
    projections.iter().map(|projection| describe(projection)).collect::<Vec<_>>().join("; ")
}

/// Who paused the whole projection, and why.
fn paused_by(projection: &ProjectionStatus) -> String {
    let whole = projection.pauses.iter().find(|paused| paused.instance.is_none());
    let by = whole.and_then(|paused| paused.by.as_ref());
    by.map_or(String::new(), |by| format!(", paused by {:?}: {:?}", by.who, by.why))
}

/// Checks whether each projection has an engine that runs it.
fn engines(status: &Status) -> Finding {
    let check = "engines";
    let alive = status.members.iter().filter(|member| member.alive).count();
    let silent = status.members.len() - alive;
    let alone = |projection: &&ProjectionStatus| projection.is_live() && projection.members == 0;
    let alone: Vec<_> = status.projections.iter().filter(alone).collect();
    let projections = match status.projections.iter().filter(|projection| projection.is_live()).count() {
        1 => "1 projection".to_owned(),
        many => format!("{many} projections"),
    };
    let silent = if silent > 0 { format!(", {silent} silent") } else { String::new() };
    let text = format!("{alive} alive{silent}, {projections}");
    if alone.is_empty() {
        return Finding::ok(check, text);
    }
    let names = list(&alone, shown);
    let other = |live: &&ProjectionStatus| {
        let is_other = |other: &&ProjectionStatus| other.name == live.name && other.members > 0 && !other.is_live();
        status.projections.iter().find(is_other)
    };
    let remedy = match alone.iter().find_map(other) {
        // An engine that cannot write cannot report itself either.
        None if !silent.is_empty() => format!(
            "{}; where a silent one runs, it cannot write to this database: make room on the disk, or see its log",
            StandstillKind::NoEngine.remedy()
        ),
        None => StandstillKind::NoEngine.remedy().to_owned(),
        Some(ProjectionStatus { name, version, trouble: Some(trouble), .. }) => format!(
            "start the service that keeps it up to date; or have readers see version {version} of {name:?}, which engines \
             run and which waits for a person: {trouble}"
        ),
        Some(ProjectionStatus { name, version, .. }) => format!(
            "start the service that keeps it up to date, or have readers see version {version} of {name:?}, which \
             engines run: `readside builds back {name}`, or `builds switch` where that is the newer one"
        ),
    };
    let last = status.members.iter().filter(|_| alive == 0).max_by_key(|member| member.alive_until);
    let last = last.map_or(String::new(), |member| {
        let age = spoken(status.at.duration_since(member.alive_until).unwrap_or_default());
        format!(
            "; {:?} did until {age} ago: it died, cannot write here, or works on another database by now",
            member.name
        )
    });
    let found = format!("{text}; no engine runs {names}{last}");
    // What waits for an engine is stuck, as the status says.
    if alone.iter().any(|projection| projection.is_stuck()) {
        Finding::fail(check, found, remedy)
    } else {
        Finding::warn(check, found, remedy)
    }
}

/// Engines that do not hear of pushes of other processes. They find these pushes later.
fn hearing(status: &Status) -> Option<Finding> {
    let is_deaf = |member: &MemberStatus| Some(format!("{:?}: {}", member.name, member.deaf.as_deref()?));
    let mut deaf: Vec<String> = status.members.iter().filter(|member| member.alive).filter_map(is_deaf).collect();
    if deaf.is_empty() {
        return None;
    }
    if deaf.len() > SHOWN {
        let more = deaf.len() - SHOWN;
        deaf.truncate(SHOWN);
        deaf.push(format!("and {more} more"));
    }
    let remedy = "until they hear again, these engines find such pushes by looking; remove what the reason names";
    Some(Finding::warn("hearing", deaf.join("; "), remedy))
}

/// Leases of dead processes expire, but a living process has to take them over.
fn leases(status: &Status) -> Finding {
    let held: u64 = status.projections.iter().map(|projection| projection.leases).sum();
    let of_living: u64 = status.members.iter().filter(|member| member.alive).map(|member| member.leases).sum();
    let left = held.saturating_sub(of_living);
    if left == 0 {
        return Finding::ok("leases", format!("{held} held, all by living processes"));
    }
    Finding::warn(
        "leases",
        format!("{left} of {held} {} left by processes that are dead", if left == 1 { "was" } else { "were" }),
        "an engine that runs the projection takes them over within a lease and a tick; start one if none runs",
    )
}

fn failures(status: &Status) -> Finding {
    let check = "failures";
    let stopped: Vec<_> = status.projections.iter().filter(|projection| projection.stopped > 0).collect();
    let remedy = "see `readside failed list`; remove the cause, then `readside failed retry` or `discard`";
    if !stopped.is_empty() {
        let describe = |projection: &ProjectionStatus| {
            format!("{} in {}", shown(projection), several(projection.stopped, "instance"))
        };
        return Finding::warn(check, format!("stopped: {}", list(&stopped, describe)), remedy);
    }
    let failed: Vec<_> = status.projections.iter().filter(|projection| projection.failed() > 0).collect();
    if !failed.is_empty() {
        let describe = |projection: &ProjectionStatus| {
            let ProjectionStatus { failing, parked, behind, skipped, .. } = projection;
            format!("{}: {failing} failing, {parked} parked with {behind} behind, {skipped} skipped", shown(projection))
        };
        return Finding::warn(check, list(&failed, describe), remedy);
    }
    Finding::ok(check, "no event is on record as failed")
}
