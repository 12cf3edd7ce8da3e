//! A record: what one flush made durable. Little endian.
//!
//! ```text
//! magic u32, crc u32 (CRC-32 of all that follows), payload length u32, batches u32,
//! id u64, epoch u64, newest sequence u64, payload
//! payload: batches of  sequence u64, time i64 (ms; i64::MIN: none), rows u32, then the rows:
//! kind u8 (0 value, 1 tombstone, 2 merge operand; +128: expiry follows), key length u16, value length u32,
//! [expiry i64], key, value
//! ```
//!
//! A record counts only as a whole: bytes after the last whole one are the past of the file or a write cut off.

use bytes::Bytes;
use slatedb::wal::WalError;
use slatedb::{RowEntry, ValueDeletable};
use std::sync::Arc;

const MAGIC: u32 = 0x3152_4c53; // "SLR1"
pub const HEADER_BYTES: usize = 40;
const CRC_FROM: usize = 8;
const NO_TIME: i64 = i64::MIN;
const HAS_EXPIRY: u8 = 0x80;
/// Payloads of a record; a batch is below it by the limits of the engine's callers.
const PAYLOAD_BYTES_MAX: usize = u32::MAX as usize;

/// A record being filled: append batches, then seal once.
#[derive(Debug)]
pub struct Record {
    bytes: Vec<u8>,
    batches: u32,
    pub rows: usize,
    pub last_seq: u64,
}

impl Record {
    /// `capacity`: bytes expected, so that a busy log does not grow each record anew.
    pub fn new(capacity: usize) -> Record {
        let mut bytes = Vec::with_capacity(capacity.max(HEADER_BYTES));
        bytes.resize(HEADER_BYTES, 0);
        Record { bytes, batches: 0, rows: 0, last_seq: 0 }
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

    /// Fills in the header.
    pub fn seal(&mut self, id: u64, epoch: u64) {
        let payload = (self.bytes.len() - HEADER_BYTES) as u32;
        self.bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&payload.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.batches.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&id.to_le_bytes());
        self.bytes[24..32].copy_from_slice(&epoch.to_le_bytes());
        self.bytes[32..40].copy_from_slice(&self.last_seq.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes[CRC_FROM..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

pub fn invalid(text: &str) -> WalError {
    WalError::DataError(Arc::new(std::io::Error::new(std::io::ErrorKind::InvalidData, text.to_string())))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The whole record `id` of `epoch` at the start of `bytes`; None if there is none.
pub fn whole(bytes: &Bytes, id: u64, epoch: u64) -> Option<Bytes> {
    if bytes.len() < HEADER_BYTES || u32_at(bytes, 0) != MAGIC {
        return None;
    }
    let end = HEADER_BYTES + u32_at(bytes, 8) as usize;
    if end > bytes.len() || u64_at(bytes, 16) != id || u64_at(bytes, 24) != epoch {
        return None;
    }
    (crc32fast::hash(&bytes[CRC_FROM..end]) == u32_at(bytes, 4)).then(|| bytes.slice(..end))
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

/// The rows of a record that `whole` found. They share its memory.
pub fn rows(record: &Bytes) -> Result<Vec<RowEntry>, WalError> {
    let mut reader = Reader { bytes: record, at: HEADER_BYTES };
    let mut rows = Vec::new();
    for _ in 0..u32_at(record, 12) {
        let (seq, time, count) = (reader.u64()?, reader.u64()? as i64, reader.u32()?);
        let time = (time != NO_TIME).then_some(time);
        for _ in 0..count {
            rows.push(row(&mut reader, seq, time)?);
        }
    }
    if reader.at != record.len() {
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
        record.seal(12, 3);
        (one.into_iter().chain(two).collect(), Bytes::copy_from_slice(record.bytes()))
    }

    #[test]
    fn rows_come_back() {
        let (wrote, bytes) = sample();
        let longer = Bytes::from([bytes.to_vec(), vec![0; 100]].concat());
        let record = whole(&longer, 12, 3).unwrap();
        assert_eq!(record.len(), bytes.len());
        assert_eq!(rows(&record).unwrap(), wrote);
    }

    #[test]
    fn only_the_record_that_is_expected_is_taken() {
        let (_, bytes) = sample();
        assert!(whole(&bytes, 11, 3).is_none() && whole(&bytes, 12, 2).is_none());
        for end in 0..bytes.len() {
            assert!(whole(&bytes.slice(..end), 12, 3).is_none(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x10;
            assert!(whole(&Bytes::from(bad), 12, 3).is_none(), "byte {at}");
        }
    }

    /// A record with a right checksum and wrong insides is an error, never a panic.
    #[test]
    fn nonsense_inside_is_an_error() {
        let (_, bytes) = sample();
        for at in HEADER_BYTES..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] = 0xff;
            let _ = rows(&Bytes::from(bad));
        }
        let mut short = bytes.to_vec();
        short[12] = 9; // more batches than there are
        assert!(rows(&Bytes::from(short)).is_err());
    }

    #[test]
    fn rows_of_a_batch_agree() {
        let mut record = Record::new(0);
        let odd = [entry("a", ValueDeletable::Tombstone, 1), entry("b", ValueDeletable::Tombstone, 2)];
        assert!(record.append(&odd).is_err());
    }
}
