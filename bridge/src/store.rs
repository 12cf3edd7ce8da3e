//! From a url and options to an object store. One store per (url, options, flags) and process: connections,
//! health and, for memory://, the objects themselves are shared.

use crate::buf::Buf;
use crate::env::Env;
use crate::error::{Failure, EINVAL, ENOTFOUND, OK};
use crate::ffi::{guard, opt_str, req_str, set};
use crate::spelling::nearest;
use crate::wal_log::LogDir;
use crate::watch::{Health, WatchedStore};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, ObjectStoreScheme, RetryConfig};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_char;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use url::Url;

pub const STORE_FSYNC: u32 = 1;
pub const STORE_LOG: u32 = 2;
const LATENCY_MS_MAX: u64 = 600_000;
const OUR_KEYS: [&str; 2] = ["latency_read_ms", "latency_write_ms"];

/// The engine retries above us, for ever; below, few and short, so that an outage shows soon.
const RETRIES_MAX: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

#[repr(C)]
pub struct StoreArgs {
    pub url: *const c_char,
    pub opts_json: *const c_char,
    pub flags: u32,
    pub reserved: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Local,
    Memory,
    S3,
    Gcs,
}

impl Kind {
    /// Of the store that a url names.
    pub fn of(url_text: &str) -> Result<Kind, Failure> {
        let url =
            Url::parse(url_text).map_err(|e| Failure::invalid(format!("store url {url_text:?}: {e}")))?;
        if url.scheme() == "memory" {
            return Ok(Kind::Memory);
        }
        let (scheme, _) = ObjectStoreScheme::parse(&url)
            .map_err(|e| Failure::invalid(format!("store url {url_text:?}: {e}")))?;
        match scheme {
            ObjectStoreScheme::Local => Ok(Kind::Local),
            ObjectStoreScheme::AmazonS3 => Ok(Kind::S3),
            ObjectStoreScheme::GoogleCloudStorage => Ok(Kind::Gcs),
            _ => Err(Failure::invalid(format!(
                "store url {url_text:?}: supported are file, memory, s3, s3a, gs, and https urls of S3"
            ))),
        }
    }
}

pub struct Store {
    pub objects: Arc<dyn ObjectStore>,
    /// The url's own path inside the store.
    pub base: Path,
    pub kind: Kind,
    pub health: Arc<Health>,
    /// Where a local store keeps its files; none if its writes are delayed, for then it stands for a remote one.
    local: Option<PathBuf>,
    flags: u32,
}

impl Store {
    /// Where the log of the database at `path` is, or would be.
    pub fn log_dir(&self, path: &Path) -> Option<LogDir> {
        let dir = self.local.as_ref()?.join(path.as_ref()).join("log");
        Some(LogDir::on_disk(dir, self.flags & STORE_FSYNC != 0))
    }

    /// Do databases keep their WAL in a log here?
    pub fn wants_log(&self) -> bool {
        self.flags & STORE_LOG != 0
    }

    /// base/relative; an empty relative is base itself.
    pub fn locate(&self, relative: &str) -> Result<Path, Failure> {
        let relative = Path::parse(relative.trim_matches('/'))
            .map_err(|e| Failure::invalid(format!("path {relative:?}: {e}")))?;
        Ok(self.base.parts().chain(relative.parts()).collect())
    }
}

type Registry = Mutex<HashMap<(String, String, u32), Arc<Store>>>;
static STORES: LazyLock<Registry> = LazyLock::new(Registry::default);
static MEMORY: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

struct Options {
    store: BTreeMap<String, String>,
    latency_read: Duration,
    latency_write: Duration,
}

fn parse_options(json: &str) -> Result<Options, Failure> {
    let mut options =
        Options { store: BTreeMap::new(), latency_read: Duration::ZERO, latency_write: Duration::ZERO };
    if json.is_empty() {
        return Ok(options);
    }
    let value: Value =
        serde_json::from_str(json).map_err(|e| Failure::invalid(format!("store options: not JSON: {e}")))?;
    let Value::Object(map) = value else {
        return Err(Failure::invalid("store options: not a JSON object"));
    };
    for (key, value) in map {
        let key = key.to_ascii_lowercase();
        if OUR_KEYS.contains(&key.as_str()) {
            let ms = value.as_u64().filter(|ms| *ms <= LATENCY_MS_MAX).ok_or_else(|| {
                Failure::invalid(format!(
                    "store options: {key} is not a number of milliseconds up to {LATENCY_MS_MAX}"
                ))
            })?;
            let latency = Duration::from_millis(ms);
            if key == OUR_KEYS[0] {
                options.latency_read = latency;
            } else {
                options.latency_write = latency;
            }
            continue;
        }
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => {
                return Err(Failure::invalid(format!(
                    "store options: {key} is not text, a number or a boolean"
                )))
            }
        };
        options.store.insert(key, text);
    }
    Ok(options)
}

