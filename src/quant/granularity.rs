use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    base::bounds::{Bounds, OutOfBounds},
    ops::Groups,
};

/// Granularity of the scales of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightGranularity {
    /// One scale for the whole weight (BitNet b1.58).
    #[default]
    PerTensor,
    /// One scale for each output channel.
    PerChannel,
    /// One scale for each group of input features of an output channel.
    PerGroup {
        /// Number of input features in a group, 1 or more; must divide their number.
        #[serde(deserialize_with = "deserialize_group_size")]
        group_size: usize,
    },
}

/// Granularity of the scales of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActivationGranularity {
    /// One scale for each position, over the last dimension (BitNet b1.58).
    #[default]
    PerToken,
    /// One scale for the whole tensor.
    PerTensor,
    /// One scale for each position of the last dimension, over all tokens.
    PerChannel,
}

/// Error for a granularity that does not fit a weight.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GranularityError {
    /// The group size does not divide the number of input features.
    #[error("group_size {group_size} does not divide the {d_input} input features")]
    GroupSize {
        /// The configured group size.
        group_size: usize,
        /// The input features of an output channel.
        d_input: usize,
    },
    /// The output channels lie between other dimensions, as in a transposed convolution.
    #[error(
        "scales per output channel or group need the output channels in the first or last \
         dimension, in shape {shape:?} they are dimension {output_axis}"
    )]
    OutputAxis {
        /// Shape of the weight.
        shape: Vec<usize>,
        /// Dimension of the output channels.
        output_axis: usize,
    },
}

impl fmt::Display for WeightGranularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerTensor => f.write_str("per tensor"),
            Self::PerChannel => f.write_str("per channel"),
            Self::PerGroup { group_size } => write!(f, "per group of {group_size}"),
        }
    }
}

impl fmt::Display for ActivationGranularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerToken => "per token",
            Self::PerTensor => "per tensor",
            Self::PerChannel => "per channel",
        })
    }
}

fn deserialize_group_size<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<usize, D::Error> {
    Bounds::COUNT.read("group_size", deserializer)
}

impl WeightGranularity {
    /// Checks the size of groups.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::PerGroup { group_size } => Bounds::COUNT.check("group_size", *group_size),
            _ => Ok(()),
        }
    }

    /// Returns the groups of a weight whose output channels lie along `output_axis`.
    ///
    /// # Errors
    ///
    /// If the granularity does not fit the shape.
    ///
    /// # Panics
    ///
    /// If the weight has less than two dimensions or no dimension `output_axis`.
    #[track_caller]
    pub fn groups(&self, shape: &[usize], output_axis: usize) -> Result<Groups, GranularityError> {
        assert!(
            shape.len() >= 2 && output_axis < shape.len(),
            "a weight has two dimensions or more and its output channels in one of them, got \
             shape {shape:?} and dimension {output_axis}"
        );
        let d_output = shape[output_axis];
        let d_input: usize = shape
            .iter()
            .enumerate()
            .filter(|(axis, _)| *axis != output_axis)
            .map(|(_, size)| size)
            .product();
        let group_size = match *self {
            Self::PerTensor => return Ok(Groups::per_tensor(d_input * d_output)),
            Self::PerChannel => d_input,
            Self::PerGroup { group_size } => group_size,
        };
        if d_input > 0 && (group_size == 0 || !d_input.is_multiple_of(group_size)) {
            return Err(GranularityError::GroupSize {
                group_size,
                d_input,
            });
        }
        let groups_per_channel = d_input.checked_div(group_size).unwrap_or(1);
        if output_axis == 0 {
            Ok(Groups {
                outer: d_output * groups_per_channel,
                size: group_size,
                inner: 1,
            })
        } else if output_axis == shape.len() - 1 {
            Ok(Groups {
                outer: groups_per_channel,
                size: group_size,
                inner: d_output,
            })
        } else {
            Err(GranularityError::OutputAxis {
                shape: shape.to_vec(),
                output_axis,
            })
        }
    }
}

impl ActivationGranularity {
    /// Returns the groups of an activation of the given shape; a scalar is one token.
    pub fn groups(&self, shape: &[usize]) -> Groups {
        match self {
            Self::PerToken if !shape.is_empty() => Groups::per_row(shape),
            Self::PerChannel if !shape.is_empty() => {
                let Groups { outer, size, .. } = Groups::per_row(shape);
                Groups {
                    outer: 1,
                    size: outer,
                    inner: size,
                }
            }
            _ => Groups::per_tensor(shape.iter().product()),
        }
    }
}
