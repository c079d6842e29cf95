//! The connection to Kafka that every client shares: addresses, properties, credentials, and errors in words.
//!
//! Layer 4, under the edges that speak to Kafka: whoever makes a consumer or a producer takes its configuration from a
//! [`Connection`] and its context from here, or passes [`Connection::token`] on. It knows nothing of topics, records or
//! groups, and uses no edge.

mod connection;
mod context;
mod fault;
mod keeper;
mod probe;
mod session;
mod token;

pub use connection::{Connection, PropertyFault, check_property, is_own};
pub use context::{Plain, log};
pub use fault::{describe, explain};
pub use probe::topics;
pub use session::Session;
