//! The one owner of windows, joins and alerts: it takes the shards' outputs in and gives results out.
//!
//! The clock that closes windows is the least watermark of the prediction and feature partitions that are not idle,
//! capped by the caller. Labels are applied up to the least watermark of the label partitions, and never beyond the
//! first clock, so that a label is only looked for when its prediction must have been read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Measurement, Metric, Outcome, SourceId, Span, Timestamp, TopicRole, WindowRef, WindowSummary};
use crate::join::{Prediction, Tally};
use crate::rule::breach::breached;
use crate::rule::{Alerts, Happening, IngestSilence, InputKind, RuleSet, TopicGap, TopicRejects, WindowInput};
use crate::window::SeriesId;

use super::clocks::{Clocks, Coverage};
use super::closed::Closed;
use super::labels::Look;
use super::measure;
use super::model::ModelState;
use super::output::{Counts, JoinHalf, ShardOutput};
use super::plan::Plan;
use super::series::SeriesKey;

mod begun;
mod gap;
mod owned;
mod shelved;

pub use begun::BASELINE_CHANGED;
pub use gap::{Gap, Lost};

/// Performance on the baseline, which rules on windows that close know nothing of.
static NO_REFERENCE: BTreeMap<Metric, f64> = BTreeMap::new();

/// A source partition as the evaluator knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceState {
    /// What its topic carries.
    pub role: TopicRole,
    /// Its watermark.
    pub watermark: Option<Timestamp>,
    /// The least accepted event time.
    pub earliest: Option<Timestamp>,
    /// Whether it is at its end without news, and holds no window open.
    pub is_idle: bool,
    /// Whether it is ours to read.
    pub is_assigned: bool,
    /// What became of its events.
    pub counts: Counts,
    /// Records that could not be read: the event times before and after, and why.
    pub gaps: Vec<Gap>,
}

/// What comes out of the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Emission {
    /// A window closed or was restated.
    Window(Box<Closed>),
    /// A rule has something to say about a window.
    Happening {
        /// The model.
        model: Arc<str>,
        /// The window it was judged by; none for rules on the stream itself.
        window: Option<WindowRef>,
        /// The version the rule looked at.
        version: Arc<str>,
        /// What happened.
        happening: Box<Happening>,
    },
}

/// Windows, joins and alerts of all models.
#[derive(Clone, Debug)]
pub struct Evaluator {
    plan: Arc<Plan>,
    rules: Arc<RuleSet>,
    pub(super) models: Vec<ModelState>,
    pub(super) sources: BTreeMap<SourceId, SourceState>,
    pub(super) alerts: Alerts,
    /// The series of each shard by its own numbers.
    series: Vec<Vec<SeriesKey>>,
    /// How far labels have been joined, where others join them.
    joined: Option<Least>,
}

impl Evaluator {
    /// An evaluator without state.
    #[must_use]
    pub fn new(plan: Arc<Plan>, rules: Arc<RuleSet>) -> Evaluator {
        let models = plan.models.iter().zip(0u16..).map(|(model, number)| ModelState::new(number, model, plan.ledger_capacity)).collect();
        Evaluator { plan, rules, models, sources: BTreeMap::new(), alerts: Alerts::new(), series: Vec::new(), joined: None }
    }

    /// Puts stored state to work again under the plan and rules of now. Its models must be those of the plan, in the same order.
    #[must_use]
    pub fn resume(mut self, plan: Arc<Plan>, rules: Arc<RuleSet>) -> Evaluator {
        self.plan = plan;
        self.rules = rules;
        for source in self.sources.values_mut() {
            // Until the group has settled they are waited for: no window may close because a partition is not back yet.
            source.is_idle = false;
            source.is_assigned = true;
        }
        self
    }

    /// Judges by other rules from now on. Alerts of rules that are gone end.
    pub fn set_rules(&mut self, rules: Arc<RuleSet>) -> Vec<Emission> {
        let greatest = || self.sources.values().filter_map(|source| source.watermark).max();
        let at = self.event_clock().or_else(greatest).unwrap_or_default();
        self.set_rules_at(rules, at)
    }

    /// The same, where it is known at which time alerts end.
    pub fn set_rules_at(&mut self, rules: Arc<RuleSet>, at: Timestamp) -> Vec<Emission> {
        let happenings = self.alerts.retire(&rules, at);
        self.rules = rules;
        of_no_model(happenings)
    }

    /// Alert instances as they stand.
    #[must_use]
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// Source partitions as they stand.
    #[must_use]
    pub fn sources(&self) -> &BTreeMap<SourceId, SourceState> {
        &self.sources
    }

    /// A source partition is ours to read from now on.
    pub fn assign(&mut self, source: SourceId, role: TopicRole) {
        let state = self.source(source, role);
        state.is_assigned = true;
        state.is_idle = false;
    }

