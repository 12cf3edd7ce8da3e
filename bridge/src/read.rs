//! Reads: point look-ups, multi-gets, scans page by page, snapshots.
//!
//! A snapshot is lent to whoever reads it: its reads are answered on the queue it was taken for and name no database,
//! whose handle may be gone by then.
//!
//! A few look-ups are first polled on the caller's thread: what is in memory, or is ruled out by a filter, is
//! answered without a hop. What has to wait goes on as a task.

use crate::cq::{Cq, Event, HandleRef, Owned, EV_ROWS, EV_VALUE, ROWS_MORE};
use crate::db::{Db, GivenUp, ReadGuard};
use crate::error::{Failure, EINVAL, ENOTFOUND, OK};
use crate::ffi::{counted, guard, guard_or, set, slice, status_of};
use crate::rows::put_row;
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

/// One moment of a database, and whom its reads are answered.
struct Moment {
    db: Arc<Db>,
    view: Arc<DbSnapshot>,
    cq: Arc<Cq>,
}

pub struct Snap(Arc<Moment>);

/// Where a read looks: a snapshot, or the newest state.
#[derive(Clone)]
enum Source {
    Newest(Arc<Db>),
    Snapshot(Arc<Moment>),
}

impl Source {
    /// None unless exactly one of both is given.
    unsafe fn of(db: *const Db, snap: *const Snap) -> Option<Source> {
        match (counted(db), snap.as_ref()) {
            (Some(db), None) => Some(Source::Newest(db)),
            (None, Some(snap)) => Some(Source::Snapshot(snap.0.clone())),
            _ => None,
        }
    }

    fn db(&self) -> &Arc<Db> {
        match self {
            Source::Newest(db) => db,
            Source::Snapshot(moment) => &moment.db,
        }
    }

    fn answer(&self, event: Event) {
        match self {
            Source::Newest(db) => db.answer(event),
            Source::Snapshot(moment) => moment.cq.push(event),
        }
    }

    async fn get(&self, key: &Bytes, options: &ReadOptions) -> Result<Option<Bytes>, Failure> {
        let value = match self {
            Source::Newest(db) => db.engine.get_with_options(key, options).await,
            Source::Snapshot(moment) => moment.view.get_with_options(key, options).await,
        };
        Ok(value?)
    }

