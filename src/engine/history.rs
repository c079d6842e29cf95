//! The sealed panes of one model by slice, and the joined panes beside them: what windows are merged from.
//!
//! Sealed panes are kept as bytes and added up over coarser slices as soon as no window needs the finer ones; so are joined
//! panes, except for those that labels are being counted into. Joined panes that rest and are stored may lie on a shelf.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Span, Timestamp, WindowRef};
use crate::window::bytes::Malformed;
use crate::window::{JoinedLayout, JoinedPane, Observed, Pane, SparseJoined, SparsePane};

use super::pairs::{PAIRS, PairShelf, Pairs, key, read_value, value};
use super::retention::Retention;
use super::slices::{Slice, Slices};

/// Number of a version in the model's list, and number of a segment in its plan.
pub type Place = (u16, u16);

/// Joined panes that are open for counting at the same time: some megabytes for a model, and more than the slices that the
/// labels of one tick are usually about.
const OPEN_PAIRS: usize = 1_024;

/// A part of a history as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it is; unique within a history.
    pub key: Vec<u8>,
    /// Its bytes; `None` where it is no more.
    pub value: Option<Vec<u8>>,
}

/// First byte of the key of a pane of events.
const EVENTS: u8 = b'e';

/// Sealed and joined panes of one model.
#[derive(Clone, Debug, Default)]
pub struct History {
    sealed: Slices<SparsePane>,
    joined: Slices<Pairs>,
    /// Those of `joined` that are open.
    open: Vec<(Timestamp, Place)>,
    /// Grows with every change of a joined pane.
    epoch: u64,
    /// Where joined panes lie that are stored.
    shelf: Option<Arc<dyn PairShelf>>,
    /// Those that were given away to be stored, and are not yet.
    taken: Vec<(Timestamp, Place)>,
}

impl History {
    /// Goes on with a shelf that has all joined panes as they are. From now on those that are stored lie there alone.
    pub fn shelve(&mut self, shelf: Arc<dyn PairShelf>) {
        self.rest();
        self.shelf = Some(shelf);
        self.joined.unchanged_mut().for_each(Pairs::shelve);
    }

    /// What was last taken is on the shelf.
    pub fn settle_changes(&mut self) {
        for (start, place) in std::mem::take(&mut self.taken) {
            if !self.joined.has_changed(start, place) {
                self.joined.form(start, place).into_iter().for_each(Pairs::shelve);
            }
        }
    }

    /// Adds a pane of the slice that starts there and is so long.
    pub fn add(&mut self, start: Timestamp, length: Span, place: Place, pane: Pane) {
        if let (_, Some(sealed)) = self.sealed.pane_mut((start, length), place, 0) {
            sealed.merge(pane);
        }
    }

    /// Counts a pair into the slice that starts there and is so long, after taking back the one it replaces.
    pub fn join(
        &mut self,
        (start, length): (Timestamp, Span),
        place: Place,
        layout: &JoinedLayout,
        pair: &Observed,
        previous: Option<&Observed>,
    ) {
        if self.open.len() >= OPEN_PAIRS {
            self.rest();
        }
        self.epoch += 1;
        let (start, Some(pairs)) = self.joined.pane_mut((start, length), place, self.epoch) else { return };
        if !matches!(pairs, Pairs::Open(_)) {
            let mut pane = Box::new(JoinedPane::new(layout));
            pairs.add_to(self.shelf.as_ref(), (start, place), &mut pane);
            *pairs = Pairs::Open(pane);
            self.open.push((start, place));
        }
        if let Pairs::Open(pane) = pairs {
            if let Some(previous) = previous {
                pane.remove(layout, previous);
            }
            pane.add(layout, pair);
        }
    }

