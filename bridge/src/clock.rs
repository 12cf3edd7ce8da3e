//! The clock the engine sees. It never steps back and starts no lower than the last tick the database stored.
//!
//! The engine stalls up to 10 s and then closes when a write finds its clock behind the last tick, and a wall
//! clock may be set back between two runs or by NTP. So the clock is the wall time at open, or the stored tick if
//! that is later, plus the time since then by a clock that counts on through a suspend. Tickers rest while the database
//! does (activity.rs).

use crate::activity::Activity;
use crate::os_clock::boot_ns;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path;
use object_store::ObjectStore;
use slatedb::admin::Admin;
use slatedb::WalReader;
use slatedb_common::clock::{SystemClock, SystemClockTicker};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// WAL objects looked at from the newest backwards; fence markers are empty.
const WAL_OBJECTS_MAX: usize = 8;
/// Rows read of the newest WAL object: later rows can be ahead of these by one flush at most.
const WAL_ROWS_MAX: usize = 4096;

#[derive(Debug)]
struct Time {
    start: DateTime<Utc>,
    origin_ns: i64,
    /// Milliseconds it was put forward.
    ahead_ms: AtomicI64,
}

#[derive(Debug)]
pub struct EngineClock {
    time: Arc<Time>,
    tickers: TickerClock,
}

/// What the engine's tickers sleep on.
#[derive(Debug)]
struct TickerClock {
    time: Arc<Time>,
    activity: Arc<Activity>,
}

impl Time {
    fn now(&self) -> DateTime<Utc> {
        self.start
            + TimeDelta::nanoseconds(boot_ns() - self.origin_ns)
            + TimeDelta::milliseconds(self.ahead_ms.load(Ordering::Acquire))
    }
}

impl EngineClock {
    pub fn starting_at_least(tick_ms: i64, activity: Arc<Activity>) -> Self {
        let wall = Utc::now();
        let start = match DateTime::<Utc>::from_timestamp_millis(tick_ms) {
            Some(tick) if tick > wall => {
                log::warn!(
                    "the wall clock is behind the last stored tick by {}; going on from the tick",
                    tick - wall
                );
                tick
            }
            _ => wall,
        };
        let time = Arc::new(Time { start, origin_ns: boot_ns(), ahead_ms: AtomicI64::new(0) });
        EngineClock { tickers: TickerClock { time: time.clone(), activity }, time }
    }

    /// Puts the clock forward to a stored tick that was found later.
    pub fn raise(&self, tick_ms: i64) {
        let behind = tick_ms.saturating_sub(self.now().timestamp_millis());
        if behind > 0 {
            log::warn!(
                "the wall clock is behind the last stored tick by {behind} ms; going on from the tick"
            );
            self.time.ahead_ms.fetch_add(behind, Ordering::AcqRel);
        }
    }
}

impl SystemClock for EngineClock {
    fn now(&self) -> DateTime<Utc> {
        self.time.now()
    }

    fn sleep<'a>(&'a self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn ticker<'a>(&'a self, duration: Duration) -> SystemClockTicker<'a> {
        self.tickers.ticker(duration)
    }
}

impl SystemClock for TickerClock {
    fn now(&self) -> DateTime<Utc> {
        self.time.now()
    }

    fn sleep<'a>(&'a self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            self.activity.rest().await;
            tokio::time::sleep(duration).await;
        })
    }

    fn ticker<'a>(&'a self, duration: Duration) -> SystemClockTicker<'a> {
        SystemClockTicker::new(self, duration)
    }
}

/// What the writer before left, as its manifest has it.
pub struct LastWriter {
    pub tick_ms: i64,
    pub epoch: u64,
    /// The first WAL object that may have rows that no sorted file has.
    pub wal_first: u64,
}

/// i64::MIN and 0 for a new database.
pub async fn last_writer(path: &Path, store: &Arc<dyn ObjectStore>) -> Result<LastWriter, slatedb::Error> {
    let admin = Admin::builder(path.clone(), store.clone()).build();
    let Some(manifest) = admin.read_manifest(None).await? else {
        return Ok(LastWriter { tick_ms: i64::MIN, epoch: 0, wal_first: 0 });
    };
    Ok(LastWriter {
        tick_ms: manifest.last_l0_clock_tick(),
        epoch: manifest.writer_epoch(),
        wal_first: manifest.replay_after_wal_id() + 1,
    })
}

/// The same for the WAL, as far as it can be told: by the newest object of it with rows.
pub async fn last_wal_tick(path: &Path, wal_store: &Arc<dyn ObjectStore>, first: u64) -> i64 {
    newest_wal_tick(path, wal_store, first).await.unwrap_or_else(|error| {
        // An object collected under the reader: the engine waits the difference out, which is short.
        log::warn!("cannot read the last tick of the WAL: {error}");
        i64::MIN
    })
}

/// Are there WAL objects with rows from `first` on?
pub async fn has_wal_objects(
    path: &Path,
    store: &Arc<dyn ObjectStore>,
    first: u64,
) -> Result<bool, slatedb::Error> {
    for file in WalReader::new(path.clone(), store.clone()).list(first..).await? {
        if file.metadata().await?.metadata.size > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn newest_wal_tick(
    path: &Path,
    store: &Arc<dyn ObjectStore>,
    first: u64,
) -> Result<i64, slatedb::Error> {
    let mut tick = i64::MIN;
    let files = WalReader::new(path.clone(), store.clone()).list(first..).await?;
    for file in files.iter().rev().take(WAL_OBJECTS_MAX) {
        let mut rows = file.iterator().await?;
        let mut seen = 0;
        while seen < WAL_ROWS_MAX {
            let Some(row) = rows.next().await? else { break };
            tick = tick.max(row.create_ts.unwrap_or(i64::MIN));
            seen += 1;
        }
        if seen > 0 {
            break;
        }
    }
    Ok(tick)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_from(tick_ms: i64) -> EngineClock {
        EngineClock::starting_at_least(tick_ms, Arc::new(Activity::new()))
    }

    #[test]
    fn starts_at_the_stored_tick_when_that_is_later() {
        let ahead = Utc::now().timestamp_millis() + 3_600_000;
        let clock = clock_from(ahead);
        let first = clock.now();
        assert!(first.timestamp_millis() >= ahead);
        assert!(clock.now() >= first);
    }

    #[test]
    fn is_put_forward_and_never_back() {
        let clock = clock_from(i64::MIN);
        let ahead = Utc::now().timestamp_millis() + 60_000;
        clock.raise(ahead);
        assert!(clock.now().timestamp_millis() >= ahead);
        clock.raise(ahead - 30_000);
        clock.raise(i64::MIN);
        assert!(clock.now().timestamp_millis() >= ahead);
        assert!(clock.now().timestamp_millis() < ahead + 10_000);
    }

    #[test]
    fn starts_at_wall_time_for_a_new_database() {
        let before = Utc::now();
        let clock = clock_from(i64::MIN);
        assert!(clock.now() >= before);
        assert!(clock.now() - before < TimeDelta::seconds(60));
    }
}
