//! `events --follow`: prints events as they are pushed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{conditions, pages};
use crate::cli::options::EventsArgs;
use crate::cli::output::check_reader;
use crate::cli::stop::Stop;
use crate::cli::{Ended, Outcome, Session, passes};
use crate::query::{HeadsRequest, Query};

/// Heads in one page.
const PAGE: usize = 1000;

/// The time after which a signal is noticed.
const NOTICE: Duration = Duration::from_millis(200);

/// The pause between two looks at the heads, if no notification arrives.
const LOOK: Duration = Duration::from_secs(1);

/// Remembers up to where each instance was printed.
struct Follower<'a> {
    args: &'a EventsArgs,
    seen: HashMap<Arc<str>, i64>,
    left: usize,
}

pub(super) fn run(session: &mut Session<'_>, args: &EventsArgs) -> Outcome {
    let stop = Stop::on_signals()?;
    let left = args.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let mut follower = Follower { args, seen: HashMap::new(), left };
    if args.after.is_none() {
        follower.skip(session)?;
    }
    let mut wire = session.events.listener();
    let mut looked: Option<Instant> = None;
    while follower.left > 0 && !stop.is_asked() {
        let told = match wire.listen(NOTICE) {
            Ok(news) => !news.is_empty(),
            Err(error) => {
                log::debug!("{}", crate::error::chain(&error));
                stop.wait(NOTICE);
                false
            }
        };
        if told || looked.is_none_or(|at| at.elapsed() >= LOOK) {
            follower.look(session).or_else(passes)?;
            session.out.flush()?;
            looked = Some(Instant::now());
        }
        check_reader()?;
    }
    Ok(Ended::Fine)
}

impl Follower<'_> {
    /// Counts all present events as printed.
    fn skip(&mut self, session: &Session<'_>) -> anyhow::Result<()> {
        self.heads(session, |follower, instance, head| {
            follower.seen.insert(instance, head);
            Ok(())
        })
    }

    /// Prints the events between what was printed and the heads.
    fn look(&mut self, session: &mut Session<'_>) -> anyhow::Result<()> {
        let mut grown = Vec::new();
        self.heads(session, |follower, instance, head| {
            let seen = follower.seen.get(&instance).copied().unwrap_or(follower.args.after.unwrap_or(0));
            if head > seen {
                grown.push((instance, seen, head));
            }
            Ok(())
        })?;
        for (instance, seen, head) in grown {
            let mut sub = conditions(self.args);
            sub.instances = vec![instance.to_string()];
            let before = self.args.before.map_or(head + 1, |before| before.min(head + 1));
            let query = Query::new().or(sub.after(seen).before(before));
            self.left -= pages(session, query, self.left)?;
            self.seen.insert(instance, head);
        }
        Ok(())
    }

    fn heads(
        &mut self,
        session: &Session<'_>,
        mut each: impl FnMut(&mut Self, Arc<str>, i64) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let instances = self.args.instance.iter().map(|instance| Arc::from(instance.as_str())).collect();
        let mut request = HeadsRequest { instances, limit: PAGE, ..HeadsRequest::default() };
        loop {
            let heads = session.events.heads(&request)?;
            let complete = heads.len() < PAGE;
            request.after = heads.last().map(|head| Arc::clone(&head.instance));
            for head in heads {
                if !self.args.not_instance.iter().any(|other| **other == *head.instance) {
                    each(self, head.instance, head.head)?;
                }
            }
            if complete {
                return Ok(());
            }
        }
    }
}
