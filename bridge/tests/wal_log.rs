//! The WAL as a log on disk: what survives which end, and who may still acknowledge.

mod common;

use common::*;
use sdbx::buf::Buf;
use sdbx::close::sdbx_close;
use sdbx::info::sdbx_last_error;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::time::Duration;

const EDATA: i32 = -7;
const EFENCED: i32 = -4;
const ECLOSED: i32 = -5;
const EUNAVAIL: i32 = -6;
const SEGMENT_HEADER: usize = 64;

fn log_spec() -> (TempDir, Spec) {
    let (dir, mut spec) = disk();
    spec.flags |= LOG;
    (dir, spec)
}

fn log_entries(dir: &TempDir) -> Vec<PathBuf> {
    let log = dir.path().join("data/shard/a/log");
    let Ok(entries) = fs::read_dir(log) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Bytes the log takes on the disk.
fn log_bytes(dir: &TempDir) -> u64 {
    use std::os::unix::fs::MetadataExt;
    log_entries(dir).iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.blocks() * 512).sum()
}

fn log_files(dir: &TempDir, ending: &str) -> Vec<PathBuf> {
    let mut files = log_entries(dir);
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// Where each record of a segment starts, and the end of the last one.
fn record_starts(file: &Path) -> Vec<usize> {
    let bytes = fs::read(file).unwrap();
    let mut starts = vec![SEGMENT_HEADER];
    while let Some(header) = bytes.get(*starts.last().unwrap()..).filter(|rest| rest.starts_with(b"SLR2")) {
        let payload = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        starts.push(starts.last().unwrap() + 48 + payload);
    }
    starts
}

fn damage(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0xff;
    fs::write(file, bytes).unwrap();
}

fn write_synced(c: &mut Caller, db: *const sdbx::db::Db, keys: std::ops::Range<u32>) {
    for key in keys {
        c.write(db, &[put(&format!("t{key:04}"), b"value")]);
        assert_eq!(c.flush(db, WAL).status, 0);
    }
}

fn found(c: &mut Caller, db: *const sdbx::db::Db, keys: std::ops::Range<u32>) -> Vec<u32> {
    keys.filter(|key| c.get(db, null(), &format!("t{key:04}")).is_some()).collect()
}

#[test]
fn records_come_back_and_no_objects_are_made() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    for round in 0..3u32 {
        let db = c.open(&spec);
        assert_eq!(found(&mut c, db, 0..round * 10), (0..round * 10).collect::<Vec<_>>());
        write_synced(&mut c, db, round * 10..round * 10 + 10);
        assert_eq!(c.metric(db, "silo_slatedb_wal_buffer_flushes_total"), 10.0);
        assert_eq!(c.close(db, NO_FLUSH).status, 0);
    }
    assert!(!log_files(&dir, ".log").is_empty());
    assert!(!dir.path().join("data/shard/a/wal").exists());
}

#[test]
fn a_write_that_was_cut_off_is_no_record() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let db = c.open(&spec);
    write_synced(&mut c, db, 0..5);
    let (file, book) = (log_files(&dir, ".log").remove(0), log_files(&dir, ".writer").remove(0));
    let (said, size) = (fs::read(&book).unwrap(), fs::metadata(&file).unwrap().len());
    c.close(db, NO_FLUSH);
    let starts = record_starts(&file);
    assert_eq!(starts.len(), 6);
    damage(&file, starts[5] - 1);
    let got = c.try_open(&spec);
    assert_eq!(got.status, EDATA, "a close says what there was: {}", got.text());
    assert!(got.text().contains("records 5 to 5 are missing; a writer's note"), "{}", got.text());

    // As a process leaves them that is killed.
    fs::write(&book, said).unwrap();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(size).unwrap();
    let db = c.open(&spec);
    assert_eq!(found(&mut c, db, 0..5), [0, 1, 2, 3]);
    write_synced(&mut c, db, 5..8); // takes the id of the record that is none
    c.close(db, NO_FLUSH);
    let db = c.open(&spec);
    assert_eq!(found(&mut c, db, 0..8), [0, 1, 2, 3, 5, 6, 7]);
    c.close(db, NO_FLUSH);
}

