//! Helpers for the extern "C" bodies: panics stop here, C strings and pointers are checked here.

use crate::buf::Buf;
use crate::error::{Failure, EINTERNAL, EINVAL, OK};
use std::any::Any;
use std::ffi::{c_char, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// Runs the body of a call; a panic becomes SDBX_EINTERNAL, its text an error line in the log ring.
pub fn guard(body: impl FnOnce() -> i32) -> i32 {
    guard_or(EINTERNAL, body)
}

pub fn guard_or<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            log::error!("panic in a bridge call: {}", panic_text(payload.as_ref()));
            fallback
        }
    }
}

pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_string();
    }
    if let Some(text) = payload.downcast_ref::<String>() {
        return text.clone();
    }
    "no text".to_string()
}

/// Status of a call that can only say a number; the text goes to the log ring.
pub fn status_of(result: Result<(), Failure>) -> i32 {
    match result {
        Ok(()) => OK,
        Err(failure) => {
            log::warn!("call refused: {}", failure.text);
            failure.status
        }
    }
}

/// # Safety
/// `p` is NULL or a NUL-terminated string that lives for the call.
pub unsafe fn opt_str<'a>(p: *const c_char, what: &str) -> Result<Option<&'a str>, Failure> {
    if p.is_null() {
        return Ok(None);
    }
    match CStr::from_ptr(p).to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Failure::invalid(format!("{what} is not UTF-8"))),
    }
}

/// # Safety
/// As for `opt_str`.
pub unsafe fn req_str<'a>(p: *const c_char, what: &str) -> Result<&'a str, Failure> {
    opt_str(p, what)?.ok_or_else(|| Failure::invalid(format!("{what} is missing")))
}

/// # Safety
/// `p` is valid for `len` bytes for the call, or len is 0.
pub unsafe fn slice<'a>(p: *const u8, len: usize) -> Result<&'a [u8], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if p.is_null() || len > isize::MAX as usize {
        return Err(Failure::invalid("a pointer is missing"));
    }
    Ok(std::slice::from_raw_parts(p, len))
}

/// # Safety
/// `out` is NULL or valid for a write.
pub unsafe fn set<T>(out: *mut T, value: T) {
    if !out.is_null() {
        out.write(value);
    }
}

/// # Safety
/// `err` is NULL or valid for a write.
pub unsafe fn set_text(err: *mut Buf, text: String) {
    if !err.is_null() {
        err.write(Buf::from_vec(text.into_bytes()));
    }
}

/// # Safety
/// `p` is NULL or points to a live T for the call.
pub unsafe fn handle<'a, T>(p: *const T) -> Result<&'a T, i32> {
    p.as_ref().ok_or(EINVAL)
}

/// Another reference to what is behind a handle.
///
/// # Safety
/// `p` is NULL or a live handle that was made by `Arc::into_raw`.
pub unsafe fn counted<T>(p: *const T) -> Option<Arc<T>> {
    if p.is_null() {
        return None;
    }
    Arc::increment_strong_count(p);
    Some(Arc::from_raw(p))
}
