//! A new consumer in place of one that librdkafka has given up, where the reason was our own: see [`crate::kafka::Session`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::RecvTimeoutError;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use crate::event::SourceId;

use super::context::{Callbacks, Context};
use super::poll::{CLOSE_PATIENCE, Loop, Notification};
use super::rejoin::Rejoin;

/// Makes a consumer that has subscribed to nothing yet.
pub(super) fn consumer_of(context: &Arc<Context>) -> Result<BaseConsumer<Callbacks>, KafkaError> {
    context.settings.client_config().create_with_context(Callbacks(Arc::clone(context)))
}

/// Subscribes to the topics of the settings.
pub(super) fn subscribe(consumer: &BaseConsumer<Callbacks>, context: &Context) -> Result<(), KafkaError> {
    let topics: Vec<&str> = context.settings.topics.iter().map(|topic| topic.name.as_str()).collect();
    consumer.subscribe(&topics)
}

/// Closes a consumer on a thread of its own: librdkafka may wait for brokers that are gone. Returns whether it closed in time.
pub(super) fn close(consumer: BaseConsumer<Callbacks>) -> bool {
    let (done, closed) = crossbeam_channel::bounded::<()>(1);
    let closing = std::thread::Builder::new().name("kafka-close".into()).spawn(move || {
        drop(consumer);
        let _ = done.send(());
    });
    closing.is_err() || !matches!(closed.recv_timeout(CLOSE_PATIENCE), Err(RecvTimeoutError::Timeout))
}

impl Loop {
    /// Goes on with another consumer, where the fatal error of this one was of our own making. Returns whether it did. What
    /// is being filled stays, and is handed on before whatever the next one reads.
    pub(super) fn renew(&mut self) -> bool {
        let code = self.consumer.client().fatal_error().map(|(code, _)| code);
        if !self.context.session.renew(code) {
            return false;
        }
        let Ok(fresh) = consumer_of(&self.context) else { return false };
        // The one is gone before the other joins: the callbacks of both are on the same state.
        if !close(std::mem::replace(&mut self.consumer, fresh)) {
            return false;
        }
        let left: Vec<SourceId> = self.context.assigned().iter().map(|(id, _)| *id).collect();
        self.context.let_go(&left);
        self.context.is_member.store(false, Ordering::Relaxed);
        self.rejoin = Rejoin::new(&self.context);
        self.paused.clear();
        self.suspected.clear();
        self.is_broken = false;
        if let Err(error) = subscribe(&self.consumer, &self.context) {
            self.context.tell_trouble(format!("the topics cannot be subscribed to again: {error}"));
            return false;
        }
        let what = "a request outlived its session and the broker refused it: the group is joined again, reading goes on where it was";
        let _ = self.context.notifications.try_send(Notification::Trouble(what.to_owned()));
        true
    }
}
