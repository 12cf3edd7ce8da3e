//! The files of a log: names, headers, markers, and reading a segment.
//!
//! Header: "SILOLOG1", epoch u64, number u64, id of the first record u64, CRC-32 of the 32 bytes before u32, zeros up to
//! 64. A segment without a whole header of its own name holds nothing: its writer died before it wrote there.

use super::record;
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

pub const SEGMENT_HEADER_BYTES: u64 = 64;
/// A segment's size, unless one record needs more.
pub const SEGMENT_BYTES: u64 = 16 << 20;
const MAGIC: &[u8; 8] = b"SILOLOG1";
const SUFFIX: &str = ".log";
const FENCED: &str = ".fenced";

/// Names a segment. Their order is the order of their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    pub epoch: u64,
    pub number: u64,
}

/// The directory of a log.
#[derive(Debug, Clone)]
pub struct LogDir {
    pub path: PathBuf,
    pub fsync: bool,
}

/// What is in the directory, sorted.
#[derive(Debug, Default)]
pub struct Listing {
    pub segments: Vec<SegmentName>,
    pub fenced: Vec<u64>,
}

/// A segment's header, and where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    pub name: SegmentName,
    pub first_id: u64,
}

/// A segment that is written to.
#[derive(Debug)]
pub struct OpenSegment {
    file: File,
    pub name: SegmentName,
    at: u64,
    size: u64,
}

fn split_name(stem: &str) -> Option<SegmentName> {
    let (epoch, number) = stem.split_once('-')?;
    Some(SegmentName { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
}

impl LogDir {
    pub fn new(path: PathBuf, fsync: bool) -> LogDir {
        LogDir { path, fsync }
    }

    fn file(&self, name: SegmentName) -> PathBuf {
        self.path.join(format!("{:020}-{:010}{SUFFIX}", name.epoch, name.number))
    }

    fn marker(&self, epoch: u64) -> PathBuf {
        self.path.join(format!("{epoch:020}{FENCED}"))
    }

    pub fn create(&self) -> Result<()> {
        std::fs::create_dir_all(&self.path)?;
        self.path.ancestors().skip(1).take(3).try_for_each(|dir| sync_dir(dir, self.fsync))
    }

    /// Names that are not ours are passed over. No directory: an empty listing.
    pub fn list(&self) -> Result<Listing> {
        let mut found = Listing::default();
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(segment) = name.strip_suffix(SUFFIX).and_then(split_name) {
                found.segments.push(segment);
            } else if let Some(epoch) = name.strip_suffix(FENCED).and_then(|stem| stem.parse().ok()) {
                found.fenced.push(epoch);
            }
        }
        found.segments.sort_unstable();
        found.fenced.sort_unstable();
        Ok(found)
    }

    pub fn sync(&self) -> Result<()> {
        sync_dir(&self.path, self.fsync)
    }

    /// The whole log, for a database that is to be no more.
    pub fn remove_all(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.path.parent().map_or(Ok(()), |above| sync_dir(above, self.fsync)),
        }
    }

    /// From now on the writer of `epoch` acknowledges nothing.
    pub fn fence(&self, epoch: u64) -> Result<()> {
        match OpenOptions::new().write(true).create_new(true).open(self.marker(epoch)) {
            Ok(_) => self.sync(),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub fn is_fenced(&self, epoch: u64) -> Result<bool> {
        self.marker(epoch).try_exists()
    }

    pub fn remove(&self, name: SegmentName) -> Result<()> {
        std::fs::remove_file(self.file(name))
    }

    pub fn remove_marker(&self, epoch: u64) -> Result<()> {
        std::fs::remove_file(self.marker(epoch))
    }

    /// The header of a segment; None if it has none, or is gone.
    pub fn header(&self, name: SegmentName) -> Result<Option<Segment>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let read = File::open(self.file(name)).and_then(|mut file| file.read_exact(&mut bytes));
        match read {
            Ok(()) => Ok(parse_header(&bytes, name)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The segments that hold records, in the order of these, with the id at which each ends (the next one's first).
    pub fn segments(&self) -> Result<Vec<(Segment, u64)>> {
        let mut found = Vec::new();
        for name in self.list()?.segments {
            found.extend(self.header(name)?);
        }
        let ends: Vec<u64> = found.iter().skip(1).map(|next| next.first_id).chain([u64::MAX]).collect();
        Ok(found.into_iter().zip(ends).collect())
    }

    /// The whole records of a segment below `end`, in order.
    pub fn records(&self, segment: Segment, end: u64) -> Result<Vec<Bytes>> {
        let mut bytes = Bytes::from(std::fs::read(self.file(segment.name))?);
        let mut records = Vec::new();
        let mut at = (SEGMENT_HEADER_BYTES as usize).min(bytes.len());
        for id in segment.first_id..end {
            bytes = bytes.slice(at..);
            let Some(record) = record::whole(&bytes, id, segment.name.epoch) else { break };
            at = record.len();
            records.push(record);
        }
        Ok(records)
    }

    /// A new segment with room for `record_bytes` and no header yet.
    pub fn begin(&self, name: SegmentName, record_bytes: u64) -> Result<OpenSegment> {
        let path = self.file(name);
        let size = SEGMENT_BYTES.max(SEGMENT_HEADER_BYTES + record_bytes);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        allocate(&file, size)?;
        let segment = OpenSegment { file, name, at: SEGMENT_HEADER_BYTES, size };
        segment.sync(self.fsync)?;
        self.sync()?;
        Ok(segment)
    }
}

impl OpenSegment {
    pub fn write_header(&self, first_id: u64) -> Result<()> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.name.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.name.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&first_id.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&bytes, 0)
    }

    pub fn has_room(&self, bytes: u64) -> bool {
        self.at + bytes <= self.size
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    pub fn sync(&self, fsync: bool) -> Result<()> {
        if fsync {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }

    /// Somebody removed the file: its records are for nobody.
    pub fn is_removed(&self) -> Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }
}

fn parse_header(bytes: &[u8; SEGMENT_HEADER_BYTES as usize], name: SegmentName) -> Option<Segment> {
    let word =
        |at: usize| bytes[at..at + 8].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let crc = word(32) & 0xffff_ffff;
    let whole = bytes[..8] == *MAGIC && u64::from(crc32fast::hash(&bytes[..32])) == crc;
    let ours = word(8) == name.epoch && word(16) == name.number;
    (whole && ours).then(|| Segment { name, first_id: word(24) })
}

/// Gives a file its blocks, so that a later sync has no size to write.
fn allocate(file: &File, size: u64) -> Result<()> {
    let size = libc::off_t::try_from(size).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size) } {
        0 => Ok(()),
        code => Err(Error::from_raw_os_error(code)),
    }
}

fn sync_dir(path: &Path, fsync: bool) -> Result<()> {
    if fsync {
        File::open(path)?.sync_all()
    } else {
        Ok(())
    }
}
