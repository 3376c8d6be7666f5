//! A long soak. Several processes keep three read models of many tenants up to date. Meanwhile pushers roll back,
//! hold transactions open and push poison, and processes and connections die. At the end, every row is computed again
//! from the log.
//!
//! With `--restores`, the database itself is replaced too, on SQLite or on a PostgreSQL server that the soak starts:
//! an older copy is restored, a lagging standby is promoted, or the file is replaced. In this mode the processes push
//! too, and at the end the soak looks for every acknowledged event that the surviving history must hold.
//!
//! The last line is `soak: events=… faults=… lost=… doubled=… stuck=…`. The soak exits with 1 unless the last three
//! are 0.

#[path = "../../tests/common/mod.rs"]
mod common;

mod chance;
mod check;
mod fault;
mod ground;
mod heard;
mod place;
mod push;
mod work;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use readside::EventStore;
use readside::query::Query;
use readside::store::ProjectionStore;

use chance::Chance;
use ground::Ground;
use heard::Heard;
use place::Place;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Proves under load and faults that no event is lost, doubled or stuck.
#[derive(Debug, Clone, Parser)]
#[command(name = "soak")]
pub(crate) struct Options {
    /// How long events are pushed and faults injected, in minutes; the check comes on top
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Makes the choices of a run repeatable; printed at the start [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// SQLite file, or URL of an empty PostgreSQL database [default: a SQLite file that is removed at the end]
    #[arg(long, value_name = "PATH|URL")]
    database: Option<String>,
    /// Processes that run the engine
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    processes: u16,
    /// Threads that push
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pushers: u16,
    /// Restores, replaces and fails over the database meanwhile, which is one that the soak makes itself
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "sqlite")]
    restores: Option<Kind>,
    /// Runs the engine on this database until its input ends; what the soak starts its processes with
    #[arg(long, hide = true)]
    worker: bool,
    /// As such a process, pushes too and tells what was acknowledged
    #[arg(long, hide = true)]
    speaks: bool,
}

/// A database that the soak makes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Sqlite,
    Postgres,
}

/// What the threads of a soak share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) stop: AtomicBool,
    /// The number of events whose push was acknowledged.
    pub(crate) pushed: AtomicU64,
    pub(crate) faults: fault::Counts,
    /// True if pushes are reported to the listening process. Then none of them is poison.
    pub(crate) speaks: bool,
}

fn main() -> ExitCode {
    env_logger::builder().filter_level(log::LevelFilter::Off).format_timestamp_millis().parse_default_env().init();
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let default = folder.path().join("soak.db").display().to_string();
    if let Some(kind) = options.restores {
        if options.database.is_some() {
            return Err("--restores makes its own database; leave --database out".into());
        }
        return restores(options, kind, default);
    }
    let address = options.database.clone().unwrap_or(default);
    if address.starts_with("postgres://") || address.starts_with("postgresql://") {
        #[cfg(feature = "postgres")]
        return soak(options, &place::Server { url: address });
        #[cfg(not(feature = "postgres"))]
        return Err("this build has no PostgreSQL: build with --features postgres".into());
    }
    soak(options, &place::File { path: address })
}

/// Runs a soak on a database that is replaced meanwhile.
fn restores(options: &Options, kind: Kind, path: String) -> Result<bool> {
    match kind {
        Kind::Sqlite => soak_on(options, &mut ground::File::new(&path), &place::File { path }),
        #[cfg(all(feature = "postgres", unix))]
        Kind::Postgres => {
            let mut cluster = ground::Cluster::start();
            let url = cluster.url();
            soak_on(options, &mut cluster, &place::Server { url })
        }
        #[cfg(not(all(feature = "postgres", unix)))]
        Kind::Postgres => Err("this build has no PostgreSQL: build with --features postgres".into()),
    }
}

/// Runs a soak whose processes push, so that they have something to remember. This process has no connection open
/// meanwhile.
fn soak_on<P: Place>(options: &Options, ground: &mut impl Ground, place: &P) -> Result<bool> {
    let seed = begin(options, place)?;
    drop(set_up(place)?);
    let tally = Arc::new(Tally::default());
    let heard = Heard::new(&tally);
    let end = Instant::now() + Duration::from_secs_f64(options.minutes.max(0.0) * 60.0);
    let forks = fault::restoring(end, place, ground, options, Chance::new(seed), &heard, &tally)?;
    println!("soak: {}", tally.faults);
    let store = place.open()?;
    let survival = heard.survival(&store, &forks.forks)?;
    println!("soak: {} acknowledged events survive, {} were in a fork", survival.survived, survival.forked);
    tally.pushed.store(survival.survived, Ordering::SeqCst);
    let mut found = check::all::<P>(&store, &tally)?;
    found.lost += survival.lost + forks.unnamed;
    Ok(found.tell(&tally))
}

/// Prints what will happen, and returns the seed.
fn begin<P: Place>(options: &Options, place: &P) -> Result<u64> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
    let seed = options.seed.unwrap_or(u64::try_from(clock % 1_000_000_007)?);
    println!("soak: seed {seed}, {} processes, {} pushers, on {}", options.processes, options.pushers, place.shown());
    work::mend();
    Ok(seed)
}

fn set_up<P: Place>(place: &P) -> Result<P::Store> {
    let store = place.open()?;
    let projections = work::projections();
    let all: Vec<_> = projections.iter().map(|(projection, _)| projection).collect();
    ProjectionStore::setup(&store, &all)?;
    Ok(store)
}

fn soak<P: Place>(options: &Options, place: &P) -> Result<bool> {
    if options.worker {
        work::until_input_ends(place, options)?;
        return Ok(true);
    }
    let seed = begin(options, place)?;
    let store = set_up(place)?;
    if !store.instance_ids(&Query::new().limit(1))?.is_empty() {
        return Err(
            "the database holds events already; give an empty one, since every row is checked at the end".into()
        );
    }
    let tally = Arc::new(Tally::default());
    let end = Instant::now() + Duration::from_secs_f64(options.minutes.max(0.0) * 60.0);
    std::thread::scope(|scope| {
        for number in 0..options.pushers {
            let (tally, store) = (tally.clone(), store.clone());
            let chance = Chance::new(seed.wrapping_add(1 + u64::from(number)));
            scope.spawn(move || push::until_stopped(place, &store, number, chance, &tally));
        }
        let person = scope.spawn(|| check::mend_until_stopped::<P>(&store, &tally));
        let faults = fault::until(end, place, options.processes, Chance::new(seed), &tally);
        tally.stop.store(true, Ordering::SeqCst);
        person.join().map_err(|_| "the thread that retries panicked")??;
        faults
    })?;
    println!("soak: {}", tally.faults);
    Ok(check::all::<P>(&store, &tally)?.tell(&tally))
}
