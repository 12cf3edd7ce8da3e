//! Opening a database: its engine is built, its tasks begin, C is given the handle.

use crate::activity::Activity;
use crate::compaction::Merger;
use crate::cq::{Cq, Event, HandleRef, Owned, EV_OPENED};
use crate::db::{Db, Inboxes, Opened};
use crate::engine::{open_engine, Surroundings, ANYBODY};
use crate::env::Env;
use crate::error::{Failure, ECLOSED, EINTERNAL, EINVAL, ENOTFOUND, OK};
use crate::ffi::{counted, guard, panic_text};
use crate::flush;
use crate::plan::{plan, OpenArgs, OpenPlan};
use crate::write;
use futures::FutureExt;
use slatedb::config::FlushType;
use slatedb::CloseReason;
use slatedb_common::metrics::DefaultMetricsRecorder;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tokio::sync::oneshot;

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
    let built = tokio::select! {
        biased;
        built = building => match built {
            Ok(result) => result?,
            Err(payload) => {
                let text = format!("panic: {}", panic_text(payload.as_ref()));
                return Err(Failure::new(EINTERNAL, text));
            }
        },
        _ = cancelled => return Err(Failure::new(ECLOSED, "the open was cancelled")),
    };
    let (db, inboxes) = Db::new(Opened {
        merger: built.merging.map(|make| Merger::start(&around.io, plan.place.path.to_string(), make)),
        engine: built.engine,
        log: built.log,
        activity,
        recorder,
        cq,
        io: around.io.clone(),
        place: plan.place,
        epoch: around.epoch.load(Ordering::Acquire),
        queued_bytes_max: plan.queued_bytes_max,
        tag: plan.tag,
        open_token: token,
    });
    let Inboxes { writes, wal_flushes, memtable_flushes } = inboxes;
    around.io.spawn(write::run(db.clone(), writes));
    around.io.spawn(flush::run(db.clone(), wal_flushes, FlushType::Wal));
    around.io.spawn(flush::run(db.clone(), memtable_flushes, FlushType::MemTable));
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
        let (Some(env), Some(args), Some(cq)) = (env.as_ref(), args.as_ref(), counted(cq)) else {
            return EINVAL;
        };
        // Bad arguments come back as an event too: it has room for the text.
        let plan = match plan(args) {
            Ok(plan) => plan,
            Err(failure) => {
                cq.push(Event { db_tag: args.tag, ..Event::failed(EV_OPENED, token, failure) });
                return OK;
            }
        };
        let tag = args.tag;
        let cancelled = cq.may_end_early(token);
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
            cq.has_ended(token);
            match opened {
                Err(failure) => {
                    cq.push(Event { db_tag: tag, epoch, ..Event::failed(EV_OPENED, token, failure) })
                }
                Ok(db) => {
                    let seq = db.durable.load(Ordering::Acquire);
                    let gives = HandleRef::Gives(Owned::new(db.clone()));
                    cq.push(Event { seq, epoch, db: gives, db_tag: tag, ..Event::new(EV_OPENED, token) });
                    let task = db.io.spawn(watch_status(db.clone())); // after OPENED: DOWN never comes before it
                    db.is_watched_by(task);
                }
            }
        });
        OK
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_open_cancel(cq: *const Cq, token: u64) -> i32 {
    guard(|| match cq.as_ref() {
        None => EINVAL,
        Some(cq) if cq.end_early(token) => OK,
        Some(_) => ENOTFOUND,
    })
}
