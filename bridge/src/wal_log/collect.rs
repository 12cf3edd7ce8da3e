//! Removing segments whose records are in sorted files and that no checkpoint wants.

use super::init::{blocking, unavailable};
use super::segment::{LogDir, Segment};
use async_trait::async_trait;
use slatedb::wal::{WalError, WalFileRange, WalGc};
use std::io::Result;
use std::ops::Bound;
use std::time::Duration;

/// The engine's collector asks it with the ranges that manifests still refer to.
pub struct LogGc(pub LogDir);

/// Does a range have an id in [first, end)?
fn wants(range: &WalFileRange, first: u64, end: u64) -> bool {
    let starts = match range.0 {
        Bound::Included(at) => at,
        Bound::Excluded(at) => at.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let ends = match range.1 {
        Bound::Included(at) => at.saturating_add(1),
        Bound::Excluded(at) => at,
        Bound::Unbounded => u64::MAX,
    };
    starts < ends && first < ends && starts < end
}

/// Segments nobody wants. The newest is never one: it is being written.
fn unwanted(segments: &[(Segment, u64)], ranges: &[WalFileRange]) -> Vec<Segment> {
    let all_but_newest = segments.split_last().map_or(&[][..], |(_, rest)| rest);
    let idle = all_but_newest.iter().filter(|(s, end)| !ranges.iter().any(|r| wants(r, s.first_id, *end)));
    idle.map(|(segment, _)| *segment).collect()
}

/// Segments without a header, of writers that died early; and markers of epochs without segments.
fn remove_leftovers(dir: &LogDir) -> Result<()> {
    let found = dir.list()?;
    let Some(newest) = found.segments.last().map(|name| name.epoch) else { return Ok(()) };
    for name in found.segments.iter().filter(|name| name.epoch < newest) {
        if dir.header(*name)?.is_none() {
            dir.remove(*name)?;
        }
    }
    for epoch in found.fenced.iter().filter(|epoch| **epoch < newest) {
        if !dir.list()?.segments.iter().any(|name| name.epoch == *epoch) {
            dir.remove_marker(*epoch)?;
        }
    }
    Ok(())
}

fn collect(dir: &LogDir, ranges: &[WalFileRange], dry_run: bool) -> Result<()> {
    for segment in unwanted(&dir.segments()?, ranges) {
        if dry_run {
            log::info!("dry run: would remove WAL segment {:?}", segment.name);
        } else {
            dir.remove(segment.name)?;
        }
    }
    if !dry_run {
        remove_leftovers(dir)?;
    }
    Ok(())
}

#[async_trait]
impl WalGc for LogGc {
    /// `min_age` protects readers of objects; segments have none but their own writer's replay.
    async fn collect(
        &self,
        referenced_ranges: Vec<WalFileRange>,
        _min_age: Duration,
        dry_run: bool,
    ) -> std::result::Result<(), WalError> {
        let dir = self.0.clone();
        blocking(move || collect(&dir, &referenced_ranges, dry_run).map_err(unavailable)).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::SegmentName;
    use super::*;

    fn segment(number: u64, first_id: u64, end: u64) -> (Segment, u64) {
        (Segment { name: SegmentName { epoch: 1, number }, first_id }, end)
    }

    #[test]
    fn only_what_no_range_wants_goes() {
        let all = [segment(0, 1, 10), segment(1, 10, 20), segment(2, 20, 30), segment(3, 30, u64::MAX)];
        let from = |first| WalFileRange(Bound::Included(first), Bound::Unbounded);
        let numbers = |ranges: &[WalFileRange]| -> Vec<u64> {
            unwanted(&all, ranges).iter().map(|s| s.name.number).collect()
        };
        assert_eq!(numbers(&[from(25)]), [0, 1]);
        assert_eq!(numbers(&[from(1_000)]), [0, 1, 2], "the newest stays");
        let checkpoint = WalFileRange(Bound::Excluded(9), Bound::Excluded(11));
        assert_eq!(numbers(&[from(25), checkpoint]), [0]);
        let empty = WalFileRange(Bound::Excluded(9), Bound::Excluded(10));
        assert_eq!(numbers(&[from(25), empty]), [0, 1]);
    }
}
