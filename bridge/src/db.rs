//! One open database: its handle, what is under way on it, and how far it has got.
//!
//! Four tasks serve it: the writer (write.rs), one flusher for the WAL and one for memtables (flush.rs), and the
//! watcher (open.rs), which copies the durable sequence into an atomic and says DB_DOWN once. Close (close.rs) asks
//! the first three to finish what was accepted, waits for reads under way, then closes the engine; after a timeout
//! it sets `give_up`, which ends whatever still waits, so that every accepted call has its event before EV_CLOSED.

use crate::activity::Activity;
use crate::compaction::Merger;
use crate::cq::{Cq, Event, HandleRef, EV_DB_DOWN, EV_REFRESHED};
use crate::error::{close_status, Failure, EAGAIN, ECLOSED, EFENCED, EINTERNAL, EINVAL, OK};
use crate::ffi::{counted, guard, handle, panic_text};
use crate::place::Place;
use crate::requests::{FlushMsg, WriteMsg};
use crate::store::Kind;
use crate::until::until;
use crate::wal_log::LogHandle;
use futures::FutureExt;
use slatedb::{CloseReason, DbStatus};
use slatedb_common::metrics::DefaultMetricsRecorder;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch, Notify};
use tokio::task::JoinHandle;

const READS_MAX: usize = 8192; // SDBX_READS_MAX

/// What a close does not wait for any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GivenUp {
    Nothing,
    Memtables,
    All,
}

pub struct Db {
    pub engine: slatedb::Db,
    pub cq: Arc<Cq>,
    pub io: Handle,
    pub activity: Arc<Activity>,
    pub recorder: Arc<DefaultMetricsRecorder>,
    pub place: Place,
    /// The writer epoch this handle claimed.
    pub epoch: u64,
    /// The WAL, where that is a log.
    pub log: Option<LogHandle>,
    pub merger: Option<Merger>,
    pub writes: mpsc::UnboundedSender<WriteMsg>,
    pub wal_flushes: mpsc::UnboundedSender<FlushMsg>,
    pub memtable_flushes: mpsc::UnboundedSender<FlushMsg>,
    pub status: watch::Receiver<DbStatus>,
    pub give_up: watch::Sender<GivenUp>,
    pub queued_bytes: AtomicU64,
    pub queued_bytes_max: u64,
    /// Sequence and bytes of each write that is applied and not yet durable, oldest first.
    undurable: Mutex<VecDeque<(u64, u64)>>,
    pub tag: u64,
    /// Held by a write while it is applied, and by a flush while it begins.
    pub write_gate: tokio::sync::Mutex<()>,
    pub writes_accepted: AtomicU64,
    writes_done: AtomicU64,
    write_done: Notify,
    pub flushes: AtomicUsize,
    pub applied: AtomicU64,
    pub durable: AtomicU64,
    pub closing: AtomicBool,
    reads: AtomicUsize,
    read_ended: Notify,
    down_said: AtomicBool,
    open_token: u64,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

/// What an open has made, and what it was asked for.
pub struct Opened {
    pub engine: slatedb::Db,
    pub log: Option<LogHandle>,
    pub merger: Option<Merger>,
    pub activity: Arc<Activity>,
    pub recorder: Arc<DefaultMetricsRecorder>,
    pub cq: Arc<Cq>,
    pub io: Handle,
    pub place: Place,
    pub epoch: u64,
    pub queued_bytes_max: u64,
    pub tag: u64,
    pub open_token: u64,
}

/// What the tasks of a database take their work from.
pub struct Inboxes {
    pub writes: mpsc::UnboundedReceiver<WriteMsg>,
    pub wal_flushes: mpsc::UnboundedReceiver<FlushMsg>,
    pub memtable_flushes: mpsc::UnboundedReceiver<FlushMsg>,
}

/// Counts a read under way; close waits for it.
pub struct ReadGuard(Arc<Db>);

impl Drop for ReadGuard {
    fn drop(&mut self) {
        if self.0.reads.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.read_ended.notify_waiters();
        }
    }
}

