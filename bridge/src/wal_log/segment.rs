//! Segments: their names, their headers, and reading the records of one.
//!
//! Header, little endian: "SILOLOG2", epoch u64, number u64, id of the first record u64, the log's random id (16 bytes), crc
//! of the payload of the record before the first u32 (0: not known), CRC-32 of the 52 bytes before u32, zeros up to 64. A
//! segment gets its name with its header durable, so a name without a whole header is damage.
//!
//! Form 1 (`SILOLOG1`) is read, never written: epoch, number, id of the first record, CRC-32 of the 32 bytes before; it had
//! its name before its header, so one that is all zeros holds nothing.

use super::record::{self, Origin, Whole};
use bytes::Bytes;
use crc32fast::Hasher;

pub const SEGMENT_HEADER_BYTES: usize = 64;
/// A segment's size, unless one record needs more.
pub const SEGMENT_BYTES: u64 = 16 << 20;
const MAGIC: &[u8; 8] = b"SILOLOG2";
const MAGIC_1: &[u8; 8] = b"SILOLOG1";
const CRC_AT: usize = 52;
const CRC_AT_1: usize = 32;
const SUFFIX: &str = ".log";

/// The random id of a log: tells its segments from those of any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogId(pub [u8; 16]);

/// Names a segment. Of two that hold the same ids the later name counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    pub epoch: u64,
    pub number: u64,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub name: SegmentName,
    pub first_id: u64,
    /// Crc of the payload of the record before; 0: not known.
    pub previous: u32,
    pub origin: Origin,
}

/// What the first bytes of a segment are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    Whole(Segment),
    /// All zeros.
    Zeros,
    Broken(&'static str),
}

/// What is in a segment, as far as it goes.
#[derive(Debug)]
pub struct Contents {
    pub records: Vec<Whole>,
    /// The id that would come next, and where it would stand.
    pub next_id: u64,
    pub at: usize,
    /// The id of a later record behind a break at `at`: what stood there was durable.
    pub later: Option<u64>,
    /// Something is there all the same: the last record, which was cut off or is damaged.
    pub torn: bool,
}

impl LogId {
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn parse(hex: &str) -> Option<LogId> {
        if hex.len() != 32 || !hex.is_ascii() {
            return None;
        }
        let mut id = [0; 16];
        for (byte, digits) in id.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(LogId(id))
    }
}

impl SegmentName {
    pub fn file(self) -> String {
        format!("{:020}-{:010}{SUFFIX}", self.epoch, self.number)
    }

    /// Of a file's name, if that is written as `file` writes it.
    pub fn parse(file: &str) -> Option<SegmentName> {
        let (epoch, number) = file.strip_suffix(SUFFIX)?.split_once('-')?;
        let name = SegmentName { epoch: epoch.parse().ok()?, number: number.parse().ok()? };
        (name.file() == file).then_some(name)
    }

    /// What the checksums of its records begin with.
    pub fn seed(self, id: LogId) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(&id.0);
        hasher.update(&self.epoch.to_le_bytes());
        hasher.update(&self.number.to_le_bytes());
        hasher.finalize()
    }
}

