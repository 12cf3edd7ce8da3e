//! Appending: the engine's WAL writer over a log.
//!
//! Batches gather in a record. One appender at a time, on a thread that may block, writes what is sealed, syncs it,
//! looks whether it was fenced, and only then says "durable". Of several records each is synced before the next is
//! written, so that a record is proof of those before it; a flush is one record. A write that fails is said to the store's
//! health and tried again in a fresh segment, for ever: bytes that a failed sync left behind are never counted on. A
//! segment without a synced record is fresh again once it was cut, so that a disk that fails fills up no further.
//!
//! A request is taken by the appender in its next round, which seals what has gathered by then and tells who asked from
//! its own thread: no task has to run between a sync and its news, or between a sync and the next. The engine's `flush`
//! is such a request; it seals the record before, for it wants its id.

use super::blocking::{blocking, unavailable};
use super::book::Note;
use super::dir::{Beginning, OpenSegment};
use super::record::Record;
use super::segment::SegmentName;
use super::tenure::Tenure;
use crate::until::until;
use crate::watch::Health;
use async_trait::async_trait;
use futures::FutureExt;
use slatedb::wal::{
    WalError, WalEvent, WalFlushResult, WalObserver, WalStatus, WalStatusListener, WalWriter,
};
use slatedb::{wal_buffer_stats as stats, RowEntry};
use slatedb_common::metrics::{CounterFn, GaugeFn, MetricsRecorder};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, Notify};

const RETRY_FIRST: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Told once whether what was there when its turn came is durable.
pub type Request = Box<dyn FnOnce(Result<(), WalError>) + Send>;

struct State {
    /// Gathers batches; its id will be `next_id`.
    open: Record,
    sealed: VecDeque<(u64, Record)>,
    next_id: u64,
    /// Bytes and rows that are sealed or with the appender.
    under_way: (usize, usize),
    flushed_id: u64,
    flushed_seq: Option<u64>,
    /// For the appender's next round, and those of the round under way.
    requests: Vec<Request>,
    taken: Vec<Request>,
    appending: bool,
    closed: Option<WalError>,
    listener: Option<WalStatusListener>,
}

struct Figures {
    flushes: Arc<dyn CounterFn>,
    bytes: Arc<dyn CounterFn>,
    unflushed: Arc<dyn GaugeFn>,
}

/// Where a writer begins.
pub struct Start {
    pub tenure: Arc<Tenure>,
    pub segment: OpenSegment,
    pub first_id: u64,
    /// Crc of the payload of the record before the first; 0: not known.
    pub last_crc: u32,
    /// A record is sealed without a flush when it has this many bytes.
    pub record_bytes_max: usize,
}

/// Where the appender is.
struct Place {
    segment: OpenSegment,
    /// What the writer's book says of its size; None: it does not know of the segment.
    noted_size: Option<u64>,
    /// Crc of the payload of the newest durable record.
    last_crc: u32,
}

/// What a round has still to write.
struct Round {
    records: Vec<(u64, Record)>,
    /// Records at the front that are durable.
    durable: usize,
}

struct Log {
    tenure: Arc<Tenure>,
    record_bytes_max: usize,
    health: Arc<Health>,
    runtime: Handle,
    figures: Figures,
    state: Mutex<State>,
    place: Mutex<Place>, // of the appender
    closing: AtomicBool,
    round_ended: Notify,
}

pub struct LogWriter(Arc<Log>);

/// The log beside its writer.
#[derive(Clone)]
pub struct LogHandle(Arc<Log>);

