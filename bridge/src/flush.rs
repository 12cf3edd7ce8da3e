//! Flushes: one task for the WAL and one for memtables, each one flush at a time in the order of the calls.
//!
//! The engine freezes its WAL buffer as soon as it handles a flush request, so a request given to it early would
//! leave later writes for another object. Here a request waits for the one in flight to end, and for the writes
//! accepted before it, and freezes only then: everything applied by that moment rides along. A memtable flush has its
//! own task, so that building sorted files never holds up the WAL. Where the WAL is a log, its flushes go to the log.

use crate::cq::{Event, EV_FLUSHED};
use crate::db::{Db, GivenUp};
use crate::error::{Failure, EAGAIN, ECLOSED, EINVAL, OK};
use crate::ffi::{counted, guard};
use crate::requests::{FlushMsg, WriteMsg};
use slatedb::config::{FlushOptions, FlushType};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const FLUSHES_MAX: usize = 1024; // SDBX_FLUSHES_MAX
/// Two hand-overs between tasks; a timer cannot be shorter.
const FLUSH_BEGINS_WITHIN: Duration = Duration::from_millis(1);

pub fn finish(db: &Arc<Db>, token: u64, result: Result<(), Failure>) {
    let event = match result {
        Ok(()) => Event { seq: db.note_durable(), ..Event::new(EV_FLUSHED, token) },
        Err(failure) => Event::failed(EV_FLUSHED, token, db.blame(failure)),
    };
    db.flushes.fetch_sub(1, Ordering::AcqRel);
    db.answer(event);
}

/// The log of a database answers from its own thread, without the engine's tasks in between.
pub fn through_log(db: &Arc<Db>, token: u64) {
    let Some(log) = &db.log else { return };
    let owner = db.clone();
    log.flush(Box::new(move |result| finish(&owner, token, result.map_err(Failure::from))));
}

/// The engine freezes its WAL buffer twice: when it takes the request, and when its WAL task takes the work. A write that
/// is applied in between makes a second object, and the flush takes twice as long. So writes rest until it has begun.
async fn flush_at_rest(db: &Db) -> Result<(), slatedb::Error> {
    let rest = db.write_gate.lock().await;
    let flushing = db.engine.flush_with_options(FlushOptions { flush_type: FlushType::Wal });
    tokio::pin!(flushing);
    tokio::select! {
        biased;
        result = &mut flushing => return result,
        () = tokio::time::sleep(FLUSH_BEGINS_WITHIN) => {}
    }
    drop(rest);
    flushing.await
}

/// The engine notes with a memtable which records its rows are in: those that are durable when it is frozen, no later ones
/// that are on their way. So the WAL is flushed before, or the newest would be replayed for nothing.
pub async fn flush_memtable(engine: &slatedb::Db) -> Result<(), slatedb::Error> {
    engine.flush_with_options(FlushOptions { flush_type: FlushType::Wal }).await?;
    engine.flush_with_options(FlushOptions { flush_type: FlushType::MemTable }).await
}

pub async fn run(db: Arc<Db>, mut requests: mpsc::UnboundedReceiver<FlushMsg>, what: FlushType) {
    let with = match what {
        FlushType::Wal => GivenUp::All,
        FlushType::MemTable => GivenUp::Memtables,
    };
    while let Some(message) = requests.recv().await {
        match message {
            FlushMsg::Flush(token, writes) => {
                let flushing = async {
                    let _work = db.activity.work();
                    db.writes_ended(writes).await;
                    let flushed = match what {
                        FlushType::Wal => flush_at_rest(&db).await,
                        FlushType::MemTable => flush_memtable(&db.engine).await,
                    };
                    flushed.map_err(Failure::from)
                };
                let result = db.unless_given_up(with, flushing).await;
                finish(&db, token, result);
            }
            FlushMsg::Stop(done) => {
                requests.close();
                while let Ok(message) = requests.try_recv() {
                    match message {
                        FlushMsg::Flush(late, _) => finish(&db, late, Err(Failure::given_up())),
                        FlushMsg::Stop(done) => drop(done),
                    }
                }
                let _ = done.send(());
                return;
            }
        }
    }
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_flush(db: *const Db, what: i32, token: u64) -> i32 {
    guard(|| {
        let Some(db) = counted(db) else { return EINVAL };
        let requests = match what {
            1 => &db.wal_flushes,
            2 => &db.memtable_flushes,
            _ => return EINVAL,
        };
        if let Err(status) = db.check_open() {
            return status;
        }
        if db.flushes.fetch_add(1, Ordering::AcqRel) >= FLUSHES_MAX {
            db.flushes.fetch_sub(1, Ordering::AcqRel);
            return EAGAIN;
        }
        let accepted = if what == 1 && db.log.is_some() {
            db.writes.send(WriteMsg::Flush(token)).is_ok()
        } else {
            let writes = db.writes_accepted.load(Ordering::Acquire);
            requests.send(FlushMsg::Flush(token, writes)).is_ok()
        };
        if !accepted {
            db.flushes.fetch_sub(1, Ordering::AcqRel);
            return ECLOSED;
        }
        OK
    })
}
