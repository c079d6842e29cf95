//! From the bytes of a record to one event: a single pass over JSON, without allocation once it is warm.
//!
//! * `mapping`: where the fields of an event are in a record. `dictionary`: the names worth keeping, numbered.
//! * `schema`: both compiled into a trie, which also learns the order of the keys. `json` and `number`: the JSON itself.
//! * `decoder` walks the trie along the text and keeps what it has `found`; `raw` is the event that it makes of it; `record` is what stands beside the value; `rfc3339` reads times; `wrapped` unpacks recorded lines.
//!
//! It refuses to know models, baselines and topics' roles: it says what a record holds, not whether that is right.
//! What is valid JSON here is what `serde_json` takes, and further the bare tokens `NaN`, `Infinity` and `-Infinity`,
//! numbers too large for a double (infinite) and a byte order mark at the start.

mod decoder;
mod dictionary;
mod found;
mod json;
mod mapping;
mod number;
mod raw;
mod record;
mod rfc3339;
mod schema;
mod wrapped;

pub use decoder::{DEFAULT_MAX_BYTES, Decoder};
pub use dictionary::Dictionary;
pub use json::MAX_DEPTH;
pub use mapping::{Field, MAX_POINTER_DEPTH, Mapping, Selector, TsUnit};
pub use raw::{EventTime, Kind, Probabilities, RawEvent, Ts};
pub use record::RecordMeta;
pub use wrapped::{Wrapped, unwrap_line};
