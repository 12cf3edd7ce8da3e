//! A thin layer over an object store: remembers the last error and the last success, counts, and can add latency.
//!
//! The engine retries for ever, so an outage is silence above this layer; here it has a name. "Not there",
//! "there already" and failed conditions are answers, not errors. A request that hangs counts as an error
//! from HANGS_AFTER_MS on: a store that swallows requests would have no name for half a minute otherwise. Whether
//! requests fail now is kept in trouble.rs.

use crate::error::error_chain;
use crate::os_clock::wall_ms;
use crate::trouble::{self, Troubles};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ERROR_TEXT_BYTES_MAX: usize = 1024;
const HANGS_AFTER_MS: i64 = 3000;

#[derive(Debug, Default)]
pub struct Health {
    last_error: Mutex<Option<(String, i64)>>,
    last_ok_ms: AtomicI64,
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    latency_read: Duration,
    latency_write: Duration,
    /// Requests without an answer so far, in the order they began.
    waiting: Mutex<BTreeMap<u64, (&'static str, Path, i64)>>,
    next_request: AtomicU64,
    troubles: Troubles,
}

/// What ended, for the state of trouble it may mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Read,
    Write,
    /// Says nothing about the store as a whole.
    Other,
}

fn sort(what: &str) -> Sort {
    match what {
        "GET" | "LIST" => Sort::Read,
        "PUT" | "APPEND" => Sort::Write,
        _ => Sort::Other,
    }
}

/// A request under way; gone with its answer, or when its caller gives up.
struct Waiting<'a> {
    health: &'a Health,
    request: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.health.waiting.lock().unwrap_or_else(|e| e.into_inner()).remove(&self.request);
    }
}

impl Health {
    /// `local`: where the files are, of a store on a disk.
    pub fn new(latency_read: Duration, latency_write: Duration, local: Option<std::path::PathBuf>) -> Self {
        Health { latency_read, latency_write, troubles: Troubles::of(local), ..Health::default() }
    }

    /// Whether requests fail now, and what the store is waited for with, if anything.
    pub fn trouble(&self) -> (bool, Option<String>) {
        let under_way = || {
            let waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
            waiting.values().map(|(_, location, _)| location.to_string()).collect::<Vec<_>>()
        };
        match trouble::any().then(|| self.troubles.now(&under_way())).flatten() {
            Some(text) => (true, Some(text)),
            None => (false, self.hanging().map(|(text, _)| self.troubles.hangs(&text))),
        }
    }

    /// Does work on a file of a local store as if it were a request to the store.
    pub fn watched<T>(
        &self,
        what: &'static str,
        file: &std::path::Path,
        work: impl FnOnce() -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        let location = file.to_string_lossy();
        let waiting = self.begin(what, &Path::from(&*location));
        let result = work();
        drop(waiting);
        let noted = result.as_ref().map(|_| ()).map_err(|error| Error::Generic {
            store: "log",
            source: Box::new(std::io::Error::new(error.kind(), error.to_string())),
        });
        self.note(what, &location, &noted);
        result
    }

    fn begin(&self, what: &'static str, location: &Path) -> Waiting<'_> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let entry = (what, location.clone(), wall_ms());
        self.waiting.lock().unwrap_or_else(|e| e.into_inner()).insert(request, entry);
        Waiting { health: self, request }
    }

    /// The oldest request that hangs: text, and when it began to.
    fn hanging(&self) -> Option<(String, i64)> {
        let waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        let (what, location, since) = waiting.values().next()?;
        let age = wall_ms() - since;
        (age >= HANGS_AFTER_MS)
            .then(|| (format!("{what} {location}: no answer for {} s", age / 1000), since + HANGS_AFTER_MS))
    }

