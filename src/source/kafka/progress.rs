//! Lag and idleness of the partitions that are ours.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;

use super::context::lock;
use super::poll::{Loop, Notification, Routing};

/// The age at which the word of a broker is old, beside the time that it may take to answer a fetch: reports come every
/// second, and the processor may be busy.
const FRESH: Duration = Duration::from_secs(5);

/// Where a partition was when it was last looked at, and since when it has been there.
pub(super) type Moved = Option<(Option<i64>, Instant)>;

impl Loop {
    #[allow(clippy::disallowed_methods)]
    pub(super) fn report(&mut self) {
        self.reported = Instant::now();
        let idle_after = Duration::from_millis(u64::try_from(self.context.settings.idle_after.0).unwrap_or(0));
        let wait = self.context.settings.connection.property("fetch.wait.max.ms").and_then(|wait| wait.expose_secret().parse().ok());
        let fresh = FRESH + Duration::from_millis(wait.unwrap_or(0));
        let assigned = self.context.assigned().clone();
        let ends = lock(&self.context.ends).clone();
        let (mut idle, mut lag) = (Vec::new(), Vec::new());
        for (id, end) in ends.into_iter().filter(|(id, _)| assigned.iter().any(|(ours, _)| ours == id)) {
            let place = id.0 as usize;
            let source = self.context.registry().get(id).cloned();
            let position = source.as_ref().and_then(|source| self.context.position(source));
            let is_paused = source.is_some_and(|source| self.paused.contains(&Routing::worker(source.partition, self.filling.len())));
            if is_paused {
                // What was fetched ahead has been thrown away.
                self.drained.remove(&id);
            } else if end.is_drained {
                self.drained.insert(id, (position, end.offset));
            }
            // What was drained once stays so until something comes, however much is fetched of others.
            let is_drained = self.drained.get(&id) == Some(&(position, end.offset));
            let behind = if is_drained { 0 } else { position.map_or(end.offset, |position| (end.offset - position).max(0)) };
            lag.push((id, behind));
            if self.moved.len() <= place {
                self.moved.resize(place + 1, None);
            }
            let Some(moved) = self.moved.get_mut(place) else { continue };
            if is_quiet(moved, (position, end.confirmed.filter(|_| !is_paused)), idle_after, fresh, Instant::now()) && behind == 0 {
                idle.push(id);
            }
        }
        let _ = self.context.notifications.try_send(Notification::Progress { idle, lag });
    }
}

/// Whether the broker has said for long enough, without a break, that nothing came. While it says nothing nobody knows, and
/// when it is back, those who write need their time, too.
fn is_quiet(
    moved: &mut Moved,
    (position, confirmed): (Option<i64>, Option<Instant>),
    idle_after: Duration,
    fresh: Duration,
    now: Instant,
) -> bool {
    let confirmed = confirmed.filter(|confirmed| now.saturating_duration_since(*confirmed) <= fresh);
    match (moved.as_ref(), confirmed) {
        (Some((before, since)), Some(confirmed)) if *before == position => confirmed.saturating_duration_since(*since) >= idle_after,
        _ => {
            *moved = Some((position, now));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // any instant will do
    fn a_partition_is_quiet_by_the_unbroken_word_of_its_broker() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut moved = None;
        let mut quiet = |position: i64, confirmed: Option<u64>, now: u64| {
            is_quiet(&mut moved, (Some(position), confirmed.map(at)), Duration::from_secs(30), Duration::from_secs(5), at(now))
        };
        assert!(!quiet(7, Some(0), 0), "it has just moved");
        assert!(!quiet(7, Some(29), 31), "nobody has spoken since");
        assert!(quiet(7, Some(30), 31));
        assert!(!quiet(7, Some(30), 36), "the word has grown old");
        assert!(!quiet(7, Some(60), 60), "and its time begins anew");
        assert!(quiet(7, Some(66), 66));
        assert!(!quiet(7, None, 67), "the broker is away");
        assert!(!quiet(7, Some(96), 96));
        assert!(quiet(7, Some(97), 97));
        assert!(!quiet(8, Some(98), 98), "a record has come");
    }
}
