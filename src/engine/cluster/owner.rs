//! The owner of one model: it hears what all replicas say of their partitions, and closes, restates and judges.
//!
//! It keeps the greatest snapshot of each source partition, series and slice, and hands the evaluator what is new of it, so
//! that results are those of one process that had read everything. What it has decided is one record; whoever holds that
//! record and reads the panes topic from its start goes on where it ended. It knows no topic, no group and no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::engine::evaluator::{Emission, Evaluator};
use crate::engine::model::ModelState;
use crate::engine::plan::Plan;
use crate::event::{Span, Timestamp, TopicRole};
use crate::rule::{Alerts, RuleSet};
use crate::window::LateKey;

use super::book::{Book, MoreLate, Portion, SeriesNumber};
use super::decision::Decision;
use super::joined::{Part, Parts};
use super::number::Number;
use super::stretch::Stretches;
use super::wire::{self, Events, Joined, Key, Labels, Progress, SeriesName, SourceName, WireError};

/// How long a silent replica is waited for: longer than any hand-over, shorter than anybody is willing to go without alerts.
pub const MAX_WAIT: Span = Span(5 * 60_000);
/// How long a joined pane may wait for the label clock before the one that it will replace is stored with the decisions: half
/// the time that the panes topic keeps replaced records at least.
pub const OUTLIVED: Span = Span(30 * 60_000);
/// For longer than this nobody owned a model that changed hands: then nobody read it either, as far as is known. What the last
/// owner knew of silence is in whole minutes.
const LONG_VACANCY: Span = Span(3 * 60_000);

mod clock;
mod status;

pub use status::{Ignored, SourceStatus};

/// Settings of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a source partition that nobody says anything of is waited for, in wall time.
    pub max_wait: Span,
    /// After how long in wall time the panes topic may have lost a record to a newer one.
    pub outlived: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { max_wait: MAX_WAIT, outlived: OUTLIVED }
    }
}

/// Everything the owner of a model knows.
#[derive(Clone, Debug)]
pub struct Owner {
    name: Arc<str>,
    layout: u64,
    settings: Settings,
    evaluator: Evaluator,
    books: BTreeMap<SourceName, Book>,
    numbers: BTreeMap<i32, Number>,
    /// All source partitions there are.
    expected: BTreeMap<SourceName, (TopicRole, Option<Timestamp>)>,
    /// When the brokers were last asked for them.
    asked: Timestamp,
    /// Time of which something was counted under another configuration.
    foreign: Stretches,
    /// Versions and segments by their number here.
    series: Vec<(Arc<str>, u16)>,
    series_numbers: FxHashMap<(Arc<str>, u16), SeriesNumber>,
    /// The offset in the panes topic up to which was listened, and how far the previous owner had.
    heard: i64,
    known: i64,
    has_caught_up: bool,
    /// The first look at the wall clock after that: silences of before are not listened to.
    listening_since: Option<Timestamp>,
    /// Whether the evaluator has to be told of the sources again.
    has_news: bool,
    last_record: Option<Timestamp>,
    /// The last record that the owner before knew of.
    decided: Option<Timestamp>,
    /// It has not looked at silences yet.
    is_new: bool,
    ignored: Ignored,
    shed: u64,
}

