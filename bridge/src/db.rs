//! One open database: its handle, how it is opened, watched and closed.
//!
//! Four tasks serve it: the writer (write.rs), one flusher for the WAL and one for memtables (flush.rs), and the
//! watcher, which copies the durable sequence into an atomic and says DB_DOWN once. Close asks the first three to
//! finish what was accepted, waits for reads under way, then closes the engine; after a timeout it sets
//! `give_up`, which ends whatever still waits, so that every accepted call has its event before EV_CLOSED.

use crate::activity::Activity;
use crate::admin::finish_removal;
use crate::clock::{has_wal_objects, last_writer, EngineClock};
use crate::compaction::{with_spare_place, Account, Pace, PacedStore, Supplier};
use crate::cq::{Cq, DbRef, Ending, Event, EV_CLOSED, EV_DB_DOWN, EV_OPENED, EV_REFRESHED};
use crate::env::Env;
use crate::error::{close_status, Failure, ECLOSED, EINVAL, EUNAVAIL, OK};
use crate::ffi::{guard, guard_or, handle, opt_str, panic_text, req_str};
use crate::flush::{self, FlushMsg};
use crate::settings;
use crate::store::{resolve, Store, StoreArgs};
use crate::until::until;
use crate::wal_log::{at_home, end_log, end_objects, holds_more, LogDir, LogGc, LogHandle, LogInit};
use crate::write::{self, WriteMsg};
use futures::FutureExt;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::ObjectStore;
use slatedb::admin::Admin;
use slatedb::config::{CloseOptions, FlushOptions, FlushType, Settings};
use slatedb::{
    CloseReason, CompactorBuilder, DbStatus, GarbageCollectorBuilder, PrefixExtractor, PrefixTarget,
};
use slatedb_common::metrics::DefaultMetricsRecorder;
use std::collections::VecDeque;
use std::ffi::c_char;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch, Notify};
use tokio::task::JoinHandle;

const QUEUED_BYTES_DEFAULT: u64 = 64 << 20;
const READS_MAX: usize = 8192; // SDBX_READS_MAX
/// Times an open begins anew because somebody else wrote to the WAL in its other form meanwhile.
const CONVERSIONS_MAX: usize = 3;

#[repr(C)]
pub struct OpenArgs {
    pub store: StoreArgs,
    pub wal: StoreArgs,
    pub path: *const c_char,
    pub settings_json: *const c_char,
    pub max_queued_bytes: u64,
    pub tag: u64,
    pub flags: u32,
    pub reserved: u32,
    pub expected_epoch: u64,
}

/// The open takes over from the writer with `expected_epoch` and from no other.
const OPEN_GUARDED: u32 = 1; // SDBX_OPEN_GUARDED

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
    pub store: Arc<Store>,
    pub wal_store: Option<Arc<Store>>,
    /// The WAL, where that is a log.
    pub log: Option<LogHandle>,
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
    reads_ended: Notify,
    down_said: AtomicBool,
    open_token: u64,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

/// Counts a read under way; close waits for it.
pub struct ReadGuard(Arc<Db>);

impl Drop for ReadGuard {
    fn drop(&mut self) {
        if self.0.reads.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.reads_ended.notify_waiters();
        }
    }
}

impl Db {
    /// The newest durable sequence, also kept in the atomic.
    pub fn note_durable(&self) -> u64 {
        let seq = self.status.borrow().durable_seq;
        self.advance_durable(seq)
    }

    fn advance_durable(&self, seq: u64) -> u64 {
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
            return Err(crate::error::EAGAIN);
        }
        let guard = ReadGuard(self.clone());
        self.check_open()?; // after counting: close either sees this read or this read sees close
        Ok(guard)
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
                Err(Failure::new(crate::error::EINTERNAL, format!("panic: {}", panic_text(payload.as_ref()))))
            }),
            _ = given_up.wait_for(|so_far| *so_far >= with) => Err(Failure::given_up()),
        }
    }

    fn say_down(self: &Arc<Db>, reason: CloseReason) {
        if self.down_said.swap(true, Ordering::AcqRel) {
            return;
        }
        let text = match self.engine.snapshot() {
            Err(error) => error.to_string(),
            Ok(_) => "closed".to_string(),
        };
        let failure = Failure::new(close_status(reason), text);
        self.cq.push(Event::failed(EV_DB_DOWN, self.open_token, failure).of(self));
    }
}

