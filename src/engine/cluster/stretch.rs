//! Stretches of time that are marked, merged where they touch.

use std::collections::BTreeMap;

use crate::event::Timestamp;

/// Half-open stretches of time, none touching another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretches(BTreeMap<Timestamp, Timestamp>);

impl Stretches {
    /// Marks a stretch.
    pub fn add(&mut self, from: Timestamp, end: Timestamp) {
        let (mut from, mut end) = (from, end);
        while let Some((start, other)) = self.0.range(..=end).next_back().map(|(start, other)| (*start, *other)) {
            if other < from {
                break;
            }
            self.0.remove(&start);
            (from, end) = (from.min(start), end.max(other));
        }
        self.0.insert(from, end);
    }

    /// Forgets what ends before an instant.
    pub fn forget(&mut self, before: Timestamp) {
        self.0.retain(|_, end| *end >= before);
    }

    /// All of them, in order: first instant, and the first after.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        self.0.iter().map(|(from, end)| (*from, *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_that_touch_are_one() {
        let mut stretches = Stretches::default();
        let all = |stretches: &Stretches| stretches.iter().map(|(from, end)| (from.0, end.0)).collect::<Vec<_>>();
        for (from, end) in [(10, 20), (40, 50), (60, 70), (20, 25), (12, 15)] {
            stretches.add(Timestamp(from), Timestamp(end));
        }
        assert_eq!(all(&stretches), [(10, 25), (40, 50), (60, 70)]);
        stretches.add(Timestamp(24), Timestamp(61));
        assert_eq!(all(&stretches), [(10, 70)]);
        stretches.forget(Timestamp(70));
        assert_eq!(all(&stretches), [(10, 70)]);
        stretches.forget(Timestamp(71));
        assert!(all(&stretches).is_empty());
    }
}
