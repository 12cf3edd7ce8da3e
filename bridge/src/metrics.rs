//! The engine's metrics as Prometheus text.
//!
//! Names that dashboards of the field know come from a table; everything else the engine counts keeps its own name and
//! labels behind `silo_`. Series that never counted are left out when the engine has many of a kind (object store calls
//! by component and api).

use crate::buf::Buf;
use crate::db::Db;
use crate::error::{EINVAL, OK};
use crate::ffi::{counted, guard, opt_str, set_text, status_of};
use slatedb_common::metrics::{Metric, MetricValue};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int};
use std::fmt::Write;
use std::sync::atomic::Ordering;

const PREFIX: &str = "silo_";

/// Engine name, label that must match, our name: labels are dropped and series of one name summed.
type Rename = (&'static str, Option<(&'static str, &'static str)>, &'static str);
const RENAMED: [Rename; 27] = [
    ("slatedb.db.request_count", Some(("op", "get")), "slatedb_get_requests_total"),
    ("slatedb.db.request_count", Some(("op", "scan")), "slatedb_scan_requests_total"),
    ("slatedb.db.request_count", Some(("op", "flush")), "slatedb_flush_requests_total"),
    ("slatedb.db.write_ops", None, "slatedb_write_ops_total"),
    ("slatedb.db.write_batch_count", None, "slatedb_write_batch_count_total"),
    ("slatedb.db.backpressure_count", None, "slatedb_backpressure_count_total"),
    ("slatedb.db.immutable_memtable_flushes", None, "slatedb_immutable_memtable_flushes_total"),
    ("slatedb.db.sst_filter_positive_count", None, "slatedb_sst_filter_positives_total"),
    ("slatedb.db.sst_filter_negative_count", None, "slatedb_sst_filter_negatives_total"),
    ("slatedb.db.sst_filter_false_positive_count", None, "slatedb_sst_filter_false_positives_total"),
    ("slatedb.db.total_mem_size_bytes", None, "slatedb_total_mem_size_bytes"),
    ("slatedb.db.l0_sst_count", None, "slatedb_l0_sst_count"),
    ("slatedb.wal.wal_buffer_flushes", None, "slatedb_wal_buffer_flushes_total"),
    ("slatedb.wal.wal_buffer_estimated_bytes", None, "slatedb_wal_buffer_estimated_bytes"),
    ("slatedb.compactor.bytes_compacted", None, "slatedb_bytes_compacted_total"),
    ("slatedb.compactor.running_compactions", None, "slatedb_running_compactions"),
    ("slatedb.compactor.last_compaction_timestamp_sec", None, "slatedb_last_compaction_ts_seconds"),
    (
        "slatedb.compactor.expired_entries_purged",
        Some(("entry_type", "value")),
        "slatedb_expired_entries_purged_value_total",
    ),
    (
        "slatedb.compactor.expired_entries_purged",
        Some(("entry_type", "merge")),
        "slatedb_expired_entries_purged_merge_total",
    ),
    ("slatedb.db_cache.access_count", Some(("", "data_block hit")), "slatedb_cache_data_block_hit_total"),
    ("slatedb.db_cache.access_count", Some(("", "data_block miss")), "slatedb_cache_data_block_miss_total"),
    ("slatedb.db_cache.access_count", Some(("", "index hit")), "slatedb_cache_index_hit_total"),
    ("slatedb.db_cache.access_count", Some(("", "index miss")), "slatedb_cache_index_miss_total"),
    ("slatedb.db_cache.access_count", Some(("", "filter hit")), "slatedb_cache_filter_hit_total"),
    ("slatedb.db_cache.access_count", Some(("", "filter miss")), "slatedb_cache_filter_miss_total"),
    ("slatedb.db_cache.access_count", Some(("", "stats hit")), "slatedb_cache_stats_hit_total"),
    ("slatedb.db_cache.access_count", Some(("", "stats miss")), "slatedb_cache_stats_miss_total"),
];

/// Labels kept, counters get the usual ending.
const RENAMED_LABELLED: [(&str, &str); 3] = [
    ("slatedb.object_store.request_count", "slatedb_object_store_requests_total"),
    ("slatedb.object_store.error_count", "slatedb_object_store_errors_total"),
    ("slatedb.object_store.request_duration_seconds", "slatedb_object_store_request_duration_seconds"),
];

enum Sample {
    Number(f64),
    Histogram { count: u64, sum: f64, bounds: Vec<f64>, buckets: Vec<u64> },
}

struct Family {
    kind: &'static str,
    help: String,
    samples: BTreeMap<String, Sample>,
}

#[derive(Default)]
struct Text {
    families: BTreeMap<String, Family>,
}