    /// Puts a newer version of a part of a joined pane in the place of the one before. `epoch` must grow with every change.
    pub fn replace(&mut self, (start, length): (Timestamp, Span), place: Place, before: Option<&JoinedPane>, now: &JoinedPane, epoch: u64) {
        if self.open.len() >= OPEN_PAIRS {
            self.rest();
        }
        let (start, Some(pairs)) = self.joined.pane_mut((start, length), place, epoch) else { return };
        if !matches!(pairs, Pairs::Open(_)) {
            let mut pane = Box::new(JoinedPane::default());
            pairs.add_to(self.shelf.as_ref(), (start, place), &mut pane);
            *pairs = Pairs::Open(pane);
            self.open.push((start, place));
        }
        if let Pairs::Open(pane) = pairs {
            if **pane == JoinedPane::default() {
                **pane = now.clone();
            } else {
                pane.merge(now);
            }
            if let Some(before) = before {
                pane.take_back(before);
            }
        }
    }

    /// Packs the joined panes that are open: until the next labels come nothing is counted into them.
    pub fn rest(&mut self) {
        for (start, place) in self.open.drain(..) {
            if let Some(pairs) = self.joined.form(start, place) {
                pairs.rest();
            }
        }
    }

    /// The first slice with events at or after an instant.
    #[must_use]
    pub fn next_slice(&self, from: Timestamp) -> Option<Timestamp> {
        self.sealed.next_start(from)
    }

    /// Prediction events of a window, over all versions.
    #[must_use]
    pub fn count(&self, window: &WindowRef) -> u64 {
        let panes = self.sealed.within(window).flat_map(Slice::panes);
        panes.filter(|((_, segment), _)| *segment == 0).map(|(_, pane)| pane.n()).sum()
    }

    /// Predictions of a window with a label, and a number that changes whenever one of them does.
    #[must_use]
    pub fn matched(&self, window: &WindowRef) -> (u64, u64) {
        let panes = self.joined.within(window).flat_map(Slice::panes);
        let matched = panes.filter(|((_, segment), _)| *segment == 0).map(|(_, pairs)| pairs.matched()).sum();
        (matched, self.joined.within(window).map(|slice| slice.epoch).max().unwrap_or(0))
    }

    /// The versions and segments with events or labels in a window.
    #[must_use]
    pub fn places(&self, window: &WindowRef) -> BTreeSet<Place> {
        let sealed = self.sealed.within(window).flat_map(Slice::panes).map(|(place, _)| place);
        let joined = self.joined.within(window).flat_map(Slice::panes).map(|(place, _)| place);
        sealed.chain(joined).collect()
    }

    /// The events of one version and segment over a window, added up.
    #[must_use]
    pub fn events(&self, window: &WindowRef, place: Place) -> Option<Pane> {
        let mut panes = self.sealed.within(window).filter_map(|slice| slice.pane(place));
        let mut sum = panes.next()?.dense();
        panes.for_each(|pane| pane.add_to(&mut sum));
        Some(sum)
    }

    /// The panes of one version and segment in a stretch of time, by the starts of their slices.
    pub(super) fn sealed(&self, place: Place, (from, until): (Timestamp, Timestamp)) -> impl Iterator<Item = (Timestamp, Pane)> {
        self.sealed.between(from, until).filter_map(move |(start, slice)| Some((start, slice.pane(place)?.dense())))
    }

    /// The panes of all events of each version in a stretch of time, in the order of slices and then of versions.
    pub(super) fn overall(&self, (from, until): (Timestamp, Timestamp)) -> impl Iterator<Item = (Timestamp, u16, Pane)> {
        self.sealed.between(from, until).flat_map(|(start, slice)| {
            let panes = slice.panes().filter(|((_, segment), _)| *segment == 0);
            panes.map(move |((version, _), pane)| (start, version, pane.dense()))
        })
    }

    /// The joined panes of all events of each version in a stretch of time, in the order of slices and then of versions.
    pub(super) fn overall_pairs(&self, (from, until): (Timestamp, Timestamp)) -> impl Iterator<Item = (Timestamp, u16, JoinedPane)> {
        self.joined.between(from, until).flat_map(move |(start, slice)| {
            let panes = slice.panes().filter(|((_, segment), _)| *segment == 0);
            panes.map(move |(place, pairs)| {
                let mut pane = JoinedPane::default();
                pairs.add_to(self.shelf.as_ref(), (start, place), &mut pane);
                (start, place.0, pane)
            })
        })
    }

