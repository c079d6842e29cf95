//! The two halves of a join, a prediction and a label, as a ledger takes them in. They know nothing of each other.

use serde::{Deserialize, Serialize};

use crate::event::{SourceId, Timestamp};

use super::codec::{self, Reader};
use super::ordered::Kept;

/// A 128-bit hash of the id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordId(pub u128);

/// What the model said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Predicted {
    /// Classification: the index of the class in the model's list (`None` for a class it does not know) and the
    /// probability of the positive class.
    Class(Option<u16>, Option<f64>),
    /// Regression.
    Value(f64),
}

/// What turned out to be true.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Truth {
    /// Classification: the index of the class in the model's list.
    Class(u16),
    /// Regression.
    Value(f64),
}

/// A prediction as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Event time.
    pub ts: Timestamp,
    /// Number of its version in the model's list.
    pub version: u16,
    /// The segments it is counted in besides the overall one, as numbers in the model's list.
    pub segments: Box<[u16]>,
    /// The output.
    pub predicted: Predicted,
}

/// A label event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Id of the prediction.
    pub id: RecordId,
    /// Event time.
    pub ts: Timestamp,
    /// The watermark of its partition at its offset: when it came, in event time. Its own time, or later where the
    /// partition's labels are out of order.
    pub came: Timestamp,
    /// The truth.
    pub truth: Truth,
    /// Where it was read: decides between labels that came at the same time.
    pub position: (SourceId, i64),
}

/// The order in which labels are applied: by when they came and by offset; of two partitions with both alike, by the truth.
/// The number of the partition, which is another in another process, decides only between labels that say the same. Labels
/// of one position are told apart by their id.
pub(super) type Turn = (Timestamp, i64, u64, SourceId, RecordId);

/// What a turn does not say of its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Untold {
    ts: Timestamp,
    is_value: bool,
}

/// Format of a stored label; another is refused.
const FORMAT: u8 = 1;

impl Label {
    pub(super) fn turn(&self) -> (Turn, Untold) {
        let (truth, is_value) = match self.truth {
            Truth::Class(class) => (u64::from(class), false),
            Truth::Value(value) => (value.to_bits(), true),
        };
        ((self.came, self.position.1, truth, self.position.0, self.id), Untold { ts: self.ts, is_value })
    }

    pub(super) fn of((came, offset, truth, source, id): Turn, untold: Untold) -> Label {
        let truth =
            if untold.is_value { Truth::Value(f64::from_bits(truth)) } else { Truth::Class(u16::try_from(truth).unwrap_or(u16::MAX)) };
        Label { id, ts: untold.ts, came, truth, position: (source, offset) }
    }
}

impl Kept for Untold {
    type Key = Turn;
    const LEAST: Turn = (Timestamp(i64::MIN), i64::MIN, 0, SourceId(0), RecordId(0));

    fn encode_key((came, offset, truth, source, id): &Turn) -> Vec<u8> {
        let (came, offset) = (codec::ordered(*came), codec::ordered(Timestamp(*offset)));
        [&came[..], &offset, &truth.to_be_bytes(), &source.0.to_be_bytes(), &id.0.to_be_bytes()].concat()
    }

    fn decode_key(bytes: &[u8]) -> Option<Turn> {
        let (came, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (truth, rest) = rest.split_first_chunk()?;
        let (source, id) = rest.split_first_chunk()?;
        let (came, offset) = (codec::instant(*came), codec::instant(*offset).0);
        let (source, id) = (SourceId(u32::from_be_bytes(*source)), RecordId(u128::from_be_bytes(id.try_into().ok()?)));
        Some((came, offset, u64::from_be_bytes(*truth), source, id))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT, u8::from(self.is_value)];
        codec::put_signed(&mut bytes, self.ts.0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Untold> {
        let mut reader = Reader(bytes);
        let is_value = match (reader.byte()?, reader.byte()?) {
            (FORMAT, 0) => false,
            (FORMAT, 1) => true,
            _ => return None,
        };
        let ts = Timestamp(reader.signed()?);
        reader.is_empty().then_some(Untold { ts, is_value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_comes_back_from_its_turn_and_its_value() {
        for truth in [Truth::Class(0), Truth::Class(u16::MAX), Truth::Value(-0.5), Truth::Value(1e300)] {
            let (ts, came) = (Timestamp(-5), Timestamp(1_700_000_000_000));
            let label = Label { id: RecordId(u128::MAX - 1), ts, came, truth, position: (SourceId(7), 1 << 40) };
            let (turn, untold) = label.turn();
            assert_eq!(Untold::decode_key(&Untold::encode_key(&turn)), Some(turn));
            assert_eq!(Untold::decode(&untold.encode()), Some(untold));
            assert_eq!(Label::of(turn, untold), label);
            assert_eq!(Untold::decode(&untold.encode()[..2]), None);
            let mut other = untold.encode();
            other[0] = 9;
            assert_eq!(Untold::decode(&other), None, "of another format");
            assert_eq!(Untold::decode_key(&[0; 43]), None);
        }
    }

    #[test]
    fn turns_are_by_time_then_offset_then_truth_then_partition() {
        let of = |came, offset, class, source| {
            let (ts, truth) = (Timestamp(0), Truth::Class(class));
            Label { id: RecordId(1), ts, came: Timestamp(came), truth, position: (SourceId(source), offset) }.turn().0
        };
        let turns = [of(-9, 9, 9, 9), of(1, 2, 9, 9), of(1, 3, 0, 9), of(1, 3, 1, 1), of(1, 3, 1, 2), of(256, 0, 0, 0)];
        assert!(turns.is_sorted() && turns.iter().map(Untold::encode_key).is_sorted());
    }
}