impl Db {
    pub fn new(opened: Opened) -> (Arc<Db>, Inboxes) {
        let status = opened.engine.subscribe();
        let durable = status.borrow().durable_seq;
        let (writes, write_inbox) = mpsc::unbounded_channel();
        let (wal_flushes, wal_inbox) = mpsc::unbounded_channel();
        let (memtable_flushes, memtable_inbox) = mpsc::unbounded_channel();
        let db = Db {
            engine: opened.engine,
            cq: opened.cq,
            io: opened.io,
            activity: opened.activity,
            recorder: opened.recorder,
            place: opened.place,
            epoch: opened.epoch,
            log: opened.log,
            merger: opened.merger,
            writes,
            wal_flushes,
            memtable_flushes,
            status,
            give_up: watch::channel(GivenUp::Nothing).0,
            queued_bytes: AtomicU64::new(0),
            queued_bytes_max: opened.queued_bytes_max,
            undurable: Mutex::new(VecDeque::new()),
            tag: opened.tag,
            write_gate: tokio::sync::Mutex::new(()),
            writes_accepted: AtomicU64::new(0),
            writes_done: AtomicU64::new(0),
            write_done: Notify::new(),
            flushes: AtomicUsize::new(0),
            applied: AtomicU64::new(durable),
            durable: AtomicU64::new(durable),
            closing: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            read_ended: Notify::new(),
            down_said: AtomicBool::new(false),
            open_token: opened.open_token,
            watcher: Mutex::new(None),
        };
        let inboxes =
            Inboxes { writes: write_inbox, wal_flushes: wal_inbox, memtable_flushes: memtable_inbox };
        (Arc::new(db), inboxes)
    }

    /// Says how a call on this database went, where its events arrive.
    pub fn answer(self: &Arc<Db>, mut event: Event) {
        event.db = HandleRef::lent(self);
        event.db_tag = self.tag;
        self.cq.push(event);
    }

    /// The newest durable sequence, also kept in the atomic.
    pub fn note_durable(&self) -> u64 {
        let seq = self.status.borrow().durable_seq;
        self.advance_durable(seq)
    }

    pub fn advance_durable(&self, seq: u64) -> u64 {
        let seq = self.durable.fetch_max(seq, Ordering::AcqRel).max(seq);
        let mut undurable = self.undurable.lock().unwrap_or_else(|e| e.into_inner());
        let mut bytes = 0;
        while undurable.front().is_some_and(|(write, _)| *write <= seq) {
            bytes += undurable.pop_front().map_or(0, |(_, n)| n);
        }
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        seq
    }

    /// A write was applied: its bytes count until it is durable.
    pub fn note_applied(&self, seq: u64, bytes: u64) {
        self.applied.fetch_max(seq, Ordering::AcqRel);
        self.undurable.lock().unwrap_or_else(|e| e.into_inner()).push_back((seq, bytes));
        if self.durable.load(Ordering::Acquire) >= seq {
            self.advance_durable(seq); // flushed before it was noted
        }
    }

    /// A write was applied, or failed.
    pub fn note_write_ended(&self) {
        self.writes_done.fetch_add(1, Ordering::AcqRel);
        self.write_done.notify_waiters();
    }

    /// Ends when this many writes have ended.
    pub async fn writes_ended(&self, count: u64) {
        until(&self.write_done, || self.writes_done.load(Ordering::Acquire) >= count).await;
    }

    pub fn check_open(&self) -> Result<(), i32> {
        if self.closing.load(Ordering::Acquire) {
            return Err(ECLOSED);
        }
        Ok(())
    }

    pub fn begin_read(self: &Arc<Db>) -> Result<ReadGuard, i32> {
        if self.reads.fetch_add(1, Ordering::AcqRel) >= READS_MAX {
            self.reads.fetch_sub(1, Ordering::AcqRel);
            return Err(EAGAIN);
        }
        let guard = ReadGuard(self.clone());
        self.check_open()?; // after counting: close either sees this read or this read sees close
        Ok(guard)
    }

