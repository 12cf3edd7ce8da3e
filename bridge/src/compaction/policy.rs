//! Which sorted files are merged, and when.
//!
//! Each segment is a tree of its own: flushed files (L0) and sorted runs, newest first. Two kinds of rows live in them.
//! Jobs are written and stay; tasks, leases and slots are written and deleted again within moments, and what is left
//! of them are tombstones, which only a merge down to the oldest run can drop.
//!
//! * All flushed files of a segment become one new run, from twice `min_sources` of them on: they are small.
//! * `min_sources` neighbouring runs or more are merged when each is no larger than all newer ones together times
//!   `size_ratio`. A row is then rewritten once for each factor of `min_sources` its segment has grown.
//! * Flushed files take all runs along when together these are at most a quarter of them: that costs little more, and the
//!   tombstones are gone. A segment whose rows come and go so stays one small run.
//! * More than `runs_max` runs in a segment are merged down to that number, where it costs least.
//!
//! A segment may have one merge of flushed files and one of runs at a time. Merges of runs get a quarter of the places: too
//! many flushed files stop writes, too many runs only make reads slower, which is why their merges are paced (pace.rs). Where
//! merging falls behind, more files go into one merge, and a row is rewritten less often.

use slatedb::compactor::SourceId;
use slatedb::config::CompactorOptions;
use std::collections::{HashMap, HashSet};

/// Runs are taken along with flushed files up to this part of them.
const TAKEN_ALONG_RATIO: u64 = 4;

/// The engine's names for what a policy is made of, in the order of its fields.
pub const POLICY_KEYS: [&str; 4] = [
    "min_compaction_sources",
    "max_compaction_sources",
    "include_size_threshold",
    "sorted_run_consolidation_threshold",
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    min_sources: usize,
    max_sources: usize,
    size_ratio: f64,
    /// 0: any number.
    runs_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { min_sources: 4, max_sources: 64, size_ratio: 1.0, runs_max: 24 }
    }
}

