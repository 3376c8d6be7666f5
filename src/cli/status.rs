//! `status`: shows how projections are doing.

use std::collections::HashSet;
use std::time::SystemTime;

use serde::Serialize;

use super::commands::{ANSWER, outcome};
use super::format::{clean, count, duration, moment, positions, several};
use super::options::StatusArgs;
use super::output::{Column, number, text};
use super::projections::shown_status;
use super::stop::Stop;
use super::{Ended, Outcome, Session, passes};
use crate::command::CommandRecord;
use crate::inspect::{MemberStatus, Paused, ProjectionStatus, Status, Survey};
use crate::standing::Verdict;
use crate::standstill::{Standstill, StandstillKind};

const COLUMNS: [Column; 10] = [
    text("PROJECTION"),
    text("STATE"),
    text("VERDICT"),
    number("INSTANCES"),
    number("BEHIND"),
    number("LAG"),
    number("AGE"),
    text("FAILED"),
    number("ENGINES"),
    number("LEASES"),
];

const SPEED: [Column; 2] = [number("PER S"), number("LEFT")];

/// Moves the cursor to the top of a terminal and clears the rest.
const FROM_TOP: &[u8] = b"\x1b[H\x1b[2J";

/// The latest commands. Those of them that still run are shown.
const COMMANDS: usize = 100;

const ELSEWHERE: &str = "the events are elsewhere; if that is a database of readside too, name it with --events-url";

/// What commands say where the service has not run yet.
pub(super) const NONE_HERE: &str = "no projection is registered here; the service registers them when it starts";

/// How many standstills are described.
const STANDSTILLS: usize = 10;

/// How many engines that do not hear of pushes are described.
const DEAF: usize = 3;

/// How many reasons the line of a probe names.
const REASONS: usize = 3;

/// How many pauses are described.
const PAUSES: usize = 10;

#[derive(Serialize)]
struct StatusReport<'s> {
    #[serde(flatten)]
    status: &'s Status,
    /// The commands that engines have not answered yet.
    commands: &'s [CommandRecord],
}

pub(super) fn run(session: &mut Session<'_>, args: &StatusArgs) -> Outcome {
    if let Some(name) = &args.projection {
        session.build(name, None)?;
    }
    let mut survey = match args {
        _ if args.watch => Survey::default(),
        // A probe without limits tells no figures.
        StatusArgs { probe: true, max_lag: None, max_lag_events: None, .. } => Survey::of_verdicts(),
        _ => Survey::of_figures(),
    };
    let (mut status, mut commands) = look(session, args, &mut survey)?;
    if args.probe {
        probe(session, &status)?;
        return judge(args, &status);
    }
    if !args.watch {
        print(session, args, &status, &commands)?;
        return judge(args, &status);
    }
    let stop = Stop::on_signals()?;
    loop {
        if session.out.is_terminal() && !session.out.is_json() {
            session.out.raw(FROM_TOP)?;
        }
        print(session, args, &status, &commands)?;
        session.out.flush()?;
        if !stop.wait(args.every) {
            return judge(args, &status);
        }
        match look(session, args, &mut survey) {
            Ok((mut next, asked)) => {
                next.compare(&status);
                (status, commands) = (next, asked);
            }
            Err(error) => passes(error)?,
        }
        if !session.out.is_json() && !session.out.is_terminal() {
            session.out.line("")?;
        }
    }
}

/// Prints the same word as `/health`.
fn probe(session: &mut Session<'_>, status: &Status) -> anyhow::Result<()> {
    let found = crate::serve::judge(status);
    if session.out.is_json() {
        return session.out.object(&found);
    }
    if found.healthy {
        let verdict = found.verdict.map_or(String::new(), |verdict| verdict.to_string());
        return session.out.line(&format!("ok: {verdict}"));
    }
    let name =
        |projection: &Option<String>| projection.as_deref().map_or(String::new(), |name| format!("{}: ", clean(name)));
    let reasons = found.reasons.iter().map(|one| format!("{}{}", name(&one.projection), clean(&one.reason)));
    let mut shown: Vec<String> = reasons.take(REASONS).collect();
    if found.reasons.len() > REASONS {
        shown.push(format!("and {} more", found.reasons.len() - REASONS));
    }
    session.out.line(&format!("stuck: {}", shown.join("; ")))
}

fn look(session: &Session<'_>, args: &StatusArgs, survey: &mut Survey) -> anyhow::Result<(Status, Vec<CommandRecord>)> {
    let mut status = session.status(args.system, survey)?;
    let mut commands = session.store.admin().commands(args.projection.as_deref(), COMMANDS)?;
    commands.retain(|asked| !asked.state.is_over());
    if let Some(name) = &args.projection {
        status.projections.retain(|projection| projection.name == *name);
    }
    Ok((status, commands))
}

