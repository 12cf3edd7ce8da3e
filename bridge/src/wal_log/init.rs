//! Taking a log over, and replay: the records of earlier writers that are not in sorted files yet.

use super::blocking::{blocking, unavailable};
use super::book::Note;
use super::collect::sweep_dead;
use super::dir::{Beginning, LogDir, OpenSegment, ACCEPT_LOSS};
use super::give_up::sound;
use super::record::{self, Record, Whole};
use super::segment::{read, Segment, SegmentName};
use super::survey::{data_error, Found};
use super::tenancy::Tenancy;
use super::tenure::Tenure;
use super::writer::{LogHandle, LogWriter, Start};
use crate::clock::EngineClock;
use crate::trouble::disk_words;
use crate::watch::Health;
use async_trait::async_trait;
use slatedb::wal::{WalError, WalIterator, WalRows, WriterInit, WriterInitResult, WriterManifest};
use slatedb_common::metrics::MetricsRecorder;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// What opening a log needs.
pub struct LogInit {
    pub dir: LogDir,
    pub health: Arc<Health>,
    pub clock: Arc<EngineClock>,
    pub recorder: Arc<dyn MetricsRecorder>,
    pub record_bytes_max: usize,
    /// Of a log that may be elsewhere next time.
    pub tenancy: Option<Tenancy>,
    /// Gets the log once it is open.
    pub handle: Arc<OnceLock<LogHandle>>,
}

/// What stands in the way of a writer.
#[derive(Debug, PartialEq, Eq)]
pub enum Entrance {
    Free,
    Fenced,
    /// Files of this epoch, which the database may know or not.
    Newer(u64),
}

/// A writer comes in, and nobody with an older epoch acknowledges anything after this.
pub fn enter(dir: &LogDir, epoch: u64) -> std::io::Result<(Entrance, Option<Tenure>)> {
    dir.files.make()?;
    if let Some(newer) = dir.list()?.newest_epoch().filter(|newest| *newest >= epoch) {
        return Ok((Entrance::Newer(newer), None));
    }
    let tenure = Tenure::begin(dir, epoch)?;
    fence_older(dir, epoch)?;
    // After all others were marked: of two that come in together, one sees the other.
    if !tenure.is_current()? {
        return Ok((Entrance::Fenced, None));
    }
    Ok((Entrance::Free, Some(tenure)))
}

/// No writer with an epoch below this one acknowledges anything any more.
pub fn fence_older(dir: &LogDir, epoch: u64) -> std::io::Result<()> {
    let found = dir.list()?;
    for older in found.epochs().into_iter().filter(|older| *older < epoch && !found.is_fenced(*older)) {
        dir.fence(older)?;
    }
    Ok(())
}

/// What a writer that took over goes on from.
pub struct Taken {
    pub segment: OpenSegment,
    /// With records to replay, in order; the last is the writer's own.
    pub replay: Vec<(Segment, u64)>,
    pub next_id: u64,
    pub last_crc: u32,
    pub last_time: i64,
}

/// Makes what was found durable, then begins a segment that builds on it. None: fenced meanwhile.
///
/// What the last process wrote and did not sync, or failed to, may be in the page cache alone, and a later sync does not
/// always tell: the kernel says an error once. So the records of the last segment, the only ones in doubt, are written
/// again, into the new segment. The old one is void from then on, and comes back if the new one goes.
pub fn take_over(tenure: &Tenure, replayed: u64) -> Result<Option<Taken>, WalError> {
    let dir = &tenure.dir;
    let Found { mut segments, last_id, last_crc, last_time } = sound(dir, replayed)?;
    let tail = segments.pop();
    for (segment, _) in &segments {
        dir.sync_segment(segment).map_err(unavailable)?;
    }
    let doubtful = tail.map_or(Ok(Vec::new()), |(segment, end)| records_of(dir, &segment, end, replayed))?;
    let next_id = last_id.saturating_add(1);
    let first_id = doubtful.first().map_or(next_id, |record| record.id);
    let previous = doubtful.first().map_or(last_crc, |record| record.previous);
    let mut records: Vec<Record> = doubtful.iter().map(Record::again).collect();
    let name = SegmentName { epoch: tenure.epoch, number: 0 };
    let beginning = Beginning { first_id, previous, records: &mut records, size: 0 };
    let segment = dir.begin(name, beginning).map_err(unavailable)?;
    if !tenure.is_current().map_err(unavailable)? {
        return Ok(None);
    }
    let note = Note { segments: 1, size: 0, durable_below: next_id };
    tenure.note(note).and_then(|()| sweep_dead(dir, tenure.epoch)).map_err(unavailable)?;
    if !records.is_empty() {
        let own = Segment { name, first_id, previous, origin: segment.origin() };
        segments.push((own, next_id));
    }
    Ok(Some(Taken { segment, replay: segments, next_id, last_crc, last_time }))
}

