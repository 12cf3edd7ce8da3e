//! Taking a log over, and replay: the records of earlier writers that are not in sorted files yet.

use super::record;
use super::segment::{LogDir, Segment, SegmentName};
use super::writer::{LogHandle, LogWriter, Start};
use crate::clock::EngineClock;
use crate::watch::Health;
use async_trait::async_trait;
use bytes::Bytes;
use slatedb::wal::{WalError, WalIterator, WalRows, WriterInit, WriterInitResult, WriterManifest};
use slatedb_common::metrics::MetricsRecorder;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// What opening a log needs.
pub struct LogInit {
    pub dir: LogDir,
    pub health: Arc<Health>,
    pub clock: Arc<EngineClock>,
    pub recorder: Arc<dyn MetricsRecorder>,
    pub record_bytes_max: usize,
    /// Gets the log once it is open.
    pub handle: Arc<OnceLock<LogHandle>>,
}

/// Segments with records that count, each with the id at which it ends.
struct Found {
    segments: VecDeque<(Segment, u64)>,
    last_id: u64,
    last_time: i64,
}

pub(super) fn unavailable(error: std::io::Error) -> WalError {
    WalError::Unavailable(Arc::new(error))
}

/// Runs work on files on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WalError> + Send + 'static,
) -> Result<T, WalError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(WalError::InternalError(Arc::new(error))),
    }
}

/// Nobody with an older epoch acknowledges anything after this.
fn fence(dir: &LogDir, epoch: u64) -> Result<(), WalError> {
    let found = dir.list().map_err(unavailable)?;
    let newest = found.segments.iter().map(|name| name.epoch).chain(found.fenced.iter().copied()).max();
    if newest.is_some_and(|newest| newest > epoch) || found.fenced.binary_search(&epoch).is_ok() {
        return Err(WalError::Fenced);
    }
    let mut last = None;
    for name in found.segments {
        if name.epoch < epoch && last != Some(name.epoch) {
            dir.fence(name.epoch).map_err(unavailable)?;
            last = Some(name.epoch);
        }
    }
    Ok(())
}

/// The segments with records after `replayed`. A gap between two of them is damage.
fn find(dir: &LogDir, replayed: u64) -> Result<Found, WalError> {
    let mut found = Found { segments: VecDeque::new(), last_id: replayed, last_time: i64::MIN };
    for (segment, end) in dir.segments().map_err(unavailable)? {
        if end <= replayed.saturating_add(1) {
            continue;
        }
        let records = dir.records(segment, end).map_err(unavailable)?;
        let Some(last) = records.last() else { continue };
        if segment.first_id > found.last_id + 1 {
            return Err(record::invalid(&format!(
                "the WAL is damaged: records {} to {} are missing",
                found.last_id + 1,
                segment.first_id - 1
            )));
        }
        found.last_id = found.last_id.max(segment.first_id + records.len() as u64 - 1);
        let time = record::rows(last)?.last().and_then(|row| row.create_ts);
        found.last_time = found.last_time.max(time.unwrap_or(i64::MIN));
        found.segments.push_back((segment, end));
    }
    Ok(found)
}

/// Is there anything in this log that `replayed` does not cover?
pub async fn holds_more(dir: LogDir, replayed: u64) -> Result<bool, WalError> {
    blocking(move || Ok(find(&dir, replayed)?.last_id > replayed)).await
}

#[async_trait]
impl WriterInit for LogInit {
    async fn fence_and_init(&self, manifest: &mut WriterManifest) -> Result<WriterInitResult, WalError> {
        let (dir, epoch) = (self.dir.clone(), manifest.epoch());
        let first = blocking(move || {
            dir.create().map_err(unavailable)?;
            let first = dir.begin(SegmentName { epoch, number: 0 }, 0).map_err(unavailable)?;
            fence(&dir, epoch)?;
            Ok(first)
        })
        .await?;
        // The writer before may have moved on until it was fenced.
        manifest.refresh().await?;
        let (dir, replayed) = (self.dir.clone(), manifest.replay_after_wal_id());
        let found = blocking(move || find(&dir, replayed)).await?;
        let first_id = found.last_id + 1;
        first.write_header(first_id).and_then(|()| first.sync(self.dir.fsync)).map_err(unavailable)?;
        self.clock.raise(found.last_time);
        let start = Start { segment: first, first_id, record_bytes_max: self.record_bytes_max };
        let writer = LogWriter::new(self.dir.clone(), start, self.health.clone(), self.recorder.as_ref());
        let _ = self.handle.set(writer.handle());
        let replay = Replay {
            dir: self.dir.clone(),
            segments: found.segments,
            replayed,
            end: first_id,
            records: VecDeque::new(),
        };
        Ok(WriterInitResult { replay_iterator: Box::new(replay), wal_writer: Box::new(writer) })
    }
}

/// Reads segment after segment; one is in memory at a time.
struct Replay {
    dir: LogDir,
    segments: VecDeque<(Segment, u64)>,
    /// Ids up to this one are in sorted files.
    replayed: u64,
    end: u64,
    records: VecDeque<(u64, Bytes)>,
}

impl Replay {
    async fn load(&mut self) -> Result<bool, WalError> {
        let Some((segment, end)) = self.segments.pop_front() else { return Ok(false) };
        let (dir, end) = (self.dir.clone(), end.min(self.end));
        let records = blocking(move || dir.records(segment, end).map_err(unavailable)).await?;
        let numbered = (segment.first_id..).zip(records);
        self.records.extend(numbered.filter(|(id, _)| *id > self.replayed));
        Ok(true)
    }
}

#[async_trait]
impl WalIterator for Replay {
    async fn next(&mut self) -> Result<Option<WalRows>, WalError> {
        loop {
            if let Some((id, record)) = self.records.pop_front() {
                return Ok(Some(WalRows { rows: record::rows(&record)?, last_consumed_wal_file_id: id }));
            }
            if !self.load().await? {
                return Ok(None);
            }
        }
    }
}
