//! Databases through the C ABI, in memory and on disk with fsync, with a WAL of objects and with a log.

mod common;

use common::*;
use sdbx::buf::Buf;
use sdbx::close::*;
use sdbx::cq::*;
use sdbx::db::*;
use sdbx::flush::sdbx_flush;
use sdbx::info::{sdbx_info, sdbx_last_error};
use sdbx::metrics::sdbx_metrics;
use sdbx::open::*;
use sdbx::read::*;
use sdbx::write::sdbx_write;
use std::ptr::null;
use std::time::{Duration, Instant};

const EAGAIN: i32 = -1;
const EINVAL: i32 = -2;
const EFENCED: i32 = -4;
const ECLOSED: i32 = -5;
const EUNAVAIL: i32 = -6;

fn both(test: impl Fn(&mut Caller, &Spec)) {
    let (_dir, on_disk) = disk();
    let (_log_dir, mut with_log) = disk();
    with_log.flags |= LOG;
    let in_memory = memory(&format!("both-{:?}", std::thread::current().id()));
    let mut caller = Caller::new();
    test(&mut caller, &in_memory);
    test(&mut caller, &on_disk);
    test(&mut caller, &with_log);
}

#[test]
fn write_flush_reopen() {
    both(|c, spec| {
        for (flush_now, at_close) in [(WAL, NO_FLUSH), (MEMTABLE, NO_FLUSH), (0, WAL), (0, MEMTABLE)] {
            let db = c.open(spec);
            let applied = c.write(db, &[put("tkey", b"value"), put("tgone", b"x"), del("tgone")]);
            assert_eq!((applied.kind, applied.status), (EV_APPLIED, 0));
            assert!(applied.seq > 0);
            assert_eq!(unsafe { sdbx_applied_seq(db) }, applied.seq);
            assert_eq!(c.get(db, null(), "tkey").as_deref(), Some(&b"value"[..]));
            if flush_now != 0 {
                let flushed = c.flush(db, flush_now);
                assert_eq!((flushed.kind, flushed.status), (EV_FLUSHED, 0));
                assert_eq!(flushed.seq, applied.seq);
                assert_eq!(unsafe { sdbx_durable_seq(db) }, applied.seq);
            }
            let closed = c.close(db, at_close);
            assert_eq!((closed.status, closed.seq), (0, applied.seq));

            let db = c.open(spec);
            assert_eq!(unsafe { sdbx_durable_seq(db) }, applied.seq);
            assert_eq!(c.get(db, null(), "tkey").as_deref(), Some(&b"value"[..]));
            assert_eq!(c.get(db, null(), "tgone"), None);
            c.write(db, &[del("tkey")]);
            assert_eq!(c.close(db, WAL).status, 0);
        }
    });
}

#[test]
fn what_is_not_flushed_is_lost_with_close_none() {
    both(|c, spec| {
        let db = c.open(spec);
        c.write(db, &[put("tkept", b"1")]);
        c.flush(db, WAL);
        c.write(db, &[put("tlost", b"1")]);
        assert_eq!(c.close(db, NO_FLUSH).status, 0);
        let db = c.open(spec);
        assert!(c.get(db, null(), "tkept").is_some());
        assert!(c.get(db, null(), "tlost").is_none());
        c.close(db, NO_FLUSH);
    });
}

#[test]
fn writes_are_applied_in_order_and_the_last_wins() {
    both(|c, spec| {
        let db = c.open(spec);
        let tokens: Vec<u64> = (0..500u32)
            .map(|i| c.start_write(db, &[put("tsame", &i.to_le_bytes()), put(&format!("tk{i}"), b"")], 2))
            .collect();
        let events = c.take_order(tokens.len());
        assert_eq!(events.iter().map(|e| e.token).collect::<Vec<_>>(), tokens);
        assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        assert_eq!(c.get(db, null(), "tsame").unwrap(), 499u32.to_le_bytes());
        c.close(db, NO_FLUSH);
    });
}