impl Owner {
    /// An owner that has heard nothing yet. `plan` is of one model; `decision` is what [`Owner::state`] gave the previous owner.
    ///
    /// The second value says what is worth a line in the log.
    ///
    /// # Errors
    /// A decision that cannot be read, and a plan without a model.
    pub fn new(plan: Arc<Plan>, rules: Arc<RuleSet>, decision: Option<&[u8]>) -> Result<(Owner, Vec<String>), WireError> {
        let Some(model) = plan.models.first() else { return Err(WireError::Value("no model to own".into())) };
        let (name, layout) = (Arc::clone(&model.name), model.fingerprint());
        let mut notes = Vec::new();
        let decision = decision.map(Decision::from_bytes).transpose()?;
        let mut alerts = decision.as_ref().map_or_else(|| Ok(Alerts::new()), Decision::alerts)?;
        let mut resumed = None;
        if let Some(decision) = decision {
            let state = (decision.layout == layout).then(|| ModelState::decided(0, model, decision.model)).flatten();
            if let Some(mut state) = state {
                if let Some(parts) = state.parts_mut() {
                    parts.set_moved(decision.moved);
                }
                for (part, value) in decision.joined {
                    state.put_back_joined(part, &value)?;
                }
                resumed = Some((state, decision.heard, decision.sources, decision.ticks, decision.last_record));
            } else {
                notes.push(format!("{name}: the configuration has changed: its windows begin anew, its alerts and budgets go on"));
                alerts.begin_anew(&name);
            }
        } else {
            notes.push(format!("{name}: no decision of an earlier owner: its windows begin with what the panes topic holds"));
        }
        let (state, known, sources, ticks, last_record) =
            resumed.unwrap_or_else(|| (ModelState::undecided(0, model), 0, BTreeMap::new(), BTreeMap::new(), None));
        let owner = Owner {
            name,
            layout,
            settings: Settings::default(),
            evaluator: Evaluator::owned(plan, rules, state, alerts),
            books: sources.into_iter().map(|(source, known)| (source, Book::known(known))).collect(),
            numbers: ticks.into_iter().map(|(number, tick)| (number, Number::known(tick))).collect(),
            expected: BTreeMap::new(),
            asked: Timestamp(i64::MIN),
            foreign: Stretches::default(),
            series: Vec::new(),
            series_numbers: FxHashMap::default(),
            heard: 0,
            known,
            has_caught_up: false,
            listening_since: None,
            has_news: true,
            last_record,
            decided: last_record,
            is_new: true,
            ignored: Ignored::default(),
            shed: 0,
        };
        Ok((owner, notes))
    }

