//! `export`: writes a whole instance into a file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use uuid::Uuid;

use super::form::{Counts, EndLine, FORMAT, Header, UniqueLine, UniqueValue};
use crate::cli::events::exact;
use crate::cli::format::several;
use crate::cli::options::ExportArgs;
use crate::cli::{Ended, Outcome, Session};
use crate::db::{Manifest, Part};
use crate::error::{StoreError, StoreErrorKind};

#[derive(Debug, Serialize)]
struct ExportReport<'a> {
    instance: &'a str,
    events: u64,
    unique_values: u64,
}

pub(in crate::cli) fn export(session: &mut Session<'_>, args: &ExportArgs) -> Outcome {
    let file = create(&args.file).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => "; an export overwrites no file: name another one, or remove this one first",
            _ => "",
        };
        anyhow::Error::new(error).context(format!("making \"{}\"{hint}", args.file.display()))
    })?;
    let outcome = write(session, args, file);
    if outcome.is_err() {
        // A part of an export is useless.
        let _ = std::fs::remove_file(&args.file);
    }
    let Manifest { events, unique_values, .. } = outcome?;
    if session.out.is_json() {
        session.out.object(&ExportReport { instance: &args.instance, events, unique_values })?;
        return Ok(Ended::Fine);
    }
    session.out.remark(&format!(
        "exported {} and {} of instance {:?}",
        several(events, "event"),
        several(unique_values, "unique value"),
        args.instance
    ))?;
    Ok(Ended::Fine)
}

/// Creates a file that only its owner can read, because it holds payloads.
fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn write(session: &Session<'_>, args: &ExportArgs, file: File) -> anyhow::Result<Manifest> {
    let mut file = BufWriter::with_capacity(1 << 16, file);
    let mut written = Manifest { schema: 0, events: 0, unique_values: 0 };
    let doing = format!("writing \"{}\"", args.file.display());
    let failed = |error: anyhow::Error| StoreError::new(&*doing, StoreErrorKind::Other, error);
    session.events.export(&args.instance, &mut |part| {
        let line = match part {
            Part::Manifest(manifest) => {
                written = manifest.clone();
                let Manifest { schema, events, unique_values } = *manifest;
                let (instance, export) = (args.instance.clone(), Uuid::now_v7());
                json(&Header { readside_export: FORMAT, export, schema, instance, events, unique_values })
            }
            Part::Event(event, push_key) => exact(event, push_key),
            Part::Unique(constraint, value) => {
                let unique = UniqueValue { constraint: constraint.to_owned(), value: value.to_owned() };
                json(&UniqueLine { unique })
            }
        };
        let line = line.map_err(failed)?;
        writeln!(file, "{line}").map_err(|error| failed(error.into()))
    })?;
    let Manifest { events, unique_values, .. } = written;
    writeln!(file, "{}", json(&EndLine { end: Counts { events, unique_values } })?).context(doing.clone())?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).context(doing.clone())?;
    file.sync_all().context(doing)?;
    Ok(written)
}

fn json(line: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(line)?)
}
