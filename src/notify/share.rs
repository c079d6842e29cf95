//! The share of one model in the outbox: what moves with the model when another replica becomes its owner.

use super::outbox::{Delivery, MAX_SETTLED, Outbox, OutboxError, Settled};

use serde::{Deserialize, Serialize};

/// The stored form of a share. JSON, because the body of a call is any JSON.
#[derive(Serialize, Deserialize)]
struct Share {
    pending: Vec<Delivery>,
    settled: Vec<Settled>,
}

impl Outbox {
    /// The stored form of what waits for one model and of what is remembered of it.
    ///
    /// # Errors
    /// Where the serialiser refuses; plain data never makes it.
    pub fn share(&self, model: &str) -> Result<Vec<u8>, OutboxError> {
        let pending = self.pending.values().filter(|delivery| delivery.payload.model() == model).cloned().collect();
        let settled = self.settled.iter().filter(|settled| settled.model == model).cloned().collect();
        Ok(serde_json::to_vec(&Share { pending, settled })?)
    }

    /// Takes over what another owner of the model had to deliver. It may be sent at once: its cause was stored with it.
    ///
    /// # Errors
    /// Where it is damaged.
    pub fn adopt(&mut self, share: &[u8]) -> Result<(), OutboxError> {
        let share: Share = serde_json::from_slice(share)?;
        for settled in share.settled {
            if !self.settled.iter().any(|known| known.key == settled.key) {
                self.settled.push_back(settled);
            }
        }
        while self.settled.len() > MAX_SETTLED {
            self.settled.pop_front();
        }
        for delivery in share.pending {
            let is_known =
                self.pending.values().any(|other| other.key == delivery.key) || self.settled.iter().any(|other| other.key == delivery.key);
            if !is_known {
                self.pending.insert(self.next, delivery);
                self.next += 1;
            }
        }
        Ok(())
    }

    /// Lets everything of one model below the mark go.
    pub fn release_share(&mut self, model: &str, mark: u64) {
        let pending = &self.pending;
        self.staged.retain(|number| *number >= mark || pending.get(number).is_none_or(|delivery| delivery.payload.model() != model));
    }

    /// Gives up what waits for a model that somebody else owns from now on: it is in what that owner goes on from. An attempt
    /// that is under way ends as it will; its key is the same there.
    pub fn abandon(&mut self, model: &str) {
        self.pending.retain(|_, delivery| delivery.payload.model() != model);
        let pending = &self.pending;
        self.staged.retain(|number| pending.contains_key(number));
        self.in_flight.retain(|number| pending.contains_key(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;
    use crate::notify::mail::tests::notice;
    use crate::notify::outbox::{Channel, Payload, Target};
    use crate::rule::message::Notice;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn delivery(model: &str, episode: &str) -> Delivery {
        let mut notice = Notice { episode: episode.into(), ..notice() };
        notice.alert.labels.insert("model".into(), model.into());
        let target = Target::Receiver { name: "a".into(), channel: Channel::Webhook { index: 0 } };
        Delivery::new(target, Payload::Notice(Box::new(notice)), NOW)
    }

    fn due(outbox: &mut Outbox) -> Vec<String> {
        outbox.take_due(NOW).deliveries.into_iter().map(|(_, delivery)| delivery.payload.episode().to_owned()).collect()
    }

    #[test]
    fn a_share_moves_and_the_rest_stays() {
        let mut old = Outbox::default();
        old.stage(delivery("loan", "L"), NOW);
        old.stage(delivery("fraud", "F"), NOW);
        let mut new = Outbox::default();
        new.adopt(&old.share("loan").unwrap()).unwrap();
        new.adopt(&old.share("loan").unwrap()).unwrap();
        assert_eq!(due(&mut new), ["L"], "once, and free to go");
        old.abandon("loan");
        old.release(old.mark());
        assert_eq!(due(&mut old), ["F"]);
    }

    #[test]
    fn what_was_delivered_is_not_taken_over_again() {
        let mut old = Outbox::default();
        old.push(delivery("loan", "L"), NOW);
        let share = old.share("loan").unwrap();
        let (number, _) = old.take_due(NOW).deliveries.remove(0);
        let _ = old.finish(number, Ok(crate::notify::outbox::End::Delivered), &crate::notify::backoff::RetryPolicy::default(), NOW);
        let mut new = Outbox::default();
        new.adopt(&old.share("loan").unwrap()).unwrap();
        new.adopt(&share).unwrap();
        assert!(due(&mut new).is_empty());
    }

    #[test]
    fn only_the_models_own_are_released() {
        let mut outbox = Outbox::default();
        outbox.stage(delivery("loan", "L"), NOW);
        outbox.stage(delivery("fraud", "F"), NOW);
        let mark = outbox.mark();
        outbox.stage(delivery("loan", "M"), NOW);
        outbox.release_share("loan", mark);
        assert_eq!(due(&mut outbox), ["L"]);
    }
}
