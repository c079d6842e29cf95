//! The models this replica owns, and the alerts on the input where they are its own. An owner begins with what the one before
//! it decided, hears everything in the panes topic, and judges. What it decides is stored before anything of it is delivered.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::cluster::wire::{self, Key};
use crate::engine::cluster::{Addresses, NO_MODEL};
use crate::engine::{Emission, Plan};
use crate::event::{Span, Timestamp};
use crate::exchange::{Outgoing, Ticket, Which};
use crate::notify::OutboxHandle;
use crate::rule::RuleSet;
use crate::rule::message::AlertView;
use crate::rule::{Alerts, RuleStatus};

use super::super::clock;
use super::judge::Judge;
use super::partitions::InputPartitions;

/// Least time between two decisions of a model that are stored because an alert wants to be sent.
const URGENT_EVERY: Span = Span(250);

/// The record of the owners topic: everything about one model, or about the alerts of none, that the panes topic does not
/// give back.
#[derive(Debug, Serialize, Deserialize)]
struct Decision {
    /// How many owners there have been, with this one. What an owner says that has been replaced without knowing is left out.
    term: u64,
    judge: Vec<u8>,
    outbox: Vec<u8>,
}

/// A model that is ours and is not judged, because what was decided of it cannot be read.
struct Refused {
    home: i32,
    reason: String,
}

/// One owned model, or the alerts of none.
struct Seat {
    home: i32,
    /// See [`Decision::term`].
    term: u64,
    /// The plan of this model alone.
    plan: Arc<Plan>,
    judge: Judge,
    /// The beginning of the panes topic has been heard.
    is_ready: bool,
    /// Something in the outbox waits for the decision to be stored.
    is_urgent: bool,
    stored: Timestamp,
    /// What was stored last.
    last: Vec<u8>,
    flight: Option<(Ticket, u64, Vec<u8>)>,
}

/// The owned models, by name; under [`NO_MODEL`] the alerts that are of none.
pub(super) struct Court {
    plan: Arc<Plan>,
    rules: Arc<RuleSet>,
    addresses: Arc<Addresses>,
    /// The name of the owners topic.
    topic: String,
    outbox: OutboxHandle,
    every: Span,
    /// All source partitions there are, and when the brokers were asked for them.
    expected: InputPartitions,
    /// The last decisions of the models of partitions that are being taken over.
    decided: BTreeMap<i32, BTreeMap<Vec<u8>, Vec<u8>>>,
    seats: BTreeMap<Arc<str>, Seat>,
    refused: BTreeMap<Arc<str>, Refused>,
}

/// What came out of a model's owner.
pub(super) struct Judgement {
    /// The model.
    pub name: Arc<str>,
    /// The plan of this model alone.
    pub plan: Arc<Plan>,
    pub emissions: Vec<Emission>,
}

