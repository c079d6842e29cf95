//! Which topic a name stands for. A topic that was deleted and made anew has the same name, another id, and offsets that mean
//! other records; librdkafka reads on as if nothing had happened, and tells the id only in a line of its log.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The line that tells an id: the topic, and the id.
pub(super) fn told_id(message: &str) -> Option<(&str, &str)> {
    let (head, ids) = message.split_once(" changed id from ")?;
    let topic = head.rsplit_once("Topic ").map(|(_, topic)| topic)?;
    let (_, id) = ids.split_once(" to ")?;
    let id = id.trim();
    (!topic.is_empty() && !id.is_empty()).then_some((topic, id))
}

/// The ids of topics as they are known.
#[derive(Debug, Default)]
pub(super) struct Identities(BTreeMap<String, Arc<str>>);

/// What an id that was told means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It was known.
    Known,
    /// It is the first one.
    First(Arc<str>),
    /// The topic is another one than before.
    Another(Arc<str>),
}

impl Identities {
    pub fn know(&mut self, topic: &str, id: &Arc<str>) {
        self.0.insert(topic.to_owned(), Arc::clone(id));
    }

    pub fn get(&self, topic: &str) -> Option<&Arc<str>> {
        self.0.get(topic)
    }

    pub fn hear(&mut self, topic: &str, id: &str) -> Told {
        match self.0.get(topic) {
            Some(known) if **known == *id => Told::Known,
            known => {
                let is_first = known.is_none();
                let id: Arc<str> = Arc::from(id);
                self.know(topic, &id);
                if is_first { Told::First(id) } else { Told::Another(id) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_read_from_the_line_of_librdkafka() {
        let line = "[thrd:main]: Topic loan.predictions changed id from AAAAAAAAAAAAAAAAAAAAAA to 7QK1qJ3lQ3m8eTzJb0sVVA";
        assert_eq!(told_id(line), Some(("loan.predictions", "7QK1qJ3lQ3m8eTzJb0sVVA")));
        assert_eq!(told_id("[thrd:main]: Topic loan.predictions [0] Leader 1 Epoch 0"), None);
        assert_eq!(told_id("[thrd:main]: Topic changed id from  to "), None);
    }

    #[test]
    fn another_id_is_another_topic() {
        let mut known = Identities::default();
        assert_eq!(known.hear("a", "1"), Told::First("1".into()));
        assert_eq!(known.hear("a", "1"), Told::Known);
        assert_eq!(known.hear("b", "2"), Told::First("2".into()));
        assert_eq!(known.hear("a", "3"), Told::Another("3".into()));
        assert_eq!(known.hear("a", "3"), Told::Known);
        assert_eq!((known.get("a").map(|id| &**id), known.get("c")), (Some("3"), None));
    }
}
