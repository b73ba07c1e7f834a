//! What every floor stands on: files that are whole or not there, random numbers, checks of settings.

pub mod atomic_file;
#[cfg(any(feature = "text", feature = "train"))]
pub(crate) mod data_position;
pub(crate) mod distinct;
#[cfg(any(feature = "interop", feature = "text"))]
pub(crate) mod key_table;
pub(crate) mod random;
pub(crate) mod serde_none;
pub(crate) mod setting;
