use serde::{Deserialize, Serialize};

/// Values of the observed tensors that share a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ObserverGranularity {
    /// One range for all.
    #[default]
    PerTensor,
    /// One range for each position in the last dimension, the same for every sample.
    PerChannel,
}

impl ObserverGranularity {
    /// Returns the number of ranges of a tensor with `channels` channels in its last dimension.
    pub(super) fn num_ranges(self, channels: usize) -> usize {
        match self {
            Self::PerTensor => 1,
            Self::PerChannel => channels,
        }
    }
}
