//! Whether a database is at work or at rest, and how the engine's polls follow that.
//!
//! The engine's tasks tell each other what to do through objects that they poll: flushed files, merges to be done,
//! merges that were done. Waiting writers wait for these polls, so they are frequent; each costs a listing and a read,
//! so they are not while there is nothing to be found. A tick sleeps its time while the database is at work. At rest it
//! sleeps until there is work, at most so long as `rest_max` says, and then its time. That is longer the more databases
//! the process has, so that all of those at rest together poll no more often than DATABASES_FREE would. What an idle
//! database learns later for it is only that another process has opened it; who reads or writes asks for that himself.

use crate::os_clock::boot_ns;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A database is at rest so long after its last work.
const QUIET: Duration = Duration::from_secs(2);
/// Less than the engine's own patience with a worker that says nothing, 30 s, by more than a heartbeat, 10 s.
const REST: Duration = Duration::from_secs(10);
/// Of a database that merges nothing, among very many others.
const REST_MAX: Duration = Duration::from_secs(600);
/// So many databases may each poll every REST.
const DATABASES_FREE: usize = 16;

/// Databases of this process, open or opening.
static DATABASES: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
pub struct Activity {
    under_way: AtomicUsize,
    last_ns: AtomicI64,
    /// A merge is planned or runs, and its worker must be heard of.
    merging: AtomicBool,
    begins: Notify,
}

impl Drop for Activity {
    fn drop(&mut self) {
        DATABASES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a database may rest that is one of so many.
fn rest_max(databases: usize, merging: bool) -> Duration {
    if merging {
        return REST;
    }
    let shares = u32::try_from(databases.div_ceil(DATABASES_FREE).max(1)).unwrap_or(u32::MAX);
    REST.saturating_mul(shares).min(REST_MAX)
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
        DATABASES.fetch_add(1, Ordering::Relaxed);
        Activity {
            under_way: AtomicUsize::new(0),
            last_ns: AtomicI64::new(boot_ns()),
            merging: AtomicBool::new(false),
            begins: Notify::new(),
        }
    }

    /// Whether a merge is planned or runs. The polls that see it through are work.
    pub fn set_merging(&self, merging: bool) {
        self.merging.store(merging, Ordering::Release);
        if merging {
            drop(self.work());
        }
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
            let most = rest_max(DATABASES.load(Ordering::Relaxed), self.merging.load(Ordering::Acquire));
            let _ = tokio::time::timeout(most, begins).await;
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

    #[test]
    fn many_databases_rest_longer_but_not_while_they_merge() {
        assert_eq!(rest_max(1, false), REST);
        assert_eq!(rest_max(DATABASES_FREE, false), REST);
        assert_eq!(rest_max(10 * DATABASES_FREE, false), 10 * REST);
        assert_eq!(rest_max(usize::MAX, false), REST_MAX);
        assert_eq!(rest_max(usize::MAX, true), REST);
    }

    #[tokio::test]
    async fn a_merge_that_begins_ends_a_rest() {
        let activity = at_rest();
        let rest = activity.rest();
        tokio::pin!(rest);
        assert!(rest.as_mut().now_or_never().is_none());
        activity.set_merging(true);
        assert!(rest.now_or_never().is_some());
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
