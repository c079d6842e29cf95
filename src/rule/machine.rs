//! The states of one alert instance, stepped once per judged window.
//!
//! It knows windows only by the time of their ends and values only by what was made of them; it knows no names, labels or
//! messages. What it promises: every window is judged once and in order; outcomes without a verdict keep the state unless a
//! policy says otherwise, and an error never resolves; the severity of an episode never falls.

use serde::{Deserialize, Serialize};

use crate::event::{Span, Timestamp};

use super::hold::{Hold, MOST_WINDOWS};
use super::spec::PolicySpec;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// Worth a call.
    Critical,
}

impl Severity {
    /// Both, the lower one first.
    pub const ALL: [Severity; 2] = [Severity::Warning, Severity::Critical];

    /// The severity as a label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Where an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is the matter.
    #[default]
    Inactive,
    /// A tier is breached, but not for long enough.
    Pending,
    /// A tier has been breached for long enough, and the alert is not over.
    Firing,
    /// The resolve condition holds, but not for long enough.
    Recovering,
    /// The alert is over.
    Resolved,
}

impl State {
    /// The state as it is written in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Inactive => "inactive",
            State::Pending => "pending",
            State::Firing => "firing",
            State::Recovering => "recovering",
            State::Resolved => "resolved",
        }
    }

    /// Whether an episode is open.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, State::Firing | State::Recovering)
    }
}

/// What was made of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No tier is breached.
    Ok {
        /// Whether the resolve condition holds.
        over: bool,
    },
    /// This tier is breached, and with it every lower one.
    Breach(Severity),
    /// Too few events.
    Insufficient,
    /// Nothing to judge.
    NoData,
    /// The evaluation failed.
    Error,
    /// The window is not fully covered and the rule does not judge such windows: it never changes anything.
    Incomplete,
}

impl Outcome {
    /// The outcome as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok { .. } => "ok",
            Outcome::Breach(_) => "breach",
            Outcome::Insufficient | Outcome::Incomplete => "insufficient",
            Outcome::NoData => "no_data",
            Outcome::Error => "error",
        }
    }
}

/// What outcomes without a verdict do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// For too few events.
    pub insufficient: PolicySpec,
    /// For nothing to judge.
    pub no_data: PolicySpec,
    /// For failed evaluations. With `ok` they count as windows without a breach, but never towards the end of an alert.
    pub error: PolicySpec,
}

/// How long the conditions of a rule must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The tiers, the lower one first; at least one.
    pub tiers: Vec<(Severity, Hold)>,
    /// The resolve condition.
    pub resolve: Hold,
    /// Outcomes without a verdict.
    pub policies: Policies,
}

impl Plan {
    fn hold(&self, severity: Severity) -> Option<Hold> {
        self.tiers.iter().find(|(tier, _)| *tier == severity).map(|(_, hold)| *hold)
    }
}

/// Why the state has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A tier is breached, but not for long enough.
    Breached {
        /// The highest tier that is on its way.
        severity: Severity,
        /// How far it is.
        progress: Progress,
    },
    /// The breach ended before the alert fired.
    Cleared,
    /// A tier has been breached for long enough.
    Fired {
        /// The tier.
        severity: Severity,
        /// How long that was.
        hold: Hold,
    },
    /// The resolve condition holds, but not for long enough.
    Recovering(Progress),
    /// The resolve condition no longer holds.
    Interrupted,
    /// The resolve condition has held for long enough.
    Resolved(Hold),
}

/// How far a condition is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Windows in which it held, or zero for a time.
    pub windows: u32,
    /// Time for which it has held.
    pub time: Span,
    /// How long it must hold.
    pub hold: Hold,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.hold {
            Hold::Windows { need, of } if need == of => write!(f, "{} of {}", self.windows, self.hold),
            Hold::Windows { .. } => write!(f, "{} towards {}", self.windows, self.hold),
            Hold::Time(span) => write!(f, "{} of {span}", self.time),
        }
    }
}

/// A change of state, or of severity while firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Why.
    pub cause: Cause,
}

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The window was judged before, or lies before one that was: nothing has changed.
    Stale,
    /// There was no verdict and the state was kept.
    Kept,
    /// There was a verdict; the state is the same.
    Same,
    /// The state or the severity has changed.
    Changed(Change),
}

