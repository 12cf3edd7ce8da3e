//! Looking through a log: which records count, and whether all that were acknowledged are there.
//!
//! * A segment ends where a later one begins: at the least of all first ids in segments with later names. What is in it
//!   from there on is a round that failed and was written again, or the work of a writer that was fenced.
//! * Below its end a segment must be whole: its writer, or the one that took over, began the later segment only once all
//!   before was durable. In the last segment a break with a later record behind it is damage for the same reason
//!   (record.rs); a break with nothing behind it is a write that was cut off, or damage to the very last record, which
//!   nothing can tell apart.
//! * What is missing at the end of the log shows by what writers noted in their books (book.rs).
//! * A segment is not needed if a later one begins at or below the first id that is not in sorted files, or that was not
//!   found so far.

use super::dir::{nonsense, LogDir};
use super::record;
use super::segment::{continues, read, Contents, Header, Segment, SegmentName, SEGMENT_HEADER_BYTES};
use slatedb::wal::WalError;
use std::io::Result;
use std::sync::Arc;

/// Breaks in one segment behind which is looked for what can still be read.
const BREAKS_MAX: usize = 64;

/// A segment's name with what its header says.
#[derive(Debug)]
pub struct Entry {
    pub name: SegmentName,
    pub header: Header,
    /// Least first id of all later segments.
    pub end: u64,
}

/// Segments with records that count.
#[derive(Debug)]
pub struct Found {
    /// In order; each with the id at which it ends.
    pub segments: Vec<(Segment, u64)>,
    pub last_id: u64,
    /// Crc of the payload of the record `last_id`; 0: not known.
    pub last_crc: u32,
    pub last_time: i64,
}

/// Where a log stops being what was written, and what that puts at stake.
#[derive(Debug)]
pub struct Damage {
    pub segment: SegmentName,
    pub place: String,
    pub offset: usize,
    pub why: String,
    /// The first record that is lost.
    pub first_lost: u64,
    /// The last one that is known to be.
    pub last_lost: Option<u64>,
    /// Batches in records from there on that can still be read.
    pub batches: u64,
    /// A file that is not there.
    pub is_missing: bool,
}

#[derive(Debug)]
pub enum Verdict {
    Sound(Found),
    Damaged(Box<Damage>),
}

impl Damage {
    /// For operators; `next`: what they can do, or what is done.
    pub fn text(&self, next: &str) -> String {
        let last = self.last_lost.map_or("the end".to_string(), |id| id.to_string());
        format!(
            "the write-ahead log is damaged: {} at offset {}: {}. At stake are records {} to {last} with acknowledged \
             work; {} batches in them can still be read. {next}",
            self.place, self.offset, self.why, self.first_lost, self.batches
        )
    }
}

pub fn data_error(text: String) -> WalError {
    WalError::DataError(Arc::new(nonsense(&text)))
}

/// All segments in order of their names.
pub fn entries(dir: &LogDir) -> Result<Vec<Entry>> {
    let listing = dir.list()?;
    let mut entries = Vec::new();
    for name in listing.segments {
        let Some(header) = dir.header(name)? else { continue };
        // Only form 1 had names before headers; its writers keep no books.
        let of_a_writer = listing.writers.binary_search(&name.epoch).is_ok();
        let header = match header {
            Header::Zeros if of_a_writer => Header::Broken("it is all zeros"),
            header => header,
        };
        entries.push(Entry { name, header, end: u64::MAX });
    }
    let mut end = u64::MAX;
    for entry in entries.iter_mut().rev() {
        entry.end = end;
        if let Header::Whole(segment) = entry.header {
            end = end.min(segment.first_id);
        }
    }
    Ok(entries)
}

impl Entry {
    /// All its records are in sorted files, or it has none that count.
    pub fn is_idle(&self, replayed: u64) -> bool {
        let needed_from = replayed.saturating_add(1);
        match self.header {
            Header::Whole(segment) => self.end <= needed_from.max(segment.first_id),
            Header::Zeros => true,
            Header::Broken(_) => self.end <= needed_from,
        }
    }
}

struct Survey<'a> {
    dir: &'a LogDir,
    entries: Vec<Entry>,
    replayed: u64,
    found: Found,
    /// The last segment that was read, and where its last record ends.
    tail: Option<(SegmentName, usize)>,
}

