//! Which log is a database's: an object beside it, `<database>/log-home`, names the log's random id, which each of its
//! segments repeats.
//!
//! The directory gets its id first, durably, then the object is made, then the log takes records. So a database with such
//! an object had a log, and a directory without that id is not it: it is empty, or another database's.

use super::blocking::{blocking, unavailable};
use super::dir::{LogDir, ACCEPT_LOSS};
use super::segment::LogId;
use super::survey::data_error;
use crate::error::{Failure, EDATA};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use slatedb::wal::WalError;
use std::sync::Arc;

const OBJECT: &str = "log-home";
const PREFIX: &str = "silo log ";
const RANDOM: &str = "/dev/urandom";

async fn read_home(at: &Path, store: &Arc<dyn ObjectStore>) -> Result<Option<LogId>, Failure> {
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
    let bytes = Bytes::from(format!("{PREFIX}{}\n", id.hex()));
    match store.put_opts(at, bytes.into(), PutOptions::from(PutMode::Create)).await {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The database has no log any more: to be said before the log goes.
pub async fn forget_home(path: &Path, store: &Arc<dyn ObjectStore>) -> Result<(), Failure> {
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
    dir.identify(id).map_err(unavailable)?;
    Ok(id)
}

/// The directory is that of the log `home`.
fn check_id(dir: &LogDir, home: LogId) -> Result<(), WalError> {
    let there = dir.identity().map_err(unavailable)?;
    if there == Some(home) {
        return Ok(());
    }
    let same = dir.ids_of_segments().map_err(unavailable)? == [home];
    let accepts_loss = dir.list().map_err(unavailable)?.accepts_loss;
    let is_it = there.is_none() && same;
    if is_it || accepts_loss {
        let place = dir.files.place("");
        match is_it {
            true => log::warn!("{place}: the log's identity is written anew"),
            false => {
                log::error!("{place}: an operator accepted that the write-ahead log {} is lost", home.hex())
            }
        }
        return dir.identify(home).map_err(unavailable);
    }
    let what = if there.is_some() { "holds another log" } else { "is empty, or another log's" };
    Err(data_error(format!(
        "the write-ahead log is not there: {} {what}; the database's own is {}. Put it back, with all acknowledged work since \
         the last flush, or give that up: make the file {}, with its directory if there is none, and let the shard open again",
        dir.files.place(""),
        home.hex(),
        dir.files.place(ACCEPT_LOSS)
    )))
}

/// The log of the database at `path`, which is here or refused. None: it has none, and `make` does not ask for one.
pub async fn at_home(
    dir: LogDir,
    path: &Path,
    store: &Arc<dyn ObjectStore>,
    make: bool,
) -> Result<Option<LogDir>, Failure> {
    let at = path.clone().join(OBJECT);
    loop {
        let home = read_home(&at, store).await?;
        let looking = dir.clone();
        let id = blocking(move || match home {
            Some(home) => check_id(&looking, home).map(|()| Some(home)),
            None if !make && looking.files.names().map_err(unavailable)?.is_empty() => Ok(None),
            None => own_id(&looking).map(Some),
        });
        let Some(id) = id.await? else { return Ok(None) };
        if home.is_some() || write_home(&at, store, id).await? {
            return Ok(Some(dir.with_id(id)));
        }
    }
}
