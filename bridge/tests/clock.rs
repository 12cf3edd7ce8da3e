//! A database whose last writer had a clock far ahead of ours: our first write neither stalls nor fails.

mod common;

use chrono::{DateTime, TimeDelta, Utc};
use common::*;
use object_store::local::LocalFileSystem;
use slatedb::config::{CloseOptions, FlushType, Settings};
use slatedb::{PrefixExtractor, PrefixTarget};
use slatedb_common::clock::{SystemClock, SystemClockTicker};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Ahead(TimeDelta);

impl SystemClock for Ahead {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + self.0
    }

    fn sleep<'a>(&'a self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn ticker<'a>(&'a self, duration: Duration) -> SystemClockTicker<'a> {
        SystemClockTicker::new(self, duration)
    }
}

/// As the bridge's own: the name is stored with the database.
struct FirstByte;

impl PrefixExtractor for FirstByte {
    fn name(&self) -> &str {
        "silo-first-byte-v1"
    }

    fn prefix_len(&self, target: &PrefixTarget) -> Option<usize> {
        let (PrefixTarget::Point(bytes) | PrefixTarget::Prefix(bytes)) = target;
        (!bytes.is_empty()).then_some(1)
    }
}

fn written_ahead(dir: &TempDir, how: FlushType) -> Spec {
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let objects = Arc::new(LocalFileSystem::new_with_prefix(&data).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings =
            Settings { garbage_collector_options: None, flush_interval: None, ..Settings::default() };
        let db = slatedb::Db::builder("shard/a", objects)
            .with_settings(settings)
            .with_segment_extractor(Arc::new(FirstByte))
            .with_system_clock(Arc::new(Ahead(TimeDelta::hours(1))))
            .build()
            .await
            .unwrap();
        db.put(b"tkey", b"from the future").await.unwrap();
        db.close_with_options(CloseOptions::default().with_flush_type(Some(how))).await.unwrap();
    });
    spec(&format!("file://{}", data.display()), "shard/a")
}

fn first_write_is_quick(how: FlushType) {
    let dir = TempDir::new();
    let place = written_ahead(&dir, how);
    let mut c = Caller::new();
    let db = c.open(&place);
    let begin = Instant::now();
    assert_eq!(c.write(db, &[put("tnew", b"1")]).status, 0);
    assert_eq!(c.flush(db, WAL).status, 0);
    assert!(begin.elapsed() < Duration::from_secs(2), "the engine waited for its clock");
    assert_eq!(c.get(db, std::ptr::null(), "tkey").as_deref(), Some(&b"from the future"[..]));
    assert_eq!(c.close(db, NO_FLUSH).status, 0);
}

#[test]
fn the_tick_in_the_wal_is_the_floor() {
    first_write_is_quick(FlushType::Wal);
}

#[test]
fn the_tick_in_the_manifest_is_the_floor() {
    first_write_is_quick(FlushType::MemTable);
}