impl Survey<'_> {
    fn damage(&self, name: SegmentName, offset: usize, why: String, last_lost: Option<u64>) -> Box<Damage> {
        Box::new(Damage {
            segment: name,
            place: self.dir.place(name),
            offset,
            why,
            first_lost: self.found.last_id.saturating_add(1),
            last_lost,
            batches: 0,
            is_missing: false,
        })
    }

    /// The last id before the next segment after `index`, if one says so.
    fn known_to_be_lost(&self, index: usize) -> Option<u64> {
        Some(self.entries[index].end).filter(|end| *end != u64::MAX).map(|end| end.saturating_sub(1))
    }

    /// Takes one segment in.
    fn take(&mut self, index: usize) -> Result<Option<Box<Damage>>> {
        let entry = &self.entries[index];
        let (name, end) = (entry.name, entry.end);
        let segment = match &entry.header {
            _ if entry.is_idle(self.replayed) => return Ok(None),
            Header::Whole(segment) => *segment,
            Header::Zeros => return Ok(None),
            // What it held stands in later segments, too.
            Header::Broken(_) if end <= self.found.last_id.saturating_add(1) => return Ok(None),
            Header::Broken(why) => {
                return Ok(Some(self.damage(name, 0, (*why).to_string(), self.known_to_be_lost(index))))
            }
        };
        let expected = self.found.last_id.saturating_add(1);
        if segment.first_id > expected {
            let (from, to) = (expected, segment.first_id - 1);
            let why = format!("records {from} to {to} are missing before it");
            return Ok(Some(self.damage(name, 0, why, Some(to))));
        }
        if segment.first_id == expected && !continues(segment.previous, self.found.last_crc) {
            let why = format!("it does not follow the record {} that is there", self.found.last_id);
            return Ok(Some(self.damage(name, SEGMENT_HEADER_BYTES, why, self.known_to_be_lost(index))));
        }
        let contents = read(&self.dir.contents(name)?, &segment, end, self.replayed);
        let damage = self.judge(index, &contents);
        self.tail = Some((name, contents.at));
        if let Err((offset, why)) = self.add(segment, end, &contents) {
            return Ok(Some(self.damage(name, offset, why, self.known_to_be_lost(index))));
        }
        // What is missing behind the last record here was in a file that cannot be read.
        if let (Some((_, last)), None, Some(unread)) = (&damage, contents.later, self.broken_after(index)) {
            return Ok(Some(self.damage(unread.0, 0, unread.1.to_string(), *last)));
        }
        Ok(damage.map(|(why, last)| self.damage(name, contents.at, why, last)))
    }

    /// A segment without a header that counts, before the next one that has one.
    fn broken_after(&self, index: usize) -> Option<(SegmentName, &'static str)> {
        let entry = self.entries[index + 1..].iter().find(|entry| entry.header != Header::Zeros)?;
        match entry.header {
            Header::Broken(why) => Some((entry.name, why)),
            _ => None,
        }
    }

    fn judge(&self, index: usize, contents: &Contents) -> Option<(String, Option<u64>)> {
        let lost = contents.next_id;
        if let Some(later) = contents.later {
            let why = format!(
                "record {lost} is not whole, and record {later} behind it proves that it was durable"
            );
            return Some((why, self.known_to_be_lost(index).or(Some(later))));
        }
        let last = self.known_to_be_lost(index)?;
        (lost <= last).then(|| {
            (
                format!(
                    "records {lost} to {last} are missing; a later segment proves that they were durable"
                ),
                Some(last),
            )
        })
    }

    /// Fails at a record that can be read and says nothing, with where it stands.
    fn add(
        &mut self,
        segment: Segment,
        end: u64,
        contents: &Contents,
    ) -> std::result::Result<(), (usize, String)> {
        if contents.torn && contents.later.is_none() && end == u64::MAX {
            let place = self.dir.place(segment.name);
            log::warn!("{place}: record {} at offset {} was cut off", contents.next_id, contents.at);
        }
        let mut offset = contents.at - contents.records.iter().map(|whole| whole.len).sum::<usize>();
        for whole in &contents.records {
            self.found.last_id = self.found.last_id.max(whole.id.saturating_sub(1));
            if whole.id > self.replayed {
                let rows = record::rows(whole).map_err(|e| (offset, format!("record {}: {e}", whole.id)))?;
                let time = rows.last().and_then(|row| row.create_ts).unwrap_or(i64::MIN);
                self.found.last_time = self.found.last_time.max(time);
                self.found.last_crc = whole.payload_crc;
            }
            offset += whole.len;
        }
        self.found.last_id = self.found.last_id.max(contents.next_id.saturating_sub(1));
        if let Some(last) = contents.records.last().filter(|last| last.id > self.replayed) {
            self.found.segments.push((segment, end.min(last.id + 1)));
        }
        Ok(())
    }

    /// What writers noted to be there, and is not.
    fn missing(&self) -> Result<Option<Box<Damage>>> {
        let mut damage = self.missing_segments()?;
        if damage.is_none() {
            damage = self.missing_records()?;
        }
        if damage.is_none() {
            damage = self.missing_bytes()?;
        }
        Ok(damage)
    }

    /// Records that a writer noted as durable, behind all that are there.
    fn missing_records(&self) -> Result<Option<Box<Damage>>> {
        let expected = self.found.last_id.saturating_add(1);
        for epoch in self.dir.list()?.writers {
            let note = self.dir.book(epoch)?.unwrap_or_default().note;
            if note.durable_below > expected {
                let number = note.segments.saturating_sub(1);
                let (name, offset) = self.tail.unwrap_or((SegmentName { epoch, number }, 0));
                let last = note.durable_below - 1;
                let why = format!(
                    "records {expected} to {last} are missing; a writer's note proves that they were durable"
                );
                return Ok(Some(self.damage(name, offset, why, Some(last))));
            }
        }
        Ok(None)
    }

    /// The end of the newest file, with whatever stood there.
    fn missing_bytes(&self) -> Result<Option<Box<Damage>>> {
        let Some((name, offset)) = self.tail else { return Ok(None) };
        let note = self.dir.book(name.epoch)?.unwrap_or_default().note;
        let size = self.dir.size(name)?;
        if note.segments != name.number.saturating_add(1) || size >= note.size {
            return Ok(None);
        }
        let why =
            format!("the file was cut short: it has {size} bytes, and its writer gave it {}", note.size);
        Ok(Some(self.damage(name, offset, why, None)))
    }

    /// Segments that a writer's book says it began, behind all that are there.
    fn missing_segments(&self) -> Result<Option<Box<Damage>>> {
        let listing = self.dir.list()?;
        let newest = self.entries.iter().rev().find(|entry| matches!(entry.header, Header::Whole(_)));
        let newest = newest.map_or(0, |entry| entry.name.epoch);
        for epoch in listing.writers.iter().copied().filter(|epoch| *epoch >= newest) {
            let Some(last) = self.dir.book(epoch)?.and_then(|book| book.note.segments.checked_sub(1)) else {
                continue;
            };
            let name = SegmentName { epoch, number: last };
            if listing.segments.binary_search(&name).is_err() {
                let damage = self.damage(name, 0, "the file is missing".to_string(), None);
                return Ok(Some(Box::new(Damage { is_missing: true, ..*damage })));
            }
        }
        Ok(None)
    }

    /// Batches that can be read where the damage is and behind it, and the last record that is there.
    fn readable(&self, damage: &Damage) -> Result<(u64, Option<u64>)> {
        let (mut batches, mut last) = (0, None);
        for entry in self.entries.iter().filter(|entry| entry.name >= damage.segment) {
            let Header::Whole(segment) = entry.header else { continue };
            let bytes = self.dir.contents(entry.name)?;
            // All below the first one that is lost pass for replayed, so that the reading goes on behind the break.
            let mut from = damage.first_lost.max(segment.first_id);
            for _ in 0..BREAKS_MAX {
                if from >= entry.end {
                    break;
                }
                let contents = read(&bytes, &segment, entry.end, from.saturating_sub(1));
                for record in contents.records.iter().filter(|record| record.id >= from) {
                    batches += u64::from(record.batches);
                    last = last.max(Some(record.id));
                }
                last = last.max(contents.later);
                let Some(later) = contents.later else { break };
                from = later.max(contents.next_id + 1);
            }
        }
        Ok((batches, last))
    }
}

/// Every record after `replayed` that was acknowledged, or where the first one is that is not there.
pub fn survey(dir: &LogDir, replayed: u64) -> Result<Verdict> {
    let found = Found { segments: Vec::new(), last_id: replayed, last_crc: 0, last_time: i64::MIN };
    let mut survey = Survey { dir, entries: entries(dir)?, replayed, found, tail: None };
    let mut damage = None;
    for index in 0..survey.entries.len() {
        damage = survey.take(index)?;
        if damage.is_some() {
            break;
        }
    }
    if damage.is_none() {
        damage = survey.missing()?;
    }
    Ok(match damage {
        None => Verdict::Sound(survey.found),
        Some(mut damage) => {
            let (batches, last) = survey.readable(&damage)?;
            damage.batches = batches;
            // If nothing says how many there were, nothing is said.
            damage.last_lost = damage.last_lost.map(|known| last.map_or(known, |last| last.max(known)));
            Verdict::Damaged(damage)
        }
    })
}
