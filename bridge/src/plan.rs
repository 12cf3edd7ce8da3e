//! The arguments of an open, checked: where a database lies, and how it is set up.

use crate::error::Failure;
use crate::ffi::{opt_str, req_str};
use crate::place::Place;
use crate::settings;
use crate::store::{resolve, StoreArgs};
use slatedb::config::Settings;
use std::ffi::c_char;

const QUEUED_BYTES_DEFAULT: u64 = 64 << 20; // SDBX_QUEUED_BYTES_DEFAULT

#[repr(C)]
pub struct OpenArgs {
    pub store: StoreArgs,
    pub wal: StoreArgs,
    pub path: *const c_char,
    pub settings_json: *const c_char,
    pub max_queued_bytes: u64,
    pub tag: u64,
    pub flags: u32,
    pub reserved: u32,
    pub expected_epoch: u64,
}

/// The open takes over from the writer with `expected_epoch` and from no other.
const OPEN_GUARDED: u32 = 1; // SDBX_OPEN_GUARDED

/// The arguments of an open, checked.
pub struct OpenPlan {
    pub place: Place,
    pub settings: Settings,
    pub queued_bytes_max: u64,
    pub tag: u64,
    /// Whose successor the open may be; `None`: anybody's.
    pub expected: Option<u64>,
}

/// # Safety
/// The strings of `args` live for the call.
pub unsafe fn plan(args: &OpenArgs) -> Result<OpenPlan, Failure> {
    if args.flags & !OPEN_GUARDED != 0 {
        return Err(Failure::invalid("open flags: unknown bit"));
    }
    let store = resolve(&args.store)?;
    let wal_store = if args.wal.url.is_null() { None } else { Some(resolve(&args.wal)?) };
    let path = store.locate(req_str(args.path, "path")?)?;
    if path.parts().next().is_none() {
        return Err(Failure::invalid("path: empty, and the store url has no path either"));
    }
    let settings = settings::build(opt_str(args.settings_json, "settings")?.unwrap_or(""), store.kind)?;
    let queued_bytes_max = match args.max_queued_bytes {
        0 => QUEUED_BYTES_DEFAULT,
        bytes => bytes,
    };
    let expected = (args.flags & OPEN_GUARDED != 0).then_some(args.expected_epoch);
    let place = Place { store, wal_store, path };
    Ok(OpenPlan { place, settings, queued_bytes_max, tag: args.tag, expected })
}
