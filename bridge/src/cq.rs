//! The completion queue: many senders, one reader, an eventfd that is readable while events wait.
//!
//! The eventfd is written only when the queue goes from empty to not empty and cleared when a drain empties
//! it, so a burst costs two system calls however long it is.

use crate::buf::Buf;
use crate::db::Db;
use crate::env::Env;
use crate::error::{Failure, EINVAL, OK};
use crate::ffi::{guard, guard_or};
use crate::read::Iter;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

pub const EV_OPENED: u32 = 1;
pub const EV_CLOSED: u32 = 2;
pub const EV_APPLIED: u32 = 3;
pub const EV_WRITE_FAILED: u32 = 4;
pub const EV_FLUSHED: u32 = 5;
pub const EV_VALUE: u32 = 6;
pub const EV_ROWS: u32 = 7;
pub const EV_REFRESHED: u32 = 8;
pub const EV_DB_DOWN: u32 = 9;
pub const EV_OBJECT: u32 = 10;

pub const ROWS_MORE: u32 = 1;

/// What an event says about the handle of its database.
#[derive(Default)]
pub enum DbRef {
    #[default]
    None,
    /// Names a handle that C holds.
    Lent(usize),
    /// Gives C its handle.
    Gives(Arc<Db>),
    /// The last event: the handle C holds ends with it.
    Ends(Ending),
}

/// The reference C was given by `DbRef::Gives`, to be let go when the last event leaves the queue.
pub struct Ending(*const Db);

// SAFETY: it stands for an `Arc<Db>`, which may be dropped on any thread.
unsafe impl Send for Ending {}

impl Ending {
    pub fn of(db: &Arc<Db>) -> Ending {
        Ending(Arc::as_ptr(db))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // SAFETY: C holds one reference, and a database ends once.
        unsafe { drop(Arc::from_raw(self.0)) };
    }
}

#[derive(Default)]
pub enum IterRef {
    #[default]
    None,
    Lent(usize),
    Gives(Arc<Iter>),
}

#[derive(Default)]
pub struct Event {
    pub kind: u32,
    pub status: i32,
    pub token: u64,
    pub db: DbRef,
    pub db_tag: u64,
    pub iter: IterRef,
    pub iter_tag: u64,
    pub seq: u64,
    pub nrows: u32,
    pub flags: u32,
    pub epoch: u64,
    pub data: Vec<u8>,
}

impl Event {
    pub fn new(kind: u32, token: u64) -> Self {
        Event { kind, token, ..Event::default() }
    }

    pub fn failed(kind: u32, token: u64, failure: Failure) -> Self {
        Event { kind, token, status: failure.status, data: failure.text.into_bytes(), ..Event::default() }
    }

    pub fn of(mut self, db: &Arc<Db>) -> Self {
        self.db = DbRef::Lent(Arc::as_ptr(db) as usize);
        self.db_tag = db.tag;
        self
    }
}

#[repr(C)]
pub struct RawEvent {
    pub kind: u32,
    pub status: i32,
    pub token: u64,
    pub db: *const Db,
    pub db_tag: u64,
    pub iter: *const Iter,
    pub iter_tag: u64,
    pub seq: u64,
    pub nrows: u32,
    pub flags: u32,
    pub epoch: u64,
    pub data: Buf,
}

impl RawEvent {
    fn from(mut event: Event) -> RawEvent {
        let db = match std::mem::take(&mut event.db) {
            DbRef::None => std::ptr::null(),
            DbRef::Lent(p) => p as *const Db,
            DbRef::Gives(db) => Arc::into_raw(db),
            DbRef::Ends(ending) => ending.0, // C may compare the pointer, but not use it
        };
        let iter = match std::mem::take(&mut event.iter) {
            IterRef::None => std::ptr::null(),
            IterRef::Lent(p) => p as *const Iter,
            IterRef::Gives(iter) => Arc::into_raw(iter),
        };
        RawEvent {
            kind: event.kind,
            status: event.status,
            token: event.token,
            db,
            db_tag: event.db_tag,
            iter,
            iter_tag: event.iter_tag,
            seq: event.seq,
            nrows: event.nrows,
            flags: event.flags,
            epoch: event.epoch,
            data: Buf::from_vec(std::mem::take(&mut event.data)),
        }
    }
}