/// A flipped bit among acknowledged records: the error says where, what is at stake and how to go on, and the operator's
/// word brings back what is before it.
#[test]
fn damage_is_refused_until_an_operator_accepts_the_loss() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let db = c.open(&spec);
    write_synced(&mut c, db, 0..20);
    c.close(db, NO_FLUSH);
    let file = log_files(&dir, ".log").remove(0);
    damage(&file, record_starts(&file)[11] + 30);
    let before = fs::read(&file).unwrap();
    for _ in 0..3 {
        let got = c.try_open(&spec);
        assert_eq!(got.status, EDATA, "{}", got.text());
        let text = got.text();
        assert!(text.contains(&format!("{} at offset", file.display())), "{text}");
        assert!(text.contains("records 12 to ") && text.contains("8 batches"), "{text}");
    }
    assert_eq!(log_files(&dir, ".log").len(), 1, "opens that failed leave nothing");
    assert_eq!(fs::read(&file).unwrap(), before);

    fs::write(file.with_file_name("accept-loss"), b"").unwrap();
    let db = c.open(&spec);
    assert_eq!(found(&mut c, db, 0..20), (0..11).collect::<Vec<_>>());
    write_synced(&mut c, db, 30..33);
    c.close(db, NO_FLUSH);
    let kept =
        log_entries(&dir).into_iter().find(|path| path.to_string_lossy().contains("/damaged-")).unwrap();
    assert_eq!(fs::read(kept.join(file.file_name().unwrap())).unwrap(), before, "it is kept");
    let db = c.open(&spec);
    assert_eq!(found(&mut c, db, 0..33), (0..11).chain(30..33).collect::<Vec<_>>());
    c.close(db, NO_FLUSH);
}

#[test]
fn damage_to_a_segments_header_is_refused() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let db = c.open(&spec);
    write_synced(&mut c, db, 0..20);
    c.close(db, NO_FLUSH);
    let file = log_files(&dir, ".log").remove(0);
    damage(&file, 25);
    for _ in 0..2 {
        let got = c.try_open(&spec);
        assert_eq!(got.status, EDATA, "{}", got.text());
        assert!(got.text().contains("its header is not what was written"), "{}", got.text());
        assert!(file.exists());
    }
}

/// Records that a later writer's segment follows, and that are not in sorted files.
#[test]
fn damage_before_later_segments_is_found_at_every_open() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let db = c.open(&spec);
    for key in 0..3 {
        c.write(db, &[put(&format!("t000{key}"), &vec![1; 9 << 20])]); // a segment each
        assert_eq!(c.flush(db, WAL).status, 0);
    }
    c.close(db, NO_FLUSH);
    let db = c.open(&spec);
    write_synced(&mut c, db, 3..6);
    c.close(db, NO_FLUSH);
    let file = log_files(&dir, ".log").remove(0);
    damage(&file, 5000);
    for _ in 0..2 {
        let got = c.try_open(&spec);
        assert_eq!(got.status, EDATA, "{}", got.text());
        assert!(got.text().contains("records 1 to 6 with"), "{}", got.text());
    }
}

