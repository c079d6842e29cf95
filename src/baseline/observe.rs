//! The first look at one column: its type, the distribution of its numbers or the frequencies of its levels.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::Scalar;
use crate::event::text::canonical_number;
use crate::sketch::{Distribution, FrequencySketch, QuantileSketch};

use super::build::FeatureType;
use super::edges::Spread;
use super::levels::{LevelSummary, NAME_BYTES, choose};
use super::rows::{ColumnData, RawType, raw_boolean, raw_number};
use super::space::MAX_DIMENSION;

/// Collects the numbers of one column.
#[derive(Clone, Debug, Default)]
pub(super) struct NumberSurvey {
    sketch: QuantileSketch,
    mean: f64,
    squares: f64,
}

impl NumberSurvey {
    /// Adds one number; what is not finite is left out.
    #[inline]
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.sketch.add(value);
        // Welford, in the order of the rows; the exact moments come with the second look.
        let gap = value - self.mean;
        self.mean += gap / self.sketch.n() as f64;
        self.squares += gap * (value - self.mean);
    }

    /// Number of finite values.
    pub(super) fn n(&self) -> u64 {
        self.sketch.n()
    }

    /// The distribution with mean and standard deviation.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn finish(self) -> (Distribution, Spread) {
        let sd = (self.squares / self.sketch.n().max(1) as f64).sqrt();
        (self.sketch.finish(), Spread { mean: self.mean, sd })
    }
}

/// What the untyped cells of a column have been so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RawSeen {
    #[default]
    Nothing,
    Only(RawType),
}

impl RawSeen {
    fn see(&mut self, kind: RawType) {
        *self = match *self {
            RawSeen::Nothing => RawSeen::Only(kind),
            RawSeen::Only(before) if before == kind => *self,
            RawSeen::Only(_) => RawSeen::Only(RawType::Text),
        };
    }

    fn is_text(self) -> bool {
        self == RawSeen::Only(RawType::Text)
    }
}

#[derive(Clone, Debug)]
enum State {
    /// No value yet.
    Undecided,
    Numbers(Box<NumberSurvey>),
    Levels(FrequencySketch),
    /// How many vectors there are of each length.
    Vectors(BTreeMap<usize, u64>),
    /// Numbers at first, then something else: the rows before are lost for the levels.
    Flipped,
}

/// The first look at one column.
#[derive(Clone, Debug)]
pub(super) struct ColumnSurvey {
    /// The type that was set, and whether it was inferred.
    wish: Option<FeatureType>,
    inferred: bool,
    state: State,
    raw: RawSeen,
    /// Spellings of NaN and infinities in a column of levels: levels only where the column is text.
    not_finite: BTreeMap<String, u64>,
    /// The first value that is not a number.
    stranger: Option<String>,
    strangers: u64,
    /// Values whose text is too long to be remembered.
    long: u64,
    done: bool,
    scratch: String,
}

/// What was found in a column.
pub(super) enum Found {
    /// Numbers: their distribution, mean and standard deviation.
    Numbers(Distribution, Spread),
    /// Levels.
    Levels(LevelSummary),
    /// Vectors of a length; 0 where there is none.
    Vectors(usize),
}

/// The result of the first look at a column.
pub(super) struct Observed {
    /// Its values.
    pub(super) found: Found,
    /// How its untyped cells are read.
    pub(super) raw: RawType,
    /// Whether its type was inferred.
    pub(super) inferred: bool,
    /// What a reader of the baseline should know.
    pub(super) remarks: Vec<String>,
}

impl ColumnSurvey {
    /// A column whose type is set, or is to be inferred.
    pub(super) fn new(wish: Option<FeatureType>) -> ColumnSurvey {
        let state = match wish {
            None => State::Undecided,
            Some(FeatureType::Numeric) => State::Numbers(Box::default()),
            Some(FeatureType::Categorical) => State::Levels(FrequencySketch::default()),
            Some(FeatureType::Embedding) => State::Vectors(BTreeMap::new()),
        };
        ColumnSurvey {
            wish,
            inferred: wish.is_none(),
            state,
            raw: RawSeen::Nothing,
            not_finite: BTreeMap::new(),
            stranger: None,
            strangers: 0,
            long: 0,
            done: false,
            scratch: String::new(),
        }
    }