    /// A source partition is no longer ours: it holds nothing back.
    pub fn revoke(&mut self, source: SourceId) {
        if let Some(state) = self.sources.get_mut(&source) {
            state.is_assigned = false;
        }
    }

    /// Whether a partition is at its end without news.
    pub fn set_idle(&mut self, source: SourceId, is_idle: bool) {
        if let Some(state) = self.sources.get_mut(&source) {
            state.is_idle = is_idle;
        }
    }

    /// Records of a partition can never be read: windows they may have belonged to are marked.
    pub fn add_gap(&mut self, source: SourceId, reason: Arc<str>, lost: Lost) {
        if let Some(state) = self.sources.get_mut(&source) {
            state.gaps.push(Gap { from: state.watermark, until: None, reason, lost: Some(lost) });
        }
    }

    /// Takes in what a shard has to say.
    pub fn absorb(&mut self, shard: usize, output: ShardOutput) {
        if self.series.len() <= shard {
            self.series.resize(shard + 1, Vec::new());
        }
        if let Some(series) = self.series.get_mut(shard) {
            series.extend(output.series);
        }
        for (source, counts) in &output.counts {
            if let Some(state) = self.sources.get_mut(source) {
                state.counts.merge(counts);
            }
        }
        for progress in output.progress {
            if let Some(state) = self.sources.get_mut(&progress.source) {
                if progress.watermark > state.watermark {
                    state.is_idle = false;
                }
                state.watermark = progress.watermark;
                state.earliest = progress.earliest;
                for gap in state.gaps.iter_mut().filter(|gap| gap.until.is_none() && gap.from < state.watermark) {
                    gap.until = state.watermark;
                }
                self.models.iter_mut().for_each(|model| model.reach(progress.source, progress.watermark));
            }
        }
        for ((_, key), records) in output.late {
            if let (Some(plan), Some(model)) = (self.plan.model(key.model), self.models.get_mut(usize::from(key.model))) {
                model.add_late(plan, key, records, true);
            }
        }
        for open in output.panes {
            self.absorb_pane(shard, open.series, open.slice, open.pane);
        }
        for half in output.halves {
            self.absorb_half(shard, half);
        }
    }

    fn absorb_pane(&mut self, shard: usize, series: SeriesId, slice: Timestamp, pane: crate::window::Pane) {
        let Some(key) = self.key(shard, series) else { return };
        let (Some(plan), Some(model)) = (self.plan.model(key.model), self.models.get_mut(usize::from(key.model))) else { return };
        let version = model.version(&key.version);
        let lost = model.add(plan, slice, version, key.segment, pane);
        if lost > 0 {
            self.shift(false, Outcome::Counted, Outcome::Shed, lost);
        }
    }

    fn absorb_half(&mut self, shard: usize, half: JoinHalf) {
        let settled = match half {
            JoinHalf::Prediction { id, ts, series, segments, predicted, .. } => {
                let Some(key) = self.key(shard, series) else { return };
                let Some(model) = self.models.get_mut(usize::from(key.model)) else { return };
                let Some(plan) = self.plan.model(key.model) else { return };
                let version = model.version(&key.version);
                model.predict(plan, id, Prediction { ts, version, segments, predicted })
            }
            JoinHalf::Label { model: number, label } => {
                let Some(model) = self.models.get_mut(usize::from(number)) else { return };
                model.label(&label)
            }
        };
        self.settle(&settled);
    }

    /// Closes, restates and judges what the clocks allow. `cap` bounds the clock that closes windows.
    pub fn advance(&mut self, cap: Option<Timestamp>) -> Vec<Emission> {
        self.step(cap, None)
    }

    /// The input is over: closes and judges everything that has begun.
    pub fn finish(&mut self) -> Vec<Emission> {
        let last = self.sources.values().filter(|source| source.role != TopicRole::Labels).filter_map(|source| source.watermark).max();
        // Without any event there is no window to close, but there may be labels that wait.
        self.step(None, Some(last.unwrap_or(Timestamp(i64::MIN))))
    }

    /// Judges the rules on the stream itself. Both times are of the wall clock.
    pub fn tick(&mut self, last_record: &dyn Fn(&str) -> Option<Timestamp>, now: Timestamp) -> Vec<Emission> {
        let mut emissions = Vec::new();
        for model in &self.plan.models {
            let silence = IngestSilence { model: &model.name, last_record: last_record(&model.name), now };
            let happenings = self.alerts.tick(&self.rules, &[silence]);
            emissions.extend(happenings.into_iter().map(|happening| Emission::Happening {
                model: Arc::clone(&model.name),
                window: None,
                version: Arc::from(""),
                happening: Box::new(happening),
            }));
        }
        emissions
    }

