//! A caller of the C ABI, as C would be: handles, tokens, one queue, events awaited with a deadline.
#![allow(dead_code)]

use sdbx::buf::{sdbx_buf_alloc, sdbx_buf_free, Buf};
use sdbx::close::sdbx_close;
use sdbx::cq::{sdbx_cq_free, sdbx_cq_new, sdbx_cq_wait, Cq, RawEvent};
use sdbx::db::Db;
use sdbx::env::{sdbx_env_free, sdbx_env_new, Env};
use sdbx::flush::sdbx_flush;
use sdbx::metrics::sdbx_metrics;
use sdbx::open::sdbx_open;
use sdbx::plan::OpenArgs;
use sdbx::read::{sdbx_get, sdbx_mget, sdbx_scan, sdbx_snapshot, Iter, ScanArgs, Snap};
use sdbx::store::StoreArgs;
use sdbx::write::sdbx_write;
use std::collections::VecDeque;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::ptr::null;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub const FSYNC: u32 = 1;
pub const LOG: u32 = 2;
pub const WAL: i32 = 1;
pub const MEMTABLE: i32 = 2;
pub const NO_FLUSH: i32 = 0;
pub const TAG: u64 = 4711; // of every open
pub const DEADLINE: Duration = Duration::from_secs(60);

/// An event whose data was copied out and freed.
#[derive(Debug)]
pub struct Got {
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
    pub data: Vec<u8>,
}

impl Got {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    pub fn rows(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut rows = Vec::new();
        let mut rest = &self.data[..];
        while !rest.is_empty() {
            let klen = u16::from_le_bytes([rest[0], rest[1]]) as usize;
            let vlen = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]);
            let key = rest[8..8 + klen].to_vec();
            rest = &rest[8 + klen..];
            if vlen == u32::MAX {
                rows.push((key, None));
            } else {
                rows.push((key, Some(rest[..vlen as usize].to_vec())));
                rest = &rest[vlen as usize..];
            }
        }
        assert_eq!(rows.len(), self.nrows as usize);
        rows
    }

    pub fn keys(&self) -> Vec<String> {
        self.rows().into_iter().map(|(k, _)| String::from_utf8(k).unwrap()).collect()
    }
}

pub struct Caller {
    pub env: *mut Env,
    pub cq: *const Cq,
    owns_env: bool,
    pending: VecDeque<Got>,
    next_token: u64,
}

#[derive(Clone)]
pub struct Spec {
    pub url: String,
    pub opts: String,
    pub flags: u32,
    pub path: String,
    pub settings: String,
    pub max_queued_bytes: u64,
    pub wal_url: Option<String>,
}

pub fn spec(url: &str, path: &str) -> Spec {
    Spec {
        url: url.to_string(),
        opts: String::new(),
        flags: 0,
        path: path.to_string(),
        settings: String::new(),
        max_queued_bytes: 0,
        wal_url: None,
    }
}

pub fn put(key: &str, value: &[u8]) -> Vec<u8> {
    op(0, key.as_bytes(), value)
}

pub fn del(key: &str) -> Vec<u8> {
    op(1, key.as_bytes(), b"")
}

pub fn op(kind: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend((key.len() as u16).to_le_bytes());
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(key);
    out.extend(value);
    out
}

pub fn buf_of(bytes: &[u8]) -> Buf {
    let mut buf = sdbx_buf_alloc(bytes.len());
    // SAFETY: the buffer has room for the bytes.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buf.p, bytes.len()) };
    buf.len = bytes.len();
    buf
}

pub fn take_text(buf: Buf) -> String {
    // SAFETY: a buffer from the library, freed once.
    unsafe {
        let text = String::from_utf8_lossy(buf.as_slice()).into_owned();
        sdbx_buf_free(buf);
        text
    }
}

impl Caller {
    pub fn new() -> Caller {
        let json = br#"{"cache_bytes":16777216,"meta_bytes":8388608,"log_level":"warn"}"#;
        let mut env = std::ptr::null_mut();
        let mut err = Buf::EMPTY;
        let mut cq = null();
        unsafe {
            assert_eq!(sdbx_env_new(json.as_ptr(), json.len(), &mut env, &mut err), 0);
            assert_eq!(sdbx_cq_new(env, &mut cq), 0);
        }
        Caller { env, cq, owns_env: true, pending: VecDeque::new(), next_token: 1 }
    }

    /// Another caller in the same environment, with a queue of its own.
    pub fn second(&self) -> Caller {
        let mut cq = null();
        unsafe { assert_eq!(sdbx_cq_new(self.env, &mut cq), 0) };
        Caller { env: self.env, cq, owns_env: false, pending: VecDeque::new(), next_token: 1 << 32 }
    }