    /// The pairs of one version and segment over a window, added up.
    #[must_use]
    pub fn pairs(&self, window: &WindowRef, place: Place) -> Option<JoinedPane> {
        let slices = self.joined.between(window.start, window.end);
        let mut panes = slices.filter_map(|(start, slice)| Some((start, slice.pane(place)?))).peekable();
        panes.peek()?;
        let mut sum = JoinedPane::default();
        panes.for_each(|(start, pane)| pane.add_to(self.shelf.as_ref(), (start, place), &mut sum));
        Some(sum)
    }

    /// Forgets the events and the pairs that no window needs any more, and adds up those that only longer ones need.
    pub fn retain(&mut self, events: &Retention, pairs: &Retention) {
        self.rest();
        self.sealed.retain(events, |_, panes| {
            let mut sum = Pane::default();
            panes.iter().for_each(|(_, pane)| pane.add_to(&mut sum));
            SparsePane::of(&sum)
        });
        let shelf = self.shelf.as_ref();
        self.joined.retain(pairs, |place, panes| {
            let mut sum = JoinedPane::default();
            panes.iter().for_each(|(start, pane)| pane.add_to(shelf, (*start, place), &mut sum));
            Pairs::Sparse(SparseJoined::of(&sum))
        });
    }

    /// What has changed since the last call, and everything at the first one.
    ///
    /// Before the first call nothing is noted, so that a history that nobody stores costs nothing more.
    pub fn take_changes(&mut self) -> Vec<Piece> {
        self.rest();
        self.taken.clear();
        let of_events = self.sealed.take_changed().into_iter().map(|(start, place)| {
            let found = self.sealed.get(start).and_then(|slice| Some((slice, slice.pane(place)?)));
            let value = found.map(|(slice, pane)| value(slice.length, 0, pane.bytes()));
            Piece { key: key(EVENTS, start, place), value }
        });
        let mut pieces: Vec<Piece> = of_events.collect();
        for (start, place) in self.joined.take_changed() {
            let found = self.joined.get(start).and_then(|slice| Some((slice, slice.pane(place)?)));
            let value = found.map(|(slice, pairs)| pairs.value(slice.length, slice.epoch));
            if value.is_some() && self.shelf.is_some() {
                self.taken.push((start, place));
            }
            // What lies on the shelf has not changed.
            if value != Some(None) {
                pieces.push(Piece { key: key(PAIRS, start, place), value: value.flatten() });
            }
        }
        pieces
    }

    /// The history of all pieces that are stored, by key and value, in any order. What changes from now on is noted.
    ///
    /// # Errors
    /// Where one of them is not a piece.
    pub fn restore<K: AsRef<[u8]>, V: AsRef<[u8]>>(pieces: impl IntoIterator<Item = (K, V)>) -> Result<History, Malformed> {
        let mut history = History { sealed: Slices::noted(), joined: Slices::noted(), ..History::default() };
        for (key, value) in pieces {
            let (kind, start, place) = read_key(key.as_ref())?;
            let (length, epoch, bytes) = read_value(value.as_ref())?;
            match kind {
                EVENTS => {
                    let pane = SparsePane::from_bytes(bytes)?;
                    history.sealed.restore((start, length), place, epoch, pane);
                }
                PAIRS => {
                    let pane = SparseJoined::from_bytes(bytes)?;
                    history.joined.restore((start, length), place, epoch, Pairs::Sparse(pane));
                    history.epoch = history.epoch.max(epoch);
                }
                _ => return Err(Malformed),
            }
        }
        Ok(history)
    }
}

fn read_key(key: &[u8]) -> Result<(u8, Timestamp, Place), Malformed> {
    let [kind, start @ .., v0, v1, s0, s1] = key else { return Err(Malformed) };
    let start = u64::from_be_bytes(start.try_into().map_err(|_| Malformed)?);
    let start = Timestamp((start ^ (1 << 63)).cast_signed());
    Ok((*kind, start, (u16::from_be_bytes([*v0, *v1]), u16::from_be_bytes([*s0, *s1]))))
}

