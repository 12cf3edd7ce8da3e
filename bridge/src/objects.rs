//! Plain objects beside the databases, and the test whether a store keeps the one promise all rests on.

use crate::buf::Buf;
use crate::cq::{Cq, Event, EV_OBJECT};
use crate::env::Env;
use crate::error::{Failure, EEXIST, EINTERNAL, EINVAL, ENOTFOUND, EUNAVAIL, OK};
use crate::ffi::{counted, guard, panic_text, req_str, status_of};
use crate::rows::put_row;
use crate::store::{resolve, Kind, Store, StoreArgs};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::ffi::c_char;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Put into the metadata of an object, so that the answer to a repeated request can be told apart: the first
/// try may have worked and its answer got lost.
const PUT_ID: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("silo-put-id"));

const GET_BYTES_MAX: u64 = 64 << 20; // SDBX_OBJECT_BYTES_MAX

/// Differs between processes (time, process id) and calls.
fn fresh_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    format!("{now:x}-{:x}-{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn put_new(store: &Store, at: &Path, data: Bytes) -> Result<(), Failure> {
    let mut options = PutOptions::from(PutMode::Create);
    let id = fresh_id();
    let remote = matches!(store.kind, Kind::S3 | Kind::Gcs);
    if remote {
        options.attributes.insert(PUT_ID, id.clone().into());
    }
    match store.objects.put_opts(at, data.into(), options).await {
        Ok(_) => Ok(()),
        Err(object_store::Error::AlreadyExists { .. }) if remote && is_ours(store, at, &id).await? => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn is_ours(store: &Store, at: &Path, id: &str) -> Result<bool, Failure> {
    let head = store.objects.get_opts(at, GetOptions { head: true, ..GetOptions::default() }).await?;
    Ok(head.attributes.get(&PUT_ID).is_some_and(|found| found.as_ref() == id))
}

async fn list(store: &Store, prefix: &Path) -> Result<(u32, Vec<u8>), Failure> {
    let found: Vec<_> = store.objects.list(Some(prefix)).try_collect().await?;
    let base = store.base.as_ref();
    let mut rows: Vec<(String, u64)> = Vec::with_capacity(found.len());
    for object in found {
        let path = object.location.as_ref();
        let relative = path.strip_prefix(base).unwrap_or(path).trim_start_matches('/');
        if relative.len() > usize::from(u16::MAX) {
            return Err(Failure::new(EINTERNAL, "an object's path is too long"));
        }
        rows.push((relative.to_string(), object.size));
    }
    rows.sort();
    let mut data = Vec::new();
    for (path, size) in &rows {
        put_row(&mut data, path.as_bytes(), Some(&size.to_le_bytes()));
    }
    Ok((rows.len() as u32, data))
}

/// Removes every object below a path, whole parts of it; says how many there were. Safe to repeat.
pub async fn delete_prefix(store: &Store, prefix: &Path) -> Result<u64, Failure> {
    let locations = store.objects.list(Some(prefix)).map_ok(|object| object.location).boxed();
    let mut deleted = 0;
    let mut results = store.objects.delete_stream(locations);
    while let Some(result) = results.next().await {
        match result {
            Ok(_) => deleted += 1,
            Err(object_store::Error::NotFound { .. }) => {} // somebody else was quicker
            Err(error) => return Err(error.into()),
        }
    }
    Ok(deleted)
}

/// Removes what the test wrote; the verdict matters more than a left-over object.
async fn tidy(store: &Store, at: &Path) {
    if let Err(error) = store.objects.delete(at).await {
        log::warn!("store test: cannot delete {at}: {error}");
    }
}

async fn selftest(store: &Store, at: &Path) -> Result<String, Failure> {
    let unavailable = |what: &'static str| {
        move |f: Failure| Failure::new(EUNAVAIL, format!("store test: {what}: {}", f.text))
    };
    // No bucket, or none for these credentials: that does not pass by waiting.
    let refused = |f: &Failure| f.status == ENOTFOUND || f.status == EINVAL;
    let (first, second) = (fresh_id(), fresh_id());
    put_new(store, at, Bytes::from(first.clone())).await.map_err(|f| {
        let status = if refused(&f) { ENOTFOUND } else { EUNAVAIL };
        Failure::new(status, unavailable("cannot create an object")(f).text)
    })?;
    let read = async { store.objects.get(at).await?.bytes().await };
    let read = read.await.map_err(|e| unavailable("cannot read it back")(e.into()));
    let again = put_new(store, at, Bytes::from(second)).await;
    tidy(store, at).await;
    if read? != first.as_bytes() {
        return Err(Failure::invalid("store test: an object read back differs from what was written"));
    }
    match again {
        Err(failure) if failure.status == EEXIST => Ok("create-if-absent is honoured".to_string()),
        Ok(()) => Err(Failure::invalid(
            "store test: create-if-absent is ignored: an existing object was replaced. Two writers could own one \
             database; this store cannot be used",
        )),
        Err(failure) => Err(unavailable("the second create-if-absent failed in an unexpected way")(failure)),
    }
}

/// enum sdbx_object_call
pub const EPOCH: u32 = 5;
pub const REMOVE_DB: u32 = 6;
pub const CHECKPOINT: u32 = 7;
pub const CHECKPOINT_DROP: u32 = 8;
pub const CLONE: u32 = 9;
const GET: u32 = 1;
const PUT_NEW: u32 = 2;
const LIST: u32 = 3;
const SELFTEST: u32 = 4;

/// What comes back in the event whatever happens.
pub struct Answer {
    pub call: u32,
    pub token: u64,
}

/// Runs `work` on the io runtime to its SDBX_EV_OBJECT.
pub fn run<F>(env: &Env, cq: Arc<Cq>, answer: Answer, work: F)
where
    F: Future<Output = Result<Event, Failure>> + Send + 'static,
{
    env.io().spawn(async move {
        let event = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Ok(event)) => Event { token: answer.token, ..event },
            Ok(Err(failure)) => Event::failed(EV_OBJECT, answer.token, failure),
            Err(payload) => {
                let failure = Failure::new(EINTERNAL, panic_text(payload.as_ref()));
                Event::failed(EV_OBJECT, answer.token, failure)
            }
        };
        cq.push(Event { flags: answer.call, ..event });
    });
}

