//! Seeded random draws for simulated nulls: the same seed gives the same draws on every machine.
//!
//! Not for secrets. Nothing here asks the system for entropy.

use super::counts::{real, total};

/// `SplitMix64`: 64 bits of state, one multiplication chain per draw, equidistributed over its period of 2^64.
///
/// Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators (2014).
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    /// The next 64 uniform bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// A draw from the standard normal distribution.
///
/// Source: Box and Muller (1958); the second of the two numbers is not kept.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn normal(random: &mut SplitMix64) -> f64 {
    // Above 0, so that the logarithm is finite.
    let mut uniform = || ((random.next_u64() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
    let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), std::f64::consts::TAU * uniform());
    radius * angle.cos()
}

/// Draws cells in proportion to fixed counts, at a cost that does not depend on their number.
///
/// Source: Walker (1977), built as Vose (1991) does. Shares are resolved to 2^-32 per cell.
#[derive(Clone, Debug)]
pub struct AliasTable {
    columns: Vec<Column>,
}

/// One equal-width column: below the threshold (of 2^32) it is its own cell, above it another's.
#[derive(Clone, Copy, Debug)]
struct Column {
    threshold: u32,
    alias: u32,
}

impl AliasTable {
    /// The table of the shares of `counts`; `None` where their sum is 0 or beyond `u64`, or there are 2^32 cells or more.
    #[must_use]
    pub fn new(counts: &[u64]) -> Option<AliasTable> {
        let sum = total(counts).filter(|sum| *sum > 0)?;
        let cells = u32::try_from(counts.len()).ok()?;
        // Mass of each cell in units of a column, and whose turn it is to give or to be filled up.
        let mut mass: Vec<f64> = counts.iter().map(|count| real(*count) / real(sum) * f64::from(cells)).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for (cell, mass) in (0..cells).zip(&mass) {
            if *mass < 1.0 { small.push(cell) } else { large.push(cell) }
        }
        let mut columns: Vec<Column> = (0..cells).map(|cell| Column { threshold: u32::MAX, alias: cell }).collect();
        while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
            let poor_mass = mass.get(poor as usize).copied()?;
            *columns.get_mut(poor as usize)? = Column { threshold: scaled(poor_mass), alias: rich };
            let rich_mass = mass.get_mut(rich as usize)?;
            *rich_mass -= 1.0 - poor_mass;
            if *rich_mass < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        Some(AliasTable { columns })
    }

    /// One cell.
    #[inline]
    #[must_use]
    pub fn draw(&self, random: &mut SplitMix64) -> usize {
        let bits = random.next_u64();
        let cell = ((bits >> 32) * self.columns.len() as u64) >> 32;
        // Below the number of columns, which fits.
        #[allow(clippy::cast_possible_truncation)]
        let cell = cell as usize;
        match self.columns.get(cell) {
            Some(column) if (bits & 0xffff_ffff) >= u64::from(column.threshold) => column.alias as usize,
            _ => cell,
        }
    }

    /// A multinomial sample of `size` draws, written over `counts` (one per cell).
    pub fn sample(&self, size: u64, random: &mut SplitMix64, counts: &mut [u64]) {
        counts.fill(0);
        for _ in 0..size {
            if let Some(count) = counts.get_mut(self.draw(random)) {
                *count += 1;
            }
        }
    }
}

/// A share of a column in units of 2^-32.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn scaled(share: f64) -> u32 {
    // The conversion saturates: 1 becomes the greatest threshold.
    (share * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::contingency::chi_square;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for seed 1234567 of the reference implementation by Vigna (prng.di.unimi.it/splitmix64.c).
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn draws_follow_the_counts_and_never_hit_an_empty_cell() {
        let counts = [0, 1, 7, 1000, 0, 250, 3, 42];
        let table = AliasTable::new(&counts).unwrap();
        let mut drawn = [0; 8];
        table.sample(1_303_000, &mut SplitMix64::new(5), &mut drawn);
        assert_eq!((drawn[0], drawn[4], drawn.iter().sum::<u64>()), (0, 0, 1_303_000));
        // One-sample fit: a reference a million times larger has no noise of its own. 99.9 % of chi-square(5) is 20.5.
        let exact: Vec<u64> = counts.iter().map(|count| count * 1_000_000_000).collect();
        assert!(chi_square(&exact, &drawn).unwrap() < 20.5);
    }

    #[test]
    fn odd_tables() {
        assert!(AliasTable::new(&[]).is_none() && AliasTable::new(&[0, 0]).is_none());
        let one = AliasTable::new(&[9]).unwrap();
        assert_eq!(one.draw(&mut SplitMix64::new(1)), 0);
    }
}