/// Versions of a model by number, in the order in which they were first seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Versions(Vec<Arc<str>>);

impl Versions {
    /// The number of a version, given to it now if it has none.
    pub fn number(&mut self, name: &Arc<str>) -> u16 {
        let known = self.0.iter().position(|version| version == name);
        let number = known.unwrap_or_else(|| {
            self.0.push(Arc::clone(name));
            self.0.len() - 1
        });
        u16::try_from(number).unwrap_or(u16::MAX)
    }

    /// The name of a version.
    #[must_use]
    pub fn name(&self, number: u16) -> Arc<str> {
        self.0.get(usize::from(number)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::baseline::Layout;
    use crate::stats::exact::ExactSum;
    use crate::window::pane::Moments;
    use crate::window::{Sample, WindowSpec, slice_length};

    const LENGTH: Span = Span(5);

    fn pane(seed: u64) -> Pane {
        let mut sum = ExactSum::default();
        sum.add(seed as f64 / 7.0);
        let moments = Moments { sum: sum.clone(), squares: sum.clone(), ..Moments::default() };
        Pane {
            n: 1 + seed % 3,
            cells: (0..40).map(|cell| u64::from((cell + seed) % 11 == 0)).collect(),
            moments: vec![moments],
            weight: sum.clone(),
            sums: vec![sum; 2],
            sample: Sample::default(),
        }
    }

    fn layout() -> JoinedLayout {
        use crate::baseline::{ColumnKind, Levels};
        let classes = ColumnKind::Categorical(Levels::new(vec!["no".into(), "yes".into()], Vec::new()));
        JoinedLayout { classes: 2, positive: None, score: None, label: Layout::new(vec![(crate::event::Subject::Label, classes)]) }
    }

    fn pair(seed: u64) -> Observed {
        Observed::Class { truth: (seed % 2) as usize, predicted: Some((seed / 2 % 2) as usize), score: None }
    }

    /// Specifications on a common grid of slices, each with the number of windows that have closed.
    fn specs() -> impl Strategy<Value = Vec<WindowSpec>> {
        let spec = (1i64..5, 1i64..5, 0i64..3).prop_map(|(slide, times, offset)| WindowSpec {
            name: "w".into(),
            size: Span(LENGTH.0 * slide * times),
            slide: Span(LENGTH.0 * slide),
            offset: Span(LENGTH.0 * (offset % slide)),
        });
        vec(spec, 1..4)
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// A pane comes, so many slices after what is still needed.
        Events(i64, u16, u64),
        /// A pair comes.
        Pair(i64, u16, u64),
        /// The next windows of a specification close.
        Close(usize, i64),
        /// What has changed is given away to be stored.
        Take,
        /// It is.
        Settle,
        /// The process starts again from what is stored.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0i64..60, 0u16..3, any::<u64>()).prop_map(|(slice, segment, seed)| Step::Events(slice, segment, seed)),
            6 => (0i64..60, 0u16..3, any::<u64>()).prop_map(|(slice, segment, seed)| Step::Pair(slice, segment, seed)),
            4 => (0usize..3, 1i64..6).prop_map(|(place, windows)| Step::Close(place, windows)),
            2 => Just(Step::Take),
            2 => Just(Step::Settle),
            1 => Just(Step::Restart),
        ]
    }

    /// Everything that came, slice by slice, never forgotten.
    #[derive(Default)]
    struct Brute {
        events: BTreeMap<(i64, Place), Pane>,
        pairs: BTreeMap<(i64, Place), JoinedPane>,
    }

    /// A store that is as large as what is put into it.
    #[derive(Debug, Default)]
    struct MapShelf(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>, Mutex<Vec<Vec<u8>>>);

    impl MapShelf {
        fn apply(&self, pieces: Vec<Piece>) {
            let mut stored = self.0.lock().unwrap();
            for piece in pieces {
                match piece.value {
                    Some(value) => stored.insert(piece.key, value),
                    None => stored.remove(&piece.key),
                };
            }
        }
    }

    impl PairShelf for MapShelf {
        fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.0.lock().unwrap().get(key).cloned()
        }

        fn refuse(&self, key: &[u8]) {
            self.1.lock().unwrap().push(key.to_vec());
        }
    }