#[test]
fn a_log_that_is_missing_or_anothers_is_refused() {
    let (dir, spec) = log_spec();
    let mut other = spec.clone();
    other.path = "shard/b".into();
    let mut c = Caller::new();
    for spec in [&spec, &other] {
        let db = c.open(spec);
        write_synced(&mut c, db, 0..5);
        c.close(db, NO_FLUSH);
    }
    let log = dir.path().join("data/shard/a/log");
    fs::rename(&log, dir.path().join("away")).unwrap();
    let got = c.try_open(&spec);
    assert_eq!(got.status, EDATA, "{}", got.text());
    assert!(got.text().contains("is empty, or another log's"), "{}", got.text());
    let _ = fs::remove_dir_all(&log);
    fs::rename(dir.path().join("data/shard/b/log"), &log).unwrap();
    let got = c.try_open(&spec);
    assert_eq!(got.status, EDATA, "{}", got.text());
    assert!(got.text().contains("holds another log"), "{}", got.text());
    fs::remove_dir_all(&log).unwrap();
    fs::rename(dir.path().join("away"), &log).unwrap();
    let db = c.open(&spec);
    assert_eq!(found(&mut c, db, 0..5), [0, 1, 2, 3, 4]);
    c.close(db, NO_FLUSH);
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A restore that put old manifests back under a newer log: each try to open claims an epoch, so in the end a try passes
/// the writers of the log. Whatever it then finds: all rows are there, or the shard stays shut and says why.
fn older_manifests(flushed: bool) {
    let (dir, mut spec) = log_spec();
    spec.settings =
        r#"{"garbage_collector_options":{"wal_options":{"interval":"50ms","min_age":"0s"}}}"#.into();
    let mut c = Caller::new();
    let db = c.open(&spec);
    write_synced(&mut c, db, 0..5);
    c.close(db, NO_FLUSH);
    let (manifests, kept) = (dir.path().join("data/shard/a/manifest"), dir.path().join("kept"));
    copy_files(&manifests, &kept);
    for round in 1..4u32 {
        let db = c.open(&spec);
        write_synced(&mut c, db, round * 5..round * 5 + 5);
        if flushed {
            assert_eq!(c.flush(db, MEMTABLE).status, 0);
        }
        c.close(db, NO_FLUSH);
    }
    fs::remove_dir_all(&manifests).unwrap();
    copy_files(&kept, &manifests);
    let got = (0..12).map(|_| c.try_open(&spec)).find(|got| {
        // A try may also meet the claim of an earlier one and take it for another process's.
        assert!([0, EDATA, EFENCED].contains(&got.status), "{} {}", got.status, got.text());
        got.status == 0
    });
    assert!(
        got.is_some() || flushed,
        "the log has every row that no manifest knows, unless it was collected"
    );
    if let Some(got) = got {
        assert_eq!(found(&mut c, got.db, 0..20), (0..20).collect::<Vec<_>>());
        c.close(got.db, NO_FLUSH);
    }
}

#[test]
fn older_manifests_under_a_newer_log_lose_nothing_in_silence() {
    older_manifests(false);
    older_manifests(true);
}

#[test]
fn segments_follow_each_other_and_one_record_may_be_larger_than_a_segment() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let db = c.open(&spec);
    let sizes = [9usize << 20, 9 << 20, 40 << 20, 1, 9 << 20];
    for (i, size) in sizes.iter().enumerate() {
        c.write(db, &[put(&format!("t{i}"), &vec![i as u8 + 1; *size])]);
        assert_eq!(c.flush(db, WAL).status, 0);
    }
    c.close(db, NO_FLUSH);
    assert!(log_files(&dir, ".log").len() >= 4);
    let db = c.open(&spec);
    for (i, size) in sizes.iter().enumerate() {
        let value = c.get(db, null(), &format!("t{i}")).unwrap();
        assert!(value.len() == *size && value.iter().all(|byte| usize::from(*byte) == i + 1), "{i}");
    }
    c.close(db, NO_FLUSH);
}

/// What the old writer puts into its segment after the new one has read it counts for nobody.
#[test]
fn a_writer_that_was_fenced_acknowledges_nothing() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let quiet = unaware(&spec);
    let old = c.open(&quiet);
    write_synced(&mut c, old, 0..3);
    let new = c.open(&quiet);
    assert_eq!(log_files(&dir, ".fenced").len(), 1);
    c.write(old, &[put("t0003", b"late")]);
    assert_eq!(c.flush(old, WAL).status, EFENCED);
    write_synced(&mut c, new, 4..6);
    c.close(new, NO_FLUSH);
    c.close(old, NO_FLUSH);
    let db = c.open(&quiet);
    assert_eq!(found(&mut c, db, 0..6), [0, 1, 2, 4, 5]);
    c.close(db, NO_FLUSH);
}