/// The first byte of a key is its segment.
struct FirstByte;

impl PrefixExtractor for FirstByte {
    fn name(&self) -> &str {
        "silo-first-byte-v1"
    }

    fn prefix_len(&self, target: &PrefixTarget) -> Option<usize> {
        let bytes = match target {
            PrefixTarget::Point(bytes) | PrefixTarget::Prefix(bytes) => bytes,
        };
        (!bytes.is_empty()).then_some(1)
    }
}

/// The arguments of an open, checked.
pub struct OpenPlan {
    pub store: Arc<Store>,
    /// Where the WAL lies, if not with the rest.
    pub wal_store: Option<Arc<Store>>,
    pub path: Path,
    settings: Settings,
    queued_bytes_max: u64,
    tag: u64,
    /// Whose successor the open may be; `None`: anybody's.
    expected: Option<u64>,
}

/// # Safety
/// The strings of `args` live for the call.
pub unsafe fn plan(args: &OpenArgs) -> Result<OpenPlan, Failure> {
    if args.flags & !OPEN_GUARDED != 0 {
        return Err(Failure::invalid("open flags: unknown bit"));
    }
    let store = resolve(&args.store)?;
    let wal_store = if args.wal.url.is_null() { None } else { Some(resolve(&args.wal)?) };
    let path = store.locate(req_str(args.path, "path")?)?;
    if path.parts().next().is_none() {
        return Err(Failure::invalid("path: empty, and the store url has no path either"));
    }
    let settings = settings::build(opt_str(args.settings_json, "settings")?.unwrap_or(""), store.kind)?;
    let queued_bytes_max = match args.max_queued_bytes {
        0 => QUEUED_BYTES_DEFAULT,
        bytes => bytes,
    };
    let expected = (args.flags & OPEN_GUARDED != 0).then_some(args.expected_epoch);
    Ok(OpenPlan { store, wal_store, path, settings, queued_bytes_max, tag: args.tag, expected })
}

/// What the engine needs from the environment; the environment itself stays with C.
struct Surroundings {
    io: Handle,
    bg: Handle,
    cache: Arc<dyn slatedb::db_cache::DbCache>,
    merging: Account,
    /// The writer epoch that the open claims, once it is known.
    epoch: AtomicU64,
    /// Whom it may take over from next: at first as the plan says, then itself. ANYBODY: whoever wrote last.
    expected: AtomicU64,
}

const ANYBODY: u64 = u64::MAX;

impl OpenPlan {
    pub fn wal_store(&self) -> &Arc<Store> {
        self.wal_store.as_ref().unwrap_or(&self.store)
    }

    /// The WAL's store if it is not the main one.
    fn wal_objects(&self) -> Option<Arc<dyn ObjectStore>> {
        self.wal_store.as_ref().map(|wal| {
            if wal.base.parts().next().is_none() {
                wal.objects.clone()
            } else {
                Arc::new(PrefixStore::new(wal.objects.clone(), wal.base.clone())) as Arc<dyn ObjectStore>
            }
        })
    }

    /// The WAL's objects, be it that it is a log now.
    fn wal_or_main_objects(&self) -> Arc<dyn ObjectStore> {
        self.wal_objects().unwrap_or_else(|| self.store.objects.clone())
    }

    /// Is the WAL to be a log?
    fn wants_log(&self) -> bool {
        self.wal_store().wants_log()
    }

    /// The log, where there is one or is to be one.
    async fn log_dir(&self) -> Result<Option<LogDir>, Failure> {
        match self.wal_store().log_dir(&self.path) {
            Some(dir) => at_home(dir, &self.path, &self.store.objects, self.wants_log()).await,
            None => Ok(None),
        }
    }
}

