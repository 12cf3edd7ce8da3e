//! The write-ahead log of a database on a local disk.
//!
//! On an object store each WAL flush is an object. On a disk an object is a file that is created, synced, linked to its
//! name and whose directory is synced: four trips to the disk where an append to a file that has its blocks already
//! takes one. So a local WAL is a log: segment files of records, one record a flush.
//!
//! * `record.rs`: the bytes of a record. `segment.rs`: those of a segment. `dir.rs`: the files, `book.rs`: one of them.
//!   `files.rs`: what is asked of the disk; `memory.rs`: a disk for tests.
//! * `survey.rs`: which records count, and what is damage. `give_up.rs`: going on without what is damaged.
//!   `init.rs`: taking over from an earlier writer, and replay. `writer.rs`: appending and syncing. `tenure.rs`: a writer's
//!   time. `collect.rs`: removing what nobody needs. `home.rs`: which log is this database's, and `tenancy.rs`: where it was last; `forms.rs`: a WAL that was
//!   kept the other way.
//! * A writer writes to segments of its own epoch only. The ids of records rise by one; where a later segment begins, the
//!   earlier ones end, whatever else is in them.
//!
//! **Fencing.** A writer that takes over (B) first shows itself by its `.writer` file, then puts a `.fenced` marker for each
//! lower epoch it sees, then reads their records. The older writer (A) looks for its marker after each sync and before it
//! says "durable". Why A never acknowledges what B did not read:
//!
//! 1. A wrote the record into a segment that B saw. B read it without the record, so the marker was there before the record
//!    was, and A finds it, or finds that the segment has no name left.
//! 2. A's segment was not there when B looked. A looks through the directory once its new segment has its name and before
//!    anything in it counts. B's `.writer` file was there by then, and A is fenced.
//! 3. A was stopped for any length of time meanwhile, and B, or others after B, closed and collected. A's marker is still
//!    there: markers go only when the lock on the `.writer` file they are for is free, which the kernel sees to when A's
//!    process ends and never before. So in 2., too, where the names of one of several successors may have gone while A read
//!    the directory, whoever removed them had put A's marker.
//! 4. The log was deleted and made anew, and epochs begin again at 1: A's own `.writer` file has no name left, which A looks
//!    for with each new segment, as it does for its segment's name with each record.
//!
//! Epochs are given out by the manifest and never twice. All this needs one machine's view of the directory: on a network
//! file system a WAL of objects is the right one.

mod blocking;
mod book;
mod collect;
mod dir;
mod files;
mod forms;
mod give_up;
mod home;
mod init;
mod memory;
mod record;
mod segment;
mod survey;
mod tenancy;
mod tenure;
pub mod verify;
mod writer;

#[cfg(test)]
mod trial;

pub use collect::LogGc;
pub use dir::LogDir;
pub use forms::{end_log, end_objects, holds_more};
pub use home::{at_home, forget_home};
pub use init::LogInit;
pub use tenancy::Tenancy;
pub use writer::LogHandle;
