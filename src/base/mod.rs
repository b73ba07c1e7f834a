//! Shared parts of all modules: atomic file writes, random numbers, bounds of numbers, paths of parameters.

pub(crate) mod atomic_file;
pub(crate) mod bits;
pub(crate) mod bounds;
pub(crate) mod cascade_sum;
#[cfg(any(feature = "text", feature = "train"))]
pub(crate) mod data_position;
pub(crate) mod distinct;
pub mod file_error;
#[cfg(any(feature = "interop", feature = "text"))]
pub(crate) mod key_table;
pub(crate) mod path_visitor;
pub(crate) mod random;
pub(crate) mod serde_none;
#[cfg(feature = "train")]
pub(crate) mod shared;