/// A WAL left behind in the other form is replayed from there into sorted files first.
async fn convert_wal(plan: &OpenPlan, around: &Surroundings, log: &LogDir) -> Result<(), Failure> {
    let admin = Admin::builder(plan.path.clone(), plan.store.objects.clone()).build();
    let Some(manifest) = admin.read_manifest(None).await? else { return Ok(()) };
    let replayed = manifest.replay_after_wal_id();
    let in_objects = has_wal_objects(&plan.path, &plan.wal_or_main_objects(), replayed + 1).await?;
    if plan.wants_log() && !in_objects {
        return Ok(()); // what is in the log is read by the open
    }
    let other = match (plan.wants_log(), holds_more(log.clone(), replayed).await?) {
        (false, false) => return Ok(()),
        (false, true) if !in_objects => Some(log.clone()),
        (true, false) => None,
        _ => {
            let text = format!("{}: the write-ahead log has records both as a log and as objects", plan.path);
            return Err(Failure::new(crate::error::EDATA, text));
        }
    };
    log::info!("{}: the write-ahead log is converted", plan.path);
    let (engine, _) = build_engine(plan, around, Arc::default(), &Arc::new(Activity::new()), other).await?;
    let options = CloseOptions::default().with_flush_type(Some(FlushType::MemTable));
    Ok(engine.close_with_options(options).await?)
}

/// Whoever has the database open in the other form is fenced there. Had it acknowledged anything since the look before?
async fn other_form_has_more(plan: &OpenPlan, engine: &slatedb::Db, log: &LogDir) -> Result<bool, Failure> {
    let manifest = engine.manifest();
    let replayed = manifest.replay_after_wal_id();
    if !plan.wants_log() {
        return Ok(end_log(log.clone(), manifest.writer_epoch(), replayed).await?);
    }
    let objects = plan.wal_or_main_objects();
    end_objects(log.clone(), &plan.path, &objects, replayed).await?;
    Ok(has_wal_objects(&plan.path, &objects, replayed + 1).await?)
}

/// The engine over the WAL in the form that is wanted, with nothing left in the other one and nobody writing there.
async fn open_engine(
    plan: &OpenPlan,
    around: &Surroundings,
    recorder: &Arc<DefaultMetricsRecorder>,
    activity: &Arc<Activity>,
) -> Result<(slatedb::Db, Option<LogHandle>), Failure> {
    finish_removal(plan).await?;
    for _ in 0..CONVERSIONS_MAX {
        let log = plan.log_dir().await?;
        if let Some(log) = &log {
            convert_wal(plan, around, log).await?;
        }
        let wanted = log.clone().filter(|_| plan.wants_log());
        let (engine, handle) = build_engine(plan, around, recorder.clone(), activity, wanted).await?;
        let Some(log) = log else { return Ok((engine, handle)) };
        match other_form_has_more(plan, &engine, &log).await {
            Ok(false) => return Ok((engine, handle)),
            Ok(true) => engine.close_with_options(CloseOptions::default().with_flush_type(None)).await?,
            Err(failure) => {
                let _ = engine.close_with_options(CloseOptions::default().with_flush_type(None)).await;
                return Err(failure);
            }
        }
    }
    Err(Failure::new(EUNAVAIL, "others keep opening this database with the write-ahead log in another form"))
}

