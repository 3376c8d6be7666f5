//! The threads: one accepts clients and reads their requests without waiting for any of them; a few others answer.
//!
//! A silent or slow client takes a place in a list, but no thread. The list is bounded: when it is full, the client
//! that has waited longest is disconnected.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::head::{self, Head, Request};
use super::reply::{Kind, Refusal, Reply};
use super::socket::{Link, Listener};
use crate::error::net;
use crate::serve::error::ServeError;
use crate::serve::thread::{Stop, Thread, spawn};

/// The most clients whose requests are not complete yet.
const GUESTS: usize = 256;

/// The most requests that wait for a thread.
const WAITING: usize = 32;

/// The number of threads that answer.
const HANDS: usize = 4;

/// The time for the whole head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// The time that a client has to take an answer.
const REPLY_TIME: Duration = Duration::from_secs(10);

/// After a refusal, the server reads what the client still sends for this long, so that the client can read the reason.
const FAREWELL: (Duration, usize) = (Duration::from_millis(500), 2 << 20);

/// The most reads of one client in one look, so that one that sends much does not delay the others.
const READS: usize = 64;

/// The time between two looks: while a client is connected, and otherwise.
const LOOKS: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(25));

/// Answers requests.
pub(crate) trait Answers: Send + Sync + 'static {
    fn answer(&self, request: &Request) -> Answer;
}

/// What a client gets.
pub(crate) enum Answer {
    Once(Reply),
    /// Another thread serves the client from now on, one that never waits for a client.
    Kept(Box<dyn FnOnce(Box<dyn Link>) -> io::Result<()>>),
}

/// A complete request.
type Asked = (Box<dyn Link>, Request);

/// Answers clients until stopped. Adds its threads to these.
pub(crate) fn open(
    listener: Listener,
    stop: &Arc<Stop>,
    answers: &Arc<dyn Answers>,
    threads: &mut Vec<Thread>,
) -> Result<(), ServeError> {
    let (send, receive) = bounded::<Asked>(WAITING);
    for number in 1..=HANDS {
        let (receive, answers, stop) = (receive.clone(), Arc::clone(answers), Arc::clone(stop));
        threads.push(spawn(&format!("readside-http-{number}"), move || answer_all(&receive, &*answers, &stop))?);
    }
    let stop = Arc::clone(stop);
    threads.push(spawn("readside-http", move || let_in(&listener, &send, &stop))?);
    Ok(())
}

/// A client that occupies no thread: its request is not complete yet, or was refused.
struct Guest {
    stream: Box<dyn Link>,
    said: Vec<u8>,
    since: Instant,
    /// How many bytes are still read from a client that was refused.
    left: Option<usize>,
}

/// What happens to a client after a look.
enum Look {
    Stays,
    Asks(Request),
    Goes,
}

fn let_in(listener: &Listener, send: &Sender<Asked>, stop: &Stop) {
    let mut guests: VecDeque<Guest> = VecDeque::new();
    while !stop.is_set() {
        while let Ok(stream) = listener.accept() {
            if stream.wait(false).is_ok() {
                if guests.len() == GUESTS {
                    guests.pop_front();
                }
                guests.push_back(Guest { stream, said: Vec::new(), since: Instant::now(), left: None });
            }
        }
        for mut guest in std::mem::take(&mut guests) {
            match guest.look() {
                Look::Stays => guests.push_back(guest),
                Look::Asks(request) => guests.extend(hand_over(send, guest, request)),
                Look::Goes => {}
            }
        }
        stop.wait(if guests.is_empty() { LOOKS.1 } else { LOOKS.0 });
    }
}

impl Guest {
    fn look(&mut self) -> Look {
        let mut buffer = [0; 4096];
        for _ in 0..READS {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Look::Goes,
                Ok(count) => {
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(count);
                        continue;
                    }
                    self.said.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    match head::read(&self.said) {
                        Head::Begun => {}
                        Head::Whole(request) => return Look::Asks(request),
                        Head::Refused(refusal) => self.refuse(refusal),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Look::Goes,
            }
        }
        let time = self.since.elapsed();
        match self.left {
            Some(0) => Look::Goes,
            Some(_) if time >= FAREWELL.0 => Look::Goes,
            None if time >= HEAD_TIME => {
                self.refuse(Refusal::Late);
                Look::Goes
            }
            _ => Look::Stays,
        }
    }

    /// Sends the reason, and reads what the client still sends for a moment: if a connection is closed while it holds
    /// unread bytes, the system drops the answer. The answer is so short that writing it never waits for room.
    fn refuse(&mut self, refusal: Refusal) {
        let _ = refusal.reply().write_at_once(&mut *self.stream);
        let _ = self.stream.end();
        (self.said, self.since, self.left) = (Vec::new(), Instant::now(), Some(FAREWELL.1));
    }
}

/// Hands a complete request to the threads. Returns the client if there is no room for it.
fn hand_over(send: &Sender<Asked>, guest: Guest, request: Request) -> Option<Guest> {
    let Guest { stream, said, since, left } = guest;
    match send.try_send((stream, request)) {
        Ok(()) => None,
        Err(TrySendError::Full((stream, _)) | TrySendError::Disconnected((stream, _))) => {
            let mut guest = Guest { stream, said, since, left };
            guest.refuse(Refusal::Busy);
            Some(guest)
        }
    }
}

fn answer_all(receive: &Receiver<Asked>, answers: &dyn Answers, stop: &Stop) {
    while !stop.is_set() {
        match receive.recv_timeout(LOOKS.1) {
            Ok((stream, request)) => answer(stream, &request, answers),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn answer(mut stream: Box<dyn Link>, request: &Request, answers: &dyn Answers) {
    let answer = net::caught(|| answers.answer(request)).unwrap_or_else(|panic| {
        log::error!("the status page panicked while it answered {}: {panic}; it goes on", request.path);
        Answer::Once(Reply::new(500, Kind::Text, "the answer failed; the log says why\n".to_owned()))
    });
    let written = match answer {
        Answer::Once(reply) => {
            stream.wait(true).and_then(|()| reply.write(&mut *stream, request.only_head, REPLY_TIME))
        }
        Answer::Kept(keep) => keep(stream),
    };
    if let Err(error) = written {
        log::debug!("the status page: a client did not take the answer to {}: {error}", request.path);
    }
}
