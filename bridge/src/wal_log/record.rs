//! A record: what one flush made durable. Little endian.
//!
//! ```text
//! magic u32, crc u32 (of the header behind it), payload length u32, crc of the payload u32, batches u32,
//! crc of the payload of the record before u32 (0: not known), id u64, epoch u64, newest sequence u64, payload
//! payload: batches of  sequence u64, time i64 (ms; i64::MIN: none), rows u32, then the rows:
//! kind u8 (0 value, 1 tombstone, 2 merge operand; +128: expiry follows), key length u16, value length u32,
//! [expiry i64], key, value
//! ```
//!
//! Checksums are CRC-32. That of the header begins with the seed of its segment, which comes of the log's random id: bytes
//! of another segment, of another log, or made up by somebody who writes payloads, pass for no header.
//!
//! **What a record says about the past.** A record is written only once the one with the id before is durable. So a header
//! is proof that all records with lower ids were durable: one of them that is not whole is damage, not a write cut off.
//!
//! Form 1 (`SLR1`) is read, never written: magic u32, crc u32 (of all that follows), payload length u32, batches u32,
//! id u64, epoch u64, newest sequence u64, payload.

use bytes::Bytes;
use crc32fast::Hasher;
use slatedb::wal::WalError;
use slatedb::{RowEntry, ValueDeletable};
use std::sync::Arc;

const MAGIC: u32 = 0x3252_4c53; // "SLR2"
const MAGIC_1: u32 = 0x3152_4c53; // "SLR1"
pub const HEADER_BYTES: usize = 48;
const HEADER_BYTES_1: usize = 40;
const CRC_FROM: usize = 8;
const NO_TIME: i64 = i64::MIN;
const HAS_EXPIRY: u8 = 0x80;
/// Payloads of a record; a batch is below it by the limits of the engine's callers.
const PAYLOAD_BYTES_MAX: usize = u32::MAX as usize;
/// Ids beyond the expected one that a header may carry which is found after damage.
const IDS_AHEAD_MAX: u64 = 1 << 32;

/// Of whom a record must be to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub epoch: u64,
    /// Of the segment; None: the segment is of form 1.
    pub seed: Option<u32>,
}

/// A record being filled: append batches, finish once, then address it to each segment it is written to.
#[derive(Debug)]
pub struct Record {
    bytes: Vec<u8>,
    batches: u32,
    payload_crc: u32,
    pub rows: usize,
    pub last_seq: u64,
}

impl Record {
    /// `capacity`: bytes expected, so that a busy log does not grow each record anew.
    pub fn new(capacity: usize) -> Record {
        let mut bytes = Vec::with_capacity(capacity.max(HEADER_BYTES));
        bytes.resize(HEADER_BYTES, 0);
        Record { bytes, batches: 0, payload_crc: 0, rows: 0, last_seq: 0 }
    }

    /// A record that was read, to be written again.
    pub fn again(whole: &Whole) -> Record {
        let mut record = Record::new(HEADER_BYTES + whole.payload.len());
        record.bytes.extend_from_slice(&whole.payload);
        record.batches = whole.batches;
        record.last_seq = whole.last_seq;
        record.finish();
        record
    }

    pub fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// Bytes of it on disk.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Of a record that is finished.
    pub fn payload_crc(&self) -> u32 {
        self.payload_crc
    }

    /// All rows of a batch have one sequence and one time.
    pub fn append(&mut self, batch: &[RowEntry]) -> Result<(), WalError> {
        let Some(first) = batch.first() else { return Ok(()) };
        let size: usize = batch.iter().map(|row| 15 + row.key.len() + row.value.len()).sum();
        if self.bytes.len() + 20 + size > PAYLOAD_BYTES_MAX {
            return Err(invalid("a WAL record of 4 GiB"));
        }
        self.bytes.reserve(20 + size);
        self.bytes.extend_from_slice(&first.seq.to_le_bytes());
        self.bytes.extend_from_slice(&first.create_ts.unwrap_or(NO_TIME).to_le_bytes());
        self.bytes.extend_from_slice(&(batch.len() as u32).to_le_bytes());
        for row in batch {
            if row.seq != first.seq || row.create_ts != first.create_ts || row.key.len() > 0xffff {
                return Err(invalid("rows of a batch differ in sequence or time, or a key is too long"));
            }
            self.append_row(row);
        }
        self.batches += 1;
        self.rows += batch.len();
        self.last_seq = first.seq;
        Ok(())
    }

