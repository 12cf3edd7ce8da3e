//! The directory of a log: what is in it, and making and marking its files.
//!
//! ```text
//! identity                                    the log's random id: "SILOLOGI", 16 bytes, CRC-32 of these
//! 00000000000000000007-0000000000.log         epoch 7, segment 0 (segment.rs)
//! 00000000000000000007.writer                 epoch 7's writer holds a lock on it as long as it lives; what it knows
//!                                             to be durable (book.rs)
//! 00000000000000000006.fenced                 the writer with epoch 6 may acknowledge nothing any more
//! objects-00000000000000000041.fenced         a WAL of objects ends before its object 41
//! accept-loss                                 an operator's word (give_up.rs)
//! damaged-<time>/                             what was given up then
//! <name>.new                                  a file that has no content yet to be called by its name
//! ```
//!
//! Other names are passed over: nobody touches what is not understood.

use super::book::{self, writer_name, Book, WRITER};
use super::files::{or_absent, Disk, Files, LogFile, UNFINISHED};
use super::record::{Origin, Record};
use super::segment::{
    header, log_id, parse_header, Header, LogId, Segment, SegmentName, SEGMENT_BYTES, SEGMENT_HEADER_BYTES,
};
use bytes::Bytes;
use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;

const FENCED: &str = ".fenced";
const OBJECTS: &str = "objects-";
const IDENTITY: &str = "identity";
const IDENTITY_MAGIC: &[u8; 8] = b"SILOLOGI";
pub const ACCEPT_LOSS: &str = "accept-loss";
pub const DAMAGED: &str = "damaged-";

/// The directory of a log. Without an id it can be listed and marked.
#[derive(Debug, Clone)]
pub struct LogDir {
    pub files: Arc<dyn Files>,
    pub id: LogId,
    /// Bytes of a segment, unless one record needs more.
    pub segment_bytes: u64,
}

/// What is in the directory, sorted.
#[derive(Debug, Default)]
pub struct Listing {
    pub segments: Vec<SegmentName>,
    pub fenced: Vec<u64>,
    pub writers: Vec<u64>,
    /// Files without their name yet.
    pub unfinished: Vec<String>,
    /// Ids at which WALs of objects end.
    pub objects_fenced: Vec<u64>,
    pub accepts_loss: bool,
}

/// A segment that is written to.
#[derive(Debug)]
pub struct OpenSegment {
    file: Box<dyn LogFile>,
    pub name: SegmentName,
    seed: u32,
    at: u64,
    /// Bytes that have their blocks; 0: only what is written.
    size: u64,
    /// Bytes it gets blocks for.
    usual_size: u64,
    /// A sync covered all below.
    synced: u64,
}

/// Where a segment begins, and what is in it from the start.
pub struct Beginning<'a> {
    pub first_id: u64,
    /// Crc of the payload of the record before.
    pub previous: u32,
    pub records: &'a mut [Record],
    /// Bytes to give blocks to; 0: none yet.
    pub size: u64,
}

fn epoch_of(file: &str, suffix: &str) -> Option<u64> {
    let epoch = file.strip_suffix(suffix)?.parse().ok()?;
    (format!("{epoch:020}{suffix}") == file).then_some(epoch)
}

fn fence_name(epoch: u64) -> String {
    format!("{epoch:020}{FENCED}")
}

impl Listing {
    fn add(&mut self, file: String) {
        self.accepts_loss |= file == ACCEPT_LOSS;
        if file.ends_with(UNFINISHED) {
            self.unfinished.push(file);
        } else if let Some(segment) = SegmentName::parse(&file) {
            self.segments.push(segment);
        } else if let Some(id) = file.strip_prefix(OBJECTS).and_then(|rest| epoch_of(rest, FENCED)) {
            self.objects_fenced.push(id);
        } else if let Some(epoch) = epoch_of(&file, FENCED) {
            self.fenced.push(epoch);
        } else if let Some(epoch) = epoch_of(&file, WRITER) {
            self.writers.push(epoch);
        }
    }

    /// Epochs that have, or had, a writer here.
    pub fn epochs(&self) -> Vec<u64> {
        let of_segments = self.segments.iter().map(|name| name.epoch);
        let mut epochs: Vec<u64> = of_segments.chain(self.writers.iter().copied()).collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    /// The highest epoch anything here speaks of.
    pub fn newest_epoch(&self) -> Option<u64> {
        self.epochs().last().copied().max(self.fenced.last().copied())
    }

    pub fn is_fenced(&self, epoch: u64) -> bool {
        self.fenced.binary_search(&epoch).is_ok()
    }
}

impl LogDir {
    pub fn new(files: Arc<dyn Files>, id: LogId) -> LogDir {
        LogDir { files, id, segment_bytes: SEGMENT_BYTES }
    }

    pub fn on_disk(path: PathBuf, fsync: bool) -> LogDir {
        LogDir::new(Arc::new(Disk::new(path, fsync)), LogId([0; 16]))
    }

    /// The bytes of a segment with room for this record.
    pub fn size_for(&self, record_bytes: usize) -> u64 {
        self.segment_bytes.max((SEGMENT_HEADER_BYTES + record_bytes) as u64)
    }