impl Court {
    pub fn new(plan: Arc<Plan>, rules: Arc<RuleSet>, addresses: Arc<Addresses>, topic: String, outbox: OutboxHandle, every: Span) -> Court {
        Court {
            plan,
            rules,
            addresses,
            topic,
            outbox,
            every,
            expected: InputPartitions::unknown(),
            decided: BTreeMap::new(),
            seats: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// The source partitions there are, as far as is known.
    pub fn expect(&mut self, found: InputPartitions) {
        self.expected = found;
        for seat in self.seats.values_mut() {
            seat.judge.expect(&self.expected.sources, self.expected.asked);
        }
    }

    /// A decision of an owner before. One of an owner that had been replaced by then is left out.
    pub fn decision(&mut self, home: i32, key: Vec<u8>, value: Option<Vec<u8>>) {
        let term = |value: &[u8]| wire::begin_of::<u64>(value).ok();
        let decided = self.decided.entry(home).or_default();
        let Some(value) = value else { return drop(decided.remove(&key)) };
        let known = decided.get(&key).and_then(|known| term(known));
        if term(&value).zip(known).is_some_and(|(new, known)| new < known) {
            tracing::warn!(home, key = %String::from_utf8_lossy(&key), "a decision of an owner that had been replaced is left out");
            return;
        }
        decided.insert(key, value);
    }

    /// All decisions of a partition have been read: its models are ours from now on.
    pub fn seat(&mut self, home: i32, now: Timestamp) {
        let decided = self.decided.remove(&home).unwrap_or_default();
        let models = self.addresses.all().filter(|(_, address)| address.home == home).map(|(_, address)| Arc::clone(&address.name));
        let input = (self.addresses.input() == home).then(|| Arc::from(NO_MODEL));
        let names: Vec<Arc<str>> = models.chain(input).collect();
        for name in names {
            let plan = if *name == *NO_MODEL { Some(Plan::empty()) } else { self.plan.only(&name) };
            let Some(plan) = plan.map(Arc::new) else { continue };
            match self.seat_for(home, plan, decided.get(&key_of(&name)).map(Vec::as_slice), now) {
                Ok(seat) => drop(self.seats.insert(name, seat)),
                Err(reason) => {
                    let key = String::from_utf8_lossy(&key_of(&name)).into_owned();
                    let reason = format!(
                        "what was decided of {} cannot be read: {reason}; it is not judged. Run the version that wrote it, or begin it anew: \
                         delete the record of the key {key} in partition {home} of {} (a record without a value) and restart the owner",
                        shown(&name),
                        self.topic
                    );
                    tracing::error!("{reason}");
                    self.refused.insert(name, Refused { home, reason });
                }
            }
        }
    }

    /// The seat of whoever goes on from what was decided.
    fn seat_for(&mut self, home: i32, plan: Arc<Plan>, decided: Option<&[u8]>, now: Timestamp) -> Result<Seat, String> {
        let decision = decided.map(wire::from_bytes::<Decision>).transpose().map_err(|error| error.to_string())?;
        let made = Judge::new(&plan, &self.rules, decision.as_ref().map(|decision| decision.judge.as_slice()));
        let (mut judge, notes) = made.map_err(|error| error.to_string())?;
        if let Some(decision) = &decision {
            self.outbox.adopt(&decision.outbox).map_err(|error| format!("what is to be delivered: {error}"))?;
        }
        let owned = shown(plan.models.first().map_or(NO_MODEL, |model| &*model.name));
        notes.into_iter().for_each(|note| tracing::warn!(owned, "{note}"));
        judge.expect(&self.expected.sources, self.expected.asked);
        tracing::info!(owned, resumed = decision.is_some(), "it is ours");
        let term = decision.map_or(0, |decision| decision.term) + 1;
        Ok(Seat { home, term, plan, judge, is_ready: false, is_urgent: false, stored: now, last: Vec::new(), flight: None })
    }

    /// Why models that are ours are not judged, one sentence each.
    pub fn refused(&self) -> impl Iterator<Item = &str> {
        self.refused.values().map(|refused| refused.reason.as_str())
    }

    /// A record of the panes topic.
    pub fn hear(&mut self, home: i32, offset: i64, key: &[u8], value: Option<&[u8]>, now: Timestamp) {
        let told = |error: &wire::WireError| tracing::warn!(home, offset, %error, "a record of the panes topic is not understood");
        let key = match Key::from_bytes(key) {
            Ok(key) => key,
            Err(error) => return told(&error),
        };
        let seats = self.seats.iter_mut().filter(|(name, seat)| seat.home == home && key.model().is_none_or(|model| model == *name));
        for (_, seat) in seats {
            if let Err(error) = seat.judge.hear(offset, &key, value, now) {
                told(&error);
            }
        }
    }

    /// The panes topic has been heard up to where it ended when the partition became ours.
    pub fn caught_up(&mut self, home: i32) {
        for seat in self.seats.values_mut().filter(|seat| seat.home == home) {
            seat.is_ready = true;
            seat.judge.catch_up_done();
        }
    }

    /// The models of a partition are somebody else's.
    pub fn leave(&mut self, home: i32) {
        self.decided.remove(&home);
        self.refused.retain(|_, refused| refused.home != home);
        self.seats.retain(|name, seat| {
            if seat.home == home {
                tracing::info!(owned = shown(name), "it is somebody else's");
                self.outbox.abandon(name);
            }
            seat.home != home
        });
    }

    /// Closes windows and judges.
    pub fn advance(&mut self, cap: Timestamp, now: Timestamp) -> Vec<Judgement> {
        self.each(|judge| judge.advance(cap, now))
    }

    /// Judges what is about the stream itself.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Judgement> {
        self.each(|judge| judge.tick(now))
    }

    /// Nobody listened for the last `span`.
    pub fn sleep(&mut self, now: Timestamp, span: Span) {
        self.seats.values_mut().for_each(|seat| seat.judge.sleep(now, span));
    }

    /// Judges by other rules from now on.
    pub fn set_rules(&mut self, rules: &Arc<RuleSet>, now: Timestamp) -> Vec<Judgement> {
        self.rules = Arc::clone(rules);
        // Those that have not heard everything yet, too: they will judge by these.
        Court::of(self.seats.iter_mut(), |judge| judge.set_rules(Arc::clone(rules), now))
    }

    fn each(&mut self, mut step: impl FnMut(&mut Judge) -> Vec<Emission>) -> Vec<Judgement> {
        Court::of(self.seats.iter_mut().filter(|(_, seat)| seat.is_ready), &mut step)
    }

    fn of<'a>(
        seats: impl Iterator<Item = (&'a Arc<str>, &'a mut Seat)>,
        mut step: impl FnMut(&mut Judge) -> Vec<Emission>,
    ) -> Vec<Judgement> {
        let judgements =
            seats.map(|(name, seat)| Judgement { name: Arc::clone(name), plan: Arc::clone(&seat.plan), emissions: step(&mut seat.judge) });
        judgements.filter(|judgement| !judgement.emissions.is_empty()).collect()
    }

