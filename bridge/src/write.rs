//! Writes: packed operations checked on the caller's thread, applied by one task in the order they were accepted.

use crate::buf::Buf;
use crate::cq::{Event, EV_APPLIED, EV_WRITE_FAILED};
use crate::db::{Db, GivenUp};
use crate::error::{Failure, EAGAIN, ECLOSED, EINVAL, OK};
use crate::ffi::{counted, guard, status_of};
use crate::flush;
use crate::requests::{WriteMsg, WriteReq};
use crate::rows::VALUE_ABSENT;
use bytes::Bytes;
use slatedb::WriteBatch;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use tokio::sync::mpsc;

const OP_HEADER_BYTES: usize = 8;
const OP_PUT: u8 = 0;
const OP_DELETE: u8 = 1;
const BUFS_MAX: usize = 65536;

struct Op {
    put: bool,
    key: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

/// The operation at `at`, and where the next one starts.
fn op_at(data: &[u8], at: usize) -> Result<(Op, usize), &'static str> {
    let header = data.get(at..at + OP_HEADER_BYTES).ok_or("an operation is cut off")?;
    let klen = usize::from(u16::from_le_bytes([header[2], header[3]]));
    let vlen = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let put = header[0] == OP_PUT;
    if !put && header[0] != OP_DELETE {
        return Err("an operation is neither put nor delete");
    }
    if header[1] != 0 {
        return Err("the second byte of an operation is not 0");
    }
    if klen == 0 {
        return Err("a key is empty");
    }
    if vlen == VALUE_ABSENT {
        return Err("a value is too long");
    }
    if !put && vlen != 0 {
        return Err("a delete has a value");
    }
    let key = at + OP_HEADER_BYTES..at + OP_HEADER_BYTES + klen;
    let value = key.end..key.end + vlen as usize;
    let end = value.end;
    if end > data.len() {
        return Err("an operation is cut off");
    }
    Ok((Op { put, key, value }, end))
}

fn check(data: &[u8]) -> Result<u64, &'static str> {
    let (mut at, mut ops) = (0, 0);
    while at < data.len() {
        at = op_at(data, at)?.1;
        ops += 1;
    }
    Ok(ops)
}

fn build(bufs: Vec<Bytes>) -> Result<WriteBatch, &'static str> {
    let mut batch = WriteBatch::new();
    for buf in bufs {
        let mut at = 0;
        while at < buf.len() {
            let (op, next) = op_at(&buf, at)?;
            if op.put {
                batch.put_bytes(buf.slice(op.key), buf.slice(op.value));
            } else {
                batch.delete(&buf[op.key]);
            }
            at = next;
        }
    }
    Ok(batch)
}

async fn apply(db: &Db, bufs: Vec<Bytes>) -> Result<u64, Failure> {
    let batch = build(bufs).map_err(Failure::invalid)?;
    let _work = db.activity.work();
    let _gate = db.write_gate.lock().await;
    Ok(db.engine.write(batch).await?.seqnum())
}

fn finish(db: &Arc<Db>, bytes: u64, token: u64, result: Result<u64, Failure>) {
    let event = match result {
        Ok(seq) => {
            db.note_applied(seq, bytes);
            Event { seq, ..Event::new(EV_APPLIED, token) }
        }
        Err(failure) => {
            db.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            Event::failed(EV_WRITE_FAILED, token, db.blame(failure))
        }
    };
    db.answer(event);
    db.note_write_ended();
}

/// The one task that writes to this database.
pub async fn run(db: Arc<Db>, mut requests: mpsc::UnboundedReceiver<WriteMsg>) {
    while let Some(message) = requests.recv().await {
        match message {
            WriteMsg::Write(request) => {
                let result = db.unless_given_up(GivenUp::All, apply(&db, request.bufs)).await;
                finish(&db, request.bytes, request.token, result);
            }
            WriteMsg::Flush(token) => flush::through_log(&db, token),
            WriteMsg::Stop(done) => {
                requests.close();
                while let Ok(message) = requests.try_recv() {
                    match message {
                        WriteMsg::Write(late) => {
                            finish(&db, late.bytes, late.token, Err(Failure::given_up()))
                        }
                        WriteMsg::Flush(late) => flush::finish(&db, late, Err(Failure::given_up())),
                        WriteMsg::Stop(done) => drop(done),
                    }
                }
                let _ = done.send(());
                return;
            }
        }
    }
}

unsafe fn check_all(bufs: &[Buf], nops: u32) -> Result<u64, Failure> {
    let (mut ops, mut bytes) = (0u64, 0u64);
    for buf in bufs {
        if !buf.is_sane() {
            return Err(Failure::invalid("write: a buffer is not one of sdbx_buf_alloc"));
        }
        ops += check(buf.as_slice()).map_err(|text| Failure::invalid(format!("write: {text}")))?;
        bytes += buf.len as u64;
    }
    if ops == 0 || ops != u64::from(nops) {
        return Err(Failure::invalid(format!("write: {ops} operations found, {nops} said")));
    }
    Ok(bytes)
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_write(
    db: *const Db,
    bufs: *const Buf,
    bufs_count: usize,
    nops: u32,
    token: u64,
) -> i32 {
    guard(|| {
        let (Some(db), false) = (counted(db), bufs.is_null()) else { return EINVAL };
        if bufs_count > BUFS_MAX {
            return EINVAL;
        }
        if let Err(status) = db.check_open() {
            return status;
        }
        let bufs = std::slice::from_raw_parts(bufs, bufs_count);
        let bytes = match check_all(bufs, nops) {
            Ok(bytes) => bytes,
            Err(failure) => return status_of(Err(failure)),
        };
        let before = db.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        if before != 0 && before + bytes > db.queued_bytes_max {
            db.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return EAGAIN;
        }
        let taken: Vec<Bytes> = bufs.iter().map(|buf| buf.into_bytes()).collect();
        let sent = db.writes.send(WriteMsg::Write(WriteReq { bufs: taken, bytes, token }));
        if let Err(mpsc::error::SendError(message)) = sent {
            // Refused after all: the memory stays the caller's. Bytes made from a Vec do not move it.
            if let WriteMsg::Write(request) = message {
                request.bufs.into_iter().for_each(std::mem::forget);
            }
            db.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return ECLOSED;
        }
        db.writes_accepted.fetch_add(1, Ordering::AcqRel);
        OK
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(kind: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0];
        out.extend((key.len() as u16).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
        out.extend(key);
        out.extend(value);
        out
    }

    #[test]
    fn well_formed_operations_are_counted() {
        let data = [op(0, b"k", b"v"), op(1, b"k", b""), op(0, b"kk", b"")].concat();
        assert_eq!(check(&data), Ok(3));
        assert_eq!(check(b""), Ok(0));
    }

    #[test]
    fn every_cut_is_refused() {
        let data = op(0, b"key", b"value");
        for end in 1..data.len() {
            assert!(check(&data[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn bad_operations_are_refused() {
        for bad in [op(2, b"k", b"v"), op(1, b"k", b"v"), op(0, b"", b"v")] {
            assert!(check(&bad).is_err());
        }
        let mut flagged = op(0, b"k", b"v");
        flagged[1] = 1;
        assert!(check(&flagged).is_err());
        let mut huge = op(0, b"k", b"v");
        huge[4..8].fill(0xff);
        assert!(check(&huge).is_err());
    }
}
