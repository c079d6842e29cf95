//! A false-alarm budget: from how many false alarms somebody accepts in a time to the level of a single look.
//!
//! A *look* is one p-value of one series (subject, metric, segment) in one window. If no look gives a false alarm with a probability
//! above `level`, the expected number of them is at most `level` times the number of looks, whatever the dependence between
//! series (Bonferroni). Windows that overlap share rows: their looks come in clumps, and one clump is one alarm. In a time
//! of `T` windows of which each begins `1/k` of its size after the one before, there are as many clumps as in `T` times the
//! lesser of `k` and `x` independent windows, where `x` is the chi-square quantile of the level: the rate at which a
//! chi-square process of moving sums crosses a high level (Pickands 1969; Lindgren 1989). It is taken for ten cells, which is more than for one.

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Degrees of freedom at which clumps are counted: those of ten bins.
const FREEDOM: f64 = 9.0;
/// Halvings of the interval in which the level is looked for: more than a double has.
const HALVINGS: usize = 200;
/// The least level that is asked for: p-values below it are not told apart.
const LEAST_LEVEL: f64 = 1e-15;

/// How many false alarms are accepted in which time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Alarms, on average.
    pub alarms: f64,
    /// Seconds.
    pub per: f64,
}

/// The looks at windows of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Looks {
    /// Subjects times metrics times segments.
    pub series: u64,
    /// Length of the windows in seconds.
    pub size: f64,
    /// Distance of their starts in seconds.
    pub slide: f64,
}

impl Looks {
    /// Independent looks in `per` seconds at a level.
    #[must_use]
    pub fn independent(&self, per: f64, level: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let series = self.series as f64;
        let clumps = quantile(level).map_or(f64::INFINITY, |quantile| quantile.max(1.0));
        series * (per / self.size) * (self.size / self.slide).clamp(1.0, clumps)
    }
}

impl Budget {
    /// The level of each look at which all looks together stay within the budget: at most 1, `None` where nothing is
    /// looked at or a number is not positive.
    #[must_use]
    pub fn level(&self, looks: &[Looks]) -> Option<f64> {
        let is_sound = |looks: &Looks| looks.size.is_finite() && looks.size > 0.0 && looks.slide > 0.0;
        let positive = |number: f64| number.is_finite() && number > 0.0;
        if !positive(self.alarms) || !positive(self.per) || !looks.iter().all(is_sound) || looks.iter().all(|looks| looks.series == 0) {
            return None;
        }
        // Alarms grow with the level: independent looks fall more slowly than it.
        let alarms = |level: f64| level * looks.iter().map(|looks| looks.independent(self.per, level)).sum::<f64>();
        let (mut low, mut high) = (LEAST_LEVEL.ln(), 0.0);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if alarms(middle.exp()) > self.alarms { high = middle } else { low = middle }
        }
        Some(low.exp())
    }
}

fn quantile(level: f64) -> Option<f64> {
    let quantile = ChiSquared::new(FREEDOM).ok()?.inverse_cdf(1.0 - level.clamp(LEAST_LEVEL, 1.0));
    quantile.is_finite().then_some(quantile)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = 86_400.0;

    #[test]
    fn windows_that_do_not_overlap_share_the_budget() {
        let budget = Budget { alarms: 1.0, per: 30.0 * DAY };
        let looks = Looks { series: 50, size: 3600.0, slide: 3600.0 };
        let level = budget.level(&[looks]).unwrap();
        assert!((level * 50.0 * 720.0 - 1.0).abs() < 1e-9, "{level}");
        let both = budget.level(&[looks, Looks { series: 50, size: DAY, slide: DAY }]).unwrap();
        assert!((both * 50.0 * 750.0 - 1.0).abs() < 1e-9, "{both}");
    }

    #[test]
    fn windows_that_overlap_count_until_they_say_the_same() {
        let budget = Budget { alarms: 1.0, per: 30.0 * DAY };
        let level = |slide| budget.level(&[Looks { series: 1, size: DAY, slide }]).unwrap();
        assert!((level(DAY / 4.0) * 120.0 - 1.0).abs() < 1e-9);
        // At 1 in 800 the quantile of 9 degrees of freedom is 27: a day sliding by a minute is no more than that.
        assert!((level(60.0) - level(1.0)).abs() < 1e-12);
        assert!((25.0..29.0).contains(&(1.0 / (level(1.0) * 30.0))), "{}", level(1.0));
    }

    #[test]
    fn a_generous_budget_is_not_beyond_certainty_and_none_is_none() {
        assert!(Budget { alarms: 1e9, per: DAY }.level(&[Looks { series: 1, size: DAY, slide: DAY }]).unwrap() <= 1.0);
        for budget in [Budget { alarms: 0.0, per: DAY }, Budget { alarms: 1.0, per: f64::NAN }] {
            assert_eq!(budget.level(&[Looks { series: 1, size: DAY, slide: DAY }]), None);
        }
        assert_eq!(Budget { alarms: 1.0, per: DAY }.level(&[Looks { series: 0, size: DAY, slide: DAY }]), None);
        assert_eq!(Budget { alarms: 1.0, per: DAY }.level(&[]), None);
    }
}