/// It sleeps while the other takes over, moves everything to sorted files, collects and goes.
#[test]
fn a_writer_that_comes_back_after_others_were_here_acknowledges_nothing() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let quiet = unaware(&spec);
    let old = c.open(&quiet);
    write_synced(&mut c, old, 0..3);
    let first = log_files(&dir, ".log").remove(0);
    let mut collecting = spec.clone();
    collecting.settings =
        r#"{"garbage_collector_options":{"wal_options":{"interval":"100ms","min_age":"0s"}}}"#.into();
    let new = c.open(&collecting);
    assert_eq!(c.flush(new, MEMTABLE).status, 0);
    let mut tries = 0;
    while first.exists() {
        assert!(tries < 600, "{:?}", log_entries(&dir));
        tries += 1;
        write_synced(&mut c, new, 10 + tries..11 + tries); // a database at rest collects nothing
        c.drain_for(Duration::from_millis(50));
    }
    c.close(new, MEMTABLE);
    // More than its segment has room for: it wants a new one.
    for key in 0..3 {
        c.write(old, &[put(&format!("late{key}"), &vec![1; 9 << 20])]);
        assert_ne!(c.flush(old, WAL).status, 0);
    }
    c.close(old, NO_FLUSH);
    let db = c.open(&quiet);
    assert!(c.get(db, null(), "late0").is_none());
    c.close(db, NO_FLUSH);
}

/// `local_log` is switched under a server that still runs.
#[test]
fn a_writer_of_the_other_form_acknowledges_nothing() {
    for log_first in [true, false] {
        let (_dir, log) = log_spec();
        let mut objects = log.clone();
        objects.flags &= !LOG;
        let (first, second) = if log_first { (&log, &objects) } else { (&objects, &log) };
        let (first, second) = (unaware(first), unaware(second));
        let mut c = Caller::new();
        let old = c.open(&first);
        write_synced(&mut c, old, 0..3);
        assert_eq!(c.flush(old, MEMTABLE).status, 0); // nothing is left that would make the other convert it
        let new = c.open(&second);
        c.write(old, &[put("late", b"late")]);
        assert_eq!(c.flush(old, WAL).status, EFENCED, "log first: {log_first}");
        write_synced(&mut c, new, 3..5);
        c.close(new, NO_FLUSH);
        c.close(old, NO_FLUSH);
        for spec in [&first, &second, &first] {
            let db = c.open(spec);
            assert_eq!(found(&mut c, db, 0..5), [0, 1, 2, 3, 4]);
            assert!(c.get(db, null(), "late").is_none());
            c.close(db, NO_FLUSH);
        }
    }
}

/// Servers that take a database from each other leave no more behind each time.
#[test]
fn the_log_does_not_grow_while_servers_fight() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let quiet = unaware(&spec);
    let (mut old, mut most) = (c.open(&quiet), 0);
    for key in 0..30 {
        write_synced(&mut c, old, key..key + 1);
        let new = c.open(&quiet);
        c.close(old, NO_FLUSH);
        old = new;
        most = most.max(log_bytes(&dir));
    }
    assert!(most < 4 * (17 << 20), "{most} bytes");
    assert_eq!(found(&mut c, old, 0..30), (0..30).collect::<Vec<_>>());
    c.close(old, NO_FLUSH);
}

#[test]
fn a_writer_whose_segment_was_removed_acknowledges_nothing() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let quiet = unaware(&spec);
    let db = c.open(&quiet);
    write_synced(&mut c, db, 0..1);
    for file in log_files(&dir, ".log") {
        fs::remove_file(file).unwrap();
    }
    c.write(db, &[put("t0001", b"late")]);
    assert_eq!(c.flush(db, WAL).status, EFENCED);
    c.close(db, NO_FLUSH);
}

#[test]
fn a_log_and_objects_are_taken_over_from_each_other() {
    let (dir, log) = log_spec();
    let (_, mut objects) = disk();
    objects.url = log.url.clone();
    let mut c = Caller::new();
    for round in 0..6u32 {
        let spec = if round % 2 == 0 { &log } else { &objects };
        let db = c.open(spec);
        assert_eq!(found(&mut c, db, 0..round * 4), (0..round * 4).collect::<Vec<_>>(), "round {round}");
        write_synced(&mut c, db, round * 4..round * 4 + 4);
        assert_eq!(c.close(db, NO_FLUSH).status, 0);
    }
    assert!(dir.path().join("data/shard/a/wal").exists());
}

