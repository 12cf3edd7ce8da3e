//! Status codes of the C ABI, and how errors of the engine and of the object store map to them.

use slatedb::wal::WalError;
use slatedb::{CloseReason, ErrorKind};

pub const OK: i32 = 0;
pub const EAGAIN: i32 = -1;
pub const EINVAL: i32 = -2;
pub const ENOTFOUND: i32 = -3;
pub const EFENCED: i32 = -4;
pub const ECLOSED: i32 = -5;
pub const EUNAVAIL: i32 = -6;
pub const EDATA: i32 = -7;
pub const ECONFLICT: i32 = -8;
pub const EINTERNAL: i32 = -9;
pub const EEXIST: i32 = -10;

/// A status and the sentence that goes with it.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: i32,
    pub text: String,
}

impl Failure {
    pub fn new(status: i32, text: impl Into<String>) -> Self {
        Failure { status, text: text.into() }
    }

    pub fn invalid(text: impl Into<String>) -> Self {
        Failure::new(EINVAL, text)
    }

    pub fn given_up() -> Self {
        Failure::new(ECLOSED, "the database was closed before this ended")
    }
}

pub fn close_status(reason: CloseReason) -> i32 {
    match reason {
        CloseReason::Fenced => EFENCED,
        _ => ECLOSED,
    }
}

impl From<slatedb::Error> for Failure {
    fn from(error: slatedb::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Transaction => ECONFLICT,
            ErrorKind::Closed(reason) => close_status(reason),
            ErrorKind::Unavailable => EUNAVAIL,
            ErrorKind::Invalid => EINVAL,
            ErrorKind::Data => EDATA,
            _ => EINTERNAL,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<WalError> for Failure {
    fn from(error: WalError) -> Self {
        let status = match error {
            WalError::Fenced => EFENCED,
            WalError::Closed => ECLOSED,
            WalError::DataError(_) => EDATA,
            WalError::Unavailable(_) => EUNAVAIL,
            _ => EINTERNAL,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as E;
        let status = match &error {
            E::NotFound { .. } => ENOTFOUND,
            E::AlreadyExists { .. } => EEXIST,
            E::Precondition { .. } => ECONFLICT,
            E::InvalidPath { .. } | E::PermissionDenied { .. } | E::Unauthenticated { .. } => EINVAL,
            _ => EUNAVAIL,
        };
        let text = error_chain(&error);
        // Waiting does not help where there are no credentials.
        let status =
            if REMEDIES.iter().any(|(_, remedy)| text.starts_with(remedy)) { EINVAL } else { status };
        Failure::new(status, text)
    }
}

/// The error and its causes in one line; causes already said are left out.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let part = inner.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = inner.source();
    }
    with_remedy(text.replace('\n', " "))
}

/// Without credentials of their own, S3 and GCS clients ask the machine they run on, by addresses that say nothing to those
/// who only forgot to set some.
const REMEDIES: [(&[&str], &str); 2] = [
    (
        &["169.254.169.254/latest/", "169.254.170.2/", "169.254.170.23/"],
        "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives some",
    ),
    (
        &["/computeMetadata/"],
        "no credentials for Google Cloud Storage: set GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS to \
         a key file, or run where a service account is attached",
    ),
];

/// What to do comes before what happened, where it is known.
fn with_remedy(text: String) -> String {
    match REMEDIES.iter().find(|(marks, _)| marks.iter().any(|mark| text.contains(mark))) {
        Some((_, remedy)) => format!("{remedy} ({text})"),
        None => text,
    }
}

/// Static text for a status, NUL-terminated for C.
pub fn status_text(status: i32) -> &'static [u8] {
    match status {
        OK => b"ok\0",
        EAGAIN => b"a queue or byte budget is full\0",
        EINVAL => b"invalid argument\0",
        ENOTFOUND => b"not found\0",
        EFENCED => b"fenced: somebody else opened this database\0",
        ECLOSED => b"closed\0",
        EUNAVAIL => b"object store unavailable\0",
        EDATA => b"stored data is corrupt\0",
        ECONFLICT => b"conflict\0",
        EINTERNAL => b"internal error\0",
        EEXIST => b"exists already\0",
        _ => b"unknown status\0",
    }
}

#[no_mangle]
pub extern "C" fn sdbx_strerror(status: i32) -> *const std::ffi::c_char {
    status_text(status).as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_the_machine_for_credentials_says_so() {
        let asked = "Error performing PUT http://169.254.169.254/latest/api/token in 1ms";
        let text = with_remedy(asked.to_string());
        assert!(text.starts_with("no credentials for S3: set AWS_ACCESS_KEY_ID"), "{text}");
        assert!(text.ends_with(&format!("({asked})")), "{text}");
        let text = with_remedy("GET http://169.254.169.254/computeMetadata/v1/instance".to_string());
        assert!(text.starts_with("no credentials for Google Cloud Storage"), "{text}");
        assert_eq!(with_remedy("PUT http://127.0.0.1/b".to_string()), "PUT http://127.0.0.1/b");
    }
}