/// Runs `work` on the store and the place that the arguments name.
unsafe fn start<W, F>(
    env: *const Env,
    cq: *const Cq,
    args: *const StoreArgs,
    path: *const c_char,
    answer: Answer,
    work: W,
) -> Result<(), Failure>
where
    W: FnOnce(Arc<Store>, Path) -> F + Send + 'static,
    F: Future<Output = Result<Event, Failure>> + Send + 'static,
{
    let (Some(env), Some(args), Some(cq)) = (env.as_ref(), args.as_ref(), counted(cq)) else {
        return Err(Failure::invalid("objects: a handle is missing"));
    };
    let relative = req_str(path, "path")?;
    let place = resolve(args).and_then(|store| Ok((store.locate(relative)?, store)));
    let (at, store) = match place {
        Ok(place) => place,
        Err(failure) => {
            let event = Event::failed(EV_OBJECT, answer.token, failure); // an event has room for the text
            cq.push(Event { flags: answer.call, ..event });
            return Ok(());
        }
    };
    run(env, cq, answer, work(store, at));
    Ok(())
}

pub fn done() -> Event {
    Event::new(EV_OBJECT, 0)
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_obj_get(
    env: *const Env,
    cq: *const Cq,
    store: *const StoreArgs,
    path: *const c_char,
    token: u64,
) -> i32 {
    guard(|| {
        let answer = Answer { call: GET, token };
        status_of(start(env, cq, store, path, answer, |store, at| async move {
            let object = store.objects.get(&at).await?;
            if object.meta.size > GET_BYTES_MAX {
                let text = format!("{at}: {} bytes are more than is read at once", object.meta.size);
                return Err(Failure::invalid(text));
            }
            Ok(Event { data: object.bytes().await?.to_vec(), ..done() })
        }))
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_obj_put_new(
    env: *const Env,
    cq: *const Cq,
    store: *const StoreArgs,
    path: *const c_char,
    data: Buf,
    token: u64,
) -> i32 {
    guard(|| {
        if env.is_null() || cq.is_null() || store.is_null() || path.is_null() || !data.is_sane() {
            return EINVAL; // before the buffer is taken: nothing below refuses
        }
        if let Err(failure) = req_str(path, "path") {
            return status_of(Err(failure));
        }
        let data = data.into_bytes();
        let answer = Answer { call: PUT_NEW, token };
        status_of(start(env, cq, store, path, answer, |store, at| async move {
            put_new(&store, &at, data).await?;
            Ok(done())
        }))
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_obj_list(
    env: *const Env,
    cq: *const Cq,
    store: *const StoreArgs,
    prefix: *const c_char,
    token: u64,
) -> i32 {
    guard(|| {
        let answer = Answer { call: LIST, token };
        status_of(start(env, cq, store, prefix, answer, |store, at| async move {
            let (nrows, data) = list(&store, &at).await?;
            Ok(Event { nrows, data, ..done() })
        }))
    })
}

/// # Safety
/// See sdbx.h.
#[no_mangle]
pub unsafe extern "C" fn sdbx_store_selftest(
    env: *const Env,
    cq: *const Cq,
    store: *const StoreArgs,
    path: *const c_char,
    token: u64,
) -> i32 {
    guard(|| {
        let answer = Answer { call: SELFTEST, token };
        status_of(start(env, cq, store, path, answer, |store, at| async move {
            let at = at.join(format!("store-test-{}", fresh_id()));
            let text = selftest(&store, &at).await?;
            Ok(Event { data: text.into_bytes(), status: OK, ..done() })
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null;

    #[tokio::test]
    async fn a_prefix_is_removed_by_whole_parts_of_paths() {
        let url = c"memory:///prefixes";
        let args = StoreArgs { url: url.as_ptr(), opts_json: null(), flags: 0, reserved: 0 };
        // SAFETY: the url outlives the call.
        let store = unsafe { resolve(&args) }.unwrap_or_else(|failure| panic!("{}", failure.text));
        for path in ["cluster/1", "cluster/a/2", "clusters"] {
            let path = Path::from(format!("prefixes/{path}"));
            assert!(put_new(&store, &path, Bytes::from_static(b"x")).await.is_ok());
        }
        let prefix = Path::from("prefixes/cluster");
        assert_eq!(delete_prefix(&store, &prefix).await.ok(), Some(2));
        assert_eq!(delete_prefix(&store, &prefix).await.ok(), Some(0));
        assert_eq!(list(&store, &store.base).await.ok().map(|(count, _)| count), Some(1));
    }
}
