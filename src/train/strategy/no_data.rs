use burn::data::dataloader::DataLoader;

/// A training that has nothing to train on, or to judge it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoData {
    /// The training is of 0 epochs.
    #[error("expected 1 epoch or more, got 0")]
    Epochs,
    /// The data of training give no batch.
    #[error("expected data to train on, found no batch")]
    Training,
    /// The data of validation give no batch.
    #[error("expected data for the validation, found no batch")]
    Validation,
}

impl NoData {
    /// Whether a loader that counts no items gives no batch either; one need not count.
    pub(super) fn is_empty<B>(loader: &dyn DataLoader<B>) -> bool {
        loader.num_items() == 0 && loader.iter().next().is_none()
    }
}
