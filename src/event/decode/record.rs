//! What a record has beside its value, and what selectors find there. Knows nothing of the value.

use super::mapping::Selector;
use crate::event::Timestamp;

/// What a record has beside its value.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordMeta<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// Key, where there is one.
    pub key: Option<&'a [u8]>,
    /// The record's own time.
    pub timestamp: Option<Timestamp>,
    /// Headers in their order; only read where the mapping names one, and only those that `Mapping::headers` names need be here.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// The text of a selector that does not point into the value.
pub(super) fn beside<'a>(selector: &'a Selector, record: &RecordMeta<'a>) -> Option<&'a str> {
    let utf8 = |bytes| std::str::from_utf8(bytes).ok();
    match selector {
        Selector::Pointer(_) => None,
        Selector::Header(wanted) => {
            record.headers.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).and_then(|(_, value)| utf8(value))
        }
        Selector::Key => record.key.and_then(utf8),
        Selector::Topic => Some(record.topic),
        Selector::Const(value) => Some(value),
    }
}
