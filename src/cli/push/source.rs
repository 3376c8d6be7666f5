//! The lines of a file or of standard input, with their numbers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// The longest line; a payload may be long, but not without end.
const LONGEST: usize = 256 << 20;

/// Lines that are read ahead.
const AHEAD: usize = 16;

/// A line that is not blank.
#[derive(Debug)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    /// Bytes of the source up to its end.
    pub(super) end: u64,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Line(Line),
    /// No line yet.
    Nothing,
    End,
}

/// Lines are read by a thread of their own, since nothing ends the wait for standard input. It ends with its input, or with
/// the process.
#[derive(Debug)]
pub(super) struct Source {
    lines: Receiver<anyhow::Result<Line>>,
    /// Of the file, if it is one.
    pub(super) length: Option<u64>,
}

impl Source {
    /// Opens a file; standard input without one, or for `-`.
    pub(super) fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = file.filter(|path| *path != Path::new("-")) else {
            return Self::start(BufReader::new(io::stdin()), None);
        };
        let doing = || format!("opening \"{}\"", path.display());
        let file = File::open(path).with_context(doing)?;
        let about = file.metadata().with_context(doing)?;
        ensure!(!about.is_dir(), "\"{}\" is a folder", path.display());
        let length = Some(about.len()).filter(|_| about.is_file());
        Self::start(BufReader::with_capacity(1 << 16, file), length)
    }

    fn start(reader: impl BufRead + Send + 'static, length: Option<u64>) -> anyhow::Result<Self> {
        let (send, lines) = bounded(AHEAD);
        let thread = std::thread::Builder::new().name("readside-lines".to_owned());
        thread.spawn(move || read_all(reader, &send)).context("starting a thread")?;
        Ok(Self { lines, length })
    }

    pub(super) fn next(&self, wait: Duration) -> anyhow::Result<Next> {
        match self.lines.recv_timeout(wait) {
            Ok(line) => line.map(Next::Line),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }
}

fn read_all(mut reader: impl BufRead, send: &Sender<anyhow::Result<Line>>) {
    let (mut number, mut end) = (0, 0);
    loop {
        number += 1;
        let line = read_line(&mut reader, number, &mut end).transpose();
        let Some(line) = line else { return };
        let is_last = line.is_err();
        let is_blank = line.as_ref().is_ok_and(|line| line.bytes.iter().all(u8::is_ascii_whitespace));
        if !is_blank && send.send(line).is_err() || is_last {
            return;
        }
    }
}

/// None at the end.
fn read_line(reader: &mut impl BufRead, number: u64, end: &mut u64) -> anyhow::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let read = reader.take(LONGEST as u64 + 1).read_until(b'\n', &mut bytes);
    let read = read.with_context(|| format!("reading line {number}"))?;
    ensure!(bytes.len() <= LONGEST, "line {number} is longer than {} MiB", LONGEST >> 20);
    if read == 0 {
        return Ok(None);
    }
    *end += read as u64;
    if number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(Some(Line { number, bytes, end: *end }))
}