/// The state of one alert instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Where it is.
    pub state: State,
    /// The tier, from pending on; the highest of the episode once it fires.
    pub severity: Option<Severity>,
    /// End of the first window of the breach.
    pub active_at: Option<Timestamp>,
    /// When it went firing.
    pub starts_at: Option<Timestamp>,
    /// When it was resolved.
    pub ends_at: Option<Timestamp>,
    /// End of the last window that was judged, whatever the outcome.
    pub judged: Option<Timestamp>,
    /// The tiers breached by the last windows with a verdict, oldest first; as many as the longest `for` looks at.
    recent: Vec<Option<Severity>>,
    /// Since when each tier has been breached without a break: warning, critical.
    since: [Option<Timestamp>; 2],
    /// Windows in a row in which the resolve condition held.
    over_run: u32,
    /// End of the first of them.
    over_since: Option<Timestamp>,
}

impl Machine {
    /// Judges the window that ends at `at`.
    pub fn step(&mut self, plan: &Plan, at: Timestamp, outcome: Outcome) -> Step {
        if self.judged.is_some_and(|judged| at <= judged) {
            return Step::Stale;
        }
        self.judged = Some(at);
        let top = plan.tiers.last().map_or(Severity::Critical, |(severity, _)| *severity);
        let by_policy = |policy: PolicySpec, over: bool| match policy {
            PolicySpec::Keep => None,
            PolicySpec::Ok => Some((None, over)),
            PolicySpec::Fire => Some((Some(top), false)),
        };
        let verdict = match outcome {
            Outcome::Ok { over } => Some((None, over)),
            Outcome::Breach(severity) => Some((Some(severity), false)),
            Outcome::Insufficient => by_policy(plan.policies.insufficient, true),
            Outcome::NoData => by_policy(plan.policies.no_data, true),
            Outcome::Error => by_policy(plan.policies.error, false),
            Outcome::Incomplete => None,
        };
        let Some((breach, over)) = verdict else {
            return Step::Kept;
        };
        self.remember(plan, at, breach, over);
        let reached = Severity::ALL.into_iter().rev().find(|tier| breach >= Some(*tier) && self.holds(plan, *tier, at));
        match self.state {
            State::Inactive | State::Pending | State::Resolved => self.before(plan, at, reached),
            State::Firing | State::Recovering => self.during(plan, at, reached, over),
        }
    }

    /// Ends the episode, or the wait for one, from outside: the rule is gone. Returns the state before where there was one.
    pub fn abandon(&mut self, at: Timestamp) -> Option<State> {
        let from = self.state;
        match from {
            State::Inactive | State::Resolved => None,
            State::Pending => {
                self.forget();
                self.state = State::Inactive;
                Some(from)
            }
            State::Firing | State::Recovering => {
                self.end(at);
                Some(from)
            }
        }
    }

    /// Sets the state of an instance that speaks for others and has no conditions of its own.
    pub fn force(&mut self, state: State, severity: Severity, at: Timestamp) {
        match state {
            State::Firing => {
                if !self.state.is_open() {
                    self.active_at = Some(at);
                    self.starts_at = Some(at);
                    self.ends_at = None;
                }
                self.state = State::Firing;
                self.severity = self.severity.max(Some(severity));
            }
            _ => self.end(at),
        }
        self.judged = self.judged.max(Some(at));
    }

    fn before(&mut self, plan: &Plan, at: Timestamp, reached: Option<Severity>) -> Step {
        let from = self.state;
        if let Some(severity) = reached {
            if from != State::Pending {
                self.active_at = Some(at);
            }
            self.state = State::Firing;
            self.severity = Some(severity);
            self.starts_at = Some(at);
            self.ends_at = None;
            return self.changed(from, Cause::Fired { severity, hold: plan.hold(severity).unwrap_or(Hold::ONE_WINDOW) });
        }
        let coming = Severity::ALL.into_iter().rev().find_map(|tier| {
            let progress = self.progress(plan, tier, at)?;
            Some((tier, progress))
        });
        match (from, coming) {
            (State::Pending, None) => {
                self.forget();
                self.state = State::Inactive;
                self.changed(from, Cause::Cleared)
            }
            (State::Pending, Some((severity, _))) => {
                self.severity = Some(severity);
                Step::Same
            }
            (_, Some((severity, progress))) => {
                self.state = State::Pending;
                self.severity = Some(severity);
                self.active_at = Some(at);
                self.starts_at = None;
                self.ends_at = None;
                self.changed(from, Cause::Breached { severity, progress })
            }
            (_, None) => Step::Same,
        }
    }

