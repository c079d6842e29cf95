//! Why subjects drift: cells, direction, segments and onset of each that does, and the ranking of a model's features.
//!
//! It looks at the panes of a window that has just been measured, and only where something drifts, by the model's `drift` recipe or
//! because a rule finds a breach: a quiet window costs one look at its measurements. Decides nothing.

mod direction;
mod ground;
mod segment;
mod since;

use std::sync::Arc;

use crate::baseline::{Baseline, Column};
use crate::event::explanation::{Explanation, Features, Finding, Importance, MOST_CELLS, MOST_FEATURES, MovedCell, RankedFeature};
use crate::event::sentence::sentence;
use crate::event::{Measurement, Metric, Status, Subject};
use crate::stats::contribution::{Part, of_part};
use crate::window::Pane;

use super::history::{History, Place};
use super::measure::{Against, Context, Recipe};
use super::plan::ModelPlan;
use ground::Ground;

/// Most subjects of one version and segment that are explained: those in breach of a rule first, then those of the greatest score. A
/// window in which more drift has one cause, and its ranking says how many there are.
pub const MOST_EXPLAINED: usize = 100;

/// What is looked at: one version and segment of a window.
pub(super) struct Scene<'a> {
    /// Whose measurements they are.
    pub context: &'a Context<'a>,
    /// The panes of the model.
    pub history: &'a History,
    /// Version and segment.
    pub place: Place,
    /// The events of the window.
    pub pane: &'a Pane,
    /// What it is compared with.
    pub against: Against<'a>,
}

/// A subject on its way to its explanation.
struct Case<'a> {
    column: &'a Column,
    score: (Metric, f64),
    ground: Ground,
    reference: Part,
    current: Part,
    /// By cell, adding up to the score or its square.
    terms: Vec<f64>,
}

/// Adds the explanations of the subjects that drift, and of those that rules find in breach, each with the metric of its rule.
pub(super) fn explain(scene: &Scene<'_>, measurements: &[Measurement], breached: &[(Subject, Metric)], out: &mut Vec<Explanation>) {
    let context = scene.context;
    let Some(baseline) = context.baseline() else { return };
    let segment = context.name();
    let reference = match scene.against {
        Against::Baseline => match context.reference(baseline, &segment) {
            Ok(reference) => &reference.pane,
            Err(_) => return,
        },
        Against::Pane(pane, _) | Against::Columns(pane, _) => pane,
        Against::Nothing(_) => return,
    };
    let recipe = &context.plan.drift;
    let mut wanted: Vec<(bool, Subject, Metric, f64)> = Vec::new();
    for (subject, metric) in breached {
        let own = measurements.iter().find(|measurement| measurement.metric == *metric && measurement.subject == *subject);
        wanted.extend(own.and_then(|own| Some((true, subject.clone(), *metric, own.value?))));
    }
    for measurement in measurements.iter().filter(|measurement| drifts(context.plan, measurement)) {
        let known = wanted.iter_mut().find(|(_, subject, ..)| *subject == measurement.subject);
        match (known, measurement.value) {
            (Some(known), Some(value)) => (known.2, known.3) = (recipe.metric, value),
            (None, Some(value)) => wanted.push((false, measurement.subject.clone(), recipe.metric, value)),
            (_, None) => {}
        }
    }
    wanted.sort_by(|left, right| right.0.cmp(&left.0).then(right.3.total_cmp(&left.3)).then_with(|| left.1.cmp(&right.1)));
    wanted.truncate(MOST_EXPLAINED);
    if wanted.is_empty() {
        return;
    }
    let case = |(_, subject, metric, value): &(bool, Subject, Metric, f64)| -> Option<Case<'_>> {
        let column = baseline.layout.columns.get(baseline.layout.column(subject)?)?;
        let ground = Ground::of(*metric, &column.kind);
        let (reference, current) = (ground.count(column, reference), ground.count(column, scene.pane));
        let terms = ground.terms(&reference, &current)?;
        Some(Case { column, score: (*metric, *value), ground, reference, current, terms })
    };
    let cases: Vec<Case<'_>> = wanted.iter().filter_map(case).collect();
    // The segments of a reference that is no baseline are not told apart.
    let parts = match scene.against {
        Against::Baseline => segment::parts(scene, baseline, &cases),
        _ => cases.iter().map(|_| Vec::new()).collect(),
    };
    let onsets = since::onsets(scene, &cases);
    let ranking = Ranking::new(baseline, context.plan, measurements);
    let mut say = |subject: Subject, mut finding: Finding| {
        finding.sentence = sentence(&subject, &finding);
        out.push(Explanation {
            model: Arc::clone(&context.plan.name),
            version: Arc::clone(context.version),
            segment: segment.clone(),
            window: context.window.clone(),
            subject,
            finding,
            revision: context.revision,
        });
    };
    for ((case, segments), onset) in cases.iter().zip(parts).zip(onsets) {
        let finding = Finding {
            score: Some(case.score),
            direction: Some(direction::of(case, reference, scene.pane)),
            // The scores of other tools are over other bins, or smoothed in another way.
            cells_of: (context.plan.recipe == Recipe::Driftline).then(|| case.ground.metric()),
            cells: case.moved(),
            segments,
            onset,
            importance: ranking.importance(&case.column.subject),
            ..Finding::default()
        };
        say(case.column.subject.clone(), finding);
    }
    if let Some(features) = ranking.features() {
        say(
            Subject::Model,
            Finding { score: Some((recipe.metric, f64::from(features.drifted))), features: Some(features), ..Finding::default() },
        );
    }
}