impl Text {
    fn add(&mut self, name: &str, kind: &'static str, help: &str, labels: String, sample: Sample) {
        let family = self.families.entry(format!("{PREFIX}{name}")).or_insert_with(|| Family {
            kind,
            help: help.replace('\\', "\\\\").replace('\n', " "),
            samples: BTreeMap::new(),
        });
        match (family.samples.get_mut(&labels), sample) {
            (Some(Sample::Number(sum)), Sample::Number(more)) => *sum += more,
            (_, sample) => {
                family.samples.insert(labels, sample);
            }
        }
    }

    fn number(&mut self, name: &str, kind: &'static str, help: &str, value: f64) {
        self.add(name, kind, help, String::new(), Sample::Number(value));
    }

    fn engine_metric(&mut self, metric: &Metric) {
        let kind = kind_of(&metric.value);
        for (engine_name, wanted, name) in &RENAMED {
            if metric.name == *engine_name && label_matches(metric, *wanted) {
                return self.add(name, kind, &metric.description, String::new(), sample_of(&metric.value));
            }
        }
        for (engine_name, name) in &RENAMED_LABELLED {
            if metric.name == *engine_name {
                if !is_zero(&metric.value) {
                    self.add(name, kind, &metric.description, labels_of(metric), sample_of(&metric.value));
                }
                return;
            }
        }
        let mut name = metric.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        if kind == "counter" {
            name.push_str("_total");
        }
        self.add(&name, kind, &metric.description, labels_of(metric), sample_of(&metric.value));
    }

    fn render(&self, outer: &str, with_types: bool) -> String {
        let mut out = String::new();
        for (name, family) in &self.families {
            if with_types {
                if !family.help.is_empty() {
                    let _ = writeln!(out, "# HELP {name} {}", family.help);
                }
                let _ = writeln!(out, "# TYPE {name} {}", family.kind);
            }
            for (labels, sample) in &family.samples {
                render_sample(&mut out, name, outer, labels, sample);
            }
        }
        out
    }
}

fn braces(parts: &[&str]) -> String {
    let joined: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if joined.is_empty() {
        return String::new();
    }
    format!("{{{}}}", joined.join(","))
}

fn render_sample(out: &mut String, name: &str, outer: &str, labels: &str, sample: &Sample) {
    let all = braces(&[outer, labels]);
    match sample {
        Sample::Number(value) => {
            let _ = writeln!(out, "{name}{all} {value}");
        }
        Sample::Histogram { count, sum, bounds, buckets } => {
            let mut seen = 0;
            for (bound, n) in bounds.iter().zip(buckets) {
                seen += n;
                let le = format!("le=\"{bound}\"");
                let _ = writeln!(out, "{name}_bucket{} {seen}", braces(&[outer, labels, &le]));
            }
            let _ = writeln!(out, "{name}_bucket{} {count}", braces(&[outer, labels, "le=\"+Inf\""]));
            let _ = writeln!(out, "{name}_sum{all} {sum}");
            let _ = writeln!(out, "{name}_count{all} {count}");
        }
    }
}

fn kind_of(value: &MetricValue) -> &'static str {
    match value {
        MetricValue::Counter(_) => "counter",
        MetricValue::Gauge(_) | MetricValue::UpDownCounter(_) => "gauge",
        MetricValue::Histogram { .. } => "histogram",
    }
}

fn is_zero(value: &MetricValue) -> bool {
    match value {
        MetricValue::Counter(v) => *v == 0,
        MetricValue::Gauge(v) | MetricValue::UpDownCounter(v) => *v == 0,
        MetricValue::Histogram { count, .. } => *count == 0,
    }
}

fn sample_of(value: &MetricValue) -> Sample {
    match value {
        MetricValue::Counter(v) => Sample::Number(*v as f64),
        MetricValue::Gauge(v) | MetricValue::UpDownCounter(v) => Sample::Number(*v as f64),
        MetricValue::Histogram { count, sum, boundaries, bucket_counts, .. } => Sample::Histogram {
            count: *count,
            sum: *sum,
            bounds: boundaries.clone(),
            buckets: bucket_counts.clone(),
        },
    }
}

/// A cache access has two labels; they are matched joined, under the empty name.
fn label_matches(metric: &Metric, wanted: Option<(&str, &str)>) -> bool {
    let find = |name: &str| metric.labels.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.as_str());
    match wanted {
        None => true,
        Some(("", joined)) => joined == format!("{} {}", find("entry_kind"), find("result")),
        Some((name, value)) => find(name) == value,
    }
}

fn labels_of(metric: &Metric) -> String {
    let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let parts: Vec<String> = metric.labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
    parts.join(",")
}