async fn build_engine(
    plan: &OpenPlan,
    around: &Surroundings,
    recorder: Arc<DefaultMetricsRecorder>,
    activity: &Arc<Activity>,
    log: Option<LogDir>,
) -> Result<(slatedb::Db, Option<LogHandle>), Failure> {
    // The shared cache tells databases apart by this number; an open never sees entries of an earlier one.
    static CACHE_ID: AtomicU64 = AtomicU64::new(1);
    let main = plan.store.objects.clone();
    let wal = plan.wal_objects();
    let last = last_writer(&plan.path, &main, wal.as_ref().unwrap_or(&main)).await?;
    let expected = around.expected.load(Ordering::Acquire);
    if expected != ANYBODY && expected != last.epoch {
        let text = format!("{}: its newest writer is {}, not {expected}", plan.path, last.epoch);
        return Err(Failure::new(crate::error::EFENCED, text));
    }
    around.epoch.store(last.epoch + 1, Ordering::Release);
    let clock = Arc::new(EngineClock::starting_at_least(last.tick_ms, activity.clone()));
    let handle = Arc::new(OnceLock::new());
    let mut builder = slatedb::Db::builder(plan.path.clone(), main.clone())
        .with_settings(plan.settings.clone())
        .with_expected_epoch(last.epoch) // so the epoch is known, whatever happens to the claim
        .with_db_cache(around.cache.clone(), CACHE_ID.fetch_add(1, Ordering::Relaxed))
        .with_system_clock(clock.clone())
        .with_segment_extractor(Arc::new(FirstByte))
        .with_gc_runtime(around.bg.clone())
        .with_metrics_recorder(recorder.clone());
    if let Some(dir) = log {
        if let Some(mut options) = plan.settings.garbage_collector_options.clone() {
            settings::for_log(&mut options);
            let gc = GarbageCollectorBuilder::new(plan.path.clone(), main.clone()).with_options(options);
            builder = builder.with_gc_builder(gc.with_wal_gc(Arc::new(LogGc::new(handle.clone()))));
        }
        builder = builder.with_wal_writer(Box::new(LogInit {
            dir,
            health: plan.wal_store().health.clone(),
            clock,
            recorder,
            record_bytes_max: plan.settings.l0_sst_size_bytes,
            handle: handle.clone(),
        }));
    }
    if let Some(options) = plan.settings.compactor_options.clone() {
        let pace = Arc::new(Pace::new(around.merging.clone()));
        let paced = Arc::new(PacedStore { inner: main, pace: pace.clone() });
        builder = builder.with_compactor_builder(
            CompactorBuilder::new(plan.path.clone(), paced)
                .with_runtime(around.bg.clone())
                .with_scheduler_supplier(Arc::new(Supplier { activity: activity.clone(), pace }))
                .with_options(with_spare_place(options)),
        );
    }
    if let Some(wal) = wal {
        builder = builder.with_wal_object_store(wal);
    }
    let engine = builder.build().await?;
    if expected != ANYBODY {
        around.expected.store(last.epoch + 1, Ordering::Release);
    }
    Ok((engine, handle.get().cloned()))
}

async fn open(
    plan: OpenPlan,
    around: &Surroundings,
    cq: Arc<Cq>,
    token: u64,
    cancelled: oneshot::Receiver<()>,
) -> Result<Arc<Db>, Failure> {
    let recorder = Arc::new(DefaultMetricsRecorder::new());
    let activity = Arc::new(Activity::new());
    let building = AssertUnwindSafe(open_engine(&plan, around, &recorder, &activity)).catch_unwind();
    let (engine, log) = tokio::select! {
        biased;
        built = building => match built {
            Ok(result) => result?,
            Err(payload) => {
                let text = format!("panic: {}", panic_text(payload.as_ref()));
                return Err(Failure::new(crate::error::EINTERNAL, text));
            }
        },
        _ = cancelled => return Err(Failure::new(ECLOSED, "the open was cancelled")),
    };
    let status = engine.subscribe();
    let durable = status.borrow().durable_seq;
    let (writes, write_rx) = mpsc::unbounded_channel();
    let (wal_flushes, wal_rx) = mpsc::unbounded_channel();
    let (memtable_flushes, memtable_rx) = mpsc::unbounded_channel();
    let db = Arc::new(Db {
        engine,
        cq,
        io: around.io.clone(),
        activity,
        recorder,
        store: plan.store,
        wal_store: plan.wal_store,
        log,
        writes,
        wal_flushes,
        memtable_flushes,
        status,
        give_up: watch::channel(GivenUp::Nothing).0,
        queued_bytes: AtomicU64::new(0),
        queued_bytes_max: plan.queued_bytes_max,
        undurable: Mutex::new(VecDeque::new()),
        tag: plan.tag,
        write_gate: tokio::sync::Mutex::new(()),
        writes_accepted: AtomicU64::new(0),
        writes_done: AtomicU64::new(0),
        write_done: Notify::new(),
        flushes: AtomicUsize::new(0),
        applied: AtomicU64::new(durable),
        durable: AtomicU64::new(durable),
        closing: AtomicBool::new(false),
        reads: AtomicUsize::new(0),
        reads_ended: Notify::new(),
        down_said: AtomicBool::new(false),
        open_token: token,
        watcher: Mutex::new(None),
    });
    around.io.spawn(write::run(db.clone(), write_rx));
    around.io.spawn(flush::run(db.clone(), wal_rx, FlushType::Wal));
    around.io.spawn(flush::run(db.clone(), memtable_rx, FlushType::MemTable));
    Ok(db)
}

