//! Engine settings: the user's JSON over our base over the engine's defaults.
//!
//! Every key is checked against the engine's own: a key it does not know is an error that names the key, its
//! place, and the nearest known one. `false` where the engine has an optional part switches that part off (TOML has no
//! null). Scheduler options are text to the engine; numbers are accepted and turned into text.

use crate::buf::Buf;
use crate::compaction::{Policy, POLICY_KEYS};
use crate::error::{Failure, EINTERNAL, EINVAL, OK};
use crate::ffi::{guard, opt_str, req_str, set};
use crate::spelling::nearest;
use crate::store::Kind;
use serde_json::{json, Map, Value};
use slatedb::config::{GarbageCollectorOptions, Settings};
use std::ffi::c_char;
use std::time::Duration;

const SCHEDULER_PLACE: &str = "compactor_options.scheduler_options";

/// What is wrong with the user's settings, and the dotted place of it; empty: with all of them.
#[derive(Debug)]
pub struct Misfit {
    place: String,
    text: String,
    status: i32,
}

impl Misfit {
    fn at(place: impl Into<String>, text: impl Into<String>) -> Self {
        Misfit { place: place.into(), text: text.into(), status: EINVAL }
    }

    fn ours(error: serde_json::Error) -> Self {
        Misfit { place: String::new(), text: error.to_string(), status: EINTERNAL }
    }
}

impl From<Misfit> for Failure {
    fn from(misfit: Misfit) -> Self {
        let Misfit { place, text, status } = misfit;
        let sentence = if place.is_empty() { text } else { format!("{place} {text}") };
        Failure::new(status, format!("engine settings: {sentence}"))
    }
}

const LOG_COLLECT_INTERVAL: Duration = Duration::from_secs(30);

/// Our base. Polls come at these intervals while a database is at work only, more often on a disk, where they cost little. The WAL ticker is off: flushes are driven from C.
/// Collection keeps what a stalled writer or a long scan may still need for 15 minutes, and never deletes WAL fences.
fn base(kind: Kind) -> Value {
    let directory = json!({"interval": "300s", "min_age": "900s"});
    let local = kind == Kind::Local;
    let poll = if local { "500ms" } else { "2s" };
    json!({
        "flush_interval": null,
        "manifest_poll_interval": poll,
        "l0_sst_size_bytes": 32 << 20,
        "max_unflushed_bytes": 128 << 20,
        "l0_max_ssts": 96,
        "l0_max_ssts_per_key": 64,
        "l0_flush_parallelism": 2,
        "compression_codec": "Lz4",
        "compactor_options": {
            "poll_interval": poll,
            "commit_compacted_interval": poll,
            "max_concurrent_compactions": 4,
            "enable_trivial_move": false,
            "scheduler_options": Policy::default().options(),
            "worker": {
                "max_concurrent_compactions": 4,
                "compactions_poll_interval": poll,
                "max_sst_size": 32 << 20,
                "max_fetch_tasks": 2,
                "bytes_to_fetch": if local { 256 << 10 } else { 512 << 10 },
                "max_subcompactions": if local { 1 } else { 2 },
                "compression_codec": "Lz4"
            }
        },
        "garbage_collector_options": {
            "manifest_options": directory,
            "wal_options": directory,
            "wal_fence_options": null,
            "compacted_options": directory,
            "compactions_options": directory,
            "detach_options": {"interval": "300s"},
            // A local disk cannot replace an object under a condition, which boundary files need.
            "boundary_files_enabled": !local
        }
    })
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(place) => merge(place, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (into, from) => *into = from,
    }
}

fn join(place: &str, key: &str) -> String {
    if place.is_empty() {
        key.to_string()
    } else {
        format!("{place}.{key}")
    }
}

fn unknown_key(place: &str, key: &str, known: &[String]) -> Misfit {
    let hint = nearest(key, known.iter().map(String::as_str));
    Misfit::at(join(place, key), format!("is not a key of the storage engine{hint}"))
}

fn scheduler_options(map: &mut Map<String, Value>) -> Result<(), Misfit> {
    for (key, value) in map.iter_mut() {
        if !POLICY_KEYS.contains(&key.as_str()) {
            return Err(unknown_key(SCHEDULER_PLACE, key, &POLICY_KEYS.map(String::from)));
        }
        if value.is_number() {
            *value = Value::String(value.to_string());
        }
        if value.as_str().and_then(|text| text.parse::<f64>().ok()).is_none() {
            return Err(Misfit::at(join(SCHEDULER_PLACE, key), "is not a number"));
        }
    }
    Ok(())
}