/// Whether a measurement is a breach of the model's drift recipe.
fn drifts(plan: &ModelPlan, measurement: &Measurement) -> bool {
    measurement.metric == plan.drift.metric && measurement.status == Status::Ok && plan.is_drift(measurement)
}

impl Case<'_> {
    /// The sum of the terms.
    fn sum(&self) -> f64 {
        self.terms.iter().sum()
    }

    /// The cells by their share of the score, the greatest first, and then in their order.
    fn moved(&self) -> Vec<MovedCell> {
        let sum = self.sum();
        let mut order: Vec<(usize, f64)> = self.terms.iter().copied().enumerate().filter(|(_, term)| *term > 0.0).collect();
        order.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        let cell = |(cell, term): (usize, f64)| {
            let (name, bounds) = self.ground.name(&self.column.kind, cell);
            let share = |part: &Part| part.share(cell, part.total);
            MovedCell { name, bounds, reference: share(&self.reference), current: share(&self.current), share: term / sum }
        };
        order.into_iter().take(MOST_CELLS).map(cell).collect()
    }

    /// What a part of the events adds, as a share of the score; `None` where nothing moved.
    fn share_of(&self, of_reference: Option<&Part>, of_current: &Part) -> Option<f64> {
        let share = of_part(&self.terms, (&self.reference, &self.current), of_reference, of_current) / self.sum();
        share.is_finite().then_some(share)
    }
}

/// The features of a window by importance times drift, or by drift where no importance is known.
struct Ranking {
    ranked: Vec<RankedFeature>,
    drifted: usize,
}

impl Ranking {
    fn new(baseline: &Baseline, plan: &ModelPlan, measurements: &[Measurement]) -> Ranking {
        let recipe = &plan.drift;
        let given = !baseline.importance.is_empty();
        let mut ranked = Vec::new();
        for measurement in measurements.iter().filter(|measurement| measurement.metric == recipe.metric && measurement.status == Status::Ok)
        {
            let (Subject::Feature(name), Some(value)) = (&measurement.subject, measurement.value) else { continue };
            let importance = given.then(|| baseline.importance.get(&**name).copied().unwrap_or(0.0));
            let weight = importance.map(|importance| importance * value).filter(|weight| weight.is_finite());
            ranked.push(RankedFeature { feature: Arc::clone(name), value, importance, weight, drifted: drifts(plan, measurement) });
        }
        ranked.sort_by(|left, right| {
            let key = |one: &RankedFeature| one.weight.unwrap_or(if given { 0.0 } else { one.value });
            key(right).total_cmp(&key(left)).then(right.value.total_cmp(&left.value)).then_with(|| left.feature.cmp(&right.feature))
        });
        let drifted = ranked.iter().filter(|one| one.drifted).count();
        Ranking { ranked, drifted }
    }

    fn importance(&self, subject: &Subject) -> Option<Importance> {
        let Subject::Feature(name) = subject else { return None };
        let place = self.ranked.iter().position(|one| one.feature == *name)?;
        let one = self.ranked.get(place)?;
        Some(Importance { importance: one.importance?, weight: one.weight?, rank: short(place + 1), of: short(self.ranked.len()) })
    }

    fn features(&self) -> Option<Features> {
        (self.drifted > 0).then(|| Features {
            drifted: short(self.drifted),
            of: short(self.ranked.len()),
            ranking: self.ranked.iter().take(MOST_FEATURES).cloned().collect(),
        })
    }
}

fn short(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Puts explanations into the order of results.
pub(super) fn sort(explanations: &mut [Explanation]) {
    explanations.sort_by_cached_key(|one| (Arc::clone(&one.version), one.segment.to_string(), one.subject.to_string()));
}
