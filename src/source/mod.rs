//! The edges: where records and tables come from.

pub mod table;
