//! What the bridge can do on this machine: `cargo run --release --example measure [dir]`.
//!
//! Batches of 512 rows of about 100 bytes, as the shard sends them: the next batch when the one before is applied.

#[path = "../tests/common/mod.rs"]
mod common;

use common::*;
use sdbx::db::Db;
use sdbx::flush::sdbx_flush;
use std::ptr::null;
use std::time::Instant;

const ROWS: u32 = 512;
const BATCHES: u32 = 2000;

fn batch(i: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROWS as usize * 110);
    for row in 0..ROWS {
        let n = i * ROWS + row;
        let key = format!("t{:08x}{n:08x}", n.wrapping_mul(2_654_435_761));
        out.extend(op(0, key.as_bytes(), &[n as u8; 75]));
    }
    out
}

/// Rows a second; `flush`: a WAL flush is always in flight and one queued behind it.
fn ingest(c: &mut Caller, db: *const Db, flush: bool, from: u32) -> (f64, u32, f64) {
    let batches: Vec<Vec<u8>> = (0..BATCHES).map(|i| batch(from + i)).collect();
    let begin = Instant::now();
    let (mut flushes, mut flush_token, mut worst) = (0, 0, 0f64);
    for data in &batches {
        let sent = Instant::now();
        let token = c.start_write(db, std::slice::from_ref(data), ROWS);
        loop {
            let got = c.wait_for(|_| true);
            assert_eq!(got.status, 0, "{}", got.text());
            if got.token == flush_token {
                flush_token = 0;
            }
            if got.token == token {
                break;
            }
        }
        worst = worst.max(sent.elapsed().as_secs_f64());
        if flush && flush_token == 0 {
            flush_token = c.token();
            flushes += 1;
            unsafe { assert_eq!(sdbx_flush(db, WAL, flush_token), 0) };
        }
    }
    if flush_token != 0 {
        c.wait(flush_token);
    }
    c.flush(db, WAL);
    (f64::from(BATCHES * ROWS) / begin.elapsed().as_secs_f64(), flushes, worst * 1e3)
}

fn commits(c: &mut Caller, db: *const Db, rows: u32, n: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for i in 0..n {
        let ops: Vec<Vec<u8>> = (0..rows).map(|r| put(&format!("u{i}-{r}"), &[1; 80])).collect();
        let begin = Instant::now();
        let write = c.start_write(db, &[ops.concat()], rows);
        assert_eq!(c.wait(write).status, 0);
        assert_eq!(c.flush(db, WAL).status, 0);
        times.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times
}

fn main() {
    let base = std::env::args().nth(1);
    let dir = TempDir::new();
    let root = base.unwrap_or_else(|| dir.path().display().to_string());
    let mut c = Caller::new();
    for (name, url, flags) in [
        ("memory", "memory:///measure".to_string(), 0),
        ("disk", format!("file://{root}/plain"), 0),
        ("disk+fsync", format!("file://{root}/fsync"), 1),
    ] {
        let mut place = spec(&url, "shard/a");
        place.flags = flags;
        place.max_queued_bytes = 1 << 40;
        let db = c.open(&place);
        for rows in [1, 30] {
            let t = commits(&mut c, db, rows, 1000);
            println!("{name}: write+flush of {rows} rows: p50 {:.0} us, p99 {:.0} us", t[500], t[990]);
        }
        for flush in [false, true] {
            let (rate, flushes, worst) = ingest(&mut c, db, flush, if flush { BATCHES } else { 0 });
            println!("{name}: ingest, flush in flight {flush}: {rate:.0} rows/s, {flushes} flushes, worst batch {worst:.0} ms");
        }
        let begin = Instant::now();
        let n = 20_000;
        for i in 0..n {
            c.get(db, null(), &format!("tmissing{i}"));
        }
        println!(
            "{name}: get of a missing key: {:.1} us",
            begin.elapsed().as_secs_f64() * 1e6 / f64::from(n)
        );
        let begin = Instant::now();
        let mut rows = 0;
        let mut page = c.scan(db, null(), "t", "u", 0, 1000);
        while page.flags & 1 != 0 {
            rows += page.nrows;
            let token = c.token();
            unsafe { sdbx::read::sdbx_iter_next(page.iter, 1000, 0, token) };
            page = c.wait(token);
        }
        println!("{name}: scan: {:.0} rows/s", f64::from(rows) / begin.elapsed().as_secs_f64());
        unsafe { sdbx::read::sdbx_iter_free(page.iter) };
        let begin = Instant::now();
        c.close(db, MEMTABLE);
        println!("{name}: close with memtable flush: {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);
    }
}
