//! The names worth keeping of an event: features that some baseline knows and tags that some segment asks for, numbered.
//!
//! Built once and shared; a reload builds another. It does not know which model knows which feature.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Feature and tag names with dense numbers, in the order of the names.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    features: Names,
    tags: Names,
    /// By slot of the features: whether arrays of numbers are read.
    vectors: Vec<bool>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    sorted: Vec<Arc<str>>,
    slots: FxHashMap<Arc<str>, u32>,
}

impl Names {
    fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Names {
        let mut sorted: Vec<Arc<str>> = names.into_iter().map(|name| Arc::from(name.as_ref())).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let slots = sorted.iter().zip(0u32..).map(|(name, slot)| (Arc::clone(name), slot)).collect();
        Names { sorted, slots }
    }
}

impl Dictionary {
    /// A dictionary of the union of the names given; a name may come more than once.
    pub fn new<F: AsRef<str>, T: AsRef<str>>(features: impl IntoIterator<Item = F>, tags: impl IntoIterator<Item = T>) -> Dictionary {
        Dictionary { features: Names::new(features), tags: Names::new(tags), vectors: Vec::new() }
    }

    /// The same, in which arrays of numbers are read where they are the values of these features. Elsewhere they are passed over.
    #[must_use]
    pub fn with_vectors<N: AsRef<str>>(mut self, features: impl IntoIterator<Item = N>) -> Dictionary {
        self.vectors.resize(self.features.sorted.len(), false);
        for name in features {
            let slot = self.feature_slot(name.as_ref());
            if let Some(place) = slot.and_then(|slot| self.vectors.get_mut(slot as usize)) {
                *place = true;
            }
        }
        self
    }

    /// Whether arrays of numbers are read where they are the value of a feature.
    #[must_use]
    pub fn reads_vectors(&self, slot: u32) -> bool {
        self.vectors.get(slot as usize).copied().unwrap_or(false)
    }

    /// The features' names by slot.
    #[must_use]
    pub fn features(&self) -> &[Arc<str>] {
        &self.features.sorted
    }

    /// The tags' names by slot.
    #[must_use]
    pub fn tags(&self) -> &[Arc<str>] {
        &self.tags.sorted
    }

    /// The slot of a feature.
    #[must_use]
    pub fn feature_slot(&self, name: &str) -> Option<u32> {
        self.features.slots.get(name).copied()
    }

    /// The slot of a tag.
    #[must_use]
    pub fn tag_slot(&self, name: &str) -> Option<u32> {
        self.tags.slots.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dense_and_do_not_depend_on_the_order_of_the_names() {
        let one = Dictionary::new(["income", "age", "age", "zip"], ["region"]);
        let other = Dictionary::new(["zip", "age", "income"], ["region", "region"]);
        for dictionary in [&one, &other] {
            let names: Vec<&str> = dictionary.features().iter().map(|name| &**name).collect();
            assert_eq!(names, ["age", "income", "zip"]);
            assert_eq!(dictionary.feature_slot("zip"), Some(2));
            assert_eq!(dictionary.feature_slot("region"), None);
            assert_eq!(dictionary.tag_slot("region"), Some(0));
            assert_eq!(dictionary.tags().len(), 1);
        }
    }
}