impl Policy {
    /// As scheduler options, which are text.
    pub fn options(&self) -> HashMap<&'static str, String> {
        let values = [
            self.min_sources.to_string(),
            self.max_sources.to_string(),
            self.size_ratio.to_string(),
            self.runs_max.to_string(),
        ];
        POLICY_KEYS.into_iter().zip(values).collect()
    }

    /// What is no number is as if it were not there: the settings have been checked.
    pub fn of(options: &CompactorOptions) -> Policy {
        let number = |key: &str| options.scheduler_options.get(key)?.parse::<f64>().ok();
        let count = |at: usize, otherwise: usize| number(POLICY_KEYS[at]).map_or(otherwise, |n| n as usize);
        let base = Policy::default();
        let min_sources = count(0, base.min_sources).max(2);
        Policy {
            min_sources,
            max_sources: count(1, base.max_sources).max(min_sources),
            size_ratio: number(POLICY_KEYS[2]).unwrap_or(base.size_ratio),
            runs_max: count(3, base.runs_max),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub id: SourceId,
    pub bytes: u64,
}

fn total(sources: &[Source]) -> u64 {
    sources.iter().map(|source| source.bytes).sum()
}

/// One segment: newest first, and which of it is being merged.
#[derive(Debug, Default)]
pub struct Tree {
    pub flushed: Vec<Source>,
    pub runs: Vec<Source>,
    pub busy: HashSet<SourceId>,
}

/// Neighbours to be merged. No run among them: into a new one, else into the oldest of them.
#[derive(Debug, PartialEq)]
pub struct Pick {
    pub sources: Vec<SourceId>,
}

impl Pick {
    fn of(sources: &[Source]) -> Pick {
        Pick { sources: sources.iter().map(|source| source.id).collect() }
    }

    pub fn destination(&self) -> Option<u32> {
        match self.sources.last() {
            Some(SourceId::SortedRun(id)) => Some(*id),
            _ => None,
        }
    }
}

impl Tree {
    fn is_busy(&self, source: &Source) -> bool {
        self.busy.contains(&source.id)
    }

    /// One merge of flushed files at a time, the oldest first.
    pub fn pick_flushed(&self, policy: &Policy) -> Option<Pick> {
        if self.flushed.len() < 2 * policy.min_sources || self.flushed.iter().any(|file| self.is_busy(file)) {
            return None;
        }
        let oldest = self.flushed.len() - self.flushed.len().min(policy.max_sources);
        let mut sources = self.flushed[oldest..].to_vec();
        let bytes = total(&sources);
        let tail = total(&self.runs);
        let all = sources.len() + self.runs.len() <= policy.max_sources
            && tail <= bytes / TAKEN_ALONG_RATIO
            && !self.runs.iter().any(|run| self.is_busy(run));
        if all {
            sources.extend_from_slice(&self.runs);
        }
        Some(Pick::of(&sources))
    }

    /// The end of the neighbours from `first` on that are worth a merge with it.
    fn similar_end(&self, first: usize, policy: &Policy) -> usize {
        let mut end = first;
        let mut bytes = 0;
        while end < self.runs.len()
            && end - first < policy.max_sources
            && (end == first || self.runs[end].bytes as f64 <= bytes as f64 * policy.size_ratio)
        {
            bytes += self.runs[end].bytes;
            end += 1;
        }
        end
    }

    fn pick_similar(&self, policy: &Policy) -> Option<Pick> {
        (0..self.runs.len())
            .map(|first| &self.runs[first..self.similar_end(first, policy)])
            .find(|similar| similar.len() >= policy.min_sources)
            .map(Pick::of)
    }

    /// The cheapest neighbours whose merge brings the runs down to the most there may be.
    fn pick_surplus(&self, policy: &Policy) -> Option<Pick> {
        if policy.runs_max == 0 || self.runs.len() <= policy.runs_max {
            return None;
        }
        let width = (self.runs.len() - policy.runs_max + 1).min(policy.max_sources);
        self.runs.windows(width).min_by_key(|window| total(window)).map(Pick::of)
    }

    /// One merge of runs at a time.
    pub fn pick_runs(&self, policy: &Policy) -> Option<Pick> {
        if self.runs.iter().any(|run| self.is_busy(run)) {
            return None;
        }
        self.pick_similar(policy).or_else(|| self.pick_surplus(policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u32, bytes: u64) -> Source {
        Source { id: SourceId::SortedRun(id), bytes }
    }

    /// The n-th flushed file; nothing looks at more than that they differ.
    fn file(n: u128, bytes: u64) -> Source {
        Source { id: SourceId::SstView(n.into()), bytes }
    }

    /// Runs of these sizes, newest first.
    fn runs(sizes: &[u64]) -> Tree {
        let count = sizes.len() as u32;
        let runs = sizes.iter().zip(0..).map(|(bytes, i)| run(count - i, *bytes)).collect();
        Tree { runs, ..Tree::default() }
    }

    fn number(source: SourceId) -> u32 {
        match source {
            SourceId::SortedRun(id) => id,
            SourceId::SstView(_) => panic!("a flushed file"),
        }
    }

    fn ids(pick: Option<Pick>) -> Vec<u32> {
        pick.unwrap().sources.into_iter().map(number).collect()
    }

    /// A segment that is merged at once whenever the policy says so.
    struct Life {
        tree: Tree,
        next: u32,
        flushed: u128,
        taken: u64,
        written: u64,
    }

    impl Life {
        fn new() -> Life {
            Life { tree: Tree::default(), next: 0, flushed: 0, taken: 0, written: 0 }
        }

        /// `survives` says what a merge down to the oldest run leaves of the bytes that go in.
        fn merge(&mut self, pick: Pick, survives: impl Fn(u64) -> u64) {
            let picked: HashSet<SourceId> = pick.sources.iter().copied().collect();
            let all: Vec<Source> = self.tree.flushed.iter().chain(&self.tree.runs).copied().collect();
            let first = all.iter().position(|source| picked.contains(&source.id)).unwrap();
            let end = first + picked.len();
            assert!(all[first..end].iter().all(|source| picked.contains(&source.id)), "not neighbours");
            assert!(end > self.tree.flushed.len() || end == self.tree.flushed.len(), "an older file stays");
            let mut bytes = total(&all[first..end]);
            if end == all.len() {
                bytes = survives(bytes);
            }
            self.written += bytes;
            let id = pick.destination().unwrap_or_else(|| {
                self.next += 1;
                self.next
            });
            self.tree.flushed.retain(|source| !picked.contains(&source.id));
            self.tree.runs.retain(|source| !picked.contains(&source.id));
            let at = self.tree.runs.iter().filter(|older| number(older.id) > id).count();
            self.tree.runs.insert(at, run(id, bytes));
        }

        fn flush(&mut self, bytes: u64, survives: impl Fn(u64) -> u64) {
            let policy = Policy::default();
            self.flushed += 1;
            self.taken += bytes;
            self.tree.flushed.insert(0, file(self.flushed, bytes));
            for _ in 0..8 {
                match self.tree.pick_flushed(&policy).or_else(|| self.tree.pick_runs(&policy)) {
                    Some(pick) => self.merge(pick, &survives),
                    None => return,
                }
            }
            panic!("merges without end");
        }
    }

    #[test]
    fn rows_that_stay_are_rewritten_a_few_times() {
        let mut life = Life::new();
        for n in 1..=4096 {
            life.flush(8 << 20, |bytes| bytes);
            assert!(life.tree.runs.len() <= 24, "{} runs after {n} files", life.tree.runs.len());
            assert_eq!(total(&life.tree.runs) + total(&life.tree.flushed), life.taken);
        }
        let rewritten = life.written as f64 / life.taken as f64;
        assert!(rewritten < 8.0, "each byte was written {rewritten} times");
    }

    #[test]
    fn rows_that_come_and_go_stay_one_small_run() {
        let mut life = Life::new();
        for _ in 1..=4096 {
            life.flush(8 << 20, |bytes| bytes / 50);
            assert!(life.tree.runs.len() <= 1);
        }
        assert!(total(&life.tree.runs) < 8 << 20);
        assert!(life.written < life.taken / 25, "{} of {}", life.written, life.taken);
    }

    #[test]
    fn similar_runs_are_merged_and_others_are_not() {
        let policy = Policy::default();
        assert_eq!(runs(&[10, 10, 10]).pick_runs(&policy), None);
        assert_eq!(ids(runs(&[10, 10, 10, 10, 900]).pick_runs(&policy)), [5, 4, 3, 2]);
        assert_eq!(ids(runs(&[1, 90, 90, 90, 90, 9000]).pick_runs(&policy)), [5, 4, 3, 2]);
        assert_eq!(ids(runs(&[10, 10, 10, 10, 40, 80]).pick_runs(&policy)), [6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn a_small_rest_is_taken_along() {
        let policy = Policy::default();
        let mut tree = runs(&[5, 15]);
        tree.flushed = (1..=8).rev().map(|n| file(n, 10)).collect();
        let pick = tree.pick_flushed(&policy).unwrap();
        assert_eq!((pick.sources.len(), pick.destination()), (10, Some(1)));
        tree.runs[1].bytes = 16;
        let pick = tree.pick_flushed(&policy).unwrap();
        assert_eq!((pick.sources.len(), pick.destination()), (8, None));
    }

    #[test]
    fn flushed_files_are_merged_oldest_first_and_once() {
        let policy = Policy { max_sources: 8, ..Policy::default() };
        let mut tree = Tree { flushed: (1..=10).rev().map(|n| file(n, 10)).collect(), ..Tree::default() };
        let pick = tree.pick_flushed(&policy).unwrap();
        assert_eq!(pick.sources, tree.flushed[2..].iter().map(|file| file.id).collect::<Vec<_>>());
        tree.busy.extend(pick.sources);
        assert_eq!(tree.pick_flushed(&policy), None);
    }

    #[test]
    fn what_is_being_merged_is_left_alone() {
        let policy = Policy::default();
        let mut tree = runs(&[10, 10, 10, 10, 10]);
        tree.busy.insert(SourceId::SortedRun(1));
        assert_eq!(tree.pick_runs(&policy), None);
        tree.flushed = (1..=8).rev().map(|n| file(n, 100)).collect();
        assert_eq!(tree.pick_flushed(&policy).unwrap().sources.len(), 8, "not the busy runs");
    }

    #[test]
    fn too_many_runs_are_merged_where_it_costs_least() {
        let policy = Policy { runs_max: 3, ..Policy::default() };
        assert_eq!(ids(runs(&[1, 5, 30, 40, 900]).pick_runs(&policy)), [5, 4, 3]);
        assert_eq!(runs(&[1, 5, 900]).pick_runs(&policy), None);
    }

    #[test]
    fn options_are_read_and_kept_sane() {
        let mut options = CompactorOptions::default();
        options.scheduler_options.clear();
        assert_eq!(Policy::of(&options), Policy::default());
        let mut set = |key: &str, value: &str| {
            options.scheduler_options.insert(key.into(), value.into());
        };
        set("min_compaction_sources", "1");
        set("max_compaction_sources", "1");
        set("include_size_threshold", "4.5");
        set("sorted_run_consolidation_threshold", "0");
        let policy = Policy { min_sources: 2, max_sources: 2, size_ratio: 4.5, runs_max: 0 };
        assert_eq!(Policy::of(&options), policy);
    }
}
