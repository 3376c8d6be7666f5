//! The lines of a file or of standard input, with their numbers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// The limit for one line. A payload may be long, but not without end.
const LONGEST: usize = 256 << 20;

/// How many lines are read ahead.
const AHEAD: usize = 16;

/// The size in bytes of one part of the room for lines read ahead. A line that needs more parts than are free waits.
const PART: usize = 1 << 20;

/// A line that is not blank.
#[derive(Debug)]
pub(in crate::cli) struct Line {
    /// Counted from 1.
    pub(in crate::cli) number: u64,
    pub(in crate::cli) bytes: Vec<u8>,
    /// The number of bytes of the source up to the end of the line.
    pub(in crate::cli) end: u64,
}

/// What comes next.
#[derive(Debug)]
pub(in crate::cli) enum Next {
    Line(Line),
    /// No line has come yet.
    Nothing,
    End,
}

/// Reads lines on its own thread, because nothing can interrupt a wait for standard input. The thread ends with its
/// input, or with the process.
#[derive(Debug)]
pub(in crate::cli) struct Source {
    lines: Receiver<anyhow::Result<Line>>,
    /// Holds a token for each used part of the room for lines read ahead.
    room: Receiver<()>,
    /// The length of the file, if the source is a file.
    pub(in crate::cli) length: Option<u64>,
}

impl Source {
    /// Opens a file. Without a file, or for `-`, it reads standard input.
    pub(in crate::cli) fn open(file: Option<&Path>) -> anyhow::Result<Self> {
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
        let ((send, lines), (take, room)) = (bounded(AHEAD), bounded(AHEAD));
        let thread = std::thread::Builder::new().name("readside-lines".to_owned());
        thread.spawn(move || read_all(reader, &send, &take)).context("starting a thread")?;
        Ok(Self { lines, room, length })
    }

    pub(in crate::cli) fn next(&self, wait: Duration) -> anyhow::Result<Next> {
        match self.lines.recv_timeout(wait) {
            Ok(line) => {
                let line = line?;
                // The thread put all tokens of the line there before it sent the line.
                self.room.try_iter().take(line.parts()).for_each(|()| {});
                Ok(Next::Line(line))
            }
            Err(RecvTimeoutError::Timeout) => Ok(Next::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }
}

impl Line {
    /// How many parts of the room for lines read ahead this line uses.
    fn parts(&self) -> usize {
        self.bytes.len().div_ceil(PART).clamp(1, AHEAD)
    }
}

fn read_all(mut reader: impl BufRead, send: &Sender<anyhow::Result<Line>>, take: &Sender<()>) {
    let (mut number, mut end) = (0, 0);
    loop {
        number += 1;
        let line = read_line(&mut reader, number, &mut end).transpose();
        let Some(line) = line else { return };
        let is_last = line.is_err();
        let is_blank = line.as_ref().is_ok_and(|line| line.bytes.iter().all(u8::is_ascii_whitespace));
        let parts = line.as_ref().map_or(0, Line::parts);
        let is_read = || (0..parts).all(|_| take.send(()).is_ok()) && send.send(line).is_ok();
        if !is_blank && !is_read() || is_last {
            return;
        }
    }
}

/// Reads a line. `None` at the end.
fn read_line(reader: &mut impl BufRead, number: u64, end: &mut u64) -> anyhow::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let read = reader.take(LONGEST as u64 + 1).read_until(b'\n', &mut bytes);
    let read = read.with_context(|| format!("reading line {number}"))?;
    ensure!(bytes.len() <= LONGEST, "line {number} is longer than {} MiB", LONGEST >> 20);
    if read == 0 {
        return Ok(None);
    }
    *end += read as u64;
    // Files that begin with a byte order mark may have been concatenated, so any line may have one.
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(Some(Line { number, bytes, end: *end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source of zeros and line breaks that counts what was read.
    struct Counted(std::sync::Arc<std::sync::atomic::AtomicUsize>);

    const LENGTH: usize = 4 * PART;

    impl Read for Counted {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            use std::sync::atomic::Ordering;

            let at = self.0.load(Ordering::SeqCst);
            let count = into.len().min(LENGTH - at % LENGTH);
            into.iter_mut().take(count).for_each(|byte| *byte = b'0');
            if (at + count).is_multiple_of(LENGTH) {
                into[count - 1] = b'\n';
            }
            self.0.fetch_add(count, Ordering::SeqCst);
            Ok(count)
        }
    }

    // Lines alone are no bound: sixteen large ones could fill the memory.
    #[test]
    fn what_is_read_ahead_is_bounded_by_bytes() {
        use std::sync::atomic::Ordering;

        let read = std::sync::Arc::default();
        let source = Source::start(BufReader::new(Counted(std::sync::Arc::clone(&read))), None).unwrap();
        for number in 1..=5_u64 {
            // The thread reads until there is no more room.
            let until = std::time::Instant::now() + Duration::from_mins(1);
            while !source.room.is_full() && std::time::Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(2));
            }
            let Next::Line(line) = source.next(Duration::from_mins(1)).unwrap() else { panic!("no line") };
            assert_eq!((line.number, line.bytes.len()), (number, LENGTH));
            let ahead = read.load(Ordering::SeqCst) - usize::try_from(number).unwrap() * LENGTH;
            assert!((AHEAD * PART / 2..=AHEAD * PART + 2 * LENGTH).contains(&ahead), "{ahead} bytes ahead");
        }
    }
}