#[test]
fn a_flush_takes_what_was_applied_when_its_turn_comes() {
    let mut c = Caller::new();
    let mut slow = memory("turns");
    slow.opts = r#"{"latency_write_ms":150}"#.to_string();
    let db = c.open(&slow);
    c.write(db, &[put("ta", b"")]);
    let (first, second) = (c.token(), c.token());
    unsafe { assert_eq!(sdbx_flush(db, WAL, first), 0) };
    let end = Instant::now() + DEADLINE;
    while c.metric(db, "silo_slatedb_wal_buffer_flushes_total") < 1.0 {
        assert!(Instant::now() < end, "the first upload does not start");
        std::thread::yield_now();
    }
    unsafe { assert_eq!(sdbx_flush(db, WAL, second), 0) }; // queued before the next write
    let late = c.write(db, &[put("tb", b"")]);
    assert!(unsafe { sdbx_durable_seq(db) } < late.seq);
    let first = c.wait(first);
    let second = c.wait(second);
    assert!(first.seq < late.seq, "the first flush froze before the second write");
    assert_eq!(second.seq, late.seq, "the queued flush takes it along");
    c.close(db, NO_FLUSH);
}

#[test]
fn a_memtable_flush_does_not_hold_up_the_wal() {
    let mut c = Caller::new();
    let mut slow = memory("besides");
    slow.opts = r#"{"latency_write_ms":100}"#.to_string();
    let db = c.open(&slow);
    let segments: Vec<_> = ["ta", "ua", "va", "wa", "xa", "ya"].map(|key| put(key, &[7; 10_000])).into();
    c.write(db, &segments); // a file each, two at a time, and the manifest
    let (memtable, wal) = (c.token(), c.token());
    unsafe { assert_eq!(sdbx_flush(db, MEMTABLE, memtable), 0) };
    let applied = c.write(db, &[put("tb", b"")]);
    unsafe { assert_eq!(sdbx_flush(db, WAL, wal), 0) };
    let first = c.wait_for(|got| got.token == wal || got.token == memtable);
    assert_eq!(first.token, wal, "the memtable needs more uploads than the WAL");
    assert_eq!(first.seq, applied.seq);
    c.wait(memtable);
    c.close(db, NO_FLUSH);
}

#[test]
fn the_second_open_fences_the_first() {
    both(|c, spec| {
        let old = c.open(&unaware(spec));
        c.write(old, &[put("told", b"1")]);
        c.flush(old, WAL);
        let new = c.open(spec);
        assert_eq!(c.get(new, null(), "told").as_deref(), Some(&b"1"[..]));
        c.write(old, &[put("tstale", b"1")]);
        let token = c.token();
        let status = unsafe { sdbx_flush(old, WAL, token) };
        assert_eq!(status, 0);
        let flushed = c.wait(token);
        assert_eq!(flushed.status, EFENCED, "{}", flushed.text());
        let down = c.wait_for(|got| got.kind == EV_DB_DOWN);
        assert_eq!((down.status, down.db), (EFENCED, old));
        assert!(!down.data.is_empty());
        let failed = c.write(old, &[put("tmore", b"1")]);
        assert_eq!((failed.kind, failed.status), (EV_WRITE_FAILED, EFENCED));
        let mut snap = std::ptr::null_mut();
        assert_eq!(unsafe { sdbx_snapshot(old, c.cq, &mut snap, std::ptr::null_mut()) }, EFENCED);
        assert_eq!(c.close(old, WAL).status, EFENCED);

        assert_eq!(c.get(new, null(), "tstale"), None);
        assert_eq!(c.write(new, &[put("tnew", b"1")]).status, 0);
        assert_eq!(c.flush(new, WAL).status, 0);
        assert_eq!(c.close(new, NO_FLUSH).status, 0);
    });
}

#[test]
fn refresh_proves_ownership() {
    both(|c, spec| {
        let old = c.open(spec);
        let token = c.token();
        unsafe { assert_eq!(sdbx_refresh(old, token), 0) };
        let fine = c.wait(token);
        assert_eq!((fine.kind, fine.status), (EV_REFRESHED, 0));
        let new = c.open(spec);
        let token = c.token();
        unsafe { assert_eq!(sdbx_refresh(old, token), 0) };
        let stale = c.wait(token);
        assert_eq!(stale.status, EFENCED, "{}", stale.text());
        c.wait_for(|got| got.kind == EV_DB_DOWN && got.db == old);
        c.close(old, NO_FLUSH);
        c.close(new, NO_FLUSH);
        let after = c.drain_for(Duration::from_millis(50));
        assert!(after.iter().all(|got| got.kind != EV_DB_DOWN), "{after:?}");
    });
}

