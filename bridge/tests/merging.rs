//! The engine merges as our policy says, and reads see the same before and after.

mod common;

use common::*;
use sdbx::buf::Buf;
use sdbx::db::Db;
use sdbx::info::sdbx_info;
use serde_json::Value;
use std::ptr::null;
use std::time::{Duration, Instant};

/// Flushed files and the bytes of each sorted run, newest first, of the segment with this prefix in hex.
fn segment(db: *const Db, prefix: &str) -> (u64, Vec<u64>) {
    let mut buf = Buf::EMPTY;
    assert_eq!(unsafe { sdbx_info(db, &mut buf) }, 0);
    let info: Value = serde_json::from_str(&take_text(buf)).unwrap();
    let segments = info["segments"].as_array().unwrap();
    let found = segments.iter().find(|segment| segment["prefix"] == prefix).unwrap();
    let runs = found["runs"].as_array().unwrap().iter().map(|run| run["bytes"].as_u64().unwrap());
    (found["l0_files"].as_u64().unwrap(), runs.collect())
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Each round adds a row that stays (segment "s", hex 73) and one that goes with the next round (segment "t", hex 74).
fn round(c: &mut Caller, db: *const Db, n: usize) {
    let mut ops = vec![put(&format!("s{n:04}"), &[1; 2000]), put(&format!("t{n:04}"), &[2; 2000])];
    if n > 0 {
        ops.push(del(&format!("t{:04}", n - 1)));
    }
    c.write(db, &ops);
    assert_eq!(c.flush(db, MEMTABLE).status, 0);
}

#[test]
fn flushed_files_become_runs_and_tombstones_go() {
    let (_dir, spec) = disk();
    let mut c = Caller::new();
    let db = c.open(&spec);
    for n in 0..24 {
        round(&mut c, db, n);
        if n % 8 == 7 {
            until("few flushed files", || segment(db, "73").0 < 8 && segment(db, "74").0 < 8);
        }
    }
    let (_, kept) = segment(db, "73");
    let (_, churned) = segment(db, "74");
    assert!((2..=3).contains(&kept.len()), "rows that stay are not rewritten each time: {kept:?}");
    assert_eq!(churned.len(), 1, "rows that go leave one run: {churned:?}");
    assert!(churned[0] < kept[0], "without tombstones: {churned:?}, {kept:?}");
    for n in 0..24 {
        assert!(c.get(db, null(), &format!("s{n:04}")).is_some());
        assert_eq!(c.get(db, null(), &format!("t{n:04}")).is_some(), n == 23, "{n}");
    }
    c.close(db, WAL);
}