    /// With other settings than the default ones.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Owner {
        Owner { settings, ..self }
    }

    /// Judges by other rules from now on. Alerts of rules that are gone end.
    pub fn set_rules(&mut self, rules: Arc<RuleSet>) -> Vec<Emission> {
        self.evaluator.set_rules(rules)
    }

    /// All source partitions there are, from the metadata for which the brokers were asked at this instant. Those nothing was
    /// said of hold the clock. Further partitions of the same topics are waited for from the moment a replica speaks of them:
    /// the brokers are only asked again after a while.
    pub fn expect(&mut self, sources: &[(SourceName, TopicRole)], asked: Timestamp) {
        self.asked = asked;
        let before = std::mem::take(&mut self.expected);
        let since = |name: &SourceName| before.get(name).and_then(|(_, since)| *since);
        self.expected = sources.iter().map(|(name, role)| (name.clone(), (*role, since(name)))).collect();
        for (name, state) in &before {
            if self.books.get(name).is_some_and(|book| book.was_said_after(asked)) && self.is_of_known_topic(name) {
                self.expected.entry(name.clone()).or_insert(*state);
            }
        }
        self.has_news |= self.expected != before;
    }

    /// A replica reads a partition that was not there yet when the brokers were asked.
    fn discover(&mut self, source: &SourceName, role: TopicRole, said_at: Timestamp) {
        if said_at > self.asked && !self.expected.contains_key(source) && self.is_of_known_topic(source) {
            self.expected.insert(source.clone(), (role, None));
            self.has_news = true;
        }
    }

    fn is_of_known_topic(&self, source: &SourceName) -> bool {
        // Its partition 0 comes before all others.
        self.expected.contains_key(&SourceName { partition: 0, ..source.clone() })
    }

    /// Takes a record of the panes topic in, in the order of offsets from the beginning of the partition that the model is at
    /// home in. Records about other models change nothing; nor does a `value` of `None`, which is a tombstone.
    ///
    /// # Errors
    /// A value that cannot be read. It is left out; the owner goes on.
    pub fn hear(&mut self, offset: i64, key: &Key, value: Option<&[u8]>) -> Result<(), WireError> {
        self.heard = self.heard.max(offset.saturating_add(1));
        let Some(value) = value else { return Ok(()) };
        if key.model().is_some_and(|model| *model != self.name) {
            return Ok(());
        }
        match key {
            Key::Events { series, slice, source } => self.hear_events(offset, series, *slice, source, value),
            Key::Joined { series, slice, partition } => self.hear_joined(series, *slice, *partition, value),
            Key::Progress { source } => self.hear_progress(source, value),
            Key::Labels { layout, partition, .. } => {
                if *layout != self.layout {
                    self.ignored.foreign += 1;
                    return Ok(());
                }
                let labels: Labels = wire::from_bytes(value)?;
                self.hear_time(labels.at);
                if !self.numbers.entry(*partition).or_default().hear(labels) {
                    self.ignored.stale += 1;
                }
                Ok(())
            }
        }
    }

    fn hear_events(
        &mut self,
        offset: i64,
        series: &SeriesName,
        slice: Timestamp,
        source: &SourceName,
        value: &[u8],
    ) -> Result<(), WireError> {
        let events: Events = wire::from_bytes(value)?;
        if series.layout != self.layout {
            self.ignored.foreign += 1;
            self.foreign.add(slice, events.sealed_at);
            self.has_news = true;
            return Ok(());
        }
        let Some((plan, model)) = self.evaluator.model() else { return Ok(()) };
        let fits = plan
            .baseline(&series.version)
            .map_or(events.pane.cells.is_empty() && events.pane.moments.is_empty(), |baseline| events.pane.fits(&baseline.layout));
        if !fits {
            return Err(WireError::Value(format!("a pane of {} that is not of its layout", self.name)));
        }
        if slice < model.forgotten() {
            // Before the previous owner's decisions: it has seen it. After them: no window can show it any more.
            if offset >= self.known {
                self.shed += if series.segment == 0 { events.pane.n } else { 0 };
            }
            return Ok(());
        }
        let number = self.series_number(series);
        let book = self.books.entry(source.clone()).or_default();
        let was_idle = book.is_idle();
        let (is_new, portions) = book.hear_pane(offset, (slice, number), &events, value);
        self.has_news |= was_idle != book.is_idle();
        self.ignored.repeated += u64::from(!is_new);
        self.hand_on(portions);
        Ok(())
    }

    fn hear_joined(&mut self, series: &SeriesName, slice: Timestamp, partition: i32, value: &[u8]) -> Result<(), WireError> {
        let joined: Joined = wire::from_bytes(value)?;
        if series.layout != self.layout {
            self.ignored.foreign += 1;
            return Ok(());
        }
        let known = self.numbers.get(&partition).and_then(Number::known_until);
        let Some((plan, model)) = self.evaluator.model_mut() else { return Ok(()) };
        if !plan.baseline(&series.version).is_some_and(|baseline| joined.pane.fits(&baseline.joined)) {
            return Err(WireError::Value(format!("a joined pane of {} that is not of its layout", self.name)));
        }
        let place = (model.version(&series.version), series.segment);
        if !model.hear_joined(Part { slice, place, partition }, joined.tick, value, known) {
            self.ignored.repeated += 1;
        }
        Ok(())
    }

    fn hear_time(&mut self, at: Timestamp) {
        if let Some(parts) = self.evaluator.model_mut().and_then(|(_, model)| model.parts_mut()) {
            parts.hear_time(at);
        }
    }

    fn hear_progress(&mut self, source: &SourceName, value: &[u8]) -> Result<(), WireError> {
        let progress: Progress = wire::from_bytes(value)?;
        self.hear_time(progress.at);
        self.discover(source, progress.role, progress.at);
        let ours = progress.late.iter().filter(|late| late.model == self.name && late.layout == self.layout);
        let late = ours.map(|late| ((late.slice, late.reached), late.records)).collect();
        let book = self.books.entry(source.clone()).or_default();
        let (has_moved, at) = (book.has_moved(&progress), progress.at);
        let Some(late) = book.hear_progress(progress, late) else {
            self.ignored.stale += 1;
            return Ok(());
        };
        let portions = book.hand_on_sealed();
        if has_moved {
            self.last_record = self.last_record.max(Some(at));
        }
        self.has_news = true;
        if let Some((plan, model)) = self.evaluator.model_mut() {
            for MoreLate { slice, reached, records, is_news } in late {
                model.add_late(plan, LateKey { model: 0, slice, reached }, records, is_news);
            }
        }
        self.hand_on(portions);
        Ok(())
    }

    fn hand_on(&mut self, portions: Vec<Portion>) {
        for Portion { slice, series, pane, is_news } in portions {
            let Some((version, segment)) = self.series.get(series as usize) else { continue };
            let Some((plan, model)) = self.evaluator.model_mut() else { continue };
            let version = model.version(version);
            if is_news {
                self.shed += model.add(plan, slice, version, *segment, pane);
            } else {
                model.put_back(plan, slice, version, *segment, pane);
            }
        }
    }

    fn series_number(&mut self, series: &SeriesName) -> SeriesNumber {
        let key = (Arc::clone(&series.version), series.segment);
        if let Some(number) = self.series_numbers.get(&key) {
            return *number;
        }
        let number = SeriesNumber::try_from(self.series.len()).unwrap_or(SeriesNumber::MAX);
        self.series.push(key.clone());
        self.series_numbers.insert(key, number);
        number
    }

    /// Everything has been heard that was in the panes topic when the model became ours: from now on windows may close.
    pub fn catch_up_done(&mut self) {
        if self.has_caught_up {
            return;
        }
        self.has_caught_up = true;
        if let Some(parts) = self.evaluator.model_mut().and_then(|(_, model)| model.parts_mut()) {
            parts.caught_up();
        }
        let portions: Vec<Portion> = self.books.values_mut().flat_map(Book::put_back_open).collect();
        self.hand_on(portions);
    }

    /// Closes, restates and judges what the replicas have counted. `cap` bounds the clock that closes windows; `now` is the wall
    /// clock. Before [`Owner::catch_up_done`] nothing happens.
    pub fn advance(&mut self, cap: Option<Timestamp>, now: Timestamp) -> Vec<Emission> {
        if !self.has_caught_up {
            return Vec::new();
        }
        self.bury(now);
        let idle = self.books.values_mut().filter(|book| book.is_idle() && !book.is_dead());
        let portions: Vec<Portion> = idle.flat_map(|book| book.hand_on_open(self.heard)).collect();
        self.hand_on(portions);
        if std::mem::take(&mut self.has_news) {
            let sources = self.source_states();
            self.evaluator.set_sources(sources);
        }
        let (clock, missing) = self.label_clock();
        self.evaluator.set_joined(clock);
        let is_rebuilding = self.joined_numbers().into_iter().any(|number| self.numbers.get(&number).is_some_and(Number::is_rebuilding));
        if let Some(parts) = self.evaluator.model_mut().and_then(|(_, model)| model.parts_mut()) {
            parts.set_rebuilding(is_rebuilding);
            parts.set_missing(missing);
        }
        let emissions = self.evaluator.advance(cap);
        self.forget();
        emissions
    }

    /// Judges the rules on the stream itself.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Emission> {
        if !self.has_caught_up {
            return Vec::new();
        }
        let last = self.last_record;
        if std::mem::take(&mut self.is_new)
            && let Some(last) = last
        {
            // Of the time that nobody owned the model is known what was read then, not that nothing came.
            let listened = if Some(last) == self.decided { self.evaluator.alerts().silent(&self.name) } else { Span::default() };
            let away = Span((now - last).0.saturating_sub(listened.0));
            if away > LONG_VACANCY {
                self.sleep(now, away);
            }
        }
        self.evaluator.tick(&|_| last, now)
    }

    /// Nobody listened for the last `span` of wall time.
    pub fn sleep(&mut self, now: Timestamp, span: Span) {
        let last = self.last_record;
        self.evaluator.sleep(&|_| last, now, span);
    }

    fn forget(&mut self) {
        let Some((_, model)) = self.evaluator.model() else { return };
        let before = model.forgotten();
        self.books.values_mut().for_each(|book| book.forget(before));
        self.foreign.forget(before);
    }

    /// What has to be stored to go on elsewhere: all that the panes topic does not give back.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        let Some((_, model)) = self.evaluator.model() else { return Vec::new() };
        let heard = if self.has_caught_up { self.heard } else { self.known };
        let mut decision = Decision::new(self.layout, heard, model.decisions()).with_alerts(self.evaluator.alerts());
        decision.last_record = self.last_record;
        decision.sources =
            self.books.iter().map(|(name, book)| (name.clone(), book.to_know(self.has_caught_up, model.forgotten()))).collect();
        let reached = |number: i32| model.parts().and_then(|parts| parts.reached(number));
        let ticks = self.numbers.iter().filter_map(|(number, state)| {
            let tick = if self.has_caught_up { state.tick().max(reached(*number)) } else { state.known_until() };
            Some((*number, tick?))
        });
        decision.ticks = ticks.collect();
        let outlived = model.parts().into_iter().flat_map(|parts| parts.outlived(self.settings.outlived));
        decision.joined = outlived.map(|(part, value)| (*part, value.to_vec())).collect();
        decision.moved = model.parts().map(Parts::moved).cloned().unwrap_or_default();
        decision.to_bytes()
    }
}
