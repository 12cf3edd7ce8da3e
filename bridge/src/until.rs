//! Waiting for a condition that others change.

use tokio::sync::Notify;

/// Ends when `holds` does. Who makes it hold calls `changed.notify_waiters()` afterwards; no such call is missed, because
/// the wait begins before the look.
pub async fn until(changed: &Notify, holds: impl Fn() -> bool) {
    loop {
        let notified = changed.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if holds() {
            return;
        }
        notified.await;
    }
}
