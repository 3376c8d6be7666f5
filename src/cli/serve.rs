//! `serve`: the status page.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::options::ServeArgs;
use super::stop::Stop;
use super::{Ended, Outcome, Session};
use crate::admin::Doctor;
use crate::serve::{Examine, Place, ServeOptions, serve};

/// The pause between two checks for a signal.
const LOOK: Duration = Duration::from_secs(1);

/// How long the threads may take to end.
const END: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Serving {
    address: String,
    /// `None` for a socket.
    url: Option<String>,
}

pub(super) fn run(session: &mut Session<'_>, args: &ServeArgs) -> Outcome {
    let stop = Stop::on_signals()?;
    let server = serve(place(session), options(args)?)?;
    let address = server.address().to_string();
    let url = server.address().tcp().map(|address| format!("http://{address}/"));
    if session.out.is_json() {
        session.out.object(&Serving { address, url })?;
    } else {
        session.out.line(&format!("the status page is on {}; Ctrl-C ends it", url.unwrap_or(address)))?;
    }
    session.out.flush()?;
    while stop.wait(LOOK) {}
    server.shutdown(END)?;
    Ok(Ended::Fine)
}

fn place(session: &Session<'_>) -> Place {
    let (events, models, two) = (Arc::clone(&session.events), Arc::clone(&session.store), session.has_two_databases);
    let examine: Examine = Box::new(move || {
        let doctor = Doctor::default();
        if two { doctor.examine_two(&*events, &*models) } else { doctor.examine(&*models) }
    });
    let (events, models) = (Arc::clone(&session.events), Arc::clone(&session.store));
    Place {
        models,
        log: Some(Arc::clone(&session.events) as _),
        events: Some(events),
        has_two_databases: two,
        engine: None,
        examine,
    }
}

fn options(args: &ServeArgs) -> anyhow::Result<ServeOptions> {
    let mut options = ServeOptions::on(args.listen.clone()).every(args.every);
    for host in &args.host {
        options = options.host(host);
    }
    if let Some(password) = password(args)? {
        options = options.password(&args.user, &password);
    }
    if args.without_password {
        options = options.without_password();
    }
    Ok(if args.show_payloads { options.show_payloads() } else { options })
}

/// The password from a file or from the environment. It is never an argument, because other users can see those.
fn password(args: &ServeArgs) -> anyhow::Result<Option<String>> {
    let password = match &args.password_file {
        Some(file) => {
            let read = std::fs::read_to_string(file);
            let read = read.with_context(|| format!("reading the password from \"{}\"", file.display()))?;
            read.lines().next().unwrap_or_default().to_owned()
        }
        None => match std::env::var("READSIDE_SERVE_PASSWORD") {
            Ok(password) => password,
            Err(_) => return Ok(None),
        },
    };
    ensure!(!password.is_empty(), "the password of the status page is empty; set one, or none at all");
    Ok(Some(password))
}