fn unknown_option(key: &str, known: &[&str]) -> Failure {
    let hint = nearest(key, known.iter().copied().chain(OUR_KEYS));
    Failure::invalid(format!("store options: unknown key {key}{hint}"))
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(1),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT }
}

/// Environment variables that start with one of these, lower-cased; what the store does not know is skipped.
fn from_environment(prefixes: &[&str]) -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(key, value)| {
            Some((key.into_string().ok()?.to_ascii_lowercase(), value.into_string().ok()?))
        })
        .filter(|(key, _)| prefixes.iter().any(|prefix| key.starts_with(prefix)))
        .collect()
}

const S3_KEYS: [&str; 14] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region",
    "aws_endpoint",
    "aws_bucket",
    "aws_allow_http",
    "aws_virtual_hosted_style_request",
    "aws_unsigned_payload",
    "aws_s3_express",
    "aws_imdsv1_fallback",
    "aws_conditional_put",
    "timeout",
    "connect_timeout",
];
const GCS_KEYS: [&str; 7] = [
    "google_service_account",
    "google_service_account_key",
    "google_application_credentials",
    "google_bucket",
    "google_base_url",
    "timeout",
    "connect_timeout",
];

/// Shorter than the client's own: reaching a host takes milliseconds or does not happen.
const CONNECT_TIMEOUT: &str = "3 seconds";

fn open_s3(url: &Url, options: &Options) -> Result<Arc<dyn ObjectStore>, Failure> {
    let mut builder = AmazonS3Builder::new()
        .with_url(url.as_str())
        .with_retry(retry())
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), CONNECT_TIMEOUT);
    let mut plain_http = false;
    for (key, value) in from_environment(&["aws_"]) {
        if let Ok(known) = key.parse::<AmazonS3ConfigKey>() {
            plain_http |= known == AmazonS3ConfigKey::Endpoint && value.starts_with("http://");
            builder = builder.with_config(known, value);
        }
    }
    for (key, value) in &options.store {
        let known: AmazonS3ConfigKey = key.parse().map_err(|_| unknown_option(key, &S3_KEYS))?;
        if known == AmazonS3ConfigKey::Endpoint {
            plain_http = value.starts_with("http://");
        }
        builder = builder.with_config(known, value);
    }
    if plain_http {
        builder = builder.with_allow_http(true);
    }
    Ok(Arc::new(builder.build()?))
}

fn open_gcs(url: &Url, options: &Options) -> Result<Arc<dyn ObjectStore>, Failure> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_url(url.as_str())
        .with_retry(retry())
        .with_config(GoogleConfigKey::Client(ClientConfigKey::ConnectTimeout), CONNECT_TIMEOUT);
    for (key, value) in from_environment(&["google_"]) {
        if let Ok(known) = key.parse::<GoogleConfigKey>() {
            builder = builder.with_config(known, value);
        }
    }
    for (key, value) in &options.store {
        let known: GoogleConfigKey = key.parse().map_err(|_| unknown_option(key, &GCS_KEYS))?;
        builder = builder.with_config(known, value);
    }
    Ok(Arc::new(builder.build()?))
}

fn local_dir(url: &Url) -> Result<PathBuf, Failure> {
    url.to_file_path().map_err(|()| Failure::invalid(format!("{url}: not a local path")))
}

fn open_local(dir: &std::path::Path, fsync: bool) -> Result<Arc<dyn ObjectStore>, Failure> {
    std::fs::create_dir_all(dir)
        .map_err(|e| Failure::new(crate::error::EUNAVAIL, format!("cannot create {}: {e}", dir.display())))?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(dir)?.with_fsync(fsync)))
}

fn no_options(url: &Url, options: &Options) -> Result<(), Failure> {
    match options.store.keys().next() {
        Some(key) => Err(Failure::invalid(format!("store options: {}:// has no key {key}", url.scheme()))),
        None => Ok(()),
    }
}