async fn watch_status(db: Arc<Db>) {
    let mut status = db.status.clone();
    loop {
        let (durable, reason) = {
            let now = status.borrow_and_update();
            (now.durable_seq, now.close_reason)
        };
        db.advance_durable(durable);
        match reason {
            Some(CloseReason::Clean) => return,
            Some(reason) => return db.say_down(reason),
            None => {}
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_open(env: *const Env, cq: *const Cq, args: *const OpenArgs, token: u64) -> i32 {
    guard(|| {
        let (Some(env), Some(args), false) = (env.as_ref(), args.as_ref(), cq.is_null()) else {
            return EINVAL;
        };
        Arc::increment_strong_count(cq);
        let cq = Arc::from_raw(cq);
        // Bad arguments come back as an event too: it has room for the text.
        let plan = match plan(args) {
            Ok(plan) => plan,
            Err(failure) => {
                cq.push(Event { db_tag: args.tag, ..Event::failed(EV_OPENED, token, failure) });
                return OK;
            }
        };
        let tag = args.tag;
        let (cancel, cancelled) = oneshot::channel();
        cq.opens.lock().unwrap_or_else(|e| e.into_inner()).insert(token, cancel);
        let around = Surroundings {
            io: env.io().clone(),
            bg: env.bg().clone(),
            cache: env.cache.clone(),
            merging: env.merging.clone(),
            epoch: AtomicU64::new(0),
            expected: AtomicU64::new(plan.expected.unwrap_or(ANYBODY)),
        };
        env.io().spawn(async move {
            let opened = open(plan, &around, cq.clone(), token, cancelled).await;
            let epoch = around.epoch.load(Ordering::Acquire);
            cq.opens.lock().unwrap_or_else(|e| e.into_inner()).remove(&token);
            match opened {
                Err(failure) => {
                    cq.push(Event { db_tag: tag, epoch, ..Event::failed(EV_OPENED, token, failure) })
                }
                Ok(db) => {
                    let seq = db.durable.load(Ordering::Acquire);
                    let gives = DbRef::Gives(db.clone());
                    cq.push(Event { seq, epoch, db: gives, db_tag: tag, ..Event::new(EV_OPENED, token) });
                    let task = db.io.spawn(watch_status(db.clone())); // after OPENED: DOWN never comes before it
                    *db.watcher.lock().unwrap_or_else(|e| e.into_inner()) = Some(task);
                }
            }
        });
        OK
    })
}

async fn stop_writer(db: &Arc<Db>) {
    let (done, rx) = oneshot::channel();
    if db.writes.send(WriteMsg::Stop(done)).is_ok() {
        let _ = rx.await;
    }
}

async fn stop_flusher(flushes: &mpsc::UnboundedSender<FlushMsg>) {
    let (done, rx) = oneshot::channel();
    if flushes.send(FlushMsg::Stop(done)).is_ok() {
        let _ = rx.await;
    }
}

/// Ends the three tasks after what was accepted, then waits for reads. Those that have ended are passed over.
async fn settle(db: &Arc<Db>) {
    stop_writer(db).await;
    stop_flusher(&db.wal_flushes).await;
    stop_flusher(&db.memtable_flushes).await;
    if let Some(log) = &db.log {
        log.requests_ended().await;
    }
    until(&db.reads_ended, || db.reads.load(Ordering::Acquire) == 0).await;
}

/// Flushes memtables for the last time if that is wanted; says what is left to flush. They wait for merges when there are too
/// many files to add another: what they cannot write in time stays in the write-ahead log, from where the next open reads it.
async fn end_memtables(db: &Arc<Db>, flush: Option<FlushType>, within: Duration) -> Option<FlushType> {
    let ending = async {
        stop_flusher(&db.memtable_flushes).await;
        if matches!(flush, Some(FlushType::MemTable)) {
            let options = FlushOptions { flush_type: FlushType::MemTable };
            let _ = db.engine.flush_with_options(options).await; // the close that follows meets the same failure
        }
    };
    if tokio::time::timeout(within, ending).await.is_ok() {
        return flush;
    }
    log::warn!("memtables are not flushed after {within:?}: the next open replays the write-ahead log");
    db.give_up.send_replace(GivenUp::Memtables);
    flush.map(|_| FlushType::Wal)
}

async fn close_engine(db: &Arc<Db>, flush: Option<FlushType>, timeout_ms: u32) -> Result<(), Failure> {
    stop_writer(db).await;
    let half = Duration::from_millis(u64::from(timeout_ms / 2));
    let flush = if timeout_ms == 0 { flush } else { end_memtables(db, flush, half).await };
    settle(db).await;
    let reason = db.status.borrow().close_reason;
    let closed = db.engine.close_with_options(CloseOptions::default().with_flush_type(flush)).await;
    match reason {
        Some(reason) => {
            Err(Failure::new(close_status(reason), "the database had failed before it was closed"))
        }
        None => closed.map_err(Failure::from),
    }
}

async fn close(db: &Arc<Db>, flush: Option<FlushType>, timeout_ms: u32) -> Result<(), Failure> {
    let orderly = AssertUnwindSafe(close_engine(db, flush, timeout_ms)).catch_unwind();
    let result = if timeout_ms == 0 {
        Ok(orderly.await)
    } else {
        tokio::time::timeout(Duration::from_millis(timeout_ms.into()), orderly).await
    };
    match result {
        Ok(Ok(result)) => result,
        Ok(Err(payload)) => Err(Failure::new(crate::error::EINTERNAL, panic_text(payload.as_ref()))),
        Err(_) => {
            db.give_up.send_replace(GivenUp::All);
            if let Some(log) = &db.log {
                log.give_up();
            }
            settle(db).await;
            Err(Failure::new(EUNAVAIL, format!("not closed within {timeout_ms} ms; given up")))
        }
    }
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_close(db: *const Db, flush: i32, timeout_ms: u32, token: u64) -> i32 {
    guard(|| {
        let flush = match flush {
            0 => None,
            1 => Some(FlushType::Wal),
            2 => Some(FlushType::MemTable),
            _ => return EINVAL,
        };
        let Some(db) = borrow(db) else { return EINVAL };
        if db.closing.swap(true, Ordering::AcqRel) {
            return ECLOSED;
        }
        db.io.clone().spawn(async move {
            let result = close(&db, flush, timeout_ms).await;
            db.down_said.store(true, Ordering::Release);
            let watcher = db.watcher.lock().unwrap_or_else(|e| e.into_inner()).take();
            if let Some(watcher) = watcher {
                watcher.abort();
                let _ = watcher.await;
            }
            let mut event = match result {
                Ok(()) => Event::new(EV_CLOSED, token),
                Err(failure) => Event::failed(EV_CLOSED, token, failure),
            };
            event.seq = db.note_durable();
            event.db = DbRef::Ends(Ending::of(&db));
            event.db_tag = db.tag;
            let cq = db.cq.clone();
            drop(db);
            cq.push(event);
        });
        OK
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_db_abandon(db: *const Db) {
    guard_or((), || {
        if !db.is_null() {
            let db = Arc::from_raw(db);
            db.closing.store(true, Ordering::Release);
            let io = db.io.clone();
            let _entered = io.enter(); // what the engine drops may want its runtime
            drop(db);
        }
    });
}

/// A counted reference to the database behind a handle.
///
/// # Safety
/// `db` is NULL or a live handle.
pub unsafe fn borrow(db: *const Db) -> Option<Arc<Db>> {
    if db.is_null() {
        return None;
    }
    Arc::increment_strong_count(db);
    Some(Arc::from_raw(db))
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_refresh(db: *const Db, token: u64) -> i32 {
    guard(|| {
        let Some(db) = borrow(db) else { return EINVAL };
        let reading = match db.begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        db.io.clone().spawn(async move {
            let refreshing = async { db.engine.refresh_manifest().await.map_err(Failure::from) };
            let event = match db.unless_given_up(GivenUp::All, refreshing).await {
                Ok(()) => Event { seq: db.note_durable(), ..Event::new(EV_REFRESHED, token) },
                Err(failure) => Event::failed(EV_REFRESHED, token, db.blame(failure)),
            };
            db.cq.push(event.of(&db));
            drop(reading);
        });
        OK
    })
}

impl Db {
    /// A task of the engine that was fenced drops its callers with a vague error: say what happened.
    pub fn blame(&self, failure: Failure) -> Failure {
        match self.status.borrow().close_reason {
            Some(CloseReason::Fenced) => Failure::new(crate::error::EFENCED, failure.text),
            _ => failure,
        }
    }
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
