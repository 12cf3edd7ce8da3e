//! Removing what nobody needs: segments whose records are in sorted files and that no checkpoint wants, segments whose
//! records stand in later ones, and what writers left that are gone.
//!
//! Only what is understood is removed. A segment that is damaged, or of another log, is said once and left alone. What
//! belongs to a writer with a higher epoch is not looked at: its opening may fail, and then it takes its files back.

use super::blocking::{blocking, unavailable};
use super::dir::{Listing, LogDir};
use super::files::{or_absent, UNFINISHED};
use super::segment::{Header, Segment, SegmentName};
use super::survey::{entries, Entry};
use super::tenure::Tenure;
use super::writer::LogHandle;
use async_trait::async_trait;
use slatedb::wal::{WalError, WalFileRange, WalGc};
use std::collections::BTreeSet;
use std::io::Result;
use std::ops::Bound;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// The engine's collector asks it with the ranges that manifests still refer to.
pub struct LogGc {
    log: Arc<OnceLock<LogHandle>>,
    /// What was said not to be understood.
    said: Arc<Mutex<BTreeSet<SegmentName>>>,
}

impl LogGc {
    pub fn new(log: Arc<OnceLock<LogHandle>>) -> LogGc {
        LogGc { log, said: Arc::default() }
    }
}

/// Does a range have an id in [first, end)?
fn wants(range: &WalFileRange, first: u64, end: u64) -> bool {
    let starts = match range.0 {
        Bound::Included(at) => at,
        Bound::Excluded(at) => at.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let ends = match range.1 {
        Bound::Included(at) => at.saturating_add(1),
        Bound::Excluded(at) => at,
        Bound::Unbounded => u64::MAX,
    };
    starts < ends && first < ends && starts < end
}

/// Segments of `epochs` with the ends that these give each other.
fn among(mut all: Vec<Entry>, epochs: impl Fn(u64) -> bool) -> Vec<Entry> {
    all.retain(|entry| epochs(entry.name.epoch));
    let mut end = u64::MAX;
    for entry in all.iter_mut().rev() {
        entry.end = end;
        if let Header::Whole(segment) = entry.header {
            end = end.min(segment.first_id);
        }
    }
    all
}

/// Whole segments but the newest, which is never removed, each with its end.
fn all_but_newest(entries: &[Entry]) -> Vec<(Segment, u64)> {
    let mut whole: Vec<(Segment, u64)> = Vec::new();
    for entry in entries {
        if let Header::Whole(segment) = entry.header {
            whole.push((segment, entry.end));
        }
    }
    whole.pop();
    whole
}

fn is_void(segment: &Segment, end: u64) -> bool {
    end <= segment.first_id
}

/// Where a writer of which nobody is left began and never finished: segments that only repeat others. An opening that is
/// killed again and again, while it replays, leaves no more than one of these.
pub fn sweep_dead(dir: &LogDir, epoch: u64) -> Result<()> {
    let listing = dir.list()?;
    let dead: BTreeSet<u64> =
        listing.epochs().into_iter().filter(|other| *other < epoch && dir.is_dead(*other)).collect();
    let entries = among(entries(dir)?, |other| dead.contains(&other));
    for (segment, _) in all_but_newest(&entries).iter().filter(|(segment, end)| is_void(segment, *end)) {
        dir.remove(segment.name)?;
    }
    sweep_leftovers(dir, epoch)
}

fn epoch_of_unfinished(name: &str) -> Option<u64> {
    let name = name.strip_suffix(UNFINISHED)?;
    let of_segment = SegmentName::parse(name).map(|name| name.epoch);
    of_segment.or_else(|| name.split_once('.').and_then(|(epoch, _)| epoch.parse().ok()))
}

/// Markers and books of lower epochs that have no segments and no process, and files that never got their names.
///
/// A marker may go only if the writer it is for cannot come back and miss it. The lock on its book says so: a process that
/// is stopped still holds it.
fn sweep_leftovers(dir: &LogDir, epoch: u64) -> Result<()> {
    let listing = dir.list()?;
    let has_segments = |other: u64| listing.segments.iter().any(|name| name.epoch == other);
    let gone: BTreeSet<u64> = (listing.fenced.iter().chain(&listing.writers).copied())
        .filter(|other| *other < epoch && !has_segments(*other) && dir.is_dead(*other))
        .collect();
    for other in gone {
        dir.remove_writer(other)?;
        dir.remove_marker(other)?;
    }
    for name in &listing.unfinished {
        if epoch_of_unfinished(name).is_some_and(|other| other < epoch && dir.is_dead(other)) {
            or_absent(dir.files.remove(name))?;
        }
    }
    Ok(())
}

/// Files of form 1 that never got a header.
fn sweep_zeros(dir: &LogDir, entries: &[Entry], listing: &Listing, epoch: u64) -> Result<()> {
    for entry in entries.iter().filter(|entry| entry.header == Header::Zeros && entry.name.epoch < epoch) {
        if listing.writers.binary_search(&entry.name.epoch).is_err() {
            dir.remove(entry.name)?;
        }
    }
    Ok(())
}

pub(super) fn collect(
    tenure: &Tenure,
    ranges: &[WalFileRange],
    dry_run: bool,
    said: &Mutex<BTreeSet<SegmentName>>,
) -> Result<()> {
    let dir = &tenure.dir;
    let entries = among(entries(dir)?, |epoch| epoch <= tenure.epoch);
    for entry in &entries {
        let Header::Broken(why) = entry.header else { continue };
        if said.lock().unwrap_or_else(|e| e.into_inner()).insert(entry.name) {
            log::warn!("{}: {why}; it is left alone", dir.place(entry.name));
        }
    }
    for (segment, end) in all_but_newest(&entries) {
        let void = is_void(&segment, end);
        if !void && ranges.iter().any(|range| wants(range, segment.first_id, end)) {
            continue;
        }
        if dry_run {
            log::info!("dry run: would remove WAL segment {:?}", segment.name);
        } else if !void || tenure.keep() {
            dir.remove(segment.name)?;
        }
    }
    if !dry_run {
        sweep_zeros(dir, &entries, &dir.list()?, tenure.epoch)?;
        sweep_leftovers(dir, tenure.epoch)?;
    }
    Ok(())
}

#[async_trait]
impl WalGc for LogGc {
    /// `min_age` protects readers of objects; segments have none but their own writer's replay.
    async fn collect(
        &self,
        referenced_ranges: Vec<WalFileRange>,
        _min_age: Duration,
        dry_run: bool,
    ) -> std::result::Result<(), WalError> {
        let Some(log) = self.log.get() else { return Ok(()) };
        let (tenure, said) = (log.tenure(), self.said.clone());
        blocking(move || collect(&tenure, &referenced_ranges, dry_run, &said).map_err(unavailable)).await
    }
}
