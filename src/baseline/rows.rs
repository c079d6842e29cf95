//! Rows as the builder takes them: batches of columns with a role each.
//!
//! Plain data between the readers of tables and the builder. Knows no file format.

use std::sync::Arc;

use crate::event::Scalar;

/// What a column of the table stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A feature of that name.
    Feature(Arc<str>),
    /// The model's output.
    Prediction,
    /// The probability of the positive class.
    Score,
    /// The probability of a class.
    Probability(Arc<str>),
    /// The truth.
    Label,
    /// When it was; read only to see which rows belong together.
    Time,
    /// A tag of that key: a segment can be made by it, and it is no feature.
    Tag(Arc<str>),
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Role::Feature(name) => f.write_str(name),
            Role::Prediction => f.write_str("prediction"),
            Role::Score => f.write_str("score"),
            Role::Probability(class) => write!(f, "probability.{class}"),
            Role::Label => f.write_str("label"),
            Role::Time => f.write_str("ts"),
            Role::Tag(key) => write!(f, "tags.{key}"),
        }
    }
}

/// Names of the columns that are no features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The id, which is not read.
    pub id: String,
    /// The time.
    pub ts: String,
    /// The model's output.
    pub prediction: String,
    /// The probability of the positive class.
    pub score: String,
    /// What stands before the class in the column of its probability.
    pub probability_prefix: String,
    /// The truth.
    pub label: String,
    /// What stands before the key in the column of a tag.
    pub tag_prefix: String,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            id: "id".into(),
            ts: "ts".into(),
            prediction: "prediction".into(),
            score: "score".into(),
            probability_prefix: "probability.".into(),
            label: "label".into(),
            tag_prefix: "tags.".into(),
        }
    }
}

/// Which columns are read, and as what.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    names: Names,
    include: Vec<glob::Pattern>,
    exclude: Vec<glob::Pattern>,
}

impl Selection {
    /// Features are the columns that are not named by `names`, match one of `include` (empty: all) and none of `exclude`. Patterns are those of file names: `*`, `?`, `[a-z]`.
    ///
    /// # Errors
    /// The pattern that cannot be read, and why.
    pub fn new(names: Names, include: &[String], exclude: &[String]) -> Result<Selection, String> {
        let compile = |patterns: &[String]| -> Result<Vec<glob::Pattern>, String> {
            patterns.iter().map(|text| glob::Pattern::new(text).map_err(|fault| format!("'{text}': {}", fault.msg))).collect()
        };
        Ok(Selection { names, include: compile(include)?, exclude: compile(exclude)? })
    }

    /// The role of a column of a flat table; `None` where it is not read.
    #[must_use]
    pub fn role(&self, column: &str) -> Option<Role> {
        let names = &self.names;
        if column == names.id {
            None
        } else if column == names.ts {
            Some(Role::Time)
        } else if column == names.prediction {
            Some(Role::Prediction)
        } else if column == names.score {
            Some(Role::Score)
        } else if column == names.label {
            Some(Role::Label)
        } else if let Some(class) = strip(column, &names.probability_prefix) {
            Some(Role::Probability(class.into()))
        } else if let Some(key) = strip(column, &names.tag_prefix) {
            Some(Role::Tag(key.into()))
        } else {
            self.feature(column)
        }
    }

    /// The role of a feature by name; `None` where it is left out.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<Role> {
        let included = self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(name));
        let excluded = self.exclude.iter().any(|pattern| pattern.matches(name));
        (included && !excluded).then(|| Role::Feature(name.into()))
    }
}

fn strip<'a>(column: &'a str, prefix: &str) -> Option<&'a str> {
    column.strip_prefix(prefix).filter(|rest| !prefix.is_empty() && !rest.is_empty())
}

/// How the cells of an untyped column are read, decided over all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RawType {
    /// As they are.
    #[default]
    Text,
    /// As numbers, where they are.
    Number,
    /// As booleans, where they are.
    Boolean,
}

/// Texts of one column, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: String,
    /// End of each text in `bytes`; `None` for null.
    ends: Vec<(usize, bool)>,
}

impl Texts {
    /// Appends one text, or null.
    pub fn push(&mut self, text: Option<&str>) {
        self.bytes.push_str(text.unwrap_or_default());
        self.ends.push((self.bytes.len(), text.is_some()));
    }

    /// The text of one row; `None` for null and beyond the end.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&str> {
        let (end, valid) = *self.ends.get(row)?;
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(end, _)| *end);
        if valid { self.bytes.get(start..end) } else { None }
    }
}

/// One value of a column whose values may be of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MixedCell {
    /// The key is not there.
    Missing,
    /// Null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Num(f64),
    /// A string: start and end in the column's text.
    Text(usize, usize),
    /// An array of numbers: start and end in the column's numbers.
    Vector(usize, usize),
    /// Another array, or an object.
    Other,
}