/// Whether a projection that readers see is stuck, or a limit is exceeded.
fn judge(args: &StatusArgs, status: &Status) -> Outcome {
    if status.projections.iter().any(ProjectionStatus::is_stuck) {
        return Ok(Ended::Stuck);
    }
    let limits_lag = args.max_lag.is_some() || args.max_lag_events.is_some();
    let unknown = status.projections.iter().find(|projection| projection.is_live() && projection.events_elsewhere);
    if let Some(projection) = unknown.filter(|_| limits_lag) {
        anyhow::bail!("the lag of {} is not known: {ELSEWHERE}", clean(&projection.name));
    }
    let over = status.projections.iter().filter(|projection| projection.is_live()).any(|projection| {
        args.max_lag.is_some_and(|most| projection.lag_age.is_some_and(|age| age > most))
            || args.max_lag_events.is_some_and(|most| projection.lag_events > most)
            || args.max_failed.is_some_and(|most| projection.failed() > most)
    });
    Ok(if over { Ended::Found } else { Ended::Fine })
}

fn print(
    session: &mut Session<'_>,
    args: &StatusArgs,
    status: &Status,
    commands: &[CommandRecord],
) -> anyhow::Result<()> {
    if session.out.is_json() {
        return session.out.object(&StatusReport { status, commands });
    }
    if status.projections.is_empty() {
        return session.out.line(NONE_HERE);
    }
    let mut columns = COLUMNS.to_vec();
    if args.watch {
        columns.extend(SPEED);
    }
    let row = |projection: &ProjectionStatus| {
        let mut cells = cells(projection, status.at);
        if args.watch {
            cells.extend(speed(projection));
        }
        cells
    };
    session.out.table(&columns, status.projections.iter().map(row).collect())?;
    if status.projections.iter().any(|projection| projection.events_elsewhere) {
        session.out.line(ELSEWHERE)?;
    }
    for line in standstills(&status.projections) {
        session.out.prose("", 2, &line)?;
    }
    for line in pauses(&status.projections) {
        session.out.prose("", 2, &line)?;
    }
    for projection in &status.projections {
        if let Some(missed) = projection.missed.filter(|missed| *missed > 0) {
            let name = shown_status(projection);
            let what = if missed == 1 { "update or delete" } else { "updates and deletes" };
            let told = format!("{name}: {} {what} met no row since the engines started", count(missed));
            session.out.prose("", 2, &told)?;
        }
    }
    for asked in commands {
        let (kind, name) = (asked.command.kind(), clean(&asked.projection));
        session.out.prose("", 2, &format!("{kind} of {name}, {}: {}", asked.state, outcome(asked, ANSWER)))?;
    }
    for line in deaf(&status.members) {
        session.out.prose("", 2, &line)?;
    }
    if session.out.is_quiet() { Ok(()) } else { session.out.prose("", 2, &members(&status.members)) }
}

fn cells(projection: &ProjectionStatus, now: SystemTime) -> Vec<String> {
    vec![
        shown_status(projection),
        state(projection),
        verdict(projection, now),
        known(projection, count(projection.instances)),
        known(projection, count(projection.lagging_instances)),
        known(projection, positions(projection.lag_events)),
        known(projection, projection.lag_age.map_or("-".to_owned(), duration)),
        failed(projection),
        count(projection.members),
        count(projection.leases),
    ]
}

/// The cell, or `?` if its value needs heads that are in another database.
pub(super) fn known(projection: &ProjectionStatus, cell: String) -> String {
    if projection.events_elsewhere { "?".to_owned() } else { cell }
}

fn speed(projection: &ProjectionStatus) -> [String; 2] {
    let per_second = projection.per_second.map_or("-".to_owned(), |speed| format!("{speed:.0}"));
    [per_second, projection.time_left.map_or("-".to_owned(), duration)]
}

fn state(projection: &ProjectionStatus) -> String {
    let mut words = Vec::new();
    words.push(projection.phase.to_string());
    if projection.is_live() && !projection.succeeded {
        words.push("first run".to_owned());
    }
    if projection.paused {
        words.push("paused".to_owned());
    } else if projection.paused_instances > 0 {
        words.push(format!("paused in {}", count(projection.paused_instances)));
    }
    words.join(", ")
}

/// The verdict, with its reason in two words and its duration.
fn verdict(projection: &ProjectionStatus, now: SystemTime) -> String {
    let explains = |one: &&Standstill| match projection.verdict {
        Verdict::Stuck => !matches!(one.kind, StandstillKind::Paused | StandstillKind::FirstRun),
        Verdict::Behind | Verdict::Moving => true,
        // Else the duration of a pause of one instance would be that of the rest.
        Verdict::Idle => one.kind == StandstillKind::Paused,
        _ => false,
    };
    let reason = projection.standstills.iter().find(explains);
    let kind = reason.map_or(String::new(), |one| format!(": {}", one.kind));
    let age = projection.since.and_then(|since| now.duration_since(since).ok());
    let since = age.map_or(String::new(), |age| format!(" for {}", duration(age)));
    format!("{}{kind}{since}", projection.verdict)
}