    fn during(&mut self, plan: &Plan, at: Timestamp, reached: Option<Severity>, over: bool) -> Step {
        let from = self.state;
        if over {
            let progress =
                Progress { windows: self.over_run, time: self.over_since.map_or(Span(0), |since| at - since), hold: plan.resolve };
            let held = match plan.resolve {
                Hold::Windows { need, .. } => progress.windows >= need,
                Hold::Time(span) => progress.time >= span,
            };
            if held {
                self.end(at);
                return self.changed(from, Cause::Resolved(plan.resolve));
            }
            if from == State::Recovering {
                return Step::Same;
            }
            self.state = State::Recovering;
            return self.changed(from, Cause::Recovering(progress));
        }
        self.state = State::Firing;
        if let Some(severity) = reached.filter(|severity| Some(*severity) > self.severity) {
            self.severity = Some(severity);
            return self.changed(from, Cause::Fired { severity, hold: plan.hold(severity).unwrap_or(Hold::ONE_WINDOW) });
        }
        if from == State::Recovering { self.changed(from, Cause::Interrupted) } else { Step::Same }
    }

    fn changed(&self, from: State, cause: Cause) -> Step {
        Step::Changed(Change { from, to: self.state, cause })
    }

    fn remember(&mut self, plan: &Plan, at: Timestamp, breach: Option<Severity>, over: bool) {
        self.recent.push(breach);
        let keep = plan.tiers.iter().map(|(_, hold)| hold.windows()).max().unwrap_or(1).clamp(1, MOST_WINDOWS) as usize;
        if self.recent.len() > keep {
            self.recent.drain(..self.recent.len() - keep);
        }
        for (since, tier) in self.since.iter_mut().zip(Severity::ALL) {
            *since = if breach >= Some(tier) { since.or(Some(at)) } else { None };
        }
        if over {
            self.over_run = self.over_run.saturating_add(1);
            self.over_since = self.over_since.or(Some(at));
        } else {
            self.over_run = 0;
            self.over_since = None;
        }
    }

    /// How far a tier is, where it is on its way at all.
    fn progress(&self, plan: &Plan, tier: Severity, at: Timestamp) -> Option<Progress> {
        let hold = plan.hold(tier)?;
        let since = self.since.iter().zip(Severity::ALL).find(|(_, severity)| *severity == tier).and_then(|(since, _)| *since);
        let time = since.map_or(Span(0), |since| at - since);
        match hold {
            Hold::Time(_) => since.map(|_| Progress { windows: 0, time, hold }),
            Hold::Windows { need, of } => {
                let last = self.recent.iter().rev().take(of as usize);
                let count = if need == of {
                    last.take_while(|breach| **breach >= Some(tier)).count()
                } else {
                    last.filter(|breach| **breach >= Some(tier)).count()
                };
                let windows = u32::try_from(count).unwrap_or(MOST_WINDOWS);
                (windows > 0).then_some(Progress { windows, time, hold })
            }
        }
    }

    fn holds(&self, plan: &Plan, tier: Severity, at: Timestamp) -> bool {
        self.progress(plan, tier, at).is_some_and(|progress| match progress.hold {
            Hold::Windows { need, .. } => progress.windows >= need,
            Hold::Time(span) => progress.time >= span,
        })
    }

    /// The end of an episode. Its windows do not count towards the next one.
    fn end(&mut self, at: Timestamp) {
        self.recent.clear();
        self.since = [None, None];
        self.over_run = 0;
        self.over_since = None;
        self.state = State::Resolved;
        self.ends_at = Some(at);
    }

