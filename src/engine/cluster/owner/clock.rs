//! Who an owner waits for: the clocks of events and labels, partitions that are given up, and why a window is not whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::cluster::book::{self, Book, Change};
use crate::engine::cluster::wire::SourceName;
use crate::engine::evaluator::{BASELINE_CHANGED, Gap, Least, SourceState};
use crate::event::{SourceId, Span, Timestamp, TopicRole};

use super::Owner;

impl Owner {
    /// Finds out who has been silent for too long, and who has come back.
    pub(super) fn bury(&mut self, now: Timestamp) {
        let listening = *self.listening_since.get_or_insert(now);
        // Where nobody is heard it is this owner that hears nothing: only while others speak is one of them silent.
        let newest = self.books.values().filter_map(Book::said_at).max();
        let oldest = newest.map_or(now, |newest| newest.min(now)) - self.settings.max_wait;
        let mut back: Option<Timestamp> = None;
        for (name, (role, since)) in &mut self.expected {
            let since = *since.get_or_insert(now);
            let book = self.books.entry(name.clone()).or_default();
            let Some(change) = book.bury(since.max(listening), oldest) else { continue };
            self.has_news = true;
            if let Change::Back(from) = change
                && *role != TopicRole::Labels
            {
                let from = from.unwrap_or(Timestamp(i64::MIN));
                back = Some(back.map_or(from, |back| back.min(from)));
            }
        }
        for number in self.joined_numbers() {
            self.numbers.entry(number).or_default().bury(listening, oldest);
        }
        if let (Some(from), Some((plan, model))) = (back, self.evaluator.model_mut()) {
            model.restate_since(plan, from - plan.lateness);
        }
    }

    /// The numbers of the partitions in which labels are joined.
    pub(super) fn joined_numbers(&self) -> BTreeSet<i32> {
        let of = |wanted: TopicRole| -> BTreeSet<i32> {
            self.expected.iter().filter(|(_, (role, _))| *role == wanted).map(|(name, _)| name.partition).collect()
        };
        of(TopicRole::Predictions).intersection(&of(TopicRole::Labels)).copied().collect()
    }

    /// The least tick of the numbers that are waited for, and which are not although they are not idle.
    pub(super) fn label_clock(&self) -> (Least, Vec<Arc<str>>) {
        let mut missing = Vec::new();
        let mut least = Least::Nothing;
        for partition in self.joined_numbers() {
            let Some(number) = self.numbers.get(&partition) else { return (Least::Unknown, missing) };
            if number.is_dead() {
                missing.push(format!("labels of the partitions {partition} have not been joined for {}", self.settings.max_wait).into());
                continue;
            }
            // What is said of labels lags behind what is said of the records: only both together are idle.
            if number.is_idle() && self.is_idle(partition) {
                continue;
            }
            least = match (least, number.tick()) {
                (Least::Unknown, _) | (_, None) => Least::Unknown,
                (Least::Nothing, Some(tick)) => Least::At(tick),
                (Least::At(least), Some(tick)) => Least::At(least.min(tick)),
            };
        }
        (least, missing)
    }

    /// Whether all partitions of predictions and labels of a number are at their end.
    fn is_idle(&self, number: i32) -> bool {
        let of_number =
            |(name, (role, _)): &(&SourceName, &(TopicRole, Option<Timestamp>))| name.partition == number && *role != TopicRole::Features;
        let mut books = self.expected.iter().filter(of_number).map(|(name, _)| self.books.get(name));
        books.all(|book| book.is_some_and(|book| book.is_idle() || book.is_dead()))
    }

    /// The source partitions as the evaluator knows them, numbered in the order of their names.
    pub(super) fn source_states(&self) -> BTreeMap<SourceId, SourceState> {
        let lateness = self.evaluator.model().map_or(Span(0), |(plan, _)| plan.lateness);
        let foreign = self.foreign.iter().map(|(from, end)| Gap {
            from: Some(from),
            until: Some(Timestamp(end.0.saturating_sub(1))),
            reason: Arc::from(BASELINE_CHANGED),
            lost: None,
        });
        // They are of no one partition; a reason is given once.
        let mut foreign: Vec<Gap> = foreign.collect();
        let unknown = Book::default();
        let states = self.expected.iter().map(|(name, (role, _))| {
            let book = self.books.get(name).unwrap_or(&unknown);
            let mut gaps = std::mem::take(&mut foreign);
            gaps.extend(book.gaps().iter().cloned());
            if book.is_dead() && *role != TopicRole::Labels {
                let reason = format!("nothing was heard of {} for {}", book::name(name), self.settings.max_wait).into();
                gaps.push(Gap { from: book.watermark().map(|watermark| watermark - lateness), until: None, reason, lost: None });
            }
            let progress = book.progress();
            SourceState {
                role: *role,
                watermark: book.watermark(),
                earliest: progress.and_then(|progress| progress.earliest),
                is_idle: book.is_idle(),
                is_assigned: !book.is_dead(),
                counts: progress.map(|progress| progress.counts.clone()).unwrap_or_default(),
                gaps,
            }
        });
        (0..).map(SourceId).zip(states).collect()
    }
}
