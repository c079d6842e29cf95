//! What has been found in a record so far: a cell for each value, and the texts and numbers that cells point into.

use super::json::{Cell, CellKind};
use super::mapping::{Field, SCALARS};
use super::raw::{Class, Texts};
use super::schema::{FEATURES, PROBABILITIES, TAGS, Target};
use crate::event::scalar::is_canonical_integer;
use crate::event::text::write_number;

/// What has been found in the record so far.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // Each tells of a field of its own; together they are no state machine.
pub(super) struct Found {
    /// Counts records; wraps.
    pub event: u32,
    pub fields: [Cell; SCALARS],
    pub features: Vec<Cell>,
    pub features_epoch: u32,
    pub known_features: u32,
    pub unknown_features: u32,
    pub has_features: bool,
    pub bad_features: bool,
    pub tags: Vec<Cell>,
    pub tags_epoch: u32,
    pub classes: Vec<Class>,
    pub bad_probabilities: bool,
    pub repeated_class: bool,
    /// Strings that had escapes, and canonical numbers.
    pub unescaped: String,
    /// Of arrays of numbers.
    pub numbers: Vec<f64>,
    /// The last key that had escapes.
    pub key: String,
}

/// The epoch after `epoch`. When it wraps, the cells of long ago are cleared, lest they seem new.
fn next_epoch(epoch: u32, cells: &mut [Cell]) -> u32 {
    epoch.checked_add(1).unwrap_or_else(|| {
        cells.iter_mut().for_each(|cell| cell.epoch = 0);
        1
    })
}

impl Found {
    pub fn begin(&mut self) {
        self.event = self.event.wrapping_add(1);
        self.fields = [Cell::default(); SCALARS];
        self.unescaped.clear();
        self.numbers.clear();
        self.forget(FEATURES | PROBABILITIES | TAGS);
    }

    /// Takes back what objects held: at the start, and where the same key comes again.
    #[inline]
    pub fn forget(&mut self, roles: u8) {
        if roles & FEATURES != 0 {
            self.features_epoch = next_epoch(self.features_epoch, &mut self.features);
            (self.known_features, self.unknown_features) = (0, 0);
            (self.has_features, self.bad_features) = (false, false);
        }
        if roles & PROBABILITIES != 0 {
            self.classes.clear();
            (self.bad_probabilities, self.repeated_class) = (false, false);
        }
        if roles & TAGS != 0 {
            self.tags_epoch = next_epoch(self.tags_epoch, &mut self.tags);
        }
    }

    /// Gives all fields of a set of bits one value.
    pub fn set_fields(&mut self, fields: u16, value: Cell) {
        for (field, cell) in self.fields.iter_mut().enumerate() {
            if fields & 1 << field != 0 {
                *cell = value;
            }
        }
    }

    /// The cell for the value of a key that is for one thing, and where its text goes.
    #[inline(always)]
    pub fn place(&mut self, target: Target) -> Option<(&mut Cell, &mut String)> {
        let cell = match target {
            Target::Feature(slot) | Target::Vector(slot) => {
                let cell = self.features.get_mut(slot as usize)?;
                self.known_features += u32::from(cell.epoch != self.features_epoch);
                cell.epoch = self.features_epoch;
                cell
            }
            Target::Field(field) => self.fields.get_mut(field as usize)?,
            Target::Tag(slot) => {
                let cell = self.tags.get_mut(slot as usize)?;
                cell.epoch = self.tags_epoch;
                cell
            }
            Target::Skip | Target::Sink(_) | Target::Open => return None,
        };
        Some((cell, &mut self.unescaped))
    }

    /// Keeps the value of a key that is for several things.
    pub fn put(&mut self, target: Target, value: Cell) {
        if let Some((cell, _)) = self.place(target) {
            *cell = Cell { epoch: cell.epoch, ..value };
        }
    }

    /// After the walk: numbers that serve as names become canonical, and of a class that came twice the last one stays.
    pub fn settle(&mut self, text: &str) {
        for field in [Field::Model, Field::Version, Field::Id] {
            if let Some(cell) = self.fields.get_mut(field as usize) {
                make_canonical(cell, text, &mut self.unescaped);
            }
        }
        for cell in self.tags.iter_mut().filter(|cell| cell.epoch == self.tags_epoch) {
            make_canonical(cell, text, &mut self.unescaped);
        }
        if self.repeated_class {
            let texts = Texts { record: text, unescaped: &self.unescaped, numbers: &[] };
            self.classes.sort_unstable_by(|a, b| texts.text(&a.name).cmp(texts.text(&b.name)).then(b.order.cmp(&a.order)));
            self.classes.dedup_by(|later, kept| texts.text(&later.name) == texts.text(&kept.name));
            self.classes.sort_unstable_by_key(|class| class.order);
        }
    }
}

/// Writes the canonical text of a number that is not its own; what is not finite names nothing.
fn make_canonical(cell: &mut Cell, text: &str, unescaped: &mut String) {
    if cell.kind != CellKind::Number || is_canonical_integer(text.get(cell.start as usize..cell.end as usize).unwrap_or_default()) {
        return;
    }
    if !cell.number.is_finite() {
        cell.kind = CellKind::Other;
        return;
    }
    let start = unescaped.len();
    write_number(cell.number, unescaped);
    cell.set_text(CellKind::Unescaped, start, unescaped.len());
}