    fn forget(&mut self) {
        self.recent.clear();
        self.since = [None, None];
        self.severity = None;
        self.active_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OK: Outcome = Outcome::Ok { over: true };
    const BETWEEN: Outcome = Outcome::Ok { over: false };
    const WARNING: Outcome = Outcome::Breach(Severity::Warning);
    const CRITICAL: Outcome = Outcome::Breach(Severity::Critical);

    fn windows(need: u32, of: u32) -> Hold {
        Hold::Windows { need, of }
    }

    /// The `FeaturePSI` rule of the shipped example.
    fn plan() -> Plan {
        Plan {
            tiers: vec![(Severity::Warning, windows(3, 4)), (Severity::Critical, windows(2, 2))],
            resolve: windows(2, 2),
            policies: Policies::default(),
        }
    }

    fn states(plan: &Plan, outcomes: &[Outcome]) -> Vec<&'static str> {
        let mut machine = Machine::default();
        outcomes
            .iter()
            .enumerate()
            .map(|(index, outcome)| {
                machine.step(plan, Timestamp(60_000 * (index as i64 + 1)), *outcome);
                machine.state.as_str()
            })
            .collect()
    }

    #[test]
    fn fires_after_two_windows_and_resolves_after_two() {
        assert_eq!(
            states(&plan(), &[BETWEEN, CRITICAL, CRITICAL, BETWEEN, OK, OK, OK]),
            ["inactive", "pending", "firing", "firing", "recovering", "resolved", "resolved"]
        );
    }

    #[test]
    fn three_of_four_need_not_be_in_a_row() {
        assert_eq!(states(&plan(), &[WARNING, BETWEEN, WARNING, WARNING]), ["pending", "pending", "pending", "firing"]);
        assert_eq!(
            states(&plan(), &[WARNING, WARNING, BETWEEN, BETWEEN, WARNING, BETWEEN]),
            ["pending", "pending", "pending", "pending", "pending", "pending"]
        );
        assert_eq!(states(&plan(), &[WARNING, OK, OK, OK, OK]), ["pending", "pending", "pending", "pending", "inactive"]);
    }

    #[test]
    fn two_in_a_row_must_be_in_a_row() {
        let plan = Plan { tiers: vec![(Severity::Critical, windows(2, 2))], ..plan() };
        assert_eq!(states(&plan, &[CRITICAL, OK, CRITICAL, CRITICAL]), ["pending", "inactive", "pending", "firing"]);
    }

    #[test]
    fn one_window_fires_without_pending() {
        let plan = Plan { tiers: vec![(Severity::Critical, Hold::ONE_WINDOW)], resolve: Hold::ONE_WINDOW, ..plan() };
        assert_eq!(states(&plan, &[CRITICAL, OK, CRITICAL]), ["firing", "resolved", "firing"]);
    }

    #[test]
    fn the_severity_rises_and_does_not_fall() {
        let plan = Plan { tiers: vec![(Severity::Warning, Hold::ONE_WINDOW), (Severity::Critical, windows(2, 2))], ..plan() };
        let mut machine = Machine::default();
        let mut seen = Vec::new();
        for (index, outcome) in [WARNING, CRITICAL, CRITICAL, WARNING, OK, WARNING, OK, OK].into_iter().enumerate() {
            let step = machine.step(&plan, Timestamp(index as i64), outcome);
            if let Step::Changed(change) = step {
                seen.push((index, change.to.as_str(), machine.severity.unwrap().as_str()));
            }
        }
        assert_eq!(
            seen,
            [
                (0, "firing", "warning"),
                (2, "firing", "critical"),
                (4, "recovering", "critical"),
                (5, "firing", "critical"),
                (6, "recovering", "critical"),
                (7, "resolved", "critical")
            ]
        );
    }

    #[test]
    fn durations_compare_window_ends() {
        let plan = Plan {
            tiers: vec![(Severity::Critical, Hold::Time(Span(900_000)))],
            resolve: Hold::Time(Span(600_000)),
            policies: Policies::default(),
        };
        let mut machine = Machine::default();
        let mut at = |minutes: i64, outcome| {
            machine.step(&plan, Timestamp(minutes * 60_000), outcome);
            machine.state.as_str()
        };
        assert_eq!(at(5, CRITICAL), "pending");
        assert_eq!(at(15, CRITICAL), "pending");
        assert_eq!(at(20, CRITICAL), "firing");
        assert_eq!(at(25, OK), "recovering");
        assert_eq!(at(30, OK), "recovering");
        assert_eq!(at(35, OK), "resolved");
    }