#[test]
fn scans_page_in_both_directions() {
    both(|c, spec| {
        let db = c.open(spec);
        let ops: Vec<Vec<u8>> =
            (0..100).map(|i| put(&format!("t{i:03}"), format!("v{i}").as_bytes())).collect();
        c.write(db, &ops[..50]);
        c.flush(db, MEMTABLE);
        c.write(db, &ops[50..]);
        c.write(db, &[put("ua", b"other table"), del("t010")]);

        for (flags, want_first, want_last) in [(0, "t000", "t099"), (2, "t099", "t000")] {
            let mut page = c.scan(db, null(), "t", "u", flags, 7);
            let iter = page.iter;
            let mut keys = page.keys();
            while page.flags & ROWS_MORE != 0 {
                assert_eq!(page.nrows, 7);
                let token = c.token();
                unsafe { assert_eq!(sdbx_iter_next(page.iter, 7, 0, token), 0) };
                page = c.wait(token);
                assert_eq!(page.iter, if page.flags & ROWS_MORE != 0 { iter } else { null() });
                keys.extend(page.keys());
            }
            assert_eq!(unsafe { sdbx_iter_next(iter, 7, 0, 1) }, EINVAL, "at its end");
            unsafe { sdbx_iter_free(iter) };
            assert_eq!(keys.len(), 99);
            assert_eq!((keys[0].as_str(), keys[98].as_str()), (want_first, want_last));
            assert!(!keys.contains(&"t010".to_string()));
        }
        let exact = c.scan(db, null(), "t090", "t095", 0, 5);
        assert_eq!((exact.nrows, exact.flags), (5, 0), "a full last page says there is no more");
        assert!(exact.iter.is_null());
        let keys_only = c.scan(db, null(), "t", "", 4, 0);
        assert_eq!(keys_only.nrows, 100);
        assert!(keys_only.rows().iter().all(|(_, v)| v.as_deref() == Some(&b""[..])));
        assert_eq!(c.scan(db, null(), "t5", "t5", 0, 0).nrows, 0);
        assert_eq!(c.scan(db, null(), "t5", "t4", 0, 0).nrows, 0);
        assert_eq!(c.scan(db, null(), "x", "", 8, 0).nrows, 0);
        c.close(db, NO_FLUSH);
    });
}

#[test]
fn pages_end_by_bytes_too() {
    let mut c = Caller::new();
    let db = c.open(&memory("bytes"));
    let ops: Vec<Vec<u8>> = (0..10).map(|i| put(&format!("t{i}"), &[1; 1000])).collect();
    c.write(db, &ops);
    let args = ScanArgs {
        lo: b"t".as_ptr(),
        lo_len: 1,
        hi: null(),
        hi_len: 0,
        flags: 0,
        max_rows: 0,
        max_bytes: 2500,
        read_ahead_bytes: 1 << 20,
        tag: 0,
    };
    let token = c.token();
    unsafe { assert_eq!(sdbx_scan(db, null(), &args, token), 0) };
    let page = c.wait(token);
    assert_eq!(page.nrows, 3);
    unsafe { sdbx_iter_free(page.iter) };
    c.close(db, NO_FLUSH);
}

#[test]
fn snapshots_stand_still() {
    both(|c, spec| {
        let db = c.open(spec);
        let before = c.write(db, &[put("ta", b"old"), put("tb", b"old")]);
        let (snap, seq) = c.snapshot(db);
        assert_eq!(seq, before.seq);
        c.write(db, &[put("ta", b"new"), del("tb"), put("tc", b"new")]);
        assert_eq!(c.get(null(), snap, "ta").as_deref(), Some(&b"old"[..]));
        assert_eq!(c.get(db, null(), "ta").as_deref(), Some(&b"new"[..]));
        assert_eq!(c.scan(null(), snap, "t", "", 0, 0).keys(), ["ta", "tb"]);
        assert_eq!(c.scan(db, null(), "t", "", 0, 0).keys(), ["ta", "tc"]);
        let rows = c.mget(null(), snap, &["tc", "tb"]).rows();
        assert_eq!(rows[0].1, None);
        assert_eq!(rows[1].1.as_deref(), Some(&b"old"[..]));
        unsafe { sdbx_snapshot_free(snap) };
        c.write(db, &[del("ta"), del("tc")]);
        c.close(db, NO_FLUSH);
    });
}

