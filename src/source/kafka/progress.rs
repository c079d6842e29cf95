//! Lag and idleness of the partitions that are ours.

use std::time::{Duration, Instant};

use super::context::lock;
use super::poll::{Loop, Notification, Routing};
use super::statistics::End;

/// The least age at which the word of a broker is old: reports come every second, and the processor may be busy.
const LEAST_FRESH: Duration = Duration::from_secs(5);

/// Where a partition was when it was last looked at, and since when it has been there.
pub(super) type Moved = Option<(Option<i64>, Instant)>;

impl Loop {
    #[allow(clippy::disallowed_methods)]
    pub(super) fn report(&mut self) {
        self.reported = Instant::now();
        let idle_after = Duration::from_millis(u64::try_from(self.context.settings.idle_after.0).unwrap_or(0));
        let assigned = self.context.assigned().clone();
        let ends = lock(&self.context.ends).clone();
        let (mut idle, mut lag) = (Vec::new(), Vec::new());
        for (id, end) in ends.into_iter().filter(|(id, _)| assigned.iter().any(|(ours, _)| ours == id)) {
            let place = id.0 as usize;
            let source = self.context.registry().get(id).cloned();
            let position = source.as_ref().and_then(|source| self.context.position(source));
            let behind = position.map_or(end.offset, |position| (end.offset - position).max(0));
            lag.push((id, behind));
            if self.moved.len() <= place {
                self.moved.resize(place + 1, None);
            }
            let Some(moved) = self.moved.get_mut(place) else { continue };
            let since = match moved {
                Some((before, since)) if *before == position => *since,
                _ => {
                    *moved = Some((position, Instant::now()));
                    continue;
                }
            };
            let is_paused = source.is_some_and(|source| self.paused.contains(&Routing::worker(source.partition, self.filling.len())));
            if behind == 0 && !is_paused && is_quiet(end, since, idle_after, Instant::now()) {
                idle.push(id);
            }
        }
        let _ = self.context.notifications.try_send(Notification::Progress { idle, lag });
    }
}

/// Whether the broker has said, and lately, that nothing came for long enough. While it says nothing, nobody knows.
fn is_quiet(end: End, since: Instant, idle_after: Duration, now: Instant) -> bool {
    let Some(confirmed) = end.confirmed else { return false };
    confirmed.saturating_duration_since(since) >= idle_after && now.saturating_duration_since(confirmed) <= idle_after.max(LEAST_FRESH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // any instant will do
    fn a_partition_is_quiet_only_by_the_fresh_word_of_its_broker() {
        let since = Instant::now();
        let at = |seconds: u64| since + Duration::from_secs(seconds);
        let quiet = |confirmed: Option<u64>, now: u64| {
            is_quiet(End { offset: 0, confirmed: confirmed.map(at) }, since, Duration::from_secs(30), at(now))
        };
        assert!(quiet(Some(30), 31));
        assert!(!quiet(Some(29), 31), "a word that came before");
        assert!(!quiet(Some(0), 600), "a broker that stands still");
        assert!(!quiet(None, 600), "a broker that is away");
        assert!(quiet(Some(100), 130) && !quiet(Some(100), 131), "a word that has grown old");
    }
}