/// Checks the keys of `user` against those of `known`, and normalises what TOML cannot say.
fn check(user: &mut Value, known: &Value, place: &str) -> Result<(), Misfit> {
    if place == SCHEDULER_PLACE {
        return match user {
            Value::Object(map) => scheduler_options(map),
            _ => Err(Misfit::at(place, "is not a table")),
        };
    }
    match (&mut *user, known) {
        (Value::Object(user), Value::Object(known)) => {
            for (key, value) in user.iter_mut() {
                let Some(known_value) = known.get(key) else {
                    let keys: Vec<String> = known.keys().cloned().collect();
                    return Err(unknown_key(place, key, &keys));
                };
                check(value, known_value, &join(place, key))?;
            }
            Ok(())
        }
        (Value::Object(_), _) => Err(Misfit::at(place, "is not a table")),
        (Value::Bool(false), known) if !known.is_boolean() => {
            *user = Value::Null;
            Ok(())
        }
        (Value::Null | Value::Bool(false), _) => Ok(()),
        (_, Value::Object(_)) => Err(Misfit::at(place, "must be a table or false")),
        _ => Ok(()),
    }
}

/// The dotted place of each leaf of `user`, with a document that holds that leaf alone.
fn leaves(user: &Value, place: &str, out: &mut Vec<(String, Value)>) {
    let Value::Object(map) = user else {
        let alone = place.rsplit('.').fold(user.clone(), |inner, key| json!({key: inner}));
        out.push((place.to_string(), alone));
        return;
    };
    for (key, value) in map {
        leaves(value, &join(place, key), out);
    }
}

fn decode(value: Value) -> Result<Settings, serde_json::Error> {
    serde_json::from_value(value)
}

/// The engine says what is wrong with a value but not where: try the user's values one by one.
fn name_bad_value(ours: &Value, user: &Value, known: &Value, error: &serde_json::Error) -> Misfit {
    let mut parts = Vec::new();
    leaves(user, "", &mut parts);
    for (place, alone) in parts {
        let mut trial = ours.clone();
        merge_over(&mut trial, alone, known);
        if let Err(error) = decode(trial) {
            return Misfit::at(place, format!("does not fit: {error}"));
        }
    }
    Misfit::at("", error.to_string())
}

/// How often a local WAL's segments are looked through, and how soon they may go: nobody reads them but the writer.
pub fn for_log(options: &mut GarbageCollectorOptions) {
    if let Some(wal) = &mut options.wal_options {
        wal.interval = wal.interval.map(|interval| interval.min(LOG_COLLECT_INTERVAL));
        wal.min_age = Duration::ZERO;
    }
}

pub fn build(user_json: &str, kind: Kind) -> Result<Settings, Misfit> {
    let known = serde_json::to_value(Settings::default()).map_err(Misfit::ours)?;
    let mut ours = known.clone();
    merge(&mut ours, base(kind));
    let mut user = match user_json {
        "" => json!({}),
        text => serde_json::from_str(text).map_err(|e| Misfit::at("", format!("not JSON: {e}")))?,
    };
    if !user.is_object() {
        return Err(Misfit::at("", "not a JSON object"));
    }
    check(&mut user, &known, "")?;
    let mut merged = ours.clone();
    merge_over(&mut merged, user.clone(), &known);
    let settings = decode(merged).map_err(|error| name_bad_value(&ours, &user, &known, &error))?;
    settings.validate().map_err(|e| Misfit::at("", e.to_string()))?;
    Ok(settings)
}

/// # Safety
/// See sdbx_settings.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_settings_check(
    url: *const c_char,
    settings_json: *const c_char,
    ret_place: *mut Buf,
    ret_err: *mut Buf,
) -> i32 {
    guard(|| {
        let checked = req_str(url, "store url").and_then(|url| Kind::of(url)).and_then(|kind| {
            let json = opt_str(settings_json, "settings")?.unwrap_or("");
            Ok(build(json, kind).map(|_| ()))
        });
        let misfit = match checked {
            Ok(Ok(())) => return OK,
            Ok(Err(misfit)) => misfit,
            Err(failure) => Misfit { place: String::new(), text: failure.text, status: failure.status },
        };
        set(ret_place, Buf::from_vec(misfit.place.into_bytes()));
        set(ret_err, Buf::from_vec(misfit.text.into_bytes()));
        misfit.status
    })
}