#[test]
fn a_snapshot_outlives_its_database() {
    let mut c = Caller::new();
    let db = c.open(&memory("outlives"));
    c.write(db, &[put("ta", b"1"), put("tb", b"1")]);
    let (snap, _) = c.snapshot(db);
    let page = c.scan(db, null(), "t", "", 0, 1);
    let lent = c.scan(null(), snap, "t", "", 0, 1);
    c.close(db, NO_FLUSH);
    assert_eq!(unsafe { sdbx_iter_next(page.iter, 0, 0, 1) }, ECLOSED);
    assert_eq!(unsafe { sdbx_iter_next(lent.iter, 0, 0, 1) }, ECLOSED);
    assert_eq!(unsafe { sdbx_get(null(), snap, b"ta".as_ptr(), 2, 0, 1) }, ECLOSED);
    unsafe {
        sdbx_iter_free(page.iter);
        sdbx_iter_free(lent.iter);
        sdbx_snapshot_free(snap);
    }
}

#[test]
fn a_snapshot_is_read_where_it_was_lent_to() {
    both(|c, spec| {
        let db = c.open(spec);
        c.write(db, &[put("ta", b"old"), put("tb", b"old"), put("tc", b"old")]);
        let mut reader = c.second();
        let (snap, _) = reader.snapshot(db);
        c.write(db, &[put("ta", b"new"), del("tb")]);
        assert_eq!(reader.get(null(), snap, "ta").as_deref(), Some(&b"old"[..]));
        let page = reader.scan(null(), snap, "t", "", 0, 2);
        assert_eq!((page.keys(), page.db, page.db_tag), (vec!["ta".into(), "tb".into()], null(), 0));
        let token = reader.token();
        assert_eq!(unsafe { sdbx_iter_next(page.iter, 0, 0, token) }, 0);
        assert_eq!(reader.wait(token).keys(), ["tc"]);
        assert!(
            c.drain_for(std::time::Duration::ZERO).is_empty(),
            "nothing of it arrives at the database's queue"
        );

        let (both, neither) = (reader.token(), reader.token());
        assert_eq!(unsafe { sdbx_get(db, snap, b"ta".as_ptr(), 2, 0, both) }, EINVAL);
        assert_eq!(unsafe { sdbx_get(null(), null(), b"ta".as_ptr(), 2, 0, neither) }, EINVAL);
        unsafe {
            sdbx_iter_free(page.iter);
            sdbx_snapshot_free(snap);
        }
        drop(reader);
        c.close(db, NO_FLUSH);
    });
}

#[test]
fn mget_answers_in_order_with_absent_rows() {
    both(|c, spec| {
        let db = c.open(spec);
        let ops: Vec<Vec<u8>> = (0..200).map(|i| put(&format!("t{i}"), &[i as u8; 3])).collect();
        c.write(db, &ops);
        c.flush(db, MEMTABLE);
        let got = c.mget(db, null(), &["t5", "tnone", "t199", "t5"]);
        let rows = got.rows();
        assert_eq!(got.kind, EV_ROWS);
        assert_eq!(rows[0], (b"t5".to_vec(), Some(vec![5; 3])));
        assert_eq!(rows[1], (b"tnone".to_vec(), None));
        assert_eq!(rows[2], (b"t199".to_vec(), Some(vec![199; 3])));
        assert_eq!(rows[3], rows[0]);
        let names: Vec<String> = (0..200).rev().map(|i| format!("t{i}")).collect();
        let keys: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(c.mget(db, null(), &keys).keys(), names);
        for (packed, n) in
            [(&b"\x02\x00t"[..], 1), (b"\x00\x00", 1), (b"\x01\x00t", 2), (b"", 0), (b"\x01", 1)]
        {
            assert_eq!(unsafe { sdbx_mget(db, null(), packed.as_ptr(), packed.len(), n, 0, 1) }, EINVAL);
        }
        c.close(db, NO_FLUSH);
    });
}

