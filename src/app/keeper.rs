//! The thread that commits: the coordinator hands it what has changed and goes on, and hears when it is durable.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use crate::store::{Batch, Store, StoreError};

/// A thread that owns the store.
#[derive(Debug)]
pub struct Keeper {
    orders: Sender<Batch>,
    /// One answer for each batch: the bytes that were changed.
    pub answers: Receiver<Result<u64, StoreError>>,
    thread: JoinHandle<Store>,
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut store: Store) -> std::io::Result<Keeper> {
        // One batch at a time: what comes next is of a later moment and holds what has changed until then.
        let (orders, inbox) = crossbeam_channel::bounded::<Batch>(1);
        let (mouth, answers) = crossbeam_channel::bounded(1);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            for batch in inbox {
                if mouth.send(store.commit(batch)).is_err() {
                    break;
                }
            }
            store
        })?;
        Ok(Keeper { orders, answers, thread })
    }

    /// Hands a batch over. Its answer must be taken before the next one.
    pub fn commit(&self, batch: Batch) {
        // Where the thread is gone there is no answer either, and that is noticed.
        let _ = self.orders.send(batch);
    }

    /// Ends the thread and gives the store back; `None` where the thread has panicked.
    #[must_use]
    pub fn end(self) -> Option<Store> {
        drop(self.orders);
        drop(self.answers);
        self.thread.join().ok()
    }
}
