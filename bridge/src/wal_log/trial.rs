//! What a disk, a pause or a second process can do to a log. Writers run over a disk in memory; what they acknowledged must
//! come back, or the log is refused.

use super::collect::collect;
use super::dir::LogDir;
use super::files::Files;
use super::give_up::sound;
use super::init::{enter, take_over, Entrance, Taken};
use super::memory::Memory;
use super::record::{self, Whole};
use super::segment::{read, LogId, Segment};
use super::survey::{survey, Damage, Verdict};
use super::tenure::Tenure;
use super::writer::{LogWriter, Start};
use crate::watch::Health;
use bytes::Bytes;
use slatedb::wal::{WalError, WalFileRange, WalWriter};
use slatedb::{RowEntry, ValueDeletable};
use slatedb_common::metrics::DefaultMetricsRecorder;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;

const ID: LogId = LogId([7; 16]);
const OTHER: LogId = LogId([8; 16]);
/// Some six records of these tests.
const SEGMENT_BYTES: u64 = 700;

fn log_in(memory: &Memory, id: LogId) -> LogDir {
    LogDir { segment_bytes: SEGMENT_BYTES, ..LogDir::new(memory.files(), id) }
}

/// The number each record of these tests carries is its value's; values differ in length.
fn row(number: u64) -> RowEntry {
    let value = format!("{number:08}{}", "v".repeat((number % 7) as usize));
    RowEntry {
        key: Bytes::from_static(b"key"),
        value: ValueDeletable::Value(Bytes::from(value)),
        seq: number,
        create_ts: Some(number as i64),
        expire_ts: None,
    }
}

fn number(whole: &Whole) -> u64 {
    let rows = record::rows(whole).unwrap();
    let ValueDeletable::Value(value) = &rows[0].value else { panic!("not a value") };
    std::str::from_utf8(&value[..8]).unwrap().parse().unwrap()
}

fn numbers(dir: &LogDir, segments: &[(Segment, u64)], replayed: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for (segment, end) in segments {
        let contents = read(&dir.contents(segment.name).unwrap(), segment, *end, replayed);
        numbers.extend(contents.records.iter().filter(|whole| whole.id > replayed).map(number));
    }
    numbers
}

struct World {
    runtime: Runtime,
}

/// A writer that took over, and what it read then.
struct Writer {
    log: LogWriter,
    tenure: Arc<Tenure>,
    read: Vec<u64>,
}

fn taken(dir: &LogDir, epoch: u64, replayed: u64) -> (Arc<Tenure>, Result<Option<Taken>, WalError>) {
    let (entry, tenure) = enter(dir, epoch).unwrap();
    assert_eq!(entry, Entrance::Free);
    let tenure = Arc::new(tenure.unwrap());
    let taken = take_over(&tenure, replayed);
    (tenure, taken)
}

impl World {
    fn new() -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        World { runtime: runtime.unwrap() }
    }

    fn open(&self, dir: &LogDir, epoch: u64, replayed: u64) -> Writer {
        let _inside = self.runtime.enter();
        let (tenure, taken) = taken(dir, epoch, replayed);
        let taken = taken.unwrap().unwrap();
        let read = numbers(dir, &taken.replay, replayed);
        let start = Start {
            tenure: tenure.clone(),
            segment: taken.segment,
            first_id: taken.next_id,
            last_crc: taken.last_crc,
            record_bytes_max: 1 << 20,
        };
        let log = LogWriter::new(start, Arc::new(Health::default()), &DefaultMetricsRecorder::new());
        Writer { log, tenure, read }
    }

    fn write(&self, writer: &mut Writer, number: u64) -> Result<(), WalError> {
        self.runtime.block_on(async {
            writer.log.append(&[row(number)]).await?;
            writer.log.flush().await?.completion.await
        })
    }

    fn write_all(&self, writer: &mut Writer, numbers: impl IntoIterator<Item = u64>) {
        numbers.into_iter().for_each(|number| self.write(writer, number).unwrap());
    }

    fn close(&self, mut writer: Writer) {
        self.runtime.block_on(writer.log.close()).unwrap();
    }

    /// Three writers after each other, several segments each; 40 records, numbered as their ids. The last one is killed.
    fn log(&self, id: LogId) -> Memory {
        let memory = Memory::new();
        let dir = log_in(&memory, id);
        for (epoch, numbers) in [(2, 1..=14), (5, 15..=29), (6, 30..=40)] {
            let mut writer = self.open(&dir, epoch, 0);
            self.write_all(&mut writer, numbers);
            drop(writer);
            gone(&dir, epoch);
        }
        memory
    }
}