#[test]
fn durable_reads_see_only_what_is_durable() {
    let mut c = Caller::new();
    let db = c.open(&memory("durable-reads"));
    c.write(db, &[put("ta", b"1")]);
    c.flush(db, WAL);
    c.write(db, &[put("ta", b"2"), put("tb", b"2")]);
    let token = c.token();
    unsafe { assert_eq!(sdbx_get(db, null(), b"ta".as_ptr(), 2, 1, token), 0) };
    assert_eq!(c.wait(token).data, b"1");
    assert_eq!(c.scan(db, null(), "t", "", 1, 0).keys(), ["ta"]);
    c.close(db, NO_FLUSH);
}

#[test]
fn invalid_batches_change_nothing() {
    let mut c = Caller::new();
    let db = c.open(&memory("invalid"));
    let good = put("tgood", b"1");
    let mut no_such_op = good.clone();
    no_such_op[0] = 9;
    let mut delete_with_value = good.clone();
    delete_with_value[0] = 1;
    let cut = good[..good.len() - 1].to_vec();
    let no_key = op(0, b"", b"x");
    for (parts, nops) in [
        (vec![[good.clone(), no_such_op].concat()], 2),
        (vec![good.clone(), delete_with_value], 2),
        (vec![good.clone(), cut], 2),
        (vec![[good.clone(), no_key].concat()], 2),
        (vec![good.clone()], 2),
        (vec![good.clone()], 0),
        (vec![], 0),
        (vec![vec![]], 0),
    ] {
        let bufs: Vec<Buf> = parts.iter().map(|part| buf_of(part)).collect();
        assert_eq!(unsafe { sdbx_write(db, bufs.as_ptr(), bufs.len(), nops, 77) }, EINVAL);
        for buf in bufs {
            unsafe { sdbx::buf::sdbx_buf_free(buf) }; // refused: still ours
        }
    }
    assert_eq!(unsafe { sdbx_queued_bytes(db) }, 0);
    assert_eq!(c.get(db, null(), "tgood"), None);
    assert_eq!(c.write(db, &[good]).status, 0);
    c.close(db, NO_FLUSH);
}

#[test]
fn an_operation_may_not_cross_buffers_but_a_batch_may() {
    let mut c = Caller::new();
    let db = c.open(&memory("crossing"));
    let whole = put("tkey", b"value");
    let (a, b) = whole.split_at(9);
    let bufs = [buf_of(a), buf_of(b)];
    assert_eq!(unsafe { sdbx_write(db, bufs.as_ptr(), 2, 1, 5) }, EINVAL);
    bufs.into_iter().for_each(|buf| unsafe { sdbx::buf::sdbx_buf_free(buf) });
    let token = c.start_write(db, &[put("t1", b"a"), vec![], [put("t2", b"b"), put("t1", b"c")].concat()], 3);
    assert_eq!(c.wait(token).kind, EV_APPLIED);
    assert_eq!(c.get(db, null(), "t1").as_deref(), Some(&b"c"[..]));
    assert_eq!(c.get(db, null(), "t2").as_deref(), Some(&b"b"[..]));
    c.close(db, NO_FLUSH);
}