    /// Adds the cells of a batch.
    pub(super) fn add(&mut self, rows: usize, data: &ColumnData) {
        if self.done {
            return;
        }
        let raw = matches!(data, ColumnData::Raw(_));
        for row in 0..rows {
            match data.scalar(row, RawType::Text) {
                Scalar::Text(text) if raw => self.add_raw(text),
                scalar => self.add_typed(&scalar),
            }
        }
    }

    /// Whether its type turned out to be another while it was read, so that it has to be read once more.
    pub(super) fn is_flipped(&self) -> bool {
        matches!(self.state, State::Flipped)
    }

    /// Prepares for another look, which only flipped columns take.
    pub(super) fn look_again(&mut self) {
        if self.is_flipped() {
            let stranger = self.stranger.take();
            *self = ColumnSurvey { inferred: true, stranger, ..ColumnSurvey::new(Some(FeatureType::Categorical)) };
        } else {
            self.done = true;
        }
    }

    fn add_raw(&mut self, text: &str) {
        match self.state {
            State::Levels(_) => return self.add_raw_level(text),
            State::Vectors(_) => return,
            _ => {}
        }
        match raw_number(text) {
            Some(number) => self.add_typed(&Scalar::from_number(number)),
            None if matches!(self.state, State::Undecided) => {
                self.state = State::Levels(FrequencySketch::default());
                self.add_raw_level(text);
            }
            None => self.add_stranger(text),
        }
    }

    fn add_raw_level(&mut self, text: &str) {
        if !self.raw.is_text() {
            match (raw_number(text), raw_boolean(text)) {
                (Some(number), _) if !number.is_finite() => {
                    *self.not_finite.entry(text.to_owned()).or_default() += 1;
                    return;
                }
                (Some(_), _) if !is_code(text) => self.raw.see(RawType::Number),
                (_, Some(_)) => self.raw.see(RawType::Boolean),
                _ => self.raw.see(RawType::Text),
            }
        }
        self.count_level(text);
    }

    fn add_typed(&mut self, scalar: &Scalar<'_>) {
        match (&mut self.state, scalar) {
            (State::Vectors(lengths), Scalar::Vector(vector)) => *lengths.entry(vector.len()).or_default() += 1,
            (State::Undecided, Scalar::Vector(vector)) => self.state = State::Vectors(BTreeMap::from([(vector.len(), 1)])),
            // An array among other values is a wrong type, and so is everything else among arrays.
            (_, Scalar::Missing | Scalar::Null | Scalar::Vector(_) | Scalar::Other) | (State::Flipped | State::Vectors(_), _) => {}
            (State::Numbers(numbers), Scalar::Num { value, .. }) => numbers.add(*value),
            (State::Undecided, Scalar::Num { value, .. }) => {
                let mut numbers = Box::<NumberSurvey>::default();
                numbers.add(*value);
                self.state = State::Numbers(numbers);
            }
            (State::Numbers(_), Scalar::Text(text)) => self.add_stranger(text),
            (State::Numbers(_), Scalar::Bool(value)) => self.add_stranger(if *value { "true" } else { "false" }),
            (State::Undecided, Scalar::Text(_) | Scalar::Bool(_)) => {
                self.state = State::Levels(FrequencySketch::default());
                self.add_typed(scalar);
            }
            (State::Levels(_), _) => {
                let mut scratch = std::mem::take(&mut self.scratch);
                if let Some(level) = scalar.level(&mut scratch) {
                    self.count_level(level);
                }
                self.scratch = scratch;
            }
        }
    }

