//! Databases out of a database: checkpoints, clones with a part of the rows each, and removal of what hangs together.

mod common;

use common::*;
use sdbx::admin::{sdbx_db_epoch, sdbx_db_remove};
use sdbx::clone::{sdbx_db_checkpoint, sdbx_db_checkpoint_drop, sdbx_db_clone, CloneArgs, Range};
use sdbx::cq::CLOSED_EMPTY;
use std::ffi::CString;
use std::path::Path;
use std::ptr::null;

const EINVAL: i32 = -2;
const ENOTFOUND: i32 = -3;
const EFENCED: i32 = -4;
const ECONFLICT: i32 = -8;
const EEXIST: i32 = -10;

fn at(spec: &Spec, path: &str) -> Spec {
    Spec { path: path.to_string(), ..spec.clone() }
}

fn checkpoint(c: &mut Caller, spec: &Spec, epoch: u64) -> Got {
    let token = c.token();
    with_expected(spec, Some(epoch), |args| unsafe {
        assert_eq!(sdbx_db_checkpoint(c.env, c.cq, args, token), 0)
    });
    c.wait(token)
}

fn drop_checkpoint(c: &mut Caller, spec: &Spec, id: &str) -> Got {
    let token = c.token();
    let id = CString::new(id).unwrap();
    with_args(spec, |args| unsafe {
        assert_eq!(sdbx_db_checkpoint_drop(c.env, c.cq, args, id.as_ptr(), token), 0)
    });
    c.wait(token)
}

fn clone(c: &mut Caller, from: &Spec, to: &Spec, id: &str, ranges: &[(&str, &str)]) -> Got {
    let token = c.token();
    let (from, id) = (CString::new(from.path.as_str()).unwrap(), CString::new(id).unwrap());
    let ranges: Vec<Range> = ranges
        .iter()
        .map(|(lo, hi)| Range { lo: lo.as_ptr(), lo_len: lo.len(), hi: hi.as_ptr(), hi_len: hi.len() })
        .collect();
    let args = CloneArgs {
        from: from.as_ptr(),
        checkpoint: id.as_ptr(),
        ranges: ranges.as_ptr(),
        ranges_count: ranges.len(),
    };
    with_args(to, |to| unsafe { assert_eq!(sdbx_db_clone(c.env, c.cq, to, &args, token), 0) });
    c.wait(token)
}

fn remove(c: &mut Caller, spec: &Spec) -> Got {
    let token = c.token();
    with_args(spec, |args| unsafe { assert_eq!(sdbx_db_remove(c.env, c.cq, args, token), 0) });
    c.wait(token)
}

fn epoch(c: &mut Caller, spec: &Spec) -> u64 {
    let token = c.token();
    with_args(spec, |args| unsafe { assert_eq!(sdbx_db_epoch(c.env, c.cq, args, token), 0) });
    c.wait(token).seq
}

/// Rows ta, tb, tx, ty, u1, closed with nothing to replay; the epoch of its writer.
fn parent(c: &mut Caller, spec: &Spec) -> u64 {
    let opened = c.try_open(spec);
    assert_eq!(opened.status, 0, "{}", opened.text());
    for key in ["ta", "tb", "tx", "ty", "u1"] {
        c.write(opened.db, &[put(key, key.as_bytes())]);
        assert_eq!(c.flush(opened.db, WAL).status, 0);
    }
    let closed = c.close(opened.db, MEMTABLE);
    assert_eq!((closed.status, closed.flags), (0, CLOSED_EMPTY), "{}", closed.text());
    opened.epoch
}

fn rows(c: &mut Caller, spec: &Spec) -> Vec<String> {
    let db = c.open(spec);
    let keys = c.scan(db, null(), "", "", 0, 0).keys();
    c.close(db, NO_FLUSH);
    keys
}

fn files(dir: &Path, extension: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_one = |path: &Path| path.extension().is_some_and(|found| found == extension);
    paths.map(|path| if path.is_dir() { files(&path, extension) } else { usize::from(is_one(&path)) }).sum()
}

