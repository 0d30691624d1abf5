//! A thread that owns a connection to the database (FORMATS "SQL drivers"): calls of a store block,
//! and the ports must not. Jobs wait in a queue of bounded length; where it is full the caller is
//! told so at once.

use crate::store::SqliteStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce(&mut SqliteStore) + Send>;

/// The job was not done: too many wait already, or the server ends. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Overloaded;

/// The way to the thread.
#[derive(Clone)]
pub(crate) struct Sql {
    jobs: SyncSender<Job>,
}

/// The thread itself.
pub(crate) struct SqlThread {
    thread: JoinHandle<SqliteStore>,
    aborted: Arc<AtomicBool>,
}

impl Sql {
    /// Starts a thread for a connection, with room for `queue` jobs.
    pub(crate) fn start(name: &str, store: SqliteStore, queue: usize) -> std::io::Result<(Sql, SqlThread)> {
        let (jobs, received) = sync_channel(queue.max(1));
        let aborted = Arc::new(AtomicBool::new(false));
        let flag = aborted.clone();
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || work(store, &received, &flag))?;
        Ok((Sql { jobs }, SqlThread { thread, aborted }))
    }

    /// Does `job` on the thread. It is done even where nobody waits for the answer any more.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut SqliteStore) -> R + Send + 'static,
    ) -> Result<R, Overloaded> {
        let (answer, answered) = oneshot::channel();
        self.post(move |store| {
            // Whoever asked may be gone.
            let _ = answer.send(job(store));
        })?;
        answered.await.map_err(|_| Overloaded)
    }

    /// Puts `job` in the queue, for nobody in particular.
    pub(crate) fn post(&self, job: impl FnOnce(&mut SqliteStore) + Send + 'static) -> Result<(), Overloaded> {
        self.jobs.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Overloaded,
        })
    }
}

impl SqlThread {
    /// From now on no job is begun any more: as if the process had been killed.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
    }

    /// Waits until what is in the queue is done, and gives the connection back; every [`Sql`] must be gone
    /// by then. `None` where the thread panicked.
    pub(crate) fn join(self) -> Option<SqliteStore> {
        let store = self.thread.join().ok();
        if store.is_none() {
            tracing::error!("the database's thread panicked; what was acknowledged is stored");
        }
        store
    }
}

fn work(mut store: SqliteStore, jobs: &Receiver<Job>, aborted: &AtomicBool) -> SqliteStore {
    while let Ok(job) = jobs.recv() {
        if aborted.load(Ordering::SeqCst) {
            break;
        }
        job(&mut store);
    }
    store
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_full_queue_is_told_at_once_and_nothing_is_begun_after_an_abort() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("d")).unwrap();
        let (sql, thread) = Sql::start("test", store, 1).unwrap();
        let ((begun, has_begun), (end, may_end)) = (channel(), channel());
        let first = move |_: &mut SqliteStore| {
            begun.send(()).unwrap();
            may_end.recv().unwrap();
        };
        assert_eq!(sql.post(first), Ok(()));
        has_begun.recv().unwrap();
        let (done, was_done) = channel();
        assert_eq!(sql.post(move |_| done.send(()).unwrap()), Ok(()));
        assert_eq!(sql.post(|_| ()), Err(Overloaded));
        thread.abort();
        end.send(()).unwrap();
        assert!(thread.join().is_some());
        assert!(was_done.recv().is_err(), "it was dropped");
        assert_eq!(sql.post(|_| ()), Err(Overloaded));
    }
}
