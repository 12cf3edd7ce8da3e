//! Where a database lies: its objects, and its write-ahead log.

use crate::clock::has_wal_objects;
use crate::error::Failure;
use crate::store::Store;
use crate::wal_log::{at_home, holds_more, LogDir, Tenancy};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::ObjectStore;
use slatedb::admin::Admin;
use slatedb::VersionedManifest;
use std::sync::Arc;

#[derive(Clone)]
pub struct Place {
    pub store: Arc<Store>,
    /// Where the WAL lies, if not with the rest.
    pub wal_store: Option<Arc<Store>>,
    pub path: Path,
}

impl Place {
    pub fn wal_store(&self) -> &Arc<Store> {
        self.wal_store.as_ref().unwrap_or(&self.store)
    }

    /// The WAL's store if it is not the main one.
    pub fn wal_objects(&self) -> Option<Arc<dyn ObjectStore>> {
        self.wal_store.as_ref().map(|wal| {
            if wal.base.parts().next().is_none() {
                wal.objects.clone()
            } else {
                Arc::new(PrefixStore::new(wal.objects.clone(), wal.base.clone())) as Arc<dyn ObjectStore>
            }
        })
    }

    /// The WAL's objects, be it that it is a log now.
    pub fn wal_or_main_objects(&self) -> Arc<dyn ObjectStore> {
        self.wal_objects().unwrap_or_else(|| self.store.objects.clone())
    }

    /// Is the WAL to be a log?
    pub fn wants_log(&self) -> bool {
        self.wal_store().wants_log()
    }

    /// May the log be elsewhere next time? With the rest it is where that is.
    pub fn log_moves(&self) -> bool {
        self.wal_store.is_some()
    }

    /// What says where the log was last, if it moves.
    pub fn tenancy(&self) -> Option<Tenancy> {
        let tenancy = Tenancy { path: self.path.clone(), store: self.store.objects.clone() };
        self.log_moves().then_some(tenancy)
    }

    /// The log, where there is one or is to be one.
    pub async fn log_dir(&self) -> Result<Option<LogDir>, Failure> {
        match self.wal_store().log_dir(&self.path) {
            Some(dir) => {
                at_home(dir, &self.path, &self.store.objects, self.wants_log(), self.log_moves()).await
            }
            None => Ok(None),
        }
    }

    pub fn admin(&self) -> Admin {
        let admin = Admin::builder(self.path.clone(), self.store.objects.clone());
        match self.wal_objects() {
            Some(wal) => admin.with_wal_object_store(wal).build(),
            None => admin.build(),
        }
    }

    /// The newest manifest by a fresh listing. None: there is no database.
    ///
    /// A handle that asks for the successor of the manifest it knows, as the engine's does, takes the answer "not there" for
    /// "none is newer". After a pause that is wrong: the successor may have been there, and been collected.
    pub async fn newest_manifest(&self) -> Result<Option<VersionedManifest>, Failure> {
        Ok(self.admin().read_manifest(None).await?)
    }

    /// Are there records that are in no sorted file of this manifest? To be asked of a database that nobody writes to.
    pub async fn has_replay(&self, manifest: &VersionedManifest) -> Result<bool, Failure> {
        let replayed = manifest.replay_after_wal_id();
        if let Some(dir) = self.wal_store().log_dir(&self.path) {
            if let Some(dir) = at_home(dir, &self.path, &self.store.objects, false, self.log_moves()).await? {
                if holds_more(dir, replayed).await? {
                    return Ok(true);
                }
            }
        }
        Ok(has_wal_objects(&self.path, &self.wal_or_main_objects(), replayed + 1).await?)
    }
}
