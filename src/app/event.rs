//! What the running application tells those who watch it: the demo's account, tests.

use std::sync::Arc;

use crate::engine::Emission;
use crate::notify::DeliveryReport;

/// Something that happened in the running application.
#[derive(Clone, Debug)]
pub enum AppEvent {
    /// The HTTP server listens.
    Listening(std::net::SocketAddr),
    /// Source partitions were assigned.
    Assigned(usize),
    /// A window closed, or a rule has something to say.
    Emission(Box<Emission>),
    /// A delivery was attempted.
    Delivery(Box<DeliveryReport>),
    /// A checkpoint was written, in bytes.
    Checkpoint(u64),
}

/// Called with each event, on the thread it happens on.
pub type Listener = Arc<dyn Fn(&AppEvent) + Send + Sync>;