#[test]
fn segments_that_nobody_needs_are_removed() {
    let (dir, mut spec) = log_spec();
    spec.settings =
        r#"{"garbage_collector_options":{"wal_options":{"interval":"100ms","min_age":"0s"}}}"#.into();
    let mut c = Caller::new();
    for round in 0..3u32 {
        let db = c.open(&spec);
        write_synced(&mut c, db, round..round + 1);
        c.close(db, NO_FLUSH);
    }
    let db = c.open(&spec);
    write_synced(&mut c, db, 3..4);
    assert_eq!(c.flush(db, MEMTABLE).status, 0);
    write_synced(&mut c, db, 4..5);
    let mut tries = 0;
    while log_files(&dir, ".log").len() + log_files(&dir, ".fenced").len() > 1 {
        assert!(tries < 600, "{:?} {:?}", log_files(&dir, ".log"), log_files(&dir, ".fenced"));
        tries += 1;
        c.drain_for(Duration::from_millis(50));
    }
    c.close(db, NO_FLUSH);
    let db = c.open(&spec);
    assert_eq!(found(&mut c, db, 0..5), [0, 1, 2, 3, 4]);
    c.close(db, NO_FLUSH);
}

#[test]
fn a_flush_covers_the_writes_before_it() {
    let (_dir, spec) = log_spec();
    let mut c = Caller::new();
    let db = c.open(&spec);
    for round in 0..200u64 {
        let write = c.start_write(db, &[put(&format!("t{round}"), b"v")], 1);
        let flush = c.token();
        assert_eq!(unsafe { sdbx::flush::sdbx_flush(db, WAL, flush) }, 0);
        let flushed = c.wait(flush);
        let applied = c.wait(write);
        assert_eq!((flushed.status, flushed.seq), (0, applied.seq));
    }
    c.close(db, NO_FLUSH);
}

/// A database whose log cannot go on, and the flush that waits for it.
struct Stuck {
    db: *const sdbx::db::Db,
    flush: u64,
    /// Stands where the next segment should.
    obstacle: PathBuf,
}

fn stuck(c: &mut Caller, dir: &TempDir, spec: &Spec) -> Stuck {
    let db = c.open(spec);
    c.write(db, &[put("t0000", &vec![1; 10 << 20])]);
    assert_eq!(c.flush(db, WAL).status, 0);
    let first = log_files(dir, ".log").remove(0);
    let obstacle = PathBuf::from(first.to_string_lossy().replace("-0000000000.log", "-0000000001.log.new"));
    fs::create_dir(&obstacle).unwrap();
    c.write(db, &[put("t0001", &vec![2; 10 << 20])]);
    let flush = c.token();
    assert_eq!(unsafe { sdbx::flush::sdbx_flush(db, WAL, flush) }, 0);
    Stuck { db, flush, obstacle }
}

/// A log that cannot go on waits and says why; when it can, everything is there.
#[test]
fn a_write_that_fails_is_named_and_tried_again() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let Stuck { db, flush, obstacle } = stuck(&mut c, &dir, &spec);
    let (mut text, mut tries) = (Buf::EMPTY, 0);
    while unsafe { sdbx_last_error(db, &mut text, null_mut(), null_mut()) } != 0 {
        assert!(tries < 600, "no error is told");
        tries += 1;
        c.drain_for(Duration::from_millis(50));
    }
    let text = take_text(text);
    assert!(text.starts_with("APPEND "), "{text}");
    fs::remove_dir(&obstacle).unwrap();
    assert_eq!(c.wait(flush).status, 0);
    c.close(db, NO_FLUSH);
    let db = c.open(&spec);
    assert_eq!(found(&mut c, db, 0..2), [0, 1]);
    c.close(db, NO_FLUSH);
}

/// Closing does not wait for a disk that gives no answer; the flush is told.
#[test]
fn closing_gives_up_in_time() {
    let (dir, spec) = log_spec();
    let mut c = Caller::new();
    let Stuck { db, flush, .. } = stuck(&mut c, &dir, &spec);
    let close = c.token();
    assert_eq!(unsafe { sdbx_close(db, NO_FLUSH, 1000, close) }, 0);
    assert_eq!(c.wait(flush).status, ECLOSED);
    assert_eq!(c.wait(close).status, EUNAVAIL);
}
