//! C ABI over SlateDB; the contract is include/sdbx.h and include/sdbx_toml.h.
//!
//! Mechanism only: grouping, pacing, retries of our own and their limits are decided in C. No thread of ours
//! ever calls into C; results wait in a completion queue.

mod activity;
pub mod admin;
pub mod buf;
mod clock;
pub mod clone;
pub mod close;
mod compaction;
pub mod cq;
pub mod db;
mod engine;
pub mod env;
pub mod error;
mod ffi;
pub mod flush;
pub mod info;
pub mod logring;
pub mod metrics;
pub mod objects;
pub mod open;
mod os_clock;
pub mod place;
pub mod plan;
pub mod read;
mod requests;
mod rows;
mod settings;
mod spelling;
pub mod store;
pub mod toml_json;
mod trouble;
mod until;
mod wal_log;
mod watch;
pub mod write;

const ABI_VERSION: u32 = 5; // SDBX_ABI_VERSION

#[no_mangle]
pub extern "C" fn sdbx_abi_version() -> u32 {
    ABI_VERSION
}

/// The engine's version as pinned in Cargo.toml.
#[no_mangle]
pub extern "C" fn sdbx_engine_version() -> *const std::ffi::c_char {
    c"slatedb 0.18.0".as_ptr()
}