    struct Run {
        specs: Vec<WindowSpec>,
        /// The first window of each specification that is needed.
        from: Vec<Timestamp>,
        history: History,
        shelf: Arc<MapShelf>,
        /// Whether joined panes lie on the shelf.
        is_shelved: bool,
        /// What is on its way to be stored.
        taken: Option<Vec<Piece>>,
        brute: Brute,
        /// The greatest number of each window's pairs that was seen.
        epochs: BTreeMap<(usize, Timestamp), (u64, u64)>,
    }

    impl Run {
        fn retention(&self) -> Retention {
            Retention::new(self.specs.iter().zip(self.from.iter().copied()))
        }

        fn take(&mut self) {
            if self.taken.is_none() {
                self.taken = Some(self.history.take_changes());
            }
        }

        fn settle(&mut self) {
            if let Some(pieces) = self.taken.take() {
                // What has come meanwhile may be packed by now.
                self.history.rest();
                self.shelf.apply(pieces);
                self.history.settle_changes();
            }
        }

        fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
            let oldest = self.from.iter().min().copied().unwrap_or_default();
            match *step {
                Step::Events(slice, segment, seed) => {
                    let start = oldest + Span(LENGTH.0 * slice);
                    self.history.add(start, LENGTH, (0, segment), pane(seed));
                    self.brute.events.entry((start.0, (0, segment))).and_modify(|sum| sum.merge(&pane(seed))).or_insert_with(|| pane(seed));
                }
                Step::Pair(slice, segment, seed) => {
                    let start = oldest + Span(LENGTH.0 * slice);
                    let layout = layout();
                    self.history.join((start, LENGTH), (0, segment), &layout, &pair(seed), None);
                    let sum = self.brute.pairs.entry((start.0, (0, segment))).or_insert_with(|| JoinedPane::new(&layout));
                    sum.add(&layout, &pair(seed));
                }
                Step::Close(place, windows) => {
                    let place = place % self.specs.len();
                    self.from[place] = self.from[place] + Span(self.specs[place].slide.0 * windows);
                    let retention = self.retention();
                    self.history.retain(&retention, &retention);
                }
                Step::Take => self.take(),
                Step::Settle => self.settle(),
                Step::Restart => {
                    self.settle();
                    self.take();
                    self.settle();
                    let mut restored = History::restore(&*self.shelf.0.lock().unwrap()).unwrap();
                    if self.is_shelved {
                        restored.shelve(Arc::clone(&self.shelf) as Arc<dyn PairShelf>);
                    }
                    prop_assert_eq!(restored.take_changes_of_copy(), vec![]);
                    self.history = restored;
                }
            }
            self.compare()
        }