    pub fn with_id(self, id: LogId) -> LogDir {
        LogDir { id, ..self }
    }

    pub fn place(&self, name: SegmentName) -> String {
        self.files.place(&name.file())
    }

    pub fn list(&self) -> Result<Listing> {
        let mut found = Listing::default();
        for name in self.files.names()? {
            found.add(name);
        }
        found.segments.sort_unstable();
        found.fenced.sort_unstable();
        found.writers.sort_unstable();
        found.objects_fenced.sort_unstable();
        Ok(found)
    }

    /// The id in the directory; None if there is none that can be read.
    pub fn identity(&self) -> Result<Option<LogId>> {
        let bytes = match self.files.read(IDENTITY, 28) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let whole = bytes.len() == 28
            && bytes.starts_with(IDENTITY_MAGIC)
            && crc32fast::hash(&bytes[..24]).to_le_bytes() == bytes[24..];
        let mut id = [0; 16];
        id.copy_from_slice(bytes.get(8..24).unwrap_or(&[0; 16]));
        Ok(whole.then_some(LogId(id)))
    }

    /// Gives the directory this id, whatever stood there.
    pub fn identify(&self, id: LogId) -> Result<()> {
        let unfinished = self.write_identity(id)?;
        self.files.rename(&unfinished, IDENTITY)?;
        self.files.sync_names()
    }

