//! The two halves of a join, a prediction and a label, as a ledger takes them in. They know nothing of each other.

use serde::{Deserialize, Serialize};

use crate::event::{SourceId, Span, Timestamp};

use super::codec::{self, Reader};

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

/// The order in which labels are applied, as the bytes of a key: by when they came and by offset; of two partitions with
/// both alike, by the truth. The number of the partition, which is another in another process, decides only between labels
/// that say the same. Labels of one position are told apart by their id.
pub(super) type Turn = [u8; 44];

/// Format of a stored label; another is refused.
const FORMAT: u8 = 1;

impl Label {
    pub(super) fn turn(&self) -> Turn {
        let truth = match self.truth {
            Truth::Class(class) => u64::from(class),
            Truth::Value(value) => value.to_bits(),
        };
        let mut turn = [0; 44];
        let parts: [&[u8]; 5] = [
            &codec::ordered(self.came),
            &codec::ordered(Timestamp(self.position.1)),
            &truth.to_be_bytes(),
            &self.position.0.0.to_be_bytes(),
            &self.id.0.to_be_bytes(),
        ];
        turn.iter_mut().zip(parts.into_iter().flatten()).for_each(|(slot, byte)| *slot = *byte);
        turn
    }

    /// What a turn does not say of its label.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT, u8::from(matches!(self.truth, Truth::Value(_)))];
        codec::put_signed(&mut bytes, (self.came - self.ts).0);
        bytes
    }

    pub(super) fn decode(turn: &Turn, bytes: &[u8]) -> Option<Label> {
        let (came, rest) = turn.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (truth, rest) = rest.split_first_chunk()?;
        let (source, id) = rest.split_first_chunk()?;
        let (came, truth) = (codec::instant(*came), u64::from_be_bytes(*truth));
        let mut reader = Reader(bytes);
        if reader.byte()? != FORMAT {
            return None;
        }
        let truth = match reader.byte()? {
            0 => Truth::Class(truth.try_into().ok()?),
            1 => Truth::Value(f64::from_bits(truth)),
            _ => return None,
        };
        let ts = came - Span(reader.signed()?);
        let id = RecordId(u128::from_be_bytes(id.try_into().ok()?));
        let position = (SourceId(u32::from_be_bytes(*source)), codec::instant(*offset).0);
        reader.is_empty().then_some(Label { id, ts, came, truth, position })
    }
}

/// When the label of a turn came.
pub(super) fn came(turn: &Turn) -> Timestamp {
    turn.first_chunk().map(|bytes| codec::instant(*bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_comes_back_from_its_turn_and_its_value() {
        for truth in [Truth::Class(0), Truth::Class(u16::MAX), Truth::Value(-0.5), Truth::Value(1e300)] {
            let (ts, came) = (Timestamp(-5), Timestamp(1_700_000_000_000));
            let label = Label { id: RecordId(u128::MAX - 1), ts, came, truth, position: (SourceId(7), 1 << 40) };
            assert_eq!(super::came(&label.turn()), came);
            assert_eq!(Label::decode(&label.turn(), &label.encode()), Some(label.clone()));
            assert_eq!(Label::decode(&label.turn(), &label.encode()[..2]), None);
            let mut other = label.encode();
            other[0] = 9;
            assert_eq!(Label::decode(&label.turn(), &other), None, "of another format");
        }
    }

    #[test]
    fn turns_are_by_time_then_offset_then_truth_then_partition() {
        let of = |came, offset, class, source| {
            let (ts, truth) = (Timestamp(0), Truth::Class(class));
            Label { id: RecordId(1), ts, came: Timestamp(came), truth, position: (SourceId(source), offset) }.turn()
        };
        assert!([of(-9, 9, 9, 9), of(1, 2, 9, 9), of(1, 3, 0, 9), of(1, 3, 1, 1), of(1, 3, 1, 2), of(256, 0, 0, 0)].is_sorted());
    }
}