/// The records of a segment that `survey` found to be there.
fn records_of(dir: &LogDir, segment: &Segment, end: u64, replayed: u64) -> Result<Vec<Whole>, WalError> {
    let contents = dir.contents(segment.name).map_err(unavailable)?;
    let contents = read(&contents, segment, end, replayed);
    if contents.next_id < end {
        let place = dir.place(segment.name);
        return Err(data_error(format!("{place} at offset {}: it changed while it was read", contents.at)));
    }
    Ok(contents.records.into_iter().filter(|record| record.id > replayed).collect())
}

impl LogInit {
    async fn enter(&self, manifest: &mut WriterManifest) -> Result<Tenure, WalError> {
        let (dir, epoch) = (self.dir.clone(), manifest.epoch());
        let entered = blocking(move || enter(&dir, epoch).map_err(unavailable)).await?;
        match entered {
            (_, Some(tenure)) => Ok(tenure),
            (Entrance::Newer(newer), None) => {
                manifest.refresh().await?; // fails if somebody came after us
                Err(data_error(format!(
                    "{} has files of writer {newer}, and the database has seen no writer after {epoch}: the log belongs \
                     to another database, or the database is older than its log. Put what belongs together back, or \
                     give up what the log has: move the directory away, make it anew with the file {ACCEPT_LOSS} in it, \
                     and let the shard open again",
                    self.dir.files.place("")
                )))
            }
            _ => Err(WalError::Fenced),
        }
    }
}

/// The same error in the words of an outage, where the disk is what is wrong.
fn in_words(dir: &LogDir, error: WalError) -> WalError {
    let WalError::Unavailable(inner) = &error else { return error };
    let place = dir.files.place("");
    match disk_words(Path::new(place.trim_end_matches('/')), inner.as_ref()) {
        Some(text) => WalError::Unavailable(Arc::new(std::io::Error::other(text))),
        None => error,
    }
}

#[async_trait]
impl WriterInit for LogInit {
    async fn fence_and_init(&self, manifest: &mut WriterManifest) -> Result<WriterInitResult, WalError> {
        self.begin(manifest).await.map_err(|error| in_words(&self.dir, error))
    }
}

impl LogInit {
    /// Others may have been elsewhere between the look before the claim and the claim.
    async fn move_in(&self, epoch: u64) -> Result<(), WalError> {
        let Some(tenancy) = &self.tenancy else { return Ok(()) };
        let looking = self.dir.clone();
        let accepts_loss = blocking(move || Ok(looking.list().map_err(unavailable)?.accepts_loss)).await?;
        match tenancy.move_in(epoch, self.dir.id, accepts_loss).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(data_error(format!(
                "the write-ahead log is not there: while {} was looked at, another process opened the database with a log \
                 elsewhere. Open the shard where that is",
                self.dir.files.place("")
            ))),
            Err(failure) => Err(WalError::Unavailable(Arc::new(std::io::Error::other(failure.text)))),
        }
    }

    async fn begin(&self, manifest: &mut WriterManifest) -> Result<WriterInitResult, WalError> {
        let tenure = Arc::new(self.enter(manifest).await?);
        self.move_in(manifest.epoch()).await?;
        // The writer before may have moved on until it was fenced.
        manifest.refresh().await?;
        let replayed = manifest.replay_after_wal_id();
        let taking = tenure.clone();
        let taken = blocking(move || take_over(&taking, replayed)).await?.ok_or(WalError::Fenced)?;
        self.clock.raise(taken.last_time);
        let start = Start {
            tenure,
            segment: taken.segment,
            first_id: taken.next_id,
            last_crc: taken.last_crc,
            record_bytes_max: self.record_bytes_max,
        };
        let writer = LogWriter::new(start, self.health.clone(), self.recorder.as_ref());
        let _ = self.handle.set(writer.handle());
        let replay = Replay {
            dir: self.dir.clone(),
            segments: taken.replay.into(),
            replayed,
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
    records: VecDeque<Whole>,
}

#[async_trait]
impl WalIterator for Replay {
    async fn next(&mut self) -> Result<Option<WalRows>, WalError> {
        loop {
            if let Some(record) = self.records.pop_front() {
                let rows = record::rows(&record)?;
                return Ok(Some(WalRows { rows, last_consumed_wal_file_id: record.id }));
            }
            let Some((segment, end)) = self.segments.pop_front() else { return Ok(None) };
            let (dir, replayed) = (self.dir.clone(), self.replayed);
            self.records = blocking(move || records_of(&dir, &segment, end, replayed)).await?.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn an_open_that_finds_no_room_says_so_in_plain_words() {
        let dir = LogDir::on_disk(PathBuf::from("/data/shard/log"), false);
        let said = |number| {
            let error = std::io::Error::from_raw_os_error(number);
            in_words(&dir, WalError::Unavailable(Arc::new(error))).to_string()
        };
        assert_eq!(said(libc::ENOSPC), "WAL is unavailable: no space left on device: /data/shard/log");
        assert_eq!(said(libc::EIO), "WAL is unavailable: Input/output error (os error 5)");
        assert!(matches!(in_words(&dir, WalError::Fenced), WalError::Fenced));
    }
}
