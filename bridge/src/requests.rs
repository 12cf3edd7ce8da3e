//! What calls ask of the tasks of a database.

use bytes::Bytes;
use tokio::sync::oneshot;

/// One batch: packed operations that were checked.
pub struct WriteReq {
    pub bufs: Vec<Bytes>,
    pub bytes: u64,
    pub token: u64,
}

pub enum WriteMsg {
    Write(WriteReq),
    /// A WAL flush, in its turn among the writes: what a database with a log does.
    Flush(u64),
    Stop(oneshot::Sender<()>),
}

pub enum FlushMsg {
    /// A token, and how many writes had been accepted by then: all of them come along.
    Flush(u64, u64),
    Stop(oneshot::Sender<()>),
}
