//! The cell of a level by its text: a table in which short texts are numbers.
//!
//! A text of at most [`SHORT`] bytes is packed with its length into two words, so that looking it up compares words and
//! follows no pointer to a text. Longer texts are in an ordinary map. Knows nothing of columns.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Bytes of a text that is packed: 16 with the byte of its length.
const SHORT: usize = 15;
/// Slots for each text at least, so that few of them stand beside their place.
const ROOM: usize = 2;
/// An odd number whose bits are spread well: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A short text as a number; see [`pack`].
type Packed = [u64; 2];

/// Numbers by text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LevelIndex {
    /// By open addressing the place in `short` plus one; 0 is an empty slot. Small beside the texts, which may be ten thousand.
    slots: Vec<u32>,
    short: Vec<(Packed, u32)>,
    long: FxHashMap<Arc<str>, u32>,
}

impl LevelIndex {
    /// The index of texts with their numbers. Of a text that comes twice the last number stays.
    pub(super) fn new(texts: impl ExactSizeIterator<Item = (Arc<str>, u32)>) -> LevelIndex {
        let slots = (texts.len() * ROOM).next_power_of_two();
        let mut index = LevelIndex { slots: vec![0; slots], short: Vec::new(), long: FxHashMap::default() };
        for (text, number) in texts {
            let Some(packed) = pack(&text) else {
                index.long.insert(text, number);
                continue;
            };
            let (slot, found) = index.find(packed);
            if let Some((_, known)) = found.and_then(|place| index.short.get_mut(place)) {
                *known = number;
            } else if let Some(slot) = index.slots.get_mut(slot) {
                index.short.push((packed, number));
                *slot = u32::try_from(index.short.len()).unwrap_or(0);
            }
        }
        index
    }

    /// The number of a text.
    #[inline]
    pub(super) fn get(&self, text: &str) -> Option<u32> {
        match pack(text) {
            Some(packed) => self.find(packed).1.and_then(|place| self.short.get(place)).map(|(_, number)| *number),
            None => self.long.get(text).copied(),
        }
    }

    /// The slot of a packed text, and its place where it is there; else the slot is empty. There are always empty slots.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    fn find(&self, packed: Packed) -> (usize, Option<usize>) {
        let mask = self.slots.len().wrapping_sub(1);
        let [low, high] = packed;
        let mut slot = ((low ^ high.rotate_left(32)).wrapping_mul(SPREAD) >> 32) as usize & mask;
        loop {
            let place = match self.slots.get(slot) {
                None | Some(0) => return (slot, None),
                Some(place) => *place as usize - 1,
            };
            match self.short.get(place) {
                Some((found, _)) if *found != packed => slot = (slot + 1) & mask,
                _ => return (slot, Some(place)),
            }
        }
    }
}

/// The bytes of a short text and its length; texts are equal where these are.
#[inline]
fn pack(text: &str) -> Option<Packed> {
    let bytes = text.as_bytes();
    if bytes.len() > SHORT {
        return None;
    }
    // Two loads that overlap as much as the text is short of their sum; the length says by how much.
    let (low, high) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            let shift = 8 * (16 - bytes.len());
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last).checked_shr(u32::try_from(shift).unwrap_or(64)).unwrap_or(0))
        }
        _ => (bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
    };
    Some([low, high | (bytes.len() as u64) << 56])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(texts in prop::collection::vec("[ab\0é]{0,20}", 0..60), others in prop::collection::vec("[ab\0é]{0,20}", 60)) {
            let numbered: Vec<(Arc<str>, u32)> = texts.iter().map(|text| Arc::from(text.as_str())).zip(0..).collect();
            let index = LevelIndex::new(numbered.clone().into_iter());
            let map: FxHashMap<Arc<str>, u32> = numbered.into_iter().collect();
            for text in texts.iter().chain(&others) {
                prop_assert_eq!(index.get(text), map.get(text.as_str()).copied(), "{:?}", text);
            }
        }
    }

    #[test]
    fn packing_keeps_texts_apart() {
        let texts = ["", "\0", "\0\0", "a", "a\0", "abcdefg", "abcdefgh", "abcdefghi", "abcdefghh", "abcdefghabcdefg", "abcdefghabcdef\0"];
        let packed: std::collections::BTreeSet<Packed> = texts.iter().map(|text| pack(text).unwrap()).collect();
        assert_eq!(packed.len(), texts.len());
        assert_eq!(pack("abcdefghabcdefgh"), None);
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        assert_eq!(LevelIndex::new(Vec::new().into_iter()).get("a"), None);
        assert_eq!(LevelIndex::default().get(""), None);
    }
}
