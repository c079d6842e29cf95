//! What each cell adds to a distance between two histograms, and what each part of the events adds to it.
//!
//! Every distance here is a sum over cells, or the root of one, whose terms are never negative and are 0 where both shares are equal;
//! so a cell's share of the score is its term over the sum of all terms. The parts of a window (its segments) share a term in
//! proportion to the difference that they make to the cell: `w_s c_sk - v_s r_sk` of `c_k - r_k`, with w and v the parts' shares of
//! the events. That is additive over any partition, exact, and needs no part to be taken out and measured again; a part counts for what
//! changed inside it and for having become larger or smaller. It is the explanatory power of Bhagwan et al., Adtributor (NSDI
//! 2014), weighted cell by cell with the score's own term. A share may be negative, or above 1, where parts work against each other.
//!
//! Cost: one pass over the cells, and one for each part.

use super::counts::{Samples, real};
use super::divergence::SHARE_FLOOR;

/// The distance whose terms are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// [`super::divergence::psi`]: the terms add up to it.
    Psi,
    /// [`super::divergence::kl_divergence`]: the terms `r ln(r / c) - r + c`, which add up to it where no share is below the floor.
    KullbackLeibler,
    /// [`super::divergence::js_distance`]: the terms, in nats, add up to ln 2 times its square.
    JensenShannon,
    /// [`super::divergence::hellinger`]: the terms add up to its square.
    Hellinger,
    /// [`super::divergence::total_variation`]: the terms add up to it.
    TotalVariation,
    /// [`super::contingency::chi_square`]: the terms add up to it.
    ChiSquare,
    /// [`super::contingency::g_test`]: the terms add up to it.
    GTest,
}

/// The term of each cell. `None` where a sample is empty or the slices differ in length.
#[must_use]
pub fn terms(distance: Distance, reference: &[u64], current: &[u64]) -> Option<Vec<f64>> {
    let samples = Samples::new(reference, current)?;
    let (n, m) = (real(samples.n), real(samples.m));
    let part = |share: f64, of: f64| if share > 0.0 { share * (share / of).ln() } else { 0.0 };
    let term = |(r, c): (f64, f64)| {
        let (rf, cf) = (r.max(SHARE_FLOOR), c.max(SHARE_FLOOR));
        let pooled = (n * r + m * c) / (n + m);
        let term = match distance {
            Distance::Psi => (cf - rf) * (cf / rf).ln(),
            Distance::KullbackLeibler => rf * (rf / cf).ln() - rf + cf,
            Distance::JensenShannon => f64::midpoint(part(r, f64::midpoint(r, c)), part(c, f64::midpoint(r, c))),
            Distance::Hellinger => (c.sqrt() - r.sqrt()).powi(2) / 2.0,
            Distance::TotalVariation => (c - r).abs() / 2.0,
            Distance::ChiSquare if pooled > 0.0 => (n * (r - pooled).powi(2) + m * (c - pooled).powi(2)) / pooled,
            Distance::GTest if pooled > 0.0 => 2.0 * (n * part(r, pooled) + m * part(c, pooled)),
            Distance::ChiSquare | Distance::GTest => 0.0,
        };
        term.max(0.0)
    };
    Some(samples.shares().map(term).collect())
}

/// Counts of some cells and of everything that was counted: shares are of the total, which may be more than the cells hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// By cell.
    pub cells: Vec<u64>,
    /// Of all.
    pub total: u64,
}

impl Part {
    /// The share of a cell among `total` events.
    #[must_use]
    pub fn share(&self, cell: usize, total: u64) -> f64 {
        self.cells.get(cell).map_or(0.0, |count| real(*count) / real(total.max(1)))
    }
}