struct Queue {
    events: VecDeque<Event>,
    signalled: bool,
    closed: bool,
}

pub struct Cq {
    queue: Mutex<Queue>,
    fd: OwnedFd,
    /// Opens under way, by token: dropping or using the sender ends the open early.
    pub opens: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

impl Cq {
    pub fn new() -> std::io::Result<Cq> {
        // SAFETY: plain system call; the descriptor is owned below.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Cq {
            queue: Mutex::new(Queue { events: VecDeque::new(), signalled: false, closed: false }),
            // SAFETY: a fresh descriptor nobody else owns.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            opens: Mutex::new(HashMap::new()),
        })
    }

    pub fn push(&self, event: Event) {
        let mut queue = self.queue.lock().unwrap_or_else(|e| e.into_inner());
        if queue.closed {
            drop(queue); // the event frees what it carries outside the lock
            return;
        }
        queue.events.push_back(event);
        if !queue.signalled {
            queue.signalled = true;
            let one: u64 = 1;
            // SAFETY: 8 bytes from a live u64. A full counter means it is readable already.
            unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    fn take(&self, max: usize, mut each: impl FnMut(usize, Event)) -> usize {
        let mut queue = self.queue.lock().unwrap_or_else(|e| e.into_inner());
        let n = queue.events.len().min(max);
        let mut taken: Vec<Event> = queue.events.drain(..n).collect();
        if queue.events.is_empty() && queue.signalled {
            queue.signalled = false;
            let mut count: u64 = 0;
            // SAFETY: 8 bytes into a live u64; the descriptor does not block.
            unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
        }
        drop(queue);
        for (i, event) in taken.drain(..).enumerate() {
            each(i, event);
        }
        n
    }

    fn close(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(|e| e.into_inner());
        queue.closed = true;
        let rest = std::mem::take(&mut queue.events);
        drop(queue);
        drop(rest);
        self.opens.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_cq_new(env: *const Env, ret_cq: *mut *const Cq) -> i32 {
    guard(|| {
        if env.is_null() || ret_cq.is_null() {
            return EINVAL;
        }
        match Cq::new() {
            Ok(cq) => {
                ret_cq.write(Arc::into_raw(Arc::new(cq)));
                OK
            }
            Err(error) => {
                log::error!("eventfd: {error}");
                crate::error::EINTERNAL
            }
        }
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_cq_free(cq: *const Cq) {
    guard_or((), || {
        if !cq.is_null() {
            let cq = Arc::from_raw(cq);
            cq.close();
        }
    });
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_cq_fd(cq: *const Cq) -> i32 {
    cq.as_ref().map_or(-1, |cq| cq.fd.as_raw_fd())
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_cq_drain(cq: *const Cq, ret_events: *mut RawEvent, max: usize) -> usize {
    guard_or(0, || match cq.as_ref() {
        Some(cq) if !ret_events.is_null() && max > 0 => {
            cq.take(max, |i, event| ret_events.add(i).write(RawEvent::from(event)))
        }
        _ => 0,
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_cq_wait(
    cq: *const Cq,
    ret_events: *mut RawEvent,
    max: usize,
    timeout_ms: u32,
) -> usize {
    let n = sdbx_cq_drain(cq, ret_events, max);
    if n > 0 || cq.is_null() || ret_events.is_null() || max == 0 {
        return n;
    }
    let timeout = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
    let mut poll = libc::pollfd { fd: (*cq).fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    libc::poll(&raw mut poll, 1, timeout);
    sdbx_cq_drain(cq, ret_events, max)
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_open_cancel(cq: *const Cq, token: u64) -> i32 {
    guard(|| {
        let Some(cq) = cq.as_ref() else { return EINVAL };
        let sender = cq.opens.lock().unwrap_or_else(|e| e.into_inner()).remove(&token);
        match sender {
            Some(sender) => {
                let _ = sender.send(());
                OK
            }
            None => crate::error::ENOTFOUND,
        }
    })
}

#[no_mangle]
pub extern "C" fn sdbx_strerror(status: i32) -> *const std::ffi::c_char {
    crate::error::status_text(status).as_ptr().cast()
}