    async fn scan(&self, range: Range, options: &ScanOptions) -> Result<DbIterator, Failure> {
        let iter = match self {
            Source::Newest(db) => db.engine.scan_with_options(range, options).await,
            Source::Snapshot(moment) => moment.view.scan_with_options(range, options).await,
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

/// What the event of a read will say whatever happens.
struct Answer {
    kind: u32,
    token: u64,
    tag: u64,
}

/// Runs `work` to its event. With `inline` it is polled once here first.
fn drive(
    source: Source,
    reading: ReadGuard,
    answer: Answer,
    inline: bool,
    work: impl Future<Output = Result<Event, Failure>> + Send + 'static,
) {
    let io = source.db().io.clone();
    let mut whole = Box::pin(async move {
        let db = source.db();
        let mut event = match db.unless_given_up(GivenUp::All, work).await {
            Ok(event) => event,
            Err(failure) => Event::failed(answer.kind, answer.token, db.blame(failure)),
        };
        event.iter_tag = answer.tag;
        source.answer(event);
        drop(reading);
    });
    if inline {
        let _entered = io.enter();
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(()) = whole.poll_unpin(&mut context) {
            return;
        }
    }
    io.spawn(whole);
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
        let Some(source) = Source::of(db, snap) else { return EINVAL };
        let Ok(key) = slice(key, key_len) else { return EINVAL };
        if key.is_empty() || key.len() > usize::from(u16::MAX) || flags & !READ_DURABLE != 0 {
            return EINVAL;
        }
        let reading = match source.db().begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        let (key, place) = (Bytes::copy_from_slice(key), source.clone());
        drive(source, reading, Answer { kind: EV_VALUE, token, tag: 0 }, true, async move {
            match place.get(&key, &read_options(flags)).await? {
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
        let Some(source) = Source::of(db, snap) else { return EINVAL };
        if flags & !READ_DURABLE != 0 {
            return EINVAL;
        }
        let keys = match slice(keys, keys_len).and_then(|packed| parse_keys(packed, nkeys)) {
            Ok(keys) => keys,
            Err(failure) => return status_of(Err(failure)),
        };
        let reading = match source.db().begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        let inline = keys.len() <= INLINE_KEYS_MAX;
        let answer = Answer { kind: EV_ROWS, token, tag: 0 };
        let work = get_all(source.clone(), keys, read_options(flags), token);
        drive(source, reading, answer, inline, work);
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
    source: Source,
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

fn first_page_event(source: Source, page: Page, tag: u64, token: u64) -> Event {
    let mut event = Event { data: page.data, nrows: page.nrows, ..Event::new(EV_ROWS, token) };
    if let Some(cursor) = page.rest {
        event.flags = ROWS_MORE;
        let iter = Iter { source, tag, cursor: Mutex::new(Some(cursor)) };
        event.iter = HandleRef::Gives(Owned::new(Arc::new(iter)));
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
        let (Some(source), Some(args)) = (Source::of(db, snap), args.as_ref()) else { return EINVAL };
        if args.flags & !(READ_DURABLE | SCAN_DESC | SCAN_KEYS_ONLY | SCAN_CACHE) != 0 {
            return EINVAL;
        }
        let Ok(range) = scan_range(args) else { return EINVAL };
        let reading = match source.db().begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        let options = scan_options(args);
        let keys_only = args.flags & SCAN_KEYS_ONLY != 0;
        let bounds = Bounds::new(args.max_rows, args.max_bytes);
        let (place, tag) = (source.clone(), args.tag);
        drive(source, reading, Answer { kind: EV_ROWS, token, tag }, false, async move {
            if is_empty(&range) {
                return Ok(Event::new(EV_ROWS, token));
            }
            let iter = place.scan(range, &options).await?;
            let page = read_page(iter, None, keys_only, bounds).await?;
            Ok(first_page_event(place, page, tag, token))
        });
        OK
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_iter_next(iter: *const Iter, max_rows: u32, max_bytes: u64, token: u64) -> i32 {
    guard(|| {
        let Some(iter) = counted(iter) else { return EINVAL };
        let source = iter.source.clone();
        let reading = match source.db().begin_read() {
            Ok(reading) => reading,
            Err(status) => return status,
        };
        let Some(cursor) = iter.cursor.lock().unwrap_or_else(|e| e.into_inner()).take() else {
            return EINVAL; // at its end, failed, or a next is under way
        };
        let answer = Answer { kind: EV_ROWS, token, tag: iter.tag };
        drive(source, reading, answer, false, async move {
            let bounds = Bounds::new(max_rows, max_bytes);
            let page = read_page(cursor.iter, Some(cursor.ahead), cursor.keys_only, bounds).await?;
            let mut event = Event { data: page.data, nrows: page.nrows, ..Event::new(EV_ROWS, token) };
            if page.rest.is_some() {
                event.flags = ROWS_MORE;
                event.iter = HandleRef::lent(&iter);
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
            let iter = Arc::from_raw(iter);
            let io = iter.source.db().io.clone();
            let _entered = io.enter(); // what the engine drops may want its runtime
            drop(iter);
        }
    });
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_snapshot(
    db: *const Db,
    cq: *const Cq,
    ret_snap: *mut *mut Snap,
    ret_seq: *mut u64,
) -> i32 {
    guard(|| {
        let (Some(db), Some(cq), false) = (counted(db), counted(cq), ret_snap.is_null()) else {
            return EINVAL;
        };
        if let Err(status) = db.check_open() {
            return status;
        }
        let _entered = db.io.enter();
        match db.engine.snapshot() {
            Ok(view) => {
                set(ret_seq, view.seq());
                let moment = Arc::new(Moment { db: db.clone(), view, cq });
                ret_snap.write(Box::into_raw(Box::new(Snap(moment))));
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
    guard_or((), || {
        if !snap.is_null() {
            let snap = Box::from_raw(snap);
            let io = snap.0.db.io.clone();
            let _entered = io.enter(); // as above
            drop(snap);
        }
    });
}