    #[test]
    fn no_verdict_keeps_the_state_and_the_count() {
        for outcome in [Outcome::Insufficient, Outcome::NoData, Outcome::Error, Outcome::Incomplete] {
            assert_eq!(
                states(&plan(), &[CRITICAL, outcome, CRITICAL, outcome, OK, outcome, OK]),
                ["pending", "pending", "firing", "firing", "recovering", "recovering", "resolved"]
            );
        }
    }

    #[test]
    fn policies() {
        let policies = Policies { insufficient: PolicySpec::Ok, no_data: PolicySpec::Fire, error: PolicySpec::Ok };
        let plan = Plan { policies, ..plan() };
        assert_eq!(states(&plan, &[Outcome::NoData, Outcome::NoData]), ["pending", "firing"]);
        assert_eq!(
            states(&plan, &[CRITICAL, CRITICAL, Outcome::Insufficient, Outcome::Insufficient]),
            ["pending", "firing", "recovering", "resolved"]
        );
        // An error set to `ok` ends the wait for an alert, never an alert.
        let critical = Plan { tiers: vec![(Severity::Critical, windows(2, 2))], ..plan.clone() };
        assert_eq!(states(&critical, &[CRITICAL, Outcome::Error]), ["pending", "inactive"]);
        assert_eq!(states(&plan, &[CRITICAL, CRITICAL, Outcome::Error, Outcome::Error]), ["pending", "firing", "firing", "firing"]);
        // Incomplete windows never fire, whatever the policy.
        assert_eq!(states(&plan, &[Outcome::Incomplete, Outcome::Incomplete]), ["inactive", "inactive"]);
    }

    #[test]
    fn a_window_is_judged_once_and_in_order() {
        let mut machine = Machine::default();
        assert!(matches!(machine.step(&plan(), Timestamp(10), CRITICAL), Step::Changed(_)));
        assert_eq!(machine.step(&plan(), Timestamp(10), CRITICAL), Step::Stale);
        assert_eq!(machine.step(&plan(), Timestamp(5), CRITICAL), Step::Stale);
        assert_eq!(machine.state, State::Pending);
        machine.step(&plan(), Timestamp(20), Outcome::Error);
        assert_eq!(machine.step(&plan(), Timestamp(20), CRITICAL), Step::Stale);
    }

    #[test]
    fn windows_of_one_episode_do_not_count_towards_the_next() {
        let plan = Plan { resolve: Hold::ONE_WINDOW, ..plan() };
        assert_eq!(
            states(&plan, &[WARNING, WARNING, WARNING, OK, WARNING, WARNING, WARNING]),
            ["pending", "pending", "firing", "resolved", "pending", "pending", "firing"]
        );
    }