/// The cells of one column of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnData {
    /// Typed numbers.
    Numbers(Vec<Option<f64>>),
    /// Typed booleans.
    Booleans(Vec<Option<bool>>),
    /// Typed strings.
    Texts(Texts),
    /// Untyped cells of a text file; empty ones are null.
    Raw(Texts),
    /// Cells that carry their own type.
    Mixed {
        /// One per row; rows beyond the end are missing.
        cells: Vec<MixedCell>,
        /// What the strings point into.
        text: String,
        /// What the arrays point into.
        numbers: Vec<f64>,
    },
    /// Typed arrays of numbers.
    Vectors {
        /// Start and end of each in `numbers`; `None` for null.
        ranges: Vec<Option<(usize, usize)>>,
        /// All of them, one after the other.
        numbers: Vec<f64>,
    },
}

impl ColumnData {
    /// The value of one row; `raw` says how an untyped cell is read.
    #[inline]
    #[must_use]
    pub fn scalar(&self, row: usize, raw: RawType) -> Scalar<'_> {
        match self {
            ColumnData::Numbers(values) => values.get(row).copied().flatten().map_or(Scalar::Null, Scalar::from_number),
            ColumnData::Booleans(values) => values.get(row).copied().flatten().map_or(Scalar::Null, Scalar::Bool),
            ColumnData::Texts(texts) => texts.get(row).map_or(Scalar::Null, Scalar::Text),
            ColumnData::Raw(texts) => texts.get(row).map_or(Scalar::Null, |text| raw_scalar(text, raw)),
            ColumnData::Vectors { ranges, numbers } => match ranges.get(row).copied().flatten() {
                Some((start, end)) => numbers.get(start..end).map_or(Scalar::Other, Scalar::Vector),
                None => Scalar::Null,
            },
            ColumnData::Mixed { cells, text, numbers } => match cells.get(row).copied().unwrap_or(MixedCell::Missing) {
                MixedCell::Missing => Scalar::Missing,
                MixedCell::Null => Scalar::Null,
                MixedCell::Bool(value) => Scalar::Bool(value),
                MixedCell::Num(value) => Scalar::from_number(value),
                MixedCell::Text(start, end) => text.get(start..end).map_or(Scalar::Other, Scalar::Text),
                MixedCell::Vector(start, end) => numbers.get(start..end).map_or(Scalar::Other, Scalar::Vector),
                MixedCell::Other => Scalar::Other,
            },
        }
    }
}

/// An untyped cell, read as `raw`.
#[must_use]
pub fn raw_scalar(text: &str, raw: RawType) -> Scalar<'_> {
    match raw {
        RawType::Text => Scalar::Text(text),
        RawType::Number => raw_number(text).map_or(Scalar::Text(text), Scalar::from_number),
        RawType::Boolean => raw_boolean(text).map_or(Scalar::Text(text), Scalar::Bool),
    }
}

/// The number an untyped cell spells: decimal, with an exponent, `nan`, `inf` or `infinity`; spaces around it do not count.
#[must_use]
pub fn raw_number(text: &str) -> Option<f64> {
    text.trim_ascii().parse().ok()
}

/// The boolean an untyped cell spells: `true` or `false` in any case.
#[must_use]
pub fn raw_boolean(text: &str) -> Option<bool> {
    let text = text.trim_ascii();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A column that is missing in every row.
pub(super) static MISSING_COLUMN: ColumnData = ColumnData::Mixed { cells: Vec::new(), text: String::new(), numbers: Vec::new() };

/// Some rows of a table, by columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowBatch {
    /// Number of rows.
    pub rows: usize,
    /// The columns that are read. One that is not here is missing in all rows of the batch.
    pub columns: Vec<(Role, ColumnData)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_mean_what_they_say() {
        let selection = Selection::new(Names::default(), &["*".into()], &["customer_*".into()]).unwrap();
        let role = |column: &str| selection.role(column);
        assert_eq!(role("id"), None);
        assert_eq!(role("customer_id"), None);
        assert_eq!(role("probability.a b"), Some(Role::Probability("a b".into())));
        assert_eq!(role("tags.region"), Some(Role::Tag("region".into())));
        assert_eq!(role("probability."), Some(Role::Feature("probability.".into())));
        assert_eq!(role("age"), Some(Role::Feature("age".into())));
        assert!(Selection::new(Names::default(), &["[".into()], &[]).is_err());
        assert_eq!(Selection::default().role("age"), Some(Role::Feature("age".into())));
    }

    #[test]
    fn untyped_cells_are_read_as_the_column_says() {
        let mut texts = Texts::default();
        for cell in [Some("1.0"), None, Some("x"), Some(" 2 "), Some("NaN")] {
            texts.push(cell);
        }
        let column = ColumnData::Raw(texts);
        assert_eq!(column.scalar(0, RawType::Text), Scalar::Text("1.0"));
        assert_eq!(column.scalar(0, RawType::Number), Scalar::from_number(1.0));
        assert_eq!(column.scalar(1, RawType::Number), Scalar::Null);
        assert_eq!(column.scalar(2, RawType::Number), Scalar::Text("x"));
        assert_eq!(column.scalar(3, RawType::Number), Scalar::from_number(2.0));
        assert!(matches!(column.scalar(4, RawType::Number), Scalar::Num { value, .. } if value.is_nan()));
        assert_eq!(raw_boolean("True"), Some(true));
    }
}
