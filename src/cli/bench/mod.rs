//! `bench`: measures how fast this database is. It compares pushes and catching up with the same work in hand-written
//! SQL.
//!
//! The measurement has its own instances, tables and projection (`work`), and always removes them at the end. The
//! floors (`postgres`, `sqlite`) are the hand-written side.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod work;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use serde::Serialize;
use uuid::Uuid;

use super::format::positions;
use super::options::BenchArgs;
use super::output::{number, text};
use super::stop::Stop;
use super::{Ended, Outcome, Session};
use crate::conninfo::{Look, look};
use crate::engine::{HandlerConfig, ProjectionHandler};
use work::{Account, Work};

/// The same work in hand-written SQL: nothing that protects the data as well can be faster.
trait Floor {
    /// Stores events of an instance in one transaction.
    fn push(&mut self, instance: &str, events: &[work::Event]) -> anyhow::Result<()>;
    /// Brings the accounts of an instance up to date, a page of events in one transaction.
    fn catch_up(&mut self, instance: &str) -> anyhow::Result<()>;
    /// All accounts, in order.
    fn accounts(&mut self) -> anyhow::Result<Vec<Account>>;
    /// Removes the tables of this floor.
    fn remove(&mut self) -> anyhow::Result<()>;
}

/// Events in a page of a catch-up. The engine has the same default.
const PAGE: usize = 500;

/// Instances in one trigger.
const TOGETHER: usize = 10;

/// The number of letters in a tag.
const TAG: usize = 12;

#[derive(Serialize)]
struct BenchReport {
    events: u64,
    instances: usize,
    batch: usize,
    push: Measured,
    catch_up: Measured,
}

#[derive(Serialize)]
struct Measured {
    per_second: f64,
    by_hand_per_second: f64,
    /// Our time divided by the time of the hand-written SQL.
    ratio: f64,
}

/// The times of the two sides.
#[derive(Default)]
struct Times {
    ours: Duration,
    by_hand: Duration,
}

pub(super) fn run(session: &mut Session<'_>, args: &BenchArgs) -> Outcome {
    if args.clean {
        return clean(session);
    }
    let stop = Stop::on_signals()?;
    let tag = new_tag();
    let work = Work::new(&tag, args);
    let mut floor = floor(session, &tag)?;
    let bar = if session.out.shows_progress() { ProgressBar::new(work.events() * 2) } else { ProgressBar::hidden() };
    let measured = measure(session, &work, floor.as_mut(), &stop, &bar);
    bar.finish_and_clear();
    let removed = floor.remove();
    session.store.erase(&tag, &work.projection)?;
    removed?;
    match measured? {
        Some(report) => print(session, &report),
        None => Ok(Ended::Interrupted),
    }
}

/// Removes what killed runs left behind.
fn clean(session: &mut Session<'_>) -> Outcome {
    let mut count = 0;
    for build in session.builds()? {
        if let Some(tag) = build.key.projection().strip_prefix(work::PROJECTION).filter(|tag| is_tag(tag)) {
            floor(session, tag)?.remove()?;
            session.store.erase(tag, &work::projection(tag))?;
            count += 1;
        }
    }
    session.out.remark(&format!("removed what {count} runs left behind"))?;
    Ok(Ended::Fine)
}

/// A tag that tells the names of one run from those of other runs: the random end of an id.
fn new_tag() -> String {
    Uuid::now_v7().simple().to_string().split_off(32 - TAG)
}

