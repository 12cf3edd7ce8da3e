//! Work on files, off the threads that must not wait for them, and its errors as the engine knows them.

use slatedb::wal::WalError;
use std::sync::Arc;

/// An error of the file system. Bytes that make no sense are damage and not a reason to try again.
pub fn unavailable(error: std::io::Error) -> WalError {
    match error.kind() {
        std::io::ErrorKind::InvalidData => WalError::DataError(Arc::new(error)),
        _ => WalError::Unavailable(Arc::new(error)),
    }
}

/// Runs work on files on a thread that may block.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WalError> + Send + 'static,
) -> Result<T, WalError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(WalError::InternalError(Arc::new(error))),
    }
}
