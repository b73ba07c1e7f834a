use core::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{
    base::bounds::{OutOfBounds, assert_valid},
    functions::hadamard_transform,
};

/// Hadamard rotation of activations, H-BitLinear of BitNet v2. Each block of `block` neighboring features
/// is multiplied by an orthonormal Hadamard matrix, which spreads outliers over the block, so that few
/// bits suffice. The weights are trained on rotated inputs: there is no inverse rotation.
///
/// Source: [BitNet v2](https://arxiv.org/abs/2504.18415).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HadamardConfig {
    /// Number of features that are rotated together: a power of two that divides the features of a
    /// layer; `None` for the largest.
    #[serde(default, deserialize_with = "deserialize_block")]
    pub block: Option<usize>,
}

impl HadamardConfig {
    /// Creates a rotation over the largest power of two that divides the features of a layer.
    pub fn largest() -> Self {
        Self { block: None }
    }

    /// Creates a rotation of blocks of the given size.
    ///
    /// # Panics
    ///
    /// If it is not a power of two.
    #[track_caller]
    pub fn new(block: usize) -> Self {
        assert_valid(check_block(block));
        Self { block: Some(block) }
    }

    /// Returns the rotated activations.
    ///
    /// # Panics
    ///
    /// If the block does not divide the last dimension.
    #[track_caller]
    pub fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let features = x.dims()[D - 1];
        // The lowest bit of a number is its largest power of two.
        let largest = 1 << features.max(1).trailing_zeros();
        hadamard_transform(x, self.block.unwrap_or(largest))
    }
}

impl fmt::Display for HadamardConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            Some(block) => write!(f, "Hadamard blocks of {block}"),
            None => f.write_str("largest Hadamard blocks"),
        }
    }
}

fn deserialize_block<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<usize>, D::Error> {
    let block = Option::<usize>::deserialize(deserializer)?;
    let checked = block.map_or(Ok(()), check_block);
    checked.map_err(D::Error::custom)?;
    Ok(block)
}

fn check_block(block: usize) -> Result<(), OutOfBounds> {
    let name = "the block of a Hadamard rotation";
    OutOfBounds::unless(block.is_power_of_two(), name, "a power of two", block)
}