/// A header to write.
pub fn header(name: SegmentName, first_id: u64, previous: u32, id: LogId) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&name.epoch.to_le_bytes());
    bytes[16..24].copy_from_slice(&name.number.to_le_bytes());
    bytes[24..32].copy_from_slice(&first_id.to_le_bytes());
    bytes[32..48].copy_from_slice(&id.0);
    bytes[48..52].copy_from_slice(&previous.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Makes a header one that counts, but for what it says.
pub fn mend_header(bytes: &mut [u8], id: LogId) {
    if bytes.len() < SEGMENT_HEADER_BYTES {
        return;
    }
    let at = if bytes.starts_with(MAGIC_1) { CRC_AT_1 } else { CRC_AT };
    if at == CRC_AT {
        bytes[..8].copy_from_slice(MAGIC);
        bytes[32..48].copy_from_slice(&id.0);
    }
    let crc = crc32fast::hash(&bytes[..at]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The id of the log that a segment says it belongs to.
pub fn log_id(bytes: &[u8]) -> Option<LogId> {
    let whole = bytes.len() >= SEGMENT_HEADER_BYTES && bytes.starts_with(MAGIC) && has_crc(bytes, CRC_AT);
    let mut id = [0; 16];
    id.copy_from_slice(bytes.get(32..48)?);
    whole.then_some(LogId(id))
}

fn has_crc(bytes: &[u8], at: usize) -> bool {
    crc32fast::hash(&bytes[..at]) == record::u32_at(bytes, at)
}

/// The header at the start of the bytes of a file with this name.
pub fn parse_header(bytes: &[u8], name: SegmentName, id: LogId) -> Header {
    let Some(bytes) = bytes.get(..SEGMENT_HEADER_BYTES) else {
        let zeros = bytes.iter().all(|byte| *byte == 0);
        return if zeros { Header::Zeros } else { Header::Broken("it ends inside its header") };
    };
    if bytes.iter().all(|byte| *byte == 0) {
        return Header::Zeros;
    }
    let (form_2, form_1) = (bytes.starts_with(MAGIC), bytes.starts_with(MAGIC_1));
    if !(form_2 && has_crc(bytes, CRC_AT) || form_1 && has_crc(bytes, CRC_AT_1)) {
        return Header::Broken("its header is not what was written");
    }
    if record::u64_at(bytes, 8) != name.epoch || record::u64_at(bytes, 16) != name.number {
        return Header::Broken("its header is that of a segment with another name");
    }
    if form_2 && bytes[32..48] != id.0 {
        return Header::Broken("it belongs to another log");
    }
    Header::Whole(Segment {
        name,
        first_id: record::u64_at(bytes, 24),
        previous: if form_2 { record::u32_at(bytes, 48) } else { 0 },
        origin: Origin { epoch: name.epoch, seed: form_2.then(|| name.seed(id)) },
    })
}

/// The records of a segment below `end`. Those up to `replayed` are not needed: a break among them is stepped over.
pub fn read(bytes: &Bytes, segment: &Segment, end: u64, replayed: u64) -> Contents {
    let mut records = Vec::new();
    let (mut id, mut at, mut previous) = (segment.first_id, SEGMENT_HEADER_BYTES, segment.previous);
    let (mut later, mut torn) = (None, false);
    while id < end {
        match record::whole(bytes, at, id, segment.origin) {
            Some(whole) if continues(whole.previous, previous) => {
                at += whole.len;
                previous = whole.payload_crc;
                records.push(whole);
                id += 1;
            }
            Some(whole) => {
                later = Some(whole.id); // it follows another record than the one before it
                break;
            }
            None => match record::later(bytes, at, id, segment.origin) {
                Some((next_at, next_id)) if next_id <= replayed.saturating_add(1) => {
                    (at, id, previous) = (next_at, next_id, 0);
                    records.clear();
                }
                found => {
                    later = found.map(|(_, next_id)| next_id);
                    torn = bytes.get(at..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
                    break;
                }
            },
        }
    }
    Contents { records, next_id: id, at, later, torn }
}

/// Does a record that names `says` as the one before it follow one with this crc? 0 is not known.
pub fn continues(says: u32, crc: u32) -> bool {
    says == 0 || crc == 0 || says == crc
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LogId = LogId([7; 16]);
    const NAME: SegmentName = SegmentName { epoch: 3, number: 12 };

    #[test]
    fn names_come_back_and_only_as_they_are_written() {
        assert_eq!(NAME.file(), "00000000000000000003-0000000012.log");
        assert_eq!(SegmentName::parse(&NAME.file()), Some(NAME));
        for odd in ["3-12.log", "00000000000000000003-0000000012", "a-b.log", "-.log", ".log", "3.log"] {
            assert_eq!(SegmentName::parse(odd), None, "{odd}");
        }
        assert_eq!(LogId::parse(&ID.hex()), Some(ID));
        assert_eq!(LogId::parse("07"), None);
        assert_eq!(LogId::parse(&"é".repeat(16)), None);
    }

    #[test]
    fn a_header_counts_only_as_it_was_written() {
        let bytes = header(NAME, 40, 9, ID);
        let origin = Origin { epoch: 3, seed: Some(NAME.seed(ID)) };
        assert_eq!(
            parse_header(&bytes, NAME, ID),
            Header::Whole(Segment { name: NAME, first_id: 40, previous: 9, origin })
        );
        assert_eq!(log_id(&bytes), Some(ID));
        for bit in 0..56 * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(parse_header(&bad, NAME, ID), Header::Broken(_)), "bit {bit}");
        }
        for end in 1..SEGMENT_HEADER_BYTES {
            assert!(matches!(parse_header(&bytes[..end], NAME, ID), Header::Broken(_)), "cut at {end}");
        }
        let other = SegmentName { epoch: 3, number: 13 };
        assert!(matches!(parse_header(&bytes, other, ID), Header::Broken(_)));
        assert!(matches!(parse_header(&bytes, NAME, LogId([8; 16])), Header::Broken(_)));
        assert_eq!(parse_header(&[0; 64], NAME, ID), Header::Zeros);
    }
}
