//! Closing a database: what was accepted ends, then the engine; or both are given up.

use crate::cq::{Event, HandleRef, Owned, EV_CLOSED};
use crate::db::{Db, GivenUp};
use crate::error::{close_status, Failure, ECLOSED, EINTERNAL, EINVAL, EUNAVAIL, OK};
use crate::ffi::{counted, guard, guard_or, panic_text};
use crate::requests::{FlushMsg, WriteMsg};
use futures::FutureExt;
use slatedb::config::{CloseOptions, FlushOptions, FlushType};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

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
        Ok(Err(payload)) => Err(Failure::new(EINTERNAL, panic_text(payload.as_ref()))),
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
        let Some(db) = counted(db) else { return EINVAL };
        if db.closing.swap(true, Ordering::AcqRel) {
            return ECLOSED;
        }
        db.io.clone().spawn(async move {
            let result = close(&db, flush, timeout_ms).await;
            db.end_watch().await;
            let mut event = match result {
                Ok(()) => Event::new(EV_CLOSED, token),
                Err(failure) => Event::failed(EV_CLOSED, token, failure),
            };
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