fn open_store(url_text: &str, opts_json: &str, flags: u32) -> Result<Store, Failure> {
    let url = Url::parse(url_text).map_err(|e| Failure::invalid(format!("store url {url_text:?}: {e}")))?;
    let options = parse_options(opts_json)?;
    if flags & !(STORE_FSYNC | STORE_LOG) != 0 {
        return Err(Failure::invalid("store flags: unknown bit"));
    }
    let (mut local, mut files) = (None, None);
    let kind = Kind::of(url_text)?;
    let base_of = |url: &Url| {
        let (_, base) = ObjectStoreScheme::parse(url)
            .map_err(|e| Failure::invalid(format!("store url {url_text:?}: {e}")))?;
        Ok::<Path, Failure>(base)
    };
    let (inner, base): (Arc<dyn ObjectStore>, Path) = match kind {
        Kind::Memory => {
            no_options(&url, &options)?;
            let base =
                Path::from_url_path(url.path()).map_err(|e| Failure::invalid(format!("{url}: {e}")))?;
            let host = url.host_str().unwrap_or("").to_string();
            let mut memory = MEMORY.lock().unwrap_or_else(|e| e.into_inner());
            (memory.entry(host).or_default().clone(), base)
        }
        Kind::Local => {
            no_options(&url, &options)?;
            let dir = local_dir(&url)?;
            let objects = open_local(&dir, flags & STORE_FSYNC != 0)?;
            files = Some(dir.clone());
            local = options.latency_write.is_zero().then_some(dir);
            (objects, Path::default())
        }
        Kind::S3 => (open_s3(&url, &options)?, base_of(&url)?),
        Kind::Gcs => (open_gcs(&url, &options)?, base_of(&url)?),
    };
    let health = Arc::new(Health::new(options.latency_read, options.latency_write, files));
    let objects: Arc<dyn ObjectStore> =
        Arc::new(WatchedStore::new(inner, health.clone(), kind != Kind::Local));
    Ok(Store { objects, base, kind, health, local, flags })
}

/// # Safety
/// The strings of `args` live for the call.
pub unsafe fn resolve(args: &StoreArgs) -> Result<Arc<Store>, Failure> {
    let url = req_str(args.url, "store url")?;
    let opts = opt_str(args.opts_json, "store options")?.unwrap_or("");
    let key = (url.to_string(), opts.to_string(), args.flags);
    if let Some(store) = STORES.lock().unwrap_or_else(|e| e.into_inner()).get(&key) {
        return Ok(store.clone());
    }
    let store = Arc::new(open_store(url, opts, args.flags)?);
    let mut stores = STORES.lock().unwrap_or_else(|e| e.into_inner());
    Ok(stores.entry(key).or_insert(store).clone())
}

/// # Safety
/// The out pointers are NULL or valid for a write.
pub unsafe fn give_health(
    (error, ok_ms): (Option<(String, i64)>, i64),
    ret_text: *mut Buf,
    ret_when_ms: *mut i64,
    ret_ok_ms: *mut i64,
) -> i32 {
    set(ret_ok_ms, ok_ms);
    let Some((text, when_ms)) = error else {
        return ENOTFOUND;
    };
    set(ret_text, Buf::from_vec(text.into_bytes()));
    set(ret_when_ms, when_ms);
    OK
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_store_error(
    _env: *const Env,
    args: *const StoreArgs,
    ret_text: *mut Buf,
    ret_when_ms: *mut i64,
    ret_ok_ms: *mut i64,
) -> i32 {
    guard(|| {
        let Some(args) = args.as_ref() else { return EINVAL };
        match resolve(args) {
            Ok(store) => give_health(store.health.last(), ret_text, ret_when_ms, ret_ok_ms),
            Err(failure) => failure.status,
        }
    })
}

#[no_mangle]
pub extern "C" fn sdbx_trouble_known() -> i32 {
    i32::from(crate::trouble::any())
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_store_trouble(
    _env: *const Env,
    args: *const StoreArgs,
    ret_text: *mut Buf,
) -> i32 {
    guard(|| {
        let Some(args) = args.as_ref() else { return EINVAL };
        let (fails, text) = match resolve(args) {
            Ok(store) => store.health.trouble(),
            Err(failure) => return failure.status,
        };
        if let Some(text) = text {
            set(ret_text, Buf::from_vec(text.into_bytes()));
        }
        if fails {
            OK
        } else {
            ENOTFOUND
        }
    })
}