    #[test]
    fn progress_reads_well() {
        let progress = |windows, hold| Progress { windows, time: Span(60_000), hold }.to_string();
        assert_eq!(progress(1, windows(2, 2)), "1 of 2 windows");
        assert_eq!(progress(1, windows(3, 4)), "1 towards 3 of 4 windows");
        assert_eq!(progress(0, Hold::Time(Span(900_000))), "1m of 15m");
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            3 => Just(OK),
            2 => Just(BETWEEN),
            2 => Just(WARNING),
            3 => Just(CRITICAL),
            1 => Just(Outcome::Insufficient),
            1 => Just(Outcome::NoData),
            1 => Just(Outcome::Error),
            1 => Just(Outcome::Incomplete),
        ]
    }

    fn holds() -> impl Strategy<Value = Hold> {
        prop_oneof![
            (1u32..4).prop_map(|n| windows(n, n)),
            (1u32..4, 0u32..3).prop_map(|(need, more)| windows(need, need + more)),
            (0i64..4).prop_map(|n| Hold::Time(Span(n * 60_000))),
        ]
    }

    fn plans() -> impl Strategy<Value = Plan> {
        (proptest::option::of(holds()), holds(), holds()).prop_map(|(warning, critical, resolve)| Plan {
            tiers: warning.map(|hold| (Severity::Warning, hold)).into_iter().chain([(Severity::Critical, critical)]).collect(),
            resolve,
            policies: Policies::default(),
        })
    }

    fn run(machine: &mut Machine, plan: &Plan, from: usize, outcomes: &[Outcome]) -> Vec<Step> {
        outcomes
            .iter()
            .enumerate()
            .map(|(index, outcome)| machine.step(plan, Timestamp(60_000 * (from + index) as i64), *outcome))
            .collect()
    }

    proptest! {
        #[test]
        fn trouble_and_silence_never_change_anything(plan in plans(), before in prop::collection::vec(outcomes(), 0..40)) {
            let mut machine = Machine::default();
            run(&mut machine, &plan, 0, &before);
            for (index, outcome) in [Outcome::Error, Outcome::NoData, Outcome::Insufficient, Outcome::Incomplete].into_iter().enumerate() {
                let kept = machine.clone();
                let at = Timestamp(60_000 * (before.len() + index) as i64);
                prop_assert_eq!(machine.step(&plan, at, outcome), Step::Kept);
                prop_assert_eq!(&machine, &Machine { judged: Some(at), ..kept });
            }
        }

        #[test]
        fn an_error_never_resolves_under_any_policy(plan in plans(), error in 0..3, before in prop::collection::vec(outcomes(), 0..60)) {
            let error = [PolicySpec::Keep, PolicySpec::Ok, PolicySpec::Fire][error as usize];
            let plan = Plan { policies: Policies { error, ..Policies::default() }, ..plan };
            let mut machine = Machine::default();
            for (index, outcome) in before.iter().enumerate() {
                let open = machine.state.is_open();
                machine.step(&plan, Timestamp(index as i64), *outcome);
                if open && *outcome == Outcome::Error {
                    prop_assert!(machine.state.is_open());
                }
            }
        }

        #[test]
        fn the_severity_of_an_episode_never_falls(plan in plans(), sequence in prop::collection::vec(outcomes(), 0..80)) {
            let mut machine = Machine::default();
            let mut open: Option<Severity> = None;
            for (index, outcome) in sequence.iter().enumerate() {
                machine.step(&plan, Timestamp(60_000 * index as i64), *outcome);
                if machine.state.is_open() {
                    prop_assert!(machine.severity.is_some() && machine.severity >= open);
                    open = machine.severity;
                } else {
                    open = None;
                }
            }
        }

        #[test]
        fn only_lawful_changes_happen(plan in plans(), sequence in prop::collection::vec(outcomes(), 0..80)) {
            let mut machine = Machine::default();
            for step in run(&mut machine, &plan, 0, &sequence) {
                if let Step::Changed(Change { from, to, .. }) = step {
                    use State::{Firing, Inactive, Pending, Recovering, Resolved};
                    let lawful = matches!(
                        (from, to),
                        (Inactive | Resolved, Pending | Firing)
                            | (Pending, Inactive | Firing)
                            | (Firing, Firing | Recovering | Resolved)
                            | (Recovering, Firing | Resolved)
                    );
                    prop_assert!(lawful, "{from:?} to {to:?}");
                }
            }
        }

        #[test]
        fn the_same_sequence_gives_the_same_steps_and_a_restart_changes_nothing(
            plan in plans(),
            first in prop::collection::vec(outcomes(), 0..40),
            second in prop::collection::vec(outcomes(), 0..40),
        ) {
            let whole: Vec<Outcome> = first.iter().chain(&second).copied().collect();
            let mut straight = Machine::default();
            let steps = run(&mut straight, &plan, 0, &whole);
            let mut broken = Machine::default();
            let mut again = run(&mut broken, &plan, 0, &first);
            let stored = postcard::to_stdvec(&broken).unwrap();
            let mut restored: Machine = postcard::from_bytes(&stored).unwrap();
            prop_assert_eq!(&restored, &broken);
            let json = serde_json::to_string(&restored).unwrap();
            restored = serde_json::from_str(&json).unwrap();
            again.extend(run(&mut restored, &plan, first.len(), &second));
            prop_assert_eq!(steps, again);
            prop_assert_eq!(straight, restored);
        }
    }
}