fn collect(db: &Db) -> Text {
    let mut text = Text::default();
    for metric in db.recorder.snapshot().all() {
        text.engine_metric(metric);
    }
    let (manifest_id, last_l0_seq, l0, runs, checkpoints) = {
        let status = db.status.borrow();
        let manifest = &status.current_manifest;
        let l0: usize = manifest.segments().iter().map(|s| s.l0().len()).sum();
        let runs: usize = manifest.segments().iter().map(|s| s.compacted().len()).sum();
        (manifest.id(), manifest.last_l0_seq(), l0, runs, manifest.checkpoints().len())
    };
    let number = |n: u64| n as f64;
    let durable = db.durable.load(Ordering::Acquire);
    text.number("slatedb_durable_seq", "gauge", "Newest durable sequence", number(durable));
    text.number(
        "slatedb_manifest_last_l0_seq",
        "gauge",
        "Newest sequence in sorted files",
        number(last_l0_seq),
    );
    text.number("slatedb_manifest_l0_count", "gauge", "L0 files of all segments", l0 as f64);
    text.number("slatedb_manifest_compacted_count", "gauge", "Sorted runs of all segments", runs as f64);
    text.number("slatedb_manifest_checkpoints_count", "gauge", "Checkpoints", checkpoints as f64);
    text.number("slatedb_manifest_revisions_total", "counter", "Manifest versions", number(manifest_id));
    let queued = db.queued_bytes.load(Ordering::Acquire);
    text.number("slatedb_queued_bytes", "gauge", "Writes accepted and not yet durable", number(queued));
    let health = &db.place.store.health;
    let (requests, errors) = (health.requests.load(Ordering::Relaxed), health.errors.load(Ordering::Relaxed));
    text.number(
        "slatedb_store_requests_total",
        "counter",
        "Requests to the store, with retries",
        number(requests),
    );
    text.number("slatedb_store_errors_total", "counter", "Failed requests to the store", number(errors));
    text
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_metrics(
    db: *const Db,
    labels: *const c_char,
    with_types: c_int,
    ret_text: *mut Buf,
) -> i32 {
    guard(|| {
        let (Some(db), false) = (counted(db), ret_text.is_null()) else { return EINVAL };
        let labels = match opt_str(labels, "labels") {
            Ok(labels) => labels.unwrap_or(""),
            Err(failure) => return status_of(Err(failure)),
        };
        set_text(ret_text, collect(&db).render(labels, with_types != 0));
        OK
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(name: &str, labels: &[(&str, &str)], value: u64) -> Metric {
        Metric {
            name: name.to_string(),
            labels: labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            description: String::new(),
            value: MetricValue::Counter(value),
        }
    }

    #[test]
    fn known_names_are_mapped_and_kinds_summed() {
        let mut text = Text::default();
        text.engine_metric(&counter("slatedb.db.request_count", &[("op", "get")], 5));
        text.engine_metric(&counter("slatedb.db.sst_filter_positive_count", &[("kind", "point")], 2));
        text.engine_metric(&counter("slatedb.db.sst_filter_positive_count", &[("kind", "range")], 3));
        text.engine_metric(&counter(
            "slatedb.db_cache.access_count",
            &[("entry_kind", "index"), ("result", "hit")],
            7,
        ));
        text.engine_metric(&counter("slatedb.gc.deleted_count", &[("resource", "wal")], 1));
        let out = text.render("shard=\"a\"", true);
        assert!(out.contains("# TYPE silo_slatedb_get_requests_total counter\n"), "{out}");
        assert!(out.contains("silo_slatedb_get_requests_total{shard=\"a\"} 5\n"), "{out}");
        assert!(out.contains("silo_slatedb_sst_filter_positives_total{shard=\"a\"} 5\n"), "{out}");
        assert!(out.contains("silo_slatedb_cache_index_hit_total{shard=\"a\"} 7\n"), "{out}");
        assert!(
            out.contains("silo_slatedb_gc_deleted_count_total{shard=\"a\",resource=\"wal\"} 1\n"),
            "{out}"
        );
    }

    #[test]
    fn histograms_are_cumulative() {
        let mut text = Text::default();
        text.engine_metric(&Metric {
            name: "slatedb.object_store.request_duration_seconds".to_string(),
            labels: vec![("api".to_string(), "put".to_string())],
            description: "d".to_string(),
            value: MetricValue::Histogram {
                count: 6,
                sum: 1.5,
                min: 0.0,
                max: 1.0,
                boundaries: vec![0.1, 1.0],
                bucket_counts: vec![1, 2, 3],
            },
        });
        let out = text.render("", false);
        let name = "silo_slatedb_object_store_request_duration_seconds";
        assert!(out.contains(&format!("{name}_bucket{{api=\"put\",le=\"0.1\"}} 1\n")), "{out}");
        assert!(out.contains(&format!("{name}_bucket{{api=\"put\",le=\"1\"}} 3\n")), "{out}");
        assert!(out.contains(&format!("{name}_bucket{{api=\"put\",le=\"+Inf\"}} 6\n")), "{out}");
        assert!(out.contains(&format!("{name}_sum{{api=\"put\"}} 1.5\n")), "{out}");
    }
}
