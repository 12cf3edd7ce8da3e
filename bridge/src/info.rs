//! What is going on in a database, as JSON; and the last error of its store.

use crate::buf::Buf;
use crate::db::Db;
use crate::error::{EINVAL, OK};
use crate::ffi::{counted, guard, set_text};
use crate::store::give_health;
use serde_json::{json, Value};
use slatedb::manifest::{SortedRun, SsTableView};
use std::sync::atomic::Ordering;

fn tree<'a>(l0: impl Iterator<Item = &'a SsTableView>, runs: &[SortedRun]) -> Value {
    let (mut l0_files, mut l0_bytes) = (0u64, 0u64);
    for view in l0 {
        l0_files += 1;
        l0_bytes += view.estimate_size();
    }
    let runs: Vec<Value> = runs
        .iter()
        .map(|run| json!({"id": run.id, "files": run.sst_views().len(), "bytes": run.estimate_size()}))
        .collect();
    json!({"l0_files": l0_files, "l0_bytes": l0_bytes, "runs": runs})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn describe(db: &Db) -> Value {
    let manifest = db.status.borrow().current_manifest.clone();
    let segments: Vec<Value> = manifest
        .segments()
        .iter()
        .map(|segment| {
            let mut part = tree(segment.l0().iter(), segment.compacted());
            part["prefix"] = json!(hex(segment.prefix()));
            part
        })
        .collect();
    let sum = |key: &str| segments.iter().filter_map(|s| s[key].as_u64()).sum::<u64>();
    let runs: usize = segments.iter().filter_map(|s| s["runs"].as_array()).map(Vec::len).sum();
    json!({
        "applied_seq": db.applied.load(Ordering::Acquire),
        "durable_seq": db.durable.load(Ordering::Acquire),
        "queued_bytes": db.queued_bytes.load(Ordering::Acquire),
        "manifest_id": manifest.id(),
        "writer_epoch": manifest.writer_epoch(),
        "compactor_epoch": manifest.compactor_epoch(),
        "last_l0_seq": manifest.last_l0_seq(),
        "last_l0_tick_ms": manifest.last_l0_clock_tick(),
        "replay_after_wal_id": manifest.replay_after_wal_id(),
        "next_wal_id": manifest.next_wal_sst_id(),
        "l0_files": sum("l0_files"),
        "l0_bytes": sum("l0_bytes"),
        "sorted_runs": runs,
        "checkpoints": manifest.checkpoints().len(),
        "external_dbs": manifest.external_dbs().len(),
        "segments": segments,
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_info(db: *const Db, ret_json: *mut Buf) -> i32 {
    guard(|| {
        let (Some(db), false) = (counted(db), ret_json.is_null()) else { return EINVAL };
        set_text(ret_json, describe(&db).to_string());
        OK
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_last_error(
    db: *const Db,
    ret_text: *mut Buf,
    ret_when_ms: *mut i64,
    ret_ok_ms: *mut i64,
) -> i32 {
    guard(|| {
        let Some(db) = counted(db) else { return EINVAL };
        let (mut error, mut ok_ms) = db.place.store.health.last();
        if let Some(wal) = &db.place.wal_store {
            let (wal_error, wal_ok_ms) = wal.health.last();
            ok_ms = ok_ms.min(wal_ok_ms); // both are needed
            let when = |e: &Option<(String, i64)>| e.as_ref().map_or(0, |(_, ms)| *ms);
            if when(&wal_error) > when(&error) {
                error = wal_error;
            }
        }
        give_health((error, ok_ms), ret_text, ret_when_ms, ret_ok_ms)
    })
}