    /// Gives the directory this id, or leaves it the one that somebody else has just given it; which it has.
    pub fn identify_once(&self, id: LogId) -> Result<LogId> {
        let unfinished = self.write_identity(id)?;
        match self.files.publish(&unfinished, IDENTITY) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                or_absent(self.files.remove(&unfinished))?;
                if let Some(other) = self.identity()? {
                    return Ok(other);
                }
                self.identify(id)?; // what stands there cannot be read
            }
            published => published?,
        }
        self.files.sync_names()?;
        Ok(id)
    }

    /// A file with the id, durable but for its name; returns what it is called so far.
    fn write_identity(&self, id: LogId) -> Result<String> {
        self.files.make()?;
        let mut bytes = [0; 28];
        bytes[..8].copy_from_slice(IDENTITY_MAGIC);
        bytes[8..24].copy_from_slice(&id.0);
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        let unfinished = format!("{IDENTITY}-{}{UNFINISHED}", id.hex());
        or_absent(self.files.remove(&unfinished))?;
        let file = self.files.create(&unfinished)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        Ok(unfinished)
    }

    /// The ids that segments here say they are of.
    pub fn ids_of_segments(&self) -> Result<Vec<LogId>> {
        let mut ids = Vec::new();
        for name in self.list()?.segments {
            ids.extend(self.first_bytes(name)?.and_then(|bytes| log_id(&bytes)));
        }
        ids.sort_unstable_by_key(|id| id.0);
        ids.dedup();
        Ok(ids)
    }

    fn first_bytes(&self, name: SegmentName) -> Result<Option<Vec<u8>>> {
        match self.files.read(&name.file(), SEGMENT_HEADER_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            bytes => Ok(Some(bytes?)),
        }
    }

    /// A segment's header; None if the file is gone.
    pub fn header(&self, name: SegmentName) -> Result<Option<Header>> {
        let Some(bytes) = self.first_bytes(name)? else { return Ok(None) };
        let header = parse_header(&bytes, name, self.id);
        if header == Header::Zeros && self.contents(name)?.iter().any(|byte| *byte != 0) {
            return Ok(Some(Header::Broken("its header is zeros")));
        }
        Ok(Some(header))
    }

    /// Bytes of the file; 0 if it is gone.
    pub fn size(&self, name: SegmentName) -> Result<u64> {
        match self.files.size(&name.file()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            size => size,
        }
    }

    pub fn contents(&self, name: SegmentName) -> Result<Bytes> {
        self.files.read(&name.file(), usize::MAX).map(Bytes::from)
    }

    /// From now on the writer of `epoch` acknowledges nothing.
    pub fn fence(&self, epoch: u64) -> Result<()> {
        self.mark(&fence_name(epoch))
    }

    /// From now on a WAL of objects has nothing from this id on.
    pub fn note_objects_fenced(&self, id: u64) -> Result<()> {
        self.files.make()?;
        self.mark(&format!("{OBJECTS}{}", fence_name(id)))
    }

    fn mark(&self, name: &str) -> Result<()> {
        match self.files.create(name) {
            Ok(_) => self.files.sync_names(),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub fn is_fenced(&self, epoch: u64) -> Result<bool> {
        self.files.exists(&fence_name(epoch))
    }

    /// Has anybody with a higher epoch been here?
    pub fn has_newer(&self, epoch: u64) -> Result<bool> {
        Ok(self.list()?.newest_epoch().is_some_and(|newest| newest > epoch))
    }

    /// No process can write in the name of `epoch` any more.
    pub fn is_dead(&self, epoch: u64) -> bool {
        match self.files.open(&writer_name(epoch)) {
            Ok(file) => matches!(file.try_lock(), Ok(true)),
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }

    pub fn remove(&self, name: SegmentName) -> Result<()> {
        or_absent(self.files.remove(&name.file()))
    }

    pub fn remove_marker(&self, epoch: u64) -> Result<()> {
        or_absent(self.files.remove(&fence_name(epoch)))
    }

    pub fn remove_writer(&self, epoch: u64) -> Result<()> {
        or_absent(self.files.remove(&writer_name(epoch)))
    }

    pub fn book(&self, epoch: u64) -> Result<Option<Book>> {
        book::read(self.files.as_ref(), epoch)
    }

    /// The whole log, for a database that is to be no more.
    pub fn remove_all(&self) -> Result<()> {
        self.files.remove_all()
    }

    /// A new segment, all of it durable, then its name. One that fails leaves nothing: it would keep the last free blocks.
    pub fn begin(&self, name: SegmentName, with: Beginning<'_>) -> Result<OpenSegment> {
        let unfinished = name.file() + UNFINISHED;
        or_absent(self.files.remove(&unfinished))?;
        self.begin_unfinished(name, with, &unfinished).inspect_err(|_| {
            let _ = self.files.remove(&unfinished); // the next try begins with it
        })
    }

    fn begin_unfinished(
        &self,
        name: SegmentName,
        with: Beginning<'_>,
        unfinished: &str,
    ) -> Result<OpenSegment> {
        let file = self.files.create(unfinished)?;
        file.write_at(0, &header(name, with.first_id, with.previous, self.id))?;
        let seed = name.seed(self.id);
        let mut segment = OpenSegment {
            file,
            name,
            seed,
            at: SEGMENT_HEADER_BYTES as u64,
            size: 0,
            usual_size: self.segment_bytes,
            synced: SEGMENT_HEADER_BYTES as u64,
        };
        let mut previous = with.previous;
        for (id, record) in (with.first_id..).zip(with.records) {
            segment.write(id, record, previous)?;
            previous = record.payload_crc();
        }
        if with.size > 0 {
            segment.allocate(with.size)?;
        }
        segment.sync()?;
        self.files.publish(unfinished, &name.file())?;
        self.files.sync_names()?;
        Ok(segment)
    }

    /// A file with another content takes this segment's name.
    pub fn rewrite(&self, name: SegmentName, bytes: &[u8]) -> Result<()> {
        let unfinished = name.file() + UNFINISHED;
        or_absent(self.files.remove(&unfinished))?;
        let file = self.files.create(&unfinished)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        self.files.rename(&unfinished, &name.file())?;
        self.files.sync_names()
    }

    /// What is in the file by now becomes durable, whoever wrote it.
    pub fn sync_segment(&self, segment: &Segment) -> Result<()> {
        self.files.open(&segment.name.file())?.sync()
    }
}

impl OpenSegment {
    pub fn has_room(&self, bytes: usize) -> bool {
        let empty = self.size == 0 && self.at == SEGMENT_HEADER_BYTES as u64;
        empty || self.at + bytes as u64 <= self.size.max(self.usual_size)
    }

    fn allocate(&mut self, size: u64) -> Result<()> {
        self.file.allocate(size)?;
        self.size = size;
        Ok(())
    }

    fn write(&mut self, id: u64, record: &mut Record, previous: u32) -> Result<()> {
        record.address(id, self.name.epoch, self.seed, previous);
        self.file.write_at(self.at, record.bytes())?;
        self.at += record.len() as u64;
        Ok(())
    }

    /// One write; a segment that has no blocks gets them before.
    pub fn append(&mut self, id: u64, record: &mut Record, previous: u32) -> Result<()> {
        if self.size == 0 {
            self.allocate(self.usual_size.max(self.at + record.len() as u64))?;
        }
        self.write(id, record, previous)
    }

    /// Bytes that have their blocks; 0: only what is written.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn origin(&self) -> Origin {
        Origin { epoch: self.name.epoch, seed: Some(self.seed) }
    }

    pub fn sync(&mut self) -> Result<()> {
        self.file.sync()?;
        self.synced = self.at;
        Ok(())
    }

    /// A write failed, or its sync: what is behind the last sync is not to be counted on.
    pub fn is_torn(&self) -> bool {
        self.at > self.synced || (self.size == 0 && self.is_blank())
    }

    /// Nothing in it counts: no record was synced.
    pub fn is_blank(&self) -> bool {
        self.synced == SEGMENT_HEADER_BYTES as u64
    }

    /// Gives back all blocks of one that is blank, with what failed writes left in them.
    pub fn blank(&mut self) -> Result<()> {
        self.file.cut(SEGMENT_HEADER_BYTES as u64)?;
        self.at = SEGMENT_HEADER_BYTES as u64;
        self.size = 0;
        Ok(())
    }

    /// Nothing more is appended: blocks without records go back.
    pub fn end(&self) -> Result<()> {
        if self.size > self.at {
            self.file.cut(self.at)?;
        }
        Ok(())
    }

    /// Somebody removed the file: its records are for nobody.
    pub fn is_removed(&self) -> Result<bool> {
        self.file.is_removed()
    }
}

/// An error that says what is wrong with the files.
pub fn nonsense(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text.to_string())
}
