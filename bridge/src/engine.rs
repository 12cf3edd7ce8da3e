//! The engine of a database, built over its write-ahead log in the form that is wanted.

use crate::activity::Activity;
use crate::admin::finish_removal;
use crate::clock::{has_wal_objects, last_wal_tick, last_writer, EngineClock};
use crate::compaction::{with_spare_place, Account, MakeCompactor, Pace, PacedStore, Supplier};
use crate::error::{Failure, EDATA, EFENCED, EUNAVAIL};
use crate::plan::OpenPlan;
use crate::settings;
use crate::wal_log::{end_log, end_objects, holds_more, LogDir, LogGc, LogHandle, LogInit};
use slatedb::config::{CloseOptions, FlushType};
use slatedb::{CompactorBuilder, GarbageCollectorBuilder, PrefixExtractor, PrefixTarget};
use slatedb_common::metrics::DefaultMetricsRecorder;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;

/// Times an open begins anew because somebody else wrote to the WAL in its other form meanwhile.
const CONVERSIONS_MAX: usize = 3;

/// The first byte of a key is its segment.
struct FirstByte;

impl PrefixExtractor for FirstByte {
    fn name(&self) -> &str {
        "silo-first-byte-v1"
    }

    fn prefix_len(&self, target: &PrefixTarget) -> Option<usize> {
        let bytes = match target {
            PrefixTarget::Point(bytes) | PrefixTarget::Prefix(bytes) => bytes,
        };
        (!bytes.is_empty()).then_some(1)
    }
}

/// What the engine needs from the environment; the environment itself stays with C.
pub struct Surroundings {
    pub io: Handle,
    pub bg: Handle,
    pub cache: Arc<dyn slatedb::db_cache::DbCache>,
    pub merging: Account,
    /// The writer epoch that the open claims, once it is known.
    pub epoch: AtomicU64,
    /// Whom it may take over from next: at first as the plan says, then itself. ANYBODY: whoever wrote last.
    pub expected: AtomicU64,
}

pub const ANYBODY: u64 = u64::MAX;

/// An open engine, and what belongs to it.
pub struct Built {
    pub engine: slatedb::Db,
    /// The WAL, where that is a log.
    pub log: Option<LogHandle>,
    /// What merges its files, once it has begun to; None: nothing does.
    pub merging: Option<MakeCompactor>,
}

/// A WAL left behind in the other form is replayed from there into sorted files first.
async fn convert_wal(plan: &OpenPlan, around: &Surroundings, log: &LogDir) -> Result<(), Failure> {
    let admin = plan.place.admin();
    let Some(manifest) = admin.read_manifest(None).await? else { return Ok(()) };
    let replayed = manifest.replay_after_wal_id();
    let in_objects =
        has_wal_objects(&plan.place.path, &plan.place.wal_or_main_objects(), replayed + 1).await?;
    if plan.place.wants_log() && !in_objects {
        return Ok(()); // what is in the log is read by the open
    }
    let other = match (plan.place.wants_log(), holds_more(log.clone(), replayed).await?) {
        (false, false) => return Ok(()),
        (false, true) if !in_objects => Some(log.clone()),
        (true, false) => None,
        _ => {
            let text =
                format!("{}: the write-ahead log has records both as a log and as objects", plan.place.path);
            return Err(Failure::new(EDATA, text));
        }
    };
    log::info!("{}: the write-ahead log is converted", plan.place.path);
    let built = build_engine(plan, around, Arc::default(), &Arc::new(Activity::new()), other).await?;
    let options = CloseOptions::default().with_flush_type(Some(FlushType::MemTable));
    Ok(built.engine.close_with_options(options).await?)
}

/// Whoever has the database open in the other form is fenced there. Had it acknowledged anything since the look before?
async fn other_form_has_more(plan: &OpenPlan, engine: &slatedb::Db, log: &LogDir) -> Result<bool, Failure> {
    let manifest = engine.manifest();
    let replayed = manifest.replay_after_wal_id();
    if !plan.place.wants_log() {
        return Ok(end_log(log.clone(), manifest.writer_epoch(), replayed).await?);
    }
    let objects = plan.place.wal_or_main_objects();
    end_objects(log.clone(), &plan.place.path, &objects, replayed).await?;
    Ok(has_wal_objects(&plan.place.path, &objects, replayed + 1).await?)
}

/// The engine over the WAL in the form that is wanted, with nothing left in the other one and nobody writing there.
pub async fn open_engine(
    plan: &OpenPlan,
    around: &Surroundings,
    recorder: &Arc<DefaultMetricsRecorder>,
    activity: &Arc<Activity>,
) -> Result<Built, Failure> {
    finish_removal(&plan.place).await?;
    for _ in 0..CONVERSIONS_MAX {
        let log = plan.place.log_dir().await?;
        if let Some(log) = &log {
            convert_wal(plan, around, log).await?;
        }
        let wanted = log.clone().filter(|_| plan.place.wants_log());
        let built = build_engine(plan, around, recorder.clone(), activity, wanted).await?;
        let Some(log) = log else { return Ok(built) };
        match other_form_has_more(plan, &built.engine, &log).await {
            Ok(false) => return Ok(built),
            Ok(true) => {
                built.engine.close_with_options(CloseOptions::default().with_flush_type(None)).await?
            }
            Err(failure) => {
                let _ = built.engine.close_with_options(CloseOptions::default().with_flush_type(None)).await;
                return Err(failure);
            }
        }
    }
    Err(Failure::new(EUNAVAIL, "others keep opening this database with the write-ahead log in another form"))
}

