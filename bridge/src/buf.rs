//! Memory that crosses the ABI: a `Vec<u8>` taken apart, so that it turns into `Bytes` without a copy.

use bytes::Bytes;
use std::mem::ManuallyDrop;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Buf {
    pub p: *mut u8,
    pub len: usize,
    pub cap: usize,
}

impl Buf {
    pub const EMPTY: Buf = Buf { p: std::ptr::null_mut(), len: 0, cap: 0 };

    pub fn from_vec(vec: Vec<u8>) -> Buf {
        if vec.capacity() == 0 {
            return Buf::EMPTY;
        }
        let mut vec = ManuallyDrop::new(vec);
        Buf { p: vec.as_mut_ptr(), len: vec.len(), cap: vec.capacity() }
    }

    /// False for a descriptor that no `from_vec` can have made.
    pub fn is_sane(&self) -> bool {
        self.len <= self.cap && (self.p.is_null() == (self.cap == 0))
    }

    /// # Safety
    /// The buffer came from this library, is sane, and is not used afterwards.
    pub unsafe fn into_vec(self) -> Vec<u8> {
        if self.p.is_null() {
            return Vec::new();
        }
        Vec::from_raw_parts(self.p, self.len, self.cap)
    }

    /// # Safety
    /// As for `into_vec`.
    pub unsafe fn into_bytes(self) -> Bytes {
        Bytes::from(self.into_vec())
    }

    /// # Safety
    /// The buffer is sane and stays alive and unchanged while the slice is used.
    pub unsafe fn as_slice<'a>(&self) -> &'a [u8] {
        if self.p.is_null() {
            return &[];
        }
        std::slice::from_raw_parts(self.p, self.len)
    }
}

#[no_mangle]
pub extern "C" fn sdbx_buf_alloc(cap: usize) -> Buf {
    let mut vec: Vec<u8> = Vec::new();
    match vec.try_reserve_exact(cap) {
        Ok(()) => Buf::from_vec(vec),
        Err(_) => Buf::EMPTY,
    }
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_buf_free(buf: Buf) {
    if buf.is_sane() {
        drop(buf.into_vec());
    }
}
