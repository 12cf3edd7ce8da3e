//! The policy as a scheduler of the engine's: which segments get the free places.

use super::pace::Pace;
use super::policy::{Pick, Policy, Source, Tree};
use crate::activity::Activity;
use slatedb::compactor::{
    Compaction, CompactionScheduler, CompactionSchedulerSupplier, CompactionSpec, CompactionStatus,
    CompactorStateView, SourceId,
};
use slatedb::config::CompactorOptions;
use slatedb::manifest::Segment;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

/// Runs in a segment from which on their merges are no longer held back.
const HURRY_RUNS: usize = 40;

struct Scheduler {
    policy: Policy,
    places: usize,
    activity: Arc<Activity>,
    pace: Arc<Pace>,
}

/// A planned state of the database: picks are made in it until the places are full.
struct Plan<'a> {
    policy: &'a Policy,
    trees: Vec<(bytes::Bytes, Tree)>,
    next_run: u32,
    free: usize,
    merging: bool,
    merging_runs: usize,
    specs: Vec<CompactionSpec>,
}

impl Plan<'_> {
    fn take(&mut self, at: usize, pick: Pick) {
        let destination = pick.destination().unwrap_or_else(|| {
            self.next_run += 1;
            self.next_run - 1
        });
        let (segment, tree) = &mut self.trees[at];
        tree.busy.extend(pick.sources.iter().copied());
        self.specs.push(CompactionSpec::for_segment(segment.clone(), pick.sources, destination));
        self.free -= 1;
    }

    /// Picks from the segments with the most sources of that kind first.
    fn fill(
        &mut self,
        most: usize,
        sources: impl Fn(&Tree) -> usize,
        pick: impl Fn(&Tree, &Policy) -> Option<Pick>,
    ) {
        let end = self.specs.len() + most.min(self.free);
        self.trees.sort_by_key(|(_, tree)| Reverse(sources(tree)));
        for at in 0..self.trees.len() {
            if self.specs.len() == end {
                return;
            }
            if let Some(pick) = pick(&self.trees[at].1, self.policy) {
                self.take(at, pick);
            }
        }
    }
}

fn flushed_names(state: &CompactorStateView) -> HashSet<String> {
    let files = state.manifest().segments().iter().flat_map(|segment| segment.l0());
    files.map(|file| format!("{}.sst", file.sst.id.value())).collect()
}

fn occupies_a_place(compaction: &Compaction) -> bool {
    matches!(
        compaction.status(),
        CompactionStatus::Submitted | CompactionStatus::Scheduled | CompactionStatus::Running
    )
}

fn tree_of(segment: &Segment, active: &[&Compaction]) -> Tree {
    let flushed = segment.l0().iter();
    let runs = segment.compacted().iter();
    let of_segment = active.iter().filter(|compaction| compaction.spec().segment() == segment.prefix());
    Tree {
        flushed: flushed
            .map(|file| Source { id: SourceId::SstView(file.id), bytes: file.estimate_size() })
            .collect(),
        runs: runs
            .map(|run| Source { id: SourceId::SortedRun(run.id), bytes: run.estimate_size() })
            .collect(),
        busy: of_segment
            .flat_map(|compaction| {
                let into = compaction.spec().destination().map(SourceId::SortedRun);
                compaction.spec().sources().iter().copied().chain(into)
            })
            .collect(),
    }
}

/// Numbers of runs are unique in a database, and rise.
fn next_run(segments: &[Segment], active: &[&Compaction]) -> u32 {
    let there = segments.iter().flat_map(|segment| segment.compacted()).map(|run| run.id);
    let to_come = active.iter().filter_map(|compaction| compaction.spec().destination());
    there.chain(to_come).max().map_or(0, |highest| highest.saturating_add(1))
}

impl Scheduler {
    fn plan(&self, state: &CompactorStateView) -> Plan<'_> {
        let segments = state.manifest().segments();
        let known = state.compactions().into_iter().flat_map(|known| known.recent_compactions());
        let active: Vec<&Compaction> = known.filter(|compaction| compaction.active()).collect();
        let trees: Vec<_> =
            segments.iter().map(|segment| (segment.prefix().clone(), tree_of(segment, &active))).collect();
        let occupied = active.iter().filter(|compaction| occupies_a_place(compaction)).count();
        Plan {
            policy: &self.policy,
            trees,
            next_run: next_run(segments, &active),
            free: self.places.saturating_sub(occupied),
            merging: !active.is_empty(),
            merging_runs: active.iter().filter(|compaction| !compaction.spec().has_l0_sources()).count(),
            specs: Vec::new(),
        }
    }
}

impl CompactionScheduler for Scheduler {
    fn propose(&self, state: &CompactorStateView) -> Vec<CompactionSpec> {
        let mut plan = self.plan(state);
        let hurried = plan.trees.iter().any(|(_, tree)| tree.runs.len() >= HURRY_RUNS);
        self.pace.set(hurried, flushed_names(state));
        let runs_places = self.places.div_ceil(4).saturating_sub(plan.merging_runs);
        plan.fill(self.places, |tree| tree.flushed.len(), Tree::pick_flushed);
        plan.fill(runs_places, |tree| tree.runs.len(), Tree::pick_runs);
        self.activity.set_merging(plan.merging || !plan.specs.is_empty());
        plan.specs
    }
}

pub struct Supplier {
    pub activity: Arc<Activity>,
    pub pace: Arc<Pace>,
}

/// A compactor whose places are all taken asks for no plan, and nobody would see files pile up: it gets one place more than
/// are used.
pub fn with_spare_place(mut options: CompactorOptions) -> CompactorOptions {
    options.max_concurrent_compactions = options.max_concurrent_compactions.saturating_add(1);
    options
}

impl CompactionSchedulerSupplier for Supplier {
    fn compaction_scheduler(&self, options: &CompactorOptions) -> Box<dyn CompactionScheduler + Send + Sync> {
        Box::new(Scheduler {
            policy: Policy::of(options),
            places: (options.max_concurrent_compactions - 1).max(1),
            activity: self.activity.clone(),
            pace: self.pace.clone(),
        })
    }
}