/// Times a database is found to be made by somebody else in the same moment.
const CREATIONS_MAX: usize = 3;
/// How the engine says so, as if its data were wrong.
const CREATED_BY_ANOTHER: &str = "version already exists";

/// Of two that make a database one finds it made, and opens what is there then, if it may.
async fn build_engine(
    plan: &OpenPlan,
    around: &Surroundings,
    recorder: Arc<DefaultMetricsRecorder>,
    activity: &Arc<Activity>,
    log: Option<LogDir>,
) -> Result<Built, Failure> {
    for _ in 0..CREATIONS_MAX {
        match try_build_engine(plan, around, recorder.clone(), activity, log.clone()).await {
            Err(failure) if failure.text.contains(CREATED_BY_ANOTHER) => {
                around.epoch.store(0, Ordering::Release);
            }
            result => return result,
        }
    }
    Err(Failure::new(EUNAVAIL, format!("{}: others make this database again and again", plan.place.path)))
}

async fn try_build_engine(
    plan: &OpenPlan,
    around: &Surroundings,
    recorder: Arc<DefaultMetricsRecorder>,
    activity: &Arc<Activity>,
    log: Option<LogDir>,
) -> Result<Built, Failure> {
    // The shared cache tells databases apart by this number; an open never sees entries of an earlier one.
    static CACHE_ID: AtomicU64 = AtomicU64::new(1);
    let main = plan.place.store.objects.clone();
    let wal = plan.place.wal_objects();
    let last = last_writer(&plan.place.path, &main).await?;
    let expected = around.expected.load(Ordering::Acquire);
    if expected != ANYBODY && expected != last.epoch {
        let text = format!("{}: its newest writer is {}, not {expected}", plan.place.path, last.epoch);
        return Err(Failure::new(EFENCED, text));
    }
    around.epoch.store(last.epoch + 1, Ordering::Release);
    let clock = Arc::new(EngineClock::starting_at_least(last.tick_ms, activity.clone()));
    let handle = Arc::new(OnceLock::new());
    let mut settings = plan.settings.clone();
    settings.compactor_options = None; // its own would begin before the engine is open
    let mut builder = slatedb::Db::builder(plan.place.path.clone(), main.clone())
        .with_settings(settings)
        .with_expected_epoch(last.epoch) // so the epoch is known, whatever happens to the claim
        .with_db_cache(around.cache.clone(), CACHE_ID.fetch_add(1, Ordering::Relaxed))
        .with_system_clock(clock.clone())
        .with_segment_extractor(Arc::new(FirstByte))
        .with_gc_runtime(around.bg.clone())
        .with_metrics_recorder(recorder.clone());
    if let Some(dir) = log {
        if let Some(mut options) = plan.settings.garbage_collector_options.clone() {
            settings::for_log(&mut options);
            let gc =
                GarbageCollectorBuilder::new(plan.place.path.clone(), main.clone()).with_options(options);
            builder = builder.with_gc_builder(gc.with_wal_gc(Arc::new(LogGc::new(handle.clone()))));
        }
        builder = builder.with_wal_writer(Box::new(LogInit {
            dir,
            health: plan.place.wal_store().health.clone(),
            clock: clock.clone(),
            recorder: recorder.clone(),
            record_bytes_max: plan.settings.l0_sst_size_bytes,
            tenancy: plan.place.tenancy(),
            handle: handle.clone(),
        }));
    }
    let wal_store = wal.clone().unwrap_or(main);
    if let Some(wal) = wal {
        builder = builder.with_wal_object_store(wal);
    }
    // Nothing is written before both are done. A new database has no tick.
    let ticking = async {
        if last.epoch != 0 {
            clock.raise(last_wal_tick(&plan.place.path, &wal_store, last.wal_first).await);
        }
    };
    let (engine, ()) = tokio::join!(builder.build(), ticking);
    let engine = engine?;
    if expected != ANYBODY {
        around.expected.store(last.epoch + 1, Ordering::Release);
    }
    let merging = make_compactor(plan, around, recorder, activity, clock);
    Ok(Built { engine, log: handle.get().cloned(), merging })
}

fn make_compactor(
    plan: &OpenPlan,
    around: &Surroundings,
    recorder: Arc<DefaultMetricsRecorder>,
    activity: &Arc<Activity>,
    clock: Arc<EngineClock>,
) -> Option<MakeCompactor> {
    let mut options = with_spare_place(plan.settings.compactor_options.clone()?);
    options.metric_level = options.metric_level.or(Some(plan.settings.metric_level));
    let (path, inner) = (plan.place.path.clone(), plan.place.store.objects.clone());
    let (merging, bg, activity) = (around.merging.clone(), around.bg.clone(), activity.clone());
    Some(Box::new(move || {
        let pace = Arc::new(Pace::new(merging.clone()));
        let paced = Arc::new(PacedStore { inner: inner.clone(), pace: pace.clone() });
        CompactorBuilder::new(path.clone(), paced)
            .with_runtime(bg.clone())
            .with_system_clock(clock.clone())
            .with_metrics_recorder(recorder.clone())
            .with_scheduler_supplier(Arc::new(Supplier { activity: activity.clone(), pace }))
            .with_options(options.clone())
            .build()
    }))
}
