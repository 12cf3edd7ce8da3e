//! The process-wide environment: two tokio runtimes and the caches all databases share.
//!
//! The io runtime has two threads even on two cores: building an L0 file must never hold up the WAL. Compaction and
//! collection run on a runtime of their own as batch work: it never interrupts another thread, but has its fair share of
//! the processors when it needs it (compaction/pace.rs). With less it would fall behind on a busy machine, until the
//! engine stops taking writes for want of it. All threads block all signals, so that C's handlers run on C's threads
//! only.

use crate::buf::Buf;
use crate::compaction::Account;
use crate::error::{Failure, EINVAL, OK};
use crate::ffi::{guard, guard_or, set_text, slice};
use crate::logring;
use log::LevelFilter;
use serde_json::Value;
use slatedb::db_cache::moka::{MokaCache, MokaCacheOptions};
use slatedb::db_cache::{DbCache, SplitCache};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};

const BG_STOP_MAX: Duration = Duration::from_secs(2);
const IO_STOP_MAX: Duration = Duration::from_secs(3);
const BLOCKING_THREADS_MAX: usize = 64;
const THREADS_MAX: u64 = 256;

pub struct Env {
    io: Option<Runtime>,
    bg: Option<Runtime>,
    pub cache: Arc<dyn DbCache>,
    pub merging: Account,
}

struct EnvArgs {
    io_threads: u64,
    bg_threads: u64,
    cache_bytes: u64,
    meta_bytes: u64,
    log_level: LevelFilter,
}

impl EnvArgs {
    fn parse(json: &[u8]) -> Result<EnvArgs, Failure> {
        let mut args = EnvArgs {
            io_threads: 2,
            bg_threads: 1,
            cache_bytes: 256 << 20,
            meta_bytes: 128 << 20,
            log_level: LevelFilter::Warn,
        };
        if json.is_empty() {
            return Ok(args);
        }
        let value: Value = serde_json::from_slice(json)
            .map_err(|e| Failure::invalid(format!("environment: not JSON: {e}")))?;
        let Value::Object(map) = value else {
            return Err(Failure::invalid("environment: not a JSON object"));
        };
        for (key, value) in &map {
            let number = || {
                value.as_u64().ok_or_else(|| Failure::invalid(format!("environment: {key} is not a number")))
            };
            match key.as_str() {
                "io_threads" => args.io_threads = number()?,
                "bg_threads" => args.bg_threads = number()?,
                "cache_bytes" => args.cache_bytes = number()?,
                "meta_bytes" => args.meta_bytes = number()?,
                "log_level" => {
                    args.log_level = value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
                        Failure::invalid(
                            "environment: log_level is not off, error, warn, info, debug or trace",
                        )
                    })?;
                }
                _ => return Err(Failure::invalid(format!("environment: unknown key {key}"))),
            }
        }
        for (what, threads) in [("io_threads", args.io_threads), ("bg_threads", args.bg_threads)] {
            if threads == 0 || threads > THREADS_MAX {
                return Err(Failure::invalid(format!("environment: {what} must be 1..{THREADS_MAX}")));
            }
        }
        Ok(args)
    }
}

fn block_signals() {
    // SAFETY: the set is filled before it is used; only this thread's mask changes.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

fn run_as_batch_work() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 means the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority) };
}

fn runtime(name: &str, threads: u64, background: bool) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads as usize)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name(name)
        .on_thread_start(move || {
            block_signals();
            if background {
                run_as_batch_work();
            }
        })
        .enable_all()
        .build()
}

fn moka(bytes: u64) -> Option<Arc<dyn DbCache>> {
    if bytes == 0 {
        return None;
    }
    let options = MokaCacheOptions { max_capacity: bytes, time_to_live: None, time_to_idle: None };
    Some(Arc::new(MokaCache::new_with_opts(options)))
}

impl Env {
    pub fn new(json: &[u8]) -> Result<Env, Failure> {
        let args = EnvArgs::parse(json)?;
        logring::install(args.log_level);
        let failed =
            |e: std::io::Error| Failure::new(crate::error::EINTERNAL, format!("cannot start threads: {e}"));
        let io = runtime("sdbx-io", args.io_threads, false).map_err(failed)?;
        let bg = runtime("sdbx-bg", args.bg_threads, true).map_err(failed)?;
        let cache = SplitCache::new()
            .with_block_cache(moka(args.cache_bytes))
            .with_meta_cache(moka(args.meta_bytes))
            .build();
        let merging = Arc::new(Mutex::new(Instant::now()));
        Ok(Env { io: Some(io), bg: Some(bg), cache: Arc::new(cache), merging })
    }

    pub fn io(&self) -> &Handle {
        self.io.as_ref().expect("runtime lives as long as the environment").handle()
    }

    pub fn bg(&self) -> &Handle {
        self.bg.as_ref().expect("runtime lives as long as the environment").handle()
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if let Some(bg) = self.bg.take() {
            bg.shutdown_timeout(BG_STOP_MAX);
        }
        if let Some(io) = self.io.take() {
            io.shutdown_timeout(IO_STOP_MAX);
        }
    }
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_env_new(
    json: *const u8,
    json_len: usize,
    ret_env: *mut *mut Env,
    err: *mut Buf,
) -> i32 {
    guard(|| {
        if ret_env.is_null() {
            return EINVAL;
        }
        match slice(json, json_len).and_then(Env::new) {
            Ok(env) => {
                ret_env.write(Box::into_raw(Box::new(env)));
                OK
            }
            Err(failure) => {
                set_text(err, failure.text);
                failure.status
            }
        }
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_env_free(env: *mut Env) {
    guard_or((), || {
        if !env.is_null() {
            drop(Box::from_raw(env));
        }
    });
}