#[test]
fn a_value_of_100_mib_survives() {
    let (_dir, on_disk) = disk();
    let mut c = Caller::new();
    let db = c.open(&on_disk);
    let value: Vec<u8> = (0..100u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let applied = c.write(db, &[put("tbig", &value)]);
    assert_eq!(applied.status, 0, "{}", applied.text());
    assert_eq!(c.flush(db, WAL).seq, applied.seq);
    c.close(db, NO_FLUSH);
    let db = c.open(&on_disk);
    assert!(c.get(db, null(), "tbig").unwrap() == value);
    assert_eq!(c.close(db, MEMTABLE).status, 0);
    let db = c.open(&on_disk);
    assert!(c.get(db, null(), "tbig").unwrap() == value);
    c.close(db, NO_FLUSH);
}

#[test]
fn bytes_that_are_not_durable_are_bounded() {
    let mut c = Caller::new();
    let mut small = memory("bounded");
    small.max_queued_bytes = 1000;
    let db = c.open(&small);
    // A single larger write is accepted when nothing else is queued, and holds up the next until it is durable.
    let first = c.write(db, &[put("tbig", &[0; 5000])]);
    assert_eq!(first.kind, EV_APPLIED);
    let refused = |db| {
        let buf = buf_of(&put("tx", b"1"));
        let status = unsafe { sdbx_write(db, &buf, 1, 1, 9) };
        unsafe { sdbx::buf::sdbx_buf_free(buf) };
        status
    };
    assert_eq!(refused(db), EAGAIN);
    assert!(unsafe { sdbx_queued_bytes(db) } > 5000);
    assert_eq!(c.flush(db, WAL).status, 0);
    assert_eq!(unsafe { sdbx_queued_bytes(db) }, 0);
    assert_eq!(c.write(db, &[put("tx", &[0; 500])]).status, 0);
    assert_eq!(c.write(db, &[put("tx", &[0; 400])]).status, 0);
    assert_eq!(c.write(db, &[put("ty", &[0; 10])]).status, 0);
    let over = buf_of(&put("tz", &[0; 100]));
    assert_eq!(unsafe { sdbx_write(db, &over, 1, 1, 9) }, EAGAIN);
    unsafe { sdbx::buf::sdbx_buf_free(over) };
    c.close(db, NO_FLUSH);
}

#[test]
fn tags_come_back() {
    let mut c = Caller::new();
    let place = memory("tags");
    let opened = c.try_open(&place);
    assert_eq!(opened.db_tag, TAG);
    let db = opened.db;
    assert_eq!(c.write(db, &[put("ta", b""), put("tb", b"")]).db_tag, TAG);
    let page = c.scan(db, null(), "t", "", 0, 1);
    assert_eq!((page.db_tag, page.iter_tag), (TAG, 5));
    let token = c.token();
    unsafe { assert_eq!(sdbx_iter_next(page.iter, 1, 0, token), 0) };
    assert_eq!(c.wait(token).iter_tag, 5);
    unsafe { sdbx_iter_free(page.iter) };
    assert_eq!(c.close(db, NO_FLUSH).db_tag, TAG);
    let mut bad = memory("tags");
    bad.settings = "[]".to_string();
    assert_eq!(c.try_open(&bad).db_tag, TAG);
}

#[test]
fn settings_errors_name_the_key() {
    let mut c = Caller::new();
    let mut bad = memory("settings");
    bad.settings = r#"{"compactor_options":{"pol_interval":"1s"}}"#.to_string();
    let got = c.try_open(&bad);
    assert_eq!((got.kind, got.status), (EV_OPENED, EINVAL));
    assert!(got.db.is_null());
    assert!(
        got.text().ends_with(
            "compactor_options.pol_interval is not a key of the storage engine, did you mean poll_interval?"
        ),
        "{}",
        got.text()
    );
    for (url, opts, path, part) in [
        ("nonsense", "", "a", "store url"),
        ("ftp://host/x", "", "a", "ftp"),
        ("memory:///x", r#"{"aws_region":"x"}"#, "a", "aws_region"),
        ("s3://bucket/x", r#"{"aws_regio":"x"}"#, "a", "aws_regio, did you mean aws_region?"),
        ("memory:///x", r#"{"latency_read_ms":"x"}"#, "a", "latency_read_ms"),
        ("memory:///", "", "", "path"),
        ("memory:///x", "", "a/../b", "path"),
    ] {
        let mut bad = spec(url, path);
        bad.opts = opts.to_string();
        let got = c.try_open(&bad);
        assert_eq!(got.status, EINVAL, "{url} {opts} {path}: {}", got.text());
        assert!(got.text().contains(part), "{}", got.text());
    }
}

#[test]
fn latency_is_injected_and_closing_gives_up_in_time() {
    let mut c = Caller::new();
    let mut slow = memory("latency");
    slow.opts = r#"{"latency_write_ms":120}"#.to_string();
    let db = c.open(&slow);
    c.write(db, &[put("ta", b"1")]);
    let begin = Instant::now();
    assert_eq!(c.flush(db, WAL).status, 0);
    assert!(begin.elapsed() >= Duration::from_millis(120));
    c.close(db, NO_FLUSH);

    slow.opts = r#"{"latency_write_ms":500}"#.to_string();
    slow.path = "shard/b".to_string();
    let db = c.open(&slow);
    c.write(db, &[put("ta", b"1")]);
    let (flush, close) = (c.token(), c.token());
    unsafe {
        assert_eq!(sdbx_flush(db, WAL, flush), 0);
        assert_eq!(sdbx_close(db, WAL, 100, close), 0);
        assert_eq!(sdbx_close(db, WAL, 100, 5), ECLOSED);
        assert_eq!(sdbx_flush(db, WAL, 5), ECLOSED);
    }
    let begin = Instant::now();
    let events = c.take_order(2);
    assert!(begin.elapsed() < Duration::from_millis(450));
    assert_eq!((events[0].kind, events[0].status), (EV_FLUSHED, ECLOSED));
    assert_eq!((events[1].kind, events[1].status), (EV_CLOSED, EUNAVAIL));
}

#[test]
fn memtables_that_wait_for_merges_do_not_hold_up_a_close() {
    both(|c, spec| {
        for (flush_before, reason) in [(false, "the last flush"), (true, "one under way")] {
            let path = format!("shard/full-{flush_before}");
            let settings =
                r#"{"compactor_options":false,"l0_max_ssts":1,"l0_max_ssts_per_key":1}"#.to_string();
            let full = Spec { path, settings, ..spec.clone() };
            let db = c.open(&full);
            c.write(db, &[put("tfirst", b"1")]);
            c.flush(db, MEMTABLE);
            c.write(db, &[put("tsecond", reason.as_bytes())]);
            let (flush, close) = (c.token(), c.token());
            unsafe {
                if flush_before {
                    assert_eq!(sdbx_flush(db, MEMTABLE, flush), 0);
                }
                assert_eq!(sdbx_close(db, MEMTABLE, 2000, close), 0);
            }
            if flush_before {
                assert_eq!(c.wait(flush).status, ECLOSED);
            }
            assert_eq!(c.wait(close).status, 0, "{reason}");
            let db = c.open(&Spec { settings: String::new(), ..full });
            assert_eq!(c.get(db, null(), "tsecond").as_deref(), Some(reason.as_bytes()));
            c.close(db, NO_FLUSH);
        }
    });
}

#[test]
fn an_open_under_way_can_be_cancelled() {
    let mut c = Caller::new();
    let mut slow = memory("cancel");
    slow.opts = r#"{"latency_read_ms":5000}"#.to_string();
    let token = c.start_open(&slow);
    unsafe { assert_eq!(sdbx_open_cancel(c.cq, token), 0) };
    let got = c.wait(token);
    assert_eq!((got.kind, got.status), (EV_OPENED, ECLOSED));
    assert!(got.db.is_null());
    assert_eq!(unsafe { sdbx_open_cancel(c.cq, token) }, -3);
}

#[test]
fn a_separate_wal_store_is_used() {
    let mut c = Caller::new();
    let mut two = memory("main-part");
    two.wal_url = Some("memory:///wal-part".to_string());
    let db = c.open(&two);
    c.write(db, &[put("ta", b"1")]);
    c.flush(db, WAL);
    c.close(db, NO_FLUSH);
    let db = c.open(&two);
    assert_eq!(c.get(db, null(), "ta").as_deref(), Some(&b"1"[..]));
    c.close(db, NO_FLUSH);
}

#[test]
fn facts_and_figures() {
    let mut c = Caller::new();
    let db = c.open(&memory("facts"));
    c.write(db, &[put("ta", b"1"), put("ub", b"1")]);
    c.flush(db, MEMTABLE);
    c.get(db, null(), "ta");
    let mut buf = Buf::EMPTY;
    assert_eq!(unsafe { sdbx_info(db, &mut buf) }, 0);
    let info = take_text(buf);
    assert!(info.contains(r#""prefix":"74""#) && info.contains(r#""prefix":"75""#), "{info}");
    assert!(info.contains(r#""l0_files":2"#), "{info}");
    let mut text = String::new();
    for _ in 0..1000 {
        let mut buf = Buf::EMPTY;
        assert_eq!(unsafe { sdbx_metrics(db, c"shard=\"a1\"".as_ptr(), 1, &mut buf) }, 0);
        text = take_text(buf);
        if text.contains("bytes_compacted") {
            break; // merging has begun, which an open does not wait for
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for line in [
        "silo_slatedb_get_requests_total{shard=\"a1\"} 1\n",
        "silo_slatedb_write_ops_total{shard=\"a1\"} 2\n",
        "silo_slatedb_write_batch_count_total{shard=\"a1\"} 1\n",
        "silo_slatedb_durable_seq{shard=\"a1\"} 1\n",
        "silo_slatedb_manifest_l0_count{shard=\"a1\"} 2\n",
        "# TYPE silo_slatedb_object_store_requests_total counter\n",
        "# TYPE silo_slatedb_object_store_request_duration_seconds histogram\n",
    ] {
        assert!(text.contains(line), "{line} not in {text}");
    }
    for name in [
        "scan_requests_total",
        "flush_requests_total",
        "backpressure_count_total",
        "wal_buffer_flushes_total",
        "immutable_memtable_flushes_total",
        "sst_filter_positives_total",
        "sst_filter_negatives_total",
        "sst_filter_false_positives_total",
        "bytes_compacted_total",
        "cache_data_block_hit_total",
        "cache_index_miss_total",
        "cache_filter_hit_total",
        "wal_buffer_estimated_bytes",
        "running_compactions",
        "l0_sst_count",
        "total_mem_size_bytes",
        "last_compaction_ts_seconds",
        "manifest_revisions_total",
        "expired_entries_purged_value_total",
        "expired_entries_purged_merge_total",
    ] {
        assert!(text.contains(&format!("silo_slatedb_{name}{{")), "{name} is missing");
    }
    let (mut when, mut ok) = (0, 0);
    let mut buf = Buf::EMPTY;
    assert_eq!(unsafe { sdbx_last_error(db, &mut buf, &mut when, &mut ok) }, -3);
    assert!(ok > 0);
    c.close(db, NO_FLUSH);
}

#[test]
fn an_unreachable_store_has_a_name() {
    let mut c = Caller::new();
    let mut away = spec("s3://bucket/data", "shard/a");
    away.opts =
        r#"{"aws_endpoint":"http://127.0.0.1:9","aws_access_key_id":"a","aws_secret_access_key":"b"}"#
            .to_string();
    let token = c.start_open(&away);
    let end = Instant::now() + DEADLINE;
    let mut text = String::new();
    while text.is_empty() {
        assert!(Instant::now() < end);
        let mut buf = Buf::EMPTY;
        let (mut when, mut ok) = (0, 0);
        let status = with_args(&away, |args| unsafe {
            sdbx::store::sdbx_store_error(c.env, &args.store, &mut buf, &mut when, &mut ok)
        });
        if status == 0 {
            assert!(when > 0);
            assert_eq!(ok, 0);
            text = take_text(buf);
        } else {
            assert!(c.drain_for(Duration::from_millis(20)).is_empty());
        }
    }
    assert!(text.contains("127.0.0.1:9"), "{text}");
    unsafe { assert_eq!(sdbx_open_cancel(c.cq, token), 0) };
    assert_eq!(c.wait(token).status, ECLOSED);
}

#[test]
fn events_left_in_a_freed_queue_free_what_they_carry() {
    let mut c = Caller::new();
    let db = c.open(&memory("left"));
    c.write(db, &[put("ta", b"1"), put("tb", b"1")]);
    let args = ScanArgs {
        lo: b"t".as_ptr(),
        lo_len: 1,
        hi: null(),
        hi_len: 0,
        flags: 0,
        max_rows: 1,
        max_bytes: 0,
        read_ahead_bytes: 0,
        tag: 0,
    };
    unsafe {
        assert_eq!(sdbx_scan(db, null(), &args, 1000), 0);
        assert_eq!(sdbx_close(db, NO_FLUSH, 0, 1001), 0);
    }
    // The caller's drop frees the queue, then the environment, with the events never drained.
}
