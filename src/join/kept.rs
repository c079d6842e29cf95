//! What ledgers hold, as counts to be shown.

use std::iter::Sum;
use std::ops::Add;

/// Counts over one ledger or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Labels that wait to be joined.
    pub labels: u64,
    /// Predictions that may still get a label or a corrected one.
    pub predictions: u64,
    /// Predictions that were counted but not kept for their labels, because a ledger was full.
    pub refused: u64,
}

impl Add for Kept {
    type Output = Kept;

    fn add(self, other: Kept) -> Kept {
        Kept {
            labels: self.labels + other.labels,
            predictions: self.predictions + other.predictions,
            refused: self.refused + other.refused,
        }
    }
}

impl Sum for Kept {
    fn sum<I: Iterator<Item = Kept>>(all: I) -> Kept {
        all.fold(Kept::default(), Kept::add)
    }
}
