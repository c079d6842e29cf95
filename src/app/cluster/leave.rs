//! How a replica ends: it says what is left to say, and leaves both groups.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cache::Cache;
use super::member::{BEAT, Member};

/// How long the last words may take to arrive at the end.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

impl Member {
    pub(super) fn stop(&mut self) {
        if !self.is_draining {
            self.is_draining = true;
            self.of.is_stopping.store(true, Ordering::Relaxed);
            if let Some(letters) = &self.of.publisher.letters {
                letters.end();
            }
            self.of.consumer.stop_polling();
        }
    }

    /// Says what is left to say, gives it time to arrive, and leaves both groups.
    pub(super) fn end(mut self) {
        let began = super::super::clock::monotonic();
        if !self.is_broken && self.may_speak() {
            self.flush.give_up();
            self.settle(began);
            let last = std::mem::take(&mut self.last);
            self.send(last);
            let exchange = &self.of.exchange;
            self.court.store((self.of.now)(), true, |record| exchange.publish(vec![record]).map_err(|refused| refused.to_string()));
            self.settle(began);
        }
        let now = (self.of.now)();
        self.show_status(now);
        let Member { of, replica, .. } = self;
        drop(replica);
        of.cache.into_iter().for_each(Cache::end);
        // Both wait for brokers, so both at once.
        let owners = of.owners;
        let leaving = std::thread::Builder::new().name("leave".into()).spawn(move || drop(owners));
        of.consumer.stop();
        if let Ok(leaving) = leaving {
            let _ = leaving.join();
        }
        of.exchange.flush(LAST_PATIENCE.saturating_sub(began.elapsed()));
        for worker in of.workers {
            let _ = worker.thread.join();
        }
    }

    /// Waits until everything that is on its way has arrived, for as long as is left since the end began.
    fn settle(&mut self, began: std::time::Instant) {
        while (self.flush.is_busy() || self.court.is_busy()) && began.elapsed() < LAST_PATIENCE {
            if let Ok(ack) = self.of.exchange.acks().recv_timeout(BEAT) {
                self.arrived(&ack);
            }
        }
    }
}