    /// Something of a model was put into the outbox.
    pub fn urge(&mut self, name: &str) {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.is_urgent = true;
        }
    }

    /// Decisions that are to be stored now, one record each. `send` sends one and gives its ticket.
    pub fn store(&mut self, now: Timestamp, is_last: bool, mut send: impl FnMut(Outgoing) -> Result<Ticket, String>) {
        for (name, seat) in &mut self.seats {
            let since = clock::since(seat.stored, now);
            let is_due = is_last || since >= self.every || (seat.is_urgent && since >= URGENT_EVERY);
            if !seat.is_ready || !is_due || seat.flight.is_some() {
                continue;
            }
            seat.stored = now;
            let (outbox, mark) = match self.outbox.share(name) {
                Ok(share) => share,
                Err(error) => {
                    tracing::error!(owned = shown(name), %error, "the outbox cannot be stored; deliveries are held back");
                    continue;
                }
            };
            let value = wire::to_bytes(&Decision { term: seat.term, judge: seat.judge.state(), outbox });
            if value == seat.last {
                self.outbox.release_share(name, mark);
                continue;
            }
            let record = Outgoing { topic: Which::Owners, partition: seat.home, key: key_of(name), value: Some(value.clone()) };
            match send(record) {
                Ok(ticket) => {
                    seat.is_urgent = false;
                    seat.flight = Some((ticket, mark, value));
                }
                Err(error) => {
                    tracing::error!(owned = shown(name), error, "the decision cannot be stored; deliveries are held back until it can");
                }
            }
        }
    }

    /// What came of a ticket; says whether it was one of a decision.
    pub fn settle(&mut self, ticket: Ticket, arrived: bool) -> bool {
        for (name, seat) in &mut self.seats {
            if let Some((_, mark, value)) = seat.flight.take_if(|(ours, ..)| *ours == ticket) {
                if arrived {
                    self.outbox.release_share(name, mark);
                    seat.last = value;
                } else {
                    seat.is_urgent = true;
                }
                return true;
            }
        }
        false
    }

    /// Whether a decision is on its way.
    pub fn is_busy(&self) -> bool {
        self.seats.values().any(|seat| seat.flight.is_some())
    }

    /// Alerts of the owned models, and the rules as they stand.
    pub fn alerts(&self) -> (Vec<AlertView>, Vec<RuleStatus>) {
        let views = self.seats.values().flat_map(|seat| seat.judge.alerts().views(&self.rules)).collect();
        let mut statuses = Alerts::new().statuses(&self.rules);
        for (name, seat) in &self.seats {
            let theirs = seat.judge.alerts().statuses(&self.rules).into_iter().enumerate();
            for (place, status) in theirs.filter(|(_, status)| status.model == **name) {
                match statuses.get_mut(place) {
                    Some(slot) => *slot = status,
                    // Built-in rules are the last ones, and are only there while they have something to say.
                    None => statuses.push(status),
                }
            }
        }
        (views, statuses)
    }

    /// The least clock that closes windows, over the owned models.
    pub fn event_clock(&self) -> Option<Timestamp> {
        self.seats.values().filter_map(|seat| seat.judge.event_clock()).min()
    }
}

