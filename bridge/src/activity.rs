//! Whether a database is at work or at rest, and how the engine's polls follow that.
//!
//! The engine's tasks tell each other what to do through objects that they poll: flushed files, merges to be done,
//! merges that were done. Waiting writers wait for these polls, so they are frequent; each costs a listing and a read,
//! so they are not while there is nothing to be found. A tick sleeps its time while the database is at work. At rest it
//! sleeps until there is work, at most REST_MAX, and then its time.

use crate::clock::boot_ns;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A database is at rest so long after its last work.
const QUIET: Duration = Duration::from_secs(2);
/// Less than the engine's own patience with a worker that says nothing, 30 s, by more than a heartbeat, 10 s.
const REST_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Activity {
    under_way: AtomicUsize,
    last_ns: AtomicI64,
    begins: Notify,
}

/// Work under way, until it is dropped.
pub struct Work<'a>(&'a Activity);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.last_ns.store(boot_ns(), Ordering::Release);
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Activity {
    /// Opening is work.
    pub fn new() -> Activity {
        Activity { under_way: AtomicUsize::new(0), last_ns: AtomicI64::new(boot_ns()), begins: Notify::new() }
    }

    pub fn work(&self) -> Work<'_> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        self.begins.notify_waiters();
        Work(self)
    }

    fn at_rest(&self) -> bool {
        let since_ns = boot_ns() - self.last_ns.load(Ordering::Acquire);
        self.under_way.load(Ordering::Acquire) == 0 && since_ns >= QUIET.as_nanos() as i64
    }

    pub async fn rest(&self) {
        let begins = self.begins.notified();
        tokio::pin!(begins);
        begins.as_mut().enable(); // before the question, so that nothing begins unheard
        if self.at_rest() {
            let _ = tokio::time::timeout(REST_MAX, begins).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn age(activity: &Activity, by: Duration) {
        activity.last_ns.fetch_sub(by.as_nanos() as i64, Ordering::AcqRel);
    }

    fn at_rest() -> Activity {
        let activity = Activity::new();
        age(&activity, QUIET);
        activity
    }

    #[tokio::test]
    async fn nothing_rests_during_work_or_soon_after_it() {
        let activity = at_rest();
        let work = activity.work();
        assert!(activity.rest().now_or_never().is_some());
        drop(work);
        assert!(activity.rest().now_or_never().is_some());
        age(&activity, QUIET);
        assert!(activity.rest().now_or_never().is_none());
    }

    #[tokio::test]
    async fn work_ends_a_rest() {
        let activity = at_rest();
        let rest = activity.rest();
        tokio::pin!(rest);
        assert!(rest.as_mut().now_or_never().is_none());
        drop(activity.work());
        assert!(rest.now_or_never().is_some());
    }
}
