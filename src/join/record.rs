//! What a ledger knows of one id: the predictions of its versions, and the labels that came for it not long ago.
//!
//! Labels are remembered after they were joined, because another version's prediction of the same id may be read later.
//! It is stored as bytes, in memory too, and does not know when anything is forgotten.

use crate::event::{Outcome, Reject, Span, Timestamp};

use super::codec::{self, Reader};
use super::half::{Predicted, Prediction, Truth};

/// Format of a stored record; another is refused.
const FORMAT: u8 = 1;

/// A prediction and the label it has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub prediction: Prediction,
    /// It can be forgotten when the clock is beyond.
    pub until: Timestamp,
    pub truth: Option<Truth>,
}

/// What was said of a label. Of several predictions that it meets, the greatest counts, so that their order does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Said {
    /// It has met no prediction yet.
    Waiting,
    /// Only predictions of versions that do not know such a truth.
    BadLabel,
    /// Only predictions that had this very label.
    Duplicate,
    /// It is counted with one prediction at least.
    Counted,
}

impl Said {
    pub fn outcome(self) -> Outcome {
        match self {
            Said::Waiting => Outcome::Waiting,
            Said::BadLabel => Outcome::Rejected(Reject::BadLabel),
            Said::Duplicate => Outcome::Duplicate,
            Said::Counted => Outcome::Counted,
        }
    }
}

/// A label that was applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    pub ts: Timestamp,
    pub came: Timestamp,
    pub truth: Truth,
    pub said: Said,
}

/// What is known of an id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    /// In the order in which they were read.
    pub entries: Vec<Entry>,
    /// In the order in which they were applied.
    pub labels: Vec<Seen>,
}

/// Bits of the first byte of a stored prediction.
const IS_VALUE: u8 = 1;
const HAS_CLASS: u8 = 2;
const HAS_PROBABILITY: u8 = 4;
const HAS_TRUTH: u8 = 8;
/// Bits of the first byte of a stored label: what was said of it, and this one.
const TRUTH_IS_VALUE: u8 = 4;

impl Record {
    /// Whether one of its labels still waits.
    pub fn is_awaited(&self) -> bool {
        self.labels.iter().any(|label| label.said == Said::Waiting)
    }

    /// Whether one still waits that came then.
    pub fn is_awaited_since(&self, came: Timestamp) -> bool {
        self.labels.iter().any(|label| label.said == Said::Waiting && label.came == came)
    }

    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.push(FORMAT);
        codec::put(bytes, self.entries.len() as u64);
        for entry in &self.entries {
            encode_entry(bytes, entry);
        }
        for label in &self.labels {
            let kind = if matches!(label.truth, Truth::Value(_)) { TRUTH_IS_VALUE } else { 0 };
            bytes.push(label.said as u8 | kind);
            codec::put_signed(bytes, label.ts.0);
            codec::put_signed(bytes, (label.came - label.ts).0);
            encode_truth(bytes, label.truth);
        }
    }

    /// `None` where the bytes are not those of a record.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        if reader.byte()? != FORMAT {
            return None;
        }
        let mut record = Record::default();
        for _ in 0..reader.number()? {
            record.entries.push(decode_entry(&mut reader)?);
        }
        while !reader.is_empty() {
            let first = reader.byte()?;
            let said = match first & !TRUTH_IS_VALUE {
                0 => Said::Waiting,
                1 => Said::BadLabel,
                2 => Said::Duplicate,
                3 => Said::Counted,
                _ => return None,
            };
            let ts = Timestamp(reader.signed()?);
            let came = ts + Span(reader.signed()?);
            let truth = decode_truth(&mut reader, first & TRUTH_IS_VALUE != 0)?;
            record.labels.push(Seen { ts, came, truth, said });
        }
        Some(record)
    }
}

pub(super) fn encode_entry(bytes: &mut Vec<u8>, entry: &Entry) {
    let prediction = &entry.prediction;
    let output = match prediction.predicted {
        Predicted::Value(_) => IS_VALUE,
        Predicted::Class(class, probability) => class.map_or(0, |_| HAS_CLASS) | probability.map_or(0, |_| HAS_PROBABILITY),
    };
    bytes.push(output | entry.truth.map_or(0, |_| HAS_TRUTH));
    codec::put(bytes, prediction.version.into());
    codec::put_signed(bytes, prediction.ts.0);
    codec::put_signed(bytes, (entry.until - prediction.ts).0);
    codec::put(bytes, prediction.segments.len() as u64);
    prediction.segments.iter().for_each(|segment| codec::put(bytes, (*segment).into()));
    match prediction.predicted {
        Predicted::Value(value) => codec::put_float(bytes, value),
        Predicted::Class(class, probability) => {
            class.into_iter().for_each(|class| codec::put(bytes, class.into()));
            probability.into_iter().for_each(|probability| codec::put_float(bytes, probability));
        }
    }
    entry.truth.into_iter().for_each(|truth| encode_truth(bytes, truth));
}

