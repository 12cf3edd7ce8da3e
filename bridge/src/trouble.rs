//! Requests that fail, as a state: a store is in trouble from the first write that fails until one that follows works.
//!
//! The engine repeats what failed until it works, every second or so, so the state ends with the trouble. It is kept for each
//! directory that is written to: a full disk still takes a small manifest while the log gets no new segment. What fails and
//! is not repeated, because its database was closed, is forgotten after a while. Of a remote store a failed read counts,
//! too; on a disk it is about one file. Parts of an upload do not count: they are of merges, which can wait.

use crate::error::error_chain;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Longer than the longest pause between two tries of the engine.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
const READS: &str = "\0"; // no directory has this name

/// Directories in trouble, of all stores: asking costs one load.
static TROUBLED: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct Trouble {
    text: String,
    last: Instant,
}

#[derive(Debug, Default)]
pub struct Troubles {
    /// Where a local store keeps its files.
    local: Option<PathBuf>,
    by_directory: Mutex<BTreeMap<String, Trouble>>,
}

/// The directory of an object or a file; "": the store's own.
fn directory(location: &str) -> &str {
    location.rsplit_once('/').map_or("", |(directory, _)| directory)
}

impl Troubles {
    pub fn of(local: Option<PathBuf>) -> Troubles {
        Troubles { local, ..Troubles::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Trouble>> {
        self.by_directory.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn failed(&self, directory: &str, text: String) {
        let trouble = Trouble { text, last: Instant::now() };
        let mut troubles = self.lock(); // until it is counted, else a success in between would not see it
        if troubles.insert(directory.to_string(), trouble).is_none() {
            TROUBLED.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn worked(&self, directory: &str) {
        if !any() {
            return;
        }
        let mut troubles = self.lock();
        if troubles.remove(directory).is_some() {
            TROUBLED.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// A write ended. `what` it was and `location`, for people.
    pub fn written(&self, what: &str, location: &str, error: Option<&(dyn StdError + 'static)>) {
        match error {
            Some(error) => self.failed(directory(location), self.text(what, location, error)),
            None => self.worked(directory(location)),
        }
    }

    /// A read ended.
    pub fn read(&self, what: &str, location: &str, error: Option<&(dyn StdError + 'static)>) {
        match error {
            _ if self.local.is_some() => {}
            Some(error) => self.failed(READS, self.text(what, location, error)),
            None => self.worked(READS),
        }
    }

    /// What is wrong now, by the newest failure. `under_way`: directories that a request is on its way to.
    pub fn now(&self, under_way: &[String]) -> Option<String> {
        let mut troubles = self.lock();
        let before = troubles.len();
        let pending = |at: &String| under_way.iter().any(|location| at == READS || directory(location) == at);
        troubles.retain(|at, trouble| trouble.last.elapsed() < FORGOTTEN_AFTER || pending(at));
        TROUBLED.fetch_sub(before - troubles.len(), Ordering::AcqRel);
        troubles.values().max_by_key(|trouble| trouble.last).map(|trouble| trouble.text.clone())
    }

    /// A request that hangs, in the same words.
    pub fn hangs(&self, text: &str) -> String {
        let who = if self.local.is_some() { "the disk" } else { "the object store" };
        format!("{who} does not answer: {text}")
    }

    /// What fails, in the words of who runs the server.
    fn text(&self, what: &str, location: &str, error: &(dyn StdError + 'static)) -> String {
        let chain = without_secrets(&error_chain(error));
        let Some(root) = &self.local else {
            if chain.starts_with("no credentials") {
                return chain;
            }
            let how = if chain.contains("status") { "answers with errors" } else { "does not answer" };
            return format!("the object store {how}: {what} {location}: {chain}");
        };
        let place = root.join(Path::new(location.trim_end_matches('/')));
        disk_words(&place, error).unwrap_or_else(|| format!("the disk fails: {}: {chain}", place.display()))
    }
}

/// What is wrong with a disk, where the system's error is one that people can do something about.
pub fn disk_words(place: &Path, error: &(dyn StdError + 'static)) -> Option<String> {
    let place = place.display();
    match io_kind(error)? {
        io::ErrorKind::StorageFull => Some(format!("no space left on device: {place}")),
        io::ErrorKind::QuotaExceeded => Some(format!("disk quota exceeded: {place}")),
        io::ErrorKind::ReadOnlyFilesystem => Some(format!("the file system is read-only: {place}")),
        _ => None,
    }
}

/// Is any store in trouble, as far as is known without a closer look?
pub fn any() -> bool {
    TROUBLED.load(Ordering::Acquire) != 0
}

/// The kind of the innermost error of the system.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let (mut at, mut kind) = (Some(error), None);
    while let Some(error) = at {
        kind = error.downcast_ref::<io::Error>().map(io::Error::kind).or(kind);
        at = error.source();
    }
    kind
}

/// Urls lose what may be a password or a signature: user info and the query.
fn without_secrets(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || ")\"'>".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let url = url.split_once('?').map_or(url, |(place, _)| place);
        let host_end = url.find('/').unwrap_or(url.len());
        let host = url[..host_end].rsplit_once('@').map_or(&url[..host_end], |(_, host)| host);
        clean.push_str(host);
        clean.push_str(&url[host_end..]);
        rest = after;
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::Error::from_raw_os_error(libc::ENOSPC)
    }

    #[test]
    fn it_lasts_until_a_write_to_the_same_directory_works() {
        let disk = Troubles::of(Some(PathBuf::from("/var/lib/silo")));
        disk.written("PUT", "s/manifest/1", Some(&full()));
        disk.written("APPEND", "/var/lib/silo/s/log/", Some(&full()));
        assert!(any());
        disk.written("PUT", "s/manifest/2", None);
        assert_eq!(disk.now(&[]).unwrap(), "no space left on device: /var/lib/silo/s/log");
        disk.read("GET", "s/compacted/1", Some(&full()));
        disk.written("APPEND", "/var/lib/silo/s/log/", None);
        assert_eq!(disk.now(&[]), None);
    }

    #[test]
    fn what_nobody_repeats_is_forgotten() {
        let remote = Troubles::default();
        remote.written("PUT", "s/wal/1", Some(&io::Error::other("connection refused")));
        for trouble in remote.lock().values_mut() {
            trouble.last -= FORGOTTEN_AFTER;
        }
        let under_way = ["s/wal/1".to_string()];
        let text = remote.now(&under_way).unwrap();
        assert_eq!(text, "the object store does not answer: PUT s/wal/1: connection refused");
        assert_eq!(remote.now(&[]), None);
    }

    #[test]
    fn a_remote_store_that_is_read_from_in_vain_is_away() {
        let remote = Troubles::default();
        remote.read("GET", "a", Some(&io::Error::other("Server returned status 503")));
        let text = remote.now(&[]).unwrap();
        assert!(text.starts_with("the object store answers with errors: GET a: "), "{text}");
        remote.read("LIST", "b", None);
        assert_eq!(remote.now(&[]), None);
    }

    #[test]
    fn texts_carry_no_secrets() {
        let text = "PUT http://user:pw@host:9000/b/k?X-Sig=1 in 1s (https://h?sig=2) - refused";
        assert_eq!(without_secrets(text), "PUT http://host:9000/b/k in 1s (https://h) - refused");
        assert_eq!(without_secrets("no url"), "no url");
    }
}