#[test]
fn clones_have_their_ranges_and_copy_nothing() {
    everywhere(|c, spec, dir| {
        let (left, right) = (at(spec, "shard/left"), at(spec, "shard/right"));
        let writer = parent(c, spec);
        let made = checkpoint(c, spec, writer);
        assert_eq!(made.status, 0, "{}", made.text());
        let id = made.text();
        let tables = dir.map(|dir| files(dir, "sst"));
        for _ in 0..2 {
            let done = clone(c, spec, &left, &id, &[("ta", "tm")]);
            assert_eq!(done.status, 0, "{}", done.text());
            let done = clone(c, spec, &right, &id, &[("tm", "u"), ("u", "u")]);
            assert_eq!(done.status, 0, "{}", done.text());
        }
        assert_eq!(dir.map(|dir| files(dir, "sst")), tables, "no file of rows was made");
        assert_eq!(epoch(c, &left), writer, "its writers follow the other's");
        assert_eq!(rows(c, &left), ["ta", "tb", "u1"]);
        assert_eq!(rows(c, &right), ["tx", "ty"]);
        for half in [&left, &right] {
            let db = c.open(half);
            c.write(db, &[put("tn", b"own"), del("ta"), put("v1", b"own")]);
            assert_eq!(c.close(db, MEMTABLE).flags, CLOSED_EMPTY);
        }
        assert_eq!(rows(c, &left), ["tb", "tn", "u1", "v1"]);
        assert_eq!(rows(c, &right), ["tn", "tx", "ty", "v1"]);
        assert_eq!(rows(c, spec), ["ta", "tb", "tx", "ty", "u1"]);
        assert_eq!(clone(c, spec, &left, &id, &[("ta", "tm")]).status, EEXIST, "it was opened");
    });
}

#[test]
fn a_checkpoint_is_of_the_writer_that_left_nothing_to_replay() {
    everywhere(|c, spec, _| {
        assert_eq!(checkpoint(c, spec, 1).status, ENOTFOUND);
        let writer = parent(c, spec);
        assert_eq!(checkpoint(c, spec, writer + 1).status, EFENCED);
        let opened = c.try_open(spec);
        assert_eq!(checkpoint(c, spec, writer).status, EFENCED, "somebody came after");
        c.write(opened.db, &[put("tz", b"new")]);
        assert_eq!(c.close(opened.db, WAL).flags, 0);
        let refused = checkpoint(c, spec, opened.epoch);
        assert_eq!(refused.status, EINVAL, "{}", refused.text());
        let opened = c.try_open(spec);
        c.close(opened.db, MEMTABLE);
        let made = checkpoint(c, spec, opened.epoch);
        assert_eq!(made.status, 0, "{}", made.text());
        assert_eq!(drop_checkpoint(c, spec, &made.text()).status, 0);
        assert_eq!(drop_checkpoint(c, spec, &made.text()).status, 0, "again");
        let child = at(spec, "shard/child");
        assert_eq!(clone(c, spec, &child, &made.text(), &[]).status, ENOTFOUND, "it was dropped");
        assert_eq!(epoch(c, &child), 0, "and nothing was made");
    });
}

#[test]
fn a_database_goes_when_no_clone_needs_its_files() {
    everywhere(|c, spec, dir| {
        let (first, second) = (at(spec, "shard/first"), at(spec, "shard/second"));
        let writer = parent(c, spec);
        let id = checkpoint(c, spec, writer).text();
        for child in [&first, &second] {
            assert_eq!(clone(c, spec, child, &id, &[]).status, 0);
        }
        assert_eq!(drop_checkpoint(c, spec, &id).status, 0);
        for child in [&first, &second] {
            let refused = remove(c, spec);
            assert_eq!(refused.status, ECONFLICT, "{}", refused.text());
            assert_eq!(rows(c, child).len(), 5);
            let removed = remove(c, child);
            assert_eq!(removed.status, 0, "{}", removed.text());
        }
        assert_eq!(rows(c, spec).len(), 5);
        let writer = epoch(c, spec);
        let opened = c.try_open(spec);
        c.close(opened.db, MEMTABLE);
        assert_eq!(checkpoint(c, spec, writer + 1).status, 0);
        let removed = remove(c, spec);
        assert_eq!(removed.status, 0, "a checkpoint of ours holds nothing: {}", removed.text());
        assert_eq!(dir.map_or(0, |dir| files(dir, "sst") + files(dir, "manifest") + files(dir, "log")), 0);
    });
}

#[test]
fn a_clone_takes_no_place_that_another_has() {
    let mut c = Caller::new();
    let spec = memory("clone-place");
    let other = at(&spec, "shard/other");
    let writer = parent(&mut c, &spec);
    parent(&mut c, &other);
    let id = checkpoint(&mut c, &spec, writer).text();
    assert_eq!(clone(&mut c, &spec, &other, &id, &[]).status, EEXIST);
    assert_eq!(rows(&mut c, &other).len(), 5);
    for ranges in [&[("ta", "ua")][..], &[("ta", "tb"), ("tc", "td")], &[("", "t")]] {
        let got = clone(&mut c, &spec, &at(&spec, "shard/new"), &id, ranges);
        assert_eq!(got.status, EINVAL, "{}", got.text());
    }
}
