//! How much of the processors merging takes. Merges of flushed files get all they ask for: it is little for each write, and
//! writes will stop without it. Merges of sorted runs make reads quicker some day, so they get a quarter of one processor.
//!
//! A merge asks at each of its reads. What its thread has computed since the last one is paid for by a sleep, in one account
//! for all databases, as their merges share their threads.

use crate::os_clock::thread_cpu_ns;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

/// One part in so many of a processor.
const SHARE: u32 = 4;
/// A sleeping merge hears of a hurry so soon.
const NAP: Duration = Duration::from_millis(200);

thread_local! {
    static SEEN_NS: Cell<i64> = const { Cell::new(0) };
}

/// Processor time of this thread since the last call.
fn thread_used() -> Duration {
    let now_ns = thread_cpu_ns();
    Duration::from_nanos((now_ns - SEEN_NS.replace(now_ns)).unsigned_abs())
}

/// Until when what was computed is paid for; one for the process.
pub type Account = Arc<Mutex<Instant>>;

#[derive(Debug)]
pub struct Pace {
    account: Account,
    hurried: AtomicBool,
    free: RwLock<HashSet<String>>,
}

impl Pace {
    pub fn new(account: Account) -> Pace {
        Pace { account, hurried: AtomicBool::new(false), free: RwLock::default() }
    }

    /// Whether all merges get what they ask for, and the files, by their names, for which they do anyway.
    pub fn set(&self, hurried: bool, free: HashSet<String>) {
        self.hurried.store(hurried, Ordering::Release);
        *self.free.write().unwrap_or_else(|e| e.into_inner()) = free;
    }

    fn is_free(&self, location: &Path) -> bool {
        self.hurried.load(Ordering::Acquire)
            || location
                .filename()
                .is_some_and(|name| self.free.read().unwrap_or_else(|e| e.into_inner()).contains(name))
    }

    /// Until when to sleep for what was used before a read of this file.
    fn pay(&self, location: &Path, used: Duration, now: Instant) -> Instant {
        if self.is_free(location) {
            return now;
        }
        let mut paid = self.account.lock().unwrap_or_else(|e| e.into_inner());
        *paid = (*paid).max(now) + used * (SHARE - 1);
        *paid
    }

    async fn step(&self, location: &Path) {
        let paid = self.pay(location, thread_used(), Instant::now());
        while Instant::now() < paid && !self.is_free(location) {
            tokio::time::sleep(paid.saturating_duration_since(Instant::now()).min(NAP)).await;
        }
    }
}

/// The store through which merges read.
#[derive(Debug)]
pub struct PacedStore {
    pub inner: Arc<dyn ObjectStore>,
    pub pace: Arc<Pace>,
}

impl fmt::Display for PacedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for PacedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.pace.step(location).await;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.pace.step(location).await;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED: Duration = Duration::from_millis(10);

    fn paces() -> (Pace, Pace, Instant) {
        let now = Instant::now();
        let account = Arc::new(Mutex::new(now));
        (Pace::new(account.clone()), Pace::new(account), now)
    }

    #[test]
    fn a_quarter_of_the_time_is_used() {
        let (pace, other, now) = paces();
        let run = Path::from("compacted/run.sst");
        assert_eq!(pace.pay(&run, USED, now), now + USED * 3);
        assert_eq!(other.pay(&run, USED, now), now + USED * 6, "one account");
        assert_eq!(pace.pay(&run, USED, now + USED * 6), now + USED * 9, "all was paid");
        assert_eq!(pace.pay(&run, Duration::ZERO, now + USED * 20), now + USED * 20);
    }

    #[test]
    fn flushed_files_and_a_hurry_cost_nothing() {
        let (pace, other, now) = paces();
        let (run, flushed) = (Path::from("compacted/run.sst"), Path::from("compacted/flushed.sst"));
        pace.set(false, HashSet::from(["flushed.sst".to_string()]));
        assert_eq!(pace.pay(&flushed, USED, now), now);
        assert_eq!(pace.pay(&run, USED, now), now + USED * 3, "and are not charged for");
        pace.set(true, HashSet::new());
        assert_eq!(pace.pay(&run, USED, now), now);
        assert_eq!(other.pay(&run, USED, now), now + USED * 6, "it is not the other's hurry");
        pace.set(false, HashSet::new());
        assert!(pace.pay(&flushed, USED, now) > now);
    }

    #[tokio::test]
    async fn a_hurry_ends_a_sleep() {
        let (pace, _, now) = paces();
        *pace.account.lock().unwrap() = now + Duration::from_secs(60);
        let run = Path::from("compacted/run.sst");
        let hurry = async {
            tokio::task::yield_now().await;
            pace.set(true, HashSet::new());
        };
        let slept = tokio::time::timeout(Duration::from_secs(20), async {
            tokio::join!(pace.step(&run), hurry);
        });
        assert!(slept.await.is_ok());
    }

    #[test]
    fn a_thread_counts_its_own_time() {
        thread_used();
        std::thread::sleep(Duration::from_millis(30));
        assert!(thread_used() < Duration::from_millis(20), "asleep");
        let begin = Instant::now();
        while thread_used() == Duration::ZERO {
            assert!(begin.elapsed() < Duration::from_secs(5));
        }
    }
}