/// True for a valid tag. Tags become parts of table names, so this must be strict.
fn is_tag(text: &str) -> bool {
    text.len() == TAG && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn floor(session: &Session<'_>, tag: &str) -> anyhow::Result<Box<dyn Floor>> {
    let is_server = look(session.database) == Look::Server;
    #[cfg(feature = "postgres")]
    if is_server {
        return Ok(Box::new(postgres::Postgres::open(session.database, tag)?));
    }
    #[cfg(feature = "sqlite")]
    if !is_server {
        return Ok(Box::new(sqlite::Sqlite::open(session.database, tag)?));
    }
    let _ = (tag, is_server);
    anyhow::bail!("there is nothing to compare this database with in this build")
}

/// Measures. `None` if a signal ended it.
fn measure(
    session: &Session<'_>,
    work: &Work,
    floor: &mut dyn Floor,
    stop: &Stop,
    bar: &ProgressBar,
) -> anyhow::Result<Option<BenchReport>> {
    let config = HandlerConfig { bulk_limit: PAGE, ..HandlerConfig::default() };
    let handler =
        ProjectionHandler::new(session.store.clone(), session.store.clone(), work.projection.clone(), config)?;
    handler.setup()?;
    let mut push = Times::default();
    // The two sides take turns, so that anything that slows the machine down slows both.
    for (instance, events) in work.batches() {
        if stop.is_asked() {
            return Ok(None);
        }
        let commands = work::commands(&instance, &events);
        let started = Instant::now();
        session.store.push(&commands)?;
        push.ours += started.elapsed();
        let started = Instant::now();
        floor.push(&instance, &events)?;
        push.by_hand += started.elapsed();
        bar.inc(events.len() as u64);
    }
    let mut catch_up = Times::default();
    let instances = work.instances();
    for chunk in instances.chunks(TOGETHER) {
        if stop.is_asked() {
            return Ok(None);
        }
        let names: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let started = Instant::now();
        handler.trigger(&names)?;
        catch_up.ours += started.elapsed();
        let started = Instant::now();
        chunk.iter().try_for_each(|instance| floor.catch_up(instance))?;
        catch_up.by_hand += started.elapsed();
        bar.inc(work.events() * chunk.len() as u64 / instances.len() as u64);
    }
    compare(session, work, floor)?;
    Ok(Some(BenchReport {
        events: work.events(),
        instances: instances.len(),
        batch: work.batch,
        push: push.measured(work.events()),
        catch_up: catch_up.measured(work.events()),
    }))
}

/// Checks that both sides produced the same rows. Otherwise the figures would mean nothing.
fn compare(session: &Session<'_>, work: &Work, floor: &mut dyn Floor) -> anyhow::Result<()> {
    let ours = session.store.read_rows(&work.projection, work.table()).context("reading what was caught up")?;
    let mut ours: Vec<Account> = ours.iter().map(|row| work::account(row)).collect();
    let mut by_hand = floor.accounts()?;
    ours.sort_unstable();
    by_hand.sort_unstable();
    ensure!(ours == by_hand && !ours.is_empty(), "the read models differ, so the figures would mean nothing");
    Ok(())
}

impl Times {
    #[expect(clippy::cast_precision_loss, reason = "figures of a measurement")]
    fn measured(&self, events: u64) -> Measured {
        let (ours, by_hand) = (self.ours.as_secs_f64(), self.by_hand.as_secs_f64());
        Measured {
            per_second: events as f64 / ours,
            by_hand_per_second: events as f64 / by_hand,
            ratio: ours / by_hand,
        }
    }
}

fn print(session: &mut Session<'_>, report: &BenchReport) -> Outcome {
    if session.out.is_json() {
        session.out.object(report)?;
        return Ok(Ended::Fine);
    }
    let BenchReport { events, instances, batch, push, catch_up } = report;
    let rows = [(format!("push, {batch} a call"), push), ("catch-up from nothing".to_owned(), catch_up)];
    #[expect(clippy::cast_possible_truncation, reason = "whole events are shown")]
    let speed = |per_second: f64| positions(per_second.round() as i64);
    let row = |(what, measured): (String, &Measured)| {
        let Measured { per_second, by_hand_per_second, ratio } = measured;
        vec![what, speed(*per_second), speed(*by_hand_per_second), format!("{ratio:.1}")]
    };
    let columns = [text("EVENTS A SECOND"), number("READSIDE"), number("BY HAND"), number("TIMES AS LONG")];
    session.out.table(&columns, rows.map(row).into())?;
    let what = format!(
        "{} events in {instances} instances, one thread; all that was made is removed",
        positions(i64::try_from(*events)?)
    );
    session.out.remark(&what)?;
    Ok(Ended::Fine)
}
