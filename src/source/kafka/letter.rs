//! A dead letter: a rejected record as it goes on, what becomes of it, and what is left of it where its topic does not take it
//! whole. It does not know how it is delivered.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::event::{Reject, Timestamp};

/// The header that tells how long the value was, in bytes, where the letter has to do without it.
pub(super) const TRUNCATED: &str = "__drift.errors.truncated";

/// What happens where letters cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are given up after a bounded wait, and counted.
    Drop,
    /// Nothing is given up: whoever has letters under way waits.
    Block,
}

impl OnFailure {
    /// The choice as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            OnFailure::Drop => "drop",
            OnFailure::Block => "block",
        }
    }
}

/// A rejected record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Why it was rejected; letters are counted by it.
    pub reason: Reject,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its time.
    pub timestamp: Option<Timestamp>,
    /// Its headers, and those that say what is wrong.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Letter {
    pub(super) fn bytes(&self) -> usize {
        let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        bytes(&self.key) + bytes(&self.value) + self.headers.iter().map(|(name, value)| name.len() + bytes(value)).sum::<usize>()
    }
}

/// What became of letters of one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterCount {
    /// `sent`, `suppressed` or `failed`.
    pub outcome: &'static str,
    /// Why the records were rejected.
    pub reason: Reject,
    /// How many, since the start of the process.
    pub count: u64,
}

/// How it stands with the letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterStatus {
    /// Letters on their way.
    pub open: usize,
    /// Whether reading waits for them.
    pub is_blocked: bool,
    /// Why the last one that was not delivered was not; none once one is delivered again.
    pub error: Option<String>,
}

/// What becomes of a letter in the end.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Sent,
    Suppressed,
    Failed,
}

/// All of them, in their order, as they are written.
pub(super) const FATES: [(Fate, &str); 3] = [(Fate::Sent, "sent"), (Fate::Suppressed, "suppressed"), (Fate::Failed, "failed")];

/// What a failed delivery means.
pub(super) enum Refusal {
    /// Another try may succeed.
    ForNow,
    /// It may without a part of the letter: this is the rest.
    OfAPart(Box<Letter>),
    /// The topic will never take it: waiting would not help.
    ForGood,
}

impl Refusal {
    pub(super) fn of(letter: &Letter, error: &KafkaError) -> Refusal {
        use RDKafkaErrorCode::{InvalidRecord, InvalidTimestamp, MessageBatchTooLarge, MessageSizeTooLarge};
        let KafkaError::MessageProduction(code) = error else { return Refusal::ForNow };
        match (code, &letter.value, letter.timestamp) {
            (MessageSizeTooLarge | MessageBatchTooLarge, Some(value), _) => {
                let mut rest = Letter { value: None, ..letter.clone() };
                rest.headers.push((TRUNCATED.to_owned(), Some(value.len().to_string().into_bytes())));
                Refusal::OfAPart(Box::new(rest))
            }
            // The time of the record is in the headers, too.
            (InvalidTimestamp, _, Some(_)) => Refusal::OfAPart(Box::new(Letter { timestamp: None, ..letter.clone() })),
            (MessageSizeTooLarge | MessageBatchTooLarge | InvalidTimestamp | InvalidRecord, ..) => Refusal::ForGood,
            _ => Refusal::ForNow,
        }
    }
}