impl LogWriter {
    pub fn new(start: Start, health: Arc<Health>, recorder: &dyn MetricsRecorder) -> LogWriter {
        let figures = Figures {
            flushes: recorder.register_counter(stats::WAL_BUFFER_FLUSHES, "WAL records written", &[]),
            bytes: recorder.register_counter(stats::WAL_FLUSH_BYTES, "WAL bytes written", &[]),
            unflushed: recorder.register_gauge(stats::WAL_BUFFER_ESTIMATED_BYTES, "WAL bytes to write", &[]),
        };
        let state = State {
            open: Record::new(0),
            sealed: VecDeque::new(),
            next_id: start.first_id,
            under_way: (0, 0),
            flushed_id: start.first_id - 1,
            flushed_seq: None,
            requests: Vec::new(),
            taken: Vec::new(),
            appending: false,
            closed: None,
            listener: None,
        };
        LogWriter(Arc::new(Log {
            tenure: start.tenure,
            record_bytes_max: start.record_bytes_max,
            health,
            runtime: Handle::current(),
            figures,
            state: Mutex::new(state),
            place: Mutex::new(Place {
                segment: start.segment,
                noted_size: Some(0),
                last_crc: start.last_crc,
            }),
            closing: AtomicBool::new(false),
            round_ended: Notify::new(),
        }))
    }

    pub fn handle(&self) -> LogHandle {
        LogHandle(self.0.clone())
    }
}

impl LogHandle {
    /// What was appended by now, and by the time the appender comes to it, becomes durable; then `request` is told.
    pub fn flush(&self, request: Request) {
        let mut state = self.0.lock();
        if let Err(reason) = state.check_open() {
            drop(state);
            return request(Err(reason));
        }
        state.requests.push(request);
        self.0.kick(&mut state);
    }

    pub fn tenure(&self) -> Arc<Tenure> {
        self.0.tenure.clone()
    }

    /// The newest record that is durable.
    pub fn flushed_id(&self) -> u64 {
        self.0.lock().flushed_id
    }

