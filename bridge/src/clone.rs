//! Databases out of a database: a checkpoint of one that is closed, and clones of that which have a part of its rows each.
//! Nothing is copied: a clone refers to the files of the database it is of, and pins them there until its own merges have
//! replaced them all.

use crate::admin::{finish_removal, start};
use crate::cq::{Cq, Event};
use crate::env::Env;
use crate::error::{Failure, EEXIST, EFENCED, EINVAL, ENOTFOUND};
use crate::ffi::{guard, req_str};
use crate::objects::{done, Answer, CHECKPOINT, CHECKPOINT_DROP, CLONE};
use crate::place::Place;
use crate::plan::{OpenArgs, OpenPlan};
use bytes::Bytes;
use object_store::path::Path;
use slatedb::admin::CloneSourceSpec;
use slatedb::config::CheckpointOptions;
use slatedb::VersionedManifest;
use std::collections::HashMap;
use std::ffi::c_char;
use std::ops::Bound;

/// What tells our checkpoints from the engine's and from those of clones.
pub const NAME: &str = "silo";
const RANGES_MAX: usize = 256; // one for each first byte

#[repr(C)]
pub struct Range {
    pub lo: *const u8,
    pub lo_len: usize,
    pub hi: *const u8,
    pub hi_len: usize,
}

#[repr(C)]
pub struct CloneArgs {
    pub from: *const c_char,
    pub checkpoint: *const c_char,
    pub ranges: *const Range,
    pub ranges_count: usize,
}

fn absent(place: &Place) -> Failure {
    Failure::new(ENOTFOUND, format!("{}: there is no such database", place.path))
}

/// The manifest is of the writer that is expected.
fn check_writer(place: &Place, manifest: &VersionedManifest, expected: u64) -> Result<(), Failure> {
    let newest = manifest.writer_epoch();
    if newest == expected {
        return Ok(());
    }
    Err(Failure::new(EFENCED, format!("{}: its newest writer is {newest}, not {expected}", place.path)))
}

/// The engine would take whatever is the newest manifest when its turn comes, and a record that is in no sorted file would
/// be missing in what is made of the checkpoint. So both are looked at, and the writer again in what was pinned.
async fn checkpoint(plan: OpenPlan) -> Result<Event, Failure> {
    let place = &plan.place;
    let Some(expected) = plan.expected else { return Err(Failure::invalid("checkpoint: of which writer?")) };
    let before = place.newest_manifest().await?.ok_or_else(|| absent(place))?;
    check_writer(place, &before, expected)?;
    if place.has_replay(&before).await? {
        let text = format!("{}: its write-ahead log has records that are in no sorted file", place.path);
        return Err(Failure::invalid(text));
    }
    let admin = place.admin();
    let options = CheckpointOptions { lifetime: None, source: None, name: Some(NAME.to_string()) };
    let made = admin.create_detached_checkpoint(&options).await?;
    let pinned = admin.read_manifest(Some(made.manifest_id)).await?.ok_or_else(|| absent(place));
    if let Err(failure) = pinned.and_then(|pinned| check_writer(place, &pinned, expected)) {
        let _ = admin.delete_checkpoint(made.id).await; // else it goes with the database
        return Err(failure);
    }
    Ok(Event { seq: made.manifest_id, nrows: 1, data: made.id.to_string().into_bytes(), ..done() })
}

async fn drop_checkpoint(place: &Place, id: &str) -> Result<Event, Failure> {
    let Some(manifest) = place.newest_manifest().await? else { return Ok(done()) };
    let ours = |name: &Option<String>| name.as_deref() == Some(NAME);
    let found = manifest.checkpoints().iter().find(|found| found.id.to_string() == id && ours(&found.name));
    if let Some(found) = found {
        place.admin().delete_checkpoint(found.id).await?;
    }
    Ok(done())
}

type Bounds = (Bound<Bytes>, Bound<Bytes>);
const ALL: Bounds = (Bound::Unbounded, Bound::Unbounded);

/// What is kept of the segments that are cut; None: nothing.
type Cuts = HashMap<u8, Option<Bounds>>;

/// `[lo, hi)`, which lies in the segment of lo's first byte. Without a hi it goes to the segment's end.
fn cut(lo: &[u8], hi: &[u8]) -> Result<(u8, Option<Bounds>), Failure> {
    let Some(segment) = lo.first().copied() else {
        return Err(Failure::invalid("clone: a range begins with the first byte of its rows"));
    };
    let to_its_end = hi.is_empty() || (hi.len() == 1 && segment.checked_add(1) == Some(hi[0]));
    if !to_its_end && hi[0] != segment {
        return Err(Failure::invalid("clone: a range lies in rows of one first byte"));
    }
    if !to_its_end && lo >= hi {
        return Ok((segment, None));
    }
    let end = match to_its_end {
        true => Bound::Unbounded,
        false => Bound::Excluded(Bytes::copy_from_slice(hi)),
    };
    Ok((segment, Some((Bound::Included(Bytes::copy_from_slice(lo)), end))))
}

