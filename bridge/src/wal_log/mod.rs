//! The write-ahead log of a database on a local disk.
//!
//! On an object store each WAL flush is an object. On a disk an object is a file that is created, synced, linked to its
//! name and whose directory is synced: four trips to the disk where an append to a file that has its blocks already
//! takes one. So a local WAL is a log: segment files of records, one record a flush.
//!
//! ```text
//! log/00000000000000000007-0000000000.log     epoch 7, segment 0: header, records, zeros
//! log/00000000000000000007-0000000001.log     its next segment
//! log/00000000000000000006.fenced             the writer with epoch 6 may acknowledge nothing any more
//! ```
//!
//! * `record.rs`: the bytes of a record. `segment.rs`: the files. `writer.rs`: appending and syncing.
//!   `init.rs`: taking over from an earlier writer, and replay. `collect.rs`: removing what nobody needs.
//! * A writer writes to segments of its own epoch only. The ids of records rise by one; where a segment begins, the one
//!   before it ends, whatever else is in it.
//!
//! **Fencing.** A writer that takes over makes its own first segment, then puts a `.fenced` marker for each lower epoch
//! it sees, then reads their records. The older writer looks for its marker after each sync and before it says
//! "durable". So a record the reader missed was written after the marker, and its writer will see that. A writer that
//! makes its first segment late finds one of a higher epoch beside it and gives up. A segment that was removed has no
//! name left, which its writer can see too. All this needs one machine's view of the directory: on a network file
//! system a WAL of objects is the right one.

mod collect;
mod init;
mod record;
mod segment;
mod writer;

pub use collect::LogGc;
pub use init::{holds_more, LogInit};
pub use segment::LogDir;
pub use writer::LogHandle;
