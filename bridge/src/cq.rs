//! The completion queue: many senders, one reader, an eventfd that is readable while events wait.
//!
//! The eventfd is written only when the queue goes from empty to not empty and cleared when a drain empties
//! it, so a burst costs two system calls however long it is.

use crate::buf::Buf;
use crate::env::Env;
use crate::error::{Failure, EINTERNAL, EINVAL, OK};
use crate::ffi::{guard, guard_or};
use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
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
pub const CLOSED_EMPTY: u32 = 1; // SDBX_CLOSED_EMPTY

/// A counted reference on its way to C, or back from it. Of what, the queue need not know.
pub struct Owned {
    ptr: *const c_void,
    release: unsafe fn(*const c_void),
}

// SAFETY: it stands for an `Arc` of something that any thread may have and drop.
unsafe impl Send for Owned {}

unsafe fn release<T>(ptr: *const c_void) {
    drop(Arc::from_raw(ptr.cast::<T>()));
}

impl Owned {
    pub fn new<T: Send + Sync>(of: Arc<T>) -> Owned {
        Owned { ptr: Arc::into_raw(of).cast(), release: release::<T> }
    }

    /// The reference that C has held since it was given one; it ends with this.
    ///
    /// # Safety
    /// C was given one, and this is called once for it.
    pub unsafe fn held_by_c<T: Send + Sync>(of: &Arc<T>) -> Owned {
        Owned { ptr: Arc::as_ptr(of).cast(), release: release::<T> }
    }

    fn give(self) -> *const c_void {
        let ptr = self.ptr;
        std::mem::forget(self);
        ptr
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made from an `Arc` of that type, whose count has one for this.
        unsafe { (self.release)(self.ptr) };
    }
}

/// What an event says about a handle, of a database or of an iterator.
#[derive(Default)]
pub enum HandleRef {
    #[default]
    None,
    /// Names a handle that C holds.
    Lent(usize),
    /// Gives C its handle.
    Gives(Owned),
    /// The last event: the handle C holds ends with it.
    Ends(Owned),
}

impl HandleRef {
    pub fn lent<T>(to: &Arc<T>) -> HandleRef {
        HandleRef::Lent(Arc::as_ptr(to) as usize)
    }

    fn into_raw(self) -> *const c_void {
        match self {
            HandleRef::None => std::ptr::null(),
            HandleRef::Lent(ptr) => ptr as *const c_void,
            HandleRef::Gives(owned) => owned.give(),
            HandleRef::Ends(owned) => owned.ptr, // C may compare the pointer, but not use it
        }
    }
}

#[derive(Default)]
pub struct Event {
    pub kind: u32,
    pub status: i32,
    pub token: u64,
    pub db: HandleRef,
    pub db_tag: u64,
    pub iter: HandleRef,
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
}

#[repr(C)]
pub struct RawEvent {
    pub kind: u32,
    pub status: i32,
    pub token: u64,
    pub db: *const c_void,
    pub db_tag: u64,
    pub iter: *const c_void,
    pub iter_tag: u64,
    pub seq: u64,
    pub nrows: u32,
    pub flags: u32,
    pub epoch: u64,
    pub data: Buf,
}

impl RawEvent {
    fn from(event: Event) -> RawEvent {
        RawEvent {
            kind: event.kind,
            status: event.status,
            token: event.token,
            db: event.db.into_raw(),
            db_tag: event.db_tag,
            iter: event.iter.into_raw(),
            iter_tag: event.iter_tag,
            seq: event.seq,
            nrows: event.nrows,
            flags: event.flags,
            epoch: event.epoch,
            data: Buf::from_vec(event.data),
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
    /// Calls under way that may be ended early, by token: using or dropping the sender ends one.
    enders: Mutex<HashMap<u64, oneshot::Sender<()>>>,
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
            enders: Mutex::new(HashMap::new()),
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
        self.enders().clear();
    }

    fn enders(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        self.enders.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A call begins that may be ended early: it ends when what is returned says so.
    pub fn may_end_early(&self, token: u64) -> oneshot::Receiver<()> {
        let (sender, ends) = oneshot::channel();
        self.enders().insert(token, sender);
        ends
    }

    /// The call of `token` is over.
    pub fn has_ended(&self, token: u64) {
        self.enders().remove(&token);
    }

    /// False: no such call is under way.
    pub fn end_early(&self, token: u64) -> bool {
        self.enders().remove(&token).is_some_and(|sender| sender.send(()).is_ok())
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
                EINTERNAL
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
