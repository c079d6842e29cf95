//! The member of the group of owners: its callbacks take partitions and give them back, and only write down what changed.
//! A consumer that librdkafka has given up for a reason of our own is replaced: see [`crate::kafka::Session`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;

use crate::kafka::Session;

use super::client::{Context, describe};
use super::settings::Settings;

/// The member of the group.
pub(super) type Member = BaseConsumer<Context<Changes>>;

/// Changes of the assignment in their order, from the callback to the loop on the same thread.
pub(super) struct Changes {
    queue: Mutex<VecDeque<Change>>,
    session: Arc<Session>,
}

/// One change.
pub(super) enum Change {
    /// These partitions are ours now, and held.
    Assigned(Vec<i32>),
    /// These are ours no longer.
    Revoked(Vec<i32>),
    /// Something to be logged.
    Trouble(String),
}

/// Joins the group.
pub(super) fn join(settings: &Settings, session: &Arc<Session>) -> Result<Member, KafkaError> {
    let changes = Changes { queue: Mutex::default(), session: Arc::clone(session) };
    let member: Member = settings.member().create_with_context(Context::new(&settings.connection, changes))?;
    member.subscribe(&[&settings.panes])?;
    Ok(member)
}

impl Changes {
    fn push(&self, change: Change) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
    }

    pub fn pop(&self) -> Option<Change> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Context<Changes> {
    /// Takes partitions from their beginning and holds them: decisions are read first.
    fn assign(member: &Member, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut list = partitions.clone();
        list.set_all_offsets(Offset::Beginning)?;
        match member.rebalance_protocol() {
            RebalanceProtocol::Cooperative => member.incremental_assign(&list)?,
            _ => member.assign(&list)?,
        }
        member.pause(&list)
    }
}

impl ConsumerContext for Context<Changes> {
    fn rebalance(&self, member: &Member, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let numbers: Vec<i32> = partitions.elements().iter().map(TopicPartitionListElem::partition).collect();
        let result = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.kept.session.begin();
                let result = Context::assign(member, partitions);
                self.kept.push(Change::Assigned(numbers));
                result
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                if member.assignment_lost() {
                    self.kept.session.lose();
                }
                self.kept.push(Change::Revoked(numbers));
                match member.rebalance_protocol() {
                    RebalanceProtocol::Cooperative => member.incremental_unassign(partitions),
                    _ => member.unassign(),
                }
            }
            other => {
                self.kept.push(Change::Trouble(format!("rebalance failed: {other:?}")));
                member.unassign()
            }
        };
        if let Err(error) = result {
            self.kept.push(Change::Trouble(format!("rebalance: {}", describe(&error))));
        }
    }

    /// Between polls callbacks are served at least this often.
    fn main_queue_min_poll_interval(&self) -> rdkafka::util::Timeout {
        rdkafka::util::Timeout::After(Duration::from_millis(200))
    }

    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {}
}
