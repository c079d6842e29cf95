//! Latencies by model, as HDR histograms: of the monitored model's predictions, and of the agent's own evaluations.
//!
//! Quantiles are exported rather than buckets: three significant digits over seven decades in a few kilobytes, without
//! anybody having to choose buckets. They are over the running interval and the one before, so that an old peak fades.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in microseconds: one hour. What is longer counts as this.
pub const MAX_MICROSECONDS: u64 = 3_600_000_000;
/// Significant decimal digits of a latency.
pub const DIGITS: u8 = 3;
/// What is exported: the value of the attribute `statistic` and its quantile.
pub const STATISTICS: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];

/// What took the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A prediction of the monitored model, as its events say.
    Prediction,
    /// The evaluation of a closed window.
    WindowClose,
}

/// Histograms by kind and model.
#[derive(Debug, Default)]
pub struct LatencyTable(BTreeMap<(Kind, String), Rotating>);

#[derive(Debug)]
struct Rotating {
    running: Histogram<u64>,
    previous: Histogram<u64>,
}

impl LatencyTable {
    /// Records one latency; below a microsecond it counts as one, above [`MAX_MICROSECONDS`] as that.
    pub fn record(&mut self, kind: Kind, model: &str, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(MAX_MICROSECONDS);
        if let Some(running) = self.running(kind, model) {
            // Not saturating: that would cut at what the histogram has grown to so far. Within the limit it always grows.
            let _ = running.record(microseconds.clamp(1, MAX_MICROSECONDS));
        }
    }

    /// Adds a histogram in microseconds.
    pub fn merge(&mut self, kind: Kind, model: &str, microseconds: &Histogram<u64>) {
        if let Some(running) = self.running(kind, model) {
            // A histogram that grows by itself refuses only what no u64 can count.
            let _ = running.add(microseconds);
        }
    }

    /// Begins a new interval.
    pub fn rotate(&mut self) {
        for rotating in self.0.values_mut() {
            std::mem::swap(&mut rotating.running, &mut rotating.previous);
            rotating.running.reset();
        }
        self.0.retain(|_, rotating| !rotating.previous.is_empty());
    }

    /// Forgets other models.
    pub fn retain_models(&mut self, models: &[&str]) {
        self.0.retain(|(_, model), _| models.contains(&model.as_str()));
    }

    /// The statistics of a kind: model, name of the statistic, seconds.
    pub fn statistics(&self, kind: Kind) -> Vec<(&str, &'static str, f64)> {
        let mut rows = Vec::new();
        for ((_, model), rotating) in self.0.iter().filter(|((of, _), _)| *of == kind) {
            let mut both = rotating.previous.clone();
            if both.add(&rotating.running).is_err() || both.is_empty() {
                continue;
            }
            for (name, quantile) in STATISTICS {
                // The upper end of the bucket of the greatest value would be more than was ever seen.
                let microseconds = both.value_at_quantile(quantile).min(both.max());
                rows.push((model.as_str(), name, Duration::from_micros(microseconds).as_secs_f64()));
            }
        }
        rows
    }

    fn running(&mut self, kind: Kind, model: &str) -> Option<&mut Histogram<u64>> {
        let rotating = match self.0.entry((kind, model.to_owned())) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(free) => {
                let mut running = Histogram::new(DIGITS).ok()?;
                running.auto(true);
                free.insert(Rotating { previous: running.clone(), running })
            }
        };
        Some(&mut rotating.running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistic(table: &LatencyTable, name: &str) -> Option<f64> {
        table.statistics(Kind::Prediction).into_iter().find(|row| row.1 == name).map(|row| row.2)
    }

    #[test]
    fn quantiles_are_right_to_three_digits() {
        let mut table = LatencyTable::default();
        for milliseconds in 1..=1000 {
            table.record(Kind::Prediction, "loan", Duration::from_millis(milliseconds));
        }
        for (name, expected) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            let found = statistic(&table, name).unwrap();
            assert!((found - expected).abs() / expected < 1e-3, "{name}: {found}");
        }
        assert!(table.statistics(Kind::WindowClose).is_empty());
    }

    #[test]
    fn a_peak_fades_after_two_intervals_and_then_the_series_ends() {
        let mut table = LatencyTable::default();
        table.record(Kind::Prediction, "loan", Duration::from_secs(9_999_999));
        assert!((statistic(&table, "max").unwrap() / 3600.0 - 1.0).abs() < 1e-3);
        table.rotate();
        table.record(Kind::Prediction, "loan", Duration::from_millis(5));
        assert!(statistic(&table, "max").unwrap() > 3000.0);
        table.rotate();
        assert!(statistic(&table, "max").unwrap() < 0.006);
        table.rotate();
        table.rotate();
        assert_eq!(statistic(&table, "max"), None);
    }

    #[test]
    fn a_collected_histogram_counts_like_single_latencies() {
        let mut collected = Histogram::<u64>::new(DIGITS).unwrap();
        collected.record(12_500).unwrap();
        let mut table = LatencyTable::default();
        table.merge(Kind::Prediction, "loan", &collected);
        assert!((statistic(&table, "p50").unwrap() - 0.0125).abs() < 1e-4);
    }
}
