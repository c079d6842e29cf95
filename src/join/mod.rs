//! The join of labels to the predictions they judge.
//!
//! Layer 2. Time comes in as an argument; pairs are counted by whoever asks, through a function that is handed in. Entries
//! may lie on a [`Shelf`] outside of memory, which is handed in, too.

pub mod ahead;
mod books;
pub mod bounds;
mod codec;
mod due;
pub mod half;
mod hashed;
pub mod kept;
pub mod ledger;
mod ordered;
mod record;
pub mod shelf;
pub mod tally;
mod whole;

pub use ahead::{Ahead, Arrival};
pub use bounds::{Bounds, Count, Pair};
pub use half::{Label, Predicted, Prediction, RecordId, Truth};
pub use kept::Kept;
pub use ledger::Ledger;
pub use shelf::{Change, MemoryShelf, Shelf, Space};
pub use tally::Tally;