/// # Safety
/// The ranges are readable.
unsafe fn cuts(ranges: *const Range, count: usize) -> Result<Cuts, Failure> {
    if count > RANGES_MAX || (ranges.is_null() && count != 0) {
        return Err(Failure::invalid("clone: too many ranges, or none where some are said"));
    }
    let mut cuts = Cuts::new();
    for index in 0..count {
        let range = &*ranges.add(index);
        let bytes = |ptr: *const u8, len| match len {
            0 => &[][..],
            _ => std::slice::from_raw_parts(ptr, len),
        };
        let (segment, kept) = cut(bytes(range.lo, range.lo_len), bytes(range.hi, range.hi_len))?;
        if cuts.insert(segment, kept).is_some() {
            return Err(Failure::invalid("clone: two ranges in rows of one first byte"));
        }
    }
    Ok(cuts)
}

/// Where a clone comes from, and what it keeps.
struct Source {
    from: Path,
    checkpoint: String,
    cuts: Cuts,
}

/// What lies at the clone's place may be this clone, whole or half-made. Its first writer comes after the checkpoint's.
fn check_place(to: &Place, there: &VersionedManifest, source: &Source, epoch: u64) -> Result<(), Failure> {
    let from = source.from.to_string();
    let is_it = there.external_dbs().iter().any(|external| {
        external.path == from && external.source_checkpoint_id.to_string() == source.checkpoint
    });
    if is_it && there.writer_epoch() == epoch {
        return Ok(());
    }
    Err(Failure::new(EEXIST, format!("{}: another database is there, or this one was opened", to.path)))
}

async fn clone(to: Place, source: Source) -> Result<Event, Failure> {
    finish_removal(&to).await?;
    let from = Place { path: source.from.clone(), ..to.clone() };
    let parent = from.newest_manifest().await?.ok_or_else(|| absent(&from))?;
    let checkpoint = parent.checkpoints().iter().find(|found| found.id.to_string() == source.checkpoint);
    let Some(checkpoint) = checkpoint else {
        let text = format!("{}: it has no checkpoint {}", source.from, source.checkpoint);
        return Err(Failure::new(ENOTFOUND, text));
    };
    if let Some(there) = to.newest_manifest().await? {
        let pinned = from.admin().read_manifest(Some(checkpoint.manifest_id)).await?;
        check_place(&to, &there, &source, pinned.ok_or_else(|| absent(&from))?.writer_epoch())?;
    }
    let spec = CloneSourceSpec::with_checkpoint(source.from, checkpoint.id);
    let admin = to.admin();
    let builder = admin.create_clone_builder_from_source(spec);
    if source.cuts.is_empty() {
        builder.build().await?;
        return Ok(done());
    }
    let (dropped, kept) = (source.cuts.clone(), source.cuts);
    let of = |cuts: &Cuts, prefix: &[u8]| prefix.first().map(|segment| cuts.get(segment).cloned());
    builder
        .with_segment_filter(move |prefix| !matches!(of(&dropped, prefix), Some(Some(None))))
        .with_segment_projection(move |prefix| of(&kept, prefix).flatten().flatten().unwrap_or(ALL))
        .build()
        .await?;
    Ok(done())
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_db_checkpoint(
    env: *const Env,
    cq: *const Cq,
    args: *const OpenArgs,
    token: u64,
) -> i32 {
    guard(|| start(env, cq, args, Answer { call: CHECKPOINT, token }, checkpoint))
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_db_checkpoint_drop(
    env: *const Env,
    cq: *const Cq,
    args: *const OpenArgs,
    checkpoint: *const c_char,
    token: u64,
) -> i32 {
    guard(|| {
        let Ok(id) = req_str(checkpoint, "checkpoint").map(String::from) else { return EINVAL };
        let answer = Answer { call: CHECKPOINT_DROP, token };
        start(env, cq, args, answer, move |plan| async move { drop_checkpoint(&plan.place, &id).await })
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_db_clone(
    env: *const Env,
    cq: *const Cq,
    to: *const OpenArgs,
    args: *const CloneArgs,
    token: u64,
) -> i32 {
    guard(|| {
        let Some(args) = args.as_ref() else { return EINVAL };
        let read = || {
            let from = req_str(args.from, "from")?.to_string();
            let checkpoint = req_str(args.checkpoint, "checkpoint")?.to_string();
            Ok::<_, Failure>((from, checkpoint, cuts(args.ranges, args.ranges_count)?))
        };
        let read = read();
        start(env, cq, to, Answer { call: CLONE, token }, move |plan| async move {
            let (from, checkpoint, cuts) = read?;
            let from = plan.place.store.locate(&from)?;
            clone(plan.place, Source { from, checkpoint, cuts }).await
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(lo: &[u8], hi: Option<&[u8]>) -> Bounds {
        let bytes = Bytes::copy_from_slice;
        (Bound::Included(bytes(lo)), hi.map_or(Bound::Unbounded, |hi| Bound::Excluded(bytes(hi))))
    }

    #[test]
    fn a_range_lies_in_one_segment() {
        assert_eq!(cut(b"ta", b"tb").unwrap(), (b't', Some(bounds(b"ta", Some(b"tb")))));
        assert_eq!(cut(b"ta", b"").unwrap(), (b't', Some(bounds(b"ta", None))));
        assert_eq!(cut(b"ta", b"u").unwrap(), (b't', Some(bounds(b"ta", None))));
        assert_eq!(cut(b"t", b"t").unwrap(), (b't', None));
        assert_eq!(cut(&[0xff, 1], b"").unwrap(), (0xff, Some(bounds(&[0xff, 1], None))));
        for (lo, hi) in [(&b""[..], &b"t"[..]), (b"ta", b"ua"), (b"ta", b"s")] {
            assert_eq!(cut(lo, hi).unwrap_err().status, EINVAL);
        }
    }
}