/// Each standstill that is no pause: what stands still, since when, and why. The doctor tells the remedies.
fn standstills(projections: &[ProjectionStatus]) -> Vec<String> {
    let of: Vec<(&ProjectionStatus, &Standstill)> = projections
        .iter()
        .flat_map(|projection| projection.standstills.iter().map(move |one| (projection, one)))
        .filter(|(_, one)| one.kind != StandstillKind::Paused)
        .collect();
    let line = |(projection, one): &(&ProjectionStatus, &Standstill)| {
        let name = shown_status(projection);
        let instance = one.instance.as_deref().map_or(String::new(), |name| format!(" in {name:?}"));
        let since = one.since.map_or(String::new(), |since| format!(" since {}", moment(since)));
        format!("{name}{instance}{since}: {}: {}", one.kind, clean(&one.reason))
    };
    let mut lines: Vec<String> = of.iter().take(STANDSTILLS).map(line).collect();
    if of.len() > STANDSTILLS {
        lines.push(format!("and {} more standstills; --json lists all", of.len() - STANDSTILLS));
    }
    if !lines.is_empty() {
        lines.push("what to do about it: see `readside doctor`".to_owned());
    }
    lines
}

/// Each pause: since when, by whom, and why. All builds of a projection share its pauses.
fn pauses(projections: &[ProjectionStatus]) -> Vec<String> {
    let mut seen = HashSet::new();
    let of: Vec<(&str, &Paused)> = projections
        .iter()
        .filter(|projection| seen.insert(projection.name.as_str()))
        .flat_map(|projection| projection.pauses.iter().map(move |paused| (projection.name.as_str(), paused)))
        .collect();
    let line = |(name, paused): &(&str, &Paused)| {
        let instance = paused.instance.as_deref().map_or(String::new(), |name| format!(" in {name:?}"));
        let since = paused.since.map_or(String::new(), |since| format!(" since {}", moment(since)));
        let by = paused.by.as_ref().map_or(String::new(), |by| format!(" by {}: {}", clean(&by.who), clean(&by.why)));
        format!("{}{instance} is paused{since}{by}", clean(name))
    };
    let mut lines: Vec<String> = of.iter().take(PAUSES).map(line).collect();
    if of.len() > PAUSES {
        lines.push(format!("and {} more pauses; --json lists all", of.len() - PAUSES));
    }
    lines
}

fn failed(projection: &ProjectionStatus) -> String {
    let ProjectionStatus { failing, stopped, parked, behind, skipped, .. } = projection;
    let all =
        [("stopped", stopped), ("failing", failing), ("parked", parked), ("behind", behind), ("skipped", skipped)];
    let some: Vec<String> = all
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(word, number)| format!("{} {word}", count(**number)))
        .collect();
    if some.is_empty() { "-".to_owned() } else { some.join(", ") }
}

/// Each engine that does not hear of pushes of other processes: why, and what that costs.
fn deaf(members: &[MemberStatus]) -> Vec<String> {
    let of: Vec<(&str, &str)> = members
        .iter()
        .filter(|member| member.alive)
        .filter_map(|member| Some((member.name.as_str(), member.deaf.as_deref()?)))
        .collect();
    let line = |(name, why): &(&str, &str)| format!("engine {} looks only now and then: {}", clean(name), clean(why));
    let mut lines: Vec<String> = of.iter().take(DEAF).map(line).collect();
    if of.len() > DEAF {
        lines.push(format!("and {} more engines; --json lists all", of.len() - DEAF));
    }
    lines
}

fn members(members: &[MemberStatus]) -> String {
    let (alive, dead): (Vec<&MemberStatus>, Vec<&MemberStatus>) = members.iter().partition(|member| member.alive);
    if alive.is_empty() && dead.is_empty() {
        return "no engine is alive: nothing keeps these projections up to date".to_owned();
    }
    if alive.is_empty() {
        let last = dead.iter().max_by_key(|member| member.alive_until).map_or(String::new(), |member| {
            format!("; the last was {}, until {}", clean(&member.name), moment(member.alive_until))
        });
        return format!(
            "no engine says that it is alive, {} did: {} died, or cannot write here, for instance because the disk is full; \
             see `readside doctor`{last}",
            dead.len(),
            if dead.len() == 1 { "it" } else { "they" }
        );
    }
    let shown: Vec<String> = alive
        .iter()
        .take(10)
        .map(|member| format!("{} ({})", clean(&member.name), several(member.leases, "lease")))
        .collect();
    let more =
        if alive.len() > shown.len() { format!(" and {} more", alive.len() - shown.len()) } else { String::new() };
    let dead = if dead.is_empty() { String::new() } else { format!("; {} died", dead.len()) };
    format!("{}: {}{more}{dead}", several(alive.len() as u64, "engine"), shown.join(", "))
}
