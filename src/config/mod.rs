//! Configuration: files and environment become the settings of every module.
//!
//! Layer 5. One file goes through five steps, each with its own module, and the faults of all of them are reported at
//! once, sorted by file, line and column:
//!
//! ```text
//! text ──> tree ──────────> schema ─────> raw ──────────> checked
//!          values that      structure,    serde types,    typed, complete,
//!          know their       "did you      the one         consistent settings
//!          places           mean"         definition
//!            ^
//!            overrides DRIFTLINE_SECTION__KEY, then ${env:...} and ${file:...}
//! ```
//!
//! * `tree`: YAML 1.2 (and so JSON) to [`tree::Node`]s; `scalar` types plain scalars, `position` leads from a JSON pointer
//!   to line and column, `fault` is what is wrong and where.
//! * `environment`, `interpolate`: what comes from outside of the file.
//! * `structure`: the tree against the JSON Schema of its type; `schema` prints the schemas.
//! * `file`: the types as written; `read` brings a file that far, and is there for rule files and rule tests as well.
//! * `check`, `unsupported`: what the values mean; `checked` is the result.
//! * `load`: all of it, from a path.
//!
//! Where some of a file is wrong, the wrong parts are left out and the rest is checked all the same, so that one run tells
//! everything. Relative paths are taken from the directory of the file that names them. Nothing here reads a clock, the
//! environment of the process or the network, nor does it know what a baseline or a rule means. A value that came from the
//! environment or a file is never shown: messages show what the file says in its place.

mod check;
pub mod checked;
pub mod environment;
pub mod fault;
pub mod file;
mod interpolate;
pub mod load;
pub mod position;
pub mod read;
mod scalar;
pub mod schema;
mod structure;
pub mod tree;
mod unsupported;

pub use checked::{Config, Purpose};
pub use environment::Environment;
pub use fault::{Fault, Severity};
pub use load::{Loading, load, open, rule_files};
pub use position::Positions;
pub use read::{Reading, read_yaml};
pub use schema::{SchemaKind, schema};
