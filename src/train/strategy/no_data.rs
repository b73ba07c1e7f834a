use burn::data::dataloader::DataLoader;

/// Error of a training without epochs, training data or validation data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoData {
    /// The training has 0 epochs.
    #[error("expected 1 epoch or more, got 0")]
    Epochs,
    /// The training data contain no batch.
    #[error("expected data to train on, found no batch")]
    Training,
    /// The validation data contain no batch.
    #[error("expected data for the validation, found no batch")]
    Validation,
}

impl NoData {
    /// Returns `true` if a loader that counts no items returns no batch either; counting is
    /// optional.
    pub(super) fn is_empty<B>(loader: &dyn DataLoader<B>) -> bool {
        loader.num_items() == 0 && loader.iter().next().is_none()
    }
}
