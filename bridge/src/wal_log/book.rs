//! A writer's presence in the directory: its lock, and what it knows to be durable.
//!
//! The lock says whether a process is left that could write in this epoch's name: the kernel lets it go with the process
//! and not before, so a process that is stopped still has it. The rest makes known what is missing at the end of the log,
//! which nothing else could tell, for gaps show only before something that is there: the newest segments, by how many were
//! begun; the end of the newest file, by the bytes it was given; and the last records, by the ids that were durable when
//! the writer took over, began its newest segment, and closed.
//!
//! Two places of 512 bytes are written in turn, so that one of them is whole: "SILOLOGW", epoch u64, serial u64, segments
//! u64, bytes of the newest segment u64, first id that may not be durable u64, CRC-32 of these u32, little endian. The
//! higher serial counts.

use super::files::{or_absent, Files, LogFile, UNFINISHED};
use super::record::{u32_at, u64_at};
use std::io::{Error, ErrorKind, Result};

/// The end of a book's name.
pub const WRITER: &str = ".writer";
const MAGIC: &[u8; 8] = b"SILOLOGW";
const PLACE_BYTES: usize = 512;
const SERIALS_AHEAD: u64 = 1 << 32;
const CRC_AT: usize = 48;

/// A book's name.
pub fn writer_name(epoch: u64) -> String {
    format!("{epoch:020}{WRITER}")
}

/// What a writer's book says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Book {
    serial: u64,
    pub note: Note,
}

/// What a writer knows of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Note {
    /// Segments begun; 0 as long as none was.
    pub segments: u64,
    /// The file of the newest one has at least so many bytes.
    pub size: u64,
    /// All records with lower ids were durable.
    pub durable_below: u64,
}

/// A writer that is here.
#[derive(Debug)]
pub struct Presence {
    file: Box<dyn LogFile>,
    epoch: u64,
    book: Book,
}

fn parse_place(bytes: &[u8], epoch: u64) -> Option<Book> {
    let bytes = bytes.get(..CRC_AT + 4)?;
    let whole = bytes.starts_with(MAGIC) && crc32fast::hash(&bytes[..CRC_AT]) == u32_at(bytes, CRC_AT);
    let note =
        Note { segments: u64_at(bytes, 24), size: u64_at(bytes, 32), durable_below: u64_at(bytes, 40) };
    (whole && u64_at(bytes, 8) == epoch).then(|| Book { serial: u64_at(bytes, 16), note })
}

impl Book {
    pub const BYTES: usize = 2 * PLACE_BYTES;

    pub fn parse(bytes: &[u8], epoch: u64) -> Book {
        let places = bytes.chunks(PLACE_BYTES).filter_map(|place| parse_place(place, epoch));
        places.max_by_key(|book| book.serial).unwrap_or_default()
    }

    fn write(self, file: &dyn LogFile, epoch: u64) -> Result<()> {
        let mut bytes = [0; CRC_AT + 4];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.serial.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.note.segments.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.note.size.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.note.durable_below.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        file.write_at(self.serial % 2 * PLACE_BYTES as u64, &bytes)?;
        file.sync()
    }

    fn next(self, note: Note) -> Book {
        Book { serial: self.serial.saturating_add(1), note }
    }
}

impl Presence {
    /// From now on everybody sees this epoch, and can tell whether its writer lives.
    pub fn enter(files: &dyn Files, epoch: u64) -> Result<Presence> {
        let (name, unfinished) = (writer_name(epoch), writer_name(epoch) + UNFINISHED);
        or_absent(files.remove(&unfinished))?;
        let file = files.create(&unfinished)?;
        if !file.try_lock()? {
            return Err(Error::from(ErrorKind::WouldBlock));
        }
        let book = Book { serial: 1, note: Note::default() };
        book.write(file.as_ref(), epoch)?;
        files.publish(&unfinished, &name)?; // locked by the time it has its name
        files.sync_names()?;
        Ok(Presence { file, epoch, book })
    }

    /// What was said last.
    pub fn noted(&self) -> Note {
        self.book.note
    }

    /// Says this durably.
    pub fn note(&mut self, note: Note) -> Result<()> {
        let next = self.book.next(note);
        next.write(self.file.as_ref(), self.epoch)?;
        self.book = next;
        Ok(())
    }

    /// Somebody removed it: the log is not what it was.
    pub fn is_removed(&self) -> Result<bool> {
        self.file.is_removed()
    }
}

/// The book of an epoch; none if it has no file.
pub fn read(files: &dyn Files, epoch: u64) -> Result<Option<Book>> {
    match files.read(&writer_name(epoch), Book::BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some(Book::parse(&bytes?, epoch))),
    }
}

/// Corrects the book of an epoch whose writer is fenced, and outdoes what that writer may still write.
pub fn correct(files: &dyn Files, epoch: u64, note: Note) -> Result<()> {
    let Some(book) = read(files, epoch)? else { return Ok(()) };
    let file = files.open(&writer_name(epoch))?;
    let next = Book { serial: book.serial.saturating_add(SERIALS_AHEAD), note };
    next.write(file.as_ref(), epoch)?;
    next.next(note).write(file.as_ref(), epoch)
}

#[cfg(test)]
mod tests {
    use super::super::dir::LogDir;
    use super::super::memory::Memory;
    use super::super::segment::LogId;
    use super::*;

    #[test]
    fn the_newest_whole_place_counts() {
        let dir = LogDir::new(Memory::new().files(), LogId([1; 16]));
        let mut presence = Presence::enter(dir.files.as_ref(), 4).unwrap();
        let note = |count| Note { segments: count, size: count * 100, durable_below: count * 7 };
        assert_eq!(dir.book(4).unwrap().unwrap().note, Note::default());
        for count in 1..5 {
            presence.note(note(count)).unwrap();
            assert_eq!((dir.book(4).unwrap().unwrap().note, presence.noted()), (note(count), note(count)));
        }
        let bytes = dir.files.read(&writer_name(4), Book::BYTES).unwrap();
        for at in (0..52).chain(512..564) {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            let read = Book::parse(&bad, 4).note;
            assert!(read == note(3) || read == note(4), "byte {at}");
        }
        assert_eq!(Book::parse(&bytes, 5), Book::default(), "another epoch's");
        assert!(!dir.is_dead(4));
        correct(dir.files.as_ref(), 4, note(2)).unwrap();
        assert_eq!(dir.book(4).unwrap().unwrap().note, note(2));
        drop(presence);
        assert!(dir.is_dead(4) && dir.is_dead(5));
    }
}
