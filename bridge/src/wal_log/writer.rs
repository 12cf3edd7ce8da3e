//! Appending: the engine's WAL writer over a log.
//!
//! Batches gather in a record. One appender at a time, on a thread that may block, writes what is sealed, syncs once,
//! looks whether it was fenced, and only then says "durable". A write that fails is said to the store's health and
//! tried again in a fresh segment, for ever: bytes that a failed sync left behind are never counted on.
//!
//! A request is taken by the appender in its next round, which seals what has gathered by then and tells who asked from
//! its own thread: no task has to run between a sync and its news, or between a sync and the next. The engine's `flush`
//! is such a request; it seals the record before, for it wants its id.

use super::record::Record;
use super::segment::{LogDir, OpenSegment, SegmentName};
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

const RETRY_FIRST: Duration = Duration::from_millis(100);
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

/// Where a log begins.
pub struct Start {
    pub segment: OpenSegment,
    pub first_id: u64,
    /// A record is sealed without a flush when it has this many bytes.
    pub record_bytes_max: usize,
}

struct Log {
    dir: LogDir,
    epoch: u64,
    record_bytes_max: usize,
    health: Arc<Health>,
    runtime: Handle,
    figures: Figures,
    state: Mutex<State>,
    segment: Mutex<OpenSegment>, // of the appender
    closing: AtomicBool,
    round_ended: Notify,
}

pub struct LogWriter(Arc<Log>);

/// The log beside its writer.
#[derive(Clone)]
pub struct LogHandle(Arc<Log>);

impl LogWriter {
    pub fn new(dir: LogDir, start: Start, health: Arc<Health>, recorder: &dyn MetricsRecorder) -> LogWriter {
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
            dir,
            epoch: start.segment.name.epoch,
            record_bytes_max: start.record_bytes_max,
            health,
            runtime: Handle::current(),
            figures,
            state: Mutex::new(state),
            segment: Mutex::new(start.segment),
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
        let mut segment = self.segment.lock().unwrap_or_else(|e| e.into_inner());
        while let Some(mut records) = self.next_round() {
            match self.write_until_done(&mut segment, &mut records) {
                Ok(()) => self.written(&records),
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

    fn write_until_done(
        &self,
        segment: &mut OpenSegment,
        records: &mut [(u64, Record)],
    ) -> Result<(), WalError> {
        let mut pause = RETRY_FIRST;
        if records.is_empty() {
            return Ok(());
        }
        for (id, record) in records.iter_mut() {
            record.seal(*id, self.epoch);
        }
        let mut fresh = false;
        loop {
            let result =
                self.health.watched("APPEND", &self.dir.path, || self.write(segment, records, fresh));
            match result {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(WalError::Fenced),
                Err(error) if self.closing.load(Ordering::Acquire) => {
                    return Err(WalError::Unavailable(Arc::new(error)));
                }
                Err(_) => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_MAX);
                    fresh = true;
                }
            }
        }
    }

    /// True: durable. False: fenced.
    fn write(&self, segment: &mut OpenSegment, records: &[(u64, Record)], fresh: bool) -> io::Result<bool> {
        if fresh {
            *segment = self.next_segment(segment.name, &records[0])?;
        }
        for record in records {
            if !segment.has_room(record.1.len() as u64) {
                segment.sync(self.dir.fsync)?;
                *segment = self.next_segment(segment.name, record)?;
            }
            segment.append(record.1.bytes())?;
        }
        segment.sync(self.dir.fsync)?;
        // In this order: a marker goes after the last of its segments is gone.
        Ok(!self.dir.is_fenced(self.epoch)? && !segment.is_removed()?)
    }

    fn next_segment(&self, last: SegmentName, first: &(u64, Record)) -> io::Result<OpenSegment> {
        let mut name = SegmentName { number: last.number + 1, ..last };
        while self.dir.header(name)?.is_some() {
            name.number += 1; // a try that failed after its header was written
        }
        let _ = self.dir.remove(name); // a try that failed before
        let segment = self.dir.begin(name, first.1.len() as u64)?;
        segment.write_header(first.0)?;
        Ok(segment)
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
        self.0.end(WalError::Closed);
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
