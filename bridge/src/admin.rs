//! Databases without opening them: who wrote last, and removal of all that belongs to one.

use crate::clone;
use crate::cq::{Cq, Event, EV_OBJECT};
use crate::env::Env;
use crate::error::{Failure, ECONFLICT, EINTERNAL, EINVAL, EUNAVAIL, OK};
use crate::ffi::{counted, guard};
use crate::objects::{delete_prefix, done, run, Answer, EPOCH, REMOVE_DB};
use crate::place::Place;
use crate::plan::{plan, OpenArgs, OpenPlan};
use crate::store::Store;
use crate::wal_log::forget_home;
use bytes::Bytes;
use object_store::path::Path;
use object_store::ObjectStoreExt;
use slatedb::VersionedManifest;
use std::future::Future;
use std::time::Duration;

/// The epoch of the newest writer, as the newest manifest has it; 0: there is no database.
async fn newest_epoch(plan: OpenPlan) -> Result<Event, Failure> {
    let epoch = plan.place.newest_manifest().await?.map_or(0, |manifest| manifest.writer_epoch());
    Ok(Event { seq: epoch, ..done() })
}

/// A log is a directory of ours: what lies in it are no objects, so no listing may decide what goes.
async fn remove_log(store: &Store, path: &Path) -> Result<(), Failure> {
    let Some(dir) = store.log_dir(path) else { return Ok(()) };
    match tokio::task::spawn_blocking(move || dir.remove_all()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(EUNAVAIL, format!("cannot remove the log of {path}: {error}"))),
        Err(error) => Err(Failure::new(EINTERNAL, format!("removing the log of {path}: {error}"))),
    }
}

/// Stands in a database while it is removed: without its log it would open as it once was.
const REMOVAL: &str = "removal";
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Does a clone refer to files of this database? It says so by a checkpoint here that has no end and is not ours.
fn has_clones(manifest: &VersionedManifest) -> bool {
    let ours = |name: &Option<String>| name.as_deref() == Some(clone::NAME);
    manifest.checkpoints().iter().any(|found| found.expire_time.is_none() && !ours(&found.name))
}

/// Where this database is a clone, what it pinned is free again.
async fn unpin(place: &Place, manifest: &VersionedManifest) -> Result<(), Failure> {
    for external in manifest.external_dbs() {
        let Some(pin) = external.final_checkpoint_id else { continue };
        let parent = Place { path: Path::from(external.path.as_str()), ..place.clone() };
        if parent.newest_manifest().await?.is_some() {
            parent.admin().delete_checkpoint(pin).await?;
        }
    }
    Ok(())
}

/// An object says first that the removal began, so that an open finishes it (`finish_removal`) should it end half-way. It
/// goes with the files that no manifest names any more, after the write-ahead log and the manifests.
async fn remove_all(place: &Place) -> Result<u64, Failure> {
    let wal_place = match &place.wal_store {
        Some(wal) => wal.base.parts().chain(place.path.parts()).collect(),
        None => place.path.clone(),
    };
    let wal_store = place.wal_store();
    let begun = Bytes::from_static(b"this database is being removed\n");
    place.store.objects.put(&place.path.clone().join(REMOVAL), begun.into()).await?;
    if let Some(manifest) = place.newest_manifest().await? {
        unpin(place, &manifest).await?;
    }
    forget_home(&place.path, &place.store.objects).await?; // from here on no open misses the log
    remove_log(wal_store, &place.path).await?;
    let mut removed = delete_prefix(wal_store, &wal_place.clone().join("wal")).await?;
    removed += delete_prefix(&place.store, &place.path.clone().join("manifest")).await?;
    removed += delete_prefix(&place.store, &place.path).await?;
    removed += delete_prefix(wal_store, &wal_place).await?;
    Ok(removed)
}

async fn remove(plan: OpenPlan) -> Result<Event, Failure> {
    let manifest = plan.place.newest_manifest().await?;
    if manifest.is_some_and(|manifest| has_clones(&manifest)) {
        let text = format!("{}: a clone still refers to files of this database", plan.place.path);
        return Err(Failure::new(ECONFLICT, text));
    }
    Ok(Event { seq: remove_all(&plan.place).await?, ..done() })
}

/// Waits for a store that does not answer, as the engine does; its health says so meanwhile.
async fn removal_began(place: &Place) -> bool {
    let mut pause = RETRY_FIRST;
    loop {
        match place.store.objects.head(&place.path.clone().join(REMOVAL)).await {
            Ok(_) => return true,
            Err(object_store::Error::NotFound { .. }) => return false,
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// What a removal that was cut off left goes before the database is made anew.
pub async fn finish_removal(place: &Place) -> Result<(), Failure> {
    if !removal_began(place).await {
        return Ok(());
    }
    log::warn!("{}: a removal that was cut off is finished", place.path);
    remove_all(place).await.map(|_| ())
}

/// # Safety
/// See sdbx.h.
pub unsafe fn start<W, F>(
    env: *const Env,
    cq: *const Cq,
    args: *const OpenArgs,
    answer: Answer,
    work: W,
) -> i32
where
    W: FnOnce(OpenPlan) -> F,
    F: Future<Output = Result<Event, Failure>> + Send + 'static,
{
    let (Some(env), Some(args), Some(cq)) = (env.as_ref(), args.as_ref(), counted(cq)) else {
        return EINVAL;
    };
    match plan(args) {
        Ok(plan) => run(env, cq, answer, work(plan)),
        Err(failure) => {
            let event = Event::failed(EV_OBJECT, answer.token, failure); // an event has room for the text
            cq.push(Event { flags: answer.call, ..event });
        }
    }
    OK
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_db_epoch(
    env: *const Env,
    cq: *const Cq,
    args: *const OpenArgs,
    token: u64,
) -> i32 {
    guard(|| start(env, cq, args, Answer { call: EPOCH, token }, newest_epoch))
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_db_remove(
    env: *const Env,
    cq: *const Cq,
    args: *const OpenArgs,
    token: u64,
) -> i32 {
    guard(|| start(env, cq, args, Answer { call: REMOVE_DB, token }, remove))
}