    pub fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn pump(&mut self, timeout: Duration) {
        let mut raw: [MaybeUninit<RawEvent>; 64] = [const { MaybeUninit::uninit() }; 64];
        let ms = timeout.as_millis() as u32;
        let n = unsafe { sdbx_cq_wait(self.cq, raw.as_mut_ptr().cast(), 64, ms) };
        for slot in raw.iter().take(n) {
            let event = unsafe { slot.assume_init_read() };
            let data = unsafe { event.data.as_slice().to_vec() };
            unsafe { sdbx_buf_free(event.data) };
            self.pending.push_back(Got {
                kind: event.kind,
                status: event.status,
                token: event.token,
                db: event.db.cast(),
                db_tag: event.db_tag,
                iter: event.iter.cast(),
                iter_tag: event.iter_tag,
                seq: event.seq,
                nrows: event.nrows,
                flags: event.flags,
                epoch: event.epoch,
                data,
            });
        }
    }

    pub fn wait_for(&mut self, wanted: impl Fn(&Got) -> bool) -> Got {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(i) = self.pending.iter().position(&wanted) {
                return self.pending.remove(i).unwrap();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such event; pending: {:?}", self.pending);
            self.pump(left.min(Duration::from_millis(500)));
        }
    }

    pub fn wait(&mut self, token: u64) -> Got {
        self.wait_for(|got| got.token == token && got.kind != sdbx::cq::EV_DB_DOWN)
    }

    /// Everything that arrives within the time, in order.
    pub fn drain_for(&mut self, time: Duration) -> Vec<Got> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.pending.drain(..).collect();
            }
            self.pump(left);
        }
    }

    pub fn take_order(&mut self, n: usize) -> Vec<Got> {
        let end = Instant::now() + DEADLINE;
        while self.pending.len() < n {
            assert!(Instant::now() < end, "only {} of {n} events came", self.pending.len());
            self.pump(Duration::from_millis(500));
        }
        self.pending.drain(..).collect()
    }

    pub fn start_open(&mut self, spec: &Spec) -> u64 {
        let token = self.token();
        with_args(spec, |args| unsafe {
            assert_eq!(sdbx_open(self.env, self.cq, args, token), 0);
        });
        token
    }

    pub fn try_open(&mut self, spec: &Spec) -> Got {
        let token = self.start_open(spec);
        self.wait(token)
    }

    pub fn open(&mut self, spec: &Spec) -> *const Db {
        let got = self.try_open(spec);
        assert_eq!(got.status, 0, "{}", got.text());
        assert!(!got.db.is_null());
        got.db
    }

    pub fn close(&mut self, db: *const Db, flush: i32) -> Got {
        let token = self.token();
        unsafe { assert_eq!(sdbx_close(db, flush, 30_000, token), 0) };
        let got = self.wait(token);
        assert_eq!(got.kind, sdbx::cq::EV_CLOSED);
        got
    }

    /// Buffers of operations; the call must be accepted. Returns the token.
    pub fn start_write(&mut self, db: *const Db, parts: &[Vec<u8>], nops: u32) -> u64 {
        let token = self.token();
        let bufs: Vec<Buf> = parts.iter().map(|part| buf_of(part)).collect();
        unsafe { assert_eq!(sdbx_write(db, bufs.as_ptr(), bufs.len(), nops, token), 0) };
        token
    }

    pub fn write(&mut self, db: *const Db, ops: &[Vec<u8>]) -> Got {
        let token = self.start_write(db, &[ops.concat()], ops.len() as u32);
        self.wait(token)
    }

    pub fn flush(&mut self, db: *const Db, what: i32) -> Got {
        let token = self.token();
        unsafe { assert_eq!(sdbx_flush(db, what, token), 0) };
        self.wait(token)
    }

    pub fn get(&mut self, db: *const Db, snap: *const Snap, key: &str) -> Option<Vec<u8>> {
        let token = self.token();
        unsafe { assert_eq!(sdbx_get(db, snap, key.as_ptr(), key.len(), 0, token), 0) };
        let got = self.wait(token);
        match got.status {
            0 => Some(got.data),
            -3 => None,
            _ => panic!("get: {} {}", got.status, got.text()),
        }
    }

    pub fn mget(&mut self, db: *const Db, snap: *const Snap, keys: &[&str]) -> Got {
        let token = self.token();
        let mut packed = Vec::new();
        for key in keys {
            packed.extend((key.len() as u16).to_le_bytes());
            packed.extend(key.as_bytes());
        }
        unsafe {
            assert_eq!(sdbx_mget(db, snap, packed.as_ptr(), packed.len(), keys.len() as u32, 0, token), 0);
        }
        self.wait(token)
    }

    /// Its reads are answered here.
    pub fn snapshot(&mut self, db: *const Db) -> (*mut Snap, u64) {
        let (mut snap, mut seq) = (std::ptr::null_mut(), 0);
        assert_eq!(unsafe { sdbx_snapshot(db, self.cq, &mut snap, &mut seq) }, 0);
        (snap, seq)
    }

    /// One of the database's metrics.
    pub fn metric(&self, db: *const Db, name: &str) -> f64 {
        let mut buf = Buf::EMPTY;
        assert_eq!(unsafe { sdbx_metrics(db, null(), 0, &mut buf) }, 0);
        let text = take_text(buf);
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1)).expect(name).parse().unwrap()
    }

    pub fn scan(
        &mut self,
        db: *const Db,
        snap: *const Snap,
        lo: &str,
        hi: &str,
        flags: u32,
        max_rows: u32,
    ) -> Got {
        let token = self.token();
        let args = ScanArgs {
            lo: lo.as_ptr(),
            lo_len: lo.len(),
            hi: hi.as_ptr(),
            hi_len: hi.len(),
            flags,
            max_rows,
            max_bytes: 0,
            read_ahead_bytes: 0,
            tag: 5,
        };
        unsafe { assert_eq!(sdbx_scan(db, snap, &args, token), 0) };
        let got = self.wait(token);
        assert_eq!(got.status, 0, "{}", got.text());
        got
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        unsafe {
            sdbx_cq_free(self.cq);
            if self.owns_env {
                sdbx_env_free(self.env);
            }
        }
    }
}

