//! Plain objects and the store test through the C ABI.

mod common;

use common::*;
use sdbx::objects::*;
use sdbx::store::StoreArgs;
use std::ffi::CString;
use std::ptr::null;

const ENOTFOUND: i32 = -3;
const EEXIST: i32 = -10;
const EINVAL: i32 = -2;

struct Objects<'a> {
    caller: &'a mut Caller,
    url: CString,
}

impl Objects<'_> {
    fn args(&self) -> StoreArgs {
        StoreArgs { url: self.url.as_ptr(), opts_json: null(), flags: 0, reserved: 0 }
    }

    fn put_new(&mut self, path: &str, data: &[u8]) -> Got {
        let (args, path, token) = (self.args(), CString::new(path).unwrap(), self.caller.token());
        let buf = buf_of(data);
        let status =
            unsafe { sdbx_obj_put_new(self.caller.env, self.caller.cq, &args, path.as_ptr(), buf, token) };
        assert_eq!(status, 0);
        self.caller.wait(token)
    }

    fn get(&mut self, path: &str) -> Got {
        let (args, path, token) = (self.args(), CString::new(path).unwrap(), self.caller.token());
        unsafe { assert_eq!(sdbx_obj_get(self.caller.env, self.caller.cq, &args, path.as_ptr(), token), 0) };
        self.caller.wait(token)
    }

    fn list(&mut self, path: &str) -> Got {
        let (args, path, token) = (self.args(), CString::new(path).unwrap(), self.caller.token());
        unsafe { assert_eq!(sdbx_obj_list(self.caller.env, self.caller.cq, &args, path.as_ptr(), token), 0) };
        self.caller.wait(token)
    }

    fn selftest(&mut self, path: &str) -> Got {
        let (args, path, token) = (self.args(), CString::new(path).unwrap(), self.caller.token());
        unsafe {
            assert_eq!(sdbx_store_selftest(self.caller.env, self.caller.cq, &args, path.as_ptr(), token), 0)
        };
        self.caller.wait(token)
    }
}

fn exercise(objects: &mut Objects) {
    assert_eq!(objects.get("cluster/1.json").status, ENOTFOUND);
    assert_eq!(objects.list("cluster").nrows, 0);
    assert_eq!(objects.put_new("cluster/2.json", b"two").status, 0);
    assert_eq!(objects.put_new("cluster/1.json", b"one").status, 0);
    assert_eq!(objects.put_new("clusters", b"").status, 0);
    let again = objects.put_new("cluster/1.json", b"ONE");
    assert_eq!(again.status, EEXIST, "{}", again.text());
    assert_eq!(objects.get("cluster/1.json").data, b"one");
    let listed = objects.list("cluster");
    assert_eq!(listed.keys(), ["cluster/1.json", "cluster/2.json"]);
    assert_eq!(listed.rows()[0].1.as_deref(), Some(&3u64.to_le_bytes()[..]));
    assert_eq!(objects.list("").nrows, 3);

    let tested = objects.selftest("cluster");
    assert_eq!(tested.status, 0, "{}", tested.text());
    assert!(!tested.data.is_empty());
    assert_eq!(objects.list("").nrows, 3, "the test leaves nothing");

    assert_eq!(objects.get("bad/../path").status, EINVAL);
}

#[test]
fn in_memory_below_a_base_path() {
    let mut caller = Caller::new();
    exercise(&mut Objects { caller: &mut caller, url: CString::new("memory:///objects/base").unwrap() });
}

#[test]
fn on_disk() {
    let dir = TempDir::new();
    let mut caller = Caller::new();
    let url = CString::new(format!("file://{}/new/store", dir.path().display())).unwrap();
    exercise(&mut Objects { caller: &mut caller, url });
}

/// Whoever may write to the store cannot make a server read as much as he likes.
#[test]
fn what_is_too_large_is_not_read() {
    let dir = TempDir::new();
    let mut caller = Caller::new();
    let url = CString::new(format!("file://{}", dir.path().display())).unwrap();
    std::fs::File::create(dir.path().join("large")).unwrap().set_len(8 << 30).unwrap();
    std::fs::File::create(dir.path().join("largest")).unwrap().set_len(64 << 20).unwrap();
    let mut objects = Objects { caller: &mut caller, url };
    let got = objects.get("large");
    assert_eq!(got.status, EINVAL);
    assert!(got.text().contains("more than is read at once"), "{}", got.text());
    assert_eq!(objects.get("largest").data.len(), 64 << 20);
}
