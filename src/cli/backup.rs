//! `backup`: copies a database.

use indicatif::ProgressBar;
use serde::Serialize;

use super::options::BackupArgs;
use super::stop::Stop;
use super::{Ended, Outcome, Session};

#[derive(Serialize)]
struct BackupReport {
    file: String,
    bytes: u64,
}

pub(super) fn run(session: &mut Session<'_>, args: &BackupArgs) -> Outcome {
    let stop = Stop::on_signals()?;
    let bar = if session.out.shows_progress() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let copied = session.store.back_up(&args.to, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
        !stop.is_asked()
    });
    bar.finish_and_clear();
    if stop.is_asked() && copied.is_err() {
        return Ok(Ended::Interrupted);
    }
    let (bytes, file) = (copied?, args.to.display().to_string());
    session.out.changed(format!("the copy {file:?} is made"));
    if session.out.is_json() {
        session.out.object(&BackupReport { file, bytes })?;
    } else {
        let length = crate::inspect::bytes(i64::try_from(bytes).unwrap_or(i64::MAX));
        session.out.remark(&format!("copied to {file:?}, {length}"))?;
    }
    Ok(Ended::Fine)
}
