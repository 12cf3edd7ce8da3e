//! Reading a log as an open would, without opening anything: for the fuzzer. It must never panic, whatever the bytes are.

use super::dir::{LogDir, ACCEPT_LOSS};
use super::files::Files;
use super::init::{enter, take_over, Entrance, Taken};
use super::memory::Memory;
use super::record::{self, mend_record};
use super::segment::{mend_header, read, LogId, SegmentName, SEGMENT_HEADER_BYTES};
use super::survey::{survey, Verdict};
use crate::error::{EDATA, EINTERNAL, EINVAL, OK};
use crate::ffi::{guard, slice};

const ID: LogId = LogId([7; 16]);
const NEWEST_EPOCH: u64 = 1 << 20;
const REPLAYED_MAX: u64 = 1 << 62;
const FILES_MAX: usize = 64;

/// Files one after the other: length of the name u8, length of the content u32, name, content. `mends`: checksums are put
/// right first, for chance does not find them.
fn unpack(mut bytes: &[u8], mends: bool) -> Option<Memory> {
    let memory = Memory::new();
    for _ in 0..FILES_MAX {
        if bytes.is_empty() {
            return Some(memory);
        }
        let (head, rest) = bytes.split_at_checked(5)?;
        let (name, rest) = rest.split_at_checked(usize::from(head[0]))?;
        let (content, rest) = rest.split_at_checked(record::u32_at(head, 1) as usize)?;
        let (name, mut content) = (std::str::from_utf8(name).ok()?, content.to_vec());
        if let Some(name) = SegmentName::parse(name).filter(|_| mends) {
            mend(&mut content, name);
        }
        memory.put(name, &content);
        bytes = rest;
    }
    None
}

fn mend(bytes: &mut [u8], name: SegmentName) {
    mend_header(bytes, ID);
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(len) = bytes.get_mut(at..).and_then(|rest| mend_record(rest, name.seed(ID))) {
        at += len;
    }
}

/// All that was found comes back, in order and once.
fn check_replay(dir: &LogDir, taken: &Taken, replayed: u64) -> std::io::Result<()> {
    let mut next = replayed + 1;
    for (segment, end) in &taken.replay {
        let contents = read(&dir.contents(segment.name)?, segment, *end, replayed);
        for whole in contents.records.iter().filter(|whole| whole.id > replayed) {
            assert!(whole.id == next, "records come in order, none twice");
            next += 1;
            let _ = record::rows(whole);
        }
    }
    assert!(next == taken.next_id, "all that were found come back");
    Ok(())
}

/// What an open makes of it. Looking and taking over must agree; what was refused opens once the loss is accepted.
fn check(memory: &Memory, replayed: u64) -> std::io::Result<i32> {
    let dir = LogDir::new(memory.files(), ID);
    let looked = match survey(&dir, replayed)? {
        Verdict::Sound(found) => Some(found.last_id),
        Verdict::Damaged(damage) => {
            assert!(damage.first_lost > replayed && !damage.text("").is_empty());
            None
        }
    };
    let accepts = memory.exists(ACCEPT_LOSS)?;
    let (Entrance::Free, Some(tenure)) = enter(&dir, NEWEST_EPOCH)? else { return Ok(EDATA) };
    match take_over(&tenure, replayed) {
        Ok(Some(taken)) => {
            assert!(looked.map_or(accepts, |last| taken.next_id == last.saturating_add(1)));
            check_replay(&dir, &taken, replayed)?;
            Ok(OK)
        }
        Ok(None) => Ok(EINTERNAL), // nobody else is here
        Err(error) => {
            assert!(looked.is_none() && !accepts, "{error}");
            drop(tenure);
            memory.put(ACCEPT_LOSS, b"");
            check(memory, replayed).map(|status| if status == OK { EDATA } else { EINTERNAL })
        }
    }
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_log_check(files: *const u8, len: usize, replayed: u64, mends: u32) -> i32 {
    guard(|| {
        let Ok(bytes) = slice(files, len) else { return EINVAL };
        let Some(memory) = unpack(bytes, mends != 0) else { return EINVAL };
        check(&memory, replayed.min(REPLAYED_MAX)).unwrap_or(EINTERNAL)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(name: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![name.len() as u8];
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(content);
        bytes
    }

    fn verdict(bytes: &[u8], mends: u32) -> i32 {
        // SAFETY: the bytes live for the call.
        unsafe { sdbx_log_check(bytes.as_ptr(), bytes.len(), 0, mends) }
    }

    #[test]
    fn verdicts() {
        let name = SegmentName { epoch: 2, number: 0 };
        let mut content = super::super::segment::header(name, 1, 0, ID).to_vec();
        let mut record = record::Record::new(0);
        record.finish();
        record.address(1, 2, name.seed(ID), 0);
        content.extend(record.bytes());
        assert_eq!(verdict(&[], 0), OK);
        assert_eq!(verdict(&packed(&name.file(), &content)[1..], 0), EINVAL);
        content[30] ^= 1;
        assert_eq!(verdict(&packed(&name.file(), &content), 0), EDATA);
        content[30] ^= 1;
        content[50] ^= 1; // the checksum of the record before, unknown so far
        assert_eq!(verdict(&packed(&name.file(), &content), 0), EDATA);
        assert_eq!(verdict(&packed(&name.file(), &content), 1), OK);
    }
}
