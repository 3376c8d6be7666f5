//! Which instances a push of this process is at work on, so that its threads queue here and not in the database, and
//! so that events are published in the order of their positions.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Condvar, Mutex};

#[derive(Debug, Default)]
pub(crate) struct Claims {
    claimed: Mutex<HashSet<Arc<str>>>,
    freed: Condvar,
}

impl Claims {
    /// Claims all of these instances at once, or none of them when that does not succeed in time.
    pub(crate) fn claim(&self, instances: &[Arc<str>], deadline: Instant) -> Option<Claim<'_>> {
        let mut claimed = self.claimed.lock();
        while instances.iter().any(|instance| claimed.contains(instance)) {
            if self.freed.wait_until(&mut claimed, deadline).timed_out() {
                return None;
            }
        }
        claimed.extend(instances.iter().cloned());
        Some(Claim { claims: self, instances: instances.to_vec() })
    }
}

/// Gives its instances back when dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    instances: Vec<Arc<str>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut claimed = self.claims.claimed.lock();
        for instance in &self.instances {
            claimed.remove(instance);
        }
        self.claims.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_claimed_instance_is_not_had_before_it_is_given_back() {
        let claims = Claims::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let first = claims.claim(&[Arc::clone(&a), Arc::clone(&b)], Instant::now());
        assert!(first.is_some());
        assert!(claims.claim(std::slice::from_ref(&b), Instant::now() + Duration::from_millis(1)).is_none());
        drop(first);
        assert!(claims.claim(&[b], Instant::now()).is_some());
        assert!(claims.claimed.lock().is_empty());
    }
}