pub fn with_args<T>(spec: &Spec, call: impl FnOnce(&OpenArgs) -> T) -> T {
    with_expected(spec, None, call)
}

/// `expected`: the epoch of the writer it is about.
pub fn with_expected<T>(spec: &Spec, expected: Option<u64>, call: impl FnOnce(&OpenArgs) -> T) -> T {
    let text = |s: &str| CString::new(s).unwrap();
    let (url, opts, path) = (text(&spec.url), text(&spec.opts), text(&spec.path));
    let (settings, wal_url) = (text(&spec.settings), spec.wal_url.as_deref().map(text));
    let wal = StoreArgs {
        url: wal_url.as_ref().map_or(null(), |url| url.as_ptr()),
        opts_json: null(),
        flags: spec.flags,
        reserved: 0,
    };
    call(&OpenArgs {
        store: StoreArgs { url: url.as_ptr(), opts_json: opts.as_ptr(), flags: spec.flags, reserved: 0 },
        wal,
        path: path.as_ptr(),
        settings_json: settings.as_ptr(),
        max_queued_bytes: spec.max_queued_bytes,
        tag: TAG,
        flags: u32::from(expected.is_some()),
        reserved: 0,
        expected_epoch: expected.unwrap_or(0),
    })
}

/// A directory of our own, gone with the guard. (A crate for it would change the features of the engine's
/// dependencies, and with them build the engine twice.)
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("sdbx-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store on disk with fsync, gone with the guard.
pub fn disk() -> (TempDir, Spec) {
    let dir = TempDir::new();
    let mut on_disk = spec(&format!("file://{}/data", dir.path().display()), "shard/a");
    on_disk.flags = 1;
    (dir, on_disk)
}

pub fn memory(name: &str) -> Spec {
    spec(&format!("memory:///{name}"), "shard/a")
}

/// A handle that learns of its fence by what it does, not by its own poll or its compactor's.
pub fn unaware(spec: &Spec) -> Spec {
    Spec {
        settings: r#"{"manifest_poll_interval":"600s","compactor_options":false}"#.to_string(),
        ..spec.clone()
    }
}

/// Where a database can lie: all in one place, with a log, and with a WAL of its own in either form.
pub fn everywhere(test: impl Fn(&mut Caller, &Spec, Option<&Path>)) {
    let mut c = Caller::new();
    let own = format!("own-{:?}", std::thread::current().id()); // tests run beside each other
    test(&mut c, &memory(&own), None);
    let mut apart = memory(&format!("{own}-main"));
    apart.wal_url = Some(format!("memory:///{own}-wal/below"));
    test(&mut c, &apart, None);
    for log in [0, LOG] {
        for own in [false, true] {
            let (dir, mut spec) = disk();
            spec.flags |= log;
            if own {
                spec.wal_url = Some(format!("file://{}/wal", dir.path().display()));
            }
            test(&mut c, &spec, Some(dir.path()));
        }
    }
}