    /// Has nobody come after this writer? A directory that cannot be read is asked again, for ever, as the engine asks a
    /// store; its health says so meanwhile.
    pub async fn is_current(&self) -> Result<bool, WalError> {
        let mut pause = RETRY_FIRST;
        loop {
            let log = self.0.clone();
            let looked = blocking(move || {
                let dir = std::path::PathBuf::from(log.tenure.dir.files.place(""));
                log.health.watched("LIST", &dir, || log.tenure.is_current()).map_err(unavailable)
            });
            match looked.await {
                Err(WalError::Unavailable(_)) => tokio::time::sleep(pause).await,
                looked => return looked,
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Ends when no request is left.
    pub async fn requests_ended(&self) {
        self.0.wait_until(|state| state.requests.is_empty() && state.taken.is_empty()).await;
    }

    /// Requests that are left fail now, whatever the disk does.
    pub fn give_up(&self) {
        self.0.closing.store(true, Ordering::Release);
        self.0.end(WalError::Closed);
    }
}

impl State {
    fn check_open(&self) -> Result<(), WalError> {
        self.closed.clone().map_or(Ok(()), Err)
    }

    fn status(&self) -> WalStatus {
        WalStatus {
            closed_reason: self.closed.clone(),
            estimated_bytes: self.open.len() + self.under_way.0,
            last_flushed_wal_id: self.flushed_id,
            last_flushed_seq: self.flushed_seq,
            buffered_wal_entries_count: self.open.rows + self.under_way.1,
        }
    }

    fn checked_status(&self) -> Result<WalStatus, WalStatus> {
        match self.closed {
            None => Ok(self.status()),
            Some(_) => Err(self.status()),
        }
    }

    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let next = Record::new(self.open.len().min(1 << 20));
        let record = std::mem::replace(&mut self.open, next);
        self.under_way.0 += record.len();
        self.under_way.1 += record.rows;
        self.sealed.push_back((self.next_id, record));
        self.next_id += 1;
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Makes sure that somebody writes what is sealed.
    fn kick(self: &Arc<Log>, state: &mut State) {
        if state.appending || (state.sealed.is_empty() && state.requests.is_empty()) {
            return;
        }
        state.appending = true;
        let log = self.clone();
        self.runtime.spawn_blocking(move || log.append_sealed());
    }

    fn append_sealed(&self) {
        let mut place = self.place.lock().unwrap_or_else(|e| e.into_inner());
        while let Some(records) = self.next_round() {
            let mut round = Round { records, durable: 0 };
            match self.write_until_done(&mut place, &mut round) {
                Ok(()) => self.written(&round.records),
                Err(error) => self.end(error),
            }
            self.round_ended.notify_waiters();
        }
        self.round_ended.notify_waiters();
    }

    /// What the appender writes next, maybe nothing but answers; None: it ends.
    fn next_round(&self) -> Option<Vec<(u64, Record)>> {
        let mut state = self.lock();
        if !state.requests.is_empty() {
            state.seal();
            state.taken = std::mem::take(&mut state.requests);
        }
        if state.closed.is_some() || (state.sealed.is_empty() && state.taken.is_empty()) {
            state.appending = false;
            return None;
        }
        Some(state.sealed.drain(..).collect())
    }

    async fn wait_until(&self, holds: impl Fn(&State) -> bool) {
        until(&self.round_ended, || holds(&self.lock())).await;
    }

    fn write_until_done(&self, place: &mut Place, round: &mut Round) -> Result<(), WalError> {
        let mut pause = RETRY_FIRST;
        if round.records.is_empty() {
            return Ok(());
        }
        round.records.iter_mut().for_each(|(_, record)| record.finish());
        let mut fresh = false;
        loop {
            let dir = std::path::PathBuf::from(self.tenure.dir.files.place(""));
            let result = self.health.watched("APPEND", &dir, || self.write(place, round, fresh));
            match result {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(WalError::Fenced),
                Err(error) if self.closing.load(Ordering::Acquire) => {
                    return Err(WalError::Unavailable(Arc::new(error)));
                }
                Err(_) => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_MAX);
                    fresh = place.segment.is_torn() && !self.blank(place);
                }
            }
        }
    }

    /// True: durable. False: fenced.
    fn write(&self, place: &mut Place, round: &mut Round, fresh: bool) -> io::Result<bool> {
        if !self.tenure.keep() {
            return Ok(false);
        }
        let mut fresh = fresh;
        for (id, record) in &mut round.records[round.durable..] {
            if fresh || !place.segment.has_room(record.len()) {
                let Some(segment) = self.next_segment(*id, record.len(), place)? else { return Ok(false) };
                (place.segment, place.noted_size) = (segment, None);
                fresh = false;
            }
            if place.noted_size.is_none() && !self.note_segment(place, *id)? {
                return Ok(false);
            }
            place.segment.append(*id, record, place.last_crc)?;
            place.segment.sync()?;
            place.last_crc = record.payload_crc();
            round.durable += 1;
        }
        if place.noted_size != Some(place.segment.size()) {
            self.tenure.note_size(place.segment.size())?;
            place.noted_size = Some(place.segment.size());
        }
        // In this order: a marker goes after the last of its segments is gone.
        Ok(!self.tenure.dir.is_fenced(self.tenure.epoch)? && !place.segment.is_removed()?)
    }

    /// The newest segment has its name: is it ours to write to? Then the book says that it is there.
    fn note_segment(&self, place: &mut Place, first_id: u64) -> io::Result<bool> {
        let name = place.segment.name;
        if !self.tenure.is_current()? {
            self.tenure.dir.remove(name)?;
            return Ok(false);
        }
        let size = place.segment.size();
        self.tenure.note(Note { segments: name.number + 1, size, durable_below: first_id })?;
        place.noted_size = Some(size);
        Ok(true)
    }

    /// Makes a segment that holds nothing as good as new, after a write that failed. The book goes first: a file must not
    /// be shorter than that says. False: it cannot be used again.
    fn blank(&self, place: &mut Place) -> bool {
        if !place.segment.is_blank() {
            return false;
        }
        if place.noted_size.is_some_and(|size| size != 0) {
            if self.tenure.note_size(0).is_err() {
                return false;
            }
            place.noted_size = Some(0);
        }
        place.segment.blank().is_ok()
    }

    /// The segment after all that this writer began; none if somebody came after it.
    fn next_segment(&self, first_id: u64, bytes: usize, place: &Place) -> io::Result<Option<OpenSegment>> {
        let (dir, epoch) = (&self.tenure.dir, self.tenure.epoch);
        let listing = dir.list()?;
        if listing.newest_epoch().is_some_and(|newest| newest > epoch) {
            return Ok(None);
        }
        let last = listing.segments.iter().rev().find(|name| name.epoch == epoch);
        let number = last.map_or(0, |name| name.number.saturating_add(1)).max(place.segment.name.number + 1);
        let size = dir.size_for(bytes);
        let beginning = Beginning { first_id, previous: place.last_crc, records: &mut [], size };
        dir.begin(SegmentName { epoch, number }, beginning).map(Some)
    }

    fn written(&self, records: &[(u64, Record)]) {
        let (status, listener, taken) = {
            let mut state = self.lock();
            if state.closed.is_some() {
                return; // given up meanwhile: everybody was told
            }
            for (_, record) in records {
                state.under_way.0 -= record.len();
                state.under_way.1 -= record.rows;
                self.figures.bytes.increment(record.len() as u64);
            }
            if let Some((id, newest)) = records.last() {
                state.flushed_id = *id;
                state.flushed_seq = Some(newest.last_seq);
            }
            (state.status(), state.listener.clone(), std::mem::take(&mut state.taken))
        };
        self.figures.flushes.increment(records.len() as u64);
        self.figures.unflushed.set(status.estimated_bytes as i64);
        if let Some(listener) = listener.filter(|_| !records.is_empty()) {
            listener(WalEvent::WalFlushed(status));
        }
        taken.into_iter().for_each(|request| request(Ok(())));
    }

    /// Says durably what was acknowledged, so that a loss at the end shows.
    fn note_end(&self) -> io::Result<()> {
        let durable_below = self.lock().flushed_id.saturating_add(1);
        self.tenure.note_end(durable_below)
    }

    /// The log takes nothing more, for this reason.
    fn end(&self, reason: WalError) {
        let (status, listener, requests) = {
            let mut state = self.lock();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(reason.clone());
            state.open = Record::new(0);
            state.sealed.clear();
            state.under_way = (0, 0);
            let mut requests = std::mem::take(&mut state.taken);
            requests.append(&mut state.requests);
            (state.status(), state.listener.clone(), requests)
        };
        if let Some(listener) = listener {
            listener(WalEvent::WalClosed(status));
        }
        requests.into_iter().for_each(|request| request(Err(reason.clone())));
        self.round_ended.notify_waiters();
    }
}

#[async_trait]
impl WalWriter for LogWriter {
    async fn append(&mut self, write_batch: &[RowEntry]) -> Result<(), WalError> {
        let mut state = self.0.lock();
        state.check_open()?;
        state.open.append(write_batch)?;
        if state.open.len() >= self.0.record_bytes_max {
            state.seal();
            self.0.kick(&mut state);
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<WalFlushResult, WalError> {
        let (done, result) = oneshot::channel();
        let mut state = self.0.lock();
        state.check_open()?;
        state.seal();
        let wal_id = state.next_id - 1;
        state.requests.push(Box::new(move |result| drop(done.send(result))));
        self.0.kick(&mut state);
        let completion = async move { result.await.unwrap_or(Err(WalError::Closed)) }.boxed();
        Ok(WalFlushResult { wal_id, completion })
    }

    fn observer(&self) -> Box<dyn WalObserver> {
        Box::new(LogObserver(self.0.clone()))
    }

    fn status(&self) -> Result<WalStatus, WalStatus> {
        self.0.lock().checked_status()
    }

    async fn close(&mut self) -> Result<(), WalError> {
        self.0.closing.store(true, Ordering::Release);
        self.0.wait_until(|state| !state.appending).await;
        let noted = self.0.note_end();
        self.0.end(WalError::Closed);
        let place = self.0.place.lock().unwrap_or_else(|e| e.into_inner());
        if let Err(error) = noted.and_then(|()| place.segment.end()) {
            log::warn!("the last segment keeps its size: {error}");
        }
        drop(place);
        self.0.tenure.end();
        Ok(())
    }
}

struct LogObserver(Arc<Log>);

impl WalObserver for LogObserver {
    fn status(&self) -> Result<WalStatus, WalStatus> {
        self.0.lock().checked_status()
    }

    fn subscribe(&self, listener: WalStatusListener) -> Result<(), WalError> {
        let closed = {
            let mut state = self.0.lock();
            state.listener = Some(listener.clone());
            state.closed.is_some().then(|| state.status())
        };
        if let Some(status) = closed {
            listener(WalEvent::WalClosed(status));
        }
        Ok(())
    }
}
