//! Engine log lines, kept in a bounded ring until C drains them. One per process, as the `log` crate is.

use crate::buf::Buf;
use crate::ffi::{guard_or, set};
use crate::os_clock::wall_ms;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Mutex;

const LINES_MAX: usize = 4096; // SDBX_LOG_LINES_MAX
const LINE_BYTES_MAX: usize = 4096;

struct Line {
    level: u32,
    time_ms: i64,
    text: String,
}

struct Ring {
    lines: VecDeque<Line>,
    lost: u64,
}

static RING: Mutex<Ring> = Mutex::new(Ring { lines: VecDeque::new(), lost: 0 });

struct RingLog;

impl Log for RingLog {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // Only the engine, the store below it, and ourselves: the HTTP stack is chatty at debug.
        let target = metadata.target();
        metadata.level() <= Level::Warn
            || ["slatedb", "object_store", "sdbx"].iter().any(|name| target.starts_with(name))
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut text = format!("{}: {}", record.target(), record.args());
        if text.len() > LINE_BYTES_MAX {
            let cut = (0..=LINE_BYTES_MAX).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            text.truncate(cut);
        }
        push(level_number(record.level()), text);
    }

    fn flush(&self) {}
}

fn level_number(level: Level) -> u32 {
    match level {
        Level::Error => 1,
        Level::Warn => 2,
        Level::Info => 3,
        Level::Debug => 4,
        Level::Trace => 5,
    }
}

fn push(level: u32, text: String) {
    let line = Line { level, time_ms: wall_ms(), text };
    let mut ring = RING.lock().unwrap_or_else(|e| e.into_inner());
    if ring.lines.len() == LINES_MAX {
        ring.lines.pop_front();
        ring.lost += 1;
    }
    ring.lines.push_back(line);
}

/// Also used when another logger is installed (tests): then only the level changes.
pub fn install(level: LevelFilter) {
    let _ = log::set_logger(&RingLog);
    log::set_max_level(level);
}

#[repr(C)]
pub struct LogLine {
    pub level: u32,
    pub reserved: u32,
    pub time_ms: i64,
    pub text: Buf,
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_log_drain(
    _env: *const c_void, // the log is the process's, so the environment is not looked at
    ret_lines: *mut LogLine,
    max: usize,
    ret_lost: *mut u64,
) -> usize {
    guard_or(0, || {
        let mut ring = RING.lock().unwrap_or_else(|e| e.into_inner());
        set(ret_lost, std::mem::take(&mut ring.lost));
        if ret_lines.is_null() {
            return 0;
        }
        let n = ring.lines.len().min(max);
        for (i, line) in ring.lines.drain(..n).enumerate() {
            ret_lines.add(i).write(LogLine {
                level: line.level,
                reserved: 0,
                time_ms: line.time_ms,
                text: Buf::from_vec(line.text.into_bytes()),
            });
        }
        n
    })
}
