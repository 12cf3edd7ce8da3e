//! What a close leaves behind, and whose the database is by then.

mod common;

use common::*;
use sdbx::cq::CLOSED_EMPTY;
use sdbx::db::{sdbx_refresh, Db};
use std::path::Path;
use std::ptr::null;

const EFENCED: i32 = -4;

fn is_empty(got: &Got) -> bool {
    assert_eq!(got.status, 0, "{}", got.text());
    got.flags == CLOSED_EMPTY
}

fn refresh(c: &mut Caller, db: *const Db) -> i32 {
    let token = c.token();
    assert_eq!(unsafe { sdbx_refresh(db, token) }, 0);
    c.wait(token).status
}

#[test]
fn a_close_says_whether_anything_is_left_to_replay() {
    everywhere(|c, spec, _| {
        let db = c.open(spec);
        assert!(is_empty(&c.close(db, WAL)), "nothing was ever written");
        let db = c.open(spec);
        c.write(db, &[put("ta", b"1")]);
        assert!(!is_empty(&c.close(db, WAL)));
        let db = c.open(spec);
        assert!(!is_empty(&c.close(db, WAL)), "it was replayed, and sorted nowhere");
        let db = c.open(spec);
        c.write(db, &[put("tb", b"2")]);
        assert!(is_empty(&c.close(db, MEMTABLE)));
        let db = c.open(spec);
        c.write(db, &[put("tc", b"3")]);
        assert_eq!(c.flush(db, MEMTABLE).status, 0);
        assert!(is_empty(&c.close(db, WAL)), "the flush just before has done it all");
        let db = c.open(spec);
        assert!(!is_empty(&c.close(db, NO_FLUSH)), "nobody looked");
        let db = c.open(spec);
        for (key, value) in [("ta", b"1"), ("tb", b"2"), ("tc", b"3")] {
            assert_eq!(c.get(db, null(), key).as_deref(), Some(&value[..]));
        }
        c.close(db, NO_FLUSH);
    });
}

/// A memtable that is full goes to a sorted file with rows whose records are not durable yet, and with a note that says so.
/// Nothing is written after it that would bring a better note.
#[test]
fn rows_that_were_sorted_before_they_were_durable_are_not_replayed() {
    everywhere(|c, spec, _| {
        let small = Spec {
            settings: r#"{"l0_sst_size_bytes": 65536, "max_unflushed_bytes": 33554432}"#.to_string(),
            ..spec.clone()
        };
        let db = c.open(&small);
        assert_eq!(c.write(db, &[put("ta", &[b'v'; 200_000])]).status, 0);
        assert!(is_empty(&c.close(db, MEMTABLE)));
        let db = c.open(spec);
        assert_eq!(c.scan(db, null(), "", "", 0, 0).keys(), ["ta"], "and no row was made up");
        assert!(is_empty(&c.close(db, WAL)));
    });
}

#[test]
fn what_another_has_opened_is_not_known_to_be_empty() {
    everywhere(|c, spec, _| {
        let old = c.open(&unaware(spec));
        c.write(old, &[put("ta", b"1")]);
        assert_eq!(c.flush(old, MEMTABLE).status, 0);
        let new = c.open(spec);
        let closed = c.close(old, WAL);
        assert_ne!(closed.flags, CLOSED_EMPTY, "its writer is another");
        c.close(new, NO_FLUSH);
    });
}

#[test]
fn a_refresh_tells_who_came_after() {
    everywhere(|c, spec, _| {
        let old = c.open(&unaware(spec));
        assert_eq!(refresh(c, old), 0);
        let new = c.open(spec);
        assert_eq!(refresh(c, old), EFENCED);
        assert_eq!(refresh(c, new), 0);
        c.close(old, NO_FLUSH);
        assert_eq!(refresh(c, new), 0, "the one before took nothing along");
        c.close(new, NO_FLUSH);
    });
}

fn manifests(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "manifest")).collect();
    found.sort();
    found
}

/// It was stopped for so long that the manifests after the one it knows were collected: their absence proves nothing.
#[test]
fn collected_manifests_fool_no_refresh() {
    for log in [0, LOG] {
        let (dir, mut spec) = disk();
        spec.flags |= log;
        let mut c = Caller::new();
        let old = c.open(&unaware(&spec));
        assert_eq!(refresh(&mut c, old), 0);
        let place = dir.path().join("data").join(&spec.path).join("manifest");
        let known = manifests(&place);
        let new = c.open(&spec);
        c.write(new, &[put("ta", b"1")]);
        assert_eq!(c.flush(new, MEMTABLE).status, 0);
        let mut since = manifests(&place);
        since.retain(|path| !known.contains(path));
        assert!(since.len() > 1, "{since:?}");
        for path in &since[..since.len() - 1] {
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(refresh(&mut c, old), EFENCED);
        assert_eq!(refresh(&mut c, new), 0);
        c.close(old, NO_FLUSH);
        c.close(new, NO_FLUSH);
    }
}
