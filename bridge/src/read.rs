//! Reads: point look-ups, multi-gets, scans page by page, snapshots.
//!
//! A few look-ups are first polled on the caller's thread: what is in memory, or is ruled out by a filter, is
//! answered without a hop. What has to wait goes on as a task.

use crate::cq::{Event, IterRef, EV_ROWS, EV_VALUE, ROWS_MORE};
use crate::db::{borrow, Db, GivenUp, ReadGuard};
use crate::error::{Failure, EINTERNAL, EINVAL, ENOTFOUND, OK};
use crate::ffi::{guard, guard_or, set, slice, status_of};
use crate::write::VALUE_ABSENT;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use slatedb::config::{DurabilityLevel, ReadOptions, ScanOptions};
use slatedb::{DbIterator, DbSnapshot, IterationOrder, KeyValue};
use std::future::Future;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

const READ_DURABLE: u32 = 1;
const SCAN_DESC: u32 = 2;
const SCAN_KEYS_ONLY: u32 = 4;
const SCAN_CACHE: u32 = 8;

const MGET_KEYS_MAX: u32 = 65536; // SDBX_MGET_KEYS_MAX
/// More keys than this go to a task at once, not to hold up the caller's thread.
const INLINE_KEYS_MAX: usize = 8;
const LOOKUPS_AT_ONCE: usize = 64;
const PAGE_BYTES_DEFAULT: u64 = 1 << 20;
const PAGE_BYTES_MAX: u64 = 1 << 30;
const READ_AHEAD_BYTES_MAX: u64 = 64 << 20;
const FETCH_TASKS: usize = 4;
const ROW_HEADER_BYTES: usize = 8;

pub struct Snap(Arc<DbSnapshot>);

/// Where a read looks: a snapshot, or the newest state.
#[derive(Clone)]
enum Source {
    Newest(Arc<Db>),
    Snapshot(Arc<DbSnapshot>),
}

impl Source {
    unsafe fn of(db: &Arc<Db>, snap: *const Snap) -> Source {
        match snap.as_ref() {
            Some(snap) => Source::Snapshot(snap.0.clone()),
            None => Source::Newest(db.clone()),
        }
    }

    async fn get(&self, key: &Bytes, options: &ReadOptions) -> Result<Option<Bytes>, Failure> {
        let value = match self {
            Source::Newest(db) => db.engine.get_with_options(key, options).await,
            Source::Snapshot(snap) => snap.get_with_options(key, options).await,
        };
        Ok(value?)
    }

    async fn scan(&self, range: Range, options: &ScanOptions) -> Result<DbIterator, Failure> {
        let iter = match self {
            Source::Newest(db) => db.engine.scan_with_options(range, options).await,
            Source::Snapshot(snap) => snap.scan_with_options(range, options).await,
        };
        Ok(iter?)
    }
}

type Range = (Bound<Bytes>, Bound<Bytes>);

fn durability(flags: u32) -> DurabilityLevel {
    if flags & READ_DURABLE != 0 {
        DurabilityLevel::Remote
    } else {
        DurabilityLevel::Memory
    }
}

fn read_options(flags: u32) -> ReadOptions {
    ReadOptions { durability_filter: durability(flags), ..ReadOptions::default() }
}