    /// Nobody listened for the last `span` of wall time.
    pub fn sleep(&mut self, last_record: &dyn Fn(&str) -> Option<Timestamp>, now: Timestamp, span: Span) {
        for model in &self.plan.models {
            self.alerts.sleep(&IngestSilence { model: &model.name, last_record: last_record(&model.name), now }, span);
        }
    }

    /// Judges the rules of schema by the last minute of wall time of each topic.
    pub fn judge_rejects(&mut self, topics: &[TopicRejects<'_>], now: Timestamp) -> Vec<Emission> {
        of_no_model(self.alerts.judge_rejects(&self.rules, topics, now))
    }

    /// Judges the rules of gaps by records that can never be read; by none of them to let time pass.
    pub fn judge_gaps(&mut self, gaps: &[TopicGap<'_>], now: Timestamp) -> Vec<Emission> {
        of_no_model(self.alerts.judge_gaps(&self.rules, gaps, now))
    }

    /// The topics for which an alert of schema is firing.
    #[must_use]
    pub fn flooded(&self) -> BTreeSet<String> {
        self.alerts.flooded(&self.rules)
    }

    fn step(&mut self, cap: Option<Timestamp>, end: Option<Timestamp>) -> Vec<Emission> {
        let (events, labels) = self.clocks(cap);
        let plan = Arc::clone(&self.plan);
        let rules = Arc::clone(&self.rules);
        let coverage = Coverage { from: self.earliest(), until: end };
        let partitions = self.partitions();
        let gaps: Vec<Gap> = self.sources.values().flat_map(|source| source.gaps.iter().cloned()).collect();
        let touching = |window: &WindowRef| -> Vec<Arc<str>> {
            let touches = |gap: &&Gap| gap.from.is_none_or(|from| from < window.end) && gap.until.is_none_or(|until| until >= window.start);
            // The order of partitions is another in another process, and a reason is given once.
            let reasons: BTreeSet<Arc<str>> = gaps.iter().filter(touches).map(|gap| Arc::clone(&gap.reason)).collect();
            reasons.into_iter().collect()
        };
        let mut emissions = Vec::new();
        for (number, model) in plan.models.iter().enumerate() {
            let Some(state) = self.models.get_mut(number) else { continue };
            let coverages = |window: &str| rules.coverages(&model.name, window);
            let breached = |summary: &WindowSummary, measurements: &[Measurement]| {
                let Some(first) = measurements.first() else { return Vec::new() };
                let (n, complete) = (summary.n, summary.complete);
                let input = WindowInput {
                    model: &model.name,
                    version: &first.version,
                    window: &summary.window,
                    segment: &first.segment,
                    kind: InputKind::Closed,
                    measurements,
                    explanations: &[],
                    reference: &NO_REFERENCE,
                    n,
                    complete,
                };
                breached(&rules, &input)
            };
            let clocks = Clocks { events, labels, end, coverage, partitions, gaps: &touching, coverages: &coverages, breached: &breached };
            let (closed, settled) = state.advance(model, &clocks);
            self.settle(&settled);
            for window in closed {
                self.judge(&plan, &rules, window, &mut emissions);
            }
        }
        emissions
    }

    fn judge(&mut self, plan: &Plan, rules: &RuleSet, window: Closed, emissions: &mut Vec<Emission>) {
        let Some(model) = plan.model(window.model) else { return };
        let mut kinds: Vec<InputKind> = Vec::new();
        if window.is_first {
            kinds.push(InputKind::Closed);
        }
        kinds.extend(window.looks.iter().filter_map(|look| match look {
            Look::Coverage(coverage) => Some(InputKind::LabelsReady { coverage: *coverage, horizon_passed: false }),
            Look::TooLate(coverage) => Some(InputKind::LabelsReady { coverage: *coverage, horizon_passed: true }),
            Look::Final => None,
        }));
        let mut happenings = Vec::new();
        for kind in kinds {
            for group in measure::groups(&window.measurements) {
                let Some(first) = group.first() else { continue };
                let reference = measure::reference(model, &first.version);
                let input = WindowInput {
                    model: &model.name,
                    version: &first.version,
                    window: &window.summary.window,
                    segment: &first.segment,
                    kind,
                    measurements: group,
                    explanations: &window.explanations,
                    reference: &reference,
                    n: window.summary.n,
                    complete: window.summary.complete,
                };
                let judged = self.alerts.judge(rules, &input);
                happenings.extend(judged.into_iter().map(|happening| (Arc::clone(&first.version), happening)));
            }
        }
        let at = window.summary.window.clone();
        if window.is_news {
            emissions.push(Emission::Window(Box::new(window)));
        }
        emissions.extend(happenings.into_iter().map(|(version, happening)| Emission::Happening {
            model: Arc::clone(&model.name),
            window: Some(at.clone()),
            version,
            happening: Box::new(happening),
        }));
    }

    fn clocks(&self, cap: Option<Timestamp>) -> (Option<Timestamp>, Option<Timestamp>) {
        let of =
            |labels: bool| self.sources.values().filter(move |source| source.is_assigned && (source.role == TopicRole::Labels) == labels);
        let events = if of(false).next().is_some() { least(of(false)) } else { Least::Unknown };
        let labels = self.joined.unwrap_or_else(|| least(of(true)));
        let greatest = self.sources.values().filter_map(|source| source.watermark).max();
        let event_clock = match events {
            Least::At(at) => Some(at),
            Least::Unknown => None,
            // Every partition is at its end: nothing is waited for.
            Least::Nothing => of(false).filter_map(|source| source.watermark).max(),
        };
        // A tick is over when the clock has passed it: what is out of order behind its very instant came at that instant, too.
        let over = |least: Least| if let Least::At(at) = least { Least::At(Timestamp(at.0.saturating_sub(1))) } else { least };
        let label_clock = match (over(events), if self.joined.is_some() { labels } else { over(labels) }) {
            (Least::Unknown, _) | (_, Least::Unknown) => None,
            (Least::At(events), Least::At(labels)) => Some(events.min(labels)),
            (Least::At(only), Least::Nothing) | (Least::Nothing, Least::At(only)) => Some(only),
            (Least::Nothing, Least::Nothing) => greatest,
        };
        let capped = |clock: Option<Timestamp>| match (clock, cap) {
            (Some(clock), Some(cap)) => Some(clock.min(cap)),
            (clock, _) => clock,
        };
        (capped(event_clock), capped(label_clock))
    }

    /// The clock that closes windows, for display.
    #[must_use]
    pub fn event_clock(&self) -> Option<Timestamp> {
        self.clocks(None).0
    }

    fn earliest(&self) -> Option<Timestamp> {
        self.sources.values().filter(|source| source.role != TopicRole::Labels).filter_map(|source| source.earliest).min()
    }

    fn partitions(&self) -> (u32, u32) {
        let of = self.sources.values().filter(|source| source.role != TopicRole::Labels);
        let (mut ours, mut all) = (0, 0);
        for source in of {
            all += 1;
            ours += u32::from(source.is_assigned);
        }
        (ours, all)
    }

    fn key(&self, shard: usize, series: SeriesId) -> Option<SeriesKey> {
        self.series.get(shard)?.get(series.0 as usize).cloned()
    }

    fn source(&mut self, source: SourceId, role: TopicRole) -> &mut SourceState {
        self.sources.entry(source).or_insert_with(|| SourceState {
            role,
            watermark: None,
            earliest: None,
            is_idle: false,
            is_assigned: false,
            counts: Counts::default(),
            gaps: Vec::new(),
        })
    }

    /// Moves label events to their outcome. Labels do not remember their partition once they wait, so the books are kept
    /// over the label partitions together.
    fn settle(&mut self, settled: &Tally) {
        for (from, to, events) in settled.iter() {
            self.shift(true, from, to, events);
        }
    }

    /// Moves events from one outcome to another: in the partitions of labels, or of predictions and features, and only
    /// where those have not so many in the others, which may carry labels, too.
    fn shift(&mut self, of_labels: bool, from: Outcome, to: Outcome, mut events: u64) {
        for role_fits in [true, false] {
            for source in self.sources.values_mut().filter(|source| ((source.role == TopicRole::Labels) == of_labels) == role_fits) {
                let moved = source.counts.of(from).min(events);
                source.counts.shift(from, to, moved);
                events -= moved;
            }
        }
    }
}

fn of_no_model(happenings: Vec<Happening>) -> Vec<Emission> {
    let emission =
        |happening| Emission::Happening { model: Arc::from(""), window: None, version: Arc::from(""), happening: Box::new(happening) };
    happenings.into_iter().map(emission).collect()
}

/// What the partitions that are waited for have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Least {
    /// No partition is waited for.
    Nothing,
    /// A partition that is waited for has not said anything yet.
    Unknown,
    /// The least watermark of those that are waited for.
    At(Timestamp),
}

fn least<'a>(sources: impl Iterator<Item = &'a SourceState>) -> Least {
    sources.filter(|source| !source.is_idle).fold(Least::Nothing, |least, source| match (least, source.watermark) {
        (Least::Unknown, _) | (_, None) => Least::Unknown,
        (Least::Nothing, Some(at)) => Least::At(at),
        (Least::At(least), Some(at)) => Least::At(least.min(at)),
    })
}