pub(super) fn decode_entry(reader: &mut Reader<'_>) -> Option<Entry> {
    let first = reader.byte()?;
    let has = |bit: u8| first & bit != 0;
    let version = reader.short()?;
    let ts = Timestamp(reader.signed()?);
    let until = ts + Span(reader.signed()?);
    let count = reader.size()?;
    // Each takes a byte at least: a length that is not one must not make room for itself.
    if count > reader.0.len() {
        return None;
    }
    let segments = (0..count).map(|_| reader.short()).collect::<Option<Box<[u16]>>>()?;
    let predicted = if has(IS_VALUE) {
        Predicted::Value(reader.float()?)
    } else {
        let class = if has(HAS_CLASS) { Some(reader.short()?) } else { None };
        let probability = if has(HAS_PROBABILITY) { Some(reader.float()?) } else { None };
        Predicted::Class(class, probability)
    };
    // A truth is of the kind of the output: others are never counted.
    let truth = if has(HAS_TRUTH) { Some(decode_truth(reader, has(IS_VALUE))?) } else { None };
    Some(Entry { prediction: Prediction { ts, version, segments, predicted }, until, truth })
}

fn encode_truth(bytes: &mut Vec<u8>, truth: Truth) {
    match truth {
        Truth::Class(class) => codec::put(bytes, class.into()),
        Truth::Value(value) => codec::put_float(bytes, value),
    }
}

fn decode_truth(reader: &mut Reader<'_>, is_value: bool) -> Option<Truth> {
    if is_value { reader.float().map(Truth::Value) } else { reader.short().map(Truth::Class) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(predicted: Predicted, truth: Option<Truth>) -> Entry {
        let prediction = Prediction { ts: Timestamp(1_700_000_000_000), version: 3, segments: Box::new([1, 300]), predicted };
        Entry { prediction, until: Timestamp(1_702_592_000_000), truth }
    }

    fn record() -> Record {
        let seen = |said, truth| Seen { ts: Timestamp(-5), came: Timestamp(1_700_000_000_000), truth, said };
        let entries = vec![
            entry(Predicted::Class(Some(1), Some(0.25)), Some(Truth::Class(0))),
            entry(Predicted::Class(None, Some(f64::NAN)), None),
            entry(Predicted::Class(Some(700), None), None),
            entry(Predicted::Value(-1.5), Some(Truth::Value(2.5))),
        ];
        let labels = vec![
            seen(Said::Waiting, Truth::Class(1)),
            seen(Said::BadLabel, Truth::Value(0.1)),
            seen(Said::Duplicate, Truth::Class(900)),
            seen(Said::Counted, Truth::Value(-0.0)),
        ];
        Record { entries, labels }
    }

    #[test]
    fn a_record_comes_back_and_no_part_of_it_does() {
        let mut bytes = Vec::new();
        record().encode(&mut bytes);
        // NaN is not equal to itself.
        assert_eq!(format!("{:?}", Record::decode(&bytes).unwrap()), format!("{:?}", record()));
        let whole = Record::decode(&bytes).map(|record| (record.entries.len(), record.labels.len()));
        assert_eq!(whole, Some((4, 4)));
        for end in 0..bytes.len() {
            let part = Record::decode(&bytes[..end]);
            assert!(part.is_none_or(|part| part.entries.len() == 4 && part.labels.len() < 4), "cut at {end}");
        }
    }

    #[test]
    fn any_bytes_are_a_record_or_none() {
        let mut bytes = Vec::new();
        record().encode(&mut bytes);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                let _ = Record::decode(&flipped);
            }
        }
        assert!(Record::decode(&[2, 0]).is_none(), "of another format");
        assert!(Record::decode(&[FORMAT, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_none(), "segments without end");
    }

    #[test]
    fn a_usual_record_is_small() {
        let mut bytes = Vec::new();
        let prediction = entry(Predicted::Class(Some(1), Some(0.25)), Some(Truth::Class(0)));
        Record { entries: vec![prediction], labels: Vec::new() }.encode(&mut bytes);
        assert!(bytes.len() <= 33, "{} bytes", bytes.len());
    }
}
