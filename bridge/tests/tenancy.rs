//! A database whose log is on a machine's own disk, opened on several machines: two directories for two of them.

mod common;

use common::*;
use sdbx::cq::CLOSED_EMPTY;
use std::fs;
use std::ptr::null;

const EDATA: i32 = -7;

/// One database, as two machines have it.
fn machines() -> (TempDir, Spec, Spec) {
    let (dir, mut spec) = disk();
    spec.flags |= LOG;
    let on = |name: &str| Spec {
        wal_url: Some(format!("file://{}/{name}", dir.path().display())),
        ..spec.clone()
    };
    let (one, two) = (on("one"), on("two"));
    (dir, one, two)
}

fn write(c: &mut Caller, spec: &Spec, key: &str, how: i32) -> Got {
    let opened = c.try_open(spec);
    assert_eq!(opened.status, 0, "{}", opened.text());
    c.write(opened.db, &[put(key, b"value")]);
    assert_eq!(c.flush(opened.db, WAL).status, 0);
    c.close(opened.db, how)
}

fn refused(c: &mut Caller, spec: &Spec) {
    let opened = c.try_open(spec);
    assert_eq!(opened.status, EDATA, "{}", opened.text());
    assert!(opened.text().contains("accept-loss"), "{}", opened.text());
}

fn keys(c: &mut Caller, spec: &Spec) -> Vec<String> {
    let db = c.open(spec);
    let keys = c.scan(db, null(), "", "", 0, 0).keys();
    c.close(db, NO_FLUSH);
    keys
}

#[test]
fn a_log_with_nothing_to_replay_may_be_left_behind() {
    let (_dir, one, two) = machines();
    let mut c = Caller::new();
    assert_eq!(write(&mut c, &one, "ta", MEMTABLE).flags, CLOSED_EMPTY);
    assert_eq!(write(&mut c, &two, "tb", MEMTABLE).flags, CLOSED_EMPTY);
    assert_eq!(write(&mut c, &one, "tc", MEMTABLE).flags, CLOSED_EMPTY, "with a directory of old");
    assert_eq!(keys(&mut c, &one), ["ta", "tb", "tc"]);
}

#[test]
fn a_log_with_something_is_opened_where_it_is() {
    let (_dir, one, two) = machines();
    let mut c = Caller::new();
    assert_eq!(write(&mut c, &one, "ta", WAL).flags, 0);
    refused(&mut c, &two);
    assert_eq!(write(&mut c, &one, "tb", MEMTABLE).flags, CLOSED_EMPTY);
    write(&mut c, &two, "tc", NO_FLUSH);
    refused(&mut c, &one);
    assert_eq!(keys(&mut c, &two), ["ta", "tb", "tc"]);
}

/// The word of the writer before is not the newest one's.
#[test]
fn an_older_word_counts_for_nothing() {
    let (dir, one, two) = machines();
    let mut c = Caller::new();
    assert_eq!(write(&mut c, &one, "ta", MEMTABLE).flags, CLOSED_EMPTY);
    let said = dir.path().join("data/shard/a/log-clean");
    let kept: Vec<_> = fs::read_dir(&said).unwrap().map(|entry| entry.unwrap().path()).collect();
    let words: Vec<_> = kept.iter().map(|path| fs::read(path).unwrap()).collect();
    write(&mut c, &one, "tb", NO_FLUSH);
    for (path, word) in kept.iter().zip(words) {
        fs::write(path, word).unwrap(); // it was on its way all the time
    }
    refused(&mut c, &two);
    assert_eq!(keys(&mut c, &one), ["ta", "tb"]);
}

#[test]
fn what_an_operator_gave_up_does_not_come_back() {
    let (dir, one, two) = machines();
    let mut c = Caller::new();
    write(&mut c, &one, "ta", NO_FLUSH);
    refused(&mut c, &two);
    let log = dir.path().join("two/shard/a/log");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("accept-loss"), b"").unwrap();
    write(&mut c, &two, "tb", NO_FLUSH);
    refused(&mut c, &one);
    assert_eq!(keys(&mut c, &two), ["tb"]);
}
