//! What the processes of a soak say about their pushes, and which of these events the surviving history must hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use readside::query::{Query, SubQuery};
use readside::{Event, EventStore};

use crate::{Result, Tally};

/// Microseconds on this machine's clock, which all processes share.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Tells the listening process that these events were acknowledged, by a push that began at this time. A process that
/// is killed while it prints leaves out the end of the line.
pub(crate) fn say_pushed(began: u64, events: &[Event]) {
    for event in events {
        println!("pushed {began} {} {} {} {} .", now(), event.instance(), event.position(), event.id());
    }
}

/// Tells the listening process that a push was refused, which began at this time.
pub(crate) fn say_refused(began: u64, error: &str) {
    println!("refused {began} {}", error.replace('\n', " "));
}

#[derive(Debug)]
struct Acknowledged {
    began: u64,
    ended: u64,
    instance: String,
    position: i64,
    id: String,
}

/// The history forked between these times. Pushes of that time are not in the surviving history, or may not be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fork {
    pub(crate) from: u64,
    /// From this time until the end no push may be acknowledged, because the file is gone.
    pub(crate) gone: Option<u64>,
    pub(crate) to: u64,
}

#[derive(Debug, Default)]
struct Said {
    acknowledged: Vec<Acknowledged>,
    /// The processes with at least one acknowledged push.
    pushed: HashSet<u32>,
    /// The last refusal of each process: when that push began, and the error text.
    refused: HashMap<u32, (u64, String)>,
}

#[derive(Debug, Default)]
pub(crate) struct Heard {
    said: Mutex<Said>,
    tally: Arc<Tally>,
}

/// What became of acknowledged events.
#[derive(Debug, Default)]
pub(crate) struct Survival {
    pub(crate) survived: u64,
    pub(crate) forked: u64,
    /// Events that should have survived but are not in the log, and events that were acknowledged into a file that is
    /// gone.
    pub(crate) lost: u64,
}

impl Heard {
    pub(crate) fn new(tally: &Arc<Tally>) -> Arc<Self> {
        Arc::new(Self { said: Mutex::default(), tally: Arc::clone(tally) })
    }

    /// Listens to a process until it ends.
    pub(crate) fn listen(self: &Arc<Self>, child: &Child, stdout: ChildStdout) -> Result<JoinHandle<()>> {
        let (heard, process) = (Arc::clone(self), child.id());
        let listen = move || {
            let lines = BufReader::new(stdout).lines();
            lines.map_while(std::result::Result::ok).for_each(|line| heard.hear(process, &line));
        };
        Ok(std::thread::Builder::new().name(format!("soak-hears-{process}")).spawn(listen)?)
    }

    fn hear(&self, process: u32, line: &str) {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["pushed", began, ended, instance, position, id, "."] => {
                if let (Ok(began), Ok(ended), Ok(position)) = (began.parse(), ended.parse(), position.parse()) {
                    let (instance, id) = ((*instance).to_owned(), (*id).to_owned());
                    self.tally.pushed.fetch_add(1, Ordering::SeqCst);
                    let mut said = self.said.lock();
                    said.pushed.insert(process);
                    said.acknowledged.push(Acknowledged { began, ended, instance, position, id });
                }
            }
            ["refused", began, words @ ..] => {
                if let Ok(began) = began.parse() {
                    self.said.lock().refused.insert(process, (began, words.join(" ")));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn has_pushed(&self, process: u32) -> bool {
        self.said.lock().pushed.contains(&process)
    }

    /// The error text with which a process refused a push that began after this time.
    pub(crate) fn refusal(&self, process: u32, since: u64) -> Option<String> {
        let said = self.said.lock();
        let refused = said.refused.get(&process).filter(|(began, _)| *began > since);
        refused.map(|(_, words)| words.clone())
    }

    /// Looks for every acknowledged event that has to be in the log.
    pub(crate) fn survival(&self, store: &dyn EventStore, forks: &[Fork]) -> Result<Survival> {
        let (mut survival, mut expected) = (Survival::default(), BTreeMap::<&str, HashMap<i64, &str>>::new());
        let said = self.said.lock();
        for each in &said.acknowledged {
            let within = |fork: &&Fork| each.ended >= fork.from && each.began <= fork.to;
            let Some(fork) = forks.iter().find(within) else {
                survival.survived += 1;
                expected.entry(&each.instance).or_default().insert(each.position, &each.id);
                continue;
            };
            survival.forked += 1;
            if fork.gone.is_some_and(|gone| each.began > gone) {
                println!("soak: position {} of {:?} went into a file that is gone", each.position, each.instance);
                survival.lost += 1;
            }
        }
        for (instance, mut events) in expected {
            for event in store.filter(&Query::new().or(SubQuery::new().instance(instance)))? {
                let id = event.id().to_string();
                if events.get(&event.position()).is_some_and(|expected| *expected == id) {
                    events.remove(&event.position());
                }
            }
            survival.lost += events.len() as u64;
            for position in events.keys() {
                println!("soak: the event that was acknowledged at position {position} of {instance:?} is not there");
            }
        }
        Ok(survival)
    }
}
