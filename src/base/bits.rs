//! Numbers of bits of a code.

use core::ops::Bound::Included;

use serde::Deserializer;

use super::bounds::{Bounds, OutOfBounds};

const BITS: Bounds = Bounds::new(Included(2.0), Included(8.0), "2 to 8");

/// Refuses a number of bits of which there are no codes.
pub(crate) fn check_bits(bits: u8) -> Result<(), OutOfBounds> {
    BITS.check("bits", bits)
}

/// Reads a number of bits.
pub(crate) fn deserialize_bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    BITS.read("bits", deserializer)
}