    fn append_row(&mut self, row: &RowEntry) {
        let (kind, value): (u8, &[u8]) = match &row.value {
            ValueDeletable::Value(value) => (0, value),
            ValueDeletable::Tombstone => (1, &[]),
            ValueDeletable::Merge(value) => (2, value),
        };
        self.bytes.push(kind | if row.expire_ts.is_some() { HAS_EXPIRY } else { 0 });
        self.bytes.extend_from_slice(&(row.key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        if let Some(expiry) = row.expire_ts {
            self.bytes.extend_from_slice(&expiry.to_le_bytes());
        }
        self.bytes.extend_from_slice(&row.key);
        self.bytes.extend_from_slice(value);
    }

    /// Nothing is appended any more.
    pub fn finish(&mut self) {
        self.payload_crc = crc32fast::hash(&self.bytes[HEADER_BYTES..]);
    }

    /// Fills in the header. `seed`: of the segment; `previous`: crc of the payload of the record before.
    pub fn address(&mut self, id: u64, epoch: u64, seed: u32, previous: u32) {
        let payload = (self.bytes.len() - HEADER_BYTES) as u32;
        self.bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&payload.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&self.batches.to_le_bytes());
        self.bytes[20..24].copy_from_slice(&previous.to_le_bytes());
        self.bytes[24..32].copy_from_slice(&id.to_le_bytes());
        self.bytes[32..40].copy_from_slice(&epoch.to_le_bytes());
        self.bytes[40..48].copy_from_slice(&self.last_seq.to_le_bytes());
        let crc = crc_from(seed, &self.bytes[CRC_FROM..HEADER_BYTES]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

fn crc_from(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

pub fn invalid(text: &str) -> WalError {
    WalError::DataError(Arc::new(std::io::Error::new(std::io::ErrorKind::InvalidData, text.to_string())))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// A record that was read whole.
#[derive(Debug, Clone)]
pub struct Whole {
    pub id: u64,
    pub last_seq: u64,
    pub batches: u32,
    pub payload: Bytes,
    pub payload_crc: u32,
    /// Crc of the payload of the record before; 0: not known.
    pub previous: u32,
    /// Bytes of it on disk.
    pub len: usize,
}

/// What a header says.
struct Head {
    id: u64,
    payload: usize,
    batches: u32,
    last_seq: u64,
}

/// The header at `at`, if a writer of `origin` wrote one there.
fn head(bytes: &[u8], at: usize, origin: Origin) -> Option<Head> {
    let bytes = bytes.get(at..)?;
    let len = if origin.seed.is_some() { HEADER_BYTES } else { HEADER_BYTES_1 };
    let header = bytes.get(..len)?;
    let (magic, crc) = (u32_at(header, 0), u32_at(header, 4));
    let payload = u32_at(header, 8) as usize;
    let head = match origin.seed {
        Some(seed) if magic == MAGIC && u64_at(header, 32) == origin.epoch => {
            (crc_from(seed, &header[CRC_FROM..]) == crc).then(|| Head {
                id: u64_at(header, 24),
                payload,
                batches: u32_at(header, 16),
                last_seq: u64_at(header, 40),
            })?
        }
        None if magic == MAGIC_1 && u64_at(header, 24) == origin.epoch => {
            let record = bytes.get(CRC_FROM..len + payload)?;
            (crc32fast::hash(record) == crc).then(|| Head {
                id: u64_at(header, 16),
                payload,
                batches: u32_at(header, 12),
                last_seq: u64_at(header, 32),
            })?
        }
        _ => return None,
    };
    Some(head)
}

/// The whole record `id` at `at`; None if there is none.
pub fn whole(bytes: &Bytes, at: usize, id: u64, origin: Origin) -> Option<Whole> {
    let head = head(bytes, at, origin).filter(|head| head.id == id)?;
    let from = at + if origin.seed.is_some() { HEADER_BYTES } else { HEADER_BYTES_1 };
    let end = from.checked_add(head.payload).filter(|end| *end <= bytes.len())?;
    let payload = bytes.slice(from..end);
    let payload_crc = crc32fast::hash(&payload);
    let previous = match origin.seed {
        Some(_) if u32_at(bytes, at + 12) != payload_crc => return None,
        Some(_) => u32_at(bytes, at + 20),
        None => 0,
    };
    let (batches, last_seq) = (head.batches, head.last_seq);
    Some(Whole { id, last_seq, batches, payload, payload_crc, previous, len: end - at })
}

/// Where the next header of a record after `id` stands from `from` on, and its id. It proves that `id` was durable.
pub fn later(bytes: &[u8], from: usize, id: u64, origin: Origin) -> Option<(usize, u64)> {
    let magic = if origin.seed.is_some() { MAGIC } else { MAGIC_1 }.to_le_bytes();
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == magic[0])?;
        if bytes[at..].starts_with(&magic) && is_ahead(bytes, at, id, origin) {
            if let Some(head) = head(bytes, at, origin) {
                return Some((at, head.id));
            }
        }
        at += 1;
    }
}

/// Puts the checksums of the record at the start right, in either form; its length, if one is there.
pub fn mend_record(bytes: &mut [u8], seed: u32) -> Option<usize> {
    let form_1 = bytes.starts_with(&MAGIC_1.to_le_bytes());
    if bytes.len() < HEADER_BYTES || !form_1 && !bytes.starts_with(&MAGIC.to_le_bytes()) {
        return None;
    }
    let header = if form_1 { HEADER_BYTES_1 } else { HEADER_BYTES };
    let end = header.checked_add(u32_at(bytes, 8) as usize).filter(|end| *end <= bytes.len())?;
    let crc = if form_1 {
        crc32fast::hash(&bytes[CRC_FROM..end])
    } else {
        let payload = crc32fast::hash(&bytes[HEADER_BYTES..end]);
        bytes[12..16].copy_from_slice(&payload.to_le_bytes());
        crc_from(seed, &bytes[CRC_FROM..HEADER_BYTES])
    };
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    Some(end)
}

/// Cheap, and before any checksum: is this the id of a record that may come after `id`?
fn is_ahead(bytes: &[u8], at: usize, id: u64, origin: Origin) -> bool {
    let field = at + if origin.seed.is_some() { 24 } else { 16 };
    bytes.len() >= field + 8
        && (id.saturating_add(1)..id.saturating_add(IDS_AHEAD_MAX)).contains(&u64_at(bytes, field))
}

/// Takes bytes off the front of a payload.
struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<Bytes, WalError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| invalid("a WAL record ends inside a row"))?;
        let part = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(part)
    }

    fn u8(&mut self) -> Result<u8, WalError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, WalError> {
        let b = self.take(2)?;
        Ok(u16::from_le_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Result<u32, WalError> {
        Ok(u32_at(&self.take(4)?, 0))
    }

    fn u64(&mut self) -> Result<u64, WalError> {
        Ok(u64_at(&self.take(8)?, 0))
    }
}

fn row(reader: &mut Reader<'_>, seq: u64, time: Option<i64>) -> Result<RowEntry, WalError> {
    let kind = reader.u8()?;
    let (klen, vlen) = (usize::from(reader.u16()?), reader.u32()? as usize);
    let expire_ts = if kind & HAS_EXPIRY != 0 { Some(reader.u64()? as i64) } else { None };
    let (key, value) = (reader.take(klen)?, reader.take(vlen)?);
    let value = match kind & !HAS_EXPIRY {
        0 => ValueDeletable::Value(value),
        1 => ValueDeletable::Tombstone,
        2 => ValueDeletable::Merge(value),
        _ => return Err(invalid("a WAL row of unknown kind")),
    };
    Ok(RowEntry { key, value, seq, create_ts: time, expire_ts })
}

/// The rows of a record. They share its memory.
pub fn rows(whole: &Whole) -> Result<Vec<RowEntry>, WalError> {
    let mut reader = Reader { bytes: &whole.payload, at: 0 };
    let mut rows = Vec::new();
    for _ in 0..whole.batches {
        let (seq, time, count) = (reader.u64()?, reader.u64()? as i64, reader.u32()?);
        let time = (time != NO_TIME).then_some(time);
        for _ in 0..count {
            rows.push(row(&mut reader, seq, time)?);
        }
    }
    if reader.at != whole.payload.len() {
        return Err(invalid("a WAL record is longer than its rows"));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: ValueDeletable, seq: u64) -> RowEntry {
        RowEntry {
            key: Bytes::from(key.to_string()),
            value,
            seq,
            create_ts: Some(70 + seq as i64),
            expire_ts: None,
        }
    }

    fn sample() -> (Vec<RowEntry>, Bytes) {
        let one = vec![entry("a", ValueDeletable::Value(Bytes::from_static(b"1")), 4)];
        let mut two = vec![
            entry("b", ValueDeletable::Tombstone, 5),
            entry("c", ValueDeletable::Merge(Bytes::from_static(b"")), 5),
        ];
        two[1].expire_ts = Some(9);
        let mut record = Record::new(0);
        record.append(&one).unwrap();
        record.append(&two).unwrap();
        assert_eq!((record.rows, record.last_seq), (3, 5));
        record.finish();
        record.address(12, 3, SEED, 99);
        (one.into_iter().chain(two).collect(), Bytes::copy_from_slice(record.bytes()))
    }

    const SEED: u32 = 77;
    const ORIGIN: Origin = Origin { epoch: 3, seed: Some(SEED) };

    #[test]
    fn rows_come_back() {
        let (wrote, bytes) = sample();
        let longer = Bytes::from([vec![1; 9], bytes.to_vec(), vec![0; 100]].concat());
        let record = whole(&longer, 9, 12, ORIGIN).unwrap();
        assert_eq!((record.len, record.last_seq, record.previous), (bytes.len(), 5, 99));
        assert_eq!(rows(&record).unwrap(), wrote);
        let mut again = Record::again(&record);
        again.address(12, 3, SEED, 99);
        assert_eq!(again.bytes(), &bytes[..]);
    }

    #[test]
    fn only_the_record_that_is_expected_is_taken() {
        let (_, bytes) = sample();
        assert!(whole(&bytes, 0, 11, ORIGIN).is_none() && whole(&bytes, 1, 12, ORIGIN).is_none());
        assert!(whole(&bytes, 0, 12, Origin { epoch: 2, ..ORIGIN }).is_none());
        assert!(whole(&bytes, 0, 12, Origin { seed: Some(78), ..ORIGIN }).is_none());
        assert!(whole(&bytes, 0, 12, Origin { seed: None, ..ORIGIN }).is_none());
        for end in 0..bytes.len() {
            assert!(whole(&bytes.slice(..end), 0, 12, ORIGIN).is_none(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(whole(&Bytes::from(bad), 0, 12, ORIGIN).is_none(), "bit {bit}");
        }
    }

    /// A header proves what was before it, if its own payload is lost, too; made-up ones do not.
    #[test]
    fn later_headers_are_found() {
        let (_, bytes) = sample();
        let behind = [vec![b'S'; 100], bytes.to_vec()].concat();
        assert_eq!(later(&behind, 0, 11, ORIGIN), Some((100, 12)));
        assert_eq!(later(&behind, 0, 5, ORIGIN), Some((100, 12)));
        assert_eq!(later(&behind, 0, 12, ORIGIN), None, "not later than itself");
        assert_eq!(later(&behind, 101, 11, ORIGIN), None);
        assert_eq!(later(&behind[..100 + HEADER_BYTES], 0, 11, ORIGIN), Some((100, 12)));
        assert_eq!(later(&behind[..99 + HEADER_BYTES], 0, 11, ORIGIN), None);
        assert_eq!(later(&behind, 0, 11, Origin { seed: Some(1), ..ORIGIN }), None);
        assert_eq!(later(&behind, 9999, 11, ORIGIN), None);
    }

    /// A record with a right checksum and wrong insides is an error, never a panic.
    #[test]
    fn nonsense_inside_is_an_error() {
        let (_, bytes) = sample();
        let good = whole(&bytes, 0, 12, ORIGIN).unwrap();
        for at in 0..good.payload.len() {
            let mut bad = good.payload.to_vec();
            bad[at] = 0xff;
            let _ = rows(&Whole { payload: Bytes::from(bad), ..good.clone() });
        }
        assert!(rows(&Whole { batches: 9, ..good.clone() }).is_err(), "more batches than there are");
    }

    #[test]
    fn rows_of_a_batch_agree() {
        let mut record = Record::new(0);
        let odd = [entry("a", ValueDeletable::Tombstone, 1), entry("b", ValueDeletable::Tombstone, 2)];
        assert!(record.append(&odd).is_err());
    }
}
