//! A log that lies apart from its database may be in another directory next time, on another machine. Which one the
//! database's newest records are in is noted by two sorts of objects beside it, each created once and never changed:
//!
//! ```text
//! <database>/log-homes/<epoch>    the writer with this epoch appends to the log with this id
//! <database>/log-clean/<epoch>    and when it had closed, nothing of that log was left to replay
//! ```
//!
//! A writer makes the first after it claimed its epoch and before its first append. So the newest home is the only log that
//! may have something, and none has if that writer said "clean": then the database opens with any log. A writer that
//! was stopped between its close and its word, while others came, speaks of a home that is not the newest any more.

use super::home::{newest_home, read_home, LogHome};
use super::segment::LogId;
use crate::error::Failure;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::sync::Arc;

pub const HOMES: &str = "log-homes";
const CLEAN: &str = "log-clean";

#[derive(Clone)]
pub struct Tenancy {
    pub path: Path,
    pub store: Arc<dyn ObjectStore>,
}

/// The name of an epoch's object, which sorts like the epoch.
fn name(epoch: u64) -> String {
    format!("{epoch:020}")
}

fn epoch_of(at: &Path) -> Option<u64> {
    at.filename().filter(|name| name.len() == 20)?.parse().ok()
}

/// False: it was there already.
async fn put_once(store: &Arc<dyn ObjectStore>, at: &Path, bytes: Bytes) -> Result<bool, Failure> {
    match store.put_opts(at, bytes.into(), PutOptions::from(PutMode::Create)).await {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Tenancy {
    fn place(&self, of: &str, epoch: u64) -> Path {
        self.path.clone().join(of).join(name(epoch))
    }

    async fn put(&self, of: &str, epoch: u64, id: LogId) -> Result<(), Failure> {
        let at = self.place(of, epoch);
        if !put_once(&self.store, &at, id.object()).await? && read_home(&at, &self.store).await? != Some(id) {
            return Err(Failure::invalid(format!("the object {at} names another log")));
        }
        Ok(())
    }

    /// The epochs that have an object there.
    async fn epochs(&self, of: &str) -> Result<Vec<u64>, Failure> {
        let prefix = self.path.clone().join(of);
        let found: Vec<_> = self.store.list(Some(&prefix)).try_collect().await?;
        Ok(found.iter().filter_map(|object| epoch_of(&object.location)).collect())
    }

    /// The newest home that a writer noted.
    pub async fn newest(&self) -> Result<Option<LogHome>, Failure> {
        loop {
            let Some(epoch) = self.epochs(HOMES).await?.into_iter().max() else { return Ok(None) };
            if let Some(id) = read_home(&self.place(HOMES, epoch), &self.store).await? {
                return Ok(Some(LogHome { epoch, id }));
            } // else a later writer has swept it away meanwhile
        }
    }

    /// Did the last writer of this home leave nothing in it?
    pub async fn is_clean(&self, home: LogHome) -> Result<bool, Failure> {
        let said = read_home(&self.place(CLEAN, home.epoch), &self.store).await?;
        Ok(said == Some(home.id))
    }

    /// The writer with this epoch is about to append to this log. It may, if the newest home is this log, or clean, or
    /// given up; what is not needed any more goes.
    pub async fn move_in(&self, epoch: u64, id: LogId, accepts_loss: bool) -> Result<bool, Failure> {
        if let Some(home) = newest_home(&self.path, &self.store).await? {
            if home.id != id && !accepts_loss && !self.is_clean(home).await? {
                return Ok(false);
            }
        }
        self.put(HOMES, epoch, id).await?;
        for of in [HOMES, CLEAN] {
            for older in self.epochs(of).await?.into_iter().filter(|older| *older < epoch) {
                let _ = self.store.delete(&self.place(of, older)).await; // the next writer does
            }
        }
        Ok(true)
    }

    /// The writer with this epoch has closed, and left nothing.
    pub async fn move_out(&self, epoch: u64, id: LogId) -> Result<(), Failure> {
        self.put(CLEAN, epoch, id).await
    }

    /// No log is the database's.
    pub async fn forget(&self) -> Result<(), Failure> {
        for of in [HOMES, CLEAN] {
            for epoch in self.epochs(of).await? {
                match self.store.delete(&self.place(of, epoch)).await {
                    Ok(()) | Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}
