//! Bit widths of codes.

use core::ops::Bound::Included;

use serde::Deserializer;

use super::bounds::{Bounds, OutOfBounds};

const BITS: Bounds = Bounds::new(Included(2.0), Included(8.0), "2 to 8");

/// Rejects a bit width without codes.
pub(crate) fn check_bits(bits: u8) -> Result<(), OutOfBounds> {
    BITS.check("bits", bits)
}

/// Deserializes a bit width.
pub(crate) fn deserialize_bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    BITS.read("bits", deserializer)
}