/// Like `merge`, but a part that our base switched off starts from the engine's defaults when the user turns it on.
fn merge_over(into: &mut Value, from: Value, known: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                let known_value = known.get(&key).unwrap_or(&Value::Null);
                let place = into.entry(key).or_insert(Value::Null);
                if place.is_null() && value.is_object() {
                    *place = known_value.clone();
                }
                merge_over(place, value, known_value);
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        build(text, Kind::Memory).err().map(|misfit| Failure::from(misfit).text).unwrap_or_default()
    }

    #[test]
    fn base_turns_the_ticker_off_and_collection_on() {
        let settings = build("", Kind::Local).unwrap();
        assert_eq!(settings.flush_interval, None);
        let gc = settings.garbage_collector_options.unwrap();
        assert!(gc.wal_fence_options.is_none());
        assert!(!gc.boundary_files_enabled);
        assert_eq!(gc.wal_options.unwrap().min_age.as_secs(), 900);
        assert!(build("", Kind::S3).unwrap().garbage_collector_options.unwrap().boundary_files_enabled);
    }

    #[test]
    fn merge_is_deep() {
        let text = r#"{"compactor_options":{"worker":{"max_fetch_tasks":7}},"flush_interval":"5ms"}"#;
        let settings = build(text, Kind::Memory).unwrap();
        let worker = settings.compactor_options.unwrap().worker.unwrap();
        assert_eq!(worker.max_fetch_tasks, 7);
        assert_eq!(worker.max_subcompactions, 2);
        assert_eq!(settings.flush_interval.unwrap().as_millis(), 5);
    }

    #[test]
    fn unknown_keys_are_named_with_place_and_neighbour() {
        assert_eq!(
            refused(r#"{"flush_intervall":1}"#),
            "engine settings: flush_intervall is not a key of the storage engine, did you mean flush_interval?"
        );
        assert_eq!(
            refused(r#"{"compactor_options":{"worker":{"max_fetch_task":1}}}"#),
            "engine settings: compactor_options.worker.max_fetch_task is not a key of the storage engine, \
             did you mean max_fetch_tasks?"
        );
        assert_eq!(
            refused(r#"{"compactor_options":{"scheduler_options":{"min_compaction_source":2}}}"#),
            "engine settings: compactor_options.scheduler_options.min_compaction_source is not a key of the \
             storage engine, did you mean min_compaction_sources?"
        );
        assert_eq!(refused(r#"{"zzz":1}"#), "engine settings: zzz is not a key of the storage engine");
    }

    #[test]
    fn bad_values_are_named_with_their_place() {
        let text =
            refused(r#"{"l0_max_ssts":9,"garbage_collector_options":{"wal_options":{"min_age":"soon"}}}"#);
        assert!(
            text.starts_with("engine settings: garbage_collector_options.wal_options.min_age does not fit: "),
            "{text}"
        );
        assert!(refused(r#"{"compactor_options":5}"#).contains("compactor_options must be a table or false"));
        assert!(refused(r#"{"l0_max_ssts":{"a":1}}"#).contains("l0_max_ssts is not a table"));
        assert!(refused(r#"{"max_unflushed_bytes":1}"#).contains("max_unflushed_bytes"));
        assert!(refused("[1]").contains("not a JSON object"));
        assert!(refused("{").contains("not JSON"));
    }

    #[test]
    fn false_switches_a_part_off_and_a_table_turns_it_on() {
        let off =
            build(r#"{"garbage_collector_options":false,"compactor_options":false}"#, Kind::S3).unwrap();
        assert!(off.garbage_collector_options.is_none() && off.compactor_options.is_none());
        let text = r#"{"garbage_collector_options":{"wal_fence_options":{"min_age":"7200s"}}}"#;
        let fence =
            build(text, Kind::S3).unwrap().garbage_collector_options.unwrap().wal_fence_options.unwrap();
        assert_eq!(fence.min_age.as_secs(), 7200);
    }

    #[test]
    fn scheduler_numbers_become_text() {
        let text = r#"{"compactor_options":{"scheduler_options":{"min_compaction_sources":3}}}"#;
        let options = build(text, Kind::S3).unwrap().compactor_options.unwrap();
        assert_eq!(options.scheduler_options["min_compaction_sources"], "3");
        assert_eq!(options.scheduler_options["max_compaction_sources"], "64");
    }
}