    fn note<T>(&self, what: &str, location: &str, result: &Result<T>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let error = match result {
            Ok(_) => None,
            Err(Error::NotFound { .. } | Error::AlreadyExists { .. }) => None,
            Err(Error::Precondition { .. } | Error::NotModified { .. }) => None,
            Err(error) => Some(error),
        };
        let failed = error.map(|error| error as &(dyn std::error::Error + 'static));
        match sort(what) {
            Sort::Read => self.troubles.read(what, location, failed),
            Sort::Write => self.troubles.written(what, location, failed),
            Sort::Other => {}
        }
        let Some(error) = error else {
            self.last_ok_ms.store(wall_ms(), Ordering::Relaxed);
            return;
        };
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut text = format!("{what} {location}: {}", error_chain(error));
        if text.len() > ERROR_TEXT_BYTES_MAX {
            let cut = (0..=ERROR_TEXT_BYTES_MAX).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            text.truncate(cut);
        }
        *self.last_error.lock().unwrap_or_else(|e| e.into_inner()) = Some((text, wall_ms()));
    }

    /// Text and time of the newest error, and time of the newest success (0: none).
    pub fn last(&self) -> (Option<(String, i64)>, i64) {
        let error = self.last_error.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let newest = [error, self.hanging()].into_iter().flatten().max_by_key(|(_, when)| *when);
        (newest, self.last_ok_ms.load(Ordering::Relaxed))
    }

    async fn before_read(&self) {
        if !self.latency_read.is_zero() {
            tokio::time::sleep(self.latency_read).await;
        }
    }

    async fn before_write(&self) {
        if !self.latency_write.is_zero() {
            tokio::time::sleep(self.latency_write).await;
        }
    }
}

#[derive(Debug)]
pub struct WatchedStore {
    inner: Arc<dyn ObjectStore>,
    health: Arc<Health>,
    takes_attributes: bool,
}

impl WatchedStore {
    pub fn new(inner: Arc<dyn ObjectStore>, health: Arc<Health>, takes_attributes: bool) -> Self {
        WatchedStore { inner, health, takes_attributes }
    }

    fn noted<T>(&self, what: &str, location: &Path, result: Result<T>) -> Result<T> {
        self.health.note(what, location.as_ref(), &result);
        result
    }

    fn noted_stream<T: Send + 'static>(
        &self,
        what: &'static str,
        stream: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let health = self.health.clone();
        stream.inspect(move |item| health.note(what, "", item)).boxed()
    }
}

impl fmt::Display for WatchedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for WatchedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if !self.takes_attributes && !opts.attributes.is_empty() {
            // The engine asks first whether attributes are taken; the store refuses without having done anything.
            return self.inner.put_opts(location, payload, opts).await;
        }
        self.health.before_write().await;
        let _waiting = self.health.begin("PUT", location);
        let result = self.inner.put_opts(location, payload, opts).await;
        self.noted("PUT", location, result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let _waiting = self.health.begin("create upload", location);
        let result = self.inner.put_multipart_opts(location, opts).await;
        let inner = self.noted("create upload", location, result)?;
        Ok(Box::new(WatchedUpload { inner, location: location.clone(), health: self.health.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.health.before_read().await;
        let _waiting = self.health.begin("GET", location);
        let result = self.inner.get_opts(location, options).await;
        self.noted("GET", location, result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.health.before_read().await;
        let _waiting = self.health.begin("GET", location);
        let result = self.inner.get_ranges(location, ranges).await;
        self.noted("GET", location, result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.noted_stream("DELETE", self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.noted_stream("LIST", self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.noted_stream("LIST", self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.health.before_read().await;
        let _waiting = self.health.begin("LIST", prefix.unwrap_or(&Path::default()));
        let result = self.inner.list_with_delimiter(prefix).await;
        self.noted("LIST", prefix.unwrap_or(&Path::default()), result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.health.before_write().await;
        let result = self.inner.copy_opts(from, to, options).await;
        self.noted("COPY", from, result)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.health.before_write().await;
        let result = self.inner.rename_opts(from, to, options).await;
        self.noted("RENAME", from, result)
    }
}

#[derive(Debug)]
struct WatchedUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    health: Arc<Health>,
}

#[async_trait]
impl MultipartUpload for WatchedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.inner.put_part(data);
        let (health, location) = (self.health.clone(), self.location.clone());
        Box::pin(async move {
            health.before_write().await;
            let waiting = health.begin("PUT part of", &location);
            let result = part.await;
            drop(waiting);
            health.note("PUT part of", location.as_ref(), &result);
            result
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let waiting = self.health.begin("complete upload", &self.location);
        let result = self.inner.complete().await;
        drop(waiting);
        self.health.note("complete upload", self.location.as_ref(), &result);
        result
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Result<()> {
        Err(Error::Generic { store: "test", source: "broken pipe".into() })
    }

    #[test]
    fn answers_are_not_errors() {
        let health = Health::default();
        let absent: Result<()> = Err(Error::NotFound { path: "a".to_string(), source: "x".into() });
        health.note("GET", "a", &absent);
        assert!(health.last().0.is_none());
        assert!(health.last().1 > 0);
        health.note("PUT", "a/b", &failed());
        let (text, when) = health.last().0.unwrap();
        assert!(text.starts_with("PUT a/b: ") && text.contains("broken pipe"), "{text}");
        assert!(when > 0);
        health.note("GET", "a", &Ok(()));
        assert!(health.last().0.is_some(), "a success does not erase it");
        assert_eq!(health.requests.load(Ordering::Relaxed), 3);
        assert_eq!(health.errors.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_request_that_hangs_is_named() {
        let health = Health::default();
        let waiting = health.begin("PUT", &Path::from("wal/1"));
        assert!(health.last().0.is_none(), "not yet");
        for entry in health.waiting.lock().unwrap().values_mut() {
            entry.2 -= 7000;
        }
        assert_eq!(health.last().0.unwrap().0, "PUT wal/1: no answer for 7 s");
        drop(waiting);
        assert!(health.last().0.is_none());
    }
}
