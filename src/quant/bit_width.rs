use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    base::{
        bits::{check_bits, deserialize_bits},
        bounds::OutOfBounds,
    },
    ops::QuantRange,
};

/// Width of the codes of a quantizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BitWidth {
    /// Signed codes of this number of bits, 2 to 8.
    Bits(#[serde(deserialize_with = "deserialize_bits")] u8),
    /// The codes -1, 0 and 1.
    Ternary,
}

impl BitWidth {
    /// Returns the range of codes.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    #[track_caller]
    pub fn codes(&self) -> QuantRange {
        match self {
            Self::Bits(bits) => QuantRange::signed(*bits),
            Self::Ternary => QuantRange::TERNARY,
        }
    }

    /// Checks the number of bits.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::Bits(bits) => check_bits(*bits),
            Self::Ternary => Ok(()),
        }
    }

    /// Returns the information in a code, in bits: `log2(3)` for ternary codes.
    pub fn bits(&self) -> f64 {
        match self {
            Self::Bits(bits) => *bits as f64,
            Self::Ternary => 3f64.log2(),
        }
    }
}

impl fmt::Display for BitWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits(bits) => write!(f, "{bits} bits"),
            Self::Ternary => f.write_str("ternary"),
        }
    }
}
