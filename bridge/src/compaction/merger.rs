//! Merges beside the engine: begun when the database is open, since what they ask the object store first would hold up the
//! opening by a dozen requests, one after the other.

use slatedb::compactor::Compactor;
use slatedb::{CloseReason, ErrorKind};
use std::sync::Mutex;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Between a failure and the next beginning.
const PAUSE: Duration = Duration::from_secs(5);

/// Each time it begins anew, another one.
pub type MakeCompactor = Box<dyn Fn() -> Compactor + Send + Sync>;

/// What merges files of one database, until it is stopped or let go.
pub struct Merger {
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

async fn run(make: MakeCompactor, path: String, mut stop: watch::Receiver<bool>) {
    loop {
        let compactor = make();
        let ended = tokio::select! {
            ended = compactor.run() => Some(ended),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(ended) = ended else {
            // An error here says no more than that it had not begun.
            let _ = compactor.stop().await;
            return;
        };
        match ended {
            Err(error) if matches!(error.kind(), ErrorKind::Closed(CloseReason::Fenced)) => {
                log::info!("{path}: another process merges its files now");
                return;
            }
            Err(error) => log::warn!("{path}: merging files failed, and begins anew in {PAUSE:?}: {error}"),
            Ok(()) => log::warn!("{path}: merging files ended, and begins anew in {PAUSE:?}"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Merger {
    pub fn start(io: &Handle, path: String, make: MakeCompactor) -> Merger {
        let (stop, stopped) = watch::channel(false);
        let task = io.spawn(run(make, path, stopped));
        Merger { stop, task: Mutex::new(Some(task)) }
    }

    /// It ends soon, by itself.
    pub fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends when nothing is merged any more.
    pub async fn stop(&self) {
        self.ask_to_stop();
        let task = self.task.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}
