//! A WAL in two forms: as a log, and as objects. A database has one form at a time; who opens it in one ends the other.
//!
//! "Ends" means: its records are in sorted files, and a writer that may still live in it is fenced there, for each form has
//! its own fence. A writer of a log is fenced by its marker. A writer of objects is fenced by an object that stands where it
//! would put its next one. Both happen after the open has its epoch, and what such a writer acknowledged before it was
//! fenced is looked for afterwards: if there is anything, the open begins anew, and takes it in.

use super::blocking::{blocking, unavailable};
use super::dir::LogDir;
use super::init::{enter, take_over, Entrance};
use super::survey::{survey, Verdict};
use crate::error::Failure;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, PutMode, PutOptions};
use slatedb::wal::WalError;
use slatedb::WalReader;
use std::sync::Arc;

/// Is there anything in this log that `replayed` does not cover, or damage that has to be looked at?
pub async fn holds_more(dir: LogDir, replayed: u64) -> Result<bool, WalError> {
    blocking(move || match survey(&dir, replayed).map_err(unavailable)? {
        Verdict::Sound(found) => Ok(found.last_id > replayed),
        Verdict::Damaged(_) => Ok(true),
    })
    .await
}

/// A writer of objects with this epoch took over: no older one acknowledges anything in the log. Does the log hold more?
///
/// As if a writer of the log took over: what a fenced one still writes counts for nobody only where a later segment begins.
fn end_log_now(dir: &LogDir, epoch: u64, replayed: u64) -> Result<bool, WalError> {
    let found = dir.list().map_err(unavailable)?;
    if found.epochs().into_iter().all(|older| found.is_fenced(older)) {
        return Ok(false);
    }
    let tenure = match enter(dir, epoch).map_err(unavailable)? {
        (Entrance::Free, Some(tenure)) => tenure,
        _ => return Err(WalError::Fenced),
    };
    let taken = take_over(&tenure, replayed)?.ok_or(WalError::Fenced)?;
    if taken.next_id > replayed.saturating_add(1) {
        return Ok(true);
    }
    tenure.keep();
    dir.fence(epoch).map_err(unavailable)?;
    Ok(false)
}

pub async fn end_log(dir: LogDir, epoch: u64, replayed: u64) -> Result<bool, WalError> {
    blocking(move || end_log_now(&dir, epoch, replayed)).await
}

/// A writer of a log took over: no older one acknowledges anything in objects.
pub async fn end_objects(
    dir: LogDir,
    path: &Path,
    store: &Arc<dyn ObjectStore>,
    replayed: u64,
) -> Result<(), Failure> {
    let files = WalReader::new(path.clone(), store.clone()).list(..).await?;
    let newest = files.iter().map(|file| file.id).max();
    let looking = dir.clone();
    let ended =
        blocking(move || Ok(looking.list().map_err(unavailable)?.objects_fenced.last().copied())).await?;
    if newest.is_none() || newest == ended {
        return Ok(());
    }
    // A writer's next object comes after its newest; or, if all of those were collected, after the last in sorted files.
    let mut last = newest.unwrap_or(0);
    fence_after(path, store, &mut last).await?;
    if last <= replayed {
        last = replayed;
        fence_after(path, store, &mut last).await?;
    }
    Ok(blocking(move || dir.note_objects_fenced(last).map_err(unavailable)).await?)
}

/// `last` becomes the id of the fence.
async fn fence_after(path: &Path, store: &Arc<dyn ObjectStore>, last: &mut u64) -> Result<(), Failure> {
    *last += 1;
    while !put_fence(path, store, *last).await? {
        *last += 1;
    }
    Ok(())
}

/// An object without content, as the engine's own writers fence each other; false: the place is taken.
async fn put_fence(path: &Path, store: &Arc<dyn ObjectStore>, id: u64) -> Result<bool, Failure> {
    let at = path.clone().join("wal").join(format!("{id:020}.sst"));
    match store.put_opts(&at, Bytes::new().into(), PutOptions::from(PutMode::Create)).await {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
