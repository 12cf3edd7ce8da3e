//! Databases that nobody has open: who wrote last, and removal of all that belongs to one.

mod common;

use common::*;
use sdbx::admin::{sdbx_db_epoch, sdbx_db_remove};
use std::path::Path;
use std::ptr::null;

const EFENCED: i32 = -4;

fn epoch(c: &mut Caller, spec: &Spec) -> u64 {
    let token = c.token();
    with_args(spec, |args| unsafe { assert_eq!(sdbx_db_epoch(c.env, c.cq, args, token), 0) });
    let got = c.wait(token);
    assert_eq!(got.status, 0, "{}", got.text());
    got.seq
}

fn remove(c: &mut Caller, spec: &Spec) -> Got {
    let token = c.token();
    with_args(spec, |args| unsafe { assert_eq!(sdbx_db_remove(c.env, c.cq, args, token), 0) });
    c.wait(token)
}

fn files(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[test]
fn each_open_claims_the_next_epoch() {
    everywhere(|c, spec, _| {
        assert_eq!(epoch(c, spec), 0, "there is none");
        for wanted in 1..4 {
            let opened = c.try_open(spec);
            assert_eq!((opened.status, opened.epoch), (0, wanted));
            assert_eq!(epoch(c, spec), wanted);
            c.close(opened.db, NO_FLUSH);
        }
        assert_eq!(epoch(c, spec), 3, "closing claims nothing");
    });
}

#[test]
fn the_epoch_tells_who_was_fenced() {
    let mut c = Caller::new();
    let spec = memory("admin-fenced");
    let old = c.try_open(&unaware(&spec));
    let new = c.try_open(&spec);
    c.write(old.db, &[put("ta", b"1")]);
    assert_eq!(c.flush(old.db, WAL).status, EFENCED);
    assert!(epoch(&mut c, &spec) > old.epoch);
    assert_eq!(epoch(&mut c, &spec), new.epoch);
    c.close(old.db, NO_FLUSH);
    c.close(new.db, NO_FLUSH);
}

/// The process died when the log had gone, and part of the rest.
#[test]
fn a_removal_that_was_cut_off_is_finished_by_the_next_open() {
    everywhere(|c, spec, dir| {
        let Some(dir) = dir else { return };
        let db = c.open(spec);
        c.write(db, &[put("ta", b"1")]);
        assert_eq!(c.flush(db, MEMTABLE).status, 0);
        c.write(db, &[put("tb", b"2")]);
        assert_eq!(c.flush(db, WAL).status, 0);
        c.close(db, NO_FLUSH);
        let data = dir.join("data").join(&spec.path);
        for log in [data.clone(), dir.join("wal").join(&spec.path)] {
            let _ = std::fs::remove_dir_all(log.join("log"));
            let _ = std::fs::remove_dir_all(log.join("wal"));
        }
        let _ = std::fs::remove_file(data.join("log-home"));
        std::fs::write(data.join("removal"), b"").unwrap();
        for _ in 0..2 {
            let opened = c.try_open(spec);
            assert_eq!(opened.status, 0, "{}", opened.text());
            assert_eq!(c.get(opened.db, null(), "ta"), None);
            c.write(opened.db, &[put("tc", b"3")]);
            assert_eq!(c.flush(opened.db, WAL).status, 0);
            assert_eq!(c.get(opened.db, null(), "tc").as_deref(), Some(&b"3"[..]));
            c.close(opened.db, NO_FLUSH);
        }
        assert_eq!(epoch(c, spec), 2, "made anew once");
        assert!(!data.join("removal").exists());
    });
}

#[test]
fn nothing_comes_back_after_a_removal() {
    everywhere(|c, spec, dir| {
        let mut other = spec.clone();
        other.path = "shard/ab".to_string(); // not below the one that goes
        for spec in [spec, &other] {
            let db = c.open(spec);
            c.write(db, &[put("ta", b"1")]);
            assert_eq!(c.flush(db, MEMTABLE).status, 0);
            c.write(db, &[put("tb", b"2")]); // in the WAL alone
            assert_eq!(c.flush(db, WAL).status, 0);
            c.close(db, NO_FLUSH);
        }
        let kept = dir.map(files);
        for _ in 0..2 {
            let removed = remove(c, spec);
            assert_eq!(removed.status, 0, "{}", removed.text());
        }
        if let Some(dir) = dir {
            assert_eq!(2 * files(dir), kept.unwrap(), "what is left is the other one's");
        }
        let opened = c.try_open(spec);
        assert_eq!((opened.status, opened.epoch), (0, 1), "{}", opened.text());
        assert_eq!(c.get(opened.db, null(), "ta"), None);
        assert_eq!(c.get(opened.db, null(), "tb"), None);
        assert_eq!(c.write(opened.db, &[put("tc", b"3")]).status, 0);
        assert_eq!(c.flush(opened.db, WAL).status, 0);
        c.close(opened.db, NO_FLUSH);
        let db = c.open(&other);
        assert_eq!(c.get(db, null(), "tb").as_deref(), Some(&b"2"[..]));
        c.close(db, NO_FLUSH);
    });
}