    fn count_level(&mut self, level: &str) {
        if level.len() > NAME_BYTES {
            self.long += 1;
        } else if let State::Levels(seen) = &mut self.state {
            seen.add(level, 1);
        }
    }

    /// A value that is not a number among numbers: a wrong type where the type is set, another type where it is inferred.
    fn add_stranger(&mut self, text: &str) {
        self.strangers += 1;
        if self.stranger.is_none() {
            self.stranger = Some(text.chars().take(40).collect());
        }
        if self.wish.is_none() {
            self.state = State::Flipped;
        }
    }

    /// What was found; `extra` are levels that were derived elsewhere.
    pub(super) fn finish(self, extra: &[(Arc<str>, u64)]) -> Observed {
        let mut remarks = Vec::new();
        match self.state {
            State::Numbers(numbers) if numbers.n() > 0 || !self.inferred => {
                if self.strangers > 0 {
                    let example = self.stranger.as_deref().unwrap_or_default();
                    remarks.push(format!("{} values are not numbers, such as '{example}', and count as a wrong type", self.strangers));
                }
                let (distribution, spread) = numbers.finish();
                if self.inferred && looks_like_codes(&distribution) {
                    remarks.push("numeric with few distinct integers; set its type if these are codes".to_owned());
                }
                Observed { found: Found::Numbers(distribution, spread), raw: RawType::Number, inferred: self.inferred, remarks }
            }
            State::Vectors(lengths) => {
                let usable = lengths.iter().filter(|(length, _)| (1..=MAX_DIMENSION).contains(*length));
                let dimension =
                    usable.max_by_key(|(length, count)| (**count, std::cmp::Reverse(**length))).map_or(0, |(length, _)| *length);
                let others: u64 = lengths.iter().filter(|(length, _)| **length != dimension).map(|(_, count)| count).sum();
                if others > 0 {
                    remarks.push(format!("{others} arrays have not {dimension} numbers, and count as a wrong type"));
                }
                Observed { found: Found::Vectors(dimension), raw: RawType::Text, inferred: self.inferred, remarks }
            }
            State::Levels(mut seen) => {
                let raw = match self.raw {
                    RawSeen::Only(kind) => kind,
                    RawSeen::Nothing => RawType::Text,
                };
                if raw == RawType::Text {
                    self.not_finite.iter().for_each(|(text, count)| seen.add(text, *count));
                }
                for (level, count) in extra {
                    seen.add(level, *count);
                }
                let mut summary = choose(&seen.finish(|text| canonical_level(text, raw)));
                summary.forgets |= self.long > 0;
                if let Some(stranger) = self.stranger.filter(|_| self.inferred) {
                    remarks.push(format!("categorical, because '{stranger}' is not a number"));
                }
                Observed { found: Found::Levels(summary), raw, inferred: self.inferred, remarks }
            }
            State::Numbers(_) | State::Undecided | State::Flipped => {
                let mut seen = FrequencySketch::default();
                for (level, count) in extra {
                    seen.add(level, *count);
                }
                if extra.is_empty() {
                    remarks.push("no values; every value to come is unseen".to_owned());
                }
                let raw = RawType::Number;
                Observed { found: Found::Levels(choose(&seen.finish(|_| None))), raw, inferred: self.inferred, remarks }
            }
        }
    }
}

/// The canonical text of an untyped cell in a column that is read as `raw`.
pub(super) fn canonical_level(text: &str, raw: RawType) -> Option<Arc<str>> {
    match raw {
        RawType::Text => None,
        RawType::Number => raw_number(text).filter(|number| number.is_finite()).map(|number| canonical_number(number).into()),
        RawType::Boolean => raw_boolean(text).map(|value| Arc::from(if value { "true" } else { "false" })),
    }
}

/// Whether a text that can be read as a number is rather a code, such as a postcode with a leading zero.
fn is_code(text: &str) -> bool {
    let digits = text.trim_ascii().trim_start_matches('-');
    digits.starts_with('+') || (digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit))
}

