//! Going on without what is damaged, when an operator says so: by a file named `accept-loss` in the log's directory.
//!
//! What is whole and in order before the first damage stays; all behind it is given up, for work in it may rest on what is
//! lost. Nothing is deleted: files move to `damaged-<time>/`, with a note of what they are, and the operator's word with
//! them, so that it counts once; where nothing is damaged it is taken back, or it would be an answer to what nobody has
//! seen. Cut off in the middle it begins anew at the next open.

use super::blocking::unavailable;
use super::book::{self, Note};
use super::dir::{nonsense, LogDir, ACCEPT_LOSS, DAMAGED};
use super::files::or_absent;
use super::segment::{Header, SegmentName, SEGMENT_HEADER_BYTES};
use super::survey::{data_error, entries, survey, Damage, Found, Verdict};
use crate::os_clock::wall_ms;
use slatedb::wal::WalError;
use std::io::Result;

const NOTE: &str = "what-was-given-up.txt";

/// The records that count; a log with damage is refused unless an operator accepts the loss.
pub fn sound(dir: &LogDir, replayed: u64) -> std::result::Result<Found, WalError> {
    let accepts_loss = dir.list().map_err(unavailable)?.accepts_loss;
    let damage = match survey(dir, replayed).map_err(unavailable)? {
        Verdict::Sound(found) => {
            if accepts_loss {
                log::warn!("{}: nothing is damaged; the word is taken back", dir.files.place(ACCEPT_LOSS));
                or_absent(dir.files.remove(ACCEPT_LOSS)).map_err(unavailable)?;
            }
            return Ok(found);
        }
        Verdict::Damaged(damage) => damage,
    };
    if !accepts_loss {
        let ways = format!(
            "Put the file back from a copy of the disk, or give these records up: make the file {} and let the shard open \
             again; what is damaged is kept beside it",
            dir.files.place(ACCEPT_LOSS)
        );
        return Err(data_error(damage.text(&ways)));
    }
    without(dir, replayed, *damage).map_err(unavailable)
}

fn without(dir: &LogDir, replayed: u64, damage: Damage) -> Result<Found> {
    let aside = format!("{DAMAGED}{}", wall_ms());
    dir.files.make_below(&aside)?;
    let (mut damage, mut note) = (damage, String::new());
    let found = loop {
        let text = damage.text("An operator accepted the loss.");
        log::error!("{text} Kept in {}", dir.files.place(&aside));
        note += &text;
        note.push('\n');
        set_aside(dir, &damage, &aside)?;
        match survey(dir, replayed)? {
            Verdict::Sound(found) => break found,
            Verdict::Damaged(next) if is_progress(&damage, &next) => damage = *next,
            Verdict::Damaged(next) => return Err(nonsense(&next.text("It cannot be given up"))),
        }
    };
    let file = dir.files.create(&format!("{aside}/{NOTE}"))?;
    file.write_at(0, note.as_bytes())?;
    file.sync()?;
    dir.files.rename(ACCEPT_LOSS, &format!("{aside}/{ACCEPT_LOSS}"))?;
    sync(dir, &aside)?;
    Ok(found)
}

/// Each round takes a file away or corrects a book.
fn is_progress(before: &Damage, after: &Damage) -> bool {
    before.segment != after.segment || before.offset != after.offset || before.is_missing != after.is_missing
}

fn sync(dir: &LogDir, aside: &str) -> Result<()> {
    dir.files.sync_below(aside)?;
    dir.files.sync_names()
}

fn set_aside(dir: &LogDir, damage: &Damage, aside: &str) -> Result<()> {
    let all = entries(dir)?;
    // The newest first: until the damaged one itself has gone, the log is as damaged as before.
    for entry in all.iter().rev().filter(|entry| entry.name > damage.segment) {
        let name = entry.name.file();
        dir.files.rename(&name, &format!("{aside}/{name}"))?;
    }
    sync(dir, aside)?;
    if let Some(entry) = all.iter().find(|entry| entry.name == damage.segment) {
        let has_more = matches!(entry.header, Header::Whole(_)) && damage.offset > SEGMENT_HEADER_BYTES;
        keep_beginning(dir, entry.name, has_more.then_some(damage.offset), aside)?;
    }
    correct_books(dir, damage)?;
    sync(dir, aside)
}

/// No book speaks of what is given up.
fn correct_books(dir: &LogDir, damage: &Damage) -> Result<()> {
    let left = dir.list()?;
    for epoch in left.writers.iter().copied() {
        let Some(book) = dir.book(epoch)? else { continue };
        let last = left.segments.iter().rev().find(|name| name.epoch == epoch);
        let segments = last.map_or(0, |name| name.number.saturating_add(1));
        let durable_below = book.note.durable_below.min(damage.first_lost);
        if epoch >= damage.segment.epoch || durable_below < book.note.durable_below {
            book::correct(dir.files.as_ref(), epoch, Note { segments, size: 0, durable_below })?;
        }
    }
    Ok(())
}

/// The bytes before `offset` stay under the segment's name; the whole file is kept.
fn keep_beginning(dir: &LogDir, name: SegmentName, offset: Option<usize>, aside: &str) -> Result<()> {
    let kept = format!("{aside}/{}", name.file());
    let Some(offset) = offset else { return dir.files.rename(&name.file(), &kept) };
    let bytes = dir.contents(name)?;
    let copy = dir.files.create(&kept)?;
    copy.write_at(0, &bytes)?;
    copy.sync()?;
    sync(dir, aside)?;
    dir.rewrite(name, bytes.get(..offset).unwrap_or(&bytes))
}
