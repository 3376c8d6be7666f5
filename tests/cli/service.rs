//! A service's own command: this test binary, started again, with the code of a projection.

use std::process::Command;

use readside::prelude::*;

use crate::{Place, Ran, ran};

/// Users. Until the reducer is repaired, an event with `"bad"` in its payload fails.
pub(crate) fn users(mended: bool) -> Projection {
    Projection::new("users", 1)
        .table(Table::new("users").column(text("id")).column(text("event")).primary_key(["id", "event"]))
        .on_raw("user", "user.added", move |e| {
            if !mended && e.payload_json().contains("bad") {
                return Err(ReduceError::new("no name in it"));
            }
            create([set("id", e.aggregate_id()), set("event", e.position().to_string())])
        })
}

/// Not a test: this is the service's command.
#[test]
#[ignore = "started by other tests"]
fn serve() {
    let Ok(args) = std::env::var("SERVICE_ARGS") else { return };
    let args: Vec<String> = serde_json::from_str(&args).unwrap();
    let code = readside::cli::run_from(args, vec![users(std::env::var("MENDED").is_ok())]);
    // There is no way to get the number of an `ExitCode`.
    let code = [0, 1, 2, 3, 130]
        .into_iter()
        .find(|n| format!("{:?}", std::process::ExitCode::from(*n)) == format!("{code:?}"));
    std::process::exit(i32::from(code.unwrap()));
}

/// Runs the service's command.
pub(crate) fn service(place: &Place, mended: bool, args: &[&str]) -> Ran {
    service_on(&place.name(), mended, args)
}

/// The same, on the database with this name.
pub(crate) fn service_on(name: &str, mended: bool, args: &[&str]) -> Ran {
    let mut all = vec!["service", "-d", name];
    all.extend(args);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "service::serve", "--ignored", "--nocapture", "--test-threads", "1", "-q"]);
    command
        .env("SERVICE_ARGS", serde_json::to_string(&all).unwrap())
        .env("USER", "ada")
        .env_remove("RUST_LOG")
        .env_remove("READSIDE_EVENTS_URL");
    if mended {
        command.env("MENDED", "1");
    }
    let mut ran = ran(&mut command, "");
    // The test harness prints this before the command's output.
    ran.out = ran.out.trim_start_matches("\nrunning 1 test\n").to_owned();
    ran
}
