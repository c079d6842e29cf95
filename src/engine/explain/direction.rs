//! Which way a subject went.

use crate::baseline::layout::{Column, ColumnKind};
use crate::event::explanation::{Direction, Way};
use crate::stats::moments::{Sums, mean_shift};
use crate::window::Pane;

use super::Case;

/// The least shift of the mean that is called a rise or a fall, in standard deviations: what is conventionally called small is 0.2.
const LEAST_SHIFT: f64 = 0.1;
/// The least ratio of the spreads that is called wider, and its inverse narrower.
const LEAST_RATIO: f64 = 1.1;
/// Sums of values beyond the edges from here on lack squares, and say nothing of a spread.
const LARGEST_SUM: f64 = 1.3e154;

/// The direction of a subject: of a number by mean and spread, of levels and rates by the cell that moved most.
pub(super) fn of(case: &Case<'_>, reference: &Pane, current: &Pane) -> Direction {
    if case.ground.is_whole() && matches!(case.column.kind, ColumnKind::Numeric(_)) {
        return of_number(sums(case, reference), sums(case, current));
    }
    let most =
        case.terms.iter().enumerate().fold((0, 0.0), |most: (usize, f64), (cell, term)| if *term > most.1 { (cell, *term) } else { most });
    let (cell, more) = (most.0, case.current.share(most.0, case.current.total) > case.reference.share(most.0, case.reference.total));
    let (level, _) = case.ground.name(&case.column.kind, cell);
    Direction { way: if more { Way::More } else { Way::Less }, mean_shift: None, spread_ratio: None, level: Some(level) }
}

fn of_number(reference: Option<Sums>, current: Option<Sums>) -> Direction {
    let both = reference.zip(current);
    let finite = |value: &f64| value.is_finite();
    let shift = both.as_ref().and_then(|(reference, current)| mean_shift(reference, current)).filter(finite);
    let ratio =
        both.and_then(|(reference, current)| Some(current.standard_deviation(1)? / reference.standard_deviation(1)?)).filter(finite);
    let (size, spread) = (shift.unwrap_or(0.0), ratio.map_or(0.0, |ratio| if ratio > 0.0 { ratio.ln() } else { f64::NEG_INFINITY }));
    let way = if size.abs() >= LEAST_SHIFT && size.abs() >= spread.abs() {
        if size > 0.0 { Way::Up } else { Way::Down }
    } else if spread.abs() >= LEAST_RATIO.ln() {
        if spread > 0.0 { Way::Wider } else { Way::Narrower }
    } else {
        Way::Other
    };
    Direction { way, mean_shift: shift, spread_ratio: ratio, level: None }
}

fn sums(case: &Case<'_>, pane: &Pane) -> Option<Sums> {
    let Column { moments, .. } = case.column;
    let moments = moments.and_then(|place| pane.moments.get(place))?;
    let is_whole = [&moments.below, &moments.above].iter().all(|sum| sum.value().abs() <= LARGEST_SUM);
    let count = case.ground.count(case.column, pane).total;
    is_whole.then(|| Sums { count, sum: moments.sum.value(), squares: moments.squares.value() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(values: &[f64]) -> Sums {
        Sums { count: values.len() as u64, sum: values.iter().sum(), squares: values.iter().map(|x| x * x).sum() }
    }

    #[test]
    fn the_greater_change_names_the_way() {
        let reference = || sums(&[-1.0, 1.0, -1.0, 1.0]);
        let way = |values: &[f64]| of_number(Some(reference()), Some(sums(values))).way;
        assert_eq!(way(&[-0.5, 1.5, -0.5, 1.5]), Way::Up);
        assert_eq!(way(&[-1.5, 0.5, -1.5, 0.5]), Way::Down);
        assert_eq!(way(&[-2.0, 2.2, -2.0, 2.2]), Way::Wider);
        assert_eq!(way(&[-0.2, 0.2, -0.2, 0.2]), Way::Narrower);
        assert_eq!(way(&[-1.0, 1.02, -1.0, 1.0]), Way::Other);
        assert_eq!(way(&[0.0, 0.0, 0.0, 0.0]), Way::Narrower, "constant");
        assert_eq!(
            of_number(Some(sums(&[2.0, 2.0])), Some(sums(&[3.0, 3.0]))),
            Direction { way: Way::Other, mean_shift: None, spread_ratio: None, level: None }
        );
    }
}
