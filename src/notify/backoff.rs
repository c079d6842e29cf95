//! When to try again: exponential with full jitter. The jitter comes from the key of the delivery and the number of the attempt,
//! not from a random source, so that a restarted agent waits as long as it would have waited.

use sha2::{Digest, Sha256};

use crate::event::Span;

/// Shortest wait, so that a small draw does not hammer a server that has just failed.
const FLOOR: Span = Span(100);

/// How long and how often a delivery is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Upper bound of the first wait; each further one is doubled.
    pub base: Span,
    /// No wait is longer than this, unless a server asks for it.
    pub max: Span,
    /// Age at which a notice is given up: over a long weekend.
    pub notice_age: Span,
    /// Age at which a call of an action is given up: a late retraining would be a wrong one.
    pub action_age: Span,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            base: Span::SECOND,
            max: Span(30 * Span::MINUTE.0),
            notice_age: Span(75 * Span::HOUR.0),
            action_age: Span(6 * Span::HOUR.0),
        }
    }
}

impl RetryPolicy {
    /// The wait after the failed attempt number `attempt`, counted from 1: uniform in `[0, min(max, base * 2^(attempt - 1))]`
    /// ("full jitter": M. Brooker, Exponential Backoff and Jitter, 2015), at least a tenth of a second.
    #[must_use]
    pub fn wait(&self, key: &str, attempt: u32) -> Span {
        let doublings = attempt.saturating_sub(1).min(40);
        let bound = self.base.0.max(0).saturating_mul(1_i64 << doublings).min(self.max.0.max(0));
        let mut hasher = Sha256::new();
        hasher.update(key.as_bytes());
        hasher.update([0]);
        hasher.update(attempt.to_be_bytes());
        let mut draw = 0_u64;
        for byte in hasher.finalize().iter().take(8) {
            draw = draw << 8 | u64::from(*byte);
        }
        // bound * draw / 2^64, without overflow and without the bias of a remainder.
        let wait = (i128::from(bound) * i128::from(draw)) >> 64;
        Span(i64::try_from(wait).unwrap_or(bound).max(FLOOR.0.min(bound)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_repeat_exactly() {
        let policy = RetryPolicy::default();
        for attempt in 1..200 {
            let bound = if attempt < 12 { Span(1_000 << (attempt - 1)) } else { policy.max };
            let wait = policy.wait("key", attempt);
            assert!(wait >= FLOOR && wait <= bound.min(policy.max), "{attempt}: {wait}");
            assert_eq!(wait, policy.wait("key", attempt));
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let policy = RetryPolicy::default();
        let mut quarters = [0_u32; 4];
        for index in 0..4_000_i64 {
            let wait = policy.wait(&format!("key{index}"), 30);
            quarters[usize::try_from((wait.0 * 4 / (policy.max.0 + 1)).min(3)).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|count| (900..1100).contains(count)), "{quarters:?}");
    }
}
