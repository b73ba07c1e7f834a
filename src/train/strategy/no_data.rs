use core::{error::Error, fmt};

use burn::data::dataloader::DataLoader;

/// A training that has nothing to train on, or to judge it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoData {
    /// The training is of 0 epochs.
    Epochs,
    /// The data of training give no batch.
    Training,
    /// The data of validation give no batch.
    Validation,
}

impl NoData {
    /// Whether a loader that counts no items gives no batch either; one need not count.
    pub(super) fn is_empty<B>(loader: &dyn DataLoader<B>) -> bool {
        loader.num_items() == 0 && loader.iter().next().is_none()
    }
}

impl fmt::Display for NoData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epochs => "expected 1 epoch or more, got 0",
            Self::Training => "expected data to train on, found no batch",
            Self::Validation => "expected data for the validation, found no batch",
        })
    }
}

impl Error for NoData {}