        /// Every window that is still needed is the sum of everything that came for it.
        fn compare(&mut self) -> Result<(), TestCaseError> {
            for (place, (spec, from)) in self.specs.clone().iter().zip(self.from.clone()).enumerate() {
                for number in 0..12 {
                    let window = spec.at(from + Span(spec.slide.0 * number));
                    let (first, last) = ((window.start.0, (0, 0)), (window.end.0, (0, 0)));
                    let mut n = 0;
                    let mut places = BTreeSet::new();
                    for segment in 0..3 {
                        let of = |at: &Place| *at == (0, segment);
                        let mut events = self.brute.events.range(first..last).filter(|((_, at), _)| of(at)).map(|(_, pane)| pane.clone());
                        let events = events.next().map(|first| {
                            events.fold(first, |mut sum, pane| {
                                sum.merge(&pane);
                                sum
                            })
                        });
                        let mut pairs = self.brute.pairs.range(first..last).filter(|((_, at), _)| of(at)).map(|(_, pane)| pane.clone());
                        let pairs = pairs.next().map(|first| {
                            pairs.fold(first, |mut sum, pane| {
                                sum.merge(&pane);
                                sum
                            })
                        });
                        if segment == 0 {
                            n = events.as_ref().map_or(0, |pane| pane.n);
                            let matched = pairs.as_ref().map_or(0, |pane| pane.matched);
                            let (got, epoch) = self.history.matched(&window);
                            prop_assert_eq!(got, matched);
                            let all: u64 = self.brute.pairs.range(first..last).map(|(_, pane)| pane.matched).sum();
                            let seen = self.epochs.insert((place, window.start), (all, epoch));
                            prop_assert!(
                                seen.is_none_or(|(before, seen)| (before == all) == (seen == epoch)),
                                "{all} pairs, number {epoch}"
                            );
                        }
                        if events.is_some() || pairs.is_some() {
                            places.insert((0, segment));
                        }
                        prop_assert_eq!(self.history.events(&window, (0, segment)), events);
                        prop_assert_eq!(self.history.pairs(&window, (0, segment)), pairs);
                    }
                    prop_assert_eq!(self.history.count(&window), n);
                    prop_assert_eq!(self.history.places(&window), places);
                    let next = self.brute.events.range(first..).next().map(|((start, _), _)| Timestamp(*start));
                    let found = self.history.next_slice(window.start);
                    // A coarser slice begins before its events, but in no other window of the specification.
                    prop_assert_eq!(found.map(|at| spec.first_start(at)), next.map(|at| spec.first_start(at)));
                }
            }
            Ok(())
        }
    }

    impl History {
        fn take_changes_of_copy(&self) -> Vec<Piece> {
            self.clone().take_changes()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        #[test]
        fn every_window_is_the_sum_of_what_came_for_it(specs in specs(), steps in vec(step(), 1..60), is_shelved in any::<bool>()) {
            prop_assert!(slice_length(&specs).0 % LENGTH.0 == 0);
            let from = specs.iter().map(|spec| spec.first_start(Timestamp(10_000))).collect();
            let mut run = Run {
                specs,
                from,
                history: History::default(),
                shelf: Arc::default(),
                is_shelved,
                taken: None,
                brute: Brute::default(),
                epochs: BTreeMap::new(),
            };
            run.step(&Step::Restart)?;
            for step in &steps {
                run.step(step)?;
            }
        }

        #[test]
        fn adding_slices_up_changes_no_byte_of_a_window(slices in vec((0i64..48, any::<u64>()), 1..80)) {
            let (fine, coarse) = (
                WindowSpec { name: "fine".into(), size: Span(20), slide: LENGTH, offset: Span(0) },
                WindowSpec { name: "coarse".into(), size: Span(120), slide: Span(60), offset: Span(0) },
            );
            let (mut kept, mut added_up) = (History::default(), History::default());
            for (slice, seed) in &slices {
                for history in [&mut kept, &mut added_up] {
                    history.add(Timestamp(slice * 5), LENGTH, (0, 0), pane(*seed));
                }
            }
            let retention = Retention::new([(&fine, Timestamp(180)), (&coarse, Timestamp(0))]);
            added_up.retain(&retention, &retention);
            let window = coarse.at(Timestamp(60));
            let sparse = |history: &History| history.events(&window, (0, 0)).as_ref().map(SparsePane::of);
            prop_assert_eq!(sparse(&added_up), sparse(&kept));
            prop_assert!(added_up.sealed.within(&window).count() <= 2);
        }
    }

    #[test]
    fn what_is_stored_is_what_changed() {
        let mut history = History::default();
        history.add(Timestamp(0), LENGTH, (0, 0), pane(1));
        history.add(Timestamp(5), LENGTH, (0, 0), pane(2));
        assert_eq!(history.take_changes().len(), 2, "everything at first");
        assert_eq!(history.take_changes(), vec![]);
        history.add(Timestamp(5), LENGTH, (0, 0), pane(3));
        let pieces = history.take_changes();
        assert_eq!(pieces.len(), 1);
        assert!(pieces[0].value.is_some());
        let spec = WindowSpec { name: "w".into(), size: Span(5), slide: Span(5), offset: Span(0) };
        let retention = Retention::new([(&spec, Timestamp(5))]);
        history.retain(&retention, &retention);
        assert_eq!(history.take_changes(), vec![Piece { key: key(EVENTS, Timestamp(0), (0, 0)), value: None }]);
    }

    #[test]
    fn what_is_stored_lies_on_the_shelf_alone_until_it_changes() {
        let (shelf, layout) = (Arc::new(MapShelf::default()), layout());
        let mut history = History::restore(&*shelf.0.lock().unwrap()).unwrap();
        history.shelve(Arc::clone(&shelf) as Arc<dyn PairShelf>);
        let count = |history: &mut History, slice: i64| history.join((Timestamp(slice), LENGTH), (0, 0), &layout, &pair(1), None);
        let shelved = |history: &History| {
            let panes = history.joined.between(Timestamp(0), Timestamp(100)).flat_map(|(_, slice)| slice.panes());
            panes.map(|(_, pairs)| matches!(pairs, Pairs::Shelved(_))).collect::<Vec<_>>()
        };
        [0, 5, 10].iter().for_each(|slice| count(&mut history, *slice));
        let pieces = history.take_changes();
        // One changes while it is on its way, and rests again.
        count(&mut history, 5);
        history.rest();
        shelf.apply(pieces);
        history.settle_changes();
        assert_eq!(shelved(&history), [true, false, true]);
        let window = WindowRef { name: "w".into(), start: Timestamp(0), end: Timestamp(15) };
        assert_eq!((history.matched(&window).0, history.pairs(&window, (0, 0)).unwrap().matched), (4, 4));
        count(&mut history, 0);
        let pieces = history.take_changes();
        assert_eq!(pieces.len(), 2);
        shelf.apply(pieces);
        history.settle_changes();
        assert_eq!(shelved(&history), [true; 3]);
        assert_eq!((history.matched(&window).0, history.pairs(&window, (0, 0)).unwrap().matched), (5, 5));
        assert!(shelf.1.lock().unwrap().is_empty());
        // What is not there, or is another one, is told.
        let (first, last) = (key(PAIRS, Timestamp(0), (0, 0)), key(PAIRS, Timestamp(10), (0, 0)));
        let other = shelf.get(&last).unwrap();
        shelf.apply(vec![Piece { key: first.clone(), value: Some(other) }, Piece { key: last.clone(), value: None }]);
        let _ = history.pairs(&window, (0, 0));
        assert_eq!(*shelf.1.lock().unwrap(), [first, last]);
    }

    #[test]
    fn keys_sort_by_time_and_strangers_are_refused() {
        let starts = [i64::MIN, -1, 0, 1, i64::MAX].map(|start| key(EVENTS, Timestamp(start), (1, 2)));
        assert!(starts.is_sorted());
        assert_eq!(read_key(&starts[1]), Ok((EVENTS, Timestamp(-1), (1, 2))));
        assert!(History::restore([(&starts[0][1..], [0u8, 0])]).is_err());
        assert!(History::restore([(&starts[0][..], [1u8, 0, 7])]).is_err());
    }

    #[test]
    fn pairs_beyond_those_that_may_be_open_are_packed() {
        let (mut history, layout) = (History::default(), layout());
        for slice in 0..3 * OPEN_PAIRS as i64 {
            history.join((Timestamp(slice * 5), LENGTH), (0, 0), &layout, &pair(1), None);
            assert!(history.open.len() <= OPEN_PAIRS);
        }
        history.join((Timestamp(0), LENGTH), (0, 0), &layout, &pair(0), Some(&pair(1)));
        let window = WindowRef { name: "w".into(), start: Timestamp(0), end: Timestamp(10) };
        assert_eq!(history.matched(&window).0, 2);
        let mut expected = JoinedPane::new(&layout);
        expected.add(&layout, &pair(1));
        expected.add(&layout, &pair(0));
        assert_eq!(history.pairs(&window, (0, 0)), Some(expected));
    }
}
