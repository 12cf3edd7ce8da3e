//! Which log is a database's: an object beside it, `<database>/log-home`, names the log's random id, which each of its
//! segments repeats. Where the log may be moved, newer objects say where to (tenancy.rs).
//!
//! The directory gets its id first, durably, then the object is made, then the log takes records. So a database with such
//! an object had a log, and a directory without that id is not it: it is empty, or another database's.

use super::blocking::{blocking, unavailable};
use super::dir::{LogDir, ACCEPT_LOSS};
use super::segment::LogId;
use super::survey::data_error;
use super::tenancy::Tenancy;
use crate::error::{Failure, EDATA};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use slatedb::wal::WalError;
use std::sync::Arc;

const OBJECT: &str = "log-home";
const PREFIX: &str = "silo log ";
const RANDOM: &str = "/dev/urandom";

/// The log that has a database's newest records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHome {
    /// Of the writer that noted it; 0: the database's first.
    pub epoch: u64,
    pub id: LogId,
}

impl LogId {
    /// The content of an object that names a log.
    pub fn object(self) -> Bytes {
        Bytes::from(format!("{PREFIX}{}\n", self.hex()))
    }
}

pub async fn newest_home(path: &Path, store: &Arc<dyn ObjectStore>) -> Result<Option<LogHome>, Failure> {
    let tenancy = Tenancy { path: path.clone(), store: store.clone() };
    if let Some(home) = tenancy.newest().await? {
        return Ok(Some(home));
    }
    let first = read_home(&path.clone().join(OBJECT), store).await?;
    Ok(first.map(|id| LogHome { epoch: 0, id }))
}

pub async fn read_home(at: &Path, store: &Arc<dyn ObjectStore>) -> Result<Option<LogId>, Failure> {
    let bytes = match store.get(at).await {
        Err(Error::NotFound { .. }) => return Ok(None),
        object => object?.bytes().await?,
    };
    let text = std::str::from_utf8(&bytes).ok();
    let id = text.and_then(|text| LogId::parse(text.strip_prefix(PREFIX)?.strip_suffix('\n')?));
    let wrong = || {
        Failure::new(
            EDATA,
            format!("the object {at} does not name a log; it reads \"{PREFIX}\" and 32 digits"),
        )
    };
    id.map(Some).ok_or_else(wrong)
}

/// False: somebody else was quicker.
async fn write_home(at: &Path, store: &Arc<dyn ObjectStore>, id: LogId) -> Result<bool, Failure> {
    match store.put_opts(at, id.object().into(), PutOptions::from(PutMode::Create)).await {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The database has no log any more: to be said before the log goes.
pub async fn forget_home(path: &Path, store: &Arc<dyn ObjectStore>) -> Result<(), Failure> {
    Tenancy { path: path.clone(), store: store.clone() }.forget().await?;
    match store.delete(&path.clone().join(OBJECT)).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn random_id() -> std::io::Result<LogId> {
    let mut id = [0; 16];
    std::io::Read::read_exact(&mut std::fs::File::open(RANDOM)?, &mut id)?;
    Ok(LogId(id))
}

/// The directory's id: what stands there, or what its segments agree on, or a new one.
fn own_id(dir: &LogDir) -> Result<LogId, WalError> {
    if let Some(id) = dir.identity().map_err(unavailable)? {
        return Ok(id);
    }
    let id = match dir.ids_of_segments().map_err(unavailable)?[..] {
        [] => random_id().map_err(unavailable)?,
        [id] => id,
        _ => return Err(data_error(format!("{} has segments of several logs", dir.files.place("")))),
    };
    dir.identify_once(id).map_err(unavailable)
}

/// What is wrong with a directory that is not the home of the newest records, and what to do.
pub fn not_here(dir: &LogDir, home: LogId, there: Option<LogId>) -> WalError {
    let what = if there.is_some() { "holds another log" } else { "is empty, or another log's" };
    data_error(format!(
        "the write-ahead log is not there: {} {what}; the database's own is {}. Put it back, with all acknowledged work since \
         the last flush, or open the shard where the log is; or give that up: make the file {}, with its directory if there is \
         none, and let the shard open again",
        dir.files.place(""),
        home.hex(),
        dir.files.place(ACCEPT_LOSS)
    ))
}

/// The directory is that of the log `home`; or it becomes it, where an operator gives up what that had. A log that may be
/// elsewhere keeps its name, so that it is known if it comes back.
fn check_id(dir: &LogDir, home: LogId, moves: bool) -> Result<LogId, WalError> {
    let there = dir.identity().map_err(unavailable)?;
    if there == Some(home) {
        return Ok(home);
    }
    let same = dir.ids_of_segments().map_err(unavailable)? == [home];
    let accepts_loss = dir.list().map_err(unavailable)?.accepts_loss;
    let is_it = there.is_none() && same;
    if !is_it && !accepts_loss {
        return Err(not_here(dir, home, there));
    }
    let place = dir.files.place("");
    if is_it {
        log::warn!("{place}: the log's identity is written anew");
    } else {
        log::error!("{place}: an operator accepted that the write-ahead log {} is lost", home.hex());
        if moves {
            return own_id(dir);
        }
    }
    dir.identify(home).map_err(unavailable)?;
    Ok(home)
}

/// The log of the database at `path`, which is here or refused. None: it has none, and `make` does not ask for one.
/// `moves`: it may be elsewhere next time, and from there.
pub async fn at_home(
    dir: LogDir,
    path: &Path,
    store: &Arc<dyn ObjectStore>,
    make: bool,
    moves: bool,
) -> Result<Option<LogDir>, Failure> {
    loop {
        let newest = newest_home(path, store).await?;
        let home = match newest {
            Some(home) if moves => {
                let tenancy = Tenancy { path: path.clone(), store: store.clone() };
                (!tenancy.is_clean(home).await?).then_some(home)
            }
            home => home,
        };
        let looking = dir.clone();
        let id = blocking(move || match home {
            Some(home) => check_id(&looking, home.id, moves).map(Some),
            None if !make && looking.files.names().map_err(unavailable)?.is_empty() => Ok(None),
            None => own_id(&looking).map(Some),
        });
        let Some(id) = id.await? else { return Ok(None) };
        if newest.is_some() || write_home(&path.clone().join(OBJECT), store, id).await? {
            return Ok(Some(dir.with_id(id)));
        }
    }
}