/// A segment of form 1 with the records `first_id` and so on, as they were written before form 2.
fn form_1(epoch: u64, number: u64, first_id: u64, numbers: &[u64]) -> (String, Vec<u8>) {
    let mut bytes = [b"SILOLOG1".to_vec(), vec![0; 56]].concat();
    bytes[8..16].copy_from_slice(&epoch.to_le_bytes());
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    bytes[24..32].copy_from_slice(&first_id.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..32]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    for (id, number) in (first_id..).zip(numbers) {
        let mut record = record::Record::new(0);
        record.append(&[row(*number)]).unwrap();
        let payload = &record.bytes()[record::HEADER_BYTES..];
        let mut old = [b"SLR1".to_vec(), vec![0; 4], (payload.len() as u32).to_le_bytes().to_vec()].concat();
        old.extend(1u32.to_le_bytes());
        [id, epoch, *number].iter().for_each(|word| old.extend(word.to_le_bytes()));
        old.extend(payload);
        let crc = crc32fast::hash(&old[8..]);
        old[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes.extend(old);
    }
    bytes.resize(bytes.len() + 500, 0); // blocks that were not written to
    (super::segment::SegmentName { epoch, number }.file(), bytes)
}

/// Logs from before form 2 are read, guarded, and written on in form 2.
#[test]
fn a_log_of_form_1_is_taken_over() {
    let world = World::new();
    let memory = Memory::new();
    let all: Vec<u64> = (1..=17).collect();
    for (epoch, number, first_id, numbers) in
        [(1, 0, 1, &all[..6]), (1, 1, 7, &all[6..9]), (4, 0, 10, &all[9..17])]
    {
        let (name, bytes) = form_1(epoch, number, first_id, numbers);
        memory.put(&name, &bytes);
    }
    memory.put("00000000000000000005-0000000000.log", &[0; 700]); // of an open that died early
    memory.put("00000000000000000001.fenced", b"");
    for name in segments(&memory) {
        let bytes = bytes_of(&memory, &name);
        for at in (0..bytes.len()).filter(|at| bytes[*at] != 0) {
            let copy = memory.copy();
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            copy.put(&name, &bad);
            let last =
                name.contains("4-") && bytes.windows(4).rposition(|word| word == b"SLR1").unwrap() <= at;
            judge(&copy, 17, last, &format!("form 1, {name}, byte {at}"));
        }
    }
    let dir = log_in(&memory, ID);
    let mut writer = world.open(&dir, 6, 0);
    assert_eq!(writer.read, all);
    world.write_all(&mut writer, 18..=30);
    collect_all(&writer, 12);
    world.close(writer);
    assert_eq!(world.open(&dir, 7, 12).read, (13..=30).collect::<Vec<_>>());
    assert!(!memory.names().unwrap().contains(&"00000000000000000005-0000000000.log".to_string()));
}

/// Before form 2 a writer built on what the one before it had left in the page cache.
#[test]
fn segments_that_nobody_synced_become_durable() {
    let world = World::new();
    let memory = Memory::new();
    let all: Vec<u64> = (1..=20).collect();
    for (epoch, number, first_id, numbers) in
        [(1, 0, 1, &all[..6]), (1, 1, 7, &all[6..9]), (4, 0, 10, &all[9..17])]
    {
        let (name, bytes) = form_1(epoch, number, first_id, numbers);
        memory.create(&name).unwrap().write_at(0, &bytes).unwrap();
    }
    memory.sync_names().unwrap();
    let mut writer = world.open(&log_in(&memory, ID), 6, 0);
    world.write_all(&mut writer, 18..=20);
    let after = memory.after_power_cut(|| false);
    assert_eq!(world.open(&log_in(&after, ID), 7, 0).read, all);
}

fn segments(memory: &Memory) -> Vec<String> {
    let mut names = memory.names().unwrap();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

/// Waits until the appender's last turn is over.
fn gone(dir: &LogDir, epoch: u64) {
    while !dir.is_dead(epoch) {
        std::thread::yield_now();
    }
}

fn bytes_of(memory: &Memory, name: &str) -> Vec<u8> {
    memory.read(name, usize::MAX).unwrap()
}

/// Either all are there, but for the last if that may be lost, or the log is refused and a file is named.
fn judge(memory: &Memory, last: u64, last_may_go: bool, what: &str) -> bool {
    let dir = log_in(memory, ID);
    for replayed in [0, last / 2 - 3] {
        match survey(&dir, replayed).unwrap() {
            Verdict::Sound(found) => {
                let numbers = numbers(&dir, &found.segments, replayed);
                let all: Vec<u64> = (replayed + 1..=last).collect();
                let but_one = last_may_go && numbers[..] == all[..all.len() - 1];
                assert!(numbers == all || but_one, "{what}: of {last} came back {numbers:?}");
            }
            Verdict::Damaged(damage) => {
                let text = damage.text("how");
                assert!(text.contains(".log at offset") && damage.first_lost > replayed, "{what}: {text}");
                assert!(damage.first_lost <= last + 1, "{what}: {text}");
                let _ = damage.last_lost.map(|lost| assert!(lost >= damage.first_lost, "{what}: {text}"));
            }
        }
    }
    matches!(survey(&dir, 0).unwrap(), Verdict::Damaged(_))
}

#[test]
fn a_log_comes_back() {
    let world = World::new();
    let memory = world.log(ID);
    assert!(segments(&memory).len() >= 6, "{:?}", segments(&memory));
    assert!(!judge(&memory, 40, false, "as it was written"));
    let writer = world.open(&log_in(&memory, ID), 7, 0);
    assert_eq!(writer.read, (1..=40).collect::<Vec<_>>());
}

/// Where the last record is: only there may damage pass for a write that was cut off.
fn last_record(memory: &Memory) -> (String, std::ops::Range<usize>) {
    let name = segments(memory).pop().unwrap();
    let bytes = bytes_of(memory, &name);
    let start = bytes.windows(4).rposition(|word| word == b"SLR2").unwrap();
    (name, start..bytes.len())
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let memory = World::new().log(ID);
    let (last_name, last) = last_record(&memory);
    let mut refused = 0;
    for name in memory.names().unwrap() {
        let bytes = bytes_of(&memory, &name);
        for at in 0..bytes.len() {
            let copy = memory.copy();
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            copy.put(&name, &bad);
            let last_may_go = name == last_name && last.contains(&at);
            refused += usize::from(judge(&copy, 40, last_may_go, &format!("{name}, byte {at}")));
        }
    }
    assert!(refused > 2000, "{refused}: most damage cannot be made good");
}

#[test]
fn a_file_cut_short_anywhere_is_found() {
    let memory = World::new().log(ID);
    let (last_name, last) = last_record(&memory);
    for name in memory.names().unwrap() {
        let bytes = bytes_of(&memory, &name);
        for end in 0..bytes.len() {
            let copy = memory.copy();
            copy.put(&name, &bytes[..end]);
            judge(&copy, 40, false, &format!("{name} cut at {end}"));
        }
    }
    assert!(last.start > 64 + 100, "several records stand in {last_name}");
}

#[test]
fn zeroed_runs_are_found() {
    let memory = World::new().log(ID);
    let (last_name, last) = last_record(&memory);
    for name in memory.names().unwrap() {
        let bytes = bytes_of(&memory, &name);
        for size in [64, 512, 4096] {
            for from in (0..bytes.len()).step_by(64) {
                let copy = memory.copy();
                let mut bad = bytes.clone();
                let end = (from + size).min(bad.len());
                bad[from..end].fill(0);
                copy.put(&name, &bad);
                let tail = name == last_name && end >= last.start;
                if tail && from < last.start && from >= 64 {
                    continue; // several records of a writer that was killed: nothing speaks of them
                }
                judge(&copy, 40, tail, &format!("{name}, {size} zeros at {from}"));
            }
        }
    }
}

#[test]
fn a_missing_swapped_or_doubled_segment_is_found() {
    let world = World::new();
    let memory = world.log(ID);
    let names = segments(&memory);
    let mut refused = 0;
    for (at, name) in names.iter().enumerate() {
        let copy = memory.copy();
        copy.remove(name).unwrap();
        refused += usize::from(judge(&copy, 40, false, &format!("{name} is missing")));
        for other in &names[at + 1..] {
            let copy = memory.copy();
            copy.put(name, &bytes_of(&memory, other));
            judge(&copy, 40, false, &format!("{name} replaced by {other}"));
            copy.put(other, &bytes_of(&memory, name));
            judge(&copy, 40, false, &format!("{name} and {other} swapped"));
        }
        for doubled in ["00000000000000000001-0000000000.log", "00000000000000000006-0000000099.log"] {
            let copy = memory.copy();
            copy.put(doubled, &bytes_of(&memory, name));
            judge(&copy, 40, false, &format!("{name} also as {doubled}"));
        }
        let copy = memory.copy();
        copy.put(&format!("{name}.bak"), &bytes_of(&memory, name));
        copy.put(&name.replace("000000000000000000", ""), &bytes_of(&memory, name));
        assert!(!judge(&copy, 40, false, "a copy under a name that is no segment's"));
    }
    assert!(refused >= names.len() / 2, "{refused}: the others only repeat, or are repeated");
}

#[test]
fn the_file_of_another_log_is_found() {
    let world = World::new();
    let (memory, other) = (world.log(ID), world.log(OTHER));
    let mut refused = 0;
    for name in segments(&other) {
        let copy = memory.copy();
        copy.put(&name, &bytes_of(&other, &name));
        judge(&copy, 40, false, &format!("{name} of another log"));
        if let Verdict::Damaged(damage) = survey(&log_in(&copy, ID), 0).unwrap() {
            assert!(damage.why.contains("another log"), "{}", damage.text(""));
            refused += 1;
        }
    }
    assert!(refused >= segments(&other).len() / 2, "{refused}: the others only repeat, or are repeated");
}

/// Truncation and zeros take any number of records from the end; a writer that closed has said what there was.
#[test]
fn a_loss_at_the_end_is_found_after_a_close() {
    let world = World::new();
    let memory = world.log(ID);
    let mut writer = world.open(&log_in(&memory, ID), 7, 0);
    world.write_all(&mut writer, 41..=45);
    world.close(writer);
    assert!(!judge(&memory, 45, false, "as it was written"));
    let name = segments(&memory).pop().unwrap();
    let bytes = bytes_of(&memory, &name);
    for from in 64..bytes.len() {
        let copy = memory.copy();
        copy.put(&name, &bytes[..from]);
        assert!(judge(&copy, 45, false, &format!("{name} cut at {from}")));
        copy.put(&name, &[&bytes[..from], &vec![0; bytes.len() - from]].concat());
        let last_byte_was_zero = bytes[from..].iter().all(|byte| *byte == 0);
        assert!(last_byte_was_zero || judge(&copy, 45, false, &format!("{name}, zeros from {from}")));
        copy.put("accept-loss", b"");
        let read = world.open(&log_in(&copy, ID), 9, 0).read;
        assert!(read.len() >= 34 && read.iter().copied().eq(1..=read.len() as u64), "{from}: {read:?}");
    }
}

/// What is in sorted files may be missing from the log, and a writer that is fenced says nothing that outlives it.
#[test]
fn a_note_refuses_no_log_that_is_whole() {
    let world = World::new();
    let memory = Memory::new();
    let dir = log_in(&memory, ID);
    let mut old = world.open(&dir, 1, 0);
    world.write_all(&mut old, 1..=9);
    let mut new = world.open(&dir, 2, 0);
    assert!(world.write(&mut old, 10).is_err());
    world.close(old);
    assert_eq!(world.open(&dir, 3, 0).read, (1..=9).collect::<Vec<_>>());
    assert!(world.write(&mut new, 10).is_err());
    drop(new);
    let mut last = world.open(&dir, 4, 0);
    let ids = last.read.len() as u64 + 3; // what the fenced one wrote last may be among them
    world.write_all(&mut last, 10..=12);
    world.close(last);
    let name = segments(&memory).pop().unwrap();
    let bytes = bytes_of(&memory, &name);
    memory.put(&name, &bytes[..100]);
    assert!(matches!(survey(&dir, 0).unwrap(), Verdict::Damaged(_)));
    assert!(matches!(survey(&dir, ids).unwrap(), Verdict::Sound(_)), "all of it is in sorted files");
}

/// Damage among records that are in sorted files already puts nothing at stake.
#[test]
fn what_is_not_needed_may_be_damaged() {
    let memory = World::new().log(ID);
    let name = &segments(&memory)[0];
    let mut bad = bytes_of(&memory, name);
    bad[100] ^= 1;
    memory.put(name, &bad);
    let dir = log_in(&memory, ID);
    assert!(matches!(survey(&dir, 0).unwrap(), Verdict::Damaged(_)));
    let Verdict::Sound(found) = survey(&dir, 2).unwrap() else { panic!("damaged") };
    assert_eq!(numbers(&dir, &found.segments, 2), (3..=40).collect::<Vec<_>>());
}

fn aside(memory: &Memory) -> Vec<String> {
    memory.all_names().into_iter().filter(|name| name.starts_with("damaged-")).collect()
}

/// The error says what is at stake and how to go on; an operator's word is taken once, and nothing is deleted.
#[test]
fn an_operator_may_go_on_without_what_is_damaged() {
    let world = World::new();
    let whole = world.log(ID);
    let mut tried = 0;
    for name in segments(&whole) {
        let last = name == *segments(&whole).last().unwrap();
        for at in [20usize, 64 + 20, 64 + 130, 64 + 300] {
            let memory = whole.copy();
            let mut bad = bytes_of(&memory, &name);
            if at >= bad.len() || last && at > 150 {
                continue;
            }
            bad[at] ^= 0x20;
            memory.put(&name, &bad);
            let dir = log_in(&memory, ID);
            let Verdict::Damaged(damage) = survey(&dir, 0).unwrap() else { continue };
            tried += 1;
            let error = sound(&dir, 0).unwrap_err().to_string();
            assert!(
                error.contains(&format!("log/{name} at offset")) && error.contains("log/accept-loss"),
                "{error}"
            );
            assert!(error.contains(&format!("records {} to ", damage.first_lost)), "{error}");
            memory.put("accept-loss", b"");
            accept(&world, &memory, &damage, &bad, &name);
        }
        let memory = whole.copy();
        memory.remove(&name).unwrap();
        let dir = log_in(&memory, ID);
        if sound(&dir, 0).is_ok() {
            continue; // the next writer wrote again what was in it
        }
        memory.put("accept-loss", b"");
        let writer = world.open(&dir, 9, 0);
        assert!(writer.read.len() < 40 && writer.read.iter().copied().eq(1..=writer.read.len() as u64));
    }
    assert!(tried > 15, "{tried}");
}

/// A word that was not needed is no answer to what comes later.
#[test]
fn a_word_is_taken_back_where_nothing_is_damaged() {
    let world = World::new();
    let memory = world.log(ID);
    memory.put("accept-loss", b"");
    let dir = log_in(&memory, ID);
    drop(world.open(&dir, 7, 0));
    assert!(!memory.exists("accept-loss").unwrap());
    let name = &segments(&memory)[0];
    let mut bad = bytes_of(&memory, name);
    bad[100] ^= 1;
    memory.put(name, &bad);
    assert!(sound(&dir, 0).is_err());
}

/// All that would be given up is said to be at stake, not only what is damaged.
#[test]
fn what_is_at_stake_goes_to_the_end() {
    let memory = World::new().log(ID);
    let names = segments(&memory);
    for name in [&names[0], &names[2]] {
        let copy = memory.copy();
        let mut bad = bytes_of(&copy, name);
        bad[150] ^= 1;
        copy.put(name, &bad);
        let Verdict::Damaged(damage) = survey(&log_in(&copy, ID), 0).unwrap() else { panic!("sound") };
        assert_eq!(damage.last_lost, Some(40), "{}", damage.text(""));
    }
}

fn accept(world: &World, memory: &Memory, damage: &Damage, bad: &[u8], name: &str) {
    let dir = log_in(memory, ID);
    let mut writer = world.open(&dir, 9, 0);
    // Behind the damage there may be what the next writer had written again.
    assert!(writer.read.iter().copied().eq(1..=writer.read.len() as u64), "{name}: {:?}", writer.read);
    assert!(writer.read.len() as u64 >= damage.first_lost - 1 && writer.read.len() < 40);
    let kept = aside(memory);
    let damaged = kept.iter().find(|kept| kept.ends_with(name)).unwrap();
    assert_eq!(bytes_of(memory, damaged), bad, "the damaged file is kept as it was");
    assert!(kept.iter().any(|kept| kept.ends_with("/accept-loss")), "the word counts once");
    let note = kept.iter().find(|kept| kept.ends_with(".txt")).unwrap();
    assert!(String::from_utf8(bytes_of(memory, note)).unwrap().contains(name));
    world.write_all(&mut writer, [90, 91]);
    world.close(writer);
    let writer = world.open(&dir, 10, 0);
    assert_eq!(writer.read[writer.read.len() - 2..], [90, 91]);
}

fn collect_all(writer: &Writer, replayed: u64) {
    let wanted = [WalFileRange(Bound::Excluded(replayed), Bound::Unbounded)];
    collect(&writer.tenure, &wanted, false, &Mutex::default()).unwrap();
}

/// A writer that slept while others came, collected what it had, and went.
#[test]
fn a_writer_that_comes_back_late_acknowledges_nothing() {
    let world = World::new();
    for successors in 1..4 {
        for more in [1, 9] {
            let memory = Memory::new();
            let dir = log_in(&memory, ID);
            let mut old = world.open(&dir, 1, 0);
            world.write_all(&mut old, 1..=9);
            let mut replayed = 0;
            for epoch in 2..2 + successors {
                let mut new = world.open(&dir, epoch, replayed);
                let last = new.read.last().copied().unwrap_or(replayed);
                replayed = last + 20;
                world.write_all(&mut new, last + 1..=replayed);
                collect_all(&new, replayed);
                world.close(new);
            }
            assert!(!memory.names().unwrap().iter().any(|name| name.starts_with("00000000000000000001-")));
            for number in 1..=more {
                let result = world.write(&mut old, 5000 + number);
                assert!(
                    matches!(result, Err(WalError::Fenced)) || number > 1 && result.is_err(),
                    "{result:?}"
                );
            }
            drop(old);
            gone(&dir, 1);
            let new = world.open(&dir, 9, replayed);
            assert!(!new.read.iter().any(|number| *number > 5000));
            collect_all(&new, replayed);
            let first = "00000000000000000001.fenced".to_string();
            assert!(!memory.names().unwrap().contains(&first), "nobody is left whom it could stop");
        }
    }
}

/// The one that sleeps between its look at the directory and its first segment there.
#[test]
fn a_segment_begun_too_late_counts_for_nobody() {
    let world = World::new();
    let memory = Memory::new();
    let dir = log_in(&memory, ID);
    let mut old = world.open(&dir, 1, 0);
    world.write_all(&mut old, 1..=9);
    let late = segments(&memory).pop().unwrap();
    let mut new = world.open(&dir, 2, 0);
    world.write_all(&mut new, 10..=12);
    // What the old one may still put there: its next segment, and in it the record it could not know to be taken.
    let mut bytes = bytes_of(&memory, &late);
    let number = late[21..31].parse::<u64>().unwrap() + 1;
    let name = super::segment::SegmentName { epoch: 1, number };
    bytes = super::segment::header(name, 9, 0, ID).into_iter().chain(bytes.drain(64..)).collect();
    memory.put(&name.file(), &bytes);
    drop(new);
    assert_eq!(world.open(&dir, 3, 0).read, (1..=12).collect::<Vec<_>>());
}

#[test]
fn a_log_made_anew_fences_the_writers_of_the_old_one() {
    let world = World::new();
    let memory = Memory::new();
    let dir = log_in(&memory, ID);
    let mut old = world.open(&dir, 7, 0);
    world.write_all(&mut old, 1..=3);
    memory.names().unwrap().iter().for_each(|name| memory.remove(name).unwrap());
    let mut new = world.open(&dir, 1, 0);
    world.write_all(&mut new, 1..=2);
    for number in 4..30 {
        assert!(world.write(&mut old, number).is_err());
    }
    drop(old);
    assert_eq!(segments(&memory).len(), 1);
}

/// Files of an epoch that the database has not given out.
#[test]
fn a_log_that_is_ahead_of_its_database_is_not_taken_over() {
    let memory = World::new().log(ID);
    let (entry, tenure) = enter(&log_in(&memory, ID), 4).unwrap();
    assert!(entry == Entrance::Newer(6) && tenure.is_none());
}

/// Opens that fail, and opens that are killed, leave no more behind each time.
#[test]
fn the_directory_does_not_grow_while_opens_fail() {
    let memory = World::new().log(ID);
    let dir = log_in(&memory, ID);
    let (names, bytes) = (memory.names().unwrap().len(), memory.bytes());
    for epoch in 10..40 {
        let (tenure, taken) = taken(&dir, epoch, 0);
        drop(taken.unwrap().unwrap());
        drop(tenure);
    }
    // The sweep also took away what the writers of the log had left.
    let fenced = 3;
    assert!(memory.names().unwrap().len() <= names + fenced && memory.bytes() <= bytes);
    for epoch in 40..80 {
        let (tenure, taken) = taken(&dir, epoch, 0);
        drop(taken.unwrap().unwrap());
        std::mem::forget(tenure);
        memory.kill_all();
    }
    let after = (memory.names().unwrap().len(), memory.bytes());
    assert!(
        after.0 <= names + fenced + 6 && after.1 <= bytes + 4096,
        "{after:?} after {names} files, {bytes} bytes"
    );
    assert_eq!(World::new().open(&dir, 99, 0).read, (1..=40).collect::<Vec<_>>());
}

/// Numbers that look random; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A record reaches the page cache, and its sync fails, or is not asked for; then the process is gone.
fn die_while_writing(dir: &LogDir, memory: &Memory, epoch: u64, replayed: u64, number: u64, fails: bool) {
    let (tenure, taken) = taken(dir, epoch, replayed);
    let mut taken = taken.unwrap().unwrap();
    tenure.keep();
    let mut record = record::Record::new(0);
    record.append(&[row(number)]).unwrap();
    record.finish();
    taken.segment.append(taken.next_id, &mut record, taken.last_crc).unwrap();
    if fails {
        memory.fail_sync_after(0);
        assert!(taken.segment.sync().is_err());
    }
}

/// Writers come and go, syncs fail, processes die, the power goes: what was acknowledged is there, in order and once, and
/// the log always opens. A number that was read once counts as acknowledged from then on.
fn live(seed: u64) {
    let world = World::new();
    let mut dice = Dice(seed);
    let mut memory = Memory::new();
    let (mut promised, mut number, mut replayed) = (Vec::new(), 0, 0);
    for epoch in 1..25 {
        let dir = log_in(&memory, ID);
        let mut writer = world.open(&dir, epoch * 2, replayed);
        let expected: Vec<u64> = promised.iter().copied().skip(replayed as usize).collect();
        assert!(
            writer.read.starts_with(&expected),
            "seed {seed}: {:?} lacks some of {expected:?}",
            writer.read
        );
        promised.truncate(replayed as usize);
        promised.append(&mut writer.read);
        for _ in 0..dice.roll(30) {
            number += 1;
            if dice.roll(4) == 0 {
                memory.fail_sync_after(dice.roll(4) as usize);
            }
            if dice.roll(20) == 0 {
                memory.fail_syncs(dice.roll(1 << 5));
            }
            world.write(&mut writer, number).unwrap();
            promised.push(number);
        }
        memory.fail_syncs(0);
        memory.fail_sync_after(usize::MAX);
        if dice.roll(3) == 0 {
            replayed = (promised.len() as u64).min(replayed + dice.roll(20));
            collect_all(&writer, replayed);
        }
        match dice.roll(3) {
            0 => world.close(writer),
            _ => drop(writer),
        }
        if dice.roll(2) == 0 {
            number += 1;
            die_while_writing(&dir, &memory, epoch * 2 + 1, replayed, number, dice.roll(2) == 0);
        }
        if dice.roll(2) == 0 {
            let keeps = dice.roll(3);
            memory = memory.after_power_cut(|| keeps > 0 && dice.roll(keeps + 1) == 0);
        }
    }
}

/// Tries in vain take no more room than one new segment, and leave no file without its name.
#[test]
fn a_disk_that_fails_is_not_filled() {
    let world = World::new();
    let memory = Memory::new();
    let dir = log_in(&memory, ID);
    let mut writer = world.open(&dir, 2, 0);
    world.write_all(&mut writer, 1..=5);
    let before = segments(&memory).len();
    for (number, pattern) in
        (6..).zip([0o1111, 0o2222, 0o4444, 0b1010_1010, 0b1111_1111, 0o1247, 0o7421, 0o5263])
    {
        memory.fail_syncs(pattern);
        world.write(&mut writer, number).unwrap();
    }
    let all = memory.all_names();
    assert!(segments(&memory).len() <= before + 8, "a segment for each record at most: {all:?}");
    assert!(!all.iter().any(|name| name.ends_with(".new")), "{all:?}");
    drop(writer);
    gone(&dir, 2);
    assert_eq!(world.open(&dir, 99, 0).read, (1..=13).collect::<Vec<_>>());
}

#[test]
fn what_was_acknowledged_survives() {
    (1..=60).for_each(live);
}
