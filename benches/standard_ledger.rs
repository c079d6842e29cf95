//! A million predictions and 700,000 labels through a ledger, in memory and on a shelf in memory: what the ledger costs
//! itself. What a disk adds is the store's to show.

use std::sync::Arc;

use driftline::event::{SourceId, Span, Timestamp};
use driftline::join::{Bounds, Label, Ledger, MemoryShelf, Predicted, Prediction, RecordId, Shelf, Space, Truth};

const PREDICTIONS: i64 = 1_000_000;
/// Of ten predictions seven get a label, an hour later.
const LABELLED: i64 = 7;
const LABEL_AFTER: i64 = Span::HOUR.0;
/// Time between two predictions, in milliseconds: a thousand each second.
const STEP: i64 = 1;
/// Predictions or labels between two steps of the clock, or two commits: those of ten seconds.
const BETWEEN: i64 = 10_000;
const START: i64 = 1_700_000_000_000;

/// Runs and prints. `now` is the processor time of this thread in ns.
pub fn report(now: fn() -> f64) {
    let bounds = Bounds { horizon: Span(2 * Span::HOUR.0), patience: Span(7 * Span::MINUTE.0), capacity: usize::MAX, cached: 0 };
    println!("{PREDICTIONS} predictions, {} labels an hour later, a horizon of two hours", PREDICTIONS * LABELLED / 10);
    run("in memory", Ledger::new(bounds), None, now);
    for cached in [0, 2 * PREDICTIONS as usize] {
        let shelf = Arc::new(MemoryShelf::default());
        let ledger = Ledger::on(Arc::clone(&shelf) as Arc<dyn Shelf>, Bounds { cached, ..bounds });
        run(&format!("on a shelf, {cached} cached"), ledger, Some(&shelf), now);
    }
}

fn id(number: i64) -> RecordId {
    let half = u128::from((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    RecordId(half << 64 | half.rotate_left(17))
}

fn run(name: &str, mut ledger: Ledger, shelf: Option<&MemoryShelf>, now: fn() -> f64) {
    let resident = resident_bytes();
    let mut committing = 0.0;
    let mut commit = |ledger: &mut Ledger| {
        let Some(shelf) = shelf else { return };
        let start = now();
        shelf.apply(ledger.take_changes());
        ledger.settle_changes();
        committing += now() - start;
    };
    let mut pairs = 0;
    let mut advance = |ledger: &mut Ledger, at: i64| {
        let _ = ledger.advance(Timestamp(at), &mut |_| {
            pairs += 1;
            true
        });
    };
    let mut parts = Vec::new();
    let mut part = |name: &'static str, operations: i64, act: &mut dyn FnMut()| {
        let start = now();
        act();
        parts.push((name, now() - start, operations));
    };
    part("predict", PREDICTIONS, &mut || {
        for number in 0..PREDICTIONS {
            let at = START + number * STEP;
            let predicted = Predicted::Class(Some((number % 2) as u16), Some(0.25));
            let prediction = Prediction { ts: Timestamp(at), version: 0, segments: Box::new([1]), predicted };
            let _ = ledger.predict(id(number), prediction, &mut |_| true);
            if number % BETWEEN == BETWEEN - 1 {
                advance(&mut ledger, at);
                commit(&mut ledger);
            }
        }
    });
    let held = ledger.held();
    let bytes = resident_bytes().saturating_sub(resident) as f64 / PREDICTIONS as f64;
    part("label and join", PREDICTIONS * LABELLED / 10, &mut || {
        for number in 0..PREDICTIONS {
            let at = START + LABEL_AFTER + number * STEP;
            if number % 10 < LABELLED {
                let truth = Truth::Class((number % 3 % 2) as u16);
                let position = (SourceId(1), number);
                let _ = ledger.label(&Label { id: id(number), ts: Timestamp(at), came: Timestamp(at), truth, position });
            }
            if number % BETWEEN == BETWEEN - 1 {
                advance(&mut ledger, at);
                commit(&mut ledger);
            }
        }
    });
    part("forget", PREDICTIONS, &mut || {
        let mut at = START + 3 * LABEL_AFTER;
        while ledger.predictions() > 0 {
            at += STEP;
            advance(&mut ledger, at);
            commit(&mut ledger);
        }
    });
    assert_eq!(pairs, PREDICTIONS * LABELLED / 10);
    println!("  {name}: {bytes:.0} bytes for each prediction, {held} entries in memory before the labels");
    for (what, spent, operations) in parts {
        println!("    {what:16} {:8.0} ns each", spent / operations as f64);
    }
    if let Some(shelf) = shelf {
        println!("    commits          {:8.0} ns for each prediction, among the above", committing / PREDICTIONS as f64);
        assert!(shelf.is_empty(Space::Record));
    }
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