/// Few distinct integers: levels of a category, as often as not.
fn looks_like_codes(distribution: &Distribution) -> bool {
    /// Distinct integers of which a column is suspect.
    const FEW: u64 = 10;
    let atoms = distribution.atoms(u64::from(super::edges::QUANTILES));
    let mass: u64 = atoms.iter().map(|atom| distribution.rank(*atom) - distribution.rank(atom.next_down())).sum();
    let integral = atoms.iter().all(|atom| atom.fract() == 0.0);
    integral && mass == distribution.n() && atoms.len() as u64 <= FEW && distribution.n() > 4 * FEW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::rows::{MixedCell, Texts};

    fn raw(cells: &[&str]) -> ColumnData {
        let mut texts = Texts::default();
        cells.iter().for_each(|cell| texts.push((!cell.is_empty()).then_some(*cell)));
        ColumnData::Raw(texts)
    }

    fn observe(wish: Option<FeatureType>, data: &ColumnData, rows: usize) -> Observed {
        let mut survey = ColumnSurvey::new(wish);
        survey.add(rows, data);
        if survey.is_flipped() {
            survey.look_again();
            survey.add(rows, data);
        }
        survey.finish(&[])
    }

    fn levels(observed: &Observed) -> Vec<&str> {
        match &observed.found {
            Found::Levels(summary) => summary.levels.kept.iter().map(|level| &**level).collect(),
            Found::Numbers(..) | Found::Vectors(_) => panic!("no levels"),
        }
    }

    #[test]
    fn untyped_numbers_are_numeric_until_one_is_not() {
        let numeric = observe(None, &raw(&["1", "", "2.5", "nan"]), 4);
        assert!(matches!(numeric.found, Found::Numbers(ref distribution, _) if distribution.n() == 2));
        let flipped = observe(None, &raw(&["1", "", "2.5", "NA"]), 4);
        assert_eq!(levels(&flipped), ["1", "2.5", "NA"]);
        assert_eq!(flipped.remarks, ["categorical, because 'NA' is not a number"]);
        assert!(flipped.inferred);
    }

    #[test]
    fn levels_of_untyped_numbers_are_canonical_and_codes_stay_as_they_are() {
        let set = Some(FeatureType::Categorical);
        assert_eq!(levels(&observe(set, &raw(&["1.0", "1", "2", "nan"]), 4)), ["1", "2"]);
        assert_eq!(levels(&observe(set, &raw(&["01234", "1", "1", "nan"]), 4)), ["1", "01234", "nan"]);
        assert_eq!(levels(&observe(None, &raw(&["True", "true", "False"]), 3)), ["true", "false"]);
        assert_eq!(levels(&observe(None, &raw(&["True", "yes", "yes"]), 3)), ["yes", "True"]);
    }

    #[test]
    fn a_set_type_is_kept_and_strangers_are_noted() {
        let observed = observe(Some(FeatureType::Numeric), &raw(&["1", "x", "y"]), 3);
        assert_eq!(observed.remarks, ["2 values are not numbers, such as 'x', and count as a wrong type"]);
    }

    #[test]
    fn typed_strings_are_levels_even_where_they_look_like_numbers() {
        let data = ColumnData::Mixed {
            cells: vec![MixedCell::Text(0, 1), MixedCell::Num(2.0), MixedCell::Null],
            text: "1".into(),
            numbers: vec![],
        };
        assert_eq!(levels(&observe(None, &data, 3)), ["1", "2"]);
        let data = ColumnData::Mixed { cells: vec![MixedCell::Num(2.0), MixedCell::Text(0, 1)], text: "1".into(), numbers: vec![] };
        assert_eq!(levels(&observe(None, &data, 2)), ["1", "2"]);
    }

    #[test]
    fn a_column_without_values_has_no_levels() {
        assert!(levels(&observe(None, &raw(&["", ""]), 2)).is_empty());
        assert!(levels(&observe(None, &ColumnData::Numbers(vec![Some(f64::NAN)]), 1)).is_empty());
    }
}
