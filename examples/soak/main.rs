//! A long soak: several processes keep three read models of many tenants current, while pushers roll back, hold
//! transactions open and push poison, and processes and connections die. At the end every row is computed anew from the log.
//!
//! Its last line is `soak: events=… faults=… lost=… doubled=… stuck=…`; it exits with 1 unless the last three are 0.

mod chance;
mod check;
mod fault;
mod place;
mod push;
mod work;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use readside::{EventStore, ProjectionStore, Query};

use chance::Chance;
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
    /// Runs the engine on this database until its input ends; what the soak starts its processes with
    #[arg(long, hide = true)]
    worker: bool,
}

/// What the threads of a soak share.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) stop: AtomicBool,
    /// Events whose push was acknowledged.
    pub(crate) pushed: AtomicU64,
    pub(crate) faults: fault::Counts,
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
    let address = options.database.clone().unwrap_or(default);
    if address.starts_with("postgres://") || address.starts_with("postgresql://") {
        #[cfg(feature = "postgres")]
        return soak(options, &place::Server { url: address });
        #[cfg(not(feature = "postgres"))]
        return Err("this build has no PostgreSQL: build with --features postgres".into());
    }
    soak(options, &place::File { path: address })
}

fn soak<P: Place>(options: &Options, place: &P) -> Result<bool> {
    if options.worker {
        work::until_input_ends(place)?;
        return Ok(true);
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
    let seed = options.seed.unwrap_or(u64::try_from(clock % 1_000_000_007)?);
    println!("soak: seed {seed}, {} processes, {} pushers, on {}", options.processes, options.pushers, place.shown());
    work::mend();
    let store = place.open()?;
    let projections = work::projections();
    let all: Vec<_> = projections.iter().map(|(projection, _)| projection).collect();
    ProjectionStore::setup(&store, &all)?;
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
    let found = check::all::<P>(&store, &tally)?;
    println!(
        "soak: events={} faults={} lost={} doubled={} stuck={}",
        found.events,
        tally.faults.sum(),
        found.lost,
        found.doubled,
        found.stuck
    );
    Ok(found.lost + found.doubled + found.stuck == 0)
}