/// What is owned, for the log.
fn shown(name: &str) -> String {
    if name == NO_MODEL { "the alerts on the input".to_owned() } else { format!("the model {name}") }
}

fn key_of(model: &str) -> Vec<u8> {
    // A plain name: the serialiser has nothing to refuse.
    serde_json::to_vec(&serde_json::json!({ "owner": model })).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::input::tests::{NOW, Replica, key, rules};
    use super::*;
    use crate::engine::evaluator::Lost;
    use crate::notify::{Dispatcher, NotifySettings, Options, Order, Outbox, Transports};
    use crate::rule::{Happening, Notice};

    const EVERY: Span = Span(5_000);

    fn court(dispatcher: &Dispatcher) -> Court {
        let plan = Arc::new(Plan::empty());
        let addresses = Arc::new(Addresses::new(&plan, 8));
        Court::new(plan, rules(), addresses, "risk.owners".into(), dispatcher.outbox(), EVERY)
    }

    fn dispatcher() -> Dispatcher {
        let transports = Transports::build(NotifySettings::default()).unwrap();
        Dispatcher::spawn(transports, Outbox::default(), Options::default(), || NOW).0
    }

    /// Puts what is to be told into the outbox, as the member does.
    fn publish(court: &mut Court, judgements: &[Judgement], dispatcher: &Dispatcher) -> Vec<Notice> {
        let mut notices = Vec::new();
        for judgement in judgements {
            for emission in &judgement.emissions {
                if let Emission::Happening { happening, .. } = emission
                    && let Happening::Notice(notice) = &**happening
                {
                    dispatcher.outbox().stage(&Order::Notice(Box::new(notice.clone())));
                    notices.push(notice.clone());
                }
            }
            court.urge(&judgement.name);
        }
        notices
    }

    fn waits(dispatcher: &Dispatcher) -> usize {
        dispatcher.outbox().view(|outbox| outbox.pending().count())
    }

    fn stored(court: &mut Court, now: Timestamp, ticket: u64) -> Vec<(i32, Vec<u8>, Vec<u8>)> {
        let mut sent = Vec::new();
        court.store(now, false, |record| {
            sent.push((record.partition, record.key, record.value.unwrap()));
            Ok(Ticket(ticket))
        });
        sent
    }

    #[tokio::test]
    async fn alerts_of_no_model_have_a_seat_and_their_deliveries_move_with_it() {
        let old = dispatcher();
        let mut court = court(&old);
        let home = wire::home(NO_MODEL, 8);
        for partition in 0..8 {
            court.seat(partition, NOW);
            court.caught_up(partition);
        }
        assert_eq!(court.seats.len(), 1, "its partition alone");
        let record = Replica::new(NOW).lose(Lost { from: 3, to: 9 }, NOW);
        court.hear(home + 1, 0, &key().to_bytes(), Some(&record), NOW);
        assert!(court.tick(NOW).is_empty(), "another partition");
        court.hear(home, 0, &key().to_bytes(), Some(&record), NOW);
        let judgements = court.tick(NOW);
        let notices = publish(&mut court, &judgements, &old);
        assert_eq!((notices.len(), waits(&old)), (1, 1));
        assert_eq!(court.alerts().0.len(), 1, "it is shown");
        assert!(court.alerts().1.iter().any(|status| status.alert == "IngestGap" && status.state == "firing"));

        // It is urgent, and is stored under its own key in its own partition.
        let decisions = stored(&mut court, NOW + URGENT_EVERY, 1);
        let [(partition, decision_key, decision)] = &decisions[..] else { panic!("{decisions:?}") };
        assert_eq!((*partition, decision_key.as_slice()), (home, br#"{"owner":""}"#.as_slice()));
        assert!(court.settle(Ticket(1), true));
        court.leave(home);
        assert_eq!(waits(&old), 0, "somebody else delivers it");

        let new = dispatcher();
        let mut court = super::tests::court(&new);
        court.decision(home, decision_key.clone(), Some(decision.clone()));
        court.seat(home, NOW);
        assert_eq!(waits(&new), 1, "before anything is heard");
        court.hear(home, 0, &key().to_bytes(), Some(&record), NOW);
        court.caught_up(home);
        let judgements = court.tick(NOW + EVERY);
        assert_eq!(publish(&mut court, &judgements, &new), [], "it was judged");
        let episodes =
            new.outbox().view(|outbox| outbox.pending().map(|delivery| delivery.payload.episode().to_owned()).collect::<Vec<_>>());
        assert_eq!(episodes, [notices[0].episode.clone()]);
    }

    #[tokio::test]
    async fn a_decision_that_cannot_be_read_is_refused_and_kept() {
        let dispatcher = dispatcher();
        let mut court = court(&dispatcher);
        let home = wire::home(NO_MODEL, 8);
        let damaged = wire::to_bytes(&Decision { term: 1, judge: b"rubbish".to_vec(), outbox: b"{}".to_vec() });
        for value in [damaged, vec![wire::FORMAT - 1, 0, 0], Vec::new()] {
            court.decision(home, key_of(NO_MODEL), Some(value));
            court.seat(home, NOW);
            court.caught_up(home);
            court.hear(home, 0, &key().to_bytes(), Some(&Replica::new(NOW).lose(Lost { from: 3, to: 9 }, NOW)), NOW);
            assert!(court.tick(NOW).is_empty(), "it is not judged");
            assert_eq!(stored(&mut court, NOW + EVERY, 1), [], "and what cannot be read is not written over");
            let reasons: Vec<&str> = court.refused().collect();
            let way_out = format!("the key {{\"owner\":\"\"}} in partition {home} of risk.owners");
            assert!(reasons.len() == 1 && reasons[0].contains(&way_out), "{reasons:?}");
            court.leave(home);
            assert_eq!(court.refused().count(), 0);
        }
        court.decision(home, key_of(NO_MODEL), None);
        court.seat(home, NOW);
        assert_eq!(court.seats.len(), 1, "the record was deleted");
    }

    #[tokio::test]
    async fn rules_that_come_while_a_model_changes_hands_hold() {
        let dispatcher = dispatcher();
        let mut court = court(&dispatcher);
        let home = wire::home(NO_MODEL, 8);
        for (rules, told) in [(Arc::new(RuleSet::default()), 0), (rules(), 1)] {
            court.seat(home, NOW);
            court.set_rules(&rules, NOW);
            court.caught_up(home);
            court.hear(home, 0, &key().to_bytes(), Some(&Replica::new(NOW).lose(Lost { from: 3, to: 9 }, NOW)), NOW);
            assert_eq!(court.tick(NOW).len(), told);
            court.leave(home);
        }
    }

    #[tokio::test]
    async fn what_a_replaced_owner_says_late_is_left_out() {
        let dispatcher = dispatcher();
        let home = wire::home(NO_MODEL, 8);
        let record = Replica::new(NOW).lose(Lost { from: 3, to: 9 }, NOW);
        // Each goes on from what the one before has stored: an owner of the first term, and one of the second with an alert.
        let mut decisions = Vec::new();
        for ticket in 1..3 {
            let mut court = court(&dispatcher);
            decisions.last().cloned().into_iter().for_each(|last| court.decision(home, key_of(NO_MODEL), Some(last)));
            court.seat(home, NOW);
            court.caught_up(home);
            if ticket == 2 {
                court.hear(home, 0, &key().to_bytes(), Some(&record), NOW);
                assert_eq!(court.tick(NOW).len(), 1);
            }
            decisions.push(stored(&mut court, NOW + EVERY, ticket).remove(0).2);
        }
        let mut court = court(&dispatcher);
        for late in [&decisions[0], &decisions[1], &decisions[0]] {
            court.decision(home, key_of(NO_MODEL), Some(late.clone()));
        }
        court.seat(home, NOW);
        assert_eq!((court.alerts().0.len(), court.seats.values().next().map(|seat| seat.term)), (1, Some(3)));
    }
}