/// What a part of the events adds to the sum of `terms`. `reference` and `current` are the whole; `of_reference` is the part's
/// own reference, or `None` where it has none: then it is held against the whole reference at the part's present size.
#[must_use]
pub fn of_part(terms: &[f64], (reference, current): (&Part, &Part), of_reference: Option<&Part>, of_current: &Part) -> f64 {
    let size = real(of_current.total) / real(current.total.max(1));
    let add = |(cell, term): (usize, &f64)| {
        let before = reference.share(cell, reference.total);
        let moved = current.share(cell, current.total) - before;
        let own_before = of_reference.map_or(size * before, |part| part.share(cell, reference.total));
        if moved == 0.0 { 0.0 } else { term * ((of_current.share(cell, current.total) - own_before) / moved) }
    };
    terms.iter().enumerate().map(add).sum()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::contingency::{chi_square, g_test};
    use super::super::divergence::{hellinger, js_distance, psi, total_variation};
    use super::*;

    const ALL: [Distance; 7] = [
        Distance::Psi,
        Distance::KullbackLeibler,
        Distance::JensenShannon,
        Distance::Hellinger,
        Distance::TotalVariation,
        Distance::ChiSquare,
        Distance::GTest,
    ];

    fn sum(distance: Distance, r: &[u64], c: &[u64]) -> f64 {
        terms(distance, r, c).unwrap().iter().sum()
    }

    fn part(cells: &[u64]) -> Part {
        Part { cells: cells.to_vec(), total: cells.iter().sum() }
    }

    proptest! {
        #[test]
        fn the_terms_add_up_to_the_score(cells in vec((0u64..500, 0u64..500), 1..30)) {
            let (r, c): (Vec<u64>, Vec<u64>) = cells.into_iter().unzip();
            prop_assume!(r.iter().sum::<u64>() > 0 && c.iter().sum::<u64>() > 0);
            let close = |sum: f64, score: Option<f64>| (sum - score.unwrap()).abs() <= 1e-9 * sum.abs().max(1.0);
            prop_assert!(close(sum(Distance::Psi, &r, &c), psi(&r, &c)));
            prop_assert!(close(sum(Distance::TotalVariation, &r, &c), total_variation(&r, &c)));
            prop_assert!(close(sum(Distance::Hellinger, &r, &c), hellinger(&r, &c).map(|root| root * root)));
            prop_assert!(close(sum(Distance::JensenShannon, &r, &c), js_distance(&r, &c).map(|root| root * root * 2f64.ln())));
            prop_assert!(close(sum(Distance::ChiSquare, &r, &c), chi_square(&r, &c)));
            prop_assert!(close(sum(Distance::GTest, &r, &c), g_test(&r, &c)));
            for distance in ALL {
                prop_assert!(terms(distance, &r, &c).unwrap().iter().all(|term| *term >= 0.0 && term.is_finite()));
            }
        }

        #[test]
        fn the_parts_add_up_to_the_score(parts in vec(vec((0u64..200, 0u64..200), 6), 1..6), with_reference in any::<bool>()) {
            let total = |side: fn(&(u64, u64)) -> u64| -> Vec<u64> { (0..6).map(|cell| parts.iter().map(|part| side(&part[cell])).sum()).collect() };
            let (r, c) = (part(&total(|cell| cell.0)), part(&total(|cell| cell.1)));
            prop_assume!(r.total > 0 && c.total > 0);
            for distance in ALL {
                let terms = terms(distance, &r.cells, &c.cells).unwrap();
                // Cells whose floored shares differ although the shares are equal have no mover; there are none: equal stays equal.
                let whole: f64 = terms.iter().sum();
                let shared: f64 = parts.iter().map(|own| {
                    let side = |side: fn(&(u64, u64)) -> u64| part(&own.iter().map(side).collect::<Vec<_>>());
                    of_part(&terms, (&r, &c), with_reference.then(|| side(|cell| cell.0)).as_ref(), &side(|cell| cell.1))
                }).sum();
                prop_assert!((whole - shared).abs() <= 1e-9 * whole.max(1.0), "{distance:?}: {whole} and {shared}");
            }
        }
    }

    #[test]
    fn the_part_that_moved_is_the_part_that_counts() {
        // Two parts of equal size; only the first has moved from the first cell to the second.
        let (r, c) = (part(&[100, 100]), part(&[60, 140]));
        let terms = terms(Distance::Psi, &r.cells, &c.cells).unwrap();
        let psi: f64 = terms.iter().sum();
        let still = of_part(&terms, (&r, &c), Some(&part(&[50, 50])), &part(&[50, 50]));
        let moved = of_part(&terms, (&r, &c), Some(&part(&[50, 50])), &part(&[10, 90]));
        assert!(still.abs() < 1e-12 && (moved - psi).abs() < 1e-12, "{still} {moved}");
        // Without references of their own, each is held against the whole.
        let still = of_part(&terms, (&r, &c), None, &part(&[50, 50]));
        assert!(still.abs() < 1e-12);
        assert_eq!(super::terms(Distance::Psi, &[], &[]), None);
    }
}
