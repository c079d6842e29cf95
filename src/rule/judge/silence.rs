//! Rules of absence: how long a model has been silent, in wall time. Only time in which somebody listened is silence.

use crate::event::{Segment, Span, Timestamp};

use super::super::datum::Bindings;
use super::super::happening::{Happening, IngestSilence};
use super::super::hold::Hold;
use super::super::machine::Outcome;
use super::super::set::{Kind, Rule, RuleSet};
use super::super::verdict::Verdict;
use super::{Alerts, stream};

impl Alerts {
    /// Looks at rules of absence: how long each model has been silent, in wall time.
    pub fn tick(&mut self, rules: &RuleSet, silences: &[IngestSilence<'_>]) -> Vec<Happening> {
        let mut out = Vec::new();
        for silence in silences {
            let since = if let Some(last) = silence.last_record {
                self.watched.remove(silence.model);
                last
            } else {
                let before = self.silent(silence.model);
                *self.watched.entry(silence.model.to_owned()).or_insert(silence.now - before)
            };
            let slept = self.slept.get(silence.model).filter(|(last, _)| *last == silence.last_record).map(|(_, span)| *span);
            if slept.is_none() {
                self.slept.remove(silence.model);
            }
            let since = since + slept.unwrap_or_default();
            // Before the next record it is not known whether there was one that is only about to be read.
            let is_heard = silence.last_record.is_some() && slept.is_none();
            match (silence.now - since).0.div_euclid(Span::MINUTE.0) {
                minutes @ 1.. => drop(self.silent.insert(silence.model.to_owned(), minutes)),
                _ => drop(self.silent.remove(silence.model)),
            }
            for rule in rules.rules().iter().filter(|rule| rule.kind == Kind::Absence && &*rule.model == silence.model) {
                self.judge_silence(rules, rule, (silence.now, since, is_heard), &mut out);
            }
        }
        out
    }

    /// Nobody listened to a model for the last `span` before the instant of `silence`: that is no silence. What came meanwhile is
    /// only about to be read.
    pub fn sleep(&mut self, silence: &IngestSilence<'_>, span: Span) {
        // What has come since ends the silence of before anyway.
        if silence.last_record.is_some_and(|last| silence.now - last < span) {
            return;
        }
        let slept = self.slept.entry(silence.model.to_owned()).or_insert((silence.last_record, Span::default()));
        let before = if slept.0 == silence.last_record { slept.1 } else { Span::default() };
        *slept = (silence.last_record, Span(before.0.saturating_add(span.0)));
    }

    /// For how long a model had been silent when it was last looked at, in whole minutes.
    #[must_use]
    pub fn silent(&self, model: &str) -> Span {
        Span(self.silent.get(model).copied().unwrap_or(0) * Span::MINUTE.0)
    }

    /// `silence`: now, since when nothing has come, and whether its end would be known.
    fn judge_silence(&mut self, rules: &RuleSet, rule: &Rule, silence: (Timestamp, Timestamp, bool), out: &mut Vec<Happening>) {
        let (now, since, is_heard) = silence;
        let key = stream(rule, "", &Segment::default());
        let value = (now - since).as_seconds().max(0.0);
        let mut bindings = Bindings::default();
        bindings.set_number("value", value);
        let breach = rule.tiers.iter().rev().find(|tier| tier.condition.holds(value, &bindings).unwrap_or(false));
        let outcome = match (breach, is_heard) {
            (Some(tier), _) => Outcome::Breach(tier.severity),
            // No record has come since the start: that is no end of a silence.
            (None, false) => Outcome::Incomplete,
            (None, true) => {
                let over = rule.resolve.as_ref().is_none_or(|condition| condition.holds(value, &bindings).unwrap_or(false));
                Outcome::Ok { over }
            }
        };
        // The moment at which the silence became too long, so that the episode's id does not depend on when it was looked at.
        let onset = breach.and_then(|tier| tier.condition.threshold().zip(Some(tier.hold))).map_or(now, |(threshold, hold)| {
            #[allow(clippy::cast_possible_truncation)]
            let crossed = Timestamp(since.0.saturating_add((threshold * 1000.0) as i64));
            match hold {
                Hold::Time(span) => crossed + span,
                Hold::Windows { .. } => crossed,
            }
        });
        let verdict = Verdict { outcome, value: Some(value), n: 0, trouble: String::new(), failed: false, bindings };
        let stepped = self.step(rule, key, now, onset, verdict, None, out);
        self.tell(rules, rule, now, stepped.into_iter().collect(), out);
    }
}
