//! Closing a database: what was accepted ends, then the engine; or both are given up.

use crate::cq::{Event, HandleRef, Owned, CLOSED_EMPTY, EV_CLOSED};
use crate::db::{Db, GivenUp};
use crate::error::{close_status, Failure, ECLOSED, EINTERNAL, EINVAL, EUNAVAIL, OK};
use crate::ffi::{counted, guard, guard_or, panic_text};
use crate::flush::flush_memtable;
use crate::requests::{FlushMsg, WriteMsg};
use bytes::Bytes;
use futures::FutureExt;
use slatedb::config::{CloseOptions, FlushType};
use slatedb::WriteBatch;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Of a close without a time limit; longer than any process lives.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

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
    db.reads_ended().await;
}

/// All that was written goes into sorted files. Nobody writes to the database any more.
async fn sort_all(db: &Arc<Db>) -> Result<(), Failure> {
    flush_memtable(&db.engine).await?;
    let sorted = db.engine.manifest();
    let has_replay = match &db.log {
        Some(log) => log.flushed_id() > sorted.replay_after_wal_id(),
        None => db.place.has_replay(&sorted).await?,
    };
    if has_replay && touch(db).await? {
        flush_memtable(&db.engine).await?;
    }
    Ok(())
}

/// Writes a row as it is, or as it is not. The rows of the newest records may have gone into a sorted file before the
/// records were durable, with a note that they are to be replayed; the next memtable has a better one, if it has a row.
async fn touch(db: &Arc<Db>) -> Result<bool, Failure> {
    let manifest = db.engine.manifest();
    let Some(segment) = manifest.segments().first() else { return Ok(false) };
    let key = Bytes::from([segment.prefix(), &[0xff][..]].concat());
    let mut batch = WriteBatch::new();
    match db.engine.get(&key).await? {
        Some(value) => batch.put_bytes(key, value),
        None => batch.delete(&key),
    }
    db.note_applied(db.engine.write(batch).await?.seqnum(), 0);
    Ok(true)
}

/// Flushes memtables for the last time if that is wanted; says what is left to flush. They wait for merges when there are too
/// many files to add another: what they cannot write in time stays in the write-ahead log, from where the next open reads it.
async fn end_memtables(db: &Arc<Db>, flush: Option<FlushType>, within: Duration) -> Option<FlushType> {
    let ending = async {
        stop_flusher(&db.memtable_flushes).await;
        if matches!(flush, Some(FlushType::MemTable)) {
            let _ = sort_all(db).await; // the close that follows meets the same failure
        }
    };
    if tokio::time::timeout(within, ending).await.is_ok() {
        return flush;
    }
    log::warn!("memtables are not flushed after {within:?}: the next open replays the write-ahead log");
    db.give_up.send_replace(GivenUp::Memtables);
    flush.map(|_| FlushType::Wal)
}

/// A database that is closed with a flush of its WAL alone goes on elsewhere at once: whoever merges its files there shuts
/// out what is still on its way here, so that is not waited for.
async fn close_engine(db: &Arc<Db>, flush: Option<FlushType>, within: Duration) -> Result<(), Failure> {
    let moves = matches!(flush, Some(FlushType::Wal));
    if let Some(merger) = &db.merger {
        merger.ask_to_stop();
    }
    stop_writer(db).await;
    let flush = end_memtables(db, flush, within / 2).await;
    settle(db).await;
    if let Some(merger) = db.merger.as_ref().filter(|_| !moves) {
        merger.stop().await;
    }
    let reason = db.status.borrow().close_reason;
    let closed = db.engine.close_with_options(CloseOptions::default().with_flush_type(flush)).await;
    match reason {
        Some(reason) => {
            Err(Failure::new(close_status(reason), "the database had failed before it was closed"))
        }
        None => closed.map_err(Failure::from),
    }
}

async fn close(db: &Arc<Db>, flush: Option<FlushType>, within: Duration) -> Result<(), Failure> {
    let orderly = AssertUnwindSafe(close_engine(db, flush, within)).catch_unwind();
    match tokio::time::timeout(within, orderly).await {
        Ok(Ok(result)) => result,
        Ok(Err(payload)) => Err(Failure::new(EINTERNAL, panic_text(payload.as_ref()))),
        Err(_) => {
            db.give_up.send_replace(GivenUp::All);
            if let Some(log) = &db.log {
                log.give_up();
            }
            settle(db).await;
            Err(Failure::new(EUNAVAIL, format!("not closed within {} ms; given up", within.as_millis())))
        }
    }
}

/// Was everything that was ever written found in sorted files, by the newest manifest, and is that still this handle's? Then
/// a log that moves is said to have nothing.
async fn left_nothing(db: &Arc<Db>) -> Result<bool, Failure> {
    let written = db.applied.load(Ordering::Acquire);
    if db.engine.manifest().last_l0_seq() < written {
        return Ok(false); // no need to ask
    }
    let newest = db.place.newest_manifest().await?;
    let Some(newest) = newest.filter(|newest| newest.writer_epoch() == db.epoch) else { return Ok(false) };
    if newest.last_l0_seq() < written {
        return Ok(false);
    }
    let Some(log) = &db.log else { return Ok(!db.place.has_replay(&newest).await?) };
    if log.flushed_id() > newest.replay_after_wal_id() {
        return Ok(false);
    }
    if let Some(tenancy) = db.place.tenancy() {
        tenancy.move_out(db.epoch, log.tenure().dir.id).await?;
    }
    Ok(true)
}

/// The same; a doubt is a no.
async fn is_empty(db: &Arc<Db>, within: Duration) -> bool {
    let looking = AssertUnwindSafe(left_nothing(db)).catch_unwind();
    match tokio::time::timeout(within, looking).await {
        Ok(Ok(Ok(empty))) => empty,
        Ok(Ok(Err(failure))) => {
            log::warn!("{}: closed; what is left to replay is not known: {}", db.place.path, failure.text);
            false
        }
        Ok(Err(_)) | Err(_) => false,
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
        let Some(db) = counted(db) else { return EINVAL };
        if db.closing.swap(true, Ordering::AcqRel) {
            return ECLOSED;
        }
        let within = match timeout_ms {
            0 => FOR_EVER,
            ms => Duration::from_millis(ms.into()),
        };
        db.io.clone().spawn(async move {
            let begun = Instant::now();
            let asks = flush.is_some();
            let result = close(&db, flush, within).await;
            db.end_watch().await;
            let mut event = match result {
                Ok(()) => Event::new(EV_CLOSED, token),
                Err(failure) => Event::failed(EV_CLOSED, token, failure),
            };
            if event.status == OK && asks && is_empty(&db, within.saturating_sub(begun.elapsed())).await {
                event.flags = CLOSED_EMPTY;
            }
            event.seq = db.note_durable();
            // SAFETY: C was given one by EV_OPENED, and a database is closed once.
            event.db = HandleRef::Ends(unsafe { Owned::held_by_c(&db) });
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
