//! The cell of a number among some hundred edges, in a few nanoseconds.
//!
//! The stretch that holds most of the edges is cut into slots of equal width, and each slot knows how many edges lie before
//! it. The slot of a number leaves a few edges, which are all compared with it: no comparison waits for the one before, and
//! there is no jump to be foreseen wrongly, as there are nine in a binary search over 700 edges. A crowded slot (a long tail, an
//! outlier far out) is searched by halves.
//!
//! It only finds faster what counting the lesser edges finds. Knows nothing of columns and panes.

/// Edges that are compared at once.
const NEAR: usize = 4;
/// The part of the edges, one in so many, that lies outside the slots on either side: a single outlier must not make them wide.
const TAIL: usize = 64;
/// Edges up to which there are slots; more do not come from building a baseline.
const MOST_EDGES: usize = 1 << 14;

/// How many edges lie before each slot. Without slots where they would not help.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Grid {
    low: f64,
    slots_per_unit: f64,
    /// One number for each slot and one more: all edges.
    before: Vec<u16>,
}

impl Grid {
    /// The grid of edges that are strictly ascending and finite.
    pub(super) fn new(edges: &[f64]) -> Grid {
        let tail = edges.len() / TAIL;
        let inner = edges.get(tail..edges.len() - tail).unwrap_or_default();
        let (Some(low), Some(high)) = (inner.first(), inner.last()) else { return Grid::default() };
        let slots = edges.len().next_power_of_two();
        #[allow(clippy::cast_precision_loss)]
        let slots_per_unit = slots as f64 / (high - low);
        if edges.len() > MOST_EDGES || !slots_per_unit.is_normal() {
            return Grid::default();
        }
        let mut grid = Grid { low: *low, slots_per_unit, before: vec![0; slots + 1] };
        // Slots of ascending numbers ascend, whatever the rounding, so that an edge of an earlier slot is less than any number
        // of this one, and an edge of a later slot is greater.
        for edge in edges {
            let slot = grid.slot(*edge);
            if let Some(count) = grid.before.get_mut(slot + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut grid.before {
            sum += *count;
            *count = sum;
        }
        grid
    }

    /// How many of the edges, those it was made of, are less than a value.
    #[inline]
    pub(super) fn cell(&self, edges: &[f64], value: f64) -> usize {
        let slot = self.slot(value);
        let (from, to) = match self.before.get(slot..slot + 2) {
            Some([from, to]) => (usize::from(*from), usize::from(*to)),
            _ => (0, edges.len()),
        };
        if to - from <= NEAR
            && let Some(near) = edges.get(from..from + NEAR)
        {
            // Those beyond `to` are greater than the value and count nothing.
            return from + near.iter().map(|edge| usize::from(*edge < value)).sum::<usize>();
        }
        from + edges.get(from..to).unwrap_or_default().partition_point(|edge| *edge < value)
    }

    /// The slot of a number; numbers outside belong to the first or last.
    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn slot(&self, value: f64) -> usize {
        // The conversion is cut at the ends of its range.
        let slot = ((value - self.low) * self.slots_per_unit) as u32;
        (slot as usize).min(self.before.len().saturating_sub(2))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(mut edges: Vec<f64>, values: &[f64]) -> Result<(), TestCaseError> {
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        let grid = Grid::new(&edges);
        let beside = edges.iter().flat_map(|edge| [*edge, edge.next_down(), edge.next_up()]).collect::<Vec<_>>();
        for value in values.iter().chain(&beside).filter(|value| value.is_finite()) {
            let expected = edges.iter().filter(|edge| *edge < value).count();
            prop_assert_eq!(grid.cell(&edges, *value), expected, "{} among {:?}", value, edges);
        }
        Ok(())
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            -2.0..2.0f64,
            -1e3..1e3f64,
            (-50i32..50).prop_map(f64::from),
            (-308..308i32).prop_map(|power| 10f64.powi(power)),
            any::<f64>()
        ]
        .prop_filter("finite", |number| number.is_finite())
        .prop_map(|number| number + 0.0)
    }

    proptest! {
        #[test]
        fn it_finds_what_counting_finds(edges in prop::collection::vec(number(), 0..300), values in prop::collection::vec(number(), 20)) {
            check(edges, &values)?;
        }

        #[test]
        fn so_it_does_among_even_edges(edges in prop::collection::vec(-3.0..3.0f64, 200..900), values in prop::collection::vec(-4.0..4.0f64, 50)) {
            check(edges, &values)?;
        }
    }

    #[test]
    fn most_numbers_are_found_without_a_search() {
        let edges: Vec<f64> = (0..700).map(|edge| f64::from(edge) * 0.01).collect();
        let grid = Grid::new(&edges);
        assert_eq!(grid.before.len(), 1025);
        let crowded = grid.before.windows(2).filter(|pair| usize::from(pair[1] - pair[0]) > NEAR).count();
        assert!(crowded <= 2, "{crowded} slots hold more than {NEAR} edges");
    }

    #[test]
    fn edges_without_width_have_no_slots() {
        for edges in [vec![], vec![1.0], vec![-f64::MAX, f64::MAX]] {
            assert_eq!(Grid::new(&edges), Grid::default());
        }
    }
}