    /// Ends when no read is under way.
    pub async fn reads_ended(&self) {
        until(&self.read_ended, || self.reads.load(Ordering::Acquire) == 0).await;
    }

    /// The result of `work`, unless it is given up first or panics.
    pub async fn unless_given_up<T>(
        &self,
        with: GivenUp,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut given_up = self.give_up.subscribe();
        tokio::select! {
            biased;
            result = AssertUnwindSafe(work).catch_unwind() => result.unwrap_or_else(|payload| {
                Err(Failure::new(EINTERNAL, format!("panic: {}", panic_text(payload.as_ref()))))
            }),
            _ = given_up.wait_for(|so_far| *so_far >= with) => Err(Failure::given_up()),
        }
    }

    /// A task of the engine that was fenced drops its callers with a vague error: say what happened.
    pub fn blame(&self, failure: Failure) -> Failure {
        match self.status.borrow().close_reason {
            Some(CloseReason::Fenced) => Failure::new(EFENCED, failure.text),
            _ => failure,
        }
    }

    /// Is the database still this handle's? Says so as of a moment after the call.
    ///
    /// Where all of it lies on this machine the answer is in the log's directory: whoever takes over has marked this
    /// writer there before it serves. Without a log it is the newest manifest, listed anew.
    async fn prove(&self) -> Result<(), Failure> {
        if self.place.store.kind != Kind::Local {
            return Ok(self.engine.refresh_manifest().await?);
        }
        if let Some(reason) = self.status.borrow().close_reason {
            return Err(Failure::new(close_status(reason), "the database has failed"));
        }
        let is_ours = match &self.log {
            Some(log) => log.is_current().await?,
            None => {
                let newest = self.place.newest_manifest().await?;
                newest.is_some_and(|newest| newest.writer_epoch() == self.epoch)
            }
        };
        match is_ours {
            true => Ok(()),
            false => Err(Failure::new(EFENCED, "somebody else opened this database")),
        }
    }

    pub fn is_watched_by(&self, watcher: JoinHandle<()>) {
        *self.watcher.lock().unwrap_or_else(|e| e.into_inner()) = Some(watcher);
    }

    /// The watcher says nothing more.
    pub async fn end_watch(&self) {
        self.down_said.store(true, Ordering::Release);
        let watcher = self.watcher.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(watcher) = watcher {
            watcher.abort();
            let _ = watcher.await;
        }
    }

    pub fn say_down(self: &Arc<Db>, reason: CloseReason) {
        if self.down_said.swap(true, Ordering::AcqRel) {
            return;
        }
        let text = match self.engine.snapshot() {
            Err(error) => error.to_string(),
            Ok(_) => "closed".to_string(),
        };
        let failure = Failure::new(close_status(reason), text);
        self.answer(Event::failed(EV_DB_DOWN, self.open_token, failure));
    }
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_refresh(db: *const Db, token: u64) -> i32 {
    guard(|| {
        let Some(db) = counted(db) else { return EINVAL };
        let reading = match db.begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        db.io.clone().spawn(async move {
            let event = match db.unless_given_up(GivenUp::All, db.prove()).await {
                Ok(()) => Event { seq: db.note_durable(), ..Event::new(EV_REFRESHED, token) },
                Err(failure) => Event::failed(EV_REFRESHED, token, db.blame(failure)),
            };
            db.answer(event);
            drop(reading);
        });
        OK
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_applied_seq(db: *const Db) -> u64 {
    handle(db).map_or(0, |db| db.applied.load(Ordering::Acquire))
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_durable_seq(db: *const Db) -> u64 {
    handle(db).map_or(0, |db| db.durable.load(Ordering::Acquire))
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_queued_bytes(db: *const Db) -> u64 {
    handle(db).map_or(0, |db| db.queued_bytes.load(Ordering::Acquire))
}