pub fn put_row(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let vlen = value.map_or(VALUE_ABSENT, |v| v.len() as u32);
    out.reserve(ROW_HEADER_BYTES + key.len() + value.map_or(0, <[u8]>::len));
    out.extend((key.len() as u16).to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out.extend(vlen.to_le_bytes());
    out.extend(key);
    out.extend(value.unwrap_or_default());
}

/// What the event of a read will say whatever happens.
struct Answer {
    kind: u32,
    token: u64,
    tag: u64,
}

/// Runs `work` to its event. With `inline` it is polled once here first.
fn drive(
    db: Arc<Db>,
    reading: ReadGuard,
    answer: Answer,
    inline: bool,
    work: impl Future<Output = Result<Event, Failure>> + Send + 'static,
) {
    let owner = db.clone();
    let mut whole = Box::pin(async move {
        let mut event = match owner.unless_given_up(GivenUp::All, work).await {
            Ok(event) => event,
            Err(failure) => Event::failed(answer.kind, answer.token, owner.blame(failure)),
        };
        event.iter_tag = answer.tag;
        owner.cq.push(event.of(&owner));
        drop(reading);
    });
    if inline {
        let _entered = db.io.enter();
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(()) = whole.poll_unpin(&mut context) {
            return;
        }
    }
    db.io.spawn(whole);
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_get(
    db: *const Db,
    snap: *const Snap,
    key: *const u8,
    key_len: usize,
    flags: u32,
    token: u64,
) -> i32 {
    guard(|| {
        let Some(db) = borrow(db) else { return EINVAL };
        let Ok(key) = slice(key, key_len) else { return EINVAL };
        if key.is_empty() || key.len() > usize::from(u16::MAX) || flags & !READ_DURABLE != 0 {
            return EINVAL;
        }
        let reading = match db.begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        let (key, source) = (Bytes::copy_from_slice(key), Source::of(&db, snap));
        drive(db, reading, Answer { kind: EV_VALUE, token, tag: 0 }, true, async move {
            match source.get(&key, &read_options(flags)).await? {
                Some(value) => Ok(Event { data: value.to_vec(), ..Event::new(EV_VALUE, token) }),
                None => Ok(Event { status: ENOTFOUND, ..Event::new(EV_VALUE, token) }),
            }
        });
        OK
    })
}

fn parse_keys(packed: &[u8], nkeys: u32) -> Result<Vec<Bytes>, Failure> {
    if nkeys == 0 || nkeys > MGET_KEYS_MAX {
        return Err(Failure::invalid(format!("mget: {nkeys} keys; 1..{MGET_KEYS_MAX} are possible")));
    }
    let packed = Bytes::copy_from_slice(packed);
    let mut keys = Vec::with_capacity(nkeys as usize);
    let mut at = 0;
    while at < packed.len() {
        let cut = || Failure::invalid("mget: a key is cut off");
        let klen = packed.get(at..at + 2).ok_or_else(cut)?;
        let klen = usize::from(u16::from_le_bytes([klen[0], klen[1]]));
        if klen == 0 {
            return Err(Failure::invalid("mget: a key is empty"));
        }
        if at + 2 + klen > packed.len() {
            return Err(cut());
        }
        keys.push(packed.slice(at + 2..at + 2 + klen));
        at += 2 + klen;
    }
    if keys.len() != nkeys as usize {
        return Err(Failure::invalid(format!("mget: {} keys found, {nkeys} said", keys.len())));
    }
    Ok(keys)
}

async fn get_all(
    source: Source,
    keys: Vec<Bytes>,
    options: ReadOptions,
    token: u64,
) -> Result<Event, Failure> {
    let (source, options) = (&source, &options);
    let nrows = keys.len() as u32;
    let look_up = |key: Bytes| async move {
        let value = source.get(&key, options).await;
        (key, value)
    };
    let mut values = futures::stream::iter(keys).map(look_up).buffered(LOOKUPS_AT_ONCE);
    let mut data = Vec::new();
    while let Some((key, value)) = values.next().await {
        put_row(&mut data, &key, value?.as_deref());
    }
    Ok(Event { data, nrows, ..Event::new(EV_ROWS, token) })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_mget(
    db: *const Db,
    snap: *const Snap,
    keys: *const u8,
    keys_len: usize,
    nkeys: u32,
    flags: u32,
    token: u64,
) -> i32 {
    guard(|| {
        let Some(db) = borrow(db) else { return EINVAL };
        if flags & !READ_DURABLE != 0 {
            return EINVAL;
        }
        let keys = match slice(keys, keys_len).and_then(|packed| parse_keys(packed, nkeys)) {
            Ok(keys) => keys,
            Err(failure) => return status_of(Err(failure)),
        };
        let reading = match db.begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        let source = Source::of(&db, snap);
        let inline = keys.len() <= INLINE_KEYS_MAX;
        let answer = Answer { kind: EV_ROWS, token, tag: 0 };
        drive(db, reading, answer, inline, get_all(source, keys, read_options(flags), token));
        OK
    })
}

#[repr(C)]
pub struct ScanArgs {
    pub lo: *const u8,
    pub lo_len: usize,
    pub hi: *const u8,
    pub hi_len: usize,
    pub flags: u32,
    pub max_rows: u32,
    pub max_bytes: u64,
    pub read_ahead_bytes: u64,
    pub tag: u64,
}

/// An iterator between pages: the engine's, and the row that was read to learn that there is more.
struct Cursor {
    iter: DbIterator,
    ahead: KeyValue,
    keys_only: bool,
}

pub struct Iter {
    db: Arc<Db>,
    tag: u64,
    cursor: Mutex<Option<Cursor>>,
}

struct Page {
    data: Vec<u8>,
    nrows: u32,
    rest: Option<Cursor>,
}

#[derive(Clone, Copy)]
struct Bounds {
    rows: u32,
    bytes: u64,
}

impl Bounds {
    fn new(rows: u32, bytes: u64) -> Bounds {
        let bytes = if bytes == 0 { PAGE_BYTES_DEFAULT } else { bytes.min(PAGE_BYTES_MAX) };
        Bounds { rows: if rows == 0 { u32::MAX } else { rows }, bytes }
    }
}

async fn read_page(
    mut iter: DbIterator,
    mut next: Option<KeyValue>,
    keys_only: bool,
    bounds: Bounds,
) -> Result<Page, Failure> {
    let (mut data, mut nrows) = (Vec::new(), 0);
    if next.is_none() {
        next = iter.next().await?;
    }
    while let Some(row) = next {
        let value: &[u8] = if keys_only { &[] } else { &row.value };
        put_row(&mut data, &row.key, Some(value));
        nrows += 1;
        next = iter.next().await?;
        if nrows == bounds.rows || data.len() as u64 >= bounds.bytes {
            break;
        }
    }
    Ok(Page { data, nrows, rest: next.map(|ahead| Cursor { iter, ahead, keys_only }) })
}

fn first_page_event(db: &Arc<Db>, page: Page, tag: u64, token: u64) -> Event {
    let mut event = Event { data: page.data, nrows: page.nrows, ..Event::new(EV_ROWS, token) };
    if let Some(cursor) = page.rest {
        event.flags = ROWS_MORE;
        event.iter = IterRef::Gives(Arc::new(Iter { db: db.clone(), tag, cursor: Mutex::new(Some(cursor)) }));
    }
    event
}

fn scan_options(args: &ScanArgs) -> ScanOptions {
    ScanOptions {
        durability_filter: durability(args.flags),
        read_ahead_bytes: args.read_ahead_bytes.clamp(1, READ_AHEAD_BYTES_MAX) as usize,
        cache_blocks: args.flags & SCAN_CACHE != 0,
        max_fetch_tasks: if args.read_ahead_bytes > 1 { FETCH_TASKS } else { 1 },
        order: if args.flags & SCAN_DESC != 0 {
            IterationOrder::Descending
        } else {
            IterationOrder::Ascending
        },
        ..ScanOptions::default()
    }
}

unsafe fn scan_range(args: &ScanArgs) -> Result<Range, Failure> {
    let lo = slice(args.lo, args.lo_len)?;
    let hi = slice(args.hi, args.hi_len)?;
    let low = if lo.is_empty() { Bound::Unbounded } else { Bound::Included(Bytes::copy_from_slice(lo)) };
    let high = if hi.is_empty() { Bound::Unbounded } else { Bound::Excluded(Bytes::copy_from_slice(hi)) };
    Ok((low, high))
}

fn is_empty(range: &Range) -> bool {
    matches!(range, (Bound::Included(lo), Bound::Excluded(hi)) if lo >= hi)
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_scan(
    db: *const Db,
    snap: *const Snap,
    args: *const ScanArgs,
    token: u64,
) -> i32 {
    guard(|| {
        let (Some(db), Some(args)) = (borrow(db), args.as_ref()) else { return EINVAL };
        if args.flags & !(READ_DURABLE | SCAN_DESC | SCAN_KEYS_ONLY | SCAN_CACHE) != 0 {
            return EINVAL;
        }
        let Ok(range) = scan_range(args) else { return EINVAL };
        let reading = match db.begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        let (options, source) = (scan_options(args), Source::of(&db, snap));
        let keys_only = args.flags & SCAN_KEYS_ONLY != 0;
        let bounds = Bounds::new(args.max_rows, args.max_bytes);
        let (owner, tag) = (db.clone(), args.tag);
        drive(db, reading, Answer { kind: EV_ROWS, token, tag }, false, async move {
            if is_empty(&range) {
                return Ok(Event::new(EV_ROWS, token));
            }
            let iter = source.scan(range, &options).await?;
            let page = read_page(iter, None, keys_only, bounds).await?;
            Ok(first_page_event(&owner, page, tag, token))
        });
        OK
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_iter_next(iter: *const Iter, max_rows: u32, max_bytes: u64, token: u64) -> i32 {
    guard(|| {
        if iter.is_null() {
            return EINVAL;
        }
        Arc::increment_strong_count(iter);
        let iter = Arc::from_raw(iter);
        let db = iter.db.clone();
        let reading = match db.begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        let Some(cursor) = iter.cursor.lock().unwrap_or_else(|e| e.into_inner()).take() else {
            return EINVAL; // at its end, failed, or a next is under way
        };
        let answer = Answer { kind: EV_ROWS, token, tag: iter.tag };
        drive(db, reading, answer, false, async move {
            let bounds = Bounds::new(max_rows, max_bytes);
            let page = read_page(cursor.iter, Some(cursor.ahead), cursor.keys_only, bounds).await?;
            let mut event = Event { data: page.data, nrows: page.nrows, ..Event::new(EV_ROWS, token) };
            if page.rest.is_some() {
                event.flags = ROWS_MORE;
                event.iter = IterRef::Lent(Arc::as_ptr(&iter) as usize);
            }
            *iter.cursor.lock().unwrap_or_else(|e| e.into_inner()) = page.rest;
            Ok(event)
        });
        OK
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_iter_free(iter: *const Iter) {
    guard_or((), || {
        if !iter.is_null() {
            drop(Arc::from_raw(iter));
        }
    });
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_snapshot(db: *const Db, ret_snap: *mut *mut Snap, ret_seq: *mut u64) -> i32 {
    guard(|| {
        let Some(db) = borrow(db) else { return EINVAL };
        if ret_snap.is_null() {
            return EINVAL;
        }
        if let Err(status) = db.check_open() {
            return status;
        }
        let _entered = db.io.enter();
        match db.engine.snapshot() {
            Ok(snap) => {
                set(ret_seq, snap.seq());
                ret_snap.write(Box::into_raw(Box::new(Snap(snap))));
                OK
            }
            Err(error) => db.blame(Failure::from(error)).status,
        }
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_snapshot_free(snap: *mut Snap) {
    guard_or(EINTERNAL, || {
        if !snap.is_null() {
            drop(Box::from_raw(snap));
        }
        OK
    });
}
